//! The engine: RFC 2131 as a function. A request, the time, the configuration and the leases go in, a decision comes out.
//!
//! `worker::batch` calls it, once a frame: [`Request::parse`] reads the message and [`client_of`] finds its subnet and client, before
//! any lease is looked at; [`locate`] adds what the client's lease keeps of its relay agent and what is reserved for it,
//! [`decide_at`] decides, [`write_reply`] writes the reply's message and [`envelope`] addresses it. It does no I/O, reads no
//! clock, allocates nothing.

mod balance;
mod classes;
mod computed;
mod decide;
mod layers;
mod remembered;
mod reply;
mod request;
mod subnet;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

pub(crate) use self::reply::PROTOCOL_OPTIONS;
pub use self::{
    classes::Classified,
    computed::{Computed, MAX_COMPUTED, compute},
    decide::decide_at,
    layers::Origin,
    remembered::Remembered,
    reply::{DEFAULT_MESSAGE_SIZE, configured, envelope, envelope_to_relay, header_origin, origin, write_reply},
    request::{Architectures, Request, is_past_relay_agents},
    subnet::{
        ClientAt, FlexId, Ground, Place, client_of, flex_id, ground, locate, named_reservation, takes_out_vss_control,
    },
};
pub use crate::worker::counters::DropReason;
use crate::{
    config::{Config, Overlay},
    lease::{Bound, Ended},
    wire::dhcp::MessageType,
};

/// Most overlays of one reply.
pub const MAX_OVERLAYS: usize = 8;

/// Where a request came in.
#[derive(Clone, Copy, Debug)]
pub struct Ingress<'a> {
    /// Index into `Config::interfaces`.
    pub interface: usize,
    /// Its name.
    pub name: &'a str,
    /// IPv4 addresses of the interface. Where a subnet sets no server identifier, it is the one inside the subnet's prefix,
    /// else the first.
    pub addresses: &'a [Ipv4Addr],
    /// VLAN identifiers of the frame's tags, the outer one first.
    pub vlans: [Option<u16>; 2],
    /// Ethernet source of the frame: the client, or the last router on its way.
    pub ethernet_source: [u8; 6],
    /// IPv4 source of the datagram.
    pub source: Ipv4Addr,
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send a reply that changes no binding: OFFER, NAK, the ACK to an INFORM.
    Reply(Reply),
    /// Send an ACK once this change is durable: the lease, and after it the one that the client gives up for it. What an
    /// earlier record covers ([`Bound::must_record`]) needs none of its own.
    Commit(Reply, Bound),
    /// Send nothing; record the change (RELEASE, DECLINE). The reason names it in the statistics.
    Record(Ended, DropReason),
    /// Send nothing.
    Drop(DropReason),
}

/// A reply in the abstract; [`write_reply`] crafts it into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// OFFER, ACK, NAK or [`MessageType::Bootp`].
    pub message_type: MessageType,
    /// Index into `Config::subnets`.
    pub subnet: u16,
    /// `yiaddr`; zero for INFORM and NAK, and for an OFFER of no address (RFC 2563, RFC 8925).
    pub your_address: Ipv4Addr,
    /// Server identifier (option 54).
    pub server_id: Ipv4Addr,
    /// The datagram's source address: the server identifier, unless a relay agent had that overridden (RFC 5107).
    pub source: Ipv4Addr,
    /// Seconds; `u32::MAX` is for ever. `None` for INFORM, NAK and BOOTP.
    pub lease_time_s: Option<u32>,
    /// Where that time is from.
    pub lease_time_from: TimeFrom,
    /// T1 and T2, seconds.
    pub renewal_times_s: Option<(u32, u32)>,
    /// It is the ACK to a DISCOVER (RFC 4039).
    pub rapid_commit: bool,
    /// Whether a client that gets no address may configure itself (RFC 2563).
    pub auto_configure: Option<bool>,
    /// What is laid over the options of the client's pool and subnet.
    pub overlays: Overlays,
    /// The address that is reserved for the client is in use by somebody else or quarantined: it is given another.
    pub reserved_in_use: bool,
    /// The address is neither the client's nor reserved for it, and its subnet wants such ones probed before they are offered.
    pub probe: bool,
    /// Why, in words, for a NAK (option 56); otherwise empty.
    pub note: &'static str,
}

/// Where a lease time is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFrom {
    /// The times of the address's subnet, those of the client's classes over them, and what the client asked for.
    #[default]
    Times,
    /// The client's reservation.
    Reservation,
    /// The least time, because addresses are scarce.
    Scarcity,
    /// The subnet's time for BOOTP clients.
    Bootp,
}

/// The settings of classes and of a reservation that a reply takes before those of its pool and subnet: indices into
/// `Config::overlays`, the most specific first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlays {
    indices: [u32; MAX_OVERLAYS],
    len: u8,
}

impl Overlays {
    /// Adds one that gives way to those that are there. False: there are [`MAX_OVERLAYS`] already.
    pub fn push(&mut self, index: u32) -> bool {
        let Some(place) = self.indices.get_mut(usize::from(self.len)) else { return false };
        *place = index;
        self.len += 1;
        true
    }

    /// The indices.
    pub fn indices(&self) -> &[u32] {
        &self.indices[..usize::from(self.len)]
    }

    /// The settings themselves; an index beyond the configuration's is left out.
    fn resolve<'c>(&self, config: &'c Config) -> ArrayVec<&'c Overlay, MAX_OVERLAYS> {
        let indices = self.indices().iter();
        indices.filter_map(|index| config.overlays.get(*index as usize)).collect()
    }
}
