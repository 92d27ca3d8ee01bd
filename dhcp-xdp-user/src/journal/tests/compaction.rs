//! Compaction at start: nothing is lost, whatever goes wrong in it.

use super::*;

#[test]
fn starting_again_and_again_does_not_make_the_journal_grow() {
    let dir = TempDir::new().unwrap();
    let mut size = 0;
    for round in 1..6 {
        recover(&dir).unwrap();
        let (journal, mut lane) = start(&dir, Durability::Sync);
        for number in 0..1000 {
            submit(&mut lane, &binding(number, round, 7));
        }
        journal.stop().unwrap();
        let (found, _) = recover(&dir).unwrap();
        let want: Vec<Binding> = (0..1000).map(|number| binding(number, round, 7)).collect();
        assert_eq!(newest(found).into_values().collect::<Vec<_>>(), want);
        let [snapshot] = &segments(&dir)[..] else { panic!("one segment is left: {:?}", segments(&dir)) };
        size = fs::metadata(snapshot).unwrap().len();
    }
    assert_eq!(size, (1 + 1000 + 1) * RECORD as u64);
    // Nothing to gain: nothing is written.
    let before = segments(&dir);
    recover(&dir).unwrap();
    assert_eq!(segments(&dir), before);
}

#[test]
fn compaction_keeps_the_newest_by_generation_and_the_order_in_time() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    // Two workers' records of an address may come in the other order; generations wrap.
    let (new, old) = (binding(1, 1, 3), binding(1, u32::MAX, 40));
    for binding in [&binding(2, 5, 0), &new, &old, &binding(3, 1, 200), &binding(2, 6, 9)] {
        submit(&mut lane, binding);
    }
    journal.stop().unwrap();
    recover(&dir).unwrap();
    assert_eq!(read(&dir).unwrap().0, [new, binding(3, 1, 200), binding(2, 6, 9)]);
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
    recover(&dir).unwrap();
    assert!(!unfinished.exists() && !old.exists());
    // After the rename, before the old ones went.
    fs::write(&old, saved).unwrap();
    let (found, report) = read(&dir).unwrap();
    assert_eq!((newest(found.clone()), report.records), (want, 2));
    assert_eq!(recover(&dir).unwrap().0, found);
    assert!(!old.exists(), "removed at the next start");
}

#[test]
fn a_disk_that_takes_no_snapshot_does_not_stop_the_start() {
    for fault in [Fault::Create, Fault::Append, Fault::Sync, Fault::Rename] {
        let dir = TempDir::new().unwrap();
        crashed_journal(&dir, &[binding(1, 1, 0), binding(1, 2, 0)]);
        let mut disk = FaultyDisk::new(&dir);
        disk.faults.set(Some(fault));
        let report = Journal::recover_on(&mut disk, dir.path(), |_| ()).unwrap();
        assert_eq!(report.records, 2);
        let (journal, mut lane) = start(&dir, Durability::Sync);
        submit(&mut lane, &binding(1, 3, 0));
        journal.stop().unwrap();
        assert_eq!(newest(recover(&dir).unwrap().0).into_values().collect::<Vec<_>>(), [binding(1, 3, 0)], "{fault:?}");
        assert!(segment::list_unfinished(dir.path()).unwrap().is_empty(), "{fault:?}");
    }
}

#[test]
fn old_segments_stay_while_it_is_not_known_that_the_snapshot_has_its_name() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(1, 2, 0), binding(2, 1, 71)]);
    let old = segments(&dir).pop().unwrap();
    let want = newest(read(&dir).unwrap().0);
    let mut disk = FaultyDisk::new(&dir);
    disk.faults.set(Some(Fault::RenameSync));
    Journal::recover_on(&mut disk, dir.path(), |_| ()).unwrap();
    assert!(old.exists(), "a power cut may take the new name away");
    // It does.
    let snapshot = segments(&dir).pop().unwrap();
    fs::rename(snapshot, dir.path().join(segment::unfinished_name(1))).unwrap();
    assert_eq!(newest(recover(&dir).unwrap().0), want);
    assert!(!old.exists(), "removed once the snapshot has its name");
    assert_eq!(newest(read(&dir).unwrap().0), want);
}
