//! The journal against crashes, damage and failing disks: what was said to be durable is there, and nothing is made up.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    record::{MAX_RECORDS, RECORD, Record},
    *,
};
use crate::lease::{BindingState, HwAddress, Lease};

fn binding(number: u32, generation: u32, id_len: usize) -> Binding {
    let mut chaddr = [0; 16];
    chaddr[..4].copy_from_slice(&number.to_le_bytes());
    let state = [BindingState::Bound, BindingState::Released, BindingState::Expired, BindingState::Declined];
    let lease = Lease {
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
    let Binding { address, state, generation, started_s, expires_s, .. } = *binding;
    Lease { address, state, generation, started_s, expires_s }
}

fn submit(lane: &mut Lane, binding: &Binding) -> Ticket {
    lane.submit(&lease(binding), &binding.hw, &binding.client_id).unwrap()
}

fn wakes(lanes: usize) -> Vec<Arc<Wake>> {
    (0..lanes).map(|_| Arc::new(Wake::new().unwrap())).collect()
}

fn start(dir: &TempDir, durability: Durability) -> (Journal, Lane) {
    let (journal, mut lanes) = Journal::start(dir.path(), durability, wakes(1)).unwrap();
    (journal, lanes.pop().unwrap())
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read(dir: &TempDir) -> Result<(Vec<Binding>, RecoveryReport), JournalError> {
    let mut found = Vec::new();
    let report = Journal::read(dir.path(), |binding| found.push(binding))?;
    Ok((found, report))
}

fn recover(dir: &TempDir) -> Result<(Vec<Binding>, RecoveryReport), JournalError> {
    let mut found = Vec::new();
    let report = Journal::recover(dir.path(), |binding| found.push(binding))?;
    Ok((found, report))
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
    segment::list(dir.path()).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn newest(bindings: impl IntoIterator<Item = Binding>) -> BTreeMap<Ipv4Addr, Binding> {
    let mut newest: BTreeMap<Ipv4Addr, Binding> = BTreeMap::new();
    for binding in bindings {
        match newest.get(&binding.address) {
            Some(known) if (binding.generation.wrapping_sub(known.generation) as i32) < 0 => {}
            _ => drop(newest.insert(binding.address, binding)),
        }
    }
    newest
}

#[test]
fn records_of_every_state_and_identifier_length_come_back() {
    for len in 0..=255 {
        let binding = binding(len as u32, 9, len);
        let mut records = Vec::new();
        record::encode(&lease(&binding), &binding.hw, &binding.client_id, |bytes| records.push(bytes));
        assert_eq!(records.len(), record::records_of(len));
        assert!(records.len() <= MAX_RECORDS);
        let (base, parts) = records.split_last().unwrap();
        assert!(parts.iter().all(record::is_continuation) && !record::is_continuation(base));
        let mut sealed = *base;
        record::seal(&mut sealed, 77);
        let Some(Record::Base { lease: read, hw, client_id_len, .. }) = record::decode(&sealed, 77) else {
            panic!("not read")
        };
        assert_eq!((read, hw, usize::from(client_id_len)), (lease(&binding), binding.hw, len));
        assert_eq!(record::decode(&sealed, 78), None, "another segment's bytes");
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
fn an_end_torn_at_any_byte_is_cut_after_the_last_whole_change() {
    let dir = TempDir::new().unwrap();
    let written = [binding(1, 1, 0), binding(2, 1, 100), binding(3, 1, 7)];
    crashed_journal(&dir, &written);
    let path = segments(&dir).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    // Header; marker and 1; marker, two continuations and 2; marker and 3.
    let ends = [1, 3, 7, 9].map(|records| records * RECORD);
    assert_eq!(whole.len(), ends[3]);
    for len in ends[2]..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (found, report) = read(&dir).unwrap();
        assert_eq!(found, written[..2], "cut at {len}");
        let torn = (len - ends[2]) % RECORD;
        assert_eq!(report.torn_bytes, torn as u64);
        // Not cut, but filled with something else.
        let mut noise = whole.clone();
        noise[len..].fill(0xa5);
        fs::write(&path, &noise).unwrap();
        assert_eq!(read(&dir).unwrap().0, written[..2], "noise from {len}");
    }
    // And a server goes on from there.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(recover(&dir).unwrap().1.torn_bytes, RECORD as u64 - 1);
    let (journal, mut lane) = start(&dir, Durability::Sync);
    submit(&mut lane, &written[2]);
    journal.stop().unwrap();
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
        let (journal, mut lanes) = Journal::start(dir.path(), Durability::Sync, wakes(LANES)).unwrap();
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
fn a_change_of_several_records_is_cut_as_a_whole_and_writing_goes_on_after_it() {
    for id_len in ID_LENGTHS {
        let dir = TempDir::new().unwrap();
        let written = [binding(1, 1, 71), binding(2, 1, id_len)];
        crashed_journal(&dir, &written);
        let path = segments(&dir).pop().unwrap();
        let whole = fs::read(&path).unwrap();
        let kept = (1 + 1 + record::records_of(71)) * RECORD;
        assert_eq!(whole.len(), kept + (1 + record::records_of(id_len)) * RECORD);
        for len in kept..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let (found, report) = read(&dir).unwrap();
            assert_eq!(found, written[..1], "{id_len}: cut at {len}");
            assert_eq!(report.torn_bytes, (len % RECORD) as u64, "{id_len}: cut at {len}");
        }
        // Between any two records and within each, without a compaction in between.
        for len in (kept..whole.len()).step_by(RECORD / 2) {
            let dir = TempDir::new().unwrap();
            fs::write(dir.path().join(segment::name(0)), &whole[..len]).unwrap();
            let (journal, mut lane) = start(&dir, Durability::Sync);
            submit(&mut lane, &written[1]);
            journal.stop().unwrap();
            assert_eq!(read(&dir).unwrap().0, written, "{id_len}: went on after {len}");
            assert_eq!(recover(&dir).unwrap().0, written, "{id_len}: went on after {len}");
        }
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

#[test]
fn a_file_torn_in_its_header_was_never_used() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0)]);
    for len in 0..RECORD {
        fs::write(dir.path().join(segment::name(5)), vec![0; len]).unwrap();
        assert_eq!(read(&dir).unwrap().0, [binding(1, 1, 0)]);
    }
    recover(&dir).unwrap();
    let (journal, _lane) = start(&dir, Durability::Sync);
    journal.stop().unwrap();
    assert_eq!(recover(&dir).unwrap().0, [binding(1, 1, 0)]);
}

#[test]
fn a_flipped_bit_before_the_durable_end_is_damage_with_its_place() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(2, 1, 100), binding(3, 1, 7)]);
    let path = segments(&dir).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let vouched = 7 * RECORD;
    for at in RECORD..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        match read(&dir) {
            Err(JournalError::Damaged { offset, path: named }) => {
                assert!(at < vouched, "byte {at}");
                assert_eq!((offset, named), ((at / RECORD * RECORD) as u64, path.display().to_string()));
                assert!(recover(&dir).is_err() && Journal::start(dir.path(), Durability::Sync, vec![]).is_err());
            }
            // The last group of a crash: nothing tells damage from a torn write.
            Ok((found, _)) => assert!(at >= vouched && found.len() == 2, "byte {at}"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    // The header: magic, version or checksum, never silently skipped.
    for at in 0..RECORD {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        assert!(read(&dir).is_err(), "byte {at}");
    }
}

#[test]
fn after_a_clean_stop_damage_to_the_last_group_is_told_too() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    submit(&mut lane, &binding(1, 1, 0));
    journal.stop().unwrap();
    let path = segments(&dir).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[2 * RECORD + 9] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(read(&dir), Err(JournalError::Damaged { offset: 128, .. })));
}

