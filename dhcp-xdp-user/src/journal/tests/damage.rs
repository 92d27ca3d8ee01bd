//! Torn ends, flipped bits, missing files, bytes of any kind.

use super::*;

#[test]
fn an_end_torn_at_any_byte_is_cut_after_the_last_whole_change() {
    let dir = TempDir::new().unwrap();
    let written = [binding(1, 1, 0), binding(2, 1, 100), binding(3, 1, 7)];
    crashed_journal(&dir, &written);
    let path = segments(&dir).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    // Header and the start's marker; marker and 1; marker, two continuations and 2; marker and 3.
    let ends = [2, 4, 8, 10].map(|records| records * RECORD);
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

#[test]
fn a_change_of_several_records_is_cut_as_a_whole_and_writing_goes_on_after_it() {
    for id_len in ID_LENGTHS {
        let dir = TempDir::new().unwrap();
        let written = [binding(1, 1, 71), binding(2, 1, id_len)];
        crashed_journal(&dir, &written);
        let path = segments(&dir).pop().unwrap();
        let whole = fs::read(&path).unwrap();
        let kept = (2 + 1 + record::records_of(71)) * RECORD;
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
            fs::write(dir.path().join(segment_name(0)), &whole[..len]).unwrap();
            let (journal, mut lane) = start(&dir, Durability::Sync);
            submit(&mut lane, &written[1]);
            journal.stop().unwrap();
            assert_eq!(read(&dir).unwrap().0, written, "{id_len}: went on after {len}");
            assert_eq!(recover(&dir).unwrap().0, written, "{id_len}: went on after {len}");
        }
    }
}

#[test]
fn a_file_torn_in_its_header_was_never_used() {
    let dir = TempDir::new().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0)]);
    for len in 0..RECORD {
        fs::write(dir.path().join(segment_name(5)), vec![0; len]).unwrap();
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
    let vouched = 8 * RECORD;
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
    let whole = fs::read(first).unwrap();
    // The last group was not vouched for, and the next segment begins with it.
    fs::write(first, &whole[..2 * RECORD]).unwrap();
    assert_eq!(read(&dir).unwrap().0, [binding(1, 1, 0), binding(1, 2, 0)]);
    fs::write(first, &whole[..2 * RECORD - 1]).unwrap();
    assert!(matches!(read(&dir), Err(JournalError::Damaged { offset: 64, .. })));
}

/// With a header of an older version, as if that program had written it.
#[test]
fn what_older_versions_wrote_is_read_and_goes_on_in_this_one() {
    for version in 1..segment::VERSION {
        let dir = TempDir::new().unwrap();
        let old = [binding(1, 1, 7), binding(2, 1, 100), counted_without_agent(3)];
        crashed_journal(&dir, &old);
        let path = segments(&dir).pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[12] = version as u8;
        let mut header: record::Bytes = *bytes.first_chunk().unwrap();
        record::seal(&mut header, 0);
        bytes[..RECORD].copy_from_slice(&header);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(recover(&dir).unwrap().0, old);
        let (journal, mut lane) = start(&dir, Durability::Sync);
        submit(&mut lane, &counted(60, 7, 1));
        drop(lane);
        journal.stop().unwrap();
        assert_eq!(newest(recover(&dir).unwrap().0), newest(old.into_iter().chain([counted(60, 7, 1)])));
        Journal::compact(dir.path()).unwrap();
        assert_eq!(read(&dir).unwrap().0.len(), 4);
    }
}

