//! The thread that probes: echo requests out, answers and timeouts in, findings to the workers.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::{
    Finding, Link, Outcome, Probe,
    icmp::{Echo, Heard},
};
use crate::{config::PingCheck, wake::Wake};

/// Most echo requests on their way: a number of 16 bits must name one alone.
const MOST_UNDER_WAY: usize = 1 << 15;
/// Things heard in one turn.
const HEARD_A_TURN: usize = 256;
/// A log line about the same thing is written this often at most.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What the prober counts; written by it alone.
#[derive(Debug, Default)]
pub struct PingCounters {
    sent: AtomicU64,
    unsent: AtomicU64,
    answered: AtomicU64,
    unreachable: AtomicU64,
    silent: AtomicU64,
}

/// What the ping check did, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingStats {
    /// Echo requests sent.
    pub sent: u64,
    /// Addresses offered unprobed because the kernel refused to send: no route, mostly.
    pub unsent: u64,
    /// Addresses at which somebody answered.
    pub answered: u64,
    /// Addresses of which a router said that nobody is there.
    pub unreachable: u64,
    /// Addresses from which no answer came in time.
    pub silent: u64,
}

impl PingCounters {
    /// A copy.
    pub fn snapshot(&self) -> PingStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PingStats {
            sent: load(&self.sent),
            unsent: load(&self.unsent),
            answered: load(&self.answered),
            unreachable: load(&self.unreachable),
            silent: load(&self.silent),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An echo request that may still be answered.
#[derive(Debug)]
struct UnderWay {
    link: usize,
    probe: Probe,
    /// Which of the probe's it is.
    request: u8,
    until: Duration,
    is_settled: bool,
}

/// A log line that is not repeated at once.
#[derive(Debug, Default)]
struct Seldom {
    last: Option<Duration>,
    held_back: u64,
}

impl Seldom {
    /// How many lines were left out since the last one, if one is due.
    fn due(&mut self, now: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + LOG_EVERY) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// Probes for all workers. Times are those of the caller's clock.
#[derive(Debug)]
pub struct Prober<S> {
    socket: S,
    links: Vec<Link>,
    timeout: Duration,
    requests: u8,
    /// In the order of their numbers, one after the other, and so of their ends.
    under_way: VecDeque<UnderWay>,
    /// The number of the first of them.
    first: u16,
    counters: Arc<PingCounters>,
    quarantine_s: u32,
    answers: Seldom,
    refusals: Seldom,
}

impl<S: Echo> Prober<S> {
    /// A prober for these workers; `quarantine_s` is what its log lines name.
    pub fn new(socket: S, links: Vec<Link>, check: &PingCheck, quarantine_s: u32, counters: Arc<PingCounters>) -> Self {
        Self {
            socket,
            links,
            timeout: check.timeout,
            requests: check.requests,
            under_way: VecDeque::new(),
            first: 0,
            counters,
            quarantine_s,
            answers: Seldom::default(),
            refusals: Seldom::default(),
        }
    }

    /// One turn: sends what was asked for, hears what there is, and ends what has waited long enough.
    pub fn turn(&mut self, now: Duration) {
        for link in 0..self.links.len() {
            while let Ok(probe) = self.links[link].asked.pop() {
                self.send(link, probe, 1, now);
            }
        }
        // First what is there: it may have come in time while we were late.
        for _ in 0..HEARD_A_TURN {
            let Some(heard) = self.socket.hear() else { break };
            self.heard(heard, now);
        }
        self.end(now);
    }

    /// When the next probe ends.
    pub fn next_end(&self) -> Option<Duration> {
        self.under_way.front().map(|first| first.until)
    }

    fn has_asked(&self) -> bool {
        self.links.iter().any(|link| !link.asked.is_empty())
    }

    fn send(&mut self, link: usize, probe: Probe, request: u8, now: Duration) {
        if self.under_way.len() >= MOST_UNDER_WAY {
            count(&self.counters.unsent);
            return self.tell(link, probe, Outcome::Unsent);
        }
        let sequence = self.first.wrapping_add(self.under_way.len() as u16);
        if let Err(error) = self.socket.send(probe.address, sequence) {
            count(&self.counters.unsent);
            if let Some(more) = self.refusals.due(now) {
                log::warn!(
                    "ping check: no echo request can be sent to {}: {error}; its address is offered unprobed{}",
                    probe.address,
                    and_more(more)
                );
            }
            return self.tell(link, probe, Outcome::Unsent);
        }
        count(&self.counters.sent);
        self.under_way.push_back(UnderWay { link, probe, request, until: now + self.timeout, is_settled: false });
    }

    fn heard(&mut self, heard: Heard, now: Duration) {
        let (address, sequence, outcome) = match heard {
            Heard::Answer { from, sequence } => (from, sequence, Outcome::InUse),
            Heard::Unreachable { to, sequence } => (to, sequence, Outcome::Silent),
        };
        let index = usize::from(sequence.wrapping_sub(self.first));
        let Some(under_way) = self.under_way.get_mut(index) else { return };
        if under_way.is_settled || under_way.probe.address != address {
            return;
        }
        under_way.is_settled = true;
        let (link, probe) = (under_way.link, under_way.probe);
        if outcome == Outcome::InUse {
            count(&self.counters.answered);
            self.log_answer(address, now);
        } else {
            count(&self.counters.unreachable);
        }
        self.tell(link, probe, outcome);
    }

    fn log_answer(&mut self, address: Ipv4Addr, now: Duration) {
        if let Some(more) = self.answers.due(now) {
            log::warn!(
                "ping check: somebody uses {address}, which was to be offered; it is quarantined for {} s{}",
                self.quarantine_s,
                and_more(more)
            );
        }
    }

    fn end(&mut self, now: Duration) {
        while let Some(first) = self.under_way.pop_front_if(|first| first.until <= now || first.is_settled) {
            self.first = self.first.wrapping_add(1);
            let UnderWay { link, probe, request, is_settled, .. } = first;
            if is_settled {
                continue;
            }
            if request < self.requests {
                self.send(link, probe, request + 1, now);
            } else {
                count(&self.counters.silent);
                self.tell(link, probe, Outcome::Silent);
            }
        }
    }

    fn tell(&mut self, link: usize, Probe { place, .. }: Probe, outcome: Outcome) {
        let link = &mut self.links[link];
        // There is as much room as there are places.
        let told = link.found.push(Finding { place, outcome });
        debug_assert!(told.is_ok(), "no room for what was found");
        link.wake.wake();
    }
}

fn and_more(more: u64) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more since the last such line)") }
}

impl<S: Echo + AsFd> Prober<S> {
    /// Probes until `stop` is set; wake `wake` after setting it. What is under way then stays unanswered.
    pub fn run(mut self, wake: &Wake, stop: &AtomicBool) {
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.turn(start.elapsed());
            wake.prepare();
            // Who asked before `prepare` found us awake and woke nobody: look once more.
            if !stop.load(Ordering::Relaxed) && !self.has_asked() {
                let left = self.next_end().map(|end| end.saturating_sub(start.elapsed()));
                self.sleep(wake, left);
            }
            wake.done();
        }
    }

    fn sleep(&self, wake: &Wake, left: Option<Duration>) {
        // Rounded up: no turn comes before there is something to do.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds =
            [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        // An interrupted sleep is a short one.
        let _ = poll(&mut fds, timeout);
    }
}
