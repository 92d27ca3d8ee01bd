//! The page of servers side by side: what `cargo xtask bench peers` wrote.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Tile,
    chart::{Axis, Row, Rows},
    number, page, part,
    scale::Scale,
    table, tiles,
};
use crate::{compare::Spread, host::Host};

/// What such results are called.
pub const KIND: &str = "peers";
/// Version of the JSON that is read.
const SCHEMA: u64 = 1;
/// The subject that all others are held against.
const REFERENCE: &str = "dhcp-xdp-sync";

/// Results, as far as the page shows them.
#[derive(Debug, Deserialize)]
pub struct Results {
    command: String,
    began_at_unix_s: u64,
    took_s: f64,
    complete: bool,
    reason: Option<String>,
    host: Option<Host>,
    settings: Settings,
    subjects: Vec<Subject>,
    disagreements: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    rounds: u32,
    quick: bool,
    clients: u32,
    load_s: f64,
    max_loss_percent: f64,
    pool: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    name: String,
    label: String,
    version: String,
    durability: String,
    unit: String,
    error: Option<String>,
    rounds: Vec<Round>,
    median: Median,
}

#[derive(Debug, Deserialize)]
struct Round {
    capacity_per_s: Option<f64>,
    cpu_s_per_million: Option<f64>,
    memory_bytes: f64,
    witnesses: Vec<Witness>,
}

#[derive(Debug, Deserialize)]
struct Witness {
    offered_per_s: f64,
    storm_per_s: f64,
    sent_per_s: f64,
    done_per_s: f64,
    own_losses: u64,
}

#[derive(Debug, Deserialize)]
struct Median {
    capacity_per_s: Option<f64>,
    ratio: Option<f64>,
    latency_us: BTreeMap<String, Latency>,
    memory_bytes: Option<f64>,
    cpu_s_per_million: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Results {
    /// From JSON.
    ///
    /// # Errors
    /// It is none, or of another schema.
    pub fn read(json: &Value) -> anyhow::Result<Self> {
        if json["schema"] != SCHEMA {
            bail!("results of schema {}, and this version reads {SCHEMA}", json["schema"]);
        }
        Self::deserialize(json).context("no results of cargo xtask bench peers")
    }

    fn reference(&self) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.name == REFERENCE)
    }

    /// The best of the servers of others.
    fn best_peer(&self) -> Option<&Subject> {
        let peers = self.subjects.iter().filter(|s| !s.name.starts_with("dhcp-xdp") && s.name != "reflector");
        let capacity = |s: &&Subject| s.median.capacity_per_s.unwrap_or(0.0);
        peers.filter(|s| s.median.capacity_per_s.is_some()).max_by(|a, b| capacity(a).total_cmp(&capacity(b)))
    }
}

impl Subject {
    /// Colour: this server's own stands out.
    fn class(&self) -> &'static str {
        match self.name.as_str() {
            REFERENCE => "c1",
            "dhcp-xdp-off" => "c3",
            "reflector" => "c6",
            _ => "c2",
        }
    }

    /// Least and most capacity of the rounds.
    fn range(&self) -> Option<(f64, f64)> {
        let spread = Spread::of(self.rounds.iter().filter_map(|round| round.capacity_per_s))?;
        Some((spread.least, spread.most))
    }

    /// Latency of the answer that ends an exchange.
    fn last_latency(&self) -> Option<Latency> {
        self.median.latency_us.get("request").or(self.median.latency_us.get("discover")).copied()
    }
}

/// The page.
pub fn render(results: &Results) -> String {
    page(
        "DHCPv4 servers side by side",
        &html! {
            (heading(results))
            (figures(results))
            (summary(results))
            (capacity(results))
            (latency(results, "request", "Latency of the ACK at half the capacity"))
            (latency(results, "discover", "Latency of the OFFER at half the capacity"))
            (cost(results))
            (witnesses(results))
            (method(results))
        },
    )
}

fn heading(results: &Results) -> Markup {
    let s = &results.settings;
    html! {
        header {
            h1 {
                "DHCPv4 servers side by side"
                @if let Some(reason) = &results.reason { span class="badge warn" { "partial: " (reason) } }
                @else if s.quick { span class="badge warn" { "quick: a first impression" } }
                @else if results.complete { span class="badge good" { "complete" } }
            }
            p {
                (s.rounds) " round(s) in turn on one veth pair, " (number::count(s.clients.into())) " clients behind a relay agent · "
                (number::date(results.began_at_unix_s)) " · took " (number::seconds(results.took_s))
            }
        }
    }
}

