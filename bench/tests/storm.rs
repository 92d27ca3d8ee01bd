//! Whole runs against a server in memory: what a good one gives, and that each fault of a bad one is caught.

mod fake;

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dhcp_storm::{
    engine::{End, Engine, Outcome, Plan},
    host::CpuTime,
    live::Live,
    port::{KernelCounts, Modes},
    report::{Circumstances, Report},
    scenario::Scenario,
    schedule::{Backoff, Pace},
    template::{Look, Message, Relay},
    verdict::Violation,
};
use fake::{FakeServer, Quirk, TestClock};

fn plan() -> Plan {
    Plan {
        scenario: Scenario::Dora,
        clients: 100,
        pace: Pace::Open { rate_per_s: 1000.0 },
        load: Duration::from_secs(1),
        drain: Duration::from_secs(1),
        once: false,
        backoff: Backoff::new(0.01),
        look: Look::default(),
        pool: None,
        seed: 42,
    }
}

fn run_on(plan: &Plan, server: &mut FakeServer, clock: &TestClock) -> Outcome {
    Engine::new(plan).unwrap().run(server, clock, &AtomicBool::new(false), &Live::default())
}

fn run(plan: &Plan, quirk: Quirk) -> Outcome {
    let clock = TestClock::default();
    run_on(plan, &mut FakeServer::new(quirk, &clock), &clock)
}

/// The run found this violation, and no other.
fn caught(outcome: &Outcome, violation: Violation) {
    let found = outcome.measures.counters.violations;
    assert!(found[violation as usize] > 0, "{violation:?} was not caught");
    assert_eq!(outcome.measures.counters.violations_total(), found[violation as usize], "{found:?}");
    assert_eq!(outcome.measures.examples[0].0, violation);
}

#[test]
fn a_good_server_binds_at_the_rate_offered_with_nothing_lost() {
    let outcome = run(&plan(), Quirk::None);
    let counters = &outcome.measures.counters;
    assert!(matches!(outcome.end, End::Duration));
    assert_eq!((outcome.offered, counters.started, counters.acks), (1000, 1000, 1000));
    assert_eq!(counters.sent, [1000, 1000, 0, 0, 0, 0, 0]);
    assert_eq!((counters.received, counters.clients_bound), (2000, 100));
    assert_eq!((counters.timeouts, outcome.in_flight, counters.violations_total()), (0, 0, 0));
    for message in [Message::Discover, Message::Request] {
        let latency = &outcome.measures.from_transmit[message as usize];
        assert_eq!(latency.len(), 1000);
        assert!((100_000..400_000).contains(&latency.max()), "{message:?}: {} ns", latency.max());
    }
}

#[test]
fn once_ends_when_every_client_is_bound_and_says_when_that_was() {
    let outcome = run(&Plan { once: true, ..plan() }, Quirk::None);
    assert!(matches!(outcome.end, End::AllDone));
    assert_eq!(outcome.measures.counters.clients_bound, 100);
    let all_bound = outcome.measures.all_done_ns.unwrap();
    assert!((99_000_000..105_000_000).contains(&all_bound), "{all_bound} ns");
}

#[test]
fn a_closed_loop_keeps_its_window_and_no_more() {
    let plan = Plan { pace: Pace::Closed { window: 16 }, load: Duration::from_millis(100), ..plan() };
    let outcome = run(&plan, Quirk::None);
    let counters = &outcome.measures.counters;
    assert_eq!(outcome.offered, counters.started);
    // Two waits of 0.1 ms an exchange, 16 at a time: about 80 a millisecond.
    assert!((4_000..9_000).contains(&counters.acks), "{}", counters.acks);
    let silent = run(&plan, Quirk::Silent);
    // The first timers fire after 30 ms or more and let others begin; none begin before.
    assert!(silent.measures.counters.started <= 3 * 16, "{}", silent.measures.counters.started);
}

#[test]
fn discover_only_asks_for_nothing_more() {
    let outcome = run(&Plan { scenario: Scenario::DiscoverOnly, ..plan() }, Quirk::None);
    let counters = &outcome.measures.counters;
    assert_eq!(counters.sent, [1000, 0, 0, 0, 0, 0, 0]);
    assert_eq!((counters.offers, counters.acks, counters.clients_done), (1000, 0, 100));
}