#[test]
fn a_segment_missing_from_the_middle_is_told() {
    let dir = TempDir::new().unwrap();
    for round in 1..4 {
        crashed_journal(&dir, &[binding(1, round, 0)]);
    }
    let all = segments(&dir);
    assert_eq!((all.len(), read(&dir).unwrap().0.len()), (3, 3));
    fs::remove_file(&all[1]).unwrap();
    let error = read(&dir).unwrap_err().to_string();
    assert!(error.contains(all[1].to_str().unwrap()), "{error}");
}

#[test]
fn a_segment_cut_short_of_what_the_next_one_says_is_damage() {
    let dir = TempDir::new().unwrap();
    for round in 1..3 {
        crashed_journal(&dir, &[binding(1, round, 0)]);
    }
    let first = &segments(&dir)[0];
    fs::write(first, &fs::read(first).unwrap()[..2 * RECORD]).unwrap();
    assert!(matches!(read(&dir), Err(JournalError::Damaged { offset: 128, .. })));
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0)]);
    let path = segments(&dir).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] = 9;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(recover(&dir), Err(JournalError::NewerVersion { found: 9, known: segment::VERSION, .. })));
}

#[test]
fn a_directory_has_one_journal_at_a_time() {
    let dir = TempDir::new().unwrap();
    let (journal, mut lane) = start(&dir, Durability::Sync);
    assert!(matches!(recover(&dir), Err(JournalError::InUse { .. })));
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
    let (journal, lanes) = Journal::start(dir.path(), Durability::Sync, wakes.clone()).unwrap();
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
fn a_lane_is_full_when_the_disk_stalls_and_refuses_whole_changes_only() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = Journal::start_on(Box::new(disk), dir.path(), Durability::Sync, wakes(2)).unwrap();
    let (mut other, mut lane) = (lanes.pop().unwrap(), lanes.pop().unwrap());
    faults.set(Some(Fault::Sync));
    let mut submitted = 0;
    while lane.has_room() {
        submit(&mut lane, &binding(submitted, 1, 255));
        submitted += 1;
    }
    assert!(submitted > 1000);
    while lane.submit(&lease(&binding(submitted, 1, 255)), &binding(submitted, 1, 255).hw, &[7; 255]).is_ok() {
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
        let (journal, mut lanes) = Journal::start_on(Box::new(disk), dir.path(), Durability::Sync, wakes(1)).unwrap();
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
        assert_eq!(recover(&dir).unwrap().0.len(), 3, "{fault:?}");
    }
}

