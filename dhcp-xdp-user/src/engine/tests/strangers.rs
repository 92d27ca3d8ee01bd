//! Clients of which nothing is known and that renew: from where they are bound to a free address.

use super::*;
use crate::{config::UnknownRenewals, engine::testing::Msg, lease::LimitKey};

/// A subnet behind relay agents with as many addresses as [`testing::config`](super::super::testing::config) has.
const FAR: &str =
    "[[subnet]]\nprefix = \"10.0.0.0/24\"\nserver_id = \"192.0.2.1\"\npools = [\"10.0.0.10-10.0.0.13\"]\n";
const ALL: &str = "unknown_renewals = \"all\"\n";
const BY_CIRCUIT: &str = "[[class]]\nname = \"line\"\nspawn = \"relay.circuit-id\"\nlease_limit = 1\n";
const BY_DEVICE: &str = "[[class]]\nname = \"kind\"\nspawn = \"option[60]\"\nlease_limit = 1\n";
const LINE_A: &[u8] = b"\x01\x01a";
/// RFC 5010: it came to the relay agent by unicast.
const LINE_A_BY_UNICAST: &[u8] = b"\x01\x01a\x0a\x01\x80";

fn granting(which: UnknownRenewals) -> Bed {
    Bed::with(|config| config.subnets.iter_mut().for_each(|subnet| subnet.unknown_renewals = which))
}

/// What anybody can send who can send to the server at all: routers bring it.
fn routed(msg: Msg) -> Msg {
    msg.with(|msg| msg.ethernet_source = RELAY_MAC)
}

fn renewal(n: u8, address: Ipv4Addr) -> Msg {
    routed(request(n).unicast(address))
}

fn renewing_through(line: &[u8], n: u8, address: Ipv4Addr) -> Msg {
    request(n).option(82, line).relayed().with(|msg| msg.ciaddr = address)
}

#[test]
fn nobody_fills_a_pool_by_renewing_its_addresses_from_anywhere() {
    for authority in [false, true] {
        let mut bed = Bed::with(|config| config.subnets.iter_mut().for_each(|subnet| subnet.authoritative = authority));
        let pools = (10..=13).map(far).chain((10..=19).map(lan));
        for (n, address) in (100..).zip(pools) {
            // And no NAK, which would be broadcast where such a client is not.
            assert_eq!(bed.dropped(&renewal(n, address)), DropReason::UnknownClient, "{address}");
        }
        assert_eq!(bed.records().len(), 0);
        for n in 1..=10 {
            bed.bind(n);
        }
        for n in 1..=4 {
            assert_eq!(bed.reply(&discover(n).relayed()).message_type(), Offer);
        }
    }
}

#[test]
fn nor_by_a_unicast_that_says_that_it_is_on_the_servers_link() {
    let mut bed = Bed::new();
    let here = |msg: Msg| routed(msg).with(|msg| (msg.source, msg.destination) = (OTHER_SERVER, SERVER));
    assert_eq!(bed.dropped(&here(discover(100))), DropReason::NoSubnet);
    assert_eq!(bed.dropped(&here(selecting(100, SERVER, lan(10)))), DropReason::NoSubnet);
    assert_eq!(bed.dropped(&here(request(100).address(code::REQUESTED_ADDRESS, lan(10)))), DropReason::NoSubnet);
    let offered = bed.reply(&discover(100)).yiaddr();
    let taking = selecting(100, SERVER, offered).with(|msg| msg.destination = SERVER);
    assert_eq!(bed.reply(&taking).message_type(), Ack, "sent by its own hardware address it is");
}

#[test]
fn nor_by_a_hardware_address_that_is_the_routers_own() {
    for authority in [false, true] {
        let mut bed = Bed::with(|config| config.subnets.iter_mut().for_each(|subnet| subnet.authoritative = authority));
        let forged = |msg: Msg| {
            let msg = routed(msg).with(|msg| (msg.source, msg.destination) = (far(99), SERVER));
            msg.with(|msg| msg.chaddr[..6].copy_from_slice(&RELAY_MAC)).option(code::CLIENT_ID, b"\x00any")
        };
        assert_eq!(bed.dropped(&forged(discover(100))), DropReason::NoSubnet);
        assert_eq!(bed.dropped(&forged(selecting(100, SERVER, lan(10)))), DropReason::NoSubnet);
        assert_eq!(bed.dropped(&forged(request(100).unicast(lan(10)))), DropReason::UnknownClient);
        assert_eq!(bed.records().len(), 0);
    }
}

#[test]
fn a_client_of_which_something_is_known_renews_from_anywhere() {
    for which in [UnknownRenewals::None, UnknownRenewals::Attached, UnknownRenewals::All] {
        let mut bed = granting(which);
        let offered = bed.reply(&discover(1).relayed()).yiaddr();
        bed.reply(&selecting(1, SERVER, offered).relayed());
        bed.pass(1800);
        assert_eq!(bed.reply(&renewal(1, offered)).message_type(), Ack, "{which:?}");
    }
}

