//! `dhcp-storm`: a packet generator and load tester for DHCPv4 servers.
//!
//! Up to ten million simulated clients take leases from a server, ours or any other, and every reply is held against what
//! RFC 2131 promises. The way of an exchange:
//!
//! ```text
//! schedule (open loop or window) -> engine -> template (frame) -> port (AF_XDP, AF_PACKET, or memory in tests) -> the server
//!                                     ^                                                                               |
//!   timers (retransmission) ----------+---- verdict <- reply (parsed) <- port <---------------------------------------+
//!                                     |
//!                                     +---- measure (histograms, counters) -> report (text, JSON)
//! ```
//!
//! Everything but the ports of [`port`] and [`reflect`] works without a socket and without a clock of its own, so that a seed
//! replays a run exactly. The crate has no `unsafe`.
#![forbid(unsafe_code)]

pub mod arp;
pub mod attack;
pub mod book;
pub mod capacity;
pub mod cli;
pub mod clients;
pub mod compare;
pub mod engine;
pub mod host;
pub mod html;
pub mod identity;
pub mod live;
pub mod look;
pub mod measure;
pub mod nic;
pub mod output;
pub mod plan;
pub mod port;
pub mod reflect;
pub mod replay;
pub mod reply;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod series;
pub mod template;
pub mod txbench;
pub mod verdict;
pub mod wheel;
