//! The journal: every binding's change on stable storage before its ACK leaves.
//!
//! A worker submits to its [`Lane`] and releases parked ACKs when the lane says that they are durable; the server recovers,
//! starts and stops the [`Journal`]; `events` follows it ([`Followers`]), and the command line reads, imports and repairs one whose
//! server may be stopped. Nobody else calls it. It knows bindings and bytes, never packets.
//!
//! Segments are append-only files of checksummed 64-byte [`record`]s. Records go to the disk in groups, one write and one
//! `fdatasync` each; a group starts with a marker that says how many bytes of the segment were durable by then. That is how
//! [`recovery`] tells a torn end (bad records beyond what any marker vouches for: cut off) from damage (refused). Segments form
//! a [`chain`]; a second thread makes a [`snapshot`] of the closed ones ([`compact`]). Address spaces are numbers in the records; a
//! file beside them has the names of their [VPNs](vrfs).

mod addresses;
mod board;
mod chain;
mod compact;
mod compactor;
mod disk;
mod follow;
mod import;
mod inspect;
mod lane;
mod mend;
mod places;
mod record;
mod recovery;
mod repair;
mod resume;
mod segment;
mod snapshot;
mod status;
mod survey;
mod vrfs;
mod writer;

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

pub use addresses::Addresses;
pub use compact::CompactionPolicy;
pub use disk::{DirectoryDisk, Disk, DiskEntry, DiskLock, SegmentFile, StoredFile};
pub use follow::{Changes, FollowError, FollowFrom, Follower, Followers, Position};
pub use import::{Import, Imported, NotImported};
pub use inspect::{Damage, DamageKind, Ignored, Inspection, Progress, SegmentView, inspect};
pub use lane::{Lane, LaneFull, Ticket};
pub use places::OnFreed;
pub use recovery::RecoveryReport;
pub use repair::{Repair, Repaired};
pub use status::JournalStatus;
pub use vrfs::{keep_vrfs, known_vrfs};

use crate::{
    clock::{Clock, Moment},
    config::Durability,
    lease::Binding,
    room::Reserve,
    wake::Wake,
};
use compactor::Compactor;
use status::Shared;
use writer::{Setup, Writer};

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
    /// A VPN has another number now than its leases have.
    #[error(
        "{path}: the leases of VPN `{name}` have number {known} in the journal, and the configuration says {given}: give it its \
         number, as [[vrf]] name = \"{name}\", number = {known}"
    )]
    Renumbered {
        /// The file that knows.
        path: String,
        /// The VPN.
        name: String,
        /// Its number so far.
        known: u16,
        /// The configured one.
        given: u16,
    },
    /// A VPN would take over the leases of another, which is configured no more.
    #[error(
        "{path}: the leases of VPN `{other}`, which is configured no more, have number {number} in the journal, which VPN `{name}` has \
         too: give that one another, as [[vrf]] name = \"{name}\", number = {free}"
    )]
    NumberTaken {
        /// The file that knows.
        path: String,
        /// Whose leases have the number.
        other: String,
        /// The configured VPN.
        name: String,
        /// The number.
        number: u16,
        /// One that no VPN has.
        free: u16,
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
    /// About a file by its path.
    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { path, action, source }
    }

    /// About a file of a disk, or about its directory.
    fn on(disk: &dyn Disk, name: Option<&str>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = name.map_or_else(|| disk.path().display().to_string(), |name| chain::at(disk, name));
        move |source| Self::Io { path, action, source }
    }

    fn foreign(disk: &dyn Disk, name: &str, what: &'static str) -> Self {
        Self::Foreign { path: chain::at(disk, name), what }
    }
}

/// The command line that looks at, or repairs, the journal that a segment belongs to.
fn command(what: &str, segment: &str) -> String {
    let dir = Path::new(segment).parent().unwrap_or(Path::new("."));
    format!("dhcp-xdp journal {what} --state-dir {}", dir.display())
}

/// How long a stop waits for the disk: longer than the thread itself tries when the disk says no.
const STOP_PATIENCE: Duration = if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(10) };

/// How a journal works.
#[derive(Clone)]
pub struct Options {
    /// When an ACK may leave.
    pub durability: Durability,
    /// When closed segments are compacted.
    pub compaction: CompactionPolicy,
    /// The clock whose time is kept with each group, for the next start.
    pub clock: Clock,
    /// Somebody will [retain](Followers::retain) from this place: nothing after it is compacted before that.
    pub retain: Option<Retain>,
    /// Where the configuration has lease limits: what is told of places that have become free.
    pub on_freed: Option<OnFreed>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("durability", &self.durability).finish_non_exhaustive()
    }
}

