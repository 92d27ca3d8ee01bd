//! A laboratory of network namespaces: a server, clients and relay agents on one machine, joined by veth pairs.
//!
//! `cargo xtask run` and the end-to-end tests make it, in this one way. Everything is removed when it is dropped; when the
//! process is killed, its [`janitor`] removes it; and what neither could is removed by the next one that starts.

pub mod capture;
pub mod clients;
pub mod counters;
pub mod janitor;
pub mod kea;
pub mod namespace;
pub mod parameter;
pub mod perfdhcp;
pub mod process;
pub mod raw;
pub mod requestor;
pub mod server;
pub mod veth;

pub use capture::Capture;
pub use kea::Kea;
pub use namespace::Namespace;
pub use parameter::Parameter;
pub use process::Process;
pub use requestor::Requestor;
pub use server::Server;
pub use veth::{End, Veth};

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{command, signals::Stop};

/// The namespaces of one experiment, and a folder for its files.
///
/// Dropping it removes both. Whatever runs in the namespaces must be dropped before: declare it after the laboratory.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    /// An empty laboratory; removes first what dead ones left behind.
    ///
    /// # Errors
    /// Not root, a tool is missing, or no temporary folder can be made.
    pub fn new() -> Result<Self> {
        if !command::is_root() {
            bail!("network namespaces need root");
        }
        janitor::start()?;
        namespace::remove_stale();
        let folder = TempDir::with_prefix(format!("{}{}-", janitor::FOLDER_PREFIX, std::process::id()))
            .context("cannot make a temporary folder")?;
        Ok(Self { folder })
    }

    /// A namespace; `role` is a letter or a short word that its name ends with.
    ///
    /// # Errors
    /// `ip netns add` failed.
    pub fn namespace(&self, role: &str) -> Result<Namespace> {
        Namespace::new(role)
    }

    /// A path in the laboratory's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new folder in the laboratory's.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

/// Writes an executable file.
pub(crate) fn write_script(path: &Path, text: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Asks again and again until there is an answer, or [`Stop`] says that it is time to stop.
///
/// # Errors
/// The first error of `ask`, or none came in time: `what` says of what.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_through(what, limit, || {
        Stop::check()?;
        ask()
    })
}

/// As [`wait_for`], and also while stopping: that is when processes are waited for.
pub(crate) fn wait_through<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("waited {} s for {what}", limit.as_secs_f32());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
