//! The queue of freed slots.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::ring::Ring;

#[test]
fn values_come_out_in_the_order_that_they_went_in_turn_after_turn() {
    let ring = Ring::new(3);
    for turn in 0..10 {
        assert_eq!(ring.pop(), None);
        (0..3).for_each(|value| ring.push(turn + value));
        (0..3).for_each(|value| assert_eq!(ring.pop(), Some(turn + value)));
    }
}

#[test]
fn each_value_is_popped_by_one_thread_and_none_is_lost() {
    const VALUES: u32 = 8;
    let ring = Ring::new(VALUES as usize);
    (0..VALUES).for_each(|value| ring.push(value));
    let held: Vec<AtomicUsize> = (0..VALUES).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    let Some(value) = ring.pop() else { continue };
                    assert_eq!(held[value as usize].fetch_add(1, Ordering::Relaxed), 0, "popped twice");
                    held[value as usize].fetch_sub(1, Ordering::Relaxed);
                    ring.push(value);
                }
            });
        }
    });
    let mut left: Vec<u32> = std::iter::from_fn(|| ring.pop()).collect();
    left.sort_unstable();
    assert_eq!(left, (0..VALUES).collect::<Vec<_>>());
}
