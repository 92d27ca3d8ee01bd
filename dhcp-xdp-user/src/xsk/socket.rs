//! One AF_XDP socket: moving frames through its rings.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::{Arc, atomic::Ordering},
};

use arrayvec::ArrayVec;
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem};

use super::{
    frames::{FrameToken, QueueFrames, Tally},
    queue::BindMode,
    statistics::RingStatsReader,
};

/// Most descriptors moved over a ring at a time.
const RING_BATCH: usize = 64;
/// Descriptors that the kernel sends for one `sendto` in copy mode (`TX_BATCH_SIZE` of `net/xdp/xsk.c`).
const SENT_PER_CALL: u32 = 32;
/// How long an owner sleeps at most while the kernel is short of chunks: completions come without waking anybody.
const SHORT_SLEEP_MS: u16 = 2;

/// What the first socket of a queue has and the others have not.
struct Owner {
    fill_ring: FillQueue,
    completions: CompQueue,
    /// Free frames, kept here because nobody else needs them now.
    spare: Vec<FrameToken>,
    /// Chunks to keep with the kernel for receiving.
    fill_target: u64,
}

/// One AF_XDP socket, worked by one thread.
///
/// One turn of its thread: [`receive`](Self::receive), write the replies into [`bytes_mut`](Self::bytes_mut),
/// [`transmit`](Self::transmit) or [`recycle`](Self::recycle) each token, [`flush`](Self::flush),
/// [`service`](Self::service). With nothing to do: [`before_sleep`](Self::before_sleep), `poll(2)` on [`AsFd`].
pub struct Socket {
    umem: Umem,
    umem_id: u32,
    rx: RxQueue,
    tx: TxQueue,
    ring_len: u32,
    mode: BindMode,
    /// Descriptors to be put on the transmit ring at the next flush.
    staged: Vec<FrameDesc>,
    /// Free slots of the transmit ring when last looked, less what is staged.
    tx_room: u32,
    shared: Arc<QueueFrames>,
    index: usize,
    owner: Option<Box<Owner>>,
    // The tally, published to the shared one after each step.
    held: u64,
    /// Chunks taken since this worker last looked whether the kernel runs short of them.
    since_look: u32,
}

