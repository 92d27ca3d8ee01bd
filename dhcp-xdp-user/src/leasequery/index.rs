//! Which addresses belong to a hardware address, a client identifier or a remote identifier, whatever their network: the index
//! that answers queries by something else than an address (RFC 6148 4.8 advises one).
//!
//! [`Keeper`] fills it, on a thread of its own ([`super::keep`]); workers and TCP look into it. What it says are hints, numbers
//! of slots of the lease table: whoever takes one looks at the slot. So it may be some milliseconds behind, and a value is
//! kept as a 32-bit tag only, under a secret: a wrong hint in a hundred looks or less, and nobody can choose them.
//!
//! A value has any number of slots, so this is no map: a table of (tag, slot) of 8 bytes each, cut into shards. A reader that
//! meets a shard's writer gives up after some spins; it never waits.

use std::sync::{
    PoisonError, RwLock, TryLockError,
    atomic::{AtomicBool, Ordering},
};

use arrayvec::ArrayVec;
use crossbeam_utils::CachePadded;
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::{
    lease::{Binding, Contended, HwAddress},
    wire::relay::RelayAgentInfo,
};

/// Shards: as many writers' moments that a reader can miss.
const SHARDS: usize = 256;
/// How often a reader looks at a shard that is being written to.
const SPINS: usize = 64;
/// Most slots that a look finds.
pub const MOST_FOUND: usize = 128;

/// What a binding is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Hardware type and address.
    HwAddress(&'a HwAddress),
    /// Client identifier (option 61).
    ClientId(&'a [u8]),
    /// Remote identifier (option 82, sub-option 2).
    RemoteId(&'a [u8]),
}

/// Kinds of values.
const KINDS: usize = 3;

impl Value<'_> {
    /// Whether a binding has it.
    pub fn is_of(&self, binding: &Binding) -> bool {
        match *self {
            Self::HwAddress(hw) => binding.hw.htype == hw.htype && binding.hw.bytes() == hw.bytes(),
            Self::ClientId(id) => &binding.client_id[..] == id,
            Self::RemoteId(id) => remote_id(binding) == Some(id),
        }
    }

    fn tag(&self, secret: [u64; 2]) -> u32 {
        use std::hash::Hasher as _;
        let mut hasher = SipHasher13::new_with_keys(secret[0], secret[1]);
        match *self {
            Self::HwAddress(hw) => {
                hasher.write_u16(u16::from(hw.htype));
                hasher.write(hw.bytes());
            }
            Self::ClientId(id) => {
                hasher.write_u16(0x100);
                hasher.write(id);
            }
            Self::RemoteId(id) => {
                hasher.write_u16(0x200);
                hasher.write(id);
            }
        }
        // Zero is "none" in a keeper's notes.
        (hasher.finish() as u32).max(1)
    }
}

/// The remote identifier of a binding's relay agent information.
fn remote_id(binding: &Binding) -> Option<&[u8]> {
    RelayAgentInfo::new(&binding.agent_info).remote_id().filter(|id| !id.is_empty())
}

/// An entry of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u32,
    slot: u32,
}

type Shard = RwLock<HashTable<Entry>>;

/// The index.
#[derive(Debug)]
pub struct Index {
    secret: [u64; 2],
    shards: Box<[CachePadded<Shard>]>,
    is_whole: AtomicBool,
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Slots that may have the value.
    pub slots: ArrayVec<u32, MOST_FOUND>,
    /// There may be more of them.
    pub is_cut: bool,
}

impl Index {
    /// An empty one for a table of so many slots, each of which has one value at least. `secret` is random in a server.
    pub fn new(slots: u32, secret: [u64; 2]) -> Self {
        let room = slots as usize / SHARDS;
        let shards = (0..SHARDS).map(|_| CachePadded::new(RwLock::new(HashTable::with_capacity(room)))).collect();
        Self { secret, shards, is_whole: AtomicBool::new(false) }
    }

