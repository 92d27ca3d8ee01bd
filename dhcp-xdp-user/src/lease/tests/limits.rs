//! Lease limits: what leases count against, through every change that they go through.

use super::*;

fn circuit(number: u32, most: u32) -> Limit {
    Limit { key: LimitKey::new("circuit", &number.to_be_bytes()), most }
}

fn table(addresses: u32) -> LeaseTable {
    super::table(addresses).with_limits(2)
}

fn bind(table: &LeaseTable, number: u32, last: u32, limits: &[Limit], now_s: u32) -> Result<Bound, BindError> {
    let who = Who::new(number);
    table.bind(&Client { limits, ..who.of(table) }, ip(last), now_s + TERM, now_s)
}

/// Its record is durable.
fn durable(table: &LeaseTable, ended: Option<Ended>) {
    table.free(&ended.unwrap().freed);
}

/// As [`durable`], of a binding and of the one that it ended.
fn durable_bound(table: &LeaseTable, bound: Bound) {
    table.free(&bound.freed);
    table.free(&bound.freed_by_leaving);
}

/// What the counters say is what the slots say.
fn assert_counted(table: &LeaseTable, circuits: u32) {
    for number in 0..circuits {
        let key = circuit(number, 0).key;
        let counted = table.iter(NOW).filter(|binding| binding.limits.contains(&key)).count();
        assert_eq!(table.limit_count(key) as usize, counted, "circuit {number}");
    }
}

#[test]
fn a_circuit_holds_as_many_leases_as_allowed_and_one_more_once_one_is_released() {
    let (table, one) = (table(10), [circuit(1, 2)]);
    let first = bind(&table, 1, 1, &one, NOW).unwrap();
    bind(&table, 2, 2, &one, NOW).unwrap();
    assert_eq!(bind(&table, 3, 3, &one, NOW), Err(BindError::Limited));
    let third = Who::new(3);
    assert!(table.is_limited(&Client { limits: &one, ..third.of(&table) }, NOW));
    assert_eq!(table.find(&third.of(&table).key, NOW), None, "nothing was changed");
    assert!(bind(&table, 3, 3, &[circuit(2, 2)], NOW).is_ok(), "another circuit");
    let released = table.release(&Who::new(1).of(&table).key, first.lease.address, NOW);
    assert_eq!(bind(&table, 4, 4, &one, NOW), Err(BindError::Limited), "the release may be lost still");
    assert!(table.is_limited(&Client { limits: &one, ..third.of(&table) }, NOW));
    durable(&table, released);
    assert!(bind(&table, 4, 4, &one, NOW).is_ok());
    assert_counted(&table, 4);
}

#[test]
fn a_renewal_counts_once_with_and_without_its_circuit() {
    let (table, one) = (table(10), [circuit(1, 1)]);
    for limits in [&one[..], &one, &[]] {
        bind(&table, 1, 1, limits, NOW).unwrap();
        let who = Who::new(1);
        assert!(!table.is_limited(&Client { limits: &one, ..who.of(&table) }, NOW));
    }
    assert_eq!(table.limit_count(one[0].key), 1);
    assert_eq!(table.get(ip(1), NOW).unwrap().limits[..], [one[0].key]);
}

