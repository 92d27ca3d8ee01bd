//! Options from the text of a configuration to the bytes of a reply.

use super::*;
use crate::config::{Config, Subnets, parse};

/// A bed whose subnet has these options, read as from a file.
fn with_options(options: &str) -> Bed {
    let text = format!(
        "[[interface]]\nname = \"lan0\"\n{options}\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.19\"]\n"
    );
    let read = parse("test", &text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config;
    Bed::with(move |config: &mut Config| {
        let mut subnets = config.subnets.to_vec();
        subnets[0].options = read.subnets[0].options.clone();
        config.subnets = Subnets::new(subnets);
    })
}

/// What an option of the offer says to a client that asks for it; nothing where it does not ask.
fn offered(options: &str, code: u8) -> Vec<u8> {
    let mut bed = with_options(options);
    assert_eq!(bed.reply(&discover(1).option(55, &[1])).option(code), None, "nobody asked");
    bed.reply(&discover(2).option(55, &[code])).option(code).unwrap_or_else(|| panic!("option {code}")).to_vec()
}

#[test]
fn searchlists_are_encoded_using_the_technique_of_rfc_1035_4_1_4() {
    // The example of RFC 3397 2.
    let options = "[defaults.options]\ndomain-search = [\"eng.apple.com.\", \"marketing.apple.com.\"]";
    assert_eq!(offered(options, 119), b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04");
}

#[test]
fn vendors_are_uniquely_identified_by_their_enterprise_number() {
    let options = "[defaults.options]\nvendor-identifying-options = [\n\
                   { enterprise = 4491, options = { 2 = { ip = \"192.0.2.9\" } } },\n{ enterprise = 9, options = { 2 = { u8 = 7 } } },\n]";
    assert_eq!(offered(options, 125), b"\0\0\x11\x8b\x06\x02\x04\xc0\0\x02\x09\0\0\0\x09\x03\x02\x01\x07");
}

#[test]
fn the_captive_portals_uri_is_in_option_114() {
    let options = "[defaults.options]\ncaptive-portal = \"https://portal.example.net/api\"";
    assert_eq!(offered(options, 114), b"https://portal.example.net/api");
}

#[test]
fn classless_routes_have_the_significant_octets_of_their_destinations() {
    // Of the examples of RFC 3442.
    let options = "[defaults.options]\nclassless-static-routes = [\"0.0.0.0/0 via 10.0.0.1\", \"10.229.0.128/25 via 10.229.0.1\"]";
    assert_eq!(offered(options, 121), [0, 10, 0, 0, 1, 25, 10, 229, 0, 128, 10, 229, 0, 1]);
}

#[test]
fn an_option_and_a_space_of_ones_own_are_sent_as_they_are_defined() {
    let options = "[[option_definition]]\ncode = 224\nname = \"site\"\ntype = \"u8, ip\"\n\
                   [[option_definition]]\nspace = \"acs\"\ncode = 1\nname = \"url\"\ntype = \"string\"\n\
                   [defaults.options]\nsite = [7, \"192.0.2.9\"]\n\
                   vendor-encapsulated-options = { space = \"acs\", options = { url = \"u\", 2 = { u16 = 5 } } }";
    assert_eq!(offered(options, 224), [7, 192, 0, 2, 9]);
    assert_eq!(offered(options, 43), b"\x01\x01u\x02\x02\0\x05");
}
