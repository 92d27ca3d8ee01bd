//! The hot path allocates nothing: counted by the allocator, under all that clients send, with a real journal behind it.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{BATCH, Disposition, Frame, Processor};
use crate::{
    config::{
        Config, Durability, Gives, IdKind, LeaseQuery, LoadBalance, OptionBlob, OptionSet, PingCheck, Scope, Subnet,
        Subnets, Vrf, Vrfs,
    },
    engine::testing::{Msg, RELAY, SERVER, SERVER_MAC, config, discover, far, lan, message, request, selecting},
    journal::Journal,
    lease::{ClientId, LeaseTable, Space},
    leasequery::index::{Index, Keeper},
    ping::{Begun, Recent, desk},
    wake::Wake,
    wire::{
        dhcp::MessageType,
        options::{Codes, code},
    },
    worker::{
        counters::{Counters, DropReason, Message, Notice, Snapshot},
        port::{Port, SharedPort},
    },
};

const CHUNK: usize = 2048;
const NOW_S: u32 = 1_900_000_000;

/// A small generator, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(end)) >> 32) as u32
    }

    fn bytes(&mut self, len: u32) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// What client `n` is known by: three in four have an identifier, of all lengths.
fn client_id(n: u8) -> Option<Vec<u8>> {
    (!n.is_multiple_of(4)).then(|| (0..n.max(2)).map(|at| at ^ n).collect())
}

/// Some message of some client, or nearly one.
fn any(random: &mut Random, leases: &LeaseTable, now_s: u32) -> Vec<u8> {
    let n = random.below(255) as u8 + 1;
    let id = client_id(n);
    let relayed = random.below(4) == 0;
    let msg = message(MessageType::Discover, n);
    let hw = crate::lease::HwAddress { htype: msg.htype, hlen: msg.hlen, chaddr: msg.chaddr };
    let key = leases.key(u16::from(relayed), &hw, id.as_deref().unwrap_or(&[]));
    let any = if relayed { far(random.below(30) as u8) } else { lan(random.below(220) as u8) };
    let own = leases.find(&key, now_s).map_or(any, |lease| lease.address);
    let mut msg: Msg = match random.below(20) {
        0..5 => discover(n),
        5..8 => selecting(n, SERVER, own),
        8..10 => request(n).unicast(own),
        10 => request(n).address(code::REQUESTED_ADDRESS, own),
        11 => message(MessageType::Release, n).unicast(own),
        12 => message(MessageType::Decline, n).address(code::REQUESTED_ADDRESS, own),
        13 => message(MessageType::Inform, n).unicast(own),
        14 => selecting(n, RELAY, any),
        15 => discover(n).with(|msg| msg.options.clear()),
        16 => query(random, n, own, id.as_deref()),
        17 => query(random, n, any, id.as_deref()),
        18 => discover(n).option(code::RAPID_COMMIT, &[]).option(code::AUTO_CONFIGURE, &[1]),
        _ => message((random.below(12) as u8).into(), n),
    };
    let is_query = msg.options.first().is_some_and(|(_, data)| data[..] == [u8::from(MessageType::LeaseQuery)]);
    if relayed {
        msg = msg.relayed();
    }
    if let Some(id) = id.filter(|_| !is_query) {
        // Whole or in two parts.
        let (part, rest) = id.split_at(if random.below(4) == 0 { id.len() / 2 } else { 0 });
        msg = if part.is_empty() { msg } else { msg.option(code::CLIENT_ID, part) };
        msg = msg.option(code::CLIENT_ID, rest);
    }
    match random.below(7) {
        0 | 1 => {
            let len = random.below(250);
            msg = msg.option(code::RELAY_AGENT_INFO, &random.bytes(len));
        }
        // Link selection, override, flags, source port, a VPN that is none.
        2 => msg = msg.option(
            code::RELAY_AGENT_INFO,
            b"\x02\x02r\x01\x05\x04\xc0\x00\x02\x00\x0b\x04\xc0\x00\x02\x07\x0a\x01\x80\x13\x00\x97\x01\xff\x98\x00",
        ),
        // One that has the addresses of a subnet outside of all.
        3 => msg = msg.option(code::RELAY_AGENT_INFO, b"\x97\x04\x00red\x98\x00"),
        _ => {}
    }
    match random.below(6) {
        0 | 1 => msg = msg.option(code::PARAMETER_REQUEST_LIST, &[1, 3, 6, 15, 51, 58]),
        3 => msg = msg.option(code::CLIENT_MACHINE_ID, &[0x5a; 17]).option(code::CLIENT_ARCHITECTURE, &[0, 7, 0, 9]),
        2 => msg = msg.option(code::PARAMETER_REQUEST_LIST, &[108, 121, 224]).option(code::MAX_MESSAGE_SIZE, &[5, 0]),
        _ => {}
    }
    if random.below(16) == 0 {
        msg = msg.option(code::CLIENT_ID, &[1]);
    }
    if random.below(20) == 0 && !msg.options.is_empty() {
        // A BOOTP client's.
        msg.options.remove(0);
    }
    let mut frame = msg.frame();
    if random.below(8) == 0 {
        let at = random.below(frame.len() as u32) as usize;
        frame[at] ^= 1 << random.below(8);
    }
    if random.below(32) == 0 {
        let len = random.below(1500);
        frame = random.bytes(len);
    }
    frame
}

