//! The lease table's own sources, on the model checker's atomics.

#![allow(dead_code, unused_imports, reason = "models use a part of the table")]

#[path = "../../src/lease/binding.rs"]
mod binding;
#[path = "../../src/lease/change.rs"]
mod change;
#[path = "../../src/lease/counts.rs"]
mod counts;
#[path = "../../src/lease/free.rs"]
mod free;
#[path = "../../src/lease/free_map.rs"]
mod free_map;
#[path = "../../src/lease/index.rs"]
mod index;
#[path = "../../src/lease/key.rs"]
mod key;
#[path = "../../src/lease/layout.rs"]
mod layout;
#[path = "../../src/lease/limit.rs"]
mod limit;
#[path = "../../src/lease/offer.rs"]
mod offer;
#[path = "../../src/lease/plan.rs"]
mod plan;
#[path = "../../src/lease/restore.rs"]
mod restore;
#[path = "../../src/lease/ring.rs"]
mod ring;
#[path = "../../src/lease/side.rs"]
mod side;
#[path = "../../src/lease/slot.rs"]
mod slot;
#[path = "../../src/lease/space.rs"]
mod space;
#[path = "../../src/lease/table.rs"]
mod table;
#[path = "../../src/lease/wheel.rs"]
mod wheel;

mod parts;
mod whole;

pub use binding::{AgentInfo, Binding, BindingState, ClientId, HwAddress, Kept, Lease, Stamp, is_current};
pub use key::{ClientKey, KeyHasher};
pub use limit::{Limit, LimitKey, LimitKeys, LimitReached, Limits, MAX_LIMITS};
pub use plan::{Plan, ReservedAddress};
pub use space::{Space, SpacedAddress};
pub use table::{
    BindError, Bound, Client, Contended, Ended, LeaseTable, OfferError, PoolRange, RestoreError, TableCounts,
};

/// In place of `src/lease/sync.rs`.
mod sync {
    pub(super) use loom::{
        hint::spin_loop,
        sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
        thread::yield_now,
    };

    pub(super) const SPINS: usize = 1;
    pub(super) const IS_NATIVE: bool = false;
}

/// In place of `src/lease/memory.rs`.
mod memory {
    use super::sync::AtomicU64;

    pub(super) fn resident<T>(len: usize, element: impl FnMut() -> T) -> Box<[T]> {
        std::iter::repeat_with(element).take(len).collect()
    }

    pub(super) fn reserved<const WORDS: usize>(len: usize) -> Box<[[AtomicU64; WORDS]]> {
        resident(len, || std::array::from_fn(|_| AtomicU64::new(0)))
    }
}
