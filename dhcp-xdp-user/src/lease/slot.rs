//! A slot: one address, one cache line, a state word changed by compare-and-swap and a body under its version.
//!
//! The word packs `expires_s:32 | version:24 | flags:4 | state:4`. Whoever sets `WRITING` owns the body until it publishes;
//! nobody waits for it: a reader or another writer that meets it gives up after a few spins. The other flags belong to the
//! free addresses (`QUEUED`, `AGAIN`) and to expiry (`INBOX`); they may change at any time, also while `WRITING` is set.

use super::{
    BindingState, ClientKey, HwAddress, Stamp,
    sync::{AtomicU32, AtomicU64, IS_NATIVE, Ordering, SPINS, fence, spin_loop},
};

/// "No slot" in links.
pub(super) const NIL: u32 = u32::MAX;

/// A slot's state word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    /// The slot is being changed.
    pub const WRITING: u64 = 1 << 4;
    /// The slot is in its subnet's queue of freed addresses.
    pub const QUEUED: u64 = 1 << 5;
    /// It was taken and freed again since it was queued, so its place in the queue is too far in front.
    pub const AGAIN: u64 = 1 << 6;
    /// The slot is on its way to the expiry wheel.
    pub const INBOX: u64 = 1 << 7;

    const STATE: u64 = 0xf;
    const VERSION_SHIFT: u32 = 8;
    const VERSION: u64 = 0xff_ffff << Self::VERSION_SHIFT;

    pub fn state(self) -> BindingState {
        match self.0 & Self::STATE {
            1 => BindingState::Offered,
            2 => BindingState::Bound,
            3 => BindingState::Released,
            4 => BindingState::Expired,
            5 => BindingState::Declined,
            _ => BindingState::Free,
        }
    }

    pub fn expires_s(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// Whether the state ends by itself, at [`expires_s`](Self::expires_s).
    pub fn is_timed(self) -> bool {
        use BindingState::{Bound, Declined, Offered};
        matches!(self.state(), Offered | Bound | Declined) && self.expires_s() != u32::MAX
    }

    pub fn is_overdue(self, now_s: u32) -> bool {
        self.is_timed() && self.expires_s() <= now_s
    }

    /// The state with the clock taken into account.
    pub fn state_at(self, now_s: u32) -> BindingState {
        if self.is_overdue(now_s) { BindingState::Expired } else { self.state() }
    }

    /// Whether any client may have it.
    pub fn is_takeable(self, now_s: u32) -> bool {
        use BindingState::{Expired, Free, Released};
        matches!(self.state_at(now_s), Free | Released | Expired)
    }

    fn with(self, flags: u64) -> Self {
        Self(self.0 | flags)
    }

    fn without(self, flags: u64) -> Self {
        Self(self.0 & !flags)
    }

    fn next_version(self) -> Self {
        let version = self.0.wrapping_add(1 << Self::VERSION_SHIFT) & Self::VERSION;
        Self(self.0 & !Self::VERSION | version)
    }

    /// Same content: everything but the flags that change by themselves.
    fn same_body(self, other: Self) -> bool {
        let moving = Self::QUEUED | Self::AGAIN | Self::INBOX;
        (self.0 ^ other.0) & !moving == 0
    }
}

/// A consistent copy of what decisions need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub word: Word,
    pub key: ClientKey,
    pub generation: u32,
    pub stamp: Stamp,
    pub started_s: u32,
    pub hw: HwHead,
}

/// What a slot keeps of a hardware address: all of it unless it is longer than 8 bytes; the rest is side data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HwHead {
    pub htype: u8,
    pub hlen: u8,
    /// The first 8 bytes in use, then zeros.
    pub bytes: [u8; 8],
}

impl HwHead {
    pub fn of(hw: &HwAddress) -> Self {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(hw.bytes()) {
            *to = *from;
        }
        Self { htype: hw.htype, hlen: hw.hlen.min(16), bytes }
    }
}

/// What goes into a slot's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub key: ClientKey,
    pub generation: u32,
    pub stamp: Stamp,
    pub started_s: u32,
    pub hw: HwHead,
}

/// One address.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    word: AtomicU64,
    key: [AtomicU64; 2],
    /// `generation:32 | stamp:32`; the stamp may change at any time, see [`Slot::stamp`].
    record: AtomicU64,
    /// `started_s:32 | 0:16 | hlen:8 | htype:8`
    span: AtomicU64,
    hw: AtomicU64,
    pub links: Links,
}

const _: () = assert!(!IS_NATIVE || size_of::<Slot>() == 64, "a slot is a cache line");

