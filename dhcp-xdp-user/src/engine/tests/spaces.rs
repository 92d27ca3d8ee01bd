//! VPNs with the same addresses (RFC 6607): what is said of one is said of no other.

use super::*;
use crate::{
    engine::testing::{Answer, Msg},
    lease::{Space, SpacedAddress},
};

const HEAD: &str = "[defaults]\nserver_id = \"192.0.2.1\"\n";
const RED: &str = "[[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"red\"\npools = [\"10.0.0.10-10.0.0.11\"]\n";
const BLUE: &str = "[[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"blue\"\npools = [\"10.0.0.10-10.0.0.11\"]\n";
const GLOBAL: &str = "[[subnet]]\nprefix = \"10.0.0.0/24\"\npools = [\"10.0.0.10-10.0.0.11\"]\n";

fn bed_with(subnets: &[&str]) -> Bed {
    bed_of(&format!("{HEAD}{}", subnets.concat()))
}

/// Through a relay agent that puts its client into a VPN.
fn within(vrf: &str, msg: Msg) -> Msg {
    let vss = [&[151, 1 + vrf.len() as u8, 0], vrf.as_bytes()].concat();
    msg.relayed().option(code::RELAY_AGENT_INFO, &vss)
}

fn bind_within(bed: &mut Bed, vrf: &str, n: u8) -> Ipv4Addr {
    let offered = bed.reply(&within(vrf, discover(n))).yiaddr();
    let ack = bed.reply(&within(vrf, selecting(n, SERVER, offered)));
    assert_eq!(ack.message_type(), Ack);
    ack.yiaddr()
}

fn space(vrf: &str) -> Space {
    if vrf == "global" { Space::GLOBAL } else { Space(config::own_number(&[&[0], vrf.as_bytes()].concat())) }
}

/// When the lease of an address ends, and the last byte of its client's hardware address.
fn lease_of(bed: &Bed, vrf: &str, address: Ipv4Addr) -> Option<(u32, u8)> {
    let lease = bed.leases.get(SpacedAddress::new(space(vrf), address), bed.now_s)?;
    (lease.state == BindingState::Bound).then_some((lease.expires_s, lease.hw.chaddr[5]))
}

fn through_giaddr(bed: &mut Bed, n: u8) -> Answer {
    bed.reply(&discover(n).relayed())
}

#[test]
fn a_server_allocates_an_address_from_the_vpn_that_the_sub_option_names() {
    let mut bed = bed_with(&[RED, BLUE, GLOBAL]);
    let red = bind_within(&mut bed, "red", 1);
    let blue = bind_within(&mut bed, "blue", 2);
    let offered = through_giaddr(&mut bed, 3).yiaddr();
    let global = bed.reply(&selecting(3, SERVER, offered).relayed()).yiaddr();
    assert_eq!((red, blue, global), (far(10), far(10), far(10)));
    let holders = ["red", "blue", "global"].map(|vrf| lease_of(&bed, vrf, far(10)).unwrap().1);
    assert_eq!(holders, [1, 2, 3]);
    let journaled: Vec<_> = bed.records().iter().map(|(lease, hw, _)| (lease.at(), hw.chaddr[5])).collect();
    let at = |vrf| SpacedAddress::new(space(vrf), far(10));
    assert_eq!(journaled, [(at("red"), 1), (at("blue"), 2), (at("global"), 3)]);
}

#[test]
fn one_client_in_two_vpns_has_a_lease_in_each() {
    let mut bed = bed_with(&[RED, BLUE]);
    assert_eq!((bind_within(&mut bed, "red", 1), bind_within(&mut bed, "blue", 1)), (far(10), far(10)));
    bed.pass(600);
    let renewal = within("blue", request(1).with(|msg| msg.ciaddr = far(10)));
    assert_eq!(bed.reply(&renewal).message_type(), Ack);
    let ends = ["red", "blue"].map(|vrf| lease_of(&bed, vrf, far(10)).unwrap().0);
    assert_eq!(ends[1] - ends[0], 600, "the other one's time goes on");
}