#[test]
fn the_same_seed_sends_the_same_and_another_does_not() {
    let frames = |seed| {
        let clock = TestClock::default();
        let mut server = FakeServer::new(Quirk::DropsEvery(7), &clock);
        server.record = true;
        run_on(&Plan { seed, ..plan() }, &mut server, &clock);
        server.seen
    };
    let first = frames(1);
    assert!(first.len() > 2000);
    assert!(first == frames(1), "the same seed sent something else");
    assert!(first != frames(2));
}

#[test]
fn a_silent_server_loses_everything_and_hears_the_retransmissions() {
    let outcome = run(&plan(), Quirk::Silent);
    let counters = &outcome.measures.counters;
    assert_eq!((counters.received, counters.acks, counters.clients_done), (0, 0, 0));
    assert_eq!((counters.started, counters.no_idle_client), (100, 900));
    assert_eq!(outcome.offered, 1000);
    assert_eq!(outcome.in_flight, 100);
    // After 40, 120, 280, 600, 1240 and 1880 ms, give or take.
    assert!((500..=600).contains(&counters.retransmitted), "{}", counters.retransmitted);
    assert_eq!(counters.sent_total(), 100 + counters.retransmitted);
}

#[test]
fn what_is_dropped_is_sent_again_and_all_are_bound_in_the_end() {
    let plan = Plan { once: true, load: Duration::from_secs(30), ..plan() };
    let outcome = run(&plan, Quirk::DropsEvery(3));
    let counters = &outcome.measures.counters;
    assert!(matches!(outcome.end, End::AllDone));
    assert_eq!(counters.clients_bound, 100);
    assert!(counters.timeouts > 50);
    assert_eq!(counters.timeouts, counters.retransmitted + counters.abandoned);
    assert_eq!(counters.violations_total(), 0);
    let slowest = outcome.measures.from_transmit[Message::Discover as usize].max();
    assert!(slowest > 30_000_000, "a lost DISCOVER shows as the wait for its retransmission: {slowest} ns");
}

#[test]
fn an_address_given_to_two_clients_is_caught_with_both_names() {
    let outcome = run(&plan(), Quirk::DoublesAddressOf(40));
    caught(&outcome, Violation::AddressNotUnique);
    let evidence = outcome.measures.examples[0].1;
    let holder = evidence.holder.unwrap();
    assert_ne!(holder, evidence.mac);
    assert_eq!(outcome.measures.counters.clients_bound, 99);
}

#[test]
fn an_address_may_go_to_another_client_once_its_lease_is_over() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::DoublesAddressOf(1), &clock);
    server.lease_time_s = 2;
    let slow = Plan { clients: 2, pace: Pace::Open { rate_per_s: 0.2 }, load: Duration::from_secs(10), ..plan() };
    let outcome = run_on(&slow, &mut server, &clock);
    assert_eq!(outcome.measures.counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    assert_eq!(outcome.measures.counters.clients_bound, 2);
}

#[test]
fn a_wrong_transaction_identifier_is_caught_and_not_believed() {
    let outcome = run(&plan(), Quirk::WrongXid);
    caught(&outcome, Violation::Xid);
    assert_eq!(outcome.measures.counters.offers, 0);
}

#[test]
fn a_server_that_answers_twice_is_counted_and_binds_each_client_once() {
    let outcome = run(&plan(), Quirk::Twice);
    let counters = &outcome.measures.counters;
    assert_eq!((counters.acks, counters.duplicates, counters.late), (1000, 2000, 0));
    assert_eq!(counters.violations_total(), 0);
}

#[test]
fn answers_that_come_after_a_retransmission_are_late_and_no_duplicates() {
    let outcome = run(&plan(), Quirk::Slow(Duration::from_millis(60)));
    let counters = &outcome.measures.counters;
    assert!(counters.late > 0);
    assert_eq!((counters.duplicates, counters.violations_total()), (0, 0));
    assert_eq!(counters.clients_bound, 100);
}

