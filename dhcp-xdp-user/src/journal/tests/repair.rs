//! Damaged journals: what is said of them, and what is left after a repair.

use super::*;
use crate::lease::Kept;

const NOW_S: u32 = 1_800_000_500;

fn look(dir: &TempDir) -> Inspection {
    inspect(dir.path(), NOW_S, &mut |_| {}).unwrap()
}

fn repair(dir: &TempDir) -> Repaired {
    Repair::open(dir.path(), NOW_S, &mut |_| {}).unwrap().run(&mut |_| {}).unwrap()
}

/// A journal of three segments with several groups in each, as if the machine had crashed.
fn three_segments(dir: &TempDir) -> Vec<Binding> {
    let mut all = Vec::new();
    for (place, numbers) in [0..4u32, 4..8, 8..12].into_iter().enumerate() {
        let (journal, mut lane) = start(dir, Durability::Sync);
        for number in numbers {
            // Some addresses twice, the later ones with a long client identifier.
            let binding = binding(number % 9, 1 + number / 9, [0, 7, 60, 255][number as usize % 4]);
            let ticket = submit(&mut lane, &binding);
            until("durable", || lane.durable() >= ticket);
            all.push(binding);
        }
        journal.stop().unwrap();
        if place == 2 {
            let path = segments(dir).pop().unwrap();
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - RECORD]).unwrap();
        }
    }
    all
}

/// As [`three_segments`], from a journal that was written once.
fn three_segments_again(dir: &TempDir) -> Vec<Binding> {
    static WRITTEN: std::sync::OnceLock<(TempDir, Vec<Binding>)> = std::sync::OnceLock::new();
    let (written, all) = WRITTEN.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let all = three_segments(&dir);
        (dir, all)
    });
    for path in segments(written) {
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    all.clone()
}

/// Copies a state directory.
fn copy(dir: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    for path in segments(dir) {
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn kept(dir: &TempDir) -> BTreeMap<SpacedAddress, Binding> {
    newest(read(dir).unwrap().0)
}

#[test]
fn a_sound_journal_is_told_as_it_is_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let all = three_segments(&dir);
    let (found, report) = read(&dir).unwrap();
    let inspection = look(&dir);
    assert!(inspection.is_sound() && inspection.suspects.is_empty() && inspection.ignored.is_empty());
    assert_eq!((inspection.segments.len() as u64, inspection.records), (report.segments, report.records));
    assert_eq!(inspection.records, found.len() as u64);
    assert_eq!(inspection.addresses, newest(all.clone()).len() as u64);
    let live = |binding: &&Binding| binding.state == BindingState::Bound && binding.expires_s > NOW_S;
    assert_eq!(inspection.live, newest(all).values().filter(live).count() as u64);
}

#[test]
fn an_empty_directory_has_no_journal() {
    let dir = TempDir::new().unwrap();
    assert_eq!(look(&dir), Inspection::default());
}

#[test]
fn a_torn_end_is_told_and_is_no_damage() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let path = segments(&dir).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    let (found, report) = read(&dir).unwrap();
    let inspection = look(&dir);
    assert!(inspection.is_sound());
    assert_eq!((inspection.torn_bytes, inspection.records), (report.torn_bytes, found.len() as u64));
}

#[test]
fn one_wrong_byte_in_a_record_is_put_right() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let want = kept(&dir);
    let middle = segments(&dir)[1].clone();
    let whole = fs::read(&middle).unwrap();
    // Its last marker says nothing that the next header does not.
    for at in (RECORD..whole.len() - RECORD).step_by(7) {
        let damaged = copy(&dir);
        let path = damaged.path().join(middle.file_name().unwrap());
        let mut bytes = whole.clone();
        bytes[at] ^= 0x24;
        fs::write(&path, bytes).unwrap();
        let inspection = look(&damaged);
        let [damage] = &inspection.damage[..] else { panic!("byte {at}: {:?}", inspection.damage) };
        assert_eq!((damage.kind, damage.offset), (DamageKind::Records, (at / RECORD * RECORD) as u64), "byte {at}");
        assert_eq!((damage.lost, damage.put_right), (0, 1), "byte {at}");
        assert_eq!(damage.records_before + damage.records_after, inspection.records);
        assert!(inspection.suspects.is_empty());
        repair(&damaged);
        assert_eq!(kept(&damaged), want, "byte {at}");
    }
}

