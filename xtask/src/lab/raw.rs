//! Frames sent and received as they are, through a packet socket (packet(7)): tags, odd lengths, whatever a test needs.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv, send, socket},
};

use super::End;

/// A socket that sends and receives whole Ethernet frames on one interface.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
}

impl RawSocket {
    /// Opens it on an interface of a namespace; it stays there.
    ///
    /// # Errors
    /// There is no such interface, or we lack CAP_NET_RAW.
    pub fn open(end: End<'_>) -> Result<Self> {
        end.namespace.enter(|| {
            // The kernel lists each interface with its link-layer address, which is what `bind` wants.
            let mut interfaces = getifaddrs().context("cannot list interfaces")?;
            let address = interfaces.find_map(|interface| {
                let address = interface.address.filter(|address| address.family() == Some(AddressFamily::Packet));
                address.filter(|_| interface.interface_name == end.interface)
            });
            let address = address.with_context(|| format!("no interface {}", end.interface))?;
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .context("cannot open a packet socket")?;
            bind(socket.as_raw_fd(), &address).context("cannot bind a packet socket")?;
            Ok(Self { socket })
        })?
    }

    /// Sends a frame, from its destination MAC address to its last byte.
    ///
    /// # Errors
    /// The interface is down, or the frame is longer than its MTU.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).context("cannot send a frame")?;
        Ok(())
    }

    /// The next frame that comes in before `deadline`; frames that were sent through this very socket are not among them.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn receive(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut frame = vec![0; 9216];
        loop {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => {
                    frame.truncate(len);
                    return Ok(Some(frame));
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot receive a frame"),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot wait for a frame"),
            }
        }
    }
}
