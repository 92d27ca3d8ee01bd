//! The engine: RFC 2131 as a function. A request, the time, the configuration and the leases go in, a decision comes out.
//!
//! `worker::batch` calls it, once a frame. It does no I/O, reads no clock, allocates nothing.
//! CONTRACT STUB below.

use std::net::Ipv4Addr;

use crate::{
    config::Config,
    lease::{HwAddress, Lease, LeaseTable},
    wire::dhcp::MessageType,
};

/// A request as the engine sees it: parsed, lengths checked, all slices into the frame.
pub struct Request<'a> {
    /// DHCP message type (option 53).
    pub message_type: MessageType,
    pub xid: u32,
    pub broadcast: bool,
    pub ciaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub hw: HwAddress,
    pub client_id: Option<&'a [u8]>,
    pub requested_address: Option<Ipv4Addr>,
    pub server_id: Option<Ipv4Addr>,
    pub lease_time_s: Option<u32>,
    pub max_message_size: Option<u16>,
    pub parameter_request_list: &'a [u8],
    pub relay_agent_info: Option<&'a [u8]>,
}

/// Where a request came in.
pub struct Ingress<'a> {
    /// Index into `Config::interfaces`.
    pub interface: usize,
    /// Its name.
    pub name: &'a str,
    /// IPv4 addresses of the interface; the first is the server identifier where a subnet sets none.
    pub addresses: &'a [Ipv4Addr],
}

/// What to do about a request.
pub enum Decision {
    /// Send a reply that changes no binding: OFFER, NAK, the ACK to an INFORM.
    Reply(Reply),
    /// Send an ACK once this lease is durable.
    Commit(Reply, Lease),
    /// Send nothing; record the change (RELEASE, DECLINE). The reason names it in the statistics.
    Record(Lease, DropReason),
    /// Send nothing.
    Drop(DropReason),
}

/// A reply in the abstract; the reply writer crafts it into the frame.
pub struct Reply {
    pub message_type: MessageType,
    pub subnet: u16,
    pub your_address: Ipv4Addr,
    pub server_id: Ipv4Addr,
    /// `None` for INFORM and NAK.
    pub lease_time_s: Option<u32>,
}

pub use crate::worker::counters::DropReason;

/// The decision. Pure.
pub fn decide(
    _request: &Request<'_>,
    _ingress: &Ingress<'_>,
    _now_s: u32,
    _config: &Config,
    _leases: &LeaseTable,
) -> Decision {
    todo!()
}
