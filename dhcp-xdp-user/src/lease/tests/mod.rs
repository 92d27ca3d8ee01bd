//! The table against what must hold of it: behaviour by example, sequences against a plain model, threads against each other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use proptest::prelude::*;

use super::*;

mod agent_info;
mod cuts;
mod free_map;
mod limit_table;
mod limits;
mod model;
mod reserved;
mod ring;
mod side;
mod spaces;
mod stress;
mod threads;

const SECRET: [u64; 2] = [1, 2];
const NOW: u32 = 1_800_000_000;
const HOLD: u32 = 10;
const TERM: u32 = 3600;

fn ip(last: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + last)
}

fn range(subnet: u16, first: u32, last: u32) -> PoolRange {
    PoolRange { subnet, first: ip(first), last: ip(last) }
}

fn table(addresses: u32) -> LeaseTable {
    LeaseTable::new(&[range(0, 1, addresses)], SECRET)
}

/// A client with a number for a MAC; some have a client identifier, short or long.
#[derive(Clone, Debug)]
struct Who {
    hw: HwAddress,
    id: Vec<u8>,
}

impl Who {
    fn new(number: u32) -> Self {
        let mut chaddr = [0; 16];
        chaddr[2..6].copy_from_slice(&number.to_be_bytes());
        let id = match number % 4 {
            0 => vec![],
            1 => [&[1, 0, 0][..], &number.to_be_bytes()].concat(),
            2 => [&[255; 24][..], &number.to_be_bytes()].concat(),
            _ => [&[0; 100][..], &number.to_be_bytes()].concat(),
        };
        Self { hw: HwAddress { htype: 1, hlen: 6, chaddr }, id }
    }

    fn of<'a>(&'a self, table: &LeaseTable) -> Client<'a> {
        self.in_subnet(table, 0)
    }

    fn in_subnet<'a>(&'a self, table: &LeaseTable, subnet: u16) -> Client<'a> {
        Client {
            key: table.key(subnet, &self.hw, &self.id),
            subnet,
            hw: &self.hw,
            client_id: &self.id,
            limits: &[],
            agent_info: &[],
        }
    }
}

fn lease(table: &LeaseTable, number: u32, now_s: u32) -> Lease {
    let who = Who::new(number);
    let client = who.of(table);
    let offer = table.offer(&client, None, now_s + HOLD, now_s).unwrap();
    table.bind(&client, offer.address, now_s + TERM, now_s).unwrap().lease
}

#[test]
fn n_addresses_serve_exactly_n_clients() {
    let table = LeaseTable::new(&[range(0, 1, 100), range(0, 200, 263), range(1, 300, 301)], SECRET);
    let got: HashSet<Ipv4Addr> = (0..164).map(|client| lease(&table, client, NOW).address).collect();
    assert_eq!(got.len(), 164);
    let late = Who::new(164);
    assert_eq!(table.offer(&late.of(&table), None, NOW + HOLD, NOW), Err(OfferError::Exhausted));
    assert_eq!(table.counts(), TableCounts { total: 166, bound: 164, ..TableCounts::default() });
    // One goes, one comes.
    let gone = Who::new(77);
    let address = table.find(&gone.of(&table).key, NOW).unwrap().address;
    assert!(table.release(&gone.of(&table).key, address, NOW).is_some());
    assert_eq!(lease(&table, 164, NOW).address, address);
    assert_eq!(table.offer(&gone.of(&table), None, NOW + HOLD, NOW), Err(OfferError::Exhausted));
    assert_eq!(table.index.len(), 164, "a former client is forgotten");
    // Another subnet is none of their business.
    assert!(table.offer(&gone.in_subnet(&table, 1), None, NOW + HOLD, NOW).is_ok());
    assert_eq!(table.offer(&gone.in_subnet(&table, 7), None, NOW + HOLD, NOW), Err(OfferError::Exhausted));
}