impl Socket {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        umem: Umem,
        umem_id: u32,
        rx: RxQueue,
        mut tx: TxQueue,
        ring_len: u32,
        mode: BindMode,
        shared: Arc<QueueFrames>,
        index: usize,
    ) -> Self {
        let tx_room = tx.nb_free_exact();
        let staged = Vec::with_capacity(ring_len as usize);
        Self {
            umem,
            umem_id,
            rx,
            tx,
            ring_len,
            mode,
            staged,
            tx_room,
            shared,
            index,
            owner: None,
            held: 0,
            since_look: 0,
        }
    }

    /// Makes this socket the owner of the queue's rings and of all its chunks, and fills the fill ring.
    pub(super) fn own(&mut self, fill_ring: FillQueue, completions: CompQueue, chunks: Vec<FrameDesc>, fill: u32) {
        // The first chunks lie on top of the stack, so that few and warm ones are used when the load is small.
        let umem = self.umem_id;
        let mut spare = Vec::with_capacity(chunks.len());
        spare.extend(chunks.into_iter().rev().map(|desc| FrameToken { desc, umem, len: 0 }));
        self.owner = Some(Box::new(Owner { fill_ring, completions, spare, fill_target: u64::from(fill) }));
        self.service();
    }

    /// How it is bound.
    pub fn bind_mode(&self) -> BindMode {
        self.mode
    }

    /// What the sockets of its queue share.
    pub fn frames(&self) -> &Arc<QueueFrames> {
        &self.shared
    }

    fn tally(&self) -> &Tally {
        &self.shared.tallies[self.index]
    }

    fn publish_held(&self) {
        self.tally().held.store(self.held, Ordering::Release);
    }

    /// Takes received frames, up to the room in `tokens` and 64 at a time. Returns how many.
    pub fn receive<const N: usize>(&mut self, tokens: &mut ArrayVec<FrameToken, N>) -> usize {
        let mut descs = [FrameDesc::default(); RING_BATCH];
        let wanted = tokens.remaining_capacity().min(RING_BATCH);
        // SAFETY: `descs` are plain values to be overwritten; the ring is that of this socket's UMEM.
        let count = unsafe { self.rx.consume(&mut descs[..wanted]) };
        for desc in &descs[..count] {
            let len = desc.lengths().data() as u32;
            tokens.push(FrameToken { desc: *desc, umem: self.umem_id, len });
        }
        if count > 0 {
            self.held += count as u64;
            self.since_look += count as u32;
            let tally = self.tally();
            add(&tally.from_kernel, count as u64);
            add(&tally.received, count as u64);
            self.publish_held();
        }
        count
    }

    /// Whether the receive ring holds frames.
    pub fn has_received(&mut self) -> bool {
        self.rx.nb_avail(1) > 0
    }

    /// Takes a free frame, to send something that answers nothing. `None`: all are in use.
    pub fn alloc(&mut self) -> Option<FrameToken> {
        let own = self.owner.as_mut().and_then(|owner| owner.spare.pop());
        let mut token = own.or_else(|| self.shared.pool.pop())?;
        token.len = 0;
        self.held += 1;
        Some(token)
    }

    /// The bytes of a frame, from the start of the packet to the end of its chunk: at least 1500 + 42 for a frame that was
    /// allocated or received without metadata.
    ///
    /// # Panics
    /// The token comes from another queue.
    #[inline]
    pub fn bytes_mut<'a>(&'a self, token: &'a mut FrameToken) -> &'a mut [u8] {
        assert_eq!(token.umem, self.umem_id, "a token of another UMEM");
        // SAFETY: the descriptor came from a ring of this UMEM, or from its making, and was not changed since, so it lies
        // inside. The token is the only one of its chunk, and the kernel gave the chunk up when the token was made.
        let mut data = unsafe { self.umem.data_mut(&mut token.desc) };
        data.cursor().set_pos(usize::MAX);
        let whole = data.contents_mut();
        let (start, len) = (whole.as_mut_ptr(), whole.len());
        // SAFETY: the same slice, with the lifetime of the borrows of the token, which makes it exclusive, and of the
        // socket, which keeps the UMEM mapped.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Stages a frame of `len` bytes for sending; [`flush`](Self::flush) sends it. A length beyond the chunk's end is cut.
    ///
    /// # Errors
    /// The transmit ring is full, or `len` is 0 (the kernel would refuse such a frame and never give its chunk back); here
    /// is the token again.
    ///
    /// # Panics
    /// The token comes from another queue.
    pub fn transmit(&mut self, mut token: FrameToken, len: usize) -> Result<(), FrameToken> {
        assert_eq!(token.umem, self.umem_id, "a token of another UMEM");
        if len == 0 {
            return Err(token);
        }
        if self.tx_room == 0 {
            self.tx_room = self.tx.nb_free_exact().saturating_sub(self.staged.len() as u32);
            if self.tx_room == 0 {
                return Err(token);
            }
        }
        // SAFETY: as in `bytes_mut`; only the length in the descriptor is set, capped at the chunk's end.
        let mut data = unsafe { self.umem.data_mut(&mut token.desc) };
        data.cursor().set_pos(len);
        token.desc.set_options(0);
        self.tx_room -= 1;
        self.staged.push(token.desc);
        Ok(())
    }

    /// Gives up a frame that is not to be sent.
    ///
    /// # Panics
    /// The token comes from another queue.
    pub fn recycle(&mut self, token: FrameToken) {
        assert_eq!(token.umem, self.umem_id, "a token of another UMEM");
        self.held -= 1;
        match &mut self.owner {
            Some(owner) => owner.spare.push(token),
            // The pool has room for every token there is.
            None => drop(self.shared.pool.push(token)),
        }
    }

    /// Puts what is staged on the transmit ring and sees to it that the kernel sends it. Also to be called now and then
    /// while [`unsent`](Self::unsent) is not zero.
    ///
    /// # Errors
    /// `sendto(2)` failed, other than for want of room or time: the socket is of no more use.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.staged.is_empty() {
            // SAFETY: each descriptor comes from a token of this UMEM that was used up: nobody else has the chunk.
            let count = unsafe { self.tx.produce(&self.staged) };
            debug_assert_eq!(count, self.staged.len(), "room was counted before");
            self.staged.clear();
            self.held -= count as u64;
            add(&self.tally().to_kernel, count as u64);
            self.publish_held();
        }
        self.kick()
    }

    /// Descriptors on the transmit ring that the kernel has not taken.
    pub fn unsent(&mut self) -> u32 {
        self.ring_len - self.tx.nb_free_exact()
    }

    fn kick(&mut self) -> io::Result<()> {
        let mut unsent = self.unsent();
        if unsent == 0 {
            return Ok(());
        }
        if self.mode == BindMode::ZeroCopy {
            // The driver takes the rest by itself once it is awake.
            return if self.tx.needs_wakeup() { self.tx.wakeup() } else { Ok(()) };
        }
        // Copy mode sends a few a call and then says EAGAIN, which `wakeup` takes as done. It ends without progress when
        // the device's queue is full: the rest is sent at the next flush.
        for _ in 0..=unsent / SENT_PER_CALL {
            self.tx.wakeup()?;
            let left = self.unsent();
            if left == 0 || left == unsent {
                break;
            }
            unsent = left;
        }
        Ok(())
    }

    /// Keeps the kernel in chunks: once a turn. The owner moves completed and given-up frames to the fill ring; the others
    /// look now and then whether the owner sleeps while it should do so.
    pub fn service(&mut self) {
        if self.owner.is_some() {
            self.reap();
            self.refill();
            let Some(owner) = &self.owner else { return };
            self.tally().spare.store(owner.spare.len() as u64, Ordering::Release);
        } else if self.since_look >= self.ring_len / 16 {
            self.since_look = 0;
            self.wake_owner_if_short();
        }
        self.publish_held();
    }

    /// The owner's first half of service: completed frames are free again.
    fn reap(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        let mut descs = [FrameDesc::default(); RING_BATCH];
        let mut reaped = 0;
        loop {
            // SAFETY: `descs` are plain values to be overwritten; the ring is that of this UMEM.
            let count = unsafe { owner.completions.consume(&mut descs) };
            let umem = self.umem_id;
            owner.spare.extend(descs[..count].iter().map(|&desc| FrameToken { desc, umem, len: 0 }));
            reaped += count as u64;
            if count < RING_BATCH {
                break;
            }
        }
        if reaped > 0 {
            add(&self.shared.tallies[self.index].from_kernel, reaped);
        }
    }

    /// The owner's second half: free frames go to the fill ring up to the target, and the workers without rings get some.
    fn refill(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        let wanted = owner.fill_target.saturating_sub(self.shared.fill_level());
        let mut filled = 0;
        let mut descs: ArrayVec<FrameDesc, RING_BATCH> = ArrayVec::new();
        while filled < wanted {
            let room = RING_BATCH.min((wanted - filled) as usize);
            while descs.len() < room
                && let Some(token) = owner.spare.pop().or_else(|| self.shared.pool.pop())
            {
                descs.push(token.desc);
            }
            if descs.is_empty() {
                break;
            }
            // SAFETY: each descriptor comes from a token of this UMEM that was used up: nobody else has the chunk.
            let count = unsafe { owner.fill_ring.produce(&descs) };
            filled += count as u64;
            if count < descs.len() {
                // The ring is as long as there are chunks, and yet it can look full: the kernel hands a received chunk over
                // before it publishes that it took it off this ring (`xsk_flush` in net/xdp/xsk.c). The next turn has room.
                let umem = self.umem_id;
                owner.spare.extend(descs.drain(count..).map(|desc| FrameToken { desc, umem, len: 0 }));
                break;
            }
            descs.clear();
        }
        if filled > 0 {
            add(&self.shared.tallies[self.index].to_kernel, filled);
            add(&self.shared.filled, filled);
            if owner.fill_ring.needs_wakeup() {
                // Costs a batch one system call, and only on a driver that went to sleep. An error here is one of poll(2)
                // that the worker's own poll meets too.
                let _ = owner.fill_ring.wakeup(self.rx.fd_mut(), 0);
            }
        }
        // Others on this queue send too: lend them half of what is left over.
        if self.shared.tallies.len() > 1 {
            while self.shared.pool.len() < owner.spare.len() / 2
                && let Some(token) = owner.spare.pop()
            {
                drop(self.shared.pool.push(token));
            }
        }
    }

    /// Whether the kernel has less than half of the chunks that it could have for receiving.
    fn is_short(&self) -> bool {
        self.shared.fill_level() < u64::from(self.ring_len / 2)
    }

    fn wake_owner_if_short(&self) {
        if self.is_short() {
            self.shared.owner.wake();
        }
    }

    /// To be called before sleeping, after `Wake::prepare`; says how long to sleep at most, milliseconds, or `None` for as
    /// long as nothing happens.
    pub fn before_sleep(&mut self) -> Option<u16> {
        self.service();
        let short = match &self.owner {
            Some(owner) => self.shared.fill_level() < owner.fill_target.min(u64::from(self.ring_len / 2)),
            None => {
                self.wake_owner_if_short();
                false
            }
        };
        (short || self.unsent() > 0).then_some(SHORT_SLEEP_MS)
    }

    /// Lets the device's receive path run on this thread, for preferred busy polling.
    pub fn busy_poll(&mut self) {
        // SAFETY: no buffer is passed; recvfrom on an AF_XDP socket only kicks the driver or polls it.
        unsafe {
            libc::recvfrom(
                self.as_fd().as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// A way to read this socket's statistics from another thread. It keeps the socket alive.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn statistics_reader(&self) -> io::Result<RingStatsReader> {
        Ok(RingStatsReader { fd: self.as_fd().try_clone_to_owned()? })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as its queues live, which this value holds.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }
}

/// Adds without a locked instruction: only the owner of a tally writes to it.
fn add(counter: &std::sync::atomic::AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Release);
}