fn figures(results: &Results) -> Markup {
    let mut all = Vec::new();
    if let Some(own) = results.reference() {
        if let Some(capacity) = own.median.capacity_per_s {
            all.push(Tile::new("bindings a second, each synced to disk", &number::count(capacity)));
            if let Some((peer, theirs)) = results.best_peer().and_then(|p| Some((p, p.median.capacity_per_s?))) {
                all.push(Tile::new(format!("times {}", peer.label), &number::times(capacity / theirs)));
            }
        }
        if let Some(latency) = own.last_latency() {
            all.push(Tile::new("ACK p50, at half of that", &number::micros(latency.p50)));
            all.push(Tile::new("ACK p99, at half of that", &number::micros(latency.p99)));
        }
        if let Some(cpu) = own.median.cpu_s_per_million {
            all.push(Tile::new("processor for a million bindings", &whole_seconds(cpu)));
        }
        if let Some(memory) = own.median.memory_bytes {
            all.push(Tile::new("peak memory", &number::bytes(memory)));
        }
    }
    html! { @if !all.is_empty() { (tiles(&all)) } }
}

fn summary(results: &Results) -> Markup {
    let dash = || "–".to_owned();
    let row = |s: &Subject| {
        let (m, latency) = (&s.median, s.last_latency());
        let time = |of: fn(Latency) -> f64| latency.map_or_else(dash, |l| number::micros(of(l)));
        let cells = [
            format!("{} {}", s.label, s.version),
            m.capacity_per_s.map_or_else(dash, number::count),
            s.range().map_or_else(dash, |(least, most)| format!("{} – {}", number::short(least), number::short(most))),
            m.ratio.map_or_else(dash, number::times),
            time(|l| l.p50),
            time(|l| l.p99),
            time(|l| l.p999),
            m.memory_bytes.map_or_else(dash, number::bytes),
            m.cpu_s_per_million.map_or_else(dash, whole_seconds),
        ];
        html! {
            tr class=(if s.name == REFERENCE { "strong" } else { "" }) {
                @for (i, cell) in cells.iter().enumerate() { @if i == 0 { th { (cell) } } @else { td { (cell) } } }
                td class="words soft" { (s.durability) }
            }
        }
    };
    let content = html! {
        div class="wide" {
            table {
                thead {
                    tr {
                        th {} th { "capacity /s" } th { "of the rounds" } th { "ratio" } th { "p50" } th { "p99" } th { "p99.9" } th { "memory" }
                        th { "CPU per million" } th class="words" { "by the time of the ACK, a lease is" }
                    }
                }
                tbody { @for subject in &results.subjects { (row(subject)) } }
            }
        }
        @for subject in &results.subjects {
            @if let Some(error) = &subject.error { p class="bad" { (subject.label) ": " (error) } }
        }
    };
    let words = format!(
        "Medians of {} round(s). Capacity: exchanges from DISCOVER to ACK a second with at most {} of the messages lost \
         (the reflector, the limit of this machine: round trips). Latency of the ACK and processor time: at half of that. \
         Ratio: to dhcp-xdp, sync.",
        results.settings.rounds,
        number::percent(results.settings.max_loss_percent / 100.0)
    );
    part("Summary", &words, &content)
}

