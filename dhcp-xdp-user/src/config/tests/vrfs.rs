//! VPNs: names, numbers, and addresses that several of them have.

use super::*;
use crate::lease::{Space, SpacedAddress};

fn within(prefix: &str, vrf: &str) -> String {
    member(prefix, &format!("vrf = \"{vrf}\""))
}

fn config(text: &str) -> Config {
    parse("f", text, &Lab).unwrap_or_else(|why| panic!("{why}")).config
}

/// Records of journals have these: they must be the same in every version.
#[test]
fn a_vpns_own_number_never_changes() {
    let number = |vrf: &str| config(&format!("{LAN}{}", within("198.51.100.0/24", vrf))).subnets[0].space.0;
    assert_eq!(["red", "blue", "customer-17", "vpn-id:00:00:01:00:00:00:02"].map(number), NUMBERS);
    assert_eq!(number("vpn-id:00-00-01-00-00-00-02"), NUMBERS[3], "however it is written");
    assert_eq!(number("global"), 0);
}

const NUMBERS: [u16; 4] = [60_734, 58_854, 42_854, 52_424];

#[test]
fn numbers_depend_on_no_order_and_on_no_other_vpn() {
    let spaces = |names: &[&str]| {
        let text: String = names.iter().map(|vrf| within("198.51.100.0/24", vrf)).collect();
        let config = config(&format!("{LAN}{text}"));
        let vrfs = config.subnets.vrfs();
        (vrfs.named("red"), vrfs.named("blue"), vrfs.selected(b"\x00red"))
    };
    let both = spaces(&["red", "blue"]);
    assert_eq!(both, spaces(&["blue", "green", "red"]));
    assert_eq!(spaces(&["red"]), (both.0, None, both.0));
}

#[test]
fn subnets_of_different_vpns_may_overlap_and_those_of_one_may_not() {
    let text = format!(
        "{LAN}{}{}{}{}",
        within("198.51.100.0/24", "red"),
        within("198.51.100.0/24", "blue"),
        within("198.51.100.0/25", "green"),
        member("198.51.100.0/24", ""),
    );
    let config = config(&text);
    assert_eq!(config.address_count(), 3 + 126);
    let address = std::net::Ipv4Addr::new(198, 51, 100, 10);
    let found = |vrf| {
        let space = config.subnets.vrfs().named(vrf).unwrap();
        config.subnets.index_of(SpacedAddress::new(space, address))
    };
    assert_eq!(["red", "blue", "green", "global"].map(found), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(config.lease_table([1, 2]).counts().total, 3 + 126);
    let twice = format!("{LAN}{}{}", within("198.51.100.0/24", "red"), within("198.51.100.128/25", "red"));
    let why = "198.51.100.128/25 overlaps subnet 198.51.100.0/24 of VPN `red`; an address belongs to one subnet";
    assert_error(&twice, "9:10", why);
}

#[test]
fn two_vpns_with_one_number_are_told_how_to_part() {
    let given = |red: u16, blue: u16| {
        format!(
            "{LAN}[[vrf]]\nname = \"red\"\nnumber = {red}\n[[vrf]]\nname = \"blue\"\nnumber = {blue}\n{}",
            within("198.51.100.0/24", "red")
        )
    };
    assert_eq!(config(&given(7, 8)).subnets[0].space, Space(7));
    assert_error(
        &given(7, 7),
        "7:8",
        "VPNs `red` and `blue` have the same number 7 in the journal; give the one that has no leases yet another one, as [[vrf]] name = \"blue\", number = 1",
    );
    assert_error(&given(0, 8), "5:10", "found 0; expected 1 to 65535");
    // One that is written down against another's own number.
    let own = own_number(b"\x00green");
    let text = format!("{LAN}[[vrf]]\nname = \"red\"\nnumber = {own}\n{}", within("198.51.100.0/24", "green"));
    assert_error(&text, "10:7", "VPNs `red` and `green` have the same number");
}

#[test]
fn what_is_wrong_with_a_vpn_is_told() {
    let with = |vrf: &str| format!("{LAN}[[vrf]]\n{vrf}\n{}", member("198.51.100.0/24", ""));
    assert_error(&with("number = 7"), "3:1", "`name` is missing");
    assert_error(&with("name = \"global\""), "4:8", "outside of all VPNs");
    assert_error(&with("name = \" red\""), "4:8", "expected a VPN's name of ASCII letters");
    assert_error(&with("name = \"red\"\n[[vrf]]\nname = \"red\""), "6:8", "VPN `red` is there already");
}

#[test]
fn an_address_that_several_vpns_have_is_reserved_in_the_one_that_is_named() {
    let subnets = format!("{LAN}{}{}", within("198.51.100.0/24", "red"), within("198.51.100.0/24", "blue"));
    let reserving = |more: &str| {
        format!("{subnets}[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"198.51.100.77\"\n{more}\n")
    };
    assert_error(
        &reserving(""),
        "15:11",
        "198.51.100.77 is in subnets of several VPNs; expected `vrf` with one of blue, red",
    );
    assert_error(&reserving("vrf = \"green\""), "16:7", "no subnet is in VPN `green`");
    assert_error(&reserving("vrf = \"global\""), "15:11", "198.51.100.77 is in no subnet");
    let both = reserving("vrf = \"red\"")
        + "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"198.51.100.77\"\nvrf = \"blue\"\n";
    let config = config(&both);
    assert_eq!((config.address_count(), config.lease_table([1, 2]).counts().total), (4, 4));
    let twice = reserving("vrf = \"red\"")
        + "[[reservation]]\nhw_address = \"02:00:00:00:00:02\"\naddress = \"198.51.100.77\"\nvrf = \"red\"\n";
    assert_error(&twice, "17:1", "198.51.100.77 of VPN `red` is reserved already");
    let nowhere =
        format!("{subnets}[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\nhostname = \"a\"\nvrf = \"red\"\n");
    assert_error(&nowhere, "16:7", "says which VPN an `address` is of");
}

#[test]
fn a_subnets_list_of_reservations_is_of_its_vpn() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("r.csv"), "circuit_id,address,vrf\nc,198.51.100.77,\nd,198.51.100.78,blue\n")
        .unwrap();
    let subnet = |vrf: &str| member("198.51.100.0/24", &format!("vrf = \"{vrf}\"\nreservations = \"r.csv\""));
    let read = |text: &str| parse(&dir.path().join("f").display().to_string(), text, &Lab);
    let config = read(&format!("{LAN}{}{}", within("198.51.100.0/24", "red"), subnet("blue"))).unwrap().config;
    let of = |vrf: &str| {
        let space = config.subnets.vrfs().named(vrf).unwrap();
        config.reservations.of_address(SpacedAddress::new(space, [198, 51, 100, 77].into()))
    };
    assert_eq!((of("red"), of("blue")), (None, Some(0)));
    let error = read(&format!("{LAN}{}{}", within("198.51.100.0/24", "blue"), subnet("red"))).unwrap_err().to_string();
    assert!(error.contains("r.csv:3:17: error: vrf: found `blue`; this list is of a subnet in VPN `red`"), "{error}");
}

