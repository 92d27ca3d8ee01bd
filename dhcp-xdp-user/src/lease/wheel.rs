//! Expiry: a wheel of one-second buckets owned by one thread, fed by workers through an inbox without lock or allocation.
//!
//! A worker that sets an expiry earlier than the wheel's next look at the slot (`visit_s`) puts the slot into an inbox, an
//! intrusive push-only stack; a renewal moves the expiry back and so does nothing. The owner empties the inbox into buckets
//! and looks at a bucket when its second has come: an overdue slot is expired, another goes to the bucket of its present
//! expiry. What is further away than the wheel's circumference stays in its bucket and is looked at once a turn.
//!
//! The word and `visit_s` are each written by one side and then the other's is read, all sequentially consistent: so either
//! the worker sees that the wheel comes too late, or the owner sees the new expiry.

use std::sync::Mutex;

use crossbeam_utils::CachePadded;

use super::{
    slot::{NIL, Slot, Word},
    sync::{AtomicU32, Ordering},
};

/// One-second buckets, a power of two; more than an hour.
const BUCKETS: u32 = 4096;
/// The list of slots whose second has come, after the buckets.
const DUE: u32 = BUCKETS;
/// Marks a `prev` that is a list's head, not a slot.
const HEAD: u32 = 1 << 31;
/// Inboxes, so that workers rarely meet in one; a power of two.
const INBOXES: usize = 16;

/// The most slots that links can name.
pub(super) const MAX_SLOTS: u32 = HEAD - 1;

/// The wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    inboxes: [CachePadded<AtomicU32>; INBOXES],
    owner: Mutex<Owner>,
}

#[derive(Debug)]
struct Owner {
    heads: Box<[u32]>,
    /// All seconds up to this one have been looked at.
    cursor_s: u32,
    /// What was taken out of an inbox and not dealt with, linked by `inbox_next`.
    pending: u32,
}

impl Wheel {
    pub fn new() -> Self {
        Self {
            inboxes: std::array::from_fn(|_| CachePadded::new(AtomicU32::new(NIL))),
            owner: Mutex::new(Owner {
                heads: vec![NIL; BUCKETS as usize + 1].into_boxed_slice(),
                cursor_s: 0,
                pending: NIL,
            }),
        }
    }

