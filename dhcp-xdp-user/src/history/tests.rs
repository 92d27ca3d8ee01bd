//! Histories that are written, broken off, rotated and searched.

use std::{fs, path::Path, time::Duration};

use super::*;
use crate::{
    events::EventKind,
    journal::Position,
    lease::{Binding, BindingState, HwAddress},
};

const START: u32 = 1_800_000_000;

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        rotate_bytes: 1 << 20,
        rotate_after: Duration::from_secs(86_400),
        keep: None,
        max_bytes: None,
    }
}

fn event(address: u32, kind: EventKind, generation: u32, at_s: u32, mac: u8) -> Event {
    let mut hw = HwAddress { htype: 1, hlen: 6, ..HwAddress::default() };
    hw.chaddr[5] = mac;
    let state = match kind {
        EventKind::Bound | EventKind::Renewed => BindingState::Bound,
        EventKind::Released => BindingState::Released,
        EventKind::Expired => BindingState::Expired,
        EventKind::Declined => BindingState::Declined,
    };
    let binding = Binding {
        space: crate::lease::Space::GLOBAL,
        address: std::net::Ipv4Addr::from(0xc000_0200 + address),
        state,
        generation,
        started_s: at_s,
        expires_s: at_s + 600,
        hw,
        client_id: Default::default(),
        limits: Default::default(),
        agent_info: Default::default(),
    };
    Event { kind, at_s, is_news: true, binding }
}

fn line(address: u32, kind: EventKind, generation: u32, at_s: u32, mac: u8) -> Line {
    Line::new(&event(address, kind, generation, at_s, mac), None, &Vrfs::default(), 0)
}

fn position(offset: u64) -> Position {
    Position { segment: 1, seed: 7, offset }
}

fn lines(dir: &Path) -> Vec<Line> {
    let mut all = Vec::new();
    for name in files::list(dir).unwrap() {
        let text = fs::read_to_string(dir.join(name.lines())).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text:?}");
        all.extend(text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap()));
    }
    all
}

fn at(text: &str, at_s: u32) -> Query {
    Query { address: Some(text.parse().unwrap()), span_s: Some((at_s, at_s)), ..Query::default() }
}

fn macs(found: &Found) -> Vec<&str> {
    found.holds.iter().map(|hold| hold.lease.hw_address.as_deref().unwrap()).collect()
}

use EventKind::{Bound, Expired, Released, Renewed};

#[test]
fn a_line_has_the_names_of_listings() {
    let value = serde_json::to_value(line(7, Bound, 3, START, 9)).unwrap();
    let expected = serde_json::json!({
        "at": "2027-01-15T08:00:00Z", "event": "bound", "generation": 3, "address": "192.0.2.7",
        "hw_address": "00:00:00:00:00:09", "hw_type": 1, "client_id": null, "state": "bound",
        "started_at": "2027-01-15T08:00:00Z", "expires_at": "2027-01-15T08:10:00Z", "subnet": null, "vrf": null,
    });
    assert_eq!(value, expected);
}

#[test]
fn a_wall_clock_that_is_elsewhere_than_the_leases_time_is_what_a_line_says() {
    let behind = Line::new(&event(7, Bound, 1, START, 1), None, &Vrfs::default(), -3600);
    assert_eq!(
        (behind.at.as_str(), behind.lease.started_at.as_str()),
        ("2027-01-15T07:00:00Z", "2027-01-15T08:00:00Z")
    );
}

