//! The loop of a run: take replies, fire timers, begin exchanges, send.
//!
//! One thread. It reads the clock, allocates nothing a packet and makes no system call but those of its [`Port`].

mod replies;
mod starts;

use std::{
    collections::VecDeque,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use arrayvec::ArrayVec;

use crate::{
    arp,
    attack::Attack,
    clients::{Clients, Expired, Phase},
    identity::Identities,
    live::Live,
    measure::{Counters, Measures, Prepared},
    port::{Clock, Port},
    reply::{ACK, Checksum, NAK, OFFER},
    scenario::Exchange,
    schedule::Pace,
    template::{Fields, Message, Templates},
    verdict::{Expected, Grant, Judge, Scene, Verdict},
};

pub use crate::plan::{End, Outcome, Plan};

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

/// Exchanges at a time while leases are prepared.
const PREPARE_WINDOW: u32 = 128;
/// A server that has said nothing for so long, while messages were sent to it, is gone.
const SILENCE_NS: u64 = 10_000_000_000;
/// At the end of the load a second is enough to say so.
const LATE_SILENCE_NS: u64 = 1_000_000_000;
/// Messages without any answer that make a silence.
const SILENCE_MESSAGES: u64 = 16;
/// Servers whose MAC addresses are remembered.
const SERVERS: usize = 8;

/// A frame that waits to be sent.
#[derive(Clone, Copy)]
enum Letter {
    /// A client's message, over its first path or its second.
    Client { index: u32, message: Message, path: u8 },
    /// An attacker's.
    Attack(Attack),
    /// The answer to who has an address.
    Arp { request: arp::Request, mac: [u8; 6] },
}

/// What the run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Clients take the leases that the scenario begins with.
    Preparing,
    /// Exchanges begin.
    Load,
    /// The last replies are awaited.
    Drain,
}

/// When the server was last heard.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    at_ns: u64,
    /// Messages sent since.
    sent_since: u64,
    ever: bool,
}

/// A run.
pub struct Engine<'p> {
    plan: &'p Plan,
    names: Identities,
    clients: Clients,
    templates: Templates,
    judge: Judge,
    measures: Measures,
    outbox: VecDeque<Letter>,
    stage: Stage,
    starts: u64,
    attacks: u32,
    /// When the scenario began: its schedule and its measures count from there.
    epoch_ns: u64,
    load_end_ns: u64,
    published_ns: u64,
    heard: Heard,
    servers: ArrayVec<(u32, [u8; 6]), SERVERS>,
}

impl<'p> Engine<'p> {
    /// Makes the clients; all memory of the run is taken here.
    ///
    /// # Errors
    /// The messages cannot look as they should.
    pub fn new(plan: &'p Plan) -> Result<Self, String> {
        let names = Identities::new(plan.seed, plan.clients);
        let expected = Expected {
            pool: plan.pool,
            server: plan.server.map(u32::from),
            echo: plan.scenario.echo,
            duplicate_path_percent: plan.scenario.duplicate_path_percent,
            first_round: plan.first_round,
        };
        Ok(Self {
            clients: Clients::new(names.clone(), plan.backoff, plan.first_round),
            templates: Templates::new(&plan.look)?,
            judge: Judge::new(names.count(), expected),
            names,
            plan,
            measures: Measures::new(plan.clients, plan.load),
            outbox: VecDeque::with_capacity(OUTBOX),
            stage: Stage::Load,
            starts: 0,
            attacks: 0,
            epoch_ns: 0,
            load_end_ns: plan.load.as_nanos() as u64,
            published_ns: 0,
            heard: Heard::default(),
            servers: ArrayVec::new(),
        })
    }

    /// Runs until the plan is carried out, `stop` is set, or the port fails.
    pub fn run(mut self, port: &mut impl Port, clock: &impl Clock, stop: &AtomicBool, live: &Live) -> Outcome {
        let mut under_load = None;
        let end = match self.prepare(port, clock, stop, live) {
            Ok(()) => self.load(port, clock, stop, live, &mut under_load),
            Err(end) => end,
        };
        let now = clock.now_ns();
        self.publish(live, now);
        let elapsed_ns = now - self.epoch_ns;
        self.measures.finish(elapsed_ns);
        let (under_load, load_ns) = under_load.unwrap_or_else(|| (self.measures.counters.clone(), elapsed_ns));
        let offered = match self.plan.pace {
            Pace::Open { .. } | Pace::Curve(_) if !self.plan.once => {
                self.plan.pace.due_before(load_ns.min(self.plan.load.as_nanos() as u64))
            }
            _ => self.starts,
        };
        Outcome {
            incomplete: self.incomplete(&end, load_ns),
            end,
            measures: self.measures,
            under_load,
            load_ns,
            elapsed_ns,
            offered,
            in_flight: self.clients.in_flight(),
        }
    }

