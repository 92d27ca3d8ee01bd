//! A bench for the protocol's tests: whole frames in, whole replies out, each reply checked by parsers that are not ours
//! (`etherparse` for the headers and checksums, `dhcproto` for the message), and the ledger closed after each frame.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use arrayvec::ArrayVec;
use dhcproto::{Decodable as _, v4};
use etherparse::{IpNumber, Ipv4Header, NetSlice, SlicedPacket, TransportSlice, UdpHeader};

use crate::{
    config::{
        Access, AddressRange, ClassTable, Config, Durability, Identity, LeaseTimes, OptionBlob, OptionSet,
        Reservations, Subnet, Subnets,
    },
    journal::{LaneFull, Ticket},
    lease::{HwAddress, Kept, Lease, LeaseTable, LimitKey, Space, Stamp},
    wire::{
        dhcp::{MAGIC_COOKIE, MessageType},
        link::partial_udp_checksum,
        options::code,
    },
    worker::{
        batch::{BATCH, Disposition, Frame, Processor, Recorder},
        counters::{Counters, DropReason, Snapshot},
        port::{Port, SharedPort},
    },
};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xff, 1];
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const RELAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xfe, 1];
pub(crate) const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const START_S: u32 = 1_900_000_000;
const XID: u32 = 0xdead_beef;
const CHUNK: usize = 2048;

/// An address of the subnet on the link.
pub(crate) fn lan(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host)
}

/// An address of the subnet behind the relay agent.
pub(crate) fn far(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

fn subnet(prefix: &str, interface: Option<&str>, first: Ipv4Addr, last: Ipv4Addr) -> Subnet {
    let blob = |code, data: &[u8]| OptionBlob { code, data: data.to_vec(), always: false, ..OptionBlob::default() };
    Subnet {
        prefix: prefix.parse().unwrap(),
        network: None,
        interface: interface.map(str::to_owned),
        vlans: None,
        server_id: None,
        access: Access::default(),
        pools: vec![AddressRange { first, last }],
        lease: LeaseTimes {
            min_s: 60,
            default_s: 3600,
            max_s: 7200,
            t1_permille: 500,
            t2_permille: 875,
            jitter_permille: 0,
            scarce_permille: 1001,
            renewal_slack_permille: 0,
        },
        authoritative: false,
        unknown_renewals: Default::default(),
        space: Space::GLOBAL,
        identity: Identity::ClientId,
        min_secs: 0,
        rapid_commit: false,
        bootp_lease_s: None,
        ipv6_only: false,
        auto_configure: None,
        ping_check: false,
        pool_options: Vec::new(),
        guarded_pools: Vec::new(),
        server_name: Vec::new(),
        boot_files: Vec::new(),
        options: OptionSet::new([
            blob(code::SUBNET_MASK, &[255, 255, 255, 0]),
            blob(code::SUBNET_MASK, &[255, 255, 255, 0]),
            blob(code::ROUTER, &[192, 0, 2, 254]),
            blob(code::DOMAIN_NAME_SERVER, &[192, 0, 2, 53, 192, 0, 2, 54]),
            blob(code::DOMAIN_NAME, b"example.net"),
        ]),
        next_server: Ipv4Addr::UNSPECIFIED,
        boot_file: Vec::new(),
    }
}

/// Two subnets: 192.0.2.0/24 on the link with the pool .10-.19, 10.0.0.0/24 behind a relay agent with .10-.13.
pub(crate) fn config() -> Config {
    Config {
        interfaces: Vec::new(),
        subnets: Subnets::new(vec![
            subnet("192.0.2.0/24", Some("lan0"), lan(10), lan(19)),
            subnet("10.0.0.0/24", None, far(10), far(13)),
        ]),
        reservations: Reservations::default(),
        flex_id: None,
        classes: ClassTable::default(),
        state_dir: PathBuf::new(),
        durability: Durability::Sync,
        compaction: crate::journal::CompactionPolicy::default(),
        events: Default::default(),
        offer_hold_s: 30,
        decline_quarantine_s: 600,
        verify_udp_checksum: true,
        max_hops: 16,
        client_subnet_selection: false,
        load_balance: None,
        leasequery: None,
        ping_check: None,
        overlays: Vec::new(),
        definitions: Default::default(),
    }
}

/// A journal that keeps what it is given.
#[derive(Debug, Default)]
pub(crate) struct FakeLane {
    pub(crate) records: Vec<(Lease, HwAddress, Vec<u8>)>,
    /// What each of them counts against.
    pub(crate) limits: Vec<Vec<LimitKey>>,
    /// Places that each of them frees.
    pub(crate) freed: Vec<Vec<LimitKey>>,
    /// The relay agent information of each.
    pub(crate) agent_info: Vec<Vec<u8>>,
    pub(crate) full: bool,
    pub(crate) never_parks: bool,
    /// Records that are on the disk.
    pub(crate) durable: u64,
}

impl Recorder for FakeLane {
    fn submit(&mut self, lease: &Lease, hw: &HwAddress, client_id: &[u8], kept: Kept<'_>) -> Result<Ticket, LaneFull> {
        if self.full {
            return Err(LaneFull);
        }
        self.limits.push(kept.limits.to_vec());
        self.freed.push(kept.freed.to_vec());
        self.agent_info.push(kept.agent_info.to_vec());
        self.records.push((*lease, *hw, client_id.to_vec()));
        Ok(Ticket(self.records.len() as u64))
    }
    fn parks(&self) -> bool {
        !self.never_parks
    }
    fn has_room(&self) -> bool {
        !self.full
    }
    fn stamp(&self, ticket: Ticket) -> Stamp {
        Stamp::new(0, ticket.0)
    }
    fn is_settled(&self, stamp: Stamp) -> bool {
        stamp.is_settled(|lane| (lane == 0).then_some(self.durable), 1000)
    }
}

/// How the UDP checksum of a frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    Right,
    Absent,
    Partial,
    Wrong,
}

