//! Places under lease limits come back when the record that frees them is durable.

use std::sync::Mutex;

use super::*;
use crate::lease::{Kept, LimitKey};

type Freed = Arc<Mutex<Vec<LimitKey>>>;

fn key(number: u64) -> LimitKey {
    LimitKey([number, 1])
}

/// A journal that tells what becomes free, on a disk that fails when it is told to.
fn start_counting(dir: &TempDir, durability: Durability, lanes: usize) -> (Journal, Vec<Lane>, disk::Faults, Freed) {
    let disk = FaultyDisk::new(dir);
    let (faults, freed) = (disk.faults.clone(), Freed::default());
    let told = Arc::clone(&freed);
    let on_freed: OnFreed = Arc::new(move |keys: &[LimitKey]| told.lock().unwrap().extend_from_slice(keys));
    let options = Options { on_freed: Some(on_freed), ..Options::new(durability) };
    let (journal, lanes) = Recovery::open_on(Arc::new(disk)).unwrap().start(options, wakes(lanes)).unwrap();
    (journal, lanes, faults, freed)
}

fn submit_freeing(lane: &mut Lane, number: u32, freed: &[LimitKey]) -> Ticket {
    let binding = binding(number, 1, 100);
    let ticket =
        lane.push(&lease(&binding), &binding.hw, &binding.client_id, Kept { freed, ..binding.kept() }).unwrap();
    lane.ring();
    ticket
}

#[test]
fn a_place_is_free_once_its_record_is_durable_and_not_while_the_disk_fails() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lanes, faults, freed) = start_counting(&dir, Durability::Sync, 2);
    let all = || freed.lock().unwrap().clone();
    let ticket = submit_freeing(&mut lanes[0], 1, &[key(1), key(2)]);
    until("free", || lanes[0].durable() == ticket);
    assert_eq!(all(), [key(1), key(2)], "not later than it is told to be durable");
    faults.set(Some(Fault::Sync));
    submit_freeing(&mut lanes[0], 2, &[key(3)]);
    submit_freeing(&mut lanes[0], 3, &[]);
    submit_freeing(&mut lanes[1], 4, &[key(4)]);
    until("failing is told", || journal.status().failing.is_some());
    assert_eq!(all(), [key(1), key(2)]);
    // The worker that handed it over ends.
    drop(lanes.remove(0));
    faults.set(None);
    until("free", || all().len() == 4);
    assert!(all().contains(&key(3)) && all().contains(&key(4)));
    drop(lanes);
    journal.stop().unwrap();
}

#[test]
fn where_nothing_is_synced_a_place_is_free_when_its_record_is_written() {
    for durability in [Durability::Off, Durability::Interval(Duration::from_secs(3600))] {
        let dir = TempDir::new().unwrap();
        let (journal, mut lanes, faults, freed) = start_counting(&dir, durability, 1);
        faults.set(Some(Fault::Sync));
        submit_freeing(&mut lanes[0], 1, &[key(1)]);
        until("free", || *freed.lock().unwrap() == [key(1)]);
        faults.set(None);
        drop(lanes);
        journal.stop().unwrap();
    }
}

#[test]
fn a_full_lane_has_room_for_what_each_of_its_records_frees_and_refuses_both_together() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lanes, faults, freed) = start_counting(&dir, Durability::Sync, 1);
    faults.set(Some(Fault::Sync));
    let (mut submitted, one) = (0u64, binding(1, 1, 0));
    let lane = &mut lanes[0];
    let mut push = |key| lane.push(&lease(&one), &one.hw, &one.client_id, Kept { freed: &[key], ..one.kept() });
    while push(key(submitted)).is_ok() {
        submitted += 1;
    }
    assert!(submitted > 10_000);
    lanes[0].ring();
    faults.set(None);
    until("all are free", || freed.lock().unwrap().len() as u64 == submitted);
    assert!(freed.lock().unwrap().iter().copied().eq((0..submitted).map(key)), "each once, in order");
    drop(lanes);
    journal.stop().unwrap();
}

#[test]
fn without_lease_limits_nothing_waits() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let ticket = submit_freeing(&mut lane, 1, &[key(1)]);
    until("durable", || lane.durable() == ticket);
    drop(lane);
    journal.stop().unwrap();
}
