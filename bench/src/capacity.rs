//! `dhcp-storm capacity`: the highest rate at which at most so much is lost.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use dhcp_xdp::xsk::Device;
use serde::Serialize;

use crate::{
    cli::CapacityArgs,
    engine::{Engine, Outcome, Plan},
    host::{self, CpuTime},
    nic::Watch,
    output::{self, Output},
    port::{Port as _, Wire},
    report::{Circumstances, Report},
    run::{Failure, command_line, stop_flag, storm},
    schedule::Pace,
};

/// Exchanges at a time while looking where to begin.
const WINDOW: u32 = 256;
/// How much higher each trial of the ramp is.
const RAMP: f64 = 1.5;
/// A trial in which less than this part of what was due began says nothing of the server, but for what was due in the last
/// [`LAST_S`].
const KEPT_PACE: f64 = 0.99;
/// A server that completes less than this part of what was due by the end of the load is behind, but for the same.
const KEPT_UP: f64 = 0.97;
/// Where no client is idle, there are too few of them if an exchange takes at most so many times as long as in the quickest trial,
const NO_SLOWER: f64 = 3.0;
/// or if the server completes less than this part of what it did in another one.
const NO_FEWER: f64 = 0.8;
/// What is due in the last moment of a trial may still be on its way.
const LAST_S: f64 = 0.05;
/// How far down a result is brought that fails when it is tried once more.
const STEP_DOWN: f64 = 0.93;
/// Tries to confirm a result.
const CONFIRMATIONS: u32 = 4;
/// What the exchanges of two trials are numbered apart.
const ROUNDS_APART: u32 = 1 << 20;
/// After a trial nothing may come for so long before the next, at most as long as [`SETTLE_AT_MOST`].
const SETTLE: Duration = Duration::from_millis(200);
const SETTLE_AT_MOST: Duration = Duration::from_secs(5);

/// What a trial came to.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Exchanges due a second; none in the closed loop at the begin.
    pub rate_per_s: Option<f64>,
    /// Exchanges that came to their end, a second.
    pub completed_per_s: f64,
    /// Part of the messages that was lost.
    pub lost_ratio: f64,
    /// Replies that were wrong.
    pub violations: u64,
    /// Whether the generator began what was due.
    pub kept_pace: bool,
    /// Starts that found every client waiting for an answer.
    pub no_idle_client: u64,
    /// Whether the server stood it.
    pub good: bool,
    /// Median of the latencies by message, microseconds.
    pub latency_p50_us: std::collections::BTreeMap<String, f64>,
    /// 99 % are below.
    pub latency_p99_us: std::collections::BTreeMap<String, f64>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    /// The highest rate that the server stood, exchanges a second; none where it stood no trial.
    pub capacity_per_s: Option<f64>,
    /// Whether it did so twice.
    pub confirmed: bool,
    /// What kept it from being more: `server`, `generator` (it could not send more), `clients` (there are too few for a higher rate),
    /// `limit` (--to), `time` (--time-limit) or `interrupted`.
    pub limited_by: &'static str,
    /// What was allowed, percent.
    pub max_loss_percent: f64,
    /// How long it took.
    pub took_s: f64,
    /// All trials, in their order.
    pub trials: Vec<Trial>,
}

/// The best trial's report, and the search.
#[derive(Serialize)]
struct CapacityReport<'a> {
    #[serde(flatten)]
    report: &'a Report,
    capacity: &'a Capacity,
}

/// How a trial went, as far as the search is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood {
    /// The server kept up.
    Well,
    /// It did not.
    Badly,
    /// The generator could not send so much.
    Untested,
    /// All clients waited for an answer at a time, though the server was no slower than before, or has done more: there are too few
    /// for the rate.
    Crowded,
}

impl Stood {
    /// What a search that runs into it is limited by.
    fn limit(self) -> &'static str {
        match self {
            Stood::Well | Stood::Badly => "server",
            Stood::Untested => "generator",
            Stood::Crowded => "clients",
        }
    }
}

/// Where to look next: up by half until the first failure, then between.
#[derive(Clone, Debug)]
pub struct Search {
    best: Option<f64>,
    worst: Option<f64>,
    next: f64,
    most: f64,
    precision: f64,
    /// What it ran into.
    pub limited_by: &'static str,
}

impl Search {
    /// A search from a first rate up to `most`, until best and worst differ by less than a part of `precision`.
    pub fn new(first: f64, most: f64, precision: f64) -> Self {
        Self { best: None, worst: None, next: first.min(most), most, precision, limited_by: "server" }
    }

