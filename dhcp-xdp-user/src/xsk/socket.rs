//! The sockets of one receive queue: opening them on one UMEM, and moving frames through their rings.

use std::{
    io, mem,
    num::NonZeroU32,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
};

use arrayvec::ArrayVec;
use nix::sys::socket::{getsockopt, sockopt};
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem,
    config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

use super::{
    CHUNK_LEN,
    frames::{FrameToken, QueueFrames, Tally, next_umem_id},
};
use crate::wake::Wake;

/// Most descriptors moved over a ring at a time.
const RING_BATCH: usize = 64;
/// Descriptors that the kernel sends for one `sendto` in copy mode (`TX_BATCH_SIZE` of `net/xdp/xsk.c`).
const SENT_PER_CALL: u32 = 32;
/// How long an owner sleeps at most while the kernel is short of chunks: completions come without waking anybody.
const SHORT_SLEEP_MS: u16 = 2;

/// How the sockets of a queue are to be opened.
#[derive(Clone, Copy, Debug)]
pub struct QueueConfig {
    /// Chunks of the UMEM, a power of two.
    pub frames: u32,
    /// Sockets, at least 1.
    pub sockets: u32,
    /// Chunks kept with the kernel for receiving, at most `frames`; the others are for [`Socket::alloc`]. A server gives all.
    pub fill: u32,
    /// Ask for zero-copy first. To be false where the program is attached in generic mode.
    pub zero_copy: bool,
    /// Set the options of preferred busy polling (`Documentation/networking/napi.rst`).
    pub busy_poll: bool,
}

/// How a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// The device reads and writes the UMEM.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

impl BindMode {
    /// Its name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
        }
    }
}

