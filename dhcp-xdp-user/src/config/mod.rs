//! Configuration: [`file`] is what an operator writes, [`Config`] is what the server uses.
//!
//! Only start-up, `check` and reload call [`file`]; everything else sees the checked form, in which nothing can be missing,
//! overlapping or out of range.

mod checked;

pub use checked::{AddressRange, Config, Durability, Interface, LeaseTimes, OptionBlob, OptionSet, Subnet, XdpMode};