/// A client's message and the frame around it; each field may be set to anything.
#[derive(Clone, Debug)]
pub(crate) struct Msg {
    pub(crate) ethernet_source: [u8; 6],
    pub(crate) ethernet_destination: [u8; 6],
    /// (TPID, TCI)
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ip_options: Vec<u8>,
    pub(crate) source_port: u16,
    pub(crate) checksum: Checksum,
    pub(crate) op: u8,
    pub(crate) htype: u8,
    pub(crate) hlen: u8,
    pub(crate) hops: u8,
    pub(crate) secs: u16,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: [u8; 16],
    pub(crate) sname: [u8; 64],
    pub(crate) file: [u8; 128],
    pub(crate) cookie: [u8; 4],
    pub(crate) options: Vec<(u8, Vec<u8>)>,
    /// After the options, in place of End.
    pub(crate) tail: Vec<u8>,
}

/// A message of client `n` to everybody on the link, with no option but its type.
pub(crate) fn message(message_type: MessageType, n: u8) -> Msg {
    let mac = [0x02, 0, 0, 0, 0, n];
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&mac);
    Msg {
        ethernet_source: mac,
        ethernet_destination: [0xff; 6],
        tags: Vec::new(),
        source: Ipv4Addr::UNSPECIFIED,
        destination: Ipv4Addr::BROADCAST,
        ip_options: Vec::new(),
        source_port: 68,
        checksum: Checksum::Right,
        op: 1,
        htype: 1,
        hlen: 6,
        hops: 0,
        secs: 7,
        flags: 0,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: Ipv4Addr::UNSPECIFIED,
        chaddr,
        sname: [0; 64],
        file: [0; 128],
        cookie: MAGIC_COOKIE,
        options: vec![(code::MESSAGE_TYPE, vec![message_type.into()])],
        tail: vec![code::END],
    }
}

pub(crate) fn discover(n: u8) -> Msg {
    message(MessageType::Discover, n)
}

pub(crate) fn request(n: u8) -> Msg {
    message(MessageType::Request, n)
}

/// The REQUEST of a client that takes an offer.
pub(crate) fn selecting(n: u8, server: Ipv4Addr, address: Ipv4Addr) -> Msg {
    request(n).address(code::SERVER_ID, server).address(code::REQUESTED_ADDRESS, address)
}