#[test]
fn what_is_in_use_of_a_subnet_is_counted_through_all_changes_and_a_restart() {
    let ranges = [range(0, 1, 10), range(1, 20, 29)];
    let table = LeaseTable::new(&ranges, SECRET);
    let used = |table: &LeaseTable| (table.used_permille(0), table.used_permille(1));
    let leases: Vec<Lease> = (0..4).map(|number| lease(&table, number, NOW)).collect();
    table.offer(&Who::new(9).in_subnet(&table, 1), None, NOW + HOLD, NOW).unwrap();
    assert_eq!(used(&table), (400, 100));
    lease(&table, 0, NOW + 5);
    assert_eq!(used(&table), (400, 100), "a renewal");
    table.release(&Who::new(1).of(&table).key, leases[1].address, NOW + 5).unwrap();
    table.decline(&Who::new(2).of(&table).key, leases[2].address, NOW + 2 * TERM, NOW + 5).unwrap();
    assert_eq!(used(&table), (300, 100), "one released, one declined");
    while table.expire(NOW + TERM, 100) > 0 {}
    assert_eq!(used(&table), (200, 0), "one lease and the offer have run out");
    let new = LeaseTable::new(&ranges, SECRET);
    for binding in table.iter(NOW + TERM) {
        new.restore(&binding, u16::from(binding.address.octets()[3] >= 20), NOW + TERM).unwrap();
    }
    assert_eq!(used(&new), (200, 0));
    assert_eq!(new.used_permille(7), 1000, "one that is not there has no address to give");
}

#[test]
fn an_exhausted_pool_looks_for_overdue_leases_once_a_second_and_finds_them_at_once_then() {
    let table = table(2);
    for number in 0..2 {
        table.offer(&Who::new(number).of(&table), None, NOW + HOLD, NOW).unwrap();
    }
    let newcomer = Who::new(7);
    assert_eq!(table.offer(&newcomer.of(&table), None, NOW + HOLD, NOW + 1), Err(OfferError::Exhausted));
    assert_eq!(table.offer(&newcomer.of(&table), None, NOW + HOLD, NOW + 1), Err(OfferError::Exhausted));
    assert!(table.offer(&newcomer.of(&table), None, NOW + 2 * HOLD, NOW + HOLD).is_ok(), "no housekeeping has run");
}

#[test]
fn freed_addresses_are_used_again_longest_free_first() {
    let table = table(8);
    let leases: Vec<Lease> = (0..8).map(|client| lease(&table, client, NOW)).collect();
    for client in [3, 0, 6] {
        table.release(&Who::new(client).of(&table).key, leases[client as usize].address, NOW).unwrap();
    }
    let got: Vec<Ipv4Addr> = (10..13).map(|client| lease(&table, client, NOW).address).collect();
    assert_eq!(got, [3, 0, 6].map(|client| leases[client].address));
}

#[test]
fn an_address_freed_twice_goes_behind_what_was_freed_in_between() {
    let table = table(2);
    let (first, second) = (lease(&table, 0, NOW), lease(&table, 1, NOW));
    let free = |client, lease: &Lease| table.release(&Who::new(client).of(&table).key, lease.address, NOW).unwrap();
    free(0, &first);
    lease(&table, 0, NOW);
    free(1, &second);
    free(0, &first);
    assert_eq!(lease(&table, 2, NOW).address, second.address);
    assert_eq!(lease(&table, 3, NOW).address, first.address);
}

#[test]
fn a_client_gets_its_previous_address_after_expiry() {
    let table = table(10);
    let had = lease(&table, 5, NOW);
    let later = NOW + TERM;
    assert_eq!(table.find(&Who::new(5).of(&table).key, later).unwrap().state, BindingState::Expired);
    assert_eq!(table.find(&Who::new(5).of(&table).key, later - 1).unwrap().state, BindingState::Bound);
    table.expire(later, 1000);
    let wanted = table.offer(&Who::new(5).of(&table), Some(ip(9)), later + HOLD, later).unwrap();
    assert_eq!(wanted.address, had.address);
}

