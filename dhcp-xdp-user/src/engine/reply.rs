//! The reply: its message (RFC 2131 table 3) and where it goes (section 4.1).

use std::net::Ipv4Addr;

use dhcp_xdp_ebpf::walk::{CLIENT_PORT, SERVER_PORT};

use super::{
    Computed, Reply, Request,
    decide::is_within,
    layers::{Layers, Origin},
    subnet::{subnet_selection, virtual_subnet_echo},
};
use crate::{
    config::{Config, Level, OptionBlob, Overlay, Subnet},
    wire::{
        dhcp::{BOOTREPLY, HTYPE_ETHERNET, HeaderMut, MIN_MESSAGE_LEN, MessageType, field},
        link::{Datagram, ETHERNET_BROADCAST, Envelope, REPLY_IP_UDP_LEN},
        options::{Codes, OptionWriter, code},
    },
};

/// What a client takes that says nothing else: a datagram of 576 bytes (RFC 2131 2), headers included. Option 57 counts the
/// same way: its least legal value is 576 (RFC 2132 9.10), which is 20 of IPv4, 8 of UDP, 236 of BOOTP and the 312 bytes of
/// options that a client must at least take.
pub const DEFAULT_MESSAGE_SIZE: u16 = 576;

/// Options that the protocol sets by itself: never taken from a subnet's set or a client's list.
pub(crate) const PROTOCOL_OPTIONS: Codes = Codes::of(&[
    code::PAD,
    code::LEASE_TIME,
    code::OVERLOAD,
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::MESSAGE,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::CLIENT_ID,
    code::RAPID_COMMIT,
    code::RELAY_AGENT_INFO,
    code::CLIENT_MACHINE_ID,
    code::AUTO_CONFIGURE,
    code::SUBNET_SELECTION,
    code::VIRTUAL_SUBNET_SELECTION,
    code::END,
]);

/// Writes a reply's message into `message`, whose length is the most that the frame can carry. Returns its length, at least
/// 300; `None` when even what the protocol demands does not fit.
///
/// The request must not borrow from `message`. What does not fit into the client's maximum message size is left out: first
/// the configured options, last in the client's list first; then option 82, which RFC 3046 2.2 permits.
pub fn write_reply(
    request: &Request<'_>,
    reply: &Reply,
    computed: Computed<'_>,
    config: &Config,
    message: &mut [u8],
) -> Option<usize> {
    let subnet = config.subnets.get(usize::from(reply.subnet))?;
    let limit = limit(request, reply).min(message.len());
    let message = message.get_mut(..limit)?;
    let layers = Layers::new(reply, request.ciaddr, subnet, config);
    let is_nak = reply.message_type == MessageType::Nak;
    let is_bootp = reply.message_type == MessageType::Bootp;
    let boot_file = layers.boot_file(request.architectures);
    write_header(request, reply, &layers, boot_file, message)?;
    if !request.has_options {
        // RFC 951: a vendor area that the client would not understand stays empty.
        message[field::COOKIE].fill(0);
        message[field::COOKIE.end..MIN_MESSAGE_LEN].fill(0);
        return Some(MIN_MESSAGE_LEN);
    }

    // Option 52 is DHCP's: a BOOTP client does not know it. A NAK must not use these fields (RFC 2131 table 3).
    let may_overload = !is_bootp && !is_nak;
    let file_free = may_overload && boot_file.is_empty();
    let sname_free = may_overload && layers.server_name().is_empty();
    let mut writer = OptionWriter::new(message, file_free, sname_free)?;
    if !is_bootp && !write_protocol(request, reply, config, &mut writer) {
        return None;
    }
    // RFC 3046 2.2: whole, last, never in an overloaded field; without it when it does not fit.
    let relay_agent_info = request.relay_agent_info.filter(|data| writer.reserve(data.len()));
    if is_nak {
        writer.push(code::MESSAGE, reply.note.as_bytes());
    } else {
        if let Some((t1_s, t2_s)) = reply.renewal_times_s {
            writer.push(code::RENEWAL_TIME, &t1_s.to_be_bytes());
            writer.push(code::REBINDING_TIME, &t2_s.to_be_bytes());
        }
        if let Some(machine) = request.machine_id.filter(|_| !is_bootp) {
            // RFC 4578 2.3: in all packets of servers too; only clients that boot from the network look for it.
            writer.push(code::CLIENT_MACHINE_ID, machine);
        }
        write_parameters(request.parameter_request_list, &layers, computed, &mut writer);
    }
    Some(writer.finish(relay_agent_info.map(|data| (code::RELAY_AGENT_INFO, data))))
}