#[test]
fn this_machines_addresses_are_kept_free_outside_of_vpns_and_in_that_of_their_interface() {
    let own =
        |more: &str| format!("{LAN}[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.1-192.0.2.9\"]\n{more}\n");
    assert_error(&own(""), "5:10", "192.0.2.1 is this machine's own address on eth1");
    config(&own("vrf = \"red\""));
    let on_it = own("vrf = \"red\"\ninterface = \"eth1\"");
    assert_error(&on_it, "5:10", "192.0.2.1 is this machine's own address on eth1");
    let config = config(&on_it.replace("192.0.2.1-", "192.0.2.2-"));
    let leased = |interface, host: u8| config.leases_out_on(interface, [192, 0, 2, host].into());
    assert_eq!([leased("eth1", 2), leased("eth1", 1), leased("eth2", 2)], [true, false, false]);
}

#[test]
fn a_network_puts_its_subnets_into_its_vpn() {
    let network = "[[network]]\nname = \"n\"\nvrf = \"red\"\n";
    let text =
        format!("{LAN}{network}{}{}", member("198.51.100.0/24", "network = \"n\""), member("198.51.100.0/24", ""));
    let config = config(&text);
    assert_eq!(config.subnets.iter().map(|subnet| subnet.space == Space::GLOBAL).collect::<Vec<_>>(), [false, true]);
    let differ = format!(
        "{LAN}{network}{}{}",
        member("198.51.100.0/24", "network = \"n\""),
        member("203.0.113.0/24", "network = \"n\"\nvrf = \"blue\"")
    );
    assert_error(&differ, "15:11", "differ in `vrf`");
    let listed = format!(
        "{LAN}[[network]]\nname = \"n\"\nsubnets = [\"198.51.100.0/24\"]\n{}{}",
        within("198.51.100.0/24", "red"),
        within("198.51.100.0/24", "blue")
    );
    let errors: Vec<String> = errors(&listed).iter().map(ToString::to_string).collect();
    assert!(
        errors[0].contains("subnets of several VPNs have the prefix 198.51.100.0/24; expected network = \"n\""),
        "{errors:?}"
    );
}

#[test]
fn an_address_is_found_in_the_only_space_that_has_it() {
    let text = format!(
        "{LAN}{}{}{}{}",
        within("10.0.0.0/8", "red"),
        within("10.1.0.0/16", "blue"),
        member("10.255.255.0/24", ""),
        within("255.255.255.0/24", "red"),
    );
    let subnets = config(&text).subnets;
    let at = |address: [u8; 4]| subnets.anywhere(address.into());
    assert_eq!(at([9, 255, 255, 255]), Anywhere::Nowhere);
    assert_eq!(at([10, 0, 0, 0]), Anywhere::In(0));
    assert_eq!(at([10, 0, 255, 255]), Anywhere::In(0));
    assert_eq!(at([10, 1, 0, 0]), Anywhere::Several);
    assert_eq!(at([10, 1, 255, 255]), Anywhere::Several);
    assert_eq!(at([10, 2, 0, 0]), Anywhere::In(0));
    assert_eq!(at([10, 255, 255, 0]), Anywhere::Several);
    assert_eq!(at([11, 0, 0, 0]), Anywhere::Nowhere);
    assert_eq!(at([255, 255, 255, 255]), Anywhere::In(3));
    let spaces: Vec<Space> = subnets.spaces_of([10, 1, 0, 1].into()).collect();
    assert_eq!(spaces.len(), 2);
}
