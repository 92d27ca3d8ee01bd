//! `docs/options.md` against the registry, and its examples against the reader.

use std::fmt::Write as _;

use super::*;
use crate::wire::registry::{self, KIND_NAMES, Kind, Setter};

const DOCUMENT: &str = include_str!("../../../docs/options.md");
const MARK: &str = "<!-- What follows is made from the sources. -->\n";

/// A table's cell: a bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The tables of types and of options.
fn tables() -> String {
    let mut text = String::from("\n## Types\n\n| type | a value is |\n|---|---|\n");
    let special =
        [Kind::Suboptions, Kind::VendorClasses, Kind::VendorOptions, Kind::SipServers, Kind::IpLists, Kind::Uris];
    for kind in KIND_NAMES.into_iter().map(|(_, kind)| kind).chain(special) {
        writeln!(text, "| {} | {} |", kind.name(), cell(&kind.expected())).unwrap();
    }
    text.push_str(
        "\n## All options of the registry\n\n| code | name | type | set by | source |\n|---|---|---|---|---|\n",
    );
    for option in registry::all() {
        let names: Vec<String> = option.names.iter().map(|name| format!("`{name}`")).collect();
        let setter = match option.setter {
            Setter::Configuration => "the configuration",
            Setter::Other(why) => why,
        };
        let kind = option.kind.name();
        writeln!(text, "| {} | {} | {kind} | {setter} | {} |", option.code, names.join(", "), option.source).unwrap();
    }
    text
}

#[test]
fn the_document_of_options_is_that_of_the_registry() {
    let (head, rest) = DOCUMENT.split_once(MARK).unwrap();
    let made = tables();
    if rest != made {
        let path = std::env::temp_dir().join("options.md");
        std::fs::write(&path, format!("{head}{MARK}{made}")).unwrap();
        panic!("docs/options.md is not what the sources say: replace it with {}", path.display());
    }
}

#[test]
fn the_examples_of_the_document_are_taken() {
    let head = "[[interface]]\nname = \"eth1\"\n";
    let subnet = "[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10\"]\n";
    for (count, example) in DOCUMENT.split("```toml\n").skip(1).enumerate() {
        let example =
            example.split("```").next().unwrap().replace("[subnet.options]", &format!("{subnet}[subnet.options]"));
        let checked =
            parse("f", &format!("{head}{example}"), &AnyMachine).unwrap_or_else(|why| panic!("{count}: {why}"));
        assert!(checked.config.subnets[0].options.iter().count() > 2, "{count}");
    }
}

/// A value of a kind, as a file has it.
fn sample(kind: &Kind) -> String {
    match kind {
        Kind::Empty => "\"\"",
        Kind::Ip => "\"192.0.2.1\"",
        Kind::Ips => "[\"192.0.2.9\"]",
        Kind::IpPairs => "[\"198.51.100.7 via 192.0.2.1\"]",
        Kind::IpMasks => "[\"198.51.100.0/24\"]",
        Kind::Ip6 => "\"2001:db8::1\"",
        Kind::Ip6s => "[\"2001:db8::1\"]",
        Kind::Bool => "true",
        Kind::U8 | Kind::U16 | Kind::U32 => "7",
        Kind::I32 => "-7",
        Kind::U8s | Kind::U16s => "[1, 2, 3]",
        Kind::Text | Kind::DomainName => "\"a.x\"",
        Kind::Texts | Kind::DomainNames | Kind::SearchList | Kind::SipServers | Kind::Uris => "[\"a.x\"]",
        Kind::Hex => "\"01:02\"",
        Kind::Routes => "[\"198.51.100.0/24 via 192.0.2.1\"]",
        Kind::IpLists => "[[\"192.0.2.1\"]]",
        Kind::Suboptions => "{ options = { 1 = { u8 = 1 } } }",
        Kind::VendorClasses => "{ enterprise = 1, string = \"x\" }",
        Kind::VendorOptions => "{ enterprise = 1, options = { 1 = { u8 = 1 } } }",
        Kind::Record(kinds) => return format!("[{}]", kinds.iter().map(sample).collect::<Vec<_>>().join(", ")),
    }
    .to_owned()
}

