//! A batch of frames in, a disposition for each out: parse, decide, journal, craft in place. No socket, no clock.
//! CONTRACT STUB

use super::counters::DropReason;
use crate::journal::Ticket;

/// Most frames of a batch.
pub const BATCH: usize = 64;

/// A frame in its UMEM chunk.
pub struct Frame<'a> {
    /// From the first byte of the packet to the end of the chunk: a reply may be longer than its request.
    pub buffer: &'a mut [u8],
    /// Bytes of it that were received.
    pub len: usize,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The frame now holds a reply of this length: send it.
    Send {
        /// Bytes from the start of the buffer.
        len: usize,
    },
    /// As `Send`, once the lane says that the ticket is durable.
    Park {
        /// Bytes from the start of the buffer.
        len: usize,
        /// What it waits for.
        ticket: Ticket,
    },
    /// The frame is free. Counted already.
    Drop(DropReason),
}
