//! The lease table: which client has which address, shared by all workers, with no lock on the way.
//!
//! The engine decides with it, recovery fills it; control, events and leasequery read it; nobody else touches it. It knows nothing
//! of packets, configuration or disks: times are parameters, and every change returns the [`Lease`] that the journal records.
//! A slot's state word is changed by compare-and-swap only; its body is read under a version (seqlock made of atomics, so
//! that there is no `unsafe` here).

mod binding;
mod change;
mod counts;
mod free;
mod free_map;
mod index;
mod key;
mod layout;
mod limit;
mod memory;
mod offer;
mod plan;
mod restore;
mod ring;
mod side;
mod slot;
mod space;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod walk;
mod wheel;

pub use binding::{AgentInfo, Binding, BindingState, ClientId, HwAddress, Kept, Lease, Stamp, is_current};
pub use key::{ClientKey, KeyHasher};
pub use limit::{Limit, LimitKey, LimitKeys, LimitReached, Limits, MAX_LIMITS};
pub use plan::{Plan, ReservedAddress};
pub use space::{Space, SpacedAddress};
pub use table::{
    BindError, Bound, Client, Contended, Ended, LeaseTable, OfferError, PoolRange, RestoreError, TableCounts,
};
