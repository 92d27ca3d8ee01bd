//! The reply: its message (RFC 2131 table 3) and where it goes (section 4.1).

use std::net::Ipv4Addr;

use dhcp_xdp_ebpf::walk::{CLIENT_PORT, SERVER_PORT};

use super::{Reply, Request, decide::renewal_times_s};
use crate::{
    config::Subnet,
    wire::{
        dhcp::{BOOTREPLY, HTYPE_ETHERNET, HeaderMut, MessageType},
        link::{ETHERNET_BROADCAST, Envelope, REPLY_IP_UDP_LEN},
        options::{OptionWriter, code},
    },
};

/// What a client takes that says nothing else: a datagram of 576 bytes (RFC 2131 2), headers included. Option 57 counts the
/// same way: its least legal value is 576 (RFC 2132 9.10), which is 20 of IPv4, 8 of UDP, 236 of BOOTP and the 312 bytes of
/// options that a client must at least take.
pub const DEFAULT_MESSAGE_SIZE: u16 = 576;

/// Options that the protocol sets by itself: never taken from a subnet's set or a client's list.
const PROTOCOL_OPTIONS: [u8; 11] = [
    code::PAD,
    code::LEASE_TIME,
    code::OVERLOAD,
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::MESSAGE,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::CLIENT_ID,
    code::RELAY_AGENT_INFO,
    code::END,
];

/// Writes a reply's message into `message`, whose length is the most that the frame can carry. Returns its length, at least
/// 300; `None` when even what the protocol demands does not fit.
///
/// The request must not borrow from `message`. What does not fit into the client's maximum message size is left out: first
/// the subnet's options, last in the client's list first; then option 82, which RFC 3046 2.2 permits.
pub fn write_reply(request: &Request<'_>, reply: &Reply, subnet: &Subnet, message: &mut [u8]) -> Option<usize> {
    let size = request.max_message_size.unwrap_or(DEFAULT_MESSAGE_SIZE).max(DEFAULT_MESSAGE_SIZE);
    let limit = (usize::from(size) - REPLY_IP_UDP_LEN).min(message.len());
    let message = &mut message[..limit];
    let is_nak = reply.message_type == MessageType::Nak;
    write_header(request, reply, subnet, is_nak, message)?;

    let file_free = is_nak || subnet.boot_file.is_empty();
    let mut writer = OptionWriter::new(message, file_free, true)?;
    let mut fits = writer.push(code::MESSAGE_TYPE, &[reply.message_type.into()])
        && writer.push(code::SERVER_ID, &reply.server_id.octets());
    if let Some(lease_time_s) = reply.lease_time_s {
        fits = fits && writer.push(code::LEASE_TIME, &lease_time_s.to_be_bytes());
    }
    if let Some(client_id) = request.client_id {
        // RFC 6842 3: always echoed, so that a client on a shared link knows its own reply. Before all that may be left out.
        fits = fits && writer.push(code::CLIENT_ID, client_id);
    }
    if !fits {
        return None;
    }
    // RFC 3046 2.2: whole, last, never in an overloaded field; without it when it does not fit.
    let relay_agent_info = request.relay_agent_info.filter(|data| writer.reserve(data.len()));
    if is_nak {
        writer.push(code::MESSAGE, reply.note.as_bytes());
    } else {
        if let Some((t1_s, t2_s)) = reply.lease_time_s.and_then(|s| renewal_times_s(&subnet.lease, s)) {
            writer.push(code::RENEWAL_TIME, &t1_s.to_be_bytes());
            writer.push(code::REBINDING_TIME, &t2_s.to_be_bytes());
        }
        write_parameters(request.parameter_request_list, subnet, &mut writer);
    }
    Some(writer.finish(relay_agent_info.map(|data| (code::RELAY_AGENT_INFO, data))))
}

/// The fixed part, by RFC 2131 table 3.
fn write_header(request: &Request<'_>, reply: &Reply, subnet: &Subnet, is_nak: bool, message: &mut [u8]) -> Option<()> {
    let mut header = HeaderMut::new_cleared(message)?;
    header
        .set_op(BOOTREPLY)
        .set_hardware(request.hw.htype, request.hw.hlen, &request.hw.chaddr)
        .set_xid(request.xid)
        // 4.3.2: a relay agent is to broadcast a NAK, because the client may have a wrong address.
        .set_broadcast(request.broadcast || (is_nak && request.is_relayed()))
        .set_giaddr(request.giaddr);
    if is_nak {
        return Some(());
    }
    header.set_yiaddr(reply.your_address).set_siaddr(subnet.next_server).set_file(&subnet.boot_file);
    if reply.message_type == MessageType::Ack {
        header.set_ciaddr(request.ciaddr);
    }
    Some(())
}