impl Msg {
    pub(crate) fn option(mut self, code: u8, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        self
    }
    pub(crate) fn address(self, code: u8, address: Ipv4Addr) -> Self {
        self.option(code, &address.octets())
    }
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
    /// As the relay agent sends it on.
    pub(crate) fn relayed(mut self) -> Self {
        self.giaddr = RELAY;
        self.source = RELAY;
        self.source_port = 67;
        self.ethernet_source = RELAY_MAC;
        self.unicast_frame()
    }
    /// As a configured client with address `from` sends it to the server.
    pub(crate) fn unicast(mut self, from: Ipv4Addr) -> Self {
        self.source = from;
        self.ciaddr = from;
        self.unicast_frame()
    }
    fn unicast_frame(mut self) -> Self {
        self.destination = SERVER;
        self.ethernet_destination = SERVER_MAC;
        self
    }

    /// The DHCP message.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut bytes = vec![self.op, self.htype, self.hlen, self.hops];
        bytes.extend(XID.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.chaddr);
        bytes.extend(self.sname);
        bytes.extend(self.file);
        bytes.extend(self.cookie);
        for (code, data) in &self.options {
            bytes.extend([*code, u8::try_from(data.len()).unwrap()]);
            bytes.extend(data);
        }
        bytes.extend(&self.tail);
        bytes
    }

    /// The whole frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let payload = self.payload();
        let (source, destination) = (self.source.octets(), self.destination.octets());
        let mut udp = UdpHeader::without_ipv4_checksum(self.source_port, 67, payload.len()).unwrap();
        let right = udp.calc_checksum_ipv4_raw(source, destination, &payload).unwrap();
        udp.checksum = match self.checksum {
            Checksum::Right => right,
            Checksum::Absent => 0,
            Checksum::Partial => partial_udp_checksum(source, destination, udp.length),
            Checksum::Wrong => right ^ 0x0101,
        };
        let mut ip = Ipv4Header::new(udp.length, 64, IpNumber::UDP, source, destination).unwrap();
        ip.options = self.ip_options[..].try_into().unwrap();
        ip.set_payload_len(usize::from(udp.length)).unwrap();
        ip.header_checksum = ip.calc_header_checksum();

        let mut frame = [self.ethernet_destination, self.ethernet_source].concat();
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(0x0800u16.to_be_bytes());
        frame.extend(ip.to_bytes());
        frame.extend(udp.to_bytes());
        frame.extend(payload);
        frame
    }
}

