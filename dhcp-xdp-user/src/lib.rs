//! A DHCPv4 server for broadband aggregation.
//!
//! An XDP program steers UDP/67 frames into AF_XDP rings; pinned workers parse and answer them from a lease table that takes
//! no lock on the way; every ACK is on stable storage before it leaves. The way of a frame:
//!
//! ```text
//! NIC -> XDP walk -> xsk (rings) -> worker::ring -> worker::batch -> wire (views) -> engine (decision) -> lease (slots)
//!                                        ^                                             |
//!                                        |     parked until durable                    v
//!                                        +------------------------------------- journal (group commit)
//!                                                                                      |
//!                       history and hook (events), leasequery <- followers, behind it <-+
//! ```
//!
//! The modules are rooms with one idea each; the first lines of each say who may call it.

pub mod capture;
pub mod class;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod events;
pub mod explain;
pub mod history;
pub mod journal;
pub mod lease;
pub mod leasequery;
#[cfg(test)]
mod patience;
pub mod ping;
mod priority;
pub mod room;
pub mod server;
pub mod stats;
pub mod wake;
pub mod wire;
pub mod worker;
pub mod xsk;
