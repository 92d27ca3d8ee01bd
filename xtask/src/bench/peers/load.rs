//! Loads: `dhcp-storm run`, and `perfdhcp`, from the clients' end. Both play the same relay agent, without option 82, for the
//! same number of clients, which come again when all have had their turn.

use std::{cell::RefCell, fs, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    result::{Latency, Settings},
    subject::{RELAY, SERVER, Subject},
};
use crate::{
    lab::{End, Lab, Parameter, Process, counters, perfdhcp, wait_for},
    signals::Stop,
    workspace,
};

/// How long replies are awaited after the last exchange began, at most.
const DRAIN_S: &str = "1";
/// Room in perfdhcp's socket, bytes: the usual 208 KiB hold some milliseconds of replies.
const ROOM: u64 = 8 << 20;
/// Percentage of the messages that may stay without an answer at the capacity.
pub const MAX_LOSS_PERCENT: f64 = 0.1;
/// How close the search brings the rates that a server stands and does not, in percent.
const PRECISION: &str = "4";
/// A search begins at this part of what an earlier one found.
const BELOW_KNOWN: f64 = 0.8;
/// Where a second search begins, exchanges a second.
const SLOWLY: f64 = 10.0;
/// Time for a load, and for a search, to end beyond what it should take.
const GRACE_S: f64 = 40.0;

/// The clients' end.
pub struct Generator<'a> {
    lab: &'a Lab,
    end: End<'a>,
    server_mac: String,
    clients: u32,
    load_s: f64,
    search_s: f64,
    host: RefCell<Value>,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Exchanges that were due, or begun in a closed loop.
    pub offered: u64,
    /// Exchanges that were completed, the last of them after the load.
    pub done: u64,
    /// The same a second of the load.
    pub done_per_s: f64,
    /// Wrong replies.
    pub violations: u64,
    /// Latency of each message.
    pub latency: Vec<(String, Latency)>,
}

impl Loaded {
    /// Share of the exchanges that were not completed.
    pub fn loss(&self) -> f64 {
        if self.offered == 0 { 1.0 } else { self.offered.saturating_sub(self.done) as f64 / self.offered as f64 }
    }
}

/// What a search came to.
#[derive(Debug)]
pub struct Searched {
    /// The highest rate that the server stood.
    pub capacity_per_s: Option<f64>,
    /// Whether it stood it twice.
    pub confirmed: bool,
    /// What kept it from being more.
    pub limited_by: String,
    /// The trials.
    pub trials: Value,
}

/// What perfdhcp saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Witnessed {
    /// DISCOVERs that it sent a second.
    pub sent_per_s: f64,
    /// ACKs that it received a second of its test period.
    pub done_per_s: f64,
    /// Mean time from DISCOVER to OFFER, and from REQUEST to ACK, in microseconds.
    pub mean_us: (f64, f64),
    /// Replies that its own socket's buffer had no room for.
    pub own_losses: u64,
}

impl<'a> Generator<'a> {
    /// At this end, towards the server with this MAC address.
    pub fn new(lab: &'a Lab, end: End<'a>, server_mac: String, settings: &Settings) -> Self {
        Self {
            lab,
            end,
            server_mac,
            clients: settings.clients,
            load_s: settings.load_s,
            search_s: settings.search_s,
            host: RefCell::default(),
        }
    }

    /// How long a load takes.
    pub fn load_s(&self) -> f64 {
        self.load_s
    }

    /// The machine, as the generator described it.
    pub fn host(&self) -> Value {
        self.host.borrow().clone()
    }

    /// Waits until a server answers: one client, which asks again and again until it has what it wants.
    ///
    /// # Errors
    /// None did in time.
    pub fn wait_for_answer(&self, subject: Subject, server: &mut Process) -> Result<()> {
        let mut command = self.storm(subject, "run")?;
        // A seed of its own, so that its client is none of the load's.
        command.args(["--quiet", "--clients", "1", "--once", "--rate", "max", "--duration", "20", "--drain", "0"]);
        command.args(["--backoff-scale", "0.05", "--seed", "99"]);
        let answered = self.result(&mut command, 20.0).and_then(|r| read(&r, subject).with_context(|| strange(&r)));
        server.expect_running()?;
        if answered?.done == 0 {
            bail!("no client got an answer in 20 s; {}", server.last_words());
        }
        Ok(())
    }

    /// `dhcp-storm capacity`, from below what is `known` of it, if anything. A server that the first look for where to begin
    /// drowned, or that stood nothing near it, is asked once more, from a few exchanges a second and for longer.
    ///
    /// # Errors
    /// The generator failed.
    pub fn capacity(&self, subject: Subject, known: Option<f64>) -> Result<Searched> {
        let from = known.map(|known| (known * BELOW_KNOWN).max(1.0));
        let found = self.search(subject, from, self.load_s)?;
        if found.capacity_per_s.is_some() {
            return Ok(found);
        }
        println!("        once more, slowly");
        self.search(subject, Some(SLOWLY), self.load_s * 2.0)
    }

    fn search(&self, subject: Subject, from: Option<f64>, trial_s: f64) -> Result<Searched> {
        let mut command = self.storm(subject, "capacity")?;
        command.args(["--clients", &self.clients.to_string(), "--trial", &trial_s.to_string()]);
        command.args(["--time-limit", &self.search_s.to_string(), "--precision", PRECISION]);
        command.args(["--max-loss", &MAX_LOSS_PERCENT.to_string(), "--drain", DRAIN_S]);
        if let Some(from) = from {
            command.args(["--from", &format!("{from:.3}")]);
        }
        let result = self.result(&mut command, self.search_s)?;
        let capacity = &result["capacity"];
        Ok(Searched {
            capacity_per_s: capacity["capacity_per_s"].as_f64(),
            confirmed: capacity["confirmed"] == true,
            limited_by: capacity["limited_by"].as_str().unwrap_or_default().to_owned(),
            trials: capacity["trials"].clone(),
        })
    }

