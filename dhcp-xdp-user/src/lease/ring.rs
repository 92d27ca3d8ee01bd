//! A queue of slot numbers in a ring that has room for all of them: many push, many pop, nobody waits for anybody.
//!
//! An entry is one word, `lap:32 | value:32`, which says whether it is filled in this turn of the ring; so pushing and popping
//! are one compare-and-swap each, and one more moves the counter on, which anybody may do for another.

use super::{
    memory,
    slot::NIL,
    sync::{AtomicU64, Ordering},
};

/// The queue.
#[derive(Debug)]
pub(super) struct Ring {
    entries: Box<[AtomicU64]>,
    /// Position to pop from next. Positions count on for ever.
    head: AtomicU64,
    /// Position to push to next.
    tail: AtomicU64,
}

impl Ring {
    /// With room for this many values. A value is in the queue at most once, so that there is always room: the caller sees
    /// to that.
    pub fn new(len: usize) -> Self {
        let empty = word(0, NIL);
        Self {
            entries: memory::resident(len.max(1), || AtomicU64::new(empty)),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
        }
    }

    fn entry(&self, position: u64) -> (&AtomicU64, u32) {
        let len = self.entries.len() as u64;
        (&self.entries[(position % len) as usize], (position / len) as u32)
    }

    /// Puts a value at the end.
    pub fn push(&self, value: u32) {
        loop {
            let tail = self.tail.load(Ordering::Acquire);
            let (entry, lap) = self.entry(tail);
            let empty = word(lap, NIL);
            let done = entry.compare_exchange(empty, word(lap, value), Ordering::AcqRel, Ordering::Relaxed).is_ok();
            // Filled by us, or by somebody who has not come to move the counter on.
            let _ = self.tail.compare_exchange(tail, tail + 1, Ordering::AcqRel, Ordering::Relaxed);
            if done {
                return;
            }
        }
    }

    /// Takes the value that has been there the longest.
    pub fn pop(&self) -> Option<u32> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let (entry, lap) = self.entry(head);
            let seen = entry.load(Ordering::Acquire);
            let value = seen as u32;
            if seen == word(lap, NIL) {
                return None;
            }
            let is_filled = seen >> 32 == u64::from(lap);
            let next = word(lap.wrapping_add(1), NIL);
            let done = is_filled && entry.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            let _ = self.head.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Relaxed);
            if done {
                return Some(value);
            }
        }
    }
}

fn word(lap: u32, value: u32) -> u64 {
    u64::from(lap) << 32 | u64::from(value)
}