/// A slot's place in the expiry wheel; see there.
#[derive(Debug)]
pub(super) struct Links {
    pub inbox_next: AtomicU32,
    pub next: AtomicU32,
    pub prev: AtomicU32,
    /// When the wheel looks at the slot at the latest; `u32::MAX` is never.
    pub visit_s: AtomicU32,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            word: AtomicU64::new(0),
            key: [AtomicU64::new(0), AtomicU64::new(0)],
            record: AtomicU64::new(0),
            span: AtomicU64::new(0),
            hw: AtomicU64::new(0),
            links: Links {
                inbox_next: AtomicU32::new(NIL),
                next: AtomicU32::new(NIL),
                prev: AtomicU32::new(NIL),
                visit_s: AtomicU32::new(u32::MAX),
            },
        }
    }
}

/// What looking at the front of the queue of freed addresses came to.
#[derive(Debug)]
pub(super) enum Popped<'a> {
    /// It is free, and the caller's.
    Claimed(Claim<'a>),
    /// It is in use after all; it is no longer counted as queued.
    Stale,
    /// It was freed again later than its place says: to be put at the end.
    Again,
}

impl Slot {
    /// The word as it is at this moment.
    pub fn word(&self) -> Word {
        // SeqCst pairs with the wheel's `visit_s`; on x86 it is a plain load.
        Word(self.word.load(Ordering::SeqCst))
    }

    /// A consistent copy; `None` when the slot is being changed for longer than a few spins.
    pub fn read(&self) -> Option<Seen> {
        self.read_with(|| ()).map(|(seen, ())| seen)
    }

    /// A consistent copy, together with what `more` reads beside the slot.
    pub fn read_with<T>(&self, mut more: impl FnMut() -> T) -> Option<(Seen, T)> {
        for _ in 0..SPINS {
            let word = Word(self.word.load(Ordering::Acquire));
            if !word.has(Word::WRITING) {
                let key = self.key();
                let (record, span) = (self.record.load(Ordering::Relaxed), self.span.load(Ordering::Relaxed));
                let hw = HwHead {
                    htype: span as u8,
                    hlen: (span >> 8) as u8,
                    bytes: self.hw.load(Ordering::Relaxed).to_le_bytes(),
                };
                let more = more();
                // Pairs with the release fence in `claim`: who saw a byte of a later body also sees its WRITING.
                fence(Ordering::Acquire);
                if Word(self.word.load(Ordering::Relaxed)).same_body(word) {
                    let (generation, stamp) = ((record >> 32) as u32, Stamp(record as u32));
                    return Some((Seen { word, key, generation, stamp, started_s: (span >> 32) as u32, hw }, more));
                }
            }
            spin_loop();
        }
        None
    }

    fn key(&self) -> ClientKey {
        ClientKey([self.key[0].load(Ordering::Relaxed), self.key[1].load(Ordering::Relaxed)])
    }

    /// Whether the slot's client has this key; `None` when it is being changed.
    pub fn has_key(&self, key: &ClientKey) -> Option<bool> {
        let word = Word(self.word.load(Ordering::Acquire));
        let has = self.key() == *key;
        // As in `read_with`.
        fence(Ordering::Acquire);
        let is_same = !word.has(Word::WRITING) && Word(self.word.load(Ordering::Relaxed)).same_body(word);
        is_same.then_some(has)
    }

    /// Notes where the record of this generation is on its way to the disk. Nothing happens when a later one is there.
    pub fn stamp(&self, generation: u32, stamp: Stamp) {
        let (from, generation) = (self.record.load(Ordering::Relaxed), u64::from(generation) << 32);
        if from >> 32 == generation >> 32 {
            let to = generation | u64::from(stamp.0);
            let _ = self.record.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A first look at the slot, so that it is in the cache when it is needed. What it returns means nothing.
    pub fn touch(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    /// Takes the slot for writing if its content still is what `seen` says.
    pub fn claim(&self, seen: &Seen) -> Option<Claim<'_>> {
        let mut word = seen.word;
        loop {
            match self.swap(word, word.with(Word::WRITING).next_version()) {
                Ok(()) => return Some(self.claimed(word)),
                Err(now) if now.same_body(seen.word) => word = now,
                Err(_) => return None,
            }
        }
    }

    /// Takes the slot for writing if any client may have it; `None` when it is in use or being changed.
    pub fn claim_takeable(&self, now_s: u32) -> Option<Claim<'_>> {
        let mut word = self.word();
        while !word.has(Word::WRITING) && word.is_takeable(now_s) {
            match self.swap(word, word.with(Word::WRITING).next_version()) {
                Ok(()) => return Some(self.claimed(word)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Deals with an entry that was just taken out of the queue of freed addresses. A slot that is free is never lost here:
    /// it is claimed, or to be queued again, or its present writer queues it.
    pub fn popped(&self, now_s: u32) -> Popped<'_> {
        let mut word = self.word();
        loop {
            let usable = !word.has(Word::WRITING) && word.is_takeable(now_s);
            let new = match (usable, word.has(Word::AGAIN)) {
                (false, _) => word.without(Word::QUEUED | Word::AGAIN),
                (true, true) => word.without(Word::AGAIN),
                (true, false) => word.without(Word::QUEUED).with(Word::WRITING).next_version(),
            };
            match self.swap(word, new) {
                Ok(()) if !usable => return Popped::Stale,
                Ok(()) if word.has(Word::AGAIN) => return Popped::Again,
                Ok(()) => return Popped::Claimed(self.claimed(word)),
                Err(now) => word = now,
            }
        }
    }

    /// Sets the flag; true if it was not set.
    pub fn raise(&self, flag: u64) -> bool {
        self.word.fetch_or(flag, Ordering::AcqRel) & flag == 0
    }

    /// Clears the flag.
    pub fn lower(&self, flag: u64) {
        self.word.fetch_and(!flag, Ordering::AcqRel);
    }

    fn swap(&self, from: Word, to: Word) -> Result<(), Word> {
        match self.word.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(()),
            Err(now) => Err(Word(now)),
        }
    }

    fn claimed(&self, before: Word) -> Claim<'_> {
        // No store to the body may be seen before WRITING; see `read_with`.
        fence(Ordering::Release);
        Claim { slot: self, before }
    }
}

/// The right to change a slot. It must end in [`publish`](Self::publish); dropping it publishes what was there before.
#[derive(Debug)]
#[must_use]
pub(super) struct Claim<'a> {
    slot: &'a Slot,
    before: Word,
}

/// What a publication did to the slot's flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    /// `QUEUED` was set by it: the slot is to be put into the queue.
    pub queue: bool,
    /// The word that others see now.
    pub word: Word,
}

