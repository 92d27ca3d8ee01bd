//! Configuration: what an operator writes (a file, or the quick flags) becomes [`Config`], which is what the server uses.
//!
//! Only start-up, `check` and reload call [`load`] and [`QuickFlags::check`]; everything else sees the checked form, in which
//! nothing can be missing, overlapping or out of range.

mod boot;
mod check;
mod checked;
mod classes;
#[cfg(test)]
mod docs;
mod events;
mod file;
mod index;
mod json_schema;
pub(crate) mod kea;
mod leasequery;
mod leasequery_tcp;
mod levels;
mod machine;
mod networks;
mod options;
mod ping;
mod quick;
mod ranges;
mod reservations;
mod reserve;
mod schema;
mod source;
mod subnets;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod vlan;
mod vrfs;

pub use check::{Checked, DEFAULT_STATE_DIR, MAX_ADDRESSES};
pub use checked::{
    AddressRange, Config, Durability, GuardedPool, Identity, Interface, LeaseTimes, Level, LoadBalance, OptionBlob,
    OptionSet, Overlay, PingCheck, PoolOptions, Subnet, UnknownRenewals, VlanRange, Vlans, XdpMode,
};
pub use classes::{Access, ClassSettings, ClassTable};
pub use file::{load, parse};
pub use index::{Anywhere, Subnets};
pub use json_schema::json_schema;
pub use leasequery::LeaseQuery;
pub use machine::{AnyMachine, InterfaceState, Link, Machine, ThisMachine};
pub use options::Definitions;
pub(crate) use options::nearest;
pub use quick::QuickFlags;
pub use reservations::{Collision, Gives, IdKind, Identified, Reservation, Reservations, Scope};
pub use reserve::identifier_bytes;
pub use source::{Finding, Place, Rejected, Severity};
pub use vrfs::{GLOBAL_NAME, Vrf, Vrfs, own_number};
