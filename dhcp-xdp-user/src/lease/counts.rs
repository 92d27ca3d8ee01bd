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
            agent_info_left_out: 0,
        }
    }
}

/// How many addresses of each subnet are in use: offered, bound or declined. Changed when an address comes into use or goes
/// out of it; a renewal changes nothing.
#[derive(Debug)]
pub(super) struct SubnetCounts {
    used: Box<[AtomicI64]>,
    total: Box<[u32]>,
}

/// Whether an address in this state is nobody else's to have.
pub(super) const fn is_in_use(state: BindingState) -> bool {
    matches!(state, BindingState::Offered | BindingState::Bound | BindingState::Declined)
}

impl SubnetCounts {
    /// Of subnets with so many addresses each.
    pub fn new(total: Box<[u32]>) -> Self {
        Self { used: total.iter().map(|_| AtomicI64::new(0)).collect(), total }
    }

    pub fn moved(&self, subnet: u16, to: BindingState) {
        if let Some(used) = self.used.get(usize::from(subnet)) {
            used.fetch_add(if is_in_use(to) { 1 } else { -1 }, Ordering::Relaxed);
        }
    }

    /// Thousandths of a subnet's addresses; a subnet without addresses is full.
    pub fn permille(&self, subnet: u16) -> u32 {
        let at = usize::from(subnet);
        let (Some(used), Some(&total)) = (self.used.get(at), self.total.get(at)) else { return 1000 };
        let used = used.load(Ordering::Relaxed).max(0).unsigned_abs();
        (used * 1000).checked_div(u64::from(total)).map_or(1000, |permille| permille.min(1000) as u32)
    }
}
