//! The expression language of classes: read, printed, compiled, asked. Input: the expression's text up to the first zero, then
//! the packet: flags, fields of the header, options.

use std::net::Ipv4Addr;

use dhcp_xdp::{
    class::{ClassFault, ClassSource, Classes, MAX_TEXT, Packet, SCRATCH},
    wire::{dhcp::Header, options::Options, registry},
};

use crate::{Seed, input::Input};
use ast::{Comparison, Item, Key, Kind, Node};
use names::{NUMBERS, RELAY_SUB_OPTIONS};
use walk::{Walk, without_places};

/// The language's own sources: trees are no part of the library's interface.
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the library's, of which this uses a part")]
#[path = "../../dhcp-xdp-user/src/class/ast.rs"]
mod ast;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "as above")]
#[path = "../../dhcp-xdp-user/src/class/fault.rs"]
mod fault;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "as above")]
#[path = "../../dhcp-xdp-user/src/class/field.rs"]
mod field;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "as above")]
#[path = "../../dhcp-xdp-user/src/class/lex.rs"]
mod lex;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "as above")]
#[path = "../../dhcp-xdp-user/src/class/names.rs"]
mod names;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "as above")]
#[path = "../../dhcp-xdp-user/src/class/parse.rs"]
mod parse;
#[allow(missing_docs, unreachable_pub, reason = "as above")]
#[path = "../../dhcp-xdp-user/src/class/tests/walk.rs"]
mod walk;

/// Options of an expression, by name.
fn option_named(name: &str) -> Result<u8, String> {
    registry::by_name(name).map(|option| option.code).ok_or_else(|| format!("no option `{name}`"))
}

/// What is read of a text is read again of what it is printed as; of any packet the machine says what a plain walk over the tree
/// says; faults lie within the text, and are told.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let text = String::from_utf8_lossy(&data[..end]);
    let mut input = Input::new(data.get(end + 1..).unwrap_or_default());
    let flags = input.byte();
    let is_other = flags & 1 != 0;
    let vlans = [2, 4].map(|flag| (flags & flag != 0).then(|| input.u16() & 0xfff));
    let message = message(&mut input);
    let packet = Packet {
        header: Header::new_checked(&message).expect("made so"),
        interface: "eth1",
        destination: Ipv4Addr::new(192, 0, 2, 1),
        vlans,
        known: flags & 8 != 0,
        recalled: None,
    };

    let tree = parse::parse(&text);
    if let Err(faults) = &tree {
        assert!(!faults.is_empty(), "refused without a reason");
        faults.iter().for_each(|fault| lies_within(&fault.span, &text));
    }
    let other = ClassSource { name: "other", condition: Some(if is_other { "true" } else { "false" }), spawn: None };
    let compile =
        |condition, spawn| Classes::compile(&[ClassSource { name: "it", condition, spawn }, other], &option_named);
    let (as_condition, as_bytes) = (compile(Some(&*text), None), compile(None, Some(&*text)));
    let refused = |compiled: &Result<Classes, Vec<ClassFault>>| {
        for ClassFault { fault, .. } in compiled.as_ref().err().into_iter().flatten() {
            lies_within(&fault.span, &text);
        }
        for ClassFault { fault, .. } in compiled.as_ref().err().into_iter().flatten().take(8) {
            assert!(fault.with_excerpt(&text).starts_with(&fault.message));
        }
        compiled.as_ref().is_err_and(|faults| !faults.is_empty())
    };
    let is_refused = [refused(&as_condition), refused(&as_bytes)];
    let Ok(tree) = tree else {
        assert_eq!(is_refused, [true; 2], "what cannot be read is refused");
        return;
    };
    assert!(text.len() <= MAX_TEXT);
    // What is printed may be longer, by a byte that was one character and becomes four, and by spaces.
    let printed = tree.to_string();
    if printed.len() <= MAX_TEXT {
        let again =
            parse::parse(&printed).unwrap_or_else(|faults| panic!("{text:?} printed as {printed:?}: {faults:?}"));
        assert_eq!(without_places(&again), without_places(&tree), "{text:?} printed as {printed:?}");
        assert_eq!(again.to_string(), printed);
    }
    assert!(is_refused[0] || is_refused[1], "an expression has one type");
    if let Ok(classes) = &as_condition {
        let walk = Walk::new(packet, is_other, &option_named);
        let expected = walk.condition(&tree);
        let found = classes.members(&packet).contains(0);
        assert!(found == expected || !walk.fits(), "{text:?} is {found}, and {expected} by a plain walk");
    }
    if let Ok(classes) = &as_bytes {
        let walk = Walk::new(packet, is_other, &option_named);
        let expected = walk.bytes(&tree).unwrap_or_default();
        let members = classes.members(&packet);
        let found = classes.with_value(0, &packet, &members, <[u8]>::to_vec).expect("it is spawned");
        assert!(found == expected || !walk.fits(), "{text:?} is {found:?}, and {expected:?} by a plain walk");
        assert!(!walk.fits() || members.contains(0) != expected.is_empty());
    }
}

fn lies_within(span: &std::ops::Range<usize>, text: &str) {
    assert!(span.start <= span.end && span.end <= text.len(), "{span:?} of {} bytes", text.len());
    assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{span:?} of {text:?}");
}

/// A message: what expressions look at in a header, then options as they come.
fn message(input: &mut Input<'_>) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[0] = 1;
    message[1] = input.byte();
    message[2] = input.byte() % 17;
    message[3] = input.byte();
    for field in [4..8, 8..10, 10..12, 12..16, 24..28, 28..44] {
        let taken = input.bytes(field.len());
        message[field.start..field.start + taken.len()].copy_from_slice(taken);
    }
    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
    message.extend_from_slice(input.rest());
    message
}