    /// So many exchanges a second, whether the server keeps up or not.
    ///
    /// # Errors
    /// The generator failed.
    pub fn open(&self, subject: Subject, rate: f64, load_s: f64) -> Result<Loaded> {
        let mut command = self.storm(subject, "run")?;
        command.args(["--quiet", "--clients", &self.clients.to_string(), "--rate", &format!("{rate:.3}")]);
        command.args(["--duration", &load_s.to_string(), "--drain", DRAIN_S]);
        let result = self.result(&mut command, load_s)?;
        read(&result, subject).with_context(|| strange(&result))
    }

    /// A command of dhcp-storm's, with all that is the same in each.
    fn storm(&self, subject: Subject, what: &str) -> Result<Command> {
        let mut command = self.end.namespace.command(workspace::binary("dhcp-storm")?)?;
        command.args([what, "--interface", self.end.interface, "--scenario", subject.scenario()]);
        command.args(["--relay", RELAY, "--server", SERVER, "--server-mac", &self.server_mac, "--circuit-id", ""]);
        Ok(command)
    }

    /// Runs it and gives its JSON; what it says of its trials is shown as it comes.
    fn result(&self, command: &mut Command, takes_s: f64) -> Result<Value> {
        let (json, log) = (self.lab.path("storm.json"), self.lab.path("storm.log"));
        // What the last one left there is not what this one says.
        for old in [&json, &log] {
            let _ = fs::remove_file(old);
        }
        let mut process = Process::spawn(command.arg("--json").arg(&json), &log)?;
        let mut shown = 0;
        wait_for("dhcp-storm to end", Duration::from_secs_f64(takes_s + GRACE_S), || {
            let ended = process.ended()?;
            let said = process.log();
            let lines = said.lines().filter(|line| line.starts_with("trial "));
            for line in lines.clone().skip(shown) {
                println!("        {line}");
            }
            shown = lines.count();
            Ok(ended)
        })?;
        let text = fs::read_to_string(&json).with_context(|| process.last_words())?;
        let result: Value = serde_json::from_str(&text).with_context(|| process.last_words())?;
        if result["complete"] == false && result["ended_by"] == "failed" {
            bail!("dhcp-storm: {}", result["reason"]);
        }
        self.host.replace(result["host"].clone());
        Ok(result)
    }

    /// perfdhcp at a rate; gives what it reached.
    ///
    /// # Errors
    /// It is not installed or printed no report.
    pub fn witness(&self, rate: f64, load_s: f64) -> Result<Witnessed> {
        // Only now: the servers' sockets are as they come.
        let _room = Parameter::at_least(self.lab, "net/core/rmem_default", ROOM)?;
        // It takes whole seconds and rates.
        let (rate, period_s) = (rate.round().max(1.0), load_s.ceil().max(1.0));
        let before = counters::udp(self.end.namespace)?.buffer_full;
        let (rate, period) = (rate.to_string(), period_s.to_string());
        let clients = self.clients.to_string();
        // After its last packet it waits for replies for as long as dhcp-storm does, given in microseconds.
        let words = ["-l", self.end.interface, "-r", &rate, "-p", &period, "-R", &clients, "-W", "1000000"];
        let report = perfdhcp::run(self.end.namespace, &words, Duration::from_secs_f64(period_s + 30.0))?;
        Stop::check()?;
        Ok(Witnessed {
            sent_per_s: report.discover_offer.sent as f64 / period_s,
            // Its own rate is over the time in which it waited too.
            done_per_s: report.request_ack.received as f64 / period_s,
            mean_us: (report.discover_offer.mean_delay_ms * 1e3, report.request_ack.mean_delay_ms * 1e3),
            own_losses: counters::udp(self.end.namespace)?.buffer_full - before,
        })
    }
}

fn strange(result: &Value) -> String {
    format!("dhcp-storm wrote strange JSON: {}", result["summary"])
}

fn read(result: &Value, subject: Subject) -> Option<Loaded> {
    let summary = &result["summary"];
    let latency = summary["latency_us"].as_object()?.iter().filter_map(|(message, latency)| {
        (latency["count"].as_u64()? > 0).then_some(())?;
        Some((message.clone(), serde_json::from_value(latency.clone()).ok()?))
    });
    Some(Loaded {
        offered: summary["offered"].as_u64()?,
        done: summary[subject.done()].as_u64()?,
        // Not those done by the end of the load: what is on its way then counts for perfdhcp too.
        done_per_s: summary[subject.done()].as_f64()? / summary["load_s"].as_f64().filter(|s| *s > 0.0)?,
        violations: summary["violations"].as_u64()?,
        latency: latency.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_result_is_read_and_one_with_a_figure_missing_is_not() {
        let latency = json!({"count": 5, "p50": 1.0, "p90": 2.0, "p99": 3.0, "p999": 4.0, "max": 5.0});
        let mut result = json!({"summary": {"offered": 200, "bindings": 199, "load_s": 2.0, "violations": 0,
            "latency_us": {"discover": latency, "request": {"count": 0}}}});
        let loaded = read(&result, Subject::Kea).unwrap();
        assert_eq!((loaded.offered, loaded.done, loaded.latency.len(), loaded.done_per_s), (200, 199, 1, 99.5));
        assert_eq!((loaded.loss(), loaded.latency[0].1.p99), (0.005, 3.0));
        assert!(read(&result, Subject::Reflector).is_none());
        result["summary"]["offered"] = Value::Null;
        assert!(read(&result, Subject::Kea).is_none());
        assert_eq!(Loaded::default().loss(), 1.0);
    }
}
