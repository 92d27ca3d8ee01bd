//! What was measured, as it is written in JSON and told at the end. `dhcp-storm report` makes the page of it.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{super::median, subject::Subject};

/// Version of the JSON.
const SCHEMA: u32 = 1;
/// What tells it from other results that `dhcp-storm report` reads.
const KIND: &str = "peers";
/// Where two tools differ by more than this share, the report says so.
const AGREEMENT: f64 = 0.1;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Results {
    schema: u32,
    kind: &'static str,
    /// The command line.
    command: String,
    /// When it began, seconds since 1970.
    began_at_unix_s: u64,
    /// How long it took.
    took_s: f64,
    /// Whether every server was measured in every round.
    pub complete: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The machine, as dhcp-storm describes it.
    host: Value,
    /// How it was measured.
    pub settings: Settings,
    /// Of each server.
    pub subjects: Vec<Measured>,
    /// Where dhcp-storm and perfdhcp saw something else.
    disagreements: Vec<String>,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Rounds.
    pub rounds: u32,
    /// Short loads, for a first impression.
    pub quick: bool,
    /// Simulated clients.
    pub clients: u32,
    /// How long a load takes.
    pub load_s: f64,
    /// How long a search for a capacity may take.
    pub search_s: f64,
    /// Percentage of the messages of a load that may stay without an answer.
    pub max_loss_percent: f64,
    /// Addresses that the servers lease.
    pub pool: String,
}

/// What was measured of a server.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Its key.
    pub name: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// Its version.
    version: String,
    /// What becomes of a lease by the time its ACK leaves.
    durability: &'static str,
    /// What is counted: exchanges of four messages, or round trips of two.
    unit: &'static str,
    /// Why a turn failed, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// By round.
    rounds: Vec<Outcome>,
    /// Medians of the rounds.
    median: Median,
}

/// A round of a server.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The highest rate with next to no loss.
    pub capacity_per_s: Option<f64>,
    /// Whether it was reached twice.
    pub confirmed: bool,
    /// What kept it from being more, in a word of `dhcp-storm capacity`.
    pub limited_by: String,
    /// The trials of the search, as `dhcp-storm capacity` describes them.
    pub trials: Value,
    /// At half the capacity.
    pub at_half: Option<AtHalf>,
    /// Processor time of a million exchanges at half the capacity.
    pub cpu_s_per_million: Option<f64>,
    /// Most memory it ever had.
    pub memory_bytes: u64,
    /// What perfdhcp saw at half the capacity, and at it.
    pub witnesses: Vec<Witness>,
}

/// A load at half the capacity.
#[derive(Clone, Debug, Serialize)]
pub struct AtHalf {
    /// Exchanges begun a second.
    pub rate_per_s: f64,
    /// Exchanges completed a second.
    pub done_per_s: f64,
    /// Share of them that were not completed.
    pub loss: f64,
    /// Wrong replies.
    pub violations: u64,
    /// Latency by message.
    pub latency_us: BTreeMap<String, Latency>,
}

/// A latency distribution, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

/// What perfdhcp saw beside what dhcp-storm saw, at the same rate.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {
    /// Exchanges that were to begin a second.
    pub offered_per_s: f64,
    /// Exchanges that dhcp-storm completed a second.
    pub storm_per_s: f64,
    /// Exchanges that perfdhcp began a second.
    pub sent_per_s: f64,
    /// Exchanges that perfdhcp completed a second.
    pub done_per_s: f64,
    /// Mean time to OFFER and to ACK that perfdhcp saw, in microseconds.
    pub mean_us: (f64, f64),
    /// Replies that perfdhcp's own socket had no room for.
    pub own_losses: u64,
}

/// Medians of the rounds.
#[derive(Clone, Debug, Default, Serialize)]
struct Median {
    capacity_per_s: Option<f64>,
    /// Its capacity over that of this server with durability "sync".
    ratio: Option<f64>,
    latency_us: BTreeMap<String, Latency>,
    memory_bytes: Option<f64>,
    cpu_s_per_million: Option<f64>,
    /// What perfdhcp completed over what dhcp-storm did: at half the capacity, and at it.
    witness_ratios: Vec<f64>,
}

impl Measured {
    fn new(subject: Subject) -> Self {
        Self {
            name: subject.name(),
            label: subject.label(),
            version: subject.version().unwrap_or_default(),
            durability: subject.durability(),
            unit: if subject == Subject::Reflector { "round trips" } else { "exchanges" },
            error: None,
            rounds: Vec::new(),
            median: Median::default(),
        }
    }

    /// A round is over.
    pub fn add(&mut self, outcome: Outcome) {
        self.rounds.push(outcome);
    }

