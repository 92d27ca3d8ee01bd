//! Reservations.

use super::*;

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
        ("hw_address = \"01:00:5e:00:00:01\"\naddress = \"198.51.100.7\"", "8:14", "neither a group's nor zero"),
        (
            "hw_address = \"00:00:00:00:00:00\"\naddress = \"198.51.100.7\"",
            "8:14",
            "expected the Ethernet address of a host",
        ),
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
fn a_text_in_quotes_of_its_own_is_refused_since_keas_are_not_part_of_it() {
    for (setting, found) in [
        ("circuit_id = \"'olt1 xpon 0/1/0:7'\"", "`'olt1 xpon 0/1/0:7'`"),
        ("remote_id = '\"modem\"'", "`\"modem\"`"),
        ("client_id = \"'ab'\"", "`'ab'`"),
    ] {
        let column = setting.find('=').unwrap() + 3;
        let text = reserving(&format!("address = \"198.51.100.7\"\n{setting}"));
        assert_error(
            &text,
            &format!("9:{column}"),
            &format!("found {found}; expected the text without quotes of its own"),
        );
    }
    // They are meant.
    for setting in ["circuit_id = \"0x276f27\"", "circuit_id = \"o'\"", "circuit_id = \"'\""] {
        let read = parse("f", &reserving(&format!("address = \"198.51.100.7\"\n{setting}")), &Lab);
        assert_eq!(read.unwrap_or_else(|why| panic!("{setting}: {why}")).warnings, []);
    }
    let (_dir, read) = with_file("r.csv", "circuit_id,address\n'port 7',198.51.100.7\n");
    let why = read.unwrap_err().to_string();
    assert!(why.contains("r.csv:2:1: error: circuit_id: found `'port 7'`; expected the text without quotes"), "{why}");
}

#[test]
fn a_text_that_kea_would_read_as_bytes_is_a_warning_and_one_is_enough() {
    let one = "circuit_id = \"00:1a:2B\"\naddress = \"198.51.100.7\"\n";
    let other = "[[reservation]]\nremote_id = \"00-1a\"\naddress = \"198.51.100.8\"\n";
    let warned = warnings(&reserving(&format!("{one}{other}")));
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].starts_with(
            "dhcp.toml:8:14: warning: reservation[0].circuit_id: circuit_id `00:1a:2B` is a text of 8 characters"
        ),
        "{warned:?}"
    );
    assert!(warned[0].ends_with("as bytes it is \"0x001a2B\""), "{warned:?}");
    for plain in ["circuit_id = \"0/1:7\"", "circuit_id = \"ab\"", "client_id = \"01:02\"", "circuit_id = \"a:b\""] {
        assert_eq!(warnings(&reserving(&format!("{plain}\naddress = \"198.51.100.7\""))), [""; 0], "{plain}");
    }
}

#[test]
fn a_table_as_spreadsheets_write_it_is_read_or_told() {
    let (_dir, read) = with_file("r.csv", "\u{feff}circuit_id,address\r\na,198.51.100.7\r\n");
    assert_eq!(read.unwrap_or_else(|why| panic!("{why}")).config.reservations.len(), 1);
    for (content, why) in [
        ("\u{feff}circuit_id,address\na,198.51.100.300\n", "r.csv:2:3: error: address: found `198.51.100.300`"),
        ("# ours\n\ncircuit_id;address\na;198.51.100.7\n", "r.csv:3:1: error: found a column `circuit_id;address`"),
        (
            "circuit_id,address,address\na,198.51.100.7,198.51.100.8\n",
            "r.csv:1:1: error: found the column `address` twice",
        ),
        (
            "circuit_id,address\na\u{0},198.51.100.7\n\"b\",198.51.100.9\n\"b\",198.51.100.10\n",
            "r.csv:4:1: error: this circuit_id",
        ),
    ] {
        let (_dir, read) = with_file("r.csv", content);
        let told = read.unwrap_err().to_string();
        assert!(told.contains(why), "{why}: {told}");
    }
}

#[test]
fn an_error_in_a_table_has_the_column_of_its_cell_and_the_name() {
    let (_dir, read) = with_file(
        "r.csv",
        "circuit_id , address,hostname,lease_time_s\n\"a \"\"b\"\", c\", 198.51.100.300,,\nb,198.51.100.8,\"x, y\",-5\n\
         # none\n\nc,\u{fc},, 1h\n",
    );
    let why = read.unwrap_err().to_string();
    for part in [
        "r.csv:2:15: error: address: found `198.51.100.300`; expected an IPv4 address",
        "r.csv:3:17: error: hostname: found `x, y`; expected a host's name",
        "r.csv:3:23: error: lease_time_s: found -5; expected 1 to",
        "r.csv:6:7: error: lease_time_s: found `1h`; expected seconds as 3600",
        "r.csv:6:3: error: address: found `\u{fc}`; expected an IPv4 address",
    ] {
        assert!(why.contains(part), "{part}\n{why}");
    }
}

