//! Expressions by example, and every kind of error in its words.

use std::net::Ipv4Addr;

use super::{super::*, compile_all};
use crate::{
    engine::testing::{Msg, discover},
    wire::dhcp::Header,
};

/// A message of an access network: a relay agent's circuit and remote identifier, two VLAN tags.
fn message() -> Msg {
    discover(7)
        .option(60, b"docsis3.1:\0")
        .option(61, &[1, 2, 0, 0, 0, 0, 7])
        .option(50, &[192, 0, 2, 77])
        .option(43, &[0, 2, 3, b'E', b'C', b'M', 4, 0, 255])
        .option(125, &[0, 0, 0x11, 0x8b, 5, 1, 3, b'a', b'b', b'c'])
        .option(82, b"\x01\x04eth7\x02\x06\x02\x00\x00\x00\x00\x07\x09\x07\x00\x00\x0c\x4c\x02\x01\x00")
        .relayed()
}

fn is_met(expression: &str) -> bool {
    is_met_by(&message().payload(), expression)
}

fn is_met_by(payload: &[u8], expression: &str) -> bool {
    let source = ClassSource { name: "it", condition: Some(expression), spawn: None };
    let classes = compile_all(&[source]).unwrap_or_else(|faults| panic!("{expression}: {faults:#?}"));
    classes.members(&packet(payload)).contains(0)
}

pub(super) fn packet(payload: &[u8]) -> Packet<'_> {
    Packet {
        header: Header::new_checked(payload).unwrap(),
        interface: "eth1",
        destination: Ipv4Addr::new(192, 0, 2, 1),
        vlans: [Some(100), None],
        known: false,
        recalled: None,
    }
}

fn faults(expression: &str) -> Vec<Fault> {
    let other = ClassSource { name: "voip", condition: Some("true"), spawn: None };
    let source = ClassSource { name: "it", condition: Some(expression), spawn: None };
    match compile_all(&[source, other]) {
        Ok(_) => panic!("no fault in {expression}"),
        Err(faults) => faults.into_iter().map(|fault| fault.fault).collect(),
    }
}