#[test]
fn a_new_client_gets_the_address_it_wants_when_that_is_free() {
    let table = table(10);
    let offer = |client, wanted| table.offer(&Who::new(client).of(&table), Some(wanted), NOW + HOLD, NOW);
    assert_eq!(offer(1, ip(7)).unwrap().address, ip(7));
    assert_eq!(offer(2, ip(7)).unwrap().address, ip(1));
    assert_eq!(offer(3, ip(77)).unwrap().address, ip(2), "an address of no pool");
    // The cursor skips the one that was handed out of turn.
    let rest: HashSet<_> = (4..11).map(|client| lease(&table, client, NOW).address).collect();
    assert!(!rest.contains(&ip(7)) && rest.len() == 7);
}

#[test]
fn another_clients_offer_or_binding_is_never_bound() {
    let table = table(10);
    let bound = lease(&table, 1, NOW);
    let thief = Who::new(2);
    let bind = |address, now| table.bind(&thief.of(&table), address, now + TERM, now);
    assert_eq!(bind(bound.address, NOW), Err(BindError::Taken));
    assert_eq!(bind(bound.address, NOW + TERM - 1), Err(BindError::Taken));
    assert_eq!(bind(ip(200), NOW), Err(BindError::NotInPool));
    let offered = table.offer(&Who::new(3).of(&table), None, NOW + HOLD, NOW).unwrap();
    assert_eq!(bind(offered.address, NOW), Err(BindError::Taken));
    assert!(bind(offered.address, NOW + HOLD).is_ok(), "a hold that is over holds nothing, swept or not");
    assert!(bind(bound.address, NOW + TERM).is_ok());
}

#[test]
fn binding_another_address_releases_the_old_one() {
    let table = table(10);
    let old = lease(&table, 1, NOW);
    let who = Who::new(1);
    let bound = table.bind(&who.of(&table), ip(9), NOW + TERM, NOW + 5).unwrap();
    let released = bound.released.unwrap();
    assert_eq!((released.address, released.state), (old.address, BindingState::Released));
    assert!(released.generation > old.generation);
    assert_eq!(table.find(&who.of(&table).key, NOW + 5), Some(bound.lease));
    assert_eq!(table.counts().bound, 1);
    assert!(table.bind(&who.of(&table), ip(9), NOW + TERM, NOW + 6).unwrap().released.is_none());
    // An offer on another address is given up without a record.
    let offered = table.offer(&Who::new(2).of(&table), None, NOW + HOLD, NOW).unwrap();
    let moved = table.bind(&Who::new(2).of(&table), ip(8), NOW + TERM, NOW).unwrap();
    assert!(moved.released.is_none());
    assert_eq!(table.get(offered.address, NOW).unwrap().state, BindingState::Released);
}

#[test]
fn a_slot_that_is_being_changed_holds_nobody_up_and_is_not_taken_for_unknown() {
    let table = table(2);
    let bound = lease(&table, 1, NOW);
    let (who, thief) = (Who::new(1), Who::new(2));
    let key = who.of(&table).key;
    let slot = &table.slots[table.index.get(&key, &table.slots).unwrap() as usize];
    let claim = slot.claim(&slot.read().unwrap()).unwrap();
    assert_eq!(table.try_find(&key, NOW), Err(Contended));
    assert_eq!(table.offer(&who.of(&table), None, NOW + HOLD, NOW), Err(OfferError::Contended));
    assert_eq!(table.bind(&who.of(&table), bound.address, NOW + TERM, NOW), Err(BindError::Contended));
    assert_eq!(table.bind(&who.of(&table), ip(2), NOW + TERM, NOW), Err(BindError::Contended));
    assert_eq!(table.bind(&thief.of(&table), bound.address, NOW + TERM, NOW), Err(BindError::Contended));
    assert!(table.release(&key, bound.address, NOW).is_none());
    // What was tried left nothing behind.
    table.give_back(0, claim);
    assert_eq!(table.try_find(&key, NOW), Ok(Some(bound)));
    assert_eq!(table.try_find(&thief.of(&table).key, NOW), Ok(None));
    assert_eq!(lease(&table, 2, NOW).address, ip(2));
}

