//! Frames of a UMEM and who holds them: the token, the pool that a queue's workers share, and the account (invariant 4).

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use xsk_rs::FrameDesc;

use crate::{stats::FrameStats, wake::Wake};

/// The right to touch one chunk of a UMEM: whoever holds it is the only one who does.
///
/// It is neither `Clone` nor `Copy`. Give it to [`Socket::transmit`](super::Socket::transmit) or
/// [`Socket::recycle`](super::Socket::recycle); one that is dropped instead is a chunk lost, which the account shows.
#[derive(Debug)]
#[must_use = "a token that is dropped is a chunk lost: transmit or recycle it"]
pub struct FrameToken {
    pub(super) desc: FrameDesc,
    /// The UMEM that it belongs to, so that a token cannot be used with another one.
    pub(super) umem: u32,
    pub(super) len: u32,
}

impl FrameToken {
    /// Bytes received, from the first byte of the packet; 0 for a frame that was allocated.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len as usize
    }
}

/// A number for each UMEM of this process.
pub(super) fn next_umem_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What one socket took and gave; written by its own thread alone.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Chunks given to the kernel: to the fill ring or a transmit ring.
    pub to_kernel: AtomicU64,
    /// Chunks taken back: from a receive ring or the completion ring.
    pub from_kernel: AtomicU64,
    /// Chunks taken from the receive ring alone.
    pub received: AtomicU64,
    /// Tokens in the hands of the worker at this moment.
    pub held: AtomicU64,
    /// Free tokens that it keeps by itself.
    pub spare: AtomicU64,
}

/// What the sockets of a queue share: free frames, and the account of all frames.
#[derive(Debug)]
pub struct QueueFrames {
    total: u32,
    /// Free frames that any worker may take, and where workers without the fill ring put the ones they are done with.
    pub(super) pool: ArrayQueue<FrameToken>,
    pub(super) tallies: Vec<CachePadded<Tally>>,
    /// Chunks that were ever put on the fill ring; written by the owner alone.
    pub(super) filled: CachePadded<AtomicU64>,
    /// The owner's, to be woken when the kernel runs short of chunks while the owner sleeps.
    pub(super) owner: Arc<Wake>,
}

impl QueueFrames {
    pub(super) fn new(total: u32, sockets: u32, owner: Arc<Wake>) -> Self {
        Self {
            total,
            pool: ArrayQueue::new(total as usize),
            tallies: (0..sockets).map(|_| CachePadded::default()).collect(),
            filled: CachePadded::default(),
            owner,
        }
    }

    /// Where the frames are; `parked` is zero, and parked ones count as in the worker's hands. Exact while no worker is
    /// within a batch; what is in the kernel is what was given to it less what came back.
    pub fn account(&self) -> FrameStats {
        let sum = |of: fn(&Tally) -> &AtomicU64| -> u64 {
            self.tallies.iter().map(|tally| of(tally).load(Ordering::Acquire)).sum()
        };
        let from_kernel = sum(|t| &t.from_kernel);
        FrameStats {
            total: u64::from(self.total),
            kernel: sum(|t| &t.to_kernel).saturating_sub(from_kernel),
            worker: sum(|t| &t.held),
            parked: 0,
            free: sum(|t| &t.spare) + self.pool.len() as u64,
        }
    }

    /// Chunks with the kernel for receiving: on the fill ring, or filled and unread.
    pub(super) fn fill_level(&self) -> u64 {
        let received: u64 = self.tallies.iter().map(|tally| tally.received.load(Ordering::Acquire)).sum();
        self.filled.load(Ordering::Acquire).saturating_sub(received)
    }
}