#[test]
fn a_refused_client_begins_anew() {
    let outcome = run(&Plan { once: true, ..plan() }, Quirk::NaksEvery(4));
    let counters = &outcome.measures.counters;
    assert!(matches!(outcome.end, End::AllDone));
    assert_eq!(counters.clients_bound, 100);
    assert_eq!(counters.naks, 33);
    assert_eq!(counters.started, 133);
}

#[test]
fn each_field_that_is_missing_or_wrong_is_caught() {
    for (quirk, violation) in [
        (Quirk::NoLeaseTime, Violation::LeaseTime),
        (Quirk::NoServerId, Violation::ServerIdentifier),
        (Quirk::AcksAnotherAddress, Violation::Address),
        (Quirk::ForgetsEnd, Violation::Malformed),
        (Quirk::WrongUdpChecksum, Violation::Malformed),
        (Quirk::AcksADiscover, Violation::MessageType),
    ] {
        caught(&run(&plan(), quirk), violation);
    }
}

#[test]
fn an_echo_that_is_forgotten_is_caught() {
    let relay = Relay {
        giaddr: Ipv4Addr::new(10, 0, 0, 2),
        server: Ipv4Addr::new(10, 0, 0, 1),
        circuit_id: "port {index}".into(),
    };
    let relayed = Plan { look: Look { relay: Some(relay), ..Look::default() }, ..plan() };
    assert_eq!(run(&relayed, Quirk::None).measures.counters.violations_total(), 0);
    caught(&run(&relayed, Quirk::ForgetsOption82), Violation::RelayInformation);

    let identified = Plan { look: Look { client_id: true, ..Look::default() }, ..plan() };
    assert_eq!(run(&identified, Quirk::None).measures.counters.violations_total(), 0);
    caught(&run(&identified, Quirk::ForgetsClientId), Violation::ClientIdentifier);
}

#[test]
fn an_address_outside_the_pool_is_caught() {
    let pool = |last: u32| Plan { pool: Some((0x0a01_0000, 0x0a01_0000 + last)), ..plan() };
    assert_eq!(run(&pool(99), Quirk::None).measures.counters.violations_total(), 0);
    caught(&run(&pool(98), Quirk::None), Violation::AddressOutsidePool);
}

