//! What a run is to do, and what came of it.

use std::{io, net::Ipv4Addr, time::Duration};

use crate::{
    look::Look,
    measure::{Counters, Measures},
    scenario::{Exchange, Scenario},
    schedule::{Backoff, Pace},
    verdict::Pool,
};

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
    /// The only server that is to answer.
    pub server: Option<Ipv4Addr>,
    /// The seed.
    pub seed: u64,
    /// Number of the exchange before the first; more than 0 after an earlier run with the same clients.
    pub first_round: u32,
}

impl Plan {
    /// Clients that take a lease before the scenario begins.
    pub fn prepared(&self) -> u32 {
        (f64::from(self.clients) * self.scenario.prepared_percent / 100.0).round() as u32
    }

    /// Whether the server's replies may come through its kernel, which asks for addresses with ARP.
    pub fn is_asked_for_addresses(&self) -> bool {
        let unicast = [Exchange::Renew, Exchange::Rebind].iter().any(|exchange| self.scenario.mix.has(*exchange));
        self.look.relay.is_some() || unicast || !self.look.broadcast
    }
}

impl Plan {
    /// Whether replies come to the MAC addresses of clients, which a card takes in only when it is promiscuous.
    pub fn hears_client_addresses(&self) -> bool {
        let mix = &self.scenario.mix;
        self.look.relay.is_none() && (!self.look.broadcast || mix.has(Exchange::Renew) || mix.has(Exchange::Rebind))
    }
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
    /// The server fell silent; the result is partial.
    Silent,
    /// The way to the server is gone, or no lease could be prepared; the result is partial.
    Failed(io::Error),
}

impl End {
    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            End::Duration => "duration",
            End::AllDone => "all_done",
            End::Interrupted => "interrupted",
            End::Silent => "silent",
            End::Failed(_) => "failed",
        }
    }

    /// Whether the run was cut short.
    pub fn is_partial(&self) -> bool {
        matches!(self, End::Interrupted | End::Silent | End::Failed(_))
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
    /// How long the run took, in nanoseconds, from its begin after what was prepared.
    pub elapsed_ns: u64,
    /// Exchanges that were due during the load.
    pub offered: u64,
    /// Clients that waited for an answer at the end.
    pub in_flight: u32,
}