#[test]
fn what_was_written_after_the_checkpoint_comes_again_and_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = line(1, Bound, 1, START, 1);
    let second = line(2, Bound, 1, START + 1, 2);
    let mut writer = Writer::open(settings(dir.path()), false).unwrap();
    writer.add(&first);
    writer.commit(position(64), 5, START).unwrap();
    // Killed after lines were written, in the middle of one, before the checkpoint.
    let name = files::list(dir.path()).unwrap().remove(0);
    let path = dir.path().join(name.lines());
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(serde_json::to_string(&second).unwrap().as_bytes());
    bytes.extend_from_slice(b"\n{\"at\":\"20");
    fs::write(&path, bytes).unwrap();

    let mut writer = Writer::open(settings(dir.path()), true).unwrap();
    let checkpoint = Checkpoint::read(dir.path()).unwrap().unwrap();
    assert_eq!((checkpoint.journal, checkpoint.expired_until_s), (position(64), 5));
    assert_eq!(lines(dir.path()), std::slice::from_ref(&first));
    writer.add(&second);
    writer.commit(position(128), 6, START + 1).unwrap();
    assert_eq!(lines(dir.path()), [first, second]);
}

#[test]
fn a_start_that_does_not_go_on_keeps_all_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(settings(dir.path()), false).unwrap();
    writer.add(&line(1, Bound, 1, START, 1));
    writer.commit(position(64), 5, START).unwrap();
    let path = dir.path().join(files::list(dir.path()).unwrap().remove(0).lines());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{text}{}", &text[..20])).unwrap();
    drop(Writer::open(settings(dir.path()), false).unwrap());
    assert_eq!(lines(dir.path()).len(), 2);
}

#[test]
fn a_file_that_was_closed_after_the_checkpoint_is_cut_like_an_open_one() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { rotate_bytes: 100, ..settings(dir.path()) };
    let mut writer = Writer::open(small.clone(), false).unwrap();
    writer.add(&line(1, Bound, 1, START, 1));
    writer.commit(position(64), 5, START).unwrap();
    let state = fs::read(dir.path().join("history.state")).unwrap();
    for more in 0..3 {
        writer.add(&line(2 + more, Bound, 1, START, 1));
        writer.commit(position(128), 5, START).unwrap();
    }
    assert_eq!(files::list(dir.path()).unwrap().len(), 4);
    fs::write(dir.path().join("history.state"), state).unwrap();
    let mut writer = Writer::open(small, true).unwrap();
    assert_eq!(lines(dir.path()), [line(1, Bound, 1, START, 1)]);
    writer.add(&line(9, Bound, 1, START, 1));
    writer.commit(position(128), 5, START).unwrap();
    assert_eq!(lines(dir.path()).len(), 2);
}

#[test]
fn files_are_for_owner_and_group() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(Settings { rotate_bytes: 1, ..settings(dir.path()) }, false).unwrap();
    for number in 1..3 {
        writer.add(&line(number, Bound, 1, START, 1));
        writer.commit(position(64), 5, START).unwrap();
    }
    let mut count = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o027, 0, "{:?}", entry.file_name());
        count += 1;
    }
    assert_eq!(count, 4, "two files of lines, an index, the checkpoint");
}

/// Address 7 goes from hand to hand, over several files; others are in between.
fn written(dir: &Path, rotate_bytes: u64) -> Writer {
    let mut writer = Writer::open(Settings { rotate_bytes, ..settings(dir) }, false).unwrap();
    let of_seven = [
        (Bound, 1, 100, 1),
        (Renewed, 20, 90_000, 1),
        (Released, 21, 90_500, 1),
        (Bound, 22, 91_000, 2),
        (Expired, 22, 91_600, 2),
        (Bound, 23, 95_000, 3),
    ];
    for (kind, generation, at_s, mac) in of_seven {
        for other in 0..5 {
            writer.add(&line(20 + other, Bound, generation, START + at_s, 77));
            writer.add(&line(20 + other, Released, generation + 1, START + at_s, 77));
        }
        writer.add(&line(7, kind, generation, START + at_s, mac));
        writer.commit(position(64), 0, START + at_s).unwrap();
    }
    writer.commit(position(64), 0, START + 96_000).unwrap();
    writer
}

