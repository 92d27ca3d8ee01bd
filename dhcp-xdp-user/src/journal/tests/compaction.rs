//! Compaction: nothing is lost, whatever goes wrong in it.

use super::*;
use crate::{
    journal::{
        chain::Link,
        compact::Compaction,
        compactor::{Compactor, Idle, LOOK_AT_DISK},
        segment::{Carried, Header, Kind},
    },
    room::{Reserve, Room},
};

/// What a server does beside serving, at once.
fn compact(dir: &TempDir) {
    Journal::compact(dir.path()).unwrap();
}

#[test]
fn starting_and_compacting_again_and_again_does_not_make_the_journal_grow() {
    let dir = TempDir::new().unwrap();
    let mut size = 0;
    for round in 1..6 {
        recover(&dir).unwrap();
        let (journal, mut lane) = start(&dir, Durability::Sync);
        for number in 0..1000 {
            submit(&mut lane, &binding(number, round, 7));
        }
        journal.stop().unwrap();
        compact(&dir);
        let (found, _) = recover(&dir).unwrap();
        let want: Vec<Binding> = (0..1000).map(|number| binding(number, round, 7)).collect();
        assert_eq!(found, want);
        let [snapshot] = &segments(&dir)[..] else { panic!("one file is left: {:?}", segments(&dir)) };
        size = fs::metadata(snapshot).unwrap().len();
    }
    assert_eq!(size, (1 + 1000 + 1) * RECORD as u64);
    // Nothing to gain: nothing is written.
    let before = segments(&dir);
    compact(&dir);
    assert_eq!(segments(&dir), before);
}

#[test]
fn compaction_keeps_the_newest_by_generation_in_the_order_of_addresses() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    // Two workers' records of an address may come in the other order; generations wrap.
    let (new, old) = (binding(1, 1, 3), binding(1, u32::MAX, 40));
    for binding in [&binding(2, 5, 0), &new, &old, &binding(3, 1, 200), &binding(2, 6, 9)] {
        submit(&mut lane, binding);
    }
    journal.stop().unwrap();
    compact(&dir);
    assert_eq!(read(&dir).unwrap().0, [new.clone(), binding(2, 6, 9), binding(3, 1, 200)]);
    // A record from before the snapshot that comes late is outdated; new addresses come in between.
    let (journal, mut lane) = start(&dir, Durability::Sync);
    for binding in [&binding(3, 0, 0), &binding(0, 1, 255), &binding(4, 1, 71), &binding(2, 7, 0)] {
        submit(&mut lane, binding);
    }
    journal.stop().unwrap();
    compact(&dir);
    let want = [binding(0, 1, 255), new, binding(2, 7, 0), binding(3, 1, 200), binding(4, 1, 71)];
    assert_eq!(recover(&dir).unwrap().0, want);
}

#[test]
fn a_running_server_compacts_what_is_closed_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lanes) = Journal::start(dir.path(), Durability::Sync, wakes(1)).unwrap();
    let lane = &mut lanes[0];
    let mut want = BTreeMap::new();
    let mut last = Ticket::default();
    for generation in 1..=40 {
        for number in 0..700 {
            let binding = binding(number, generation, number as usize % 90);
            until("room", || lane.has_room());
            last = submit(lane, &binding);
            want.insert(binding.at(), binding);
        }
        // Readers are never disturbed.
        assert!(newest(read(&dir).unwrap().0).len() <= 700);
    }
    until("durable", || lane.durable() == last);
    until("compacted", || journal.status().compactions > 0 && !journal.status().compacting);
    let status = journal.status();
    assert_eq!((status.failing, status.compaction_failing), (None, None));
    assert_eq!(newest(read(&dir).unwrap().0), want, "beside the running server");
    let bytes: u64 = segments(&dir).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < 4 * segment::ROTATE_AT, "{bytes}: {:?}", segments(&dir));
    journal.stop().unwrap();
    assert_eq!(newest(recover(&dir).unwrap().0), want);
    assert!(segments(&dir)[0].extension().is_some_and(|kind| kind == "snap"));
    assert!(read(&dir).unwrap().1.records < 40 * 700 / 2);
}

#[test]
fn a_crash_in_the_middle_of_compaction_loses_nothing() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(1, 2, 50), binding(2, 1, 0)]);
    let want = newest(read(&dir).unwrap().0);
    let old = segments(&dir).pop().unwrap();
    // Before the rename: an unfinished file, of whatever content.
    let unfinished = dir.path().join(segment::unfinished_name(1));
    fs::write(&unfinished, &fs::read(&old).unwrap()[..100]).unwrap();
    assert_eq!(newest(read(&dir).unwrap().0), want);
    let saved = fs::read(&old).unwrap();
    compact(&dir);
    assert!(!unfinished.exists() && !old.exists());
    // After the rename, before the old ones went.
    fs::write(&old, saved).unwrap();
    let (found, report) = read(&dir).unwrap();
    assert_eq!((newest(found.clone()), report.records), (want, 2));
    assert_eq!(recover(&dir).unwrap().0, found);
    let (journal, _lane) = start(&dir, Durability::Sync);
    until("removed at the next start", || !old.exists());
    journal.stop().unwrap();
    assert_eq!(recover(&dir).unwrap().0, found);
}