fn counted_without_agent(number: u32) -> Binding {
    Binding { agent_info: Default::default(), ..counted(number, 7, 2) }
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

fn any_binding() -> impl Strategy<Value = Binding> {
    let id_len = prop_oneof![proptest::sample::select(&ID_LENGTHS[..]), 0..256usize];
    let id = id_len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len));
    let state = proptest::sample::select(vec![
        BindingState::Bound,
        BindingState::Released,
        BindingState::Expired,
        BindingState::Declined,
    ]);
    let space = prop_oneof![Just(0), any::<u16>()];
    let lease = (space, any::<u32>(), state, any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(space, address, state, generation, started_s, expires_s)| Lease {
            space: Space(space),
            address: Ipv4Addr::from(address),
            state,
            generation,
            started_s,
            expires_s,
        },
    );
    let hw = (any::<u8>(), any::<u8>(), any::<[u8; 16]>());
    let agent_info = prop_oneof![Just(vec![]), proptest::collection::vec(any::<u8>(), 1..=255)];
    (lease, hw, id, agent_info).prop_map(|(lease, (htype, hlen, chaddr), id, agent_info)| Binding {
        agent_info: agent_info.into_iter().collect(),
        ..lease.of(&HwAddress { htype, hlen, chaddr }, &id)
    })
}

/// Sealed as the journal would, whatever they hold.
fn segment_of(seed: u32, records: impl IntoIterator<Item = record::Bytes>) -> Vec<u8> {
    let mut bytes = segment::Header {
        kind: segment::Kind::Segment,
        number: 0,
        seed,
        previous: None,
        carries: false,
        carried: Default::default(),
    }
    .encode()
    .to_vec();
    for mut record in records {
        record::seal(&mut record, seed);
        bytes.extend_from_slice(&record);
    }
    bytes
}

/// A record of a kind that exists, or not, with anything in it.
fn any_record() -> impl Strategy<Value = record::Bytes> {
    let kind =
        proptest::sample::select(vec![0u8, 1, 2, 3, 4, 5, 6, 0x0a, 0x1b, 0x3d, 0x7f, 0x80, 0x80, 0x81, 0x82, 0xff]);
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
            record::encode(&lease(binding), &binding.hw, &binding.client_id, binding.kept(), |bytes| records.push(bytes));
        }
        fs::write(dir.path().join(segment_name(0)), segment_of(seed, records)).unwrap();
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
        // A state, whether a relay agent said something, and up to three limits; or one of the two others.
        let is_known = matches!(bytes[4] & 0b1100_0111, 2..=5) || matches!(bytes[4], 0x80 | 0x81);
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
        fs::write(dir.path().join(segment_name(0)), bytes).unwrap();
        try_all(&dir);
    }

    #[test]
    fn a_file_of_arbitrary_bytes_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        has_header in any::<bool>(),
        number in 0..3u64,
    ) {
        let dir = TempDir::new().unwrap();
        let header = segment::Header { kind: segment::Kind::Segment, number, seed: 5, previous: None, carries: false, carried: Default::default() }.encode();
        let start = if has_header { &header[..] } else { &[] };
        fs::write(dir.path().join(segment_name(number)), [start, &bytes].concat()).unwrap();
        try_all(&dir);
    }
}

#[test]
fn a_strangers_file_with_the_last_number_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0)]);
    fs::write(dir.path().join(segment_name(u64::MAX)), "").unwrap();
    let is_named =
        |error: JournalError| matches!(error, JournalError::Foreign { path, .. } if path.ends_with("615.seg"));
    assert!(is_named(Journal::start(dir.path(), Durability::Sync, wakes(1)).unwrap_err()));
}

#[test]
fn another_spelling_of_a_number_is_not_a_segments_name() {
    let dir = tempfile::tempdir().unwrap();
    crashed_journal(&dir, &[binding(1, 1, 0)]);
    for name in ["journal-+7.seg", "journal-99.seg", "journal-00000000099.seg", "journal-.seg"] {
        fs::write(dir.path().join(name), "not a segment at all, and longer than a header is, which would be damage")
            .unwrap();
    }
    assert_eq!(read(&dir).unwrap().0, [binding(1, 1, 0)]);
}

#[test]
fn a_fifo_with_a_segments_name_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(segment_name(3));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(read(&dir), Err(JournalError::Foreign { .. })));
}
