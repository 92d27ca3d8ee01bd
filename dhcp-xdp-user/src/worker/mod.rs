//! Workers: [`batch`] is frames in, dispositions out, testable with only memory; [`ring`] is rings only, one pinned thread.
//!
//! The server starts them; statistics read their [`counters`].

pub mod batch;
pub mod counters;
pub mod port;
pub mod ring;
