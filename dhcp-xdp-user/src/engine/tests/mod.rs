//! One test a rule, named by it; the section is RFC 2131's where no other is given.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType::{Ack, Nak, Offer};

use super::{
    DropReason,
    testing::{
        Bed, OTHER_SERVER, RELAY, RELAY_MAC, SERVER, discover, far, lan, message, read_options, request, selecting,
    },
};
use crate::{
    config::{self, AnyMachine, OptionBlob, OptionSet},
    lease::BindingState,
    wire::{dhcp::MessageType, options::code},
};

mod access;
mod anything;
mod classes;
mod computed;
mod configured;
mod ends;
mod examples;
mod levels;
mod long_options;
mod networks;
mod ping;
mod policies;
mod pools;
mod recall;
mod replies;
mod reservations;
mod selection;
mod spaces;
mod strangers;
mod vlans;

const BROADCAST_FLAG: u16 = 0x8000;

fn authoritative() -> Bed {
    Bed::with(|config| config.subnets.iter_mut().for_each(|subnet| subnet.authoritative = true))
}

/// A server of a configuration as it is written, whose interface is `lan0`.
fn bed_of(text: &str) -> Bed {
    let text = format!("[[interface]]\nname = \"lan0\"\n{text}");
    let read = config::parse("test", &text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config;
    Bed::with(|config| *config = read)
}

// DISCOVER (4.3.1)

#[test]
fn discover_is_offered_an_address_of_the_pool_with_lease_times() {
    let offer = Bed::new().reply(&discover(1));
    assert_eq!(offer.message_type(), Offer);
    assert!((lan(10)..=lan(19)).contains(&offer.yiaddr()));
    assert_eq!(offer.option(code::SERVER_ID), Some(&SERVER.octets()[..]));
    assert_eq!(offer.seconds(code::LEASE_TIME), Some(3600));
    assert_eq!(offer.seconds(code::RENEWAL_TIME), Some(1800));
    assert_eq!(offer.seconds(code::REBINDING_TIME), Some(3150));
    assert!(!offer.parked, "an offer waits for no disk");
}

#[test]
fn an_offer_changes_no_binding_and_is_not_journaled() {
    let mut bed = Bed::new();
    bed.reply(&discover(1));
    assert!(bed.records().is_empty());
}

#[test]
fn discover_is_offered_the_address_that_it_asks_for_when_it_is_free() {
    let offer = Bed::new().reply(&discover(1).address(code::REQUESTED_ADDRESS, lan(17)));
    assert_eq!(offer.yiaddr(), lan(17));
}

#[test]
fn discover_for_an_address_of_somebody_else_or_of_no_pool_is_offered_another_one() {
    let mut bed = Bed::new();
    let taken = bed.bind(1);
    assert_ne!(bed.reply(&discover(2).address(code::REQUESTED_ADDRESS, taken)).yiaddr(), taken);
    for odd in [lan(200), far(10), Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST] {
        let offered = bed.reply(&discover(3).address(code::REQUESTED_ADDRESS, odd)).yiaddr();
        assert!((lan(10)..=lan(19)).contains(&offered), "{offered}");
    }
}

#[test]
fn discover_of_a_bound_client_is_offered_its_present_address() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let offer = bed.reply(&discover(1).address(code::REQUESTED_ADDRESS, lan(19)));
    assert_eq!(offer.yiaddr(), bound);
}

#[test]
fn discover_after_release_is_offered_its_previous_address() {
    let mut bed = Bed::new();
    bed.bind(1);
    let bound = bed.bind(2);
    bed.dropped(&message(MessageType::Release, 2).unicast(bound));
    assert_eq!(bed.reply(&discover(2)).yiaddr(), bound);
}

#[test]
fn an_offered_address_is_held_for_its_client_until_the_hold_ends() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(10));
    assert_eq!(bed.reply(&discover(1)).yiaddr(), lan(10));
    assert_eq!(bed.dropped(&discover(2)), DropReason::NoFreeAddress);
    bed.pass(31);
    assert_eq!(bed.reply(&discover(2)).yiaddr(), lan(10));
}

