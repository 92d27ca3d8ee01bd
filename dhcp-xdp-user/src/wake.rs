//! Waking a thread that sleeps in `poll(2)`, at no cost while it is awake.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering, fence},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd that is only written to when its owner sleeps.
///
/// The owner calls [`prepare`](Wake::prepare), looks once more for work, sleeps in `poll(2)` on [`AsFd`], and calls
/// [`done`](Wake::done). Others make their work visible, then call [`wake`](Wake::wake). The fence on each side makes sure
/// that either the owner sees the work or the other sees the owner asleep.
#[derive(Debug)]
pub struct Wake {
    event: EventFd,
    sleeping: AtomicBool,
}

impl Wake {
    /// A new one.
    ///
    /// # Errors
    /// What `eventfd(2)` returns: no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, sleeping: AtomicBool::new(false) })
    }

    /// The owner is about to sleep; it looks for work once more after this call.
    pub fn prepare(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake again.
    pub fn done(&self) {
        // Only who finds `sleeping` set writes to the event, and clears it: else there is nothing to read.
        if !self.sleeping.swap(false, Ordering::Relaxed) {
            // It may be written a moment later; then the next sleep ends at once, which does no harm.
            let _ = self.event.read();
        }
    }

    /// Wakes the owner if it sleeps; otherwise one fence and one load.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            // Fails only when the counter is full, and then the owner is being woken already.
            let _ = self.event.write(1);
        }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