#[test]
fn a_lease_outlives_what_its_relay_agent_said() {
    let dir = TempDir::new().unwrap();
    let said = |number, id_len| Binding { agent_info: [7; 60].into_iter().collect(), ..binding(number, 1, id_len) };
    let (journal, mut lane) = start(&dir, Durability::Sync);
    for binding in [said(1, 7), said(2, 7), said(3, 60)] {
        let ticket = submit(&mut lane, &binding);
        until("durable", || lane.durable() >= ticket);
    }
    drop(lane);
    journal.stop().unwrap();
    let path = segments(&dir).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let without = |number, id_len| binding(number, 1, id_len);
    let is_part = |at: &usize| record::is_continuation(whole[*at..].first_chunk().unwrap());
    let mut parts = 0;
    for at in (RECORD..whole.len()).step_by(RECORD).filter(is_part) {
        let damaged = copy(&dir);
        let mut bytes = whole.clone();
        bytes[at + 20..at + 30].fill(0x55);
        fs::write(damaged.path().join(path.file_name().unwrap()), bytes).unwrap();
        assert!(recover(&damaged).is_err() && !look(&damaged).is_sound());
        let number = u32::from_le_bytes(std::array::from_fn(|i| whole[at + 8 + i])) & 0xff;
        // The third one's identifier was in what is lost.
        let suspects = if number == 3 { vec![said(3, 60).at()] } else { vec![] };
        assert_eq!(look(&damaged).suspects, suspects);
        repair(&damaged);
        let mut want: Vec<Binding> = [said(1, 7), said(2, 7), said(3, 60)].into();
        match number {
            3 => drop(want.pop()),
            number => want[number as usize - 1] = without(number, 7),
        }
        assert_eq!(kept(&damaged), newest(want), "continuation at {at}");
        parts += 1;
    }
    assert_eq!(parts, 1 + 1 + 3);
}

#[test]
fn a_damaged_header_loses_nothing() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let want = kept(&dir);
    for (segment, changes) in [(1, vec![13]), (1, vec![25, 26, 40]), (0, vec![0, 5, 24, 33]), (2, (0..64).collect())] {
        let damaged = copy(&dir);
        let path = segments(&damaged)[segment].clone();
        let mut bytes = fs::read(&path).unwrap();
        for at in &changes {
            bytes[*at] ^= 0x5a;
        }
        fs::write(&path, bytes).unwrap();
        if changes == [13] {
            assert!(matches!(read(&damaged), Err(JournalError::NewerVersion { .. })), "it only looks like one");
        }
        let inspection = look(&damaged);
        let [damage] = &inspection.damage[..] else { panic!("{changes:?}: {:?}", inspection.damage) };
        assert_eq!((damage.kind, damage.offset, damage.lost), (DamageKind::Header, 0, 0), "{changes:?}");
        assert_eq!(inspection.records, 12, "{changes:?}");
        repair(&damaged);
        assert_eq!(kept(&damaged), want, "{changes:?}");
    }
}

