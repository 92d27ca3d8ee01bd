//! Leasequery over UDP: a relay agent binds clients and asks about them; tshark reads what it is told.

use std::{
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use dhcproto::{
    Encodable as _,
    v4::{
        DhcpOption, HType, Message, MessageType, OptionCode,
        relay::{RelayAgentInformation, RelayInfo},
    },
};
use libtest_mimic::Trial;
use xtask::lab::{
    Capture, End, Requestor, Server, Veth,
    raw::RawSocket,
    requestor::{self, BULK, DONE},
    server::{drops, messages},
    wait_for,
};

use crate::{
    net::{Datagram, Reply, replies},
    site::{Direct, LOAD, OUTSIDE, SERVER, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("a_relay_agent_asks_about_leases_and_tshark_reads_the_answers", asks),
        test("leases_of_before_a_restart_are_found_by_remote_identifier", restart),
        test("queries_are_taken_on_the_interfaces_that_are_named_and_no_other_over_udp_and_tcp", interfaces),
    ]
}

const CONFIGURATION: &str = r#"
[leasequery]
allow = ["198.18.0.2"]
options = ["routers"]
[[interface]]
name = "server0"
[[subnet]]
prefix = "198.18.0.0/15"
interface = "server0"
pools = ["198.18.1.0-198.18.1.99"]
lease_time_s = 600
options = { routers = ["198.18.0.1"] }
[[reservation]]
hw_address = "02:00:00:00:09:09"
address = "198.18.2.2"
"#;

/// A relay agent with what it needs to ask.
struct Relay {
    socket: RawSocket,
    address: Ipv4Addr,
    server: Ipv4Addr,
    xid: u32,
}

impl Relay {
    fn new(site: &Direct) -> Result<Self> {
        Self::at(site.client_end(), LOAD, SERVER)
    }

    fn at(end: End<'_>, address: &str, server: &str) -> Result<Self> {
        let (address, server) = (address.parse()?, server.parse()?);
        Ok(Self { socket: RawSocket::open(end)?, address, server, xid: 0x5150_0000 })
    }

    /// Sends a message on to the server, from its own address or another one.
    fn send(&mut self, message: &mut Message, source: Ipv4Addr) -> Result<()> {
        self.xid += 1;
        message.set_xid(self.xid).set_giaddr(self.address);
        let datagram = Datagram {
            source: source.octets(),
            destination: self.server.octets(),
            source_port: 67,
            ..Datagram::default()
        };
        self.socket.send(&datagram.frame(&message.to_vec()?))
    }

    /// The server's reply to a message, none when it is silent for a second.
    fn exchange(&mut self, mut message: Message) -> Result<Option<Reply>> {
        self.send(&mut message, self.address)?;
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Some(frame) = self.socket.receive(deadline)? {
            // What else is on the link is no IPv4, or not the server's.
            let Ok(found) = replies(&[frame]) else { continue };
            if let Some(reply) = found.into_iter().find(|reply| reply.message.xid() == self.xid) {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// The answer to a query, asked again as a BNG would.
    fn ask(&mut self, query: &Message) -> Result<Message> {
        for _ in 0..10 {
            if let Some(reply) = self.exchange(query.clone())? {
                ensure!(reply.destination == self.address, "an answer went to {}", reply.destination);
                return Ok(reply.message);
            }
        }
        bail!("no answer to {query:?}")
    }

    /// Asks until the answer is the kind that is due: the index is some milliseconds behind.
    fn ask_until(&mut self, query: &Message, kind: MessageType) -> Result<Message> {
        wait_for("the answer that is due", Duration::from_secs(10), || {
            let answer = self.ask(query)?;
            Ok((answer.opts().msg_type() == Some(kind)).then_some(answer))
        })
    }

    /// Binds a client on this modem.
    fn bind(&mut self, client: u8, modem: &str) -> Result<Ipv4Addr> {
        let from_modem = |options: &[DhcpOption]| [options, &[agent(modem)]].concat();
        let id = DhcpOption::ClientIdentifier(vec![0, b'c', client]);
        let from = |kind, options: &[DhcpOption]| message(client, kind, &from_modem(options));
        let offer = self.exchange(from(MessageType::Discover, std::slice::from_ref(&id)))?.context("no OFFER")?;
        let chosen = [
            DhcpOption::ServerIdentifier(offer.server_id()?),
            DhcpOption::RequestedIpAddress(offer.message.yiaddr()),
            id,
        ];
        let ack = self.exchange(from(MessageType::Request, &chosen))?.context("no ACK")?;
        ensure!(ack.kind() == Some(MessageType::Ack), "{ack:?}");
        Ok(ack.message.yiaddr())
    }
}

fn mac(client: u8) -> [u8; 6] {
    [2, 0, 0, 0, 8, client]
}

fn agent(modem: &str) -> DhcpOption {
    let mut info = RelayAgentInformation::default();
    info.insert(RelayInfo::AgentRemoteId(modem.as_bytes().to_vec()));
    DhcpOption::RelayAgentInformation(info)
}

fn message(client: u8, kind: MessageType, options: &[DhcpOption]) -> Message {
    let mut message = Message::default();
    message.set_chaddr(&mac(client));
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

/// A query that names nothing yet.
fn query(options: &[DhcpOption]) -> Message {
    let wanted = [
        OptionCode::AddressLeaseTime,
        OptionCode::Renewal,
        OptionCode::Rebinding,
        OptionCode::ClientIdentifier,
        OptionCode::RelayAgentInformation,
        OptionCode::ClientLastTransactionTime,
        OptionCode::Router,
    ];
    let mut query = message(0, MessageType::LeaseQuery, options);
    query.set_htype(HType::Unknown(0)).set_chaddr(&[]);
    query.opts_mut().insert(DhcpOption::ParameterRequestList(wanted.to_vec()));
    query
}

fn by_address(address: Ipv4Addr) -> Message {
    let mut query = query(&[]);
    query.set_ciaddr(address);
    query
}

fn by_mac(client: u8) -> Message {
    let mut query = query(&[]);
    query.set_htype(HType::Eth).set_chaddr(&mac(client));
    query
}

fn serve(site: &Direct) -> Result<Server> {
    Server::start_configured(&site.inside, site.state(), CONFIGURATION)
}

fn asks() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = serve(&site)?;
    let mut relay = Relay::new(&site)?;
    let first = relay.bind(1, "modem-7")?;
    let second = relay.bind(2, "modem-7")?;
    let other = relay.bind(3, "modem-8")?;

    let capture = Capture::start(&site.outside, OUTSIDE, site.lab.path("leasequery.pcap"))?;
    let active = MessageType::LeaseActive;
    let modem = |name: &str| query(&[agent(name)]);
    let client_id = |client: u8| query(&[DhcpOption::ClientIdentifier(vec![0, b'c', client])]);
    let told = relay.ask_until(&by_address(first), active)?;
    ensure!(told.ciaddr() == first && told.chaddr() == mac(1), "{told:?}");
    ensure!(relay.ask_until(&by_mac(2), active)?.ciaddr() == second, "by MAC");
    ensure!(relay.ask_until(&client_id(3), active)?.ciaddr() == other, "by client identifier");
    let told = relay.ask_until(&modem("modem-7"), active)?;
    let Some(DhcpOption::AssociatedIp(all)) = told.opts().get(OptionCode::AssociatedIp) else { bail!("{told:?}") };
    let mut all = all.clone();
    all.sort();
    ensure!(all == [first, second], "the addresses behind a modem are {all:?}");
    relay.ask_until(&by_address("198.18.1.99".parse()?), MessageType::LeaseUnassigned)?;
    relay.ask_until(&by_address("198.18.2.2".parse()?), MessageType::LeaseUnassigned).context("reserved")?;
    relay.ask_until(&by_address("198.18.2.3".parse()?), MessageType::LeaseUnknown)?;
    relay.ask_until(&modem("modem-9"), MessageType::LeaseUnknown)?;
    // The client of an address may change: it is looked at when asked.
    let mut release = message(1, MessageType::Release, &[DhcpOption::ClientIdentifier(vec![0, b'c', 1])]);
    release.set_ciaddr(first);
    relay.send(&mut release, first)?;
    relay.ask_until(&by_address(first), MessageType::LeaseUnassigned)?;
    ensure!(relay.ask_until(&modem("modem-7"), active)?.ciaddr() == second, "what is left");
    // Who is not allowed to ask gets nothing.
    relay.send(&mut by_address(second), "198.18.0.3".parse()?)?;
    let captured = capture.stop()?;

    let stats = wait_for("the stranger's query to be counted", Duration::from_secs(5), || {
        let stats = server.stats()?;
        Ok((drops(&stats, "leasequery_not_allowed") == 1).then_some(stats))
    })?;
    for name in ["leasequery", "lease_active", "lease_unassigned", "lease_unknown"] {
        ensure!(messages(&stats, name) >= 2, "{name} in {stats}");
    }
    captured.expect_well_formed(SERVER)?;
    let reads = |what: &str, filter: String| -> Result<()> {
        let found =
            captured.tshark(&format!("ip.src == {SERVER} && ip.dst == {LOAD} && udp.dstport == 67 && {filter}"))?;
        ensure!(!found.is_empty(), "tshark finds no answer {what}: {filter}");
        Ok(())
    };
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let field = "dhcp.option";
    let common = format!("{field}.dhcp == 13 && {field}.dhcp_server_id == {SERVER} && dhcp.ip.relay == {LOAD}");
    reads(
        "about an address",
        format!(
            "{common} && dhcp.ip.client == {first} && dhcp.hw.mac_addr == 02:00:00:00:08:01 \
             && {field}.ip_address_lease_time > 500 && {field}.ip_address_lease_time <= 600 \
             && {field}.renewal_time_value <= 300 && {field}.rebinding_time_value <= 525 \
             && {field}.client_last_transaction_time < 60 && {field}.router == 198.18.0.1 \
             && {field}.agent_information_option.agent_remote_id == {}",
            hex("modem-7")
        ),
    )?;
    reads(
        "with all addresses behind a modem",
        format!("{common} && {field}.associated_ip_option == {first} && {field}.associated_ip_option == {second}"),
    )?;
    reads("unassigned", format!("{field}.dhcp == 11 && dhcp.ip.client == 198.18.1.99"))?;
    let unknown = format!("{field}.dhcp == 12 && !{field}.dhcp_server_id");
    reads("unknown", format!("{unknown} && dhcp.ip.client == 198.18.2.3"))?;
    let echoed = format!("{field}.agent_information_option.agent_remote_id == {}", hex("modem-9"));
    reads("unknown, with option 82", format!("{unknown} && {echoed}"))?;
    let strays = captured.tshark("dhcp.option.dhcp >= 11 && !(ip.dst == 198.18.0.2)")?;
    ensure!(strays.is_empty(), "answers to somebody else: {strays:?}");
    stop(server, site.server_end()).map(drop)
}

fn restart() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = serve(&site)?;
    let mut relay = Relay::new(&site)?;
    let address = relay.bind(1, "modem-7")?;
    stop(server, site.server_end())?;
    let server = serve(&site)?;
    let told = relay.ask_until(&query(&[agent("modem-7")]), MessageType::LeaseActive)?;
    ensure!(told.ciaddr() == address && told.chaddr() == mac(1), "{told:?}");
    // What comes afterwards is found too, beside it.
    let second = relay.bind(2, "modem-7")?;
    wait_for("both addresses to be told", Duration::from_secs(10), || {
        let told = relay.ask(&query(&[agent("modem-7")]))?;
        let both = DhcpOption::AssociatedIp(vec![address.min(second), address.max(second)]);
        Ok((told.opts().get(OptionCode::AssociatedIp) == Some(&both)).then_some(()))
    })?;
    stop(server, site.server_end()).map(drop)
}

fn interfaces() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    site.client_end().add_address(&format!("{LOAD}/15"))?;
    // A second link between the two, which only requestors are on.
    let (inside, outside) = (End::new(&site.inside, "server1"), End::new(&site.outside, "client1"));
    Veth::default().join(inside, outside)?;
    inside.add_address("203.0.113.1/24")?;
    outside.add_address("203.0.113.2/24")?;
    let configuration = CONFIGURATION.replace("allow = [\"198.18.0.2\"]", "allow = [\"198.18.0.2\", \"203.0.113.2\"]");
    let configuration = configuration
        .replace("options = [\"routers\"]", "options = [\"routers\"]\ninterfaces = [\"server1\"]")
        .replacen("[[interface]]", "[leasequery.tcp]\nlisten = [\"198.18.0.1\", \"203.0.113.1\"]\n[[interface]]", 1)
        + "[[interface]]\nname = \"server1\"\n";
    let server = Server::start_configured(&site.inside, site.state(), &configuration)?;
    let (mut near, mut far) = (Relay::new(&site)?, Relay::at(outside, "203.0.113.2", "203.0.113.1")?);
    let address = near.bind(1, "modem-7")?;
    let told = far.ask_until(&by_address(address), MessageType::LeaseActive)?;
    ensure!(told.ciaddr() == address, "{told:?}");
    ensure!(near.exchange(by_address(address))?.is_none(), "a query was answered on the other interface");
    let stats = server.stats()?;
    ensure!(drops(&stats, "leasequery_interface") == 1 && messages(&stats, "lease_active") >= 1, "{stats}");

    let is_refused = |server: &str| -> Result<bool> {
        let connected = Requestor::connect(&site.outside, server.parse()?);
        let kind = |error: anyhow::Error| error.downcast_ref::<io::Error>().map(io::Error::kind);
        Ok(connected.err().and_then(kind) == Some(io::ErrorKind::ConnectionRefused))
    };
    ensure!(is_refused(SERVER)?, "a connection was accepted on the other interface");
    // Nor does an address of the right interface help from the wrong one.
    site.outside.ip("address delete 203.0.113.2/24 dev client1")?;
    site.outside.ip("route add 203.0.113.1 dev client0 src 198.18.0.2")?;
    ensure!(is_refused("203.0.113.1")?, "a connection was accepted that came in on the other interface");
    site.outside.ip("route delete 203.0.113.1")?;
    outside.add_address("203.0.113.2/24")?;
    let mut requestor = Requestor::connect(&site.outside, "203.0.113.1".parse()?)?;
    requestor.send(&requestor::query(BULK, 1, &[]))?;
    let mut replies = 0;
    while requestor::kind(requestor.message()?.context("the connection was closed")?) != Some(DONE) {
        replies += 1;
    }
    ensure!(replies == 101, "{replies} of the pool's addresses and the reserved one");
    stop(server, site.server_end()).map(drop)
}
