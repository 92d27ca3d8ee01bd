//! Compaction: closed segments become part of a snapshot, and go.
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

use super::{
    Disk, JournalError, StoredFile,
    chain::{self, Extent, Link},
    record::{self, Bytes, MAX_RECORDS, RECORD},
    segment::{self, Kind, ROTATE_AT},
    snapshot::{Assembly, Change, SnapshotReader, SnapshotWriter},
};
use crate::{clock::Moment, lease::is_current};

/// Bytes of closed segments that are taken into memory at a time.
const BATCH: u64 = 4 * ROTATE_AT;
/// So many times what is worth a compaction is more than should ever wait for one.
const BEHIND: u64 = 4;

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
        let segments = closed.iter().filter(|link| link.header.kind == Kind::Segment).count();
        let grown = size(closed, Kind::Segment) >= self.worth(closed).max(ROTATE_AT / 2);
        if self.percent == 0 || !(grown || segments >= self.segments) {
            return Vec::new();
        }
        batch(closed)
    }

    /// Whether compaction does not keep up with what is recorded.
    pub(super) fn is_behind(&self, chain: &[Link]) -> bool {
        let Some((_open, closed)) = chain.split_last() else { return false };
        self.percent != 0 && size(closed, Kind::Segment) / BEHIND >= self.worth(closed).max(ROTATE_AT)
    }

    /// How large segments have to be beside their snapshot, bytes.
    fn worth(&self, closed: &[Link]) -> u64 {
        (size(closed, Kind::Snapshot) / 100).saturating_mul(u64::from(self.percent))
    }
}

/// Bytes of the files of a kind.
fn size(links: &[Link], kind: Kind) -> u64 {
    links.iter().filter(|link| link.header.kind == kind).map(|link| link.len).sum()
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

/// A segment that is being read.
struct Loading {
    link: Link,
    extent: Extent,
    file: Box<dyn StoredFile>,
    assembly: Assembly,
    offset: u64,
}

impl Loading {
    fn begin(disk: &dyn Disk, link: Link) -> Result<Self, JournalError> {
        let (extent, file) = (link.extent(disk)?, link.open(disk)?);
        Ok(Self { link, extent, file, assembly: Assembly::default(), offset: RECORD as u64 })
    }

    /// Reads some of it; true at its end.
    fn step(&mut self, disk: &dyn Disk, delta: &mut Delta) -> Result<bool, JournalError> {
        let Self { link, extent, file, assembly, offset } = self;
        let left = extent.end.saturating_sub(*offset);
        let mut buffer = vec![0; chain::READ_SIZE.min(left as usize)];
        let filled = file.read_at(&mut buffer, *offset).map_err(JournalError::on(disk, Some(&link.name), "read it"))?;
        let (records, _) = buffer[..filled].as_chunks::<RECORD>();
        for bytes in records {
            let damaged = || chain::damaged(disk, &link.name, *offset);
            let record = record::decode(bytes, link.header.seed).ok_or_else(damaged)?;
            if let Some((address, generation)) = assembly.take(&record, bytes).map_err(|()| damaged())? {
                delta.bytes.extend(assembly.records());
                delta.entries.push((address, generation, (delta.bytes.len() - 1) as u32));
            }
            *offset += RECORD as u64;
        }
        if filled < buffer.len() || (records.is_empty() && left > 0) {
            return Err(chain::damaged(disk, &link.name, *offset));
        }
        Ok(*offset >= extent.end)
    }
}

/// A compaction under way; each step is short.
pub(super) struct Compaction {
    replaced: Vec<Link>,
    /// Of `replaced` what is still to be read into `delta`, and what is just being read.
    unread: std::vec::IntoIter<Link>,
    loading: Option<Loading>,
    delta: Delta,
    old: Option<SnapshotReader>,
    /// The next change of `old`.
    head: Option<Change>,
    writer: SnapshotWriter,
    moment: Moment,
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
        Ok(Self { replaced: links, unread: unread.into_iter(), loading: None, delta, old, head: None, writer, moment })
    }

    /// The number of the last file that it replaces.
    #[cfg(test)]
    pub fn last(&self) -> u64 {
        self.replaced.last().map_or(0, |link| link.header.number)
    }

    /// Reads some of a segment, or writes a piece. `None`: it is done.
    pub fn step(mut self, disk: &dyn Disk) -> Result<Option<Self>, JournalError> {
        if self.loading.is_none() {
            self.loading = self.unread.next().map(|link| Loading::begin(disk, link)).transpose()?;
        }
        if let Some(loading) = &mut self.loading {
            if loading.step(disk, &mut self.delta)? {
                self.moment = loading.extent.moment.unwrap_or(self.moment);
                self.loading = None;
                if self.unread.as_slice().is_empty() {
                    self.delta.sort();
                    self.head = self.next_old(disk)?;
                }
            }
            return Ok(Some(self));
        }
        if self.merge(disk)? {
            self.writer.flush().map_err(fail(disk, "write a snapshot in it"))?;
            return Ok(Some(self));
        }
        self.writer.finish(disk, &self.moment).map_err(fail(disk, "put a snapshot in place in it"))?;
        for link in &self.replaced {
            remove(disk, &link.name);
        }
        Ok(None)
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
pub(super) fn remove(disk: &dyn Disk, name: &str) {
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
