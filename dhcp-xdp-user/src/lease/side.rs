//! What is long and rarely read, beside the slots: client identifiers, and hardware addresses beyond 8 bytes.
//!
//! A record of 32 bytes a slot holds 30 bytes: an identifier of type and MAC (7), and every kind of RFC 4361 identifier with a
//! DUID of RFC 8415 or RFC 6355 over Ethernet (up to 23). A longer one goes on in a chain of chunks out of a pool that is
//! reserved at start. Identity must be exact after a restart, so an identifier is never cut: when the pool is used up, a
//! client that needs more of it gets no address ([`Full`]).

use arrayvec::ArrayVec;

use super::{
    ClientId, HwAddress, memory,
    slot::NIL,
    sync::{AtomicU32, AtomicU64, Ordering, fence},
};

const WORDS: usize = 4;
const RECORD: usize = WORDS * 8;
/// Bytes of lengths at a record's front: of the identifier, of the hardware address's rest.
const LENGTHS: usize = 2;
/// Bytes that a record holds itself.
pub(super) const INLINE: usize = RECORD - LENGTHS;
/// Bytes that it holds itself when it also holds the number of its first chunk.
const INLINE_OF_LONG: usize = INLINE - 4;
/// Words of data in a chunk, before the one with the next chunk's number.
const CHUNK_WORDS: usize = 3;
const CHUNK: usize = CHUNK_WORDS * 8;
/// The longest content: 8 bytes of hardware address, 255 of identifier.
const MAX_BYTES: usize = 8 + 255;
pub(super) const MAX_CHUNKS: usize = (MAX_BYTES - INLINE_OF_LONG).div_ceil(CHUNK);
/// In tables up to this many slots each client can have the longest identifier; in larger ones this many can, and each other one
/// can have one more chunk ([`INLINE_OF_LONG`] + [`CHUNK`]: 50 bytes).
const ALL_LONGEST: usize = 16_384;

/// The pool of chunks has none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// One record a slot. Written only by who holds the slot, read under the slot's version.
#[derive(Debug)]
pub(super) struct SideData {
    records: Box<[[AtomicU64; WORDS]]>,
    pub(super) pool: Pool,
}

type Chain = ArrayVec<u32, MAX_CHUNKS>;

impl SideData {
    /// Chunks that are reserved for this many slots, bytes.
    pub const fn reserved_bytes(slots: usize) -> usize {
        chunks(slots).saturating_mul((CHUNK_WORDS + 1) * 8)
    }

    /// Records for this many slots.
    pub fn new(slots: usize) -> Self {
        let records = memory::resident(slots, || std::array::from_fn(|_| AtomicU64::new(0)));
        Self { records, pool: Pool::new(chunks(slots)) }
    }

    /// Writes a slot's record; the caller holds the slot.
    pub fn write(&self, slot: u32, hw: &HwAddress, client_id: &[u8]) -> Result<(), Full> {
        let Some(record) = self.records.get(slot as usize) else { return Ok(()) };
        // The wire cannot carry more than 255 bytes in one option.
        let client_id = &client_id[..client_id.len().min(255)];
        let rest = hw.bytes().get(8..).unwrap_or(&[]);
        let mut content: ArrayVec<u8, MAX_BYTES> = ArrayVec::new();
        content.extend(rest.iter().chain(client_id).copied());

        let mut chain = self.chain(record);
        self.resize(&mut chain, chunks_of(content.len()))?;
        let mut bytes = [0u8; RECORD];
        bytes[..LENGTHS].copy_from_slice(&[client_id.len() as u8, rest.len() as u8]);
        let inline = content.len().min(if chain.is_empty() { INLINE } else { INLINE_OF_LONG });
        bytes[LENGTHS..LENGTHS + inline].copy_from_slice(&content[..inline]);
        if let Some(first) = chain.first() {
            bytes[RECORD - 4..].copy_from_slice(&first.to_le_bytes());
        }
        store(record, &bytes);
        let next = chain.iter().skip(1).copied().chain([NIL]);
        for ((chunk, next), data) in chain.iter().zip(next).zip(content[inline..].chunks(CHUNK)) {
            let mut bytes = [0u8; CHUNK + 8];
            bytes[..data.len()].copy_from_slice(data);
            bytes[CHUNK..CHUNK + 4].copy_from_slice(&next.to_le_bytes());
            store(&self.pool.chunks[*chunk as usize], &bytes);
        }
        Ok(())
    }

    /// Makes a chain as long as it has to be. When there are too few chunks it stays as it was.
    fn resize(&self, chain: &mut Chain, len: usize) -> Result<(), Full> {
        let had = chain.len();
        while chain.len() < len {
            match self.pool.pop() {
                Some(chunk) => chain.push(chunk),
                None => {
                    chain.drain(had..).for_each(|chunk| self.pool.push(chunk));
                    return Err(Full);
                }
            }
        }
        chain.drain(len..).for_each(|chunk| self.pool.push(chunk));
        // A reader that meets these chunks under another slot, which had them before, must see that slot changed.
        fence(Ordering::Release);
        Ok(())
    }

