//! What a run found, for people and for programs.
//!
//! The JSON's keys `schema`, `command` and those of `summary` are what scripts read; [`SCHEMA`] goes up when one of them
//! changes its meaning. A result in JSON can be read again: [`compare`](crate::compare) and [`html`](crate::html) do.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, bail};
use dhcp_xdp_ebpf::Verdict;
use serde::{Deserialize, Serialize};

use crate::{
    clients::BYTES_A_CLIENT,
    engine::{End, Outcome, Plan},
    host::{CpuTime, Host},
    measure::{Hostile, Latency, Prepared},
    nic::Counted,
    port::{KernelCounts, Modes},
    scenario::Scenario,
    schedule::Pace,
    series::{self, Counts, Interval, Quantiles},
    template::Message,
    verdict::Violation,
};

/// Version of the JSON.
pub const SCHEMA: u32 = 1;

/// What a result of `dhcp-storm run` is.
pub const KIND: &str = "run";

fn kind() -> String {
    KIND.to_owned()
}

/// The whole report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`KIND`]: what tells it from other results in JSON.
    #[serde(default = "kind")]
    pub kind: String,
    /// Version of the program.
    pub version: String,
    /// The command line.
    pub command: String,
    /// When the run began, seconds since 1970.
    pub began_at_unix_s: u64,
    /// The machine.
    pub host: Host,
    /// The seed.
    pub seed: u64,
    /// Whether the run went as planned to its end, with a server that answered to the end.
    pub complete: bool,
    /// Why it is not complete, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it ended: `duration`, `all_done`, `interrupted` or `failed`.
    pub ended_by: String,
    /// What was asked for.
    pub settings: Settings,
    /// The figures.
    pub summary: Summary,
    /// Violations by name, where there are any.
    pub violations: BTreeMap<String, u64>,
    /// The first violations in words.
    pub violation_examples: Vec<String>,
    /// What the generator's own end did and cost.
    pub generator: Generator,
    /// What the kernel counted on the interfaces meanwhile.
    #[serde(default)]
    pub interfaces: Vec<Counted>,
    /// When how many clients were done.
    #[serde(default)]
    pub curve: Curve,
    /// Each latency distribution in full: pairs of a quantile and microseconds, by message.
    #[serde(default)]
    pub distribution_us: BTreeMap<String, Vec<(f64, f64)>>,
    /// Rates and latency percentiles over time.
    #[serde(default)]
    pub series: Series,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Interface.
    pub interface: String,
    /// Scenario.
    pub scenario: String,
    /// What a client is after, in the plural: `bindings`, `offers`, `echoes`.
    #[serde(default)]
    pub aim: String,
    /// Clients.
    pub clients: u32,
    /// Rate of an open loop.
    pub rate_per_s: Option<f64>,
    /// Window of a closed loop.
    pub window: Option<u32>,
    /// How long exchanges were to begin for.
    pub duration_s: f64,
    /// How long the last replies were to be awaited, at most.
    pub drain_s: f64,
    /// Each client once.
    pub once: bool,
    /// Factor on retransmission times.
    pub backoff_scale: f64,
    /// Percentage of messages that may be lost, where one was given.
    pub max_loss_percent: Option<f64>,
}