#[test]
fn a_checksum_left_to_hardware_is_counted_and_good() {
    let outcome = run(&plan(), Quirk::ChecksumLeftToHardware);
    let counters = &outcome.measures.counters;
    assert_eq!(counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    assert_eq!(counters.checksum_offloaded, 2000);
}

#[test]
fn a_link_that_goes_down_leaves_a_partial_result() {
    let outcome = run(&plan(), Quirk::LinkDownAfter(500));
    assert!(matches!(outcome.end, End::Failed(_)) && outcome.end.is_partial());
    assert!(outcome.measures.counters.acks > 200);
}

#[test]
fn a_stop_leaves_a_partial_result_at_once() {
    let clock = TestClock::default();
    let stop = AtomicBool::new(false);
    stop.store(true, Ordering::Relaxed);
    let plan = plan();
    let outcome =
        Engine::new(&plan).unwrap().run(&mut FakeServer::new(Quirk::None, &clock), &clock, &stop, &Live::default());
    assert!(matches!(outcome.end, End::Interrupted) && outcome.end.is_partial());
    assert_eq!(outcome.measures.counters.sent_total(), 0);
}

#[test]
fn a_late_start_counts_into_the_corrected_latency() {
    // 64 starts a turn of the loop, which takes over a microsecond: at 100 a microsecond the schedule runs away.
    let plan =
        Plan { clients: 20_000, pace: Pace::Open { rate_per_s: 100e6 }, load: Duration::from_micros(100), ..plan() };
    let outcome = run(&plan, Quirk::None);
    let of = |latency: &[hdrhistogram::Histogram<u64>; Message::COUNT]| latency[Message::Discover as usize].max();
    let (plain, corrected) = (of(&outcome.measures.from_transmit), of(&outcome.measures.from_schedule));
    assert!(outcome.measures.lateness.max() > 20_000, "{} ns", outcome.measures.lateness.max());
    assert!(corrected > plain + 20_000, "{corrected} and {plain} ns");
    assert!((10_000..10_500).contains(&outcome.offered), "{}", outcome.offered);
}

fn report_on(plan: &Plan, outcome: &Outcome) -> Report {
    report_with(plan, outcome, None)
}

fn report_with(plan: &Plan, outcome: &Outcome, max_loss_percent: Option<f64>) -> Report {
    let circumstances = Circumstances {
        command: "dhcp-storm run".into(),
        interface: "eth1".into(),
        max_loss_percent,
        began_at_unix_s: 0,
        modes: Modes { socket: "xdp", attach: "native", bind: "copy", queues: 1 },
        counts: KernelCounts::default(),
        setup_s: 0.0,
        cpu: CpuTime::default(),
        interfaces: Vec::new(),
    };
    Report::new(plan, outcome, circumstances)
}

#[test]
fn the_json_has_the_keys_that_scripts_read() {
    let plan = plan();
    let report = serde_json::to_value(report_on(&plan, &run(&plan, Quirk::None))).unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["command"], "dhcp-storm run");
    let summary = &report["summary"];
    for (key, value) in [
        ("offered_per_s", 1000.0),
        ("sent_per_s", 2000.0),
        ("received_per_s", 2000.0),
        ("bindings_per_s", 1000.0),
        ("lost", 0.0),
        ("violations", 0.0),
    ] {
        let found = summary[key].as_f64().unwrap_or_else(|| panic!("{key} is missing"));
        assert!((found - value).abs() <= value / 100.0, "{key}: {found}");
    }
    for message in ["discover", "request"] {
        for key in ["p50", "p90", "p99", "p999", "max"] {
            let found = summary["latency_us"][message][key].as_f64().unwrap_or_else(|| panic!("{message} {key}"));
            assert!((100.0..400.0).contains(&found), "{message} {key}: {found} us");
        }
    }
}

#[test]
fn a_run_is_good_when_there_were_answers_and_all_were_right() {
    let plan = plan();
    let verdict = |quirk| report_on(&plan, &run(&plan, quirk)).is_good();
    assert!(verdict(Quirk::None));
    assert!(verdict(Quirk::DropsEvery(5)));
    assert!(!verdict(Quirk::DoublesAddressOf(40)));
    assert!(!verdict(Quirk::Silent));
    assert!(!verdict(Quirk::LinkDownAfter(500)));
    let text = report_on(&plan, &run(&plan, Quirk::DoublesAddressOf(40))).text(plan.scenario);
    assert!(text.contains("VIOLATIONS") && text.contains("which 02:"), "{text}");
    let text = report_on(&plan, &run(&plan, Quirk::LinkDownAfter(500))).text(plan.scenario);
    assert!(text.starts_with("PARTIAL RESULT") && text.contains("Network is down"), "{text}");
}

#[test]
fn losses_are_in_the_verdict_and_fail_a_run_that_allows_fewer() {
    let plan = plan();
    let outcome = run(&plan, Quirk::DropsEvery(5));
    let text = |most| report_with(&plan, &outcome, most).text(plan.scenario);
    assert!(
        text(None).contains("every reply that came was right\n           ")
            && text(None).contains(" messages had no answer (")
    );
    assert!(report_with(&plan, &outcome, Some(50.0)).is_good());
    assert!(!report_with(&plan, &outcome, Some(1.0)).is_good());
    assert!(text(Some(1.0)).contains("TOO MANY LOST: ") && text(Some(1.0)).contains("at most 1 % was asked for"));
    let clean = report_with(&plan, &run(&plan, Quirk::None), Some(0.0));
    assert!(clean.is_good() && !clean.text(plan.scenario).contains("had no answer"));
}

#[test]
fn lost_counts_what_was_not_answered_in_time_and_what_is_open_at_the_end() {
    let plan = plan();
    let outcome = run(&plan, Quirk::Silent);
    let report = report_on(&plan, &outcome);
    assert_eq!(report.summary.lost, report.summary.sent);
    assert_eq!(report.summary.lost_ratio, 1.0);
}
