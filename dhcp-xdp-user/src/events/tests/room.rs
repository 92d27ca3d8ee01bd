//! The history and the journal on one disk, of which there is not enough.

use super::*;
use crate::history::Checkpoint;

const MIB: u64 = 1 << 20;

/// A tenth of a thousand MiB is left for the journal.
fn reserving(dir: TempDir, max_lag_bytes: u64) -> World {
    World::start_with(dir, |history| {
        history.keep_free = Reserve { percent: 10, most_bytes: u64::MAX };
        history.max_lag_bytes = max_lag_bytes;
    })
}

fn set_free(world: &World, free: u64) {
    *world.room.lock().unwrap() = Some(Room { total: 1000 * MIB, free });
}

#[test]
fn beneath_the_reserve_the_history_waits_and_says_so_once_and_then_has_each_change_once() {
    let mut world = reserving(TempDir::new().unwrap(), 1 << 40);
    set_free(&world, 101 * MIB);
    let now_s = now_s();
    world.submit(1, Bound, 1, now_s, now_s + 1000);
    until("written", || world.stats().lines == 1);
    set_free(&world, 99 * MIB);
    for number in 2..300 {
        world.submit(number, Bound, 1, now_s, now_s + 1000);
    }
    until("told", || world.stats().failing.is_some());
    let why = world.stats().failing.unwrap();
    for part in [
        "/history: held back: 99.0 MiB are free",
        "100.0 MiB are left free for the journal",
        "keep_free_percent",
        "make room",
    ] {
        assert!(why.contains(part), "{part} is not in: {why}");
    }
    let said = Checkpoint::read(&world.dir.path().join(HISTORY_DIR)).unwrap().unwrap();
    // So little more is no reason to begin: it would stop at once.
    set_free(&world, 101 * MIB);
    std::thread::sleep(Duration::from_millis(100));
    let stats = world.stats();
    assert_eq!((stats.held_back, stats.lines, lines(world.dir.path()).len()), (1, 1, 1));
    let now = Checkpoint::read(&world.dir.path().join(HISTORY_DIR)).unwrap().unwrap();
    assert_eq!(now, said, "it neither says that it is complete nor that it has read the journal");
    set_free(&world, 120 * MIB);
    until("caught up", || world.stats().lines == 299);
    assert_eq!((world.stats().failing, world.stats().held_back), (None, 1));
    let (dir, stats) = world.stop();
    assert_eq!(stats.gaps, 0);
    let found = counts(dir.path());
    assert!(found.len() == 299 && found.values().all(|count| *count == 1), "{} lines", found.len());
}

#[test]
fn a_history_that_has_nothing_to_write_says_that_it_is_complete_on_a_full_disk_too() {
    let world = reserving(TempDir::new().unwrap(), 1 << 40);
    set_free(&world, 0);
    std::thread::sleep(Duration::from_millis(50));
    let (dir, stats) = world.stop();
    assert_eq!((stats.failing, stats.held_back), (None, 0));
    let last = Checkpoint::read(&dir.path().join(HISTORY_DIR)).unwrap().unwrap();
    assert!(last.complete_until_s >= now_s() - 10, "{last:?}");
}

#[test]
fn files_whose_time_is_over_are_removed_also_while_the_history_waits_for_room() {
    let mut world = World::start_with(TempDir::new().unwrap(), |history| {
        history.keep_free = Reserve { percent: 10, most_bytes: u64::MAX };
        history.rotate_bytes = 1;
        history.keep = Some(Duration::from_secs(106));
    });
    let at_s = now_s() - 100;
    for number in 0..2 {
        world.submit(number, Bound, 1, at_s, at_s + 1000);
        until("written", || world.stats().lines == u64::from(number) + 1);
    }
    set_free(&world, 0);
    world.submit(2, Bound, 1, at_s, at_s + 1000);
    until("held back", || world.stats().held_back == 1);
    assert_eq!(names(world.dir.path()).len(), 2, "the time of the first is not over");
    until("the first to be removed", || names(world.dir.path()).len() == 1);
    assert_eq!((world.stats().lines, world.stats().removed_early), (2, 0));
}

#[test]
fn a_server_that_stops_while_the_history_is_held_back_leaves_the_rest_to_the_next_start() {
    let mut world = reserving(TempDir::new().unwrap(), 1 << 40);
    set_free(&world, 0);
    let now_s = now_s();
    for number in 0..50 {
        world.submit(number, Bound, 1, now_s, now_s + 1000);
    }
    until("told", || world.stats().held_back == 1);
    let start = Instant::now();
    let (dir, stats) = world.stop();
    assert!(start.elapsed() < Duration::from_secs(3), "room does not come of waiting: {:?}", start.elapsed());
    assert_eq!(stats.lines, 0);
    let world = reserving(dir, 1 << 40);
    until("caught up", || world.stats().lines == 50);
    let (dir, stats) = world.stop();
    assert_eq!((stats.gaps, counts(dir.path()).len()), (0, 50));
}

#[test]
fn a_history_that_was_held_back_for_longer_than_the_journal_waits_says_since_when_it_misses_changes() {
    let mut world = reserving(TempDir::new().unwrap(), 2 * MIB);
    set_free(&world, 500 * MIB);
    let now_s = now_s();
    world.submit(0, Bound, 1, now_s, now_s + 1000);
    until("written", || world.stats().lines == 1);
    set_free(&world, 50 * MIB);
    let status = |world: &World| world.journal.as_ref().unwrap().status();
    // Address 1 comes and goes, and nobody will know.
    for generation in 1..=2 {
        world.submit(1, if generation == 1 { Bound } else { Released }, generation, now_s, now_s + 1000);
    }
    until("held back", || world.stats().held_back == 1);
    // Five MiB, which it has not read.
    for generation in 1..=40 {
        for number in 2..2000 {
            world.submit(number, Bound, generation, now_s, now_s + 1000);
        }
    }
    until("the journal waits no longer", || status(&world).followers_dropped == 1 && status(&world).compactions > 0);
    assert!(world.stats().failing.is_some(), "it is held back still");
    let before = lines(world.dir.path()).len();
    set_free(&world, 500 * MIB);
    until("a gap", || world.stats().gaps == 1);
    until("all that is bound once more", || world.stats().lines >= before as u64 + 1999);
    let (dir, stats) = world.stop();
    assert_eq!((stats.gaps, stats.failing), (1, None));
    let search = Search::open(&dir.path().join(HISTORY_DIR)).unwrap();
    let asked = |span_s| search.find(&Query { address: Some(Ipv4Addr::new(10, 0, 0, 1)), span_s, ..Query::default() });
    let found = asked(Some((now_s, now_s + 1))).unwrap();
    let [missing] = &found.missing[..] else { panic!("{found:?}") };
    assert!(missing.from_s > 0 && missing.from_s <= now_s && missing.to_s >= now_s, "{missing:?}");
    assert!(missing.reason.contains("behind for too long"), "{missing:?}");
    assert_eq!(asked(Some((5, now_s - 1000))).unwrap().missing, []);
}