    /// A round failed.
    pub fn fail(&mut self, error: &anyhow::Error) {
        self.error.get_or_insert_with(|| format!("{error:#}"));
    }

    /// The capacity of the rounds so far: where the next one begins to search.
    pub fn capacity_so_far(&self) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| round.capacity_per_s))
    }

    fn conclude(&mut self, reference: Option<f64>) {
        let rounds = &self.rounds;
        let capacity_per_s = self.capacity_so_far();
        let halves = || rounds.iter().filter_map(|round| round.at_half.as_ref());
        let messages: Vec<&String> = halves().flat_map(|half| half.latency_us.keys()).collect();
        let latency = |message: &String| {
            let of = |figure: fn(&Latency) -> f64| {
                median(halves().filter_map(|half| half.latency_us.get(message)).map(figure)).unwrap_or_default()
            };
            Latency {
                p50: of(|l| l.p50),
                p90: of(|l| l.p90),
                p99: of(|l| l.p99),
                p999: of(|l| l.p999),
                max: of(|l| l.max),
            }
        };
        let most = rounds.iter().map(|round| round.witnesses.len()).max().unwrap_or(0);
        let seen = |at: usize| rounds.iter().filter_map(move |round| round.witnesses.get(at));
        self.median = Median {
            capacity_per_s,
            ratio: capacity_per_s.zip(reference).map(|(own, of)| own / of),
            latency_us: messages.into_iter().map(|message| (message.clone(), latency(message))).collect(),
            memory_bytes: median(rounds.iter().map(|round| round.memory_bytes as f64)),
            cpu_s_per_million: median(rounds.iter().filter_map(|round| round.cpu_s_per_million)),
            witness_ratios: (0..most).filter_map(|at| median(seen(at).map(|w| w.done_per_s / w.storm_per_s))).collect(),
        };
    }

    /// Where perfdhcp saw something else, and why as far as it can be told.
    fn disagreements(&self) -> Vec<String> {
        let told = ["half the capacity", "the capacity"].into_iter().zip(&self.median.witness_ratios).enumerate();
        let apart = told.filter(|(_, (_, ratio))| (**ratio - 1.0).abs() > AGREEMENT);
        apart.map(|(at, (name, ratio))| self.disagreement(at, name, *ratio)).collect()
    }

    fn disagreement(&self, at: usize, name: &str, ratio: f64) -> String {
        let seen = || self.rounds.iter().filter_map(|round| round.witnesses.get(at));
        let of = |figure: fn(&Witness) -> f64| median(seen().map(figure)).unwrap_or_default();
        let (offered, sent) = (of(|w| w.offered_per_s), of(|w| w.sent_per_s));
        let own = of(|w| w.own_losses as f64);
        let mut words = format!(
            "{} at {name} ({offered:.0}/s): perfdhcp completed {:.0}/s, {:.0} % of what dhcp-storm did",
            self.label,
            of(|w| w.done_per_s),
            ratio * 100.0
        );
        if sent < offered * (1.0 - AGREEMENT) {
            let _ = write!(words, "; it could send no more than {sent:.0}/s");
        }
        if own > 0.0 {
            let _ = write!(words, "; {own:.0} replies found its own socket's buffer full");
        }
        words
    }
}

impl Results {
    /// Nothing measured yet.
    pub fn new(command: String, began_at_unix_s: u64, settings: Settings, subjects: &[Subject]) -> Self {
        Self {
            schema: SCHEMA,
            kind: KIND,
            command,
            began_at_unix_s,
            took_s: 0.0,
            complete: false,
            reason: None,
            host: Value::Null,
            settings,
            subjects: subjects.iter().map(|subject| Measured::new(*subject)).collect(),
            disagreements: Vec::new(),
        }
    }

    /// It is over; `reason` says why it is not complete, if so.
    pub fn finish(&mut self, host: Value, took: Duration, reason: Option<&str>) {
        let reference = self.subjects.iter().find(|s| s.name == Subject::DhcpXdpSync.name());
        let reference = reference.and_then(Measured::capacity_so_far);
        for subject in &mut self.subjects {
            subject.conclude(reference);
        }
        self.disagreements = self.subjects.iter().flat_map(Measured::disagreements).collect();
        self.host = host;
        self.took_s = took.as_secs_f64();
        self.complete = reason.is_none();
        self.reason = reason.map(str::to_owned);
    }

