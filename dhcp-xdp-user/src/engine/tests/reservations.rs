//! Reservations: whose an address is, whatever else happens to it.

use super::*;
use crate::{
    engine::testing::{Msg, START_S},
    lease::{AgentInfo, Binding, ClientId, HwAddress, LimitKeys, Space},
    worker::counters::Notice,
};

/// A link with the pool .10-.12.
const LAN: &str = "[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\npools = [\"192.0.2.10-192.0.2.12\"]\n";
/// Client 1 has .11, in the pool.
const IN_POOL: &str = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.11\"\n";
/// Client 1 has .77, in no pool.
const OUTSIDE: &str = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.77\"\n";

fn bed(reservations: &str) -> Bed {
    bed_of(&format!("{LAN}{reservations}"))
}

fn on_circuit(msg: Msg, circuit: &[u8]) -> Msg {
    msg.option(82, &[&[1, circuit.len() as u8], circuit].concat())
}

/// Client `n`'s lease of an address, as the journal has it.
fn lease_of(n: u8, address: Ipv4Addr) -> Binding {
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, n]);
    Binding {
        space: Space::GLOBAL,
        address,
        state: BindingState::Bound,
        generation: 1,
        started_s: START_S - 60,
        expires_s: START_S + 3000,
        hw: HwAddress { htype: 1, hlen: 6, chaddr },
        client_id: ClientId::new(),
        limits: LimitKeys::new(),
        agent_info: AgentInfo::new(),
    }
}

#[test]
fn each_kind_of_identifier_finds_its_reservation_in_a_pool_and_outside() {
    let reservations = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.11\"\n\
                        [[reservation]]\nclient_id = \"01:aa:bb\"\naddress = \"192.0.2.77\"\n\
                        [[reservation]]\nclient_id = \"0xff0102\"\naddress = \"192.0.2.76\"\n\
                        [[reservation]]\ncircuit_id = \"olt1 xpon 0/1:7\"\naddress = \"192.0.2.78\"\n\
                        [[reservation]]\nremote_id = \"0x00ff\"\naddress = \"192.0.2.79\"\n";
    let mut bed = bed(reservations);
    assert_eq!(bed.bind(1), lan(11));
    assert_eq!(bed.reply(&discover(2).option(61, &[1, 0xaa, 0xbb])).yiaddr(), lan(77));
    assert_eq!(bed.reply(&discover(2).option(61, &[0xff, 1, 2])).yiaddr(), lan(76));
    assert_eq!(bed.reply(&on_circuit(discover(3), b"olt1 xpon 0/1:7")).yiaddr(), lan(78));
    assert_eq!(bed.reply(&discover(4).option(82, &[2, 2, 0, 0xff])).yiaddr(), lan(79));
    assert_eq!(bed.reply(&on_circuit(discover(5), b"olt1 xpon 0/1:8")).yiaddr(), lan(10));
}

#[test]
fn the_first_kind_in_order_counts() {
    let reservations = "[[reservation]]\ncircuit_id = \"c\"\naddress = \"192.0.2.70\"\n\
                        [[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.71\"\n\
                        [[reservation]]\nclient_id = \"01:aa\"\naddress = \"192.0.2.72\"\n";
    let mut bed = bed(reservations);
    assert_eq!(bed.reply(&on_circuit(discover(2), b"c")).yiaddr(), lan(70));
    assert_eq!(bed.reply(&on_circuit(discover(1), b"c")).yiaddr(), lan(71));
    assert_eq!(bed.reply(&on_circuit(discover(1).option(61, &[1, 0xaa]), b"c")).yiaddr(), lan(72));
}

#[test]
fn a_reserved_address_is_offered_to_and_bound_by_nobody_else() {
    for reserved in [IN_POOL, OUTSIDE] {
        let mut bed = bed(reserved);
        let address = if reserved == IN_POOL { lan(11) } else { lan(77) };
        let offer = bed.reply(&discover(2).address(code::REQUESTED_ADDRESS, address));
        assert_ne!(offer.yiaddr(), address, "asked for");
        assert_eq!(bed.reply(&selecting(3, SERVER, address)).message_type(), Nak);
        let renewal = message(MessageType::Request, 3).unicast(address);
        assert_eq!(
            bed.reply(&renewal).message_type(),
            Nak,
            "RENEWING is trusted with a free address, not with this one"
        );
        for n in 2..=4 {
            if bed.send(&discover(n)).is_ok() {
                assert_ne!(bed.bind(n), address);
            }
        }
        assert_eq!(bed.dropped(&discover(5)), DropReason::NoFreeAddress);
        assert_eq!(bed.bind(1), address, "it is there for its client in a full pool");
    }
}

