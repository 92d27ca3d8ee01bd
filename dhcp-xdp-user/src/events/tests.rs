//! Events from a journal's records to the history and the hook.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    hook::*,
    keeper::Keeper,
    recorder::*,
    watch::{Begin, Watch},
    *,
};
use crate::{
    config::Durability,
    history::{Line, Query, Search},
    journal::{self, CompactionPolicy, Journal, Lane, Recovery},
    lease::{BindingState, HwAddress, Kept, Lease, PoolRange},
    patience::until,
    room::Room,
    wake::Wake,
};

mod hooks;
mod room;

/// A state directory, and a server of it as far as events go.
struct World {
    dir: TempDir,
    journal: Option<Journal>,
    lane: Lane,
    followers: Followers,
    /// What the history's file system is said to have; none: it does not say.
    room: Arc<Mutex<Option<Room>>>,
    stats: Arc<Mutex<HistoryStats>>,
    stopping: Arc<AtomicBool>,
    recorder: Option<JoinHandle<()>>,
}

fn table() -> Arc<LeaseTable> {
    let first = Ipv4Addr::new(10, 0, 0, 0);
    Arc::new(LeaseTable::new(&[PoolRange { subnet: 0, first, last: Ipv4Addr::new(10, 0, 255, 255) }], [1, 2]))
}

fn history_of(dir: &Path) -> HistorySettings {
    HistorySettings {
        directory: Some(dir.join(HISTORY_DIR)),
        rotate_bytes: 200 << 10,
        rotate_after: Duration::from_secs(86_400),
        keep: None,
        max_bytes: None,
        max_lag_bytes: 1 << 40,
        keep_free: Reserve::default(),
    }
}

impl World {
    fn start(dir: TempDir) -> Self {
        Self::start_with(dir, |_| ())
    }

    fn start_with(dir: TempDir, change: impl FnOnce(&mut HistorySettings)) -> Self {
        let mut history = history_of(dir.path());
        change(&mut history);
        fs::create_dir_all(history.directory.as_ref().unwrap()).unwrap();
        let clock = Clock::start();
        let options = journal::Options {
            compaction: CompactionPolicy { percent: 1, segments: 2 },
            clock,
            retain: Some(history.retain(dir.path())),
            ..journal::Options::new(Durability::Sync)
        };
        let wakes = vec![Arc::new(Wake::new().unwrap())];
        let (journal, mut lanes) = Recovery::open(dir.path()).unwrap().start(options, wakes).unwrap();
        let (stats, stopping) = (Arc::default(), Arc::default());
        let room: Arc<Mutex<Option<Room>>> = Arc::default();
        let asked = Arc::clone(&room);
        let followers = journal.followers();
        let recorder = Recorder {
            settings: history.files(dir.path()),
            max_lag_bytes: history.max_lag_bytes,
            followers: followers.clone(),
            table: table(),
            clock,
            line: Box::new(|event, ahead_s| Line::new(event, None, &crate::config::Vrfs::default(), ahead_s)),
            keeper: Keeper::asking(history.keep_free, Box::new(move || Ok(*asked.lock().unwrap()))),
            tidied: Instant::now(),
            stats: Arc::clone(&stats),
            stopping: Arc::clone(&stopping),
        };
        let recorder = Some(std::thread::spawn(move || recorder.run()));
        let lane = lanes.pop().unwrap();
        Self { dir, journal: Some(journal), lane, followers, room, stats, stopping, recorder }
    }

    fn submit(&mut self, number: u32, state: BindingState, generation: u32, started_s: u32, expires_s: u32) {
        self.submit_kept(number, state, generation, (started_s, expires_s), Kept::default());
    }

    fn submit_kept(
        &mut self,
        number: u32,
        state: BindingState,
        generation: u32,
        (started_s, expires_s): (u32, u32),
        kept: Kept<'_>,
    ) {
        let mut hw = HwAddress { htype: 1, hlen: 6, ..HwAddress::default() };
        hw.chaddr[2..6].copy_from_slice(&number.to_be_bytes());
        let address = Ipv4Addr::from(0x0a00_0000 + number);
        let lease = Lease { space: crate::lease::Space::GLOBAL, address, state, generation, started_s, expires_s };
        until("room", || self.lane.has_room());
        self.lane.submit(&lease, &hw, b"", kept).unwrap();
    }

    fn stop(mut self) -> (TempDir, HistoryStats) {
        self.journal.take().unwrap().stop().unwrap();
        self.stopping.store(true, Ordering::Relaxed);
        self.recorder.take().unwrap().join().unwrap();
        let stats = self.stats.lock().unwrap().clone();
        (self.dir, stats)
    }

    fn stats(&self) -> HistoryStats {
        self.stats.lock().unwrap().clone()
    }
}

