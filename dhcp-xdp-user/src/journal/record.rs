//! The record: 64 bytes, little-endian, under a CRC-32C that starts from the segment's own random number, so that bytes of
//! another segment never pass for this one's.
//!
//! ```text
//! base          crc 4 | kind, agent << 3, limits << 4 1 | htype 1 | hlen 1 | client id length 1 | address 4 | generation 4 | started_s 4 |
//!               expires_s 4 | chaddr 16 | address space 2 | tail, first 22
//! continuation  crc 4 | kind 1 | part 1 | address space 2 | address 4 | generation 4 | tail, next 48
//! marker        crc 4 | kind 1 | 0 3 | durable bytes 8 | lease time 4 | wall clock 4 | boot time 8, ms | boot id 16 |
//!               ms of lease time 2 | ms of wall clock 2 | 0 12
//! ```
//! The tail is, where the agent's bit is set, a byte with the length of the relay agent information; the client identifier;
//! of 16 bytes each, what the lease counts against; and the relay agent information. Continuations stand right before
//! their base record, in the same group, so that a base that can be read is whole. The global address space is 0, which version 2
//! of the format, that knew no other, has in its place.

use arrayvec::ArrayVec;

use crate::{
    clock::Moment,
    lease::{Binding, BindingState, HwAddress, Kept, Lease, LimitKey, MAX_LIMITS, Space, SpacedAddress},
};

/// Bytes of a record.
pub(super) const RECORD: usize = 64;
/// Bytes of the tail in the base record.
const INLINE: usize = 22;
/// Bytes of the tail in a continuation.
const PART: usize = 48;
/// Most records of one change.
pub(super) const MAX_RECORDS: usize = 1 + (MAX_TAIL - INLINE).div_ceil(PART);
/// Most bytes of a tail.
pub(super) const MAX_TAIL: usize = 1 + 255 + MAX_LIMITS * KEY + 255;
/// Bytes of what a lease counts against.
const KEY: usize = 16;
/// The bit of the kind that says that there is relay agent information.
const AGENT: u8 = 1 << 3;
/// The bits of the kind that count what the lease counts against.
const LIMITS_SHIFT: u32 = 4;

const CONTINUATION: u8 = 0x80;
const MARKER: u8 = 0x81;

/// The bytes of one record.
pub(super) type Bytes = [u8; RECORD];

const _: () = assert!(4 + 4 + 4 * 4 + 16 + 2 + INLINE == RECORD, "the base record is full");
const _: () = assert!(MAX_LIMITS <= 3, "two bits count them");
const _: () = assert!(16 + PART == RECORD, "the continuation is full");

/// A record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// A binding's change, with the first bytes of its tail.
    Base { lease: Lease, hw: HwAddress, tail: Tail, start: &'a [u8] },
    /// More of a tail: part 1, 2, …
    Continuation { at: SpacedAddress, generation: u32, part: u8, bytes: &'a [u8] },
    /// Start of a group: this many bytes of the segment were durable when it was written, and what time it was.
    Marker { durable: u64, moment: Moment },
}

/// What a tail is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Bytes of the client identifier.
    pub client_id: u8,
    /// How many keys follow it.
    pub limits: u8,
    /// Bytes of the relay agent information behind them, if there is any.
    pub agent_info: Option<u8>,
}

impl Tail {
    /// Its bytes.
    pub fn len(self) -> usize {
        let agent_info = self.agent_info.map_or(0, |len| 1 + usize::from(len));
        usize::from(self.client_id) + usize::from(self.limits) * KEY + agent_info
    }

    /// A binding of a lease with a tail of these bytes; `None` when they are too few.
    pub fn binding(self, lease: &Lease, hw: &HwAddress, bytes: &[u8]) -> Option<Binding> {
        let bytes = bytes.get(usize::from(self.agent_info.is_some())..)?;
        let (client_id, rest) = bytes.split_at_checked(usize::from(self.client_id))?;
        let (keys, rest) = rest.split_at_checked(usize::from(self.limits) * KEY)?;
        let agent_info = rest.get(..usize::from(self.agent_info.unwrap_or(0)))?;
        let keys = keys.as_chunks::<KEY>().0;
        let word = |bytes: &[u8]| u64::from_le_bytes(std::array::from_fn(|i| bytes[i]));
        let limits = keys.iter().map(|key| LimitKey([word(&key[..8]), word(&key[8..])])).collect();
        let agent_info = agent_info.iter().copied().collect();
        Some(Binding { limits, agent_info, ..lease.of(hw, client_id) })
    }

    /// The binding without its relay agent information, which comes last, when these first bytes have all the rest.
    pub fn without_agent_info(self, lease: &Lease, hw: &HwAddress, start: &[u8]) -> Option<Binding> {
        self.agent_info?;
        Self { agent_info: Some(0), ..self }.binding(lease, hw, start)
    }
}