#[test]
fn a_declined_address_is_out_of_use_until_its_quarantine_ends() {
    let table = table(1);
    let bound = lease(&table, 1, NOW);
    let who = Who::new(1);
    assert!(table.decline(&Who::new(2).of(&table).key, bound.address, NOW + 600, NOW).is_none(), "not its owner");
    let declined = table.decline(&who.of(&table).key, bound.address, NOW + 600, NOW).unwrap().lease;
    assert_eq!((declined.state, declined.expires_s), (BindingState::Declined, NOW + 600));
    for client in [1, 2] {
        let offer = table.offer(&Who::new(client).of(&table), Some(bound.address), NOW + 610, NOW + 599);
        assert_eq!(offer, Err(OfferError::Exhausted));
    }
    assert_eq!(table.bind(&who.of(&table), bound.address, NOW + TERM, NOW + 599), Err(BindError::Taken));
    table.expire(NOW + 599, 100);
    assert_eq!(table.counts().declined, 1);
    table.expire(NOW + 600, 100);
    assert_eq!(lease(&table, 2, NOW + 600).address, bound.address);
}

#[test]
fn an_offered_address_is_quarantined_whoever_it_is_offered_to_and_a_bound_one_is_not() {
    let table = table(2);
    let bound = lease(&table, 1, NOW);
    assert_eq!(table.decline_offered(bound.address, NOW + 600, NOW), None);
    let who = Who::new(2);
    let offered = table.offer(&who.of(&table), None, NOW + HOLD, NOW).unwrap();
    let declined = table.decline_offered(offered.address, NOW + 600, NOW).unwrap().lease;
    assert_eq!(
        (declined.address, declined.state, declined.expires_s),
        (offered.address, BindingState::Declined, NOW + 600)
    );
    assert!(declined.generation != offered.generation, "a change of its own");
    assert_eq!(table.find(&who.of(&table).key, NOW), None, "its client is forgotten");
    assert_eq!(table.offer(&who.of(&table), Some(offered.address), NOW + 610, NOW + 599), Err(OfferError::Exhausted));
    assert_eq!(table.decline_offered(offered.address, NOW + 900, NOW), None, "once");
    assert_eq!(table.decline_offered(ip(200), NOW + 600, NOW), None, "no address of ours");
}

#[test]
fn withdrawing_an_offer_frees_it_and_leaves_a_binding_alone() {
    let table = table(1);
    let who = Who::new(1);
    let key = who.of(&table).key;
    assert!(!table.withdraw(&key, NOW));
    table.offer(&who.of(&table), None, NOW + HOLD, NOW).unwrap();
    assert!(table.withdraw(&key, NOW));
    assert!(!table.withdraw(&key, NOW));
    lease(&table, 2, NOW);
    assert!(!table.withdraw(&Who::new(2).of(&table).key, NOW));
    assert_eq!(table.counts().bound, 1);
}

#[test]
fn an_operator_releases_an_address_whoever_has_it() {
    let table = table(2);
    assert!(table.release_address(ip(1), NOW).is_none());
    let bound = lease(&table, 1, NOW);
    let released = table.release_address(bound.address, NOW + 1).unwrap().lease;
    assert_eq!((released.state, released.generation), (BindingState::Released, bound.generation + 1));
    assert!(table.release_address(bound.address, NOW + 1).is_none());
}

#[test]
fn expiry_survives_clock_jumps_both_ways() {
    let table = table(64);
    for client in 0..32 {
        lease(&table, client, NOW + client);
    }
    table.expire(NOW + 40, 10_000);
    // Back by a day: everything is still bound, and what is made now ends by the clock of now.
    let back = NOW - 86_400;
    table.expire(back, 10_000);
    assert_eq!(table.counts().bound, 32);
    table.offer(&Who::new(50).of(&table), None, back + HOLD, back).unwrap();
    table.expire(back + HOLD - 1, 10_000);
    assert_eq!(table.counts().offered, 1);
    table.expire(back + HOLD, 10_000);
    assert_eq!(table.counts().offered, 0);
    // Ahead, past half of the leases, and then past all.
    table.expire(NOW + TERM + 15, 10_000);
    assert_eq!(table.counts().bound, 16);
    table.expire(NOW + 10 * 86_400, 10_000);
    assert_eq!(table.counts().bound, 0);
    table.expire(0, 10_000);
    table.expire(u32::MAX, 10_000);
}

