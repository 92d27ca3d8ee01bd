//! Which subnet a relayed client is in, who its server is, and which port its relay agent listens on.

use super::*;
use crate::{
    engine::testing::{Msg, START_S},
    lease::{Space, SpacedAddress},
};

/// A discover through the relay agent with these sub-options.
fn with_info(n: u8, info: &[u8]) -> Msg {
    discover(n).relayed().option(code::RELAY_AGENT_INFO, info)
}

fn is_lan(address: Ipv4Addr) -> bool {
    (lan(10)..=lan(19)).contains(&address)
}

fn is_far(address: Ipv4Addr) -> bool {
    (far(10)..=far(13)).contains(&address)
}

// Link selection (RFC 3527)

#[test]
fn the_link_selection_sub_option_is_used_in_place_of_giaddr() {
    let offer = Bed::new().reply(&with_info(1, &[5, 4, 192, 0, 2, 0]));
    assert!(is_lan(offer.yiaddr()));
    assert_eq!((offer.message.giaddr(), offer.destination), (RELAY, RELAY), "giaddr is still where the reply goes");
    assert_eq!(offer.option(82), Some(&[5, 4, 192, 0, 2, 0][..]));
}

#[test]
fn a_link_of_no_subnet_gets_silence_whatever_giaddr_is() {
    assert_eq!(Bed::new().dropped(&with_info(1, &[5, 4, 172, 16, 0, 0])), DropReason::NoSubnet);
}

#[test]
fn a_giaddr_of_no_subnet_is_no_hindrance_where_the_link_is_selected() {
    let msg = with_info(1, &[5, 4, 192, 0, 2, 0]).with(|msg| msg.giaddr = Ipv4Addr::new(172, 16, 0, 1));
    assert!(is_lan(Bed::new().reply(&msg).yiaddr()));
}

#[test]
fn link_selection_that_no_relay_agent_sent_is_not_heard() {
    let offer = Bed::new().reply(&discover(1).option(82, &[5, 4, 10, 0, 0, 0]));
    assert!(is_lan(offer.yiaddr()));
}

// Subnet selection (RFC 3011)

#[test]
fn the_subnet_selection_option_is_used_before_giaddr_where_clients_may_choose() {
    let msg = discover(1).relayed().address(code::SUBNET_SELECTION, lan(0));
    assert!(is_far(Bed::new().reply(&msg).yiaddr()), "by default they may not");
    let mut bed = Bed::with(|config| config.client_subnet_selection = true);
    assert!(is_lan(bed.reply(&msg).yiaddr()));
    assert!(is_far(bed.reply(&discover(2).address(code::SUBNET_SELECTION, far(0))).yiaddr()));
    assert_eq!(bed.dropped(&discover(3).address(code::SUBNET_SELECTION, Ipv4Addr::LOCALHOST)), DropReason::NoSubnet);
}

#[test]
fn a_server_that_supports_subnet_selection_returns_an_identical_copy_of_it() {
    let msg = discover(1).relayed().address(code::SUBNET_SELECTION, lan(0)).option(55, &[1, 3]);
    assert_eq!(Bed::new().reply(&msg).option(code::SUBNET_SELECTION), None);
    let mut bed = Bed::with(|config| config.client_subnet_selection = true);
    let chosen = |msg: Msg| msg.relayed().address(code::SUBNET_SELECTION, lan(0)).option(55, &[1, 3]);
    let linked = chosen(with_info(1, &[5, 4, 192, 0, 2, 0]));
    let offer = bed.reply(&msg);
    let ack = bed.reply(&chosen(selecting(1, SERVER, offer.yiaddr())));
    let nak = bed.reply(&chosen(selecting(1, SERVER, far(99))));
    assert_eq!([offer.message_type(), ack.message_type(), nak.message_type()], [Offer, Ack, Nak]);
    for reply in [offer, ack, nak, bed.reply(&linked)] {
        assert_eq!(reply.option(code::SUBNET_SELECTION), Some(&lan(0).octets()[..]));
    }
}