fn put(bytes: &mut Bytes, at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Encodes a change, checksums still zero: continuations first. `each` gets at most [`MAX_RECORDS`].
pub(super) fn encode(lease: &Lease, hw: &HwAddress, client_id: &[u8], kept: Kept<'_>, mut each: impl FnMut(Bytes)) {
    let client_id = &client_id[..client_id.len().min(255)];
    let limits = &kept.limits[..kept.limits.len().min(MAX_LIMITS)];
    let agent_info = &kept.agent_info[..kept.agent_info.len().min(255)];
    let has_agent_info = !agent_info.is_empty();
    let mut joined: ArrayVec<u8, MAX_TAIL> = ArrayVec::new();
    let tail = if limits.is_empty() && !has_agent_info {
        client_id
    } else {
        let mut put = |piece: &[u8]| {
            let fits = joined.try_extend_from_slice(piece);
            debug_assert!(fits.is_ok(), "there is room for the longest");
        };
        if has_agent_info {
            put(&[agent_info.len() as u8]);
        }
        put(client_id);
        limits.iter().flat_map(|key| key.0).for_each(|half| put(&half.to_le_bytes()));
        put(agent_info);
        &joined
    };
    let (inline, rest) = tail.split_at(tail.len().min(INLINE));
    let address = u32::from(lease.address).to_le_bytes();
    let space = lease.space.0.to_le_bytes();
    for (part, chunk) in (1u8..).zip(rest.chunks(PART)) {
        let mut bytes = [0; RECORD];
        put(&mut bytes, 4, &[CONTINUATION, part]);
        put(&mut bytes, 6, &space);
        put(&mut bytes, 8, &address);
        put(&mut bytes, 12, &lease.generation.to_le_bytes());
        put(&mut bytes, 16, chunk);
        each(bytes);
    }
    let mut bytes = [0; RECORD];
    let kind = lease.state as u8 | if has_agent_info { AGENT } else { 0 } | (limits.len() as u8) << LIMITS_SHIFT;
    put(&mut bytes, 4, &[kind, hw.htype, hw.hlen, client_id.len() as u8]);
    put(&mut bytes, 8, &address);
    put(&mut bytes, 12, &lease.generation.to_le_bytes());
    put(&mut bytes, 16, &lease.started_s.to_le_bytes());
    put(&mut bytes, 20, &lease.expires_s.to_le_bytes());
    put(&mut bytes, 24, &hw.chaddr);
    put(&mut bytes, 40, &space);
    put(&mut bytes, 42, inline);
    each(bytes);
}

/// Records of a change with a tail of this length.
pub(super) fn records_of(tail_len: usize) -> usize {
    1 + tail_len.min(MAX_TAIL).saturating_sub(INLINE).div_ceil(PART)
}

/// Bytes of the tail of a change with a client identifier of this length.
pub(super) fn tail_len(client_id_len: usize, kept: &Kept<'_>) -> usize {
    let agent_info = match kept.agent_info.len() {
        0 => 0,
        len => 1 + len.min(255),
    };
    client_id_len.min(255) + kept.limits.len().min(MAX_LIMITS) * KEY + agent_info
}

/// Whether more records of the same change follow.
pub(super) fn is_continuation(bytes: &Bytes) -> bool {
    bytes[4] == CONTINUATION
}

/// The record that starts a group.
pub(super) fn marker(durable: u64, moment: &Moment) -> Bytes {
    let mut bytes = [0; RECORD];
    bytes[4] = MARKER;
    put(&mut bytes, 8, &durable.to_le_bytes());
    put(&mut bytes, 16, &moment.lease_s.to_le_bytes());
    put(&mut bytes, 20, &moment.wall_s.to_le_bytes());
    put(&mut bytes, 24, &moment.boot_ms.to_le_bytes());
    put(&mut bytes, 32, &moment.boot_id.to_le_bytes());
    put(&mut bytes, 48, &moment.lease_ms.to_le_bytes());
    put(&mut bytes, 50, &moment.wall_ms.to_le_bytes());
    bytes
}

fn marked(bytes: &Bytes) -> Record<'_> {
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let moment = Moment {
        lease_s: u32_at(bytes, 16),
        wall_s: u32_at(bytes, 20),
        lease_ms: u16::from_le_bytes([bytes[48], bytes[49]]),
        wall_ms: u16::from_le_bytes([bytes[50], bytes[51]]),
        boot_ms: u64_at(24),
        boot_id: u128::from_le_bytes(std::array::from_fn(|i| bytes[32 + i])),
    };
    Record::Marker { durable: u64_at(8), moment }
}

/// Writes the checksum.
pub(super) fn seal(bytes: &mut Bytes, seed: u32) {
    let crc = crc32c::crc32c_append(seed, &bytes[4..]);
    put(bytes, 0, &crc.to_le_bytes());
}

fn u32_at(bytes: &Bytes, at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn space_at(bytes: &Bytes, at: usize) -> Space {
    Space(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Reads a record; `None` when its checksum or its kind is wrong.
pub(super) fn decode(bytes: &Bytes, seed: u32) -> Option<Record<'_>> {
    if u32_at(bytes, 0) != crc32c::crc32c_append(seed, &bytes[4..]) {
        return None;
    }
    let address = u32_at(bytes, 8).into();
    let generation = u32_at(bytes, 12);
    let state = match bytes[4] {
        MARKER => return Some(marked(bytes)),
        CONTINUATION => {
            let at = SpacedAddress::new(space_at(bytes, 6), address);
            return Some(Record::Continuation { at, generation, part: bytes[5], bytes: &bytes[16..] });
        }
        kind => match kind & (AGENT - 1) {
            2 => BindingState::Bound,
            3 => BindingState::Released,
            4 => BindingState::Expired,
            5 => BindingState::Declined,
            _ => return None,
        },
    };
    let agent_info = (bytes[4] & AGENT != 0).then_some(bytes[42]);
    let tail = Tail { client_id: bytes[7], limits: bytes[4] >> LIMITS_SHIFT, agent_info };
    if usize::from(tail.limits) > MAX_LIMITS {
        return None;
    }
    let (space, started_s, expires_s) = (space_at(bytes, 40), u32_at(bytes, 16), u32_at(bytes, 20));
    let lease = Lease { space, address, state, generation, started_s, expires_s };
    let hw = HwAddress { htype: bytes[5], hlen: bytes[6], chaddr: std::array::from_fn(|i| bytes[24 + i]) };
    Some(Record::Base { lease, hw, tail, start: &bytes[42..42 + tail.len().min(INLINE)] })
}