#[test]
fn a_client_that_moves_to_another_circuit_or_address_counts_there_and_no_more_here() {
    let (table, one, two) = (table(10), [circuit(1, 1)], [circuit(2, 1)]);
    bind(&table, 1, 1, &one, NOW).unwrap();
    let renewed = bind(&table, 1, 1, &two, NOW).unwrap();
    assert_eq!(renewed.freed[..], [one[0].key]);
    assert_eq!((table.limit_count(one[0].key), table.limit_count(two[0].key)), (1, 1));
    assert_eq!(bind(&table, 2, 4, &one, NOW), Err(BindError::Limited), "the renewal may be lost still");
    durable_bound(&table, renewed);
    assert_eq!((table.limit_count(one[0].key), table.limit_count(two[0].key)), (0, 1));
    let moved = bind(&table, 1, 2, &two, NOW).unwrap();
    assert_eq!((&moved.freed[..], &moved.freed_by_leaving[..]), (&[][..], &[two[0].key][..]));
    assert_eq!(table.limit_count(two[0].key), 2, "it may come back with the old address, the new one, or both");
    durable_bound(&table, moved);
    assert_eq!(table.limit_count(two[0].key), 1, "the count came along");
    durable_bound(&table, bind(&table, 1, 3, &[], NOW).unwrap());
    assert_eq!(table.get(ip(3), NOW).unwrap().limits[..], [two[0].key]);
    assert_counted(&table, 3);
    assert!(bind(&table, 2, 4, &one, NOW).is_ok());
    assert_eq!(bind(&table, 1, 3, &one, NOW), Err(BindError::Limited), "a move to a circuit that is full");
    assert_eq!(table.get(ip(3), NOW).unwrap().limits[..], [two[0].key]);
    assert_eq!(bind(&table, 1, 5, &one, NOW), Err(BindError::Limited));
    let key = Who::new(1).of(&table).key;
    assert_eq!(table.find(&key, NOW).unwrap().address, ip(3), "nothing was changed");
    assert_counted(&table, 3);
}

#[test]
fn leases_that_are_over_by_decline_expiry_or_an_operator_count_no_more() {
    let (table, one) = (table(10), [circuit(1, 1)]);
    let key = |number| Who::new(number).of(&table).key;
    bind(&table, 1, 1, &one, NOW).unwrap();
    let declined = table.decline(&key(1), ip(1), NOW + 50, NOW);
    assert_eq!(bind(&table, 2, 2, &one, NOW), Err(BindError::Limited));
    durable(&table, declined);
    bind(&table, 2, 2, &one, NOW).unwrap();
    let released = table.release_address(ip(2), NOW);
    assert_eq!(bind(&table, 3, 3, &one, NOW), Err(BindError::Limited));
    durable(&table, released);
    bind(&table, 3, 3, &one, NOW).unwrap();
    assert_eq!(bind(&table, 4, 4, &one, NOW + TERM - 1), Err(BindError::Limited));
    assert!(bind(&table, 4, 4, &one, NOW + TERM).is_ok(), "overdue, and no housekeeping has run");
    // Another client takes an overdue address over.
    durable_bound(&table, bind(&table, 5, 4, &[circuit(2, 1)], NOW + 2 * TERM).unwrap());
    assert_eq!(table.limit_count(one[0].key), 0);
    assert_counted(&table, 3);
}

#[test]
fn an_offer_counts_against_nothing_and_ends_what_an_overdue_lease_counts_against() {
    let (table, one) = (table(1), [circuit(1, 1)]);
    bind(&table, 1, 1, &one, NOW).unwrap();
    let later = NOW + TERM;
    let who = Who::new(2);
    table.offer(&Client { limits: &one, ..who.of(&table) }, None, later + HOLD, later).unwrap();
    assert_eq!(table.limit_count(one[0].key), 0);
    assert!(bind(&table, 2, 1, &one, later).is_ok());
    assert_eq!(table.limit_count(one[0].key), 1);
}

#[test]
fn a_renewal_that_an_earlier_record_covers_still_moves_to_another_circuit() {
    let (table, one, two) = (table(4), [circuit(1, 1)], [circuit(2, 1)]);
    let who = Who::new(1);
    let renew = |limits| {
        let bound = table.bind_with_slack(&Client { limits, ..who.of(&table) }, ip(1), NOW + TERM, 60, NOW).unwrap();
        let must_record = bound.must_record;
        durable_bound(&table, bound);
        must_record
    };
    assert!(renew(&one));
    assert!(!renew(&one));
    assert!(!renew(&[]));
    assert!(renew(&two));
    assert_eq!((table.limit_count(one[0].key), table.limit_count(two[0].key)), (0, 1));
}

