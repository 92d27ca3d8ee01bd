//! How many addresses are in which state: counters spread over some cache lines, added up when read.

use crossbeam_utils::CachePadded;

use super::{
    BindingState, TableCounts,
    sync::{AtomicI64, Ordering},
};

/// Cache lines; a power of two.
const LINES: usize = 16;
const STATES: usize = 6;

/// The counters. A change of state costs two additions, a renewal none.
#[derive(Debug, Default)]
pub(super) struct StateCounts {
    lines: [CachePadded<[AtomicI64; STATES]>; LINES],
}

impl StateCounts {
    pub fn moved(&self, slot: u32, from: BindingState, to: BindingState) {
        if from != to {
            let line = &self.lines[slot as usize % LINES];
            line[from as usize].fetch_sub(1, Ordering::Relaxed);
            line[to as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn read(&self, total: u64) -> TableCounts {
        let sum = |state: BindingState| {
            let sum: i64 = self.lines.iter().map(|line| line[state as usize].load(Ordering::Relaxed)).sum();
            sum.max(0) as u64
        };
        TableCounts {
            total,
            offered: sum(BindingState::Offered),
            bound: sum(BindingState::Bound),
            remembered: sum(BindingState::Released) + sum(BindingState::Expired),
            declined: sum(BindingState::Declined),
        }
    }
}
