//! Whole batches through a worker's processor, with memory in place of sockets, disk and clock.
//!
//! Input: a byte of settings, then frames, each a byte of flags, two bytes of length, and its bytes. The flags: 1 mends the
//! frame's checksums, 2 ends the batch before it, 4 lets time pass before it (the high four bits, in units of 100 s).

use std::{
    cell::Cell,
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
};

use arrayvec::ArrayVec;
use dhcp_xdp::{
    config::{self, AnyMachine, Config, IdKind},
    engine::Request,
    journal::{LaneFull, Ticket},
    lease::{HwAddress, Kept, Lease, LeaseTable, Stamp},
    wire::{link::Datagram, options::Scratch},
    worker::{
        batch::{BATCH, Disposition, Frame, Processor, Recorder},
        counters::{Counters, DropReason},
        port::{Port, SharedPort},
    },
};
use dhcp_xdp_ebpf::Role;
use dhcproto::{Decodable as _, v4};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::{
    Seed,
    input::Input,
    message::{self, Message},
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0xff, 1];
const CHUNK: usize = 2048;
const START_S: u32 = 1_900_000_000;
/// Frames of one input: more of them find nothing new.
const MOST_FRAMES: usize = 256;

/// Small pools, so that they run out; a boot file, so that `file` is taken; options that do not all fit.
const SITE: &str = r#"
offer_hold_s = 30
decline_quarantine_s = 600
[[interface]]
name = "lan0"
[[subnet]]
prefix = "192.0.2.0/24"
interface = "lan0"
pools = ["192.0.2.10-192.0.2.14"]
lease_time_s = 3600
min_lease_time_s = 60
max_lease_time_s = 7200
[subnet.options]
routers = ["192.0.2.254"]
dns-servers = ["192.0.2.53", "192.0.2.54"]
domain-name = "example.net"
[[subnet]]
prefix = "10.0.0.0/24"
pools = ["10.0.0.10-10.0.0.12"]
authoritative = true
server_id = "192.0.2.1"
next_server = "192.0.2.9"
boot_file = "pxelinux.0"
[subnet.options]
routers = ["10.0.0.254"]
domain-name = "a-name-of-many-labels.in-a-zone.of-a-domain.that-is-long.example.net"
[[reservation]]
hw_address = "02:00:00:00:00:02"
address = "192.0.2.12"
[[reservation]]
circuit_id = "0x01"
address = "10.0.0.50"
lease_time_s = 600
"#;

/// A journal that takes all, or nothing.
struct Memory {
    full: bool,
    parks: bool,
    submitted: u64,
    /// Records that have arrived on the disk: all, whenever time passes.
    durable: Cell<u64>,
}

impl Recorder for Memory {
    fn submit(&mut self, _: &Lease, _: &HwAddress, _: &[u8], _: Kept<'_>) -> Result<Ticket, LaneFull> {
        if self.full {
            return Err(LaneFull);
        }
        self.submitted += 1;
        Ok(Ticket(self.submitted))
    }
    fn parks(&self) -> bool {
        self.parks
    }
    fn has_room(&self) -> bool {
        !self.full
    }
    fn stamp(&self, ticket: Ticket) -> Stamp {
        Stamp::new(0, ticket.0)
    }
    fn is_settled(&self, stamp: Stamp) -> bool {
        stamp.is_settled(|lane| (lane == 0).then(|| self.durable.get()), MOST_FRAMES as u64 * 2)
    }
}

fn config() -> Arc<Config> {
    static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
    let read = || Arc::new(config::parse("site", SITE, &AnyMachine).unwrap_or_else(|why| panic!("{why}")).config);
    Arc::clone(CONFIG.get_or_init(read))
}

/// Who a client is within its subnet (RFC 2131 2): its identifier, else its hardware address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Client {
    Identifier(Vec<u8>),
    Hardware(u8, Vec<u8>),
}

/// What is read of a request before it is processed, to judge what becomes of it.
struct Asked {
    client: Client,
    chaddr: [u8; 16],
    xid: u32,
    ciaddr: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    giaddr: Ipv4Addr,
    is_inform: bool,
}

impl Asked {
    fn read(frame: &[u8]) -> Option<Self> {
        let datagram = Datagram::new_checked(frame, Role::Server, false).ok()?;
        let payload = datagram.payload(frame);
        let mut memory = vec![0; payload.len()];
        let request = Request::parse(payload, datagram.destination, &mut Scratch::new(&mut memory)).ok()?;
        let client = match request.client_id {
            Some(id) => Client::Identifier(id.to_vec()),
            None => Client::Hardware(request.hw.htype, request.hw.bytes().to_vec()),
        };
        Some(Self {
            client,
            chaddr: request.hw.chaddr,
            xid: request.xid,
            ciaddr: request.ciaddr,
            requested: request.requested_address,
            giaddr: request.giaddr,
            is_inform: u8::from(request.message_type) == message::INFORM,
        })
    }
}