#[test]
fn two_clients_are_never_offered_the_same_address() {
    let mut bed = Bed::new();
    let mut offered: Vec<_> = (1..=10).map(|n| bed.reply(&discover(n)).yiaddr()).collect();
    offered.sort();
    offered.dedup();
    assert_eq!(offered.len(), 10);
    assert_eq!(bed.dropped(&discover(11)), DropReason::NoFreeAddress);
}

#[test]
fn a_requested_lease_time_is_kept_within_the_bounds() {
    for (asked, granted) in [(600u32, 600), (10, 60), (100_000, 7200), (u32::MAX, 7200), (0, 60)] {
        let offer = Bed::new().reply(&discover(1).option(code::LEASE_TIME, &asked.to_be_bytes()));
        assert_eq!(offer.seconds(code::LEASE_TIME), Some(granted), "asked for {asked}");
    }
}

#[test]
fn a_lease_for_ever_has_no_renewal_times_and_never_ends() {
    let mut bed = Bed::with(|config| config.subnets[0].lease.max_s = u32::MAX);
    let for_ever = u32::MAX.to_be_bytes();
    let offer = bed.reply(&discover(1).option(code::LEASE_TIME, &for_ever));
    let ack = bed.reply(&selecting(1, SERVER, offer.yiaddr()).option(code::LEASE_TIME, &for_ever));
    assert_eq!(ack.seconds(code::LEASE_TIME), Some(u32::MAX));
    assert_eq!(ack.option(code::RENEWAL_TIME), None);
    assert_eq!(ack.option(code::REBINDING_TIME), None);
    assert_eq!(bed.records()[0].0.expires_s, u32::MAX);
}

// REQUEST, SELECTING (4.3.2)

#[test]
fn request_for_our_offer_is_acknowledged_and_waits_for_the_journal() {
    let mut bed = Bed::new();
    let offered = bed.reply(&discover(1)).yiaddr();
    let ack = bed.reply(&selecting(1, SERVER, offered));
    assert_eq!(ack.message_type(), Ack);
    assert_eq!(ack.yiaddr(), offered);
    assert_eq!(ack.seconds(code::LEASE_TIME), Some(3600));
    assert!(ack.parked);
    let (lease, hw, client_id) = &bed.records()[0];
    assert_eq!((lease.address, lease.state), (offered, BindingState::Bound));
    assert_eq!(lease.expires_s, bed.now_s + 3600);
    assert_eq!(hw.bytes(), [2, 0, 0, 0, 0, 1]);
    assert!(client_id.is_empty());
}

#[test]
fn an_ack_must_leave_before_its_lease_ends_and_within_seconds() {
    let mut bed = Bed::new();
    let offered = bed.reply(&discover(1)).yiaddr();
    let ack = bed.reply(&selecting(1, SERVER, offered));
    assert_eq!(ack.until_s, Some(bed.now_s + 10));
    let mut short = Bed::with(|config| {
        config.subnets.iter_mut().for_each(|subnet| (subnet.lease.min_s, subnet.lease.default_s) = (3, 3));
    });
    let offered = short.reply(&discover(1)).yiaddr();
    assert_eq!(short.reply(&selecting(1, SERVER, offered)).until_s, Some(short.now_s + 3));
}

#[test]
fn request_for_anothers_server_id_frees_the_offer() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(10));
    bed.reply(&discover(1));
    assert_eq!(bed.dropped(&selecting(1, OTHER_SERVER, lan(99))), DropReason::OtherServerChosen);
    assert_eq!(bed.reply(&discover(2)).yiaddr(), lan(10));
}

#[test]
fn request_for_anothers_server_id_leaves_a_binding_alone() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    assert_eq!(bed.dropped(&selecting(1, OTHER_SERVER, lan(99))), DropReason::OtherServerChosen);
    assert_eq!(bed.leases.get(bound, bed.now_s).unwrap().state, BindingState::Bound);
}