#[test]
fn expressions_say_what_they_say() {
    let met = [
        "true",
        "not false",
        "option[60].exists",
        "option[vendor-class-identifier].exists and not option[77].exists",
        "option[60].text == 'docsis3.1:'",
        "option[60].hex == 0x646f63736973332e313a00",
        "option[60] != 'docsis3.1:'",
        "substring(option[60], 0, 6) == 'docsis'",
        "substring(option[60], 6, 3) == '3.1'",
        "substring(option[60], -2, all) == ':\\x00'",
        "substring(option[60], -5, 3) == '3.1'",
        "substring(option[60], 99, 3) == ''",
        // What is asked for beyond the end is not there, what is before it is.
        "substring(option[60], 8, 99) == '1:\\x00' and substring(option[60], 11, 1) == '' and substring(option[60], -99, 3) == ''",
        "substring(option[60], 10, 1) == 0x00 and substring(option[60], -1, 9) == 0x00 and substring(option[60], 0, 0) == ''",
        "starts_with(option[60], 'docsis') and ends_with(option[60].text, ':') and contains(option[60], '3.')",
        "upper(option[60].text) == 'DOCSIS3.1:' and lower('ABc') == 'abc'",
        "length(option[60]) == 11 and length(option[77]) == 0",
        "option[77] == ''",
        "hw_address == 02:00:00:00:00:07 and chaddr == 0x020000000007",
        "substring(hw_address, 0, 3) in (02:00:00, aa:bb:cc)",
        "substring(hw_address, 0, 3) not in (0x020001)",
        "htype == 1 and hlen == 6 and secs == 7 and hops == 0 and xid == 3735928559",
        "giaddr == 10.0.0.1 and giaddr in 10.0.0.0/8 and giaddr in 10.0.0.0-10.0.0.9 and ciaddr == 0.0.0.0",
        "giaddr not in (11.0.0.0/8, 10.0.0.2)",
        "not flags.broadcast",
        "secs < 8 and not secs < 7 and secs <= 7 and not secs <= 6 and secs > 6 and not secs > 7 and secs >= 7 and not secs >= 8",
        "secs in 7-9 and secs in 1-7 and not secs in 8-9 and not secs in 1-6 and secs in (1-2, 7-7) and secs not in (1-6, 8-9)",
        "giaddr in 10.0.0.1-10.0.0.2 and giaddr in 10.0.0.0-10.0.0.1 and giaddr in 10.0.0.1/32 and giaddr in 10.0.0.0/31",
        "giaddr not in (10.0.0.2/31, 10.0.0.2-10.0.0.9, 9.0.0.0-10.0.0.0)",
        "interface == 'eth1' and destination == 192.0.2.1",
        "vlan.outer == 100 and vlan.outer in (1-99, 100) and not vlan.inner.exists and vlan.outer.exists",
        // What is missing is no number: it is equal to none.
        "not (vlan.inner == 0) and vlan.inner != 0 and not (vlan.inner < 1) and not (vlan.inner in 0-4095)",
        "not (vlan.inner > 0) and not (vlan.inner >= 0) and not (vlan.inner <= 0) and vlan.inner not in 0-4095",
        "message_type == discover and message_type in (discover, request) and message_type != inform",
        "option[50].address == 192.0.2.77 and option[50].address in 192.0.2.0/24 and option[50].number == 3221226061",
        "not (option[60].number == 0) and not (option[60].address == 0.0.0.0)",
        "relay.exists and relay[1] == 'eth7' and relay.circuit-id == 'eth7' and option[82].option[1] == 'eth7'",
        "relay[remote-id] == hw_address and relay.option[circuit-id] == 'eth7'",
        "not relay.subscriber-id.exists and not relay[6].exists",
        "relay.vendor-specific.vendor[3148].option[1].exists",
        "option[43].option[2] == 'ECM' and option[43].option[4].exists and option[43].option[4] == ''",
        "vendor[4491].exists and vendor[4491].option[1] == 'abc' and not vendor[9].exists",
        "not vendor-class[4491].exists",
        "concat(relay[1], '/', relay[2]) == concat('eth7/', 0x020000000007)",
        "concat(relay[1], option[77], lower('X')) == 'eth7x'",
        "dotted(giaddr) == '10.0.0.1' and dashed(giaddr) == '10-0-0-1' and dotted(0.0.0.0) == '0.0.0.0'",
        "dotted(255.255.255.255) == '255.255.255.255' and not dotted(option[60].address).exists",
        "hex(hw_address) == '020000000007' and hex(option[77]) == '' and not hex(option[77]).exists and hex(0xff0a) == 'ff0a'",
        "decimal(vlan.outer) == '100' and decimal(0) == '0' and decimal(xid) == '3735928559' and not decimal(vlan.inner).exists",
        "upper(hex(relay.circuit-id)) == '65746837' and concat('c', decimal(length(relay[1]))) == 'c4'",
        "has_u16(0x000b0007, 7) and has_u16(0x000b0007, 9, 11) and not has_u16(0x000b0007, 9) and not has_u16(option[93], 0)",
        // Only whole numbers, where they begin.
        "not has_u16(0x0b000700, 7) and not has_u16(0x07, 7) and has_u16(0x000b07, 11)",
        "message_length >= 240 and message_length > 239 and message_length < 1500 and message_length <= 1500",
        "false or false or (true and (false or true))",
        "not (true and false) and not not true",
        // `not` is of what follows it alone, and `and` binds closer than `or`.
        "not true or true",
        "true or true and false",
        "true or false and false and not true or false",
        "not (false and true or true and true) or secs == 7 and htype == 1",
        "not known",
        "option[82].option[9].vendor[3148] == 0x0100 # a comment\n and true",
    ];
    let wrong: Vec<&str> = met.into_iter().filter(|expression| !is_met(expression)).collect();
    assert_eq!(wrong, [] as [&str; 0]);
}

#[test]
fn an_option_in_several_parts_is_one_by_rfc_3396() {
    let payload = discover(1).option(60, b"doc").option(12, b"x").option(60, b"sis").payload();
    assert!(is_met_by(
        &payload,
        "option[60] == 'docsis' and substring(option[60], 2, 2) == 'cs' and length(option[60]) == 6"
    ));
    let long = (0..5).fold(discover(1), |msg, _| msg.option(60, &[b'a'; 250])).payload();
    assert!(is_met_by(&long, "not option[60].exists"), "more than the scratch holds is missing");
}

