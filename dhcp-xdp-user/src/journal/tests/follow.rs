//! Followers: each change once, behind the writer, over rotations, restarts and compaction.

use super::{disk::Faults, *};
use crate::{
    journal::{FollowError, FollowFrom, Follower, Position, Retain},
    room::Room,
};

const A_SECOND: Duration = Duration::from_secs(1);

/// All that comes until nothing does for a moment.
fn drain(follower: &mut Follower) -> Vec<Binding> {
    let mut all = Vec::new();
    loop {
        let changes = follower.next(Duration::from_millis(20)).unwrap();
        if changes.bindings.is_empty() {
            return all;
        }
        all.extend_from_slice(&changes.bindings);
    }
}

fn commit(lane: &mut Lane, bindings: &[Binding]) {
    for binding in bindings {
        until("room", || lane.has_room());
        submit(lane, binding);
    }
    let last = Ticket(lane.submitted());
    until("durable", || lane.durable() >= last);
}

fn some(numbers: std::ops::Range<u32>) -> Vec<Binding> {
    numbers.map(|number| binding(number, number % 7, (number % 90) as usize)).collect()
}

#[test]
fn a_follower_gets_each_change_once_in_order_and_only_what_is_durable() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    commit(&mut lane, &some(0..3));
    let followers = journal.followers();
    let mut now = followers.follow(FollowFrom::Now).unwrap();
    let mut oldest = followers.follow(FollowFrom::Oldest).unwrap();
    assert!(now.next(Duration::ZERO).unwrap().bindings.is_empty());
    // More than a read, and more than a batch.
    commit(&mut lane, &some(3..5000));
    assert_eq!(drain(&mut now), some(3..5000));
    assert_eq!(drain(&mut oldest), some(0..5000));
    let mut again = followers.follow(FollowFrom::Position(now.position())).unwrap();
    commit(&mut lane, &some(5000..5001));
    assert_eq!(again.next(A_SECOND).unwrap().bindings, some(5000..5001));
    drop(lane);
    journal.stop().unwrap();
    assert_eq!(now.next(A_SECOND).unwrap().bindings, some(5000..5001));
    assert!(matches!(now.next(A_SECOND), Err(FollowError::Stopped)));
}

#[test]
fn while_changes_wait_for_the_disk_a_follower_is_not_told_that_it_has_all() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = start_on(disk, Durability::Sync, 1);
    let mut lane = lanes.pop().unwrap();
    let mut follower = journal.followers().follow(FollowFrom::Now).unwrap();
    let next = |follower: &mut Follower| follower.next(Duration::from_millis(20)).unwrap().clone();
    until("nothing waits", || next(&mut follower).is_all);
    commit(&mut lane, &some(0..1));
    assert!(!next(&mut follower).is_all, "there was something");
    until("nothing waits", || next(&mut follower).is_all);
    let settled_s = next(&mut follower).settled_s;
    assert!(settled_s > 0);

    faults.set(Some(Fault::Sync));
    // Three groups, and more than a batch each.
    let all: Vec<Binding> = (1..3 * 4096 - 500).map(|number| binding(number, 0, 0)).collect();
    for binding in &all {
        submit(&mut lane, binding);
    }
    until("failing is told", || journal.status().failing.is_some());
    for _ in 0..5 {
        let changes = next(&mut follower);
        assert_eq!((changes.bindings.len(), changes.is_all, changes.settled_s), (0, false, settled_s));
    }
    // What waits is older than the groups that it is written in, by this much.
    std::thread::sleep(Duration::from_millis(1100));
    faults.set(None);
    let mut seen = 0;
    while seen < all.len() {
        let changes = follower.next(A_SECOND).unwrap();
        seen += changes.bindings.len();
        assert_eq!(changes.settled_s > settled_s, seen == all.len(), "{seen} of {}", all.len());
    }
    until("nothing waits", || next(&mut follower).is_all);
    drop(lane);
    journal.stop().unwrap();
}