#[test]
fn selecting_an_address_that_somebody_else_has_is_refused() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let offered = bed.reply(&discover(2)).yiaddr();
    for taken in [bound, offered] {
        let nak = bed.reply(&selecting(3, SERVER, taken));
        assert_eq!(nak.message_type(), Nak);
    }
    assert_eq!(bed.records().len(), 1, "a NAK is not journaled");
}

#[test]
fn selecting_an_address_of_no_pool_is_refused() {
    for address in [lan(99), far(10)] {
        assert_eq!(Bed::new().reply(&selecting(1, SERVER, address)).message_type(), Nak);
    }
}

#[test]
fn selecting_a_free_address_that_was_offered_before_a_restart_is_acknowledged() {
    let ack = Bed::new().reply(&selecting(1, SERVER, lan(15)));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, lan(15)));
}

#[test]
fn every_address_of_the_interface_is_our_server_identifier() {
    let ack = Bed::new().reply(&selecting(1, Ipv4Addr::new(198, 51, 100, 1), lan(15)));
    assert_eq!(ack.message_type(), Ack);
}

#[test]
fn an_address_that_the_interface_gets_while_serving_is_answered_from() {
    let mut bed = Bed::new();
    let (_, mut port) = bed.port.get();
    port.addresses.clear();
    bed.port.set(port.clone());
    assert_eq!(bed.dropped(&discover(1)), DropReason::NoServerId);
    port.addresses.push(lan(2));
    bed.port.set(port);
    let offer = bed.reply(&discover(1));
    assert_eq!(offer.option(code::SERVER_ID), Some(&lan(2).octets()[..]));
    assert_eq!(bed.dropped(&selecting(1, SERVER, offer.yiaddr())), DropReason::OtherServerChosen, "no longer ours");
}

#[test]
fn a_configured_server_identifier_is_sent_and_recognised() {
    let id = lan(7);
    let mut bed = Bed::with(|config| config.subnets[0].server_id = Some(id));
    let offer = bed.reply(&discover(1));
    assert_eq!(offer.option(code::SERVER_ID), Some(&id.octets()[..]));
    assert_eq!(bed.reply(&selecting(1, id, offer.yiaddr())).message_type(), Ack);
}

#[test]
fn a_client_that_moves_is_recorded_at_its_new_address_before_the_old_one_is_released() {
    let mut bed = Bed::new();
    let old = bed.bind(1);
    let new = if old == lan(15) { lan(16) } else { lan(15) };
    let before = bed.records().len();
    assert_eq!(bed.reply(&selecting(1, SERVER, new)).yiaddr(), new);
    let changes: Vec<_> = bed.records()[before..].iter().map(|(lease, ..)| (lease.address, lease.state)).collect();
    // A crash between the two leaves both with the client, which is safe, and never neither.
    assert_eq!(changes, [(new, BindingState::Bound), (old, BindingState::Released)]);
}

#[test]
fn a_retransmitted_request_is_acknowledged_again() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    assert_eq!(bed.reply(&selecting(1, SERVER, bound)).yiaddr(), bound);
}

#[test]
fn request_without_any_address_fits_no_state() {
    assert_eq!(Bed::new().dropped(&request(1)), DropReason::BadRequest);
    assert_eq!(Bed::new().dropped(&request(1).address(code::SERVER_ID, SERVER)), DropReason::BadRequest);
}

#[test]
fn request_whose_ciaddr_and_requested_address_differ_fits_no_state() {
    let msg = request(1).address(code::REQUESTED_ADDRESS, lan(11)).unicast(lan(12));
    assert_eq!(Bed::new().dropped(&msg), DropReason::BadRequest);
}

// REQUEST, INIT-REBOOT (4.3.2)

#[test]
fn init_reboot_with_the_right_address_is_acknowledged() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    bed.pass(100);
    let ack = bed.reply(&request(1).address(code::REQUESTED_ADDRESS, bound));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, bound));
    assert_eq!(bed.records().last().unwrap().0.expires_s, bed.now_s + 3600, "the lease begins anew");
}

