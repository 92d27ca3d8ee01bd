//! Control: what operators ask a running server, on its own threads, never on a worker.
