//! Lease limits across power cuts: records go through lanes, of each of which a cut keeps some beginning. Whichever it keeps, no
//! circuit comes back with more clients than allowed, in whatever order the records are read.

use std::sync::{Mutex, RwLock};

use proptest::option;

use super::*;

const CIRCUITS: u32 = 2;
const CLIENTS: u32 = 4;
const POOL: u32 = 5;
const MOST: u32 = 1;

fn circuit(number: u32) -> Limit {
    Limit { key: LimitKey::new("circuit", &number.to_be_bytes()), most: MOST }
}

fn empty() -> LeaseTable {
    table(POOL).with_limits(1)
}

/// A worker's way to the disk.
#[derive(Default)]
struct Lane {
    /// Each with the places that it frees.
    records: Vec<(Binding, LimitKeys)>,
    durable: usize,
}

impl Lane {
    fn push(&mut self, table: &LeaseTable, lease: &Lease, client: u32, freed: LimitKeys) {
        let who = Who::new(client);
        self.records.push((Binding { limits: table.limit_keys(lease), ..lease.of(&who.hw, &who.id) }, freed));
    }

    fn push_bound(&mut self, table: &LeaseTable, bound: Bound, client: u32) {
        let Bound { lease, released, freed, freed_by_leaving, .. } = bound;
        self.push(table, &lease, client, freed);
        if let Some(released) = released {
            self.push(table, &released, client, freed_by_leaving);
        }
    }

    /// The disk takes some more.
    fn advance(&mut self, table: &LeaseTable, records: usize) {
        let until = self.records.len().min(self.durable + records);
        self.records[self.durable..until].iter().for_each(|(_, freed)| table.free(freed));
        self.durable = until;
    }
}

/// What comes back, from the records of each lane that a cut kept.
fn restarted<'a>(kept: impl DoubleEndedIterator<Item = &'a (Binding, LimitKeys)>, now_s: u32) -> LeaseTable {
    let table = empty();
    kept.for_each(|(binding, _)| table.restore(binding, 0, now_s).unwrap());
    for number in 0..CIRCUITS {
        let key = circuit(number).key;
        let bound = || table.iter(now_s).filter(|binding| binding.limits.contains(&key));
        let clients: HashSet<_> = bound().map(|binding| binding.hw).collect();
        assert!(clients.len() <= MOST as usize, "circuit {number}: {:?}", bound().collect::<Vec<_>>());
        assert_eq!(table.limit_count(key) as usize, bound().count());
    }
    table
}

/// A cut that keeps so many records of each lane, read in three orders.
fn cut(lanes: [&Lane; 2], kept: [usize; 2], now_s: u32) -> LeaseTable {
    let [a, b] = [&lanes[0].records[..kept[0]], &lanes[1].records[..kept[1]]];
    let table = restarted(a.iter().chain(b), now_s);
    let counts = |table: &LeaseTable| (0..CIRCUITS).map(|number| table.limit_count(circuit(number).key)).collect();
    let counted: Vec<u32> = counts(&table);
    assert_eq!(counted, counts(&restarted(b.iter().chain(a), now_s)));
    assert_eq!(counted, counts(&restarted(a.iter().chain(b).rev(), now_s)));
    table
}

#[derive(Clone, Debug)]
enum Op {
    /// Client, lane, address (or the one that it has), circuit (or past the relay agent), term.
    Bind(u32, usize, Option<u32>, Option<u32>, u32),
    Release(u32, usize),
    Decline(u32, usize),
    Operator(u32, usize),
    Offer(u32),
    Disk(usize, usize),
    Pass(u32),
    /// Of the records on their way, so many of each lane are kept.
    Cut(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (client, lane, last) = (|| 0..CLIENTS, || 0..2usize, || 1..=POOL);
    prop_oneof![
        10 => (client(), lane(), option::weighted(0.5, last()), option::weighted(0.8, 0..CIRCUITS), 5u32..60)
            .prop_map(|(client, lane, last, circuit, term)| Op::Bind(client, lane, last, circuit, term)),
        4 => (client(), lane()).prop_map(|(client, lane)| Op::Release(client, lane)),
        1 => (client(), lane()).prop_map(|(client, lane)| Op::Decline(client, lane)),
        1 => (last(), lane()).prop_map(|(last, lane)| Op::Operator(last, lane)),
        1 => client().prop_map(Op::Offer),
        6 => (lane(), 1..4usize).prop_map(|(lane, records)| Op::Disk(lane, records)),
        1 => (1u32..30).prop_map(Op::Pass),
        1 => (0..4usize, 0..4usize).prop_map(|(a, b)| Op::Cut(a, b)),
    ]
}

struct World {
    table: LeaseTable,
    lanes: [Lane; 2],
    now_s: u32,
}

impl World {
    fn address_of(&self, client: u32) -> Option<Ipv4Addr> {
        self.table.find(&Who::new(client).of(&self.table).key, self.now_s).map(|lease| lease.address)
    }