    /// Whether all that is in the lease table has been entered; before that, what is not found here means nothing.
    pub fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// All has been entered, and what changes will be, until the result is dropped.
    pub fn be_whole(&self) -> Whole<'_> {
        self.is_whole.store(true, Ordering::Release);
        Whole(self)
    }

    /// The slots that may have a value, at most [`MOST_FOUND`] of them.
    ///
    /// # Errors
    /// The shard is being written to at this moment.
    pub fn find(&self, value: &Value<'_>) -> Result<Found, Contended> {
        let tag = value.tag(self.secret);
        let shard = self.shard(tag);
        let entries = (0..SPINS)
            .find_map(|_| match shard.try_read() {
                Ok(entries) => Some(entries),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {
                    std::hint::spin_loop();
                    None
                }
            })
            .ok_or(Contended)?;
        let mut found = Found::default();
        for entry in entries.iter_hash(hash(tag)).filter(|entry| entry.tag == tag) {
            if found.slots.try_push(entry.slot).is_err() {
                found.is_cut = true;
                break;
            }
        }
        Ok(found)
    }

    fn shard(&self, tag: u32) -> &Shard {
        &self.shards[tag as usize % SHARDS]
    }

    fn enter(&self, entry: Entry) {
        let mut entries = self.shard(entry.tag).write().unwrap_or_else(PoisonError::into_inner);
        entries.insert_unique(hash(entry.tag), entry, |entry| hash(entry.tag));
    }

    fn remove(&self, entry: Entry) {
        let mut entries = self.shard(entry.tag).write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(found) = entries.find_entry(hash(entry.tag), |other| *other == entry) {
            found.remove();
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An index is whole for as long as this lives, and not beyond its keeper's thread, however that ends.
#[derive(Debug)]
pub struct Whole<'i>(&'i Index);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        self.0.is_whole.store(false, Ordering::Release);
    }
}

/// A tag's place in its shard: all its bits count at both ends of the hash.
fn hash(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

/// Fills an index: it knows what it entered for each slot, and so takes out exactly that.
#[derive(Debug)]
pub struct Keeper<'i> {
    index: &'i Index,
    /// By slot: the tag of its value of each kind, zero for none.
    entered: Box<[[u32; KINDS]]>,
}

impl<'i> Keeper<'i> {
    /// Of an empty index over so many slots.
    pub fn new(index: &'i Index, slots: u32) -> Self {
        Self { index, entered: vec![[0; KINDS]; slots as usize].into_boxed_slice() }
    }

    /// Whether a slot is found by anything.
    pub fn has(&self, slot: u32) -> bool {
        self.entered.get(slot as usize).is_some_and(|tags| *tags != [0; KINDS])
    }

    /// Enters what a slot's binding is found by in place of what was entered for it before.
    pub fn set(&mut self, slot: u32, binding: Option<&Binding>) {
        let Some(before) = self.entered.get_mut(slot as usize) else { return };
        let tags = binding.map_or([0; KINDS], |binding| tags_of(binding, self.index.secret));
        for (before, now) in before.iter_mut().zip(tags).filter(|(before, now)| **before != *now) {
            if now != 0 {
                self.index.enter(Entry { tag: now, slot });
            }
            if *before != 0 {
                self.index.remove(Entry { tag: *before, slot });
            }
            *before = now;
        }
    }
}