    /// A slot's identifier, and its hardware address beyond the first 8 bytes; consistent only under the slot's version.
    pub fn read(&self, slot: u32) -> ([u8; 8], ClientId) {
        let (mut rest, mut id) = ([0; 8], ClientId::new());
        let Some(record) = self.records.get(slot as usize) else { return (rest, id) };
        let bytes: [u8; RECORD] = load(record);
        let (id_len, rest_len) = (usize::from(bytes[0]), usize::from(bytes[1].min(8)));
        let len = id_len + rest_len;
        let mut content: ArrayVec<u8, { MAX_BYTES + CHUNK }> = ArrayVec::new();
        content.extend(bytes[LENGTHS..].iter().take(if len > INLINE { INLINE_OF_LONG } else { INLINE }).copied());
        for chunk in self.chain(record) {
            let bytes: [u8; CHUNK + 8] = load(&self.pool.chunks[chunk as usize]);
            content.extend(bytes.iter().take(CHUNK.min(content.remaining_capacity())).copied());
        }
        for (to, from) in rest.iter_mut().zip(content.iter().take(rest_len)) {
            *to = *from;
        }
        id.extend(content.iter().skip(rest_len).take(id_len).copied());
        (rest, id)
    }

    /// A record's chunks. What a reader sees of a record that changes is nonsense, but never more than that.
    fn chain(&self, record: &[AtomicU64; WORDS]) -> Chain {
        let bytes: [u8; RECORD] = load(record);
        let mut at = u32::from_le_bytes(std::array::from_fn(|i| bytes[RECORD - 4 + i]));
        let mut chain = Chain::new();
        for _ in 0..chunks_of(usize::from(bytes[0]) + usize::from(bytes[1].min(8))) {
            let Some(chunk) = self.pool.chunks.get(at as usize) else { break };
            chain.push(at);
            at = chunk[CHUNK_WORDS].load(Ordering::Relaxed) as u32;
        }
        chain
    }
}

/// Chunks of a table.
const fn chunks(slots: usize) -> usize {
    let longest = if slots < ALL_LONGEST { slots } else { ALL_LONGEST };
    slots.saturating_add(longest * (MAX_CHUNKS - 1))
}

/// Chunks that this many bytes need.
fn chunks_of(len: usize) -> usize {
    if len <= INLINE { 0 } else { (len - INLINE_OF_LONG).div_ceil(CHUNK) }
}

fn load<const N: usize>(words: &[AtomicU64; WORDS]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = word.load(Ordering::Relaxed).to_le_bytes();
    }
    bytes
}

fn store(words: &[AtomicU64; WORDS], bytes: &[u8]) {
    for (word, bytes) in words.iter().zip(bytes.as_chunks::<8>().0) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
}

/// Chunks that nobody has: a stack of those that were given back, and the ones that were never used behind a cursor.
#[derive(Debug)]
pub(super) struct Pool {
    /// Data, then the next chunk's number: in its chain, or in the stack.
    chunks: Box<[[AtomicU64; CHUNK_WORDS + 1]]>,
    /// `turn:32 | chunk:32`; the turn changes at each change, so that a head that came back is not taken for the old one.
    top: AtomicU64,
    unused: AtomicU32,
}

impl Pool {
    pub fn new(chunks: usize) -> Self {
        Self {
            chunks: memory::reserved(chunks.min(NIL as usize)),
            top: AtomicU64::new(u64::from(NIL)),
            unused: AtomicU32::new(0),
        }
    }

    pub fn pop(&self) -> Option<u32> {
        let mut top = self.top.load(Ordering::Acquire);
        while let Some(chunk) = self.chunks.get(top as u32 as usize) {
            let next = chunk[CHUNK_WORDS].load(Ordering::Relaxed) & u64::from(NIL);
            match self.top.compare_exchange(top, turned(top, next), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(top as u32),
                Err(now) => top = now,
            }
        }
        let mut unused = self.unused.load(Ordering::Relaxed);
        while (unused as usize) < self.chunks.len() {
            match self.unused.compare_exchange(unused, unused + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(unused),
                Err(now) => unused = now,
            }
        }
        None
    }

    pub fn push(&self, chunk: u32) {
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            self.chunks[chunk as usize][CHUNK_WORDS].store(top & u64::from(NIL), Ordering::Relaxed);
            match self.top.compare_exchange(top, turned(top, u64::from(chunk)), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}

fn turned(top: u64, chunk: u64) -> u64 {
    (top >> 32).wrapping_add(1) << 32 | chunk
}