#[test]
fn link_selection_counts_more_than_subnet_selection() {
    let mut bed = Bed::with(|config| config.client_subnet_selection = true);
    let msg = with_info(1, &[5, 4, 10, 0, 0, 0]).address(code::SUBNET_SELECTION, lan(0));
    assert!(is_far(bed.reply(&msg).yiaddr()));
}

// Server identifier override (RFC 5107)

const OVERRIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

fn overridden(msg: Msg) -> Msg {
    msg.relayed().option(82, &[&[11, 4][..], &OVERRIDE.octets()].concat())
}

#[test]
fn the_overridden_server_identifier_is_in_each_reply_and_the_source_stays_ours() {
    let mut bed = Bed::new();
    let offer = bed.reply(&overridden(discover(1)));
    assert_eq!(offer.option(code::SERVER_ID), Some(&OVERRIDE.octets()[..]));
    assert_eq!(offer.frame[26..30], [198, 51, 100, 1], "the interface's own address");
    let ack = bed.reply(&overridden(selecting(1, OVERRIDE, offer.yiaddr())));
    assert_eq!((ack.message_type(), ack.option(code::SERVER_ID)), (Ack, Some(&OVERRIDE.octets()[..])));
    let nak = bed.reply(&overridden(selecting(1, OVERRIDE, lan(99))));
    assert_eq!((nak.message_type(), nak.option(code::SERVER_ID)), (Nak, Some(&OVERRIDE.octets()[..])));
    let inform = bed.reply(&overridden(message(MessageType::Inform, 1)).with(|msg| msg.ciaddr = far(99)));
    assert_eq!((inform.message_type(), inform.option(code::SERVER_ID)), (Ack, Some(&OVERRIDE.octets()[..])));
    for reply in [ack, nak, inform] {
        assert_eq!(reply.source, Ipv4Addr::new(198, 51, 100, 1));
    }
}

#[test]
fn the_overridden_server_identifier_is_in_replies_of_each_subnet_of_a_network() {
    let mut bed = Bed::with(|config| {
        config.subnets[0].server_id = Some(lan(7));
        config.subnets.iter_mut().for_each(|subnet| subnet.network = Some("all".into()));
    });
    let offer = bed.reply(&overridden(discover(1)).address(code::REQUESTED_ADDRESS, lan(15)));
    assert_eq!((offer.yiaddr(), offer.source), (lan(15), lan(7)));
    assert_eq!(offer.option(code::SERVER_ID), Some(&OVERRIDE.octets()[..]));
    for n in 2..=11 {
        // When the first subnet is full, the other one gives an address.
        let offer = bed.reply(&overridden(discover(n)));
        assert_eq!((is_far(offer.yiaddr()), offer.option(code::SERVER_ID)), (n == 11, Some(&OVERRIDE.octets()[..])));
        let source = if n == 11 { Ipv4Addr::new(198, 51, 100, 1) } else { lan(7) };
        assert_eq!(offer.source, source, "our address in the subnet of the address");
    }
}

#[test]
fn the_overridden_server_identifier_is_in_an_offer_of_no_address_too() {
    let mut bed = Bed::with(|config| config.subnets[1].ipv6_only = true);
    let offer = bed.reply(&overridden(discover(1)).option(55, &[108]));
    assert_eq!((offer.yiaddr(), offer.source), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(198, 51, 100, 1)));
    assert_eq!(offer.option(code::SERVER_ID), Some(&OVERRIDE.octets()[..]));
}

#[test]
fn a_request_with_the_overridden_identifier_is_ours_only_when_the_relay_agent_says_so() {
    let mut bed = Bed::new();
    let offered = bed.reply(&overridden(discover(1))).yiaddr();
    assert_eq!(bed.dropped(&selecting(1, OVERRIDE, offered).relayed()), DropReason::OtherServerChosen);
}

#[test]
fn release_and_decline_with_the_overridden_identifier_are_ours() {
    let mut bed = Bed::new();
    let offered = bed.reply(&overridden(discover(1))).yiaddr();
    bed.reply(&overridden(selecting(1, OVERRIDE, offered)));
    let release = overridden(message(MessageType::Release, 1)).with(|msg| msg.ciaddr = offered);
    assert_eq!(bed.dropped(&release.address(code::SERVER_ID, OVERRIDE)), DropReason::Released);
}