#[test]
fn release_and_decline_in_a_vpn_leave_the_address_of_the_other_alone() {
    let mut bed = bed_with(&[RED, BLUE, GLOBAL]);
    bind_within(&mut bed, "red", 1);
    bind_within(&mut bed, "blue", 1);
    let release = message(MessageType::Release, 1).address(code::SERVER_ID, SERVER).with(|msg| msg.ciaddr = far(10));
    assert_eq!(bed.dropped(&within("red", release.clone())), DropReason::Released);
    assert_eq!((lease_of(&bed, "red", far(10)), lease_of(&bed, "blue", far(10)).is_some()), (None, true));
    assert_eq!(bed.dropped(&release.relayed()), DropReason::NotOwner, "outside of all VPNs it has none");
    let decline =
        message(MessageType::Decline, 1).address(code::SERVER_ID, SERVER).address(code::REQUESTED_ADDRESS, far(10));
    assert_eq!(bed.dropped(&within("blue", decline)), DropReason::Declined);
    let state = |vrf| bed.leases.get(SpacedAddress::new(space(vrf), far(10)), bed.now_s).map(|lease| lease.state);
    assert_eq!(
        [state("red"), state("blue"), state("global")],
        [Some(BindingState::Released), Some(BindingState::Declined), None]
    );
}

// RFC 6607 7: a server may "not allocate an address" where the VPN that is named is none of its own.
#[test]
fn a_vpn_that_no_subnet_is_in_gets_no_answer_and_no_address_of_another() {
    let mut bed = bed_with(&[RED, BLUE, GLOBAL]);
    assert_eq!(bed.dropped(&within("green", discover(1))), DropReason::NoSubnet);
    let empty = discover(1).relayed().option(code::RELAY_AGENT_INFO, b"\x97\x00");
    assert_eq!(bed.dropped(&empty), DropReason::NoSubnet);
    let by_number = discover(1).relayed().option(code::RELAY_AGENT_INFO, b"\x97\x08\x01\0\0\x01\0\0\0\x02");
    assert_eq!(bed.dropped(&by_number), DropReason::NoSubnet);
    assert_eq!(bed.leases.counts().offered, 0);
}

// RFC 6607 3.5: type 255 is the "global, default VPN".
#[test]
fn a_virtual_subnet_selection_of_type_255_is_outside_of_all_vpns() {
    let mut bed = bed_with(&[RED, GLOBAL]);
    let global = |msg: Msg| msg.relayed().option(code::RELAY_AGENT_INFO, b"\x97\x01\xff");
    let offered = bed.reply(&global(discover(1))).yiaddr();
    bed.reply(&global(selecting(1, SERVER, offered)));
    assert_eq!((lease_of(&bed, "red", offered), lease_of(&bed, "global", offered).unwrap().1), (None, 1));
}

// RFC 6607 7.3: of a client's option and a relay agent's sub-option, the relay agent's is taken.
#[test]
fn the_relay_agents_vpn_goes_before_the_clients_own() {
    let text = format!("client_subnet_selection = true\n[[interface]]\nname = \"lan0\"\n{HEAD}{RED}{BLUE}");
    let read = config::parse("test", &text, &AnyMachine).unwrap_or_else(|why| panic!("{why}")).config;
    let mut bed = Bed::with(|config| *config = read);
    let own = |msg: Msg| msg.option(code::VIRTUAL_SUBNET_SELECTION, b"\x00blue");
    let offered = bed.reply(&within("red", own(discover(1)))).yiaddr();
    bed.reply(&within("red", own(selecting(1, SERVER, offered))));
    assert_eq!((lease_of(&bed, "red", offered).map(|lease| lease.1), lease_of(&bed, "blue", offered)), (Some(1), None));
    bed.reply(&own(discover(2).relayed()));
    assert!(bed.leases.get(SpacedAddress::new(space("blue"), far(10)), bed.now_s).is_some(), "alone, it counts");
}

