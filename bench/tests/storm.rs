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
    schedule::{Backoff, Curve, Pace},
    template::{Look, Message, Relay},
    verdict::Violation,
};
use fake::{FakeServer, Kind, Quirk, SERVER, TestClock};

fn plan() -> Plan {
    Plan {
        scenario: Scenario::find("dora").unwrap(),
        clients: 100,
        pace: Pace::Open { rate_per_s: 1000.0 },
        load: Duration::from_secs(1),
        drain: Duration::from_secs(1),
        once: false,
        backoff: Backoff::new(0.01),
        look: Look::default(),
        pool: None,
        server: None,
        seed: 42,
        first_round: 0,
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
    let outcome = run(&Plan { scenario: Scenario::find("discover-only").unwrap(), ..plan() }, Quirk::None);
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
fn the_same_seed_sends_the_same_in_every_scenario() {
    let frames = |name: &str, seed| {
        let clock = TestClock::default();
        let mut server = FakeServer::new(Quirk::DropsEvery(11), &clock);
        server.record = true;
        let scenario = scenario(name);
        let points = scenario.curve.clone();
        let pace = match points[..] {
            [] => Pace::Open { rate_per_s: 1000.0 },
            _ => Pace::Curve(Curve { points, clients: 100, over_ns: 300_000_000 }),
        };
        run_on(&Plan { scenario, pace, seed, load: Duration::from_millis(300), ..plan() }, &mut server, &clock);
        server.seen
    };
    for name in Scenario::names() {
        let first = frames(name, 1);
        assert!(first.len() > 100, "{name}: {}", first.len());
        assert!(first == frames(name, 1), "{name}: the same seed sent something else");
        assert!(first != frames(name, 2), "{name}");
    }
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
        (Quirk::LeaseTimeZero, Violation::LeaseTime),
        (Quirk::AnotherServerId, Violation::ServerIdentifier),
        (Quirk::RenewsAfterTheEnd, Violation::RenewalTimes),
        (Quirk::ForgetsGiaddr, Violation::RelayAddress),
        (Quirk::Tags, Violation::VlanTags),
    ] {
        caught(&run(&plan(), quirk), violation);
    }
}

#[test]
fn an_echo_that_is_forgotten_is_caught() {
    let relay = Relay {
        giaddrs: vec![Ipv4Addr::new(10, 0, 0, 2)],
        server: Ipv4Addr::new(10, 0, 0, 1),
        circuit_id: "port {index}".into(),
        remote_id: String::new(),
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

fn scenario(name: &str) -> Scenario {
    Scenario::find(name).unwrap()
}

fn mix(mix: &str) -> Scenario {
    Scenario::parse("test", &format!("about = \"a test\"\n{mix}")).unwrap()
}

#[test]
fn clients_extend_and_restart_with_the_leases_that_were_prepared() {
    for (name, message, kind) in [
        ("renew", Message::Renew, Kind::Extend),
        ("rebind", Message::Rebind, Kind::Extend),
        ("init-reboot", Message::Reboot, Kind::Reboot),
    ] {
        let clock = TestClock::default();
        let mut server = FakeServer::new(Quirk::None, &clock);
        let outcome = run_on(&Plan { scenario: scenario(name), ..plan() }, &mut server, &clock);
        let counters = &outcome.measures.counters;
        assert_eq!(counters.violations_total(), 0, "{name}: {:?}", outcome.measures.examples);
        assert_eq!(outcome.measures.prepared.unwrap().clients, 100);
        assert_eq!((counters.completed, counters.acks, counters.clients_done), (1000, 1000, 100), "{name}");
        assert_eq!((counters.sent[message as usize], counters.sent_total()), (1000, 1000), "{name}");
        assert_eq!(server.kinds[&kind], 1000, "{name}");
        assert_eq!(server.kinds[&Kind::Discover], 100, "{name}: as many as were prepared");
        assert_eq!(outcome.measures.from_transmit[message as usize].len(), 1000);
        assert_eq!(outcome.offered, 1000);
    }
}

#[test]
fn a_refused_renewal_loses_the_lease_and_the_client_takes_another() {
    let outcome = run(&Plan { scenario: scenario("renew"), ..plan() }, Quirk::NaksEvery(10));
    let counters = &outcome.measures.counters;
    assert_eq!(counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    assert!(counters.naks >= 90, "{}", counters.naks);
    assert!(counters.sent[Message::Discover as usize] >= 80, "{:?}", counters.sent);
}

#[test]
fn released_and_declined_leases_are_gone() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::None, &clock);
    let outcome = run_on(&Plan { scenario: scenario("release"), ..plan() }, &mut server, &clock);
    let counters = &outcome.measures.counters;
    assert_eq!(counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    assert!((400..600).contains(&counters.released), "{}", counters.released);
    assert_eq!(u64::from(server.kinds[&Kind::Release]), counters.released);
    assert_eq!(counters.completed, 1000);
    assert_eq!(server.leases.len() as u64 + counters.released, 50 + counters.acks);

    let mut server = FakeServer::new(Quirk::None, &clock);
    let outcome = run_on(&Plan { scenario: scenario("decline"), ..plan() }, &mut server, &TestClock::default());
    let counters = &outcome.measures.counters;
    assert!((70..130).contains(&counters.declined), "{}", counters.declined);
    assert_eq!(u64::from(server.kinds[&Kind::Decline]), counters.declined);
    assert_eq!(counters.violations_total(), 0, "{:?}", outcome.measures.examples);
}

#[test]
fn a_mix_has_its_shares() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::None, &clock);
    let plan = Plan { scenario: scenario("mixed"), clients: 1000, load: Duration::from_secs(5), ..plan() };
    let outcome = run_on(&plan, &mut server, &clock);
    let sent = outcome.measures.counters.sent;
    assert_eq!(outcome.measures.counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    let near = |message, expected: u64| {
        let found = sent[message as usize];
        assert!(found.abs_diff(expected) < 60 + expected / 20, "{message:?}: {found}");
    };
    near(Message::Renew, 3500);
    near(Message::Rebind, 150);
    near(Message::Reboot, 500);
    near(Message::Request, 500);
    near(Message::Discover, 600);
    near(Message::Release, 250);
}

#[test]
fn churning_clients_hold_their_lease_and_leave() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::None, &clock);
    let churn = mix("hold_s = [0.1, 0.3]\nvanish_percent = 50\nmix = { dora = 1 }");
    let plan =
        Plan { scenario: churn, clients: 1000, backoff: Backoff::new(1.0), load: Duration::from_secs(3), ..plan() };
    let outcome = run_on(&plan, &mut server, &clock);
    let counters = &outcome.measures.counters;
    assert_eq!(counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    // All that came 0.3 s before the end have left.
    assert!((2600..3000).contains(&(counters.released + counters.vanished)), "{counters:?}");
    assert!(counters.released.abs_diff(counters.vanished) < 300, "{counters:?}");
    assert_eq!(u64::from(server.kinds[&Kind::Release]), counters.released);
}

#[test]
fn after_a_power_cut_all_come_back_along_the_curve_over_both_paths() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::DropsEvery(9), &clock);
    let scenario = scenario("power-return");
    let points = scenario.curve.clone();
    let load = Duration::from_secs(4);
    let pace = Pace::Curve(Curve { points, clients: 2000, over_ns: 4_000_000_000 });
    let giaddrs = vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)];
    let relay = Relay { giaddrs, server: SERVER.into(), circuit_id: "{index}".into(), remote_id: "{relay}".into() };
    let look = Look { relay: Some(relay), ..Look::default() };
    let plan = Plan { scenario, clients: 2000, pace, load, once: true, look, drain: Duration::from_secs(30), ..plan() };
    let outcome = run_on(&plan, &mut server, &clock);
    let counters = &outcome.measures.counters;
    assert_eq!(counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    assert!(matches!(outcome.end, End::AllDone), "{:?}: {counters:?}", outcome.end);
    assert_eq!((counters.clients_done, outcome.incomplete), (2000, None));
    assert_eq!(outcome.measures.prepared.unwrap().clients, 1400);
    assert!((1400..1900).contains(&server.kinds[&Kind::Reboot]), "{:?}", server.kinds);
    assert!(counters.sent_copies > 400 && counters.other_path > 300, "{counters:?}");
    assert_eq!(counters.duplicates, 0);
    let done_s = outcome.measures.all_done_ns.unwrap() as f64 / 1e9;
    assert!((3.9..6.0).contains(&done_s), "{done_s}");
}

