//! The story is the worker's, reason by reason; and the captures of the examples are made here.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    config::{self, AnyMachine, Durability},
    engine::testing::{self, Bed, Checksum, Msg, RELAY_MAC, SERVER, discover, message, request},
    journal::Journal,
    lease::{Space, SpacedAddress},
    wire::{dhcp::MessageType, options::code, shown},
};

const NOW_S: u32 = 1_900_000_000;
const FTTH: &str = include_str!("../../../examples/ftth.toml");
const CABLE: &str = include_str!("../../../examples/cable.toml");
const HOTEL: &str = include_str!("../../../examples/hotel.toml");

fn read(text: &str) -> Config {
    config::parse("test", text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config
}

fn explainer(text: &str) -> Explainer {
    let config = read(text);
    let leases = lease_table(&config, None, NOW_S).unwrap();
    with_leases(config, leases)
}

fn with_leases(config: Config, leases: LeaseTable) -> Explainer {
    let name = config.interfaces[0].name.clone();
    let port = Port { interface: 0, name, addresses: vec![SERVER], mac: [2, 0, 0, 0, 0, 1], mtu: 1500 };
    Explainer::new(Arc::new(config), leases, port)
}

fn small(subnet: &str) -> String {
    format!(
        "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"eth1\"\n\
         pools = [\"192.0.2.10-192.0.2.11\"]\n{subnet}"
    )
}

/// As the relay agent with this address sends it on.
fn via(giaddr: [u8; 4], msg: Msg) -> Msg {
    msg.relayed().with(|msg| {
        msg.giaddr = giaddr.into();
        msg.source = giaddr.into();
    })
}

const LIST: [u8; 6] = [1, 3, 6, 12, 15, 42];

/// The client takes what it was offered.
fn taking(offered: &Story, msg: Msg, server: Ipv4Addr) -> Msg {
    let address = offered.reply.as_ref().unwrap().address.as_ref().unwrap().address;
    let options = msg.options[1..].to_vec();
    let taken = request(0).address(code::SERVER_ID, server).address(code::REQUESTED_ADDRESS, address);
    Msg { options: [taken.options, options].concat(), ..msg }
}

/// A capture in pcap's format; times in milliseconds.
fn pcap(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (ms, bytes) in packets {
        for word in [NOW_S + ms / 1000, ms % 1000 * 1000, bytes.len() as u32, bytes.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(bytes);
    }
    file
}

/// Client messages and what else is on a link.
fn ftth() -> Vec<(u32, Vec<u8>)> {
    let mut server = explainer(FTTH);
    let circuit = |n: u8, circuit: &[u8]| {
        let mut info = vec![1, circuit.len() as u8];
        info.extend(circuit);
        via([203, 0, 113, 1], discover(n).option(code::PARAMETER_REQUEST_LIST, &LIST).option(82, &info))
    };
    let mut packets = Vec::new();
    for (at, msg) in [(0, circuit(16, b"olt7 xpon 0/1/0:16")), (2000, circuit(17, b"olt7 xpon 0/1/0:17"))] {
        let offered = server.explain(NOW_S, &msg.frame());
        let taken = taking(&offered, msg.clone(), SERVER);
        server.explain(NOW_S, &taken.frame());
        packets.push((at, msg.frame()));
        packets.push((at + 40, taken.frame()));
    }
    // ARP; a message through a relay agent that is not of this network; one that was damaged on its way.
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 16, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 38]].concat();
    packets.push((3000, arp));
    packets.push((3500, via([10, 9, 9, 9], discover(18)).frame()));
    packets.push((4000, discover(19).with(|msg| msg.checksum = Checksum::Wrong).frame()));
    packets
}

fn cable() -> Vec<(u32, Vec<u8>)> {
    let mut server = explainer(CABLE);
    let cmts = |n: u8, vendor: Option<&[u8]>| {
        let info = [2, 6, 2, 0, 0, 0xaa, 0xbb, 1];
        let msg = discover(n).option(code::PARAMETER_REQUEST_LIST, &LIST);
        let msg = vendor.into_iter().fold(msg, |msg, vendor| msg.option(code::VENDOR_CLASS_ID, vendor));
        via([10, 128, 0, 1], msg.option(82, &info))
    };
    let modem = cmts(1, Some(b"docsis3.1:")).with(|msg| msg.chaddr[..6].copy_from_slice(&[2, 0, 0, 0xaa, 0xbb, 1]));
    let device = cmts(40, None);
    let offered = server.explain(NOW_S, &device.frame());
    let taken = taking(&offered, device.clone(), SERVER);
    vec![(0, modem.frame()), (500, device.frame()), (530, taken.frame())]
}