#[test]
fn records_that_are_gone_name_the_addresses_that_may_have_lost_their_last_change() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let all = read(&dir).unwrap().0;
    // The first segment's first two changes, of 0 and 1: a marker and a record each. Both come again in the last segment.
    let path = segments(&dir)[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    for record in bytes[2 * RECORD..6 * RECORD].chunks_mut(RECORD) {
        record[42..].iter_mut().for_each(|byte| *byte ^= 0xff);
    }
    fs::write(&path, bytes).unwrap();
    let inspection = look(&dir);
    assert_eq!(inspection.damage.len(), 1);
    let damage = &inspection.damage[0];
    assert_eq!((damage.offset, damage.bytes, damage.lost), (128, 256, 4));
    assert_eq!((damage.records_before, damage.records_after), (0, 10));
    assert_eq!(inspection.suspects, [], "what is lost of them was not the last");
    assert_eq!(
        inspection.nameless, 4,
        "two markers, which nobody can tell from changes, and two changes with bytes that are wrong"
    );
    // The second segment's first change, of 4: only there.
    let path = segments(&dir)[1].clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * RECORD + 50..4 * RECORD].fill(0xee);
    fs::write(&path, bytes).unwrap();
    let inspection = look(&dir);
    assert_eq!(inspection.suspects, [all[4].at()]);
    let (before, after) = (inspection.damage[1].records_before, inspection.damage[1].records_after);
    assert_eq!((inspection.damage[1].offset, before, after), (192, 2, 7));
    let mut want = newest(all[2..].to_vec());
    want.remove(&all[4].at());
    repair(&dir);
    assert_eq!(kept(&dir), want);
}

#[test]
fn a_segment_that_is_cut_short_missing_or_all_noise_costs_only_its_own_records() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let all = read(&dir).unwrap().0;
    let without = newest([&all[..4], &all[8..]].concat());
    for how in ["missing", "noise", "empty", "cut"] {
        let damaged = copy(&dir);
        let path = segments(&damaged)[1].clone();
        let len = fs::metadata(&path).unwrap().len();
        match how {
            "missing" => fs::remove_file(&path).unwrap(),
            "noise" => fs::write(&path, vec![0xa5; len as usize]).unwrap(),
            "empty" => fs::write(&path, []).unwrap(),
            _ => fs::write(&path, &fs::read(&path).unwrap()[..4 * RECORD + 9]).unwrap(),
        }
        assert!(read(&damaged).is_err(), "{how}");
        let inspection = look(&damaged);
        assert!(!inspection.is_sound(), "{how}");
        assert!(inspection.lost() >= 3 && inspection.nameless >= 3, "{how}: {inspection:?}");
        repair(&damaged);
        let mut want = without.clone();
        if how == "cut" {
            want.insert(all[4].at(), all[4].clone());
        }
        assert_eq!(kept(&damaged), want, "{how}");
    }
}

#[test]
fn a_base_record_without_its_continuation_is_lost_by_name() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0), binding(2, 1, 100), binding(3, 1, 7), binding(4, 1, 0)]);
    let path = segments(&dir).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // Header and the start's marker; marker and 1; marker, two continuations and 2.
    bytes[5 * RECORD..6 * RECORD].fill(0);
    fs::write(&path, bytes).unwrap();
    let inspection = look(&dir);
    assert_eq!(inspection.suspects, [Ipv4Addr::from(0x0a00_0002).into()]);
    assert_eq!(inspection.records, 3);
    repair(&dir);
    assert_eq!(read(&dir).unwrap().0, [binding(1, 1, 0), binding(3, 1, 7), binding(4, 1, 0)]);
}

#[test]
fn what_was_never_acknowledged_is_not_saved() {
    let dir = TempDir::new().unwrap();
    let real = binding(1, 5, 0);
    crashed_journal(&dir, &[real.clone(), binding(2, 1, 0)]);
    // A group that a crash tore: its first record is bad, a later one of the same address is whole.
    let path = segments(&dir).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let seed = Header::decode(&bytes).unwrap().seed;
    let mut torn = vec![[0; RECORD]];
    record::encode(&lease(&binding(1, 7, 0)), &real.hw, &[], Kept::default(), |bytes| torn.push(bytes));
    record::seal(&mut torn[1], seed);
    bytes.extend(torn.concat());
    // And damage before it.
    bytes[5 * RECORD + 20..5 * RECORD + 60].fill(9);
    bytes[4 * RECORD + 20..4 * RECORD + 60].fill(9);
    // A start after the crash, which did not compact.
    fs::write(&path, &bytes).unwrap();
    let second = Header {
        kind: segment::Kind::Segment,
        carries: false,
        carried: Default::default(),
        number: 1,
        seed: 3,
        previous: Some((0, 6 * RECORD as u64)),
    };
    fs::write(dir.path().join(segment_name(1)), second.encode()).unwrap();
    let inspection = look(&dir);
    assert!(!inspection.is_sound());
    repair(&dir);
    assert_eq!(kept(&dir).get(&real.at()), Some(&real));
}

