//! What is long and rarely read, beside the slots: client identifiers, hardware addresses beyond 8 bytes, relay agent information.
//!
//! A record of 32 bytes a slot holds 30 bytes: an identifier of type and MAC (7), and every kind of RFC 4361 identifier with a
//! DUID of RFC 8415 or RFC 6355 over Ethernet (up to 23). A longer one goes on in a chain of chunks out of a pool that is
//! reserved at start. Identity must be exact after a restart, so an identifier is never cut: when the pool is used up, a
//! client that needs more of it gets no address ([`Full`]).
//!
//! Relay agent information has records and a pool of its own, so that it never takes an identifier's room; both become resident
//! as far as there are relay agents. When that pool is used up it is left out, and counted.

use arrayvec::ArrayVec;

use super::{
    AgentInfo, ClientId, HwAddress, memory,
    slot::NIL,
    sync::{AtomicU32, AtomicU64, Ordering, fence},
};

const WORDS: usize = 4;
const RECORD: usize = WORDS * 8;
/// Bytes of lengths at a record's front: of an identifier and of a hardware address's rest, or of relay agent information and 0.
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
/// Chunks of relay agent information that each slot can have, beyond those that [`ALL_LONGEST`] of them can: 98 bytes with its
/// record, where a circuit and a remote identifier of an access node take 30 to 80.
const AGENT_CHUNKS: usize = 3;

/// The pool of chunks has none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What belongs to the slots. Written only by who holds the slot, read under the slot's version.
#[derive(Debug)]
pub(super) struct SideData {
    pub(super) clients: Strings,
    pub(super) agents: Strings,
    /// Whether `agents` was ever written to: where there are no relay agents nobody looks into it.
    has_agents: AtomicU32,
    agents_left_out: AtomicU64,
}

impl SideData {
    /// Memory that is reserved for this many slots, bytes, and resident as far as it is used.
    pub const fn reserved_bytes(slots: usize) -> usize {
        let chunks = chunks(slots, 1).saturating_add(chunks(slots, AGENT_CHUNKS));
        chunks.saturating_mul((CHUNK_WORDS + 1) * 8).saturating_add(slots.saturating_mul(RECORD))
    }

    /// For this many slots.
    pub fn new(slots: usize) -> Self {
        let resident = memory::resident(slots, || std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            clients: Strings { records: resident, pool: Pool::new(chunks(slots, 1)) },
            agents: Strings { records: memory::reserved(slots), pool: Pool::new(chunks(slots, AGENT_CHUNKS)) },
            has_agents: AtomicU32::new(0),
            agents_left_out: AtomicU64::new(0),
        }
    }

    /// Writes a slot's client; the caller holds the slot.
    pub fn write(&self, slot: u32, hw: &HwAddress, client_id: &[u8]) -> Result<(), Full> {
        // The wire cannot carry more than 255 bytes in one option.
        let client_id = &client_id[..client_id.len().min(255)];
        let rest = hw.bytes().get(8..).unwrap_or(&[]);
        let mut content: ArrayVec<u8, MAX_BYTES> = ArrayVec::new();
        let fits = content.try_extend_from_slice(client_id).and_then(|()| content.try_extend_from_slice(rest));
        debug_assert!(fits.is_ok(), "there is room for the longest");
        self.clients.write(slot, [client_id.len() as u8, rest.len() as u8], &content)
    }

    /// A slot's identifier, and its hardware address beyond the first 8 bytes; consistent only under the slot's version.
    pub fn read(&self, slot: u32, client_id: &mut ClientId, rest: &mut [u8; 8]) {
        self.clients.read(slot, client_id, rest);
    }

    /// Writes a slot's relay agent information, none when empty; the caller holds the slot. Without room there is none.
    pub fn write_agent_info(&self, slot: u32, agent_info: &[u8]) {
        let agent_info = &agent_info[..agent_info.len().min(255)];
        if self.has_agent_info(slot, agent_info) {
            return;
        }
        // Who sees the slot as its holder publishes it sees this too.
        self.has_agents.store(1, Ordering::Relaxed);
        if self.agents.write(slot, [agent_info.len() as u8, 0], agent_info) == Err(Full) {
            self.agents_left_out.fetch_add(1, Ordering::Relaxed);
            // Nothing needs no chunk.
            let _ = self.agents.write(slot, [0, 0], &[]);
        }
    }

    /// Lets a slot have the relay agent information of another one, if that has any. The caller holds both.
    pub fn copy_agent_info(&self, from: u32, to: u32) {
        let mut agent_info = AgentInfo::new();
        self.agent_info(from, &mut agent_info);
        if !agent_info.is_empty() {
            self.write_agent_info(to, &agent_info);
        }
    }

    /// Whether a slot has just this relay agent information; it means something only under the slot's version.
    pub fn has_agent_info(&self, slot: u32, agent_info: &[u8]) -> bool {
        if !self.has_agents() {
            return agent_info.is_empty();
        }
        self.agents.has(slot, [agent_info.len() as u8, 0], agent_info)
    }

