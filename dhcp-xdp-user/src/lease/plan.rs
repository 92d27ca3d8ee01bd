//! What a table is made for: pools, reserved addresses in and outside of them, and which subnets are one network.

use std::net::Ipv4Addr;

use super::{PoolRange, Space, SpacedAddress};

/// What a table is made for; all of it is known when the configuration is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan<'a> {
    /// Ranges that are leased to anybody; those of one address space do not overlap.
    pub pools: &'a [PoolRange],
    /// Addresses that are bound by [`bind_reserved`](super::LeaseTable::bind_reserved) alone, in a pool or not.
    pub reserved: &'a [ReservedAddress],
    /// By subnet, the number of its network: subnets with the same one share their clients, each of which has one lease there.
    /// A subnet beyond the list is a network of its own, with its own number.
    pub networks: &'a [u16],
    /// By subnet, the address space that it is in. A subnet beyond the list is in the global one.
    pub spaces: &'a [Space],
}

impl Plan<'_> {
    /// An address of a subnet, in its space.
    pub(super) fn at(&self, subnet: u16, address: Ipv4Addr) -> SpacedAddress {
        SpacedAddress::new(self.spaces.get(usize::from(subnet)).copied().unwrap_or_default(), address)
    }
}

/// An address that is kept for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedAddress {
    /// Index of the subnet.
    pub subnet: u16,
    /// The address.
    pub address: Ipv4Addr,
}

/// Which slots are reserved: a bit a slot, or nothing at all when none is.
#[derive(Debug, Default)]
pub(super) struct ReservedMap(Box<[u64]>);

impl ReservedMap {
    /// Of these slots, below `slots`.
    pub fn new(slots: u32, reserved: impl Iterator<Item = u32>) -> Self {
        let mut reserved = reserved.peekable();
        if reserved.peek().is_none() {
            return Self::default();
        }
        let mut words = vec![0u64; (slots as usize).div_ceil(64)];
        for slot in reserved {
            words[slot as usize / 64] |= 1 << (slot % 64);
        }
        Self(words.into_boxed_slice())
    }

    pub fn has(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }
}