/// Where an option of a reply is from; `None`: the server set it by itself.
pub fn origin(request: &Request<'_>, reply: &Reply, config: &Config, code: u8) -> Option<Origin> {
    let subnet = config.subnets.get(usize::from(reply.subnet)).filter(|_| !PROTOCOL_OPTIONS.contains(code))?;
    Layers::new(reply, request.ciaddr, subnet, config).origin(code, reply.overlays.indices())
}

/// What is configured of an option for a reply.
pub fn configured<'c>(request: &Request<'_>, reply: &Reply, config: &'c Config, code: u8) -> Option<&'c OptionBlob> {
    let subnet = config.subnets.get(usize::from(reply.subnet))?;
    Layers::new(reply, request.ciaddr, subnet, config).get(code)
}

/// Where a setting of a reply's header is from; `has` tells whether an overlay has it.
pub fn header_origin(reply: &Reply, config: &Config, has: impl Fn(&Overlay) -> bool) -> Option<Origin> {
    let subnet = config.subnets.get(usize::from(reply.subnet))?;
    let layers = Layers::new(reply, Ipv4Addr::UNSPECIFIED, subnet, config);
    layers.first(reply.overlays.indices(), has).or(Some(Origin::Level(Level::Subnet)))
}

/// The most bytes that the client takes. A BOOTP client may take no more than the 64 of its vendor area unless it says so
/// (RFC 1534 2).
fn limit(request: &Request<'_>, reply: &Reply) -> usize {
    match (reply.message_type, request.max_message_size) {
        (MessageType::Bootp, None) => MIN_MESSAGE_LEN,
        (_, size) => usize::from(size.unwrap_or(0).max(DEFAULT_MESSAGE_SIZE)) - REPLY_IP_UDP_LEN,
    }
}

/// The fixed part, by RFC 2131 table 3.
fn write_header(
    request: &Request<'_>,
    reply: &Reply,
    layers: &Layers<'_>,
    boot_file: &[u8],
    message: &mut [u8],
) -> Option<()> {
    let is_nak = reply.message_type == MessageType::Nak;
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
    header
        .set_yiaddr(reply.your_address)
        .set_siaddr(layers.next_server())
        .set_sname(layers.server_name())
        .set_file(boot_file);
    if matches!(reply.message_type, MessageType::Ack | MessageType::Bootp) && !reply.rapid_commit {
        header.set_ciaddr(request.ciaddr);
    }
    Some(())
}

/// The options that the protocol itself demands. False: they do not fit.
fn write_protocol(request: &Request<'_>, reply: &Reply, config: &Config, writer: &mut OptionWriter<'_>) -> bool {
    let mut fits = writer.push(code::MESSAGE_TYPE, &[reply.message_type.into()])
        && writer.push(code::SERVER_ID, &reply.server_id.octets());
    if let Some(lease_time_s) = reply.lease_time_s {
        fits = fits && writer.push(code::LEASE_TIME, &lease_time_s.to_be_bytes());
    }
    if let Some(client_id) = request.client_id {
        // RFC 6842 3: always echoed, so that a client on a shared link knows its own reply. Before all that may be left out.
        fits = fits && writer.push(code::CLIENT_ID, client_id);
    }
    if reply.rapid_commit {
        fits = fits && writer.push(code::RAPID_COMMIT, &[]);
    }
    if let Some(may) = reply.auto_configure {
        fits = fits && writer.push(code::AUTO_CONFIGURE, &[u8::from(may)]);
    }
    if let Some(link) = subnet_selection(request, config) {
        // RFC 3011: "an identical copy of the option", also to a client that did not ask for it.
        fits = fits && writer.push(code::SUBNET_SELECTION, &link.octets());
    }
    if let Some(vpn) = virtual_subnet_echo(request, config) {
        fits = fits && writer.push(code::VIRTUAL_SUBNET_SELECTION, vpn);
    }
    fits
}

/// Which configured options a client is to have.
pub(super) struct Due {
    requested: Codes,
    all: bool,
}

impl Due {
    /// By the client's list: without one all.
    pub fn new(list: &[u8]) -> Self {
        Self { requested: Codes::of(list), all: list.is_empty() }
    }

