//! The index and what it stands on, from the server's own sources: outside of their room they have no public face, and the
//! comparison wants the index alone.

#![allow(dead_code, unused_imports, reason = "a part of the table's parts is used here")]

#[path = "../../../dhcp-xdp-user/src/lease/binding.rs"]
pub mod binding;
#[path = "../../../dhcp-xdp-user/src/lease/index.rs"]
pub mod index;
#[path = "../../../dhcp-xdp-user/src/lease/key.rs"]
mod key;
#[path = "../../../dhcp-xdp-user/src/lease/limit.rs"]
mod limit;
#[path = "../../../dhcp-xdp-user/src/lease/memory.rs"]
mod memory;
#[path = "../../../dhcp-xdp-user/src/lease/slot.rs"]
mod slot;
#[path = "../../../dhcp-xdp-user/src/lease/space.rs"]
mod space;
#[path = "../../../dhcp-xdp-user/src/lease/sync.rs"]
mod sync;

pub use binding::{BindingState, HwAddress, Stamp};
pub use key::ClientKey;
pub use limit::{LimitKey, LimitKeys};
pub use space::{Space, SpacedAddress};

use index::{ClientIndex, Entered};
use slot::{Body, HwHead, Slot};

/// What an index does for the table, together with the slots that the table looks at next anyhow.
pub trait Index: Sync {
    const NAME: &str;
    fn new(slots: u32) -> Self;
    fn slots(&self) -> &Slots;
    fn get(&self, key: &ClientKey) -> Option<u32>;
    /// The client was not there. The slot is in use by nobody.
    fn insert(&self, key: &ClientKey, slot: u32);
    fn remove(&self, key: &ClientKey, slot: u32);
    fn prefetch(&self, keys: &[ClientKey]);
}

/// The slots.
pub struct Slots(Box<[Slot]>);

impl Slots {
    fn new(slots: u32) -> Self {
        Self(memory::resident(slots as usize, Slot::default))
    }

    /// Reads a slot and says whether it is this client's.
    pub fn is(&self, slot: u32, key: &ClientKey) -> bool {
        self.0[slot as usize].read().is_some_and(|seen| seen.key == *key)
    }

    /// Writes a slot as a renewal or a new client does.
    pub fn write(&self, slot: u32, key: &ClientKey, expires_s: u32) -> bool {
        let slot = &self.0[slot as usize];
        let Some(claim) = slot.read().and_then(|seen| slot.claim(&seen)) else { return false };
        let generation = claim.generation().wrapping_add(1);
        claim.write(&Body { key: *key, generation, stamp: Stamp::UNSETTLED, started_s: 0, hw: HwHead::default() });
        claim.publish(BindingState::Bound, expires_s);
        true
    }
}

/// The server's index.
pub struct Flat {
    index: ClientIndex,
    slots: Slots,
}

impl Index for Flat {
    const NAME: &str = "flat";
    fn new(slots: u32) -> Self {
        Self { index: ClientIndex::new(slots as usize), slots: Slots::new(slots) }
    }
    fn slots(&self) -> &Slots {
        &self.slots
    }
    fn get(&self, key: &ClientKey) -> Option<u32> {
        self.index.get(key, &self.slots.0)
    }
    fn insert(&self, key: &ClientKey, slot: u32) {
        while self.index.insert(key, slot, &self.slots.0, &ClientKey([0, 0])) == Entered::Busy {}
    }
    fn remove(&self, key: &ClientKey, slot: u32) {
        self.index.remove_if_at(key, slot);
    }
    fn prefetch(&self, keys: &[ClientKey]) {
        let lines = keys.iter().fold(0, |sum, key| sum ^ self.index.touch(key));
        let guess = |key| self.index.guess(key).map_or(0, |slot| self.slots.0[slot as usize].touch());
        std::hint::black_box(keys.iter().fold(lines, |sum, key| sum ^ guess(key)));
    }
}

/// What it was measured against: `dashmap`, presized, with 256 shards and the key's own bits for a hash.
pub struct Dash {
    map: dashmap::DashMap<ClientKey, u32, std::hash::BuildHasherDefault<KeyBits>>,
    slots: Slots,
}

/// Passes a key's own bits on: they are a keyed hash already.
#[derive(Default)]
pub struct KeyBits(u64);

impl std::hash::Hasher for KeyBits {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.as_chunks::<8>().0 {
            self.0 = self.0.rotate_left(29) ^ u64::from_le_bytes(*chunk);
        }
    }
    fn write_usize(&mut self, _length: usize) {}
}

const SHARDS: usize = 256;

impl Index for Dash {
    const NAME: &str = "dashmap";
    fn new(slots: u32) -> Self {
        // Shards fill unevenly: six standard deviations of room in each, so that none grows.
        let mean = slots as usize / SHARDS + 1;
        let room = (mean + 6 * mean.isqrt() + 8) * SHARDS;
        let map = dashmap::DashMap::with_capacity_and_hasher_and_shard_amount(room, Default::default(), SHARDS);
        Self { map, slots: Slots::new(slots) }
    }
    fn slots(&self) -> &Slots {
        &self.slots
    }
    fn get(&self, key: &ClientKey) -> Option<u32> {
        self.map.get(key).map(|slot| *slot)
    }
    fn insert(&self, key: &ClientKey, slot: u32) {
        self.map.insert(*key, slot);
    }
    fn remove(&self, key: &ClientKey, slot: u32) {
        self.map.remove_if(key, |_, at| *at == slot);
    }
    /// It has no such thing.
    fn prefetch(&self, _keys: &[ClientKey]) {}
}