fn hotel() -> Vec<(u32, Vec<u8>)> {
    let mut server = explainer(HOTEL);
    let guest = |n: u8, vlan: u16| {
        discover(n).option(code::PARAMETER_REQUEST_LIST, &LIST).with(|msg| msg.tags = vec![(0x8100, vlan)])
    };
    let msg = guest(1, 20);
    let offered = server.explain(NOW_S, &msg.frame());
    let server_id = offered.reply.as_ref().unwrap().server_id;
    vec![(0, msg.frame()), (20, taking(&offered, msg, server_id).frame()), (900, guest(2, 40).frame())]
}

#[test]
fn the_captures_of_the_examples_are_those_that_are_made_here() {
    let mut others = Vec::new();
    for (name, packets) in [("ftth", ftth()), ("cable", cable()), ("hotel", hotel())] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/{name}.pcap"));
        let made = pcap(&packets);
        if fs::read(&path).ok().as_ref() != Some(&made) {
            let new = std::env::temp_dir().join(format!("{name}.pcap"));
            fs::write(&new, made).unwrap();
            others.push(format!("examples/{name}.pcap is another one: replace it with {}", new.display()));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn a_discover_and_its_request_live_in_one_table() {
    let mut server = explainer(&small(""));
    let offered = server.explain(NOW_S, &discover(1).frame());
    let reply = offered.reply.clone().unwrap();
    assert_eq!((reply.message_type.as_str(), offered.changes.len()), ("OFFER", 0));
    let offered_address = reply.address.unwrap();
    assert!(offered_address.why.starts_with("it is the next free one; pool 192.0.2.10"), "{}", offered_address.why);
    let story = server.explain(NOW_S + 1, &taking(&offered, discover(1), SERVER).frame());
    let reply = story.reply.unwrap();
    let address = reply.address.unwrap();
    assert_eq!((reply.message_type.as_str(), address.address), ("ACK", offered_address.address));
    assert!(address.why.starts_with("it was offered to the client"), "{}", address.why);
    assert_eq!(story.changes, [format!("{} is bound, until 3600 s after it began", address.address)]);
    let again = server.explain(NOW_S + 2, &discover(1).frame()).reply.unwrap().address.unwrap();
    assert!(again.why.starts_with("the client has it bound"), "{}", again.why);
}

#[test]
fn the_story_is_that_of_the_worker_message_by_message() {
    let config = || testing::config();
    let mut bed = Bed::new();
    let port = bed.port.get().1;
    let mut server = Explainer::new(Arc::new(config()), config().lease_table([1, 2]), port);
    let kinds = [MessageType::Inform, MessageType::Release, MessageType::Decline, MessageType::Bootp];
    let mut replies = 0;
    for n in 1..=14u8 {
        let offered = Ipv4Addr::new(192, 0, 2, 9 + n);
        let far = Ipv4Addr::new(10, 0, 0, 9 + n);
        let mut messages = vec![
            discover(n),
            discover(n).option(code::PARAMETER_REQUEST_LIST, &LIST).relayed(),
            request(n).address(code::SERVER_ID, SERVER).address(code::REQUESTED_ADDRESS, offered),
            request(n).address(code::REQUESTED_ADDRESS, far).relayed(),
            request(n).address(code::REQUESTED_ADDRESS, offered),
            request(n).unicast(offered),
        ];
        messages.extend(kinds.map(|kind| message(kind, n).address(code::REQUESTED_ADDRESS, offered).unicast(offered)));
        for msg in messages {
            let story = server.explain(bed.now_s, &msg.frame());
            match bed.send(&msg) {
                Err(reason) => assert_eq!(story.dropped.map(|dropped| dropped.reason), Some(reason.name()), "{msg:?}"),
                Ok(answer) => {
                    let told = story.reply.unwrap_or_else(|| panic!("{msg:?}"));
                    assert_eq!(told.message_type, format!("{:?}", answer.message_type()).to_uppercase());
                    let address = told.address.map_or(Ipv4Addr::UNSPECIFIED, |address| address.address);
                    assert_eq!(address, answer.yiaddr());
                    assert!(told.sent_to.starts_with(&format!("{} port {},", answer.destination, answer.port)));
                    let mut sent = answer.options.clone();
                    sent.sort();
                    let told: Vec<_> = told.options.into_iter().map(|option| (option.code, option.data)).collect();
                    let sent: Vec<_> = sent.into_iter().map(|(code, data)| (code, shown::hex(&data))).collect();
                    assert_eq!(told, sent);
                    replies += 1;
                }
            }
        }
        bed.pass(3);
    }
    assert!(replies > 60, "{replies}");
}

#[test]
fn the_pool_that_is_used_up_is_told_with_what_would_help() {
    let mut server = explainer(&small(""));
    for n in 1..=2 {
        assert!(server.explain(NOW_S, &discover(n).frame()).reply.is_some());
    }
    let story = server.explain(NOW_S, &discover(3).frame());
    let dropped = story.dropped.unwrap();
    assert_eq!((dropped.reason, dropped.words), ("no_free_address", "Every address of the subnet is in use."));
    assert_eq!(dropped.otherwise.unwrap(), "a free address in a pool that is for it");
}

#[test]
fn what_decides_on_a_subnet_is_told_whether_it_leads_to_one_or_not() {
    let mut server = explainer(FTTH);
    let link = via([10, 0, 0, 1], discover(1)).option(82, &[5, 4, 203, 0, 113, 1]);
    let why = |story: Story| {
        let subnet = story.subnet.unwrap();
        (subnet.prefix, subnet.why)
    };
    assert_eq!(
        why(server.explain(NOW_S, &link.frame())),
        (Some("203.0.113.0/24".into()), "link selection 203.0.113.1 of the relay agent is in it (RFC 3527)".into())
    );
    assert_eq!(
        why(server.explain(NOW_S, &via([203, 0, 113, 1], discover(1)).frame())),
        (Some("203.0.113.0/24".into()), "giaddr 203.0.113.1 is in it (no link selection)".into())
    );
    let none = server.explain(NOW_S, &via([10, 9, 9, 9], discover(1)).frame());
    assert_eq!(none.dropped.as_ref().unwrap().reason, "no_subnet");
    assert_eq!(why(none), (None, "giaddr 10.9.9.9 is no host of any subnet (no link selection)".into()));
    let direct = server.explain(NOW_S, &discover(1).frame());
    assert_eq!(why(direct), (None, "it came in on eth1 with no VLAN tag (no giaddr), where no subnet is".into()));
}

#[test]
fn a_subnet_in_a_vpn_is_told_with_its_name() {
    let vpn = |name: &str| {
        format!(
            "[[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"{name}\"\npools = [\"10.0.0.10-10.0.0.19\"]\nserver_id = \"192.0.2.1\"\n"
        )
    };
    let mut server = explainer(&small(&(vpn("red") + &vpn("blue"))));
    let msg = |id: &[u8]| discover(1).option(82, &[&[151, id.len() as u8][..], id].concat()).relayed();
    let subnet = server.explain(NOW_S, &msg(b"\0blue").frame()).subnet.unwrap();
    assert_eq!((subnet.vpn.as_deref(), subnet.prefix.as_deref()), (Some("blue"), Some("10.0.0.0/24")));
    let subnet = server.explain(NOW_S, &msg(b"\0green").frame()).subnet.unwrap();
    assert_eq!(subnet.why, "its VPN (virtual subnet selection) is that of no subnet (RFC 6607)");
    let unicast = message(MessageType::Request, 1).unicast(Ipv4Addr::new(10, 0, 0, 10));
    let story = server.explain(NOW_S, &unicast.frame());
    assert_eq!(story.subnet.unwrap().why, "unicast, and ciaddr 10.0.0.10 is in subnets of several VPNs");
    assert!(story.dropped.unwrap().otherwise.unwrap().contains("virtual subnet selection"));
}

#[test]
fn a_class_is_told_with_the_values_that_made_it_so() {
    let mut server = explainer(CABLE);
    let packets = cable();
    let classes = server.explain(NOW_S, &packets[0].1).classes;
    assert_eq!(classes.iter().map(|class| class.member).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(classes[0].expression.as_deref(), Some("starts_with(option[vendor-class-identifier], \"docsis\")"));
    assert_eq!(classes[0].values, [("option[vendor-class-identifier]".to_owned(), "\"docsis3.1:\"".to_owned())]);
    assert_eq!(classes[2].values[0], ("member(\"modem\")".to_owned(), "true".to_owned()));
    let mut modem = discover(2).option(code::PARAMETER_REQUEST_LIST, &[3, 4, 7]);
    modem = via([10, 128, 0, 1], modem.option(code::VENDOR_CLASS_ID, b"docsis3.0:").option(82, b"\x02\x01m"));
    let reply = server.explain(NOW_S, &modem.frame()).reply.unwrap();
    let options: Vec<(u8, &str)> = reply.options.iter().map(|option| (option.code, option.from.as_str())).collect();
    for option in [(3, "subnet 10.128.0.0/16"), (4, "class modem"), (7, "class modem"), (51, "the server")] {
        assert!(options.contains(&option), "{option:?} in {options:?}");
    }
    let file = reply.header.iter().find(|field| field.value.contains("modem-default.cfg")).unwrap();
    assert_eq!(file.from, "class modem");
    server.explain(NOW_S, &packets[1].1);
    let story = server.explain(NOW_S, &packets[2].1);
    let behind = &story.classes[2];
    assert_eq!(behind.spawned, Some(("relay.remote-id".into(), "0x020000aabb01".into())));
    assert_eq!((behind.member, behind.leases), (true, Some((1, 4))), "the lease that this message binds counts");
    assert_eq!(story.classes[0].values[0].1, "missing");
}

#[test]
fn a_reservation_is_told_by_its_identifier_or_with_those_that_were_looked_for() {
    let mut server = explainer(FTTH);
    let packets = ftth();
    let story = server.explain(NOW_S, &packets[0].1);
    let reservation = story.reservation.unwrap();
    assert!(reservation.found && reservation.looked_for.is_empty());
    assert_eq!(reservation.address, Some(Ipv4Addr::new(203, 0, 113, 250)));
    assert_eq!(reservation.by, Some(("circuit_id".into(), "\"olt7 xpon 0/1/0:16\"".into())));
    let reply = story.reply.unwrap();
    assert!(reply.address.unwrap().why.starts_with("it is reserved for the client; outside of all pools"));
    let from = |code: u8| reply.options.iter().find(|option| option.code == code).map(|option| option.from.as_str());
    assert_eq!(
        [from(1), from(3), from(6), from(12), from(82)],
        [
            Some("the subnet's prefix"),
            Some("subnet 203.0.113.0/24"),
            Some("global"),
            Some("the reservation"),
            Some("the request, echoed (RFC 3046)")
        ]
    );
    let reservation = server.explain(NOW_S, &packets[2].1).reservation.unwrap();
    assert!(!reservation.found);
    assert_eq!(
        reservation.looked_for,
        [
            ("circuit_id".into(), "\"olt7 xpon 0/1/0:17\"".into()),
            ("remote_id".to_owned(), "the message has none".to_owned())
        ]
    );
}

#[test]
fn an_option_that_is_computed_is_told_with_its_expression() {
    let options = "[subnet.options]\nhost-name = { computed = \"concat('h-', dashed(your_address))\" }\n\
                   domain-name = { computed = \"option[77]\" }\n";
    let msg = discover(1).option(code::PARAMETER_REQUEST_LIST, &LIST);
    let reply = explainer(&small(options)).explain(NOW_S, &msg.frame()).reply.unwrap();
    let name = reply.options.iter().find(|option| option.code == code::HOST_NAME).unwrap();
    assert_eq!(
        (name.value.as_str(), name.from.as_str()),
        ("\"h-192-0-2-10\"", "subnet 192.0.2.0/24: concat(\"h-\", dashed(your_address))")
    );
    assert_eq!(reply.left_out, ["domain-name (15): option[77] has no value here, or it does not fit"]);
}

/// What fuzzers do, in short: every frame of the captures cut off everywhere, and with each byte changed.
#[test]
fn no_frame_panics_and_each_has_a_reply_or_a_reason() {
    for (text, packets) in [(FTTH, ftth()), (CABLE, cable()), (HOTEL, hotel())] {
        let mut server = explainer(text);
        for (_, frame) in packets.into_iter().take(3) {
            let cut = (0..frame.len()).map(|len| frame[..len].to_vec());
            let changed = (0..frame.len()).map(|at| {
                let mut frame = frame.clone();
                frame[at] ^= 0x11;
                frame
            });
            for frame in cut.chain(changed) {
                let story = server.explain(NOW_S, &frame);
                assert!(story.reply.is_some() != story.dropped.is_some(), "{story:?}");
            }
        }
    }
}

#[test]
fn a_lease_time_is_told_with_where_it_is_from() {
    let class = "[[class]]\nname = \"guest\"\nmatch = \"option[60] == 'guest'\"\nlease_time_s = 600\n";
    let mut server = explainer(&small(&format!(
        "lease_time_s = 3000\nmin_lease_time_s = 60\nmax_lease_time_s = 4000\nscarce_above = 1.0\n{class}"
    )));
    let mut time = |msg: Msg| {
        let time = server.explain(NOW_S, &msg.frame()).reply.unwrap().lease_time.unwrap();
        (time.seconds, time.why)
    };
    let asking = |seconds: u32| discover(1).option(code::LEASE_TIME, &seconds.to_be_bytes());
    assert_eq!(time(discover(1)), (3000, "the default of subnet 192.0.2.0/24; the client asks for none".into()));
    assert_eq!(time(asking(9000)), (4000, "the most of subnet 192.0.2.0/24; the client asks for 9000 s".into()));
    assert_eq!(time(asking(1)), (60, "the least of subnet 192.0.2.0/24; the client asks for 1 s".into()));
    assert_eq!(
        time(discover(1).option(code::VENDOR_CLASS_ID, b"guest")),
        (600, "the default of class guest; the client asks for none".into())
    );
    // The second of two addresses: all are in use.
    let (seconds, why) = time(discover(2));
    assert_eq!(seconds, 60);
    assert!(why.starts_with("the least of subnet 192.0.2.0/24: at least 100 % of the addresses"), "{why}");
}

#[test]
fn pools_are_told_with_who_they_are_for() {
    let pools = explainer(CABLE).explain(NOW_S, &cable()[1].1).pools;
    let told: Vec<(&str, bool, &str)> =
        pools.iter().map(|pool| (pool.range.as_str(), pool.admits, pool.why.as_str())).collect();
    assert_eq!(
        told,
        [
            ("10.128.0.10-10.128.255.250", false, "its subnet is not for the client: allow_classes modem"),
            ("10.64.0.10-10.64.127.250", false, "its subnet is not for the client: allow_classes mta"),
            ("203.0.113.240-203.0.113.250", false, "known_clients_only; the client is not"),
            ("203.0.113.10-203.0.113.239", true, "deny_classes modem, mta"),
        ]
    );
}

#[test]
fn where_a_reply_goes_is_told_with_the_reason() {
    let mut server = explainer(&small(""));
    let mut sent = |msg: Msg| server.explain(NOW_S, &msg.frame()).reply.unwrap().sent_to;
    let to = sent(discover(1));
    assert!(
        to.ends_with("Ethernet 02:00:00:00:00:01: unicast to the address given and the client's hardware address"),
        "{to}"
    );
    let to = sent(discover(1).with(|msg| msg.flags = 0x8000));
    assert_eq!(to, "255.255.255.255 port 68, Ethernet ff:ff:ff:ff:ff:ff: broadcast: the client set the broadcast flag");
    let to = sent(message(MessageType::Inform, 1).unicast(Ipv4Addr::new(192, 0, 2, 77)));
    assert!(
        to.starts_with("192.0.2.77 port 68") && to.ends_with("directly to ciaddr, as any answer to an INFORM"),
        "{to}"
    );
}

#[test]
fn what_cannot_be_read_is_told_by_its_reason_alone() {
    let mut server = explainer(&small(""));
    let wrong = discover(1).with(|msg| msg.checksum = Checksum::Wrong).frame();
    let cut = discover(1).with(|msg| msg.tail = vec![61, 9, 1]).frame();
    for (frame, reason) in [(wrong, "bad_udp_checksum"), (cut, "bad_option"), (Vec::new(), "truncated")] {
        let story = server.explain(NOW_S, &frame);
        assert!(story.asked.is_none() && story.reply.is_none());
        assert_eq!(story.dropped.unwrap().reason, reason);
    }
}

#[test]
fn refusals_and_silence_are_told_with_their_reason() {
    let mut server = explainer(&small("authoritative = true\nmin_secs = 9\n"));
    let nak = server.explain(NOW_S, &request(1).address(code::REQUESTED_ADDRESS, Ipv4Addr::new(10, 0, 0, 1)).frame());
    let reply = nak.reply.unwrap();
    assert_eq!(reply.message_type, "NAK");
    assert_eq!(reply.note.as_deref(), Some("requested address is not on this network"));
    assert!(reply.sent_to.ends_with("broadcast, as any NAK that no relay agent carries"), "{}", reply.sent_to);
    let early = server.explain(NOW_S, &discover(1).frame()).dropped.unwrap();
    assert_eq!(early.otherwise.unwrap(), "secs is 7: from 9 on (min_secs of subnet 192.0.2.0/24) it is answered");
    let renewal = request(1).unicast(Ipv4Addr::new(192, 0, 2, 10)).with(|msg| msg.ethernet_source = RELAY_MAC);
    let stranger = server.explain(NOW_S, &renewal.frame()).dropped.unwrap();
    assert_eq!(
        (stranger.reason, stranger.otherwise.unwrap().as_str()),
        (
            "unknown_client",
            "a binding of the client, its rebinding through a relay agent or on its link, or unknown_renewals = \"all\" of \
             subnet 192.0.2.0/24"
        )
    );
    let nowhere = server.explain(NOW_S, &renewal.with(|msg| msg.ciaddr = Ipv4Addr::UNSPECIFIED).frame());
    assert_eq!(
        nowhere.subnet.unwrap().why,
        "unicast through a router, with no giaddr, and no ciaddr of a subnet: from anywhere"
    );
    assert!(nowhere.dropped.unwrap().otherwise.unwrap().starts_with("giaddr, which relay agents set"));
    let owner = server.explain(NOW_S, &message(MessageType::Release, 1).unicast(Ipv4Addr::new(192, 0, 2, 10)).frame());
    assert_eq!(owner.dropped.unwrap().otherwise.unwrap(), "the client has no address");
}

#[test]
fn leases_of_a_state_directory_count_and_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = read(&small(""));
    let wake = Arc::new(crate::wake::Wake::new().unwrap());
    let (journal, mut lanes) = Journal::start(dir.path(), Durability::Sync, vec![wake]).unwrap();
    let address = Ipv4Addr::new(192, 0, 2, 11);
    let (state, started_s, expires_s) = (BindingState::Bound, NOW_S - 9, NOW_S + 900);
    let lease = Lease { space: Space::GLOBAL, address, state, generation: 1, started_s, expires_s };
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    lanes[0].submit(&lease, &HwAddress { htype: 1, hlen: 6, chaddr }, b"", Kept::default()).unwrap();
    drop(lanes);
    journal.stop().unwrap();
    let files = || {
        let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = files();
    // As a server that starts with it would, a subnet that went into a VPN takes its leases along.
    let red = read(&small("vrf = \"red\"\n"));
    let moved = lease_table(&red, Some(dir.path()), NOW_S).unwrap();
    let at = SpacedAddress::new(red.subnets[0].space, address);
    assert_eq!(moved.get(at, NOW_S).map(|lease| lease.state), Some(BindingState::Bound));

    let leases = lease_table(&config, Some(dir.path()), NOW_S).unwrap();
    let mut server = with_leases(config, leases);
    let offered = server.explain(NOW_S, &discover(1).frame()).reply.unwrap().address.unwrap();
    assert_eq!(
        (offered.address, offered.why.as_str()),
        (address, "the client has it bound; pool 192.0.2.10-192.0.2.11")
    );
    assert!(!before.is_empty());
    assert_eq!(files(), before);
}

#[test]
fn a_state_directory_without_a_journal_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = lease_table(&read(&small("")), Some(dir.path()), NOW_S).map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with("no journal is there; expected a server's state directory"), "{error}");
    assert!(lease_table(&read(&small("")), Some(&dir.path().join("typo")), NOW_S).is_err());
    assert!(!dir.path().join("typo").exists());
}
