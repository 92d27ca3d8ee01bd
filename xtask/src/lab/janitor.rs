//! A small process that outlives its laboratory: it reads from a pipe that only we hold open, so that it wakes when we end,
//! however we end, and removes what we made.

use std::{
    env, fs,
    io::Read,
    os::unix::process::CommandExt,
    process::{self, Child, Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context, Result};

use super::{namespace, parameter};

/// Start of the names of laboratories' folders; the process id and a dash follow.
pub(super) const FOLDER_PREFIX: &str = "dhcp-xdp-lab-";
/// Says to a process that it is a janitor, and whose.
const VARIABLE: &str = "DHCP_XDP_LAB_JANITOR";

// Held until this process ends: the pipe to it closes then.
static JANITOR: Mutex<Option<Child>> = Mutex::new(None);

/// Starts this process's janitor, unless it has one.
pub(super) fn start() -> Result<()> {
    let mut janitor = JANITOR.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if janitor.is_none() {
        let program = env::current_exe().context("cannot find the running program")?;
        let mut command = Command::new(program);
        command.env(VARIABLE, process::id().to_string()).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C is for us, not for it.
        command.process_group(0);
        *janitor = Some(command.spawn().context("cannot start the janitor")?);
    }
    Ok(())
}

/// To be called first in the `main` of every program that makes a laboratory: if this process was started as a janitor, it
/// is one now, and does not return.
pub fn take_over() {
    let Some(pid) = env::var(VARIABLE).ok().and_then(|pid| pid.parse().ok()) else { return };
    let mut byte = [0];
    // Nobody ever writes: this returns when the last end of the pipe closes.
    while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
    namespace::remove_of(pid);
    remove_folders_of(pid);
    process::exit(0);
}

fn remove_folders_of(pid: u32) {
    let prefix = format!("{FOLDER_PREFIX}{pid}-");
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Nobody is left to be told when these fail.
            parameter::put_back(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