    /// A table for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "\n{:<16} {:>12} {:>7} {:>10} {:>10} {:>10} {:>9} {:>9}\n",
            "", "capacity/s", "ratio", "p50 us", "p99 us", "p99.9 us", "MB", "CPU s/M"
        );
        for subject in &self.subjects {
            let m = &subject.median;
            let figure =
                |value: Option<f64>, digits: usize| value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"));
            // The answer that binds; a reflector has but one.
            let latency = m.latency_us.get("request").or(m.latency_us.get("discover"));
            let _ = writeln!(
                text,
                "{:<16} {:>12} {:>7} {:>10} {:>10} {:>10} {:>9} {:>9}",
                subject.label,
                figure(m.capacity_per_s, 0),
                figure(m.ratio, 3),
                figure(latency.map(|l| l.p50), 0),
                figure(latency.map(|l| l.p99), 0),
                figure(latency.map(|l| l.p999), 0),
                figure(m.memory_bytes.map(|b| b / 1e6), 1),
                figure(m.cpu_s_per_million, 1)
            );
        }
        let _ = writeln!(
            text,
            "Medians of {} round(s). Capacity: exchanges (DISCOVER to ACK; for the reflector round trips) a second with at most \
             {} % lost. Latency of the ACK and processor time: at half of it. Memory: the most it ever had.",
            self.settings.rounds, self.settings.max_loss_percent
        );
        for subject in &self.subjects {
            if let Some(error) = &subject.error {
                let _ = writeln!(text, "FAILED: {}: {error}", subject.label);
            }
        }
        for words in &self.disagreements {
            let _ = writeln!(text, "perfdhcp disagrees: {words}");
        }
        if let Some(reason) = &self.reason {
            let _ = writeln!(text, "PARTIAL: {reason}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(capacity: f64, witnessed: f64, sent: f64) -> Outcome {
        let latency = Latency { p50: 1.0, p90: 2.0, p99: capacity, p999: 4.0, max: 5.0 };
        Outcome {
            capacity_per_s: Some(capacity),
            confirmed: true,
            limited_by: "server".into(),
            trials: Value::Null,
            at_half: Some(AtHalf {
                rate_per_s: capacity / 2.0,
                done_per_s: capacity / 2.0,
                loss: 0.0,
                violations: 0,
                latency_us: [("request".to_owned(), latency)].into(),
            }),
            cpu_s_per_million: Some(3.0),
            memory_bytes: 1_000_000,
            witnesses: vec![Witness {
                offered_per_s: capacity / 2.0,
                storm_per_s: capacity / 2.0,
                sent_per_s: sent,
                done_per_s: witnessed,
                mean_us: (1.0, 2.0),
                own_losses: 7,
            }],
        }
    }

    fn results() -> Results {
        let settings = Settings {
            rounds: 3,
            quick: false,
            clients: 100,
            load_s: 1.0,
            search_s: 9.0,
            max_loss_percent: 0.1,
            pool: "p".into(),
        };
        let mut results = Results::new("c".into(), 0, settings, &[Subject::DhcpXdpSync, Subject::Kea]);
        for capacity in [900.0, 1000.0, 1300.0] {
            results.subjects[0].add(outcome(capacity, capacity / 2.0, capacity / 2.0));
        }
        for capacity in [100.0, 200.0, 300.0] {
            results.subjects[1].add(outcome(capacity, capacity / 4.0, capacity / 4.0));
        }
        results
    }

    #[test]
    fn medians_and_ratios_are_those_of_the_rounds() {
        let mut results = results();
        results.finish(Value::Null, Duration::from_secs(9), None);
        let json = serde_json::to_value(&results).unwrap();
        let (own, kea) = (&json["subjects"][0]["median"], &json["subjects"][1]["median"]);
        assert_eq!((&own["capacity_per_s"], &own["ratio"]), (&1000.0.into(), &1.0.into()));
        assert_eq!((&kea["capacity_per_s"], &kea["ratio"]), (&200.0.into(), &0.2.into()));
        assert_eq!(kea["latency_us"]["request"]["p99"], 200.0);
        assert!(json["complete"] == true && results.text().contains("Kea, memfile"));
    }

    #[test]
    fn tools_that_differ_by_over_a_tenth_are_told_apart_with_what_is_known() {
        let mut results = results();
        results.finish(Value::Null, Duration::ZERO, None);
        let [words] = results.disagreements.as_slice() else { panic!("{:?}", results.disagreements) };
        for part in ["Kea", "half the capacity (100/s)", "50 % of", "no more than 50/s", "7 replies"] {
            assert!(words.contains(part), "{words}");
        }
    }

    #[test]
    fn a_server_that_failed_is_named_and_the_results_are_partial() {
        let mut results = results();
        results.subjects[1].fail(&anyhow::anyhow!("no Kea here"));
        results.finish(Value::Null, Duration::ZERO, Some("1 of 2 servers could not be measured"));
        let text = results.text();
        assert!(text.contains("FAILED: Kea, memfile: no Kea here") && text.contains("PARTIAL: 1 of 2"), "{text}");
        assert!(!results.complete);
    }
}
