//! The one place that the table's atomics come from, so that a model checker can put its own here.

pub(super) use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
