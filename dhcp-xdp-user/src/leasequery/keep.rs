//! The thread that fills the [index](super::index): once from the lease table, then from what the journal says has changed.
//!
//! A change says which address to look at; what is there, the table says. So changes may come twice, or late.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::index::{Index, Keeper};
use crate::{
    clock::Clock,
    journal::{FollowError, Followers, From},
    lease::LeaseTable,
};

/// How long it sleeps at most until it looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it waits after a journal that cannot be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Keeps an index until `stop`, or until the journal was stopped.
pub fn keep(index: &Index, leases: &LeaseTable, followers: &Followers, clock: Clock, stop: &AtomicBool) {
    let is_stopped = || stop.load(Ordering::Relaxed);
    let mut keeper = Keeper::new(index, leases.slots());
    let mut is_said = false;
    while !is_stopped() {
        match follow(&mut keeper, index, leases, followers, clock, &is_stopped) {
            Ok(()) | Err(FollowError::Stopped) => return,
            Err(FollowError::Lagged) => log::debug!("leasequery: the index lagged behind the journal; it is made anew"),
            Err(FollowError::Journal(error)) => {
                if !is_said {
                    log::error!(
                        "leasequery: {error}; queries other than by address are not answered until it can be read"
                    );
                }
                is_said = true;
                std::thread::sleep(RETRY_AFTER);
            }
        }
    }
}

fn follow(
    keeper: &mut Keeper<'_>,
    index: &Index,
    leases: &LeaseTable,
    followers: &Followers,
    clock: Clock,
    is_stopped: impl Fn() -> bool,
) -> Result<(), FollowError> {
    // From before the table is read: what changes meanwhile is looked at once more.
    let mut follower = followers.follow(From::Now)?;
    for slot in 0..leases.slots() {
        look(keeper, leases, slot, clock);
        if slot % 4096 == 0 && is_stopped() {
            return Ok(());
        }
    }
    let _whole = index.be_whole();
    while !is_stopped() {
        let changes = follower.next(LOOK_EVERY)?;
        for binding in &changes.bindings {
            if let Some(slot) = leases.slot_of(binding.address) {
                look(keeper, leases, slot, clock);
            }
        }
    }
    Ok(())
}

/// Enters what a slot's binding is found by; waits for who changes it.
fn look(keeper: &mut Keeper<'_>, leases: &LeaseTable, slot: u32, clock: Clock) {
    let binding = loop {
        if let Ok(binding) = leases.binding_at(slot, clock.now_s()) {
            break binding;
        }
    };
    keeper.set(slot, binding.as_ref());
}