#[test]
fn a_disk_that_takes_no_snapshot_loses_nothing() {
    for fault in [Fault::Create, Fault::Append, Fault::Sync, Fault::Rename] {
        let dir = TempDir::new().unwrap();
        crashed_journal(&dir, &[binding(1, 1, 0), binding(1, 2, 0)]);
        let disk = FaultyDisk::new(&dir);
        disk.faults.set(Some(fault));
        assert!(Journal::compact_on(&disk).is_err());
        let (journal, mut lane) = start(&dir, Durability::Sync);
        submit(&mut lane, &binding(1, 3, 0));
        journal.stop().unwrap();
        assert_eq!(newest(recover(&dir).unwrap().0).into_values().collect::<Vec<_>>(), [binding(1, 3, 0)], "{fault:?}");
        compact(&dir);
        assert_eq!(segments(&dir).len(), 1, "{fault:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{fault:?}");
    }
}

#[test]
fn old_segments_stay_while_it_is_not_known_that_the_snapshot_has_its_name() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(1, 2, 0), binding(2, 1, 71)]);
    let old = segments(&dir).pop().unwrap();
    let want = newest(read(&dir).unwrap().0);
    let disk = FaultyDisk::new(&dir);
    disk.faults.set(Some(Fault::RenameSync));
    assert!(Journal::compact_on(&disk).is_err());
    assert!(old.exists(), "a power cut may take the new name away");
    // It does.
    let snapshot = segments(&dir).pop().unwrap();
    fs::rename(snapshot, dir.path().join(segment::unfinished_name(1))).unwrap();
    assert_eq!(newest(recover(&dir).unwrap().0), want);
    compact(&dir);
    assert!(!old.exists(), "removed once the snapshot has its name");
    assert_eq!(newest(read(&dir).unwrap().0), want);
}

#[test]
fn damage_to_a_closed_segment_is_told_by_compaction_and_nothing_is_removed() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(1, 2, 0)]);
    crashed_journal(&dir, &[binding(2, 1, 0)]);
    let damaged = segments(&dir)[0].clone();
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[2 * RECORD + 30] ^= 4;
    fs::write(&damaged, &bytes).unwrap();
    let before = segments(&dir);
    let error = Journal::compact(dir.path()).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { offset: 128, .. }), "{error}");
    assert_eq!(segments(&dir), before);
}

#[test]
fn a_snapshot_that_lost_its_end_or_a_bit_is_damage() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(2, 1, 100), binding(3, 1, 7)]);
    compact(&dir);
    let snapshot = segments(&dir).pop().unwrap();
    let whole = fs::read(&snapshot).unwrap();
    for len in 0..whole.len() {
        fs::write(&snapshot, &whole[..len]).unwrap();
        assert!(recover(&dir).is_err(), "cut at {len}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&snapshot, &bytes).unwrap();
        assert!(recover(&dir).is_err(), "byte {at}");
    }
}

#[test]
fn one_address_in_two_address_spaces_is_two_leases_to_compaction_and_recovery() {
    let spaced = |space, generation, id_len| Binding { space: Space(space), ..binding(7, generation, id_len) };
    // The one of the VPN is older by its generation, and has a continuation.
    let all = [spaced(0, 9, 0), spaced(0x0201, 2, 200), spaced(0x0201, 3, 90), spaced(0, 10, 0), binding(6, 1, 0)];
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    all.iter().for_each(|binding| assert!(submit(&mut lane, binding).0 > 0));
    journal.stop().unwrap();
    let want = newest(all.clone());
    assert_eq!(want.len(), 3);
    assert_eq!(newest(recover(&dir).unwrap().0), want);
    Journal::compact(dir.path()).unwrap();
    let (found, _) = read(&dir).unwrap();
    assert_eq!(found.iter().map(Binding::at).collect::<Vec<_>>(), want.keys().copied().collect::<Vec<_>>());
    assert_eq!(newest(recover(&dir).unwrap().0), want, "once, in the order of spaces and addresses");
    let inspection = inspect(dir.path(), 0, &mut |_| ()).unwrap();
    assert_eq!((inspection.addresses, inspection.is_sound()), (3, true));
}

