//! Every kind of error with its line and its words; files and flags against each other.

use super::*;

mod examples;
mod flags;
mod networks;
mod odd_files;
mod ping;
mod protocol;
mod reservations;
mod vrfs;

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

const LAN: &str = "[[interface]]\nname = \"eth1\"\n";

fn member(prefix: &str, more: &str) -> String {
    let pool = prefix.replace("0/24", "10");
    format!(
        "[[subnet]]\nprefix = \"{prefix}\"\nserver_id = \"192.0.2.1\"\npools = [\"{pool}\"]\n{more}{}",
        if more.is_empty() { "" } else { "\n" }
    )
}

fn flags() -> QuickFlags {
    QuickFlags { interface: "eth1".into(), subnet: "192.0.2.0/24".into(), ..QuickFlags::default() }
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
    let text = include_str!("../../../../examples/dhcp-xdp.toml");
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
    assert_eq!(all.subnets[0].unknown_renewals, given.subnets[0].unknown_renewals);
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
    assert_eq!(given.leasequery, None);
    let least =
        "leasequery = { allow = [\"198.51.100.8/29\"], interfaces = [\"eth1\"], tcp = { listen = [\"192.0.2.1\"] } }\n";
    let least = parse("f", &format!("{least}{text}"), &AnyMachine).unwrap().config.leasequery;
    assert!(least.is_some() && all.leasequery == least, "{:?} {least:?}", all.leasequery);
    assert_eq!(given.events, Default::default());
    let (history, hook) = (all.events.history.unwrap(), all.events.hook.unwrap());
    let least = "history = {}\nhook = { command = \"/x\" }\n".to_owned() + text;
    let least = parse("f", &least, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config.events;
    let (default, default_hook) = (least.history.unwrap(), least.hook.unwrap());
    assert_eq!(crate::events::HistorySettings { directory: None, ..history }, default);
    let (command, events) = (default_hook.command.clone(), default_hook.events.clone());
    assert_eq!(crate::events::Hook { command, events, ..hook }, default_hook);
    let interval = Durability::Interval(std::time::Duration::from_millis(100));
    let text = text.replace("durability = \"sync\"", "durability = \"interval\"");
    assert_eq!(parse("f", &text, &AnyMachine).unwrap().config.durability, interval);
}

#[test]
fn the_example_file_has_every_setting() {
    let text = include_str!("../../../../examples/dhcp-xdp.toml");
    let words: std::collections::BTreeSet<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for name in schema::all_names() {
        assert!(words.contains(name), "{name} is not in examples/dhcp-xdp.toml");
    }
}

#[test]
fn the_readmes_least_file_is_clean() {
    let readme = include_str!("../../../../README.md");
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
    assert_subnet_error(&format!("{pool}server_id = \"255.255.255.255\"\n"), "7:13", "expected an address of a host");
    assert_subnet_error(
        &format!("{pool}server_id = \"192.0.2.10\"\n"),
        "7:13",
        "192.0.2.10 is in pool 192.0.2.9-192.0.2.20; leave it out",
    );
    assert_subnet_error(&format!("{pool}next_server = \"0.0.0.0\"\n"), "7:15", "expected an address of a host");
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
        "[defaults]\nlease_time_s = 100\nmax_lease_time_s = 1000\nauthoritative = true\n[defaults.options]\ndns-servers = \"192.0.2.53\"\ndomain-name = \"a\"\n{HEAD}pools = [\"192.0.2.9\"]\nlease_time_s = 200\nauthoritative = false\n[subnet.options]\ndomain-name = \"b\"\n"
    );
    let subnet = &parse("f", &text, &Lab).unwrap().config.subnets[0];
    assert_eq!((subnet.lease.min_s, subnet.lease.default_s, subnet.lease.max_s), (200, 200, 1000));
    assert!(!subnet.authoritative);
    assert_eq!(subnet.options.get(15).unwrap().data, b"b");
    assert_eq!(subnet.options.get(6).unwrap().data, [192, 0, 2, 53]);
}