    /// The rate to try.
    pub fn next(&self) -> f64 {
        self.next
    }

    /// The best so far.
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// How the trial of [`next`](Self::next) went. Returns whether there is another.
    pub fn tried(&mut self, stood: Stood) -> bool {
        match stood {
            Stood::Well => self.best = Some(self.next),
            Stood::Badly | Stood::Untested | Stood::Crowded => {
                self.worst = Some(self.next);
                self.limited_by = stood.limit();
            }
        }
        self.next = match (self.best, self.worst) {
            (Some(best), None) if best >= self.most => {
                self.limited_by = "limit";
                return false;
            }
            (Some(best), None) => (best * RAMP).min(self.most),
            (None, Some(worst)) => worst / 2.0,
            (Some(best), Some(worst)) if worst - best <= best * self.precision => return false,
            (Some(best), Some(worst)) => (best + worst) / 2.0,
            (None, None) => return false,
        };
        // Less than one a second is nothing that can be measured in a trial.
        self.next >= 1.0
    }
}

/// What all trials share.
struct Bench<'a> {
    args: &'a CapacityArgs,
    plan: Plan,
    port: Wire,
    stop: &'a AtomicBool,
    trials: Vec<Trial>,
    /// The report of the best trial, and its rate.
    best: Option<(f64, Report)>,
    last: Option<Report>,
    before: Before,
}

/// The best that the trials so far have shown.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// How long an exchange took at least, microseconds.
    quickest_us: f64,
    /// Most exchanges that came to their end in a second.
    most_per_s: f64,
}

impl Before {
    const NOTHING: Self = Self { quickest_us: f64::MAX, most_per_s: 0.0 };

    fn and(self, seen: &Seen) -> Self {
        let quickest_us =
            if seen.exchange_us > 0.0 { self.quickest_us.min(seen.exchange_us) } else { self.quickest_us };
        Self { quickest_us, most_per_s: self.most_per_s.max(seen.completed_per_s) }
    }
}

impl Bench<'_> {
    /// Tries a pace. `None`: stopped, or the way is gone.
    fn trial(&mut self, pace: Pace) -> Result<Option<Stood>, Failure> {
        self.settle();
        let mut plan = self.plan.clone();
        plan.first_round = ROUNDS_APART * self.trials.len() as u32;
        plan.pace = pace.clone();
        let making = Instant::now();
        let engine = Engine::new(&plan).map_err(Failure::Usage)?;
        let setup_s = making.elapsed().as_secs_f64();
        let watch = Watch::begin(&self.args.wire.interface, None)?;
        let (began_at_unix_s, cpu) = (host::unix_time_s(), CpuTime::now());
        let outcome = storm(&plan, engine, &mut self.port, self.stop, true);
        let report = Report::new(
            &plan,
            &outcome,
            Circumstances {
                command: command_line(),
                interface: self.args.wire.interface.clone(),
                max_loss_percent: Some(self.args.max_loss),
                began_at_unix_s,
                modes: self.port.modes(),
                counts: self.port.counts(),
                setup_s,
                cpu: CpuTime::now().since(cpu),
                interfaces: watch.end(),
            },
        );
        let seen = Seen::of(&outcome, &report, self.args.max_loss);
        let stood = seen.judge(self.before);
        self.before = self.before.and(&seen);
        let rate_per_s = if let Pace::Open { rate_per_s } = pace { Some(rate_per_s) } else { None };
        self.note(rate_per_s, stood, &report);
        let cut_short = matches!(outcome.end, crate::engine::End::Interrupted | crate::engine::End::Failed(_));
        if let (Some(rate), Stood::Well) = (rate_per_s, stood)
            && self.best.as_ref().is_none_or(|(best, _)| *best <= rate)
        {
            self.best = Some((rate, report.clone()));
        }
        self.last = Some(report);
        Ok((!cut_short).then_some(stood))
    }

    fn note(&mut self, rate_per_s: Option<f64>, stood: Stood, report: &Report) {
        let s = &report.summary;
        let latency = |of: fn(&crate::report::Percentiles) -> f64| {
            s.latency_us.iter().filter(|(_, p)| p.count > 0).map(|(message, p)| (message.clone(), of(p))).collect()
        };
        let trial = Trial {
            rate_per_s,
            completed_per_s: s.completed_per_s,
            lost_ratio: s.lost_ratio,
            violations: s.violations,
            kept_pace: stood != Stood::Untested,
            no_idle_client: s.no_idle_client,
            good: stood == Stood::Well,
            latency_p50_us: latency(|p| p.p50),
            latency_p99_us: latency(|p| p.p99),
        };
        if !self.args.quiet {
            let rate = rate_per_s.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate:.0}/s"));
            let slowest = trial.latency_p99_us.values().copied().fold(0.0, f64::max);
            let verdict = match stood {
                Stood::Well => "good",
                Stood::Badly => "too much",
                Stood::Untested => "more than the generator can send",
                Stood::Crowded => "more than so few clients can ask for",
            };
            eprintln!(
                "trial {:2}  {rate:>12}  {:.0}/s completed, {:.3} % lost, p99 {slowest:.0} us: {verdict}",
                self.trials.len() + 1,
                trial.completed_per_s,
                trial.lost_ratio * 100.0,
            );
        }
        self.trials.push(trial);
    }

    /// Waits until what an earlier trial left behind has come.
    fn settle(&mut self) {
        let began = Instant::now();
        let mut quiet_since = began;
        while quiet_since.elapsed() < SETTLE && began.elapsed() < SETTLE_AT_MOST && !self.stop.load(Ordering::Relaxed) {
            if self.port.receive(64, |_| {}) > 0 {
                quiet_since = Instant::now();
            }
            // An error here is the next trial's.
            let _ = self.port.flush().and_then(|()| self.port.wait(Duration::from_millis(5)));
        }
    }

    /// Tries the best rate once more, and less where that fails.
    fn confirm(&mut self, best: f64, deadline: Instant) -> Result<(f64, bool), Failure> {
        let mut rate = best;
        for _ in 0..CONFIRMATIONS {
            if Instant::now() >= deadline {
                break;
            }
            match self.trial(Pace::Open { rate_per_s: rate })? {
                Some(Stood::Well) => return Ok((rate, true)),
                Some(_) => rate *= STEP_DOWN,
                None => break,
            }
        }
        Ok((rate, false))
    }
}