#[test]
fn a_renewal_through_the_relay_agent_keeps_the_overridden_identifier() {
    let mut bed = Bed::new();
    let offered = bed.reply(&overridden(discover(1))).yiaddr();
    bed.reply(&overridden(selecting(1, OVERRIDE, offered)));
    bed.pass(1800);
    let ack = bed.reply(&overridden(request(1)).with(|msg| msg.ciaddr = offered));
    assert_eq!((ack.message_type(), ack.option(code::SERVER_ID)), (Ack, Some(&OVERRIDE.octets()[..])));
}

#[test]
fn what_a_client_on_the_link_writes_into_option_82_is_echoed_and_else_not_heard() {
    let info = [&[11, 4][..], &OVERRIDE.octets(), &[19, 0, 10, 1, 0x80, 151, 4, 0], b"red"].concat();
    let mut bed = with_vrf();
    let own = |msg: Msg| msg.option(82, &info).with(|msg| msg.source_port = 16_400);
    let offer = bed.reply(&own(discover(1)));
    assert_eq!((is_lan(offer.yiaddr()), offer.port), (true, 68));
    assert_eq!((offer.option(code::SERVER_ID), offer.option(82)), (Some(&SERVER.octets()[..]), Some(&info[..])));
    assert_eq!(bed.dropped(&own(selecting(1, OVERRIDE, offer.yiaddr()))), DropReason::OtherServerChosen);
    assert_eq!(bed.dropped(&own(request(2)).with(|msg| msg.ciaddr = lan(15))), DropReason::UnknownClient, "rebinding");
}

// Relay agent flags (RFC 5010)

#[test]
fn a_request_that_the_relay_agent_got_by_unicast_is_renewing() {
    // Nothing is known of this client: a renewal is bound again, a rebinding gets silence (4.3.2).
    let renewing = |flags: u8| request(1).relayed().option(82, &[10, 1, flags]).with(|msg| msg.ciaddr = far(12));
    assert_eq!(Bed::new().dropped(&renewing(0)), DropReason::UnknownClient);
    assert_eq!(Bed::new().dropped(&renewing(0x7f)), DropReason::UnknownClient, "the other bits are reserved");
    for unicast in [0x80, 0xff] {
        let ack = Bed::new().reply(&renewing(unicast));
        assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, far(12)));
    }
}

// Relay source port (RFC 8357)

#[test]
fn the_reply_goes_to_the_relay_agents_source_port_where_it_asks_for_that() {
    let from_port = |info: &[u8]| with_info(1, info).with(|msg| msg.source_port = 16_400);
    let offer = Bed::new().reply(&from_port(&[19, 0]));
    assert_eq!((offer.destination, offer.port), (RELAY, 16_400));
    assert_eq!(offer.option(82), Some(&[19, 0][..]), "the sub-option is echoed");
    let offer = Bed::new().reply(&from_port(&[1, 1, 7]));
    assert_eq!((offer.destination, offer.port), (RELAY, 67));
    let mut bed = Bed::new();
    for (address, kind) in [(far(12), Ack), (lan(99), Nak)] {
        let msg = selecting(1, SERVER, address).relayed().option(82, &[19, 0]).with(|msg| msg.source_port = 16_400);
        let reply = bed.reply(&msg);
        assert_eq!((reply.message_type(), reply.destination, reply.port), (kind, RELAY, 16_400));
    }
}

// Identifiers of relay agents and subscribers (RFC 6925, RFC 3993)

#[test]
fn circuit_remote_subscriber_and_relay_identifiers_are_there_for_rules() {
    let info = b"\x01\x01c\x02\x01r\x06\x01s\x0c\x03\x00\x01x";
    let msg = with_info(1, info).payload();
    let mut memory = [];
    let mut scratch = crate::wire::options::Scratch::new(&mut memory);
    let request = crate::engine::Request::parse(&msg, SERVER, &mut scratch).unwrap();
    let agent = request.relay_agent().unwrap();
    assert_eq!((agent.circuit_id(), agent.remote_id()), (Some(&b"c"[..]), Some(&b"r"[..])));
    assert_eq!((agent.subscriber_id(), agent.relay_id()), (Some(&b"s"[..]), Some(&b"\x00\x01x"[..])));
    let twice = crate::wire::relay::RelayAgentInfo::new(b"\x01\x01c\x01\x01d\x02\x01r");
    assert_eq!((twice.circuit_id(), twice.remote_id()), (Some(&b"c"[..]), Some(&b"r"[..])), "the first counts");
}

