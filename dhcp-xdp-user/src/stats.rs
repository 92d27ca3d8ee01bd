//! What a running server counts, as one value: the snapshot that control serves and the command line prints.
//!
//! The server makes it; control, the command line and tests read it. Its JSON is stable: fields are added, never renamed,
//! and [`SCHEMA`] changes when one must change its meaning.
//!
//! The ledger is the proof that no frame is lost without a name:
//!
//! ```text
//! seen       = passed + redirected
//! redirected = answered + parked + dropped + ring_losses + in_rings
//! ```
//!
//! Where each figure comes from, and when it is exact:
//! - `seen`, `passed`, `redirected`: the XDP program's own counters, summed over CPUs.
//! - `answered`, `parked`, `dropped`: the workers' counters.
//! - `ring_losses`: `rx_dropped + rx_ring_full` of `XDP_STATISTICS`, summed over sockets. In copy mode the kernel counts a
//!   frame for which the fill ring had no chunk in `rx_dropped` of the socket that it was meant for (`net/xdp/xsk.c`,
//!   `__xsk_rcv`), so that `rx_fill_ring_empty_descs`, which is a figure of the queue and not of a socket, must not be added.
//!   In zero-copy mode a frame without a chunk is lost in the device, before XDP: it is neither seen nor in this ledger.
//! - `in_rings`: what is left: redirected, and not yet taken from a receive ring. On an idle server it is zero; anything
//!   else then is a leak.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::{
    events::EventStats,
    journal::JournalStatus,
    lease::TableCounts,
    leasequery::tcp::TcpStats,
    ping::PingStats,
    worker::counters::{DropReason, Message, Notice, Snapshot},
};

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// Everything that a server counts, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stats {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The server's version.
    pub version: String,
    /// Seconds since it started serving.
    pub uptime_s: u64,
    /// Invariant 3, summed over all interfaces.
    pub ledger: Ledger,
    /// One entry an interface, in the order of the configuration.
    pub interfaces: Vec<InterfaceStats>,
    /// What the journal does.
    pub journal: JournalStatus,
    /// Addresses by state.
    pub leases: LeaseStats,
    /// Leasequery over TCP, where it is listened for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leasequery_tcp: Option<TcpStats>,
    /// What the ping check did, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping_check: Option<PingStats>,
    /// What became of lease events.
    #[serde(default)]
    pub events: EventStats,
}

/// What became of every frame that the XDP program saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Whether both sums hold. While frames are on their way, `in_rings` may be more than zero.
    pub closes: bool,
    /// Frames that the XDP program saw.
    pub seen: u64,
    /// Frames left to the kernel.
    pub passed: u64,
    /// Frames handed to a socket.
    pub redirected: u64,
    /// Replies put on a transmit ring.
    pub answered: u64,
    /// Replies that wait for the disk, or for a probe.
    pub parked: u64,
    /// Frames that got no reply, for a named reason.
    pub dropped: u64,
    /// Frames that the kernel could not put into a receive ring.
    pub ring_losses: u64,
    /// Frames redirected and not yet read.
    pub in_rings: u64,
}

impl Ledger {
    /// The ledger of some interfaces. `frames` in their rings at most: `in_rings` beyond that does not close.
    pub fn of(interfaces: &[InterfaceStats]) -> Self {
        let mut ledger = Self::default();
        let (mut received, mut frames, mut workers_close) = (0, 0, true);
        for interface in interfaces {
            ledger.seen += interface.xdp.values().sum::<u64>();
            ledger.redirected += interface.xdp.get("redirected").copied().unwrap_or(0);
            for queue in &interface.queues {
                frames += queue.frames.total;
                for worker in &queue.workers {
                    let dropped = worker.drops.values().sum::<u64>();
                    workers_close &= worker.received == worker.sent + worker.parked + dropped;
                    received += worker.received;
                    ledger.answered += worker.sent;
                    ledger.parked += worker.parked;
                    ledger.dropped += dropped;
                    ledger.ring_losses += worker.rx_dropped + worker.rx_ring_full;
                }
            }
        }
        ledger.passed = ledger.seen - ledger.redirected;
        let accounted = received + ledger.ring_losses;
        ledger.in_rings = ledger.redirected.saturating_sub(accounted);
        ledger.closes = workers_close && accounted <= ledger.redirected && ledger.in_rings <= frames;
        ledger
    }
}

/// One interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStats {
    /// The kernel's name of it.
    pub name: String,
    /// How the XDP program is attached: `native` or `generic`.
    pub mode: String,
    /// How the sockets are bound: `zero-copy` or `copy`.
    pub bind_mode: String,
    /// Its IPv4 addresses, as they were within the last second.
    pub addresses: Vec<Ipv4Addr>,
    /// Frames by verdict of the XDP program (`Verdict::name`), all verdicts.
    pub xdp: BTreeMap<String, u64>,
    /// Its receive queues.
    pub queues: Vec<QueueStats>,
}

/// One receive queue and its UMEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueStats {
    /// Its number.
    pub queue: u32,
    /// Where its frames are.
    pub frames: FrameStats,
    /// Its workers.
    pub workers: Vec<WorkerStats>,
}

/// Where the frames of a UMEM are; `kernel + worker + parked + free = total` (invariant 4) between batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameStats {
    /// All of them.
    pub total: u64,
    /// In a ring, or with the driver.
    pub kernel: u64,
    /// In a worker's hands.
    pub worker: u64,
    /// Waiting for the disk, or for a probe.
    pub parked: u64,
    /// In user space, unused.
    pub free: u64,
}