#[test]
fn init_reboot_with_a_wrong_address_of_a_known_client_is_refused() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let other = if bound == lan(15) { lan(16) } else { lan(15) };
    let nak = bed.reply(&request(1).address(code::REQUESTED_ADDRESS, other));
    assert_eq!(nak.message_type(), Nak);
    assert!(nak.option(code::MESSAGE).is_some_and(|text| !text.is_empty()), "a NAK says why");
}

#[test]
fn init_reboot_on_the_wrong_network_is_refused_even_to_an_unknown_client() {
    let nak = Bed::new().reply(&request(1).address(code::REQUESTED_ADDRESS, Ipv4Addr::new(172, 16, 0, 9)));
    assert_eq!(nak.message_type(), Nak);
    let nak = Bed::new().reply(&request(1).address(code::REQUESTED_ADDRESS, lan(10)).relayed());
    assert_eq!(nak.message_type(), Nak);
}

#[test]
fn init_reboot_of_an_unknown_client_gets_silence() {
    let msg = request(1).address(code::REQUESTED_ADDRESS, lan(15));
    assert_eq!(Bed::new().dropped(&msg), DropReason::UnknownClient);
}

#[test]
fn init_reboot_of_an_unknown_client_is_refused_by_an_authoritative_server() {
    let msg = request(1).address(code::REQUESTED_ADDRESS, lan(15));
    assert_eq!(authoritative().reply(&msg).message_type(), Nak);
}

#[test]
fn init_reboot_of_a_client_that_chose_another_server_gets_silence() {
    let mut bed = Bed::new();
    let offered = bed.reply(&discover(1)).yiaddr();
    let theirs = if offered == lan(15) { lan(16) } else { lan(15) };
    assert_eq!(bed.dropped(&selecting(1, OTHER_SERVER, theirs)), DropReason::OtherServerChosen);
    assert_eq!(bed.dropped(&request(1).address(code::REQUESTED_ADDRESS, theirs)), DropReason::UnknownClient);
    assert_eq!(bed.dropped(&request(1).with(|msg| msg.ciaddr = theirs)), DropReason::UnknownClient, "rebinding");
}

#[test]
fn init_reboot_after_the_lease_ended_is_refused_once_somebody_else_has_the_address() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(10));
    bed.bind(1);
    bed.pass(4000);
    assert_eq!(bed.bind(2), lan(10));
    let msg = request(1).address(code::REQUESTED_ADDRESS, lan(10));
    match bed.send(&msg) {
        Ok(answer) => assert_eq!(answer.message_type(), Nak),
        Err(reason) => assert_eq!(reason, DropReason::UnknownClient),
    }
    assert_eq!(bed.leases.get(lan(10), bed.now_s).unwrap().hw.bytes()[5], 2);
}

// REQUEST, RENEWING and REBINDING (4.3.2)

#[test]
fn renewing_extends_the_lease_and_answers_to_ciaddr() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    bed.pass(1800);
    let ack = bed.reply(&request(1).unicast(bound));
    assert_eq!((ack.message_type(), ack.yiaddr(), ack.message.ciaddr()), (Ack, bound, bound));
    assert_eq!((ack.destination, ack.port), (bound, 68));
    assert_eq!(ack.ethernet_destination, [2, 0, 0, 0, 0, 1]);
    assert_eq!(bed.records().last().unwrap().0.expires_s, bed.now_s + 3600);
}

#[test]
fn a_renewal_never_shortens_what_the_client_was_told() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let told_s = bed.leases.get(bound, bed.now_s).unwrap().expires_s;
    // A shorter term is asked for, and the ACK that grants it may never arrive.
    let shorter = request(1).with(|msg| msg.ciaddr = bound).option(code::LEASE_TIME, &60u32.to_be_bytes());
    assert_eq!(bed.reply(&shorter).message_type(), Ack);
    assert_eq!(bed.leases.get(bound, bed.now_s).unwrap().expires_s, told_s);
    assert_eq!(bed.records().last().unwrap().0.expires_s, told_s);
}

