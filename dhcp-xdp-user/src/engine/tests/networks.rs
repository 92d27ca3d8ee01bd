//! Shared networks: several subnets on one link.

use super::*;
use crate::engine::testing::Msg;

/// Two subnets on the link, 192.0.2.0/24 with one address and 10.0.0.0/24 with four, and one elsewhere.
const SHARED: &str = "[defaults]\nserver_id = \"192.0.2.1\"\n\
    [[network]]\nname = \"lan\"\ninterface = \"lan0\"\nsubnets = [\"192.0.2.0/24\"]\n\
    [network.options]\ndomain-name = \"lan.example\"\n\
    [[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10\"]\nlease_time_s = 1000\n\
    [[subnet]]\nprefix = \"10.0.0.0/24\"\nnetwork = \"lan\"\npools = [\"10.0.0.10-10.0.0.13\"]\nlease_time_s = 2000\n\
    options = { routers = [\"10.0.0.1\"] }\n\
    [[subnet]]\nprefix = \"172.16.0.0/24\"\npools = [\"172.16.0.10-172.16.0.13\"]\n";

fn bed() -> Bed {
    bed_of(SHARED)
}

fn asking(msg: Msg) -> Msg {
    msg.option(55, &[1, 3, 15])
}

#[test]
fn addresses_are_given_out_of_the_subnets_in_their_order() {
    let mut bed = bed();
    assert_eq!(bed.bind(1), lan(10));
    let hosts: std::collections::BTreeSet<_> = (2..=5).map(|n| bed.bind(n)).collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), (10..=13).map(far).collect::<Vec<_>>());
    assert_eq!(bed.dropped(&discover(6)), DropReason::NoFreeAddress);
}

#[test]
fn the_options_and_lease_time_are_those_of_the_subnet_whose_address_is_given() {
    let mut bed = bed();
    let first = bed.reply(&asking(discover(1)));
    assert_eq!(first.option(1), Some(&[255, 255, 255, 0][..]));
    assert_eq!((first.option(3), first.seconds(51)), (None, Some(1000)));
    bed.bind(1);
    let second = bed.reply(&asking(discover(2)));
    assert_eq!((second.option(3), second.seconds(51)), (Some(&[10, 0, 0, 1][..]), Some(2000)));
    assert_eq!(second.option(15), Some(&b"lan.example"[..]), "of the network");
    let ack = bed.reply(&asking(selecting(2, SERVER, second.yiaddr())));
    assert_eq!((ack.option(3), ack.seconds(51)), (Some(&[10, 0, 0, 1][..]), Some(2000)));
    let renewal = bed.reply(&asking(message(MessageType::Request, 2).unicast(second.yiaddr())));
    assert_eq!((renewal.message_type(), renewal.seconds(51)), (Ack, Some(2000)));
    assert_eq!(renewal.destination, second.yiaddr());
}

#[test]
fn a_client_has_one_lease_in_the_network_and_keeps_it_whichever_relay_agent_asks() {
    let mut bed = bed();
    bed.bind(1);
    let address = bed.bind(2);
    assert_eq!(address, far(10));
    // The first subnet has room again; the client keeps what it has.
    let release = message(MessageType::Release, 1).address(code::SERVER_ID, SERVER).unicast(lan(10));
    assert_eq!(bed.dropped(&release), DropReason::Released);
    assert_eq!(bed.reply(&discover(2)).yiaddr(), address);
    let through = |relay: Ipv4Addr| discover(2).relayed().with(|msg| msg.giaddr = relay);
    assert_eq!(bed.reply(&through(lan(254))).yiaddr(), address);
    assert_eq!(bed.reply(&through(far(254))).yiaddr(), address);
    assert_eq!(bed.leases.counts().bound, 1);
}

// 4.3.2: "If the server detects that the client is on the wrong net ... then the server SHOULD send a DHCPNAK"
#[test]
fn init_reboot_is_refused_only_with_an_address_of_no_subnet_of_the_network() {
    let mut bed = bed();
    bed.bind(1);
    let address = bed.bind(2);
    let reboot = |address| request(2).address(code::REQUESTED_ADDRESS, address);
    assert_eq!(bed.reply(&reboot(address)).message_type(), Ack);
    assert_eq!(bed.reply(&reboot(far(12))).message_type(), Nak, "another one than it has");
    assert_eq!(bed.reply(&reboot(Ipv4Addr::new(172, 16, 0, 10))).message_type(), Nak, "of another network");
    // Through a relay agent in the other subnet of the network.
    let relayed = reboot(address).relayed().with(|msg| msg.giaddr = lan(254));
    assert_eq!(bed.reply(&relayed).message_type(), Ack);
}

#[test]
fn a_request_that_takes_an_address_of_another_subnet_of_the_network_gives_up_the_first() {
    let mut bed = bed();
    assert_eq!(bed.bind(1), lan(10));
    assert_eq!(bed.reply(&selecting(1, SERVER, far(11))).message_type(), Ack);
    assert_eq!(bed.leases.get(lan(10), bed.now_s).unwrap().state, BindingState::Released);
    assert_eq!(bed.leases.counts().bound, 1);
    assert_eq!(bed.reply(&selecting(1, SERVER, Ipv4Addr::new(172, 16, 0, 10))).message_type(), Nak);
}

#[test]
fn rebinding_is_answered_in_every_subnet_of_the_network() {
    let mut bed = bed();
    bed.bind(1);
    let address = bed.bind(2);
    let rebinding = message(MessageType::Request, 2).with(|msg| msg.ciaddr = address);
    assert_eq!(bed.reply(&rebinding).message_type(), Ack);
    let wrong = message(MessageType::Request, 2).with(|msg| msg.ciaddr = lan(10));
    assert_eq!(bed.reply(&wrong).message_type(), Nak);
}

#[test]
fn a_reservation_holds_for_its_client_in_the_whole_network() {
    let mut bed =
        bed_of(&format!("{SHARED}[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"10.0.0.12\"\n"));
    assert_eq!(bed.bind(1), far(12), "though the first subnet has room");
    let through = discover(1).relayed().with(|msg| msg.giaddr = lan(254));
    assert_eq!(bed.reply(&through).yiaddr(), far(12));
    let elsewhere = discover(1).relayed().with(|msg| msg.giaddr = Ipv4Addr::new(172, 16, 0, 1));
    assert_eq!(bed.reply(&elsewhere).yiaddr(), Ipv4Addr::new(172, 16, 0, 10));
}

#[test]
fn inform_gets_the_options_of_the_subnet_that_the_client_is_in() {
    let inform = asking(message(MessageType::Inform, 1)).unicast(far(99));
    assert_eq!(bed().reply(&inform).option(3), Some(&[10, 0, 0, 1][..]));
}