/// The figures. Rates are over the time in which exchanges began (`load_s`); counts are of the whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// How long exchanges began for.
    pub load_s: f64,
    /// How long the run took.
    pub elapsed_s: f64,
    /// Exchanges that were due; in a closed loop those begun.
    pub offered_per_s: f64,
    /// Messages sent, retransmissions included.
    pub sent_per_s: f64,
    /// Frames received.
    pub received_per_s: f64,
    /// ACKs: bindings made or extended.
    pub bindings_per_s: f64,
    /// Good OFFERs.
    pub offers_per_s: f64,
    /// Exchanges that came to their end, whatever they were.
    #[serde(default)]
    pub completed_per_s: f64,
    /// Exchanges that were due.
    pub offered: u64,
    /// Exchanges begun.
    pub started: u64,
    /// Messages sent.
    pub sent: u64,
    /// The same by message.
    pub sent_by_message: BTreeMap<String, u64>,
    /// Frames received.
    pub received: u64,
    /// Good OFFERs.
    pub offers: u64,
    /// Good ACKs.
    pub bindings: u64,
    /// Transmissions that had no answer by the time to send again, or by the end.
    pub lost: u64,
    /// `lost` over what was sent of messages that have an answer.
    pub lost_ratio: f64,
    /// Replies that were wrong.
    pub violations: u64,
    /// Clients that are done: bound, or with an offer where the scenario stops there.
    pub clients_done: u64,
    /// Clients that have had a lease.
    pub clients_bound: u64,
    /// How long until all clients were done; none when some were not.
    pub time_to_all_done_s: Option<f64>,
    /// How long until so many percent of the clients were done: `p50`, `p90`, `p99`, `all`.
    #[serde(default)]
    pub time_to_done_s: BTreeMap<String, Option<f64>>,
    /// Messages sent again.
    pub retransmitted: u64,
    /// Clients that waited for an answer at the end.
    pub in_flight_at_end: u32,
    /// Exchanges given up.
    pub abandoned: u64,
    /// NAKs.
    pub naks: u64,
    /// Second answers to a message sent once.
    pub duplicates: u64,
    /// Answers that nobody waited for any more.
    pub late: u64,
    /// OFFERs of servers not chosen.
    pub other_server: u64,
    /// Answers to what came over a second path.
    #[serde(default)]
    pub other_path: u64,
    /// Frames that were for no client of this run.
    pub unmatched: u64,
    /// RELEASEs sent.
    #[serde(default)]
    pub released: u64,
    /// DECLINEs sent.
    #[serde(default)]
    pub declined: u64,
    /// What attackers sent and got; in nothing else here.
    #[serde(default)]
    pub hostile: Hostile,
    /// Leases taken before the measured part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Prepared>,
    /// Good replies whose UDP checksum was left to hardware.
    pub checksum_offloaded: u64,
    /// Starts that were due and found no idle client: more clients would be needed for this rate.
    pub no_idle_client: u64,
    /// From transmission to answer by message, microseconds; in an open loop from when the exchange was due.
    pub latency_us: BTreeMap<String, Percentiles>,
    /// The same from transmission in an open loop too.
    pub latency_from_transmit_us: BTreeMap<String, Percentiles>,
    /// How late exchanges began against the schedule, microseconds.
    pub lateness_us: Percentiles,
}

/// A latency distribution.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    /// Values in it.
    pub count: u64,
    /// Half are below.
    pub p50: f64,
    /// 90 % are below.
    pub p90: f64,
    /// 99 % are below.
    pub p99: f64,
    /// 99.9 % are below.
    pub p999: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    #[serde(default)]
    pub mean: f64,
}

impl From<&Latency> for Percentiles {
    fn from(latency: &Latency) -> Self {
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile| us(latency.value_at_quantile(quantile));
        Self {
            count: latency.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: us(latency.max()),
            mean: latency.mean() / 1000.0,
        }
    }
}

/// What the generator's own end did and cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generator {
    /// `xdp` or `packet`: the sockets used.
    pub socket: String,
    /// How the XDP program was attached.
    pub xdp_mode: String,
    /// How the sockets were bound.
    pub bind_mode: String,
    /// Receive queues.
    pub queues: usize,
    /// Most memory that a client takes.
    pub bytes_a_client: usize,
    /// How long it took to make the clients.
    pub setup_s: f64,
    /// Processor time of the run.
    pub cpu: CpuTime,
    /// The same as a share of the run's time: 1 is one processor all the time.
    #[serde(default)]
    pub cpu_share: f64,
    /// Times that the transmit ring had no room.
    pub tx_stalls: u64,
    /// Replies dropped before this program could take them, for want of a chunk.
    pub rx_dropped: u64,
    /// Replies dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// How often the fill ring was empty.
    pub fill_ring_empty: u64,
    /// What the XDP program did with frames.
    pub xdp_verdicts: BTreeMap<String, u64>,
}

/// When how many clients were done, a point each half percent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Seconds from the begin.
    pub time_s: Vec<f64>,
    /// Clients done.
    pub clients_done: Vec<u64>,
}

impl From<&series::Curve> for Curve {
    fn from(curve: &series::Curve) -> Self {
        let (clients_done, time_s) =
            curve.points().iter().map(|(done, ns)| (*done, rounded(*ns as f64 / 1e9, 1e6))).unzip();
        Self { time_s, clients_done }
    }
}

