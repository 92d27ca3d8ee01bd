//! The worker's end: OFFERs that wait for a probe.

use std::{net::Ipv4Addr, sync::Arc};

use rtrb::{Consumer, Producer};

use super::{
    Finding, Outcome, Probe,
    recent::{ClientTag, Memory, Recent},
};
use crate::wake::Wake;

/// An OFFER that waits until it is known whether somebody uses its address.
#[derive(Debug)]
pub struct Waiting<T> {
    /// The address.
    pub address: Ipv4Addr,
    /// Its frame.
    pub token: T,
    /// Bytes of it.
    pub len: usize,
}

/// What is to be done about an OFFER.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun<T> {
    /// Nothing for now: it waits.
    Waits,
    /// To be sent: its address is known to be free.
    Known(T),
    /// To be sent unprobed: as many are probed as may be.
    TooMany(T),
    /// To be dropped: an earlier OFFER of the same address waits already.
    Twice(T),
}

/// Where one worker's OFFERs wait; of fixed size, and it never blocks or allocates.
#[derive(Debug)]
pub struct Desk<T> {
    ask: Producer<Probe>,
    found: Consumer<Finding>,
    waiting: Box<[Option<Waiting<T>>]>,
    free: Vec<u32>,
    recent: Arc<Recent>,
    prober: Arc<Wake>,
    /// Most probes a second, and how many there were in this one.
    per_s: u32,
    second_s: u32,
    in_second: u32,
    /// Something was asked for, and the prober may sleep.
    is_to_wake: bool,
}

impl<T> Desk<T> {
    pub(super) fn new(
        ask: Producer<Probe>,
        found: Consumer<Finding>,
        places: usize,
        per_s: u32,
        recent: Arc<Recent>,
        prober: Arc<Wake>,
    ) -> Self {
        let waiting = (0..places).map(|_| None).collect();
        let free = (0..places as u32).rev().collect();
        Self { ask, found, waiting, free, recent, prober, per_s, second_s: 0, in_second: 0, is_to_wake: false }
    }

    /// Has an address probed for a client, if that is to be and can be.
    pub fn begin(&mut self, address: Ipv4Addr, client: ClientTag, token: T, len: usize, now_s: u32) -> Begun<T> {
        match self.recent.look_up(address, client, now_s) {
            Memory::Free => return Begun::Known(token),
            Memory::Probing => return Begun::Twice(token),
            Memory::None => {}
        }
        if now_s != self.second_s {
            (self.second_s, self.in_second) = (now_s, 0);
        }
        if self.in_second == self.per_s || self.ask.is_abandoned() {
            return Begun::TooMany(token);
        }
        let Some(place) = self.free.pop() else { return Begun::TooMany(token) };
        if self.ask.push(Probe { address, place }).is_err() {
            self.free.push(place);
            return Begun::TooMany(token);
        }
        self.waiting[place as usize] = Some(Waiting { address, token, len });
        self.recent.probing(address, now_s);
        self.in_second += 1;
        self.is_to_wake = true;
        Begun::Waits
    }

    #[cfg(test)]
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Wakes the prober if something was asked for since.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.is_to_wake) {
            self.prober.wake();
        }
    }

    /// Whether [`next`](Self::next) has something.
    pub fn is_ready(&self) -> bool {
        !self.found.is_empty() || self.waiting() > 0 && self.found.is_abandoned()
    }

    /// An OFFER whose address is known about now. Should the prober have ended, all of them are.
    pub fn next(&mut self, now_s: u32) -> Option<(Waiting<T>, Outcome)> {
        let Finding { place, outcome } = match self.found.pop() {
            Ok(finding) => finding,
            Err(_) if self.is_ready() => {
                let place = self.waiting.iter().position(Option::is_some)? as u32;
                Finding { place, outcome: Outcome::Unsent }
            }
            Err(_) => return None,
        };
        let waiting = self.take(place)?;
        match outcome {
            Outcome::Silent => self.recent.silent(waiting.address, now_s),
            Outcome::InUse | Outcome::Unsent => self.recent.forget(waiting.address),
        }
        Some((waiting, outcome))
    }

    /// Gives up one of those that wait, whatever is found out later: the worker stops.
    pub fn give_up(&mut self) -> Option<T> {
        let place = self.waiting.iter().position(Option::is_some)?;
        // Its place stays taken: a finding may be on its way.
        let Waiting { address, token, .. } = self.waiting[place].take()?;
        self.recent.forget(address);
        Some(token)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len() - self.free.len()
    }

    fn take(&mut self, place: u32) -> Option<Waiting<T>> {
        let waiting = self.waiting.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(waiting)
    }
}