/// A reply as parsers that are not ours read it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) frame: Vec<u8>,
    pub(crate) parked: bool,
    /// It waits until its address is probed.
    pub(crate) probed: bool,
    /// A parked one must not leave from then on.
    pub(crate) until_s: Option<u32>,
    pub(crate) ethernet_destination: [u8; 6],
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) message: v4::Message,
    /// The message's bytes.
    pub(crate) payload: Vec<u8>,
    /// The options of the `options` field, in their order.
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    /// Parses a reply's frame and checks all that must hold of any reply.
    pub(crate) fn parse(frame: &[u8], parked: bool) -> Self {
        let packet = SlicedPacket::from_ethernet(frame).expect("headers of a reply");
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("a reply is IPv4") };
        let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("a reply is UDP") };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
        assert_eq!((header.time_to_live, header.dont_fragment, header.more_fragments), (64, false, false));
        assert!(header.options.is_empty(), "a reply has no IPv4 options");
        let right = udp.to_header().calc_checksum_ipv4_raw(header.source, header.destination, udp.payload()).unwrap();
        assert_eq!(udp.checksum(), right, "UDP checksum");
        assert_eq!(udp.source_port(), 67);
        assert_eq!(frame[6..12], SERVER_MAC, "source is the interface");
        let payload = udp.payload().to_vec();
        assert!(payload.len() >= 300, "a message has at least 300 bytes, not {}", payload.len());
        assert!(frame.ends_with(&payload), "nothing follows the message");
        let message = v4::Message::decode(&mut v4::Decoder::new(&payload)).expect("dhcproto reads it");
        assert_eq!(message.opcode(), v4::Opcode::BootReply);
        assert_eq!((message.secs(), message.hops()), (0, 0));
        let has_cookie = payload[236..240] == MAGIC_COOKIE;
        let options = if has_cookie { read_options(&payload[240..]) } else { Vec::new() };
        if options.iter().any(|(code, _)| *code == code::MESSAGE_TYPE) {
            assert_eq!(options[0].0, code::MESSAGE_TYPE, "the type comes first");
            let tells_nothing = [MessageType::LeaseUnassigned, MessageType::LeaseUnknown].map(u8::from);
            let has_id = options.iter().any(|(code, _)| *code == code::SERVER_ID);
            assert_eq!(has_id, !tells_nothing.contains(&options[0].1[0]), "each other reply has a server identifier");
        } else {
            let dhcps_own = |code: u8| (50..=61).contains(&code) && code != code::VENDOR_CLASS_ID;
            assert!(options.iter().all(|(code, _)| !dhcps_own(*code)), "a BOOTP reply has no option of DHCP's own");
        }
        for (i, (code, _)) in options.iter().enumerate() {
            let parts = options[..i].iter().filter(|(earlier, _)| earlier == code);
            let whole = if *code == code::ASSOCIATED_IP { 252 } else { 255 };
            assert!(parts.into_iter().all(|(_, data)| data.len() == whole), "option {code} twice, and not in parts");
        }
        Self {
            frame: frame.to_vec(),
            parked,
            probed: false,
            until_s: None,
            ethernet_destination: frame[..6].try_into().unwrap(),
            source: header.source.into(),
            destination: header.destination.into(),
            port: udp.destination_port(),
            message,
            payload,
            options,
        }
    }

    pub(crate) fn message_type(&self) -> v4::MessageType {
        self.message.opts().msg_type().unwrap()
    }
    pub(crate) fn yiaddr(&self) -> Ipv4Addr {
        self.message.yiaddr()
    }
    /// The data of an option of the `options` field.
    pub(crate) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, data)| &data[..])
    }
    pub(crate) fn seconds(&self, code: u8) -> Option<u32> {
        self.option(code).map(|data| u32::from_be_bytes(data.try_into().unwrap()))
    }
    pub(crate) fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(code, _)| *code).collect()
    }
}

/// A second reading of options, plain and strict: it must meet End, and only zeros after it.
pub(crate) fn read_options(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut options = Vec::new();
    loop {
        match bytes[0] {
            0 => bytes = &bytes[1..],
            255 => {
                assert!(bytes[1..].iter().all(|&b| b == 0), "only padding follows End");
                return options;
            }
            code => {
                let end = 2 + usize::from(bytes[1]);
                options.push((code, bytes[2..end].to_vec()));
                bytes = &bytes[end..];
            }
        }
    }
}

