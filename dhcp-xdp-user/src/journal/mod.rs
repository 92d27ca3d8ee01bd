//! The journal: every binding's change on stable storage before its ACK leaves.
//!
//! A worker submits to its [`Lane`] and releases parked ACKs when the lane says that they are durable; the server recovers,
//! starts and stops the [`Journal`]. Nobody else calls it. It knows bindings and bytes, never packets.
//!
//! Segments are append-only files of checksummed 64-byte [`record`]s. Records go to the disk in groups, one write and one
//! `fdatasync` each; a group starts with a marker that says how many bytes of the segment were durable by then. That is how
//! [`recovery`] tells a torn end (bad records beyond what any marker vouches for: cut off) from damage (refused).

mod addresses;
mod compact;
mod disk;
mod import;
mod inspect;
mod lane;
mod mend;
mod record;
mod recovery;
mod repair;
mod segment;
mod writer;

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

pub use addresses::Addresses;
pub use disk::{DirectoryDisk, Disk, SegmentFile};
pub use import::{Import, Imported, NotImported};
pub use inspect::{Damage, DamageKind, Ignored, Inspection, Progress, SegmentView, inspect};
pub use lane::{Lane, LaneFull, Ticket};
pub use recovery::RecoveryReport;
pub use repair::{Repair, Repaired};
pub use writer::JournalStatus;

use crate::{config::Durability, lease::Binding, wake::Wake};
use writer::{Shared, Writer};

/// Why the journal cannot be opened, read or stopped.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// A record that was durable cannot be read.
    #[error(
        "{path}: damaged record at byte {offset}, before the journal's durable end: `{}` says what is lost, `{}` saves the \
         rest; or restore this file from a backup",
        command("check", .path),
        command("repair", .path)
    )]
    Damaged {
        /// The segment.
        path: String,
        /// Offset of the first bad record, bytes.
        offset: u64,
    },
    /// A segment that was durable is not there.
    #[error(
        "{path}: it is not there, though a later segment continues it: `{}` says what is lost, `{}` saves the rest; or \
         restore this file from a backup",
        command("check", .path),
        command("repair", .path)
    )]
    Missing {
        /// The segment.
        path: String,
    },
    /// Written by a newer version.
    #[error("{path}: format version {found} is newer than this program's {known}: use the program that wrote it")]
    NewerVersion {
        /// The segment.
        path: String,
        /// Its version.
        found: u16,
        /// The newest that this program reads.
        known: u16,
    },
    /// Another process has it open.
    #[error("{path}: in use by another process: stop that server, or give this one another state directory")]
    InUse {
        /// The state directory.
        path: String,
    },
    /// A file has a segment's name and is none of ours.
    #[error("{path}: {what}: it is not this program's; move it away")]
    Foreign {
        /// The file.
        path: String,
        /// How that shows.
        what: &'static str,
    },
    /// It is not known what became of the last records.
    #[error("{path}: {reason}: the last changes may not be durable; no ACK was sent for such a one in `sync` mode")]
    Unknown {
        /// The state directory.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The disk did not take the last records before the server had to stop.
    #[error("{path}: {records} records could not be made durable: {reason}")]
    NotDurable {
        /// The state directory.
        path: String,
        /// How many.
        records: u64,
        /// The disk's last error.
        reason: String,
    },
}

impl JournalError {
    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { path, action, source }
    }
}

/// The command line that looks at, or repairs, the journal that a segment belongs to.
fn command(what: &str, segment: &str) -> String {
    let dir = Path::new(segment).parent().unwrap_or(Path::new("."));
    format!("dhcp-xdp journal {what} --state-dir {}", dir.display())
}

/// How long a stop waits for the disk: longer than the thread itself tries when the disk says no.
const STOP_PATIENCE: Duration = if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(10) };

/// A running journal: one thread, as many lanes as workers.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    stopper: lane::Stopper,
    thread: JoinHandle<()>,
    /// How the thread ended.
    ended: Receiver<Result<(), JournalError>>,
    dir: PathBuf,
    _lock: File,
}