#[test]
fn which_renewals_of_unknown_clients_are_granted_a_subnet_says_over_its_network_and_the_defaults() {
    let of = |defaults: &str, network: &str, own: &str| {
        let text = format!(
            "{LAN}[defaults]\n{defaults}[[network]]\nname = \"n\"\n{network}{}",
            member("192.0.2.0/24", &format!("network = \"n\"\n{own}"))
        );
        parse("f", &text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config.subnets[0]
            .unknown_renewals
    };
    let set = |word: &str| format!("unknown_renewals = \"{word}\"\n");
    assert_eq!(of("", "", ""), UnknownRenewals::Attached);
    assert_eq!(of(&set("all"), "", ""), UnknownRenewals::All);
    assert_eq!(of(&set("all"), &set("none"), ""), UnknownRenewals::None);
    assert_eq!(of(&set("all"), &set("none"), &set("attached")), UnknownRenewals::Attached);
    let wrong = "pools = [\"192.0.2.9\"]\nunknown_renewals = \"some\"\n";
    assert_subnet_error(wrong, "7:20", "subnet[0].unknown_renewals: found `some`; expected none, attached or all");
}

#[test]
fn all_renewals_of_unknown_clients_beside_a_lease_limit_by_circuit_are_a_warning() {
    let told = |spawn: &str| {
        warnings(&format!(
            "defaults = {{ unknown_renewals = \"all\" }}\n{HEAD}pools = [\"192.0.2.9\"]\n[[class]]\nname = \"line\"\n\
             spawn = \"{spawn}\"\nlease_limit = 2\n"
        ))
    };
    let warned = told("relay.circuit-id");
    assert!(
        warned[0].starts_with("dhcp.toml:1:33: warning: defaults.unknown_renewals: does as \"attached\" does"),
        "{warned:?}"
    );
    assert_eq!(told("option[60]"), [""; 0]);
    // A reservation may lead to the class, and only the relay agent's word to the reservation.
    let reserved = |by: &str| {
        warnings(&format!(
            "defaults = {{ unknown_renewals = \"all\" }}\n{HEAD}pools = [\"192.0.2.9\"]\n[[class]]\nname = \"line\"\n\
             lease_limit = 2\n[[reservation]]\n{by}\nclasses = [\"line\"]\n"
        ))
    };
    assert_eq!(reserved("remote_id = \"r\""), warned);
    assert_eq!(reserved("client_id = \"router\""), [""; 0]);
}

#[test]
fn what_kea_calls_otherwise_is_told_by_its_name_here() {
    let text = format!(
        "{HEAD}pools = [\"192.0.2.9\"]\nvalid-lifetime = 4000\noption-data = []\n[[reservation]]\nhw-address = \"02:00:00:00:00:01\"\nip-address = \"192.0.2.9\"\n[[class]]\nname = \"a\"\nmatch = \"relay4[1].hex == 'eth7' or hexstring(hw_address, ':') == 'x'\"\n"
    );
    let told = errors(&text).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for advice in ["`lease_time_s`", "`options`", "did you mean `hw_address`?", "`address` here", "`relay` here"] {
        assert!(told.contains(advice), "{advice}: {told}");
    }
    let member = format!("{HEAD}pools = [\"192.0.2.9\"]\n[[class]]\nname = \"a\"\nmatch = \"member('KNOWN')\"\n");
    assert!(errors(&member)[0].to_string().contains("`known` here"), "{}", errors(&member)[0]);
}

#[test]
fn a_configuration_of_keas_is_told_in_one_line() {
    let told = errors("// Kea\n{\n  \"Dhcp4\": { \"valid-lifetime\": 4000 }\n}\n");
    assert_eq!(told.len(), 1);
    assert!(
        told[0].to_string().starts_with("dhcp.toml:2:1: error: this is JSON, as Kea's configuration is"),
        "{}",
        told[0]
    );
}
