//! The loop of a run: take replies, fire timers, begin exchanges, send.
//!
//! One thread. It reads the clock, allocates nothing a packet and makes no system call but those of its [`Port`].

use std::{
    collections::VecDeque,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::{
    clients::{Clients, Expired},
    identity::Identities,
    live::Live,
    measure::{Counters, Measures},
    port::{Clock, Port},
    reply::Checksum,
    scenario::{AfterOffer, Scenario},
    schedule::{Backoff, Pace},
    template::{Fields, Look, Message, Templates},
    verdict::{Grant, Judge, Pool, Verdict},
};

/// Frames handled in one go.
const BATCH: usize = 64;
/// Messages that may wait for room on the transmit ring.
const OUTBOX: usize = 4 * BATCH;
/// With less time than this to the next start, the loop turns rather than sleeps: a sleep is woken late.
const SPIN_NS: u64 = 100_000;
/// The longest sleep, so that timers fire in time.
const NAP_NS: u64 = 2_000_000;
/// How often the counters for the eye are published.
const PUBLISH_NS: u64 = 20_000_000;

/// What a run is to do, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What clients do.
    pub scenario: Scenario,
    /// How many there are; 1 to [`MAX_CLIENTS`](crate::identity::MAX_CLIENTS).
    pub clients: u32,
    /// How their exchanges begin.
    pub pace: Pace,
    /// For how long exchanges begin.
    pub load: Duration,
    /// For how long after that replies are awaited, at most.
    pub drain: Duration,
    /// Each client takes part once, and the run ends when all are done.
    pub once: bool,
    /// When messages are sent again.
    pub backoff: Backoff,
    /// How messages look.
    pub look: Look,
    /// Where addresses are expected from.
    pub pool: Option<Pool>,
    /// The seed.
    pub seed: u64,
}

/// Why a run ended.
#[derive(Debug)]
pub enum End {
    /// Its time was over.
    Duration,
    /// All clients are done.
    AllDone,
    /// Somebody stopped it; the result is partial.
    Interrupted,
    /// The way to the server is gone; the result is partial.
    Failed(io::Error),
}

impl End {
    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            End::Duration => "duration",
            End::AllDone => "all_done",
            End::Interrupted => "interrupted",
            End::Failed(_) => "failed",
        }
    }

    /// Whether the run was cut short.
    pub fn is_partial(&self) -> bool {
        matches!(self, End::Interrupted | End::Failed(_))
    }
}

/// What a run found.
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Why the result is not that of the whole plan, if so.
    pub incomplete: Option<String>,
    /// Everything measured.
    pub measures: Measures,
    /// The counters at the end of the load, before the last replies were awaited: what rates are made of.
    pub under_load: Counters,
    /// How long exchanges began for, in nanoseconds.
    pub load_ns: u64,
    /// How long the run took, in nanoseconds.
    pub elapsed_ns: u64,
    /// Exchanges that were due during the load.
    pub offered: u64,
    /// Clients that waited for an answer at the end.
    pub in_flight: u32,
}

/// A run.
pub struct Engine<'p> {
    plan: &'p Plan,
    names: Identities,
    clients: Clients,
    templates: Templates,
    judge: Judge,
    measures: Measures,
    outbox: VecDeque<(u32, Message)>,
    starts: u64,
    load_end_ns: u64,
    published_ns: u64,
}

impl<'p> Engine<'p> {
    /// Makes the clients; all memory of the run is taken here.
    ///
    /// # Errors
    /// The messages cannot look as they should.
    pub fn new(plan: &'p Plan) -> Result<Self, String> {
        let names = Identities::new(plan.seed, plan.clients);
        Ok(Self {
            clients: Clients::new(names.clone(), plan.backoff),
            templates: Templates::new(&plan.look)?,
            judge: Judge::new(names.count(), plan.pool, plan.scenario == Scenario::Echo),
            names,
            plan,
            measures: Measures::new(plan.clients, plan.load),
            outbox: VecDeque::with_capacity(OUTBOX),
            starts: 0,
            load_end_ns: plan.load.as_nanos() as u64,
            published_ns: 0,
        })
    }