#[test]
fn clients_whose_time_came_while_nobody_looked_still_come_back_when_the_load_is_over() {
    let points = vec![(0.0, 0.0), (1.0, 1.0)];
    let pace = Pace::Curve(Curve { points, clients: 100, over_ns: 1_000_000_000 });
    // The last ten are due after the loop has left the load behind: as after a stall.
    let plan = Plan { pace, load: Duration::from_millis(900), once: true, ..plan() };
    let outcome = run(&plan, Quirk::None);
    assert!(matches!(outcome.end, End::AllDone), "{:?}", outcome.end);
    assert_eq!((outcome.measures.counters.started, outcome.measures.counters.clients_done), (100, 100));
}

#[test]
fn good_clients_are_judged_apart_from_attackers() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::None, &clock);
    let plan = Plan { scenario: scenario("hostile"), load: Duration::from_secs(3), ..plan() };
    let outcome = run_on(&plan, &mut server, &clock);
    let counters = &outcome.measures.counters;
    assert_eq!(counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    let hostile = &counters.hostile;
    assert!((350..550).contains(&hostile.garbage_sent), "{hostile:?}");
    assert!((750..1050).contains(&hostile.starvation_sent), "a DISCOVER and a REQUEST each: {hostile:?}");
    assert!(hostile.spoofing_sent > 100 && hostile.naks > 20, "{hostile:?}");
    assert_eq!(hostile.acks, hostile.offers);
    assert_eq!((counters.timeouts, counters.naks), (0, 0));
    assert_eq!(counters.completed, counters.started);
}

