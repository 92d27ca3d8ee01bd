//! A worker's way into the journal: a bounded channel that all share, with room in it that is each one's own.

use std::sync::{Arc, atomic::Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    record::{self, Bytes, MAX_RECORDS},
    writer::Shared,
};
use crate::lease::{HwAddress, Lease, LimitKey, Stamp};

/// Records of one lane on their way at a time: at most what a worker can have parked with the usual number of frames.
const LANE_CAPACITY: u64 = 16_384;
/// The most that one request leads to: a client that moves to another address releases the former.
const MAX_SUBMITTED: u64 = 2 * MAX_RECORDS as u64;

/// Position in a lane: the record with this number, counted from 1. Greater is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The lane takes no more at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal is full")]
pub struct LaneFull;

/// What the journal's thread receives.
#[derive(Debug)]
pub(super) enum Message {
    /// A record of a lane, checksum still zero.
    Record(u16, Bytes),
    /// Nothing more will come.
    Stop,
}

/// Ends the journal's thread.
#[derive(Debug)]
pub(super) struct Stopper(Sender<Message>);

impl Stopper {
    pub fn stop(self) {
        // Fails only when the thread has ended, which is what is wanted.
        let _ = self.0.send(Message::Stop);
    }
}

/// The channel and its lanes, one for each that `shared` has. It has room for all that the lanes let through, so that
/// sending never waits.
pub(super) fn channel(shared: &Arc<Shared>, parks: bool) -> (Stopper, Receiver<Message>, Vec<Lane>) {
    let lanes = shared.lanes();
    let (sender, receiver) = bounded(lanes * LANE_CAPACITY as usize + 1);
    let lane = |index| Lane {
        index,
        sender: sender.clone(),
        shared: Arc::clone(shared),
        submitted: 0,
        limit: LANE_CAPACITY,
        parks,
    };
    let lanes = (0..lanes).filter_map(|index| u16::try_from(index).ok()).map(lane).collect();
    (Stopper(sender), receiver, lanes)
}

/// One worker's way into the journal.
#[derive(Debug)]
pub struct Lane {
    index: u16,
    sender: Sender<Message>,
    shared: Arc<Shared>,
    submitted: u64,
    /// Records that may be on their way.
    limit: u64,
    parks: bool,
}

impl Lane {
    /// Hands over a change. It never waits and never allocates.
    ///
    /// # Errors
    /// The lane has no room; nothing was handed over.
    pub fn submit(&mut self, lease: &Lease, hw: &HwAddress, client_id: &[u8]) -> Result<Ticket, LaneFull> {
        self.submit_counted(lease, hw, client_id, &[])
    }

    /// As [`submit`](Self::submit), with what the lease counts against.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_counted(
        &mut self,
        lease: &Lease,
        hw: &HwAddress,
        client_id: &[u8],
        limits: &[LimitKey],
    ) -> Result<Ticket, LaneFull> {
        if self.room() < record::records_of(record::tail_len(client_id.len(), limits.len())) as u64 {
            return Err(LaneFull);
        }
        let mut sent = Ok(());
        record::encode(lease, hw, client_id, limits, |bytes| {
            if sent.is_ok() {
                sent = self.sender.try_send(Message::Record(self.index, bytes));
                self.submitted += u64::from(sent.is_ok());
            }
        });
        // Only a thread that has ended makes it fail; then nothing becomes durable any more.
        sent.map(|()| Ticket(self.submitted)).map_err(|_| LaneFull)
    }

    /// Lets no more records be on their way than this, so that each can have an ACK that waits for it; at least what one
    /// request leads to.
    pub fn limit_to(&mut self, records: u64) {
        self.limit = records.clamp(MAX_SUBMITTED, LANE_CAPACITY);
    }

    fn room(&self) -> u64 {
        self.limit.saturating_sub(self.submitted - self.durable().0)
    }

    /// Whether all that one request can lead to will find room. A lane has one user, so it stays true until then.
    pub fn has_room(&self) -> bool {
        self.room() >= MAX_SUBMITTED
    }

    /// What a slot remembers of a ticket of this lane.
    pub fn stamp(&self, ticket: Ticket) -> Stamp {
        Stamp::new(self.index, ticket.0)
    }

    /// Whether the record of a stamp, of whatever lane, is durable as [`durable`](Self::durable) says it.
    pub fn is_settled(&self, stamp: Stamp) -> bool {
        let durable = |lane: u16| {
            let is_lane = usize::from(lane) < self.shared.lanes();
            is_lane.then(|| self.shared.durable(lane).load(Ordering::Acquire))
        };
        stamp.is_settled(durable, LANE_CAPACITY + MAX_SUBMITTED)
    }

    /// Whether an ACK must wait for its ticket (durability `sync`).
    pub fn parks(&self) -> bool {
        self.parks
    }

    /// The last ticket of this lane that is durable, or, where durability is not `sync`, written. One atomic load.
    pub fn durable(&self) -> Ticket {
        Ticket(self.shared.durable(self.index).load(Ordering::Acquire))
    }
}

const _: () = assert!(LANE_CAPACITY >= MAX_SUBMITTED, "a lane has room for a request");