impl FrameStats {
    /// Whether no frame is missing and none is there twice.
    pub fn balance(&self) -> bool {
        self.kernel + self.worker + self.parked + self.free == self.total
    }
}

/// One worker, which is one socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Its number within its queue.
    pub worker: u32,
    /// The CPU that it is pinned to; `None` when pinning failed.
    pub cpu: Option<usize>,
    /// Frames taken from the receive ring.
    pub received: u64,
    /// Replies put on the transmit ring.
    pub sent: u64,
    /// Replies that wait for the disk, or for a probe.
    pub parked: u64,
    /// Frames without a reply by [`DropReason`], all reasons.
    pub drops: BTreeMap<String, u64>,
    /// Messages by [`Message`], all messages.
    pub messages: BTreeMap<String, u64>,
    /// What is to be noticed by [`Notice`], all of it.
    #[serde(default)]
    pub notices: BTreeMap<String, u64>,
    /// `XDP_STATISTICS`: no chunk in the fill ring, or a frame longer than a chunk.
    pub rx_dropped: u64,
    /// `XDP_STATISTICS`: the receive ring was full.
    pub rx_ring_full: u64,
}

impl WorkerStats {
    /// From a worker's counters; the ring figures are zero.
    pub fn of(worker: u32, cpu: Option<usize>, counters: &Snapshot) -> Self {
        let drops = DropReason::ALL.iter().map(|&r| (r.name().to_owned(), counters.drops[r as usize])).collect();
        let messages = Message::ALL.iter().map(|&m| (m.name().to_owned(), counters.messages[m as usize])).collect();
        Self {
            worker,
            cpu,
            received: counters.received,
            sent: counters.sent,
            parked: counters.parked,
            drops,
            messages,
            notices: Notice::ALL.iter().map(|&n| (n.name().to_owned(), counters.notices[n as usize])).collect(),
            rx_dropped: 0,
            rx_ring_full: 0,
        }
    }
}

/// Addresses by state; see [`TableCounts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStats {
    /// All addresses of all pools, and the reserved ones outside of them.
    pub total: u64,
    /// Offered.
    pub offered: u64,
    /// Bound.
    pub bound: u64,
    /// Released or expired, their client remembered.
    pub remembered: u64,
    /// Declined.
    pub declined: u64,
    /// How often option 82 was left out of a lease because its memory is used up.
    #[serde(default)]
    pub agent_info_left_out: u64,
}

impl From<TableCounts> for LeaseStats {
    fn from(counts: TableCounts) -> Self {
        let TableCounts { total, offered, bound, remembered, declined, agent_info_left_out } = counts;
        Self { total, offered, bound, remembered, declined, agent_info_left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::counters::Counters;

    fn interface(redirected: u64, counters: &Counters, rx_dropped: u64) -> InterfaceStats {
        let worker = WorkerStats { rx_dropped, ..WorkerStats::of(0, Some(0), &counters.snapshot()) };
        InterfaceStats {
            name: "a".into(),
            mode: "native".into(),
            bind_mode: "copy".into(),
            addresses: vec![],
            xdp: [("redirected".to_owned(), redirected), ("pass_not_udp".to_owned(), 5)].into(),
            queues: vec![QueueStats {
                queue: 0,
                frames: FrameStats { total: 8, kernel: 8, ..FrameStats::default() },
                workers: vec![worker],
            }],
        }
    }

    fn three_frames() -> Counters {
        let counters = Counters::default();
        counters.received(3);
        counters.sent(1);
        counters.set_parked(1);
        counters.dropped(DropReason::NoSubnet);
        counters
    }

    #[test]
    fn every_frame_has_a_place_in_the_ledger() {
        let ledger = Ledger::of(&[interface(6, &three_frames(), 2)]);
        let expected = Ledger {
            closes: true,
            seen: 11,
            passed: 5,
            redirected: 6,
            answered: 1,
            parked: 1,
            dropped: 1,
            ring_losses: 2,
            in_rings: 1,
        };
        assert_eq!(ledger, expected);
    }

    #[test]
    fn a_frame_without_a_disposition_keeps_the_ledger_open() {
        let counters = three_frames();
        counters.received(1);
        assert!(!Ledger::of(&[interface(9, &counters, 0)]).closes);
    }

    #[test]
    fn more_frames_read_than_redirected_keep_the_ledger_open() {
        assert!(!Ledger::of(&[interface(2, &three_frames(), 0)]).closes);
    }

    #[test]
    fn more_frames_on_their_way_than_there_are_keep_the_ledger_open() {
        assert!(!Ledger::of(&[interface(20, &three_frames(), 0)]).closes);
    }

    #[test]
    fn a_snapshot_survives_json() {
        let interfaces = vec![interface(6, &three_frames(), 2)];
        let stats = Stats {
            schema: SCHEMA,
            version: "0".into(),
            uptime_s: 1,
            ledger: Ledger::of(&interfaces),
            interfaces,
            journal: JournalStatus::default(),
            leases: LeaseStats::default(),
            leasequery_tcp: None,
            ping_check: Some(PingStats { sent: 3, ..PingStats::default() }),
            events: EventStats::default(),
        };
        let json = serde_json::to_string(&stats).unwrap();
        let back: Stats = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
        assert!(json.contains(r#""ledger":{"closes":true"#), "{json}");
    }
}