#[test]
fn options_in_overloaded_fields_count() {
    let msg = discover(1).option(52, &[1]).with(|msg| msg.file[..5].copy_from_slice(&[60, 2, b'a', b'b', 255]));
    assert!(is_met_by(&msg.payload(), "option[60] == 'ab'"));
}

#[test]
fn what_follows_a_malformed_option_is_not_there() {
    let msg = discover(1).option(60, b"a").with(|msg| msg.tail = vec![77, 200, 1]);
    assert!(is_met_by(&msg.payload(), "option[60] == 'a' and not option[77].exists"));
}

#[track_caller]
fn assert_fault(expression: &str, place: &str, part: &str) {
    let faults = faults(expression);
    assert_eq!(faults.len(), 1, "{expression}: {faults:#?}");
    assert_eq!(&expression[faults[0].span.clone()], place, "{expression}: {faults:#?}");
    assert!(faults[0].message.contains(part), "{expression}: expected `{part}` in {:?}", faults[0].message);
}

#[test]
fn each_error_points_to_its_place_and_says_what_would_be_right() {
    for (expression, place, part) in [
        ("", "", "found the end; expected a field, an option"),
        ("option[60].exists and", "", "found the end"),
        ("option[60", "", "found the end; expected `]`"),
        ("option[60.exists", ".", "found `.`; expected `]`"),
        ("option[300].exists", "option[300]", "expected 1 to 254"),
        ("option[52].exists", "option[52]", "it is followed"),
        (
            "option[vendor-clas-identifier].exists",
            "option[vendor-clas-identifier]",
            "did you mean `vendor-class-identifier`?",
        ),
        ("option.exists", "option", "expected which one, as option[60]"),
        ("option[60]", "option[60]", "`option[60]` is bytes; expected a condition, as `option[60].exists`"),
        ("option[60] == 5", "option[60] == 5", "expected `option[60].number`"),
        ("secs == '5'", "secs == '5'", "a number is written without quotes"),
        ("option[50] == 10.0.0.1", "option[50] == 10.0.0.1", "expected `option[50].address`"),
        ("option[60] < 'a'", "option[60] < 'a'", "bytes are equal or not"),
        (
            "flags.broadcast == true",
            "flags.broadcast == true",
            "write it as `flags.broadcast` or `not flags.broadcast`",
        ),
        ("giaddr == 5", "giaddr == 5", "they cannot be compared"),
        ("giadr == 10.0.0.1", "giadr", "did you mean `giaddr`?"),
        ("xyzzy == 1", "xyzzy", "a text is written in quotes"),
        ("vlan.middle == 1", "vlan.middle", "there is no `vlan.middle`"),
        ("relay.circuitid == 'x'", "relay.circuitid", "did you mean `circuit-id`?"),
        ("option[60].exist", "option[60].exist", "did you mean `.exists`?"),
        ("giaddr.hex == 'x'", "giaddr.hex", "`giaddr` is an address, which has no `.hex`"),
        ("substr(option[60], 0, 3) == 'abc'", "substr(option[60], 0, 3)", "there is no function `substr`"),
        (
            "substring(option[60], 0) == 'abc'",
            "substring(option[60], 0)",
            "expected it as substring(value, start, length)",
        ),
        ("dotted(option[50]) == 'x'", "option[50]", "expected an address, as `option[50].address`"),
        ("hex(giaddr) == 'x'", "giaddr", "expected bytes"),
        ("decimal('5') == '5'", "'5'", "expected a number"),
        ("has_u16(option[93])", "has_u16(option[93])", "expected it as has_u16(value, number, …)"),
        ("has_u16(option[93], 65536)", "65536", "expected a number from 0 to 65535"),
        ("your_address == 192.0.2.1", "your_address", "only a computed option can have `your_address`"),
        ("substring(option[60], 'a', 3) == 'abc'", "'a'", "expected where it starts"),
        ("substring(option[60], 0, -1) == 'abc'", "-1", "expected how many bytes, as 6 or all"),
        ("secs > -1", "-1", "no number of a packet is negative"),
        ("member('void')", "'void'", "did you mean `voip`?"),
        ("member(voip)", "voip", "expected a class's name in quotes"),
        ("giaddr in 10.0.0.1/8", "10.0.0.1/8", "the prefix is 10.0.0.0/8"),
        ("giaddr in 10.0.0.0/33", "10.0.0.0/33", "at most 32 bits"),
        ("giaddr in (1-2)", "1-2", "`giaddr` is an address, and this is a number"),
        ("secs in 9-1", "9-1", "expected the lower end first"),
        ("option[60] in (1)", "1", "expected texts or bytes"),
        ("option[50] in 10.0.0.0/8", "10.0.0.0/8", "expected `option[50].address in 10.0.0.0/8`"),
        ("true true", "true", "found `true`; expected `and`, `or` or the end"),
        ("secs == 1 == 2", "==", "found `==`; expected `and`, `or` or the end"),
        ("(true", "", "found the end; expected `)`"),
        ("true)", ")", "found `)`"),
        ("hw_address[1] == 'x'", "hw_address[1]", "takes no [1]"),
        ("option[60].option[x] == 'x'", "option[60].option[x]", "expected its number"),
        ("vendor[cablelabs].exists", "vendor[cablelabs]", "expected its number, as vendor[4491]"),
        ("not", "", "found the end"),
        ("secs not 5", "5", "expected `in` after `not`"),
        ("and true", "and", "found `and`; expected a field"),
        ("concat() == 'x'", "concat()", "`concat` with 0 value(s)"),
    ] {
        assert_fault(expression, place, part);
    }
}

