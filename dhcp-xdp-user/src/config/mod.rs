//! Configuration: what an operator writes (a file, or the quick flags) becomes [`Config`], which is what the server uses.
//!
//! Only start-up, `check` and reload call [`load`] and [`QuickFlags::check`]; everything else sees the checked form, in which
//! nothing can be missing, overlapping or out of range.

mod check;
mod checked;
mod classes;
mod file;
mod index;
mod machine;
mod options;
mod quick;
mod ranges;
mod schema;
mod source;
mod subnets;
#[cfg(test)]
mod tests;

pub use check::{Checked, DEFAULT_STATE_DIR, MAX_ADDRESSES};
pub use checked::{AddressRange, Config, Durability, Interface, LeaseTimes, OptionBlob, OptionSet, Subnet, XdpMode};
pub use classes::{Access, ClassSettings, ClassTable};
pub use file::{load, parse};
pub use index::Subnets;
pub use machine::{AnyMachine, InterfaceState, Link, Machine, ThisMachine};
pub(crate) use options::{nearest, option_code};
pub use quick::QuickFlags;
pub use source::{Finding, Place, Rejected, Severity};
