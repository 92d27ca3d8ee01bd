//! Every kind of error with its line and its words; files and flags against each other.

use super::*;

/// A machine with eth1 at 192.0.2.1.
struct Lab;

impl Machine for Lab {
    fn interface(&self, name: &str) -> InterfaceState {
        match name {
            "eth1" => present(&[[192, 0, 2, 1]]),
            "two0" => present(&[[203, 0, 113, 1], [10, 0, 0, 1]]),
            "bare0" => present(&[]),
            "vlan0" => InterfaceState::Present(Link { hides_vlan_tags: true, ..Link::default() }),
            _ => InterfaceState::Missing,
        }
    }

    fn cpus(&self) -> Vec<usize> {
        vec![0, 1]
    }
}

fn present(addresses: &[[u8; 4]]) -> InterfaceState {
    let addresses = addresses.iter().copied().map(Into::into).collect();
    InterfaceState::Present(Link { addresses, rx_queues: 2, hides_vlan_tags: false })
}

/// Line 1 to 2: the interface. A subnet's own lines start at 6.
const HEAD: &str = "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"eth1\"\n";

fn errors(text: &str) -> Vec<Finding> {
    match parse("dhcp.toml", text, &Lab) {
        Ok(checked) => panic!("no error in:\n{text}\n{:?}", checked.warnings),
        Err(rejected) => rejected.findings.into_iter().filter(|f| f.severity == Severity::Error).collect(),
    }
}

/// The one error of `text`, as it is printed.
#[track_caller]
fn the_error(text: &str) -> String {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].to_string()
}

fn warnings(text: &str) -> Vec<String> {
    parse("dhcp.toml", text, &Lab).unwrap().warnings.iter().map(Finding::to_string).collect()
}

#[track_caller]
fn assert_error(text: &str, place: &str, part: &str) {
    let error = the_error(text);
    assert!(error.starts_with(&format!("dhcp.toml:{place}: error: ")), "{error}");
    assert!(error.contains(part), "expected `{part}` in: {error}");
}

/// `lines` follow [`HEAD`], from line 6.
#[track_caller]
fn assert_subnet_error(lines: &str, place: &str, part: &str) {
    assert_error(&format!("{HEAD}{lines}"), place, part);
}

#[track_caller]
fn assert_interface_error(lines: &str, place: &str, part: &str) {
    let text =
        format!("[[interface]]\n{lines}\n[[subnet]]\nprefix = \"198.51.100.0/24\"\npools = [\"198.51.100.9\"]\n");
    assert_error(&text, place, part);
}

#[test]
fn a_plain_file_is_taken_with_defaults() {
    let text = format!("{HEAD}pools = [\"192.0.2.10-192.0.2.250\"]\nexclude = [\"192.0.2.100-192.0.2.109\"]\n");
    let checked = parse("dhcp.toml", &text, &Lab).unwrap();
    assert_eq!(checked.warnings, []);
    let config = checked.config;
    assert_eq!(config.state_dir.to_str(), Some(DEFAULT_STATE_DIR));
    assert_eq!(config.durability, Durability::Sync);
    assert_eq!(config.interfaces[0].workers_per_queue, 1);
    let subnet = &config.subnets[0];
    assert_eq!(
        subnet.pools.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.10-192.0.2.99", "192.0.2.110-192.0.2.250"]
    );
    assert_eq!(config.address_count(), 231);
    assert_eq!((subnet.lease.min_s, subnet.lease.default_s, subnet.lease.max_s), (3600, 3600, 3600));
    assert_eq!((subnet.lease.t1_permille, subnet.lease.t2_permille), (500, 875));
    assert_eq!(subnet.options.get(1).unwrap().data, [255, 255, 255, 0]);
    assert_eq!(subnet.options.get(28).unwrap().data, [192, 0, 2, 255]);
}

