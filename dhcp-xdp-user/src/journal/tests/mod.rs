//! The journal against crashes, damage and failing disks: what was said to be durable is there, and nothing is made up.

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    record::{MAX_RECORDS, RECORD, Record},
    segment::Header,
    *,
};
use crate::{
    lease::{BindingState, HwAddress, Kept, Lease, Space, SpacedAddress},
    patience::until,
};
use disk::{Fault, FaultyDisk};

mod compaction;
mod damage;
mod disk;
mod faults;
mod follow;
mod import;
mod places;
mod repair;
mod sim;

fn binding(number: u32, generation: u32, id_len: usize) -> Binding {
    let mut chaddr = [0; 16];
    chaddr[..4].copy_from_slice(&number.to_le_bytes());
    let state = [BindingState::Bound, BindingState::Released, BindingState::Expired, BindingState::Declined];
    let lease = Lease {
        space: Space::GLOBAL,
        address: Ipv4Addr::from(0x0a00_0000 + number),
        state: state[number.wrapping_add(generation) as usize % 4],
        generation,
        started_s: 1_800_000_000 + number,
        expires_s: u32::MAX - number,
    };
    let id: Vec<u8> = (0..id_len).map(|at| (at as u32 * 7 + number) as u8).collect();
    lease.of(&HwAddress { htype: 1, hlen: 6, chaddr }, &id)
}

fn lease(binding: &Binding) -> Lease {
    binding.lease()
}

fn submit(lane: &mut Lane, binding: &Binding) -> Ticket {
    let ticket = lane.push(&lease(binding), &binding.hw, &binding.client_id, binding.kept()).unwrap();
    lane.ring();
    ticket
}

fn wakes(lanes: usize) -> Vec<Arc<Wake>> {
    (0..lanes).map(|_| Arc::new(Wake::new().unwrap())).collect()
}

/// Starts one that does not compact.
fn start(dir: &TempDir, durability: Durability) -> (Journal, Lane) {
    let (journal, mut lanes) = start_lanes(dir, durability, wakes(1));
    (journal, lanes.pop().unwrap())
}

fn start_lanes(dir: &TempDir, durability: Durability, wakes: Vec<Arc<Wake>>) -> (Journal, Vec<Lane>) {
    let compaction = CompactionPolicy { percent: 0, segments: 0 };
    Recovery::open(dir.path()).unwrap().start(Options { compaction, ..Options::new(durability) }, wakes).unwrap()
}

fn read(dir: &TempDir) -> Result<(Vec<Binding>, RecoveryReport), JournalError> {
    let mut found = Vec::new();
    let report = Journal::read(dir.path(), |binding| found.push(binding))?;
    Ok((found, report))
}

/// As a server does that starts: in order, and on three threads with the same result.
fn recover(dir: &TempDir) -> Result<(Vec<Binding>, RecoveryReport), JournalError> {
    let mut found = Vec::new();
    let recovery = Recovery::open(dir.path())?;
    let report = recovery.replay(|binding| found.push(binding.clone()))?;
    let also = std::sync::Mutex::new(Vec::new());
    let done = AtomicU64::new(0);
    let again = recovery.replay_with(3, &done, |some| also.lock().unwrap().extend_from_slice(some))?;
    assert_eq!((again, done.into_inner()), (report, report.records));
    let (mut all, mut also) = (found.clone(), also.into_inner().unwrap());
    let order = |binding: &Binding| (binding.address, binding.generation, binding.started_s);
    all.sort_by_key(order);
    also.sort_by_key(order);
    assert_eq!(all, also);
    Ok((found, report))
}

fn start_on(disk: FaultyDisk, durability: Durability, lanes: usize) -> (Journal, Vec<Lane>) {
    Recovery::open_on(Arc::new(disk)).unwrap().start(Options::new(durability), wakes(lanes)).unwrap()
}

/// Writes these in groups of one, and ends as a crash would: without the closing marker.
fn crashed_journal(dir: &TempDir, bindings: &[Binding]) {
    let (journal, mut lane) = start(dir, Durability::Sync);
    for binding in bindings {
        let ticket = submit(&mut lane, binding);
        until("durable", || lane.durable() >= ticket);
    }
    journal.stop().unwrap();
    let path = segments(dir).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - RECORD]).unwrap();
}

