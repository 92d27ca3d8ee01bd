//! ISC's Kea (Debian: kea-dhcp4-server) as a second server: its process, for a configuration that the caller made.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Lab, Namespace, Process};

/// Time for a start.
const START: Duration = Duration::from_secs(20);
/// What it says once it serves.
const STARTED: &str = "DHCP4_STARTED";

/// `kea-dhcp4` in a namespace; killed when dropped.
#[derive(Debug)]
pub struct Kea {
    process: Process,
    file: PathBuf,
}

impl Kea {
    /// Starts it with this as its `Dhcp4` and waits until it serves. `loggers` is set here.
    ///
    /// # Errors
    /// It is not installed, or does not take the configuration: with the end of its log.
    pub fn start(lab: &Lab, namespace: &Namespace, dhcp4: Value) -> Result<Self> {
        let folder = lab.folder("kea")?;
        let mut dhcp4 = dhcp4;
        dhcp4["loggers"] = json!([{
            "name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout", "flush": true}]
        }]);
        let file = folder.join("kea.json");
        let text = serde_json::to_string_pretty(&json!({"Dhcp4": dhcp4})).context("cannot write JSON")?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = namespace.command("kea-dhcp4")?;
        // Its own folders belong to the system's Kea, which may run.
        command.env("KEA_PIDFILE_DIR", &folder).env("KEA_LOCKFILE_DIR", &folder).arg("-c").arg(&file);
        let mut process = Process::spawn(&mut command, folder.join("kea.log"))?;
        process.wait_for_output(STARTED, START).with_context(|| process.last_words())?;
        Ok(Self { process, file })
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its configuration file.
    pub fn file(&self) -> &PathBuf {
        &self.file
    }
}
