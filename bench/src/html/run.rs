//! The page of a run.

use maud::{Markup, html};

use super::{
    Tile,
    chart::{Axis, Line, Plot},
    facts, number, page, part,
    scale::Scale,
    table, tiles,
};
use crate::report::{Percentile, Report};

/// Percentiles: name, class, and where they are in the series.
type Column = (&'static str, &'static str, fn(&Percentile) -> &Vec<Option<f64>>);
const PERCENTILES: [Column; 5] = [
    ("p50", "p50", |p| &p.p50),
    ("p90", "p90", |p| &p.p90),
    ("p99", "p99", |p| &p.p99),
    ("p99.9", "p999", |p| &p.p999),
    ("max", "pmax", |p| &p.max),
];
/// Colours of messages, in the order in which they come.
const MESSAGES: [&str; 6] = ["c1", "c2", "c3", "c4", "c5", "c6"];

/// A message as the RFCs write it.
fn named(message: &str) -> String {
    message.to_uppercase().replace('_', "-")
}

/// The page.
pub fn render(report: &Report) -> String {
    let title = format!("{} on {}: dhcp-storm", report.settings.scenario, report.settings.interface);
    page(
        &title,
        &html! {
            (heading(report))
            (figures(report))
            (summary(report))
            (rates(report))
            (bound(report))
            @for (message, percentile) in &report.series.latency_us { (latency(report, message, percentile)) }
            (distribution(report))
            div class="pair" { (replies(report)) (generator(report)) }
            (circumstances(report))
        },
    )
}

fn heading(report: &Report) -> Markup {
    let (class, verdict) = report.verdict();
    let pace = match (report.settings.rate_per_s, report.settings.window) {
        (Some(rate), _) => format!("{} exchanges a second offered", number::count(rate)),
        (_, Some(window)) => format!("as fast as a window of {} lets through", number::count(window.into())),
        _ => String::new(),
    };
    html! {
        header {
            h1 { (report.settings.scenario) " on " (report.settings.interface) span class=(format!("badge {class}")) { (verdict) } }
            p {
                (number::count(report.settings.clients.into())) " clients, " (pace) ", for "
                (number::seconds(report.summary.load_s)) " · " (number::date(report.began_at_unix_s))
            }
        }
    }
}

fn figures(report: &Report) -> Markup {
    let s = &report.summary;
    let aim = report.aim();
    let mut all = vec![Tile::new(format!("{aim} a second"), &number::count(report.aim_per_s()))];
    for (message, p) in s.latency_us.iter().filter(|(_, p)| p.count > 0).take(2) {
        all.push(Tile::new(format!("{} p99", named(message)), &number::micros(p.p99)));
    }
    let lost = if s.lost == 0 { "" } else { "warn" };
    all.push(Tile::new("messages lost", &number::percent(s.lost_ratio)).class(lost));
    if let Some(seconds) = s.time_to_all_done_s {
        all.push(Tile::new(format!("until all {}", report.fate()), &number::seconds(seconds)));
    }
    let wrong = if s.violations == 0 { "good" } else { "bad" };
    all.push(Tile::new("wrong replies", &number::count(s.violations as f64)).class(wrong));
    tiles(&all)
}

fn summary(report: &Report) -> Markup {
    let s = &report.summary;
    let per_s = |rate: f64| format!("{}/s", number::count(rate));
    let row = |name: &str, count: u64, rate: String| vec![name.to_owned(), number::count(count as f64), rate];
    let rows = [
        row("exchanges offered", s.offered, per_s(s.offered_per_s)),
        row("messages sent", s.sent, per_s(s.sent_per_s)),
        row("frames received", s.received, per_s(s.received_per_s)),
        row("good OFFERs", s.offers, per_s(s.offers_per_s)),
        row("good ACKs", s.bindings, per_s(s.bindings_per_s)),
        row("lost", s.lost, number::percent(s.lost_ratio)),
        row("sent again", s.retransmitted, String::new()),
    ];
    let latencies: Vec<Vec<String>> = s
        .latency_us
        .iter()
        .filter(|(_, p)| p.count > 0)
        .map(|(message, p)| {
            let times = [p.p50, p.p90, p.p99, p.p999, p.max].map(number::micros);
            [vec![named(message), number::count(p.count as f64)], times.to_vec()].concat()
        })
        .collect();
    html! {
        div class="pair uneven" {
            (part("Summary", "Rates are over the time in which exchanges began.", &table(&["", "count", "rate"], &rows)))
            (part("Latency", latency_words(report), &table(&["", "answers", "p50", "p90", "p99", "p99.9", "max"], &latencies)))
        }
    }
}

