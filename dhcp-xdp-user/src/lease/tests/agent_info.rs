//! Relay agent information: kept with the lease, and what takes its place.

use super::*;

fn from<'a>(table: &LeaseTable, who: &'a Who, agent_info: &'a [u8]) -> Client<'a> {
    Client { agent_info, ..who.of(table) }
}

fn at(table: &LeaseTable, last: u32) -> Vec<u8> {
    table.get(ip(last), NOW).unwrap().agent_info.to_vec()
}

#[test]
fn of_every_length_it_comes_back_beside_identifiers_of_every_length() {
    let table = table(255);
    let bytes = |n: u32| (0..n).map(|i| ((i * 7) ^ n) as u8).collect::<Vec<u8>>();
    for round in [0, 100, 7] {
        let length = |n: u32| 1 + (n + round) % 255;
        for n in 1..=255 {
            let who = Who { hw: Who::new(n).hw, id: bytes(256 - n) };
            table.bind(&from(&table, &who, &bytes(length(n))), ip(n), NOW + TERM, NOW).unwrap();
        }
        for (binding, n) in table.iter(NOW).zip(1..=255) {
            assert_eq!(binding.agent_info[..], bytes(length(n))[..], "client {n} in round {round}");
            assert_eq!(binding.client_id[..], bytes(256 - n)[..]);
        }
    }
    assert_eq!(table.counts().agent_info_left_out, 0);
}

#[test]
fn a_renewal_past_the_relay_agent_leaves_what_is_there_and_another_client_does_not() {
    let (table, one, two) = (table(1), Who::new(1), Who::new(2));
    table.bind(&from(&table, &one, b"\x01\x04eth1"), ip(1), NOW + TERM, NOW).unwrap();
    table.bind(&one.of(&table), ip(1), NOW + 2 * TERM, NOW).unwrap();
    assert_eq!(at(&table, 1), b"\x01\x04eth1");
    let key = one.of(&table).key;
    assert_eq!(table.agent_info_of(&key, ip(1).into(), NOW).unwrap().unwrap()[..], *b"\x01\x04eth1");
    // What it gave back is its own still.
    table.release(&key, ip(1), NOW).unwrap();
    assert_eq!(at(&table, 1), b"\x01\x04eth1");
    assert_eq!(table.agent_info_of(&key, ip(1).into(), NOW), Ok(None), "no lease");
    table.offer(&two.of(&table), None, NOW + HOLD, NOW).unwrap();
    assert_eq!(at(&table, 1), b"");
    table.bind(&from(&table, &two, b"\x01\x04eth2"), ip(1), NOW + TERM, NOW).unwrap();
    assert_eq!(at(&table, 1), b"\x01\x04eth2");
    assert_eq!(table.agent_info_of(&key, ip(1).into(), NOW), Ok(None), "another's lease");
}

#[test]
fn a_client_that_moves_takes_along_what_is_known_of_it() {
    let (table, who) = (table(3).with_limits(1), Who::new(1));
    table.bind(&from(&table, &who, b"\x01\x04eth1"), ip(1), NOW + TERM, NOW).unwrap();
    assert!(table.bind(&who.of(&table), ip(2), NOW + TERM, NOW).unwrap().released.is_some());
    assert_eq!(at(&table, 2), b"\x01\x04eth1");
    table.bind(&from(&table, &who, b"\x01\x04eth2"), ip(3), NOW + TERM, NOW).unwrap();
    assert_eq!((at(&table, 2), at(&table, 3)), (b"\x01\x04eth1".to_vec(), b"\x01\x04eth2".to_vec()));
}

#[test]
fn a_renewal_that_came_another_way_is_recorded_and_one_that_came_the_same_way_is_not() {
    let (table, who) = (table(1), Who::new(1));
    let renew = |agent_info: &[u8]| {
        let bound = table.bind_with_slack(&from(&table, &who, agent_info), ip(1), NOW + TERM, TERM, NOW);
        bound.unwrap().must_record
    };
    assert!(renew(&[1; 70]));
    assert!(!renew(&[1; 70]));
    assert!(!renew(&[]), "past the relay agent");
    for other in [&[1; 69][..], &[1; 71], &[[1; 69], [2; 69]].concat(), &[2; 10], &[2; 9], &[2; 31]] {
        assert!(renew(other), "{other:?}");
        assert!(!renew(other), "{other:?}");
        assert_eq!(at(&table, 1), other);
    }
}

#[test]
fn without_room_it_is_left_out_and_counted_and_identifiers_have_theirs() {
    let table = table(2);
    while table.side.agents.pool.pop().is_some() {}
    let long = Who { hw: Who::new(1).hw, id: vec![7; 255] };
    table.bind(&from(&table, &long, &[1; 200]), ip(1), NOW + TERM, NOW).unwrap();
    table.bind(&from(&table, &Who::new(2), &[2; 30]), ip(2), NOW + TERM, NOW).unwrap();
    assert_eq!((at(&table, 1), at(&table, 2)), (vec![], vec![2; 30]), "a short one needs no room");
    assert_eq!((table.counts().agent_info_left_out, &table.get(ip(1), NOW).unwrap().client_id[..]), (1, &[7; 255][..]));
    // What was said before is not true any more.
    table.bind(&from(&table, &Who::new(2), &[3; 200]), ip(2), NOW + TERM, NOW).unwrap();
    assert_eq!((at(&table, 2), table.counts().agent_info_left_out), (vec![], 2));
}

#[test]
fn room_is_given_back() {
    let (table, who) = (table(1), Who::new(1));
    for n in 0..100 {
        table.bind(&from(&table, &who, &[n; 255]), ip(1), NOW + TERM, NOW).unwrap();
        table.bind(&from(&table, &who, &[n; 3]), ip(1), NOW + TERM, NOW).unwrap();
    }
    assert_eq!((table.counts().agent_info_left_out, at(&table, 1)), (0, vec![99; 3]));
}

#[test]
fn a_restart_brings_back_what_the_newest_record_says_and_nothing_when_it_says_nothing() {
    let record = |generation, agent_info: &[u8]| Binding {
        agent_info: agent_info.iter().copied().collect(),
        ..Lease {
            space: Space::GLOBAL,
            address: ip(1),
            state: BindingState::Bound,
            generation,
            started_s: NOW,
            expires_s: NOW + TERM,
        }
        .of(&Who::new(1).hw, &Who::new(1).id)
    };
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        for newest in [&b"\x01\x01c"[..], &[9; 200], b""] {
            let table = table(1);
            for generation in order {
                let said = if generation == 3 { newest } else { &[generation as u8; 50] };
                table.restore(&record(generation, said), 0, NOW).unwrap();
            }
            assert_eq!(at(&table, 1), newest, "{order:?}");
        }
    }
}

#[test]
fn where_there_are_no_relay_agents_nothing_is_looked_up_or_written() {
    let table = table(4);
    for n in 1..=4 {
        lease(&table, n, NOW);
        table.restore(&table.get(ip(n), NOW).unwrap(), 0, NOW).unwrap();
    }
    assert!(!table.has_agent_info());
}