fn segments(dir: &TempDir) -> Vec<PathBuf> {
    let files = segment::list(&DirectoryDisk::new(dir.path())).unwrap();
    files.whole.into_iter().map(|(number, kind)| dir.path().join(segment::name(number, kind))).collect()
}

fn segment_name(number: u64) -> String {
    segment::name(number, segment::Kind::Segment)
}

fn newest(bindings: impl IntoIterator<Item = Binding>) -> BTreeMap<SpacedAddress, Binding> {
    let mut newest: BTreeMap<SpacedAddress, Binding> = BTreeMap::new();
    for binding in bindings {
        match newest.get(&binding.at()) {
            Some(known) if (binding.generation.wrapping_sub(known.generation) as i32) < 0 => {}
            _ => drop(newest.insert(binding.at(), binding)),
        }
    }
    newest
}

#[test]
fn records_of_every_state_and_identifier_length_come_back() {
    for len in 0..=255 {
        let binding = binding(len as u32, 9, len);
        let mut records = Vec::new();
        record::encode(&lease(&binding), &binding.hw, &binding.client_id, binding.kept(), |bytes| records.push(bytes));
        assert_eq!(records.len(), record::records_of(len));
        assert!(records.len() <= MAX_RECORDS);
        let (base, parts) = records.split_last().unwrap();
        assert!(parts.iter().all(record::is_continuation) && !record::is_continuation(base));
        let mut sealed = *base;
        record::seal(&mut sealed, 77);
        let Some(Record::Base { lease: read, hw, tail, .. }) = record::decode(&sealed, 77) else { panic!("not read") };
        assert_eq!((read, hw, tail.len()), (lease(&binding), binding.hw, len));
        assert_eq!(record::decode(&sealed, 78), None, "another segment's bytes");
    }
}

/// A binding that counts against so many limits.
fn counted(number: u32, id_len: usize, limits: usize) -> Binding {
    let key = |n: usize| crate::lease::LimitKey::new("circuit", &[number as u8, n as u8]);
    let agent_info = (0..number as u8 % 100).collect();
    Binding { limits: (0..limits).map(key).collect(), agent_info, ..binding(number, 1, id_len) }
}

#[test]
fn relay_agent_information_of_every_length_comes_back_whatever_else_the_record_has() {
    for len in 0..=255 {
        for (id_len, limits) in [(0, 0), (7, 1), (21, 0), (22, 3), (255, 3)] {
            let agent_info = (0..len).map(|i| (i ^ len) as u8).collect();
            let binding = Binding { agent_info, ..counted(9, id_len, limits) };
            let mut records = Vec::new();
            record::encode(&lease(&binding), &binding.hw, &binding.client_id, binding.kept(), |bytes| {
                records.push(bytes);
            });
            let tail_len = record::tail_len(id_len, &binding.kept());
            assert_eq!(records.len(), record::records_of(tail_len));
            assert!(records.len() <= MAX_RECORDS);
            let mut assembly = recovery::Parts::default();
            for bytes in &mut records {
                record::seal(bytes, 7);
                match record::decode(bytes, 7).expect("it was sealed so") {
                    Record::Continuation { at, generation, part, bytes } => {
                        assembly.add((at, generation), part, bytes);
                    }
                    Record::Base { lease, hw, tail, start } => {
                        assert_eq!(tail.len(), tail_len);
                        let whole = assembly.complete((lease.at(), lease.generation), start, tail.len()).unwrap();
                        assert_eq!(tail.binding(&lease, &hw, &whole), Some(binding.clone()));
                    }
                    Record::Marker { .. } => panic!("no marker"),
                }
            }
        }
    }
}

