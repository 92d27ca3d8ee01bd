//! Which slot an address has: the pools' ranges and the reserved addresses beside them, sorted, one after the other.

use std::net::Ipv4Addr;

use super::{
    plan::{Plan, ReservedAddress},
    table::PoolRange,
};

/// A range of addresses and its run of slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// Index of the subnet.
    pub subnet: u16,
    first: u32,
    /// First slot.
    pub base: u32,
    /// Slots.
    pub len: u32,
    /// Whether it is a pool's; else it is of reserved addresses alone.
    pub is_pool: bool,
}

/// All ranges.
#[derive(Debug)]
pub(super) struct Layout {
    ranges: Box<[Range]>,
    slots: u32,
}

impl Layout {
    /// Sorted by address. Ranges that do not fit into `max_slots`, or are empty, or overlap the one before, are left out.
    pub fn new(plan: &Plan<'_>, max_slots: u32) -> Self {
        let mut sorted: Vec<(PoolRange, bool)> = plan.pools.iter().map(|range| (*range, true)).collect();
        sorted.sort_by_key(|(range, _)| range.first);
        let beside = beside_pools(&sorted, plan.reserved);
        sorted.extend(beside.into_iter().map(|range| (range, false)));
        sorted.sort_by_key(|(range, _)| range.first);
        let (mut slots, mut next_free) = (0u32, 0u64);
        let mut placed = Vec::with_capacity(sorted.len());
        for (range, is_pool) in sorted {
            let (first, last) = (u32::from(range.first), u32::from(range.last));
            let len = (u64::from(last) + 1).saturating_sub(u64::from(first));
            if len == 0 || u64::from(first) < next_free || u64::from(slots) + len > u64::from(max_slots) {
                continue;
            }
            placed.push(Range { subnet: range.subnet, first, base: slots, len: len as u32, is_pool });
            slots += len as u32;
            next_free = u64::from(last) + 1;
        }
        Self { ranges: placed.into_boxed_slice(), slots }
    }

    pub fn slots(&self) -> u32 {
        self.slots
    }

    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The slot of an address and its subnet.
    pub fn slot_of(&self, address: Ipv4Addr) -> Option<(u32, u16)> {
        let address = u32::from(address);
        let at = self.ranges.partition_point(|range| range.first <= address).checked_sub(1)?;
        let range = &self.ranges[at];
        let offset = address - range.first;
        (offset < range.len).then(|| (range.base + offset, range.subnet))
    }

    /// Whether a slot is of a pool. The slot is one of this layout.
    pub fn is_in_pool(&self, slot: u32) -> bool {
        let at = self.ranges.partition_point(|range| range.base <= slot).saturating_sub(1);
        self.ranges.get(at).is_some_and(|range| range.is_pool)
    }

    /// The address of a slot and its subnet. The slot is one of this layout.
    pub fn address_of(&self, slot: u32) -> (Ipv4Addr, u16) {
        let at = self.ranges.partition_point(|range| range.base <= slot).saturating_sub(1);
        let range = &self.ranges[at];
        (Ipv4Addr::from(range.first + (slot - range.base)), range.subnet)
    }
}

/// The reserved addresses that are in no pool, neighbours of one subnet together. The pools are sorted.
fn beside_pools(pools: &[(PoolRange, bool)], reserved: &[ReservedAddress]) -> Vec<PoolRange> {
    let mut reserved = reserved.to_vec();
    reserved.sort_by_key(|one| one.address);
    let mut pools = pools.iter().map(|(pool, _)| pool).peekable();
    let mut beside: Vec<PoolRange> = Vec::new();
    for ReservedAddress { subnet, address } in reserved {
        while pools.next_if(|pool| pool.last < address).is_some() {}
        if pools.peek().is_some_and(|pool| pool.first <= address) {
            continue;
        }
        match beside.last_mut() {
            Some(last) if last.last == address => {}
            Some(last) if last.subnet == subnet && u32::from(last.last).checked_add(1) == Some(address.into()) => {
                last.last = address;
            }
            _ => beside.push(PoolRange { subnet, first: address, last: address }),
        }
    }
    beside
}
