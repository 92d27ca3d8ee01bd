//! Many threads against plain maps: each thread keeps, for clients of its own, what a plain program would, and holds each
//! answer of the table against it; all threads together keep who owns which address. Between rounds, when all stand still, the
//! whole table is compared, and time passes.

use super::{
    threads::{Random, seed},
    *,
};

const THREADS: u32 = 4;
/// Fewer addresses than clients, so that they change hands.
const POOL: u32 = 500;
const CLIENTS: u32 = 200;
/// Seconds between rounds.
const ROUND: u32 = 7;
/// Owner of a declined address.
const NOBODY: u32 = u32::MAX;

/// What one client has: address, state (offered or bound), and until when.
type Held = Option<(Ipv4Addr, BindingState, u32)>;

struct Shared {
    table: LeaseTable,
    /// By address: the client's number and one, or zero. Set after the table gave it, cleared before it is given back.
    owners: Vec<AtomicU32>,
    /// Answers that another thread's work at the same slot prevented.
    contended: AtomicU64,
    answered: AtomicU64,
}

impl Shared {
    fn owner(&self, address: Ipv4Addr) -> &AtomicU32 {
        &self.owners[(u32::from(address) - u32::from(ip(0))) as usize]
    }
}

/// One thread's clients.
struct Share {
    random: Random,
    first: u32,
    who: Vec<Who>,
    held: Vec<Held>,
    /// Declined addresses and when they come back.
    declined: Vec<(Ipv4Addr, u32)>,
}

impl Share {
    fn new(seed: u64, thread: u32) -> Self {
        let first = thread * CLIENTS;
        Self {
            random: Random(seed.wrapping_mul(2 * u64::from(thread) + 3) | 1),
            first,
            who: (first..first + CLIENTS).map(Who::new).collect(),
            held: vec![None; CLIENTS as usize],
            declined: Vec::new(),
        }
    }

    fn any_address(&mut self) -> Ipv4Addr {
        ip(self.random.below(POOL) + 1)
    }

    /// The table says that the client has this address now.
    fn took(&mut self, shared: &Shared, client: usize, address: Ipv4Addr, state: BindingState, until_s: u32) {
        let me = self.first + client as u32 + 1;
        let before = shared.owner(address).swap(me, Ordering::SeqCst);
        assert!(before == 0 || before == me, "{address} was {}'s and is given to {}", before - 1, me - 1);
        self.held[client] = Some((address, state, until_s));
    }

    fn lets_go(&mut self, shared: &Shared, client: usize) {
        if let Some((address, ..)) = self.held[client].take() {
            shared.owner(address).store(0, Ordering::SeqCst);
        }
    }

    fn offer(&mut self, shared: &Shared, client: usize, now_s: u32) {
        let wanted = Some(self.any_address());
        let who = self.who[client].of(&shared.table);
        let got = shared.table.offer(&who, wanted, now_s + HOLD, now_s);
        match (got, self.held[client]) {
            (Err(error), held) => {
                assert!(error == OfferError::Contended || error == OfferError::Exhausted && held.is_none(), "{error}");
                shared.contended.fetch_add(u64::from(error == OfferError::Contended), Ordering::Relaxed);
            }
            (Ok(lease), Some((address, BindingState::Bound, until_s))) => {
                assert_eq!((lease.address, lease.state, lease.expires_s), (address, BindingState::Bound, until_s));
            }
            (Ok(lease), held) => {
                assert!(held.is_none_or(|(address, ..)| lease.address == address), "the client's own first");
                self.took(shared, client, lease.address, BindingState::Offered, now_s + HOLD);
            }
        }
    }

    fn bind(&mut self, shared: &Shared, client: usize, address: Ipv4Addr, now_s: u32) {
        let until_s = now_s + 1 + self.random.below(10 * ROUND);
        let held = self.held[client];
        let is_own = held.is_some_and(|(own, ..)| own == address);
        if !is_own {
            // In vain as long as the table has it.
            self.lets_go(shared, client);
        }
        let who = self.who[client].of(&shared.table);
        match shared.table.bind(&who, address, until_s, now_s) {
            Ok(bound) => {
                let told = held.filter(|(_, state, _)| is_own && *state == BindingState::Bound);
                assert_eq!(bound.lease.expires_s, until_s.max(told.map_or(0, |(.., until_s)| until_s)));
                let left = held.filter(|(_, state, _)| !is_own && *state == BindingState::Bound);
                assert_eq!(bound.released.map(|lease| lease.address), left.map(|(address, ..)| address));
                self.took(shared, client, address, BindingState::Bound, bound.lease.expires_s);
            }
            Err(error) => {
                assert!(error == BindError::Contended || error == BindError::Taken && !is_own, "{error}");
                shared.contended.fetch_add(u64::from(error == BindError::Contended), Ordering::Relaxed);
                if let Some((own, state, until_s)) = held {
                    self.took(shared, client, own, state, until_s);
                }
            }
        }
    }