/// Another client has the address by then, and what it counts against is none of the former client's.
#[test]
fn an_address_that_is_taken_before_its_release_is_durable_counts_for_both_clients() {
    let (table, one, two) = (table(1), [circuit(1, 1)], [circuit(2, 1)]);
    bind(&table, 1, 1, &one, NOW).unwrap();
    let released = table.release(&Who::new(1).of(&table).key, ip(1), NOW);
    assert_eq!(bind(&table, 2, 1, &one, NOW), Err(BindError::Limited));
    let bound = bind(&table, 2, 1, &two, NOW).unwrap();
    assert_eq!((table.limit_count(one[0].key), table.limit_count(two[0].key)), (1, 1));
    let ended = table.release_address(ip(1), NOW);
    durable_bound(&table, bound);
    assert_eq!((table.limit_count(one[0].key), table.limit_count(two[0].key)), (1, 1));
    durable(&table, ended);
    assert_eq!((table.limit_count(one[0].key), table.limit_count(two[0].key)), (1, 0));
    durable(&table, released);
    assert_eq!((table.limit_count(one[0].key), table.limit_count(two[0].key)), (0, 0));
}

#[test]
fn what_leases_count_against_is_restored_by_the_newest_record() {
    let table = table(10);
    let lease = |number: u32, last, generation, state| {
        let who = Who::new(number);
        let (started_s, expires_s) = (NOW, NOW + TERM);
        Lease { space: Space::GLOBAL, address: ip(last), state, generation, started_s, expires_s }.of(&who.hw, &who.id)
    };
    let with = |binding: Binding, circuits: &[u32]| Binding {
        limits: circuits.iter().map(|number| circuit(*number, 0).key).collect(),
        ..binding
    };
    let restore = |binding: &Binding| table.restore(binding, 0, NOW).unwrap();
    restore(&with(lease(1, 1, 5, BindingState::Bound), &[1, 2]));
    restore(&with(lease(1, 1, 4, BindingState::Bound), &[3]));
    restore(&with(lease(2, 2, 1, BindingState::Bound), &[1]));
    restore(&with(lease(2, 2, 2, BindingState::Released), &[1]));
    restore(&with(lease(3, 3, 1, BindingState::Bound), &[1]));
    restore(&with(lease(3, 3, 2, BindingState::Bound), &[]));
    let counts: Vec<u32> = (1..4).map(|number| table.limit_count(circuit(number, 0).key)).collect();
    assert_eq!(counts, [1, 1, 0]);
    assert_eq!(bind(&table, 4, 4, &[circuit(1, 1)], NOW), Err(BindError::Limited));
    assert_counted(&table, 4);
}

#[test]
fn threads_racing_for_circuits_never_exceed_a_limit_and_lose_no_count() {
    const POOL: u32 = 64;
    const MOST: u32 = 3;
    const THREADS: u32 = 3;
    let table = table(POOL);
    let refused = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, refused) = (&table, &refused);
            scope.spawn(move || {
                let mut state = thread + 1;
                let mut random = |end: u32| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) % end
                };
                for _ in 0..40_000 {
                    let (number, last) = (random(40), random(POOL) + 1);
                    let limits = [circuit(random(4), MOST)];
                    match random(8) {
                        0..5 => match bind(table, number, last, &limits, NOW) {
                            Err(BindError::Limited) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                            Ok(bound) => {
                                durable_bound(table, bound);
                                // Others may be in the middle of a move within the circuit.
                                assert!(table.limit_count(limits[0].key) < MOST + THREADS);
                            }
                            Err(_) => {}
                        },
                        5 => {
                            table.release_address(ip(last), NOW).into_iter().for_each(|ended| table.free(&ended.freed))
                        }
                        6 => {
                            let key = Who::new(number).of(table).key;
                            let address = table.find(&key, NOW).map(|lease| lease.address);
                            let ended = address.and_then(|address| table.decline(&key, address, NOW + 1, NOW));
                            ended.into_iter().for_each(|ended| table.free(&ended.freed));
                        }
                        _ => drop(table.offer(&Who::new(number).of(table), None, NOW + HOLD, NOW)),
                    }
                }
            });
        }
    });
    assert_counted(&table, 4);
    assert!(refused.into_inner() > 100, "limits were reached");
    (0..4).for_each(|number| assert!(table.limit_count(circuit(number, 0).key) <= MOST));
}