fn latency_words(report: &Report) -> &'static str {
    if report.settings.rate_per_s.is_some() {
        "From when the exchange was due by the schedule to its answer: what the generator was late counts too (coordinated \
         omission)."
    } else {
        "From transmission to answer. A closed loop waits for answers before it asks again, so that a slow server is asked less."
    }
}

fn time_axis(report: &Report) -> Axis {
    let end = report.series.time_s.last().copied().unwrap_or(report.summary.elapsed_s);
    Axis { label: "seconds from the begin", format: number::short, scale: Scale::exact(end) }
}

fn rates(report: &Report) -> Markup {
    let series = &report.series;
    let line = |name: &str, class, values: &[f64], area| {
        let points = series.time_s.iter().zip(values).map(|(t, v)| (*t, Some(*v))).collect();
        Line { name: name.to_owned(), class, points, area }
    };
    let mut lines = vec![line("messages sent", "c6", &series.sent_per_s, false)];
    lines.push(line("exchanges begun", "c2", &series.started_per_s, false));
    lines.push(line(report.aim(), "c1", &series.completed_per_s, true));
    for (name, class, values) in [("lost", "c5", &series.lost_per_s), ("wrong replies", "c4", &series.violations_per_s)]
    {
        if values.iter().any(|v| *v > 0.0) {
            lines.push(line(name, class, values, false));
        }
    }
    let most = lines.iter().flat_map(|l| &l.points).filter_map(|(_, y)| *y).fold(0.0, f64::max);
    let y = Axis { label: "a second", format: number::short, scale: Scale::linear(most) };
    let plot = Plot { title: "Rates over time".into(), x: time_axis(report), y, lines };
    part(
        "Rate",
        "A message is lost when its time to be sent again comes, so that losses show later than they happen.",
        &plot.render(),
    )
}

fn latency(report: &Report, message: &str, percentile: &Percentile) -> Markup {
    let lines: Vec<Line> = PERCENTILES
        .iter()
        .rev()
        .map(|(name, class, column)| Line {
            name: (*name).to_owned(),
            class,
            points: report.series.time_s.iter().copied().zip(column(percentile).iter().copied()).collect(),
            area: false,
        })
        .collect();
    let values = lines.iter().flat_map(|l| &l.points).filter_map(|(_, y)| *y);
    let y = Axis { label: "latency", format: number::micros, scale: Scale::log(values) };
    let title = format!("{} to its answer", named(message));
    let plot = Plot { title: format!("Latency percentiles over time, {title}"), x: time_axis(report), y, lines };
    part(
        &format!("Latency over time: {title}"),
        "Percentiles of the answers that came in each interval.",
        &plot.render(),
    )
}

/// Nines of a quantile: 0.9 is 1, 0.99 is 2.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

fn distribution(report: &Report) -> Markup {
    let known =
        |points: &[(f64, f64)]| points.iter().filter(|(q, _)| *q < 1.0).map(|(q, us)| (nines(*q), Some(*us))).collect();
    let lines: Vec<Line> = report
        .distribution_us
        .iter()
        .zip(MESSAGES.iter().cycle())
        .map(|((message, points), class)| Line { name: named(message), class, points: known(points), area: false })
        .collect();
    if lines.is_empty() {
        return html! {};
    }
    let most = lines.iter().flat_map(|l| &l.points).map(|(x, _)| *x).fold(1.0, f64::max);
    let values = lines.iter().flat_map(|l| &l.points).filter_map(|(_, y)| *y);
    let y = Axis { label: "latency", format: number::micros, scale: Scale::log(values) };
    let x = Axis {
        label: "of the answers came within",
        format: |nines| format!("{} %", (100.0 - 100.0 * 10f64.powf(-nines)) as f32),
        scale: Scale::Linear { to: most, step: 1.0 },
    };
    let plot = Plot { title: "Latency by percentile".into(), x, y, lines };
    part("Latency by percentile", "The whole run. Each mark is one nine more.", &plot.render())
}

