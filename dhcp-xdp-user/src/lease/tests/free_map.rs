//! The map of free slots.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::free_map::FreeMap;

proptest! {
    #[test]
    fn the_next_free_slot_is_the_one_that_a_set_would_find(
        slots in 1u32..20_000, ops in proptest::collection::vec((any::<u32>(), any::<bool>(), any::<u32>()), 1..300)
    ) {
        let map = FreeMap::new(slots as usize);
        let mut free: BTreeSet<u32> = (0..slots).collect();
        // Mostly full, in runs.
        for slot in (0..slots).filter(|slot| slot / 100 % 7 != 3) {
            map.clear(slot);
            free.remove(&slot);
        }
        for (slot, is_free, from) in ops {
            let (slot, from) = (slot % slots, from % (slots + 200));
            if is_free {
                map.set(slot);
                free.insert(slot);
            } else {
                map.clear(slot);
                free.remove(&slot);
            }
            prop_assert_eq!(map.next(from), free.range(from..).next().copied());
        }
    }
}

#[test]
fn a_bit_that_is_set_while_its_neighbours_are_cleared_is_found() {
    let map = FreeMap::new(4096);
    std::thread::scope(|scope| {
        for thread in 0..3u32 {
            let map = &map;
            scope.spawn(move || {
                for round in 0..30_000 {
                    let slot = (round % 3) * 64 + thread;
                    map.clear(slot);
                    map.set(slot);
                }
                (0..3).for_each(|word| map.clear(word * 64 + thread));
                map.set(64 + thread);
            });
        }
    });
    for slot in (0..4096).filter(|slot| slot % 64 > 2 || *slot >= 192) {
        map.clear(slot);
    }
    assert_eq!((map.next(0), map.next(65), map.next(66), map.next(67)), (Some(64), Some(65), Some(66), None));
}