#[test]
fn the_wheel_looks_again_at_a_renewed_lease_and_in_time_at_a_shortened_one() {
    let table = table(4);
    let who = Who::new(1);
    let bound = lease(&table, 1, NOW);
    table.expire(NOW, 100);
    table.bind(&who.of(&table), bound.address, NOW + 3 * TERM, NOW + 1800).unwrap();
    for now in NOW..NOW + 3 * TERM {
        table.expire(now, 100);
        assert_eq!(table.counts().bound, 1, "{} s too early", NOW + 3 * TERM - now);
    }
    table.expire(NOW + 3 * TERM, 100);
    assert_eq!(table.counts().bound, 0);
    // The same slot, in the wheel for an hour hence, is offered for ten seconds to another.
    let now = NOW + 4 * TERM;
    let bound = lease(&table, 1, now);
    table.expire(now, 100);
    table.release(&who.of(&table).key, bound.address, now).unwrap();
    table.offer(&Who::new(2).of(&table), Some(bound.address), now + HOLD, now).unwrap();
    table.expire(now + HOLD, 100);
    assert_eq!(table.counts().offered, 0);
}

#[test]
fn a_lease_without_end_never_expires() {
    let table = table(1);
    let who = Who::new(1);
    table.bind(&who.of(&table), ip(1), u32::MAX, NOW).unwrap();
    table.expire(u32::MAX, 100);
    assert_eq!(table.find(&who.of(&table).key, u32::MAX).unwrap().state, BindingState::Bound);
}

#[test]
fn a_step_of_expiry_keeps_to_its_budget() {
    let table = table(1000);
    (0..1000).for_each(|client| {
        lease(&table, client, NOW);
    });
    let mut steps = 0;
    while table.expire(NOW + TERM, 64) == 64 {
        steps += 1;
    }
    assert!((31..=34).contains(&steps), "1000 inbox entries and 1000 expiries at 64 a step: {steps}");
    assert_eq!(table.counts().remembered, 1000);
}

#[test]
fn stale_entries_in_front_of_the_queue_hide_no_address_and_are_cleared_by_housekeeping() {
    let table = table(2000);
    let leases: Vec<Lease> = (0..2000).map(|client| lease(&table, client, NOW)).collect();
    // All but one come back to their own address, so the queue is full of addresses in use.
    while table.expire(NOW + TERM, 4096) > 0 {}
    for client in (0..2000).filter(|client| *client != 1500) {
        assert_eq!(lease(&table, client, NOW + TERM).address, leases[client as usize].address);
    }
    let late = |client| table.offer(&Who::new(client).of(&table), None, NOW + TERM + HOLD, NOW + TERM);
    assert_eq!(late(5000).unwrap().address, leases[1500].address, "the last free one, wherever it is in the queue");
    assert_eq!(late(5001), Err(OfferError::Exhausted));
    let mut looked_at = 0;
    while table.expire(NOW + TERM, 100) > 0 {
        looked_at += 1;
    }
    assert!(looked_at >= 10, "the queue is cleared: {looked_at} steps");
}