    /// A slot's relay agent information; consistent only under the slot's version.
    pub fn agent_info(&self, slot: u32, agent_info: &mut AgentInfo) {
        agent_info.clear();
        if self.has_agents() {
            self.agents.read(slot, agent_info, &mut [0; 8]);
        }
    }

    /// Whether a slot has had relay agent information.
    pub fn has_agents(&self) -> bool {
        self.has_agents.load(Ordering::Relaxed) != 0
    }

    /// How often there was no room for relay agent information.
    pub fn agents_left_out(&self) -> u64 {
        self.agents_left_out.load(Ordering::Relaxed)
    }
}

type Chain = ArrayVec<u32, MAX_CHUNKS>;

/// A record a slot, and the chunks that long ones go on in.
#[derive(Debug)]
pub(super) struct Strings {
    records: Box<[[AtomicU64; WORDS]]>,
    pub(super) pool: Pool,
}

impl Strings {
    /// Writes a slot's record: its content has as many bytes as `lengths` add up to, the second of them at most 8.
    fn write(&self, slot: u32, lengths: [u8; LENGTHS], content: &[u8]) -> Result<(), Full> {
        let Some(record) = self.records.get(slot as usize) else { return Ok(()) };
        let mut chain = self.chain(record);
        self.resize(&mut chain, chunks_of(content.len()))?;
        let mut bytes = [0u8; RECORD];
        bytes[..LENGTHS].copy_from_slice(&lengths);
        let inline = inline_of(content.len());
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

    /// A slot's content: the bytes of the first length, and those of the second, then zeros.
    fn read(&self, slot: u32, first: &mut ArrayVec<u8, 255>, second: &mut [u8; 8]) {
        first.clear();
        *second = [0; 8];
        let Some(record) = self.records.get(slot as usize) else { return };
        let bytes: [u8; RECORD] = load(record);
        let lengths = [bytes[0], bytes[1]];
        let (len, inline) = (usize::from(lengths[0]), inline_of(len_of(lengths)));
        let mut second = &mut second[..len_of(lengths) - len];
        let mut take = |bytes: &[u8]| {
            let (of_first, rest) = bytes.split_at(bytes.len().min(len - first.len()));
            let fits = first.try_extend_from_slice(of_first);
            debug_assert!(fits.is_ok(), "a length is a byte");
            let rest = &rest[..rest.len().min(second.len())];
            let (place, after) = std::mem::take(&mut second).split_at_mut(rest.len());
            place.copy_from_slice(rest);
            second = after;
        };
        take(&bytes[LENGTHS..LENGTHS + inline]);
        for chunk in self.chain(record) {
            let bytes: [u8; CHUNK + 8] = load(&self.pool.chunks[chunk as usize]);
            take(&bytes[..CHUNK]);
        }
    }

    /// Whether a slot has just these lengths and this content.
    fn has(&self, slot: u32, lengths: [u8; LENGTHS], content: &[u8]) -> bool {
        let Some(record) = self.records.get(slot as usize) else { return false };
        let bytes: [u8; RECORD] = load(record);
        let (inline, rest) = content.split_at(inline_of(content.len()));
        bytes.starts_with(&lengths)
            && bytes[LENGTHS..].starts_with(inline)
            && self.chain(record).iter().zip(rest.chunks(CHUNK)).all(|(chunk, data)| {
                let bytes: [u8; CHUNK + 8] = load(&self.pool.chunks[*chunk as usize]);
                bytes.starts_with(data)
            })
    }

    /// A record's chunks. What a reader sees of a record that changes is nonsense, but never more than that.
    fn chain(&self, record: &[AtomicU64; WORDS]) -> Chain {
        let bytes: [u8; RECORD] = load(record);
        let mut at = u32::from_le_bytes(std::array::from_fn(|i| bytes[RECORD - 4 + i]));
        let mut chain = Chain::new();
        for _ in 0..chunks_of(len_of([bytes[0], bytes[1]])) {
            let Some(chunk) = self.pool.chunks.get(at as usize) else { break };
            chain.push(at);
            at = chunk[CHUNK_WORDS].load(Ordering::Relaxed) as u32;
        }
        chain
    }
}

/// Chunks for this many slots: so many for each, and for some of them as many as the longest content needs.
const fn chunks(slots: usize, each: usize) -> usize {
    let longest = if slots < ALL_LONGEST { slots } else { ALL_LONGEST };
    slots.saturating_mul(each).saturating_add(longest * (MAX_CHUNKS - each))
}

/// Bytes of the content of a record.
fn len_of([len, rest]: [u8; LENGTHS]) -> usize {
    usize::from(len) + usize::from(rest.min(8))
}

/// Bytes of a content of this length that the record holds itself.
fn inline_of(len: usize) -> usize {
    if len <= INLINE { len } else { INLINE_OF_LONG }
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
