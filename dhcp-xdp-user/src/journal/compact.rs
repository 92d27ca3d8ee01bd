//! Compaction while the server runs: closed segments become part of a snapshot, and go.
//!
//! A closed segment is one that a later one continues; nothing is written to it any more. A [`Compaction`] takes some of the
//! oldest of them into memory ([`BATCH`] bytes, or one), sorts what they have by address, and merges it with the
//! snapshot before them, if any, into a new one that has the number of the last of them. That one is written under another
//! name, in small pieces that are each synced, so that a commit in between never finds much to wait for. Then it is
//! renamed, the directory synced, and only then are the files that it replaces removed. The segment after it
//! names its number, so the chain goes on. A crash at any point leaves either the old files or the new one in the chain;
//! what is aside is removed at the next start.
//!
//! Disk space: the snapshot, closed segments of [`CompactionPolicy::percent`] of its size (or [`CompactionPolicy::segments`]), the
//! snapshot that is being written, and what is recorded meanwhile: at 100 percent about three times the live records, and
//! some segments of 64 MiB. Memory: [`BATCH`] and a fifth more, while it works. Addresses that are in no pool now are kept too: a
//! pool that comes back finds its leases.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use super::{
    Disk, JournalError,
    chain::{self, Link},
    record::{self, Bytes, MAX_RECORDS, RECORD},
    segment::{self, Kind, ROTATE_AT},
    snapshot::{Assembly, Change, SnapshotReader, SnapshotWriter},
    status::Shared,
};
use crate::{clock::Moment, lease::is_current, room::Reserve};

/// Bytes of closed segments that are taken into memory at a time.
const BATCH: u64 = 4 * ROTATE_AT;
/// After a piece that took so long, it rests so many times as long: it takes a fifth of a disk at most.
const REST: u32 = 4;
/// The longest rest between two pieces.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// After an error it tries again so much later.
const RETRY: Duration = Duration::from_secs(60);
/// While segments that are due are left for a follower, the disk's room is looked at so often.
const LOOK_AT_ROOM: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(10) };

/// When closed segments are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// When they are as large as this share of the snapshot before them, percent; 0: never while the server runs.
    pub percent: u32,
    /// Or when there are so many of them: restarts leave small ones.
    pub segments: usize,
}

impl Default for CompactionPolicy {
    fn default() -> Self {
        Self { percent: 100, segments: 32 }
    }
}

impl CompactionPolicy {
    /// The closed files that a compaction takes now, oldest first; none when it is not worth it.
    pub(super) fn plan(&self, chain: &[Link]) -> Vec<Link> {
        let Some((_open, closed)) = chain.split_last() else { return Vec::new() };
        let size = |kind| closed.iter().filter(|link| link.header.kind == kind).map(|link| link.len).sum::<u64>();
        let segments = closed.iter().filter(|link| link.header.kind == Kind::Segment).count();
        let grown = size(Kind::Segment) >= size(Kind::Snapshot) / 100 * u64::from(self.percent);
        let full = size(Kind::Segment) >= ROTATE_AT / 2;
        if self.percent == 0 || !((grown && full) || segments >= self.segments) {
            return Vec::new();
        }
        batch(closed)
    }
}

/// The first files of a chain that fit into memory at a time: a snapshot, which is read as it goes, and segments.
pub(super) fn batch(links: &[Link]) -> Vec<Link> {
    let mut bytes = 0;
    let fits = |link: &&Link| {
        let is_first = bytes == 0;
        bytes += if link.header.kind == Kind::Snapshot { 0 } else { link.len.max(1) };
        is_first || bytes <= BATCH
    };
    links.iter().take_while(fits).cloned().collect()
}

/// What the closed segments of a batch have: the newest change of each address, in the order of addresses.
#[derive(Default)]
struct Delta {
    bytes: Vec<Bytes>,
    /// Address as its number, generation, and place of its base record in `bytes`.
    entries: Vec<(u64, u32, u32)>,
    next: usize,
}

