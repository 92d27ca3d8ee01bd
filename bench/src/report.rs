//! What a run found, for people and for programs.
//!
//! The JSON's keys `schema`, `command` and those of `summary` are what scripts read; [`SCHEMA`] goes up when one of them
//! changes its meaning.

use std::{collections::BTreeMap, fmt::Write as _};

use dhcp_xdp_ebpf::Verdict;
use serde::Serialize;

use crate::{
    clients::BYTES_A_CLIENT,
    engine::{End, Outcome, Plan},
    host::{CpuTime, Host},
    measure::{Hostile, Latency, Prepared},
    port::{KernelCounts, Modes},
    scenario::Scenario,
    schedule::Pace,
    template::Message,
    verdict::Violation,
};

/// Version of the JSON.
pub const SCHEMA: u32 = 1;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the program.
    pub version: &'static str,
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
    pub ended_by: &'static str,
    /// What was asked for.
    pub settings: Settings,
    /// The figures.
    pub summary: Summary,
    /// Violations by name, where there are any.
    pub violations: BTreeMap<&'static str, u64>,
    /// The first violations in words.
    pub violation_examples: Vec<String>,
    /// What the generator's own end did and cost.
    pub generator: Generator,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// Interface.
    pub interface: String,
    /// Scenario.
    pub scenario: String,
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
#[derive(Debug, Serialize)]
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
    pub completed_per_s: f64,
    /// Exchanges that were due.
    pub offered: u64,
    /// Exchanges begun.
    pub started: u64,
    /// Messages sent.
    pub sent: u64,
    /// The same by message.
    pub sent_by_message: BTreeMap<&'static str, u64>,
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
    pub other_path: u64,
    /// Frames that were for no client of this run.
    pub unmatched: u64,
    /// RELEASEs sent.
    pub released: u64,
    /// DECLINEs sent.
    pub declined: u64,
    /// What attackers sent and got; in nothing else here.
    pub hostile: Hostile,
    /// Leases taken before the measured part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Prepared>,
    /// Good replies whose UDP checksum was left to hardware.
    pub checksum_offloaded: u64,
    /// Starts that were due and found no idle client: more clients would be needed for this rate.
    pub no_idle_client: u64,
    /// From transmission to answer by message, microseconds; in an open loop from when the exchange was due.
    pub latency_us: BTreeMap<&'static str, Percentiles>,
    /// The same from transmission in an open loop too.
    pub latency_from_transmit_us: BTreeMap<&'static str, Percentiles>,
    /// How late exchanges began against the schedule, microseconds.
    pub lateness_us: Percentiles,
}

/// A latency distribution.
#[derive(Clone, Copy, Debug, Serialize)]
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
        }
    }
}

/// What the generator's own end did and cost.
#[derive(Debug, Serialize)]
pub struct Generator {
    /// `xdp` or `packet`: the sockets used.
    pub socket: &'static str,
    /// How the XDP program was attached.
    pub xdp_mode: &'static str,
    /// How the sockets were bound.
    pub bind_mode: &'static str,
    /// Receive queues.
    pub queues: usize,
    /// Most memory that a client takes.
    pub bytes_a_client: usize,
    /// How long it took to make the clients.
    pub setup_s: f64,
    /// Processor time of the run.
    pub cpu: CpuTime,
    /// Times that the transmit ring had no room.
    pub tx_stalls: u64,
    /// Replies dropped before this program could take them, for want of a chunk.
    pub rx_dropped: u64,
    /// Replies dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// How often the fill ring was empty.
    pub fill_ring_empty: u64,
    /// What the XDP program did with frames.
    pub xdp_verdicts: BTreeMap<&'static str, u64>,
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
}

impl Report {
    /// Makes the report.
    pub fn new(plan: &Plan, outcome: &Outcome, of: Circumstances) -> Self {
        let violations = Violation::ALL
            .into_iter()
            .map(|v| (v.name(), outcome.measures.counters.violations[v as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            command: of.command,
            began_at_unix_s: of.began_at_unix_s,
            host: Host::this(),
            seed: plan.seed,
            complete: outcome.incomplete.is_none(),
            reason: outcome.incomplete.clone(),
            ended_by: outcome.end.name(),
            settings: Settings::new(plan, of.interface, of.max_loss_percent),
            summary: Summary::new(outcome),
            violations,
            violation_examples: outcome
                .measures
                .examples
                .iter()
                .map(|(violation, evidence)| format!("{}: {evidence}", violation.name()))
                .collect(),
            generator: Generator {
                socket: of.modes.socket,
                xdp_mode: of.modes.attach,
                bind_mode: of.modes.bind,
                queues: of.modes.queues,
                bytes_a_client: BYTES_A_CLIENT,
                setup_s: of.setup_s,
                cpu: of.cpu,
                tx_stalls: outcome.measures.counters.tx_stalls,
                rx_dropped: of.counts.rings.rx_dropped,
                rx_ring_full: of.counts.rings.rx_ring_full,
                fill_ring_empty: of.counts.rings.fill_ring_empty,
                xdp_verdicts: Verdict::ALL.iter().map(|v| (v.name(), of.counts.verdicts[*v as usize])).collect(),
            },
        }
    }

    /// Whether the server stood the test: replies came, none was wrong, no more was lost than allowed, and the run did not fail.
    pub fn is_good(&self) -> bool {
        (self.complete || self.ended_by == End::Interrupted.name())
            && self.summary.violations == 0
            && (self.answered() || !self.complete)
            && !self.lost_too_much()
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
        let lost_here = self.generator.rx_dropped + self.generator.rx_ring_full;
        if lost_here > 0 {
            line(format_args!("generator  {lost_here} replies dropped on this end: they count as lost"));
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
        let by_message = |latency: &[Latency; Message::COUNT]| {
            Message::ALL.into_iter().map(|m| (m.name(), Percentiles::from(&latency[m as usize]))).collect()
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
            sent_by_message: Message::ALL.into_iter().map(|m| (m.name(), all.sent[m as usize])).collect(),
            received: all.received,
            offers: all.offers,
            bindings: all.acks,
            lost,
            lost_ratio: lost as f64 / (all.sent_answered().max(1)) as f64,
            violations: all.violations_total(),
            clients_done: all.clients_done,
            clients_bound: all.clients_bound,
            time_to_all_done_s: outcome.measures.all_done_ns.map(|ns| ns as f64 / 1e9),
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
