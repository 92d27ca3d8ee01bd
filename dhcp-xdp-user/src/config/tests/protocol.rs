//! Settings of the protocol, pools' own tables and definitions of options.

use super::*;
use crate::lease::Space;

#[test]
fn settings_of_the_protocol_are_checked() {
    assert_subnet_error("identity = \"mac\"\n", "6:12", "identity: found `mac`; expected client-id or hw-address");
    assert_subnet_error("min_secs = 70000\n", "6:12", "found 70000; expected 0 to 65535 seconds");
    assert_subnet_error("bootp_lease_time_s = 0\n", "6:22", "found 0; expected 1 to 315360000 seconds");
    assert_subnet_error("renewal_jitter = 0.6\n", "6:18", "found 0.6; expected a part of t1 and t2 from 0.0 to 0.5");
    assert_subnet_error("scarce_above = 0\n", "6:16", "found 0; expected a part of the subnet's addresses");
    assert_subnet_error(
        &format!("server_name = \"{}\"\n", "x".repeat(64)),
        "6:15",
        "is 64 bytes long; expected at most 63",
    );
    assert_subnet_error("boot_files = { pdp11 = \"x\" }\n", "6:16", "found `pdp11`; expected an architecture's number");
    assert_subnet_error("boot_files = { bios = 5 }\n", "6:23", "found 5; expected a file's name");
    assert_subnet_error("vrf = \"vpn-id:00:11\"\n", "6:7", "found `vpn-id:00:11`; expected seven bytes");
    assert_error(&format!("max_hops = 300\n{HEAD}"), "1:12", "max_hops: found 300; expected 0 to 255 relay agents");
    assert_error(
        &format!("load_balance = {{ buckets = [\"9-300\"] }}\n{HEAD}"),
        "1:29",
        "load_balance.buckets[0]: found `9-300`; expected buckets from 0 to 255",
    );
    assert_error(&format!("load_balance = {{ after_secs = 3 }}\n{HEAD}"), "1:16", "`buckets` is missing");
    let scarce = warnings(&format!("{HEAD}pools = [\"192.0.2.9\"]\nscarce_above = 0.9\n"));
    assert!(scarce[0].contains("7:16: warning: subnet[0].scarce_above: has no effect: min_lease_time_s"), "{scarce:?}");
}

#[test]
fn settings_of_the_protocol_arrive() {
    let text = format!(
        "max_hops = 3\nclient_subnet_selection = true\nload_balance = {{ buckets = [\"0-1\", \"7\"], after_secs = 2 }}\n{HEAD}pools = [\"192.0.2.9\"]\n\
         identity = \"hw-address\"\nmin_secs = 2\nrapid_commit = true\nbootp = true\nipv6_only = true\nauto_configure = true\n\
         server_name = \"boot\"\nboot_file = \"b\"\nboot_files = {{ efi-x64 = \"e\", 0 = \"z\" }}\nvrf = \"red\"\n"
    );
    let config = parse("f", &text, &Lab).unwrap().config;
    let subnet = &config.subnets[0];
    assert_eq!((config.max_hops, config.client_subnet_selection), (3, true));
    let balance = config.load_balance.unwrap();
    assert_eq!((balance.buckets, balance.after_secs), (crate::wire::options::Codes::of(&[0, 1, 7]), 2));
    assert_eq!((subnet.identity, subnet.min_secs, subnet.rapid_commit), (Identity::HwAddress, 2, true));
    assert_eq!((subnet.bootp_lease_s, subnet.ipv6_only, subnet.auto_configure), (Some(u32::MAX), true, Some(true)));
    assert_eq!((&subnet.server_name[..], &subnet.boot_file[..]), (&b"boot"[..], &b"b"[..]));
    assert_eq!(subnet.boot_files, [(0, b"z".to_vec()), (7, b"e".to_vec())]);
    let vrfs = config.subnets.vrfs();
    assert_eq!((vrfs.selected(b"\x00red"), subnet.space.0), (Some(subnet.space), own_number(b"\x00red")));
    assert_eq!((vrfs.selected(b"\x00blue"), vrfs.selected(b"\xff")), (None, Some(Space::GLOBAL)));
}