#[test]
fn rebinding_extends_the_lease_and_answers_to_ciaddr() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    bed.pass(3200);
    let ack = bed.reply(&request(1).with(|msg| msg.ciaddr = bound));
    assert_eq!((ack.message_type(), ack.destination), (Ack, bound));
    // 4.1: where `giaddr` is zero and `ciaddr` is not, the broadcast flag does not matter.
    let flagged = bed.reply(&request(1).with(|msg| (msg.ciaddr, msg.flags) = (bound, BROADCAST_FLAG)));
    assert_eq!((flagged.destination, flagged.ethernet_destination), (bound, [2, 0, 0, 0, 0, 1]));
}

#[test]
fn renewing_behind_a_router_finds_its_subnet_by_ciaddr() {
    let mut bed = Bed::new();
    let offered = bed.reply(&discover(1).relayed()).yiaddr();
    bed.reply(&selecting(1, SERVER, offered).relayed());
    let ack = bed.reply(&request(1).unicast(offered).with(|msg| msg.ethernet_source = RELAY_MAC));
    assert_eq!((ack.message_type(), ack.destination, ack.port), (Ack, offered, 68));
    assert_eq!(ack.ethernet_destination, RELAY_MAC, "through the router that it came from, with no ARP");
}

#[test]
fn a_broadcast_rebinding_is_judged_by_its_own_link() {
    let mut bed = authoritative();
    let offered = bed.reply(&discover(1).relayed()).yiaddr();
    bed.reply(&selecting(1, SERVER, offered).relayed());
    let nak = bed.reply(&request(1).with(|msg| msg.ciaddr = offered));
    assert_eq!(nak.message_type(), Nak, "it moved to another link");
}

#[test]
fn renewing_with_an_address_that_is_not_the_clients_is_refused() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let other = if bound == lan(15) { lan(16) } else { lan(15) };
    assert_eq!(bed.reply(&request(1).unicast(other)).message_type(), Nak);
}

#[test]
fn renewing_a_free_address_after_state_was_lost_is_acknowledged() {
    let mut bed = Bed::new();
    let ack = bed.reply(&request(1).unicast(lan(15)));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, lan(15)));
    assert_eq!(bed.records().len(), 1);
}

#[test]
fn renewing_an_address_of_somebody_else_is_refused_and_binds_nothing() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    assert_eq!(bed.reply(&request(2).unicast(bound)).message_type(), Nak);
    assert_eq!(bed.leases.get(bound, bed.now_s).unwrap().hw.bytes()[5], 1);
}

#[test]
fn rebinding_of_an_unknown_client_gets_silence() {
    let msg = request(1).with(|msg| msg.ciaddr = lan(15));
    assert_eq!(Bed::new().dropped(&msg), DropReason::UnknownClient);
    let msg = request(1).with(|msg| msg.ciaddr = far(11)).relayed();
    assert_eq!(Bed::new().dropped(&msg), DropReason::UnknownClient);
}

#[test]
fn a_request_with_ciaddr_that_names_this_server_is_for_no_other() {
    let msg = request(1).with(|msg| msg.ciaddr = lan(15)).address(code::SERVER_ID, SERVER);
    let ack = Bed::new().reply(&msg);
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, lan(15)), "as a renewal by unicast");
}

#[test]
fn rebinding_of_an_unknown_client_to_an_authoritative_server_is_bound_again_or_refused() {
    let mut bed = authoritative();
    let ack = bed.reply(&request(1).with(|msg| msg.ciaddr = lan(15)));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, lan(15)));
    assert_eq!(bed.reply(&request(2).with(|msg| msg.ciaddr = lan(15))).message_type(), Nak, "taken");
    assert_eq!(bed.reply(&request(3).with(|msg| msg.ciaddr = lan(99))).message_type(), Nak, "in no pool");
}

#[test]
fn a_unicast_to_another_server_is_not_taken_for_a_renewal_with_us() {
    let msg = request(1).unicast(lan(15)).with(|msg| msg.destination = OTHER_SERVER);
    assert_eq!(Bed::new().dropped(&msg), DropReason::UnknownClient);
}

