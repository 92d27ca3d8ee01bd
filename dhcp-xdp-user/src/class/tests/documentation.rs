//! docs/classes.md: what it shows is accepted, and means what it says.

use super::{super::*, compile_all, language::packet};
use crate::engine::testing::{Msg, discover};

const DOCUMENT: &str = include_str!("../../../../docs/classes.md");

/// The packet that the document's examples are about.
fn message() -> Msg {
    discover(7).option(60, b"docsis3.1:").option(82, b"\x01\x04eth7\x02\x06\x02\x00\x00\x00\x00\x07").relayed()
}

/// The lines of all blocks of a kind.
fn blocks(kind: &str) -> Vec<&'static str> {
    let open = format!("```{kind}\n");
    DOCUMENT.split(open.as_str()).skip(1).flat_map(|rest| rest.split("```").next().unwrap().lines()).collect()
}

fn compile(expression: &str) -> Classes {
    let class = |name, condition| ClassSource { name, condition: Some(condition), spawn: None };
    let sources = [class("it", expression), class("voip", "false"), class("modem", "true")];
    compile_all(&sources).unwrap_or_else(|faults| panic!("{expression}: {faults:#?}"))
}

#[test]
fn the_examples_are_true_of_the_packet_that_they_are_about() {
    let payload = message().payload();
    let examples = blocks("expression");
    assert!(examples.len() >= 15, "{examples:?}");
    for example in examples {
        assert!(compile(example).members(&packet(&payload)).contains(0), "{example}");
    }
}

#[test]
fn the_table_for_who_comes_from_elsewhere_is_in_our_language() {
    let rows = DOCUMENT
        .split("| Kea | ISC dhcpd | here |")
        .nth(1)
        .unwrap()
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| "));
    let ours: Vec<&str> = rows.map(|row| row.trim_end_matches(" |").rsplit(" | ").next().unwrap()).collect();
    assert!(ours.len() > 25);
    let expressions: Vec<&str> = ours
        .iter()
        .filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`'))
        .filter(|cell| !cell.contains("` "))
        .collect();
    assert!(expressions.len() + 3 == ours.len(), "all but what is no expression: {ours:#?}");
    for expression in expressions {
        compile(expression);
    }
}

#[test]
fn every_name_of_the_language_is_documented() {
    let fields = names::FIELDS.iter().map(|(name, ..)| *name);
    let functions = names::FUNCTIONS.iter().map(|(name, _)| *name);
    let sub_options = names::RELAY_SUB_OPTIONS.iter().map(|(name, _)| *name);
    let numbers = names::NUMBERS.iter().map(|(name, _)| *name);
    for name in fields.chain(functions).chain(sub_options).chain(numbers).chain(names::ROOTS.iter().copied()) {
        let is_there = [format!("`{name}`"), format!("`{name}("), format!("`{name}["), format!("`{name}.")];
        assert!(is_there.iter().any(|written| DOCUMENT.contains(written.as_str())), "{name}");
    }
    for name in names::ATTRIBUTES {
        assert!(DOCUMENT.contains(&format!("`.{name}")), ".{name}");
    }
    let bounds = [
        format!("{MAX_CLASSES} classes"),
        format!("may name {} options", packet::MAX_CODES),
        format!("{} KiB long", MAX_TEXT / 1024),
        format!("nested {} deep", parse::MAX_DEPTH),
        format!("{SCRATCH} bytes an expression"),
    ];
    for bound in bounds {
        assert!(DOCUMENT.replace("\n", " ").contains(&bound), "{bound}");
    }
}