#[test]
fn the_link_that_a_relay_agent_selects_is_one_of_the_vpn_that_it_names() {
    let other = "[[subnet]]\nprefix = \"172.16.0.0/24\"\nvrf = \"blue\"\npools = [\"172.16.0.10\"]\n";
    let mut bed = bed_with(&[RED, BLUE, other]);
    let linked = |vrf: &str, link: [u8; 4]| {
        let info = [&[5, 4][..], &link, &[151, 1 + vrf.len() as u8, 0], vrf.as_bytes()].concat();
        discover(1).relayed().option(code::RELAY_AGENT_INFO, &info)
    };
    assert_eq!(bed.reply(&linked("blue", [172, 16, 0, 0])).yiaddr(), Ipv4Addr::new(172, 16, 0, 10));
    assert_eq!(bed.dropped(&linked("red", [172, 16, 0, 0])), DropReason::NoSubnet);
    assert_eq!(bed.reply(&linked("red", [10, 0, 0, 0])).yiaddr(), far(10));
}

#[test]
fn a_unicast_that_names_no_vpn_is_of_the_address_outside_of_all() {
    let mut bed = bed_with(&[RED, GLOBAL]);
    bind_within(&mut bed, "red", 1);
    let offered = through_giaddr(&mut bed, 2).yiaddr();
    bed.reply(&selecting(2, SERVER, offered).relayed());
    bed.pass(600);
    let ack = bed.reply(&request(2).unicast(far(10)));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, far(10)));
    let ends = ["red", "global"].map(|vrf| lease_of(&bed, vrf, far(10)).unwrap().0);
    assert_eq!(ends[1] - ends[0], 600);
}

#[test]
fn a_unicast_from_an_address_of_several_vpns_gets_silence_until_the_relay_agent_says_which() {
    let mut bed = bed_with(&[RED, BLUE]);
    bind_within(&mut bed, "red", 1);
    bind_within(&mut bed, "blue", 2);
    bed.pass(600);
    let before = ["red", "blue"].map(|vrf| lease_of(&bed, vrf, far(10)));
    assert_eq!(bed.dropped(&request(1).unicast(far(10))), DropReason::NoSubnet);
    assert_eq!(["red", "blue"].map(|vrf| lease_of(&bed, vrf, far(10))), before);
    let rebinding = within("red", request(1).with(|msg| msg.ciaddr = far(10)));
    assert_eq!(bed.reply(&rebinding).message_type(), Ack);
}

#[test]
fn a_unicast_that_names_no_vpn_gets_nobody_an_address_of_one_that_is_not_the_clients_already() {
    let mut bed = bed_with(&[RED]);
    assert_eq!(bind_within(&mut bed, "red", 1), far(10));
    assert_eq!(bed.reply(&request(1).unicast(far(10))).message_type(), Ack, "its client is known");
    assert_eq!(bed.dropped(&request(9).unicast(far(11))), DropReason::UnknownClient);
    // Nor is one held for it, which it could then take.
    bed.dropped(&discover(9).unicast(far(11)));
    assert_eq!(bed.dropped(&request(9).unicast(far(11))), DropReason::UnknownClient);
    let offered = bed.reply(&within("red", discover(9))).yiaddr();
    assert_eq!(bed.dropped(&request(9).unicast(offered)), DropReason::UnknownClient, "an offer is no lease");
    assert_eq!(lease_of(&bed, "red", far(11)), None);
}

#[test]
fn a_unicast_on_an_interface_that_is_in_a_vpn_is_of_that_vpn() {
    let linked =
        "[[subnet]]\nprefix = \"192.0.2.0/24\"\nvrf = \"blue\"\ninterface = \"lan0\"\npools = [\"192.0.2.10\"]\n";
    let mut bed = bed_with(&[RED, BLUE, GLOBAL, linked]);
    bind_within(&mut bed, "blue", 1);
    bind_within(&mut bed, "red", 1);
    bed.pass(600);
    assert_eq!(bed.reply(&request(1).unicast(far(10))).message_type(), Ack);
    let ends = ["red", "blue"].map(|vrf| lease_of(&bed, vrf, far(10)).unwrap().0);
    assert_eq!(ends[1] - ends[0], 600);
    assert_eq!(bed.reply(&discover(2)).yiaddr(), lan(10), "a broadcast there is the link's");
    assert!(bed.leases.get(SpacedAddress::new(space("blue"), lan(10)), bed.now_s).is_some());
}

