//! CONTRACT STUB: to be replaced by the implementation with these signatures.

use std::{path::Path, sync::Arc};

use crate::{
    config::Durability,
    lease::{Binding, HwAddress, Lease},
    wake::Wake,
};

/// Position in a lane: the record with this number, counted from 1. Greater is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The lane takes no more at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal is full")]
pub struct LaneFull;

/// Why the journal cannot be opened or read; each says the file, the offset where there is one, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io { path: String, action: &'static str, source: std::io::Error },
    /// Damage before the end of the last segment.
    #[error("{path}: damaged record at byte {offset}")]
    Damaged { path: String, offset: u64 },
    /// Written by a newer version.
    #[error("{path}: format version {found} is newer than this program's {known}")]
    NewerVersion { path: String, found: u16, known: u16 },
    /// Another process has it open.
    #[error("{path}: in use by another process")]
    InUse { path: String },
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryReport {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Bytes cut off the torn end of the last segment.
    pub torn_bytes: u64,
}

/// What the journal thread is doing; for statistics and health.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct JournalStatus {
    /// Records made durable since start.
    pub records: u64,
    /// Groups (one write and one fdatasync each) since start.
    pub groups: u64,
    /// The last error of the disk, while it has not been overcome.
    pub failing: Option<String>,
    /// Percentiles of the time from taking a group to its being durable, microseconds: p50, p99, max.
    pub commit_latency_us: [u64; 3],
}

/// A running journal: one thread, as many lanes as workers.
pub struct Journal {}

impl Journal {
    /// Reads all that a state directory holds, in the order it was written. Touches nothing but the torn end of the last segment.
    pub fn recover(_dir: &Path, _each: impl FnMut(Binding)) -> Result<RecoveryReport, JournalError> {
        todo!()
    }
    /// Reads it without changing anything, also beside a running server (for `leases` without one).
    pub fn read(_dir: &Path, _each: impl FnMut(Binding)) -> Result<RecoveryReport, JournalError> {
        todo!()
    }
    /// Opens the directory for appending and starts the thread; `wakes` has one entry a lane.
    pub fn start(
        _dir: &Path,
        _durability: Durability,
        _wakes: Vec<Arc<Wake>>,
    ) -> Result<(Journal, Vec<Lane>), JournalError> {
        todo!()
    }
    /// How it does.
    pub fn status(&self) -> JournalStatus {
        todo!()
    }
    /// Makes durable what was submitted, ends the thread. All lanes are to be idle by then.
    pub fn stop(self) -> Result<(), JournalError> {
        todo!()
    }
}

/// One worker's way into the journal.
pub struct Lane {}

impl Lane {
    /// Hands over a change. It never waits and never allocates.
    ///
    /// # Errors
    /// The channel has no room; nothing was handed over.
    pub fn submit(&mut self, _lease: &Lease, _hw: &HwAddress, _client_id: &[u8]) -> Result<Ticket, LaneFull> {
        todo!()
    }
    /// Whether the next [`submit`](Self::submit) will find room. A lane has one user, so it stays true until then.
    pub fn has_room(&self) -> bool {
        todo!()
    }
    /// Whether an ACK must wait for its ticket (durability `sync`).
    pub fn parks(&self) -> bool {
        todo!()
    }
    /// The last ticket of this lane that is durable. One atomic load.
    pub fn durable(&self) -> Ticket {
        todo!()
    }
}
