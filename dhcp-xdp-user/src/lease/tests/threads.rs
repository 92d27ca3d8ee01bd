//! Many threads at one table.

use super::*;

/// A small generator, so that a run can be repeated from the seed that it prints.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(end)) >> 32) as u32
    }
}

pub(super) fn seed() -> u64 {
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
                Err(OfferError::ClientIdRoom) => panic!("identifiers of tests fit"),
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

/// More clients than addresses ask on all threads at once: each address serves one, and then there is none.
#[test]
fn n_addresses_serve_exactly_n_clients_asked_for_on_all_threads() {
    const POOL: u32 = 600;
    let table = LeaseTable::new(&[range(0, 1, 7), range(0, 9, POOL + 1)], SECRET);
    let ask = |number: u32| loop {
        let who = Who::new(number);
        match table.offer(&who.of(&table), None, NOW + HOLD, NOW) {
            Ok(offer) => {
                break Some(table.bind(&who.of(&table), offer.address, NOW + TERM, NOW).unwrap().lease.address);
            }
            Err(OfferError::Exhausted) => break None,
            Err(OfferError::Contended) => {}
            Err(OfferError::ClientIdRoom) => panic!("identifiers of tests fit"),
        }
    };
    let got: Vec<Ipv4Addr> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| scope.spawn(move || (0..200).filter_map(|n| ask(n * 4 + thread)).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((got.len(), got.iter().collect::<HashSet<_>>().len()), (POOL as usize, POOL as usize));
    assert_eq!(ask(5000), None);
}