    /// Why the result is not that of the whole plan.
    fn incomplete(&self, end: &End, load_ns: u64) -> Option<String> {
        let heard_ns = self.heard.at_ns.saturating_sub(self.epoch_ns);
        let silent = self.heard.ever
            && self.heard.sent_since >= SILENCE_MESSAGES
            && load_ns.saturating_sub(heard_ns) >= LATE_SILENCE_NS;
        match end {
            End::Interrupted => Some("interrupted".into()),
            End::Failed(error) => Some(error.to_string()),
            End::AllDone => None,
            End::Duration if !silent => None,
            End::Duration | End::Silent => Some(format!(
                "no answer came after {:.3} s, to {} messages: is the server gone, or out of addresses?",
                heard_ns as f64 / 1e9,
                self.heard.sent_since
            )),
        }
    }

    /// Has clients take the leases that the scenario begins with.
    fn prepare(&mut self, port: &mut impl Port, clock: &impl Clock, stop: &AtomicBool, live: &Live) -> Result<(), End> {
        let wanted = self.plan.prepared();
        if wanted == 0 {
            return Ok(());
        }
        self.stage = Stage::Preparing;
        let mut progress = (0, 0);
        let now = loop {
            let now = clock.now_ns();
            let bound = self.measures.counters.clients_bound;
            if bound > progress.0 {
                progress = (bound, now);
            }
            if bound == u64::from(wanted) || now - progress.1 >= SILENCE_NS {
                break now;
            }
            self.turn(port, clock, stop, live, now)?;
        };
        let clients = self.clients.settle((now / 1_000_000_000) as u32);
        self.outbox.clear();
        let prepared = Prepared { wanted, clients, took_s: now as f64 / 1e9 };
        self.measures.begin(prepared, self.plan.clients, self.plan.load);
        (self.epoch_ns, self.starts, self.stage) = (now, 0, Stage::Load);
        self.load_end_ns = now + self.plan.load.as_nanos() as u64;
        if clients == 0 {
            let what =
                "no client got the lease that the scenario begins with: is there a server, and has it addresses?";
            return Err(End::Failed(io::Error::other(what)));
        }
        Ok(())
    }

    /// Carries out the schedule and awaits the last replies.
    fn load(
        &mut self,
        port: &mut impl Port,
        clock: &impl Clock,
        stop: &AtomicBool,
        live: &Live,
        under_load: &mut Option<(Counters, u64)>,
    ) -> End {
        let drained_ns = self.load_end_ns + self.plan.drain.as_nanos() as u64;
        self.heard.at_ns = self.heard.at_ns.max(self.epoch_ns);
        loop {
            let now = clock.now_ns();
            if self.measures.tick(now - self.epoch_ns)
                && let Some(interval) = self.measures.series.intervals().last()
            {
                live.interval(interval);
            }
            if now >= self.load_end_ns && self.stage == Stage::Load {
                self.stage = Stage::Drain;
                *under_load = Some((self.measures.counters.clone(), now - self.epoch_ns));
            }
            if let Err(end) = self.turn(port, clock, stop, live, now) {
                return end;
            }
            if self.plan.once && self.measures.all_done_ns.is_some() {
                return End::AllDone;
            }
            if now >= drained_ns || (self.stage == Stage::Drain && self.clients.in_flight() == 0 && !self.comes_back())
            {
                return End::Duration;
            }
            if self.heard.ever
                && self.heard.sent_since >= SILENCE_MESSAGES
                && now.saturating_sub(self.heard.at_ns) >= SILENCE_NS
            {
                return End::Silent;
            }
        }
    }

    /// One turn of the loop, with a sleep at its end where there is nothing to do.
    fn turn(
        &mut self,
        port: &mut impl Port,
        clock: &impl Clock,
        stop: &AtomicBool,
        live: &Live,
        now: u64,
    ) -> Result<(), End> {
        if stop.load(Ordering::Relaxed) {
            return Err(End::Interrupted);
        }
        let mut worked = self.receive(port, now);
        worked |= self.expire(now);
        worked |= self.begin(now);
        worked |= self.transmit(port, now);
        port.flush().map_err(End::Failed)?;
        if now - self.published_ns >= PUBLISH_NS {
            self.publish(live, now);
        }
        if !worked {
            let nap_ns = self.nap_ns(clock.now_ns());
            if nap_ns > 0 {
                port.wait(Duration::from_nanos(nap_ns)).map_err(End::Failed)?;
            }
        }
        Ok(())
    }

    /// Takes a batch of replies, if their answers have room.
    fn receive(&mut self, port: &mut impl Port, now: u64) -> bool {
        if self.outbox.len() + BATCH > OUTBOX {
            return false;
        }
        port.receive(BATCH, |frame| self.reply(frame, now)) > 0
    }