/// A worker, and what its clients were told.
struct Bed {
    config: Arc<Config>,
    leases: Arc<LeaseTable>,
    counters: Arc<Counters>,
    processor: Processor<Memory>,
    now_s: u32,
    /// Who may use an address, and until when.
    promises: HashMap<Ipv4Addr, (Client, u32)>,
}

impl Bed {
    fn new(settings: u8) -> Self {
        let config = config();
        let leases = Arc::new(config.lease_table([1, 2]));
        let counters = Arc::new(Counters::default());
        let recorder =
            Memory { full: settings & 1 != 0, parks: settings & 2 == 0, submitted: 0, durable: Cell::new(0) };
        let port = Port {
            interface: 0,
            name: "lan0".to_owned(),
            addresses: if settings & 4 != 0 { vec![] } else { vec![message::SERVER] },
            mac: MAC,
            mtu: if settings & 8 != 0 { 576 } else { 1500 },
        };
        let port = Arc::new(SharedPort::new(port));
        let processor = Processor::new(Arc::clone(&config), Arc::clone(&leases), recorder, port, Arc::clone(&counters));
        Self { config, leases, counters, processor, now_s: START_S, promises: HashMap::new() }
    }

    fn process(&mut self, frames: &[Vec<u8>]) {
        let mut chunks: Vec<Vec<u8>> = frames.to_vec();
        for chunk in &mut chunks {
            // What lies behind a frame in its chunk is left from others.
            chunk.resize(CHUNK.max(chunk.len()), 0xa5);
        }
        let mut batch: Vec<Frame<'_>> = chunks
            .iter_mut()
            .zip(frames)
            .map(|(chunk, frame)| Frame { buffer: &mut chunk[..], len: frame.len() })
            .collect();
        let mut out: ArrayVec<Disposition, BATCH> = ArrayVec::new();
        self.processor.process(self.now_s, &mut batch, &mut out);
        assert_eq!(out.len(), frames.len(), "one disposition a frame");
        for ((disposition, chunk), frame) in out.iter().zip(&chunks).zip(frames) {
            match *disposition {
                Disposition::Send { len } | Disposition::Probe { len, .. } => self.judge(frame, &chunk[..len]),
                Disposition::Park { len, until_s, .. } => {
                    assert!(until_s >= self.now_s);
                    self.judge(frame, &chunk[..len]);
                }
                Disposition::Drop(reason) => self.forget(frame, reason),
            }
        }
        let snapshot = self.counters.snapshot();
        assert!(snapshot.closes(), "{snapshot:?}");
        let counts = self.leases.counts();
        assert!(counts.offered + counts.bound + counts.remembered + counts.declined <= counts.total, "{counts:?}");
    }

