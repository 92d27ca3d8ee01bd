//! Which slot an address has: the pools' ranges, sorted, one after the other.

use std::net::Ipv4Addr;

use super::table::PoolRange;

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
}

/// All ranges.
#[derive(Debug)]
pub(super) struct Layout {
    ranges: Box<[Range]>,
    slots: u32,
}

impl Layout {
    /// Sorted by address. Ranges that do not fit into `max_slots`, or are empty, or overlap the one before, are left out.
    pub fn new(ranges: &[PoolRange], max_slots: u32) -> Self {
        let mut sorted: Vec<&PoolRange> = ranges.iter().collect();
        sorted.sort_by_key(|range| range.first);
        let (mut slots, mut next_free) = (0u32, 0u64);
        let mut placed = Vec::with_capacity(sorted.len());
        for range in sorted {
            let (first, last) = (u32::from(range.first), u32::from(range.last));
            let len = (u64::from(last) + 1).saturating_sub(u64::from(first));
            if len == 0 || u64::from(first) < next_free || u64::from(slots) + len > u64::from(max_slots) {
                continue;
            }
            placed.push(Range { subnet: range.subnet, first, base: slots, len: len as u32 });
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

    /// The address of a slot and its subnet. The slot is one of this layout.
    pub fn address_of(&self, slot: u32) -> (Ipv4Addr, u16) {
        let at = self.ranges.partition_point(|range| range.base <= slot).saturating_sub(1);
        let range = &self.ranges[at];
        (Ipv4Addr::from(range.first + (slot - range.base)), range.subnet)
    }
}
