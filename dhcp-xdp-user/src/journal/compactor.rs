//! The thread that compacts beside a running server, and when.
//!
//! Steps are done by a thread that gives way to all others, so that no commit waits for one. On a machine that has no time for such a
//! thread the journal would grow without end: when compaction is [behind](CompactionPolicy::is_behind), or the disk has no room for
//! much more, the steps are done as anybody else's work. Two threads, since one that has given way needs a capability to undo it.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread::Scope,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    Disk, JournalError,
    chain::{self, Link},
    compact::{self, Compaction, CompactionPolicy},
    segment,
    status::Shared,
};
use crate::{
    priority::{self, Priority},
    room::Reserve,
};

/// After a piece that took so long, it rests so many times as long: it takes a fifth of a disk at most.
const REST: u32 = 4;
/// In a hurry it rests for this part of it: commits come in between.
const REST_IN_A_HURRY: u32 = 4;
/// The longest rest between two pieces.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// After an error it tries again so much later.
const RETRY: Duration = Duration::from_secs(60);
/// So often the disk's room, and how much there is to do, is looked at: while one is under way, and while segments that are due are
/// left for a follower.
pub(super) const LOOK_AT_DISK: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(10) };

/// What is left when nothing more is compacted.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing that is due, or the server stops.
    Nothing,
    /// What is due is left for a follower.
    Held,
}

/// The thread that compacts.
pub(super) struct Compactor {
    pub disk: Arc<dyn Disk>,
    pub policy: CompactionPolicy,
    pub shared: Arc<Shared>,
    /// Where somebody retains: what of the disk is not for that.
    pub reserve: Reserve,
    /// A segment was closed; ends with the journal's thread.
    pub closed: Receiver<()>,
}

impl Compactor {
    /// Until the journal stops.
    pub fn run(self) {
        std::thread::scope(|scope| {
            let idle = Idle::start(scope, &*self.disk)
                .inspect_err(|error| log::warn!("journal: no thread for compaction in idle time: {error}"));
            self.run_with(idle.ok().as_ref());
        });
    }

    fn run_with(&self, idle: Option<&Idle>) {
        if let Err(error) = compact::sweep(&*self.disk) {
            log::warn!("journal: not tidied: {error}");
        }
        loop {
            let compacted = self.compact_what_is_due(idle);
            let again = match compacted {
                Ok(Rest::Nothing) => None,
                Ok(Rest::Held) => Some(LOOK_AT_DISK),
                Err(_) => Some(RETRY),
            };
            self.shared.compaction_ended(compacted.map(|_| ()));
            let is_over = match again {
                Some(after) => self.closed.recv_timeout(after) == Err(RecvTimeoutError::Disconnected),
                None => self.closed.recv().is_err(),
            };
            if is_over || self.is_stopping() {
                return;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Whether the disk has so little room that it is not to be spent on who is behind. One that does not say has enough.
    fn is_short(&self) -> bool {
        let room = self.disk.room().ok().flatten();
        room.is_some_and(|room| room.free < self.reserve.last_half(room.total))
    }

    /// Whether this cannot wait for idle time.
    fn is_urgent(&self, chain: &[Link]) -> bool {
        // A snapshot is written before what it replaces goes; who is without room for two would soon be without.
        let bytes: u64 = chain.iter().map(|link| link.len).sum();
        let room = self.disk.room().ok().flatten();
        self.policy.is_behind(chain) || room.is_some_and(|room| room.free / 2 < bytes)
    }

    /// All that is due, one compaction after the other.
    pub fn compact_what_is_due(&self, idle: Option<&Idle>) -> Result<Rest, JournalError> {
        let disk = &*self.disk;
        loop {
            let (chain, board) = (chain::walk(disk)?, &self.shared.board);
            if self.policy.plan(&chain).is_empty() {
                board.nothing_is_due();
                return Ok(Rest::Nothing);
            }
            let compactable = board.compactable(&chain, self.is_short());
            let plan = self.policy.plan(compactable);
            if plan.is_empty() {
                return Ok(Rest::Held);
            }
            let (start, files) = (Instant::now(), plan.len());
            let last = plan.last().map(|link| link.header.number);
            self.shared.compaction_began();
            let is_urgent = self.is_urgent(compactable);
            if !self.compact(plan, is_urgent, idle)? {
                return Ok(Rest::Nothing);
            }
            if let Some(last) = last {
                board.compacted(last);
            }
            log::info!("journal: compacted {files} files in {:.1} s", start.elapsed().as_secs_f64());
        }
    }

    /// One compaction, with rests in between; false when the server stops meanwhile.
    fn compact(&self, plan: Vec<Link>, mut is_urgent: bool, idle: Option<&Idle>) -> Result<bool, JournalError> {
        let disk = &*self.disk;
        let unfinished = plan.last().map_or_else(String::new, |link| segment::unfinished_name(link.header.number));
        let mut compaction = Compaction::begin(disk, plan)?;
        let mut looked = Instant::now();
        loop {
            if !is_urgent && looked.elapsed() >= LOOK_AT_DISK {
                is_urgent = chain::walk(disk).is_ok_and(|chain| self.is_urgent(self.shared.board.before_held(&chain)));
                looked = Instant::now();
            }
            let start = Instant::now();
            let stepped = match idle.filter(|_| !is_urgent) {
                Some(idle) => idle.step(disk, compaction),
                None => compaction.step(disk),
            };
            match stepped {
                Ok(Some(more)) => compaction = more,
                Ok(None) => return Ok(true),
                Err(error) => {
                    compact::remove(disk, &unfinished);
                    return Err(error);
                }
            }
            if self.is_stopping() {
                compact::remove(disk, &unfinished);
                return Ok(false);
            }
            let took = start.elapsed();
            let rest = if is_urgent { took / REST_IN_A_HURRY } else { took * REST };
            std::thread::sleep(rest.min(LONGEST_REST));
        }
    }
}

/// A thread that does steps when nobody else wants a CPU.
pub(super) struct Idle {
    pub steps: Sender<Compaction>,
    pub stepped: Receiver<Result<Option<Compaction>, JournalError>>,
}

impl Idle {
    /// It ends when this is dropped.
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, disk: &'scope dyn Disk) -> io::Result<Self> {
        let (steps, to_do) = bounded::<Compaction>(1);
        let (done, stepped) = bounded(1);
        std::thread::Builder::new().name("compaction-idle".into()).spawn_scoped(scope, move || {
            priority::lower(Priority::Idle);
            for compaction in to_do {
                if done.send(compaction.step(disk)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { steps, stepped })
    }

    fn step(&self, disk: &dyn Disk, compaction: Compaction) -> Result<Option<Compaction>, JournalError> {
        let ended = || JournalError::on(disk, None, "compact it")(io::Error::other("the thread that does has ended"));
        self.steps.send(compaction).map_err(|_| ended())?;
        self.stepped.recv().map_err(|_| ended())?
    }
}
