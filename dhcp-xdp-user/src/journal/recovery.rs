//! Reading what a state directory holds.
//!
//! First the chain is walked, and of each file it is found how much of it counts: that is known at once of all but the last one
//! and those that a failing disk left a tail behind. Then the records are replayed: in order, for tools, or
//! on several threads, the newest files first, for a server that starts: whoever takes the records then must go by their
//! generations, and finds older ones outdated at a glance.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use arrayvec::ArrayVec;

use super::{
    Disk, JournalError,
    chain::{self, End, Link},
    record::{self, Bytes, MAX_RECORDS, MAX_TAIL, RECORD, Record},
    segment::Carried,
    snapshot::Assembly,
};
use crate::{
    clock::Moment,
    lease::{Binding, LeaseTable, SpacedAddress},
};

/// Bytes of a file that a thread takes on at a time.
const SHARE: u64 = 4 << 20;

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Files read: segments, and the snapshot before them, if any.
    pub segments: u64,
    /// Changes read.
    pub records: u64,
    /// Bytes at the torn end of the last segment, which were never durable and do not count.
    pub torn_bytes: u64,
}

/// The files that count, oldest first.
#[derive(Debug)]
pub(super) struct Found {
    files: Vec<File>,
    /// What the last marker of all says of the time.
    pub moment: Option<Moment>,
}

/// A file, and how much of it counts.
#[derive(Debug)]
struct File {
    link: Link,
    end: u64,
    /// How much of it was durable for certain: by the next header, or, of the last file, by its own markers; 0: it has none.
    sure: u64,
}

/// Finds what counts. Damage is found here in the last file, and in others when they are replayed.
pub(super) fn find(disk: &dyn Disk) -> Result<Found, JournalError> {
    let mut found = Found { files: Vec::new(), moment: None };
    for link in chain::walk(disk)?.into_iter().rev() {
        let is_simple = link.is_cut || link.limit == Some(link.len);
        let (end, sure) = match link.limit.filter(|limit| is_simple && *limit <= link.len && found.moment.is_some()) {
            Some(limit) => (limit, limit),
            None => {
                let extent = link.extent(disk)?;
                found.moment = found.moment.or(extent.moment);
                (extent.end, link.limit.unwrap_or(extent.vouched))
            }
        };
        found.files.push(File { link, end, sure });
    }
    found.files.reverse();
    Ok(found)
}

impl Found {
    /// Where a writer goes on: after what the last file's own markers vouch for. What can be read of it beyond that may be
    /// in the system's memory only, and may never get to the disk: a sync that failed in the run before is no longer told. So the
    /// next header does not vouch for it, and a writer that starts carries it over ([`unsure`](Self::unsure)).
    pub fn end(&self, disk: &dyn Disk) -> Result<End, JournalError> {
        let next = chain::next_number(disk)?;
        let last = self.files.last().and_then(|File { link, sure, .. }| match sure {
            // Its header may not be durable either.
            0 => link.header.previous,
            sure => Some((link.header.number, *sure)),
        });
        Ok(End { last, next })
    }

    /// What [`unsure`](Self::unsure) hands out.
    pub fn carried(&self, disk: &dyn Disk) -> Result<Carried, JournalError> {
        let first = self.files.iter().find(|file| file.sure < file.end);
        let mut carried = Carried { records: 0, from: first.map_or(0, |file| file.link.header.number) };
        self.unsure(disk, |records| {
            carried.records += records.len() as u64;
            Ok(())
        })?;
        Ok(carried)
    }

    /// Hands out the records of changes that count and may not be durable, oldest first.
    pub fn unsure(
        &self,
        disk: &dyn Disk,
        mut each: impl FnMut(&[Bytes]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        for File { link, end, sure } in self.files.iter().filter(|file| file.sure < file.end) {
            let mut assembly = Assembly::default();
            let mut failed = Ok(());
            let file = link.open(disk)?;
            let range = (*sure).max(RECORD as u64)..*end;
            link.scan(disk, &*file, range, &mut Vec::new(), |_, record, bytes| {
                if let Some(record) = record
                    && let Ok(Some(_)) = assembly.take(&record, bytes)
                {
                    failed = each(&assembly.records());
                }
                failed.is_ok()
            })?;
            failed?;
        }
        Ok(())
    }

    /// Bytes that count.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.end).sum()
    }

    /// Hands out all changes, oldest first.
    pub fn replay(&self, disk: &dyn Disk, mut each: impl FnMut(&Binding)) -> Result<RecoveryReport, JournalError> {
        let mut records = 0;
        let mut buffer = Vec::new();
        for File { link, end, .. } in &self.files {
            records += replay(disk, link, RECORD as u64..*end, &mut buffer, &mut each)?;
        }
        Ok(self.report(records))
    }