#[test]
fn the_example_file_is_clean_and_shows_the_defaults_truly() {
    let text = include_str!("../../../examples/dhcp-xdp.toml");
    let checked = parse("dhcp-xdp.toml", text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}"));
    assert_eq!(checked.warnings, []);
    assert_eq!((checked.config.subnets.len(), checked.config.reservations.len()), (4, 4));
    // Each `# name = value` line, with the comment taken off, must be what holds without it, or at least be taken.
    let bare: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')) => {
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let all = parse("dhcp-xdp.toml", &bare, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config;
    let given = checked.config;
    assert_eq!(all.offer_hold_s, given.offer_hold_s);
    assert_eq!(all.decline_quarantine_s, given.decline_quarantine_s);
    assert_eq!(all.verify_udp_checksum, given.verify_udp_checksum);
    assert_eq!(all.interfaces[0].frames_per_queue, given.interfaces[0].frames_per_queue);
    assert_eq!(all.interfaces[0].xdp_mode, given.interfaces[0].xdp_mode);
    assert_eq!(all.interfaces[0].busy_poll, given.interfaces[0].busy_poll);
    assert_eq!(all.subnets[0].lease.t1_permille, given.subnets[0].lease.t1_permille);
    assert_eq!(all.subnets[0].lease.t2_permille, given.subnets[0].lease.t2_permille);
    assert_eq!(all.subnets[0].authoritative, given.subnets[0].authoritative);
    assert_eq!(all.subnets[0].lease.jitter_permille, given.subnets[0].lease.jitter_permille);
    assert_eq!(all.subnets[0].lease.scarce_permille, 900, "never, unless set");
    assert_eq!(given.subnets[0].lease.scarce_permille, 1001);
    assert_eq!(all.subnets[0].identity, given.subnets[0].identity);
    assert_eq!(all.subnets[0].min_secs, given.subnets[0].min_secs);
    assert_eq!(all.subnets[0].rapid_commit, given.subnets[0].rapid_commit);
    assert_eq!(all.subnets[0].bootp_lease_s, given.subnets[0].bootp_lease_s);
    assert_eq!(all.subnets[0].ipv6_only, given.subnets[0].ipv6_only);
    assert_eq!((all.max_hops, all.client_subnet_selection), (given.max_hops, given.client_subnet_selection));
    assert_eq!((all.subnets[0].auto_configure, given.subnets[0].auto_configure), (Some(false), None));
    assert_eq!((given.load_balance.is_none(), all.load_balance.map(|b| b.after_secs)), (true, Some(10)));
    let interval = Durability::Interval(std::time::Duration::from_millis(100));
    let text = text.replace("durability = \"sync\"", "durability = \"interval\"");
    assert_eq!(parse("f", &text, &AnyMachine).unwrap().config.durability, interval);
}

#[test]
fn the_example_file_has_every_setting() {
    let text = include_str!("../../../examples/dhcp-xdp.toml");
    let words: std::collections::BTreeSet<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for name in schema::all_names() {
        assert!(words.contains(name), "{name} is not in examples/dhcp-xdp.toml");
    }
}

#[test]
fn the_readmes_least_file_is_clean() {
    let readme = include_str!("../../../README.md");
    let text = readme.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let checked = parse("f", text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}"));
    assert_eq!((checked.warnings.len(), checked.config.subnets.len()), (0, 1));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(std::path::Path::new("/nonexistent/dhcp.toml"), &Lab).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/dhcp.toml: error: cannot read it: "), "{error}");
}

#[test]
fn syntax_errors_are_told_with_their_lines_all_at_once() {
    let errors = errors("durability = \nstate_dir = \"a\n[[interface]]\nname = \"eth1\"\n");
    assert!(errors.len() >= 2, "{errors:#?}");
    assert!(errors[0].to_string().starts_with("dhcp.toml:1:"), "{}", errors[0]);
    assert!(errors[1].to_string().starts_with("dhcp.toml:2:"), "{}", errors[1]);
}

#[test]
fn unknown_fields_and_wrong_types_are_told_with_field_and_line() {
    assert_subnet_error(
        "lease_tme_s = 60\n",
        "6:1",
        "subnet[0].lease_tme_s: there is no setting `lease_tme_s`; did you mean `lease_time_s`?",
    );
    assert_subnet_error(
        "lease_time_s = \"1h\"\n",
        "6:16",
        "subnet[0].lease_time_s: found `1h`; expected a whole number",
    );
    assert_subnet_error("pools = \"192.0.2.9\"\n", "6:9", "pools: found `192.0.2.9`; expected a list of texts");
    assert_subnet_error(
        "colour = 1\n",
        "6:1",
        "there is no setting `colour`; known here are prefix, network, interface",
    );
}

#[test]
fn unknown_fields_wrong_types_and_wrong_values_are_told_all_at_once() {
    let text =
        format!("colour = 1\noffer_hold_s = true\n{HEAD}pools = [\"192.0.3.9\", 5]\nlease_time_s = \"1h\"\nt1 = 2\n");
    let lines: Vec<Option<usize>> = errors(&text).iter().map(Finding::line).collect();
    assert_eq!(lines, [1, 2, 8, 8, 9, 10].map(Some));
    let all = parse("f", &text, &Lab).unwrap_err();
    assert!(all.findings.iter().all(|finding| finding.severity == Severity::Error), "{all}");
}

#[test]
fn a_broken_line_is_told_once() {
    for text in ["a = = 1\n", "a = [1,\n", "[[interface]\nname = \"x\"\n", "a b c\n"] {
        assert_eq!(errors(text).len(), 1, "{text}: {:#?}", errors(text));
    }
}

#[test]
fn several_errors_are_told_at_once_in_the_order_of_the_text() {
    let text = format!(
        "{HEAD}pools = [\"192.0.3.10-192.0.3.20\"]\nlease_time_s = 0\nserver_id = \"x\"\n[subnet.options]\nrouter = \"192.0.2.1\"\n"
    );
    let lines: Vec<String> =
        errors(&text).iter().map(|f| f.to_string().split(": ").take(3).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(
        lines,
        [
            "dhcp.toml:6:10: error: subnet[0].pools[0]",
            "dhcp.toml:7:16: error: subnet[0].lease_time_s",
            "dhcp.toml:8:13: error: subnet[0].server_id",
            "dhcp.toml:10:1: error: subnet[0].options.router",
        ]
    );
}

#[test]
fn a_wrong_default_is_told_once_however_many_subnets_take_it() {
    let text = "[[interface]]\nname = \"eth1\"\n[defaults]\nlease_time_s = -1\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.9\"]\n[[subnet]]\nprefix = \"198.51.100.0/24\"\npools = [\"198.51.100.9\"]\n";
    assert_error(text, "4:16", "defaults.lease_time_s: found -1; expected 1 to 315360000 seconds");
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let errors = errors("");
    assert_eq!(errors.len(), 2);
    assert!(errors[0].message.contains("no interface to serve; expected an [[interface]] table"));
    assert!(errors[1].message.contains("no subnet to serve; expected a [[subnet]] table"));
}

#[test]
fn interfaces_are_checked() {
    assert_interface_error("workers = 1", "1:1", "`name` is missing");
    assert_interface_error("name = \"a/b\"", "2:8", "interface[0].name: found `a/b`; expected an interface's name");
    assert_interface_error("name = \"sixteen-bytes-xx\"", "2:8", "at most 15 bytes");
    assert_interface_error(
        "name = \"eth1\"\nworkers = 0",
        "3:11",
        "interface[0].workers: found 0; expected 1 to 64 workers",
    );
    assert_interface_error("name = \"eth1\"\nqueues = 0", "3:10", "found 0; expected 1 to 1024 queues");
    assert_interface_error(
        "name = \"eth1\"\nxdp_mode = \"turbo\"",
        "3:12",
        "found `turbo`; expected auto, native or generic",
    );
    assert_interface_error(
        "name = \"eth1\"\ncpus = [0, -1]",
        "3:12",
        "interface[0].cpus[1]: found -1; expected 0 to 1023",
    );
    assert_interface_error(
        "name = \"eth1\"\nframes_per_queue = 5000",
        "3:20",
        "found 5000; expected a power of two, as 8192",
    );
    assert_interface_error(
        "name = \"eth1\"\nworkers = 3\nframes_per_queue = 512",
        "4:20",
        "3 workers need at least 1024",
    );
    assert_interface_error(
        "name = \"eth1\"\n[[interface]]\nname = \"eth1\"",
        "4:8",
        "interface[1].name: interface eth1 is there already",
    );
}

#[test]
fn what_the_machine_lacks_is_a_warning() {
    let file = |name: &str| {
        format!(
            "[[interface]]\nname = \"{name}\"\n[[subnet]]\nprefix = \"198.51.100.0/24\"\npools = [\"198.51.100.9\"]\n"
        )
    };
    assert!(
        warnings(&file("eth9"))[0]
            .contains("dhcp.toml:2:8: warning: interface[0].name: this machine has no interface eth9")
    );
    assert!(warnings(&file("vlan0"))[0].contains("`ethtool -K vlan0 rxvlan off`"));
    assert_eq!(warnings(&file("eth1")), [""; 0]);
}

#[test]
fn queues_and_cpus_that_are_not_there_are_warnings() {
    let file = |line: &str| {
        format!(
            "[[interface]]\nname = \"eth1\"\n{line}\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.9\"]\n"
        )
    };
    let warning = |line: &str| warnings(&file(line)).join("\n");
    assert_eq!(
        warning("queues = 64"),
        "dhcp.toml:3:10: warning: interface[0].queues: found 64; eth1 has 2 receive queue(s): those are served"
    );
    assert!(warning("queues = 1").ends_with("has 2 receive queues: what arrives on the others is left to the kernel"));
    assert_eq!(
        warning("cpus = [1, 99]"),
        "dhcp.toml:3:12: warning: interface[0].cpus[1]: found 99; this program may run on CPUs 0, 1: the worker runs where it may"
    );
    assert_eq!(warning("queues = 2\ncpus = [0, 1]"), "");
}

#[test]
fn a_server_identifier_that_clients_would_not_expect_is_a_warning() {
    let file = |name: &str, more: &str| {
        format!(
            "[[interface]]\nname = \"{name}\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\n{more}\npools = [\"192.0.2.9\"]\n"
        )
    };
    let warning = |name: &str, more: &str| warnings(&file(name, more)).join("\n");
    let off = warning("two0", "interface = \"two0\"");
    assert!(
        off.starts_with("dhcp.toml:4:10: warning: subnet[0].prefix: two0 has no address in 192.0.2.0/24: "),
        "{off}"
    );
    assert!(off.contains("their server is 203.0.113.1"), "{off}");
    let none = warning("bare0", "interface = \"bare0\"");
    assert!(none.contains("192.0.2.0/24 cannot be served on bare0: it has no IPv4 address"), "{none}");
    assert!(warning("bare0", "").contains("cannot be served on bare0"));
    for (name, more) in [
        ("two0", "interface = \"two0\"\nserver_id = \"192.0.2.1\""),
        ("bare0", "interface = \"bare0\"\nserver_id = \"192.0.2.1\""),
        ("eth1", "interface = \"eth1\""),
        // Relay agents route to whatever address they know.
        ("two0", ""),
    ] {
        assert_eq!(warning(name, more), "", "{name} {more}");
    }
}

#[test]
fn interfaces_of_the_same_name_are_named_once() {
    let text = "[[interface]]\nname = \"eth1\"\n[[interface]]\nname = \"eth1\"\n[[interface]]\nname = \"a\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"b\"\npools = [\"192.0.2.9\"]\n";
    let all = errors(text).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(
        all.contains("no [[interface]] has the name `b`; there are a, eth1\n") || all.ends_with("there are a, eth1"),
        "{all}"
    );
}

#[test]
fn without_pool_and_router_the_flags_are_taken_with_a_warning() {
    let warning = |quick: QuickFlags| {
        quick.check(&Lab).unwrap().warnings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
    };
    let bare = warning(flags());
    assert!(
        bare.starts_with(
            "command line: warning: neither --pool nor --router is given: 192.0.2.2-192.0.2.254 are leased"
        ),
        "{bare}"
    );
    assert_eq!(bare.lines().count(), 1);
    assert_eq!(warning(QuickFlags { pool: Some("192.0.2.10-192.0.2.20".into()), ..flags() }), "");
    assert_eq!(warning(QuickFlags { router: Some("192.0.2.254".into()), ..flags() }), "");
}

#[test]
fn server_settings_are_checked() {
    let tail = format!("{HEAD}pools = [\"192.0.2.9\"]\n");
    assert_error(
        &format!("durability = \"always\"\n{tail}"),
        "1:14",
        "durability: found `always`; expected sync, interval or off",
    );
    assert_error(
        &format!("sync_interval_ms = 0\ndurability = \"interval\"\n{tail}"),
        "1:20",
        "found 0; expected 1 to 60000 milliseconds",
    );
    assert_error(&format!("offer_hold_s = 0\n{tail}"), "1:16", "found 0; expected 1 to 3600 seconds");
    assert_error(&format!("decline_quarantine_s = -1\n{tail}"), "1:24", "found -1; expected 0 to 604800 seconds");
    assert_error(&format!("state_dir = \"\"\n{tail}"), "1:13", "expected a directory as /var/lib/dhcp-xdp");
    assert!(warnings(&format!("state_dir = \"here\"\n{tail}"))[0].contains("an absolute path does not"));
    assert!(
        warnings(&format!("sync_interval_ms = 50\n{tail}"))[0].contains("has no effect with durability = \"sync\"")
    );
}

#[test]
fn prefixes_are_checked() {
    let file = |rest: &str| format!("[[interface]]\nname = \"eth1\"\n[[subnet]]\n{rest}");
    assert_error(
        &file("pools = []\n"),
        "3:1",
        "subnet[0]: `prefix` is missing; expected it as prefix = \"192.0.2.0/24\"",
    );
    assert_error(&file("prefix = \"192.0.2.0\"\n"), "4:10", "found `192.0.2.0`; expected a prefix as 192.0.2.0/24");
    assert_error(
        &file("prefix = \"192.0.2.7/24\"\n"),
        "4:10",
        "found 192.0.2.7/24, which has host bits set; the prefix is 192.0.2.0/24",
    );
    assert_error(&file("prefix = \"224.0.0.0/8\"\n"), "4:10", "expected a prefix of hosts");
    assert_error(&file("prefix = \"0.0.0.0/0\"\n"), "4:10", "expected a prefix of hosts");
}

#[test]
fn subnets_may_not_overlap_and_a_link_has_one() {
    let text =
        format!("{HEAD}pools = [\"192.0.2.9\"]\n[[subnet]]\nprefix = \"192.0.0.0/16\"\npools = [\"192.0.3.1\"]\n");
    assert_error(&text, "8:10", "subnet[1].prefix: 192.0.0.0/16 overlaps subnet 192.0.2.0/24");
    let text = format!(
        "{HEAD}pools = [\"192.0.2.9\"]\n[[subnet]]\nprefix = \"198.51.100.0/24\"\ninterface = \"eth1\"\npools = [\"198.51.100.9\"]\n"
    );
    assert_error(&text, "9:13", "subnet[1].interface: eth1 serves subnet 192.0.2.0/24 already");
    assert_error(
        &text.replace("\"eth1\"\npools = [\"198", "\"eth7\"\npools = [\"198"),
        "9:13",
        "no [[interface]] has the name `eth7`; there are eth1",
    );
}

#[test]
fn each_subnet_that_overlaps_another_is_told() {
    let subnet = |prefix: &str| format!("[[subnet]]\nprefix = \"{prefix}\"\npools = []\n");
    let all: String = ["10.2.0.0/16", "10.0.0.0/8", "10.2.3.0/24", "10.2.4.0/24", "10.3.0.0/16"].map(subnet).concat();
    let told: Vec<String> =
        errors(&format!("[[interface]]\nname = \"eth1\"\n{all}")).into_iter().filter_map(|f| f.field).collect();
    assert_eq!(told, ["subnet[1].prefix", "subnet[2].prefix", "subnet[3].prefix"]);
}

#[test]
fn pools_are_checked() {
    assert_subnet_error(
        "pools = [\"192.0.2.9\", \"192.0.2\"]\n",
        "6:23",
        "subnet[0].pools[1]: found `192.0.2`, which is no IPv4 address",
    );
    assert_subnet_error(
        "pools = [\"192.0.2.200-192.0.3.9\"]\n",
        "6:10",
        "192.0.2.200-192.0.3.9 is outside of 192.0.2.0/24; expected a range inside it, as 192.0.2.10-192.0.2.254",
    );
    assert_subnet_error("pools = [\"192.0.2.9-192.0.2.2\"]\n", "6:10", "the lower address goes first");
    assert_subnet_error(
        "pools = [\"192.0.2.10-192.0.2.20\", \"192.0.2.20-192.0.2.30\"]\n",
        "6:35",
        "192.0.2.20-192.0.2.30 overlaps pool 192.0.2.10-192.0.2.20",
    );
    assert_subnet_error(
        "pools = [\"192.0.2.10-192.0.2.255\"]\n",
        "6:10",
        "192.0.2.255 in it, the broadcast address of 192.0.2.0/24; the hosts are 192.0.2.1-192.0.2.254",
    );
    assert_subnet_error(
        "exclude = [\"192.0.2.1\"]\npools = [\"192.0.2.0-192.0.2.9\"]\n",
        "7:10",
        "192.0.2.0 in it, the network address",
    );
    assert_subnet_error(
        "pools = [\"192.0.2.1-192.0.2.9\"]\n",
        "6:10",
        "192.0.2.1 is this machine's own address on eth1, and in pool 192.0.2.1-192.0.2.9; leave it out",
    );
    assert_subnet_error(
        "pools = [\"192.0.2.9\"]\nexclude = [\"192.0.3.1\"]\n",
        "7:12",
        "subnet[0].exclude[0]: 192.0.3.1 is outside of 192.0.2.0/24",
    );
    assert_subnet_error(
        "pools = [\"192.0.2.9\"]\nexclude = [\"nine\"]\n",
        "7:12",
        "found `nine`, which is no IPv4 address",
    );
}

#[test]
fn a_pool_that_leases_nothing_and_an_exclusion_of_nothing_are_warnings() {
    let none = warnings(HEAD);
    assert!(
        none[0].starts_with("dhcp.toml:4:10: warning: subnet[0].prefix: 192.0.2.0/24 has no address to lease"),
        "{none:?}"
    );
    let useless = warnings(&format!("{HEAD}pools = [\"192.0.2.9\"]\nexclude = [\"192.0.2.200\"]\n"));
    assert!(useless[0].contains("192.0.2.200 is in no pool of 192.0.2.0/24: it has no effect"), "{useless:?}");
}

#[test]
fn point_to_point_prefixes_lease_all_their_addresses() {
    let text = "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"198.51.100.4/31\"\npools = [\"198.51.100.4/31\"]\n[[subnet]]\nprefix = \"198.51.100.9/32\"\npools = [\"198.51.100.9\"]\n";
    let config = parse("f", text, &Lab).unwrap().config;
    assert_eq!(config.address_count(), 3);
    assert!(config.subnets[0].options.get(28).is_none(), "a /31 has no broadcast address");
}

#[test]
fn more_addresses_than_a_table_holds_are_refused() {
    let text = "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"10.0.0.0/8\"\npools = [\"10.0.0.0/8\"]\n[[subnet]]\nprefix = \"32.0.0.0/5\"\npools = [\"32.0.0.0/5\"]\n";
    assert_error(
        text,
        "6:1",
        "subnet[1]: all pools together have 150994940 addresses; a server holds at most 67108864",
    );
}

#[test]
fn lease_times_are_in_order() {
    let pool = "pools = [\"192.0.2.9\"]\n";
    assert_subnet_error(
        &format!("{pool}lease_time_s = 60\nmin_lease_time_s = 61\n"),
        "8:20",
        "found 61; expected at most the lease time, 60 seconds",
    );
    assert_subnet_error(
        &format!("{pool}lease_time_s = 60\nmax_lease_time_s = 59\n"),
        "8:20",
        "found 59; expected at least the lease time, 60 seconds",
    );
    assert_subnet_error(
        &format!("{pool}t1 = 0.9\n"),
        "7:6",
        "found t1 = 0.9 and t2 = 0.875; expected parts of the lease time with 0 < t1 < t2 < 1",
    );
    assert_subnet_error(
        &format!("{pool}renewal_slack = 1.5\n"),
        "7:17",
        "found 1.5; expected a part of the lease time from 0 to 1",
    );
    let slack = |lines: &str| parse("f", &format!("{HEAD}{pool}{lines}"), &Lab).unwrap().config.subnets[0].lease;
    assert_eq!(slack("").renewal_slack_permille, 0);
    assert_eq!(slack("renewal_slack = 0.25\n").renewal_slack_permille, 250);
    assert_subnet_error(&format!("{pool}t2 = 1.0\n"), "7:6", "found t1 = 0.5 and t2 = 1; expected");
    assert_subnet_error(&format!("{pool}t1 = nan\n"), "7:6", "found t1 = NaN");
}

#[test]
fn addresses_of_servers_are_checked() {
    let pool = "pools = [\"192.0.2.9-192.0.2.20\"]\n";
    assert_subnet_error(
        &format!("{pool}server_id = \"192.0.2.300\"\n"),
        "7:13",
        "found `192.0.2.300`; expected an IPv4 address",
    );
    assert_subnet_error(&format!("{pool}server_id = \"255.255.255.255\"\n"), "7:13", "expected the address of a host");
    assert_subnet_error(
        &format!("{pool}server_id = \"192.0.2.10\"\n"),
        "7:13",
        "192.0.2.10 is in pool 192.0.2.9-192.0.2.20; leave it out",
    );
    assert_subnet_error(&format!("{pool}next_server = \"0.0.0.0\"\n"), "7:15", "expected the address of a host");
    assert_subnet_error(
        &format!("{pool}boot_file = \"{}\"\n", "x".repeat(128)),
        "7:13",
        "is 128 bytes long; expected at most 127",
    );
}

#[test]
fn options_are_checked() {
    let head = "pools = [\"192.0.2.9-192.0.2.20\"]\n[subnet.options]\n";
    assert_subnet_error(
        &format!("{head}routers = \"192.0.2.12\"\n"),
        "8:1",
        "subnet[0].options.routers: router 192.0.2.12 is in pool 192.0.2.9-192.0.2.20; leave it out",
    );
    assert_subnet_error(
        &format!("{head}dns-servers = [\"a\"]\n"),
        "8:15",
        "subnet[0].options.dns-servers: found `a`; expected IPv4 addresses",
    );
    assert_subnet_error(
        &format!("{head}lease-time = 60\n"),
        "8:1",
        "option lease-time (51) cannot be set here: the server sets it: use `lease_time_s`",
    );
    assert_subnet_error(&format!("{head}domain-nam = \"x\"\n"), "8:1", "did you mean `domain-name`?");
    assert_subnet_error(
        &format!("{head}6 = \"192.0.2.1\"\ndns-servers = \"192.0.2.1\"\n"),
        "9:1",
        "dns-servers (6) is set twice in this table",
    );
    assert_subnet_error(
        &format!("{head}domain-name = \"{}\"\n", "x".repeat(1025)),
        "8:15",
        "is 1025 bytes long; an option holds at most 1024",
    );
    let outside = warnings(&format!("{HEAD}{head}routers = \"192.0.3.1\"\n"));
    assert!(
        outside[0].contains("warning: subnet[0].options.routers: router 192.0.3.1 is outside of 192.0.2.0/24"),
        "{outside:?}"
    );
    let long = warnings(&format!("{HEAD}{head}domain-name = \"{}\"\n", "x".repeat(250)));
    assert!(
        long[0].starts_with(
            "dhcp.toml:8:1: warning: subnet[0].options.domain-name: 192.0.2.0/24 has 264 bytes of options"
        ),
        "{long:?}"
    );
}

#[test]
fn a_subnet_overrides_the_defaults_one_by_one() {
    let text = format!(
        "[defaults]\nlease_time_s = 100\nmax_lease_time_s = 1000\nauthoritative = false\n[defaults.options]\ndns-servers = \"192.0.2.53\"\ndomain-name = \"a\"\n{HEAD}pools = [\"192.0.2.9\"]\nlease_time_s = 200\n[subnet.options]\ndomain-name = \"b\"\n"
    );
    let subnet = &parse("f", &text, &Lab).unwrap().config.subnets[0];
    assert_eq!((subnet.lease.min_s, subnet.lease.default_s, subnet.lease.max_s), (200, 200, 1000));
    assert!(!subnet.authoritative);
    assert_eq!(subnet.options.get(15).unwrap().data, b"b");
    assert_eq!(subnet.options.get(6).unwrap().data, [192, 0, 2, 53]);
}

fn flags() -> QuickFlags {
    QuickFlags { interface: "eth1".into(), subnet: "192.0.2.0/24".into(), ..QuickFlags::default() }
}

#[test]
fn quick_flags_equal_the_file_with_the_same_content() {
    let quick = QuickFlags {
        pool: Some("192.0.2.10-192.0.2.99,192.0.2.200".into()),
        router: Some("192.0.2.1".into()),
        dns: Some("192.0.2.53, 198.51.100.53".into()),
        lease_time_s: Some(600),
        state_dir: Some("/tmp/state".into()),
        workers: Some(2),
        busy_poll: true,
        durability: Some("off".into()),
        ..flags()
    };
    let file = "state_dir = \"/tmp/state\"\ndurability = \"off\"\n[[interface]]\nname = \"eth1\"\nworkers = 2\nbusy_poll = true\n[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"eth1\"\npools = [\"192.0.2.10-192.0.2.99\", \"192.0.2.200\"]\nlease_time_s = 600\n[subnet.options]\nrouters = [\"192.0.2.1\"]\ndns-servers = [\"192.0.2.53\", \"198.51.100.53\"]\n";
    let (quick, file) = (quick.check(&Lab).unwrap(), parse("f", file, &Lab).unwrap());
    assert_eq!(format!("{quick:?}"), format!("{file:?}"));
}

#[test]
fn without_a_pool_all_hosts_but_ours_and_the_router_are_leased() {
    let checked = QuickFlags { router: Some("192.0.2.254".into()), ..flags() }.check(&Lab).unwrap();
    assert_eq!(checked.warnings, []);
    let pools: Vec<String> = checked.config.subnets[0].pools.iter().map(ToString::to_string).collect();
    assert_eq!(pools, ["192.0.2.2-192.0.2.253"]);
}

#[test]
fn errors_of_quick_flags_name_the_flag() {
    let error = |quick: QuickFlags| match quick.check(&Lab) {
        Ok(checked) => panic!("{checked:?}"),
        Err(rejected) => rejected.to_string(),
    };
    assert!(
        error(QuickFlags { subnet: "192.0.2.1/24".into(), ..flags() })
            .starts_with("--subnet: error: found 192.0.2.1/24, which has host bits set; the prefix is 192.0.2.0/24")
    );
    assert!(error(QuickFlags { subnet: "x".into(), ..flags() }).starts_with("--subnet: error: found `x`"));
    assert!(
        error(QuickFlags { pool: Some("10.0.0.1".into()), ..flags() })
            .starts_with("--pool: error: 10.0.0.1 is outside")
    );
    assert!(error(QuickFlags { router: Some("x".into()), ..flags() }).starts_with("--router: error: found `x`"));
    assert!(error(QuickFlags { dns: Some("192.0.2.1,x".into()), ..flags() }).starts_with("--dns: error: found `x`"));
    assert!(error(QuickFlags { lease_time_s: Some(0), ..flags() }).starts_with("--lease-time: error: found 0"));
    assert!(error(QuickFlags { workers: Some(99), ..flags() }).starts_with("--workers: error: found 99"));
    assert!(
        error(QuickFlags { durability: Some("x".into()), ..flags() }).starts_with("--durability: error: found `x`")
    );
    assert!(
        error(QuickFlags { state_dir: Some(String::new()), ..flags() }).starts_with("--state-dir: error: found ``")
    );
    assert!(error(QuickFlags { interface: String::new(), ..flags() }).starts_with("--interface: error: found ``"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9\\[\\]=\". /\n-]{0,200}") {
        let _ = parse("f", &text, &AnyMachine);
    }

    #[test]
    fn no_value_makes_the_checks_panic(pool in "[0-9./-]{0,40}", number in proptest::prelude::any::<i64>(), part in proptest::prelude::any::<f64>()) {
        let text = format!("{HEAD}pools = [\"{pool}\"]\nexclude = [\"{pool}\"]\nlease_time_s = {number}\nmin_lease_time_s = {number}\nt1 = {part:?}\nt2 = {part:?}\n");
        let _ = parse("f", &text, &Lab);
        let _ = QuickFlags { pool: Some(pool.clone()), subnet: pool, lease_time_s: Some(number), workers: Some(number), ..flags() }.check(&Lab);
    }
}

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
    assert_eq!(config.load_balance.unwrap().buckets, crate::wire::options::Codes::of(&[0, 1, 7]));
    assert_eq!((subnet.identity, subnet.min_secs, subnet.rapid_commit), (Identity::HwAddress, 2, true));
    assert_eq!((subnet.bootp_lease_s, subnet.ipv6_only, subnet.auto_configure), (Some(u32::MAX), true, Some(true)));
    assert_eq!((&subnet.server_name[..], &subnet.boot_file[..]), (&b"boot"[..], &b"b"[..]));
    assert_eq!(subnet.boot_files, [(0, b"z".to_vec()), (7, b"e".to_vec())]);
    assert_eq!((config.subnets.vrf(b"\x00red"), subnet.vrf), (Some(subnet.vrf), Vrf(1)));
    assert_eq!((config.subnets.vrf(b"\x00blue"), config.subnets.vrf(b"\xff")), (None, Some(Vrf::GLOBAL)));
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

// Files that nobody means to write

#[test]
fn of_very_many_errors_the_first_hundred_are_told_and_how_many_more_there_are() {
    let text = format!("[[interface]]\nname = \"eth1\"\n{}", "[[subnet]]\nprefix = \"x\"\n".repeat(20_000));
    let errors = errors(&text);
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[0].line(), Some(4));
    assert!(errors[100].to_string().ends_with("error: and 19900 more errors"), "{}", errors[100]);
}

#[test]
fn tens_of_thousands_of_pools_are_checked_against_each_other_and_their_holes() {
    let each = |step: u32, text: fn(std::net::Ipv4Addr) -> String| {
        (0..50_000u32).map(|i| text(std::net::Ipv4Addr::from(0x0a00_0001 + i * step))).collect::<Vec<_>>().join(",")
    };
    let list = |text| format!("[{}]", each(16, text));
    let pools = list(|first| format!("\"{first}-{}\"", std::net::Ipv4Addr::from(u32::from(first) + 8)));
    let exclude = list(|first| format!("\"{}\"", std::net::Ipv4Addr::from(u32::from(first) + 4)));
    let text = format!(
        "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"10.0.0.0/8\"\npools = {pools}\nexclude = {exclude}\n"
    );
    let config = parse("f", &text, &AnyMachine).unwrap().config;
    assert_eq!((config.subnets[0].pools.len(), config.address_count()), (100_000, 400_000));
}

#[test]
fn what_the_file_says_is_shown_in_part_and_without_what_a_terminal_would_obey() {
    let long = the_error(&format!("{HEAD}server_id = \"{}\"\n", "x".repeat(1 << 20)));
    assert!(long.len() < 1000 && long.ends_with("expected an IPv4 address as 192.0.2.1"), "{long}");
    let odd = the_error(&format!("{HEAD}server_id = \"\\u001b[2J\u{202e}\"\n"));
    assert!(odd.contains(r"found `\u{1b}[2J\u{202e}`"), "{odd}");
}

#[test]
fn a_setting_of_a_wrong_type_is_not_called_missing_as_well() {
    assert_error("[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = 5\n", "4:10", "expected a text");
}

#[test]
fn renewal_times_that_would_be_equal_or_nothing_are_refused() {
    for times in ["t1 = 0.0001\nt2 = 0.5", "t1 = 0.5001\nt2 = 0.5002", "t1 = 0.5\nt2 = 0.9999", "t1 = nan\nt2 = inf"] {
        assert!(the_error(&format!("{HEAD}{times}\n")).contains("at least a thousandth apart"), "{times}");
    }
}

#[test]
fn a_router_that_no_host_can_be_is_refused() {
    for router in ["192.0.2.0", "192.0.2.255"] {
        let text = format!("{HEAD}pools = [\"192.0.2.10\"]\n[subnet.options]\nrouters = [\"{router}\"]\n");
        assert!(the_error(&text).contains("is no host of 192.0.2.0/24; the hosts are 192.0.2.1-192.0.2.254"));
    }
}

#[test]
fn a_file_that_is_no_text_is_told_with_the_place_of_the_first_wrong_byte() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"# stra\xc3\x9fe\n# \xff\n").unwrap();
    let error = load(file.path(), &AnyMachine).unwrap_err().to_string();
    assert!(
        error.ends_with(":2:3: error: found the byte 0xff, which is not UTF-8; expected a text in UTF-8"),
        "{error}"
    );
}