#[test]
fn a_file_that_a_list_leaves_out_is_looked_for_again_before_it_is_said_to_be_missing() {
    let dir = TempDir::new().unwrap();
    for round in 1..4 {
        let (journal, mut lane) = start(&dir, Durability::Sync);
        submit(&mut lane, &binding(1, round, 0));
        journal.stop().unwrap();
    }
    let disk = FaultyDisk::new(&dir);
    let files = segment::list(&disk).unwrap().whole;
    let want = chain::walk(&disk).unwrap();
    assert!(want.len() == 3, "{want:?}");
    disk.faults.leave_out(&segment::name(files[1].0, files[1].1), 2);
    assert_eq!(chain::walk(&disk).unwrap(), want);
    disk.faults.leave_out(&segment::name(files[1].0, files[1].1), usize::MAX);
    assert!(matches!(chain::walk(&disk), Err(JournalError::Missing { .. })));
}

#[test]
fn compaction_that_has_no_idle_time_is_done_once_there_is_four_times_as_much_as_is_worth_it() {
    let link = |number, kind, len| {
        let header = Header { kind, number, seed: 0, previous: None, carries: false, carried: Carried::default() };
        Link { name: segment::name(number, kind), header, len, limit: None, is_cut: false }
    };
    let snapshot = 10 * segment::ROTATE_AT;
    let chain = |segments: u64| -> Vec<Link> {
        let closed = (2..2 + segments).map(|number| link(number, Kind::Segment, segment::ROTATE_AT));
        let open = link(2 + segments, Kind::Segment, segment::ROTATE_AT);
        [link(1, Kind::Snapshot, snapshot)].into_iter().chain(closed).chain([open]).collect()
    };
    let policy = CompactionPolicy { percent: 50, segments: 1000 };
    // Half of the snapshot are five; the open one does not count.
    assert!(policy.plan(&chain(4)).is_empty() && !policy.plan(&chain(5)).is_empty());
    assert!(!policy.is_behind(&chain(19)) && policy.is_behind(&chain(20)));
    assert!(!CompactionPolicy { percent: 0, ..policy }.is_behind(&chain(1000)), "never while the server runs");
    assert!(!policy.is_behind(&[]));
}

/// A compactor of a journal whose server has ended, with segments that are due.
fn compactor(dir: &TempDir) -> (Compactor, disk::Faults, Vec<Binding>) {
    let (journal, mut lane) = start(dir, Durability::Sync);
    let some: Vec<Binding> = (0..20_000).map(|number| binding(number, 1, 0)).collect();
    for binding in &some {
        until("room", || lane.has_room());
        submit(&mut lane, binding);
    }
    journal.stop().unwrap();
    let disk = FaultyDisk::new(dir);
    let faults = disk.faults.clone();
    let compactor = Compactor {
        disk: Arc::new(disk),
        policy: CompactionPolicy { percent: 1, segments: 2 },
        shared: Arc::new(Shared::new(wakes(1))),
        reserve: Reserve::default(),
        closed: bounded(1).1,
    };
    (compactor, faults, some)
}

const ENOUGH: Room = Room { total: 100 << 30, free: 50 << 30 };
const LITTLE: Room = Room { total: 100 << 30, free: 1 << 20 };

#[test]
fn compaction_waits_for_idle_time_only_where_the_disk_has_room_for_two_more_of_the_journal() {
    let dir = TempDir::new().unwrap();
    let (compactor, faults, some) = compactor(&dir);
    // A thread that will never do a step.
    let never = Idle { steps: bounded(1).0, stepped: bounded(1).1 };
    faults.set_room(ENOUGH);
    assert!(compactor.compact_what_is_due(Some(&never)).is_err());
    faults.set_room(LITTLE);
    compactor.compact_what_is_due(Some(&never)).unwrap();
    assert!(segments(&dir)[0].extension().is_some_and(|kind| kind == "snap"), "{:?}", segments(&dir));
    assert_eq!(newest(recover(&dir).unwrap().0), newest(some));
}

#[test]
fn a_compaction_that_becomes_urgent_no_longer_waits_for_idle_time() {
    let dir = TempDir::new().unwrap();
    let (compactor, faults, some) = compactor(&dir);
    let (steps, to_do) = bounded::<Compaction>(1);
    let (done, stepped) = bounded(1);
    faults.set_room(ENOUGH);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // One step, in which the disk fills; for another one it has no time.
            let compaction = to_do.recv().unwrap();
            std::thread::sleep(2 * LOOK_AT_DISK);
            faults.set_room(LITTLE);
            done.send(compaction.step(&*compactor.disk)).unwrap();
            drop((to_do, done));
        });
        compactor.compact_what_is_due(Some(&Idle { steps, stepped })).unwrap();
    });
    assert_eq!(newest(recover(&dir).unwrap().0), newest(some));
}