#[test]
fn a_reserved_address_that_was_released_or_ran_out_stays_its_clients() {
    let mut bed = bed(IN_POOL);
    assert_eq!(bed.bind(1), lan(11));
    let release = message(MessageType::Release, 1).address(code::SERVER_ID, SERVER).unicast(lan(11));
    assert_eq!(bed.dropped(&release), DropReason::Released);
    assert_ne!(bed.bind(2), lan(11));
    assert_eq!(bed.bind(1), lan(11));
    bed.pass(10_000);
    bed.leases.expire(bed.now_s, 1000);
    for n in 2..=3 {
        assert_ne!(bed.bind(n), lan(11));
    }
    assert_eq!(bed.dropped(&discover(4)), DropReason::NoFreeAddress);
    assert_eq!(bed.bind(1), lan(11));
}

#[test]
fn a_lease_of_another_on_an_address_that_was_reserved_since_stays_until_it_ends() {
    let mut bed = bed(IN_POOL);
    assert_eq!(bed.leases.restore(&lease_of(2, lan(11)), 0, bed.now_s), Ok(()));
    let offer = bed.reply(&discover(1));
    assert_ne!(offer.yiaddr(), lan(11), "the address is not given twice");
    let dynamic = bed.bind(1);
    assert!(bed.snapshot().notices[Notice::ReservedInUse as usize] >= 2, "{:?}", bed.snapshot());
    let renewal = |n: u8, address| message(MessageType::Request, n).unicast(address);
    assert_eq!(bed.reply(&renewal(2, lan(11))).message_type(), Nak, "it is not extended");
    assert_eq!(bed.reply(&renewal(1, dynamic)).message_type(), Ack, "nothing better is free yet");
    // The former client comes back from the NAK, takes another address, and gives this one up by it.
    let other = bed.reply(&discover(2)).yiaddr();
    assert_ne!(other, lan(11));
    assert_eq!(bed.leases.get(lan(11), bed.now_s).unwrap().state, BindingState::Bound, "an offer ends no lease");
    assert_eq!(bed.reply(&discover(2)).yiaddr(), other, "the same again, and not one address after the other");
    assert_eq!(bed.bind(2), other);
    assert_eq!(bed.leases.get(lan(11), bed.now_s).unwrap().state, BindingState::Released);
    assert_eq!(bed.reply(&renewal(1, dynamic)).message_type(), Nak, "now it is to move");
    assert_eq!(bed.bind(1), lan(11));
    let states: Vec<_> = bed.records().iter().map(|(lease, ..)| (lease.address, lease.state)).collect();
    assert!(states.contains(&(lan(11), BindingState::Released)) && states.contains(&(dynamic, BindingState::Released)));
}

#[test]
fn without_its_former_client_a_reserved_address_comes_free_when_the_lease_ends() {
    let mut bed = bed(OUTSIDE);
    assert_eq!(bed.leases.restore(&lease_of(2, lan(77)), 0, bed.now_s), Ok(()));
    assert_ne!(bed.bind(1), lan(77));
    bed.pass(3001);
    assert_eq!(bed.bind(1), lan(77));
}

#[test]
fn a_client_with_a_lease_elsewhere_moves_to_the_address_that_was_reserved_for_it() {
    let mut bed = bed(OUTSIDE);
    assert_eq!(bed.leases.restore(&lease_of(1, lan(12)), 0, bed.now_s), Ok(()));
    assert_eq!(bed.reply(&message(MessageType::Request, 1).unicast(lan(12))).message_type(), Nak);
    assert_eq!(bed.reply(&request(1).address(code::REQUESTED_ADDRESS, lan(12))).message_type(), Nak, "INIT-REBOOT");
    assert_eq!(bed.reply(&discover(1)).yiaddr(), lan(77));
    assert_eq!(bed.leases.get(lan(12), bed.now_s).unwrap().state, BindingState::Bound);
    assert_eq!(bed.bind(1), lan(77));
    assert_eq!(bed.leases.get(lan(12), bed.now_s).unwrap().state, BindingState::Released);
}

