//! A worker's way into the journal: a ring of its own, and one bell for all.
//!
//! A lane is a bounded ring that its worker alone writes and the journal's thread alone reads (`rtrb`): no line of memory is
//! written by two workers, and a record costs its own 64 bytes and an index. What goes through the one bounded
//! `crossbeam-channel` is the bell, and only when the thread may be asleep: while it is busy with a group, which under load is
//! always, a worker does no more than look at a flag once a batch. (Measured against a record a message
//! through that channel: see `cargo xtask bench journal`.)

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering, fence},
};

use arrayvec::ArrayVec;
use crossbeam_channel::{Receiver, Sender, bounded};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{
    places,
    record::{self, Bytes, MAX_RECORDS},
    status::Shared,
};
use crate::lease::{HwAddress, Kept, Lease, Stamp};

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

/// Ends the journal's thread.
#[derive(Debug)]
pub(super) struct Stopper(Sender<()>);

impl Stopper {
    /// Wakes the thread, which has been told to stop.
    pub fn stop(self) {
        // Full: it will wake. Disconnected: it has ended.
        let _ = self.0.try_send(());
    }
}

/// The journal thread's ends of all lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    pub rings: Vec<Consumer<Bytes>>,
    /// Of each lane, where leases are counted.
    pub freed: Vec<places::Receiver>,
    pub bell: Receiver<()>,
}

/// Makes the lanes, one for each that `shared` has; `counts` says that leases are counted.
pub(super) fn lanes(shared: &Arc<Shared>, parks: bool, counts: bool) -> (Stopper, Lanes, Vec<Lane>) {
    let (bell, rung) = bounded(1);
    let (mut rings, mut ends_of_freed) = (Vec::new(), Vec::new());
    let mut lanes = Vec::new();
    for index in 0..shared.lanes() {
        let (ring, end) = RingBuffer::new(LANE_CAPACITY as usize);
        rings.push(end);
        let freed = counts.then(|| {
            let (freed, end) = places::channel(LANE_CAPACITY as usize);
            ends_of_freed.push(end);
            freed
        });
        let (bell, shared) = (bell.clone(), Arc::clone(shared));
        lanes.push(Lane { index, ring, freed, bell, shared, submitted: 0, limit: LANE_CAPACITY, parks });
    }
    (Stopper(bell), Lanes { rings, freed: ends_of_freed, bell: rung }, lanes)
}

/// One worker's way into the journal.
#[derive(Debug)]
pub struct Lane {
    index: usize,
    ring: Producer<Bytes>,
    freed: Option<places::Sender>,
    bell: Sender<()>,
    shared: Arc<Shared>,
    submitted: u64,
    /// Records that may be on their way.
    limit: u64,
    parks: bool,
}

impl Lane {
    /// Hands over a change and rings. It never waits and never allocates.
    ///
    /// # Errors
    /// The lane has no room; nothing was handed over.
    pub fn submit(
        &mut self,
        lease: &Lease,
        hw: &HwAddress,
        client_id: &[u8],
        kept: Kept<'_>,
    ) -> Result<Ticket, LaneFull> {
        let ticket = self.push(lease, hw, client_id, kept)?;
        self.ring();
        Ok(ticket)
    }

    /// As [`submit`](Self::submit), without ringing: the journal may not look before [`ring`](Self::ring) is called.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn push(
        &mut self,
        lease: &Lease,
        hw: &HwAddress,
        client_id: &[u8],
        kept: Kept<'_>,
    ) -> Result<Ticket, LaneFull> {
        let count = record::records_of(record::tail_len(client_id.len(), &kept));
        // Without its reader, nothing becomes durable any more.
        if self.room() < count as u64 || self.ring.is_abandoned() {
            return Err(LaneFull);
        }
        // Before the record, so that they are there when it is durable.
        if let Some(waiting) = self.freed.as_mut().filter(|_| !kept.freed.is_empty())
            && !waiting.send(self.submitted + 1, kept.freed)
        {
            return Err(LaneFull);
        }
        if count == 1 {
            let mut pushed = Ok(());
            record::encode(lease, hw, client_id, kept, |bytes| pushed = self.ring.push(bytes));
            pushed.map_err(|_| LaneFull)?;
        } else {
            // All at once: the reader never sees a part of a change.
            let mut records: ArrayVec<Bytes, MAX_RECORDS> = ArrayVec::new();
            record::encode(lease, hw, client_id, kept, |bytes| records.push(bytes));
            self.ring.push_entire_slice(&records).map_err(|_| LaneFull)?;
        }
        self.submitted += count as u64;
        Ok(Ticket(self.submitted))
    }

    /// Tells the journal that there are records, unless it has been told.
    pub fn ring(&self) {
        // Pairs with the fence in the writer's wait: either it sees the records, or this sees the bell lowered.
        fence(Ordering::SeqCst);
        if !self.shared.bell.load(Ordering::Relaxed) && !self.shared.bell.swap(true, Ordering::Relaxed) {
            // Full: it will wake. Disconnected: it has ended, which `push` finds out.
            let _ = self.bell.try_send(());
        }
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
        // A number that is none of a stamp's makes an unsettled one.
        Stamp::new(u16::try_from(self.index).unwrap_or(u16::MAX), ticket.0)
    }

    /// Whether the record of a stamp, of whatever lane, is durable as [`durable`](Self::durable) says it.
    pub fn is_settled(&self, stamp: Stamp) -> bool {
        let durable = |lane: u16| {
            let lane = usize::from(lane);
            (lane < self.shared.lanes()).then(|| self.shared.durable(lane).load(Ordering::Acquire))
        };
        stamp.is_settled(durable, LANE_CAPACITY + MAX_SUBMITTED)
    }

    /// Whether an ACK must wait for its ticket (durability `sync`).
    pub fn parks(&self) -> bool {
        self.parks
    }

    /// The last ticket of this lane that is durable, or, where durability is not `sync`, written. One atomic load.
    pub fn durable(&self) -> Ticket {
        Ticket(self.durable_counter().load(Ordering::Acquire))
    }

    #[cfg(test)]
    pub(super) fn submitted(&self) -> u64 {
        self.submitted
    }

    fn durable_counter(&self) -> &AtomicU64 {
        self.shared.durable(self.index)
    }
}

const _: () = assert!(LANE_CAPACITY >= MAX_SUBMITTED, "a lane has room for a request");