    /// Runs until the plan is carried out, `stop` is set, or the port fails.
    pub fn run(mut self, port: &mut impl Port, clock: &impl Clock, stop: &AtomicBool, live: &Live) -> Outcome {
        let drained_ns = self.load_end_ns + self.plan.drain.as_nanos() as u64;
        let mut under_load = None;
        let end = loop {
            let now = clock.now_ns();
            if self.measures.tick(now)
                && let Some(interval) = self.measures.series.intervals().last()
            {
                live.interval(interval);
            }
            if stop.load(Ordering::Relaxed) {
                break End::Interrupted;
            }
            if now >= self.load_end_ns && under_load.is_none() {
                under_load = Some((self.measures.counters.clone(), now));
            }
            let mut worked = self.receive(port, now);
            worked |= self.expire(now);
            worked |= now < self.load_end_ns && self.begin(now);
            let sent = self.transmit(port);
            if let Err(error) = port.flush() {
                break End::Failed(error);
            }
            if self.plan.once && self.measures.all_done_ns.is_some() {
                break End::AllDone;
            }
            if now >= drained_ns || (now >= self.load_end_ns && self.clients.in_flight() == 0) {
                break End::Duration;
            }
            if now - self.published_ns >= PUBLISH_NS {
                self.publish(live, now);
            }
            if !(worked || sent) {
                let nap_ns = self.nap_ns(clock.now_ns());
                if nap_ns > 0
                    && let Err(error) = port.wait(Duration::from_nanos(nap_ns))
                {
                    break End::Failed(error);
                }
            }
        };
        let now = clock.now_ns();
        self.measures.finish(now);
        self.publish(live, now);
        let (under_load, load_ns) = under_load.unwrap_or_else(|| (self.measures.counters.clone(), now));
        let offered = match self.plan.pace {
            Pace::Open { .. } if !self.plan.once => self.plan.pace.due_before(load_ns.min(self.load_end_ns)),
            _ => self.starts,
        };
        let incomplete = match &end {
            End::Interrupted => Some("interrupted".to_owned()),
            End::Failed(error) => Some(error.to_string()),
            End::Duration | End::AllDone => None,
        };
        Outcome {
            end,
            incomplete,
            measures: self.measures,
            under_load,
            load_ns,
            elapsed_ns: now,
            offered,
            in_flight: self.clients.in_flight(),
        }
    }

    /// Takes a batch of replies, if their answers have room.
    fn receive(&mut self, port: &mut impl Port, now: u64) -> bool {
        if self.outbox.len() + BATCH > OUTBOX {
            return false;
        }
        port.receive(BATCH, |frame| self.reply(frame, now)) > 0
    }

    fn reply(&mut self, frame: &[u8], now: u64) {
        let now_s = (now / 1_000_000_000) as u32;
        let counters = &mut self.measures.counters;
        counters.received += 1;
        match self.judge.judge(frame, &self.names, &self.clients, &self.templates, now_s) {
            Verdict::Offer(grant) => self.offer(grant, now),
            Verdict::Ack(grant) => self.ack(grant, now, now_s),
            Verdict::Nak { index } => {
                counters.naks += 1;
                self.answered(index, Message::Request, now);
                self.clients.fail(index);
            }
            Verdict::Duplicate => counters.duplicates += 1,
            Verdict::Late => counters.late += 1,
            Verdict::OtherServer => counters.other_server += 1,
            Verdict::Unmatched => counters.unmatched += 1,
            Verdict::Violation(violation, evidence) => self.measures.violation(violation, evidence),
        }
    }

    fn offer(&mut self, grant: Grant, now: u64) {
        let Grant { index, address, server_id, .. } = grant;
        self.measures.counters.offers += 1;
        self.measures.counters.checksum_offloaded += u64::from(grant.checksum == Checksum::Offloaded);
        self.answered(index, Message::Discover, now);
        match self.plan.scenario.after_offer() {
            AfterOffer::Request => {
                self.clients.request(index, now, address, server_id);
                self.outbox.push_back((index, Message::Request));
            }
            AfterOffer::Done => {
                let first = self.clients.get(index).server_id == 0;
                self.clients.offered(index, server_id);
                self.done(index, first, now);
            }
        }
    }

    fn ack(&mut self, grant: Grant, now: u64, now_s: u32) {
        let Grant { index, address, lease_time_s, .. } = grant;
        self.measures.counters.acks += 1;
        self.measures.counters.checksum_offloaded += u64::from(grant.checksum == Checksum::Offloaded);
        self.answered(index, Message::Request, now);
        self.judge.bound(index, self.clients.get(index).address, address);
        let first = self.clients.bind(index, address, now_s.saturating_add(lease_time_s));
        self.measures.counters.clients_bound += u64::from(first);
        self.done(index, first, now);
    }

