//! `dhcp-storm`: a packet generator and load tester for DHCPv4 servers.
//!
//! Up to ten million simulated clients take leases from a server, ours or any other, and every reply is held against what
//! RFC 2131 promises. The way of an exchange:
//!
//! ```text
//! schedule (open loop or window) -> engine -> template (frame) -> port (AF_XDP, or memory in tests) -> the server
//!                                     ^                                                                   |
//!   timers (retransmission) ----------+---- verdict <- reply (parsed) <- port <---------------------------+
//!                                     |
//!                                     +---- measure (histograms, counters) -> report (text, JSON)
//! ```
//!
//! Everything but [`port::xdp`] and [`reflect`] works without a socket and without a clock of its own, so that a seed
//! replays a run exactly. The crate has no `unsafe`.
#![forbid(unsafe_code)]

pub mod book;
pub mod cli;
pub mod clients;
pub mod engine;
pub mod host;
pub mod identity;
pub mod live;
pub mod measure;
pub mod port;
pub mod reflect;
pub mod reply;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod template;
pub mod verdict;
pub mod wheel;
