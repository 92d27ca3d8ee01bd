//! A binding as other rooms see it: a plain value, copied out of a slot.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use super::{LimitKey, LimitKeys, Space, SpacedAddress};

/// A client identifier's bytes (RFC 2132 9.14: opaque, 2 to 255 bytes; longer than 255 cannot be in one option).
pub type ClientId = ArrayVec<u8, 255>;

/// Relay agent information (option 82, RFC 3046) as it came: sub-options, at most 255 bytes of them.
pub type AgentInfo = ArrayVec<u8, 255>;

/// A hardware address as in `htype`, `hlen` and `chaddr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HwAddress {
    /// Hardware type (1 is Ethernet).
    pub htype: u8,
    /// Length in use, at most 16.
    pub hlen: u8,
    /// The field, bytes after `hlen` as they came.
    pub chaddr: [u8; 16],
}

impl HwAddress {
    /// The bytes in use.
    pub fn bytes(&self) -> &[u8] {
        &self.chaddr[..usize::from(self.hlen.min(16))]
    }
}

/// What an address is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BindingState {
    /// Nobody has ever had it.
    Free = 0,
    /// Offered, held for its client until it expires. Never journaled.
    Offered = 1,
    /// Bound to its client until it expires.
    Bound = 2,
    /// Released by its client, which is remembered.
    Released = 3,
    /// Its time ran out; the client is remembered.
    Expired = 4,
    /// A client found it in use; out of use until it expires (RFC 2131 4.3.3).
    Declined = 5,
}

impl BindingState {
    /// The state's name in listings and exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Offered => "offered",
            Self::Bound => "bound",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Declined => "declined",
        }
    }
}

/// What a decision needs of a binding: a slot without its client, small enough to pass by value on the hot path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address space.
    pub space: Space,
    /// The address.
    pub address: Ipv4Addr,
    /// What it is.
    pub state: BindingState,
    /// See [`Binding::generation`].
    pub generation: u32,
    /// See [`Binding::started_s`].
    pub started_s: u32,
    /// See [`Binding::expires_s`].
    pub expires_s: u32,
}

/// One address and its client: what the journal keeps and listings show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The address space.
    pub space: Space,
    /// The address.
    pub address: Ipv4Addr,
    /// What it is.
    pub state: BindingState,
    /// How often the address changed hands or time, wrapping; of two records of an address the later one is the newer one.
    pub generation: u32,
    /// The client's last transaction, seconds since 1970-01-01 UTC.
    pub started_s: u32,
    /// When the binding, hold or quarantine ends, seconds since 1970-01-01 UTC; `u32::MAX` is never.
    pub expires_s: u32,
    /// The client's hardware address.
    pub hw: HwAddress,
    /// The client identifier; empty when the client sent none and is known by its hardware address.
    pub client_id: ClientId,
    /// What it counts against while it is bound.
    pub limits: LimitKeys,
    /// The relay agent information of the client's last message that had any; empty when none did.
    pub agent_info: AgentInfo,
}

/// What goes to the journal with a lease, beside its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept<'a> {
    /// See [`Binding::limits`].
    pub limits: &'a [LimitKey],
    /// See [`Binding::agent_info`]; at most 255 bytes.
    pub agent_info: &'a [u8],
    /// Places under lease limits that become free once the change is durable. They are in no record: see [`Ended::freed`](super::Ended).
    pub freed: &'a [LimitKey],
}

impl Lease {
    /// What it is of.
    pub const fn at(&self) -> SpacedAddress {
        SpacedAddress::new(self.space, self.address)
    }

    /// The lease together with its client, as the journal keeps it. An identifier longer than 255 bytes cannot come from the
    /// wire; it would be cut.
    pub fn of(&self, hw: &HwAddress, client_id: &[u8]) -> Binding {
        let mut id = ClientId::new();
        let _ = id.try_extend_from_slice(&client_id[..client_id.len().min(id.capacity())]);
        Binding {
            space: self.space,
            address: self.address,
            state: self.state,
            generation: self.generation,
            started_s: self.started_s,
            expires_s: self.expires_s,
            hw: *hw,
            client_id: id,
            limits: LimitKeys::new(),
            agent_info: AgentInfo::new(),
        }
    }
}

impl Binding {
    /// What it is of.
    pub const fn at(&self) -> SpacedAddress {
        SpacedAddress::new(self.space, self.address)
    }

    /// Without its client.
    pub const fn lease(&self) -> Lease {
        let Self { space, address, state, generation, started_s, expires_s, .. } = *self;
        Lease { space, address, state, generation, started_s, expires_s }
    }

    /// What else the journal keeps of it.
    pub fn kept(&self) -> Kept<'_> {
        Kept { limits: &self.limits, agent_info: &self.agent_info, freed: &[] }
    }
}

/// Where the newest record of a slot is on its way to the disk: a lane of the journal and a position in it, or that nobody knows.
/// (Nobody does after a restart: what was read then may have come from the kernel's memory and not from the disk.)
///
/// The position is cut to [`POSITION_BITS`](Self::POSITION_BITS): enough to tell whether it is among the last ones of its lane.
/// A position from long ago can look like one of the last ones, which costs a record more; never the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(pub(super) u32);

impl Stamp {
    /// Nobody knows, or there is no record yet.
    pub const UNSETTLED: Self = Self(0);
    /// Bits of a position that are kept.
    pub const POSITION_BITS: u32 = 22;

    const POSITION: u32 = (1 << Self::POSITION_BITS) - 1;
    const MAX_LANE: u16 = (1 << (32 - Self::POSITION_BITS)) - 2;

    /// Of a record at this position of a lane; [`UNSETTLED`](Self::UNSETTLED) for a lane that has no number here.
    pub fn new(lane: u16, position: u64) -> Self {
        if lane > Self::MAX_LANE {
            return Self::UNSETTLED;
        }
        Self((u32::from(lane) + 1) << Self::POSITION_BITS | position as u32 & Self::POSITION)
    }

    /// Whether the record has arrived, given what has of each lane (`None`: there is no such lane). A lane never has
    /// `in_flight` or more records on their way.
    pub fn is_settled(self, durable: impl FnOnce(u16) -> Option<u64>, in_flight: u64) -> bool {
        let Some(lane) = (self.0 >> Self::POSITION_BITS).checked_sub(1) else { return false };
        durable(lane as u16).is_some_and(|durable| {
            let ahead = self.0.wrapping_sub(durable as u32) & Self::POSITION;
            ahead == 0 || u64::from(ahead) >= in_flight
        })
    }
}

/// Whether a record of an address counts although the address has one of generation `than` already. Generations wrap: the later
/// one is ahead by less than half of their range.
pub fn is_current(generation: u32, than: u32) -> bool {
    generation.wrapping_sub(than) as i32 >= 0
}
