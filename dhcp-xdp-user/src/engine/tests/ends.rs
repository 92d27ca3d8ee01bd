//! DECLINE, RELEASE and INFORM (RFC 2131 4.3.3 to 4.3.5): what is not about getting a lease.

use super::*;

#[test]
fn decline_quarantines_the_address_and_gets_no_reply() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(11));
    let bound = bed.bind(1);
    let decline =
        message(MessageType::Decline, 1).address(code::REQUESTED_ADDRESS, bound).address(code::SERVER_ID, SERVER);
    assert_eq!(bed.dropped(&decline), DropReason::Declined);
    let (lease, ..) = bed.records().last().unwrap();
    assert_eq!((lease.address, lease.state), (bound, BindingState::Declined));
    assert_eq!(lease.expires_s, bed.now_s + 600);
    assert_ne!(bed.bind(1), bound, "not to the client that declined it");
    assert_eq!(bed.dropped(&discover(3)), DropReason::NoFreeAddress, "nor to another");
    bed.pass(601);
    assert_eq!(bed.bind(3), bound, "after the quarantine it serves again");
}

#[test]
fn an_address_that_was_only_offered_may_be_declined_too() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(10));
    let offered = bed.reply(&discover(1)).yiaddr();
    let decline = message(MessageType::Decline, 1).address(code::REQUESTED_ADDRESS, offered);
    assert_eq!(bed.dropped(&decline.address(code::SERVER_ID, SERVER)), DropReason::Declined);
    assert_eq!(bed.records().last().unwrap().0.state, BindingState::Declined);
    assert_eq!(bed.dropped(&discover(1)), DropReason::NoFreeAddress);
}

#[test]
fn decline_of_somebody_elses_address_changes_nothing() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let decline = message(MessageType::Decline, 2).address(code::REQUESTED_ADDRESS, bound);
    assert_eq!(bed.dropped(&decline.clone().address(code::SERVER_ID, SERVER)), DropReason::NotOwner);
    assert_eq!(bed.leases.get(bound, bed.now_s).unwrap().state, BindingState::Bound);
    assert_eq!(bed.records().len(), 1);
}

#[test]
fn decline_to_another_server_and_decline_of_nothing_change_nothing() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    let decline = message(MessageType::Decline, 1);
    assert_eq!(bed.dropped(&decline.clone().address(code::SERVER_ID, SERVER)), DropReason::BadRequest);
    let to_other = decline.address(code::REQUESTED_ADDRESS, bound).address(code::SERVER_ID, OTHER_SERVER);
    assert_eq!(bed.dropped(&to_other), DropReason::OtherServerChosen);
    assert_eq!(bed.leases.get(bound, bed.now_s).unwrap().state, BindingState::Bound);
}

#[test]
fn release_frees_the_address_and_gets_no_reply() {
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(10));
    let bound = bed.bind(1);
    let release = message(MessageType::Release, 1).unicast(bound).address(code::SERVER_ID, SERVER);
    assert_eq!(bed.dropped(&release), DropReason::Released);
    assert_eq!(bed.records().last().unwrap().0.state, BindingState::Released);
    assert_eq!(bed.bind(2), bound);
}

#[test]
fn release_by_somebody_else_changes_nothing() {
    let mut bed = Bed::new();
    let bound = bed.bind(1);
    assert_eq!(bed.dropped(&message(MessageType::Release, 2).unicast(bound)), DropReason::NotOwner);
    assert_eq!(bed.leases.get(bound, bed.now_s).unwrap().state, BindingState::Bound);
    assert_eq!(bed.dropped(&message(MessageType::Release, 1)), DropReason::BadRequest, "no address in it");
}

#[test]
fn release_behind_a_router_finds_its_subnet_by_ciaddr() {
    let mut bed = Bed::new();
    let offered = bed.reply(&discover(1).relayed()).yiaddr();
    bed.reply(&selecting(1, SERVER, offered).relayed());
    assert_eq!(bed.dropped(&message(MessageType::Release, 1).unicast(offered)), DropReason::Released);
}

#[test]
fn inform_gets_parameters_but_no_address_and_no_lease_time() {
    let mut bed = Bed::new();
    let inform = message(MessageType::Inform, 1).unicast(lan(99));
    let ack = bed.reply(&inform.option(code::PARAMETER_REQUEST_LIST, &[1, 3, 6, 51, 58, 59]));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, Ipv4Addr::UNSPECIFIED));
    assert_eq!(ack.codes(), [53, 54, 1, 3, 6]);
    assert_eq!((ack.destination, ack.port), (lan(99), 68));
    assert!(!ack.parked);
    // Nor does an address of the pool make it a lease.
    assert_eq!(bed.reply(&message(MessageType::Inform, 1).unicast(lan(15))).message_type(), Ack);
    assert!(bed.records().is_empty());
    assert_eq!((bed.leases.counts().bound, bed.leases.counts().offered), (0, 0));
}

#[test]
fn inform_by_broadcast_is_answered_by_unicast() {
    let ack = Bed::new().reply(&message(MessageType::Inform, 1).with(|msg| {
        msg.ciaddr = lan(99);
        msg.flags = BROADCAST_FLAG;
    }));
    assert_eq!((ack.destination, ack.ethernet_destination), (lan(99), [2, 0, 0, 0, 0, 1]));
    assert_eq!(Bed::new().dropped(&message(MessageType::Inform, 1)), DropReason::BadRequest, "no address in it");
}

#[test]
fn inform_through_a_relay_agent_is_answered_directly_to_the_address_given_in_ciaddr() {
    let inform = message(MessageType::Inform, 1).relayed().with(|msg| msg.ciaddr = far(99));
    let ack = Bed::new().reply(&inform.option(code::PARAMETER_REQUEST_LIST, &[1, 3]));
    assert_eq!((ack.message_type(), ack.codes()), (Ack, vec![53, 54, 1, 3]));
    assert_eq!((ack.destination, ack.port, ack.ethernet_destination), (far(99), 68, RELAY_MAC));
}
