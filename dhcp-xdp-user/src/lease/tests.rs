//! The table against what must hold of it: behaviour by example, sequences against a plain model, threads against each other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use proptest::prelude::*;

use super::*;

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
        Client { key: table.key(subnet, &self.hw, &self.id), subnet, hw: &self.hw, client_id: &self.id }
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
    let slot = &table.slots[table.index.get(&key).unwrap() as usize];
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
    let declined = table.decline(&who.of(&table).key, bound.address, NOW + 600, NOW).unwrap();
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
    let released = table.release_address(bound.address, NOW + 1).unwrap();
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
fn stale_entries_in_front_of_the_queue_are_cleared_by_housekeeping() {
    let table = table(2000);
    let leases: Vec<Lease> = (0..2000).map(|client| lease(&table, client, NOW)).collect();
    // All but one come back to their own address, so the queue is full of addresses in use.
    while table.expire(NOW + TERM, 4096) > 0 {}
    for client in (0..2000).filter(|client| *client != 1500) {
        assert_eq!(lease(&table, client, NOW + TERM).address, leases[client as usize].address);
    }
    let newcomer = Who::new(5000);
    let offer = || table.offer(&newcomer.of(&table), None, NOW + TERM + HOLD, NOW + TERM);
    assert_eq!(offer(), Err(OfferError::Contended), "the skip is bounded");
    while table.expire(NOW + TERM, 100) > 0 {}
    assert_eq!(offer().unwrap().address, leases[1500].address);
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
            0 => old.release(&key, address, NOW + 1).unwrap(),
            _ => old.decline(&key, address, NOW + 600, NOW + 1).unwrap(),
        };
    }
    let listed: Vec<Binding> = old.iter(NOW + 2).collect();
    assert_eq!(listed.len(), 40);
    // Another secret: keys are made anew from hardware address and client identifier.
    let new = LeaseTable::new(&[range(0, 1, 50), range(1, 60, 70)], [7, 7]);
    for binding in &listed {
        assert!(new.restore(binding, 0, NOW + 2));
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
        Lease { address: ip(1), state, generation, started_s: NOW, expires_s }.of(&hw, &[])
    };
    assert!(table.restore(&record(5, BindingState::Released, NOW), 0, NOW));
    assert!(table.restore(&record(4, BindingState::Bound, NOW + TERM), 0, NOW));
    assert_eq!(table.get(ip(1), NOW).unwrap().state, BindingState::Released);
    assert!(table.restore(&record(6, BindingState::Bound, NOW), 0, NOW));
    assert_eq!(table.get(ip(1), NOW).unwrap().state, BindingState::Expired);
    assert!(!table.restore(&record(7, BindingState::Bound, NOW + TERM), 1, NOW), "another subnet's");
    let foreign = Binding { address: ip(99), ..record(1, BindingState::Bound, NOW + TERM) };
    assert!(!table.restore(&foreign, 0, NOW));
}