#[test]
fn who_had_an_address_at_a_time_is_found_in_one_file_and_in_many() {
    for rotate_bytes in [1, 1500, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let _writer = written(dir.path(), rotate_bytes);
        let search = Search::open(dir.path()).unwrap();
        let who = |at_s: u32| {
            let found = search.find(&at("192.0.2.7", START + at_s)).unwrap();
            assert!(found.holds.len() <= 1, "{:?}", found.holds);
            macs(&found).first().map_or(0, |mac| mac.rsplit(':').next().unwrap().parse::<u8>().unwrap())
        };
        let expected = [
            (99, 0),
            (100, 1),
            (50_000, 1),
            (90_499, 1),
            (90_500, 0),
            (90_999, 0),
            (91_000, 2),
            (91_599, 2),
            (91_600, 0),
            (95_000, 3),
            (95_599, 3),
            (95_900, 3),
            (96_000, 3),
            (96_001, 0),
        ];
        for (at_s, mac) in expected {
            assert_eq!(who(at_s), mac, "at {at_s}, files of {rotate_bytes}");
        }
        let all = Query { address: Some("192.0.2.7".parse().unwrap()), ..Query::default() };
        let found = search.find(&all).unwrap();
        assert_eq!(macs(&found), ["00:00:00:00:00:01", "00:00:00:00:00:02", "00:00:00:00:00:03"]);
        assert_eq!(found.begins_s, Some(START + 100));
        let nobody = search.find(&at("192.0.2.99", START + 100)).unwrap();
        assert!(nobody.holds.is_empty());
    }
}

#[test]
fn a_client_is_found_by_its_hardware_address_and_within_a_span() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = written(dir.path(), 1500);
    let search = Search::open(dir.path()).unwrap();
    let of_mac = |mac: u8| Query { hw_address: Some(vec![0, 0, 0, 0, 0, mac]), ..Query::default() };
    let found = search.find(&of_mac(2)).unwrap();
    assert_eq!(found.holds.iter().map(|hold| hold.lease.address.to_string()).collect::<Vec<_>>(), ["192.0.2.7"]);
    assert_eq!(search.find(&of_mac(77)).unwrap().holds.len(), 5 * 6);
    let span = |from: u32, to: u32| Query {
        address: Some("192.0.2.7".parse().unwrap()),
        span_s: Some((START + from, START + to)),
        ..Query::default()
    };
    assert_eq!(macs(&search.find(&span(90_400, 91_000)).unwrap()).len(), 2);
    assert_eq!(macs(&search.find(&span(90_500, 90_999)).unwrap()).len(), 0);
    let other = Query { hw_address: Some(vec![0, 0, 0, 0, 0, 9]), ..span(0, 200_000) };
    assert!(search.find(&other).unwrap().holds.is_empty());
}

#[test]
fn an_address_of_two_vpns_has_two_clients_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(settings(dir.path()), false).unwrap();
    for (vrf, mac) in [(None, 1), (Some("red"), 2), (Some("blue"), 3)] {
        let mut line = line(7, Bound, 1, START, mac);
        line.lease.vrf = vrf.map(str::to_owned);
        writer.add(&line);
    }
    writer.commit(position(64), 0, START).unwrap();
    let search = Search::open(dir.path()).unwrap();
    let query = at("192.0.2.7", START);
    assert_eq!(search.find(&query).unwrap().holds.len(), 3);
    for (vrf, mac) in [("global", 1), ("red", 2)] {
        let found = search.find(&Query { vrf: Some(vrf.into()), ..query.clone() }).unwrap();
        assert_eq!(macs(&found), [format!("00:00:00:00:00:0{mac}")]);
    }
}