#[test]
fn a_file_without_end_is_refused() {
    let error = load(std::path::Path::new("/dev/zero"), &AnyMachine).unwrap_err().to_string();
    assert_eq!(error, "/dev/zero: error: is longer than 256 MiB");
}

// Networks and VLANs

const LAN: &str = "[[interface]]\nname = \"eth1\"\n";

fn member(prefix: &str, more: &str) -> String {
    let pool = prefix.replace("0/24", "10");
    format!(
        "[[subnet]]\nprefix = \"{prefix}\"\nserver_id = \"192.0.2.1\"\npools = [\"{pool}\"]\n{more}{}",
        if more.is_empty() { "" } else { "\n" }
    )
}

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

// Reservations

/// [`LAN`], a subnet and a reservation that begins at line 7.
fn reserving(reservation: &str) -> String {
    format!("{LAN}{}[[reservation]]\n{reservation}", member("198.51.100.0/24", ""))
}

#[test]
fn what_is_wrong_with_a_reservation_is_told() {
    for (reservation, place, why) in [
        ("address = \"198.51.100.7\"", "7:1", "says of no client that it is its own"),
        (
            "hw_address = \"02:00:00:00:00:01\"\ncircuit_id = \"c\"",
            "7:1",
            "has hw_address and circuit_id; expected one of",
        ),
        ("hw_address = \"02:00:00:00:00\"\naddress = \"198.51.100.7\"", "8:14", "expected an Ethernet address as"),
        ("client_id = \"x\"\naddress = \"198.51.100.7\"", "8:13", "has 2 at least"),
        ("circuit_id = \"0x1\"\naddress = \"198.51.100.7\"", "8:14", "found `0x1`"),
        ("circuit_id = \"c\"\naddress = \"203.0.113.7\"", "9:11", "203.0.113.7 is in no subnet"),
        ("circuit_id = \"c\"\naddress = \"198.51.100.255\"", "9:11", "198.51.100.255 is no host of 198.51.100.0/24"),
        ("circuit_id = \"c\"\naddress = \"7\"", "9:11", "expected an IPv4 address"),
        ("circuit_id = \"c\"\nhostname = \"a b\"", "9:12", "expected a host's name"),
        ("circuit_id = \"c\"\nlease_time_s = 0", "9:16", "expected 1 to"),
        ("circuit_id = \"c\"\naddress = \"192.0.2.1\"", "9:11", "is in no subnet"),
    ] {
        assert_error(&reserving(reservation), place, why);
    }
    assert!(warnings(&reserving("circuit_id = \"c\""))[0].contains("reserves nothing"));
}