#[test]
fn an_offer_is_taken_where_it_was_made_and_not_from_anywhere() {
    // Any number of clients of one line can have an offer, and only one of them the lease.
    let mut bed = bed_of(&format!("{FAR}{ALL}{BY_CIRCUIT}"));
    let offers = [1, 2].map(|n| bed.reply(&discover(n).option(82, LINE_A).relayed()).yiaddr());
    for (n, offered) in [1, 2].into_iter().zip(offers) {
        assert_eq!(bed.dropped(&renewal(n, offered)), DropReason::UnknownClient);
    }
    let take = |n, offered| selecting(n, SERVER, offered).option(82, LINE_A).relayed();
    let answers: Vec<_> = [(1, offers[0]), (2, offers[1])].map(|(n, at)| bed.reply(&take(n, at)).message_type()).into();
    assert_eq!(answers, [Ack, Nak]);
}

#[test]
fn where_all_are_granted_the_server_will_trust_the_value_in_ciaddr() {
    // 4.3.2, RENEWING: as in the weeks after another server was replaced.
    let mut bed = granting(UnknownRenewals::All);
    let ack = bed.reply(&renewal(1, far(12)));
    assert_eq!((ack.message_type(), ack.yiaddr(), ack.destination), (Ack, far(12), far(12)));
    assert_eq!(bed.reply(&renewal(2, far(12))).message_type(), Nak, "an address is never bound twice");
    assert_eq!(bed.dropped(&renewal(3, far(99))), DropReason::UnknownClient, "in no pool");
}

#[test]
fn where_none_are_granted_a_stranger_gets_silence_or_is_refused_wherever_it_is() {
    let mut bed = granting(UnknownRenewals::None);
    assert_eq!(bed.dropped(&request(1).unicast(lan(15))), DropReason::UnknownClient);
    assert_eq!(bed.dropped(&renewing_through(LINE_A_BY_UNICAST, 1, far(12))), DropReason::UnknownClient);
    let mut bed = bed_of(&format!("{FAR}authoritative = true\nunknown_renewals = \"none\"\n"));
    assert_eq!(bed.reply(&renewing_through(LINE_A, 1, far(12))).message_type(), Nak);
    assert_eq!(bed.records().len(), 0);
}

#[test]
fn a_stranger_that_rebinds_through_its_relay_agent_keeps_its_address_where_nobody_else_may_know_it() {
    let mut bed = bed_of(&format!("{FAR}authoritative = true\n{BY_CIRCUIT}"));
    assert_eq!(bed.dropped(&renewal(1, far(12))), DropReason::UnknownClient, "at T1");
    let ack = bed.reply(&renewing_through(LINE_A, 1, far(12)));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, far(12)), "at T2");
    assert_eq!(bed.limits().last().unwrap()[..], [LimitKey::new("line", b"a")]);
    assert_eq!(bed.reply(&renewal(1, far(12))).message_type(), Ack, "and from then on past it");
}

#[test]
fn a_lease_limit_holds_for_strangers_too() {
    // What is counted by is in the message.
    let mut bed = bed_of(&format!("{FAR}{ALL}{BY_DEVICE}"));
    let of_kind = |n, address, kind: &[u8]| renewal(n, address).option(60, kind);
    assert_eq!(bed.reply(&of_kind(1, far(10), b"x")).message_type(), Ack);
    assert_eq!(bed.reply(&of_kind(2, far(11), b"x")).message_type(), Nak, "the value is full");
    assert_eq!(bed.reply(&of_kind(3, far(12), b"y")).message_type(), Ack);
    // Through the relay agent that took the server's place (RFC 5107) it is, too.
    let mut bed = bed_of(&format!("{FAR}{ALL}{BY_CIRCUIT}"));
    assert_eq!(bed.reply(&renewing_through(LINE_A_BY_UNICAST, 1, far(10))).message_type(), Ack);
    assert_eq!(bed.reply(&renewing_through(LINE_A_BY_UNICAST, 2, far(11))).message_type(), Nak);
    // Past it, it is not: whoever came so would count against nothing.
    assert_eq!(bed.dropped(&renewal(3, far(12))), DropReason::UnknownClient);
    assert_eq!(bed.dropped(&renewal(3, far(12)).option(82, b"\x01\x01z")), DropReason::UnknownClient);
}

#[test]
fn a_lease_limit_that_a_reservation_by_circuit_leads_to_holds_for_strangers_too() {
    let limited = "[[class]]\nname = \"one\"\nlease_limit = 1\n";
    let reserved = |by: &str| format!("{FAR}{ALL}{limited}[[reservation]]\n{by}\nclasses = [\"one\"]\n");
    let mut bed = bed_of(&reserved("circuit_id = \"a\""));
    assert_eq!(
        bed.dropped(&renewal(1, far(10))),
        DropReason::UnknownClient,
        "whoever came so would be in no such class"
    );
    let mut bed = bed_of(&reserved("hw_address = \"02:00:00:00:00:77\""));
    assert_eq!(bed.reply(&renewal(1, far(10))).message_type(), Ack);
}
