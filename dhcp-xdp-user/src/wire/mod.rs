//! The wire: zero-copy views of what came and in-place builders of what goes, one file a protocol layer.
//!
//! [`link`] is Ethernet, VLAN tags, IPv4 and UDP; [`dhcp`] the fixed header; [`options`] the options, [`relay`] the
//! sub-options of option 82, [`registry`] the names and types of all of them. Called by
//! `worker::batch`, `engine` and the load generator. Contract: a view from `new_checked` never panics; a setter writes
//! inside its fixed field.

pub(crate) mod checksum;
pub mod dhcp;
pub mod link;
pub mod options;
pub mod registry;
pub mod relay;
pub mod shown;