#[test]
fn init_reboot_and_renewal_of_a_reserved_address_need_no_memory_of_the_client() {
    for msg in [
        request(1).address(code::REQUESTED_ADDRESS, lan(77)),
        message(MessageType::Request, 1).unicast(lan(77)),
        message(MessageType::Request, 1).with(|msg| msg.ciaddr = lan(77)),
    ] {
        assert_eq!(bed(OUTSIDE).reply(&msg).message_type(), Ack);
    }
}

#[test]
fn a_reservations_settings_come_before_those_of_its_subnet() {
    let own = "hostname = \"cpe-17\"\nlease_time_s = 777\nnext_server = \"192.0.2.5\"\nserver_name = \"tftp.example\"\nboot_file = \"own.cfg\"\n\
               [reservation.options]\ndomain-name = \"own.example\"\n";
    let mut bed =
        bed(&format!("[subnet.options]\ndomain-name = \"all.example\"\nrouters = [\"192.0.2.1\"]\n{OUTSIDE}{own}"));
    let asking = |n| discover(n).option(55, &[12, 15, 3]);
    let offer = bed.reply(&asking(1));
    assert_eq!(offer.option(12), Some(&b"cpe-17"[..]));
    assert_eq!(offer.option(15), Some(&b"own.example"[..]));
    assert_eq!(offer.option(3), Some(&[192, 0, 2, 1][..]));
    assert_eq!(offer.seconds(code::LEASE_TIME), Some(777));
    assert_eq!(offer.message.siaddr(), Ipv4Addr::new(192, 0, 2, 5));
    assert!(offer.payload[44..].starts_with(b"tftp.example\0") && offer.payload[108..].starts_with(b"own.cfg\0"));
    let other = bed.reply(&asking(2));
    assert_eq!((other.option(12), other.option(15)), (None, Some(&b"all.example"[..])));
    let inform = message(MessageType::Inform, 1).option(55, &[15]).unicast(lan(50));
    assert_eq!(bed.reply(&inform).option(15), Some(&b"own.example"[..]));
}

#[test]
fn a_reservation_without_an_address_holds_in_every_subnet() {
    let own = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\nhostname = \"h\"\n";
    let mut bed = bed(own);
    let offer = bed.reply(&discover(1).option(55, &[12]));
    assert_eq!((offer.yiaddr(), offer.option(12)), (lan(10), Some(&b"h"[..])));
}

#[test]
fn a_reservation_of_the_network_comes_before_one_that_holds_everywhere() {
    let far = "[[subnet]]\nprefix = \"10.0.0.0/24\"\nserver_id = \"192.0.2.1\"\npools = [\"10.0.0.10-10.0.0.20\"]\n";
    let everywhere = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\nhostname = \"everywhere\"\n";
    let mut bed = bed(&format!("{far}{everywhere}{OUTSIDE}hostname = \"here\"\n"));
    let offer = bed.reply(&discover(1).option(55, &[12]));
    assert_eq!((offer.yiaddr(), offer.option(12)), (lan(77), Some(&b"here"[..])));
    let offer = bed.reply(&discover(1).option(55, &[12]).relayed());
    assert_eq!((offer.yiaddr(), offer.option(12)), (far_address(10), Some(&b"everywhere"[..])));
}

#[test]
fn who_has_the_address_of_a_circuit_is_believed_to_be_on_it_where_the_lease_keeps_no_option_82() {
    let far = "[[subnet]]\nprefix = \"10.0.0.0/24\"\nserver_id = \"192.0.2.1\"\n\
               [[reservation]]\ncircuit_id = \"c\"\naddress = \"10.0.0.77\"\nlease_time_s = 777\n";
    let mut bed = bed_of(far);
    // As an import of another server's leases leaves it.
    assert_eq!(bed.leases.restore(&lease_of(1, far_address(77)), 0, bed.now_s), Ok(()));
    let renewal = |n| message(MessageType::Request, n).unicast(far_address(77));
    let ack = bed.reply(&renewal(1));
    assert_eq!((ack.message_type(), ack.seconds(code::LEASE_TIME)), (Ack, Some(777)));
    assert_eq!(bed.dropped(&renewal(2)), DropReason::UnknownClient, "who does not have it is not believed");
}