    fn step(&mut self, op: &Op) {
        let Self { table, lanes, now_s } = &mut *self;
        let now_s = *now_s;
        match *op {
            Op::Bind(client, lane, last, number, term) => {
                let (who, limits) = (Who::new(client), number.map(circuit));
                let who = Client { limits: limits.as_slice(), ..who.of(table) };
                let held = table.find(&who.key, now_s).filter(|lease| lease.state == BindingState::Bound);
                let address = last.map(ip).or(held.map(|lease| lease.address));
                if let Some(address) = address.filter(|_| number.is_some() || held.is_some()) {
                    let bound = table.bind(&who, address, now_s + term, now_s);
                    bound.into_iter().for_each(|bound| lanes[lane].push_bound(table, bound, client));
                }
            }
            Op::Release(client, lane) => {
                let Some(address) = self.address_of(client) else { return };
                let ended = self.table.release(&Who::new(client).of(&self.table).key, address, now_s);
                self.end(ended, client, lane);
            }
            Op::Decline(client, lane) => {
                let Some(address) = self.address_of(client) else { return };
                let key = Who::new(client).of(&self.table).key;
                let ended = self.table.decline(&key, address, now_s + 5, now_s);
                self.end(ended, client, lane);
            }
            Op::Operator(last, lane) => {
                let Some(before) = table.get(ip(last), now_s) else { return };
                let client = (0..CLIENTS).find(|client| Who::new(*client).hw == before.hw).unwrap();
                let ended = table.release_address(ip(last), now_s);
                self.end(ended, client, lane);
            }
            Op::Offer(client) => drop(table.offer(&Who::new(client).of(table), None, now_s + 5, now_s)),
            Op::Disk(lane, records) => lanes[lane].advance(table, records),
            Op::Pass(seconds) => self.now_s += seconds,
            Op::Cut(a, b) => {
                let kept = |lane: &Lane, more: usize| (lane.durable + more).min(lane.records.len());
                let kept = [kept(&lanes[0], a), kept(&lanes[1], b)];
                let restarted = cut([&lanes[0], &lanes[1]], kept, now_s);
                for (lane, kept) in lanes.iter_mut().zip(kept) {
                    lane.records.truncate(kept);
                    lane.durable = kept;
                }
                self.table = restarted;
            }
        }
    }

    fn end(&mut self, ended: Option<Ended>, client: u32, lane: usize) {
        if let Some(Ended { lease, freed }) = ended {
            self.lanes[lane].push(&self.table, &lease, client, freed);
        }
    }