    /// Whether this one is; `always`: also unasked.
    pub fn has(&self, code: u8, always: bool) -> bool {
        self.requested.contains(code) || (self.all || always) && code != code::IPV6_ONLY_PREFERRED
    }
}

/// The configured options: those of the client's list in its order, then those that are sent always; to a client without a
/// list all of them.
///
/// Two come first wherever the list has them: the subnet mask, which must come before the routers (RFC 2132 3.3), and
/// classless routes, which make static routes and routers superfluous (RFC 3442). "IPv6-only preferred" is never sent unasked
/// (RFC 8925 3.3).
fn write_parameters(list: &[u8], layers: &Layers<'_>, computed: Computed<'_>, writer: &mut OptionWriter<'_>) {
    let mut done = PROTOCOL_OPTIONS;
    let due = Due::new(list);
    // False also where an expression has no value: then there is nothing to send.
    let mut push = |blob: &OptionBlob| match blob.computed {
        None => writer.push(blob.code, &blob.data),
        Some(_) => computed.get(blob.code).is_some_and(|data| writer.push(blob.code, data)),
    };

    // The configuration puts it into every set.
    if let Some(mask) = layers.get(code::SUBNET_MASK)
        && due.has(mask.code, mask.always)
    {
        done.insert(mask.code);
        push(mask);
    }
    if let Some(routes) = layers.get(code::CLASSLESS_ROUTE)
        && due.requested.contains(code::CLASSLESS_ROUTE)
    {
        done.insert(code::CLASSLESS_ROUTE);
        if push(routes) {
            done.insert(code::ROUTER);
            done.insert(code::STATIC_ROUTE);
        }
    }
    for &code in list {
        if done.insert(code)
            && let Some(blob) = layers.get(code)
        {
            push(blob);
        }
    }
    for blob in layers.all() {
        // The first of a code is the one that counts, sent or not.
        if done.insert(blob.code) && due.has(blob.code, blob.always) {
            push(blob);
        }
    }
}

/// Where a reply goes (RFC 2131 4.1). `asked` is the request's datagram, `own` the interface's hardware address.
///
/// No ARP is ever needed: what goes to a relay agent or to a configured client goes back to where the request's frame came
/// from, be that the host itself or the last router before us.
///
/// A `ciaddr` outside the subnet is nobody's to be sent to: the client is answered as if it had none.
pub fn envelope(request: &Request<'_>, reply: &Reply, subnet: &Subnet, asked: &Datagram, own: [u8; 6]) -> Envelope {
    let back = asked.ethernet_source;
    let to = |ethernet_destination, destination, destination_port| Envelope {
        ethernet_source: own,
        ethernet_destination,
        source: reply.source,
        destination,
        source_port: SERVER_PORT,
        destination_port,
    };
    let broadcast = to(ETHERNET_BROADCAST, Ipv4Addr::BROADCAST, CLIENT_PORT);
    let is_inform = request.message_type == MessageType::Inform;
    if is_inform {
        // 4.3.5: "directly to the address given in the 'ciaddr' field", also when a relay agent sent it on.
        to(back, request.ciaddr, CLIENT_PORT)
    } else if request.is_relayed() {
        envelope_to_relay(request, reply.source, asked, own)
    } else if reply.message_type == MessageType::Nak {
        broadcast
    } else if is_within(&subnet.prefix, request.ciaddr) {
        to(back, request.ciaddr, CLIENT_PORT)
    } else if request.broadcast || request.hw.htype != HTYPE_ETHERNET || reply.your_address.is_unspecified() {
        broadcast
    } else {
        // Any other hlen cannot be an Ethernet destination.
        match <[u8; 6]>::try_from(request.hw.bytes()) {
            Ok(chaddr) => to(chaddr, reply.your_address, CLIENT_PORT),
            Err(_) => broadcast,
        }
    }
}

/// The way back to `giaddr`, from the address `source`: of a relay agent's message, and of a query about leases (RFC 4388 6.4.3).
pub fn envelope_to_relay(request: &Request<'_>, source: Ipv4Addr, asked: &Datagram, own: [u8; 6]) -> Envelope {
    Envelope {
        ethernet_source: own,
        ethernet_destination: asked.ethernet_source,
        source,
        destination: request.giaddr,
        source_port: SERVER_PORT,
        // RFC 8357 5: to the port that the last relay agent sent from, where it says so.
        destination_port: if request.routing.source_port { asked.source_port } else { SERVER_PORT },
    }
}