/// What compaction leaves for a follower that has not begun.
#[derive(Clone, Copy, Debug)]
pub struct Retain {
    /// Where it will go on; the default is the beginning.
    pub from: Position,
    /// Bytes of closed segments that may be held back for it.
    pub max_bytes: u64,
    /// What of the disk is the journal's: where less than half of it is free, one segment may be held back and no more.
    pub reserve: Reserve,
}

impl Options {
    /// The usual ones, with a clock of their own.
    pub fn new(durability: Durability) -> Self {
        let (compaction, clock) = (CompactionPolicy::default(), Clock::start());
        Self { durability, compaction, clock, retain: None, on_freed: None }
    }
}

/// A journal that was found and is about to be replayed. It holds the directory.
pub struct Recovery {
    disk: Arc<dyn Disk>,
    found: recovery::Found,
    lock: DiskLock,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Recovery {
    /// Finds what a state directory holds, and where it ends.
    ///
    /// # Errors
    /// [`JournalError::InUse`]; a file cannot be read, its last one is damaged, or was written by a newer version.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::open_on(Arc::new(DirectoryDisk::new(dir)))
    }

    /// As [`open`](Self::open), on a disk of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(disk: Arc<dyn Disk>) -> Result<Self, JournalError> {
        let lock = lock(&*disk)?;
        let found = recovery::find(&*disk)?;
        Ok(Self { disk, found, lock })
    }

    /// What the clocks said when the last group was written, if there was one.
    pub fn last_moment(&self) -> Option<Moment> {
        self.found.moment
    }

    /// Bytes that will be read.
    pub fn bytes(&self) -> u64 {
        self.found.bytes()
    }

    /// Hands out all changes, oldest first.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
    pub fn replay(&self, each: impl FnMut(&Binding)) -> Result<RecoveryReport, JournalError> {
        self.found.replay(&*self.disk, each)
    }

    /// Hands out all changes on this many threads, some at a time, the newest files first: of two records of an address the one counts
    /// that [`is_current`](crate::lease::is_current) says. `progress` goes up by the records done.
    ///
    /// # Errors
    /// A file cannot be read or is damaged; then not all was handed out.
    pub fn replay_with(
        &self,
        threads: usize,
        progress: &AtomicU64,
        each: impl Fn(&[Binding]) + Sync,
    ) -> Result<RecoveryReport, JournalError> {
        self.found.replay_with(&*self.disk, threads, progress, &each)
    }

    /// Opens a new segment and starts the journal's threads; `wakes` has one entry a lane, woken when its records are durable.
    ///
    /// # Errors
    /// The new segment cannot be made, or a thread not be started.
    pub fn start(self, options: Options, wakes: Vec<Arc<Wake>>) -> Result<(Journal, Vec<Lane>), JournalError> {
        let Options { durability, compaction, clock, retain, on_freed } = options;
        let Self { disk, found, lock } = self;
        let shared = Arc::new(Shared::new(wakes));
        let (stopper, ends, lanes) = lane::lanes(&shared, durability == Durability::Sync, on_freed.is_some());
        let (closed, closings) = bounded(1);
        let setup = Setup {
            durability,
            moment: Box::new(move || clock.moment()),
            rotate_at: segment::ROTATE_AT,
            closed: Some(closed),
            on_freed,
        };
        let writer = Writer::open(Arc::clone(&disk), &found, setup, Arc::clone(&shared), ends)?;
        if let Some(Retain { from, max_bytes, .. }) = retain {
            shared.board.reserve(&*disk, from, max_bytes)?;
        }
        let reserve = retain.map_or_else(Reserve::default, |retain| retain.reserve);
        let (end, ended) = bounded(1);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).spawn(work);
            thread.map_err(JournalError::on(&*disk, None, "start the journal's thread"))
        };
        let board = Arc::clone(&shared);
        let thread = spawn(
            "journal",
            Box::new(move || {
                let result = writer.run();
                board.board.end();
                // Whoever no longer waits has said so.
                let _ = end.send(result);
            }),
        )?;
        let compactor = Compactor {
            disk: Arc::clone(&disk),
            policy: compaction,
            shared: Arc::clone(&shared),
            reserve,
            closed: closings,
        };
        let compactor = spawn("compaction", Box::new(move || compactor.run()))?;
        Ok((Journal { shared, stopper, thread, compactor, ended, disk, _lock: lock }, lanes))
    }
}

