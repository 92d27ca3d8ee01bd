//! What was asked for, and the figures that came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Percentiles;
use crate::{
    engine::{Outcome, Plan},
    measure::{Hostile, Latency, Prepared},
    schedule::Pace,
    template::Message,
};

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

impl Settings {
    pub(super) fn new(plan: &Plan, interface: String, max_loss_percent: Option<f64>) -> Self {
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
    pub(super) fn new(outcome: &Outcome) -> Self {
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