/// A server in memory.
pub(crate) struct Bed {
    pub(crate) processor: Processor<FakeLane>,
    pub(crate) leases: Arc<LeaseTable>,
    pub(crate) port: Arc<SharedPort>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) now_s: u32,
    /// Records whose places are free.
    pub(crate) freed: usize,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// One whose configuration was changed first.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_lane(change, FakeLane::default())
    }

    pub(crate) fn with_lane(change: impl FnOnce(&mut Config), lane: FakeLane) -> Self {
        let mut config = config();
        change(&mut config);
        config.subnets = Subnets::new(config.subnets.to_vec()).with_vrfs(config.subnets.vrfs().clone());
        let leases = Arc::new(config.lease_table([1, 2]));
        let counters = Arc::new(Counters::default());
        let port = Arc::new(SharedPort::new(Port {
            interface: 0,
            name: "lan0".to_owned(),
            // The address inside the subnet is not the first one.
            addresses: vec![Ipv4Addr::new(198, 51, 100, 1), SERVER],
            mac: SERVER_MAC,
            mtu: 1500,
        }));
        let processor = Processor::new(Arc::new(config), leases.clone(), lane, port.clone(), counters.clone());
        Self { processor, leases, port, counters, now_s: START_S, freed: 0 }
    }

    pub(crate) fn pass(&mut self, seconds: u32) {
        self.now_s += seconds;
    }

    /// What becomes of frames as they are; replies are checked and the ledger closed.
    pub(crate) fn frames(&mut self, frames: &[Vec<u8>]) -> Vec<Result<Answer, DropReason>> {
        self.frames_over(0xa5, frames)
    }

    /// What lies behind a frame in its chunk is left from others.
    pub(crate) fn frames_over(&mut self, left: u8, frames: &[Vec<u8>]) -> Vec<Result<Answer, DropReason>> {
        let mut chunks: Vec<Vec<u8>> = frames.to_vec();
        for chunk in &mut chunks {
            chunk.resize(CHUNK.max(chunk.len()), left);
        }
        let mut batch: Vec<Frame<'_>> = chunks
            .iter_mut()
            .zip(frames)
            .map(|(chunk, frame)| Frame { buffer: &mut chunk[..], len: frame.len() })
            .collect();
        let mut out: ArrayVec<Disposition, BATCH> = ArrayVec::new();
        self.processor.process(self.now_s, &mut batch, &mut out);
        assert_eq!(out.len(), frames.len(), "one disposition a frame");
        let answers: Vec<_> = out
            .iter()
            .zip(&chunks)
            .map(|(disposition, chunk)| match *disposition {
                Disposition::Send { len } => Ok(Answer::parse(&chunk[..len], false)),
                Disposition::Park { len, until_s, .. } => {
                    Ok(Answer { until_s: Some(until_s), ..Answer::parse(&chunk[..len], true) })
                }
                Disposition::Probe { len, address, .. } => {
                    let answer = Answer { probed: true, ..Answer::parse(&chunk[..len], false) };
                    assert_eq!((answer.message_type(), answer.yiaddr()), (v4::MessageType::Offer, address));
                    Ok(answer)
                }
                Disposition::Drop(reason) => Err(reason),
            })
            .collect();
        self.counters.sent(answers.iter().filter(|answer| answer.is_ok()).count() as u64);
        assert!(self.counters.snapshot().closes(), "{:?}", self.counters.snapshot());
        answers
    }

    pub(crate) fn send(&mut self, msg: &Msg) -> Result<Answer, DropReason> {
        let answer = self.frames(&[msg.frame()]).remove(0);
        if let Ok(answer) = &answer {
            assert_eq!(answer.message.xid(), XID);
            assert_eq!(answer.payload[28..44], msg.chaddr);
            assert_eq!(answer.message.giaddr(), msg.giaddr);
        }
        answer
    }

    pub(crate) fn reply(&mut self, msg: &Msg) -> Answer {
        self.send(msg).expect("a reply")
    }

    /// The reply to a BOOTP client, which has no message type.
    pub(crate) fn bootp(&mut self, msg: &Msg) -> Answer {
        let reply = self.reply(msg);
        assert_eq!(reply.option(code::MESSAGE_TYPE), None);
        reply
    }

    pub(crate) fn dropped(&mut self, msg: &Msg) -> DropReason {
        self.send(msg).expect_err("no reply")
    }

    /// The ACK that binds client `n` to an address of its link.
    pub(crate) fn bind(&mut self, n: u8) -> Ipv4Addr {
        let offered = self.reply(&discover(n)).yiaddr();
        let ack = self.reply(&selecting(n, SERVER, offered));
        assert_eq!(ack.message_type(), v4::MessageType::Ack);
        ack.yiaddr()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.counters.snapshot()
    }

    pub(crate) fn limits(&self) -> &[Vec<LimitKey>] {
        &self.processor.recorder().limits
    }

    /// All records are durable: the places that they free are free.
    pub(crate) fn free_places(&mut self) {
        let freed = &self.processor.recorder().freed;
        freed[self.freed..].iter().for_each(|keys| self.leases.free(keys));
        self.freed = freed.len();
    }

    pub(crate) fn records(&self) -> &[(Lease, HwAddress, Vec<u8>)] {
        &self.processor.recorder().records
    }
}