#[test]
fn several_errors_are_found_at_once() {
    let expression = "giadr == 1 and option[60 == 'x' and (secs = 5 or option[999].exists) and member('nobody')";
    let found = faults(expression);
    let places: Vec<&str> = found.iter().map(|fault| &expression[fault.span.clone()]).collect();
    // Words and their order first; names and types once those are right.
    assert_eq!(places, ["==", "="], "{found:#?}");
    let expression = "giadr == 1 and option[60] and (secs == '5' or option[999].exists) and member('nobody')";
    let found = faults(expression);
    let places: Vec<&str> = found.iter().map(|fault| &expression[fault.span.clone()]).collect();
    assert_eq!(places, ["giadr", "option[60]", "secs == '5'", "option[999]", "'nobody'"], "{found:#?}");
}

#[test]
fn nesting_and_length_are_bounded() {
    let deep = format!("{}true{}", "(".repeat(10_000), ")".repeat(4_000));
    assert!(faults(&deep)[0].message.contains("nested more than"));
    let nots = format!("{}true", "not ".repeat(2_000));
    assert!(faults(&nots)[0].message.contains("nested more than"));
    let long = format!("true{}", " or true".repeat(3_000));
    assert!(faults(&long)[0].message.contains("expected at most"));
    let many = format!("true{}", " or true".repeat(1_500));
    assert!(faults(&many)[0].message.contains("too large an expression"));
    let dots = format!("option[60]{}.exists", ".hex".repeat(100));
    assert!(faults(&dots)[0].message.contains("names after one value"));
}

fn compiled(sources: &[(&str, Option<&str>)]) -> Result<Classes, Vec<ClassFault>> {
    let sources: Vec<ClassSource<'_>> =
        sources.iter().map(|&(name, condition)| ClassSource { name, condition, spawn: None }).collect();
    compile_all(&sources)
}

