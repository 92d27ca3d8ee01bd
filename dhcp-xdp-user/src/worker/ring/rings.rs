//! What the loop of a worker needs of a socket: receive and transmit rings, and a way to sleep. [`Socket`] has it; so do tests' rings
//! made of memory.

use std::{io, os::fd::AsFd};

use arrayvec::ArrayVec;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::super::batch::{BATCH, Frame};
use crate::{
    wake::Wake,
    xsk::{FrameToken, Socket},
};

/// What the loop needs of a socket; see the methods of [`Socket`], which are these.
pub trait Rings {
    /// The right to touch a frame.
    type Token;
    /// See [`Socket::receive`].
    fn receive(&mut self, tokens: &mut ArrayVec<Self::Token, BATCH>) -> usize;
    /// The bytes of a frame and how many of them were received.
    fn frame<'a>(&'a self, token: &'a mut Self::Token) -> Frame<'a>;
    /// See [`Socket::transmit`].
    fn transmit(&mut self, token: Self::Token, len: usize) -> Result<(), Self::Token>;
    /// See [`Socket::recycle`].
    fn recycle(&mut self, token: Self::Token);
    /// See [`Socket::flush`].
    fn flush(&mut self) -> io::Result<()>;
    /// See [`Socket::service`].
    fn service(&mut self);
    /// See [`Socket::unsent`].
    fn unsent(&mut self) -> u32;
    /// See [`Socket::has_received`].
    fn has_received(&mut self) -> bool;
    /// See [`Socket::before_sleep`].
    fn before_sleep(&mut self) -> Option<u16>;
    /// Sleeps until there is something to receive, `wake` is woken, or the time is over.
    fn sleep(&mut self, wake: &Wake, at_most: Option<u16>) -> io::Result<()>;
    /// See [`Socket::busy_poll`].
    fn busy_poll(&mut self);
}

impl Rings for Socket {
    type Token = FrameToken;

    fn receive(&mut self, tokens: &mut ArrayVec<FrameToken, BATCH>) -> usize {
        Socket::receive(self, tokens)
    }
    fn frame<'a>(&'a self, token: &'a mut FrameToken) -> Frame<'a> {
        Frame { len: token.len(), buffer: self.bytes_mut(token) }
    }
    fn transmit(&mut self, token: FrameToken, len: usize) -> Result<(), FrameToken> {
        Socket::transmit(self, token, len)
    }
    fn recycle(&mut self, token: FrameToken) {
        Socket::recycle(self, token);
    }
    fn flush(&mut self) -> io::Result<()> {
        Socket::flush(self)
    }
    fn service(&mut self) {
        Socket::service(self);
    }
    fn unsent(&mut self) -> u32 {
        Socket::unsent(self)
    }
    fn has_received(&mut self) -> bool {
        Socket::has_received(self)
    }
    fn before_sleep(&mut self) -> Option<u16> {
        Socket::before_sleep(self)
    }
    fn sleep(&mut self, wake: &Wake, at_most: Option<u16>) -> io::Result<()> {
        let timeout = at_most.map_or(PollTimeout::NONE, PollTimeout::from);
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // An interface that is removed leaves its socket in this state for good; polling it again would spin.
        let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        if fds[0].revents().is_some_and(|events| events.intersects(broken)) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the interface of the socket is gone"));
        }
        Ok(())
    }
    fn busy_poll(&mut self) {
        Socket::busy_poll(self);
    }
}