/// Why the sockets of a queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A number in the configuration that the kernel cannot take.
    #[error("{interface} queue {queue}: {frames} frames, {fill} of them to receive, {sockets} sockets: not possible")]
    Config {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// [`QueueConfig::frames`].
        frames: u32,
        /// [`QueueConfig::fill`].
        fill: u32,
        /// [`QueueConfig::sockets`].
        sockets: u32,
    },
    /// AF_XDP sockets need a capability that we do not have.
    #[error(
        "{interface} queue {queue}: no permission to open AF_XDP sockets: CAP_NET_RAW is missing (run as root, or grant it)"
    )]
    Permission {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Somebody else has the queue.
    #[error("{interface} queue {queue}: another AF_XDP socket is bound to it")]
    Busy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The kernel refused otherwise.
    #[error("{interface} queue {queue}: cannot {action}: {source}")]
    Io {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The open sockets of a receive queue.
pub struct Queue {
    /// One for each worker; the first has the fill and completion rings, and is to be worked for the others to live.
    pub sockets: Vec<Socket>,
    /// How they are bound.
    pub bind_mode: BindMode,
    /// What they share.
    pub frames: Arc<QueueFrames>,
}

/// Opens the sockets of one receive queue on a UMEM of their own, zero-copy where that is asked for and possible, and
/// gives the kernel the chunks to receive into. `owner_wake` is what the first socket's thread sleeps on besides the socket.
///
/// # Errors
/// See [`OpenError`]; nothing stays open.
pub fn open_queue(
    interface: &str,
    queue: u32,
    config: &QueueConfig,
    owner_wake: Arc<Wake>,
) -> Result<Queue, OpenError> {
    let mut last = None;
    let modes = [BindMode::ZeroCopy, BindMode::Copy];
    for mode in modes.into_iter().filter(|&mode| config.zero_copy || mode == BindMode::Copy) {
        // A UMEM for each attempt: a failed bind leaves nothing behind that the next could trip over.
        match open_bound(interface, queue, config, mode, Arc::clone(&owner_wake)) {
            Ok(open) => return Ok(open),
            Err(error @ (OpenError::Permission { .. } | OpenError::Config { .. })) => return Err(error),
            Err(error) => {
                if mode == BindMode::ZeroCopy {
                    log::debug!("{error}; trying copy mode");
                }
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or(OpenError::Busy { interface: interface.to_owned(), queue }))
}

fn open_bound(
    interface: &str,
    queue: u32,
    config: &QueueConfig,
    mode: BindMode,
    owner_wake: Arc<Wake>,
) -> Result<Queue, OpenError> {
    let QueueConfig { frames, sockets: count, fill, .. } = *config;
    let impossible = || OpenError::Config { interface: interface.to_owned(), queue, frames, fill, sockets: count };
    let fail = |action, source| open_error(interface, queue, action, source);
    if count == 0 || fill > frames {
        return Err(impossible());
    }
    let total = NonZeroU32::new(frames).ok_or_else(impossible)?;
    // Rings as long as there are chunks: none can be full, so that a frame is only ever lost for want of a chunk.
    let ring = QueueSize::new(frames).map_err(|_| impossible())?;
    let umem_config = UmemConfig::builder()
        .frame_size(FrameSize::new(CHUNK_LEN).map_err(|_| impossible())?)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()
        .map_err(|_| impossible())?;
    let (umem, chunks) = Umem::new(umem_config, total, false).map_err(|e| fail("make the UMEM", source_of(&e)))?;
    let bind = if mode == BindMode::ZeroCopy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
    let socket_config = SocketConfig::builder()
        .rx_queue_size(ring)
        .tx_queue_size(ring)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(bind | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    let device: Interface = interface.parse().map_err(|_| impossible())?;

    let shared = Arc::new(QueueFrames::new(frames, count, owner_wake));
    let umem_id = next_umem_id();
    let mut chunks = Some(chunks);
    let mut sockets = Vec::with_capacity(count as usize);
    for index in 0..count as usize {
        // SAFETY: the program load is inhibited, which is what sharing a (device, queue) pair asks for.
        let (tx, rx, rings) = unsafe { xsk_rs::Socket::new(socket_config, &umem, &device, queue) }
            .map_err(|e| fail("open an AF_XDP socket", source_of(&e)))?;
        let mut socket = Socket::new(umem.clone(), umem_id, rx, tx, frames, mode, Arc::clone(&shared), index);
        if config.busy_poll {
            prefer_busy_poll(socket.as_fd()).map_err(|e| fail("set the busy-poll options", e))?;
        }
        // libxdp gives these rings to the first socket of the pair, and to it alone.
        if let (Some((fill_ring, completions)), Some(chunks)) = (rings, chunks.take()) {
            socket.own(fill_ring, completions, chunks, fill);
        }
        sockets.push(socket);
    }
    Ok(Queue { sockets, bind_mode: mode, frames: shared })
}

fn open_error(interface: &str, queue: u32, action: &'static str, source: io::Error) -> OpenError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenError::Permission { interface, queue },
        Some(libc::EBUSY) => OpenError::Busy { interface, queue },
        _ => OpenError::Io { interface, queue, action, source },
    }
}

/// The operating system's error beneath one of xsk-rs.
fn source_of(error: &dyn std::error::Error) -> io::Error {
    let os = error.source().and_then(|s| s.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    os.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

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
    fn new(
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
    fn own(&mut self, fill_ring: FillQueue, completions: CompQueue, chunks: Vec<FrameDesc>, fill: u32) {
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

    /// Whether it is the first of its queue, which has the fill and completion rings.
    pub fn is_owner(&self) -> bool {
        self.owner.is_some()
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
            debug_assert_eq!(count, descs.len(), "the fill ring has room for every chunk");
            filled += count as u64;
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

/// `XDP_STATISTICS` of one socket since it was opened (`struct xdp_statistics` of `<linux/if_xdp.h>`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Frames that were meant for this socket and dropped: no chunk on the fill ring (copy mode), or longer than a chunk.
    pub rx_dropped: u64,
    /// Frames dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// How often the kernel found the fill ring empty. A figure of the queue, the same on each of its sockets; in copy mode
    /// each is in `rx_dropped` of some socket already.
    pub fill_ring_empty: u64,
    /// Descriptors on the fill ring that the kernel refused. Always zero, or there is a bug here.
    pub rx_invalid: u64,
    /// Descriptors on the transmit ring that the kernel refused. Always zero, or there is a bug here.
    pub tx_invalid: u64,
}

/// Another handle on a socket: reads its statistics from any thread, and stands for it in the socket map. It keeps the
/// socket open.
#[derive(Debug)]
pub struct RingStatsReader {
    fd: OwnedFd,
}

impl AsFd for RingStatsReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RingStatsReader {
    /// Whether the socket has lost its device since the last call: it was removed, or moved to another network namespace.
    /// The socket's `poll(2)` does not tell (`xsk_poll` says nothing of a socket that is unbound); its pending error does.
    pub fn lost_device(&self) -> bool {
        matches!(getsockopt(&self.fd, sockopt::SocketError), Ok(error) if error != 0)
    }

    /// The statistics at this moment.
    ///
    /// # Errors
    /// What `getsockopt(2)` returned.
    pub fn read(&self) -> io::Result<RingStats> {
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut raw: libc::xdp_statistics = unsafe { mem::zeroed() };
        let mut len = mem::size_of_val(&raw) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to `raw`; both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                (&raw mut raw).cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(RingStats {
            rx_dropped: raw.rx_dropped,
            rx_ring_full: raw.rx_ring_full,
            fill_ring_empty: raw.rx_fill_ring_empty_descs,
            rx_invalid: raw.rx_invalid_descs,
            tx_invalid: raw.tx_invalid_descs,
        })
    }
}

/// Sets the three options of preferred busy polling.
fn prefer_busy_poll(fd: BorrowedFd<'_>) -> io::Result<()> {
    /// How long a poll of the device may last, microseconds.
    const BUSY_POLL_US: libc::c_int = 20;
    /// Frames that a poll of the device may take.
    const BUDGET: libc::c_int = 64;
    let options =
        [(libc::SO_PREFER_BUSY_POLL, 1), (libc::SO_BUSY_POLL, BUSY_POLL_US), (libc::SO_BUSY_POLL_BUDGET, BUDGET)];
    for (option, value) in options {
        // SAFETY: the kernel reads one int, which outlives the call.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                mem::size_of_val(&value) as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
