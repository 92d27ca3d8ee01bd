//! `[ping_check]` and the subnets' own.

use std::time::Duration;

use super::*;
use crate::config::PingCheck;

const POOL: &str = "pools = [\"192.0.2.9\"]\n";

fn config(head: &str, subnet: &str) -> Config {
    parse("f", &format!("{head}{HEAD}{POOL}{subnet}"), &Lab).unwrap_or_else(|rejected| panic!("{rejected}")).config
}

#[test]
fn the_ping_check_is_off_unless_it_is_switched_on_for_all_or_for_a_subnet() {
    for (head, subnet, probed) in [
        ("", "", false),
        ("ping_check = { enabled = true }\n", "", true),
        ("ping_check = { enabled = true }\n", "ping_check = false\n", false),
        ("", "ping_check = true\n", true),
        ("defaults = { ping_check = true }\n", "", true),
        ("ping_check = { enabled = true }\n", "vrf = \"red\"\n", false),
    ] {
        let config = config(head, subnet);
        assert_eq!((config.subnets[0].ping_check, config.ping_check.is_some()), (probed, probed), "{head}{subnet}");
    }
    let default = PingCheck { timeout: Duration::from_millis(500), requests: 1, max_per_s: 200, remember_s: 60 };
    assert_eq!(config("", "ping_check = true\n").ping_check, Some(default));
    let all = "ping_check = { enabled = true, timeout_ms = 100, requests = 2, max_per_s = 7, remember_s = 0 }\n";
    let given = PingCheck { timeout: Duration::from_millis(100), requests: 2, max_per_s: 7, remember_s: 0 };
    assert_eq!(config(all, "").ping_check, Some(given));
}

#[test]
fn what_a_ping_check_cannot_be_is_an_error_and_what_does_nothing_a_warning() {
    let with = |settings: &str| format!("ping_check = {{ enabled = true, {settings} }}\n{HEAD}{POOL}");
    assert_error(&with("timeout_ms = 9"), "1:45", "ping_check.timeout_ms: found 9; expected 10 to 5000 milliseconds");
    assert_error(&with("requests = 0"), "1:43", "found 0; expected 1 to 3 echo requests");
    assert_error(&with("max_per_s = 0"), "1:44", "found 0; expected 1 to 2000 addresses a second");
    assert_error(&with("remember_s = 86401"), "1:45", "found 86401; expected 0 to 86400 seconds");
    assert_error(
        &format!("offer_hold_s = 1\n{}", with("timeout_ms = 1000")),
        "2:45",
        "expected less than offer_hold_s",
    );
    assert_error(&format!("decline_quarantine_s = 0\n{}", with("requests = 1")), "1:24", "offered again at once");
    assert_subnet_error("vrf = \"red\"\nping_check = true\n", "7:14", "addresses of a VPN cannot be probed");
    let idle = warnings(&format!("ping_check = {{ timeout_ms = 100 }}\n{HEAD}{POOL}"));
    assert!(idle[0].contains("1:14: warning: ping_check: switches nothing on"), "{idle:?}");
}