/// dhcproto has types of its own for most options: a wrong one here would be read as something else, or not at all.
#[test]
fn another_decoder_reads_each_option_of_the_registry_as_it_was_written() {
    use dhcproto::{Decodable as _, Encodable as _, v4};
    let (mut known, mut other) = (0, Vec::new());
    // It writes a client's FQDN in another form (RFC 4702 2.3).
    let settable = |option: &&registry::Definition| option.setter == Setter::Configuration && option.code != 81;
    for option in registry::all().iter().filter(settable) {
        let name = option.names[0];
        let table: toml::Table = format!("v = {}", sample(&option.kind)).parse().unwrap();
        let data = Definitions::default().encode(option.code, &table["v"]).unwrap().data;
        let bytes = [&[option.code, data.len() as u8][..], &data, &[255]].concat();
        let read = v4::DhcpOptions::decode(&mut v4::Decoder::new(&bytes));
        let Ok(read) = read else {
            other.push(format!("{name}: {read:?}"));
            continue;
        };
        // The code is not compared: it writes 37 as 23, which is of the same type.
        if read.to_vec().unwrap().get(1..) != bytes.get(1..) {
            other.push(format!("{name}: {read:?}"));
        }
        known += usize::from(!read.iter().any(|(_, option)| matches!(option, v4::DhcpOption::Unknown(_))));
    }
    assert_eq!(other, [] as [&str; 0]);
    assert!(known > 60, "{known} are known to it");
}

#[test]
fn every_option_of_the_registry_that_may_be_set_takes_a_value_of_its_type() {
    for option in registry::all() {
        let value = sample(&option.kind);
        for name in option.names.iter().map(|name| (*name).to_owned()).chain([option.code.to_string()]) {
            let text = format!(
                "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10\"]\n[subnet.options]\n{name} = {value}\n"
            );
            let read = parse("f", &text, &AnyMachine);
            match option.setter {
                Setter::Configuration => {
                    let config = read.unwrap_or_else(|why| panic!("{name}: {why}")).config;
                    assert!(config.subnets[0].options.get(option.code).is_some(), "{name}");
                }
                Setter::Other(why) => {
                    let error = read.unwrap_err().to_string();
                    assert!(error.contains("cannot be set here: ") && error.contains(why), "{name}: {error}");
                }
            }
        }
    }
}

#[test]
fn the_examples_of_the_document_of_addressing_are_taken() {
    let document = include_str!("../../../docs/addressing.md");
    let examples: Vec<&str> =
        document.split("```toml\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        let text = format!("[[interface]]\nname = \"eth1\"\n[defaults]\nserver_id = \"198.51.100.1\"\n{example}");
        let checked = parse("f", &text, &AnyMachine).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(checked.warnings, []);
    }
    let kinds = IdKind::ALL.map(|kind| document.find(&format!("| `{}` |", kind.name())).unwrap());
    assert!(kinds.is_sorted(), "in the order in which they are looked for");
}

#[test]
fn the_example_of_the_document_of_leasequery_is_taken_and_its_figures_are_true() {
    let document = include_str!("../../../docs/leasequery.md");
    let example = document.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let subnet = "[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10\"]\n";
    let text = format!("[[interface]]\nname = \"eth1\"\n{subnet}{example}");
    let checked = parse("f", &text, &AnyMachine).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(checked.warnings, []);
    let least = parse("f", &text.replace("options =", "# options ="), &AnyMachine).unwrap().config.leasequery.unwrap();
    let line = document.lines().find(|line| line.starts_with("- `options` is ")).unwrap();
    let named: Vec<u8> = line.split('`').skip(3).step_by(2).map(|name| registry::by_name(name).unwrap().code).collect();
    let rest = document.split_once(line).unwrap().1.lines().nth(1).unwrap();
    assert!(rest.contains("unless set"), "all of the list is on one line");
    assert_eq!(least.options, crate::wire::options::Codes::of(&named));
    assert!(document.contains(&format!("up\n  to {}", crate::leasequery::index::MOST_FOUND)));
}

#[test]
fn the_example_of_the_document_of_the_ping_check_shows_the_defaults_truly() {
    let document = include_str!("../../../docs/ping-check.md");
    let example = document.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let with = |text: &str| parse("f", text, &AnyMachine).unwrap_or_else(|why| panic!("{why}")).config;
    let rest = "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.9\"]\n";
    let least = with(&format!("[ping_check]\nenabled = true\n{rest}")).ping_check;
    assert!(least.is_some());
    assert_eq!(with(&format!("{example}{rest}")).ping_check, least);
}