/// The words of an axis: its label, how its marks are written, and how values are.
type Words = (&'static str, Written, Written);
type Written = fn(f64) -> String;

/// Not in minutes: all are to have one unit.
fn whole_seconds(value_s: f64) -> String {
    format!("{} s", number::count(value_s))
}

/// A plot of one figure of each server: all rounds, and their median.
fn rows(
    results: &Results,
    title: &str,
    axis: Words,
    median: impl Fn(&Subject) -> Option<f64>,
    rounds: impl Fn(&Round) -> Option<f64>,
) -> Markup {
    let (label, mark, value) = axis;
    let rows: Vec<Row> = results
        .subjects
        .iter()
        .filter_map(|subject| {
            let middle = median(subject)?;
            let mut points: Vec<(f64, &'static str, String)> =
                subject.rounds.iter().filter_map(&rounds).map(|v| (v, "small", value(v))).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let at = points.partition_point(|(v, ..)| *v < middle).min(points.len());
            points.insert(at, (middle, "", format!("median {}", value(middle))));
            Some(Row { name: subject.label.clone(), class: subject.class(), points, value: value(middle) })
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    let values = rows.iter().flat_map(|row| &row.points).map(|(v, ..)| *v);
    let x = Axis { label, format: mark, scale: Scale::log(values) };
    Rows { title: title.to_owned(), x, rows, legend: Vec::new() }.render()
}

fn capacity(results: &Results) -> Markup {
    let plot = rows(
        results,
        "Capacity",
        ("exchanges a second", number::short, |v| format!("{} /s", number::count(v))),
        |s| s.median.capacity_per_s,
        |r| r.capacity_per_s,
    );
    let words = "The axis is logarithmic: each mark is ten times the one before. Small dots are rounds, large ones their median.";
    part("Capacity", words, &plot)
}

fn latency(results: &Results, message: &str, heading: &str) -> Markup {
    let rows: Vec<Row> = results
        .subjects
        .iter()
        .filter_map(|subject| {
            let l = subject.median.latency_us.get(message)?;
            let points = [("p50", l.p50), ("p90", l.p90), ("p99", l.p99), ("p999", l.p999), ("pmax", l.max)];
            let shown = ["p50", "p90", "p99", "p99.9", "max"];
            let points = points
                .into_iter()
                .zip(shown)
                .map(|((class, us), name)| (us, class, format!("{name} {}", number::micros(us))));
            Some(Row {
                name: subject.label.clone(),
                class: "c6",
                points: points.collect(),
                value: format!("{} · {}", number::micros(l.p50), number::micros(l.p99)),
            })
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    let values = rows.iter().flat_map(|row| &row.points).map(|(v, ..)| *v);
    let x = Axis {
        label: "from when the exchange was due, or the REQUEST left",
        format: number::micros,
        scale: Scale::log(values),
    };
    let legend = vec![("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("pmax", "max")];
    let plot = Rows { title: heading.to_owned(), x, rows, legend }.render();
    let words = "Each server at half of its own capacity, so at very different rates. Medians of the rounds; at the right p50 · p99.";
    part(heading, words, &plot)
}

fn cost(results: &Results) -> Markup {
    let memory = rows(
        results,
        "Peak memory",
        ("bytes", number::bytes, number::bytes),
        |s| s.median.memory_bytes,
        |r| Some(r.memory_bytes),
    );
    let cpu = rows(
        results,
        "Processor time",
        ("processor time of a million exchanges", whole_seconds, whole_seconds),
        |s| s.median.cpu_s_per_million,
        |r| r.cpu_s_per_million,
    );
    let words = format!(
        "Of the server's process (VmHWM), with the pool {}. dhcp-xdp takes all the memory it will ever need when it starts; dhcpd \
         does for its leases; Kea and dnsmasq grow with them.",
        results.settings.pool
    );
    html! {
        (part("Peak memory", &words, &memory))
        (part(
            "Processor time",
            "Of the server's threads at half the capacity, in user space and in the kernel. Frames that the kernel moves on the \
             sender's account are not in it.",
            &cpu
        ))
    }
}

fn witnesses(results: &Results) -> Markup {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for subject in &results.subjects {
        for (at, name) in ["half", "capacity"].into_iter().enumerate() {
            let seen: Vec<&Witness> = subject.rounds.iter().filter_map(|round| round.witnesses.get(at)).collect();
            let of =
                |figure: fn(&Witness) -> f64| Spread::of(seen.iter().map(|w| figure(w))).map(|spread| spread.median);
            let Some(offered) = of(|w| w.offered_per_s) else { continue };
            let count = |figure: fn(&Witness) -> f64| of(figure).map_or_else(String::new, number::count);
            let ratio = of(|w| w.done_per_s / w.storm_per_s).map_or_else(String::new, number::percent);
            lines.push(vec![
                format!("{}, {name}", subject.label),
                number::count(offered),
                count(|w| w.storm_per_s),
                count(|w| w.sent_per_s),
                count(|w| w.done_per_s),
                ratio,
                count(|w| w.own_losses as f64),
            ]);
        }
    }
    if lines.is_empty() {
        return html! {};
    }
    let head = [
        "",
        "offered /s",
        "dhcp-storm completed /s",
        "perfdhcp began /s",
        "perfdhcp completed /s",
        "perfdhcp of dhcp-storm",
        "lost in perfdhcp's own socket",
    ];
    let content = html! {
        (table(&head, &lines))
        @if results.disagreements.is_empty() { p { "The two agree within a tenth everywhere." } }
        @else {
            p class="warn" { "Where they differ by over a tenth:" }
            ul class="plain" { @for words in &results.disagreements { li { (words) } } }
        }
    };
    let words = "perfdhcp asks the same servers at the same rates, as the same relay agent, for as many clients. Completed are \
                 ACKs that came back until a second after the load.";
    part("A second witness: perfdhcp", words, &content)
}

fn method(results: &Results) -> Markup {
    let s = &results.settings;
    let units: Vec<&str> =
        results.subjects.iter().filter(|s| s.unit != "exchanges").map(|s| s.label.as_str()).collect();
    html! {
        footer {
            p {
                "The capacity is that of " code { "dhcp-storm capacity" } " with trials of " (number::seconds(s.load_s)) "; loads at half of "
                "it take as long, below 200 a second twice that. "
                "Clients come again when all have had their turn: after the first pass a server finds most of them in its "
                "leases. Each turn begins with an empty lease file. Server and generator share this machine's processors. "
                @if !units.is_empty() { (units.join(", ")) " is counted in round trips of two messages, all others in exchanges of four." }
            }
            p { code { (results.command) } }
            @if let Some(host) = &results.host {
                p { (host.name) " · Linux " (host.kernel) " · " (host.machine) " · " (host.cpus) " × " (host.cpu_model) }
            }
        }
    }
}