#[test]
fn a_waiting_follower_is_woken() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let mut follower = journal.followers().follow(FollowFrom::Now).unwrap();
    let waiting = std::thread::spawn(move || {
        let start = Instant::now();
        let bindings = follower.next(Duration::from_secs(20)).unwrap().bindings.clone();
        (bindings, start.elapsed())
    });
    std::thread::sleep(Duration::from_millis(50));
    commit(&mut lane, &some(0..1));
    let (bindings, took) = waiting.join().unwrap();
    assert_eq!(bindings, some(0..1));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_follower_goes_over_from_one_segment_to_the_next() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let mut follower = journal.followers().follow(FollowFrom::Now).unwrap();
    commit(&mut lane, &some(0..30_000));
    assert!(segments(&dir).len() > 2);
    assert_eq!(drain(&mut follower), some(0..30_000));
    commit(&mut lane, &some(0..2));
    assert_eq!(drain(&mut follower), some(0..2));
}

#[test]
fn a_position_is_good_after_a_restart_and_nothing_comes_twice() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let mut follower = journal.followers().follow(FollowFrom::Now).unwrap();
    let before = follower.position();
    commit(&mut lane, &some(0..10));
    assert_eq!(drain(&mut follower), some(0..10));
    let after = follower.position();
    drop((follower, lane));
    journal.stop().unwrap();
    // As a kill leaves it: nothing vouches for the last group, and the next start records it once more.
    let path = segments(&dir).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - RECORD]).unwrap();

    let (journal, mut lane) = start(&dir, Durability::Sync);
    let followers = journal.followers();
    commit(&mut lane, &some(10..12));
    assert_eq!(drain(&mut followers.follow(FollowFrom::Position(after)).unwrap()), some(10..12));
    assert_eq!(drain(&mut followers.follow(FollowFrom::Position(before)).unwrap()), some(0..12));
    assert_eq!(drain(&mut followers.follow(FollowFrom::Oldest).unwrap()), some(0..12));
}

#[test]
fn compaction_leaves_what_a_retaining_follower_has_not_dealt_with() {
    let dir = TempDir::new().unwrap();
    let options = || Options {
        compaction: CompactionPolicy { percent: 1, segments: 2 },
        retain: Some(Retain { from: Position::default(), max_bytes: u64::MAX, reserve: Reserve::default() }),
        ..Options::new(Durability::Sync)
    };
    let (journal, mut lanes) = Recovery::open(dir.path()).unwrap().start(options(), wakes(1)).unwrap();
    let lane = &mut lanes[0];
    let followers = journal.followers();
    commit(lane, &some(0..20_000));
    let mut retaining = followers.retain(FollowFrom::Oldest, u64::MAX).unwrap();
    let mut other = followers.follow(FollowFrom::Oldest).unwrap();
    assert_eq!(other.next(A_SECOND).unwrap().bindings[0], some(0..1)[0]);
    commit(lane, &some(20_000..40_000));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(journal.status().compactions, 0);
    assert_eq!(drain(&mut retaining), some(0..40_000));
    retaining.done_with(retaining.position());
    // Now it may, when the next segment is closed.
    let mut number = 40_000;
    until("compacted", || {
        commit(lane, &some(number..number + 1000));
        number += 1000;
        journal.status().compactions > 0
    });
    assert_eq!(drain(&mut retaining), some(40_000..number));
    let lagged = std::iter::repeat_with(|| other.next(Duration::ZERO).map(|_| ())).find_map(Result::err);
    assert!(matches!(lagged, Some(FollowError::Lagged)), "{lagged:?}");
    assert_eq!(journal.status().followers_dropped, 0);
}