#[test]
fn what_leases_count_against_comes_back_through_restarts_and_compaction() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let lens = [0, 5, 6, 7, 22, 23, 70, 71, 254, 255];
    let written: Vec<Binding> =
        (0u32..40).map(|n| counted(n, lens[n as usize % lens.len()], n as usize / lens.len())).collect();
    for binding in &written {
        let mut count = 0;
        record::encode(&lease(binding), &binding.hw, &binding.client_id, binding.kept(), |_| count += 1);
        assert_eq!(count, record::records_of(record::tail_len(binding.client_id.len(), &binding.kept())));
        assert!(count <= MAX_RECORDS);
        submit(&mut lane, binding);
    }
    drop(lane);
    journal.stop().unwrap();
    for _ in 0..3 {
        assert_eq!(recover(&dir).unwrap().0, written, "recovery compacts, too");
    }
}

#[test]
fn a_restart_finds_everything_in_order() {
    let dir = TempDir::new().unwrap();
    assert_eq!(recover(&dir).unwrap(), (vec![], RecoveryReport::default()));
    let (journal, mut lane) = start(&dir, Durability::Sync);
    let written: Vec<Binding> = (0..5000).map(|n| binding(n, 1, n as usize % 256)).collect();
    for binding in &written {
        until("room", || lane.has_room());
        submit(&mut lane, binding);
    }
    let status = journal.status();
    assert!(status.failing.is_none());
    journal.stop().unwrap();
    assert!(segments(&dir).len() > 1, "more than one segment in this test");
    let (found, report) = read(&dir).unwrap();
    assert_eq!(found, written);
    assert_eq!((report.records, report.torn_bytes), (5000, 0));
    assert_eq!(recover(&dir).unwrap().0, written);
}

/// The identifier lengths where the number of records changes, and the longest.
const ID_LENGTHS: [usize; 6] = [0, 22, 23, 70, 71, 255];

#[test]
fn restarts_form_a_chain_that_holds_what_every_lane_wrote() {
    const LANES: usize = 3;
    let dir = TempDir::new().unwrap();
    let mut written: Vec<Vec<Binding>> = vec![Vec::new(); LANES];
    for restart in 1..=4u32 {
        let (journal, mut lanes) = start_lanes(&dir, Durability::Sync, wakes(LANES));
        for (at, id_len) in ID_LENGTHS.into_iter().enumerate() {
            for (number, lane) in lanes.iter_mut().enumerate() {
                // Addresses of its own for each lane.
                let binding = binding((number * 100 + at) as u32, restart, id_len);
                submit(lane, &binding);
                written[number].push(binding);
            }
        }
        journal.stop().unwrap();
        let (found, report) = read(&dir).unwrap();
        assert_eq!((report.segments, report.torn_bytes), (u64::from(restart), 0));
        let of_lane = |number: u32| {
            let first = 0x0a00_0000 + number * 100;
            let is_its_own = move |found: &&Binding| (first..first + 100).contains(&u32::from(found.address));
            found.iter().filter(is_its_own).cloned().collect::<Vec<_>>()
        };
        assert_eq!(found.len(), written.iter().map(Vec::len).sum::<usize>());
        for (number, written) in (0..).zip(&written) {
            assert_eq!(of_lane(number), *written, "lane {number}, restart {restart}");
        }
    }
    let all = read(&dir).unwrap().0;
    assert_eq!(recover(&dir).unwrap().0, all);
    assert_eq!(newest(recover(&dir).unwrap().0), newest(all));
}

#[test]
fn a_directory_has_one_journal_at_a_time() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    assert!(matches!(recover(&dir), Err(JournalError::InUse { .. })));
    assert!(matches!(Journal::start(dir.path(), Durability::Off, vec![]), Err(JournalError::InUse { .. })));
    // No file that is removed undoes it.
    for entry in fs::read_dir(dir.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(matches!(Journal::start(dir.path(), Durability::Off, vec![]), Err(JournalError::InUse { .. })));
    // Reading beside it is fine.
    let ticket = submit(&mut lane, &binding(1, 1, 0));
    until("durable", || lane.durable() >= ticket);
    assert_eq!(read(&dir).unwrap().0.len(), 1);
    journal.stop().unwrap();
    assert!(recover(&dir).is_ok());
}

