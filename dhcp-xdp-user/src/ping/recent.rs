//! What was found out lately, so that it is not asked again.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{config::PingCheck, lease::ClientKey};

/// Bits of an address that choose its place; the others are kept there.
const INDEX_BITS: u32 = 16;
/// Nobody was found at the address.
const NOBODY: u16 = 0;
/// The address is being probed.
const PROBING: u16 = 1;

/// Addresses that were probed or given to a client a short time ago: a table of words that any worker reads and writes.
///
/// An address has one place, which it shares with others: the last one is remembered. What is forgotten is probed once more.
#[derive(Debug)]
pub struct Recent {
    entries: Box<[AtomicU64]>,
    remember_s: u32,
    probe_lasts_s: u32,
}

/// A client in few bits: two with the same one, one in 65,000, are taken for each other, which spares a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTag(u16);

impl From<&ClientKey> for ClientTag {
    fn from(key: &ClientKey) -> Self {
        Self((key.0[1] as u16).max(PROBING + 1))
    }
}

/// What is remembered of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Nothing that counts.
    None,
    /// It is free for the client: nobody was found there, or it was the client's own.
    Free,
    /// It is being probed.
    Probing,
}

impl Recent {
    /// An empty one; all memory is taken now.
    pub fn new(check: &PingCheck) -> Self {
        // Seconds are read from a coarse clock.
        let lasts = check.timeout * u32::from(check.requests);
        Self {
            entries: (0..1 << INDEX_BITS).map(|_| AtomicU64::default()).collect(),
            remember_s: check.remember_s,
            probe_lasts_s: lasts.as_secs() as u32 + 2,
        }
    }

    /// The address was given to a client, or given once more.
    pub fn given(&self, address: Ipv4Addr, client: ClientTag, now_s: u32) {
        self.set(address, client.0, now_s);
    }

    pub(super) fn probing(&self, address: Ipv4Addr, now_s: u32) {
        self.set(address, PROBING, now_s);
    }

    /// Nobody was found there.
    pub(super) fn silent(&self, address: Ipv4Addr, now_s: u32) {
        self.set(address, NOBODY, now_s);
    }

    /// Nothing is known of it.
    pub(super) fn forget(&self, address: Ipv4Addr) {
        self.set(address, NOBODY, 0);
    }

    pub(super) fn look_up(&self, address: Ipv4Addr, client: ClientTag, now_s: u32) -> Memory {
        let (index, rest) = place(address);
        let entry = self.entries[index].load(Ordering::Relaxed);
        let (tag, age_s) = ((entry >> 32) as u16, now_s.saturating_sub(entry as u32));
        if (entry >> 48) as u16 != rest {
            return Memory::None;
        }
        match tag {
            PROBING if age_s < self.probe_lasts_s => Memory::Probing,
            PROBING => Memory::None,
            tag if age_s < self.remember_s && (tag == NOBODY || tag == client.0) => Memory::Free,
            _ => Memory::None,
        }
    }

    fn set(&self, address: Ipv4Addr, tag: u16, now_s: u32) {
        let (index, rest) = place(address);
        let entry = u64::from(rest) << 48 | u64::from(tag) << 32 | u64::from(now_s);
        self.entries[index].store(entry, Ordering::Relaxed);
    }
}

/// The place of an address, and what tells it from the others there. (An odd factor loses nothing.)
fn place(address: Ipv4Addr) -> (usize, u16) {
    let mixed = address.to_bits().wrapping_mul(0x9e37_79b1);
    ((mixed >> (32 - INDEX_BITS)) as usize, mixed as u16)
}