#[test]
fn a_follower_that_holds_back_too_much_is_dropped_and_counted() {
    let dir = TempDir::new().unwrap();
    let options =
        Options { compaction: CompactionPolicy { percent: 1, segments: 2 }, ..Options::new(Durability::Sync) };
    let (journal, mut lanes) = Recovery::open(dir.path()).unwrap().start(options, wakes(1)).unwrap();
    let followers = journal.followers();
    let mut follower = followers.retain(FollowFrom::Oldest, 1 << 20).unwrap();
    assert!(follower.next(A_SECOND).is_ok());
    let mut number = 0;
    until("dropped", || {
        commit(&mut lanes[0], &some(number..number + 1000));
        number += 1000;
        journal.status().followers_dropped == 1
    });
    until("compacted", || journal.status().compactions > 0);
    let lagged = std::iter::repeat_with(|| follower.next(Duration::ZERO).map(|_| ())).find_map(Result::err);
    assert!(matches!(lagged, Some(FollowError::Lagged)), "{lagged:?}");
}

/// A journal on a disk of which so many percent are free, a tenth being the journal's; with a follower of all of it.
fn start_with_room(dir: &TempDir, free_percent: u64) -> (Journal, Lane, Faults, Follower) {
    let disk = FaultyDisk::new(dir);
    let faults = disk.faults.clone();
    faults.set_room(Room { total: 100 << 30, free: free_percent << 30 });
    let reserve = Reserve { percent: 10, most_bytes: u64::MAX };
    let options = Options {
        compaction: CompactionPolicy { percent: 1, segments: 2 },
        retain: Some(Retain { from: Position::default(), max_bytes: u64::MAX, reserve }),
        ..Options::new(Durability::Sync)
    };
    let (journal, mut lanes) = Recovery::open_on(Arc::new(disk)).unwrap().start(options, wakes(1)).unwrap();
    let follower = journal.followers().retain(FollowFrom::Oldest, u64::MAX).unwrap();
    (journal, lanes.pop().unwrap(), faults, follower)
}

#[test]
fn on_a_disk_with_little_room_the_journal_comes_before_who_is_behind() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane, faults, mut follower) = start_with_room(&dir, 6);
    commit(&mut lane, &some(0..40_000));
    until("held back", || journal.status().held_back_bytes > 4 * segment::ROTATE_AT);
    assert_eq!((journal.status().compactions, journal.status().followers_dropped), (0, 0));
    // Nothing more is recorded: that it is short is found out all the same.
    faults.set_room(Room { total: 100 << 30, free: 4 << 30 });
    until("compacted", || journal.status().compactions > 0);
    until("nothing is held back", || journal.status().held_back_bytes == 0);
    assert_eq!(journal.status().followers_dropped, 1);
    let lagged = std::iter::repeat_with(|| follower.next(Duration::ZERO).map(|_| ())).find_map(Result::err);
    assert!(matches!(lagged, Some(FollowError::Lagged)), "{lagged:?}");
}

#[test]
fn on_a_disk_with_little_room_who_is_not_behind_misses_nothing() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane, _faults, mut follower) = start_with_room(&dir, 1);
    for round in 0..40 {
        let some = some(round * 1000..(round + 1) * 1000);
        commit(&mut lane, &some);
        assert_eq!(drain(&mut follower), some);
        follower.done_with(follower.position());
    }
    until("compacted", || journal.status().compactions > 0);
    assert_eq!(journal.status().followers_dropped, 0);
}

#[test]
fn a_follower_that_was_dropped_and_has_caught_up_holds_back_again() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        compaction: CompactionPolicy { percent: 0, segments: 0 },
        retain: Some(Retain { from: Position::default(), max_bytes: u64::MAX, reserve: Reserve::default() }),
        ..Options::new(Durability::Sync)
    };
    let (journal, mut lanes) = Recovery::open(dir.path()).unwrap().start(options, wakes(1)).unwrap();
    let followers = journal.followers();
    commit(&mut lanes[0], &some(0..40_000));
    let mut follower = followers.retain(FollowFrom::Oldest, 3 << 20).unwrap();
    let board = &journal.shared.board;
    // As the compactor asks, which here compacts nothing.
    let chain = chain::walk(&*journal.disk).unwrap();
    assert_eq!((board.compactable(&chain, false).len(), journal.status().followers_dropped), (chain.len(), 1));
    drain(&mut follower);
    follower.done_with(follower.position());
    commit(&mut lanes[0], &some(40_000..50_000));
    let chain = chain::walk(&*journal.disk).unwrap();
    assert!(board.compactable(&chain, false).len() < chain.len());
    assert_eq!(journal.status().followers_dropped, 1);
}