impl Claim<'_> {
    /// The word when it was claimed.
    pub fn before(&self) -> Word {
        self.before
    }

    /// The body's key, which nobody else can change now.
    pub fn key(&self) -> ClientKey {
        self.slot.key()
    }

    /// The body's generation.
    pub fn generation(&self) -> u32 {
        (self.slot.record.load(Ordering::Relaxed) >> 32) as u32
    }

    /// The body's `started_s`.
    pub fn started_s(&self) -> u32 {
        (self.slot.span.load(Ordering::Relaxed) >> 32) as u32
    }

    /// Writes the whole body.
    pub fn write(&self, body: &Body) {
        self.slot.key[0].store(body.key.0[0], Ordering::Relaxed);
        self.slot.key[1].store(body.key.0[1], Ordering::Relaxed);
        self.slot.hw.store(u64::from_le_bytes(body.hw.bytes), Ordering::Relaxed);
        let hw = u64::from(body.hw.hlen) << 8 | u64::from(body.hw.htype);
        self.slot.span.store(u64::from(body.started_s) << 32 | hw, Ordering::Relaxed);
        self.write_record(body.generation, body.stamp);
    }

    /// Writes generation and start only; the new generation is on no disk yet.
    pub fn write_span(&self, generation: u32, started_s: u32) {
        let hw = self.slot.span.load(Ordering::Relaxed) & 0xffff_ffff;
        self.slot.span.store(u64::from(started_s) << 32 | hw, Ordering::Relaxed);
        self.write_record(generation, Stamp::UNSETTLED);
    }

    fn write_record(&self, generation: u32, stamp: Stamp) {
        self.slot.record.store(u64::from(generation) << 32 | u64::from(stamp.0), Ordering::Relaxed);
    }

    /// Ends the change. A state that any client may take is marked for the queue of freed addresses.
    pub fn publish(self, state: BindingState, expires_s: u32) -> Published {
        let published = self.end(state, expires_s, true);
        std::mem::forget(self);
        published
    }

    /// Ends the change with what was there before. Queued if it is free: it may have been taken out of the queue, or out of
    /// the never-used ones, to get here.
    pub fn give_back(self) -> Published {
        let (state, expires_s) = (self.before.state(), self.before.expires_s());
        let published = self.end(state, expires_s, false);
        std::mem::forget(self);
        published
    }

    fn end(&self, state: BindingState, expires_s: u32, fresh: bool) -> Published {
        let free = matches!(state, BindingState::Free | BindingState::Released | BindingState::Expired);
        let mut now = Word(self.slot.word.load(Ordering::Relaxed));
        loop {
            let mut flags = now.0 & (Word::QUEUED | Word::AGAIN | Word::INBOX);
            let queue = free && !now.has(Word::QUEUED);
            if free {
                flags |= if queue {
                    Word::QUEUED
                } else if fresh {
                    Word::AGAIN
                } else {
                    0
                };
            }
            let to = Word(u64::from(expires_s) << 32 | now.0 & Word::VERSION | flags | state as u64).next_version();
            match self.slot.swap(now, to) {
                Ok(()) => return Published { queue, word: to },
                Err(changed) => now = changed,
            }
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // Only on the way of a panic: the slot stays usable by address, and its own client finds it.
        self.end(self.before.state(), self.before.expires_s(), false);
    }
}