fn tags_of(binding: &Binding, secret: [u64; 2]) -> [u32; KINDS] {
    let hw = (binding.hw.hlen > 0).then_some(Value::HwAddress(&binding.hw));
    let id = Some(&binding.client_id[..]).filter(|id| !id.is_empty()).map(Value::ClientId);
    let remote = remote_id(binding).map(Value::RemoteId);
    [hw, id, remote].map(|value| value.map_or(0, |value| value.tag(secret)))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::lease::{AgentInfo, BindingState, Lease, Space};

    const SLOTS: u32 = 24;

    fn hw(n: u8) -> HwAddress {
        let mut chaddr = [0; 16];
        chaddr[5] = n;
        HwAddress { htype: 1, hlen: if n == 0 { 0 } else { 6 }, chaddr }
    }

    /// A binding of a hardware address, a client identifier and a remote identifier; zero is none.
    fn binding((mac, id, remote): (u8, u8, u8)) -> Binding {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let space = Space::GLOBAL;
        let lease = Lease { space, address, state: BindingState::Bound, generation: 1, started_s: 1, expires_s: 2 };
        let bytes = if id == 0 { vec![] } else { vec![0, id] };
        let agent_info: AgentInfo = if remote == 0 { AgentInfo::new() } else { [2, 1, remote].into_iter().collect() };
        Binding { agent_info, ..lease.of(&hw(mac), &bytes) }
    }

    fn found(index: &Index, value: &Value<'_>) -> BTreeSet<u32> {
        let Found { slots, is_cut } = index.find(value).unwrap();
        assert!(!is_cut);
        let set: BTreeSet<u32> = slots.iter().copied().collect();
        assert_eq!(set.len(), slots.len(), "each once");
        set
    }

    proptest! {
        #[test]
        fn a_value_is_found_at_all_the_slots_that_have_it_and_no_other(
            steps in vec((0..SLOTS, prop::option::of((0u8..5, 0u8..5, 0u8..5))), 0..200),
        ) {
            let index = Index::new(SLOTS, [1, 2]);
            let mut keeper = Keeper::new(&index, SLOTS);
            let mut model: Vec<Option<Binding>> = vec![None; SLOTS as usize];
            for (slot, values) in steps {
                let now = values.map(binding);
                keeper.set(slot, now.as_ref());
                model[slot as usize] = now;
            }
            let mut entries = 0;
            for n in 1..5u8 {
                let (hw, id, remote) = (hw(n), [0, n], [n]);
                for value in [Value::HwAddress(&hw), Value::ClientId(&id), Value::RemoteId(&remote)] {
                    let has = |(_, one): &(u32, &Option<Binding>)| one.as_ref().is_some_and(|one| value.is_of(one));
                    let expected: BTreeSet<u32> = (0..).zip(&model).filter(has).map(|(slot, _)| slot).collect();
                    entries += expected.len();
                    prop_assert_eq!(found(&index, &value), expected);
                }
            }
            prop_assert_eq!(index.len(), entries, "and nothing is left behind");
        }
    }

    #[test]
    fn of_more_slots_than_a_look_finds_it_says_so() {
        let slots = MOST_FOUND as u32 + 1;
        let index = Index::new(slots, [1, 2]);
        let mut keeper = Keeper::new(&index, slots);
        let one = binding((1, 0, 7));
        for slot in 0..slots {
            keeper.set(slot, Some(&one));
        }
        let crowd = index.find(&Value::RemoteId(&[7])).unwrap();
        assert_eq!((crowd.slots.len(), crowd.is_cut), (MOST_FOUND, true));
        keeper.set(3, None);
        assert!(!index.find(&Value::RemoteId(&[7])).unwrap().is_cut);
    }

    #[test]
    fn a_reader_does_not_wait_for_a_writer() {
        let index = Index::new(8, [1, 2]);
        let value = Value::RemoteId(&[7]);
        let tag = value.tag(index.secret);
        let held = index.shard(tag).write().unwrap();
        let look = std::thread::scope(|scope| scope.spawn(|| index.find(&value)).join().unwrap());
        assert_eq!(look, Err(Contended));
        drop(held);
        assert_eq!(index.find(&value), Ok(Found::default()));
    }

    #[test]
    fn it_is_whole_while_its_keeper_says_so_however_that_ends() {
        let index = Index::new(8, [1, 2]);
        assert!(!index.is_whole());
        let keeper = std::panic::AssertUnwindSafe(&index);
        let panicked = std::panic::catch_unwind(move || {
            let _whole = keeper.be_whole();
            assert!(keeper.is_whole());
            std::panic::resume_unwind(Box::new("the thread's end"));
        });
        assert!(panicked.is_err());
        assert!(!index.is_whole());
    }
}
