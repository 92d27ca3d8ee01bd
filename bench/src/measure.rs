//! What a run measures: counters and latencies.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    series::{Curve, Series},
    template::Message,
    verdict::{Evidence, Violation},
};

/// Violations that are kept word by word for the report.
const MAX_EXAMPLES: usize = 8;
/// Latencies below this are recorded as this.
const LOWEST_NS: u64 = 100;
/// Latencies above this are recorded as this.
const HIGHEST_NS: u64 = 3_600_000_000_000;

/// What attackers did and got, apart from the good clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hostile {
    /// Frames of garbage sent.
    pub garbage_sent: u64,
    /// DISCOVER and REQUEST of identities that are never used again.
    pub starvation_sent: u64,
    /// Messages about a good client's lease.
    pub spoofing_sent: u64,
    /// Replies to attackers.
    pub replies: u64,
    /// OFFERs among them.
    pub offers: u64,
    /// Leases that they took.
    pub acks: u64,
    /// Refusals.
    pub naks: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exchanges begun.
    pub started: u64,
    /// Starts that were due and found every client in an exchange still.
    pub no_idle_client: u64,
    /// Exchanges that came to their end: with a lease, an offer, or a farewell, as the scenario has it.
    pub completed: u64,
    /// Messages sent, retransmissions included and second copies not, by [`Message`].
    pub sent: [u64; Message::COUNT],
    /// Good answers to each [`Message`], refusals included.
    pub answered: [u64; Message::COUNT],
    /// The same messages over a second path.
    pub sent_copies: u64,
    /// Messages sent again.
    pub retransmitted: u64,
    /// Times that the transmit ring had no room.
    pub tx_stalls: u64,
    /// Frames received.
    pub received: u64,
    /// Good OFFERs.
    pub offers: u64,
    /// Good ACKs: bindings.
    pub acks: u64,
    /// NAKs.
    pub naks: u64,
    /// Second answers to a message that was sent once.
    pub duplicates: u64,
    /// Answers that came when the client no longer waited for them.
    pub late: u64,
    /// OFFERs of servers that were not chosen.
    pub other_server: u64,
    /// Answers to what came over a second path.
    pub other_path: u64,
    /// What attackers did and got.
    pub hostile: Hostile,
    /// ARP requests answered: for relay agents and for addresses that clients hold.
    pub arp_answered: u64,
    /// Frames that are not for a client of ours.
    pub unmatched: u64,
    /// Good replies whose UDP checksum was left to hardware.
    pub checksum_offloaded: u64,
    /// Transmissions whose answer did not come before it was time to send again.
    pub timeouts: u64,
    /// Exchanges given up.
    pub abandoned: u64,
    /// RELEASEs that clients sent.
    pub released: u64,
    /// DECLINEs.
    pub declined: u64,
    /// Clients that left without a RELEASE.
    pub vanished: u64,
    /// Clients that have had a lease.
    pub clients_bound: u64,
    /// Clients that have had an OFFER or a lease, as the scenario wants it.
    pub clients_done: u64,
    /// By [`Violation`].
    pub violations: [u64; Violation::ALL.len()],
}

impl Counters {
    /// All messages sent.
    pub fn sent_total(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// Those of them that have an answer.
    pub fn sent_answered(&self) -> u64 {
        self.sent_total() - self.sent[Message::Release as usize] - self.sent[Message::Decline as usize]
    }

    /// All violations.
    pub fn violations_total(&self) -> u64 {
        self.violations.iter().sum()
    }
}

/// The leases that clients took before a scenario began.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// Clients that were to hold one.
    pub wanted: u32,
    /// Clients that do.
    pub clients: u32,
    /// How long it took, seconds.
    pub took_s: f64,
}

/// A latency distribution, in nanoseconds.
pub type Latency = Histogram<u64>;

/// The value in the middle, of an even number the greater of two; no number of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// An empty distribution of latencies.
pub fn new_latency() -> Latency {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3).expect("the bounds are constants")
}

/// Counters, latencies and examples of violations.
pub struct Measures {
    /// Counters so far.
    pub counters: Counters,
    /// From the transmission of a message to its answer, by [`Message`]. A message that had to be sent again counts from its
    /// first transmission: that is what the client waits.
    pub from_transmit: [Latency; Message::COUNT],
    /// In an open loop, the same from the moment at which the exchange was due: what a client waits that does not care that
    /// the generator was late (coordinated omission). Equal to `from_transmit` in a closed loop and for REQUEST.
    pub from_schedule: [Latency; Message::COUNT],
    /// How late exchanges began against the schedule.
    pub lateness: Latency,
    /// What came before the measured part; none where nothing did.
    pub prepared: Option<Prepared>,
    /// When the last client was done, in nanoseconds from the begin.
    pub all_done_ns: Option<u64>,
    /// The first violations.
    pub examples: Vec<(Violation, Evidence)>,
    /// Counters and latencies (`from_schedule`) over time.
    pub series: Series,
    /// When how many clients were done.
    pub curve: Curve,
    clients: u32,
}

impl Measures {
    /// Nothing measured, of so many clients whose exchanges are to begin for so long.
    pub fn new(clients: u32, load: Duration) -> Self {
        let latency = new_latency;
        Self {
            counters: Counters::default(),
            from_transmit: std::array::from_fn(|_| latency()),
            from_schedule: std::array::from_fn(|_| latency()),
            lateness: latency(),
            prepared: None,
            all_done_ns: None,
            examples: Vec::with_capacity(MAX_EXAMPLES),
            series: Series::new(u64::try_from(load.as_nanos()).unwrap_or(u64::MAX)),
            curve: Curve::new(clients),
            clients,
        }
    }

    /// Time has gone on. Returns whether an interval of the series is over.
    #[inline]
    pub fn tick(&mut self, now_ns: u64) -> bool {
        self.series.tick(now_ns, &self.counters)
    }

    /// The run is over.
    pub fn finish(&mut self, now_ns: u64) {
        self.series.finish(now_ns, &self.counters);
    }

    /// One more client has what its scenario wants.
    #[inline]
    pub fn client_done(&mut self, now_ns: u64) {
        self.counters.clients_done += 1;
        self.curve.done(self.counters.clients_done, now_ns);
        if self.counters.clients_done == u64::from(self.clients) {
            self.all_done_ns = Some(now_ns);
        }
    }

    /// Begins to measure; violations found in preparation stay.
    pub fn begin(&mut self, prepared: Prepared, clients: u32, load: Duration) {
        let before = std::mem::replace(self, Self::new(clients, load));
        self.counters.violations = before.counters.violations;
        self.examples = before.examples;
        self.prepared = Some(prepared);
    }

    /// An answer came.
    #[inline]
    pub fn answered(&mut self, message: Message, waited_ns: u64, lateness_ns: u64) {
        self.counters.answered[message as usize] += 1;
        self.from_transmit[message as usize].saturating_record(waited_ns);
        self.from_schedule[message as usize].saturating_record(waited_ns + lateness_ns);
        self.series.answered(message, waited_ns + lateness_ns);
    }

    /// A reply was wrong.
    pub fn violation(&mut self, violation: Violation, evidence: Evidence) {
        self.counters.violations[violation as usize] += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push((violation, evidence));
        }
    }
}
