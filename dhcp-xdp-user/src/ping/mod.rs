//! The ping check: before an address is offered to a client that does not have it, somebody who uses it is asked to say so
//! (RFC 2131 3.1 step 2: "the server SHOULD probe the offered address", 4.4.1).
//!
//! A worker lets the OFFER wait at its [`Desk`] and goes on; one thread for all workers, the [`Prober`], sends ICMP echo
//! requests and tells what it found. The two meet in bounded wait-free rings. How many wait is bounded, too, and so is how
//! many are asked for in a second: beyond that an address is offered unprobed, which a counter tells. So a storm is as fast
//! with the ping check as without.
//!
//! `worker::ring` has a desk, `worker::batch` tells it what was given to whom ([`Recent`]), the server starts the prober.

mod desk;
mod icmp;
mod prober;
mod recent;

use std::{net::Ipv4Addr, sync::Arc};

use rtrb::{Consumer, Producer, RingBuffer};

pub use self::{
    desk::{Begun, Desk, Waiting},
    icmp::{Echo, Heard, IcmpSocket},
    prober::{PingCounters, PingStats, Prober},
    recent::{ClientTag, Recent},
};
use crate::{config::PingCheck, wake::Wake};

/// An address to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    address: Ipv4Addr,
    /// Where its OFFER waits at its worker's desk.
    place: u32,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer in time, or a router says that nobody is there.
    Silent,
    /// Somebody answered.
    InUse,
    /// It could not be sent.
    Unsent,
}

/// What the prober tells a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finding {
    place: u32,
    outcome: Outcome,
}

/// The prober's end of a worker's rings.
#[derive(Debug)]
pub struct Link {
    asked: Consumer<Probe>,
    found: Producer<Finding>,
    /// The worker's.
    wake: Arc<Wake>,
}

/// How many OFFERs can wait at the desk of one of `workers`: as many as may be asked for while a probe lasts.
pub fn places(check: &PingCheck, workers: usize) -> usize {
    let lasts_s = (check.timeout * u32::from(check.requests)).as_secs_f64();
    (f64::from(share(check, workers)) * (lasts_s + 1.0)).ceil() as usize
}

/// How many addresses one of `workers` may have probed a second.
fn share(check: &PingCheck, workers: usize) -> u32 {
    check.max_per_s.div_ceil(u32::try_from(workers.max(1)).unwrap_or(u32::MAX))
}

/// A worker's desk with so many places, and the prober's end of it. `prober` wakes the prober, `worker` the worker.
pub fn desk<T>(
    check: &PingCheck,
    workers: usize,
    places: usize,
    recent: Arc<Recent>,
    prober: Arc<Wake>,
    worker: Arc<Wake>,
) -> (Desk<T>, Link) {
    // As many as there are places: a ring is never full.
    let (ask, asked) = RingBuffer::new(places);
    let (found, find) = RingBuffer::new(places);
    let desk = Desk::new(ask, find, places, share(check, workers), recent, prober);
    (desk, Link { asked, found, wake: worker })
}

#[cfg(test)]
mod tests;