#[test]
fn a_server_that_stops_while_the_disk_fails_says_what_it_could_not_keep() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let (journal, mut lanes) = Journal::start_on(Box::new(disk), dir.path(), Durability::Sync, wakes(1)).unwrap();
    faults.set(Some(Fault::Append));
    submit(&mut lanes[0], &binding(1, 1, 0));
    until("failing is told", || journal.status().failing.is_some());
    let error = journal.stop().unwrap_err();
    assert!(matches!(error, JournalError::NotDurable { .. }), "{error}");
    assert_eq!(lanes[0].durable(), Ticket(0));
}

#[test]
fn without_sync_nothing_waits_and_a_clean_stop_keeps_all() {
    for durability in [Durability::Off, Durability::Interval(Duration::from_millis(20))] {
        let dir = TempDir::new().unwrap();
        let disk = FaultyDisk::new(&dir);
        let faults = disk.faults.clone();
        let (journal, mut lanes) = Journal::start_on(Box::new(disk), dir.path(), durability, wakes(1)).unwrap();
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

#[test]
fn an_interval_journal_keeps_what_was_written_before_the_disk_failed() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new(&dir);
    let faults = disk.faults.clone();
    let interval = Durability::Interval(Duration::from_secs(3600));
    let (journal, mut lanes) = Journal::start_on(Box::new(disk), dir.path(), interval, wakes(1)).unwrap();
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

// A disk that fails on purpose.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Create,
    Append,
    /// Writes some bytes, then fails.
    TornAppend,
    Sync,
    Rename,
    /// Renames, but does not know that for good.
    RenameSync,
}

impl Fault {
    /// A full disk takes no bytes and no files; a broken one fails to sync.
    fn errno(self) -> i32 {
        match self {
            Self::Create | Self::TornAppend | Self::Rename => libc::ENOSPC,
            Self::Append | Self::Sync | Self::RenameSync => libc::EIO,
        }
    }
}

#[derive(Clone, Default)]
struct Faults(Arc<std::sync::Mutex<State>>);

#[derive(Default)]
struct State {
    now: Vec<Fault>,
    /// Written and synced bytes of each file by its present name.
    files: HashMap<String, (u64, u64)>,
}

impl Faults {
    fn set(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().now = fault.into_iter().collect();
    }

    fn set_all(&self, faults: &[Fault]) {
        self.0.lock().unwrap().now = faults.to_vec();
    }

    fn check(&self, fault: Fault) -> io::Result<()> {
        let failing = self.0.lock().unwrap().now.contains(&fault);
        if failing { Err(io::Error::from_raw_os_error(fault.errno())) } else { Ok(()) }
    }

    fn unsynced(&self) -> u64 {
        self.0.lock().unwrap().files.values().map(|(written, synced)| written - synced).sum()
    }

    /// Loses power: of what was not synced, each file keeps a part, with holes in it.
    fn power_cut(&self, dir: &TempDir, mut random: impl FnMut(u64) -> u64) {
        for (name, (written, synced)) in &self.0.lock().unwrap().files {
            let path = dir.path().join(name);
            let Ok(mut bytes) = fs::read(&path) else { continue };
            bytes.truncate((synced + random(written - synced + 1)) as usize);
            for block in bytes[*synced as usize..].chunks_mut(64) {
                if random(3) == 0 {
                    block.fill(0);
                }
            }
            fs::write(&path, bytes).unwrap();
        }
    }
}

struct FaultyDisk {
    inner: DirectoryDisk,
    faults: Faults,
}

struct FaultyFile {
    inner: Box<dyn SegmentFile>,
    name: String,
    faults: Faults,
}

impl FaultyDisk {
    fn new(dir: &TempDir) -> Self {
        Self { inner: DirectoryDisk::new(dir.path()), faults: Faults::default() }
    }
}

impl Disk for FaultyDisk {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.check(Fault::Create)?;
        let inner = self.inner.create(name)?;
        self.faults.0.lock().unwrap().files.insert(name.into(), (0, 0));
        Ok(Box::new(FaultyFile { inner, name: name.into(), faults: self.faults.clone() }))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.faults.check(Fault::Rename)?;
        self.inner.rename(from, to)?;
        let mut state = self.faults.0.lock().unwrap();
        let sizes = state.files.remove(from).unwrap();
        state.files.insert(to.into(), sizes);
        drop(state);
        self.faults.check(Fault::RenameSync)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.faults.0.lock().unwrap().files.remove(name);
        self.inner.remove(name)
    }
}