#[test]
fn a_renewal_that_fills_in_too_much_is_still_a_renewal() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let with_id = request(1).unicast(bound).address(code::SERVER_ID, SERVER);
    assert_eq!(bed.reply(&with_id).message_type(), Ack);
    let with_both = request(1).unicast(bound).address(code::REQUESTED_ADDRESS, bound);
    assert_eq!(bed.reply(&with_both).message_type(), Ack);
}

// NAK (4.3.2, table 3)

#[test]
fn nak_has_no_address_no_lease_time_and_is_broadcast() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let nak = bed.reply(&request(2).unicast(bound));
    assert_eq!((nak.yiaddr(), nak.message.ciaddr()), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
    assert_eq!(nak.codes(), [code::MESSAGE_TYPE, code::SERVER_ID, code::MESSAGE]);
    assert_eq!((nak.ethernet_destination, nak.destination, nak.port), ([0xff; 6], Ipv4Addr::BROADCAST, 68));
}

#[test]
fn nak_through_a_relay_agent_has_the_broadcast_bit() {
    let nak = Bed::new().reply(&selecting(1, SERVER, lan(10)).relayed());
    assert_eq!(nak.message_type(), Nak);
    assert!(nak.message.flags().broadcast());
    assert_eq!((nak.ethernet_destination, nak.destination, nak.port), (RELAY_MAC, RELAY, 67));
}

// Identity (4.2)

#[test]
fn a_client_identifier_counts_more_than_the_hardware_address() {
    let mut bed = Bed::new();
    let id = |n| discover(n).option(code::CLIENT_ID, b"\x00same");
    let first = bed.reply(&id(1)).yiaddr();
    assert_eq!(bed.reply(&id(2)).yiaddr(), first, "one client on two cards");
    let other = bed.reply(&discover(1).option(code::CLIENT_ID, b"\x00other")).yiaddr();
    assert_ne!(other, first, "two clients on one card");
    assert_ne!(bed.reply(&discover(1)).yiaddr(), first, "an identifier is not a hardware address");
}

#[test]
fn a_client_with_no_hardware_address_needs_an_identifier() {
    let mut bed = Bed::new();
    assert_eq!(bed.dropped(&discover(1).with(|msg| msg.hlen = 0)), DropReason::NoClientIdentity);
    let offer = bed.reply(&discover(1).with(|msg| msg.hlen = 0).option(code::CLIENT_ID, b"\xffduid"));
    assert_eq!((offer.destination, offer.ethernet_destination), (Ipv4Addr::BROADCAST, [0xff; 6]));
}

// Subnets

#[test]
fn a_relayed_client_belongs_to_the_relay_agents_subnet() {
    let offer = Bed::new().reply(&discover(1).relayed());
    assert!((far(10)..=far(13)).contains(&offer.yiaddr()));
    assert_eq!(offer.message.giaddr(), RELAY);
    assert_eq!((offer.destination, offer.port, offer.ethernet_destination), (RELAY, 67, RELAY_MAC));
}

#[test]
fn a_relay_agent_of_no_subnet_gets_silence() {
    let msg = discover(1).relayed().with(|msg| msg.giaddr = Ipv4Addr::new(172, 16, 0, 1));
    assert_eq!(Bed::new().dropped(&msg), DropReason::NoSubnet);
}

#[test]
fn an_interface_of_no_subnet_gets_silence() {
    let mut bed = Bed::with(|config| config.subnets[0].interface = Some("other0".into()));
    assert_eq!(bed.dropped(&discover(1)), DropReason::NoSubnet);
}

#[test]
fn of_the_subnets_of_a_network_the_claimed_address_chooses() {
    let mut bed = Bed::with(|config| {
        config.subnets[1].interface = Some("lan0".into());
        config.subnets.iter_mut().for_each(|subnet| subnet.network = Some("lan".into()));
    });
    assert!((lan(10)..=lan(19)).contains(&bed.reply(&discover(1)).yiaddr()));
    assert_eq!(bed.reply(&discover(2).address(code::REQUESTED_ADDRESS, far(12))).yiaddr(), far(12));
}