    /// Called after a word with an expiry was published: makes sure that the wheel looks at the slot in time.
    pub fn watch(&self, slots: &[Slot], slot: u32, word: Word) {
        if !word.is_timed() {
            return;
        }
        let this = &slots[slot as usize];
        if word.expires_s() >= this.links.visit_s.load(Ordering::SeqCst) || !this.raise(Word::INBOX) {
            return;
        }
        let head = &self.inboxes[slot as usize % INBOXES];
        let mut first = head.load(Ordering::Relaxed);
        loop {
            this.links.inbox_next.store(first, Ordering::Relaxed);
            match head.compare_exchange_weak(first, slot, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// One step: looks at no more than `budget` slots and calls `expire` for the overdue ones, which returns false when the
    /// slot is being changed. Returns how many it looked at: `budget` means that there may be more. A second caller at the
    /// same time does nothing.
    pub fn step(&self, slots: &[Slot], now_s: u32, budget: usize, mut expire: impl FnMut(u32) -> bool) -> usize {
        let Ok(mut owner) = self.owner.try_lock() else { return 0 };
        let owner = &mut *owner;
        // Time went back: look at the buckets in between again. It jumped ahead: one whole turn sees every slot.
        owner.cursor_s = owner.cursor_s.min(now_s).max(now_s.saturating_sub(BUCKETS));
        let mut spent = self.empty_inboxes(owner, slots, budget);
        while spent < budget {
            let slot = owner.heads[DUE as usize];
            if slot != NIL {
                spent += 1;
                owner.unlink(slots, slot);
                if slots[slot as usize].word().is_overdue(now_s) && !expire(slot) {
                    owner.link_at(slots, slot, owner.cursor_s.saturating_add(1));
                } else {
                    owner.arm(slots, slot);
                }
            } else if owner.cursor_s < now_s {
                owner.cursor_s += 1;
                owner.make_due(slots, owner.cursor_s % BUCKETS);
            } else {
                break;
            }
        }
        spent
    }

    fn empty_inboxes(&self, owner: &mut Owner, slots: &[Slot], budget: usize) -> usize {
        let mut spent = 0;
        for inbox in &self.inboxes {
            loop {
                if owner.pending == NIL {
                    owner.pending = inbox.swap(NIL, Ordering::Acquire);
                }
                if owner.pending == NIL {
                    break;
                }
                if spent == budget {
                    return spent;
                }
                let slot = owner.pending;
                let this = &slots[slot as usize];
                // Before the flag: from then on a worker may write the link.
                owner.pending = this.links.inbox_next.load(Ordering::Relaxed);
                this.lower(Word::INBOX);
                owner.unlink(slots, slot);
                owner.arm(slots, slot);
                spent += 1;
            }
        }
        spent
    }
}

impl Owner {
    /// Puts an unlinked slot where its expiry says; nowhere if it has none.
    fn arm(&mut self, slots: &[Slot], slot: u32) {
        loop {
            let word = slots[slot as usize].word();
            let visit_s = if word.is_timed() { self.link_for(slots, slot, word.expires_s()) } else { u32::MAX };
            slots[slot as usize].links.visit_s.store(visit_s, Ordering::SeqCst);
            let word = slots[slot as usize].word();
            if !word.is_timed() || word.expires_s() >= visit_s {
                return;
            }
            self.unlink(slots, slot);
        }
    }

    fn link_for(&mut self, slots: &[Slot], slot: u32, expires_s: u32) -> u32 {
        if expires_s <= self.cursor_s {
            self.link(slots, slot, DUE);
            // It is looked at next: no expiry, however early, needs an earlier look.
            return 0;
        }
        self.link(slots, slot, expires_s % BUCKETS);
        self.cursor_s.saturating_add(1).saturating_add((expires_s - self.cursor_s - 1) % BUCKETS)
    }

    /// Puts an unlinked slot where it is looked at in that second, whatever its expiry.
    fn link_at(&mut self, slots: &[Slot], slot: u32, second: u32) {
        self.link(slots, slot, second % BUCKETS);
        slots[slot as usize].links.visit_s.store(second, Ordering::SeqCst);
    }

    fn link(&mut self, slots: &[Slot], slot: u32, list: u32) {
        let first = self.heads[list as usize];
        let links = &slots[slot as usize].links;
        links.next.store(first, Ordering::Relaxed);
        links.prev.store(HEAD | list, Ordering::Relaxed);
        if first != NIL {
            slots[first as usize].links.prev.store(slot, Ordering::Relaxed);
        }
        self.heads[list as usize] = slot;
    }

    fn unlink(&mut self, slots: &[Slot], slot: u32) {
        let links = &slots[slot as usize].links;
        let (prev, next) = (links.prev.load(Ordering::Relaxed), links.next.load(Ordering::Relaxed));
        if prev == NIL {
            return;
        }
        if prev & HEAD != 0 {
            self.heads[(prev & !HEAD) as usize] = next;
        } else {
            slots[prev as usize].links.next.store(next, Ordering::Relaxed);
        }
        if next != NIL {
            slots[next as usize].links.prev.store(prev, Ordering::Relaxed);
        }
        links.prev.store(NIL, Ordering::Relaxed);
    }

    /// Moves a whole bucket into the empty due list.
    fn make_due(&mut self, slots: &[Slot], bucket: u32) {
        let first = std::mem::replace(&mut self.heads[bucket as usize], NIL);
        if first != NIL {
            slots[first as usize].links.prev.store(HEAD | DUE, Ordering::Relaxed);
        }
        self.heads[DUE as usize] = first;
    }
}