#[test]
fn a_renewal_past_the_relay_agent_says_no_circuit_and_keeps_its_address() {
    let far = "[[subnet]]\nprefix = \"10.0.0.0/24\"\nserver_id = \"192.0.2.1\"\npools = [\"10.0.0.10-10.0.0.20\"]\n\
               [[reservation]]\ncircuit_id = \"c\"\naddress = \"10.0.0.77\"\nlease_time_s = 777\n";
    let mut bed = bed_of(far);
    let address = far_address(77);
    assert_eq!(bed.reply(&on_circuit(discover(1), b"c").relayed()).yiaddr(), address);
    assert_eq!(bed.reply(&on_circuit(selecting(1, SERVER, address), b"c").relayed()).message_type(), Ack);
    let renewal = |n| message(MessageType::Request, n).unicast(address);
    let ack = bed.reply(&renewal(1));
    assert_eq!((ack.message_type(), ack.seconds(code::LEASE_TIME)), (Ack, Some(777)));
    assert_eq!(bed.dropped(&renewal(2)), DropReason::UnknownClient, "who does not have it is not believed");
    // A second client on the circuit: the address is in use, it gets another one.
    let second = bed.reply(&on_circuit(discover(2), b"c").relayed());
    assert_eq!(second.yiaddr(), far_address(10));
}

fn far_address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

#[test]
fn a_declined_reserved_address_is_quarantined_and_its_client_gets_another() {
    let mut bed = bed(OUTSIDE);
    assert_eq!(bed.bind(1), lan(77));
    let decline =
        message(MessageType::Decline, 1).address(code::SERVER_ID, SERVER).address(code::REQUESTED_ADDRESS, lan(77));
    assert_eq!(bed.dropped(&decline), DropReason::Declined);
    assert_ne!(bed.bind(1), lan(77));
    bed.pass(90_000);
    assert_eq!(bed.bind(1), lan(77));
}

#[test]
fn rapid_commit_and_bootp_bind_the_reserved_address() {
    let settings = "rapid_commit = true\nbootp = true\n";
    let mut bed = bed(&format!("{settings}{OUTSIDE}"));
    let ack = bed.reply(&discover(1).option(80, &[]));
    assert_eq!((ack.message_type(), ack.yiaddr(), ack.parked), (Ack, lan(77), true));
    let bootp = message(MessageType::Bootp, 1).with(|msg| msg.options.clear());
    assert_eq!(bed.bootp(&bootp).yiaddr(), lan(77));
}

#[test]
fn reserved_addresses_are_no_part_of_what_makes_a_subnet_scarce() {
    let scarce = "lease_time_s = 3600\nmin_lease_time_s = 60\nscarce_above = 0.9\n";
    let mut bed = bed(&format!("{scarce}{IN_POOL}"));
    bed.bind(1);
    assert_eq!(bed.reply(&discover(2)).seconds(code::LEASE_TIME), Some(3600), "one of two is in use");
    bed.bind(2);
    assert_eq!(bed.reply(&discover(3)).seconds(code::LEASE_TIME), Some(60), "both are");
}

const FLEX: &str = "flex_id = \"concat(relay.remote-id, '/', relay.circuit-id)\"\n";

#[test]
fn a_flexible_identifier_is_what_its_expression_says() {
    let text = format!(
        "{LAN}[[reservation]]\nflex_id = \"r/c\"\naddress = \"192.0.2.77\"\n\
         [[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.78\"\n"
    );
    let read = config::parse("test", &format!("{}[[interface]]\nname = \"lan0\"\n{}", FLEX, text), &AnyMachine);
    let read = read.unwrap_or_else(|rejected| panic!("{rejected}")).config;
    let mut bed = Bed::with(|config| *config = read);
    assert_eq!(bed.reply(&discover(2).option(82, b"\x01\x01c\x02\x01r")).yiaddr(), lan(77));
    assert_eq!(bed.reply(&discover(1).option(82, b"\x01\x01c\x02\x01r")).yiaddr(), lan(77), "the first kind in order");
    assert_eq!(bed.reply(&discover(1).option(82, b"\x01\x01d\x02\x01r")).yiaddr(), lan(78));
    assert_eq!(bed.reply(&discover(2)).yiaddr(), lan(10));
}