/// A running journal: a thread that writes, one that compacts, and as many lanes as workers.
pub struct Journal {
    shared: Arc<Shared>,
    stopper: lane::Stopper,
    thread: JoinHandle<()>,
    compactor: JoinHandle<()>,
    /// How the thread ended.
    ended: Receiver<Result<(), JournalError>>,
    disk: Arc<dyn Disk>,
    _lock: DiskLock,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.disk.path()).finish_non_exhaustive()
    }
}

impl Journal {
    /// Reads a journal without changing anything, oldest first, also beside a running server (for `leases` without one).
    /// When that one compacts at the same time, reading begins anew, and `each` gets some records twice.
    ///
    /// # Errors
    /// A file cannot be read, is damaged, or was written by a newer version.
    pub fn read(dir: &Path, each: impl FnMut(Binding)) -> Result<RecoveryReport, JournalError> {
        Self::read_on(&DirectoryDisk::new(dir), each)
    }

    /// As [`read`](Self::read), on a disk of the caller's.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_on(disk: &dyn Disk, mut each: impl FnMut(Binding)) -> Result<RecoveryReport, JournalError> {
        let mut read = || recovery::find(disk)?.replay(disk, |binding| each(binding.clone()));
        for _ in 0..3 {
            match read() {
                // Its blocks were being given back while it was read.
                Err(JournalError::Damaged { path, .. }) if !Path::new(&path).exists() => {}
                Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        read()
    }

    /// Puts a snapshot in place of all that a state directory holds, as compaction does while a server runs.
    ///
    /// # Errors
    /// [`JournalError::InUse`]; a file cannot be read or is damaged, or the disk refused: then what was there is there still.
    pub fn compact(dir: &Path) -> Result<(), JournalError> {
        Self::compact_on(&DirectoryDisk::new(dir))
    }

    /// As [`compact`](Self::compact), on a disk of the caller's.
    ///
    /// # Errors
    /// As [`compact`](Self::compact).
    pub fn compact_on(disk: &dyn Disk) -> Result<(), JournalError> {
        let _lock = lock(disk)?;
        compact::sweep(disk)?;
        loop {
            let chain = chain::walk(disk)?;
            let batch = compact::batch(&chain);
            if batch.iter().all(|link| link.header.kind == segment::Kind::Snapshot) {
                return Ok(());
            }
            let mut compaction = Some(compact::Compaction::begin(disk, batch)?);
            while let Some(more) = compaction {
                compaction = more.step(disk)?;
            }
        }
    }

    /// Opens a new segment after those that a directory has and starts the threads, for a server that does without
    /// [`Recovery`]; `wakes` has one entry a lane.
    ///
    /// # Errors
    /// As [`Recovery::open`] and [`Recovery::start`].
    pub fn start(
        dir: &Path,
        durability: Durability,
        wakes: Vec<Arc<Wake>>,
    ) -> Result<(Journal, Vec<Lane>), JournalError> {
        Recovery::open(dir)?.start(Options::new(durability), wakes)
    }

    /// How it does.
    pub fn status(&self) -> JournalStatus {
        let status = self.shared.status();
        if self.thread.is_finished() && status.failing.is_none() {
            return JournalStatus { failing: Some("its thread has ended: this is a bug".into()), ..status };
        }
        status
    }

    /// A way to follow its changes, for any thread, also after it was stopped: to the end.
    pub fn followers(&self) -> Followers {
        Followers { shared: Arc::clone(&self.shared), disk: Arc::clone(&self.disk) }
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
        let unknown = |reason| Err(JournalError::Unknown { path: self.disk.path().display().to_string(), reason });
        let result = match self.ended.recv_timeout(STOP_PATIENCE) {
            Ok(result) => result,
            // A thread that hangs in the kernel cannot be ended; the process goes without it.
            Err(RecvTimeoutError::Timeout) => unknown("the disk does not answer"),
            Err(RecvTimeoutError::Disconnected) => unknown("the journal's thread has panicked"),
        };
        if result.is_ok() {
            // It gives up what it is at when the server stops; the panic of a bug was printed.
            let _ = self.compactor.join();
        }
        (self.shared.status(), result)
    }
}

/// Takes the directory for this process.
fn lock(disk: &dyn Disk) -> Result<DiskLock, JournalError> {
    match disk.lock().map_err(JournalError::on(disk, None, "lock it"))? {
        Some(lock) => Ok(lock),
        None => Err(JournalError::InUse { path: disk.path().display().to_string() }),
    }
}

#[cfg(test)]
mod tests;
