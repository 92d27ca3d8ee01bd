//! The journal: every binding's change on stable storage before its ACK leaves.
//!
//! A worker submits to its [`Lane`] and releases parked ACKs when the lane says that they are durable; the server opens,
//! recovers and stops the [`Journal`]. Nobody else calls it. It knows bindings and bytes, never packets.

mod api;

pub use api::{Journal, JournalError, JournalStatus, Lane, LaneFull, RecoveryReport, Ticket};