#[test]
fn a_second_reservation_of_a_client_or_an_address_is_told_with_the_place_of_the_first() {
    let first = "circuit_id = \"c\"\naddress = \"198.51.100.7\"\n[[reservation]]\n";
    let client = reserving(&format!("{first}circuit_id = \"c\"\naddress = \"198.51.100.8\""));
    assert_error(&client, "10:1", "this circuit_id has a reservation already, at dhcp.toml:7");
    let address = reserving(&format!("{first}circuit_id = \"d\"\naddress = \"198.51.100.7\""));
    assert_error(&address, "10:1", "198.51.100.7 is reserved already, at dhcp.toml:7");
    let other_kind = reserving(&format!("{first}remote_id = \"c\"\naddress = \"198.51.100.8\""));
    assert!(parse("f", &other_kind, &Lab).is_ok());
}

#[test]
fn a_flexible_identifier_needs_its_expression() {
    let text = reserving("flex_id = \"x\"\naddress = \"198.51.100.7\"");
    assert_error(&text, "7:1", "no expression says what a flex_id is");
    assert!(parse("f", &format!("flex_id = \"relay.remote-id\"\n{text}"), &Lab).is_ok());
    assert_error(&format!("flex_id = \"relay.remoteid\"\n{text}"), "1:12", "flex_id: no sub-option of option 82");
}

