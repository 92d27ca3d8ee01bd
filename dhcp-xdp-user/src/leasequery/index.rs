//! Which addresses belong to a hardware address, a client identifier or a remote identifier, whatever their network: the index
//! that answers queries by something else than an address (RFC 6148 4.8 advises one).
//!
//! [`Keeper`] fills it, on a thread of its own ([`super::keep`]); workers and TCP look into it. What it says are hints, numbers
//! of slots of the lease table: whoever takes one looks at the slot. So it may be some milliseconds behind, and a value is
//! kept as a 32-bit tag only, under a secret: a wrong hint in a hundred looks or less, and nobody can choose them.
//!
//! A value of an address space has any number of slots. They are a list through the slots themselves, the last one entered or
//! renewed first: the lease of a client's most recent transaction (RFC 4388 6.4.1) is among the first that are looked at,
//! however many it has. A table of 8 bytes a value, cut into shards, says where each list begins; a shard's lock is that of
//! its lists too. A reader that meets a shard's writer gives up after some spins; it never waits.

use std::sync::{
    PoisonError, RwLock, TryLockError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use arrayvec::ArrayVec;
use crossbeam_utils::CachePadded;
use hashbrown::{HashTable, hash_table};
use siphasher::sip::SipHasher13;

use crate::{
    lease::{Binding, Contended, HwAddress, Space},
    wire::relay::RelayAgentInfo,
};

/// Shards of each kind of values: as many writers' moments that a reader can miss.
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

    fn kind(&self) -> usize {
        match self {
            Self::HwAddress(_) => 0,
            Self::ClientId(_) => 1,
            Self::RemoteId(_) => 2,
        }
    }

    fn tag(&self, space: Space, secret: [u64; 2]) -> u32 {
        use std::hash::Hasher as _;
        let mut hasher = SipHasher13::new_with_keys(secret[0], secret[1]);
        hasher.write_u16(space.0);
        match *self {
            Self::HwAddress(hw) => {
                hasher.write_u8(hw.htype);
                hasher.write(hw.bytes());
            }
            Self::ClientId(id) | Self::RemoteId(id) => hasher.write(id),
        }
        // Zero is "none" in a keeper's notes.
        (hasher.finish() as u32).max(1)
    }
}

/// The remote identifier of a binding's relay agent information.
fn remote_id(binding: &Binding) -> Option<&[u8]> {
    RelayAgentInfo::new(&binding.agent_info).remote_id().filter(|id| !id.is_empty())
}

/// Where the list of a value begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    tag: u32,
    newest: u32,
}

type Shard = RwLock<HashTable<Head>>;

/// No slot: before the newest of a list and behind its oldest.
const NONE: u32 = u32::MAX;

/// A slot's place in the list of its value. Read and written under the lock of the value's shard, which orders it all; atomic
/// because the compiler cannot know that.
#[derive(Debug)]
struct Link {
    newer: AtomicU32,
    older: AtomicU32,
}

impl Default for Link {
    fn default() -> Self {
        Self { newer: NONE.into(), older: NONE.into() }
    }
}

impl Link {
    fn newer(&self) -> u32 {
        self.newer.load(Ordering::Relaxed)
    }

    fn older(&self) -> u32 {
        self.older.load(Ordering::Relaxed)
    }
}

/// The index.
#[derive(Debug)]
pub struct Index {
    secret: [u64; 2],
    /// Those of the first kind, of the second, of the third.
    shards: Box<[CachePadded<Shard>]>,
    /// By slot and kind.
    links: Box<[[Link; KINDS]]>,
    is_whole: AtomicBool,
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Slots that may have the value, the last one that was entered or renewed first.
    pub slots: ArrayVec<u32, MOST_FOUND>,
    /// There are more of them.
    pub is_cut: bool,
}