#[test]
fn a_renewal_through_the_relay_agent_that_took_the_servers_place_stays_in_its_vpn() {
    // RFC 5107: the relay agent gave its own address as the server's, and so sees the renewal.
    let mut bed = bed_with(&[RED, BLUE]);
    let info = b"\x97\x04\x00red\x0b\x04\x0a\x00\x00\x01\x0a\x01\x80";
    let through = |msg: Msg| msg.relayed().option(code::RELAY_AGENT_INFO, info);
    let offer = bed.reply(&through(discover(1)));
    assert_eq!(offer.option(code::SERVER_ID), Some(&[10, 0, 0, 1][..]));
    bed.reply(&through(selecting(1, far(1), offer.yiaddr())));
    bind_within(&mut bed, "blue", 2);
    bed.pass(600);
    let ack = bed.reply(&through(request(1).with(|msg| msg.ciaddr = far(10))));
    assert_eq!((ack.message_type(), lease_of(&bed, "red", far(10)).unwrap().0), (Ack, bed.now_s + 3600));
}

#[test]
fn reservations_are_of_their_own_vpn() {
    let reserved = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"10.0.0.10\"\nvrf = \"blue\"\n\
        [[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"10.0.0.77\"\nvrf = \"red\"\n";
    let mut bed = bed_with(&[RED, BLUE, GLOBAL, reserved]);
    assert_eq!((bind_within(&mut bed, "blue", 1), bind_within(&mut bed, "red", 1)), (far(10), far(77)));
    assert_eq!(bind_within(&mut bed, "red", 2), far(10), "reserved in the other VPN alone");
    assert_eq!(bind_within(&mut bed, "blue", 3), far(11));
    let wanted = |vrf: &str| within(vrf, selecting(4, SERVER, far(77)));
    assert_eq!(bed.reply(&wanted("blue")).message_type(), Nak);
    bed.pass(4000);
    assert_eq!(bed.reply(&wanted("red")).message_type(), Nak, "reserved");
}

#[test]
fn a_circuits_reservation_is_believed_in_the_vpn_of_the_lease_alone() {
    let reserved =
        "[[reservation]]\ncircuit_id = \"c1\"\naddress = \"10.0.0.10\"\nlease_time_s = 7000\nvrf = \"red\"\n";
    let linked = "[[subnet]]\nprefix = \"192.0.2.0/24\"\nvrf = \"red\"\ninterface = \"lan0\"\n";
    let mut bed = bed_with(&[RED, BLUE, linked, reserved]);
    let info = b"\x97\x04\x00red\x01\x02c1";
    let through = |msg: Msg| msg.relayed().option(code::RELAY_AGENT_INFO, info);
    let offered = bed.reply(&through(discover(1))).yiaddr();
    assert_eq!(bed.reply(&through(selecting(1, SERVER, offered))).seconds(51), Some(7000));
    let renewal = bed.reply(&request(1).unicast(offered));
    assert_eq!((renewal.message_type(), renewal.seconds(51)), (Ack, Some(7000)));
}

#[test]
fn networks_of_two_vpns_with_the_same_subnets_are_two() {
    let network = |vrf: &str| {
        format!(
            "[[network]]\nname = \"{vrf}\"\nvrf = \"{vrf}\"\n\
             [[subnet]]\nprefix = \"10.0.0.0/24\"\nnetwork = \"{vrf}\"\npools = [\"10.0.0.10\"]\n\
             [[subnet]]\nprefix = \"172.16.0.0/24\"\nnetwork = \"{vrf}\"\npools = [\"172.16.0.10\"]\nlease_time_s = 900\n"
        )
    };
    let mut bed = bed_of(&format!("{HEAD}{}{}", network("red"), network("blue")));
    let second = Ipv4Addr::new(172, 16, 0, 10);
    for vrf in ["red", "blue"] {
        assert_eq!((bind_within(&mut bed, vrf, 1), bind_within(&mut bed, vrf, 2)), (far(10), second), "{vrf}");
        assert_eq!(bed.dropped(&within(vrf, discover(3))), DropReason::NoFreeAddress);
    }
    let renewal = bed.reply(&within("blue", request(2).with(|msg| msg.ciaddr = second)));
    assert_eq!((renewal.message_type(), renewal.seconds(51)), (Ack, Some(900)), "the claimed address's subnet");
}
