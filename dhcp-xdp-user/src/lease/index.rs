//! The client index: from a client's key to its slot, behind one type so that what is inside can change.
//!
//! A flat table of cache lines, sized at start: seven entries (a 32-bit tag of the key and the slot's number) and a control
//! word. The key itself stands in the slot, which whoever looks up a client reads next anyhow. A key belongs to the line that
//! its hash names and, where that is full, to the next one that is not; each line counts the entries that went past it, and
//! a search ends at the first line with a count of zero. So removing an entry leaves nothing behind, and a search is as short
//! after a year of coming and going as on the first day.
//!
//! Readers take no lock. An entry is one word, entered, moved and removed by compare-and-swap. Two that would enter the same
//! key at once are kept apart by a bit of the key's line: the second one does not wait, it gives up and its client asks again.
//! Whoever changes an entry holds the slot that it points to, or will point to, in `WRITING`; so an entry that points to a
//! slot at rest names the client of it, and no slot has two. What is not true: that every slot's key is in the index. A
//! client that moved to another address has left the old one.

use super::{
    ClientKey, memory,
    slot::Slot,
    sync::{AtomicU64, Ordering, SPINS, spin_loop},
};

/// Entries of a line.
const ENTRIES: usize = 7;
/// Clients for each line: a load of 5/7, at which a client is in its own line nearly always (nine in ten lookups read one
/// line, and the next line is a neighbour).
const CLIENTS_PER_LINE: usize = 5;

/// In the control word: somebody enters a key of this line.
const HELD: u64 = 1;
/// In the control word: one entry went past this line.
const PASSED: u64 = 2;

/// A cache line of the index.
#[derive(Debug)]
#[repr(align(64))]
struct Line {
    control: AtomicU64,
    /// `tag:32 | slot + 1:32`; zero is empty.
    entries: [AtomicU64; ENTRIES],
}

impl Line {
    fn new() -> Self {
        Self { control: AtomicU64::new(0), entries: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn is_last(&self) -> bool {
        self.control.load(Ordering::Acquire) < PASSED
    }
}

/// What entering a client came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is entered.
    New,
    /// It is there already, at this slot; or it may be, and the slot is being changed.
    At(u32),
    /// Somebody enters a client of the same line at this moment.
    Busy,
}

/// From client to slot.
#[derive(Debug)]
pub(super) struct ClientIndex {
    lines: Box<[Line]>,
}

impl ClientIndex {
    /// Room for this many clients.
    pub fn new(clients: usize) -> Self {
        // More by a few: a client is entered before the former one of its slot is taken out.
        Self { lines: memory::resident(clients / CLIENTS_PER_LINE + 16, Line::new) }
    }

    /// The client's slot: one whose key is this, or else one that the client may be in and that is being changed.
    pub fn get(&self, key: &ClientKey, slots: &[Slot]) -> Option<u32> {
        self.search(key, |slot| slots.get(slot as usize).map_or(Some(false), |slot| slot.has_key(key)))
    }

    /// As [`get`](Self::get), for who holds a slot (whose client, until it is changed, has the key `its`).
    pub fn get_holding(&self, key: &ClientKey, slots: &[Slot], held: u32, its: &ClientKey) -> Option<u32> {
        self.search(key, |slot| match slots.get(slot as usize) {
            Some(_) if slot == held => Some(its == key),
            Some(slot) => slot.has_key(key),
            None => Some(false),
        })
    }

    fn search(&self, key: &ClientKey, has_key: impl Fn(u32) -> Option<bool>) -> Option<u32> {
        let mut changing = None;
        for line in self.lines_of(key) {
            for entry in &line.entries {
                let entry = entry.load(Ordering::Acquire);
                if !is_of(entry, key) {
                    continue;
                }
                let slot = slot_of(entry);
                match has_key(slot) {
                    Some(true) => return Some(slot),
                    Some(false) => {}
                    None => changing = Some(slot),
                }
            }
            if line.is_last() {
                break;
            }
        }
        changing
    }

