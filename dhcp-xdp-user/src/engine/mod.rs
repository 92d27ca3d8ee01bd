//! The engine: RFC 2131 as a function. A request, the time, the configuration and the leases go in, a decision comes out.
//!
//! `worker::batch` calls it, once a frame: [`Request::parse`] reads the message, [`locate`] finds its subnet and client,
//! [`decide_at`] decides ([`decide`] is the two together), [`write_reply`] writes the reply's message and [`envelope`]
//! addresses it. It does no I/O, reads no clock, allocates nothing.

mod classes;
mod decide;
mod reply;
mod request;
mod subnet;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

pub use self::{
    classes::Classified,
    decide::{decide, decide_at},
    reply::{DEFAULT_MESSAGE_SIZE, envelope, write_reply},
    request::Request,
    subnet::{Place, locate},
};
pub use crate::worker::counters::DropReason;
use crate::{
    lease::{Bound, Lease},
    wire::dhcp::MessageType,
};

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
}

/// What to do about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send a reply that changes no binding: OFFER, NAK, the ACK to an INFORM.
    Reply(Reply),
    /// Send an ACK once this change is durable: the lease, and after it the one that the client gives up for it. What an
    /// earlier record covers ([`Bound::must_record`]) needs none of its own.
    Commit(Reply, Bound),
    /// Send nothing; record the change (RELEASE, DECLINE). The reason names it in the statistics.
    Record(Lease, DropReason),
    /// Send nothing.
    Drop(DropReason),
}

/// A reply in the abstract; [`write_reply`] crafts it into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// OFFER, ACK or NAK.
    pub message_type: MessageType,
    /// Index into `Config::subnets`.
    pub subnet: u16,
    /// `yiaddr`; zero for INFORM and NAK.
    pub your_address: Ipv4Addr,
    /// Server identifier (option 54), also the datagram's source address.
    pub server_id: Ipv4Addr,
    /// Seconds; `u32::MAX` is for ever. `None` for INFORM and NAK.
    pub lease_time_s: Option<u32>,
    /// Why, in words, for a NAK (option 56); otherwise empty.
    pub note: &'static str,
}
