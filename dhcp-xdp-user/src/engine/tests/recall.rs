//! What a lease keeps of option 82 decides about a message that its client sends past the relay agent.

use super::*;
use crate::{engine::testing::Msg, lease::Binding};

/// A subnet behind relay agents with a pool for those on line `b`.
const FAR: &str = "[[subnet]]\nprefix = \"10.0.0.0/24\"\nserver_id = \"192.0.2.1\"\npools = [\"10.0.0.10-10.0.0.20\"]\n\
    [[subnet.pool]]\nrange = \"10.0.0.30-10.0.0.39\"\nallow_classes = [\"business\"]\n\
    [[class]]\nname = \"business\"\nmatch = \"relay.circuit-id == 'b'\"\nlease_time_s = 7200\n\
    options = { domain-name = \"business.example\" }\n";
const RESERVED: &str = "[[reservation]]\ncircuit_id = \"c\"\naddress = \"10.0.0.77\"\nlease_time_s = 777\n\
    [[reservation]]\nremote_id = \"r\"\nhostname = \"remote\"\n";
const LIMIT: &str = "[[class]]\nname = \"line\"\nspawn = \"relay.circuit-id\"\nlease_limit = 1\n";

const LINE_A: &[u8] = b"\x01\x01a";
const LINE_B: &[u8] = b"\x01\x01b\x02\x01r";
const LINE_C: &[u8] = b"\x01\x01c";

fn from(line: &[u8], msg: Msg) -> Msg {
    msg.option(82, line).relayed()
}

fn bind(bed: &mut Bed, n: u8, line: &[u8]) -> Ipv4Addr {
    let offered = bed.reply(&from(line, discover(n))).yiaddr();
    let ack = bed.reply(&from(line, selecting(n, SERVER, offered)));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, offered));
    offered
}

fn renewal(n: u8, address: Ipv4Addr) -> Msg {
    request(n).option(55, &[15, 12]).unicast(address)
}

/// The same server started anew from what was recorded.
fn restarted(bed: &Bed, text: &str) -> Bed {
    let mut again = bed_of(text);
    again.now_s = bed.now_s;
    let lane = bed.processor.recorder();
    for ((lease, hw, id), agent_info) in lane.records.iter().zip(&lane.agent_info) {
        let agent_info = agent_info.iter().copied().collect();
        again.leases.restore(&Binding { agent_info, ..lease.of(hw, id) }, 0, bed.now_s).unwrap();
    }
    again
}

#[test]
fn a_renewal_past_the_relay_agent_keeps_class_pool_and_reservation_also_after_a_restart() {
    let text = format!("{FAR}{RESERVED}");
    let mut bed = bed_of(&text);
    let addresses = [(1, LINE_A), (2, LINE_B), (3, LINE_C)].map(|(n, line)| bind(&mut bed, n, line));
    assert_eq!(addresses, [far(10), far(30), far(77)]);
    let (domain, name) = (Some(&b"business.example"[..]), Some(&b"remote"[..]));
    for round in 0..3 {
        bed.pass(300);
        for (n, address, seconds, domain, name) in
            [(1, far(10), 3600, None, None), (2, far(30), 7200, domain, name), (3, far(77), 777, None, None)]
        {
            let ack = bed.reply(&renewal(n, address));
            assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, address), "client {n} in round {round}");
            assert_eq!(ack.seconds(code::LEASE_TIME), Some(seconds), "client {n} in round {round}");
            assert_eq!((ack.option(15), ack.option(12)), (domain, name), "client {n} in round {round}");
            assert_eq!(ack.option(82), None, "what did not come is not echoed");
        }
        if round == 1 {
            bed = restarted(&bed, &text);
        }
    }
    assert_eq!(bed.processor.recorder().agent_info, [LINE_A, LINE_B, LINE_C], "and it is recorded each time");
}