impl Journal {
    /// Reads all that a state directory holds, in the order it was written, for a server that is about to start. What it
    /// read is then written once more, the newest record of each address alone, in place of the segments that were there:
    /// the journal does not grow from start to start, and a torn end is gone. Should the disk refuse that, the old
    /// segments stay, and all goes on.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`JournalError::InUse`].
    pub fn recover(dir: &Path, each: impl FnMut(Binding)) -> Result<RecoveryReport, JournalError> {
        Self::recover_on(&mut DirectoryDisk::new(dir), dir, each)
    }

    /// As [`recover`](Self::recover), writing to a disk of the caller's.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub fn recover_on(
        disk: &mut dyn Disk,
        dir: &Path,
        each: impl FnMut(Binding),
    ) -> Result<RecoveryReport, JournalError> {
        let _lock = lock(dir)?;
        compact::recover(disk, dir, each)
    }

    /// Reads it without changing anything, also beside a running server (for `leases` without one). When that one starts
    /// at the same time and replaces segments, reading begins anew, and `each` gets some records twice.
    ///
    /// # Errors
    /// A file cannot be read, is damaged, or was written by a newer version.
    pub fn read(dir: &Path, mut each: impl FnMut(Binding)) -> Result<RecoveryReport, JournalError> {
        for _ in 0..3 {
            match recovery::read(dir, &mut each) {
                Err(JournalError::Missing { .. }) => {}
                Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        recovery::read(dir, each)
    }

    /// Opens a new segment and starts the thread; `wakes` has one entry a lane, woken when its records are durable.
    ///
    /// # Errors
    /// The directory is in use, or its last segment cannot be read, or the new one not be made.
    pub fn start(
        dir: &Path,
        durability: Durability,
        wakes: Vec<Arc<Wake>>,
    ) -> Result<(Journal, Vec<Lane>), JournalError> {
        Self::start_on(Box::new(DirectoryDisk::new(dir)), dir, durability, wakes)
    }

    /// As [`start`](Self::start), writing to a disk of the caller's: a test's may fail on purpose.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(
        disk: Box<dyn Disk>,
        dir: &Path,
        durability: Durability,
        wakes: Vec<Arc<Wake>>,
    ) -> Result<(Journal, Vec<Lane>), JournalError> {
        let lock = lock(dir)?;
        let shared = Arc::new(Shared::new(wakes));
        let (stopper, receiver, lanes) = lane::channel(&shared, durability == Durability::Sync);
        let writer = Writer::open(disk, dir, durability, Arc::clone(&shared), receiver)?;
        let (end, ended) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                // Whoever no longer waits has said so.
                let _ = end.send(writer.run());
            })
            .map_err(JournalError::io(dir, "start the journal's thread"))?;
        Ok((Self { shared, stopper, thread, ended, dir: dir.to_owned(), _lock: lock }, lanes))
    }

    /// How it does.
    pub fn status(&self) -> JournalStatus {
        let status = self.shared.status();
        if self.thread.is_finished() && status.failing.is_none() {
            return JournalStatus { failing: Some("its thread has ended: this is a bug".into()), ..status };
        }
        status
    }

    /// Makes durable what was submitted and ends the thread. All lanes are to be idle by then.
    ///
    /// # Errors
    /// [`JournalError::NotDurable`]: the disk still fails. [`JournalError::Unknown`]: it does not answer.
    pub fn stop(self) -> Result<(), JournalError> {
        self.stop_with_status().1
    }

    /// As [`stop`](Self::stop), with how it did to the last.
    pub fn stop_with_status(self) -> (JournalStatus, Result<(), JournalError>) {
        self.shared.ask_to_stop();
        self.stopper.stop();
        let unknown = |reason| Err(JournalError::Unknown { path: self.dir.display().to_string(), reason });
        let result = match self.ended.recv_timeout(STOP_PATIENCE) {
            Ok(result) => result,
            // A thread that hangs in the kernel cannot be ended; the process goes without it.
            Err(RecvTimeoutError::Timeout) => unknown("the disk does not answer"),
            Err(RecvTimeoutError::Disconnected) => unknown("the journal's thread has panicked"),
        };
        (self.shared.status(), result)
    }
}

/// Takes the directory for this process: a lock on the directory itself, which no file in it that is removed can undo.
fn lock(dir: &Path) -> Result<File, JournalError> {
    let file = File::open(dir).map_err(JournalError::io(dir, "open it"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { path: dir.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(JournalError::io(dir, "lock it")(error)),
    }
}

#[cfg(test)]
mod tests;
