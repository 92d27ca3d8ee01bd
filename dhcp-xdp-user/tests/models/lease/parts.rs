//! The table's parts, each alone.

use std::sync::Arc;

use loom::thread;

use super::{
    BindingState, ClientId, ClientKey, HwAddress, Stamp,
    free_map::FreeMap,
    index::{ClientIndex, Entered},
    ring::Ring,
    side::SideData,
    slot::{Body, HwHead, Slot},
};
use crate::model;

fn slots(len: usize) -> Vec<Slot> {
    (0..len).map(|_| Slot::default()).collect()
}

fn body(n: u64) -> Body {
    let hw = HwHead { htype: 1, hlen: 6, bytes: [n as u8; 8] };
    let key = ClientKey([n, n]);
    Body { key, generation: n as u32, stamp: Stamp::UNSETTLED, started_s: n as u32, hw }
}

fn write(slot: &Slot, n: u64) -> bool {
    let Some(claim) = slot.read().and_then(|seen| slot.claim(&seen)) else { return false };
    claim.write(&body(n));
    claim.publish(BindingState::Bound, n as u32);
    true
}

// Slots

#[test]
fn a_reader_sees_one_writers_body_and_never_two() {
    model(3, || {
        let slot = Arc::new(Slot::default());
        assert!(write(&slot, 1));
        let writer = thread::spawn({
            let slot = slot.clone();
            move || assert!(write(&slot, 2))
        });
        if let Some(seen) = slot.read() {
            let n = seen.word.expires_s();
            assert!(n == 1 || n == 2);
            let whole = body(u64::from(n));
            assert_eq!((seen.key, seen.generation, seen.started_s, seen.hw), (whole.key, n, n, whole.hw));
        }
        if slot.has_key(&ClientKey([2, 2])) == Some(true) {
            assert_eq!(slot.read().map(|seen| seen.key), Some(ClientKey([2, 2])));
        }
        writer.join().unwrap();
    });
}

#[test]
fn of_two_that_saw_the_same_slot_one_claims_it() {
    model(3, || {
        let slot = Arc::new(Slot::default());
        let seen = slot.read().unwrap();
        let claim = move |slot: &Slot, n| {
            slot.claim(&seen).is_some_and(|claim| {
                claim.write(&body(n));
                claim.publish(BindingState::Bound, n as u32);
                true
            })
        };
        let other = thread::spawn({
            let slot = slot.clone();
            move || claim(&slot, 2)
        });
        let won = claim(&slot, 1);
        assert!(won != other.join().unwrap());
        assert_eq!(slot.read().unwrap().generation, if won { 1 } else { 2 });
    });
}

// The index

/// A key of the first line of a small index.
fn first_line(n: u64) -> ClientKey {
    ClientKey([n, n << 32])
}

/// An index and its slots, with these clients in it, each in the slot of its number.
fn index(len: usize, clients: std::ops::Range<u64>) -> (ClientIndex, Vec<Slot>) {
    let (index, slots) = (ClientIndex::new(len), slots(len));
    for n in clients {
        assert_eq!(enter(&index, &slots, n, n as u32), Some(Entered::New));
    }
    (index, slots)
}

/// Enters a client as the table does: with the slot held. `None`: somebody else holds it.
fn enter(index: &ClientIndex, slots: &[Slot], n: u64, slot: u32) -> Option<Entered> {
    let this = &slots[slot as usize];
    let claim = this.read().and_then(|seen| this.claim(&seen))?;
    let entered = index.insert(&first_line(n), slot, slots, &claim.key());
    if entered == Entered::New {
        claim.write(&Body { key: first_line(n), ..body(n) });
        claim.publish(BindingState::Bound, 1);
    } else {
        claim.give_back();
    }
    Some(entered)
}

fn remove(index: &ClientIndex, slots: &[Slot], n: u64) {
    let slot = &slots[n as usize];
    let claim = slot.read().and_then(|seen| slot.claim(&seen)).unwrap();
    index.remove_if_at(&first_line(n), n as u32);
    claim.publish(BindingState::Declined, 1);
}