impl Delta {
    /// Reads a segment. Returns the time that its last marker tells.
    fn load(&mut self, disk: &dyn Disk, link: &Link) -> Result<Option<Moment>, JournalError> {
        let extent = link.extent(disk)?;
        let count = (extent.end / RECORD as u64) as usize;
        self.entries.reserve(count);
        let mut assembly = Assembly::default();
        let file = link.open(disk)?;
        let mut buffer = vec![0; chain::READ_SIZE.min(count * RECORD)];
        let mut offset = RECORD as u64;
        while offset < extent.end {
            let wanted = buffer.len().min((extent.end - offset) as usize);
            let filled = file.read_at(&mut buffer[..wanted], offset).map_err(JournalError::on(
                disk,
                Some(&link.name),
                "read it",
            ))?;
            let (records, _) = buffer[..filled].as_chunks::<RECORD>();
            for bytes in records {
                let damaged = || chain::damaged(disk, &link.name, offset);
                let record = record::decode(bytes, link.header.seed).ok_or_else(damaged)?;
                if let Some((address, generation)) = assembly.take(&record, bytes).map_err(|()| damaged())? {
                    self.bytes.extend(assembly.records());
                    self.entries.push((address, generation, (self.bytes.len() - 1) as u32));
                }
                offset += RECORD as u64;
            }
            if filled < wanted {
                return Err(chain::damaged(disk, &link.name, offset));
            }
        }
        Ok(extent.moment)
    }

    /// Puts them in the order of addresses, of each the newest.
    fn sort(&mut self) {
        self.entries.sort_unstable_by_key(|(address, _, place)| (*address, *place));
        self.entries.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same && is_current(later.1, kept.1) {
                *kept = *later;
            }
            is_same
        });
    }

    fn peek(&self) -> Option<(u64, u32)> {
        self.entries.get(self.next).map(|(address, generation, _)| (*address, *generation))
    }

    /// The records of the next change: the base, and the continuations right before it.
    fn take(&mut self) -> &[Bytes] {
        let Some((_, _, place)) = self.entries.get(self.next) else { return &[] };
        self.next += 1;
        let last = *place as usize;
        let mut first = last;
        while first > 0 && last - first < MAX_RECORDS - 1 && record::is_continuation(&self.bytes[first - 1]) {
            first -= 1;
        }
        &self.bytes[first..=last]
    }
}

/// A compaction under way; each step is short.
pub(super) struct Compaction {
    replaced: Vec<Link>,
    /// How many of `replaced` are still to be read into `delta`.
    unread: std::vec::IntoIter<Link>,
    delta: Delta,
    old: Option<SnapshotReader>,
    /// The next change of `old`.
    head: Option<Change>,
    writer: SnapshotWriter,
    moment: Moment,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Done,
}

impl Compaction {
    /// Begins one of these files, which are the oldest of the chain.
    pub fn begin(disk: &dyn Disk, links: Vec<Link>) -> Result<Self, JournalError> {
        let number = links.last().map_or(0, |link| link.header.number);
        let mut moment = Moment::default();
        let mut unread = links.clone();
        let mut old = None;
        if let Some(first) = unread.first().filter(|link| link.header.kind == Kind::Snapshot) {
            moment = first.extent(disk)?.moment.unwrap_or_default();
            old = Some(SnapshotReader::open(disk, unread.remove(0))?);
        }
        let writer = SnapshotWriter::begin(disk, number).map_err(fail(disk, "begin a snapshot in it"))?;
        let records = unread.iter().map(|link| link.len as usize / RECORD).sum();
        let delta = Delta { bytes: Vec::with_capacity(records), ..Delta::default() };
        Ok(Self { replaced: links, unread: unread.into_iter(), delta, old, head: None, writer, moment })
    }

    /// The number of the last file that it replaces.
    #[cfg(test)]
    pub fn last(&self) -> u64 {
        self.replaced.last().map_or(0, |link| link.header.number)
    }

    /// Reads a segment, or writes a piece.
    pub fn step(mut self, disk: &dyn Disk) -> Result<(Option<Self>, Step), JournalError> {
        if let Some(link) = self.unread.next() {
            self.moment = self.delta.load(disk, &link)?.unwrap_or(self.moment);
            if self.unread.as_slice().is_empty() {
                self.delta.sort();
                self.head = self.next_old(disk)?;
            }
            return Ok((Some(self), Step::More));
        }
        let is_full = self.merge(disk)?;
        if is_full {
            self.writer.flush().map_err(fail(disk, "write a snapshot in it"))?;
            return Ok((Some(self), Step::More));
        }
        self.writer.finish(disk, &self.moment).map_err(fail(disk, "put a snapshot in place in it"))?;
        for link in &self.replaced {
            remove(disk, &link.name);
        }
        Ok((None, Step::Done))
    }

    fn next_old(&mut self, disk: &dyn Disk) -> Result<Option<Change>, JournalError> {
        match &mut self.old {
            Some(old) => old.next(disk),
            None => Ok(None),
        }
    }

