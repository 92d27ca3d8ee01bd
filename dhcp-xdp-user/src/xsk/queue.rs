//! Opening the sockets of one receive queue, all on one UMEM.

use std::{
    io, mem,
    num::NonZeroU32,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::Arc,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use xsk_rs::{
    Umem,
    config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

use super::{
    CHUNK_LEN, capabilities,
    frames::{QueueFrames, next_umem_id},
    socket::Socket,
};
use crate::wake::Wake;

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
    #[error("{interface} queue {queue}: no permission to open AF_XDP sockets: {reason}")]
    Permission {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// Which capabilities are missing.
        reason: String,
    },
    /// Packet memory is locked memory, of which we may not have so much.
    #[error(
        "{interface} queue {queue}: {mib} MiB of packet memory are more than this process may lock (RLIMIT_MEMLOCK): \
         LimitMEMLOCK=infinity, CAP_IPC_LOCK, or fewer `frames_per_queue`"
    )]
    LockedMemory {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What was asked for, MiB.
        mib: u32,
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
            Err(error @ (OpenError::Permission { .. } | OpenError::LockedMemory { .. } | OpenError::Config { .. })) => {
                return Err(error);
            }
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
    let (umem, chunks) = Umem::new(umem_config, total, false).map_err(|e| match source_of(&e) {
        // What the kernel says of a UMEM beyond the limit (xdp_umem_account_pages).
        source if source.raw_os_error() == Some(libc::ENOBUFS) => {
            let mib = (u64::from(frames) * u64::from(CHUNK_LEN)).div_ceil(1 << 20) as u32;
            OpenError::LockedMemory { interface: interface.to_owned(), queue, mib }
        }
        source => fail("make the UMEM", source),
    })?;
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
        // libxdp does not, and a program that the server runs is not to keep its sockets.
        fcntl(socket.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .map_err(|e| fail("keep the socket from other programs", e.into()))?;
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
        Some(libc::EPERM | libc::EACCES) => {
            OpenError::Permission { interface, queue, reason: capabilities::reason(&capabilities::NEEDED[3..]) }
        }
        Some(libc::EBUSY) => OpenError::Busy { interface, queue },
        Some(libc::EMFILE | libc::ENFILE) => {
            let source = io::Error::other(format!("{source}; {}", capabilities::MORE_FILES));
            OpenError::Io { interface, queue, action, source }
        }
        _ => OpenError::Io { interface, queue, action, source },
    }
}

/// The operating system's error beneath one of xsk-rs.
fn source_of(error: &dyn std::error::Error) -> io::Error {
    let os = error.source().and_then(|s| s.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    os.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
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