#[test]
fn a_client_restored_with_two_bindings_keeps_both_from_others() {
    for flipped in [false, true] {
        let table = table(2);
        let who = Who::new(1);
        let record = |address, started_s| {
            Lease { address, state: BindingState::Bound, generation: 1, started_s, expires_s: NOW + TERM }
                .of(&who.hw, &who.id)
        };
        let mut records = [record(ip(1), NOW - 20), record(ip(2), NOW - 10)];
        if flipped {
            records.reverse();
        }
        for record in &records {
            assert!(table.restore(record, 0, NOW));
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
fn ranges_that_break_the_rules_are_left_out() {
    let ranges = [range(0, 1, 10), range(1, 5, 20), range(0, 30, 29), range(2, 0xff_ffff, 0xff_ffff)];
    assert_eq!(LeaseTable::new(&ranges, SECRET).counts().total, 11);
    assert_eq!(LeaseTable::new(&[], SECRET).counts().total, 0);
    let edge = PoolRange { subnet: 0, first: Ipv4Addr::BROADCAST, last: Ipv4Addr::BROADCAST };
    let table = LeaseTable::new(&[edge], SECRET);
    assert_eq!(lease(&table, 1, NOW).address, Ipv4Addr::BROADCAST);
    assert!(table.get(Ipv4Addr::UNSPECIFIED, NOW).is_none());
}

// Against a model.

const CLIENTS: u32 = 7;
const ADDRESSES: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Offer { client: u32, wanted: Option<u32> },
    Bind { client: u32, address: u32, term_s: u32 },
    Renew { client: u32 },
    Withdraw(u32),
    Release { client: u32, address: u32 },
    ReleaseOwn(u32),
    Decline { client: u32, address: u32 },
    DeclineOwn(u32),
    ReleaseAddress(u32),
    Pass(u32),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..CLIENTS;
    let address = || 1..=ADDRESSES + 1;
    prop_oneof![
        6 => (client(), proptest::option::of(address())).prop_map(|(client, wanted)| Op::Offer { client, wanted }),
        6 => (client(), address(), 1..100u32).prop_map(|(client, address, term_s)| Op::Bind { client, address, term_s }),
        6 => client().prop_map(|client| Op::Renew { client }),
        2 => client().prop_map(Op::Withdraw),
        1 => (client(), address()).prop_map(|(client, address)| Op::Release { client, address }),
        3 => client().prop_map(Op::ReleaseOwn),
        1 => (client(), address()).prop_map(|(client, address)| Op::Decline { client, address }),
        1 => client().prop_map(Op::DeclineOwn),
        1 => address().prop_map(Op::ReleaseAddress),
        4 => (0..60u32).prop_map(Op::Pass),
        1 => Just(Op::Restart),
    ]
}

/// What a plain program would keep: a map of addresses, and where each client is.
#[derive(Default)]
struct Model {
    now_s: u32,
    slots: BTreeMap<Ipv4Addr, (BindingState, u32, u32)>,
    at: HashMap<u32, Ipv4Addr>,
}

impl Model {
    fn state(&self, address: Ipv4Addr) -> (BindingState, u32) {
        use BindingState::{Bound, Declined, Expired, Free, Offered};
        match self.slots.get(&address) {
            None => (Free, u32::MAX),
            Some(&(Offered | Bound | Declined, client, expires_s)) if expires_s <= self.now_s => (Expired, client),
            Some(&(state, client, _)) => (state, client),
        }
    }

    fn takeable(&self, address: Ipv4Addr) -> bool {
        use BindingState::{Expired, Free, Released};
        (1..=ADDRESSES).any(|a| ip(a) == address) && matches!(self.state(address).0, Free | Released | Expired)
    }

    fn put(&mut self, address: Ipv4Addr, state: BindingState, client: u32, expires_s: u32) {
        let former = self.state(address).1;
        if former != client && self.at.get(&former) == Some(&address) {
            self.at.remove(&former);
        }
        self.slots.insert(address, (state, client, expires_s));
        self.at.insert(client, address);
    }
}

struct Run {
    model: Model,
    table: LeaseTable,
    kept: HashMap<Ipv4Addr, Binding>,
}

impl Run {
    fn offer(&mut self, client: u32, wanted: Option<u32>) {
        let now = self.model.now_s;
        let who = Who::new(client);
        let got = self.table.offer(&who.of(&self.table), wanted.map(ip), now + HOLD, now);
        let own = self.model.at.get(&client).copied();
        let any = (1..=ADDRESSES).map(ip).any(|address| self.model.takeable(address));
        let Ok(lease) = got else {
            assert_eq!(got, Err(OfferError::Exhausted));
            assert!(own.is_none() && !any, "there was an address");
            return;
        };
        if let Some(own) = own {
            assert_eq!(lease.address, own, "its own first");
        } else {
            assert!(self.model.takeable(lease.address), "{} was taken", lease.address);
            if let Some(wanted) = wanted.map(ip).filter(|wanted| self.model.takeable(*wanted)) {
                assert_eq!(lease.address, wanted);
            }
        }
        if self.model.state(lease.address) == (BindingState::Bound, client) {
            assert_eq!(lease.state, BindingState::Bound);
        } else {
            assert_eq!((lease.state, lease.expires_s), (BindingState::Offered, now + HOLD));
            self.model.put(lease.address, BindingState::Offered, client, now + HOLD);
        }
    }

    fn bind(&mut self, client: u32, address: Ipv4Addr, term_s: u32) {
        let now = self.model.now_s;
        let who = Who::new(client);
        let got = self.table.bind(&who.of(&self.table), address, now + term_s, now);
        use BindingState::{Bound, Declined, Offered, Released};
        let (state, owner) = self.model.state(address);
        if address > ip(ADDRESSES) {
            assert_eq!(got, Err(BindError::NotInPool));
        } else if state == Declined || matches!(state, Bound | Offered) && owner != client {
            assert_eq!(got, Err(BindError::Taken));
        } else {
            let bound = got.unwrap();
            let old = self.model.at.get(&client).copied().filter(|old| *old != address);
            let released = old.filter(|old| self.model.state(*old).0 == Bound);
            assert_eq!(bound.released.map(|lease| lease.address), released);
            if let Some(old) = old
                && matches!(self.model.state(old).0, Bound | Offered)
            {
                self.model.slots.insert(old, (Released, client, now));
            }
            self.model.put(address, Bound, client, now + term_s);
            self.keep(bound.lease, client);
            if let Some(released) = bound.released {
                self.keep(released, client);
            }
        }
    }

    fn keep(&mut self, lease: Lease, client: u32) {
        let who = Who::new(client);
        let newer = self.kept.insert(lease.address, lease.of(&who.hw, &who.id));
        assert!(newer.is_none_or(|old| old.generation < lease.generation), "generations grow");
    }

    fn release(&mut self, client: u32, address: Ipv4Addr) {
        let now = self.model.now_s;
        let got = self.table.release(&Who::new(client).of(&self.table).key, address, now);
        let theirs = self.model.state(address) == (BindingState::Bound, client);
        assert_eq!(got.is_some(), theirs);
        if let Some(lease) = got {
            self.model.slots.insert(address, (BindingState::Released, client, now));
            self.keep(lease, client);
        }
    }

    fn decline(&mut self, client: u32, address: Ipv4Addr) {
        let now = self.model.now_s;
        let got = self.table.decline(&Who::new(client).of(&self.table).key, address, now + 30, now);
        let (state, owner) = self.model.state(address);
        let theirs = owner == client && matches!(state, BindingState::Bound | BindingState::Offered);
        assert_eq!(got.is_some(), theirs);
        if let Some(lease) = got {
            self.model.slots.insert(address, (BindingState::Declined, client, now + 30));
            if self.model.at.get(&client) == Some(&address) {
                self.model.at.remove(&client);
            }
            self.keep(lease, client);
        }
    }

    /// The journal's records alone bring back everything but offers and what offers made the table forget.
    fn restart(&mut self) {
        self.table = LeaseTable::new(&[range(0, 1, 2), range(0, 3, ADDRESSES)], [9, 9]);
        for binding in self.kept.values() {
            assert!(self.table.restore(binding, 0, self.model.now_s));
        }
        let table = self.table.iter(self.model.now_s).filter(|binding| binding.state == BindingState::Bound);
        let model = (1..=ADDRESSES).map(ip).filter(|address| self.model.state(*address).0 == BindingState::Bound);
        assert_eq!(table.map(|binding| binding.address).collect::<Vec<_>>(), model.collect::<Vec<_>>());
        self.model.slots.clear();
        self.model.at.clear();
        for binding in self.table.iter(self.model.now_s) {
            let client = (0..CLIENTS).find(|client| Who::new(*client).hw == binding.hw).unwrap();
            self.model.slots.insert(binding.address, (binding.state, client, binding.expires_s));
            let who = Who::new(client);
            if let Some(lease) = self.table.find(&who.of(&self.table).key, self.model.now_s) {
                self.model.at.insert(client, lease.address);
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Offer { client, wanted } => self.offer(client, wanted),
            Op::Bind { client, address, term_s } => self.bind(client, ip(address), term_s),
            Op::Renew { client } => {
                if let Some(&address) = self.model.at.get(&client) {
                    self.bind(client, address, 50);
                }
            }
            Op::Withdraw(client) => {
                let own = self.model.at.get(&client).copied();
                let held = own.filter(|own| self.model.state(*own).0 == BindingState::Offered);
                let got = self.table.withdraw(&Who::new(client).of(&self.table).key, self.model.now_s);
                assert_eq!(got, held.is_some());
                if let Some(held) = held {
                    self.model.slots.insert(held, (BindingState::Released, client, self.model.now_s));
                }
            }
            Op::Release { client, address } => self.release(client, ip(address)),
            Op::ReleaseOwn(client) => {
                if let Some(&address) = self.model.at.get(&client) {
                    self.release(client, address);
                }
            }
            Op::Decline { client, address } => self.decline(client, ip(address)),
            Op::DeclineOwn(client) => {
                if let Some(&address) = self.model.at.get(&client) {
                    self.decline(client, address);
                }
            }
            Op::ReleaseAddress(address) => {
                let (state, owner) = self.model.state(ip(address));
                let got = self.table.release_address(ip(address), self.model.now_s);
                let in_use = matches!(state, BindingState::Offered | BindingState::Bound | BindingState::Declined);
                assert_eq!(got.is_some(), in_use);
                if let Some(lease) = got {
                    self.model.slots.insert(ip(address), (BindingState::Released, owner, self.model.now_s));
                    self.keep(lease, owner);
                }
            }
            Op::Pass(seconds) => self.model.now_s += seconds,
            Op::Restart => self.restart(),
        }
        self.table.expire(self.model.now_s, usize::MAX);
        self.compare();
    }

    fn compare(&self) {
        let now = self.model.now_s;
        for address in (1..=ADDRESSES).map(ip) {
            let got = self.table.get(address, now);
            let want = self.model.state(address);
            assert_eq!(got.as_ref().map_or(BindingState::Free, |binding| binding.state), want.0, "{address}");
            if let Some(got) = got {
                let who = Who::new(want.1);
                assert_eq!((got.hw, &got.client_id[..]), (who.hw, &who.id[..]), "{address}");
            }
        }
        for client in 0..CLIENTS {
            let found = self.table.find(&Who::new(client).of(&self.table).key, now).map(|lease| lease.address);
            assert_eq!(found, self.model.at.get(&client).copied(), "client {client}");
        }
        let counts = self.table.counts();
        let model = (1..=ADDRESSES).filter(|a| self.model.state(ip(*a)).0 == BindingState::Bound).count();
        assert_eq!(counts.bound, model as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_operations_agrees_with_a_plain_model(ops in proptest::collection::vec(op(), 1..120)) {
        let mut run = Run {
            model: Model { now_s: NOW, ..Model::default() },
            table: LeaseTable::new(&[range(0, 1, 2), range(0, 3, ADDRESSES)], SECRET),
            kept: HashMap::new(),
        };
        for op in &ops {
            run.apply(op);
        }
    }
}

// Threads.

/// A small generator, so that a run can be repeated from the seed that it prints.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(end)) >> 32) as u32
    }
}

fn seed() -> u64 {
    let seed = std::env::var("DHCP_XDP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64) | 1
    });
    println!("DHCP_XDP_SEED={seed}");
    seed
}

/// Two threads at a time ask for the same clients, and bind the same addresses, while a third one expires.
#[test]
fn threads_racing_for_clients_and_addresses_end_with_one_owner_each() {
    const POOL: u32 = 48;
    const CLIENTS: u32 = 64;
    let seed = seed();
    let table = table(POOL);
    let clock = AtomicU32::new(NOW);
    // Who believes to own an address: (client + 1) << 32 | expiry, written right after a bind that succeeded.
    let owners: Vec<AtomicU64> = (0..=POOL).map(|_| AtomicU64::new(0)).collect();
    let clients: Vec<Who> = (0..CLIENTS).map(Who::new).collect();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (table, clock, clients, owners) = (&table, &clock, &clients, &owners);
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_mul(2 * thread + 3) | 1);
                for _ in 0..60_000 {
                    let number = random.below(CLIENTS);
                    let client = clients[number as usize].of(table);
                    let now = clock.load(Ordering::SeqCst);
                    match random.below(12) {
                        0..4 => {
                            let _ = table.offer(&client, Some(ip(random.below(POOL) + 1)), now + HOLD, now);
                        }
                        4..8 => {
                            let address = match table.find(&client.key, now) {
                                Some(lease) if random.below(4) > 0 => lease.address,
                                _ => ip(random.below(POOL) + 1),
                            };
                            // The clock stands far away from any expiry: a bound address has one client until released.
                            if let Ok(bound) = table.bind(&client, address, u32::MAX - 1, now) {
                                let at = (u32::from(bound.lease.address) - u32::from(ip(0))) as usize;
                                owners[at].fetch_max(u64::from(bound.lease.generation), Ordering::SeqCst);
                            }
                        }
                        8 => {
                            table.withdraw(&client.key, now);
                        }
                        9 => {
                            if let Some(lease) = table.find(&client.key, now) {
                                table.release(&client.key, lease.address, now);
                            }
                        }
                        10 => {
                            if let Some(lease) = table.find(&client.key, now) {
                                table.decline(&client.key, lease.address, now + 5, now);
                            }
                        }
                        _ => {
                            clock.fetch_add(1, Ordering::SeqCst);
                            table.expire(now, 64);
                        }
                    }
                }
            });
        }
    });
    let now = clock.load(Ordering::SeqCst);
    while table.expire(now + 20, 1000) > 0 {}
    agree(&table, &clients, now + 20);
    for (at, owner) in owners.iter().enumerate().skip(1) {
        let generation = table.get(ip(at as u32), now).map_or(0, |binding| u64::from(binding.generation));
        assert!(generation >= owner.load(Ordering::SeqCst), "seed {seed}: a generation went back");
    }
    // Nothing was lost: exactly the addresses that are not in use can be had.
    let counts = table.counts();
    let free = counts.total - counts.bound - counts.offered - counts.declined;
    let newcomers = (1000..).map(Who::new).take_while(|who| {
        loop {
            match table.offer(&who.of(&table), None, now + 100, now + 20) {
                Ok(_) => break true,
                Err(OfferError::Exhausted) => break false,
                Err(OfferError::Contended) => {}
            }
        }
    });
    assert_eq!(newcomers.count() as u64, free, "seed {seed}");
}

