//! The port of a run: AF_XDP, or AF_PACKET where that is asked for or all that works.

use std::{io, time::Duration};

use anyhow::Context as _;
use dhcp_xdp::{config::XdpMode, xsk::Device};

use super::{
    KernelCounts, Modes, Port,
    packet::{Hears, PacketPort},
    xdp::XdpPort,
};
use crate::cli::clients::{SocketKind, WireArgs};

/// A port on an interface.
pub enum Wire {
    /// AF_XDP.
    Xdp(Box<XdpPort>),
    /// AF_PACKET.
    Packet(Box<PacketPort>),
}

impl Wire {
    /// Opens the sockets that were asked for; with `hears_arp` they are to hear ARP requests too. Says on standard error when
    /// it had to take others.
    ///
    /// # Errors
    /// One line on what is in the way.
    pub fn open(args: &WireArgs, device: &Device, hears_arp: bool) -> anyhow::Result<Self> {
        let mode = if args.generic { XdpMode::Generic } else { XdpMode::Auto };
        let packet = || PacketPort::open(device, Hears::Replies).map(|port| Self::Packet(Box::new(port)));
        if args.socket == SocketKind::Packet {
            return packet();
        }
        match XdpPort::open(device, mode, hears_arp) {
            Ok(port) => Ok(Self::Xdp(Box::new(port))),
            Err(error) if args.socket == SocketKind::Auto => {
                let port = packet().with_context(|| format!("{error:#}; and AF_PACKET does not work either"))?;
                eprintln!("{error:#}; going on with AF_PACKET, which is slower");
                Ok(port)
            }
            Err(error) => Err(error.context("AF_XDP does not work (--socket packet may)")),
        }
    }

    /// How it came about.
    pub fn modes(&self) -> Modes {
        match self {
            Self::Xdp(port) => port.modes(),
            Self::Packet(port) => port.modes(),
        }
    }

    /// What the kernel counted so far; nothing where it does not say, or the interface is gone.
    pub fn counts(&self) -> KernelCounts {
        match self {
            Self::Xdp(port) => port.counts().unwrap_or_default(),
            Self::Packet(port) => port.counts(),
        }
    }
}

impl Port for Wire {
    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        match self {
            Self::Xdp(port) => port.send(write),
            Self::Packet(port) => port.send(write),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Xdp(port) => port.flush(),
            Self::Packet(port) => port.flush(),
        }
    }

    fn receive(&mut self, most: usize, take: impl FnMut(&[u8])) -> usize {
        match self {
            Self::Xdp(port) => port.receive(most, take),
            Self::Packet(port) => port.receive(most, take),
        }
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Xdp(port) => port.wait(timeout),
            Self::Packet(port) => port.wait(timeout),
        }
    }
}