#[test]
fn who_was_on_a_circuit_is_found_whatever_bytes_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(settings(dir.path()), false).unwrap();
    // Of the second one the bytes are no text, of the third one they need escapes in JSON.
    let circuits: [&[u8]; 3] = [b"olt1 0/7", &[0, 4, 0xff], b"a\"b\\"];
    for (number, circuit) in circuits.iter().enumerate() {
        let mut event = event(number as u32, Bound, 1, START, 1);
        event.binding.agent_info.extend([1, circuit.len() as u8]);
        event.binding.agent_info.try_extend_from_slice(circuit).unwrap();
        writer.add(&Line::new(&event, None, &Vrfs::default(), 0));
    }
    writer.commit(position(64), 0, START).unwrap();
    let search = Search::open(dir.path()).unwrap();
    for (number, circuit) in circuits.iter().enumerate() {
        let query = Query { circuit_id: Some(circuit.to_vec()), ..Query::default() };
        let holds = search.find(&query).unwrap().holds;
        let found: Vec<_> = holds.iter().map(|hold| hold.lease.address.octets()[3]).collect();
        assert_eq!(found, [number as u8]);
        let elsewhere = Query { address: Some("192.0.2.9".parse().unwrap()), ..query };
        assert!(search.find(&elsewhere).unwrap().holds.is_empty());
    }
    let mut event = event(9, Bound, 1, START, 1);
    event.binding.agent_info.try_extend_from_slice(b"\x02\x03ont").unwrap();
    event.binding.client_id = [1, 2, 3].into_iter().collect();
    writer.add(&Line::new(&event, None, &Vrfs::default(), 0));
    writer.commit(position(64), 0, START).unwrap();
    let of = |bytes: &[u8]| Some(bytes.to_vec());
    for (query, is_found) in [
        (Query { remote_id: of(b"ont"), ..Query::default() }, true),
        (Query { remote_id: of(b"on"), ..Query::default() }, false),
        (Query { client_id: of(&[1, 2, 3]), ..Query::default() }, true),
        (Query { client_id: of(&[1, 2]), ..Query::default() }, false),
        (Query { client_id: of(&[1, 2, 3]), remote_id: of(b"ont"), ..Query::default() }, true),
        (Query { client_id: of(&[1, 2, 3]), circuit_id: of(b"olt1 0/7"), ..Query::default() }, false),
    ] {
        let found: Vec<_> =
            search.find(&query).unwrap().holds.iter().map(|hold| hold.lease.address.octets()[3]).collect();
        assert_eq!(found, if is_found { vec![9] } else { vec![] }, "{query:?}");
    }
    let remote = Query { remote_id: Some(b"olt1 0/7".to_vec()), ..Query::default() };
    assert!(search.find(&remote).unwrap().holds.is_empty());
}

#[test]
fn a_client_that_is_moved_to_another_circuit_has_two_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(settings(dir.path()), false).unwrap();
    for (generation, kind, circuit) in [(1, Bound, b'1'), (2, Renewed, b'2')] {
        let mut event = event(7, kind, generation, START + generation * 100, 1);
        event.binding.agent_info.extend([1, 1, circuit]);
        writer.add(&Line::new(&event, None, &Vrfs::default(), 0));
    }
    writer.commit(position(64), 0, START + 300).unwrap();
    let found = Search::open(dir.path()).unwrap().find(&at("192.0.2.7", START + 150)).unwrap();
    let tell: Vec<_> =
        found.holds.iter().map(|hold| (hold.lease.circuit_id.as_deref(), hold.ended_by.as_deref())).collect();
    assert_eq!(tell, [(Some("1"), Some("renewed"))]);
    let found = Search::open(dir.path()).unwrap().find(&at("192.0.2.7", START + 200)).unwrap();
    assert_eq!(
        found.holds.iter().map(|hold| (hold.lease.circuit_id.as_deref(), hold.from_is_known)).collect::<Vec<_>>(),
        [(Some("2"), true)]
    );
}

#[test]
fn an_index_leads_to_every_line_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    drop(written(dir.path(), 1));
    let search = Search::open(dir.path()).unwrap();
    let all = || (0..=30).map(|n| Query { address: Some([192, 0, 2, n].into()), ..Query::default() });
    let find = |query: Query| search.find(&query).unwrap().holds;
    let by_index: Vec<_> = all().map(find).collect();
    assert_eq!(by_index.iter().filter(|holds| !holds.is_empty()).count(), 6);
    let names = files::list(dir.path()).unwrap();
    let removed = names.iter().filter(|name| fs::remove_file(dir.path().join(name.index())).is_ok());
    assert_eq!(removed.count(), names.len() - 1, "all but the open one have an index");
    assert_eq!(all().map(find).collect::<Vec<_>>(), by_index);
}