/// Rates and latency percentiles over time: columns of equal length, an entry an interval.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// Ends of the intervals, seconds from the begin.
    pub time_s: Vec<f64>,
    /// Exchanges begun.
    pub started_per_s: Vec<f64>,
    /// Messages sent.
    pub sent_per_s: Vec<f64>,
    /// Frames received.
    pub received_per_s: Vec<f64>,
    /// Good OFFERs.
    pub offers_per_s: Vec<f64>,
    /// Good ACKs.
    pub bindings_per_s: Vec<f64>,
    /// Exchanges that came to their end.
    pub completed_per_s: Vec<f64>,
    /// Transmissions without an answer when it was time to send again, which is seconds after they left.
    pub lost_per_s: Vec<f64>,
    /// Wrong replies.
    pub violations_per_s: Vec<f64>,
    /// Percentiles of `latency_us` by message; nothing where no answer came.
    pub latency_us: BTreeMap<String, Percentile>,
}

/// Latency percentiles over time, in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Percentile {
    /// Half are at most this.
    pub p50: Vec<Option<f64>>,
    /// 90 % are at most this.
    pub p90: Vec<Option<f64>>,
    /// 99 % are at most this.
    pub p99: Vec<Option<f64>>,
    /// 99.9 % are at most this.
    pub p999: Vec<Option<f64>>,
    /// The largest.
    pub max: Vec<Option<f64>>,
}

impl From<&series::Series> for Series {
    fn from(of: &series::Series) -> Self {
        let intervals = of.intervals();
        let rate = |count: fn(&Counts) -> u64| {
            let per_s = |i: &Interval| rounded(count(&i.counts) as f64 * 1e9 / i.length_ns.max(1) as f64, 10.0);
            intervals.iter().map(per_s).collect()
        };
        let latency = Message::ALL.into_iter().filter_map(|message| {
            let found: Vec<Option<Quantiles>> = intervals.iter().map(|i| i.latency(message)).collect();
            let us = |of: fn(&Quantiles) -> u64| {
                found.iter().map(|q| q.as_ref().map(|q| rounded(of(q) as f64 / 1e3, 10.0))).collect()
            };
            found.iter().any(Option::is_some).then(|| {
                let percentile = Percentile {
                    p50: us(|q| q.p50),
                    p90: us(|q| q.p90),
                    p99: us(|q| q.p99),
                    p999: us(|q| q.p999),
                    max: us(|q| q.max),
                };
                (message.name().to_owned(), percentile)
            })
        });
        Self {
            time_s: intervals.iter().map(|i| rounded(i.end_ns as f64 / 1e9, 1e6)).collect(),
            started_per_s: rate(|c| c.started),
            sent_per_s: rate(|c| c.sent),
            received_per_s: rate(|c| c.received),
            offers_per_s: rate(|c| c.offers),
            bindings_per_s: rate(|c| c.bindings),
            completed_per_s: rate(|c| c.completed),
            lost_per_s: rate(|c| c.lost),
            violations_per_s: rate(|c| c.violations),
            latency_us: latency.collect(),
        }
    }
}

/// Quantiles of a whole distribution: finer towards its tail, as far as there are values to tell.
fn distribution(latency: &[Latency; Message::COUNT]) -> BTreeMap<String, Vec<(f64, f64)>> {
    let of = |latency: &Latency| {
        let tenths = (0..9).map(|tenth| f64::from(tenth) / 10.0);
        // 0.9, 0.92 .. 0.98, 0.99, 0.992 and so on.
        let tails = (1..7).flat_map(|nines| {
            let rest = 10f64.powi(-nines);
            (0..5).map(move |fifth| 1.0 - rest * (1.0 - f64::from(fifth) * 0.18))
        });
        let known = tenths.chain(tails).filter(|quantile| (1.0 - quantile) * latency.len() as f64 >= 1.0);
        let mut points: Vec<(f64, f64)> =
            known.map(|q| (rounded(q, 1e8), latency.value_at_quantile(q) as f64 / 1e3)).collect();
        points.push((1.0, latency.max() as f64 / 1e3));
        points
    };
    let any = Message::ALL.into_iter().filter(|message| !latency[*message as usize].is_empty());
    any.map(|message| (message.name().to_owned(), of(&latency[message as usize]))).collect()
}