#[test]
fn a_table_that_is_not_in_utf_8_is_told_with_the_place_of_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("r.csv"), b"circuit_id,address\nstra\xdfe,198.51.100.7\n").unwrap();
    let text = format!("{LAN}{}", member("198.51.100.0/24", "reservations = \"r.csv\""));
    let why = parse(&dir.path().join("dhcp.toml").display().to_string(), &text, &Lab).unwrap_err().to_string();
    assert!(why.contains("r.csv: line 2, column 5: found the byte 0xdf, which is not UTF-8"), "{why}");
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
    assert_eq!(
        [10, 77, 78].map(|host| config.leases_out(std::net::Ipv4Addr::from([198, 51, 100, host]))),
        [true, true, false]
    );
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
            config
                .reservations
                .get(config.reservations.of_address(std::net::Ipv4Addr::from([198, 51, 100, host])).unwrap())
                .unwrap()
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
    assert!(errors[1].contains("r.csv:5:19: error: address: 203.0.113.1 is in no subnet"), "{}", errors[1]);
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
        error.contains("r.csv:2:3: error: address: 203.0.113.7 is outside of 198.51.100.0/24; it is in 203.0.113.0/24"),
        "{error}"
    );
}

/// A client of this number; who it is.
struct Asks(crate::lease::HwAddress);

impl Asks {
    fn new(n: u32) -> Self {
        let mut chaddr = [0; 16];
        chaddr[..2].copy_from_slice(&[2, 0]);
        chaddr[2..6].copy_from_slice(&n.to_be_bytes());
        Self(crate::lease::HwAddress { htype: 1, hlen: 6, chaddr })
    }
}

impl Identified for Asks {
    fn id(&self, _: IdKind) -> Option<&[u8]> {
        None
    }
    fn hw(&self) -> &crate::lease::HwAddress {
        &self.0
    }
}

/// The time that this thread was on a CPU, in seconds: other tests beside it do not count.
fn cpu_s() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    std::time::Duration::from(time).as_secs_f64()
}

/// Reads this many reservations from a table.
fn read_many(count: u32) -> Config {
    use std::fmt::Write as _;

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
    let file = dir.path().join("f").display().to_string();
    let config = parse(&file, &text, &Lab).unwrap_or_else(|why| panic!("{why}")).config;
    assert_eq!(config.reservations.len(), count as usize);
    config
}

/// CPU seconds a reservation that was read, and a look: the least of some rounds, of a thousand clients of all.
fn costs(count: u32) -> (f64, f64) {
    let start = cpu_s();
    let config = read_many(count);
    let reading = (cpu_s() - start) / f64::from(count);
    let round = || {
        let start = cpu_s();
        for n in 0..100_000 {
            let asked = n % 1000 * (count / 1000);
            assert_eq!(std::hint::black_box(config.reservations.find(0, &Asks::new(asked))), Some(asked));
        }
        (cpu_s() - start) / 100_000.0
    };
    let look = (0..5).map(|_| round()).fold(f64::INFINITY, f64::min);
    println!("{count} reservations: {:.1} us each to read, {:.0} ns a look", reading * 1e6, look * 1e9);
    (reading, look)
}

/// One that read or looked through those that it has would be a hundred times slower with a hundred times as many.
fn many_cost_what_few_do(few: u32, many: u32) {
    let ((few_reading, few_look), (many_reading, many_look)) = (costs(few), costs(many));
    assert!(many_reading < 5.0 * few_reading, "{many_reading} s each against {few_reading} s");
    assert!(many_look < 3.0 * few_look, "{many_look} s a look against {few_look} s");
}

#[test]
fn reservations_are_read_in_linear_time_and_found_as_fast_among_many_as_among_few() {
    many_cost_what_few_do(1000, 100_000);
}

#[test]
#[ignore = "long: a million reservations, and how long they take"]
fn a_million_reservations_are_read_in_seconds_and_found_as_fast_as_a_few() {
    many_cost_what_few_do(1000, 1_000_000);
    let start = cpu_s();
    let leases = read_many(1_000_000).lease_table([1, 2]);
    println!("read, and a table of {} addresses made, in {:.2} s", leases.counts().total, cpu_s() - start);
    assert!(cpu_s() - start < 60.0, "not optimized, 10 to 15 s");
}