/// What of a trial says how the server stood it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Exchanges that were due, a second and all together.
    offered_per_s: f64,
    offered: f64,
    /// Those that began, that came to their end, and that found no client to begin with.
    began: f64,
    completed: f64,
    no_idle_client: f64,
    completed_per_s: f64,
    /// Too much was lost, or something was wrong.
    is_bad: bool,
    /// How long an exchange took, about: the medians of its answers together, microseconds.
    exchange_us: f64,
}

impl Seen {
    fn of(outcome: &Outcome, report: &Report, max_loss_percent: f64) -> Self {
        let s = &report.summary;
        Self {
            offered_per_s: s.offered_per_s,
            offered: outcome.offered as f64,
            began: outcome.measures.counters.started as f64 + attacks(outcome),
            completed: s.completed_per_s * s.load_s + attacks(outcome),
            no_idle_client: s.no_idle_client as f64,
            completed_per_s: s.completed_per_s,
            is_bad: s.lost_ratio * 100.0 > max_loss_percent || s.violations > 0 || report.reason.is_some(),
            exchange_us: s.latency_us.values().filter(|p| p.count > 0).map(|p| p.p50).sum(),
        }
    }

    /// How the server stood it.
    fn judge(&self, before: Before) -> Stood {
        let last = self.offered_per_s * LAST_S + 1.0;
        // Clients that all wait are not for want of sending.
        let due = self.offered - self.no_idle_client;
        if !self.is_bad && self.began < due * KEPT_PACE - last {
            return Stood::Untested;
        }
        let is_as_quick = self.exchange_us > 0.0 && self.exchange_us <= before.quickest_us * NO_SLOWER;
        let can_do_more = self.completed_per_s < before.most_per_s * NO_FEWER;
        if !self.is_bad && self.no_idle_client > 0.0 && (is_as_quick || can_do_more) {
            return Stood::Crowded;
        }
        let kept_up = self.completed >= self.offered * KEPT_UP - last && self.no_idle_client == 0.0;
        if self.is_bad || !kept_up { Stood::Badly } else { Stood::Well }
    }
}

/// Starts that were an attacker's.
fn attacks(outcome: &Outcome) -> f64 {
    let hostile = &outcome.measures.counters.hostile;
    (hostile.garbage_sent + hostile.starvation_sent / 2 + hostile.spoofing_sent) as f64
}

