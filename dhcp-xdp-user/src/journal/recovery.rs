//! Reading what a state directory holds.
//!
//! First the chain is walked, and of each file it is found how much of it counts: that is known at once of all but the last one
//! and those that a failing disk left a tail behind. Then the records are replayed: in order, for tools, or
//! on several threads, the newest files first, for a server that starts: whoever takes the records then must go by their
//! generations, and finds older ones outdated at a glance.

use std::{
    net::Ipv4Addr,
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
    record::{MAX_RECORDS, RECORD, Record},
};
use crate::{
    clock::Moment,
    lease::{Binding, ClientId},
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

/// The files that count, oldest first, each with how much of it counts.
#[derive(Debug)]
pub(super) struct Found {
    links: Vec<(Link, u64)>,
    torn_bytes: u64,
    /// What the last marker of all says of the time.
    pub moment: Option<Moment>,
}

/// Finds what counts. Damage is found here in the last file, and in others when they are replayed.
pub(super) fn find(disk: &dyn Disk) -> Result<Found, JournalError> {
    let mut found = Found { links: Vec::new(), torn_bytes: 0, moment: None };
    for link in chain::walk(disk)?.into_iter().rev() {
        let is_last = found.links.is_empty();
        let end = if link.limit == Some(link.len) && found.moment.is_some() {
            link.len
        } else {
            let extent = link.extent(disk)?;
            found.moment = found.moment.or(extent.moment);
            extent.end
        };
        if is_last {
            found.torn_bytes = link.len - end;
        }
        found.links.push((link, end));
    }
    found.links.reverse();
    Ok(found)
}

impl Found {
    /// Where a writer goes on. What was read of the last file may have been in the system's memory only, after a crash of
    /// the server alone: it is synced here, since the next header will vouch for it.
    pub fn end(&self, disk: &dyn Disk) -> Result<End, JournalError> {
        let next = chain::next_number(disk)?;
        let Some((link, end)) = self.links.last() else { return Ok(End { last: None, next }) };
        link.open(disk)?.sync().map_err(JournalError::io(disk, Some(&link.name), "sync it"))?;
        Ok(End { last: Some((link.header.number, *end)), next })
    }

    /// Bytes that count.
    pub fn bytes(&self) -> u64 {
        self.links.iter().map(|(_, end)| end).sum()
    }

    /// Hands out all changes, oldest first.
    pub fn replay(&self, disk: &dyn Disk, mut each: impl FnMut(&Binding)) -> Result<RecoveryReport, JournalError> {
        let mut records = 0;
        let mut buffer = Vec::new();
        for (link, end) in &self.links {
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
        each: &(impl Fn(&Binding) + Sync),
    ) -> Result<RecoveryReport, JournalError> {
        let shares: Vec<_> = self.links.iter().rev().flat_map(|(link, end)| shares(link, *end)).collect();
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        // The first in the journal's order counts, whichever thread was faster.
        let first_error: Mutex<Option<(u64, JournalError)>> = Mutex::new(None);
        let work = || {
            let mut buffer = Vec::new();
            while let Some((link, range)) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    return;
                }
                match replay(disk, link, range.clone(), &mut buffer, &mut |binding| each(binding)) {
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
        RecoveryReport { segments: self.links.len() as u64, records, torn_bytes: self.torn_bytes }
    }
}

fn shares(link: &Link, end: u64) -> impl Iterator<Item = (&Link, Range<u64>)> {
    let starts = (RECORD as u64..end).step_by(SHARE as usize);
    starts.map(move |start| (link, start..end.min(start + SHARE)))
}

/// Hands out the changes whose base record is in this range, all of which is to be good; returns how many.
fn replay(
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
    link.scan(disk, &*file, Link::lead_in(range.start)..range.end, buffer, |offset, record| {
        match record {
            Some(Record::Continuation { address, generation, part, bytes }) => {
                parts.add((address, generation), part, bytes);
            }
            Some(Record::Base { .. }) if offset < range.start => {}
            Some(Record::Base { lease, hw, client_id_len, client_id }) => {
                match parts.complete((lease.address, lease.generation), client_id, client_id_len) {
                    Some(id) => {
                        each(&lease.of(&hw, &id));
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
    of: Option<(Ipv4Addr, u32)>,
    count: u8,
    bytes: ArrayVec<u8, { MAX_RECORDS * RECORD }>,
}

impl Parts {
    pub fn add(&mut self, of: (Ipv4Addr, u32), part: u8, bytes: &[u8]) {
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

    /// The whole identifier of a base record that holds its start; `None` when parts are missing.
    pub fn complete(&mut self, of: (Ipv4Addr, u32), start: &[u8], len: u8) -> Option<ClientId> {
        let mut id = ClientId::new();
        id.try_extend_from_slice(start).ok()?;
        let missing = usize::from(len).saturating_sub(start.len());
        if missing > 0 {
            let rest = self.bytes.get(..missing).filter(|_| self.of == Some(of))?;
            id.try_extend_from_slice(rest).ok()?;
        }
        self.of = None;
        Some(id)
    }
}
