//! Results read again: as a page, and held against each other.

#[allow(dead_code, reason = "other tests have the server do more wrong")]
mod fake;

use std::{sync::atomic::AtomicBool, time::Duration};

use dhcp_storm::{
    compare::{Change, Comparison},
    engine::{Engine, Outcome, Plan},
    host::CpuTime,
    html,
    live::Live,
    output,
    port::{KernelCounts, Modes},
    report::{Circumstances, Report},
    scenario::Scenario,
    schedule::{Backoff, Pace},
    template::Look,
};
use fake::{FakeServer, Quirk, TestClock};

fn run(quirk: Quirk, plan: &Plan) -> Outcome {
    let clock = TestClock::default();
    let mut server = FakeServer::new(quirk, &clock);
    Engine::new(plan).unwrap().run(&mut server, &clock, &AtomicBool::new(false), &Live::default())
}

fn plan() -> Plan {
    Plan {
        scenario: Scenario::find("dora").unwrap(),
        clients: 1000,
        pace: Pace::Open { rate_per_s: 1000.0 },
        load: Duration::from_secs(2),
        drain: Duration::from_secs(1),
        once: true,
        backoff: Backoff::new(0.01),
        look: Look::default(),
        pool: None,
        server: None,
        seed: 42,
        first_round: 0,
    }
}

fn report(quirk: Quirk, plan: &Plan) -> Report {
    let circumstances = Circumstances {
        command: "dhcp-storm run --circuit-id '<&\">'".into(),
        interface: "eth1".into(),
        max_loss_percent: None,
        began_at_unix_s: 1_795_500_300,
        modes: Modes { socket: "xdp", attach: "native", bind: "copy", queues: 1 },
        counts: KernelCounts::default(),
        setup_s: 0.1,
        cpu: CpuTime::default(),
        interfaces: Vec::new(),
    };
    Report::new(plan, &run(quirk, plan), circumstances)
}

/// A page is one file: XML without a fault, nothing fetched from anywhere, and no script.
fn assert_self_contained(page: &str) {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("{e}:\n{page}"));
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(!matches!(name, "script" | "link" | "img" | "iframe" | "object" | "image" | "use"), "<{name}>");
        for attribute in node.attributes() {
            let (key, value) = (attribute.name(), attribute.value());
            assert!(!matches!(key, "href" | "src" | "srcset" | "data" | "style"), "{key}={value}");
            assert!(!key.starts_with("on"), "{key}={value}");
        }
    }
    for foreign in ["http://", "https://", "@import", "url(", "NaN", "inf "] {
        assert!(!page.contains(foreign), "{foreign} is in the page");
    }
}

#[test]
fn the_page_of_a_run_is_one_file_with_its_plots_and_figures() {
    let report = report(Quirk::DropsEvery(7), &plan());
    let page = html::run::render(&report);
    assert_self_contained(&page);
    let text = |what: &str| assert!(page.contains(what), "{what} is not in\n{page}");
    for what in ["Rate", "Latency over time: DISCOVER", "Latency over time: REQUEST", "Time until all were bound"] {
        text(what);
    }
    text("&lt;&amp;");
    text("2026-11-24");
    assert!(page.matches("<svg").count() >= 5);
    assert!(page.len() < 500_000, "{} bytes", page.len());
}

#[test]
fn runs_of_every_fate_have_a_page() {
    for quirk in [Quirk::None, Quirk::Silent, Quirk::LinkDownAfter(500), Quirk::DoublesAddressOf(40), Quirk::Twice] {
        let report = report(quirk, &plan());
        let page = html::run::render(&report);
        assert_self_contained(&page);
        assert!(page.contains(&report.verdict().1), "{quirk:?}");
    }
    let short = Plan { load: Duration::ZERO, drain: Duration::ZERO, ..plan() };
    assert_self_contained(&html::run::render(&report(Quirk::None, &short)));
}

#[test]
fn a_result_is_read_again_from_its_json_as_it_was() {
    let report = report(Quirk::DropsEvery(7), &plan());
    let text = output::json(&report).unwrap();
    let again = Report::read(&serde_json::from_str(&text).unwrap()).unwrap();
    assert!(html::run::render(&again) == html::run::render(&report), "the page of what was read is another");
    let error = Report::read(&serde_json::json!({"schema": 99})).unwrap_err().to_string();
    assert!(error.contains("schema 99"), "{error}");
    assert!(Report::read(&serde_json::json!({"a": 1})).is_err());
    assert!(Report::read(&serde_json::json!({"schema": 1})).is_err());
}

#[test]
fn the_series_sums_up_to_the_counts_and_the_curve_ends_with_the_last_client() {
    let report = report(Quirk::None, &plan());
    let series = &report.series;
    let mut before = 0.0;
    let mut bindings = 0.0;
    for (time, rate) in series.time_s.iter().zip(&series.bindings_per_s) {
        bindings += rate * (time - before);
        before = *time;
    }
    assert!((bindings - report.summary.bindings as f64).abs() < 1.0, "{bindings}");
    assert!(series.time_s.len() >= 50, "{}", series.time_s.len());
    assert_eq!(report.curve.clients_done.last(), Some(&1000));
    let all = report.summary.time_to_all_done_s.unwrap();
    assert!((report.curve.time_s.last().unwrap() - all).abs() < 1e-5);
    assert_eq!(report.summary.time_to_done_s["all"], Some(all));
    let half = report.summary.time_to_done_s["p50"].unwrap();
    assert!((half - all / 2.0).abs() < 0.01, "{half} of {all}");
    let points = &report.distribution_us["request"];
    assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{points:?}");
}

#[test]
fn a_comparison_says_what_became_worse_and_why_it_may_not_count() {
    let good = report(Quirk::None, &plan());
    let slow = Quirk::Slow(Duration::from_millis(5));
    let seeds = |quirk: Quirk| -> Vec<Report> { (1..=3).map(|seed| report(quirk, &Plan { seed, ..plan() })).collect() };
    let comparison = Comparison::of(&seeds(Quirk::None), &seeds(slow));
    let row = |name: &str| comparison.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(row("REQUEST p50").change, Change::Worse);
    assert!(row("REQUEST p50").ratio().unwrap() > 20.0);
    assert_eq!(row("bindings a second").change, Change::Noise);
    assert_eq!(comparison.warnings, [""; 0]);
    assert_self_contained(&html::compare::render(&comparison));
    let text = comparison.text();
    assert!(text.contains("worse") && text.contains("within noise") && text.contains("3 and 3 runs"), "{text}");

    let mut other = report(Quirk::LinkDownAfter(500), &Plan { clients: 900, ..plan() });
    other.host.kernel = "7.2.0".into();
    let comparison = Comparison::of(&[good], &[other]);
    let warned = |what: &str| comparison.warnings.iter().any(|warning| warning.contains(what));
    assert!(warned("kernel") && warned("clients: 1000 and 900") && warned("partial"), "{:?}", comparison.warnings);
    assert!(comparison.text().contains("NOT COMPARABLE?"));
}