#[test]
fn a_client_that_is_entered_twice_at_once_is_in_one_slot() {
    model(2, || {
        let shared = Arc::new(index(3, 1..1));
        let other = thread::spawn({
            let shared = shared.clone();
            move || enter(&shared.0, &shared.1, 1, 1)
        });
        let mine = enter(&shared.0, &shared.1, 1, 2);
        let other = other.join().unwrap();
        let entered = [mine, other].iter().filter(|entered| **entered == Some(Entered::New)).count();
        assert_eq!(entered, 1, "{mine:?} {other:?}");
        let at = shared.0.get(&first_line(1), &shared.1).unwrap();
        assert_eq!(at, if mine == Some(Entered::New) { 2 } else { 1 });
    });
}

#[test]
fn a_client_beyond_its_line_is_found_while_its_neighbours_come_and_go() {
    model(2, || {
        // Seven fill the first line; the eighth and ninth are in the next one.
        let shared = Arc::new(index(12, 1..10));
        let goes = thread::spawn({
            let shared = shared.clone();
            move || {
                remove(&shared.0, &shared.1, 9);
                remove(&shared.0, &shared.1, 3);
            }
        });
        assert_eq!(shared.0.get(&first_line(8), &shared.1), Some(8));
        goes.join().unwrap();
        assert_eq!(shared.0.get(&first_line(8), &shared.1), Some(8));
        assert_eq!(shared.0.get(&first_line(9), &shared.1), None);
    });
}

#[test]
fn one_goes_and_another_comes_to_the_same_line() {
    model(2, || {
        let shared = Arc::new(index(12, 1..9));
        let goes = thread::spawn({
            let shared = shared.clone();
            move || remove(&shared.0, &shared.1, 8)
        });
        assert_eq!(enter(&shared.0, &shared.1, 10, 10), Some(Entered::New));
        assert_eq!(shared.0.get(&first_line(10), &shared.1), Some(10));
        goes.join().unwrap();
        assert_eq!(shared.0.get(&first_line(10), &shared.1), Some(10));
        assert_eq!(shared.0.get(&first_line(8), &shared.1), None);
    });
}

// Free addresses

#[test]
fn the_queue_loses_nothing_and_gives_nothing_twice() {
    model(3, || {
        let ring = Arc::new(Ring::new(2));
        ring.push(1);
        let other = thread::spawn({
            let ring = ring.clone();
            move || {
                ring.push(2);
                ring.pop()
            }
        });
        let mine = ring.pop();
        let mut got: Vec<u32> = [mine, other.join().unwrap(), ring.pop(), ring.pop()].into_iter().flatten().collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn a_slot_that_is_freed_while_the_last_other_one_is_taken_is_found() {
    model(3, || {
        // Two levels; all but slot 65 are in use.
        let map = Arc::new(FreeMap::new(66));
        (0..65).for_each(|slot| map.clear(slot));
        let other = thread::spawn({
            let map = map.clone();
            move || map.clear(65)
        });
        map.set(64);
        assert_eq!(map.next(0), Some(64));
        other.join().unwrap();
        assert_eq!((map.next(0), map.next(65)), (Some(64), None));
    });
}

#[test]
fn chunks_change_hands_without_a_reader_mixing_them_up() {
    model(2, || {
        let hw = HwAddress::default();
        let shared = Arc::new((SideData::new(2), slots(2)));
        let write = move |(side, slots): &(SideData, Vec<Slot>), slot: u32, id: &[u8]| {
            let this = &slots[slot as usize];
            let claim = this.read().and_then(|seen| this.claim(&seen)).unwrap();
            side.write(slot, &hw, id).unwrap();
            claim.publish(BindingState::Bound, 1);
        };
        write(&shared, 0, &[7; 40]);
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                // The chunk goes from slot 0 to slot 1.
                write(&shared, 0, &[]);
                write(&shared, 1, &[9; 40]);
            }
        });
        let (side, slots) = &*shared;
        let (mut id, mut rest) = (ClientId::new(), [0; 8]);
        if slots[0].read_with(|| side.read(0, &mut id, &mut rest)).is_some() {
            assert!(id[..] == [7; 40] || id.is_empty(), "{id:?}");
        }
        other.join().unwrap();
        side.read(1, &mut id, &mut rest);
        assert_eq!(id[..], [9; 40]);
    });
}
