//! Where frames leave and come in: AF_XDP or AF_PACKET in a run, memory in tests.

use std::{io, os::fd::BorrowedFd, time::Duration};

use arrayvec::ArrayVec;
use dhcp_xdp::xsk::RingStats;
use dhcp_xdp_ebpf::Verdict;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};

pub mod packet;
pub mod wire;
pub mod xdp;

pub use wire::Wire;

/// A way to the server.
pub trait Port {
    /// Has `write` craft a frame and queues it. `write` returns the frame's length.
    ///
    /// Returns false, with `write` not called, when there is no room.
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool;

    /// Sends what is queued, and returns frames that are sent to the free ones.
    ///
    /// # Errors
    /// The way is gone.
    fn flush(&mut self) -> io::Result<()>;

    /// Hands at most `most` received frames to `take` and returns how many.
    fn receive(&mut self, most: usize, take: impl FnMut(&[u8])) -> usize;

    /// Waits until a frame is there, or `timeout` is over.
    ///
    /// # Errors
    /// The way is gone.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;
}

/// How a port came about.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    /// `xdp` or `packet`: AF_XDP or AF_PACKET.
    pub socket: &'static str,
    /// How the XDP program is attached; `none` without one.
    pub attach: &'static str,
    /// How the sockets are bound.
    pub bind: &'static str,
    /// Receive queues.
    pub queues: usize,
}

impl std::fmt::Display for Modes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.socket {
            "xdp" => write!(f, "XDP {}, AF_XDP {}, {} queue(s)", self.attach, self.bind, self.queues),
            _ => write!(f, "AF_PACKET"),
        }
    }
}

/// What the kernel counted on this end; all zero where it does not count.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelCounts {
    /// Of the sockets, summed.
    pub rings: RingStats,
    /// Of the XDP program, in the order of [`Verdict::ALL`].
    pub verdicts: [u64; Verdict::COUNT as usize],
}

/// An error of a socket, in words where it says that the interface is not there.
fn gone(error: io::Error) -> io::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV) => io::Error::other("the interface is down or gone"),
        _ => error,
    }
}

/// Most sockets of a port.
const MAX_POLLED: usize = 256;

/// Waits until one of some sockets is readable, or `timeout` is over.
fn wait_for_any(sockets: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()> {
    let mut polled: ArrayVec<PollFd<'_>, MAX_POLLED> =
        sockets.iter().take(MAX_POLLED).map(|socket| PollFd::new(*socket, PollFlags::POLLIN)).collect();
    match ppoll(&mut polled, Some(TimeSpec::from_duration(timeout)), None) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::POLLERR | PollFlags::POLLNVAL | PollFlags::POLLHUP;
    if polled.iter().any(|fd| fd.revents().is_some_and(|events| events.intersects(gone))) {
        return Err(io::Error::other("the interface is down or gone"));
    }
    Ok(())
}

/// A clock that starts at 0.
pub trait Clock {
    /// Nanoseconds from the begin.
    fn now_ns(&self) -> u64;
}

/// The monotonic clock of the system.
pub struct SystemClock(std::time::Instant);

impl SystemClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}