/// A query about leases, by one thing or by several.
fn query(random: &mut Random, n: u8, address: std::net::Ipv4Addr, id: Option<&[u8]>) -> Msg {
    let by = random.below(9);
    let msg = message(MessageType::LeaseQuery, n).relayed().with(|msg| {
        if by > 1 {
            (msg.htype, msg.hlen, msg.chaddr) = (0, 0, [0; 16]);
        }
    });
    match (by, id) {
        (1..5, _) => msg.with(|msg| msg.ciaddr = address),
        (5 | 6, Some(id)) => msg.option(code::CLIENT_ID, id),
        (0, _) => msg,
        _ => msg.option(code::RELAY_AGENT_INFO, &[2, 2, b'r', n % 8]),
    }
}

#[test]
fn no_message_of_any_client_allocates_memory() {
    let counts = serve_without_allocating(|_| {});
    for message in Message::ALL {
        assert!(counts.messages[*message as usize] > 30, "{message:?}: {counts:?}");
    }
    use DropReason::{BadOption, Declined, LeaseQueryMalformed, LeaseQueryRate, NoFreeAddress, Released};
    for reason in [NoFreeAddress, Released, Declined, BadOption, LeaseQueryMalformed, LeaseQueryRate] {
        assert!(counts.drops[reason as usize] > 30, "{reason:?}: {counts:?}");
    }
}

#[test]
fn reservations_and_a_shared_network_allocate_nothing_either() {
    let counts = serve_without_allocating(|config| {
        // By what they are, by their circuit, with and without an address, in a pool and outside.
        for n in 1..=20u8 {
            let (hw, circuit) = ([1, 2, 0, 0, 0, 0, n], [n]);
            let (kind, id) = if n % 3 == 0 { (IdKind::CircuitId, &circuit[..]) } else { (IdKind::HwAddress, &hw[..]) };
            let address = (n % 2 == 0).then_some(lan(if n % 4 == 0 { 200 } else { 100 } + n));
            let gives = Gives { address, lease_time_s: Some(900), ..Gives::default() };
            config.reservations.add(Scope::Network(0), kind, id, gives).unwrap();
        }
        config.reservations.end(|at| (lan(10)..=lan(150)).contains(&at.address), |_, _, _| unreachable!());
        let mut subnets = config.subnets.to_vec();
        let global = subnets.iter_mut().filter(|subnet| subnet.space == Space::GLOBAL);
        global.for_each(|subnet| subnet.network = Some("one".to_owned()));
        config.subnets = Subnets::new(subnets).with_vrfs(config.subnets.vrfs().clone());
    });
    assert!(counts.notices[Notice::ReservedInUse as usize] > 5, "{counts:?}");
}