#[test]
fn the_address_of_a_router_or_of_this_server_cannot_be_reserved() {
    let text = reserving("circuit_id = \"c\"\naddress = \"198.51.100.1\"\n")
        + "[defaults.options]\nrouters = [\"198.51.100.1\"]\n";
    assert_error(&text, "7:1", "198.51.100.1 is a router's own address");
    let own =
        format!("{LAN}{}[[reservation]]\ncircuit_id = \"c\"\naddress = \"192.0.2.1\"\n", member("192.0.2.0/24", ""));
    let errors = errors(&own).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(errors.iter().any(|error| error.contains("192.0.2.1 is this machine's own address")), "{errors:?}");
    let reserved = reserving("circuit_id = \"c\"\naddress = \"198.51.100.77\"\n");
    let config = parse("f", &reserved, &Lab).unwrap_or_else(|why| panic!("{why}")).config;
    assert_eq!([10, 77, 78].map(|host| config.leases_out([198, 51, 100, host].into())), [true, true, false]);
}

/// What is read of a configuration whose subnet has this file of reservations.
fn with_file(name: &str, content: &str) -> (tempfile::TempDir, Result<Checked, Rejected>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    let text = format!("{LAN}{}", member("198.51.100.0/24", &format!("reservations = \"{name}\"")));
    let read = parse(&dir.path().join("dhcp.toml").display().to_string(), &text, &Lab);
    (dir, read)
}