#[test]
fn a_flexible_identifier_of_a_renewal_is_made_of_what_the_relay_agent_said() {
    let mut bed = bed_of_flex();
    assert_eq!(bind(&mut bed, 1, LINE_B), far(78));
    let ack = bed.reply(&renewal(1, far(78)));
    assert_eq!((ack.message_type(), ack.seconds(code::LEASE_TIME)), (Ack, Some(555)));
}

fn bed_of_flex() -> Bed {
    let text = "flex_id = \"concat(relay.remote-id, '/', relay.circuit-id)\"\n[[interface]]\nname = \"lan0\"\n";
    let reserved = "[[reservation]]\nflex_id = \"r/b\"\naddress = \"10.0.0.78\"\nlease_time_s = 555\n";
    let read = config::parse("test", &format!("{text}{FAR}{reserved}"), &AnyMachine);
    let read = read.unwrap_or_else(|rejected| panic!("{rejected}")).config;
    Bed::with(|config| *config = read)
}

#[test]
fn a_renewal_counts_against_the_limit_of_its_line() {
    let mut bed = bed_of(&format!("{FAR}{LIMIT}"));
    let address = bind(&mut bed, 1, LINE_A);
    // Nobody says what it counted against, but which line it is on.
    bed = restarted(&bed, &format!("{FAR}{LIMIT}"));
    assert_eq!(bed.leases.get(address, bed.now_s).unwrap().limits.len(), 0);
    assert_eq!(bed.reply(&renewal(1, address)).message_type(), Ack);
    assert_eq!(bed.limits().last().unwrap().len(), 1);
    assert_eq!(bed.dropped(&from(LINE_A, discover(2))), DropReason::LeaseLimit);
}

#[test]
fn the_last_message_through_a_relay_agent_counts() {
    let mut bed = bed_of(FAR);
    let address = bind(&mut bed, 1, LINE_B);
    assert_eq!(address, far(30));
    // It moved house; its rebinding comes through another relay agent.
    let rebinding = from(LINE_A, request(1).with(|msg| msg.ciaddr = address));
    assert_eq!(bed.reply(&rebinding).message_type(), Nak, "that address is for others");
    let address = bind(&mut bed, 1, LINE_A);
    assert!(address < far(30));
    assert_eq!(bed.reply(&renewal(1, address)).option(15), None);
}

#[test]
fn a_client_that_writes_option_82_itself_past_the_relay_agents_is_on_no_other_line_for_that() {
    let mut bed = bed_of(&format!("{FAR}{RESERVED}{LIMIT}"));
    let address = bind(&mut bed, 1, LINE_A);
    // Not into another's class, and the lease keeps its line.
    let own = renewal(1, address).option(82, LINE_B);
    let ack = bed.reply(&own);
    assert_eq!((ack.message_type(), ack.option(15), ack.option(12)), (Ack, None, None));
    assert_eq!(ack.option(82), Some(LINE_B), "it is echoed (RFC 3046 2.2)");
    assert_eq!(bed.leases.get(address, bed.now_s).unwrap().agent_info[..], *LINE_A);
    // Not to the address that is reserved for another's circuit, be it its own client's lease or none.
    let theft = |n| renewal(n, far(77)).option(82, LINE_C);
    assert_eq!(bed.reply(&theft(1)).message_type(), Nak);
    assert_eq!(bed.dropped(&theft(9)), DropReason::UnknownClient);
    // Nor with a DISCOVER that is sent so, and none of this takes the line's one place.
    assert_eq!(bed.dropped(&discover(9).option(82, LINE_C).unicast(far(77))), DropReason::NoSubnet);
    assert_eq!(bind(&mut bed, 3, LINE_C), far(77));
}

#[test]
fn an_option_82_that_came_past_the_relay_agents_is_not_kept_where_nothing_is_known() {
    let mut bed = bed_of(&FAR.replacen("server_id", "unknown_renewals = \"all\"\nserver_id", 1));
    let ack = bed.reply(&renewal(1, far(12)).option(82, LINE_A));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, far(12)), "nobody else has it");
    assert_eq!(bed.leases.get(far(12), bed.now_s).unwrap().agent_info.len(), 0);
}