#[test]
fn addresses_to_be_probed_allocate_nothing_either() {
    let counts = serve_without_allocating(|config| {
        let mut subnets = config.subnets.to_vec();
        subnets[0].ping_check = true;
        config.subnets = Subnets::new(subnets).with_vrfs(config.subnets.vrfs().clone());
        let timeout = std::time::Duration::from_millis(500);
        config.ping_check = Some(PingCheck { timeout, requests: 1, max_per_s: 200, remember_s: 60 });
    });
    assert!(counts.messages[Message::Offer as usize] > 30, "{counts:?}");
}

#[test]
fn classes_and_lease_limits_allocate_nothing_either() {
    let text = r#"
        [[interface]]
        name = "lan0"
        [[class]]
        name = "kept apart"
        match = "concat(lower(interface), relay[1], upper(option[61])) != 'x' and member('some') and hw_address != 02:00:00:00:00:01"
        lease_time_s = 900
        options = { domain-name = "apart.example.net" }
        [[class]]
        name = "some"
        match = "giaddr in 10.0.0.0/8 or not relay.exists or vendor[9].option[1].exists or length(option[12]) > 3"
        [[class]]
        name = "tenth"
        spawn = "substring(hw_address, 5, 1)"
        match = "substring(hw_address, 5, 1).number > 100"
        lease_limit = 1
        [[class]]
        name = "few"
        match = "substring(hw_address, 5, 1).number <= 100"
        lease_limit = 20
        [[class]]
        name = "nobody"
        match = "substring(hw_address, 5, 1) == 0x07"
        ignore = true
        [[subnet]]
        prefix = "192.0.2.0/24"
        pools = ["192.0.2.10"]
    "#;
    let read = crate::config::parse("test", text, &crate::config::AnyMachine).unwrap().config;
    let counts = serve_without_allocating(|config| {
        config.classes = read.classes;
        config.overlays = read.overlays;
    });
    for reason in [DropReason::LeaseLimit, DropReason::ClassIgnored] {
        assert!(counts.drops[reason as usize] > 30, "{reason:?}: {counts:?}");
    }
}

#[test]
fn computed_options_allocate_nothing_either() {
    let text = r#"
        [[interface]]
        name = "lan0"
        [[subnet]]
        prefix = "192.0.2.0/24"
        pools = ["192.0.2.10"]
        [subnet.options]
        host-name = { computed = "concat('h-', dashed(your_address), '-', hex(substring(hw_address, 3, all)))", always = true }
        domain-name = { computed = "concat(lower(option[61]), decimal(secs), dotted(giaddr), relay[1])", always = true }
        routers = { computed = "giaddr", always = true }
    "#;
    let read = crate::config::parse("test", text, &crate::config::AnyMachine).unwrap().config;
    serve_without_allocating(|config| {
        assert!(read.computes_options() && !config.computes_options());
        let mut subnets = config.subnets.to_vec();
        for subnet in &mut subnets {
            let computed = read.subnets[0].options.iter().cloned();
            subnet.options = OptionSet::new(subnet.options.iter().cloned().chain(computed));
        }
        config.subnets = Subnets::new(subnets).with_vrfs(config.subnets.vrfs().clone());
    });
}

