//! The thread that fills the [index](super::index): once from the lease table, then from what the journal says has changed.
//!
//! A change says which address to look at; what is there, the table says. So changes may come twice, or late.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::index::{Index, Keeper};
use crate::{
    clock::Clock,
    journal::{FollowError, FollowFrom, Follower, Followers},
    lease::{Binding, BindingState, Lease, LeaseTable, SpacedAddress},
};

/// How long it sleeps at most until it looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a round over the table takes, for leases that ran out: no record says so.
const ROUND: Duration = Duration::from_secs(60);
/// How long it waits after a journal that cannot be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Says what has changed.
trait Changes {
    /// What has changed since the last time; waits for something at most so long.
    fn next(&mut self, wait: Duration, each: impl FnMut(SpacedAddress)) -> Result<(), FollowError>;
}

impl Changes for Follower {
    fn next(&mut self, wait: Duration, each: impl FnMut(SpacedAddress)) -> Result<(), FollowError> {
        self.next(wait)?.bindings.iter().map(Binding::at).for_each(each);
        Ok(())
    }
}

/// Keeps an index until `stop`, or until the journal was stopped.
pub fn keep(index: &Index, leases: &LeaseTable, followers: &Followers, clock: Clock, stop: &AtomicBool) {
    // From before the table is read: what changes meanwhile is looked at once more.
    keep_by(index, leases, || followers.follow(FollowFrom::Now), clock, stop);
}

