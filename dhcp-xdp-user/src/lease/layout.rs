//! Which slot an address has: the pools' ranges and the reserved addresses beside them, sorted, one after the other.

use super::{
    SpacedAddress,
    plan::{Plan, ReservedAddress},
};

/// A range of addresses and its run of slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The first address, as its [`number`](SpacedAddress::number).
    first: u64,
    /// First slot.
    pub base: u32,
    /// Slots.
    pub len: u32,
    /// Index of the subnet.
    pub subnet: u16,
    /// Whether it is a pool's; else it is of reserved addresses alone.
    pub is_pool: bool,
}

/// All ranges.
#[derive(Debug)]
pub(super) struct Layout {
    ranges: Box<[Range]>,
    slots: u32,
}

/// A range before it has slots: first and last address as their numbers, subnet, whether it is a pool's.
type Part = (u64, u64, u16, bool);

impl Layout {
    /// Sorted by address space and address. Ranges that do not fit into `max_slots`, or are empty, or overlap the one before,
    /// are left out.
    pub fn new(plan: &Plan<'_>, max_slots: u32) -> Self {
        let part =
            |subnet, first, last| (plan.at(subnet, first).number(), plan.at(subnet, last).number(), subnet, true);
        let mut sorted: Vec<Part> =
            plan.pools.iter().map(|range| part(range.subnet, range.first, range.last)).collect();
        sorted.sort_by_key(|(first, ..)| *first);
        let beside = beside_pools(&sorted, plan);
        sorted.extend(beside);
        sorted.sort_by_key(|(first, ..)| *first);
        let (mut slots, mut next_free) = (0u32, 0u64);
        let mut placed = Vec::with_capacity(sorted.len());
        for (first, last, subnet, is_pool) in sorted {
            let len = (last + 1).saturating_sub(first);
            if len == 0 || first < next_free || u64::from(slots) + len > u64::from(max_slots) {
                continue;
            }
            placed.push(Range { first, base: slots, len: len as u32, subnet, is_pool });
            slots += len as u32;
            next_free = last + 1;
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
    pub fn slot_of(&self, at: SpacedAddress) -> Option<(u32, u16)> {
        let number = at.number();
        let at = self.ranges.partition_point(|range| range.first <= number).checked_sub(1)?;
        let range = &self.ranges[at];
        let offset = number - range.first;
        (offset < u64::from(range.len)).then(|| (range.base + offset as u32, range.subnet))
    }

    /// Whether a slot is of a pool. The slot is one of this layout.
    pub fn is_in_pool(&self, slot: u32) -> bool {
        let at = self.ranges.partition_point(|range| range.base <= slot).saturating_sub(1);
        self.ranges.get(at).is_some_and(|range| range.is_pool)
    }

    /// The address of a slot and its subnet. The slot is one of this layout.
    pub fn address_of(&self, slot: u32) -> (SpacedAddress, u16) {
        let at = self.ranges.partition_point(|range| range.base <= slot).saturating_sub(1);
        let range = &self.ranges[at];
        (SpacedAddress::of_number(range.first + u64::from(slot - range.base)), range.subnet)
    }
}

/// The reserved addresses that are in no pool, neighbours of one subnet together. The pools are sorted.
fn beside_pools(pools: &[Part], plan: &Plan<'_>) -> Vec<Part> {
    let number = |one: &ReservedAddress| (plan.at(one.subnet, one.address).number(), one.subnet);
    let mut reserved: Vec<_> = plan.reserved.iter().map(number).collect();
    reserved.sort_by_key(|(number, _)| *number);
    let mut pools = pools.iter().peekable();
    let mut beside: Vec<Part> = Vec::new();
    for (number, subnet) in reserved {
        while pools.next_if(|(_, last, ..)| *last < number).is_some() {}
        if pools.peek().is_some_and(|(first, ..)| *first <= number) {
            continue;
        }
        match beside.last_mut() {
            Some((_, last, ..)) if *last == number => {}
            // The last address of a space is nobody's, so that two spaces never touch in one subnet.
            Some((_, last, of, _)) if *of == subnet && *last + 1 == number => *last = number,
            _ => beside.push((number, number, subnet, false)),
        }
    }
    beside
}