/// Searches; good if a rate was found and no reply was wrong.
///
/// # Errors
/// What is in the way. What ends it in the middle is no error: the partial result says so.
pub fn capacity(args: &CapacityArgs) -> Result<bool, Failure> {
    args.plan([0; 6]).map_err(Failure::Usage)?;
    let device = Device::find(&args.wire.interface)?;
    let plan = args.plan(device.mac).map_err(Failure::Usage)?;
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let stop = stop_flag()?;
    host::wake_on_time();
    if let Some(cpu) = args.wire.cpu {
        host::pin(cpu)?;
    }
    let port = Wire::open(&args.wire, &device, plan.is_asked_for_addresses())?;
    if !args.quiet {
        eprintln!("{}: {}; {} clients", args.wire.interface, port.modes(), plan.clients);
    }
    let (clients, began) = (plan.clients, Instant::now());
    let deadline = began + args.time_limit;
    let mut bench =
        Bench { args, plan, port, stop: &stop, trials: Vec::new(), best: None, last: None, before: Before::NOTHING };
    let found = search(&mut bench, deadline)?;
    let Bench { trials, best, last, .. } = bench;
    let capacity = Capacity {
        capacity_per_s: found.rate_per_s,
        confirmed: found.confirmed,
        limited_by: found.limited_by,
        max_loss_percent: args.max_loss,
        took_s: began.elapsed().as_secs_f64(),
        trials,
    };
    print(&capacity, clients, json.as_ref().is_some_and(Output::is_stdout));
    let report = best.map(|(_, report)| report).or(last);
    if let (Some(json), Some(report)) = (json, &report) {
        json.write(&output::json(&CapacityReport { report, capacity: &capacity })?)?;
    }
    Ok(capacity.capacity_per_s.is_some() && capacity.trials.iter().all(|trial| trial.violations == 0))
}

/// What a search came to.
struct Found {
    rate_per_s: Option<f64>,
    confirmed: bool,
    limited_by: &'static str,
}

impl Found {
    fn nothing(limited_by: &'static str) -> Self {
        Self { rate_per_s: None, confirmed: false, limited_by }
    }
}

fn search(bench: &mut Bench<'_>, deadline: Instant) -> Result<Found, Failure> {
    let first = match bench.args.from {
        Some(from) => from,
        None => {
            let Some(_) = bench.trial(Pace::Closed { window: WINDOW })? else {
                return Ok(Found::nothing("interrupted"));
            };
            let reached = bench.trials.last().map_or(0.0, |trial| trial.completed_per_s);
            if reached <= 0.0 {
                return Ok(Found::nothing("server"));
            }
            (reached / 2.0).max(1.0)
        }
    };
    let mut search = Search::new(first, bench.args.to, bench.args.precision / 100.0);
    let limited_by = loop {
        if Instant::now() >= deadline {
            break "time";
        }
        match bench.trial(Pace::Open { rate_per_s: search.next() })? {
            None => break "interrupted",
            Some(stood) if search.tried(stood) => {}
            Some(_) => break search.limited_by,
        }
    };
    let Some(best) = search.best() else { return Ok(Found::nothing(limited_by)) };
    if limited_by == "interrupted" {
        return Ok(Found { rate_per_s: Some(best), confirmed: false, limited_by });
    }
    let (rate, confirmed) = bench.confirm(best, deadline)?;
    let limited_by = if !confirmed && Instant::now() >= deadline { "time" } else { limited_by };
    Ok(Found { rate_per_s: Some(rate), confirmed, limited_by })
}

fn print(capacity: &Capacity, clients: u32, on_stderr: bool) {
    let text = told(capacity, clients);
    if on_stderr { eprintln!("{text}") } else { println!("{text}") }
}