    /// Enters the client, unless it is there. The caller holds the slot, whose client has the key `its` still.
    pub fn insert(&self, key: &ClientKey, slot: u32, slots: &[Slot], its: &ClientKey) -> Entered {
        let home = &self.lines[self.home(key)];
        if !(0..SPINS).any(|_| {
            let held = home.control.fetch_or(HELD, Ordering::Acquire) & HELD != 0;
            if held {
                spin_loop();
            }
            !held
        }) {
            return Entered::Busy;
        }
        let entered = match self.get_holding(key, slots, slot, its) {
            Some(at) => Entered::At(at),
            None => self.place(key, slot),
        };
        home.control.fetch_and(!HELD, Ordering::Release);
        entered
    }

    fn place(&self, key: &ClientKey, slot: u32) -> Entered {
        let new = entry_of(key, slot);
        for line in self.lines_of(key) {
            let taken = |entry: &&AtomicU64| {
                entry.load(Ordering::Relaxed) == 0
                    && entry.compare_exchange(0, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            };
            if line.entries.iter().find(taken).is_some() {
                return Entered::New;
            }
            // Before the entry is in a later line: who sees it must be able to find it.
            line.control.fetch_add(PASSED, Ordering::AcqRel);
        }
        // There are more entries than slots, and a slot has one at most; so this is never reached.
        self.unpass(key, self.lines.len());
        Entered::Busy
    }

    /// Moves the client from one slot to another, both held by the caller; false if it was not at `from`.
    pub fn move_if_at(&self, key: &ClientKey, from: u32, to: u32) -> bool {
        self.change(key, from, entry_of(key, to)).is_some()
    }

    /// Forgets the client if it is at this slot, which the caller holds.
    pub fn remove_if_at(&self, key: &ClientKey, slot: u32) {
        if let Some(passed) = self.change(key, slot, 0) {
            self.unpass(key, passed);
        }
    }

    /// Changes the client's entry for `slot`; the number of lines that it went past.
    fn change(&self, key: &ClientKey, slot: u32, new: u64) -> Option<usize> {
        let old = entry_of(key, slot);
        for (passed, line) in self.lines_of(key).enumerate() {
            for entry in &line.entries {
                if entry.load(Ordering::Relaxed) == old
                    && entry.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                {
                    return Some(passed);
                }
            }
            if line.is_last() {
                break;
            }
        }
        None
    }

    fn unpass(&self, key: &ClientKey, lines: usize) {
        for line in self.lines_of(key).take(lines) {
            line.control.fetch_sub(PASSED, Ordering::AcqRel);
        }
    }

    /// Whether the entries of two clients for one slot could not be told apart.
    pub fn are_alike(a: &ClientKey, b: &ClientKey) -> bool {
        a != b && entry_of(a, 0) == entry_of(b, 0)
    }

    /// A first look at the key's line, so that it is in the cache when it is needed. What it returns means nothing.
    pub fn touch(&self, key: &ClientKey) -> u64 {
        self.lines[self.home(key)].control.load(Ordering::Relaxed)
    }

    /// The slot that the client is in very likely, by one look at the key's line.
    pub fn guess(&self, key: &ClientKey) -> Option<u32> {
        let entries = &self.lines[self.home(key)].entries;
        entries.iter().map(|entry| entry.load(Ordering::Relaxed)).find(|entry| is_of(*entry, key)).map(slot_of)
    }

    /// The key's lines: its own, then the next ones.
    fn lines_of(&self, key: &ClientKey) -> impl Iterator<Item = &Line> {
        let (before, from) = self.lines.split_at(self.home(key));
        from.iter().chain(before)
    }

    fn home(&self, key: &ClientKey) -> usize {
        // The key's upper part scaled to the number of lines: less than that, and no division.
        ((u128::from(key.0[0]) * self.lines.len() as u128) >> 64) as usize
    }

    /// How many clients there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let entries = self.lines.iter().flat_map(|line| &line.entries);
        entries.filter(|entry| entry.load(Ordering::Relaxed) != 0).count()
    }
}

fn entry_of(key: &ClientKey, slot: u32) -> u64 {
    key.0[1] & !0xffff_ffff | u64::from(slot + 1)
}

fn slot_of(entry: u64) -> u32 {
    (entry as u32).wrapping_sub(1)
}

fn is_of(entry: u64, key: &ClientKey) -> bool {
    (entry ^ key.0[1]) >> 32 == 0 && entry as u32 != 0
}