/// At rest: the index and the slots say the same, and no client has two bindings.
fn agree(table: &LeaseTable, clients: &[Who], now: u32) {
    let mut holders = HashMap::new();
    for binding in table.iter(now) {
        if matches!(binding.state, BindingState::Bound | BindingState::Offered) {
            let twice = holders.insert((binding.hw, binding.client_id.clone()), binding.address);
            assert_eq!(twice, None, "a client with two addresses");
        }
    }
    for who in clients {
        let id = ClientId::try_from(&who.id[..]).unwrap();
        let found = table.find(&who.of(table).key, now);
        let held = found.filter(|lease| matches!(lease.state, BindingState::Bound | BindingState::Offered));
        assert_eq!(held.map(|lease| lease.address), holders.get(&(who.hw, id)).copied());
    }
}

/// Everybody asks for one and the same address at once; one has it.
#[test]
fn one_address_wanted_by_all_goes_to_one() {
    for round in 0..300 {
        let table = table(4);
        let won = AtomicU32::new(0);
        let barrier = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (table, won, barrier) = (&table, &won, &barrier);
                scope.spawn(move || {
                    let who = Who::new(thread);
                    barrier.wait();
                    if table.bind(&who.of(table), ip(2), NOW + TERM, NOW).is_ok() {
                        won.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(won.load(Ordering::SeqCst), 1, "round {round}");
    }
}

/// One client asks on all threads at once; it gets one address.
#[test]
fn one_client_asking_everywhere_gets_one_address() {
    for round in 0..300 {
        let table = table(16);
        let barrier = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (table, barrier) = (&table, &barrier);
                scope.spawn(move || {
                    let who = Who::new(7);
                    barrier.wait();
                    let _ = table.offer(&who.of(table), Some(ip(thread + 1)), NOW + HOLD, NOW);
                });
            }
        });
        assert_eq!(table.counts().offered, 1, "round {round}");
        assert_eq!((0..15).map(|client| lease(&table, 100 + client, NOW).address).collect::<HashSet<_>>().len(), 15);
    }
}