    /// Merges until there is enough for a piece; false at the end.
    fn merge(&mut self, disk: &dyn Disk) -> Result<bool, JournalError> {
        loop {
            let is_full = match (self.head.as_ref(), self.delta.peek()) {
                (None, None) => return Ok(false),
                (Some(old), Some((address, generation))) if old.address == address => {
                    if is_current(generation, old.generation) {
                        // The old one is outdated.
                        self.head = self.next_old(disk)?;
                    } else {
                        self.delta.take();
                    }
                    continue;
                }
                (Some(old), new) if new.is_none_or(|(address, _)| old.address < address) => {
                    let is_full = self.writer.add(&old.records);
                    self.head = self.next_old(disk)?;
                    is_full
                }
                _ => self.writer.add(self.delta.take()),
            };
            if is_full {
                return Ok(true);
            }
        }
    }
}

fn fail(disk: &dyn Disk, action: &'static str) -> impl FnOnce(std::io::Error) -> JournalError {
    JournalError::on(disk, None, action)
}

/// What cannot be removed does no harm.
fn remove(disk: &dyn Disk, name: &str) {
    if let Err(error) = disk.remove(name) {
        log::warn!("{}: cannot remove it: {error}", chain::at(disk, name));
    }
}

/// Removes what no longer counts: unfinished snapshots, and all before the file that the journal begins with. That one has its
/// name for good first: a power cut may undo a rename of the run before.
pub(super) fn sweep(disk: &dyn Disk) -> Result<(), JournalError> {
    let files = segment::list(disk)?;
    let Some(first) = chain::walk(disk)?.into_iter().next() else { return Ok(()) };
    let old = files.whole.into_iter().filter(|file| *file < (first.header.number, first.header.kind));
    let mut names: Vec<String> = old.map(|(number, kind)| segment::name(number, kind)).collect();
    names.extend(files.unfinished.into_iter().map(segment::unfinished_name));
    if names.is_empty() {
        return Ok(());
    }
    disk.sync_names().map_err(fail(disk, "sync it"))?;
    names.iter().for_each(|name| remove(disk, name));
    Ok(())
}

/// What is left when nothing more is compacted.
enum Rest {
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
        lower_priority();
        if let Err(error) = sweep(&*self.disk) {
            log::warn!("journal: not tidied: {error}");
        }
        loop {
            let compacted = self.compact_what_is_due();
            let again = match compacted {
                Ok(Rest::Nothing) => None,
                Ok(Rest::Held) => Some(LOOK_AT_ROOM),
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

    fn compact_what_is_due(&self) -> Result<Rest, JournalError> {
        let disk = &*self.disk;
        loop {
            let (chain, board) = (chain::walk(disk)?, &self.shared.board);
            if self.policy.plan(&chain).is_empty() {
                board.nothing_is_due();
                return Ok(Rest::Nothing);
            }
            let plan = self.policy.plan(board.compactable(&chain, self.is_short()));
            if plan.is_empty() {
                return Ok(Rest::Held);
            }
            let (start, files) = (Instant::now(), plan.len());
            let last = plan.last().map(|link| link.header.number);
            self.shared.compaction_began();
            if !self.compact(plan)? {
                return Ok(Rest::Nothing);
            }
            if let Some(last) = last {
                board.compacted(last);
            }
            log::info!("journal: compacted {files} files in {:.1} s", start.elapsed().as_secs_f64());
        }
    }

    /// One compaction, with rests in between; false when the server stops meanwhile.
    fn compact(&self, plan: Vec<Link>) -> Result<bool, JournalError> {
        let disk = &*self.disk;
        let unfinished = plan.last().map_or_else(String::new, |link| segment::unfinished_name(link.header.number));
        let mut compaction = Compaction::begin(disk, plan)?;
        loop {
            let start = Instant::now();
            match compaction.step(disk) {
                Ok((Some(more), _)) => compaction = more,
                Ok((None, _)) => return Ok(true),
                Err(error) => {
                    remove(disk, &unfinished);
                    return Err(error);
                }
            }
            if self.is_stopping() {
                remove(disk, &unfinished);
                return Ok(false);
            }
            std::thread::sleep((start.elapsed() * REST).min(LONGEST_REST));
        }
    }
}

/// Whatever else wants a CPU has it at once (SCHED_IDLE, sched(7)): a low nice value alone would let this thread finish its
/// slice of some milliseconds while the journal's waits. Where workers spin on all CPUs it still gets a share, of 0.3 %.
fn lower_priority() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        log::debug!("the compaction's thread keeps its priority: {error}");
    }
}
