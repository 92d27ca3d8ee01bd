//! Places under lease limits that become free: each waits beside the records of its lane until the one that frees it is durable.
//!
//! The journal's thread gives them back, as it alone sees every record's end: whatever becomes of the worker, or of the operator's
//! command, that handed the record over. A record frees no more than one of these, so that there is room for it where there is
//! for the record.

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::lease::{LimitKey, LimitKeys};

/// What is told of places that have become free; called by the journal's thread.
pub type OnFreed = Arc<dyn Fn(&[LimitKey]) + Send + Sync>;

/// Places that wait.
#[derive(Debug)]
struct Waiting {
    /// Number of the first record of the change that frees them; a change becomes durable as a whole.
    record: u64,
    keys: LimitKeys,
}

/// A lane's end.
#[derive(Debug)]
pub(super) struct Sender(Producer<Waiting>);

/// The journal thread's end.
#[derive(Debug)]
pub(super) struct Receiver(Consumer<Waiting>);

/// Both ends, with room for this many records.
pub(super) fn channel(records: usize) -> (Sender, Receiver) {
    let (sender, receiver) = RingBuffer::new(records);
    (Sender(sender), Receiver(receiver))
}

impl Sender {
    /// Lets places wait for a record, which is handed over after them. False: no room.
    pub fn send(&mut self, record: u64, keys: &[LimitKey]) -> bool {
        let mut waiting = Waiting { record, keys: LimitKeys::new() };
        waiting.keys.try_extend_from_slice(keys).is_ok() && self.0.push(waiting).is_ok()
    }
}

impl Receiver {
    /// Gives back what waited for a record up to this one.
    pub fn give_back(&mut self, durable: u64, on_freed: &OnFreed) {
        while self.0.peek().is_ok_and(|waiting| waiting.record <= durable) {
            let Ok(Waiting { keys, .. }) = self.0.pop() else { break };
            on_freed(&keys);
        }
    }
}