#[test]
fn reservations_are_read_from_tables_and_toml_beside_the_configuration() {
    let table = "# customers\nhw_address, circuit_id, address, hostname, lease_time_s\n\
                 02:00:00:00:00:01,, 198.51.100.7, cpe-1, 600\n,\"olt 1, port 2\", 198.51.100.8,,\n";
    let toml = "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"198.51.100.7\"\nlease_time_s = 600\nhostname = \"cpe-1\"\n\
                [[reservation]]\ncircuit_id = \"olt 1, port 2\"\naddress = \"198.51.100.8\"\n";
    for (name, content) in [("r.csv", table), ("r.toml", toml)] {
        let (_dir, read) = with_file(name, content);
        let config = read.unwrap_or_else(|why| panic!("{name}: {why}")).config;
        let of = |host: u8| {
            config.reservations.get(config.reservations.of_address([198, 51, 100, host].into()).unwrap()).unwrap()
        };
        assert_eq!((config.reservations.len(), of(7).lease_time_s, of(7).kind()), (2, Some(600), IdKind::HwAddress));
        assert_eq!(config.overlays[of(7).overlay.unwrap() as usize].options.get(12).unwrap().data, b"cpe-1");
        assert_eq!((of(8).kind(), of(8).overlay), (IdKind::CircuitId, None));
        assert_eq!(config.address_count(), 3, "one of the pool and two beside it");
    }
}