#[test]
fn a_damaged_or_missing_index_costs_time_and_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = written(dir.path(), 1500);
    let names = files::list(dir.path()).unwrap();
    let with_index = Search::open(dir.path()).unwrap().find(&at("192.0.2.7", START + 50_000)).unwrap();
    fs::remove_file(dir.path().join(names[0].index())).unwrap();
    let path = dir.path().join(names[1].index());
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    let without = Search::open(dir.path()).unwrap().find(&at("192.0.2.7", START + 50_000)).unwrap();
    assert_eq!(with_index.holds, without.holds);
    assert_eq!(without.holds.len(), 1);
}

#[test]
fn after_a_gap_it_is_not_known_until_when_somebody_had_an_address() {
    let dir = tempfile::tempdir().unwrap();
    for rotate_bytes in [1, 1 << 20] {
        let mut writer = Writer::open(Settings { rotate_bytes, ..settings(dir.path()) }, false).unwrap();
        // Where files are small each line is in one of its own, and all but the last one have an index.
        let commit = |writer: &mut Writer| writer.commit(position(64), 0, START + 3000).unwrap();
        writer.add(&line(7, Bound, 1, START, 1));
        commit(&mut writer);
        let gap =
            GapLine { at: rfc3339(START + 1000), event: GapLine::EVENT.into(), since: None, reason: "test".into() };
        writer.add(&gap);
        commit(&mut writer);
        writer.add(&line(7, Renewed, 9, START + 2000, 2));
        commit(&mut writer);
        let found = Search::open(dir.path())
            .unwrap()
            .find(&Query { address: Some("192.0.2.7".parse().unwrap()), ..Query::default() });
        let holds = found.unwrap().holds;
        let tell: Vec<_> = holds.iter().map(|hold| (hold.ended_by.as_deref(), hold.from_is_known)).collect();
        assert_eq!(tell, [(Some("gap"), true), (None, false)]);
        fs::remove_dir_all(dir.path()).unwrap();
        fs::create_dir(dir.path()).unwrap();
    }
}

/// A line in each of three files, which are to be kept for 1000 s: of START, 500 s and 2000 s later.
fn three_files(dir: &Path) -> Writer {
    let keep = Some(Duration::from_secs(1000));
    let mut writer = Writer::open(Settings { rotate_bytes: 1, keep, ..settings(dir) }, false).unwrap();
    for at_s in [0, 500, 2000] {
        writer.add(&line(7, Bound, 1, START + at_s, 1));
        writer.commit(position(64), 0, START + at_s).unwrap();
    }
    writer
}

#[test]
fn files_that_need_not_be_kept_are_removed_and_not_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = three_files(dir.path());
    writer.tidy(START + 1200).unwrap();
    assert_eq!(lines(dir.path()).len(), 2);
    writer.tidy(START + 9000).unwrap();
    assert_eq!(lines(dir.path()).len(), 1);
}

#[test]
fn a_file_whose_index_is_gone_is_removed_too_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = three_files(dir.path());
    for name in files::list(dir.path()).unwrap().iter().take(2) {
        fs::remove_file(dir.path().join(name.index())).unwrap();
    }
    writer.tidy(START + 1200).unwrap();
    assert_eq!(lines(dir.path()).len(), 2);
}