    /// Every cut that is possible at this moment.
    fn check(&self) {
        let [a, b] = [&self.lanes[0], &self.lanes[1]];
        for kept_a in a.durable..=a.records.len() {
            for kept_b in b.durable..=b.records.len() {
                cut([a, b], [kept_a, kept_b], self.now_s);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_a_power_cut_keeps_no_circuit_comes_back_with_more_clients_than_allowed(
        ops in proptest::collection::vec(op(), 1..60)
    ) {
        let mut world = World { table: empty(), lanes: Default::default(), now_s: NOW };
        for op in ops {
            world.step(&op);
            for lane in 0..2 {
                // So that there are not too many cuts to try.
                let on_their_way = world.lanes[lane].records.len() - world.lanes[lane].durable;
                world.lanes[lane].advance(&world.table, on_their_way.saturating_sub(4));
            }
            world.check();
        }
        for lane in &mut world.lanes {
            lane.advance(&world.table, usize::MAX / 2);
        }
        world.table.expire(world.now_s, 100);
        for number in 0..CIRCUITS {
            let key = circuit(number).key;
            let holds = |binding: &Binding| binding.limits.contains(&key);
            prop_assert_eq!(world.table.limit_count(key) as usize, world.table.iter(world.now_s).filter(holds).count());
        }
    }
}

/// Two workers with a lane each, and a power that is cut again and again.
#[test]
fn workers_that_race_for_circuits_never_leave_too_many_clients_on_the_disk() {
    let table = empty();
    let lanes = [Mutex::new(Lane::default()), Mutex::new(Lane::default())];
    let (gate, refused) = (RwLock::new(()), AtomicU32::new(0));
    let random = |state: &mut u32, end: u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 8) % end
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2usize)
            .map(|number| {
                let (table, lane, gate, refused) = (&table, &lanes[number], &gate, &refused);
                scope.spawn(move || {
                    let mut state = number as u32 + 7;
                    for _ in 0..30_000 {
                        // A cut sees what was handed over; between two of a worker's changes is as good as anywhere.
                        let _running = gate.read().unwrap();
                        let client = random(&mut state, CLIENTS);
                        let (who, limits) = (Who::new(client), [circuit(random(&mut state, CIRCUITS))]);
                        let who = Client { limits: &limits, ..who.of(table) };
                        match random(&mut state, 8) {
                            0..4 => {
                                let found = table.find(&who.key, NOW).filter(|_| random(&mut state, 2) == 0);
                                let address =
                                    found.map_or_else(|| ip(random(&mut state, POOL) + 1), |lease| lease.address);
                                match table.bind(&who, address, NOW + TERM, NOW) {
                                    Ok(bound) => lane.lock().unwrap().push_bound(table, bound, client),
                                    Err(BindError::Limited) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                                    Err(_) => {}
                                }
                            }
                            4 | 5 => {
                                let found = table.find(&who.key, NOW);
                                let ended = found.and_then(|lease| table.release(&who.key, lease.address, NOW));
                                if let Some(Ended { lease, freed }) = ended {
                                    lane.lock().unwrap().push(table, &lease, client, freed);
                                }
                            }
                            _ => {
                                let mut lane = lane.lock().unwrap();
                                let on_their_way = lane.records.len() - lane.durable;
                                if random(&mut state, 8) < on_their_way as u32 {
                                    lane.advance(table, random(&mut state, 4) as usize);
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        let (mut state, mut cuts) = (99, 0);
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let _stopped = gate.write().unwrap();
            let mut lanes = [lanes[0].lock().unwrap(), lanes[1].lock().unwrap()];
            for lane in &mut lanes {
                forget_old(lane);
            }
            for _ in 0..8 {
                let kept = std::array::from_fn(|lane| {
                    let on_their_way = (lanes[lane].records.len() - lanes[lane].durable) as u32;
                    lanes[lane].durable + random(&mut state, on_their_way + 1) as usize
                });
                cut([&lanes[0], &lanes[1]], kept, NOW);
                cuts += 1;
            }
        }
        assert!(cuts > 100, "{cuts} cuts");
    });
    assert!(refused.into_inner() > 100, "limits were reached");
    for number in 0..CIRCUITS {
        lanes.iter().for_each(|lane| lane.lock().unwrap().advance(&table, usize::MAX / 2));
        let key = circuit(number).key;
        let counted = table.iter(NOW).filter(|binding| binding.limits.contains(&key)).count();
        assert_eq!(table.limit_count(key) as usize, counted, "no place is lost");
    }
}

/// Of durable records of an address only the newest one counts, as in a compaction.
fn forget_old(lane: &mut Lane) {
    let mut newest = HashMap::new();
    for (binding, _) in &lane.records[..lane.durable] {
        let generation = newest.entry(binding.address).or_insert(binding.generation);
        *generation = binding.generation.max(*generation);
    }
    let on_their_way = lane.records.split_off(lane.durable);
    lane.records.retain(|(binding, _)| binding.generation == newest[&binding.address]);
    lane.durable = lane.records.len();
    lane.records.extend(on_their_way);
}

/// Found by the sequences above, and the plain cases that they are made of.
#[test]
fn named_sequences_leave_no_more_clients_than_allowed_at_any_cut() {
    use Op::{Bind, Cut, Decline, Pass, Release};
    let sequences: [&[Op]; 7] = [
        &[Bind(0, 0, Some(1), Some(0), 50), Release(0, 0), Bind(1, 1, Some(2), Some(0), 50)],
        &[Bind(0, 0, Some(1), Some(0), 50), Decline(0, 0), Bind(1, 1, Some(2), Some(0), 50)],
        // A renewal on another circuit.
        &[Bind(0, 0, Some(1), Some(0), 50), Bind(0, 0, None, Some(1), 50), Bind(1, 1, Some(2), Some(0), 50)],
        // A move to another address, on another circuit and on the same one; the new address is given back on another lane.
        &[Bind(0, 0, Some(1), Some(0), 50), Bind(0, 0, Some(2), Some(1), 50), Bind(1, 1, Some(3), Some(0), 50)],
        &[
            Bind(0, 0, Some(1), Some(0), 50),
            Bind(0, 0, Some(2), Some(0), 50),
            Release(0, 1),
            Op::Disk(1, 1),
            Bind(1, 1, Some(3), Some(0), 50),
        ],
        // An address that is left when its lease is over already has one place to give, not two.
        &[Bind(2, 0, Some(4), Some(0), 5), Pass(5), Bind(2, 0, Some(2), Some(0), 50), Bind(1, 0, Some(4), Some(0), 50)],
        // A client that comes back with both addresses of a move has two places. When one of the leases is over, its address does
        // not go to another client with its place.
        &[
            Bind(3, 0, Some(3), Some(1), 5),
            Bind(3, 0, Some(1), None, 14),
            Cut(2, 0),
            Pass(5),
            Bind(0, 0, Some(3), Some(1), 5),
        ],
    ];
    for sequence in sequences {
        let mut world = World { table: empty(), lanes: Default::default(), now_s: NOW };
        for op in sequence {
            world.step(op);
            world.check();
        }
    }
}