impl Index {
    /// An empty one for a table of so many slots. `secret` is random in a server.
    pub fn new(slots: u32, secret: [u64; 2]) -> Self {
        // Most leases have a hardware address of their own; who has the rest is not known before.
        let room = |shard: usize| if shard < SHARDS { slots as usize / SHARDS } else { 0 };
        let shard = |number| CachePadded::new(RwLock::new(HashTable::with_capacity(room(number))));
        let links = (0..slots).map(|_| Default::default()).collect();
        Self { secret, shards: (0..KINDS * SHARDS).map(shard).collect(), links, is_whole: AtomicBool::new(false) }
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

    /// The slots that may have a value in an address space, the newest first, at most [`MOST_FOUND`] of them.
    ///
    /// # Errors
    /// The shard is being written to at this moment.
    pub fn find(&self, space: Space, value: &Value<'_>) -> Result<Found, Contended> {
        let (kind, tag) = (value.kind(), value.tag(space, self.secret));
        let shard = self.shard(kind, tag);
        let heads = (0..SPINS)
            .find_map(|_| match shard.try_read() {
                Ok(heads) => Some(heads),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {
                    std::hint::spin_loop();
                    None
                }
            })
            .ok_or(Contended)?;
        let mut found = Found::default();
        let mut next = heads.find(hash(tag), |head| head.tag == tag).map_or(NONE, |head| head.newest);
        while let Some(links) = self.links.get(next as usize) {
            if found.slots.try_push(next).is_err() {
                found.is_cut = true;
                break;
            }
            next = links[kind].older();
        }
        Ok(found)
    }

    fn shard(&self, kind: usize, tag: u32) -> &Shard {
        &self.shards[kind * SHARDS + tag as usize % SHARDS]
    }

    /// The heads of the lists that one is in, to be written to.
    fn heads(&self, kind: usize, tag: u32) -> impl std::ops::DerefMut<Target = HashTable<Head>> + '_ {
        self.shard(kind, tag).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot that is in no list becomes the newest of this one.
    fn enter(&self, kind: usize, tag: u32, slot: u32) {
        self.enter_in(&mut self.heads(kind, tag), kind, tag, slot);
    }

    /// A slot of this list leaves it.
    fn remove(&self, kind: usize, tag: u32, slot: u32) {
        self.remove_in(&mut self.heads(kind, tag), kind, tag, slot);
    }

    /// A slot of this list becomes its newest, without being missed by anybody meanwhile.
    fn renew(&self, kind: usize, tag: u32, slot: u32) {
        // Who alone has its value, as most have, is that already.
        if self.links[slot as usize][kind].newer() != NONE {
            let heads = &mut self.heads(kind, tag);
            self.remove_in(heads, kind, tag, slot);
            self.enter_in(heads, kind, tag, slot);
        }
    }

    fn enter_in(&self, heads: &mut HashTable<Head>, kind: usize, tag: u32, slot: u32) {
        match heads.entry(hash(tag), |head| head.tag == tag, |head| hash(head.tag)) {
            hash_table::Entry::Occupied(mut head) => {
                let second = std::mem::replace(&mut head.get_mut().newest, slot);
                self.join(kind, slot, second);
            }
            hash_table::Entry::Vacant(place) => {
                place.insert(Head { tag, newest: slot });
            }
        }
    }

    fn remove_in(&self, heads: &mut HashTable<Head>, kind: usize, tag: u32, slot: u32) {
        let link = &self.links[slot as usize][kind];
        let (newer, older) = (link.newer(), link.older());
        if newer == NONE
            && let Ok(mut head) = heads.find_entry(hash(tag), |head| head.tag == tag)
        {
            if older == NONE {
                head.remove();
            } else {
                head.get_mut().newest = older;
            }
        }
        self.join(kind, newer, older);
        self.join(kind, NONE, slot);
        self.join(kind, slot, NONE);
    }

    /// Makes two slots neighbours; one of them may be none.
    fn join(&self, kind: usize, newer: u32, older: u32) {
        if let Some(links) = self.links.get(newer as usize) {
            links[kind].older.store(older, Ordering::Relaxed);
        }
        if let Some(links) = self.links.get(older as usize) {
            links[kind].newer.store(newer, Ordering::Relaxed);
        }
    }

    /// How many values there are.
    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap().len()).sum()
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

/// Fills an index: it knows what it entered for each slot, and so takes out exactly that. An index has one.
#[derive(Debug)]
pub struct Keeper<'i> {
    index: &'i Index,
    /// By slot: the tag of its value of each kind, zero for none.
    entered: Box<[[u32; KINDS]]>,
}

impl<'i> Keeper<'i> {
    /// Of an empty index.
    pub fn new(index: &'i Index) -> Self {
        Self { index, entered: vec![[0; KINDS]; index.links.len()].into_boxed_slice() }
    }

    /// Whether a slot is found by anything.
    pub fn has(&self, slot: u32) -> bool {
        self.entered.get(slot as usize).is_some_and(|tags| *tags != [0; KINDS])
    }

