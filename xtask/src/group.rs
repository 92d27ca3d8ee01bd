//! Compilers: programs with many processes that must end when we are told to, also when only this one process is told.
//!
//! Each runs in a process group of its own. A signal that would end us ends that group first; a terminal's Ctrl-C, which comes
//! to us alone then, does too. Nothing in such a group may read from the terminal, so that its input is empty.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::{command, signals::Stop};

/// The group that runs now: one at a time.
static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);
static WATCH: OnceLock<()> = OnceLock::new();

fn running() -> MutexGuard<'static, Option<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes signals on from now on. What nobody else listens to then ends us as it would have.
fn watch() -> Result<()> {
    if WATCH.get().is_some() {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                let group = running();
                if let Some(pid) = *group {
                    // It may just have ended.
                    let _ = killpg(pid, Signal::SIGTERM);
                }
                if !Stop::is_listening() {
                    // While nothing new can be started: the lock is held.
                    let _ = emulate_default_handler(signal);
                }
            }
        })
        .context("cannot handle signals")?;
    WATCH.get_or_init(|| ());
    Ok(())
}

/// A command in its own process group; its processes end with us.
#[derive(Debug)]
struct Group {
    child: Child,
}

impl Group {
    fn spawn(command: &mut Command) -> Result<Self> {
        let spelled = command::spelled(command);
        watch()?;
        let mut running = running();
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start `{spelled}`"))?;
        *running = Some(Pid::from_raw(child.id().cast_signed()));
        Ok(Self { child })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        *running() = None;
    }
}

/// Runs it with our own output; its status, whatever it is.
///
/// # Errors
/// It cannot be started.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    Group::spawn(command)?.child.wait().context("cannot wait for it")
}

/// As [`status`].
///
/// # Errors
/// It cannot be started, or ends with another status than success.
pub fn run(command: &mut Command) -> Result<()> {
    let spelled = command::spelled(command);
    let status = status(command)?;
    if !status.success() {
        bail!("`{spelled}` failed ({status})");
    }
    Ok(())
}

/// Runs it and gives its standard output; what it says besides is seen.
///
/// # Errors
/// It cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    let mut group = Group::spawn(command.stdout(Stdio::piped()))?;
    let mut stdout = Vec::new();
    if let Some(mut pipe) = group.child.stdout.take() {
        std::io::Read::read_to_end(&mut pipe, &mut stdout).context("cannot read its output")?;
    }
    let status = group.child.wait().context("cannot wait for it")?;
    Ok(Output { status, stdout, stderr: Vec::new() })
}
