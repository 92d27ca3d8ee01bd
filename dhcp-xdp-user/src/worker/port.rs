//! What a worker knows of its interface, and how it learns that this has changed: one load a batch.

use std::{
    net::Ipv4Addr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The interface that a processor's frames come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Index into `Config::interfaces`.
    pub interface: usize,
    /// The kernel's name of it.
    pub name: String,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Most bytes of an IPv4 datagram on it.
    pub mtu: usize,
}

/// A [`Port`] that changes while workers use it: an interface gets and loses addresses.
#[derive(Debug)]
pub struct SharedPort {
    generation: AtomicU64,
    port: Mutex<Port>,
}

impl SharedPort {
    /// A first one.
    pub fn new(port: Port) -> Self {
        Self { generation: AtomicU64::new(0), port: Mutex::new(port) }
    }

    /// Which one it is; another number is another port.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A copy, with its generation.
    pub fn get(&self) -> (u64, Port) {
        let port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        (self.generation(), port.clone())
    }

    /// Puts another in its place, if it is another.
    pub fn set(&self, new: Port) {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        if *port != new {
            *port = new;
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}