#[test]
fn all_files_stay_within_their_limit_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let taken =
        || -> u64 { files::list(dir.path()).unwrap().iter().map(|it| files::size(dir.path(), it).unwrap()).sum() };
    let limited = |max_bytes| Settings { rotate_bytes: 3000, max_bytes, ..settings(dir.path()) };
    let mut writer = Writer::open(limited(Some(12_000)), false).unwrap();
    for number in 0..200 {
        writer.add(&line(number % 250, Bound, number, START + number, 1));
        writer.commit(position(64), 0, START + number).unwrap();
        // Its index is made of a file when it is closed.
        assert!(taken() <= 12_200, "{number}: {} bytes", taken());
    }
    assert!(taken() > 8000 && writer.take_removed_early() > 10);
    let generations: Vec<u32> = lines(dir.path()).iter().map(|line| line.generation).collect();
    assert!(generations.iter().copied().eq(generations[0]..200), "the newest, without a gap: {generations:?}");
    drop(writer);
    // A limit that was made smaller; the last file stays whatever it is.
    let mut writer = Writer::open(limited(Some(1)), true).unwrap();
    writer.tidy(START + 1000).unwrap();
    assert_eq!(lines(dir.path()).last().map(|line| line.generation), Some(199));
    assert_eq!(files::list(dir.path()).unwrap().len(), 1);
}

#[test]
fn a_file_that_is_removed_while_it_is_searched_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = written(dir.path(), 1500);
    let search = Search::open(dir.path()).unwrap();
    let oldest = &files::list(dir.path()).unwrap()[0];
    fs::remove_file(dir.path().join(oldest.lines())).unwrap();
    let found = search.find(&at("192.0.2.7", START + 95_000)).unwrap();
    assert_eq!(macs(&found), ["00:00:00:00:00:03"]);
    assert!(found.begins_s > Some(START + 100), "{:?}", found.begins_s);
    let of_mac = Query { hw_address: Some(vec![0, 0, 0, 0, 0, 3]), ..Query::default() };
    assert_eq!(search.find(&of_mac).unwrap().holds.len(), 1);
}

#[test]
fn a_question_about_a_time_of_which_changes_are_missing_is_answered_with_that() {
    for rotate_bytes in [1, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(Settings { rotate_bytes, ..settings(dir.path()) }, false).unwrap();
        let gap = |since_s: Option<u32>, at_s: u32, reason: &str| GapLine {
            at: rfc3339(START + at_s),
            event: GapLine::EVENT.into(),
            since: since_s.map(|since_s| rfc3339(START + since_s)),
            reason: reason.into(),
        };
        writer.add(&line(8, Bound, 1, START, 1));
        writer.add(&gap(Some(100), 200, "one"));
        writer.add(&gap(None, 50, "old"));
        writer.commit(position(64), 0, START + 300).unwrap();
        writer.add(&line(9, Bound, 1, START + 300, 1));
        writer.commit(position(64), 0, START + 300).unwrap();
        let search = Search::open(dir.path()).unwrap();
        // A file of an older version says no more than when the gap was found.
        let asked =
            [(99, 99, ""), (100, 100, "one"), (150, 300, "one"), (201, 300, ""), (10, 120, "old one"), (0, 50, "old")];
        for (from, to, expected) in asked {
            let span_s = Some((START + from, START + to));
            let of_address = Query { address: Some("192.0.2.7".parse().unwrap()), span_s, ..Query::default() };
            let of_client = Query { hw_address: Some(vec![0, 0, 0, 0, 0, 99]), span_s, ..Query::default() };
            for query in [of_address, of_client] {
                let found = search.find(&query).unwrap();
                let reasons: Vec<&str> = found.missing.iter().map(|it| it.reason.as_str()).collect();
                assert_eq!((reasons.join(" ").as_str(), found.holds.len()), (expected, 0), "{from} to {to}");
            }
        }
    }
}

#[test]
fn an_old_file_is_closed_without_a_further_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(settings(dir.path()), false).unwrap();
    writer.add(&line(7, Bound, 1, START, 1));
    writer.commit(position(64), 0, START).unwrap();
    let name = files::list(dir.path()).unwrap().remove(0);
    writer.tidy(START + 86_399).unwrap();
    assert!(!dir.path().join(name.index()).exists());
    writer.tidy(START + 86_400).unwrap();
    assert!(dir.path().join(name.index()).exists());
}