#[test]
fn lanes_keep_their_order_and_their_tickets() {
    const LANES: usize = 4;
    let dir = TempDir::new().unwrap();
    let wakes = wakes(LANES);
    let (journal, lanes) = start_lanes(&dir, Durability::Sync, wakes.clone());
    std::thread::scope(|scope| {
        for (number, mut lane) in lanes.into_iter().enumerate() {
            let wake = &wakes[number];
            scope.spawn(move || {
                assert!(lane.parks());
                let mut last = Ticket::default();
                for generation in 0..2000 {
                    until("room", || lane.has_room());
                    // Long identifiers of all lanes at once: their records interleave in the channel.
                    let ticket = submit(&mut lane, &binding(number as u32, generation, 60 * number));
                    assert!(ticket > last);
                    last = ticket;
                }
                sleep_until(wake, || lane.durable() >= last);
                assert_eq!(lane.durable(), last, "nothing more than was submitted");
            });
        }
    });
    let status = journal.status();
    assert!(status.records >= 8000 && status.groups > 0 && status.commit_latency_us[2] > 0, "{status:?}");
    journal.stop().unwrap();
    let (found, _) = read(&dir).unwrap();
    assert_eq!(found.len(), 8000);
    for number in 0..LANES as u32 {
        let of_lane = found.iter().filter(|found| found.address == binding(number, 0, 0).address);
        for (generation, found) in of_lane.enumerate() {
            assert_eq!(*found, binding(number, generation as u32, 60 * number as usize));
        }
    }
}

/// As a worker sleeps: in poll, until the journal wakes it.
fn sleep_until(wake: &Wake, done: impl Fn() -> bool) {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd as _;
    let start = Instant::now();
    while !done() {
        wake.prepare();
        if !done() {
            let _ = poll(&mut [PollFd::new(wake.as_fd(), PollFlags::POLLIN)], 10_000u16);
        }
        wake.done();
        assert!(start.elapsed() < Duration::from_secs(8), "nobody woke this lane");
    }
}

#[test]
fn without_sync_nothing_waits_and_a_clean_stop_keeps_all() {
    for durability in [Durability::Off, Durability::Interval(Duration::from_millis(20))] {
        let dir = TempDir::new().unwrap();
        let disk = FaultyDisk::new(&dir);
        let faults = disk.faults.clone();
        let (journal, mut lanes) = start_on(disk, durability, 1);
        let lane = &mut lanes[0];
        assert!(!lane.parks());
        let ticket = submit(lane, &binding(1, 1, 0));
        until("written", || lane.durable() == ticket);
        if durability == Durability::Off {
            std::thread::sleep(Duration::from_millis(60));
            assert_eq!(faults.unsynced(), 2 * RECORD as u64);
        } else {
            until("synced in time", || faults.unsynced() == 0);
        }
        submit(lane, &binding(1, 2, 0));
        journal.stop().unwrap();
        assert_eq!(faults.unsynced(), 0);
        assert_eq!(recover(&dir).unwrap().0, [binding(1, 1, 0), binding(1, 2, 0)]);
    }
}

// A disk that fails on purpose.

/// Version 2 had zeros where the address space is.
#[test]
fn a_journal_of_version_2_is_read_as_of_the_global_address_space() {
    let old = [binding(3, 1, 100), binding(4, 1, 0)];
    let mut records = Vec::new();
    for old in &old {
        record::encode(&old.lease(), &old.hw, &old.client_id, old.kept(), |bytes| records.push(bytes));
    }
    assert!(records.iter().all(|bytes| if bytes[4] == 0x80 { bytes[6..8] == [0, 0] } else { bytes[40..42] == [0, 0] }));
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &old);
    let path = segments(&dir).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[12..14].copy_from_slice(&2u16.to_le_bytes());
    let mut header: record::Bytes = bytes[..RECORD].try_into().unwrap();
    record::seal(&mut header, 0);
    bytes[..RECORD].copy_from_slice(&header);
    fs::write(&path, bytes).unwrap();
    assert_eq!(recover(&dir).unwrap().0, old);
}
