//! Free addresses of a subnet: never-used ones first, then the one that has been free the longest (RFC 2131 4.3.1).
//!
//! Never-used addresses are zero bits of a map under a cursor, so that a million used ones in a row cost some thousand loads,
//! once. Freed addresses are in a queue, each at most once (the slot's `QUEUED` flag), and are not taken out of its middle
//! when their client comes back: an entry whose address is in use is skipped when its turn comes. One that was freed again in
//! between goes to the end once more. A call skips at most [`SKIP`] entries; is its patience at an end, it takes any address
//! that the map of free ones has, so that the last one is found as fast as the first. The housekeeping thread clears the
//! queue's front for the next ([`FreeAddresses::prune`]).

use super::{
    ClientKey,
    free_map::FreeMap,
    memory,
    ring::Ring,
    slot::{Claim, NIL, Popped, Slot},
    sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// Stale entries that one allocation skips before it takes an address out of turn.
const SKIP: usize = 32;

/// Slots that are looked at for a client that is held an address beside the one that it has.
const SOME: u64 = 16;

/// One bit an address: it has been used, and is found in the queue when it is free.
#[derive(Debug)]
pub(super) struct UsedMap(Box<[AtomicU64]>);

impl UsedMap {
    pub fn new(slots: usize) -> Self {
        Self(memory::resident(slots.div_ceil(64), || AtomicU64::new(0)))
    }

    /// Marks a slot; true if it was not.
    pub fn mark(&self, slot: u32) -> bool {
        let (word, bit) = (&self.0[slot as usize / 64], 1 << (slot % 64));
        // Looking first keeps the line shared: nearly always it is marked.
        word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

/// A run of slots that is handed out from its front.
#[derive(Debug)]
struct Run {
    first: u32,
    end: u32,
    /// Index into the map of the first word that may have a zero bit of this run.
    cursor: AtomicUsize,
}

impl Run {
    fn take(&self, used: &UsedMap) -> Option<u32> {
        let start = self.cursor.load(Ordering::Relaxed);
        let mut at = start;
        let found = loop {
            let base = at as u64 * 64;
            if base >= u64::from(self.end) {
                break None;
            }
            let mut free = !used.0[at].load(Ordering::Relaxed);
            if base < u64::from(self.first) {
                free &= u64::MAX << (u64::from(self.first) - base);
            }
            if u64::from(self.end) < base + 64 {
                free &= !(u64::MAX << (u64::from(self.end) - base));
            }
            if free == 0 {
                at += 1;
            } else if used.mark(base as u32 + free.trailing_zeros()) {
                break Some(base as u32 + free.trailing_zeros());
            }
        };
        if at > start {
            self.cursor.fetch_max(at, Ordering::Relaxed);
        }
        found
    }
}

/// The free addresses of one subnet.
#[derive(Debug)]
pub(super) struct FreeAddresses {
    runs: Vec<Run>,
    /// The first run that may have never-used addresses.
    current: AtomicUsize,
    freed: Ring,
    /// An entry that `prune` took out of the queue's front and found good; it comes before the queue.
    front: AtomicU32,
}

impl FreeAddresses {
    /// Over these runs of slots (first, end).
    pub fn new(runs: &[(u32, u32)]) -> Self {
        let slots: usize = runs.iter().map(|(first, end)| (end - first) as usize).sum();
        let runs = runs.iter().map(|&(first, end)| Run { first, end, cursor: AtomicUsize::new(first as usize / 64) });
        Self { runs: runs.collect(), current: AtomicUsize::new(0), freed: Ring::new(slots), front: AtomicU32::new(NIL) }
    }

    /// A few slots, always the same ones for a key.
    pub fn some_for(&self, key: &ClientKey) -> impl Iterator<Item = u32> {
        let total: u64 = self.runs.iter().map(|run| u64::from(run.end - run.first)).sum();
        (0..total.min(SOME)).filter_map(move |nth| {
            let mut at = ((key.0[0] % total + nth) % total) as u32;
            let run = self.runs.iter().find(|run| {
                let len = run.end - run.first;
                let is_in = at < len;
                at -= if is_in { 0 } else { len };
                is_in
            })?;
            Some(run.first + at)
        })
    }

    /// Puts a freed slot at the end. The caller has just set its `QUEUED`, so it is not in the queue.
    pub fn push(&self, slot: u32) {
        self.freed.push(slot);
    }

    /// Takes a free address, if there is one.
    pub fn take<'a>(&self, slots: &'a [Slot], used: &UsedMap, map: &FreeMap, now_s: u32) -> Option<(u32, Claim<'a>)> {
        while let Some(slot) = self.take_unused(used) {
            // Not there when a client that asked for this very address was faster.
            if let Some(claim) = slots[slot as usize].claim_takeable(now_s) {
                return Some((slot, claim));
            }
        }
        for _ in 0..SKIP {
            let Some(slot) = self.pop() else { break };
            match slots[slot as usize].popped(now_s) {
                Popped::Claimed(claim) => return Some((slot, claim)),
                Popped::Stale => {}
                Popped::Again => self.push(slot),
            }
        }
        self.take_any(slots, map, now_s)
    }

    /// Takes a free address out of turn.
    fn take_any<'a>(&self, slots: &'a [Slot], map: &FreeMap, now_s: u32) -> Option<(u32, Claim<'a>)> {
        self.runs.iter().find_map(|run| {
            let mut at = run.first;
            while let Some(slot) = map.next(at).filter(|slot| *slot < run.end) {
                if let Some(claim) = slots[slot as usize].claim_takeable(now_s) {
                    return Some((slot, claim));
                }
                at = slot + 1;
            }
            None
        })
    }

    fn take_unused(&self, used: &UsedMap) -> Option<u32> {
        let start = self.current.load(Ordering::Relaxed);
        for (at, run) in self.runs.iter().enumerate().skip(start) {
            if let Some(slot) = run.take(used) {
                if at > start {
                    self.current.fetch_max(at, Ordering::Relaxed);
                }
                return Some(slot);
            }
        }
        self.current.fetch_max(self.runs.len(), Ordering::Relaxed);
        None
    }

    fn pop(&self) -> Option<u32> {
        if self.front.load(Ordering::Relaxed) != NIL {
            let front = self.front.swap(NIL, Ordering::AcqRel);
            if front != NIL {
                return Some(front);
            }
        }
        self.freed.pop()
    }

    /// Throws away entries at the queue's front whose address is in use, at most `budget`; for the housekeeping thread alone.
    /// Returns the entries that it looked at.
    pub fn prune(&self, slots: &[Slot], now_s: u32, budget: usize) -> usize {
        for spent in 0..budget {
            if spent == 0 && self.is_good(slots, self.front.load(Ordering::Relaxed), now_s) {
                return 0;
            }
            let Some(slot) = self.pop() else { return spent };
            if self.is_good(slots, slot, now_s) {
                self.front.store(slot, Ordering::Release);
                return spent;
            }
            match slots[slot as usize].popped(now_s) {
                // It became free after the look above. It has waited the longest all the same, but the queue has no front
                // door: it waits once more.
                Popped::Claimed(claim) => {
                    if claim.give_back().queue {
                        self.push(slot);
                    }
                }
                Popped::Stale => {}
                Popped::Again => self.push(slot),
            }
        }
        budget
    }

    fn is_good(&self, slots: &[Slot], slot: u32, now_s: u32) -> bool {
        use super::slot::Word;
        slots.get(slot as usize).is_some_and(|slot| {
            let word = slot.word();
            !word.has(Word::WRITING | Word::AGAIN) && word.is_takeable(now_s)
        })
    }
}
