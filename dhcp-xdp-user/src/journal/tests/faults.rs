//! Disks that fail, stall and lose what was not synced.

use super::*;

#[test]
fn a_lane_is_full_when_the_disk_stalls_and_refuses_whole_changes_only() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = start_on(disk, Durability::Sync, 2);
    let (mut other, mut lane) = (lanes.pop().unwrap(), lanes.pop().unwrap());
    faults.set(Some(Fault::Sync));
    let mut submitted = 0;
    while lane.has_room() {
        submit(&mut lane, &binding(submitted, 1, 255));
        submitted += 1;
    }
    assert!(submitted > 1000);
    while lane
        .submit(&lease(&binding(submitted, 1, 255)), &binding(submitted, 1, 255).hw, &[7; 255], Kept::default())
        .is_ok()
    {
        submitted += 1;
    }
    assert_eq!(lane.durable(), Ticket(0), "nothing is durable while the disk fails");
    assert!(other.has_room(), "one lane does not take another one's room");
    let ticket = submit(&mut other, &binding(1 << 20, 1, 0));
    until("failing is told", || journal.status().failing.is_some());
    faults.set(None);
    until("durable", || other.durable() >= ticket && lane.has_room());
    until("overcome", || journal.status().failing.is_none());
    journal.stop().unwrap();
    assert_eq!(newest(recover(&dir).unwrap().0).len() as u32, submitted + 1);
}

#[test]
fn nothing_is_durable_while_the_disk_fails_and_all_is_when_it_recovers() {
    for fault in [Fault::Append, Fault::TornAppend, Fault::Sync, Fault::Create] {
        let dir = TempDir::new().unwrap();
        let disk = FaultyDisk::new(&dir);
        let faults = disk.faults.clone();
        let (journal, mut lanes) = start_on(disk, Durability::Sync, 1);
        let mut lane = lanes.pop().unwrap();
        let mut want = Vec::new();
        for round in 0..3 {
            let before = submit(&mut lane, &binding(round, 1, 30));
            until("durable", || lane.durable() == before);
            faults.set(Some(fault));
            if fault == Fault::Create {
                // Only a new segment makes files: lose the present one.
                faults.set_all(&[Fault::Append, Fault::Create]);
            }
            let after = submit(&mut lane, &binding(round, 2, 100));
            let reason = io::Error::from_raw_os_error(fault.errno()).to_string();
            until("failing is told", || journal.status().failing.is_some_and(|told| told.contains(&reason)));
            assert_eq!(lane.durable(), before);
            faults.set(None);
            until("durable again", || lane.durable() == after);
            assert!(journal.status().failing.is_none());
            want.extend([binding(round, 1, 30), binding(round, 2, 100)]);
        }
        journal.stop().unwrap();
        let (mut found, _) = recover(&dir).unwrap();
        found.dedup();
        assert_eq!(found, want, "{fault:?}");
        Journal::compact(dir.path()).unwrap();
        assert_eq!(recover(&dir).unwrap().0.len(), 3, "{fault:?}");
    }
}

#[test]
fn a_server_that_stops_while_the_disk_fails_says_what_it_could_not_keep() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = start_on(disk, Durability::Sync, 1);
    faults.set(Some(Fault::Append));
    submit(&mut lanes[0], &binding(1, 1, 0));
    until("failing is told", || journal.status().failing.is_some());
    let error = journal.stop().unwrap_err();
    assert!(matches!(error, JournalError::NotDurable { .. }), "{error}");
    assert_eq!(lanes[0].durable(), Ticket(0));
}

#[test]
fn an_interval_journal_keeps_what_was_written_before_the_disk_failed() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let interval = Durability::Interval(Duration::from_secs(3600));
    let (journal, mut lanes) = start_on(disk, interval, 1);
    for generation in 1..10 {
        let ticket = submit(&mut lanes[0], &binding(1, generation, 0));
        until("written", || lanes[0].durable() == ticket);
    }
    faults.set(Some(Fault::Append));
    let ticket = submit(&mut lanes[0], &binding(1, 10, 0));
    until("failing is told", || journal.status().failing.is_some());
    faults.set(None);
    until("written", || lanes[0].durable() == ticket);
    journal.stop().unwrap();
    assert_eq!(recover(&dir).unwrap().0, (1..=10).map(|generation| binding(1, generation, 0)).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_is_removed_while_in_use_is_told_and_later_changes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let before = submit(&mut lane, &binding(1, 1, 0));
    until("durable", || lane.durable() >= before);
    for path in segments(&dir) {
        fs::remove_file(path).unwrap();
    }
    let after = submit(&mut lane, &binding(2, 1, 0));
    until("durable again", || lane.durable() >= after);
    let failing = journal.status().failing.unwrap();
    assert!(failing.contains("was removed while in use"), "{failing}");
    journal.stop().unwrap();
    assert_eq!(recover(&dir).unwrap().0, [binding(2, 1, 0)], "what was recorded after it is whole");
}

#[test]
fn a_disk_that_is_full_for_long_collects_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = start_on(disk, Durability::Sync, 1);
    faults.set(Some(Fault::Append));
    let ticket = submit(&mut lanes[0], &binding(1, 1, 0));
    until("failing", || journal.status().failing.is_some());
    std::thread::sleep(Duration::from_millis(200));
    assert!(segments(&dir).len() <= 2, "{:?}", segments(&dir));
    faults.set(None);
    until("durable", || lanes[0].durable() >= ticket);
    journal.stop().unwrap();
    assert_eq!(recover(&dir).unwrap().0, [binding(1, 1, 0)]);
}

#[test]
fn a_lane_refuses_what_its_worker_could_not_park() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = start_on(disk, Durability::Sync, 1);
    let mut lane = lanes.pop().unwrap();
    lane.limit_to(100);
    faults.set(Some(Fault::Sync));
    let mut submitted = 0;
    while lane.has_room() {
        submit(&mut lane, &binding(submitted, 1, 0));
        submitted += 1;
    }
    // It keeps room for all that one request can lead to: two changes as long as they can be.
    assert_eq!(submitted as usize, 100 - 2 * MAX_RECORDS + 1);
    faults.set(None);
    until("room", || lane.has_room());
    journal.stop().unwrap();
}

#[test]
fn a_disk_that_does_not_answer_does_not_hold_up_the_stop() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = start_on(disk, Durability::Sync, 1);
    let hang = faults.0.clone();
    let ticket = submit(&mut lanes[0], &binding(1, 1, 0));
    until("durable", || lanes[0].durable() >= ticket);
    // The disk's own lock is what its next call waits for.
    let held = hang.lock().unwrap();
    submit(&mut lanes[0], &binding(2, 1, 0));
    let start = Instant::now();
    assert!(matches!(journal.stop(), Err(JournalError::Unknown { .. })));
    assert!(start.elapsed() < Duration::from_secs(10));
    drop(held);
}