#[test]
fn restoring_what_was_listed_gives_the_same_table() {
    let old = LeaseTable::new(&[range(0, 1, 50), range(1, 60, 70)], SECRET);
    for client in 0..40 {
        lease(&old, client, NOW);
    }
    for client in 0..10 {
        let key = Who::new(client).of(&old).key;
        let address = old.find(&key, NOW).unwrap().address;
        match client % 2 {
            0 => old.release(&key, address, NOW + 1).unwrap().lease,
            _ => old.decline(&key, address, NOW + 600, NOW + 1).unwrap().lease,
        };
    }
    let listed: Vec<Binding> = old.iter(NOW + 2).collect();
    assert_eq!(listed.len(), 40);
    // Another secret: keys are made anew from hardware address and client identifier.
    let new = LeaseTable::new(&[range(0, 1, 50), range(1, 60, 70)], [7, 7]);
    for binding in &listed {
        new.restore(binding, 0, NOW + 2).unwrap();
    }
    assert_eq!(new.iter(NOW + 2).collect::<Vec<_>>(), listed);
    assert_eq!(new.counts(), old.counts());
    for client in 10..40 {
        let was = old.find(&Who::new(client).of(&old).key, NOW + 2);
        assert_eq!(new.find(&Who::new(client).of(&new).key, NOW + 2), was);
    }
    // Never-used ones come first, none of them one that was restored.
    let fresh: HashSet<_> = (100..110).map(|client| lease(&new, client, NOW + 2).address).collect();
    assert_eq!(fresh, (41..=50).map(ip).collect());
}

#[test]
fn restoring_ignores_older_records_and_foreign_addresses() {
    let table = table(4);
    let hw = Who::new(1).hw;
    let record = |generation, state, expires_s| {
        Lease { space: Space::GLOBAL, address: ip(1), state, generation, started_s: NOW, expires_s }.of(&hw, &[])
    };
    table.restore(&record(5, BindingState::Released, NOW), 0, NOW).unwrap();
    table.restore(&record(4, BindingState::Bound, NOW + TERM), 0, NOW).unwrap();
    assert_eq!(table.get(ip(1), NOW).unwrap().state, BindingState::Released);
    table.restore(&record(6, BindingState::Bound, NOW), 0, NOW).unwrap();
    assert_eq!(table.get(ip(1), NOW).unwrap().state, BindingState::Expired);
    let elsewhere = table.restore(&record(7, BindingState::Bound, NOW + TERM), 1, NOW);
    assert_eq!(elsewhere, Err(RestoreError::NotInPool), "another subnet's");
    let foreign = Binding { address: ip(99), ..record(1, BindingState::Bound, NOW + TERM) };
    assert_eq!(table.restore(&foreign, 0, NOW), Err(RestoreError::NotInPool));
}

#[test]
fn a_client_restored_with_two_bindings_keeps_both_from_others() {
    for flipped in [false, true] {
        let table = table(2);
        let who = Who::new(1);
        let record = |address, started_s| {
            Lease {
                space: Space::GLOBAL,
                address,
                state: BindingState::Bound,
                generation: 1,
                started_s,
                expires_s: NOW + TERM,
            }
            .of(&who.hw, &who.id)
        };
        let mut records = [record(ip(1), NOW - 20), record(ip(2), NOW - 10)];
        if flipped {
            records.reverse();
        }
        for record in &records {
            table.restore(record, 0, NOW).unwrap();
        }
        assert_eq!(table.find(&who.of(&table).key, NOW).unwrap().address, ip(2));
        assert_eq!(table.offer(&Who::new(2).of(&table), Some(ip(1)), NOW + HOLD, NOW), Err(OfferError::Exhausted));
        // It may go on with either.
        let bound = table.bind(&who.of(&table), ip(1), NOW + TERM, NOW).unwrap();
        assert_eq!(bound.released.unwrap().address, ip(2));
    }
}

#[test]
fn client_identifiers_of_every_length_come_back_whole() {
    let table = table(255);
    for length in 1..=255u32 {
        let who = Who { hw: Who::new(length).hw, id: (0..length).map(|byte| (byte ^ length) as u8).collect() };
        table.bind(&who.of(&table), ip(length), NOW + TERM, NOW).unwrap();
    }
    for (binding, length) in table.iter(NOW).zip(1..=255u32) {
        assert_eq!(binding.client_id[..], (0..length).map(|byte| (byte ^ length) as u8).collect::<Vec<_>>());
        assert_eq!(binding.hw, Who::new(length).hw);
    }
}