    /// As [`replay`](Self::replay) on this many threads, the newest files first. `progress` counts records.
    pub fn replay_with(
        &self,
        disk: &dyn Disk,
        threads: usize,
        progress: &AtomicU64,
        each: &(impl Fn(&[Binding]) + Sync),
    ) -> Result<RecoveryReport, JournalError> {
        let shares: Vec<_> = self.files.iter().rev().flat_map(|file| shares(&file.link, file.end)).collect();
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        // The first in the journal's order counts, whichever thread was faster.
        let first_error: Mutex<Option<(u64, JournalError)>> = Mutex::new(None);
        let work = || {
            let mut buffer = Vec::new();
            let mut some = Vec::with_capacity(LeaseTable::RESTORE_BATCH);
            while let Some((link, range)) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    return;
                }
                let mut collect = |binding: &Binding| {
                    some.push(binding.clone());
                    if some.len() == LeaseTable::RESTORE_BATCH {
                        each(&some);
                        some.clear();
                    }
                };
                let replayed = replay(disk, link, range.clone(), &mut buffer, &mut collect);
                each(&some);
                some.clear();
                match replayed {
                    Ok(count) => drop(progress.fetch_add(count, Ordering::Relaxed)),
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                        if first.as_ref().is_none_or(|(number, _)| link.header.number < *number) {
                            *first = Some((link.header.number, error));
                        }
                        return;
                    }
                }
            }
        };
        let before = progress.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 1..threads.clamp(1, shares.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(self.report(progress.load(Ordering::Relaxed) - before)),
        }
    }

    fn report(&self, records: u64) -> RecoveryReport {
        let torn_bytes = self.files.last().map_or(0, |file| file.link.len - file.end);
        RecoveryReport { segments: self.files.len() as u64, records, torn_bytes }
    }
}

fn shares(link: &Link, end: u64) -> impl Iterator<Item = (&Link, Range<u64>)> {
    let starts = (RECORD as u64..end).step_by(SHARE as usize);
    starts.map(move |start| (link, start..end.min(start + SHARE)))
}

/// Hands out the changes whose base record is in this range, all of which is to be good; returns how many.
pub(super) fn replay(
    disk: &dyn Disk,
    link: &Link,
    range: Range<u64>,
    buffer: &mut Vec<u8>,
    each: &mut impl FnMut(&Binding),
) -> Result<u64, JournalError> {
    let mut parts = Parts::default();
    let mut count = 0;
    let mut bad = None;
    let file = link.open(disk)?;
    link.scan(disk, &*file, Link::lead_in(range.start)..range.end, buffer, |offset, record, _| {
        match record {
            Some(Record::Continuation { at, generation, part, bytes }) => {
                parts.add((at, generation), part, bytes);
            }
            Some(Record::Base { .. }) if offset < range.start => {}
            Some(Record::Base { lease, hw, tail, start }) => {
                let whole = parts.complete((lease.at(), lease.generation), start, tail.len());
                match whole.and_then(|whole| tail.binding(&lease, &hw, &whole)) {
                    Some(binding) => {
                        each(&binding);
                        count += 1;
                    }
                    None => bad = Some(offset),
                }
            }
            Some(Record::Marker { .. }) => {}
            None => bad = Some(offset),
        }
        bad.is_none()
    })?;
    bad.map_or(Ok(count), |offset| Err(chain::damaged(disk, &link.name, offset)))
}

/// The continuations of the change that is being read.
#[derive(Default)]
pub(super) struct Parts {
    of: Option<(SpacedAddress, u32)>,
    count: u8,
    bytes: ArrayVec<u8, { MAX_RECORDS * RECORD }>,
}

impl Parts {
    pub fn add(&mut self, of: (SpacedAddress, u32), part: u8, bytes: &[u8]) {
        if part == 1 {
            self.of = Some(of);
            self.count = 0;
            self.bytes.clear();
        }
        if self.of == Some(of) && part == self.count.wrapping_add(1) && self.bytes.try_extend_from_slice(bytes).is_ok()
        {
            self.count = part;
        } else {
            self.of = None;
        }
    }

    /// The whole tail of a base record that holds its start; `None` when parts are missing, or too many.
    pub fn complete(&mut self, of: (SpacedAddress, u32), start: &[u8], len: usize) -> Option<ArrayVec<u8, MAX_TAIL>> {
        let mut tail = ArrayVec::new();
        tail.try_extend_from_slice(start).ok()?;
        let missing = len.saturating_sub(start.len());
        if missing > 0 {
            let is_whole = self.of == Some(of) && usize::from(self.count) + 1 == record::records_of(len);
            let rest = self.bytes.get(..missing).filter(|_| is_whole)?;
            tail.try_extend_from_slice(rest).ok()?;
        }
        self.of = None;
        Some(tail)
    }
}
