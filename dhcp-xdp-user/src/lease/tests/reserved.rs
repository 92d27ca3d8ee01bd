//! Reserved addresses, and networks of several subnets.

use super::{
    threads::{Random, seed},
    *,
};

fn reserved(subnet: u16, last: u32) -> ReservedAddress {
    ReservedAddress { subnet, address: ip(last) }
}

/// The pool 10-19, with 12 reserved in it and 30 to 32 beside it.
fn with_reserved() -> LeaseTable {
    let reserved = [12, 30, 31, 32].map(|last| reserved(0, last));
    LeaseTable::planned(&Plan { pools: &[range(0, 10, 19)], reserved: &reserved, ..Plan::default() }, SECRET)
}

#[test]
fn reserved_addresses_have_slots_and_are_in_no_list_of_free_ones() {
    let table = with_reserved();
    assert_eq!(table.counts().total, 13);
    let clients: Vec<Who> = (0..10).map(Who::new).collect();
    let given: HashSet<Ipv4Addr> = clients[..9]
        .iter()
        .map(|who| {
            let client = who.of(&table);
            let lease = table.offer(&client, Some(ip(12)), NOW + HOLD, NOW).unwrap();
            table.bind(&client, lease.address, NOW + TERM, NOW).unwrap().lease.address
        })
        .collect();
    assert_eq!(given.len(), 9);
    assert!(!given.contains(&ip(12)) && given.iter().all(|address| *address <= ip(19)));
    let last = clients[9].of(&table);
    assert_eq!(table.offer(&last, None, NOW + HOLD, NOW), Err(OfferError::Exhausted));
    assert_eq!(table.used_permille(0), 1000);
    for (address, release) in [(ip(12), true), (ip(31), false)] {
        assert_eq!(table.bind(&last, address, NOW + TERM, NOW), Err(BindError::Reserved));
        assert_eq!(table.bind_reserved(&last, address, NOW + TERM, 0, NOW).unwrap().lease.address, address);
        if release {
            table.release(&last.key, address, NOW).unwrap();
        }
    }
    // One freed by release, one by time: both stay out of the lists.
    table.expire(NOW + TERM + 1, 1000);
    let later = NOW + TERM + 1;
    let again: HashSet<Ipv4Addr> = (20..29)
        .map(|n| table.offer(&Who::new(n).of(&table), Some(ip(31)), later + HOLD, later).unwrap().address)
        .collect();
    assert_eq!(again, given);
    assert_eq!(table.offer(&Who::new(30).of(&table), None, later + HOLD, later), Err(OfferError::Exhausted));
}

#[test]
fn reserved_addresses_lie_between_pools_of_several_subnets() {
    let pools = [range(1, 40, 49), range(0, 10, 19)];
    let reserved = [(0, 5), (0, 19), (0, 20), (0, 21), (0, 21), (1, 39), (1, 40), (1, 60), (2, 70)];
    let reserved = reserved.map(|(subnet, last)| reserved_in(subnet, last));
    let table = LeaseTable::planned(&Plan { pools: &pools, reserved: &reserved, ..Plan::default() }, SECRET);
    assert_eq!(table.counts().total, 20 + 6, "5, 20, 21, 39, 60, 70 are in no pool");
    for (subnet, last) in [(0, 5), (0, 19), (0, 20), (0, 21), (1, 39), (1, 40), (1, 60), (2, 70)] {
        let who = Who::new(last);
        let client = who.in_subnet(&table, subnet);
        assert_eq!(table.bind_reserved(&client, ip(last), NOW + TERM, 0, NOW).unwrap().lease.address, ip(last));
        assert_eq!(table.get(ip(last), NOW).unwrap().hw, who.hw);
        let other = Who::new(1000 + last);
        let elsewhere = other.in_subnet(&table, subnet + 1);
        assert_eq!(table.bind_reserved(&elsewhere, ip(last), NOW + TERM, 0, NOW), Err(BindError::NotInPool));
    }
}

