//! The server under test, as an operator runs it: its command line, its control socket, its exit codes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Namespace, Process, wait_for, wait_through};
use crate::{command, workspace};

/// Time for a start: opening sockets and, in tests, replaying a journal.
const START: Duration = Duration::from_secs(20);
/// Time for a stop: what is parked is synced.
const STOP: Duration = Duration::from_secs(20);

/// `dhcp-xdp serve` in a namespace; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    state: PathBuf,
}

impl Server {
    /// Starts it with these words after `serve --state-dir STATE`, and waits until its control socket answers.
    ///
    /// # Errors
    /// It is not built, it ended, or it did not answer in time: with the end of its log.
    pub fn start(namespace: &Namespace, state: impl Into<PathBuf>, words: &[&str]) -> Result<Self> {
        let state = state.into();
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let log = state.join("server.log");
        Self::start_with_log(namespace, state, log, words)
    }

    /// As [`start`](Self::start), with what it prints in another file: its state directory's disk may fail.
    ///
    /// # Errors
    /// As there.
    pub fn start_with_log(
        namespace: &Namespace,
        state: impl Into<PathBuf>,
        log: impl Into<PathBuf>,
        words: &[&str],
    ) -> Result<Self> {
        let (state, log) = (state.into(), log.into());
        let mut command = namespace.command(workspace::binary("dhcp-xdp")?)?;
        command.args(["serve", "--state-dir"]).arg(&state).args(words);
        let mut server = Self { process: Process::spawn(&mut command, log)?, state };
        wait_for("the server's control socket", START, || {
            server.process.expect_running()?;
            Ok(server.stats().ok())
        })
        .with_context(|| server.process.last_words())?;
        Ok(server)
    }

    /// Starts it with a configuration file of this text; else as [`start`](Self::start).
    ///
    /// # Errors
    /// As there.
    pub fn start_configured(namespace: &Namespace, state: impl Into<PathBuf>, configuration: &str) -> Result<Self> {
        let state = state.into();
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let file = state.join("dhcp-xdp.toml");
        fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
        Self::start(namespace, state, &["--config", &file.to_string_lossy()])
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// `dhcp-xdp stats --json`.
    ///
    /// # Errors
    /// It does not answer, or with something else than JSON.
    pub fn stats(&self) -> Result<Value> {
        let mut command = self.ask("stats")?;
        Ok(serde_json::from_str(&command::output(command.arg("--json"))?)?)
    }

    /// `dhcp-xdp leases list --json`.
    ///
    /// # Errors
    /// As [`stats`](Self::stats).
    pub fn leases(&self) -> Result<Vec<Value>> {
        let mut command = self.ask("leases")?;
        let text = command::output(command.args(["list", "--json"]))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// `dhcp-xdp leases export`, as CSV.
    ///
    /// # Errors
    /// As [`stats`](Self::stats).
    pub fn export(&self) -> Result<String> {
        let mut command = self.ask("leases")?;
        command::output(command.arg("export"))
    }

    fn ask(&self, what: &str) -> Result<Command> {
        let mut command = Command::new(workspace::binary("dhcp-xdp")?);
        command.args([what, "--state-dir"]).arg(&self.state);
        Ok(command)
    }

    /// Statistics once the ledger closes: every frame has one named fate (invariant 3). A moment of grace is for the frames
    /// that are on their way while the counters are read.
    ///
    /// # Errors
    /// It does not close within two seconds: with the ledger.
    pub fn closed_ledger(&self) -> Result<Value> {
        let mut last = Value::Null;
        let closed = wait_through("the ledger to close", Duration::from_secs(2), || {
            last = self.stats()?;
            // What is still in a ring is accounted for, but on its way.
            let closes = last["ledger"]["closes"] == true && last["ledger"]["in_rings"] == 0;
            let frames = queues(&last).all(|queue| frames_close(&queue["frames"]));
            Ok((closes && frames).then_some(()))
        });
        closed.with_context(|| format!("ledger {} of {}", last["ledger"], last["interfaces"]))?;
        Ok(last)
    }

    /// Ends it as an operator does, with SIGTERM, after its ledger was found closed; gives its last statistics.
    ///
    /// # Errors
    /// The ledger does not close, or it does not end with exit code 0 in time.
    pub fn stop(mut self) -> Result<Value> {
        let stats = self.closed_ledger()?;
        let status = self.process.terminate(STOP).with_context(|| self.process.last_words())?;
        ensure!(status.success(), "the server ended with {status} after SIGTERM; {}", self.process.last_words());
        for word in ["DOES NOT CLOSE", "leaked", "panicked"] {
            ensure!(!self.log().contains(word), "the server says `{word}` at its end; {}", self.process.last_words());
        }
        Ok(stats)
    }

    /// Ends it as a power failure does, as far as a process can feel one: SIGKILL.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(STOP)
    }
}

/// All queues of all interfaces in statistics.
pub fn queues(stats: &Value) -> impl Iterator<Item = &Value> {
    let interfaces = stats["interfaces"].as_array().into_iter().flatten();
    interfaces.flat_map(|interface| interface["queues"].as_array().into_iter().flatten())
}

/// All workers of all queues in statistics.
pub fn workers(stats: &Value) -> impl Iterator<Item = &Value> {
    queues(stats).flat_map(|queue| queue["workers"].as_array().into_iter().flatten())
}

/// Sum over all workers of a message's counter: `"ack"`.
pub fn messages(stats: &Value, name: &str) -> u64 {
    workers(stats).filter_map(|worker| worker["messages"][name].as_u64()).sum()
}

/// Sum over all workers of a drop reason's counter.
pub fn drops(stats: &Value, reason: &str) -> u64 {
    workers(stats).filter_map(|worker| worker["drops"][reason].as_u64()).sum()
}

/// All frames that got no reply, with the reasons that are not zero: for messages.
pub fn drop_reasons(stats: &Value) -> String {
    let mut sums = std::collections::BTreeMap::new();
    for drops in workers(stats).filter_map(|worker| worker["drops"].as_object()) {
        for (reason, count) in drops {
            *sums.entry(reason.clone()).or_insert(0) += count.as_u64().unwrap_or(0);
        }
    }
    let named = sums.iter().filter(|(_, count)| **count > 0).map(|(reason, count)| format!("{reason} {count}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Whether no frame of the UMEM leaked (invariant 4).
fn frames_close(frames: &Value) -> bool {
    let sum: Option<u64> = ["kernel", "worker", "parked", "free"].iter().map(|part| frames[*part].as_u64()).sum();
    sum.is_some() && sum == frames["total"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stats() -> Value {
        json!({"interfaces": [{"queues": [
            {"workers": [{"drops": {"truncated": 2, "not_ours": 0}, "messages": {"ack": 5}}]},
            {"workers": [{"drops": {"truncated": 1}, "messages": {"ack": 7}}]},
        ]}]})
    }

    #[test]
    fn counters_are_summed_over_all_workers() {
        assert_eq!(messages(&stats(), "ack"), 12);
        assert_eq!(messages(&stats(), "nak"), 0);
        assert_eq!(drops(&stats(), "truncated"), 3);
        assert_eq!(drop_reasons(&stats()), "truncated 3");
    }

    #[test]
    fn a_missing_frame_does_not_close() {
        assert!(frames_close(&json!({"total": 10, "kernel": 7, "worker": 1, "parked": 0, "free": 2})));
        assert!(!frames_close(&json!({"total": 10, "kernel": 7, "worker": 1, "parked": 0, "free": 1})));
        assert!(!frames_close(&json!({"total": 10, "kernel": 10})), "a part that is not reported is no zero");
    }
}