impl SegmentFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.faults.check(Fault::Append)?;
        let torn = self.faults.check(Fault::TornAppend);
        let bytes = if torn.is_ok() { bytes } else { &bytes[..bytes.len() * 2 / 3] };
        self.inner.append(bytes)?;
        if let Some(file) = self.faults.0.lock().unwrap().files.get_mut(&self.name) {
            file.0 += bytes.len() as u64;
        }
        torn
    }

    fn sync(&mut self) -> io::Result<()> {
        self.faults.check(Fault::Sync)?;
        if let Some(file) = self.faults.0.lock().unwrap().files.get_mut(&self.name) {
            file.1 = file.0;
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit { number: u32, id_len: usize },
    Wait,
    Fault(Option<Fault>),
    PowerCut(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![Just(Fault::Append), Just(Fault::TornAppend), Just(Fault::Sync), Just(Fault::Create)];
    prop_oneof![
        8 => (0..6u32, prop_oneof![Just(0usize), 0..256usize])
            .prop_map(|(number, id_len)| Step::Submit { number, id_len }),
        4 => Just(Step::Wait),
        1 => proptest::option::of(fault).prop_map(Step::Fault),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

/// What a server and its clients know: per address, the newest that was durable, and all that was ever submitted.
#[derive(Default)]
struct Known {
    generation: u32,
    submitted: Vec<(Ticket, Binding)>,
    all: Vec<Binding>,
    durable: Vec<Binding>,
}

impl Known {
    fn look(&mut self, lane: &Lane) {
        let durable = lane.durable();
        let at = self.submitted.partition_point(|(ticket, _)| *ticket <= durable);
        self.durable.extend(self.submitted.drain(..at).map(|(_, binding)| binding));
    }

    fn check(&self, found: Vec<Binding>) {
        for binding in &found {
            assert!(self.all.contains(binding), "made up: {binding:?}");
        }
        let found = newest(found);
        for (address, kept) in newest(self.durable.iter().cloned()) {
            let found = found.get(&address);
            assert!(found.is_some_and(|found| found.generation >= kept.generation), "lost: {kept:?}, found {found:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn what_was_durable_survives_any_mix_of_faults_and_power_cuts(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let dir = TempDir::new().unwrap();
        let mut known = Known::default();
        let mut steps = steps.into_iter().peekable();
        while steps.peek().is_some() {
            let mut disk = FaultyDisk::new(&dir);
            let faults = disk.faults.clone();
            let mut found = Vec::new();
            Journal::recover_on(&mut disk, dir.path(), |binding| found.push(binding)).unwrap();
            known.check(found);
            let (journal, mut lanes) =
                Journal::start_on(Box::new(disk), dir.path(), Durability::Sync, wakes(1)).unwrap();
            let mut lane = lanes.pop().unwrap();
            let seed = one_life(&mut known, &mut lane, &faults, &mut steps);
            match seed {
                Some(seed) => {
                    // Nothing reaches the disk from here on, not even what stopping would write.
                    faults.set_all(&[Fault::Append, Fault::Sync, Fault::Create]);
                    let _ = journal.stop();
                    known.look(&lane);
                    let mut random = seed | 1;
                    faults.power_cut(&dir, |end| {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random % end
                    });
                }
                None => {
                    faults.set(None);
                    journal.stop().unwrap();
                    known.look(&lane);
                    prop_assert!(known.submitted.is_empty(), "a clean stop keeps all");
                }
            }
            known.submitted.clear();
        }
        known.check(recover(&dir).unwrap().0);
        known.check(recover(&dir).unwrap().0);
    }
}

/// From a start to a power cut (its seed), or to the last step.
fn one_life(
    known: &mut Known,
    lane: &mut Lane,
    faults: &Faults,
    steps: &mut impl Iterator<Item = Step>,
) -> Option<u64> {
    let mut healthy = true;
    for step in steps {
        match step {
            Step::Submit { number, id_len } => {
                known.generation += 1;
                let binding = binding(number, known.generation, id_len);
                known.submitted.push((submit(lane, &binding), binding.clone()));
                known.all.push(binding);
            }
            Step::Wait => {
                let last = known.submitted.last().map(|(ticket, _)| *ticket);
                until("durable", || !healthy || last.is_none_or(|last| lane.durable() >= last));
                known.look(lane);
            }
            Step::Fault(fault) => {
                healthy = fault.is_none();
                faults.set(fault);
            }
            Step::PowerCut(seed) => return Some(seed),
        }
    }
    None
}

fn any_binding() -> impl Strategy<Value = Binding> {
    let id_len = prop_oneof![proptest::sample::select(&ID_LENGTHS[..]), 0..256usize];
    let id = id_len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len));
    let state = proptest::sample::select(vec![
        BindingState::Bound,
        BindingState::Released,
        BindingState::Expired,
        BindingState::Declined,
    ]);
    let lease = (any::<u32>(), state, any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(address, state, generation, started_s, expires_s)| Lease {
            address: Ipv4Addr::from(address),
            state,
            generation,
            started_s,
            expires_s,
        },
    );
    let hw = (any::<u8>(), any::<u8>(), any::<[u8; 16]>());
    (lease, hw, id).prop_map(|(lease, (htype, hlen, chaddr), id)| lease.of(&HwAddress { htype, hlen, chaddr }, &id))
}

/// Sealed as the journal would, whatever they hold.
fn segment_of(seed: u32, records: impl IntoIterator<Item = record::Bytes>) -> Vec<u8> {
    let mut bytes = segment::Header { number: 0, seed, previous: None }.encode().to_vec();
    for mut record in records {
        record::seal(&mut record, seed);
        bytes.extend_from_slice(&record);
    }
    bytes
}

/// A record of a kind that exists, or not, with anything in it.
fn any_record() -> impl Strategy<Value = record::Bytes> {
    let kind = proptest::sample::select(vec![0u8, 1, 2, 3, 4, 5, 6, 0x7f, 0x80, 0x80, 0x81, 0x82, 0xff]);
    let part = prop_oneof![0..7u8, any::<u8>()];
    (any::<[u8; 32]>(), any::<[u8; 32]>(), kind, part, any::<bool>()).prop_map(|(a, b, kind, part, is_small)| {
        let mut bytes = [0; RECORD];
        bytes[..32].copy_from_slice(&a);
        bytes[32..].copy_from_slice(&b);
        bytes[4] = kind;
        bytes[5] = part;
        if is_small {
            // Addresses and generations that agree, and markers that vouch for little.
            bytes[8..16].fill(0);
        }
        bytes
    })
}

/// Reads, recovers and starts: each may refuse.
fn try_all(dir: &TempDir) {
    let read = read(dir);
    let recovered = recover(dir);
    assert_eq!(read.is_ok(), recovered.is_ok(), "{read:?} {recovered:?}");
    if let (Ok((read, _)), Ok((recovered, _))) = (read, recovered) {
        assert_eq!(read, recovered);
        let (journal, mut lane) = start(dir, Durability::Sync);
        submit(&mut lane, &binding(1, 1, 71));
        journal.stop().unwrap();
        assert_eq!(self::read(dir).unwrap().0.last(), Some(&binding(1, 1, 71)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_are_read_as_they_were_encoded(
        bindings in proptest::collection::vec(any_binding(), 0..20),
        seed in any::<u32>(),
    ) {
        let dir = TempDir::new().unwrap();
        let mut records = Vec::new();
        for binding in &bindings {
            record::encode(&lease(binding), &binding.hw, &binding.client_id, |bytes| records.push(bytes));
        }
        fs::write(dir.path().join(segment::name(0)), segment_of(seed, records)).unwrap();
        let (found, report) = read(&dir).unwrap();
        prop_assert_eq!(&found, &bindings);
        prop_assert_eq!((report.records, report.torn_bytes), (bindings.len() as u64, 0));
    }

    #[test]
    fn no_bytes_make_a_record_panic(bytes in any_record(), seed in any::<u32>(), is_sealed in any::<bool>()) {
        let mut bytes = bytes;
        if is_sealed {
            record::seal(&mut bytes, seed);
        }
        let is_known = matches!(bytes[4], 2..=5 | 0x80 | 0x81);
        prop_assert!(record::decode(&bytes, seed).is_none() || is_known);
        prop_assert!(!is_sealed || !is_known || record::decode(&bytes, seed).is_some());
    }

    #[test]
    fn a_segment_of_well_sealed_nonsense_is_read_or_refused(
        records in proptest::collection::vec(any_record(), 0..12),
        seed in any::<u32>(),
        tail in proptest::collection::vec(any::<u8>(), 0..RECORD),
    ) {
        let dir = TempDir::new().unwrap();
        let mut bytes = segment_of(seed, records);
        bytes.extend(tail);
        fs::write(dir.path().join(segment::name(0)), bytes).unwrap();
        try_all(&dir);
    }

    #[test]
    fn a_file_of_arbitrary_bytes_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        has_header in any::<bool>(),
        number in 0..3u64,
    ) {
        let dir = TempDir::new().unwrap();
        let header = segment::Header { number, seed: 5, previous: None }.encode();
        let start = if has_header { &header[..] } else { &[] };
        fs::write(dir.path().join(segment::name(number)), [start, &bytes].concat()).unwrap();
        try_all(&dir);
    }
}