/// A packet with something of everything.
fn packet() -> Vec<u8> {
    let mut packet = vec![0b1110, 0, 100, 0, 7, 1, 6, 1];
    packet.extend([0, 0, 0, 7, 0, 9, 0x80, 0, 10, 0, 0, 9, 10, 0, 0, 1]);
    packet.extend([2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend([53, 1, 1, 60, 8]);
    packet.extend(b"docsis3:");
    packet.extend([82, 14, 1, 4]);
    packet.extend(b"eth7");
    packet.extend([2, 6, 2, 0, 0, 0, 0, 7]);
    packet.extend([125, 9, 0, 0, 0x11, 0x8b, 4, 1, 2, 3, 4]);
    packet.extend([124, 7, 0, 0, 0x11, 0x8b, 2, b'a', b'b']);
    packet.extend([43, 6, 1, 1, b'x', 2, 1, b'y', 77, 2, b'a', b'b', 77, 1, b'c', 93, 2, 0, 7, 255]);
    packet
}

/// The examples of docs/classes.md in kind, and what has bounds.
pub fn seeds() -> Vec<Seed> {
    let with_packet = |text: &str| [text.as_bytes(), &[0], &packet()].concat();
    let nested = |deep: usize| format!("{}true{}", "(".repeat(deep), ")".repeat(deep));
    let fixed: [(&'static str, &str); 25] = [
        ("exists", "option[60].exists and not option[77].exists"),
        ("starts-with", "starts_with(option[vendor-class-identifier], 'docsis')"),
        ("substring", "substring(option[60], 0, 6) == \"docsis\" or substring(option[60], -1, 1) == ':'"),
        ("hw-address", "substring(hw_address, 0, 3) in (02:00:00, 02:00:01)"),
        ("prefixes", "giaddr in 10.0.0.0/8 and giaddr not in (10.1.0.0/16, 10.2.0.0-10.2.0.255)"),
        ("relay", "relay.circuit-id == 'eth7' and relay.remote-id == hw_address and relay[circuit-id].exists"),
        ("relay-as-option", "option[82].option[1] == relay[1] and relay.option[remote-id].exists"),
        ("concat", "concat(relay.circuit-id, '/', substring(relay.remote-id, -1, 1)) == \"eth7/\\x07\""),
        ("lengths", "length(relay.circuit-id) <= 8 and message_length > 240"),
        ("vlans", "vlan.outer in (100-199, 300) and not vlan.inner.exists"),
        ("message-types", "message_type in (discover, request) and message_type != 8"),
        ("parts", "(option[60].text == 'PXEClient' or relay.exists) and htype == 1"),
        ("number", "option[93].number == 7 or not option[93].exists"),
        ("address", "option[50].address == 192.0.2.1 or ciaddr == 10.0.0.9"),
        (
            "enterprises",
            "vendor[4491].option[1] == 0x0203 or vendor-class[4491].exists or option[125].vendor[9].exists",
        ),
        ("joined", "upper(option[77]) == 'ABC' and contains(lower(option[77]), 'bc') and ends_with(option[77], 'c')"),
        ("member", "member('other') and known or flags.broadcast"),
        ("comment", "true # and false\n and not false"),
        ("bytes", "concat(option[43].option[2], interface, 0x00ff)"),
        (
            "beyond-the-ends",
            "substring(option[60], 2, 999) != '' and substring(option[60], 999, 1) == '' and substring(option[60], -999, 2) == ''",
        ),
        ("negative", "substring(option[60], -4, all) == '' or secs < 60"),
        ("wrong-words", "option[77] = 'voip' and gaddr == 1 or ) x"),
        ("wrong-types", "option[60] == 5 and hops.exists.exists and length(giaddr) > 'a'"),
        ("unfinished", "(option[60].text == \"a"),
        ("not-ascii", "option[12] == 'f\u{f6}\u{f6}' and \u{3bb}"),
    ];
    let mut seeds: Vec<Seed> = fixed.into_iter().map(|(name, text)| (name, with_packet(text))).collect();
    seeds.extend([
        ("nested-as-deep-as-allowed", with_packet(&nested(23))),
        ("nested-too-deep", with_packet(&nested(5000))),
        ("not-too-often", with_packet(&format!("{} known", "not ".repeat(4000)))),
        (
            "longer-than-the-scratch",
            with_packet(&format!("length(concat({}option[60])) > 7", "hw_address, ".repeat(15))),
        ),
        ("many-operands", with_packet(&vec!["known"; 1000].join(" or "))),
        ("longest", with_packet(&format!("option[60] == '{}'", "a".repeat(16 * 1024 - 16)))),
        ("too-long", with_packet(&format!("option[60] == '{}'", "a".repeat(16 * 1024)))),
    ]);
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_what_their_names_say() {
        let refused =
            ["wrong-words", "wrong-types", "unfinished", "not-ascii", "nested-too-deep", "not-too-often", "too-long"];
        for (name, seed) in seeds() {
            let end = seed.iter().position(|byte| *byte == 0).unwrap();
            let text = String::from_utf8_lossy(&seed[..end]);
            let compiled = [(Some(&*text), None), (None, Some(&*text))].map(|(condition, spawn)| {
                let other = ClassSource { name: "other", condition: Some("true"), spawn: None };
                Classes::compile(&[ClassSource { name: "it", condition, spawn }, other], &option_named)
            });
            let is_accepted = compiled.iter().filter(|compiled| compiled.is_ok()).count();
            assert_eq!(is_accepted, usize::from(!refused.contains(&name)), "{name}: {compiled:?}");
        }
    }
}