    /// Enters what a slot's binding is found by in place of what was entered for it before: as the newest of all that have the
    /// same, so that the order of calls is to be that of the clients' transactions.
    pub fn set(&mut self, slot: u32, binding: Option<&Binding>) {
        let Some(before) = self.entered.get_mut(slot as usize) else { return };
        let tags = binding.map_or([0; KINDS], |binding| tags_of(binding, self.index.secret));
        for (kind, (before, now)) in before.iter_mut().zip(tags).enumerate() {
            if *before == now {
                if now != 0 {
                    self.index.renew(kind, now, slot);
                }
                continue;
            }
            // A slot is in one list of a kind at a time.
            if *before != 0 {
                self.index.remove(kind, *before, slot);
            }
            if now != 0 {
                self.index.enter(kind, now, slot);
            }
            *before = now;
        }
    }
}

fn tags_of(binding: &Binding, secret: [u64; 2]) -> [u32; KINDS] {
    let hw = (binding.hw.hlen > 0).then_some(Value::HwAddress(&binding.hw));
    let id = Some(&binding.client_id[..]).filter(|id| !id.is_empty()).map(Value::ClientId);
    let remote = remote_id(binding).map(Value::RemoteId);
    let mut tags = [0; KINDS];
    for value in [hw, id, remote].into_iter().flatten() {
        tags[value.kind()] = value.tag(binding.space, secret);
    }
    tags
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::lease::{AgentInfo, BindingState, Lease};

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

    fn found(index: &Index, space: Space, value: &Value<'_>) -> Vec<u32> {
        let Found { slots, is_cut } = index.find(space, value).unwrap();
        assert!(!is_cut);
        slots.to_vec()
    }

    proptest! {
        #[test]
        fn a_value_is_found_at_all_the_slots_that_have_it_in_its_space_the_last_one_set_first_and_at_no_other(
            steps in vec((0..SLOTS, prop::option::of((0u16..2, (0u8..5, 0u8..5, 0u8..5)))), 0..200),
        ) {
            let index = Index::new(SLOTS, [1, 2]);
            let mut keeper = Keeper::new(&index);
            // The newest first.
            let mut model: Vec<(u32, Binding)> = vec![];
            for (slot, values) in steps {
                let now = values.map(|(space, values)| Binding { space: Space(space), ..binding(values) });
                keeper.set(slot, now.as_ref());
                model.retain(|(other, _)| *other != slot);
                prop_assert_eq!(keeper.has(slot), now.as_ref().is_some_and(|now| tags_of(now, [1, 2]) != [0; KINDS]));
                model.splice(0..0, now.map(|now| (slot, now)));
            }
            let mut values = 0;
            for (space, n) in [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)] {
                let (space, hw, id, remote) = (Space(space), hw(n), [0, n], [n]);
                for value in [Value::HwAddress(&hw), Value::ClientId(&id), Value::RemoteId(&remote)] {
                    let has = |(_, one): &&(u32, Binding)| one.space == space && value.is_of(one);
                    let expected: Vec<u32> = model.iter().filter(has).map(|(slot, _)| *slot).collect();
                    values += usize::from(!expected.is_empty());
                    prop_assert_eq!(found(&index, space, &value), expected);
                }
            }
            prop_assert_eq!(index.values(), values, "and nothing is left behind");
        }
    }

    #[test]
    fn of_more_slots_than_a_look_finds_it_says_so_and_finds_the_newest() {
        let slots = MOST_FOUND as u32 + 1;
        let index = Index::new(slots, [1, 2]);
        let mut keeper = Keeper::new(&index);
        let one = binding((1, 0, 7));
        for slot in 0..slots {
            keeper.set(slot, Some(&one));
        }
        let look = || index.find(Space::GLOBAL, &Value::RemoteId(&[7])).unwrap();
        let newest_first: Vec<u32> = (1..slots).rev().collect();
        assert_eq!((look().slots.to_vec(), look().is_cut), (newest_first, true));
        // The oldest one is heard of.
        keeper.set(0, Some(&one));
        assert_eq!((look().slots[0], look().is_cut), (0, true));
        keeper.set(3, None);
        assert!(!look().is_cut);
    }

    #[test]
    fn a_reader_does_not_wait_for_a_writer() {
        let index = Index::new(8, [1, 2]);
        let value = Value::RemoteId(&[7]);
        let tag = value.tag(Space::GLOBAL, index.secret);
        let held = index.shard(value.kind(), tag).write().unwrap();
        let look = std::thread::scope(|scope| scope.spawn(|| index.find(Space::GLOBAL, &value)).join().unwrap());
        assert_eq!(look, Err(Contended));
        drop(held);
        assert_eq!(index.find(Space::GLOBAL, &value), Ok(Found::default()));
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
