//! Lease limits: how many leases count against a value of a class, exactly, however many workers bind at once.
//!
//! A lease counts from the moment that it is bound until the journal's record of its end is durable: were its place given away
//! before, the machine could lose that record and keep the one of the lease that took the place. So what a slot counts against
//! no more is handed out with the change, goes with its record to the journal ([`Lane`](crate::journal::Lane)), and comes back
//! from there by [`LeaseTable::free`](super::LeaseTable::free). The end by time needs no record, and is counted at once: no
//! restart finds an earlier time than a record's group was marked with (see [`crate::clock`]).
//!
//! What counts is hence every slot that a restart might find bound. A client that moves from one address to another one counts
//! twice until it is known to have left the former, beyond the limit if need be; another client does not come in meanwhile.
//!
//! What a lease counts against is kept beside its slot and written by who holds the slot, so that it is counted up once and down
//! once. Counters are found by a fingerprint of class and value, in a table that is sized for every address; it is locked in many
//! short parts, and only when a lease begins, ends, or moves to another value. A renewal compares and touches nothing, and
//! without a limit in the configuration none of this exists.

use std::{
    hash::Hasher as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use arrayvec::ArrayVec;
use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};

use super::sync::{AtomicU64, Ordering};

/// Most limits that one lease counts against.
pub const MAX_LIMITS: usize = 3;

/// What leases are counted by: a class and its value, as a fingerprint.
///
/// It is the same in every run of the program, so that the journal can keep it. 128 bits: that two of ten million values meet
/// has a probability of about 10^-25, and who may choose values freely needs some 2^64 tries to make two meet, which would
/// put both under one limit and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LimitKey(pub [u64; 2]);

impl LimitKey {
    /// No limit.
    pub const NONE: Self = Self([0; 2]);

    /// The fingerprint of a value of a class.
    pub fn new(class: &str, value: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_keys(0x6c69_6d69_742d_6b65, 0x7920_6468_6370_7864);
        // A name has no such byte, so that no name and value run into each other.
        hasher.write(class.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value);
        let Hash128 { h1, h2 } = hasher.finish128();
        Self([h1, h2.max(1)])
    }
}

/// A limit that a client's lease would count against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub key: LimitKey,
    /// Most leases.
    pub most: u32,
}

/// The limits of one client.
pub type Limits = ArrayVec<Limit, MAX_LIMITS>;

/// What one lease counts against.
pub type LimitKeys = ArrayVec<LimitKey, MAX_LIMITS>;

/// Places that are on their way to the disk to be freed, beside those of all slots, which there is room for. When there are more
/// of different values, new values wait until the disk has taken some.
const FREEING: usize = 1 << 16;

/// A limit is reached. Nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many leases as allowed count against this value")]
pub struct LimitReached;

/// The counters, and what each slot counts against.
pub(super) struct LimitTable {
    pub(super) parts: Box<[Mutex<Part>]>,
    /// `width` keys a slot; a slot's are read and written by who holds it.
    slots: Box<[[AtomicU64; 2]]>,
    width: usize,
}

impl LimitTable {
    /// For so many slots, each of which counts against at most `width` limits.
    pub fn new(slots: usize, width: usize) -> Self {
        let width = width.min(MAX_LIMITS);
        let keys = slots * width;
        // Every value may be on its way to be freed while its slot counts against another one.
        let keys_counted = keys + keys.min(FREEING);
        let parts = (keys / 64).clamp(1, 1024).next_power_of_two();
        // Six deviations above what falls to a part on average, and room to probe in.
        let average = keys_counted as f64 / parts as f64;
        let room = if parts == 1 { keys_counted } else { (average + 6.0 * average.sqrt()) as usize + 8 };
        let capacity = (room + room / 4 + 1).next_power_of_two();
        Self {
            parts: (0..parts).map(|_| Mutex::new(Part::new(capacity))).collect(),
            slots: (0..keys).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect(),
            width,
        }
    }