#[test]
fn the_file_that_the_checkpoint_names_is_not_removed_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { rotate_bytes: 100, max_bytes: Some(200), ..settings(dir.path()) };
    let mut writer = Writer::open(small.clone(), false).unwrap();
    writer.add(&line(1, Bound, 1, START, 1));
    writer.commit(position(64), 5, START).unwrap();
    // The next file is begun, and the checkpoint cannot be written.
    let in_the_way = dir.path().join("history.state.tmp");
    fs::create_dir(&in_the_way).unwrap();
    writer.add(&line(2, Bound, 1, START, 1));
    writer.commit(position(128), 5, START).unwrap_err();
    assert_eq!(files::list(dir.path()).unwrap().len(), 2);
    writer.tidy(START).unwrap();
    assert_eq!(writer.replace_oldest().unwrap(), None);
    // Killed then: what counts is there, and what does not comes again.
    drop(writer);
    assert!(Checkpoint::read(dir.path()).unwrap().unwrap().is_backed(dir.path()).unwrap());
    fs::remove_dir(&in_the_way).unwrap();
    let mut writer = Writer::open(small, true).unwrap();
    assert_eq!(lines(dir.path()), [line(1, Bound, 1, START, 1)]);
    writer.add(&line(2, Bound, 1, START, 1));
    writer.commit(position(128), 5, START).unwrap();
    assert_eq!(lines(dir.path()).len(), 2);
}

#[test]
fn a_checkpoint_that_is_none_is_named_with_what_to_do_and_a_newer_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (text, expected) in [("{x", "is damaged"), ("{\"schema\":1}", "is damaged"), ("{\"schema\":99}", "newer than")]
    {
        fs::write(dir.path().join(writer::STATE), text).unwrap();
        let error = Checkpoint::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("history.state") && error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_pipe_or_link_in_place_of_an_unfinished_file_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join("history.state.tmp");
    nix::unistd::mkfifo(&unfinished, nix::sys::stat::Mode::S_IRWXU).unwrap();
    files::replace(dir.path(), writer::STATE, b"one").unwrap();
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "as it was").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &unfinished).unwrap();
    files::replace(dir.path(), writer::STATE, b"two").unwrap();
    assert_eq!(fs::read(dir.path().join(writer::STATE)).unwrap(), b"two");
    assert_eq!(fs::read(elsewhere).unwrap(), b"as it was");
}

#[test]
fn a_directory_without_a_history_is_said_to_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let error = Search::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("there is no lease history here"), "{error}");
    let error = Search::open(&dir.path().join("x")).unwrap_err().to_string();
    assert!(error.contains("there is no lease history here"), "{error}");
}

#[test]
#[ignore = "long: writes ten million lines, and says how long a search takes"]
fn a_search_in_ten_million_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(Settings { rotate_bytes: 64 << 20, ..settings(dir.path()) }, false).unwrap();
    let start = std::time::Instant::now();
    for number in 0..10_000_000u32 {
        writer.add(&line(number % 1_000_000, Bound, number / 1_000_000 + 1, START + number / 100, number as u8));
        if number % 10_000 == 9_999 {
            writer.commit(position(64), 0, START + number / 100).unwrap();
        }
    }
    println!("written in {:.1} s: {} files", start.elapsed().as_secs_f64(), files::list(dir.path()).unwrap().len());
    let address = std::net::Ipv4Addr::from(0xc000_0200u32 + 654_321).to_string();
    for round in 0..3 {
        let start = std::time::Instant::now();
        let found = Search::open(dir.path()).unwrap().find(&at(&address, START + 50_000)).unwrap();
        assert_eq!(found.holds.len(), 1);
        println!("round {round}: {} us for an address at a time", start.elapsed().as_micros());
    }
    let start = std::time::Instant::now();
    let query = Query { hw_address: Some(vec![0, 0, 0, 0, 1, 1]), ..Query::default() };
    assert!(Search::open(dir.path()).unwrap().find(&query).unwrap().holds.is_empty());
    println!("{:.2} s for a hardware address that is in none", start.elapsed().as_secs_f64());
}