fn lines(dir: &Path) -> Vec<Line> {
    let mut names: Vec<_> = fs::read_dir(dir.join(HISTORY_DIR))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    names.sort();
    let mut all = Vec::new();
    for path in names {
        let text = fs::read_to_string(path).unwrap();
        // A gap is a line without an address.
        all.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    all
}

/// How often the history has each change.
fn counts(dir: &Path) -> BTreeMap<(Ipv4Addr, u32, String), u32> {
    let mut counts = BTreeMap::new();
    for line in lines(dir) {
        *counts.entry((line.lease.address, line.generation, line.event)).or_insert(0) += 1;
    }
    counts
}

fn now_s() -> u32 {
    Clock::start().now_s()
}

use BindingState::{Bound, Released};

#[test]
fn leases_become_lines_and_their_ends_too() {
    let mut world = World::start(TempDir::new().unwrap());
    let now_s = now_s();
    world.submit(1, Bound, 1, now_s, now_s + 1000);
    // Over when it is looked at.
    world.submit(2, Bound, 1, now_s - 100, now_s - 50);
    world.submit(3, Bound, 1, now_s, now_s + 1000);
    world.submit(3, Released, 2, now_s + 1, now_s + 1);
    until("written", || world.stats().lines == 5);
    let (dir, stats) = world.stop();
    assert_eq!((stats.gaps, stats.failing), (0, None));
    let mut told: Vec<_> = lines(dir.path()).iter().map(|l| (l.event.clone(), l.lease.address.octets()[3])).collect();
    // It is told when it is looked at, which is at any time after it was bound.
    let expired = told.iter().position(|(event, _)| event == "expired").unwrap();
    assert!(expired > told.iter().position(|(_, address)| *address == 2).unwrap(), "{told:?}");
    assert_eq!(told.remove(expired), ("expired".into(), 2));
    assert_eq!(told, [("bound", 1), ("bound", 2), ("bound", 3), ("released", 3)].map(|(e, a)| (e.to_owned(), a)));
    let search = Search::open(&dir.path().join(HISTORY_DIR)).unwrap();
    let who = |address: &str, at_s| {
        let query = Query { address: Some(address.parse().unwrap()), span_s: Some((at_s, at_s)), ..Query::default() };
        search.find(&query).unwrap().holds.first().map(|hold| hold.lease.hw_address.clone().unwrap())
    };
    assert_eq!(who("10.0.0.1", now_s + 10).as_deref(), Some("00:00:00:00:00:01"));
    assert_eq!(who("10.0.0.2", now_s - 60).as_deref(), Some("00:00:00:00:00:02"));
    assert_eq!(who("10.0.0.2", now_s), None);
}

#[test]
fn the_end_of_a_lease_is_told_also_while_others_renew_all_the_time() {
    let mut world = World::start(TempDir::new().unwrap());
    let now_s = now_s();
    world.submit(1, Bound, 1, now_s - 100, now_s - 50);
    let mut generation = 0;
    until("told", || {
        generation += 1;
        world.submit(2, Bound, generation, now_s, now_s + 1000);
        lines(world.dir.path()).iter().any(|line| line.event == "expired")
    });
}

#[test]
fn a_history_that_is_behind_does_not_say_that_it_is_complete() {
    let mut world = World::start(TempDir::new().unwrap());
    let now_s = now_s();
    for number in 0..3000 {
        world.submit(number, Bound, 1, now_s, now_s + 1000);
    }
    until("durable", || world.lane.durable().0 == 3000);
    let mut watch = Watch::begin(&world.followers, Clock::start(), Begin::Oldest { max_bytes: u64::MAX }).unwrap();
    let mut events = 0;
    while events < 3000 {
        assert_eq!((watch.complete_until_s(), watch.expired_until_s()), (None, 0), "{events} of 3000");
        watch.step(Duration::ZERO, |_, _| events += 1).unwrap();
    }
    assert!(watch.complete_until_s() >= Some(now_s - 10) && watch.expired_until_s() >= now_s - 10);
}

/// As `kill -9` leaves it: the checkpoint of one moment, lines of a later one, and the journal of a still later one.
fn killed_copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    fs::create_dir(to.path().join(HISTORY_DIR)).unwrap();
    let copy = |dir: &str, wanted: &dyn Fn(&str) -> bool| {
        for entry in fs::read_dir(from.join(dir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if wanted(&name) {
                // Some go while this looks.
                let _ = fs::copy(from.join(dir).join(&name), to.path().join(dir).join(&name));
            }
        }
    };
    copy(HISTORY_DIR, &|name| name == "history.state");
    copy(HISTORY_DIR, &|name| name.starts_with("history-"));
    copy("", &|name| name.starts_with("journal-"));
    to
}

#[test]
fn after_kills_the_history_has_each_durable_change_once() {
    let mut dir = TempDir::new().unwrap();
    let mut generation = 0;
    let mut expected = BTreeMap::new();
    for round in 0..6u64 {
        let mut world = World::start(dir);
        let now_s = now_s();
        for _ in 0..8 {
            generation += 1;
            for number in 0..500 {
                let state = if generation % 2 == 1 { Bound } else { Released };
                world.submit(number, state, generation, now_s, now_s + 5000);
                let event = if generation % 2 == 1 { "bound" } else { "released" };
                expected.insert((Ipv4Addr::from(0x0a00_0000 + number), generation, event.to_owned()), 1);
            }
            std::thread::sleep(Duration::from_millis(round * 7));
        }
        until("durable", || world.lane.durable().0 == u64::from(500 * 8u32));
        let killed = killed_copy(world.dir.path());
        drop(world.stop());
        dir = killed;
    }
    let world = World::start(dir);
    until("caught up", || world.followers.behind_bytes(world.followers.now()) == 0);
    let (dir, stats) = world.stop();
    assert_eq!(stats.gaps, 0);
    let found = counts(dir.path());
    assert_eq!(found.len(), expected.len());
    assert_eq!(found, expected);
}

#[test]
fn a_disk_that_fails_is_told_and_all_is_caught_up_with() {
    let mut world = World::start(TempDir::new().unwrap());
    let history = world.dir.path().join(HISTORY_DIR);
    let now_s = now_s();
    world.submit(1, Bound, 1, now_s, now_s + 1000);
    until("written", || lines(world.dir.path()).len() == 1);
    // Nothing can be written where the directory is not.
    fs::rename(&history, world.dir.path().join("aside")).unwrap();
    for number in 2..300 {
        world.submit(number, Bound, 1, now_s, now_s + 1000);
    }
    until("told", || world.stats().failing.is_some_and(|why| why.contains("history")));
    fs::rename(world.dir.path().join("aside"), &history).unwrap();
    until("caught up", || lines(world.dir.path()).len() == 299);
    until("told", || world.stats().failing.is_none());
    let (dir, _) = world.stop();
    assert!(counts(dir.path()).values().all(|count| *count == 1));
}

#[test]
fn a_history_that_was_behind_for_too_long_says_that_there_is_a_gap() {
    let world = World::start(TempDir::new().unwrap());
    let mut world = world;
    let now_s = now_s();
    world.submit(1, Bound, 1, now_s, now_s + 1000);
    until("written", || lines(world.dir.path()).len() == 1);
    let (dir, _) = world.stop();
    // Somebody lets the server run without a history, and it compacts.
    let options = || journal::Options {
        compaction: CompactionPolicy { percent: 1, segments: 1 },
        ..journal::Options::new(Durability::Sync)
    };
    for _ in 0..2 {
        let (journal, _lanes) = Recovery::open(dir.path()).unwrap().start(options(), vec![]).unwrap();
        until("compacted", || journal.status().compactions > 0);
        journal.stop().unwrap();
    }
    let world = World::start(dir);
    until("a gap", || world.stats().gaps == 1);
    until("the live leases once more", || lines(world.dir.path()).len() == 2);
    let (dir, _) = world.stop();
    let told: Vec<_> = lines(dir.path()).iter().map(|line| line.event.clone()).collect();
    assert_eq!(told, ["bound", "bound"], "of the first record of an address nothing is missing");
    // And another start goes on from there.
    let (dir, stats) = World::start(dir).stop();
    assert_eq!((stats.gaps, lines(dir.path()).len()), (0, 2));
}

/// The history's files.
fn names(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir.join(HISTORY_DIR)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

#[test]
fn a_file_that_is_removed_while_it_is_written_leaves_a_gap_and_what_is_bound_is_told_again() {
    let mut world = World::start(TempDir::new().unwrap());
    let now_s = now_s();
    world.submit(1, Bound, 1, now_s, now_s + 1000);
    until("written", || lines(world.dir.path()).len() == 1);
    // As somebody's `logrotate` does.
    let [file] = &names(world.dir.path())[..] else { panic!("one file") };
    fs::rename(file, file.with_extension("jsonl.1")).unwrap();
    world.submit(2, Bound, 1, now_s, now_s + 1000);
    until("both in another file", || lines(world.dir.path()).len() == 2);
    let (dir, stats) = world.stop();
    assert_eq!(stats.gaps, 1);
    // The same while no server runs.
    for file in names(dir.path()) {
        fs::remove_file(file).unwrap();
    }
    let world = World::start(dir);
    until("both once more", || lines(world.dir.path()).len() == 2);
    let (dir, stats) = world.stop();
    assert_eq!(stats.gaps, 1);
    let (dir, stats) = World::start(dir).stop();
    assert_eq!((stats.gaps, lines(dir.path()).len()), (0, 2));
}

#[test]
fn a_history_begins_with_what_is_bound() {
    let dir = TempDir::new().unwrap();
    let mut world = World::start(dir);
    let now_s = now_s();
    world.submit(1, Bound, 4, now_s, now_s + 1000);
    world.submit(2, Released, 4, now_s, now_s);
    until("written", || world.stats().lines == 1);
    let (dir, _) = world.stop();
    let told: Vec<_> = lines(dir.path()).iter().map(|line| (line.event.clone(), line.generation)).collect();
    assert_eq!(told, [("renewed".to_owned(), 4)]);
}
