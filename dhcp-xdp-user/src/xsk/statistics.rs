//! What the kernel counts of a socket.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{getsockopt, sockopt};

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
    pub(super) fd: OwnedFd,
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