// Virtual subnet selection (RFC 6607)

/// The subnet on the link is in no VPN, the one behind the relay agent is in "red".
fn with_vrf() -> Bed {
    Bed::with(|config| {
        config.subnets[1].space = Space(1);
        config.vrfs_for_tests(&["red"]);
    })
}

#[test]
fn a_subnet_in_a_vpn_serves_those_alone_whom_the_relay_agent_puts_there() {
    assert!(is_far(with_vrf().reply(&with_info(1, b"\x97\x04\x00red")).yiaddr()));
    assert_eq!(with_vrf().dropped(&discover(1).relayed()), DropReason::NoSubnet);
    assert_eq!(with_vrf().dropped(&with_info(1, b"\x97\x05\x00blue")), DropReason::NoSubnet);
    assert_eq!(with_vrf().dropped(&with_info(1, b"\x97\x01\xff")), DropReason::NoSubnet, "the global VPN");
    let link = with_info(1, b"\x97\x04\x00red\x05\x04\xc0\x00\x02\x00");
    assert_eq!(with_vrf().dropped(&link), DropReason::NoSubnet, "the link is not in that VPN");
}

#[test]
fn a_server_that_acted_on_virtual_subnet_selection_takes_vss_control_out_and_echoes_the_rest() {
    let info = b"\x01\x01c\x98\x00\x97\x04\x00red\x02\x01r";
    let offer = with_vrf().reply(&with_info(1, info));
    assert_eq!(offer.option(82), Some(&b"\x01\x01c\x97\x04\x00red\x02\x01r"[..]));
    let offer = Bed::new().reply(&with_info(1, info));
    assert_eq!(offer.option(82), Some(&info[..]), "one without VPNs acted on nothing");
    let global = bed_of(
        "[defaults]\nserver_id = \"192.0.2.1\"\n[[subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10\"]\n\
                         [[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"red\"\npools = [\"10.0.0.10\"]\n",
    );
    let alone = b"\x98\x00\x01\x01c";
    let offer = { global }.reply(&with_info(1, alone));
    assert_eq!(offer.option(82), Some(&alone[..]), "nor one that was told of no VPN");
}

#[test]
fn a_clients_own_virtual_subnet_selection_is_heard_and_copied_where_clients_may_choose() {
    let msg = discover(1).relayed().option(code::VIRTUAL_SUBNET_SELECTION, b"\x00red");
    assert_eq!(with_vrf().dropped(&msg), DropReason::NoSubnet);
    let unheard = with_vrf().reply(&discover(1).option(code::VIRTUAL_SUBNET_SELECTION, b"\x00red"));
    assert_eq!((is_lan(unheard.yiaddr()), unheard.option(code::VIRTUAL_SUBNET_SELECTION)), (true, None));
    let mut bed = Bed::with(|config| {
        config.subnets[1].space = Space(1);
        config.vrfs_for_tests(&["red"]);
        config.client_subnet_selection = true;
    });
    let offer = bed.reply(&msg);
    assert!(is_far(offer.yiaddr()));
    assert_eq!(offer.option(code::VIRTUAL_SUBNET_SELECTION), Some(&b"\x00red"[..]));
}

#[test]
fn a_renewal_that_comes_directly_finds_its_subnet_in_a_vpn_by_ciaddr() {
    let mut bed = with_vrf();
    let relayed = |msg: Msg| msg.relayed().option(82, b"\x97\x04\x00red");
    let offered = bed.reply(&relayed(discover(1))).yiaddr();
    bed.reply(&relayed(selecting(1, SERVER, offered)));
    bed.pass(60);
    let ack = bed.reply(&request(1).unicast(offered));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, offered));
    assert_eq!(
        bed.leases.get(SpacedAddress::new(Space(1), offered), START_S + 60).unwrap().expires_s,
        START_S + 60 + 3600
    );
}

