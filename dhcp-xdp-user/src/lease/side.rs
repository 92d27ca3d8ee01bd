//! What is long and rarely read, beside the slots: hardware type and the client identifier's bytes.
//!
//! A record of 32 bytes a slot holds an identifier of up to 28 bytes: type and MAC (7), and every kind of RFC 4361 identifier
//! with a DUID of RFC 8415 or RFC 6355 over Ethernet (up to 23). A longer one goes to the heap, when its client gets a slot
//! (a renewal touches nothing): identity must be exact after a restart, so it is never cut, and serving such a client is
//! worth one allocation. That is bounded by 255 bytes a slot.

use std::hash::{BuildHasherDefault, Hasher};

use dashmap::DashMap;

use super::{
    ClientId, HwAddress,
    sync::{AtomicU64, Ordering},
};

/// Bytes of a client identifier that are kept in the record itself.
pub(super) const INLINE_ID: usize = 28;

const WORDS: usize = 4;

/// Slot numbers, spread a little.
#[derive(Default)]
struct SlotBits(u64);

impl Hasher for SlotBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, slot: u32) {
        self.0 = u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// One record a slot. Written only by who holds the slot, read under the slot's version.
pub(super) struct SideData {
    records: Box<[[AtomicU64; WORDS]]>,
    long: DashMap<u32, Box<[u8]>, BuildHasherDefault<SlotBits>>,
}

impl SideData {
    /// Records for this many slots.
    pub fn new(slots: usize) -> Self {
        let records = (0..slots).map(|_| [const { AtomicU64::new(0) }; WORDS]).collect();
        Self { records, long: DashMap::default() }
    }

    /// Writes a slot's record; the caller holds the slot. `same_client` says that the identifier is the one that is there.
    pub fn write(&self, slot: u32, hw: &HwAddress, client_id: &[u8], same_client: bool) {
        let Some(record) = self.records.get(slot as usize) else { return };
        // The wire cannot carry more than 255 bytes in one option.
        let client_id = &client_id[..client_id.len().min(255)];
        if same_client {
            let first = record[0].load(Ordering::Relaxed) & !0xffff;
            record[0].store(first | u64::from(hw.hlen.min(16)) << 8 | u64::from(hw.htype), Ordering::Relaxed);
            return;
        }
        let was_long = record[0].load(Ordering::Relaxed).to_le_bytes()[2] as usize > INLINE_ID;
        let mut bytes = [0u8; WORDS * 8];
        bytes[0] = hw.htype;
        bytes[1] = hw.hlen.min(16);
        bytes[2] = client_id.len() as u8;
        if client_id.len() <= INLINE_ID {
            bytes[4..4 + client_id.len()].copy_from_slice(client_id);
            if was_long {
                self.long.remove(&slot);
            }
        } else {
            self.long.insert(slot, client_id.into());
        }
        for (word, bytes) in record.iter().zip(bytes.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// A slot's hardware type, length, and client identifier; consistent only under the slot's version.
    pub fn read(&self, slot: u32) -> (u8, u8, ClientId) {
        let mut bytes = [0u8; WORDS * 8];
        let Some(record) = self.records.get(slot as usize) else { return (0, 0, ClientId::new()) };
        for (word, bytes) in record.iter().zip(bytes.as_chunks_mut::<8>().0) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        let length = usize::from(bytes[2]);
        let mut id = ClientId::new();
        if length <= INLINE_ID {
            let _ = id.try_extend_from_slice(&bytes[4..4 + length]);
        } else if let Some(long) = self.long.get(&slot) {
            let _ = id.try_extend_from_slice(&long);
        }
        (bytes[0], bytes[1], id)
    }
}