#[test]
fn of_an_option_82_that_is_too_long_a_lease_keeps_whole_sub_options() {
    let mut bed = Bed::new();
    let info: Vec<u8> = (1..=4).flat_map(|n| [&[n, 78][..], &[n; 78]].concat()).collect();
    let in_parts = |msg: Msg| msg.relayed().option(82, &info[..255]).option(82, &info[255..]);
    let offered = bed.reply(&in_parts(discover(1))).yiaddr();
    bed.reply(&in_parts(selecting(1, SERVER, offered)));
    assert_eq!(bed.leases.get(offered, bed.now_s).unwrap().agent_info[..], info[..240]);
}

#[test]
fn who_does_not_have_the_lease_is_not_recalled() {
    let mut bed = bed_of(&format!("{FAR}{RESERVED}"));
    let address = bind(&mut bed, 1, LINE_B);
    let stranger = bed.reply(&renewal(2, address));
    assert_eq!(stranger.message_type(), Nak);
    bed.dropped(&message(MessageType::Release, 1).unicast(address));
    assert_eq!(bed.leases.get(address, bed.now_s).unwrap().agent_info[..], *LINE_B, "remembered, and no lease");
    assert_eq!(bed.reply(&renewal(1, address)).message_type(), Nak, "it is in no class any more");
}

#[test]
fn a_broadcast_is_on_this_link_now_and_past_no_relay_agent() {
    let mut bed = Bed::new();
    let offered = bed.reply(&discover(1).option(82, LINE_B)).yiaddr();
    bed.reply(&selecting(1, SERVER, offered).option(82, b"\x0b\x04\xc0\x00\x02\x07"));
    let rebinding = request(1).with(|msg| msg.ciaddr = offered);
    assert_eq!(bed.reply(&rebinding).option(code::SERVER_ID), Some(&SERVER.octets()[..]));
}

#[test]
fn what_a_client_gives_back_is_recorded_with_the_line_that_it_was_on() {
    let mut bed = bed_of(FAR);
    let address = bind(&mut bed, 1, LINE_A);
    bed.dropped(&message(MessageType::Release, 1).unicast(address));
    assert_eq!(bed.records().last().unwrap().0.state, BindingState::Released);
    assert_eq!(bed.processor.recorder().agent_info.last().unwrap(), LINE_A);
}

// Server identifier override (RFC 5107)

const OVERRIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

#[test]
fn the_overridden_server_identifier_is_recalled_it_is_ours_and_the_reply_has_it() {
    let mut bed = Bed::new();
    let line = b"\x0b\x04\x0a\x00\x00\x07\x01\x01a";
    let offered = bed.reply(&from(line, discover(1))).yiaddr();
    bed.reply(&from(line, selecting(1, OVERRIDE, offered)));
    bed.pass(1800);
    let ack = bed.reply(&request(1).unicast(offered));
    assert_eq!((ack.message_type(), ack.option(code::SERVER_ID)), (Ack, Some(&OVERRIDE.octets()[..])));
    let named = |server| request(1).address(code::SERVER_ID, server).unicast(offered);
    assert_eq!(bed.reply(&named(OVERRIDE)).message_type(), Ack);
    assert_eq!(bed.reply(&named(SERVER)).message_type(), Ack);
    assert_eq!(bed.dropped(&named(OTHER_SERVER)), DropReason::OtherServerChosen);
    let release = |server| message(MessageType::Release, 1).address(code::SERVER_ID, server).unicast(offered);
    assert_eq!(bed.dropped(&release(OTHER_SERVER)), DropReason::OtherServerChosen);
    assert_eq!(bed.dropped(&release(OVERRIDE)), DropReason::Released);
    assert_eq!(bed.dropped(&release(OVERRIDE)), DropReason::OtherServerChosen, "nothing is known any more");
}