#[test]
fn a_server_that_gives_a_clients_address_to_an_attacker_is_caught() {
    let plan = Plan { scenario: scenario("hostile"), ..plan() };
    caught(&run(&plan, Quirk::GivesInToAttackers), Violation::AddressNotUnique);
}

#[test]
fn tags_and_relay_agents_are_checked_in_replies() {
    let giaddrs = (1..=5).map(|last| Ipv4Addr::new(10, 0, last, 1)).collect();
    let remote_id = "{mac}".to_owned();
    let relay = Relay { giaddrs, server: SERVER.into(), circuit_id: "{vlan}.{cvlan}".into(), remote_id };
    let look = Look {
        relay: Some(relay),
        tags: Some("10-19.100-199".parse().unwrap()),
        vendor_class: "modem".into(),
        ..Look::default()
    };
    let plan = Plan { look, ..plan() };
    let outcome = run(&plan, Quirk::None);
    assert_eq!(outcome.measures.counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    assert_eq!(outcome.measures.counters.acks, 1000);
    caught(&run(&plan, Quirk::Tags), Violation::VlanTags);
    caught(&run(&plan, Quirk::ForgetsOption82), Violation::RelayInformation);
}

#[test]
fn another_server_than_the_expected_one_is_caught() {
    let good = Plan { server: Some(SERVER.into()), ..plan() };
    assert_eq!(run(&good, Quirk::None).measures.counters.violations_total(), 0);
    caught(
        &run(&Plan { server: Some(Ipv4Addr::new(10, 0, 0, 9)), ..plan() }, Quirk::None),
        Violation::ServerIdentifier,
    );
}

#[test]
fn noise_between_the_replies_is_counted_and_harms_nothing() {
    let outcome = run(&plan(), Quirk::Noise);
    let counters = &outcome.measures.counters;
    assert_eq!((counters.acks, counters.unmatched, counters.violations_total()), (1000, 4000, 0));
}

#[test]
fn who_asks_for_a_clients_address_is_told_and_for_anothers_is_not() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::None, &clock);
    server.record = true;
    let question = |target: [u8; 4]| {
        let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 9]].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        frame.extend(target);
        frame
    };
    // Asked in the middle of a run whose clients have the addresses from 10.1.0.0 on.
    server.ask_after(500, question([10, 1, 0, 7]));
    server.ask_after(600, question([10, 1, 200, 7]));
    let outcome = run_on(&plan(), &mut server, &clock);
    assert_eq!(outcome.measures.counters.arp_answered, 1);
    let answers: Vec<_> = server.seen.iter().filter(|frame| frame[12..14] == [8, 6]).collect();
    assert_eq!(answers.len(), 1);
    let (mac, _) = server.leases.iter().find(|(_, address)| **address == 0x0a01_0007).unwrap();
    assert_eq!(answers[0][22..28], *mac);
}

