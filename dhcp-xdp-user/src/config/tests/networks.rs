//! Shared networks and VLANs.

use super::*;

#[test]
fn two_subnets_on_one_link_need_a_network_or_vlans() {
    let on = |more: &str| format!("{more}\ninterface = \"eth1\"");
    let two = |one: &str, other: &str| {
        format!("{LAN}{}{}", member("198.51.100.0/24", &on(one)), member("203.0.113.0/24", &on(other)))
    };
    assert_error(&two("", ""), "14:13", "eth1 serves subnet 198.51.100.0/24 already");
    assert_error(&two("vlan = 7", "vlan = \"1-10\""), "14:13", "eth1 serves subnet 198.51.100.0/24 already");
    assert_error(&two("vlan = \"7.8\"", "vlan = 7\ninner = \"1-4094\""), "15:13", "serves subnet");
    for (one, other) in [
        ("", "vlan = 7"),
        ("vlan = 7", "vlan = \"7.8\""),
        ("vlan = \"7.8\"", "vlan = \"7.9\""),
        ("vlan = \"1-6\"", "vlan = 7"),
    ] {
        assert!(parse("f", &two(one, other), &Lab).is_ok(), "{one} and {other}");
    }
    let network = "[[network]]\nname = \"n\"\n";
    let shared = two("network = \"n\"", "network = \"n\"") + network;
    assert_eq!(parse("f", &shared, &Lab).unwrap().config.subnets.network(1), [0, 1]);
    assert_error(&(two("network = \"n\"\nvlan = 7", "network = \"n\"") + network), "14:11", "differ in `vlan`");
}

#[test]
fn a_network_is_named_by_its_subnets_or_lists_them() {
    let network = "[[network]]\nname = \"n\"\nsubnets = [\"198.51.100.0/24\"]\nlease_time_s = 700\n[network.options]\ndomain-name = \"n.example\"\n";
    let text = format!(
        "{LAN}{network}{}{}",
        member("198.51.100.0/24", ""),
        member("203.0.113.0/24", "network = \"n\"\nlease_time_s = 800")
    );
    let config = parse("f", &text, &Lab).unwrap_or_else(|why| panic!("{why}")).config;
    assert_eq!((config.subnets.network(0), config.subnets.network_of(1)), (&[0, 1][..], 0));
    assert_eq!(config.subnets.iter().map(|subnet| subnet.lease.default_s).collect::<Vec<_>>(), [700, 800]);
    assert!(config.subnets.iter().all(|subnet| subnet.options.get(15).is_some()));
}

#[test]
fn what_is_wrong_with_a_network_is_told() {
    let with = |text: &str| format!("{LAN}{}{text}", member("198.51.100.0/24", ""));
    assert_error(&with("[[network]]\n"), "7:1", "`name` is missing");
    assert_error(
        &with("[[network]]\nname = \"n\"\nsubnets = [\"10.0.0.0/24\"]\n"),
        "9:12",
        "no [[subnet]] has the prefix 10.0.0.0/24",
    );
    assert_error(&with("network = \"m\"\n"), "7:11", "no [[network]] has the name `m`");
    assert_error(&with("vlan = 7\n"), "7:8", "has no effect without `interface`");
    let both = "[[network]]\nname = \"n\"\nsubnets = [\"198.51.100.0/24\"]\n[[network]]\nname = \"m\"\nsubnets = [\"198.51.100.0/24\"]\n";
    assert_error(&with(both), "12:12", "198.51.100.0/24 is in network `n` already");
    assert!(warnings(&with("[[network]]\nname = \"n\"\n"))[0].contains("has no subnet"));
}

#[test]
fn wrong_vlans_are_told() {
    let with = |vlan: &str| format!("{LAN}{}", member("198.51.100.0/24", &format!("interface = \"eth1\"\n{vlan}")));
    for (vlan, place, why) in [
        ("vlan = 0", "8:8", "found `0`; expected a VLAN as 100"),
        ("vlan = 4095", "8:8", "of 1 to 4094"),
        ("vlan = \"9-7\"", "8:8", "found `9-7`"),
        ("vlan = \"7.x\"", "8:8", "found the inner VLAN `x`"),
        ("vlan = \"1-2.3-4\"", "8:8", "expected one outer VLAN"),
        ("vlan = \"1.2\"\ninner = 3", "9:9", "the inner VLAN is set twice"),
        ("inner = 3", "8:9", "has no effect without `vlan`"),
        ("vlan = true", "8:8", "found true; expected a whole number, or a text"),
    ] {
        assert_error(&with(vlan), place, why);
    }
}
