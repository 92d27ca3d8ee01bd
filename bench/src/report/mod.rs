//! What a run found, for people and for programs.
//!
//! The JSON's keys `schema`, `command` and those of `summary` are what scripts read; [`SCHEMA`] goes up when one of them
//! changes its meaning. A result in JSON can be read again: [`compare`](crate::compare) and [`html`](crate::html) do.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use dhcp_xdp_ebpf::Verdict;
use serde::{Deserialize, Serialize};

use crate::{
    clients::BYTES_A_CLIENT,
    engine::{End, Outcome, Plan},
    host::{CpuTime, Host},
    nic::Counted,
    port::{KernelCounts, Modes},
    verdict::Violation,
};

mod detail;
mod summary;
mod text;

pub use detail::{Curve, Percentile, Percentiles, Series};
pub use summary::{Settings, Summary};

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
            distribution_us: detail::distribution(&outcome.measures.from_schedule),
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
}