#[test]
fn repairing_keeps_every_file_and_may_be_broken_off_and_done_again() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let path = segments(&dir)[1].clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[2 * RECORD..4 * RECORD].fill(0);
    fs::write(&path, bytes).unwrap();
    let before: Vec<(PathBuf, Vec<u8>)> =
        segments(&dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let twin = copy(&dir);
    repair(&twin);
    let want = kept(&twin);
    // After step 1, and in the middle of step 2.
    let broken_off = Repair::open(dir.path(), NOW_S, &mut |_| {}).unwrap();
    broken_off.keep().unwrap();
    fs::write(dir.path().join(segment::unfinished_name(3)), b"half").unwrap();
    drop(broken_off);
    assert!(read(&dir).is_err() && recover(&dir).is_err());
    // After step 3.
    let broken_off = Repair::open(dir.path(), NOW_S, &mut |_| {}).unwrap();
    broken_off.keep().unwrap();
    let unfinished = broken_off.write(&mut |_| {}).unwrap();
    fs::rename(dir.path().join(unfinished), dir.path().join(segment_name(3))).unwrap();
    drop(broken_off);
    assert_eq!(kept(&dir), want);
    // A server that starts then clears the old ones away, and what was kept stays.
    compact::sweep(&DirectoryDisk::new(dir.path())).unwrap();
    assert_eq!(segments(&dir), [dir.path().join(segment_name(3))]);
    for (path, bytes) in &before {
        let kept = dir.path().join("damaged-0000000003").join(path.file_name().unwrap());
        assert_eq!(&fs::read(kept).unwrap(), bytes);
    }
    assert!(look(&dir).is_sound());
    // In one go, the same.
    for (path, bytes) in &before {
        let kept = twin.path().join("damaged-0000000003").join(path.file_name().unwrap());
        assert_eq!(&fs::read(kept).unwrap(), bytes);
    }
    assert_eq!(segments(&twin), [twin.path().join(segment_name(3))]);
}

#[test]
fn a_repair_needs_the_directory_for_itself() {
    let dir = TempDir::new().unwrap();
    let (journal, _lane) = start(&dir, Durability::Sync);
    assert!(matches!(Repair::open(dir.path(), NOW_S, &mut |_| {}), Err(JournalError::InUse { .. })));
    assert!(look(&dir).is_sound(), "looking needs nothing");
    journal.stop().unwrap();
    let repair = Repair::open(dir.path(), NOW_S, &mut |_| {}).unwrap();
    assert!(matches!(Journal::start(dir.path(), Durability::Sync, vec![]), Err(JournalError::InUse { .. })));
    drop(repair);
}

#[test]
fn a_newer_version_is_refused_by_all_in_the_same_words() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let path = segments(&dir)[2].clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] = 9;
    // Their checksum is right.
    let mut header: [u8; RECORD] = *bytes.first_chunk().unwrap();
    record::seal(&mut header, 0);
    bytes[..RECORD].copy_from_slice(&header);
    fs::write(&path, bytes).unwrap();
    let refusal = read(&dir).unwrap_err().to_string();
    assert!(refusal.contains("format version 9 is newer"), "{refusal}");
    assert_eq!(inspect(dir.path(), NOW_S, &mut |_| {}).unwrap_err().to_string(), refusal);
    let Err(repair) = Repair::open(dir.path(), NOW_S, &mut |_| {}) else { panic!("repaired") };
    assert_eq!(repair.to_string(), refusal);
}