    /// Counts what a slot, which the caller holds, would count against beyond what it counts against already; over a limit also
    /// what `left` counts against, which the same client leaves and the caller holds too. Whose slot it `is_own` keeps its places;
    /// another client has those of the slot's former one within the limits only: a power cut between the records of a move
    /// brings back a client with both leases, and so more of them than allowed. [`settle`](Self::settle) or
    /// [`forget`](Self::forget) must follow.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub fn reserve(&self, slot: u32, is_own: bool, left: Option<u32>, wanted: &[Limit]) -> Result<(), LimitReached> {
        let mut held = self.keys(slot);
        let mut leaving = left.map_or_else(LimitKeys::new, |left| self.keys(left));
        let mut reserved = LimitKeys::new();
        for limit in wanted.iter().take(self.width) {
            let is_held = take(&mut held, limit.key);
            let most = if is_held && is_own || take(&mut leaving, limit.key) { u32::MAX } else { limit.most };
            let is_within =
                if is_held { self.count(limit.key) <= most } else { self.part(limit.key).add(limit.key, most) };
            if !is_within {
                reserved.iter().for_each(|key| self.part(*key).subtract(*key));
                return Err(LimitReached);
            }
            if !is_held {
                reserved.push(limit.key);
            }
        }
        Ok(())
    }

    /// Takes back what [`reserve`](Self::reserve) counted.
    pub fn forget(&self, slot: u32, wanted: &[Limit]) {
        let mut held = self.keys(slot);
        let new = wanted.iter().take(self.width).filter(|limit| !take(&mut held, limit.key));
        new.for_each(|limit| self.part(limit.key).subtract(limit.key));
    }

    /// Lets a slot count against what was reserved; what it counted against before and does no more, which is to be
    /// [freed](Self::free).
    pub fn settle(&self, slot: u32, wanted: &[Limit]) -> LimitKeys {
        let mut held = self.keys(slot);
        for limit in wanted.iter().take(self.width) {
            take(&mut held, limit.key);
        }
        self.write(slot, wanted);
        held
    }

    /// Lets a slot, which the caller holds, count against nothing; what it counted against, which is to be [freed](Self::free).
    pub fn take(&self, slot: u32) -> LimitKeys {
        let held = self.keys(slot);
        if !held.is_empty() {
            self.write(slot, &[]);
        }
        held
    }

    /// Counts one less against each.
    pub fn free(&self, keys: &[LimitKey]) {
        keys.iter().for_each(|key| self.part(*key).subtract(*key));
    }

    /// As the journal has it: counted whatever the limit is by now.
    pub fn restore(&self, slot: u32, keys: &[LimitKey]) {
        self.free(&self.take(slot));
        let wanted = unlimited(keys.iter().take(self.width));
        // Without a limit only a table that is full could refuse, and this one has room for every slot.
        if self.reserve(slot, true, None, &wanted).is_ok() {
            self.settle(slot, &wanted);
        }
    }

    /// What a slot counts against; consistent under the slot's version.
    pub fn keys(&self, slot: u32) -> LimitKeys {
        let words = self.of(slot).iter().map(|[a, b]| [a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)]);
        words.map(LimitKey).filter(|key| *key != LimitKey::NONE).collect()
    }

    /// How many leases count against a value.
    pub fn count(&self, key: LimitKey) -> u32 {
        self.part(key).count(key)
    }

    fn of(&self, slot: u32) -> &[[AtomicU64; 2]] {
        let start = slot as usize * self.width;
        self.slots.get(start..start + self.width).unwrap_or(&[])
    }

    fn write(&self, slot: u32, limits: &[Limit]) {
        let keys = limits.iter().map(|limit| limit.key).chain(std::iter::repeat(LimitKey::NONE));
        for (words, LimitKey([a, b])) in self.of(slot).iter().zip(keys) {
            words[0].store(a, Ordering::Relaxed);
            words[1].store(b, Ordering::Relaxed);
        }
    }

    fn part(&self, key: LimitKey) -> MutexGuard<'_, Part> {
        // The lower bits of the other word find a key's place in its part.
        let at = key.0[1] as usize & (self.parts.len() - 1);
        // Nothing in a part can panic.
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// These keys, counted whatever their limits are.
pub(super) fn unlimited<'a>(keys: impl Iterator<Item = &'a LimitKey>) -> Limits {
    keys.take(MAX_LIMITS).map(|key| Limit { key: *key, most: u32::MAX }).collect()
}

/// Takes one of these keys out of a list. False: it has none.
fn take(keys: &mut LimitKeys, key: LimitKey) -> bool {
    let at = keys.iter().position(|held| *held == key);
    at.map(|at| keys.swap_remove(at)).is_some()
}

/// A part of the counters: open addressing with linear probing, never full.
pub(super) struct Part {
    /// A power of two of them; a count of zero is a free place.
    places: Box<[(LimitKey, u32)]>,
    pub used: usize,
}

impl Part {
    pub fn new(capacity: usize) -> Self {
        Self { places: vec![(LimitKey::NONE, 0); capacity.max(2)].into(), used: 0 }
    }

    fn home(&self, key: LimitKey) -> usize {
        key.0[0] as usize & (self.places.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    /// The key's place, or the free one where it would be. One place is always free.
    fn find(&self, key: LimitKey) -> usize {
        let mut at = self.home(key);
        while self.places[at].1 > 0 && self.places[at].0 != key {
            at = self.next(at);
        }
        at
    }

    pub fn count(&self, key: LimitKey) -> u32 {
        self.places[self.find(key)].1
    }

    /// Counts one more unless there are `most`.
    pub fn add(&mut self, key: LimitKey, most: u32) -> bool {
        let at = self.find(key);
        let count = self.places[at].1;
        if count >= most || (count == 0 && self.used + 1 >= self.places.len()) {
            return false;
        }
        self.used += usize::from(count == 0);
        self.places[at] = (key, count + 1);
        true
    }

    /// Counts one less; at none the place is free, and who was put off by it moves up.
    pub fn subtract(&mut self, key: LimitKey) {
        let mut free = self.find(key);
        let Some(count) = self.places[free].1.checked_sub(1) else { return };
        self.places[free].1 = count;
        if count > 0 {
            return;
        }
        self.used -= 1;
        let mut at = self.next(free);
        while self.places[at].1 > 0 {
            let home = self.home(self.places[at].0);
            let distance = |from: usize| at.wrapping_sub(from) & (self.places.len() - 1);
            if distance(home) >= distance(free) {
                self.places[free] = self.places[at];
                self.places[at].1 = 0;
                free = at;
            }
            at = self.next(at);
        }
    }
}