fn bound(report: &Report) -> Markup {
    let curve = &report.curve;
    if curve.time_s.len() < 2 {
        return html! {};
    }
    let clients = f64::from(report.settings.clients.max(1));
    let points = curve.time_s.iter().zip(&curve.clients_done).map(|(t, n)| (*t, Some(*n as f64 / clients * 100.0)));
    let line = Line {
        name: format!("clients that {}", report.fate()),
        class: "c3",
        points: std::iter::once((0.0, Some(0.0))).chain(points).collect(),
        area: true,
    };
    let end = curve.time_s.last().copied().unwrap_or(1.0);
    let plot = Plot {
        title: "Clients done over time".into(),
        x: Axis { label: "seconds from the begin", format: number::short, scale: Scale::exact(end) },
        y: Axis { label: "clients", format: |v| format!("{v:.0} %"), scale: Scale::Linear { to: 100.0, step: 20.0 } },
        lines: came_back(report, clients).into_iter().chain([line]).collect(),
    };
    let reached: Vec<String> = [("p50", "50 %"), ("p90", "90 %"), ("p99", "99 %"), ("all", "all")]
        .into_iter()
        .filter_map(|(key, name)| {
            let seconds = report.summary.time_to_done_s.get(key).copied().flatten()?;
            Some(format!("{name} after {}", number::seconds(seconds)))
        })
        .collect();
    let of = number::count(clients);
    let words =
        format!("Of {of} clients: {}.", if reached.is_empty() { "not half".into() } else { reached.join(", ") });
    part(&format!("Time until all {}", report.fate()), &words, &plot.render())
}

/// Where each client takes part once: how many had begun.
fn came_back(report: &Report, clients: f64) -> Option<Line> {
    let series = &report.series;
    report.settings.once.then(|| {
        let (mut begun, mut before) = (0.0, 0.0);
        let points = series.time_s.iter().zip(&series.started_per_s).map(|(time, rate)| {
            begun += rate * (time - before);
            before = *time;
            (*time, Some((begun / clients * 100.0).min(100.0)))
        });
        let points = std::iter::once((0.0, Some(0.0))).chain(points).collect();
        Line { name: "clients that had begun".into(), class: "c2", points, area: false }
    })
}

fn replies(report: &Report) -> Markup {
    let s = &report.summary;
    let count = |name: &'static str, n: u64| (name, number::count(n as f64));
    let mut all = vec![
        count("wrong (violations)", s.violations),
        count("NAKs", s.naks),
        count("duplicates", s.duplicates),
        count("late", s.late),
        count("of other servers", s.other_server),
        count("unmatched", s.unmatched),
        count("exchanges given up", s.abandoned),
        count("without an answer at the end", s.in_flight_at_end.into()),
    ];
    if s.no_idle_client > 0 {
        all.push(count("starts without an idle client", s.no_idle_client));
    }
    part(
        "Replies",
        "",
        &html! {
            (facts(&all))
            @if !report.violation_examples.is_empty() {
                ul class="plain bad" { @for example in &report.violation_examples { li { (example) } } }
            }
        },
    )
}

fn generator(report: &Report) -> Markup {
    let g = &report.generator;
    let socket = format!("{} ({} {}), {} queue(s)", g.socket, g.xdp_mode, g.bind_mode, g.queues);
    let cpu = format!(
        "{} of one processor ({} user, {} system)",
        number::percent(g.cpu_share),
        number::seconds(g.cpu.user_s),
        number::seconds(g.cpu.system_s)
    );
    let lateness = &report.summary.lateness_us;
    let mut all = vec![
        ("sockets", socket),
        ("its own processor time", cpu),
        ("transmit ring full", number::count(g.tx_stalls as f64)),
        ("replies lost on its own end", number::count((g.rx_dropped + g.rx_ring_full) as f64)),
        ("clients made in", number::seconds(g.setup_s)),
    ];
    if report.settings.rate_per_s.is_some() {
        let words = format!(
            "p50 {}, p99 {}, max {}",
            number::micros(lateness.p50),
            number::micros(lateness.p99),
            number::micros(lateness.max)
        );
        all.push(("behind its schedule", words));
    }
    let interfaces: Vec<Vec<String>> = report
        .interfaces
        .iter()
        .map(|i| {
            let c = &i.counters;
            let dropped = c.rx_dropped + c.tx_dropped + c.rx_errors + c.tx_errors;
            let name = format!("{} ({}'s end)", i.interface, i.end);
            [name].into_iter().chain([c.tx_packets, c.rx_packets, dropped].map(|n| number::count(n as f64))).collect()
        })
        .collect();
    part(
        "Generator",
        "",
        &html! {
            (facts(&all))
            @if !interfaces.is_empty() { (table(&["interface", "frames sent", "received", "dropped"], &interfaces)) }
        },
    )
}

fn circumstances(report: &Report) -> Markup {
    let host = &report.host;
    html! {
        footer {
            p { code { (report.command) } }
            p {
                (host.name) " · Linux " (host.kernel) " · " (host.machine) " · " (host.cpus) " × " (host.cpu_model)
                " · seed " (report.seed) " · dhcp-storm " (report.version) " · schema " (report.schema)
            }
        }
    }
}