    /// A reply is what other parsers read as one, answers its request, and promises nobody what is another's.
    fn judge(&mut self, request: &[u8], reply: &[u8]) {
        self.counters.sent(1);
        let asked = Asked::read(request).expect("only a request is answered");
        let packet = SlicedPacket::from_ethernet(reply).expect("headers of a reply");
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("a reply is IPv4") };
        let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("a reply is UDP") };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
        let right = udp.to_header().calc_checksum_ipv4_raw(header.source, header.destination, udp.payload());
        assert_eq!(Ok(udp.checksum()), right, "UDP checksum");
        let payload = udp.payload();
        assert!(payload.len() >= 300 && reply.ends_with(payload), "{} bytes", payload.len());
        assert_eq!(reply[6..12], MAC);
        let tags = reply.len() - payload.len() - 28 - 14;
        assert_eq!(reply[12..14 + tags], request[12..14 + tags], "the tags of the request");

        let message = v4::Message::decode(&mut v4::Decoder::new(payload)).expect("dhcproto reads it");
        assert_eq!(message.opcode(), v4::Opcode::BootReply);
        assert_eq!((message.xid(), message.giaddr()), (asked.xid, asked.giaddr));
        assert_eq!(payload[28..44], asked.chaddr);
        let options = message.opts();
        let message_type = options.msg_type().expect("a reply has a type");
        assert!(options.contains(v4::OptionCode::ServerIdentifier), "a reply has a server identifier");
        let address = message.yiaddr();
        if message_type == v4::MessageType::Nak || asked.is_inform {
            assert!(address.is_unspecified());
            return;
        }
        let subnet = self.config.subnets.holding(address).expect("an address of a subnet");
        match self.config.reservations.of_address(address).and_then(|number| self.config.reservations.get(number)) {
            Some(own) if own.kind() == IdKind::HwAddress => {
                assert_eq!(asked.chaddr[..6], [2, 0, 0, 0, 0, 2], "{address} is reserved");
            }
            Some(_) => {}
            None => assert!(subnet.pools.iter().any(|pool| pool.contains(address)), "{address} is in no pool"),
        }
        self.promise(asked.client, address, &message, message_type);
    }

    fn promise(&mut self, client: Client, address: Ipv4Addr, message: &v4::Message, kind: v4::MessageType) {
        if let Some((holder, until_s)) = self.promises.get(&address)
            && *until_s > self.now_s
        {
            assert_eq!(*holder, client, "{address} is another client's until {until_s}");
        }
        let Some(&v4::DhcpOption::AddressLeaseTime(time_s)) = message.opts().get(v4::OptionCode::AddressLeaseTime)
        else {
            panic!("{kind:?} with an address has a lease time")
        };
        if kind == v4::MessageType::Ack {
            // A client has one address of a subnet: an older promise to it is void.
            let same = |other: &Ipv4Addr| self.config.subnets.index_of(*other) == self.config.subnets.index_of(address);
            self.promises.retain(|other, (holder, _)| *holder != client || !same(other));
            self.promises.insert(address, (client, self.now_s.saturating_add(time_s)));
        }
    }

    /// A client that gave its address back, or found it in use, has it no more.
    fn forget(&mut self, request: &[u8], reason: DropReason) {
        let given_back = match reason {
            DropReason::Released => Asked::read(request).map(|asked| (asked.client, Some(asked.ciaddr))),
            DropReason::Declined => Asked::read(request).map(|asked| (asked.client, asked.requested)),
            _ => None,
        };
        let Some((client, Some(address))) = given_back else { return };
        if let Some((holder, until_s)) = self.promises.get(&address)
            && *until_s > self.now_s
        {
            assert_eq!(*holder, client, "only its client gives {address} back");
        }
        self.promises.remove(&address);
    }
}

/// Any frames: each has one disposition, the counters close, each reply is well formed, no address is promised twice.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut bed = Bed::new(input.byte());
    let mut batch: Vec<Vec<u8>> = Vec::new();
    for _ in 0..MOST_FRAMES {
        if input.is_empty() {
            break;
        }
        let flags = input.byte();
        if flags & 6 != 0 || batch.len() == BATCH {
            bed.process(&std::mem::take(&mut batch));
        }
        if flags & 4 != 0 {
            bed.now_s += u32::from(flags >> 4) * 100;
            let recorder = bed.processor.recorder();
            recorder.durable.set(recorder.submitted);
            bed.leases.expire(bed.now_s, 16);
        }
        let len = usize::from(input.u16());
        let mut frame = input.bytes(len).to_vec();
        if flags & 1 != 0 {
            message::mend(&mut frame);
        }
        batch.push(frame);
    }
    bed.process(&batch);
}

/// Each message after the exchange that it takes, and some that follow one another.
pub fn seeds() -> Vec<Seed> {
    let put = |input: &mut Vec<u8>, flags: u8, message: &Message| {
        let frame = message.frame();
        input.push(flags);
        input.extend((frame.len() as u16).to_be_bytes());
        input.extend(frame);
    };
    let all = message::each();
    let named = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, m)| m.clone()).expect("a message");
    let mut seeds: Vec<Seed> = Vec::new();
    for (name, message) in &all {
        let mut input = vec![0];
        put(&mut input, 1, &named("discover"));
        put(&mut input, 3, &named("request-selecting").option(61, b"\x01client"));
        put(&mut input, 3, message);
        seeds.push((name, input));
    }
    let mut crowd = vec![0];
    for client in 1..8 {
        put(&mut crowd, 1, &Message::new(message::DISCOVER, client));
    }
    for client in 1..8 {
        let request = Message::new(message::REQUEST, client).option(54, &message::SERVER.octets());
        put(&mut crowd, if client == 1 { 3 } else { 1 }, &request.option(50, &[192, 0, 2, 9 + client]));
    }
    seeds.push(("crowd-for-a-small-pool", crowd));
    for (name, settings) in [("full-journal", 1), ("without-sync", 2), ("no-address", 4), ("small-mtu", 8)] {
        let mut input = vec![settings];
        put(&mut input, 1, &named("discover-long-identifier"));
        put(&mut input, 3, &named("request-selecting"));
        put(&mut input, 0xf7, &named("request-rebinding"));
        seeds.push((name, input));
    }
    seeds
}