#[test]
fn errors_in_a_file_of_reservations_have_its_name_and_line() {
    let (_dir, read) = with_file(
        "r.csv",
        "hw_address,address\n02:00:00:00:00:01,198.51.100.7\n\n02:00:00:00:00:01,198.51.100.8\n02:00:00:00:00:02,203.0.113.1\n02:00:00:00:00:03\n",
    );
    let errors = read.unwrap_err().to_string();
    let errors: Vec<&str> = errors.lines().collect();
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(
        errors[0].contains("r.csv:4:1: error: this hw_address has a reservation already, at ")
            && errors[0].ends_with("r.csv:2"),
        "{}",
        errors[0]
    );
    assert!(errors[1].contains("r.csv:5:1: error: 203.0.113.1 is in no subnet"), "{}", errors[1]);
    assert!(errors[2].contains("r.csv:6:1: error: found 1 cells; the first line has 2"), "{}", errors[2]);

    let (_dir, read) = with_file("r.toml", "[[reservation]]\ncircuit = \"x\"\n");
    let errors = read.unwrap_err().to_string();
    assert!(
        errors.contains("r.toml:2:1: error: reservation[0].circuit: there is no setting `circuit`; did you mean"),
        "{errors}"
    );

    let (_dir, read) = with_file("r.csv", "mac,address\n");
    assert!(read.unwrap_err().to_string().contains("found a column `mac`"));
    let missing =
        format!("{LAN}reservations = \"/nonexistent/r.csv\"\n").replace(LAN, "") + LAN + &member("198.51.100.0/24", "");
    assert_error(&missing, "1:16", "/nonexistent/r.csv: cannot read it");
}