#[test]
fn a_server_that_stops_in_the_middle_leaves_a_result_that_says_so() {
    let long = Plan { load: Duration::from_secs(3), ..plan() };
    let outcome = run(&long, Quirk::StopsAfter(1000));
    let reason = outcome.incomplete.as_deref().unwrap();
    assert!(
        reason.starts_with("no answer came after 0.4") || reason.starts_with("no answer came after 0.5"),
        "{reason}"
    );
    assert!(matches!(outcome.end, End::Duration));
    let report = report_on(&long, &outcome);
    assert!(!report.is_good() && !report.complete);
    assert!(report.text(&long.scenario).starts_with("PARTIAL RESULT"));

    let longer = Plan { load: Duration::from_secs(60), ..plan() };
    let outcome = run(&longer, Quirk::StopsAfter(1000));
    assert!(matches!(outcome.end, End::Silent), "not to the end: {:?}", outcome.end);
    assert!(outcome.elapsed_ns < 12_000_000_000);
}

#[test]
fn where_no_lease_can_be_prepared_the_run_ends_and_says_why() {
    let outcome = run(&Plan { scenario: scenario("renew"), ..plan() }, Quirk::Silent);
    assert!(matches!(outcome.end, End::Failed(_)));
    assert!(outcome.incomplete.unwrap().contains("is there a server"));
}

#[test]
fn clients_of_an_earlier_run_are_not_mistaken_for_todays() {
    let clock = TestClock::default();
    let mut server = FakeServer::new(Quirk::Slow(Duration::from_millis(30)), &clock);
    let short = Plan { drain: Duration::ZERO, load: Duration::from_millis(100), ..plan() };
    run_on(&short, &mut server, &clock);
    let again = Plan { first_round: 1 << 16, ..plan() };
    let outcome = run_on(&again, &mut server, &clock);
    assert_eq!(outcome.measures.counters.violations_total(), 0, "{:?}", outcome.measures.examples);
    assert_eq!(outcome.measures.counters.clients_bound, 100);
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
    let text = report_on(&plan, &run(&plan, Quirk::DoublesAddressOf(40))).text(&plan.scenario);
    assert!(text.contains("VIOLATIONS") && text.contains("which 02:"), "{text}");
    let text = report_on(&plan, &run(&plan, Quirk::LinkDownAfter(500))).text(&plan.scenario);
    assert!(text.starts_with("PARTIAL RESULT") && text.contains("Network is down"), "{text}");
}

#[test]
fn losses_are_in_the_verdict_and_fail_a_run_that_allows_fewer() {
    let plan = plan();
    let outcome = run(&plan, Quirk::DropsEvery(5));
    let text = |most| report_with(&plan, &outcome, most).text(&plan.scenario);
    assert!(
        text(None).contains("every reply that came was right\n           ")
            && text(None).contains(" messages had no answer (")
    );
    assert!(report_with(&plan, &outcome, Some(50.0)).is_good());
    assert!(!report_with(&plan, &outcome, Some(1.0)).is_good());
    assert!(text(Some(1.0)).contains("TOO MANY LOST: ") && text(Some(1.0)).contains("at most 1 % was asked for"));
    let clean = report_with(&plan, &run(&plan, Quirk::None), Some(0.0));
    assert!(clean.is_good() && !clean.text(&plan.scenario).contains("had no answer"));
}

#[test]
fn lost_counts_what_was_not_answered_in_time_and_what_is_open_at_the_end() {
    let plan = plan();
    let outcome = run(&plan, Quirk::Silent);
    let report = report_on(&plan, &outcome);
    assert_eq!(report.summary.lost, report.summary.sent);
    assert_eq!(report.summary.lost_ratio, 1.0);
}
