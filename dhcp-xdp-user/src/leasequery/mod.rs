//! Leasequery: what a BNG, CMTS or DSLAM asks about leases (RFC 4388, RFC 6148 over UDP; RFC 6926, RFC 7724 over TCP).
//!
//! It reads bindings and never changes one. Over UDP a worker answers, in the frame that brought the query ([`answer`]); it
//! finds a lease by its address in the table itself, and by anything else in the [`index`], which a thread of its own fills.

pub mod answer;
pub mod index;
pub mod keep;
pub mod message;
pub mod tcp;
#[cfg(test)]
mod tests;