#[test]
fn each_setting_of_the_protocol_is_the_subnets_own_else_that_of_the_defaults() {
    let settings = |identity: &str, number: u32, is: bool| {
        format!(
            "identity = \"{identity}\"\nmin_secs = {number}\nrapid_commit = {is}\nbootp = {is}\nipv6_only = {is}\n\
             bootp_lease_time_s = {number}\nauto_configure = {is}\nauthoritative = {is}\nserver_id = \"203.0.113.{number}\"\n\
             next_server = \"198.51.100.{number}\"\nserver_name = \"{number}\"\nboot_file = \"{number}\"\n"
        )
    };
    let subnet = |third: u8, settings: &str| {
        format!("[[subnet]]\nprefix = \"192.0.{third}.0/24\"\npools = [\"192.0.{third}.9\"]\n{settings}")
    };
    let text = format!(
        "[[interface]]\nname = \"eth1\"\n[defaults]\n{}{}{}{}",
        settings("hw-address", 7, true),
        subnet(1, ""),
        subnet(2, &settings("client-id", 8, false)),
        subnet(3, "bootp = false\nmin_secs = 0\n"),
    );
    let config = parse("f", &text, &Lab).unwrap().config;
    let of = |subnet: &crate::config::Subnet| {
        let boots = [&subnet.server_name[..], &subnet.boot_file].concat();
        let is = (subnet.rapid_commit, subnet.ipv6_only, subnet.auto_configure, subnet.authoritative);
        (subnet.identity, subnet.server_id.unwrap().octets()[3], subnet.next_server.octets()[3], boots, is)
    };
    let times = |subnet: &crate::config::Subnet| (subnet.min_secs, subnet.bootp_lease_s);
    let defaults = (Identity::HwAddress, 7, 7, b"77".to_vec(), (true, true, Some(true), true));
    let own = (Identity::ClientId, 8, 8, b"88".to_vec(), (false, false, Some(false), false));
    let subnets: Vec<_> = config.subnets.iter().collect();
    assert_eq!([of(subnets[0]), of(subnets[1]), of(subnets[2])], [defaults.clone(), own, defaults]);
    assert_eq!([times(subnets[0]), times(subnets[1]), times(subnets[2])], [(7, Some(7)), (8, None), (0, None)]);
}

#[test]
fn a_pool_of_its_own_table_has_its_options_over_the_subnets() {
    let text = format!(
        "{HEAD}pools = [\"192.0.2.10-192.0.2.19\"]\nexclude = [\"192.0.2.25\"]\n[subnet.options]\ndomain-name = \"a\"\nhost-name = \"h\"\n\
         [[subnet.pool]]\nrange = \"192.0.2.20-192.0.2.29\"\noptions = {{ domain-name = \"b\" }}\n"
    );
    let config = parse("f", &text, &Lab).unwrap().config;
    let subnet = &config.subnets[0];
    let pools: Vec<String> = subnet.pools.iter().map(ToString::to_string).collect();
    assert_eq!(pools, ["192.0.2.10-192.0.2.19", "192.0.2.20-192.0.2.24", "192.0.2.26-192.0.2.29"]);
    let at = |host: u8, code| subnet.options_at([192, 0, 2, host].into()).get(code).unwrap().data.clone();
    assert_eq!((at(19, 15), at(20, 15), at(29, 15), at(30, 15)), (b"a".into(), b"b".into(), b"b".into(), b"a".into()));
    assert_eq!(at(29, 12), b"h");
    assert_subnet_error("[[subnet.pool]]\noptions = { host-name = \"h\" }\n", "6:1", "`range` is missing");
    assert_subnet_error(
        "[[subnet.pool]]\nrange = \"192.0.3.1\"\n",
        "7:9",
        "subnet[0].pool[0].range: 192.0.3.1 is outside of",
    );
    let error = "[[subnet.pool]]\nrange = \"192.0.2.9\"\noptions = { host-name = 5 }\n";
    assert_subnet_error(error, "8:25", "subnet[0].pool[0].options.host-name: found `5`; expected a text");
}

#[test]
fn definitions_of_options_are_checked() {
    let define = |lines: &str| format!("[[option_definition]]\n{lines}\n{HEAD}");
    assert_error(&define("code = 224"), "1:1", "expected `code`, `name` and `type`, as code = 224");
    assert_error(
        &define("code = 0\nname = \"x\"\ntype = \"u8\""),
        "2:8",
        "option_definition[0].code: found 0; expected 1 to 254",
    );
    assert_error(
        &define("code = 224\nname = \"x\"\ntype = \"float\""),
        "4:8",
        "found `float`; expected one of empty, ip",
    );
    assert_error(&define("code = 6\nname = \"x\"\ntype = \"u8\""), "3:8", "option 6 is dns-servers");
}

#[test]
fn what_is_wrong_with_a_computed_option_is_told_at_its_place_in_the_expression() {
    for (options, place, part) in [
        ("host-name = { computed = \"dashed(your_adress)\" }", "7:34", "did you mean"),
        ("host-name = { computed = \"your_address\" }", "7:27", "`your_address` is an address; expected bytes"),
        ("routers = { computed = \"'x'\" }", "7:25", "expected an address"),
        (
            "interface-mtu = { always = true, computed = \"option[60]\" }",
            "7:46",
            "expected a number, as `option[60].number`",
        ),
        (
            "classless-static-routes = { computed = \"'x'\" }",
            "7:27",
            "is of type routes, which cannot be computed; expected",
        ),
        ("host-name = { computed = 5 }", "7:13", "found 5; expected an expression in quotes"),
        ("host-name = { computed = \"'x'\", hex = \"00\" }", "7:13", "unknown key `hex`; expected computed, always"),
        ("host-name = { computed = \"member('voip')\" }", "7:34", "no [[class]] has the name `voip`; there is none"),
    ] {
        assert_subnet_error(&format!("[subnet.options]\n{options}\n"), place, part);
    }
    let header = "[subnet.options.host-name]\nalways = true\ncomputed = '''\ndashed(\n  your_adress)'''\n";
    assert_subnet_error(header, "10:3", "did you mean");
    let class = "pools = [\"192.0.2.10\"]\n[[class]]\nname = \"a\"\nmatch = \"true\"\noptions = { 12 = { computed = \"giadr\" } }\n";
    assert_subnet_error(class, "10:32", "did you mean `giaddr`?");
}