#[test]
fn a_refused_start_names_the_commands_that_help() {
    let dir = TempDir::new().unwrap();
    three_segments(&dir);
    let path = segments(&dir)[0].clone();
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[RECORD + 9] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damaged = read(&dir).unwrap_err().to_string();
    fs::remove_file(&path).unwrap();
    let missing = read(&dir).unwrap_err().to_string();
    for message in [damaged, missing] {
        for what in ["check", "repair"] {
            let command = format!("`dhcp-xdp journal {what} --state-dir {}`", dir.path().display());
            assert!(message.contains(&command), "{message}");
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<(usize, usize, usize, u8)>> {
    // Segment, byte, length, what it is changed by.
    prop::collection::vec((0..3usize, any::<usize>(), 1..200usize, 1..=255u8), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_damaged_looking_agrees_with_the_server_and_repair_saves_what_is_left(damage in damage(), cut in 0..400usize) {
        let dir = TempDir::new().unwrap();
        let all = three_segments_again(&dir);
        for (segment, at, len, change) in damage {
            let path = segments(&dir)[segment].clone();
            let mut bytes = fs::read(&path).unwrap();
            let at = at % bytes.len();
            let end = (at + len).min(bytes.len());
            bytes[at..end].iter_mut().for_each(|byte| *byte ^= change);
            fs::write(&path, bytes).unwrap();
        }
        if cut > 200 {
            let path = segments(&dir)[cut % 3].clone();
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len().saturating_sub(cut)]).unwrap();
        }
        let inspection = match inspect(dir.path(), NOW_S, &mut |_| {}) {
            Err(JournalError::NewerVersion { .. }) => {
                // Several bytes of a header changed, its version among them: nobody knows better.
                prop_assert!(read(&dir).is_err());
                return Ok(());
            }
            done => done.unwrap(),
        };
        match read(&dir) {
            Ok((found, report)) => {
                prop_assert!(inspection.is_sound(), "{:?}", inspection.damage);
                prop_assert_eq!((inspection.records, inspection.torn_bytes), (found.len() as u64, report.torn_bytes));
                return Ok(());
            }
            Err(JournalError::Damaged { .. } | JournalError::Missing { .. } | JournalError::NewerVersion { .. }) => {
                prop_assert!(!inspection.is_sound());
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
        prop_assert!(inspection.records + inspection.lost() + inspection.torn_bytes / 64 >= 1);
        let repaired = repair(&dir);
        let (found, report) = read(&dir).unwrap();
        prop_assert_eq!((report.segments, report.torn_bytes, found.len() as u64), (1, 0, repaired.saved));
        // Nothing is made up, and what is not the newest is owned up to.
        let newest = newest(all.clone());
        for binding in &found {
            prop_assert!(all.contains(binding), "{:?}", binding);
            let is_newest = newest.get(&binding.at()) == Some(binding);
            prop_assert!(
                is_newest || inspection.suspects.contains(&binding.at()) || inspection.nameless > 0 || inspection.torn_bytes > 0,
                "{:?}: {:?}", binding, inspection
            );
        }
        prop_assert_eq!(found.len() as u64, inspection.addresses);
        prop_assert!(look(&dir).is_sound());
    }
}

#[test]
fn a_repair_keeps_an_address_of_two_address_spaces_twice() {
    let dir = TempDir::new().unwrap();
    let spaced = |space, generation| Binding { space: Space(space), ..binding(7, generation, 60) };
    let all = [binding(1, 1, 0), spaced(0, 4), spaced(9, 2), binding(2, 1, 0), spaced(9, 3)];
    crashed_journal(&dir, &all);
    let path = segments(&dir).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    // The first change, behind a marker.
    bytes[3 * RECORD + 50..4 * RECORD].fill(0xee);
    fs::write(&path, bytes).unwrap();
    assert_eq!(look(&dir).suspects, [all[0].at()]);
    repair(&dir);
    assert_eq!(kept(&dir), newest(all[1..].to_vec()));
    assert_eq!(kept(&dir).len(), 3);
}