#[test]
fn parts_of_a_change_without_an_end_are_told_as_damage_and_not_read_for_ever() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let long = binding(1, 1, 90);
    commit(&mut lane, std::slice::from_ref(&long));
    let mut follower = journal.followers().follow(FollowFrom::Oldest).unwrap();
    let last = segments(&dir).pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    // The base record is the last one; before it stand its continuations.
    let end = (bytes.len() - RECORD) as u64;
    let mark = journal.followers().now();
    journal.shared.board.publish(mark.segment, mark.seed, end);
    let damaged = follower.next(A_SECOND).map(|changes| changes.bindings.len());
    assert!(matches!(damaged, Err(FollowError::Journal(JournalError::Damaged { .. }))), "{damaged:?}");
}

#[test]
fn a_position_of_another_journal_has_lagged() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (journal, mut lane) = start(&dir, Durability::Sync);
    commit(&mut lane, &some(0..3));
    let position = journal.followers().now();
    let (journal, _lane) = start(&other, Durability::Sync);
    let lagged = journal.followers().follow(FollowFrom::Position(position));
    assert!(matches!(lagged, Err(FollowError::Lagged)), "{lagged:?}");
}

#[test]
fn where_nothing_waits_for_the_disk_a_follower_gets_what_is_written_and_a_kill_brings_nothing_twice() {
    for durability in [Durability::Interval(Duration::from_secs(3600)), Durability::Off] {
        let dir = TempDir::new().unwrap();
        let (journal, mut lane) = start(&dir, durability);
        let mut follower = journal.followers().follow(FollowFrom::Now).unwrap();
        let begun = follower.position();
        commit(&mut lane, &some(0..3000));
        assert_eq!(drain(&mut follower), some(0..3000));
        let half = {
            let mut again = journal.followers().follow(FollowFrom::Position(begun)).unwrap();
            again.next(A_SECOND).unwrap();
            again.position()
        };
        let position = follower.position();
        let read = some(0..3000).len() - {
            let mut rest = journal.followers().follow(FollowFrom::Position(half)).unwrap();
            drain(&mut rest).len()
        };
        drop((follower, lane));
        journal.stop().unwrap();
        // As a kill leaves it: nothing vouches for any of it, and the next start records all once more.
        let path = segments(&dir).pop().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - RECORD]).unwrap();
        for _ in 0..2 {
            let (journal, lane) = start(&dir, durability);
            let followers = journal.followers();
            assert_eq!(drain(&mut followers.follow(FollowFrom::Position(position)).unwrap()), []);
            assert_eq!(drain(&mut followers.follow(FollowFrom::Position(half)).unwrap()), some(read as u32..3000));
            assert_eq!(drain(&mut followers.follow(FollowFrom::Position(begun)).unwrap()), some(0..3000));
            drop(lane);
            journal.stop().unwrap();
        }
    }
}

#[test]
fn what_a_failing_disk_did_not_take_comes_once_when_it_has_taken_it() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = Faults(Arc::clone(&disk.faults.0));
    let (journal, mut lanes) = start_on(disk, Durability::Sync, 1);
    let mut follower = journal.followers().follow(FollowFrom::Now).unwrap();
    commit(&mut lanes[0], &some(0..10));
    faults.set(Some(Fault::Sync));
    for binding in some(10..20) {
        submit(&mut lanes[0], &binding);
    }
    until("failing", || journal.status().failing.is_some());
    assert_eq!(drain(&mut follower), some(0..10), "nothing that is not durable");
    faults.set(None);
    assert_eq!(follower.next(Duration::from_secs(10)).unwrap().bindings, some(10..20));
    assert_eq!(drain(&mut follower), []);
}
