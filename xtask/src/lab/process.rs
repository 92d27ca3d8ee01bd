//! Programs that run beside us: their output goes to a file, and they end when we drop them.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{wait_for, wait_through};
use crate::command;

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with both its outputs in the file `log`, in a process group of its own: a Ctrl-C in our terminal is ours.
    ///
    /// # Errors
    /// The file or the program cannot be opened.
    pub fn spawn(command: &mut Command, log: impl Into<PathBuf>) -> Result<Self> {
        let log = log.into();
        let name = command::spelled(command);
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let second = file.try_clone().context("cannot share the log")?;
        command.stdin(Stdio::null()).stdout(file).stderr(second).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
        Ok(Self { name, child, log })
    }

    /// Its process id. `ip netns exec` replaces itself, so that this is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// `waitpid` failed.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// An error when it ended too early, with the end of what it said.
    ///
    /// # Errors
    /// See there.
    pub fn expect_running(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("`{}` ended ({status}); {}", self.name, self.last_words()),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.expect_running()?;
        // It may be a zombie by now, but the id is still its own: only we wait for it.
        kill(self.raw_pid(), signal).with_context(|| format!("cannot signal `{}`", self.name))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// It did not in time.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("`{}` to end", self.name);
        wait_through(&what, limit, || self.ended())
    }

    /// Asks it to end with SIGTERM and waits.
    ///
    /// # Errors
    /// It had ended before, or did not in time.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// Waits until it has printed this.
    ///
    /// # Errors
    /// It ended, or did not in time: with the end of what it said.
    pub fn wait_for_output(&mut self, text: &str, limit: Duration) -> Result<()> {
        let what = format!("`{}` to say \"{text}\"", self.name);
        wait_for(&what, limit, || {
            if self.log().contains(text) {
                return Ok(Some(()));
            }
            self.expect_running().map(|()| None)
        })
        .with_context(|| self.last_words())
    }

    /// The end of what it said, for error messages.
    pub fn last_words(&self) -> String {
        let log = self.log();
        if log.trim().is_empty() {
            return "it said nothing".into();
        }
        format!("the end of what it said:\n{}", last_lines(&log, 12))
    }

    /// User and system time that it has used so far, from `/proc/PID/stat`, in clock ticks (1/100 s).
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).context("cannot read its statistics")?;
        // The name in parentheses may hold anything: count from its end. utime and stime are fields 14 and 15 (proc(5)).
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        let field = |n: usize| fields.as_ref()?.get(n - 3)?.parse::<u64>().ok();
        field(14).zip(field(15)).map(|(user, system)| user + system).ok_or_else(|| anyhow!("strange /proc/PID/stat"))
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The end of a text, for error messages.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
