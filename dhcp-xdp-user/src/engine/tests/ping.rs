//! Which addresses are probed before they are offered.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{AnyMachine, PingCheck, parse},
    engine::testing::FakeLane,
    lease::HwAddress,
    ping::{Begun, ClientTag, Recent, desk},
    wake::Wake,
};

/// A bed whose subnet on the link has its addresses probed.
fn bed(settings: &str) -> Bed {
    let text = format!(
        "decline_quarantine_s = 50\n[ping_check]\nenabled = true\n[[interface]]\nname = \"lan0\"\n[[subnet]]\n\
         prefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\npools = [\"192.0.2.10-192.0.2.30\"]\nlease_time_s = 3600\n{settings}\n"
    );
    Bed::with(|config| *config = parse("test", &text, &AnyMachine).unwrap().config)
}

#[test]
fn the_server_should_probe_the_offered_address() {
    let offer = bed("").reply(&discover(1));
    assert!(offer.probed && !offer.parked);
    assert!(!bed("ping_check = false").reply(&discover(1)).probed, "where its subnet wants it");
    assert!(!Bed::new().reply(&discover(1)).probed, "where it is switched on");
}

#[test]
fn the_address_of_a_lease_is_offered_to_its_client_unprobed() {
    let mut bed = bed("");
    let address = bed.bind(1);
    let again = bed.reply(&discover(1));
    assert_eq!((again.yiaddr(), again.probed), (address, false), "who answers there is the client itself");
    bed.pass(3601);
    let later = bed.reply(&discover(1));
    assert_eq!((later.yiaddr(), later.probed), (address, true), "once the lease is over, anybody");
}

#[test]
fn a_reserved_address_is_offered_to_its_client_unprobed() {
    let reservation = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.77\"";
    let mut bed = bed(reservation);
    let offer = bed.reply(&discover(1));
    assert_eq!((offer.yiaddr(), offer.probed), (lan(77), false));
    assert!(bed.reply(&discover(2)).probed);
}

#[test]
fn a_client_that_asks_for_rapid_commit_is_offered_an_address_that_is_to_be_probed() {
    let mut bed = bed("rapid_commit = true");
    let rapid = discover(1).option(code::RAPID_COMMIT, &[]);
    let offer = bed.reply(&rapid);
    assert_eq!((offer.message_type(), offer.probed), (Offer, true));
    assert!(bed.records().is_empty(), "nothing is bound");
    let address = bed.bind(1);
    let ack = bed.reply(&rapid);
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, address), "with a lease it has its ACK at once");
}

#[test]
fn an_offered_address_that_answers_is_quarantined_and_its_client_is_offered_another() {
    let mut bed = bed("");
    let used = bed.reply(&discover(1)).yiaddr();
    assert_eq!(bed.processor.found_in_use(bed.now_s, used), DropReason::AddressInUse);
    let (lease, hw, _) = &bed.records()[0];
    assert_eq!((lease.address, lease.state, lease.expires_s), (used, BindingState::Declined, bed.now_s + 50));
    assert_eq!(hw.chaddr[5], 1, "with the client that it was to be offered to, as after a DECLINE");
    assert_ne!(bed.reply(&discover(1)).yiaddr(), used);
    let asks = bed.reply(&discover(2).address(code::REQUESTED_ADDRESS, used));
    assert_ne!(asks.yiaddr(), used, "nor is anybody else");
    bed.pass(50);
    let asks = bed.reply(&discover(3).address(code::REQUESTED_ADDRESS, used));
    assert_eq!((asks.yiaddr(), asks.probed), (used, true), "until the quarantine ends");
}

#[test]
fn an_address_that_its_client_has_taken_meanwhile_is_not_quarantined() {
    let mut bed = bed("");
    let address = bed.bind(1);
    let records = bed.records().len();
    assert_eq!(bed.processor.found_in_use(bed.now_s, address), DropReason::AddressInUse);
    assert_eq!(bed.records().len(), records);
    assert_eq!(bed.leases.get(address, bed.now_s).unwrap().state, BindingState::Bound);
}

#[test]
fn nothing_is_quarantined_that_the_journal_does_not_take() {
    let mut bed = Bed::with_lane(|_| {}, FakeLane { full: true, ..FakeLane::default() });
    let address = bed.reply(&discover(1)).yiaddr();
    assert_eq!(bed.processor.found_in_use(bed.now_s, address), DropReason::JournalFull);
    assert_eq!(bed.leases.counts().declined, 0);
}

#[test]
fn an_address_is_not_asked_again_for_the_client_that_just_gave_it_back() {
    let mut bed = bed("");
    let check = PingCheck { timeout: Duration::from_millis(500), requests: 1, max_per_s: 9, remember_s: 60 };
    let recent = Arc::new(Recent::new(&check));
    let wake = || Arc::new(Wake::new().unwrap());
    let (mut desk, _link) = desk(&check, 1, 9, Arc::clone(&recent), wake(), wake());
    bed.processor.remember_in(recent);
    let address = bed.bind(1);
    assert_eq!(bed.dropped(&message(MessageType::Release, 1).unicast(address)), DropReason::Released);
    let again = bed.reply(&discover(1));
    assert_eq!((again.yiaddr(), again.probed), (address, true), "the desk knows more");
    let tag = |n: u8| {
        let hw = discover(n);
        let hw = HwAddress { htype: hw.htype, hlen: hw.hlen, chaddr: hw.chaddr };
        ClientTag::from(&bed.leases.key(0, &hw, b""))
    };
    assert_eq!(desk.begin(address, tag(1), (), 300, bed.now_s), Begun::Known(()));
    assert_eq!(desk.begin(address, tag(2), (), 300, bed.now_s), Begun::Waits);
}