fn reserved_in(subnet: u16, last: u32) -> ReservedAddress {
    reserved(subnet, last)
}

#[test]
fn a_client_that_asks_again_and_again_is_held_one_address_beside_the_one_that_it_must_leave() {
    let table = with_reserved();
    let who = Who::new(1);
    let client = who.of(&table);
    table.bind_reserved(&client, ip(12), NOW + TERM, 0, NOW).unwrap();
    let first = table.offer(&client, None, NOW + HOLD, NOW).unwrap();
    for _ in 0..20 {
        assert_eq!(table.offer(&client, None, NOW + HOLD, NOW).unwrap().address, first.address);
    }
    assert_eq!(table.counts().offered, 1);
    assert_eq!(table.find(&client.key, NOW).unwrap().address, ip(12));
    let bound = table.bind(&client, first.address, NOW + TERM, NOW).unwrap();
    assert_eq!(bound.released.unwrap().address, ip(12));
    assert_eq!(table.find(&client.key, NOW).unwrap().address, first.address);
}

#[test]
fn a_restored_lease_on_a_reserved_address_stays_and_keeps_its_client_out_when_it_ends() {
    for last in [12, 31] {
        let table = with_reserved();
        let (former, owner) = (Who::new(1), Who::new(2));
        let lease = Lease {
            space: Space::GLOBAL,
            address: ip(last),
            state: BindingState::Bound,
            generation: 7,
            started_s: NOW,
            expires_s: NOW + 50,
        };
        assert_eq!(table.restore(&lease.of(&former.hw, &former.id), 0, NOW), Ok(()));
        let (former, owner) = (former.of(&table), owner.of(&table));
        assert_eq!(table.is_free_for(&owner.key, ip(last), NOW), Ok(false));
        assert_eq!(table.bind_reserved(&owner, ip(last), NOW + TERM, 0, NOW), Err(BindError::Taken));
        assert_eq!(table.bind(&former, ip(last), NOW + TERM, NOW), Err(BindError::Reserved), "it is not extended");
        assert_eq!(table.is_free_for(&owner.key, ip(last), NOW + 50), Ok(true));
        assert_ne!(
            table.offer(&former, Some(ip(last)), NOW + 60, NOW + 50).unwrap().address,
            ip(last),
            "not as a previous one"
        );
        assert!(table.bind_reserved(&owner, ip(last), NOW + TERM, 0, NOW + 50).is_ok());
    }
}

#[test]
fn a_client_has_one_lease_in_all_subnets_of_a_network() {
    let pools = [range(0, 10, 11), range(1, 20, 29), range(2, 30, 39)];
    let table =
        LeaseTable::planned(&Plan { pools: &pools, reserved: &[], networks: &[0, 0], ..Plan::default() }, SECRET);
    let who = Who::new(1);
    let (first, second, other) = (who.in_subnet(&table, 0), who.in_subnet(&table, 1), who.in_subnet(&table, 2));
    assert_eq!(first.key, second.key);
    assert_ne!(first.key, other.key);
    let lease = table.offer(&second, None, NOW + HOLD, NOW).unwrap();
    assert_eq!(table.offer(&first, None, NOW + HOLD, NOW).unwrap().address, lease.address);
    table.bind(&first, lease.address, NOW + TERM, NOW).unwrap();
    let moved = table.bind(&second, ip(10), NOW + TERM, NOW).unwrap();
    assert_eq!(moved.released.unwrap().address, lease.address);
    assert_eq!(table.bind(&first, ip(30), NOW + TERM, NOW), Err(BindError::NotInPool));
    assert!(table.offer(&other, None, NOW + HOLD, NOW).unwrap().address >= ip(30));
}

