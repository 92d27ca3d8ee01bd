//! Files that nobody means to write.

use super::*;

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

#[test]
fn a_number_that_is_too_long_is_told_as_it_stands_there() {
    let too_long = "99999999999999999999";
    let line = format!("lease_time_s = {too_long}\n");
    assert_subnet_error(&line, "6:16", &format!("found {too_long}; expected a number of at most 64 bits"));
    let line = "lease_time_s = 0xffffffffffffffff\n";
    assert_subnet_error(line, "6:16", "found 0xffffffffffffffff; expected a number of at most 64 bits");
}

#[test]
fn a_key_or_table_that_is_there_twice_is_named() {
    let why = "twice; expected it once, or as tables in double brackets";
    assert_error(&format!("{HEAD}pools = []\npools = []\n"), "7:1", &format!("found `pools` {why}"));
    assert_error(&format!("[defaults]\n[defaults]\n{HEAD}"), "2:2", &format!("found `defaults` {why}"));
}

#[test]
fn what_is_wrong_is_not_called_missing_as_well_be_it_a_table_or_in_a_list() {
    let pool = "prefix = \"192.0.2.0/24\"\npools = [\"192.0.2.9\"]\n";
    assert_error(
        &format!("{LAN}[subnet]\n{pool}"),
        "3:1",
        "found a table; expected tables, each with its name in double",
    );
    let interface = format!("interface = \"eth1\"\n[[subnet]]\n{pool}");
    assert_error(&interface, "1:13", "found `eth1`; expected tables, each with its name");
    let buckets = format!("load_balance = {{ buckets = [1] }}\n{LAN}[[subnet]]\n{pool}");
    assert_error(&buckets, "1:29", "found 1; expected a text");
}

#[test]
fn what_is_excluded_elsewhere_is_one_error() {
    let text = format!("{HEAD}pools = [\"192.0.2.9\"]\nexclude = [\"10.0.0.1\"]\n");
    let told = parse("dhcp.toml", &text, &Lab).unwrap_err();
    assert_eq!(told.findings.len(), 1, "{told}");
}

#[test]
fn an_address_that_no_host_has_is_no_servers() {
    for (id, why) in [
        ("192.0.2.0", "192.0.2.0 is no host of 192.0.2.0/24; the hosts are 192.0.2.1-192.0.2.254"),
        ("192.0.2.255", "192.0.2.255 is no host of"),
        ("127.0.0.1", "found 127.0.0.1; expected an address of a host as 192.0.2.1"),
    ] {
        assert_subnet_error(&format!("pools = [\"192.0.2.9\"]\nserver_id = \"{id}\"\n"), "7:13", why);
    }
    // In a /31 both are (RFC 3021).
    let pair =
        "[[interface]]\nname = \"two0\"\n[[subnet]]\nprefix = \"198.51.100.0/31\"\nserver_id = \"198.51.100.0\"\n";
    assert!(parse("f", &format!("{pair}pools = [\"198.51.100.1\"]\n"), &Lab).is_ok());
}

#[test]
fn a_network_has_a_name() {
    let text = format!("{HEAD}pools = [\"192.0.2.9\"]\n[[network]]\nname = \"\"\n");
    assert_error(&text, "8:8", "is empty; expected a name as \"city-centre\"");
}

#[test]
fn of_a_very_long_line_what_is_around_the_error_is_shown() {
    let text =
        format!("{HEAD}[[class]]\nname = \"a\"\nmatch = \"{} and giadr == 1\"\n", "true or ".repeat(500) + "true");
    let error = the_error(&text);
    assert!(error.contains("did you mean `giaddr`?"), "{error}");
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines.len() == 3 && lines[1].len() < 500 && lines[1].contains("giadr == 1"), "{error}");
    let (under, at) = (lines[2].find('^').unwrap(), lines[1].find("giadr").unwrap());
    assert_eq!((under, lines[2].matches('^').count()), (at, 5), "{error}");
}