    fn answered(&mut self, index: u32, message: Message, now: u64) {
        let client = self.clients.get(index);
        let lateness_ns = if message == Message::Discover { u64::from(client.lateness_us) * 1000 } else { 0 };
        self.measures.answered(message, now.saturating_sub(client.sent_at_ns), lateness_ns);
    }

    /// A client has what its scenario wants, `first` for the first time.
    fn done(&mut self, index: u32, first: bool, now: u64) {
        if first {
            self.measures.client_done(now);
        }
        if !self.plan.once {
            self.clients.again(index);
        }
    }

    /// Fires timers, as many as the outbox has room for.
    fn expire(&mut self, now: u64) -> bool {
        let mut worked = false;
        while self.outbox.len() + BATCH <= OUTBOX
            && let Some((index, what)) = self.clients.expire(now)
        {
            worked = true;
            self.measures.counters.timeouts += 1;
            match what {
                Expired::Retransmit(message) => {
                    self.measures.counters.retransmitted += 1;
                    self.outbox.push_back((index, message));
                }
                Expired::Abandon => self.measures.counters.abandoned += 1,
            }
        }
        worked
    }

    /// Begins exchanges that are due, a batch at most.
    fn begin(&mut self, now: u64) -> bool {
        let mut begun = 0;
        while begun < BATCH && self.outbox.len() + BATCH <= OUTBOX {
            let lateness_ns = match self.plan.pace {
                Pace::Open { .. } => {
                    let due = self.plan.pace.due_ns(self.starts);
                    if due > now {
                        break;
                    }
                    // A client that begins anew after a failure has no place in the schedule.
                    if self.plan.once && self.starts >= u64::from(self.names.count()) { 0 } else { now - due }
                }
                Pace::Closed { window } => {
                    if self.clients.in_window() >= window || !self.clients.any_idle() {
                        break;
                    }
                    0
                }
            };
            begun += 1;
            if let Some(index) = self.clients.begin(now, lateness_ns) {
                self.starts += 1;
                self.measures.counters.started += 1;
                self.measures.lateness.saturating_record(lateness_ns);
                self.outbox.push_back((index, Message::Discover));
            } else if self.plan.once {
                // All are under way. One that fails begins anew when it is idle.
                return false;
            } else {
                self.starts += 1;
                self.measures.counters.no_idle_client += 1;
            }
        }
        begun > 0
    }

    /// Hands what waits to the port, until it has no more room.
    fn transmit(&mut self, port: &mut impl Port) -> bool {
        let mut sent = false;
        while let Some(&(index, message)) = self.outbox.front() {
            let client = self.clients.get(index);
            // The answer may have come while the message waited.
            if client.outstanding() == Some(message) {
                let fields = Fields {
                    index,
                    mac: self.names.mac(index),
                    xid: self.names.xid(index, client.round),
                    secs: client.secs,
                    requested: client.wanted,
                    server_id: client.server_id,
                };
                if !port.send(|buffer| self.templates.write(message, &fields, buffer)) {
                    self.measures.counters.tx_stalls += 1;
                    break;
                }
                sent = true;
                self.measures.counters.sent[message as usize] += 1;
            }
            self.outbox.pop_front();
        }
        sent
    }

    /// How long the loop may sleep; 0 when it should not.
    fn nap_ns(&self, now: u64) -> u64 {
        if !self.outbox.is_empty() {
            return 0;
        }
        let until_start = match self.plan.pace {
            Pace::Open { .. } if now < self.load_end_ns && (self.clients.any_idle() || !self.plan.once) => {
                self.plan.pace.due_ns(self.starts).saturating_sub(now)
            }
            _ => NAP_NS,
        };
        if until_start < SPIN_NS { 0 } else { NAP_NS.min(until_start - SPIN_NS / 2) }
    }

    fn publish(&mut self, live: &Live, now: u64) {
        self.published_ns = now;
        let counters = &self.measures.counters;
        let done = match self.plan.scenario.after_offer() {
            AfterOffer::Request => counters.acks,
            AfterOffer::Done => counters.offers,
        };
        live.sent.store(counters.sent_total(), Ordering::Relaxed);
        live.received.store(counters.received, Ordering::Relaxed);
        live.done.store(done, Ordering::Relaxed);
        live.clients_done.store(counters.clients_done, Ordering::Relaxed);
        live.timeouts.store(counters.timeouts, Ordering::Relaxed);
        live.violations.store(counters.violations_total(), Ordering::Relaxed);
    }
}