    fn step(&mut self, shared: &Shared, now_s: u32) {
        let client = self.random.below(CLIENTS) as usize;
        let key = self.who[client].of(&shared.table).key;
        shared.answered.fetch_add(1, Ordering::Relaxed);
        match (self.random.below(16), self.held[client]) {
            (0..4, _) => self.offer(shared, client, now_s),
            (4..8, Some((own, ..))) => self.bind(shared, client, own, now_s),
            (8, _) => {
                let any = self.any_address();
                self.bind(shared, client, any, now_s);
            }
            (9, Some((own, state, until_s))) => {
                self.lets_go(shared, client);
                let released = shared.table.release(&key, own, now_s);
                if released.is_none() {
                    // Only what is bound is released; a slot that is being changed is not.
                    self.took(shared, client, own, state, until_s);
                }
            }
            (10, Some((own, BindingState::Offered, until_s))) => {
                self.lets_go(shared, client);
                if !shared.table.withdraw(&key, now_s) {
                    self.took(shared, client, own, BindingState::Offered, until_s);
                }
            }
            (11, Some((own, ..))) if self.random.below(8) == 0 => {
                if shared.table.decline(&key, own, now_s + ROUND, now_s).is_some() {
                    self.held[client] = None;
                    shared.owner(own).store(NOBODY, Ordering::SeqCst);
                    self.declined.push((own, now_s + ROUND));
                }
            }
            (12, _) => {
                shared.table.expire(now_s, 16);
            }
            (_, held) => {
                // A slot that is being changed cannot be told of.
                let Ok(found) = shared.table.try_find(&key, now_s) else { return };
                let live = found.filter(|lease| matches!(lease.state, BindingState::Bound | BindingState::Offered));
                let found = live.map(|lease| (lease.address, lease.state, lease.expires_s));
                assert_eq!(found, held, "client {}", self.first + client as u32);
            }
        }
    }

    /// Time has passed: what is over is nobody's.
    fn pass(&mut self, shared: &Shared, now_s: u32) {
        for client in 0..self.held.len() {
            if self.held[client].is_some_and(|(.., until_s)| until_s <= now_s) {
                self.lets_go(shared, client);
            }
        }
        self.declined.retain(|(address, until_s)| {
            let is_over = *until_s <= now_s;
            if is_over {
                shared.owner(*address).store(0, Ordering::SeqCst);
            }
            !is_over
        });
    }
}

/// All stand still: each address is what the plain maps say, and exactly those that nobody has can be had.
fn compare(shared: &Shared, shares: &[Share], now_s: u32) {
    let mut plain = BTreeMap::new();
    for share in shares {
        let held = share.who.iter().zip(&share.held).filter_map(|(who, held)| Some((who, (*held)?)));
        plain.extend(held.map(|(who, (address, state, until_s))| (address, (state, until_s, who.hw))));
        let declined = share.declined.iter();
        plain.extend(
            declined.map(|(address, until_s)| (*address, (BindingState::Declined, *until_s, HwAddress::default()))),
        );
    }
    for address in (1..=POOL).map(ip) {
        let table = shared.table.get(address, now_s).filter(|binding| {
            matches!(binding.state, BindingState::Bound | BindingState::Offered | BindingState::Declined)
        });
        let table = table.map(|binding| match binding.state {
            BindingState::Declined => (binding.state, binding.expires_s, HwAddress::default()),
            _ => (binding.state, binding.expires_s, binding.hw),
        });
        assert_eq!(table, plain.get(&address).copied(), "{address}");
    }
    while shared.table.expire(now_s, 1000) > 0 {}
    let counts = shared.table.counts();
    assert_eq!(counts.bound + counts.offered + counts.declined, plain.len() as u64);
    // Taken, all of them, and given back.
    let newcomers = (1_000_000..).step_by(4).map(Who::new);
    let offers = newcomers.map_while(|who| {
        let client = who.of(&shared.table);
        shared.table.offer(&client, None, now_s + HOLD, now_s).ok()?;
        Some(client.key)
    });
    let keys: Vec<ClientKey> = offers.collect();
    assert_eq!(keys.len(), POOL as usize - plain.len(), "each free address can be had, and no other");
    assert!(keys.iter().all(|key| shared.table.withdraw(key, now_s)));
}

fn stress(rounds: u32, steps: u32) {
    let seed = seed();
    let shared = Shared {
        table: LeaseTable::new(&[range(0, 1, 70), range(0, 71, POOL)], SECRET),
        owners: (0..=POOL).map(|_| AtomicU32::new(0)).collect(),
        contended: AtomicU64::new(0),
        answered: AtomicU64::new(0),
    };
    let mut shares: Vec<Share> = (0..THREADS).map(|thread| Share::new(seed, thread)).collect();
    for round in 0..rounds {
        let now_s = NOW + round * ROUND;
        std::thread::scope(|scope| {
            for share in &mut shares {
                scope.spawn(|| (0..steps).for_each(|_| share.step(&shared, now_s)));
            }
        });
        compare(&shared, &shares, now_s);
        shares.iter_mut().for_each(|share| share.pass(&shared, now_s + ROUND));
        compare(&shared, &shares, now_s + ROUND);
    }
    let (contended, answered) = (shared.contended.into_inner(), shared.answered.into_inner());
    println!("{answered} operations, {contended} met another at the same slot");
    assert!(contended * 10 < answered, "{contended} of {answered}");
}

#[test]
fn millions_of_operations_on_four_threads_agree_with_plain_maps() {
    stress(50, 10_000);
}

#[test]
#[ignore = "long: some minutes of what the usual run does for seconds"]
fn hundreds_of_millions_of_operations_on_four_threads_agree_with_plain_maps() {
    stress(2000, 50_000);
}