// Hops and seconds (RFC 1542)

#[test]
fn a_request_that_passed_too_many_relay_agents_gets_silence() {
    let hops = |hops| discover(1).relayed().with(|msg| msg.hops = hops);
    assert!(Bed::new().send(&hops(16)).is_ok());
    assert_eq!(Bed::new().dropped(&hops(17)), DropReason::TooManyHops);
}

#[test]
fn a_discover_is_answered_only_once_its_client_has_waited_long_enough() {
    let mut bed = Bed::with(|config| config.subnets[0].min_secs = 3);
    assert_eq!(bed.dropped(&discover(1).with(|msg| msg.secs = 2)), DropReason::TooEarly);
    let offer = bed.reply(&discover(1).with(|msg| msg.secs = 3));
    assert_eq!(bed.reply(&selecting(1, SERVER, offer.yiaddr()).with(|msg| msg.secs = 0)).message_type(), Ack);
}

// Load balancing (RFC 3074)

#[test]
fn two_servers_with_all_buckets_between_them_answer_each_client_exactly_once() {
    let bed = |buckets: std::ops::RangeInclusive<u8>| {
        Bed::with(|config| {
            let buckets = crate::wire::options::Codes::of(&buckets.collect::<Vec<_>>());
            config.load_balance = Some(crate::config::LoadBalance { buckets, after_secs: 10 });
            config.subnets[0].pools[0].last = lan(199);
        })
    };
    let (mut one, mut two) = (bed(0..=127), bed(128..=255));
    let mut answered = [0; 2];
    for n in 1..=100 {
        let by = [one.send(&discover(n)), two.send(&discover(n))];
        let by: Vec<_> = by.iter().enumerate().filter(|(_, sent)| sent.is_ok()).map(|(at, _)| at).collect();
        assert_eq!(by.len(), 1, "client {n}");
        answered[by[0]] += 1;
    }
    assert!(answered.iter().all(|&count| count > 30), "{answered:?}");
}

