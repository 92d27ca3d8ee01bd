//! What a processor needs of the journal, so that it is tested, measured and explained without one.

use crate::{
    engine::{Classified, Decision, Place},
    journal::{Lane, LaneFull, Ticket},
    lease::{HwAddress, Kept, Lease, Stamp},
};

/// Where changes of bindings are recorded: a [`Lane`] of the journal, or something that keeps none, as all but
/// [`submit`](Self::submit) are made for: it has room, and no ACK waits for it.
pub trait Recorder {
    /// Hands over a change. It never waits.
    ///
    /// # Errors
    /// There was no room; nothing was handed over.
    fn submit(&mut self, lease: &Lease, hw: &HwAddress, client_id: &[u8], kept: Kept<'_>) -> Result<Ticket, LaneFull>;
    /// All that a batch leads to has been handed over: whoever sleeps is to be woken now.
    fn flush(&mut self) {}
    /// Whether an ACK must wait for its ticket.
    fn parks(&self) -> bool {
        false
    }
    /// Whether the next [`submit`](Self::submit) will find room.
    fn has_room(&self) -> bool {
        true
    }
    /// What a slot remembers of a ticket.
    fn stamp(&self, _ticket: Ticket) -> Stamp {
        Stamp::UNSETTLED
    }
    /// Whether an ACK that needs no more than this record may leave.
    fn is_settled(&self, _stamp: Stamp) -> bool {
        false
    }
    /// What was decided about a request, for who explains it; a lane does not look.
    fn decided(&mut self, _place: &Place, _classes: &Classified, _decision: &Decision) {}
}

impl Recorder for Lane {
    fn submit(&mut self, lease: &Lease, hw: &HwAddress, client_id: &[u8], kept: Kept<'_>) -> Result<Ticket, LaneFull> {
        Lane::push(self, lease, hw, client_id, kept)
    }
    fn flush(&mut self) {
        Lane::ring(self);
    }
    fn parks(&self) -> bool {
        Lane::parks(self)
    }
    fn has_room(&self) -> bool {
        Lane::has_room(self)
    }
    fn stamp(&self, ticket: Ticket) -> Stamp {
        Lane::stamp(self, ticket)
    }
    fn is_settled(&self, stamp: Stamp) -> bool {
        Lane::is_settled(self, stamp)
    }
}
