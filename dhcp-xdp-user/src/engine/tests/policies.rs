//! Who gets which address, and for how long nobody does: one test a policy, through whole frames.

use std::{collections::HashSet, net::Ipv4Addr};

use dhcproto::v4::MessageType::{Ack, Nak};

use crate::{
    config::{AnyMachine, Config, parse},
    engine::testing::{Bed, SERVER, discover, lan, message, request, selecting},
    wire::{dhcp::MessageType, options::code},
    worker::counters::DropReason,
};

/// A configuration as a file gives it, with the bed's server.
fn file(settings: &str) -> Config {
    let text = format!(
        "offer_hold_s = 7\ndecline_quarantine_s = 50\n[[interface]]\nname = \"lan0\"\n\
         [[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\nlease_time_s = 3600\n{settings}\n"
    );
    parse("test", &text, &AnyMachine).unwrap().config
}

fn bed(settings: &str) -> Bed {
    Bed::with(|config| *config = file(settings))
}

#[test]
fn an_excluded_address_is_never_leased_whoever_asks_for_it_and_however() {
    let mut bed = bed("pools = [\"192.0.2.10-192.0.2.30\"]\nexclude = [\"192.0.2.13-192.0.2.15\", \"192.0.2.30\"]");
    let excluded = [13, 14, 15, 30].map(lan);
    for (n, address) in (101..).zip(excluded) {
        let wanted = bed.reply(&discover(n).address(code::REQUESTED_ADDRESS, address)).yiaddr();
        assert!(!excluded.contains(&wanted));
        assert_eq!(bed.reply(&selecting(n, SERVER, address)).message_type(), Nak, "not offered, not bound");
        assert_eq!(bed.send(&request(n + 20).unicast(address)).map(|ack| ack.yiaddr()), Err(DropReason::UnknownClient));
        bed.pass(10);
    }
    let got: HashSet<Ipv4Addr> = (1..=17).map(|n| bed.bind(n)).collect();
    assert_eq!(got, (10..30).filter(|host| !(13..=15).contains(host)).map(lan).collect());
    assert_eq!(bed.dropped(&discover(18)), DropReason::NoFreeAddress);
}

#[test]
fn a_client_is_given_its_previous_address_first_also_long_after_its_lease_has_ended() {
    let mut bed = bed("pools = [\"192.0.2.10-192.0.2.30\"]");
    let had = bed.bind(1);
    bed.bind(2);
    bed.pass(3600 + 86_400);
    bed.leases.expire(bed.now_s, 1000);
    let others: Vec<Ipv4Addr> = (3..10).map(|n| bed.bind(n)).collect();
    assert!(!others.contains(&had), "others are given never-used ones");
    let wants_another = discover(1).address(code::REQUESTED_ADDRESS, lan(29));
    assert_eq!(bed.reply(&wants_another).yiaddr(), had);
    assert_eq!(bed.bind(1), had);
}

#[test]
fn a_previous_address_goes_to_another_client_only_when_there_is_no_other() {
    let mut bed = bed("pools = [\"192.0.2.10-192.0.2.12\"]");
    let had = bed.bind(1);
    bed.pass(4000);
    bed.leases.expire(bed.now_s, 1000);
    assert!(bed.bind(2) != had && bed.bind(3) != had);
    assert_eq!(bed.bind(4), had);
    assert_eq!(bed.dropped(&discover(1)), DropReason::NoFreeAddress);
    // One of those that have been free the longest.
    let gone = message(MessageType::Release, 3).unicast(lan(12));
    assert_eq!(bed.dropped(&gone), DropReason::Released);
    assert_eq!(bed.bind(1), lan(12));
}

#[test]
fn an_offer_is_held_for_its_configured_time_and_a_decline_for_its_own() {
    let mut bed = bed("pools = [\"192.0.2.10\"]");
    bed.reply(&discover(1));
    bed.pass(6);
    assert_eq!(bed.dropped(&discover(2)), DropReason::NoFreeAddress);
    bed.pass(1);
    let address = bed.bind(2);
    let declined = message(MessageType::Decline, 2).address(code::REQUESTED_ADDRESS, address);
    assert_eq!(bed.dropped(&declined), DropReason::Declined);
    bed.pass(49);
    for n in [1, 2, 3] {
        assert_eq!(bed.dropped(&discover(n)), DropReason::NoFreeAddress);
        assert_eq!(bed.reply(&selecting(n, SERVER, address)).message_type(), Nak);
    }
    bed.pass(1);
    let offered = bed.reply(&discover(3)).yiaddr();
    assert_eq!((offered, bed.reply(&selecting(3, SERVER, offered)).message_type()), (address, Ack));
}

#[test]
fn n_addresses_serve_n_clients_and_the_next_one_is_counted() {
    let mut bed = bed("pools = [\"192.0.2.10-192.0.2.209\"]");
    let got: HashSet<Ipv4Addr> = (1..=200).map(|n| bed.bind(n)).collect();
    assert_eq!(got.len(), 200);
    for n in 201..=205 {
        assert_eq!(bed.dropped(&discover(n)), DropReason::NoFreeAddress);
    }
    assert_eq!(bed.snapshot().drops[DropReason::NoFreeAddress as usize], 5);
    assert_eq!(bed.leases.counts().bound, 200);
}
