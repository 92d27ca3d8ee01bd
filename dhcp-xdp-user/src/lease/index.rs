//! The client index: from a client's key to its slot, behind one type so that what is inside can change.
//!
//! `dashmap`, presized. An entry is 24 bytes and a control byte, at a load of 7/16 to 7/8. Whoever changes an entry holds the
//! slot that it points to, or will point to, in `WRITING`; so an entry that points to a slot at rest names the client of it.
//! What is not true: that every slot's key is in the index. A client that moved to another address has left the old one.

use std::hash::{BuildHasherDefault, Hasher};

use dashmap::{DashMap, Entry};

use super::ClientKey;

/// More shards than threads that would meet in them; a power of two.
const SHARDS: usize = 256;

/// Passes a key's own bits on: they are a keyed hash already.
#[derive(Default)]
pub(super) struct KeyBits(u64);

impl Hasher for KeyBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(29) ^ u64::from_le_bytes(word);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// From client to slot.
pub(super) struct ClientIndex {
    map: DashMap<ClientKey, u32, BuildHasherDefault<KeyBits>>,
}

impl ClientIndex {
    /// Room for this many clients.
    pub fn new(clients: usize) -> Self {
        // Shards fill unevenly: six standard deviations of room in each, so that none grows.
        let mean = clients / SHARDS + 1;
        let room = mean + 6 * mean.isqrt() + 8;
        let map =
            DashMap::with_capacity_and_hasher_and_shard_amount(room * SHARDS, BuildHasherDefault::default(), SHARDS);
        Self { map }
    }

    /// The client's slot.
    pub fn get(&self, key: &ClientKey) -> Option<u32> {
        self.map.get(key).map(|slot| *slot)
    }

    /// Enters the client, unless it is there: then its slot is the error.
    pub fn insert_if_absent(&self, key: ClientKey, slot: u32) -> Result<(), u32> {
        match self.map.entry(key) {
            Entry::Occupied(entry) => Err(*entry.get()),
            Entry::Vacant(entry) => {
                entry.insert(slot);
                Ok(())
            }
        }
    }

    /// Moves the client from one slot to another; false if it was not at `from`.
    pub fn move_if_at(&self, key: &ClientKey, from: u32, to: u32) -> bool {
        match self.map.get_mut(key) {
            Some(mut slot) if *slot == from => {
                *slot = to;
                true
            }
            _ => false,
        }
    }

    /// Forgets the client if it is at this slot.
    pub fn remove_if_at(&self, key: &ClientKey, slot: u32) {
        self.map.remove_if(key, |_, at| *at == slot);
    }

    /// How many clients there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.map.len()
    }
}