/// Serves all kinds of messages, and counts what is allocated in the meantime: nothing.
fn serve_without_allocating(change: impl FnOnce(&mut Config)) -> Snapshot {
    let seen = allocation_counter::measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100))));
    assert_eq!(seen.count_total, 1, "the allocator counts");
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.subnets = Subnets::new({
        let mut subnets = config.subnets.to_vec();
        subnets[0].pools[0].last = lan(150);
        subnets[1].pools[0].last = far(30);
        subnets[1].lease.renewal_slack_permille = 300;
        for subnet in &mut subnets {
            (subnet.rapid_commit, subnet.bootp_lease_s, subnet.auto_configure) = (true, Some(600), Some(false));
            (subnet.lease.jitter_permille, subnet.lease.scarce_permille, subnet.space) = (100, 500, Space::GLOBAL);
            let long = OptionBlob { code: 224, data: vec![7; 600], always: false, ..OptionBlob::default() };
            subnet.options = OptionSet::new(subnet.options.iter().cloned().chain([long]));
        }
        let red = Subnet { space: Space(1), ..subnets[1].clone() };
        subnets.push(red);
        subnets
    })
    .with_vrfs(Vrfs::new(vec![Vrf { space: Space(1), name: "red".into(), id: b"\x00red".to_vec() }]));
    config.load_balance = Some(LoadBalance { buckets: Codes::of(&(0..=250).collect::<Vec<u8>>()), after_secs: 30 });
    config.leasequery = Some(LeaseQuery::new(["10.0.0.0/8".parse().unwrap()], 5, Codes::of(&[3, 6, 15, 224])));
    change(&mut config);
    let leases = Arc::new(config.lease_table([1, 2]));
    let port = Port { interface: 0, name: "lan0".to_owned(), addresses: vec![SERVER], mac: SERVER_MAC, mtu: 1500 };
    let counters = Arc::new(Counters::default());
    let (journal, mut lanes) =
        Journal::start(dir.path(), Durability::Off, vec![Arc::new(Wake::new().unwrap())]).unwrap();
    let shared = Arc::new(SharedPort::new(port));
    let index = Arc::new(Index::new(leases.slots(), [3, 4]));
    let mut keeper = Keeper::new(&index);
    let _whole = index.be_whole();
    let mut processor =
        Processor::new(Arc::new(config), leases.clone(), lanes.pop().unwrap(), shared, counters.clone())
            .with_leasequery(Arc::clone(&index));
    let check = processor.config.ping_check.clone();
    let mut desk = check.map(|check| {
        let recent = Arc::new(Recent::new(&check));
        processor.remember_in(Arc::clone(&recent));
        let wake = || Arc::new(Wake::new().unwrap());
        // Its other end is kept: nobody answers, and the places run out.
        desk::<usize>(&check, 1, 300, recent, wake(), wake())
    });
    let mut begun = 0;
    let mut random = Random(7);
    let mut chunks = vec![[0u8; CHUNK]; BATCH];
    let mut longest = [0; 2];
    for round in 0..400 {
        let now_s = NOW_S + round * 20;
        let frames: Vec<Vec<u8>> = (0..BATCH).map(|_| any(&mut random, &leases, now_s)).collect();
        let mut batch: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
        for (chunk, frame) in chunks.iter_mut().zip(&frames) {
            chunk[..frame.len()].copy_from_slice(frame);
            batch.push(Frame { buffer: chunk, len: frame.len() });
        }
        while !processor.recorder().has_room() {
            std::thread::yield_now();
        }
        let mut out: ArrayVec<Disposition, BATCH> = ArrayVec::new();
        let counted = allocation_counter::measure(|| {
            processor.process(now_s, &mut batch, &mut out);
            leases.expire(now_s, 64);
            if let Some((desk, _)) = &mut desk {
                for (at, disposition) in out.iter().enumerate() {
                    if let Disposition::Probe { len, address, client } = *disposition {
                        begun += usize::from(desk.begin(address, client, at, len, now_s) == Begun::Waits);
                    }
                }
                desk.flush();
            }
        });
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "round {round}");
        for slot in 0..leases.slots() {
            keeper.set(slot, leases.binding_at(slot, now_s).unwrap().as_ref());
        }
        for binding in leases.iter(now_s) {
            let lens = [binding.client_id.len(), binding.agent_info.len()];
            longest = std::array::from_fn(|at| longest[at].max(lens[at]));
        }
    }
    // All of it was there.
    assert_eq!(begun, desk.map_or(0, |(desk, _)| desk.waiting()));
    assert!(begun > 100 || processor.config.ping_check.is_none(), "{begun} addresses were to be probed");
    let counts = counters.snapshot();
    let is_long = |len: &usize| *len > 200 && *len <= ClientId::new().capacity();
    assert!(longest.iter().all(is_long), "long identifiers, and option 82 with many, were leased to: {longest:?}");
    let last_s = NOW_S + 400 * 20;
    assert!(leases.iter(last_s).filter(|lease| lease.space == Space(1)).count() > 5, "leases in a VPN");
    drop(processor);
    journal.stop().unwrap();
    counts
}