fn told(capacity: &Capacity, clients: u32) -> String {
    let limited_by = match capacity.limited_by {
        "server" => "the server".to_owned(),
        "generator" => "the generator".to_owned(),
        "clients" => {
            format!(
                "the number of clients (--clients {clients}): all wait for an answer at a time, and the server can do more"
            )
        }
        "limit" => "--to".to_owned(),
        "time" => "--time-limit".to_owned(),
        other => other.to_owned(),
    };
    match capacity.capacity_per_s {
        None => format!("no rate was found that the server stands; limited by {limited_by}"),
        Some(rate) => format!(
            "capacity   {rate:.0}/s with at most {} % lost{}; limited by {}; {} trials in {:.0} s",
            capacity.max_loss_percent,
            if capacity.confirmed { ", twice" } else { ", NOT CONFIRMED by a second trial" },
            limited_by,
            capacity.trials.len(),
            capacity.took_s
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(first: f64, most: f64, server: f64, generator: f64) -> (Option<f64>, &'static str, u32) {
        let mut search = Search::new(first, most, 0.05);
        let mut trials = 1;
        let stood = |rate: f64| match rate {
            _ if rate > server => Stood::Badly,
            _ if rate > generator => Stood::Untested,
            _ => Stood::Well,
        };
        while search.tried(stood(search.next())) {
            trials += 1;
            assert!(trials < 100);
        }
        (search.best(), search.limited_by, trials)
    }

    #[test]
    fn the_search_comes_within_its_precision_from_below_and_from_above() {
        for first in [10.0, 9_000.0, 70_000.0, 1e6] {
            let (best, limited_by, trials) = found(first, 1e7, 50_000.0, 1e9);
            let best = best.unwrap();
            assert!((47_000.0..=50_000.0).contains(&best) && limited_by == "server", "{first}: {best}");
            assert!(trials < 40);
        }
    }

    /// A trial of a second at this rate with so many clients, of whom the server answers `server` a second, each exchange in
    /// `exchange_us` where nothing waits in line.
    fn trial(rate: f64, clients: f64, server: f64, exchange_us: f64) -> Seen {
        let waiting_all_us = clients / server * 1e6;
        let exchange_us = if rate > server { exchange_us.max(waiting_all_us) } else { exchange_us };
        let completed = rate.min(clients / exchange_us * 1e6).min(server);
        Seen {
            offered_per_s: rate,
            offered: rate,
            began: completed,
            completed,
            no_idle_client: rate - completed,
            completed_per_s: completed,
            is_bad: false,
            exchange_us,
        }
    }

    #[test]
    fn clients_that_are_too_few_for_the_rate_are_not_the_servers_fault() {
        let before = Before { quickest_us: 400.0, most_per_s: 50_000.0 };
        // 20 clients, each with an answer after 0.4 ms, ask for 50,000 a second.
        assert_eq!(trial(40_000.0, 20.0, 200_000.0, 400.0).judge(before), Stood::Well);
        assert_eq!(trial(80_000.0, 20.0, 200_000.0, 400.0).judge(before), Stood::Crowded);
        // 10,000 that all wait in line of a server that can do no more.
        assert_eq!(trial(80_000.0, 10_000.0, 50_000.0, 400.0).judge(before), Stood::Badly);
        let lossy = Seen { is_bad: true, ..trial(80_000.0, 20.0, 200_000.0, 400.0) };
        assert_eq!(lossy.judge(before), Stood::Badly);
        let first = trial(80_000.0, 20.0, 200_000.0, 400.0);
        assert_eq!(first.judge(Before::NOTHING), Stood::Crowded, "with nothing to compare it with");
        // A scheduler's hiccup in a slow trial: all 20 wait for once, in which the server, which did 50,000, is not at its limit.
        let slow = trial(1000.0, 20.0, 200_000.0, 400.0);
        let hiccup = Seen { exchange_us: 3000.0, completed_per_s: 990.0, no_idle_client: 10.0, ..slow };
        assert_eq!(hiccup.judge(before), Stood::Crowded);
        let unanswered = Seen { exchange_us: 0.0, ..first };
        assert_eq!(unanswered.judge(before), Stood::Badly);
    }

    #[test]
    fn a_search_that_runs_out_of_clients_says_so() {
        let mut search = Search::new(10_000.0, 1e7, 0.05);
        while search.tried(
            trial(search.next(), 20.0, 200_000.0, 400.0).judge(Before { quickest_us: 400.0, most_per_s: 50_000.0 }),
        ) {}
        assert!(search.best().is_some_and(|best| (47_000.0..=53_000.0).contains(&best)), "{search:?}");
        assert_eq!(search.limited_by, "clients");
        let capacity = Capacity {
            capacity_per_s: search.best(),
            confirmed: true,
            limited_by: search.limited_by,
            max_loss_percent: 0.1,
            took_s: 9.0,
            trials: Vec::new(),
        };
        let text = told(&capacity, 20);
        assert!(text.contains("limited by the number of clients (--clients 20)"), "{text}");
        assert!(told(&Capacity { capacity_per_s: None, ..capacity }, 20).contains("(--clients 20)"));
    }

    #[test]
    fn it_says_what_it_ran_into() {
        assert_eq!(found(1000.0, 20_000.0, 50_000.0, 1e9).0, Some(20_000.0));
        assert_eq!(found(1000.0, 20_000.0, 50_000.0, 1e9).1, "limit");
        assert_eq!(found(1000.0, 1e7, 1e9, 30_000.0).1, "generator");
        assert_eq!(found(1000.0, 1e7, 0.0, 1e9).0, None);
    }
}