#[test]
fn a_table_takes_the_memory_that_it_says() {
    const SLOTS: u32 = 200_000;
    let mut made = None;
    let taken = allocation_counter::measure(|| made = Some(table(SLOTS)));
    drop(made);
    let asked_for = LeaseTable::bytes(u64::from(SLOTS));
    // The wheel and the counters are the same in any table.
    assert!((asked_for * 98 / 100..=asked_for + (64 << 10)).contains(&taken.bytes_max), "{taken:?}, {asked_for}");
    const { assert!(LeaseTable::BYTES_PER_ADDRESS <= 128) };
}

#[test]
fn a_client_whose_identifier_finds_no_room_is_refused_and_nothing_is_changed() {
    let table = table(3);
    let id = |n: u8| vec![n; 255];
    let long = |n: u8| Who { hw: Who::new(n.into()).hw, id: id(n) };
    for n in 1..=3 {
        table.bind(&long(n).of(&table), ip(n.into()), NOW + TERM, NOW).unwrap();
    }
    // Gone to others with short ones, and the chunks to nobody.
    let mut held = Vec::new();
    for n in 1..=3u8 {
        table.release(&long(n).of(&table).key, ip(n.into()), NOW).unwrap();
        table.bind(&Who::new(4 * u32::from(n)).of(&table), ip(n.into()), NOW + TERM, NOW).unwrap();
        table.release(&Who::new(4 * u32::from(n)).of(&table).key, ip(n.into()), NOW).unwrap();
        held.extend(std::iter::from_fn(|| table.side.clients.pool.pop()));
    }
    let before: Vec<Binding> = table.iter(NOW).collect();
    let client = long(9);
    assert_eq!(table.offer(&client.of(&table), None, NOW + HOLD, NOW), Err(OfferError::ClientIdRoom));
    assert_eq!(table.bind(&client.of(&table), ip(2), NOW + TERM, NOW), Err(BindError::ClientIdRoom));
    assert_eq!(table.iter(NOW).collect::<Vec<_>>(), before);
    assert_eq!((table.find(&client.of(&table).key, NOW), table.index.len()), (None, 3));
    // One that has a lease keeps it when it cannot move.
    let mover = Who { hw: client.hw, id: vec![9; 30] };
    table.bind(&mover.of(&table), ip(1), NOW + TERM, NOW).unwrap();
    let wide = HwAddress { hlen: 16, ..mover.hw };
    let moved = Client { hw: &wide, ..mover.of(&table) };
    assert_eq!(table.bind(&moved, ip(3), NOW + TERM, NOW), Err(BindError::ClientIdRoom));
    assert_eq!(
        table.find(&moved.key, NOW).map(|lease| (lease.address, lease.state)),
        Some((ip(1), BindingState::Bound))
    );
    // Room again, and it is served.
    held.into_iter().for_each(|chunk| table.side.clients.pool.push(chunk));
    assert_eq!(table.bind(&moved, ip(3), NOW + TERM, NOW).unwrap().released.unwrap().address, ip(1));
    assert!(table.offer(&client.of(&table), None, NOW + HOLD, NOW).is_ok());
}

#[test]
fn a_hardware_address_of_any_length_comes_back_and_a_change_of_it_is_kept() {
    let table = table(20);
    for hlen in 0..=16u8 {
        let mut chaddr = [0; 16];
        chaddr[..usize::from(hlen)].copy_from_slice(&[0xa0 | hlen; 16][..usize::from(hlen)]);
        let who = Who { hw: HwAddress { htype: 32, hlen, chaddr }, id: vec![1, 2, hlen] };
        let bind = |hw| {
            let client = Client { hw, ..who.of(&table) };
            table.bind(&client, ip(u32::from(hlen) + 1), NOW + TERM, NOW).unwrap();
            table.get(ip(u32::from(hlen) + 1), NOW).unwrap().hw
        };
        assert_eq!(bind(&who.hw), who.hw);
        let mut other = HwAddress { htype: 6, ..who.hw };
        other.chaddr[usize::from(hlen).saturating_sub(1)] ^= u8::from(hlen > 0);
        assert_eq!(bind(&other), other);
    }
}