/// Owners and thieves race for reserved addresses, some of which others have from before, through offers, binds, releases and
/// expiry, in two subnets of a network.
#[test]
fn threads_racing_for_reserved_addresses_never_see_another_owner() {
    const CLIENTS: u32 = 24;
    // Client n has address 100 + n: even ones in the pool, odd ones beside it.
    let home = |n: u32| ip(if n.is_multiple_of(2) { 100 + n } else { 200 + n });
    let reserved: Vec<ReservedAddress> =
        (0..8).map(|n| ReservedAddress { subnet: (n % 2) as u16, address: home(n) }).collect();
    let pools = [range(0, 90, 120), range(1, 150, 159)];
    let seed = seed();
    for round in 0..4 {
        let table = LeaseTable::planned(
            &Plan { pools: &pools, reserved: &reserved, networks: &[0, 0], ..Plan::default() },
            SECRET,
        );
        let clients: Vec<Who> = (0..CLIENTS).map(Who::new).collect();
        // Half of them were somebody else's before.
        for n in 0..4 {
            let who = &clients[(n + 10) as usize];
            let lease = Lease {
                space: Space::GLOBAL,
                address: home(n),
                state: BindingState::Bound,
                generation: 3,
                started_s: NOW,
                expires_s: NOW + 40,
            };
            assert_eq!(table.restore(&lease.of(&who.hw, &who.id), (n % 2) as u16, NOW), Ok(()));
        }
        let clock = AtomicU32::new(NOW);
        let wins = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..3u64 {
                let (table, clients, clock, wins) = (&table, &clients, &clock, &wins);
                scope.spawn(move || {
                    let mut random = Random(seed.wrapping_mul(2 * thread + 3).wrapping_add(round) | 1);
                    for _ in 0..15_000 {
                        let n = random.below(CLIENTS);
                        let client = clients[n as usize].in_subnet(table, (n % 2) as u16);
                        let now = clock.load(Ordering::SeqCst);
                        let aim = home(random.below(8));
                        match random.below(10) {
                            0..3 => {
                                if let Ok(lease) = table.offer(&client, Some(aim), now + HOLD, now) {
                                    let is_old = lease.state == BindingState::Bound && now < NOW + 40;
                                    let taken = (0..8).any(|n| home(n) == lease.address);
                                    assert!(!taken || is_old, "{} was offered", lease.address);
                                }
                            }
                            3 => assert!(table.bind(&client, aim, now + TERM, now).is_err(), "{aim} was bound"),
                            4..7 if n < 8 => {
                                if table.is_free_for(&client.key, home(n), now) == Ok(true)
                                    && let Ok(bound) = table.bind_reserved(&client, home(n), now + 20, 0, now)
                                {
                                    assert_eq!(bound.lease.address, home(n));
                                    wins.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            7 => {
                                if let Some(lease) = table.find(&client.key, now) {
                                    table.release(&client.key, lease.address, now);
                                }
                            }
                            8 => {
                                if let Some(lease) = table.find(&client.key, now) {
                                    let _ = table.bind(&client, lease.address, now + 20, now);
                                }
                            }
                            _ => {
                                if random.below(16) == 0 {
                                    clock.fetch_add(1, Ordering::SeqCst);
                                }
                                table.expire(now, 64);
                            }
                        }
                    }
                });
            }
        });
        assert!(wins.load(Ordering::Relaxed) > 100);
        let now = clock.load(Ordering::SeqCst).max(NOW + 41);
        for n in 0..8 {
            let owner = &clients[n as usize];
            if let Some(binding) = table.get(home(n), now).filter(|binding| binding.state == BindingState::Bound) {
                assert_eq!((binding.hw, &binding.client_id[..]), (owner.hw, &owner.id[..]), "{}", home(n));
            }
        }
        let mut seen = HashMap::new();
        for binding in table.iter(now).filter(|binding| binding.state == BindingState::Bound) {
            let who = (binding.hw.chaddr, binding.client_id.to_vec());
            if let Some(other) = seen.insert(who, binding.address) {
                panic!("{other} and {} are bound to one client", binding.address);
            }
        }
    }
}