/// Rounded to a whole number of `1 / parts`: more digits would say nothing.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// What a report is made of besides the plan and the outcome.
pub struct Circumstances {
    /// The command line.
    pub command: String,
    /// The interface.
    pub interface: String,
    /// `--max-loss`.
    pub max_loss_percent: Option<f64>,
    /// When the run began, seconds since 1970.
    pub began_at_unix_s: u64,
    /// How the port came about.
    pub modes: Modes,
    /// What the kernel counted.
    pub counts: KernelCounts,
    /// How long it took to make the clients.
    pub setup_s: f64,
    /// Processor time of the run.
    pub cpu: CpuTime,
    /// What the kernel counted on the interfaces.
    pub interfaces: Vec<Counted>,
}

impl Report {
    /// Makes the report.
    pub fn new(plan: &Plan, outcome: &Outcome, of: Circumstances) -> Self {
        let violations = Violation::ALL
            .into_iter()
            .map(|v| (v.name().to_owned(), outcome.measures.counters.violations[v as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        Self {
            schema: SCHEMA,
            kind: KIND.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: of.command,
            began_at_unix_s: of.began_at_unix_s,
            host: Host::this(),
            seed: plan.seed,
            complete: outcome.incomplete.is_none(),
            reason: outcome.incomplete.clone(),
            ended_by: outcome.end.name().to_owned(),
            settings: Settings::new(plan, of.interface, of.max_loss_percent),
            summary: Summary::new(outcome),
            interfaces: of.interfaces,
            curve: Curve::from(&outcome.measures.curve),
            distribution_us: distribution(&outcome.measures.from_schedule),
            series: Series::from(&outcome.measures.series),
            violations,
            violation_examples: outcome
                .measures
                .examples
                .iter()
                .map(|(violation, evidence)| format!("{}: {evidence}", violation.name()))
                .collect(),
            generator: Generator {
                socket: of.modes.socket.to_owned(),
                xdp_mode: of.modes.attach.to_owned(),
                bind_mode: of.modes.bind.to_owned(),
                queues: of.modes.queues,
                bytes_a_client: BYTES_A_CLIENT,
                setup_s: of.setup_s,
                cpu: of.cpu,
                cpu_share: (of.cpu.user_s + of.cpu.system_s) / (outcome.elapsed_ns.max(1) as f64 / 1e9),
                tx_stalls: outcome.measures.counters.tx_stalls,
                rx_dropped: of.counts.rings.rx_dropped,
                rx_ring_full: of.counts.rings.rx_ring_full,
                fill_ring_empty: of.counts.rings.fill_ring_empty,
                xdp_verdicts: Verdict::ALL
                    .iter()
                    .map(|v| (v.name().to_owned(), of.counts.verdicts[*v as usize]))
                    .collect(),
            },
        }
    }

    /// From JSON.
    ///
    /// # Errors
    /// It is no result of a run, or one of another schema.
    pub fn read(json: &serde_json::Value) -> anyhow::Result<Self> {
        match json["schema"].as_u64() {
            None => bail!("no result of dhcp-storm: it has no `schema`"),
            Some(schema) if schema != u64::from(SCHEMA) => {
                bail!("a result of schema {schema}, and this version reads {SCHEMA}")
            }
            Some(_) => Self::deserialize(json).context("no result of a run of dhcp-storm"),
        }
    }

    /// Whether the server stood the test: replies came, none was wrong, no more was lost than allowed, and the run did not fail.
    pub fn is_good(&self) -> bool {
        (self.complete || self.ended_by == End::Interrupted.name())
            && self.summary.violations == 0
            && (self.answered() || !self.complete)
            && !self.lost_too_much()
    }

    /// The verdict in a few words, and `good`, `warn` or `bad`.
    pub fn verdict(&self) -> (&'static str, String) {
        match self.summary.violations {
            _ if !self.complete => ("warn", format!("partial: {}", self.reason.as_deref().unwrap_or("cut short"))),
            0 if !self.answered() => ("bad", "no answer".into()),
            0 if self.lost_too_much() => ("bad", "too many lost".into()),
            0 => ("good", "every reply that came was right".into()),
            n => ("bad", format!("{n} wrong replies")),
        }
    }

    /// What clients are after, in the plural: `bindings`.
    pub fn aim(&self) -> &str {
        if self.settings.aim.is_empty() { "bindings" } else { &self.settings.aim }
    }

    /// What all clients are once the scenario is through with them.
    pub fn fate(&self) -> String {
        if self.summary.clients_bound > 0 { "were bound".into() } else { format!("had {}", self.aim()) }
    }

    /// How many of those a second.
    pub fn aim_per_s(&self) -> f64 {
        self.summary.completed_per_s
    }

    fn lost_too_much(&self) -> bool {
        self.settings.max_loss_percent.is_some_and(|most| self.summary.lost_ratio * 100.0 > most)
    }

    /// What the losses amount to, in words; none when there were none.
    fn losses(&self) -> Option<String> {
        let s = &self.summary;
        let percent = s.lost_ratio * 100.0;
        let lost = format!("{} of {} messages had no answer ({percent:.3} %)", s.lost, s.sent);
        match self.settings.max_loss_percent {
            Some(most) if self.lost_too_much() => {
                Some(format!("TOO MANY LOST: {lost}, at most {most} % was asked for"))
            }
            _ if s.lost > 0 => Some(lost),
            _ => None,
        }
    }

    fn answered(&self) -> bool {
        self.summary.offers + self.summary.bindings + self.summary.naks > 0
    }

    /// The summary for people.
    pub fn text(&self, scenario: &Scenario) -> String {
        let s = &self.summary;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{words}");
        };
        if let Some(why) = &self.reason {
            line(format_args!("PARTIAL RESULT after {:.3} s: {why}", s.elapsed_s));
        }
        let what = scenario.aim();
        let rate = s.completed_per_s;
        line(format_args!(
            "{what:<10} {rate:.0}/s of {:.0}/s offered, for {:.3} s ({} clients, seed {})",
            s.offered_per_s, s.load_s, self.settings.clients, self.seed
        ));
        line(format_args!(
            "messages   {} sent ({:.0}/s), {} received ({:.0}/s), {} lost ({:.3} %), {} sent again",
            s.sent,
            s.sent_per_s,
            s.received,
            s.received_per_s,
            s.lost,
            s.lost_ratio * 100.0,
            s.retransmitted
        ));
        let all = match s.time_to_all_done_s {
            Some(seconds) => format!("all after {seconds:.3} s"),
            None => "not all".into(),
        };
        line(format_args!("clients    {} of {} done, {all}", s.clients_done, self.settings.clients));
        for (message, p) in s.latency_us.iter().filter(|(_, p)| p.count > 0) {
            line(format_args!(
                "{message:<10} p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0} us",
                p.p50, p.p90, p.p99, p.p999, p.max
            ));
        }
        if self.settings.rate_per_s.is_some() {
            let p = &s.lateness_us;
            line(format_args!(
                "lateness   p50 {:.0}  p99 {:.0}  max {:.0} us against the schedule",
                p.p50, p.p99, p.max
            ));
        }
        line(format_args!(
            "replies    {} duplicate, {} NAK, {} late, {} of other servers, {} unmatched",
            s.duplicates, s.naks, s.late, s.other_server, s.unmatched
        ));
        if let Some(p) = &s.prepared {
            line(format_args!("before     {} of {} leases were taken, in {:.1} s", p.clients, p.wanted, p.took_s));
        }
        if s.released + s.declined > 0 {
            line(format_args!("farewells  {} RELEASE, {} DECLINE sent", s.released, s.declined));
        }
        let h = &s.hostile;
        if h.garbage_sent + h.starvation_sent + h.spoofing_sent > 0 {
            line(format_args!(
                "attackers  {} of garbage, {} of starvation, {} spoofed sent; they were given {} leases and {} refusals",
                h.garbage_sent, h.starvation_sent, h.spoofing_sent, h.acks, h.naks
            ));
        }
        let lost_here = self.generator.rx_dropped + self.generator.rx_ring_full;
        if lost_here > 0 {
            line(format_args!("generator  {lost_here} replies dropped on this end: they count as lost"));
        }
        line(format_args!(
            "generator  {:.2} s of processor time, {:.0} % of one processor",
            self.generator.cpu.user_s + self.generator.cpu.system_s,
            self.generator.cpu_share * 100.0
        ));
        for Counted { end, interface, counters: c, .. } in &self.interfaces {
            line(format_args!(
                "{interface:<10} {} frames sent, {} received, {} dropped ({end}'s end)",
                c.tx_packets,
                c.rx_packets,
                c.tx_dropped + c.rx_dropped + c.tx_errors + c.rx_errors
            ));
        }
        if s.no_idle_client > 0 {
            line(format_args!(
                "generator  {} starts found no idle client: more --clients are needed for this rate",
                s.no_idle_client
            ));
        }
        match s.violations {
            0 if !self.answered() => line(format_args!("verdict    no client had an answer: is there a server?")),
            0 if scenario.echo => line(format_args!("verdict    echoes are not judged")),
            0 => line(format_args!("verdict    every reply that came was right")),
            n => line(format_args!("verdict    {n} VIOLATIONS: {:?}", self.violations)),
        }
        if let Some(losses) = self.losses().filter(|_| self.answered()) {
            line(format_args!("           {losses}"));
        }
        for example in &self.violation_examples {
            line(format_args!("           {example}"));
        }
        text
    }
}

impl Settings {
    fn new(plan: &Plan, interface: String, max_loss_percent: Option<f64>) -> Self {
        let (rate_per_s, window) = match &plan.pace {
            Pace::Open { rate_per_s } => (Some(*rate_per_s), None),
            Pace::Closed { window } => (None, Some(*window)),
            Pace::Curve(curve) => (Some(f64::from(curve.clients) / (curve.over_ns as f64 / 1e9).max(1e-9)), None),
        };
        Self {
            interface,
            scenario: plan.scenario.name().to_owned(),
            aim: plan.scenario.aim().to_owned(),
            clients: plan.clients,
            rate_per_s,
            window,
            duration_s: plan.load.as_secs_f64(),
            drain_s: plan.drain.as_secs_f64(),
            once: plan.once,
            backoff_scale: plan.backoff.scale(),
            max_loss_percent,
        }
    }
}

impl Summary {
    fn new(outcome: &Outcome) -> Self {
        let (all, load) = (&outcome.measures.counters, &outcome.under_load);
        let load_s = outcome.load_ns as f64 / 1e9;
        let per_s = |count: u64| if load_s > 0.0 { count as f64 / load_s } else { 0.0 };
        // What is in flight when a run is cut short may still be answered.
        let unanswered = if outcome.end.is_partial() { 0 } else { u64::from(outcome.in_flight) };
        let lost = all.timeouts + unanswered;
        // What a scenario does not send would only be rows of noughts.
        let sent = || Message::ALL.into_iter().filter(|m| all.sent[*m as usize] > 0);
        let by_message = |latency: &[Latency; Message::COUNT]| {
            sent().map(|m| (m.name().to_owned(), Percentiles::from(&latency[m as usize]))).collect()
        };
        Self {
            load_s,
            elapsed_s: outcome.elapsed_ns as f64 / 1e9,
            offered_per_s: per_s(outcome.offered),
            sent_per_s: per_s(load.sent_total()),
            received_per_s: per_s(load.received),
            bindings_per_s: per_s(load.acks),
            offers_per_s: per_s(load.offers),
            completed_per_s: per_s(load.completed),
            offered: outcome.offered,
            started: all.started,
            sent: all.sent_total(),
            sent_by_message: sent().map(|m| (m.name().to_owned(), all.sent[m as usize])).collect(),
            received: all.received,
            offers: all.offers,
            bindings: all.acks,
            lost,
            lost_ratio: lost as f64 / (all.sent_answered().max(1)) as f64,
            violations: all.violations_total(),
            clients_done: all.clients_done,
            clients_bound: all.clients_bound,
            time_to_all_done_s: outcome.measures.all_done_ns.map(|ns| ns as f64 / 1e9),
            time_to_done_s: [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("all", 1.0)]
                .into_iter()
                .map(|(name, share)| {
                    let reached = outcome.measures.curve.time_to(share);
                    (name.to_owned(), reached.map(|ns| ns as f64 / 1e9))
                })
                .collect(),
            retransmitted: all.retransmitted,
            in_flight_at_end: outcome.in_flight,
            abandoned: all.abandoned,
            naks: all.naks,
            duplicates: all.duplicates,
            late: all.late,
            other_server: all.other_server,
            other_path: all.other_path,
            unmatched: all.unmatched,
            released: all.released,
            declined: all.declined,
            hostile: all.hostile.clone(),
            prepared: outcome.measures.prepared,
            checksum_offloaded: all.checksum_offloaded,
            no_idle_client: all.no_idle_client,
            latency_us: by_message(&outcome.measures.from_schedule),
            latency_from_transmit_us: by_message(&outcome.measures.from_transmit),
            lateness_us: (&outcome.measures.lateness).into(),
        }
    }
}