    /// Puts a client's message into the outbox, twice when it is heard over two paths.
    fn post(&mut self, index: u32, message: Message) {
        self.outbox.push_back(Letter::Client { index, message, path: 0 });
        if self.judge.has_two_paths(&self.names, index) && self.stage != Stage::Preparing && !message.is_unicast() {
            self.outbox.push_back(Letter::Client { index, message, path: 1 });
        }
    }

    /// Fires timers, as many as the outbox has room for.
    fn expire(&mut self, now: u64) -> bool {
        let mut worked = false;
        while self.outbox.len() + BATCH <= OUTBOX
            && let Some((index, what)) = self.clients.expire(now)
        {
            worked = true;
            match what {
                Expired::Retransmit(message) => {
                    self.measures.counters.timeouts += 1;
                    self.measures.counters.retransmitted += 1;
                    self.post(index, message);
                }
                Expired::Abandon => {
                    self.measures.counters.timeouts += 1;
                    self.measures.counters.abandoned += 1;
                }
                Expired::Restart => {
                    self.measures.counters.timeouts += 1;
                    self.measures.counters.abandoned += 1;
                    self.post(index, Message::Discover);
                }
                Expired::Leave => self.leave(index, now),
            }
        }
        worked
    }

    /// Hands what waits to the port, until it has no more room.
    fn transmit(&mut self, port: &mut impl Port, now: u64) -> bool {
        let mut sent = false;
        while let Some(&letter) = self.outbox.front() {
            let left = match letter {
                Letter::Client { index, message, path } => self.send(port, index, message, path, now),
                Letter::Attack(attack) => port.send(|buffer| attack.write(&self.templates, &self.names, buffer)),
                Letter::Arp { request, mac } => port.send(|buffer| request.answer(mac, buffer)),
            };
            if !left {
                self.measures.counters.tx_stalls += 1;
                break;
            }
            if let Letter::Attack(attack) = letter {
                let hostile = &mut self.measures.counters.hostile;
                match attack {
                    Attack::Garbage { .. } => hostile.garbage_sent += 1,
                    Attack::Discover { .. } | Attack::Request { .. } => hostile.starvation_sent += 1,
                    Attack::Spoof { .. } => hostile.spoofing_sent += 1,
                }
            }
            sent = true;
            self.outbox.pop_front();
        }
        sent
    }

    /// Sends a client's message, if it is still to be sent; returns false when there is no room.
    #[inline]
    fn send(&mut self, port: &mut impl Port, index: u32, message: Message, path: u8, now: u64) -> bool {
        let client = self.clients.get(index);
        // The answer may have come while the message waited.
        if client.outstanding() != Some(message) {
            return true;
        }
        let look = self.templates.look();
        let server_mac = if message.is_unicast() && look.destination_mac == [0xff; 6] {
            self.servers.iter().find(|(id, _)| *id == client.server_id).map(|(_, mac)| *mac)
        } else {
            None
        };
        let fields = Fields {
            person: look.person(index, self.names.mac(index), path),
            xid: self.names.xid(index, client.round),
            secs: client.secs,
            address: client.wanted,
            server_id: client.server_id,
            server_mac,
        };
        if !port.send(|buffer| self.templates.write(message, &fields, buffer)) {
            return false;
        }
        if path > 0 {
            self.measures.counters.sent_copies += 1;
            return true;
        }
        self.measures.counters.sent[message as usize] += 1;
        self.heard.sent_since += u64::from(message.is_answered());
        if !message.is_answered() {
            self.departed(index, message, now);
        }
        true
    }

    /// How long the loop may sleep; 0 when it should not.
    fn nap_ns(&self, now: u64) -> u64 {
        if !self.outbox.is_empty() {
            return 0;
        }
        let until_start = match (self.stage, &self.plan.pace) {
            (Stage::Load, pace @ (Pace::Open { .. } | Pace::Curve(_)))
                if self.clients.any_idle() || !self.plan.once =>
            {
                (self.epoch_ns + pace.due_ns(self.starts)).saturating_sub(now)
            }
            _ => NAP_NS,
        };
        if until_start < SPIN_NS { 0 } else { NAP_NS.min(until_start - SPIN_NS / 2) }
    }

    fn publish(&mut self, live: &Live, now: u64) {
        self.published_ns = now;
        let counters = &self.measures.counters;
        let done = if self.stage == Stage::Preparing { counters.acks } else { counters.completed };
        live.sent.store(counters.sent_total(), Ordering::Relaxed);
        live.received.store(counters.received, Ordering::Relaxed);
        live.done.store(done, Ordering::Relaxed);
        live.clients_done.store(counters.clients_done, Ordering::Relaxed);
        live.timeouts.store(counters.timeouts, Ordering::Relaxed);
        live.violations.store(counters.violations_total(), Ordering::Relaxed);
        live.preparing.store(self.stage == Stage::Preparing, Ordering::Relaxed);
    }
}
