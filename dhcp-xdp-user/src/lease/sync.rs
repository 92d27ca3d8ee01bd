//! The one place that the table's atomics come from, so that a model checker can put its own here (`tests/models`).

pub(super) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    thread::yield_now,
};

/// Looks at a slot that is being written, or at a held group of the index, before giving up; a writer is done in some tens of
/// nanoseconds.
pub(super) const SPINS: usize = 64;

/// Whether an atomic is as large as what it holds.
pub(super) const IS_NATIVE: bool = true;
