//! Leasequery: what a BNG, CMTS or DSLAM asks about leases (RFC 4388, RFC 6148 over UDP; RFC 6926, RFC 7724 over TCP).
//!
//! It reads bindings and never changes one.

pub mod message;
pub mod tcp;