#[test]
fn the_client_identifier_is_hashed_where_there_is_one_and_else_the_bytes_of_the_hardware_address() {
    let mut bed = Bed::with(|config| {
        // Of 02:00:00:00:00:01 and of the identifier 01:23:45:67:89:ab:cd:ef, as other servers have them.
        let buckets = crate::wire::options::Codes::of(&[133, 237]);
        config.load_balance = Some(crate::config::LoadBalance { buckets, after_secs: 10 });
        config.subnets[0].bootp_lease_s = Some(u32::MAX);
    });
    let identified = |n| discover(n).option(code::CLIENT_ID, &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    assert!(bed.send(&discover(1)).is_ok());
    assert!(bed.send(&discover(1).with(|msg| msg.chaddr[6..].fill(0xa5))).is_ok(), "as many as hlen says");
    assert_eq!(bed.dropped(&discover(2)), DropReason::OtherServersBucket);
    let bootp = |n| discover(n).with(|msg| msg.options.clear());
    assert!(bed.send(&bootp(1)).is_ok());
    assert_eq!(bed.dropped(&bootp(2)), DropReason::OtherServersBucket);
    assert!(bed.send(&identified(2)).is_ok(), "whatever the hardware address is");
    assert_eq!(bed.dropped(&discover(1).option(code::CLIENT_ID, b"client-0001")), DropReason::OtherServersBucket);
}

#[test]
fn a_client_of_another_servers_bucket_is_answered_when_it_has_waited_long_or_names_this_server() {
    let mut bed = Bed::with(|config| {
        let buckets = crate::wire::options::Codes::default();
        config.load_balance = Some(crate::config::LoadBalance { buckets, after_secs: 10 });
    });
    assert_eq!(bed.dropped(&discover(1)), DropReason::OtherServersBucket);
    assert_eq!(bed.dropped(&discover(1).with(|msg| msg.secs = 10)), DropReason::OtherServersBucket);
    let offer = bed.reply(&discover(1).with(|msg| msg.secs = 11));
    assert_eq!(bed.reply(&selecting(1, SERVER, offer.yiaddr())).message_type(), Ack);
    assert_eq!(bed.reply(&request(1).unicast(offer.yiaddr())).message_type(), Ack, "a renewal by unicast");
}

// Identity (RFC 4361, RFC 2131 4.2)

#[test]
fn where_the_hardware_address_is_the_identity_the_client_identifier_is_echoed_and_else_not_looked_at() {
    let mut bed = Bed::with(|config| config.subnets[0].identity = crate::config::Identity::HwAddress);
    let id = |id: &[u8]| discover(1).option(code::CLIENT_ID, id);
    let first = bed.reply(&id(b"\xff\x00\x00\x00\x01duid"));
    assert_eq!(first.option(code::CLIENT_ID), Some(&b"\xff\x00\x00\x00\x01duid"[..]));
    assert_eq!(bed.reply(&id(b"\x01other")).yiaddr(), first.yiaddr());
    bed.reply(&selecting(1, SERVER, first.yiaddr()).option(code::CLIENT_ID, b"\x01other"));
    assert!(bed.records()[0].2.is_empty(), "what the journal keeps makes the same client after a restart");
    assert_ne!(bed.reply(&discover(2).option(code::CLIENT_ID, b"\x01other")).yiaddr(), first.yiaddr());
    let mut restarted = Bed::with(|config| config.subnets[0].identity = crate::config::Identity::HwAddress);
    for (lease, hw, client_id) in bed.records() {
        restarted.leases.restore(&lease.of(hw, client_id), 0, START_S).unwrap();
    }
    assert_eq!(restarted.reply(&id(b"\x01third")).yiaddr(), first.yiaddr());
    let nameless = discover(3).with(|msg| msg.hlen = 0).option(code::CLIENT_ID, b"\x01x");
    assert_eq!(bed.dropped(&nameless), DropReason::NoClientIdentity);
}

#[test]
fn a_node_specific_identifier_is_opaque() {
    let mut bed = Bed::new();
    let id = b"\xff\x00\x00\x00\x01\x00\x03\x00\x01\x02\x00\x00\x00\x00\x01";
    let first = bed.reply(&discover(1).option(code::CLIENT_ID, id)).yiaddr();
    assert_ne!(bed.reply(&discover(1).option(code::CLIENT_ID, &id[..14])).yiaddr(), first);
    assert_eq!(bed.reply(&discover(9).option(code::CLIENT_ID, id)).yiaddr(), first, "whatever card it comes from");
    // Another interface of the same node: the IAID differs, the DUID does not.
    let other = [&id[..4], &[2], &id[5..]].concat();
    assert_ne!(bed.reply(&discover(1).option(code::CLIENT_ID, &other)).yiaddr(), first);
    // One that looks like a hardware address is none (RFC 2131 4.2: "MUST be treated as an opaque object").
    let like = b"\x01\x02\x00\x00\x00\x00\x03";
    let third = bed.reply(&discover(3)).yiaddr();
    assert_ne!(bed.reply(&discover(3).option(code::CLIENT_ID, like)).yiaddr(), third);
}

#[test]
fn identifiers_that_differ_in_their_last_byte_or_their_length_are_two_clients() {
    let mut bed = Bed::new();
    let mut offered = Vec::new();
    for len in [7, 8, 31, 32, 63, 64, 254, 255] {
        offered.push(bed.reply(&discover(1).option(code::CLIENT_ID, &vec![7; len])).yiaddr());
    }
    let other = [&[7; 254][..], &[8]].concat();
    offered.push(bed.reply(&discover(1).option(code::CLIENT_ID, &other)).yiaddr());
    offered.sort();
    offered.dedup();
    assert_eq!(offered.len(), 9);
}

#[test]
fn a_hardware_address_of_another_type_is_another_client() {
    let mut bed = Bed::new();
    let first = bed.reply(&discover(1)).yiaddr();
    assert_ne!(bed.reply(&discover(1).with(|msg| msg.htype = 6)).yiaddr(), first);
}