#[test]
fn a_class_may_depend_on_one_that_is_written_after_it() {
    let classes = compiled(&[
        ("c", Some("member('a') and not member('b')")),
        ("a", Some("member('b') or true")),
        ("b", Some("false")),
    ])
    .unwrap();
    let payload = discover(1).payload();
    assert_eq!(classes.members(&packet(&payload)).iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_class_depends_on_the_path_where_it_or_what_it_asks_for_names_a_relay_agent_or_where_a_message_came_in() {
    let of = |condition: &str| {
        let classes = compiled(&[("asking", Some("not member('a')")), ("a", Some(condition))]).unwrap();
        let each: Vec<bool> = classes.iter().map(|class| class.depends_on_path()).collect();
        assert_eq!(each[0], each[1], "{condition}");
        each[1]
    };
    for condition in [
        "relay.circuit-id == 'x'",
        "relay.exists",
        "option[82].option[1] == 'x'",
        "giaddr == 10.0.0.1",
        "hops > 1",
        "interface == 'eth1'",
        "vlan.outer == 7",
        "substring(concat(relay[1], 'y'), 0, 1) == 'x'",
    ] {
        assert!(of(condition), "{condition}");
    }
    for condition in ["option[60] == 'x'", "hw_address == 02:00:00:00:00:01", "known", "ciaddr == 10.0.0.1", "secs > 1"]
    {
        assert!(!of(condition), "{condition}");
    }
}

#[test]
fn a_circle_of_classes_is_refused_with_all_of_it() {
    let faults =
        compiled(&[("a", Some("member('b')")), ("b", Some("member('c')")), ("c", Some("member('b')"))]).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!((faults[0].class, faults[0].part), (2, Part::Condition));
    assert!(faults[0].fault.message.contains("b -> c -> b"), "{faults:#?}");
    let itself = compiled(&[("a", Some("member('a')"))]).unwrap_err();
    assert!(itself[0].fault.message.contains("a -> a"), "{itself:#?}");
}

#[test]
fn names_of_classes_are_there_once_and_not_empty() {
    let faults = compiled(&[("a", Some("true")), ("a", Some("true")), ("", Some("true"))]).unwrap_err();
    let parts: Vec<(usize, Part)> = faults.iter().map(|fault| (fault.class, fault.part)).collect();
    assert_eq!(parts, [(1, Part::Name), (2, Part::Name)]);
    let names: Vec<String> = (0..300).map(|i| i.to_string()).collect();
    let many: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), Some("true"))).collect();
    assert!(compiled(&many).unwrap_err()[0].fault.message.contains("there may be 256"));
}

#[test]
fn classes_that_ask_whether_the_client_is_known_are_decided_once_that_is() {
    let classes = compiled(&[
        ("all", Some("true")),
        ("paid", Some("known")),
        ("unpaid", Some("not member('paid')")),
        ("vip", None),
    ])
    .unwrap();
    let payload = discover(1).payload();
    let early = classes.early_members(&packet(&payload));
    assert_eq!(early.iter().collect::<Vec<_>>(), [0]);
    let known = Packet { known: true, ..packet(&payload) };
    assert_eq!(classes.late_members(&known, early).iter().collect::<Vec<_>>(), [0, 1]);
    let with_vip: ClassSet = early.iter().chain([3]).collect();
    assert_eq!(classes.late_members(&packet(&payload), with_vip).iter().collect::<Vec<_>>(), [0, 2, 3]);
}

#[test]
fn a_spawned_class_has_those_packets_that_have_a_value() {
    let spawned = |condition| ClassSource { name: "circuit", condition, spawn: Some("relay.circuit-id") };
    let classes = compile_all(&[spawned(None)]).unwrap();
    let payload = message().payload();
    let members = classes.members(&packet(&payload));
    assert!(members.contains(0));
    assert_eq!(classes.with_value(0, &packet(&payload), &members, <[u8]>::to_vec), Some(b"eth7".to_vec()));
    let without = discover(1).payload();
    assert!(!classes.members(&packet(&without)).contains(0));
    let never = compile_all(&[spawned(Some("false"))]).unwrap();
    assert!(!never.members(&packet(&payload)).contains(0));
    let faults = compile_all(&[ClassSource { spawn: Some("relay.exists"), ..spawned(None) }]).unwrap_err();
    assert_eq!(faults[0].part, Part::Spawn);
    assert!(faults[0].fault.message.contains("`relay.exists` is a condition; expected bytes"), "{faults:#?}");
}

#[test]
fn the_option_82_of_a_unicast_without_a_relay_agent_is_what_is_recalled_and_not_what_it_says() {
    let payload = discover(1).option(82, b"\x01\x01a").payload();
    let source = ClassSource { name: "it", condition: Some("relay.circuit-id == 'a'"), spawn: None };
    let classes = compile_all(&[source]).unwrap();
    let is_met =
        |destination, recalled| classes.members(&Packet { destination, recalled, ..packet(&payload) }).contains(0);
    let server = Ipv4Addr::new(192, 0, 2, 1);
    assert!(is_met(Ipv4Addr::BROADCAST, None), "on its own link");
    assert!(!is_met(server, None));
    assert!(!is_met(server, Some(&b"\x01\x01b"[..])));
    assert!(is_met(server, Some(&b"\x01\x01a"[..])));
}