#[test]
fn two_clients_whose_index_entries_look_alike_are_told_apart() {
    let table = table(3);
    let key = |n: u64| ClientKey([n, 7 << 32 | n]);
    let hw = HwAddress::default();
    let client = |n| Client { key: key(n), subnet: 0, hw: &hw, client_id: &[], limits: &[], agent_info: &[] };
    for n in 1..=3 {
        assert_eq!(table.find(&key(n), NOW), None);
        table.bind(&client(n), ip(n as u32), NOW + TERM, NOW).unwrap();
    }
    // One takes over the other's slot, and leaves its own.
    table.release(&key(2), ip(2), NOW).unwrap();
    assert_eq!(table.bind(&client(1), ip(2), NOW + TERM, NOW).unwrap().released.unwrap().address, ip(1));
    assert_eq!(table.find(&key(2), NOW), None);
    let at = |n| table.find(&key(n), NOW).map(|lease| lease.address);
    assert_eq!((at(1), at(3)), (Some(ip(2)), Some(ip(3))));
    assert_eq!(table.bind(&client(2), ip(1), NOW + TERM, NOW).unwrap().lease.address, ip(1));
    assert_eq!((at(1), at(2), at(3)), (Some(ip(2)), Some(ip(1)), Some(ip(3))));
    table.decline(&key(3), ip(3), NOW + 9, NOW).unwrap();
    assert_eq!((at(1), at(2), at(3)), (Some(ip(2)), Some(ip(1)), None));
}

#[test]
fn a_stamp_is_for_one_record_and_says_settled_only_of_what_is() {
    let (lane, in_flight) = (3, 20_000);
    for position in [1u64, 100, (1 << 22) - 1, 1 << 22, (1 << 22) + 5, 1 << 40, (1 << 40) + 77] {
        let stamp = Stamp::new(lane, position);
        let settled = |durable: u64| stamp.is_settled(|of| (of == lane).then_some(durable), in_flight);
        for behind in 1..in_flight.min(position + 1) {
            assert!(!settled(position - behind), "{behind} records before {position}");
        }
        for ahead in [0, 1, 100, 4_000_000] {
            assert!(settled(position + ahead), "{ahead} records after {position}");
        }
        assert!(!stamp.is_settled(|_| None, in_flight));
    }
    assert!(
        !Stamp::new(u16::MAX, 1).is_settled(|_| Some(u64::MAX), in_flight),
        "a lane beyond those that have a number"
    );
    assert!(!Stamp::UNSETTLED.is_settled(|_| Some(u64::MAX), in_flight));
    // A later record of the slot is not taken for the stamped one.
    let table = table(1);
    let first = lease(&table, 1, NOW);
    table.stamp(&first, Stamp::new(0, 9));
    let who = Who::new(1);
    let covered = |slack_s| table.bind_with_slack(&who.of(&table), ip(1), NOW + TERM, slack_s, NOW).unwrap();
    assert_eq!((covered(60).must_record, covered(60).stamp), (false, Stamp::new(0, 9)));
    let later = covered(0);
    assert!(later.must_record);
    table.stamp(&first, Stamp::new(0, 7));
    assert_eq!(covered(60).stamp, Stamp::UNSETTLED);
}

#[test]
fn ranges_that_break_the_rules_are_left_out() {
    let ranges = [range(0, 1, 10), range(1, 5, 20), range(0, 30, 29), range(2, 0xff_ffff, 0xff_ffff)];
    assert_eq!(LeaseTable::new(&ranges, SECRET).counts().total, 11);
    assert_eq!(LeaseTable::new(&[], SECRET).counts().total, 0);
    let edge = PoolRange { subnet: 0, first: Ipv4Addr::BROADCAST, last: Ipv4Addr::BROADCAST };
    let table = LeaseTable::new(&[edge], SECRET);
    assert_eq!(lease(&table, 1, NOW).address, Ipv4Addr::BROADCAST);
    assert!(table.get(Ipv4Addr::UNSPECIFIED, NOW).is_none());
}
