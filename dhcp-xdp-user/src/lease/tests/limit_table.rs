//! The counters of lease limits by themselves.

use proptest::collection::vec;

use super::*;
use crate::lease::limit::{LimitTable, Part};

fn limit(value: u8, most: u32) -> Limit {
    Limit { key: LimitKey::new("circuit", &[value]), most }
}

#[test]
fn a_value_holds_as_many_leases_as_allowed_and_one_more_once_one_ends() {
    let table = LimitTable::new(8, 1);
    let wanted = [limit(1, 2)];
    for slot in 0..2 {
        table.reserve(slot, true, None, &wanted).unwrap();
        table.settle(slot, &wanted);
    }
    assert_eq!(table.reserve(2, true, None, &wanted), Err(LimitReached));
    assert_eq!(table.reserve(0, true, None, &wanted), Ok(()), "a renewal counts already");
    table.settle(0, &wanted);
    assert_eq!(table.count(wanted[0].key), 2);
    table.end(1);
    table.end(1);
    assert_eq!(table.count(wanted[0].key), 1);
    assert_eq!(table.reserve(2, true, None, &wanted), Ok(()));
    table.forget(2, &wanted);
    assert_eq!(table.count(wanted[0].key), 1);
}

#[test]
fn a_client_that_moves_to_another_address_counts_at_both_until_it_is_known_to_have_left() {
    let table = LimitTable::new(8, 1);
    let wanted = [limit(1, 1)];
    table.reserve(3, true, None, &wanted).unwrap();
    table.settle(3, &wanted);
    table.reserve(4, true, Some(3), &wanted).unwrap();
    assert!(table.settle(4, &wanted).is_empty());
    let freed = table.take(3);
    assert_eq!(
        (&table.keys(3)[..], &table.keys(4)[..], &freed[..]),
        (&[][..], &[wanted[0].key][..], &[wanted[0].key][..])
    );
    assert_eq!(table.count(wanted[0].key), 2, "beyond the limit, which nobody else is");
    assert_eq!(table.reserve(5, true, None, &wanted), Err(LimitReached));
    table.free(&freed);
    assert_eq!(table.count(wanted[0].key), 1);
    assert_eq!(table.reserve(5, true, None, &wanted), Err(LimitReached));
}

#[test]
fn what_a_slot_counts_against_no_more_is_handed_out_and_counts_until_it_is_freed() {
    let table = LimitTable::new(1, 1);
    let (one, two) = ([limit(1, 1)], [limit(2, 1)]);
    table.reserve(0, true, None, &one).unwrap();
    table.settle(0, &one);
    // There is room for the value that is on its way out and for the one in its place.
    table.reserve(0, true, None, &two).unwrap();
    let freed = table.settle(0, &two);
    assert_eq!(freed[..], [one[0].key]);
    assert_eq!((table.count(one[0].key), table.count(two[0].key)), (1, 1));
    table.free(&freed);
    assert_eq!((table.count(one[0].key), table.count(two[0].key)), (0, 1));
}

#[test]
fn of_several_limits_all_count_or_none() {
    let table = LimitTable::new(8, 2);
    table.restore(0, &[limit(2, 0).key]);
    assert_eq!(table.reserve(1, true, None, &[limit(1, 5), limit(2, 1)]), Err(LimitReached));
    assert_eq!(table.count(limit(1, 5).key), 0);
    assert_eq!(table.reserve(1, true, None, &[limit(1, 5), limit(2, 2)]), Ok(()));
}

#[test]
fn what_the_journal_has_counts_also_above_a_limit_that_was_lowered() {
    let table = LimitTable::new(8, 1);
    (0..3).for_each(|slot| table.restore(slot, &[limit(1, 0).key]));
    table.restore(2, &[limit(1, 0).key]);
    assert_eq!(table.count(limit(1, 0).key), 3, "an older record of a slot counts no more");
    assert_eq!(table.reserve(3, true, None, &[limit(1, 2)]), Err(LimitReached));
}

#[test]
fn every_slot_can_have_a_value_of_its_own() {
    for slots in [1u32, 7, 64, 1000, 20_000] {
        let table = LimitTable::new(slots as usize, 1);
        for slot in 0..slots {
            let wanted = [Limit { key: LimitKey::new("circuit", &slot.to_be_bytes()), most: 1 }];
            assert_eq!(table.reserve(slot, true, None, &wanted), Ok(()), "{slot} of {slots}");
            table.settle(slot, &wanted);
        }
        (0..slots).for_each(|slot| table.end(slot));
        assert!(table.parts.iter().all(|part| part.lock().unwrap().used == 0));
    }
}

#[test]
fn names_and_values_do_not_run_into_each_other() {
    assert_ne!(LimitKey::new("ab", b"c"), LimitKey::new("a", b"bc"));
    assert_ne!(LimitKey::new("a", b""), LimitKey::NONE);
    // The journal keeps it: it must never change.
    assert_eq!(LimitKey::new("circuit", b"eth7").0, [1_115_860_600_077_966_538, 2_858_857_847_775_436_944]);
}

#[test]
fn under_contention_no_value_ever_has_more_than_allowed() {
    const MOST: u32 = 3;
    let table = LimitTable::new(64, 1);
    let holding: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(0)).collect();
    let granted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (table, holding, granted) = (&table, &holding, &granted);
            scope.spawn(move || {
                for round in 0..20_000u32 {
                    // Each thread holds slots of its own, as claims make sure of.
                    let (slot, value) = (thread * 16 + round % 16, (round / 16 + thread) as usize % 4);
                    table.end_and(slot, |key| {
                        let value = (0..4u8).position(|value| limit(value, 0).key == key).unwrap();
                        holding[value].fetch_sub(1, Ordering::SeqCst);
                    });
                    let wanted = [limit(value as u8, MOST)];
                    if table.reserve(slot, true, None, &wanted).is_ok() {
                        let now = holding[value].fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= MOST, "{now} leases");
                        table.settle(slot, &wanted);
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    for (value, holding) in holding.iter().enumerate() {
        assert_eq!(table.count(limit(value as u8, 0).key), holding.load(Ordering::SeqCst));
    }
    assert!(granted.into_inner() > 1000, "it happened");
}

impl LimitTable {
    /// Ends a lease whose record is durable at once.
    fn end(&self, slot: u32) {
        self.end_and(slot, |_| ());
    }

    /// As `end`, telling first what ends.
    fn end_and(&self, slot: u32, each: impl FnMut(LimitKey)) {
        let freed = self.take(slot);
        freed.iter().copied().for_each(each);
        self.free(&freed);
    }
}

proptest! {
    #[test]
    fn a_part_counts_as_a_map_does(steps in vec((0u8..12, any::<bool>(), 1u32..4), 0..200)) {
        // Few places, so that keys put each other off.
        let mut part = Part::new(16);
        let mut model: HashMap<u8, u32> = HashMap::new();
        for (value, adds, most) in steps {
            let key = LimitKey([u64::from(value % 3), u64::from(value) + 1]);
            let count = model.entry(value).or_default();
            if adds {
                prop_assert_eq!(part.add(key, most), *count < most);
                *count += u32::from(*count < most);
            } else {
                part.subtract(key);
                *count = count.saturating_sub(1);
            }
            for (value, count) in &model {
                let key = LimitKey([u64::from(value % 3), u64::from(*value) + 1]);
                prop_assert_eq!(part.count(key), *count);
            }
            prop_assert_eq!(part.used, model.values().filter(|count| **count > 0).count());
        }
    }
}
