//! Subnets and pools that are for some clients only.

use super::*;
use crate::engine::testing::Msg;

/// A link whose pool .20-.21 is for modems, .30 for known clients; .10-.11 is for all. Clients with option 60 `modem` are modems.
const GUARDED: &str = "[[class]]\nname = \"modem\"\nmatch = \"option[60] == 'modem'\"\n\
    [[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\npools = [\"192.0.2.10-192.0.2.11\"]\n\
    [[subnet.pool]]\nrange = \"192.0.2.20-192.0.2.21\"\nallow_classes = [\"modem\"]\n\
    [[subnet.pool]]\nrange = \"192.0.2.30\"\nknown_clients_only = true\n";
/// Client 1 is known, and a modem whatever it says.
const KNOWN: &str = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\nhostname = \"h\"\nclasses = [\"modem\"]\n";

fn modem(msg: Msg) -> Msg {
    msg.option(60, b"modem")
}

fn bind(bed: &mut Bed, n: u8, as_is: fn(Msg) -> Msg) -> Option<Ipv4Addr> {
    let offered = bed.send(&as_is(discover(n))).ok()?.yiaddr();
    let ack = bed.reply(&as_is(selecting(n, SERVER, offered)));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, offered));
    Some(offered)
}

#[test]
fn a_pool_with_classes_is_for_their_clients_who_get_its_addresses_first() {
    let mut bed = bed_of(GUARDED);
    let plain = |msg| msg;
    assert_eq!(bind(&mut bed, 2, plain), Some(lan(10)));
    let modems: std::collections::BTreeSet<_> = [3, 4].map(|n| bind(&mut bed, n, modem)).into();
    assert_eq!(modems, [lan(20), lan(21)].map(Some).into());
    assert_eq!(bind(&mut bed, 5, modem), Some(lan(11)), "then those that are for all");
    assert_eq!(bed.dropped(&discover(6)), DropReason::NoFreeAddress);
    assert_eq!(bed.dropped(&modem(discover(6))), DropReason::NoFreeAddress);
}

#[test]
fn an_address_of_a_pool_that_is_for_others_cannot_be_asked_for() {
    let mut bed = bed_of(GUARDED);
    let offer = bed.reply(&discover(2).address(code::REQUESTED_ADDRESS, lan(20)));
    assert_eq!(offer.yiaddr(), lan(10));
    assert_eq!(bed.reply(&selecting(2, SERVER, lan(20))).message_type(), Nak);
    assert_eq!(bed.reply(&message(MessageType::Request, 2).unicast(lan(20))).message_type(), Nak);
    assert_eq!(bed.reply(&modem(discover(3)).address(code::REQUESTED_ADDRESS, lan(21))).yiaddr(), lan(21));
}

#[test]
fn known_clients_are_those_with_a_reservation_which_may_give_them_classes() {
    let mut bed = bed_of(&format!("{GUARDED}{KNOWN}"));
    assert!([lan(20), lan(21)].contains(&bed.bind(1)), "the class that its reservation gives it");
    let mut bed = bed_of(&format!("{GUARDED}{}", KNOWN.replace("classes", "# classes")));
    assert_eq!(bed.bind(1), lan(30));
    let mut bed = bed_of(
        "[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\npools = [\"192.0.2.10-192.0.2.11\"]\nknown_clients_only = true\n\
         [[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.77\"\n",
    );
    assert_eq!(bed.dropped(&discover(2)), DropReason::ClassDenied);
    assert_eq!(bed.bind(1), lan(77));
}

#[test]
fn a_client_that_left_its_class_moves_out_of_its_pool() {
    let mut bed = bed_of(GUARDED);
    let address = bind(&mut bed, 2, modem).unwrap();
    assert_eq!(bed.reply(&modem(message(MessageType::Request, 2)).unicast(address)).message_type(), Ack);
    assert_eq!(bed.reply(&message(MessageType::Request, 2).unicast(address)).message_type(), Nak);
    let offered = bed.reply(&discover(2)).yiaddr();
    assert_eq!(offered, bed.reply(&discover(2)).yiaddr());
    assert_eq!(bed.leases.get(address, bed.now_s).unwrap().state, BindingState::Bound);
    assert_eq!(bed.bind(2), offered);
    assert!([lan(10), lan(11)].contains(&offered));
    assert_eq!(bed.leases.get(address, bed.now_s).unwrap().state, BindingState::Released);
}

#[test]
fn of_a_network_the_subnets_that_are_for_a_client_serve_it() {
    let mut bed = bed_of(
        "[defaults]\nserver_id = \"192.0.2.1\"\n[[class]]\nname = \"modem\"\nmatch = \"option[60] == 'modem'\"\n\
         [[network]]\nname = \"lan\"\ninterface = \"lan0\"\n\
         [[subnet]]\nprefix = \"192.0.2.0/24\"\nnetwork = \"lan\"\npools = [\"192.0.2.10-192.0.2.19\"]\nallow_classes = [\"modem\"]\n\
         [[subnet]]\nprefix = \"10.0.0.0/24\"\nnetwork = \"lan\"\npools = [\"10.0.0.10-10.0.0.13\"]\ndeny_classes = [\"modem\"]\n",
    );
    assert_eq!(bind(&mut bed, 2, modem), Some(lan(10)));
    assert_eq!(bind(&mut bed, 3, |msg| msg), Some(far(10)));
    // Once it is no modem any more, its address is in a subnet that is not for it.
    assert_eq!(bed.reply(&message(MessageType::Request, 2).unicast(lan(10))).message_type(), Nak);
    assert!(bind(&mut bed, 2, |msg| msg) > Some(far(10)));
    assert_eq!(bed.leases.counts().bound, 2);
}

#[test]
fn a_renewal_that_says_no_circuit_is_known_by_the_address_that_is_reserved_for_it() {
    let mut bed = bed_of(
        "[[subnet]]\nprefix = \"10.0.0.0/24\"\nserver_id = \"192.0.2.1\"\nknown_clients_only = true\n\
         [[reservation]]\ncircuit_id = \"c\"\naddress = \"10.0.0.77\"\n",
    );
    let on_circuit: fn(Msg) -> Msg = |msg| msg.option(82, b"\x01\x01c").relayed();
    assert_eq!(bind(&mut bed, 1, on_circuit), Some(far(77)));
    assert_eq!(bed.reply(&message(MessageType::Request, 1).unicast(far(77))).message_type(), Ack);
    assert_eq!(bed.dropped(&message(MessageType::Request, 2).unicast(far(77))), DropReason::ClassDenied);
}