#[test]
fn a_subnets_file_reserves_addresses_of_the_subnet_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("r.csv"), "circuit_id,address\nc,203.0.113.7\n").unwrap();
    let text =
        format!("{LAN}{}{}", member("198.51.100.0/24", "reservations = \"r.csv\""), member("203.0.113.0/24", ""));
    let error = parse(&dir.path().join("f").display().to_string(), &text, &Lab).unwrap_err().to_string();
    assert!(
        error.contains("r.csv:2:1: error: 203.0.113.7 is outside of 198.51.100.0/24; it is in 203.0.113.0/24"),
        "{error}"
    );
}

/// The example of a typical site, which has nothing doubtful in it.
fn example(text: &str) -> Config {
    let checked = parse("example", text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}"));
    assert_eq!(checked.warnings, []);
    checked.config
}

#[test]
fn the_example_of_ftth_is_clean_and_serves_circuits() {
    let config = example(include_str!("../../../examples/ftth.toml"));
    assert_eq!((config.subnets.network(0), config.reservations.len()), (&[0, 1][..], 2));
    assert!(config.reservations.has_circuits(0));
}

#[test]
fn the_example_of_a_hotel_is_clean_and_has_short_leases() {
    let config = example(include_str!("../../../examples/hotel.toml"));
    let place = |vlan| config.subnets.on_link("eth1", [Some(vlan), None]);
    assert_eq!((place(20), place(30), place(40)), (Some(0), Some(1), None));
    assert!(config.subnets[0].lease.max_s <= 1800);
}

#[test]
fn the_example_of_qinq_is_clean_and_tells_customers_apart() {
    let config = example(include_str!("../../../examples/qinq.toml"));
    let place = |outer, inner| config.subnets.on_link("eth1", [Some(outer), Some(inner)]);
    assert_eq!(
        (place(100, 1), place(100, 4094), place(101, 7), place(101, 8), place(101, 9)),
        (Some(0), Some(0), Some(2), Some(3), Some(4))
    );
    assert_eq!((place(102, 1), config.subnets.network(0)), (None, &[0, 1][..]));
}

#[test]
fn the_example_of_cable_is_clean_and_keeps_devices_apart() {
    let config = example(include_str!("../../../examples/cable.toml"));
    assert_eq!((config.subnets.network(0), config.classes.settings.len()), (&[0, 1, 2][..], 3));
    assert_eq!(config.subnets[2].guarded_pools.len(), 1);
}

#[test]
#[ignore = "long: a million reservations, and how long they take"]
fn a_million_reservations_are_read_in_seconds_and_found_as_fast_as_a_few() {
    use std::{fmt::Write as _, hint::black_box, time::Instant};

    struct Asks(crate::lease::HwAddress);
    impl Identified for Asks {
        fn id(&self, _: IdKind) -> Option<&[u8]> {
            None
        }
        fn hw(&self) -> &crate::lease::HwAddress {
            &self.0
        }
    }
    let asks = |n: u32| {
        let mut chaddr = [0; 16];
        chaddr[..2].copy_from_slice(&[2, 0]);
        chaddr[2..6].copy_from_slice(&n.to_be_bytes());
        Asks(crate::lease::HwAddress { htype: 1, hlen: 6, chaddr })
    };
    let load = |count: u32| {
        let mut table = String::from("hw_address,address,hostname\n");
        for n in 0..count {
            let [a, b, c, d] = n.to_be_bytes();
            let address = std::net::Ipv4Addr::from(0x0a00_0001 + n);
            writeln!(table, "02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x},{address},cpe-{n}").unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("r.csv"), table).unwrap();
        let text = format!(
            "{LAN}[[subnet]]\nprefix = \"10.0.0.0/8\"\nserver_id = \"192.0.2.1\"\npools = [\"10.255.0.0/16\"]\nreservations = \"r.csv\"\n"
        );
        let start = Instant::now();
        let config = parse(&dir.path().join("f").display().to_string(), &text, &Lab)
            .unwrap_or_else(|why| panic!("{why}"))
            .config;
        println!("{count} reservations read in {:.2} s", start.elapsed().as_secs_f64());
        config
    };
    for count in [1000, 1_000_000] {
        let config = load(count);
        assert_eq!(config.reservations.len(), count as usize);
        let start = Instant::now();
        for n in 0..1_000_000 {
            let asked = n % 1000 * (count / 1000);
            assert_eq!(black_box(config.reservations.find(0, &asks(asked))), Some(asked));
        }
        println!("of {count}: {:.0} ns a look", start.elapsed().as_secs_f64() * 1000.0);
        let start = Instant::now();
        let leases = config.lease_table([1, 2]);
        println!("a table of {} addresses made in {:.2} s", leases.counts().total, start.elapsed().as_secs_f64());
    }
}
