//! What tests wait for: what other threads do in their own time.

use std::time::{Duration, Instant};

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        // Long: a busy machine may run all tests at once, and compaction's thread runs where no other wants to.
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
