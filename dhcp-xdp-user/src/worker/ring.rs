//! The loop of one worker: rings only. It takes frames, has a [`Step`] decide about them, and sees each to its end.
//!
//! The server runs one on a pinned thread for each socket; the load generator's reflector runs the same. [`Rings`] is what it
//! needs of a socket, so that the loop is tested with rings made of memory.
//!
//! Every frame that is received leaves in one of five ways: on the transmit ring (counted `sent`), into the parking lot until
//! the journal says that its record is durable, to the [`Desk`] until its address is probed (both counted `parked`), or back to
//! the free frames: dropped by the step (which counted it), or dropped here ([`DropReason::TxFull`],
//! [`DropReason::ParkingFull`], [`DropReason::NotDurable`], [`DropReason::AddressInUse`], [`DropReason::ProbeUnderWay`]). The
//! step counts `received`.

mod rings;

use std::{
    collections::VecDeque,
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
pub use rings::Rings;

use super::{
    batch::{BATCH, Disposition, Frame, Processor},
    counters::{Counters, DropReason, Notice},
};
use crate::{
    journal::{Lane, Ticket},
    ping::{Begun, Desk, Outcome},
    wake::Wake,
};

/// What decides about frames.
pub trait Step {
    /// Decides about up to [`BATCH`] frames; clears `out` and puts one disposition for each there, in their order.
    /// `now_s` is seconds since 1970-01-01 UTC.
    fn process(&mut self, now_s: u32, frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>);

    /// The last ticket that is durable; parked frames up to it may leave.
    fn durable(&self) -> Ticket;

    /// Somebody uses an address whose OFFER waits at the desk. The reason for which that is dropped.
    fn found_in_use(&mut self, _now_s: u32, _address: Ipv4Addr) -> DropReason {
        DropReason::AddressInUse
    }
}

/// A step that never parks.
impl<F: FnMut(u32, &mut [Frame<'_>], &mut ArrayVec<Disposition, BATCH>)> Step for F {
    fn process(&mut self, now_s: u32, frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>) {
        self(now_s, frames, out);
    }
    fn durable(&self) -> Ticket {
        Ticket(u64::MAX)
    }
}

impl Step for Processor<Lane> {
    fn process(&mut self, now_s: u32, frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>) {
        Processor::process(self, now_s, frames, out);
    }
    fn durable(&self) -> Ticket {
        self.recorder().durable()
    }
    fn found_in_use(&mut self, now_s: u32, address: Ipv4Addr) -> DropReason {
        Processor::found_in_use(self, now_s, address)
    }
}

/// How a loop runs.
#[derive(Debug)]
pub struct Options {
    /// Spin on the rings in place of sleeping.
    pub busy_poll: bool,
    /// How long stopping may wait for parked frames.
    pub stop_within: Duration,
}

/// How long the rings must stay empty for a loop that stops to believe that nothing comes any more: frames may be on their
/// way from the XDP program to the ring at the moment when its socket is taken out of the map.
const QUIET: Duration = Duration::from_millis(20);

/// A reply that waits for the disk.
#[derive(Debug)]
struct Parked<T> {
    ticket: Ticket,
    token: T,
    len: usize,
    /// From then on it must not leave; see [`Disposition::Park`].
    until_s: u32,
}

/// Frames that wait for the disk, in the order of their tickets.
#[derive(Debug)]
struct ParkingLot<T> {
    frames: VecDeque<Parked<T>>,
    capacity: usize,
}

impl<T> ParkingLot<T> {
    fn new(capacity: usize) -> Self {
        Self { frames: VecDeque::with_capacity(capacity), capacity }
    }

    /// Takes a frame, or gives it back when there is no room: it never grows.
    fn park(&mut self, parked: Parked<T>) -> Result<(), T> {
        if self.frames.len() == self.capacity {
            return Err(parked.token);
        }
        self.frames.push_back(parked);
        Ok(())
    }

    fn ready(&self, durable: Ticket) -> bool {
        self.frames.front().is_some_and(|parked| parked.ticket <= durable)
    }
}

/// A worker without its thread.
#[derive(Debug)]
pub struct Worker<R: Rings, S> {
    rings: R,
    step: S,
    counters: Arc<Counters>,
    parking: ParkingLot<R::Token>,
    /// Where a subnet has its addresses probed.
    desk: Option<Desk<R::Token>>,
}

impl<R: Rings, S: Step> Worker<R, S> {
    /// A worker that parks at most `parking` frames; their room is allocated now.
    pub fn new(rings: R, step: S, counters: Arc<Counters>, parking: usize) -> Self {
        Self { rings, step, counters, parking: ParkingLot::new(parking), desk: None }
    }

    /// Has OFFERs wait at this desk until their addresses are probed.
    pub fn with_desk(mut self, desk: Option<Desk<R::Token>>) -> Self {
        self.desk = desk;
        self
    }

    /// Works until `stop` is set (wake `wake` after setting it), then finishes what it has begun: it empties the receive
    /// ring, waits a bounded time for parked frames to become durable, and sends what is staged.
    ///
    /// Before stopping, see to it that nothing more is redirected to the socket.
    ///
    /// # Errors
    /// The socket is of no more use, mostly because its interface is gone. All frames are given back also then.
    pub fn run(
        &mut self,
        now_s: impl Fn() -> u32,
        wake: &Wake,
        stop: &AtomicBool,
        options: &Options,
    ) -> io::Result<()> {
        let result = self.serve(&now_s, wake, stop, options).and_then(|()| self.drain(&now_s, wake, options));
        self.give_up_waiting();
        let flushed = self.rings.flush();
        self.rings.service();
        result.and(flushed)
    }

    /// The rings and the step back, after [`run`](Self::run).
    pub fn into_parts(self) -> (R, S) {
        (self.rings, self.step)
    }

    fn serve(&mut self, now_s: &impl Fn() -> u32, wake: &Wake, stop: &AtomicBool, options: &Options) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            if self.turn(now_s())? > 0 {
                continue;
            }
            if options.busy_poll {
                self.rings.busy_poll();
                continue;
            }
            wake.prepare();
            // Whoever made work before `prepare` found us awake and woke nobody: look once more.
            if !stop.load(Ordering::Relaxed) && !self.has_work() {
                let at_most = self.rings.before_sleep();
                self.rings.sleep(wake, at_most)?;
            }
            wake.done();
        }
        Ok(())
    }

    fn has_work(&mut self) -> bool {
        self.parking.ready(self.step.durable())
            || self.rings.has_received()
            || self.desk.as_ref().is_some_and(Desk::is_ready)
    }

    fn drain(&mut self, now_s: &impl Fn() -> u32, wake: &Wake, options: &Options) -> io::Result<()> {
        let start = Instant::now();
        let mut quiet_since = start;
        loop {
            if self.turn(now_s())? > 0 {
                quiet_since = Instant::now();
            }
            let unfinished = !self.parking.frames.is_empty() || self.rings.unsent() > 0;
            let quiet = quiet_since.elapsed() >= QUIET;
            if (quiet && !unfinished) || start.elapsed() >= options.stop_within.max(QUIET) {
                return Ok(());
            }
            wake.prepare();
            if !self.has_work() {
                self.rings.sleep(wake, Some(1))?;
            }
            wake.done();
        }
    }

    /// One turn: sends what has become durable or is probed, then takes one batch. Returns how many frames it moved.
    ///
    /// # Errors
    /// See [`run`](Self::run).
    pub fn turn(&mut self, now_s: u32) -> io::Result<usize> {
        self.counters.begin();
        let released = self.release_parked(now_s) + self.release_probed(now_s);
        let received = self.take_batch(now_s);
        self.counters.end();
        if let Some(desk) = &mut self.desk {
            desk.flush();
        }
        self.rings.flush()?;
        self.rings.service();
        Ok(released + received)
    }

    /// Sends what has become durable, a batch at most, so that the receive ring never waits for a long disk's backlog.
    fn release_parked(&mut self, now_s: u32) -> usize {
        let durable = self.step.durable();
        let (mut sent, mut stale) = (0, 0);
        while sent + stale < BATCH && self.parking.ready(durable) {
            let Some(Parked { ticket, token, len, until_s }) = self.parking.frames.pop_front() else { break };
            if now_s >= until_s {
                self.counters.dropped(DropReason::NotDurable);
                self.rings.recycle(token);
                stale += 1;
            } else if let Err(token) = self.rings.transmit(token, len) {
                // It stays first in line, and leaves when the ring has room.
                self.parking.frames.push_front(Parked { ticket, token, len, until_s });
                break;
            } else {
                sent += 1;
            }
        }
        if sent + stale > 0 {
            self.count_parked();
            self.counters.sent(sent as u64);
        }
        sent + stale
    }

    /// Sends OFFERs whose addresses nobody uses, and drops the others, a batch at most.
    fn release_probed(&mut self, now_s: u32) -> usize {
        let mut released = 0;
        while released < BATCH
            && let Some((waiting, outcome)) = self.desk.as_mut().and_then(|desk| desk.next(now_s))
        {
            released += 1;
            match outcome {
                Outcome::InUse => {
                    let reason = self.step.found_in_use(now_s, waiting.address);
                    self.counters.dropped(reason);
                    self.rings.recycle(waiting.token);
                    continue;
                }
                Outcome::Unsent => self.counters.notice(Notice::OfferedUnprobed),
                Outcome::Silent => {}
            }
            match self.rings.transmit(waiting.token, waiting.len) {
                Ok(()) => self.counters.sent(1),
                // Its client asks again, and need not wait then.
                Err(token) => {
                    self.counters.dropped(DropReason::TxFull);
                    self.rings.recycle(token);
                }
            }
        }
        if released > 0 {
            self.count_parked();
        }
        released
    }

    fn count_parked(&self) {
        let waiting = self.desk.as_ref().map_or(0, Desk::waiting);
        self.counters.set_parked((self.parking.frames.len() + waiting) as u64);
    }

    fn take_batch(&mut self, now_s: u32) -> usize {
        let mut tokens: ArrayVec<R::Token, BATCH> = ArrayVec::new();
        let received = self.rings.receive(&mut tokens);
        if received == 0 {
            return 0;
        }
        let mut dispositions: ArrayVec<Disposition, BATCH> = ArrayVec::new();
        {
            let mut frames: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
            for token in &mut tokens {
                frames.push(self.rings.frame(token));
            }
            self.step.process(now_s, &mut frames, &mut dispositions);
        }
        debug_assert_eq!(dispositions.len(), received, "each frame has a disposition");
        // A step that forgets a frame does not leak it.
        let forgotten = std::iter::repeat(Disposition::Drop(DropReason::NotOurs));
        let mut sent = 0;
        for (token, disposition) in tokens.into_iter().zip(dispositions.into_iter().chain(forgotten)) {
            sent += u64::from(self.settle(token, disposition, now_s));
        }
        self.counters.sent(sent);
        self.count_parked();
        received
    }

    /// Sees one frame to its end; true when it is on the transmit ring.
    fn settle(&mut self, token: R::Token, disposition: Disposition, now_s: u32) -> bool {
        let (refused, reason) = match disposition {
            Disposition::Drop(_) => {
                self.rings.recycle(token);
                return false;
            }
            Disposition::Send { len } => match self.rings.transmit(token, len) {
                Ok(()) => return true,
                Err(token) => (token, DropReason::TxFull),
            },
            Disposition::Probe { len, address, client } => {
                let begun = match &mut self.desk {
                    Some(desk) => desk.begin(address, client, token, len, now_s),
                    None => Begun::TooMany(token),
                };
                let token = match begun {
                    Begun::Waits => return false,
                    Begun::Known(token) => Ok(token),
                    Begun::TooMany(token) => {
                        self.counters.notice(Notice::OfferedUnprobed);
                        Ok(token)
                    }
                    Begun::Twice(token) => Err(token),
                };
                match token.map(|token| self.rings.transmit(token, len)) {
                    Ok(Ok(())) => return true,
                    Ok(Err(token)) => (token, DropReason::TxFull),
                    Err(token) => (token, DropReason::ProbeUnderWay),
                }
            }
            Disposition::Park { len, ticket, until_s } => {
                match self.parking.park(Parked { ticket, token, len, until_s }) {
                    Ok(()) => return false,
                    Err(token) => (token, DropReason::ParkingFull),
                }
            }
        };
        self.counters.dropped(reason);
        self.rings.recycle(refused);
        false
    }

    fn give_up_waiting(&mut self) {
        self.counters.begin();
        while let Some(token) = self.desk.as_mut().and_then(Desk::give_up) {
            self.counters.dropped(DropReason::ProbeUnderWay);
            self.rings.recycle(token);
        }
        self.desk = None;
        while let Some(Parked { token, .. }) = self.parking.frames.pop_front() {
            self.counters.dropped(DropReason::NotDurable);
            self.rings.recycle(token);
        }
        self.counters.set_parked(0);
        self.counters.end();
    }
}

#[cfg(test)]
mod tests;