/// The subnet's options: those of the client's list in its order, then those that are sent always; to a client without a list
/// all of them.
///
/// Two come first wherever the list has them: the subnet mask, which must come before the routers (RFC 2132 3.3), and
/// classless routes, which make static routes and routers superfluous (RFC 3442).
fn write_parameters(list: &[u8], subnet: &Subnet, writer: &mut OptionWriter<'_>) {
    let mut done = Codes::of(&PROTOCOL_OPTIONS);
    let requested = Codes::of(list);
    let is_due = |code: u8, always: bool| list.is_empty() || always || requested.contains(code);

    // The configuration puts it into every set.
    if let Some(mask) = subnet.options.get(code::SUBNET_MASK)
        && is_due(mask.code, mask.always)
    {
        done.insert(mask.code);
        writer.push(mask.code, &mask.data);
    }
    if let Some(routes) = subnet.options.get(code::CLASSLESS_ROUTE)
        && requested.contains(code::CLASSLESS_ROUTE)
    {
        done.insert(code::CLASSLESS_ROUTE);
        if writer.push(code::CLASSLESS_ROUTE, &routes.data) {
            done.insert(code::ROUTER);
            done.insert(code::STATIC_ROUTE);
        }
    }
    for &code in list {
        if done.insert(code)
            && let Some(blob) = subnet.options.get(code)
        {
            writer.push(code, &blob.data);
        }
    }
    for blob in subnet.options.iter() {
        if is_due(blob.code, blob.always) && done.insert(blob.code) {
            writer.push(blob.code, &blob.data);
        }
    }
}

/// A set of option codes.
#[derive(Clone, Copy, Default)]
struct Codes([u64; 4]);

impl Codes {
    fn of(codes: &[u8]) -> Self {
        let mut set = Self::default();
        for &code in codes {
            set.insert(code);
        }
        set
    }
    /// True when it was not there yet.
    fn insert(&mut self, code: u8) -> bool {
        let is_new = !self.contains(code);
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
        is_new
    }
    fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }
}

/// Where a reply goes (RFC 2131 4.1). `request_source` is the Ethernet source of the request's frame, `own` the interface's
/// address.
///
/// No ARP is ever needed: what goes to a relay agent or to a configured client goes back to where the request's frame came
/// from, be that the host itself or the last router before us.
///
/// A `ciaddr` outside the subnet is nobody's to be sent to: the client is answered as if it had none.
pub fn envelope(
    request: &Request<'_>,
    reply: &Reply,
    subnet: &Subnet,
    request_source: [u8; 6],
    own: [u8; 6],
) -> Envelope {
    let to = |ethernet_destination, destination, destination_port| Envelope {
        ethernet_source: own,
        ethernet_destination,
        source: reply.server_id,
        destination,
        source_port: SERVER_PORT,
        destination_port,
    };
    let broadcast = to(ETHERNET_BROADCAST, Ipv4Addr::BROADCAST, CLIENT_PORT);
    let is_inform = request.message_type == MessageType::Inform;
    if is_inform {
        // 4.3.5: "directly to the address given in the 'ciaddr' field", also when a relay agent sent it on.
        to(request_source, request.ciaddr, CLIENT_PORT)
    } else if request.is_relayed() {
        to(request_source, request.giaddr, SERVER_PORT)
    } else if reply.message_type == MessageType::Nak {
        broadcast
    } else if subnet.prefix.contains(&request.ciaddr) {
        to(request_source, request.ciaddr, CLIENT_PORT)
    } else if request.broadcast || request.hw.htype != HTYPE_ETHERNET {
        broadcast
    } else {
        // Any other hlen cannot be an Ethernet destination.
        match <[u8; 6]>::try_from(request.hw.bytes()) {
            Ok(chaddr) => to(chaddr, reply.your_address, CLIENT_PORT),
            Err(_) => broadcast,
        }
    }
}