fn keep_by<C: Changes>(
    index: &Index,
    leases: &LeaseTable,
    mut begin: impl FnMut() -> Result<C, FollowError>,
    clock: Clock,
    stop: &AtomicBool,
) {
    let is_stopped = || stop.load(Ordering::Relaxed);
    let mut keeper = Keeper::new(index);
    let mut is_said = false;
    while !is_stopped() {
        match begin().and_then(|changes| follow(&mut keeper, index, leases, changes, clock, is_stopped)) {
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
    mut changes: impl Changes,
    clock: Clock,
    is_stopped: impl Fn() -> bool,
) -> Result<(), FollowError> {
    if !fill(keeper, leases, || clock.now_s(), &is_stopped) {
        return Ok(());
    }
    let _whole = index.be_whole();
    let mut round = Round::new(leases.slots());
    while !is_stopped() {
        changes.next(LOOK_EVERY, |at| {
            if let Some(slot) = leases.slot_of(at) {
                look(keeper, leases, slot, clock.now_s());
            }
        })?;
        for slot in round.due(Instant::now()) {
            if keeper.has(slot) && leases.lease_at(slot, clock.now_s()).is_ok_and(|lease| !lease.is_some_and(is_bound))
            {
                look(keeper, leases, slot, clock.now_s());
            }
        }
    }
    Ok(())
}

/// Enters all that is leased, in the order of the clients' last transactions; what is not, is taken out. False: it was stopped.
pub(super) fn fill(
    keeper: &mut Keeper<'_>,
    leases: &LeaseTable,
    now_s: impl Fn() -> u32,
    is_stopped: impl Fn() -> bool,
) -> bool {
    let mut slots: Vec<(u32, u32)> = Vec::new();
    for slot in 0..leases.slots() {
        match leases.lease_at(slot, now_s()) {
            Ok(Some(lease)) if is_bound(lease) => slots.push((lease.started_s, slot)),
            Ok(_) if !keeper.has(slot) => {}
            // It is over; or somebody changes it at this moment, so that it is heard of once more.
            Ok(_) | Err(_) => slots.push((u32::MAX, slot)),
        }
        if slot % 4096 == 0 && is_stopped() {
            return false;
        }
    }
    slots.sort_unstable();
    for (number, (_, slot)) in slots.into_iter().enumerate() {
        look(keeper, leases, slot, now_s());
        if number % 4096 == 0 && is_stopped() {
            return false;
        }
    }
    true
}

fn is_bound(lease: Lease) -> bool {
    lease.state == BindingState::Bound
}

/// Goes round all slots, each once a [`ROUND`], in steps of what is due.
#[derive(Debug)]
struct Round {
    slots: u32,
    next: u32,
    began: Instant,
}

impl Round {
    fn new(slots: u32) -> Self {
        Self { slots, next: 0, began: Instant::now() }
    }

    /// The slots whose turn has come.
    fn due(&mut self, now: Instant) -> std::ops::Range<u32> {
        let share = now.saturating_duration_since(self.began).as_secs_f64() / ROUND.as_secs_f64();
        let until = ((f64::from(self.slots) * share) as u32).min(self.slots);
        let due = self.next..until.max(self.next);
        self.next = due.end;
        if self.next == self.slots {
            (self.next, self.began) = (0, now);
        }
        due
    }
}

/// Enters what a slot's lease is found by, as long as there is one (a former client's traces would crowd out what is to be
/// found); waits for who changes it.
fn look(keeper: &mut Keeper<'_>, leases: &LeaseTable, slot: u32, now_s: u32) {
    let binding = loop {
        if let Ok(binding) = leases.binding_at(slot, now_s) {
            break binding;
        }
    };
    keeper.set(slot, binding.as_ref().filter(|binding| is_bound(binding.lease())));
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use super::*;
    use crate::{
        config::Durability,
        journal::{Journal, Lane},
        lease::{Client, HwAddress, Kept, PoolRange, Space},
        leasequery::index::Value,
        patience::until,
        wake::Wake,
    };

    fn hw(n: u8) -> HwAddress {
        HwAddress { htype: 1, hlen: 6, chaddr: [n; 16] }
    }

    fn found(index: &Index, n: u8) -> Vec<u32> {
        index.find(Space::GLOBAL, &Value::HwAddress(&hw(n))).unwrap_or_default().slots.to_vec()
    }

    /// A table and a journal behind it.
    struct Site {
        leases: Arc<LeaseTable>,
        lane: Lane,
        clock: Clock,
    }

    impl Site {
        fn bind(&mut self, n: u8, address: Ipv4Addr) {
            let now_s = self.clock.now_s();
            let hw = hw(n);
            let key = self.leases.key(0, &hw, b"");
            let client = Client { key, subnet: 0, hw: &hw, client_id: b"", limits: &[], agent_info: &[] };
            let bound = self.leases.bind(&client, address, now_s + 600, now_s).unwrap();
            self.lane.submit(&bound.lease, &hw, b"", Kept::default()).unwrap();
        }

        fn release(&mut self, n: u8, address: Ipv4Addr) {
            let key = self.leases.key(0, &hw(n), b"");
            let ended = self.leases.release(&key, address, self.clock.now_s()).unwrap();
            self.lane.submit(&ended.lease, &hw(n), b"", Kept::default()).unwrap();
        }
    }

    #[test]
    fn what_was_leased_before_it_starts_and_what_changes_afterwards_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let address = |n: u8| Ipv4Addr::new(192, 0, 2, n);
        let pool = PoolRange { subnet: 0, first: address(1), last: address(9) };
        let leases = Arc::new(LeaseTable::new(&[pool], [1, 2]));
        let (journal, mut lanes) =
            Journal::start(dir.path(), Durability::Sync, vec![Arc::new(Wake::new().unwrap())]).unwrap();
        let mut site = Site { leases: Arc::clone(&leases), lane: lanes.pop().unwrap(), clock: Clock::start() };
        site.bind(1, address(1));
        let index = Index::new(leases.slots(), [3, 4]);
        let slots = |n: u8| found(&index, n);
        let (followers, stop) = (journal.followers(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| keep(&index, &leases, &followers, Clock::start(), &stop));
            until("it is whole", || index.is_whole());
            assert_eq!(slots(1), [0]);
            site.bind(2, address(5));
            until("a new lease is found", || slots(2) == [4]);
            // The address changes hands.
            site.release(1, address(1));
            site.bind(3, address(1));
            until("its new client is found", || slots(3) == [0]);
            until("and its former one is not", || slots(1).is_empty());
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap();
        });
        assert!(!index.is_whole(), "nobody keeps it any more");
        journal.stop().unwrap();
    }

    #[test]
    fn it_ends_with_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ipv4Addr::new(192, 0, 2, 1);
        let leases = LeaseTable::new(&[PoolRange { subnet: 0, first, last: first }], [1, 2]);
        let (journal, lanes) =
            Journal::start(dir.path(), Durability::Off, vec![Arc::new(Wake::new().unwrap())]).unwrap();
        let (index, followers) = (Index::new(leases.slots(), [3, 4]), journal.followers());
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| keep(&index, &leases, &followers, Clock::start(), &AtomicBool::new(false)));
            until("it is whole", || index.is_whole());
            drop(lanes);
            journal.stop().unwrap();
            thread.join().unwrap();
        });
    }

    #[test]
    fn each_slot_has_its_turn_once_a_round() {
        let mut round = Round::new(1000);
        let start = round.began;
        assert_eq!(round.due(start), 0..0);
        assert_eq!(round.due(start + ROUND / 4), 0..250);
        assert_eq!(round.due(start + ROUND / 2), 250..500);
        assert_eq!(round.due(start + ROUND * 9), 500..1000, "late, but all of it");
        assert_eq!(round.due(start + ROUND * 9), 0..0);
        assert_eq!(round.due(start + ROUND * 19 / 2), 0..500);
        assert_eq!(Round::new(0).due(start + ROUND), 0..0);
    }

    #[test]
    fn a_lease_that_ran_out_and_one_that_was_released_are_not_kept() {
        let first = Ipv4Addr::new(192, 0, 2, 1);
        let leases = LeaseTable::new(&[PoolRange { subnet: 0, first, last: first }], [1, 2]);
        let index = Index::new(leases.slots(), [3, 4]);
        let mut keeper = Keeper::new(&index);
        let (hw, now_s) = (hw(1), 1_900_000_000);
        let key = leases.key(0, &hw, b"");
        let client = Client { key, subnet: 0, hw: &hw, client_id: b"", limits: &[], agent_info: &[] };
        leases.bind(&client, first, now_s - 1, now_s - 9).unwrap();
        keeper.set(0, leases.binding_at(0, now_s - 5).unwrap().as_ref());
        assert_eq!((index.values(), keeper.has(0)), (1, true));
        assert!(leases.binding_at(0, now_s).unwrap().is_some(), "the table knows its last client still");
        look(&mut keeper, &leases, 0, now_s);
        assert_eq!((index.values(), keeper.has(0)), (0, false));
        leases.bind(&client, first, now_s + 600, now_s).unwrap();
        look(&mut keeper, &leases, 0, now_s);
        assert_eq!(index.values(), 1);
        leases.release(&key, first, now_s).unwrap();
        look(&mut keeper, &leases, 0, now_s);
        assert_eq!(index.values(), 0);
    }

    /// Says nothing of what has changed, then that it has lagged, once.
    struct Lagging<'a>(&'a AtomicBool);

    impl Changes for Lagging<'_> {
        fn next(&mut self, _: Duration, _: impl FnMut(SpacedAddress)) -> Result<(), FollowError> {
            std::thread::sleep(Duration::from_millis(1));
            if self.0.swap(false, Ordering::Relaxed) { Err(FollowError::Lagged) } else { Ok(()) }
        }
    }

    #[test]
    fn where_it_lags_behind_the_journal_it_looks_at_the_whole_table_anew() {
        let first = Ipv4Addr::new(192, 0, 2, 1);
        let leases = LeaseTable::new(&[PoolRange { subnet: 0, first, last: first }], [1, 2]);
        let index = Index::new(leases.slots(), [3, 4]);
        let (lags, stop, clock) = (AtomicBool::new(false), AtomicBool::new(false), Clock::start());
        let found = || found(&index, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| keep_by(&index, &leases, || Ok(Lagging(&lags)), clock, &stop));
            until("it is whole", || index.is_whole());
            let (hw, now_s) = (hw(1), clock.now_s());
            let key = leases.key(0, &hw, b"");
            let client = Client { key, subnet: 0, hw: &hw, client_id: b"", limits: &[], agent_info: &[] };
            leases.bind(&client, first, now_s + 600, now_s).unwrap();
            assert!(found().is_empty(), "nobody said so");
            lags.store(true, Ordering::Relaxed);
            until("it is found", || found() == [0]);
            until("it is whole again", || index.is_whole());
            stop.store(true, Ordering::Relaxed);
        });
    }
}
