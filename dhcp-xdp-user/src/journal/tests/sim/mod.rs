//! Whole lives of a server on a simulated disk, each from a seed: clients bind, renew, move, release and decline, the journal
//! and its compaction go in steps, the disk fails, fills up and loses power at any operation, the process is killed, the wall
//! clock is set, and recovery begins anew, also in the middle of recovery. What clients were told is checked against the
//! table that comes back, by the real time that passed, and what their relay agents said of them; every second one is in a VPN with
//! the same addresses; that no circuit ever has more clients than allowed, whichever records a power cut loses; and that a follower
//! gets every durable change once.
//!
//! `DHCP_XDP_SIM_SEED=N` replays one seed, `DHCP_XDP_SIM_COUNT=N` runs so many.

mod disk;
mod history;

use std::{collections::HashSet, net::Ipv4Addr};

use super::super::{
    chain,
    compact::{self, Compaction},
    lane,
    status::Shared,
    writer::{Setup, Step, Writer},
    *,
};
use crate::{
    clock::{Clock, Moment},
    lease::{
        AgentInfo, BindError, BindingState, Bound, Client, HwAddress, Kept, Lease, LeaseTable, Limit, LimitKey, Plan,
        PoolRange, RestoreError, Space, SpacedAddress, Stamp,
    },
};
use disk::{Random, SimDisk};
use history::History;

const ADDRESSES: u32 = 7;
const CLIENTS: usize = 9;
const LANES: usize = 2;
/// Wrong from the start by some hours, which is nobody's business.
const NOON: u64 = 1_800_000_000;

fn address(at: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + at)
}

/// What a client believes in.
#[derive(Clone, Copy, Debug)]
struct Belief {
    address: Ipv4Addr,
    /// In real time, seconds.
    until: u64,
    /// Which of its lines it is known to be on.
    line: u32,
}

/// An ACK that waits.
#[derive(Debug)]
struct Parked {
    lane: usize,
    ticket: Ticket,
    client: usize,
    belief: Belief,
}

/// Time as it really is, and as the machine believes.
struct Time {
    real: u64,
    /// Wall clock less real time.
    error: i64,
    /// What the error was when the journal last kept the time, at most.
    marked_error: i64,
    boot_at: u64,
    boot_id: u128,
}

impl Time {
    fn wall(&self) -> Duration {
        Duration::from_secs(self.real.saturating_add_signed(self.error))
    }
    fn boot(&self) -> Duration {
        Duration::from_secs(self.real - self.boot_at)
    }
}

/// A server from start to crash.
struct Life {
    clock: Clock,
    table: Arc<LeaseTable>,
    writer: Writer,
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
    /// What the writer tells as the time.
    moment: Arc<std::sync::Mutex<Moment>>,
    parked: Vec<Parked>,
    compaction: Option<Compaction>,
    follower: Follower,
}

/// All that outlives a crash.
struct World {
    random: Random,
    disk: SimDisk,
    time: Time,
    clients: Vec<(HwAddress, Vec<u8>)>,
    beliefs: Vec<Option<Belief>>,
    /// The line that each client is on, and with it the circuit: it moves house now and then.
    lines: Vec<u32>,
    submitted: HashSet<Record>,
    history: History,
    stats: Counts,
}

/// That something was tried at all, over all seeds.
#[derive(Debug, Default)]
struct Counts {
    acks: u64,
    /// Of these, for an address that another client has in the other address space.
    in_both: u64,
    thinned: u64,
    power_cuts: u64,
    kills: u64,
    stops: u64,
    compactions: u64,
    failed_steps: u64,
    recoveries_cut_short: u64,
    limited: u64,
    changed_circuit: u64,
    freed: u64,
    caught_up: u64,
}

type Record = (SpacedAddress, u32, u8, u32, u32, [u8; 16], Vec<u8>, Vec<LimitKey>, Vec<u8>);

/// Circuits, and how many leases each may hold.
const CIRCUITS: u8 = 3;
const MOST: [u32; CIRCUITS as usize] = [1, 2, 3];

/// What a lease on a circuit counts against.
fn circuit(number: u8) -> Limit {
    Limit { key: LimitKey::new("circuit", &[number]), most: MOST[usize::from(number)] }
}

/// The circuit of a client's line.
fn circuit_of(client: usize, line: u32) -> Limit {
    circuit(((client + line as usize) % usize::from(CIRCUITS)) as u8)
}

/// No circuit has more clients than allowed. (A client has two addresses after a power cut in the middle of its move from one
/// to the other.)
fn check_circuits(table: &LeaseTable, now_s: u32) {
    for number in 0..CIRCUITS {
        let Limit { key, most } = circuit(number);
        let bound = || table.iter(now_s).filter(|binding| binding.state == BindingState::Bound);
        let clients: HashSet<_> =
            bound().filter(|binding| binding.limits.contains(&key)).map(|binding| binding.hw).collect();
        assert!(clients.len() <= most as usize, "circuit {number} has {clients:?}");
        assert!(table.limit_count(key) as usize >= clients.len(), "circuit {number} is not counted");
    }
}

/// Two spaces with the same addresses.
const SPACES: [Space; 2] = [Space::GLOBAL, Space(0x0201)];

/// Every second client is in the other one.
fn subnet_of(client: usize) -> u16 {
    (client % 2) as u16
}

fn pool(subnet: u16) -> PoolRange {
    PoolRange { subnet, first: address(0), last: address(ADDRESSES - 1) }
}

/// What a relay agent says of a line.
fn agent_info(client: usize, line: u32) -> AgentInfo {
    let len = [2, 12, 40, 71, 251][(client + line as usize) % 5];
    [1, len + 2, client as u8, line as u8].into_iter().chain(std::iter::repeat_n(line as u8, len.into())).collect()
}

fn record_of(binding: &Binding) -> Record {
    let Binding { state, generation, started_s, expires_s, hw, ref client_id, ref limits, ref agent_info, .. } =
        *binding;
    let (client_id, limits, agent_info) = (client_id.to_vec(), limits.to_vec(), agent_info.to_vec());
    (binding.at(), generation, state as u8, started_s, expires_s, hw.chaddr, client_id, limits, agent_info)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let error = random.below(40_000) as i64 - 20_000;
        let clients = (0..CLIENTS)
            .map(|client| {
                let mut chaddr = [0; 16];
                chaddr[5] = client as u8;
                let len = [0, 0, 7, 22, 23, 71, 255][random.below(7) as usize];
                (HwAddress { htype: 1, hlen: 6, chaddr }, vec![client as u8; len])
            })
            .collect();
        Self {
            disk: SimDisk::new(random.next()),
            time: Time { real: NOON, error, marked_error: error, boot_at: NOON - 100, boot_id: 1 },
            clients,
            beliefs: vec![None; CLIENTS],
            lines: vec![0; CLIENTS],
            submitted: HashSet::new(),
            history: History::default(),
            stats: Counts::default(),
            random,
        }
    }

    /// Recovers until it works, then starts.
    fn begin(&mut self) -> Life {
        loop {
            if self.random.once_in(4) {
                self.disk.cut_power_after(self.random.below(30));
            }
            self.disk.fail_once_in([0, 0, 0, 20][self.random.below(4) as usize]);
            match self.try_begin() {
                Ok(life) => return life,
                Err(error) => {
                    assert!(matches!(error, JournalError::Io { .. }), "refused: {error}");
                    self.stats.recoveries_cut_short += 1;
                    if self.disk.is_off() {
                        self.power_cut();
                    }
                    // Somebody makes room, and changes the broken part.
                    self.disk.heal();
                }
            }
        }
    }

    fn try_begin(&mut self) -> Result<Life, JournalError> {
        let recovery = Recovery::open_on(Arc::new(self.disk.clone()))?;
        let clock = Clock::resume_at(recovery.last_moment(), self.time.wall(), self.time.boot(), self.time.boot_id);
        let now_s = clock.at(self.time.boot());
        let table = LeaseTable::planned(&Plan { pools: &[0, 1].map(pool), spaces: &SPACES, ..Plan::default() }, [3, 4])
            .with_limits(1);
        let table = Arc::new(table);
        recovery.replay(|binding| {
            assert!(self.submitted.contains(&record_of(binding)), "made up: {binding:?}");
            let subnet = u16::from(binding.space != SPACES[0]);
            match table.restore(binding, subnet, now_s) {
                Ok(()) => {}
                Err(error @ (RestoreError::NotInPool | RestoreError::Contended)) => panic!("{error}"),
            }
        })?;
        let wakes = (0..LANES).map(|_| Arc::new(Wake::new().unwrap())).collect();
        let shared = Arc::new(Shared::new(wakes));
        let (_stopper, ends, lanes) = lane::lanes(&shared, true, true);
        let moment = Arc::new(std::sync::Mutex::new(clock.moment_at(self.time.wall(), self.time.boot())));
        let told = Arc::clone(&moment);
        let setup = Setup {
            durability: Durability::Sync,
            moment: Box::new(move || *told.lock().unwrap()),
            rotate_at: 1024 << self.random.below(4),
            closed: None,
            on_freed: Some({
                let table = Arc::clone(&table);
                Arc::new(move |keys: &[LimitKey]| table.free(keys))
            }),
        };
        let writer = Writer::open(Arc::new(self.disk.clone()), &recovery.found, setup, Arc::clone(&shared), ends)?;
        shared.board.reserve(&self.disk, self.history.begin(), u64::MAX)?;
        let followers = Followers { shared: Arc::clone(&shared), disk: Arc::new(self.disk.clone()) };
        let follower = self.history.follow(&followers)?;
        check_circuits(&table, now_s);
        for number in 0..CIRCUITS {
            let key = circuit(number).key;
            let bound = table.iter(now_s).filter(|binding| binding.limits.contains(&key)).count();
            assert_eq!(table.limit_count(key) as usize, bound, "circuit {number} after a restart");
        }
        let life = Life { clock, table, writer, lanes, shared, moment, parked: vec![], compaction: None, follower };
        self.time.marked_error = self.time.marked_error.min(self.time.error);
        self.check(&life);
        Ok(life)
    }

    /// No client that was told so is without its lease.
    fn check(&self, life: &Life) {
        let now_s = life.clock.at(self.time.boot());
        for (client, belief) in self.beliefs.iter().enumerate() {
            let Some(belief) = belief.filter(|belief| belief.until > self.time.real) else { continue };
            let kept = life.table.get(SpacedAddress::new(SPACES[client % 2], belief.address), now_s);
            let left = belief.until - self.time.real;
            let is_kept = kept.as_ref().is_some_and(|kept| {
                kept.state == BindingState::Bound
                    && kept.hw == self.clients[client].0
                    && kept.client_id.as_slice() == self.clients[client].1
                    && (belief.line..=self.lines[client]).any(|line| kept.agent_info == agent_info(client, line))
                    && u64::from(kept.expires_s.saturating_sub(now_s)) + 2 >= left
            });
            assert!(is_kept, "client {client} believes in {belief:?} for {left} s more; found {kept:?} at {now_s}");
        }
    }

    fn now_s(&self, life: &Life) -> u32 {
        life.clock.at(self.time.boot())
    }

    /// As a worker does: nothing is changed while there is no room.
    fn submit(&mut self, life: &mut Life, lane: usize, client: usize, lease: &Lease, freed: &[LimitKey]) -> Ticket {
        let (hw, id) = &self.clients[client];
        let limits = life.table.limit_keys(lease);
        let agent_info = life.table.agent_info(lease).unwrap();
        let binding = Binding { limits, agent_info, ..lease.of(hw, id) };
        let record = record_of(&binding);
        self.submitted.insert(record.clone());
        let ticket = life.lanes[lane].push(lease, hw, id, Kept { freed, ..binding.kept() }).unwrap();
        self.stats.freed += freed.len() as u64;
        self.history.submitted(lane, ticket, record);
        life.lanes[lane].ring();
        ticket
    }

    fn request(&mut self, life: &mut Life) {
        let lane = self.random.below(LANES as u64) as usize;
        let client = self.random.below(CLIENTS as u64) as usize;
        if !life.lanes[lane].has_room() {
            return;
        }
        let (hw, id) = self.clients[client].clone();
        let now_s = self.now_s(life);
        let subnet = subnet_of(client);
        let key = life.table.key(subnet, &hw, &id);
        let held = life.table.find(&key, now_s).filter(|lease| lease.state == BindingState::Bound);
        // A renewal past the relay agent does not say which circuit it comes from.
        let says_circuit = held.is_none() || self.random.below(3) > 0;
        if says_circuit && self.random.once_in(6) {
            self.lines[client] += 1;
        }
        let line = self.lines[client];
        let said = if says_circuit { agent_info(client, line) } else { AgentInfo::new() };
        let limits: Vec<Limit> = says_circuit.then(|| circuit_of(client, line)).into_iter().collect();
        let who = Client { key, subnet, hw: &hw, client_id: &id, limits: &limits, agent_info: &said };
        match (self.random.below(10), held) {
            (0, Some(lease)) => {
                // It gives up its address as soon as it says so.
                self.beliefs[client] = None;
                life.parked.retain(|parked| parked.client != client);
                if let Some(released) = life.table.release(&key, lease.at(), now_s) {
                    self.submit(life, lane, client, &released.lease, &released.freed);
                }
            }
            (1, Some(lease)) => {
                self.beliefs[client] = None;
                life.parked.retain(|parked| parked.client != client);
                if let Some(declined) = life.table.decline(&key, lease.at(), now_s + 50, now_s) {
                    self.submit(life, lane, client, &declined.lease, &declined.freed);
                }
            }
            (2 | 3, Some(_)) => {
                // It starts anew and asks for another one.
                let wanted = address(self.random.below(ADDRESSES.into()) as u32);
                self.bind(life, lane, client, &who, wanted, now_s);
            }
            (_, Some(lease)) => self.bind(life, lane, client, &who, lease.address, now_s),
            (_, None) => {
                if let Ok(offer) = life.table.offer(&who, None, now_s + 5, now_s) {
                    self.bind(life, lane, client, &who, offer.address, now_s);
                }
            }
        }
    }

    fn bind(&mut self, life: &mut Life, lane: usize, client: usize, who: &Client<'_>, wanted: Ipv4Addr, now_s: u32) {
        let term = [20, 100, 1000][self.random.below(3) as usize];
        let slack = [0, 30][self.random.below(2) as usize];
        let before = life.table.find(&who.key, now_s).filter(|lease| lease.state == BindingState::Bound);
        let before = before.map_or_else(Default::default, |lease| life.table.limit_keys(&lease));
        let bound = match life.table.bind_with_slack(who, wanted, now_s + term, slack, now_s) {
            Ok(bound) => bound,
            Err(error) => {
                self.stats.limited += u64::from(error == BindError::Limited);
                return;
            }
        };
        let counted = life.table.limit_keys(&bound.lease);
        let expected = who.limits.first().map_or_else(|| before.clone(), |limit| [limit.key].into_iter().collect());
        assert_eq!(counted, expected, "client {client}: {bound:?}");
        self.stats.changed_circuit += u64::from(!before.is_empty() && before != counted);
        check_circuits(&life.table, now_s);
        if self.beliefs[client].is_some_and(|belief| belief.address != wanted) {
            self.beliefs[client] = None;
        }
        life.parked.retain(|parked| parked.client != client || parked.belief.address == wanted);
        let known = life.table.agent_info(&bound.lease).unwrap();
        assert!(who.agent_info.is_empty() || known[..] == *who.agent_info, "client {client}: {bound:?}");
        let line =
            (0..=self.lines[client]).find(|line| known == agent_info(client, *line)).expect("it was told of one");
        let belief = Belief { address: wanted, until: self.time.real + u64::from(term), line };
        match self.commit(life, lane, client, &bound) {
            Some(ticket) => life.parked.push(Parked { lane, ticket, client, belief }),
            None => {
                self.stats.thinned += 1;
                self.acknowledge(client, belief);
            }
        }
    }

    /// As `worker::batch` does it.
    fn commit(&mut self, life: &mut Life, lane: usize, client: usize, bound: &Bound) -> Option<Ticket> {
        if !bound.must_record && life.lanes[lane].is_settled(bound.stamp) {
            return None;
        }
        let mut ticket = self.submit(life, lane, client, &bound.lease, &bound.freed);
        let stamp: Stamp = life.lanes[lane].stamp(ticket);
        life.table.stamp(&bound.lease, stamp);
        if let Some(released) = &bound.released {
            ticket = self.submit(life, lane, client, released, &bound.freed_by_leaving);
        }
        Some(ticket)
    }

    /// The ACK reaches its client, which may not learn of an end that is earlier than the one it knows.
    fn acknowledge(&mut self, client: usize, belief: Belief) {
        self.stats.acks += 1;
        for (other, theirs) in self.beliefs.iter().enumerate() {
            let is_held =
                theirs.is_some_and(|theirs| theirs.address == belief.address && theirs.until > self.time.real);
            let clash = is_held && subnet_of(other) == subnet_of(client);
            self.stats.in_both += u64::from(is_held && !clash);
            assert!(other == client || !clash, "{} belongs to {other} and {client}", belief.address);
        }
        self.beliefs[client] = Some(belief);
    }

    fn release_parked(&mut self, life: &mut Life) {
        let durable: Vec<Ticket> = life.lanes.iter().map(Lane::durable).collect();
        for parked in std::mem::take(&mut life.parked) {
            if parked.ticket <= durable[parked.lane] {
                // An ACK that comes too late is not sent, as in the ring loop.
                if parked.belief.until > self.time.real {
                    self.acknowledge(parked.client, parked.belief);
                }
            } else {
                life.parked.push(parked);
            }
        }
    }

    fn journal_step(&mut self, life: &mut Life) -> Step {
        *life.moment.lock().unwrap() = life.clock.moment_at(self.time.wall(), self.time.boot());
        let before: Vec<Ticket> = life.lanes.iter().map(Lane::durable).collect();
        let step = life.writer.step();
        self.history.durable(&life.lanes);
        self.time.marked_error = match step {
            Step::Committed => self.time.error,
            // It may be there all the same.
            Step::Failed => self.time.marked_error.min(self.time.error),
            Step::Idle => self.time.marked_error,
        };
        if step == Step::Failed {
            self.stats.failed_steps += 1;
            assert!(life.shared.progress().failing.is_some(), "a failing disk is told");
            let after: Vec<Ticket> = life.lanes.iter().map(Lane::durable).collect();
            assert_eq!(before, after, "nothing is durable that the disk did not take");
        }
        step
    }

    fn compaction_step(&mut self, life: &mut Life) {
        let stepped = match life.compaction.take() {
            Some(compaction) => {
                let last = compaction.last();
                compaction.step(&self.disk).inspect(|more| {
                    if more.is_none() {
                        self.stats.compactions += 1;
                        life.shared.board.compacted(last);
                    }
                })
            }
            None => self.begin_compaction(life),
        };
        // An error leaves an unfinished file; the next attempt, or start, sees to it.
        life.compaction = stepped.unwrap_or(None);
    }

    fn begin_compaction(&mut self, life: &Life) -> Result<Option<Compaction>, JournalError> {
        if self.random.once_in(8) {
            compact::sweep(&self.disk)?;
        }
        let policy = CompactionPolicy { percent: 100, segments: 2 };
        let chain = chain::walk(&self.disk)?;
        let mut plan = policy.plan(life.shared.board.compactable(&chain, false));
        plan.truncate(2 + self.random.below(4) as usize);
        if plan.is_empty() { Ok(None) } else { Compaction::begin(&self.disk, plan).map(Some) }
    }

    fn power_cut(&mut self) {
        self.stats.power_cuts += 1;
        self.disk.power_cut();
        self.time.real += self.random.below(30);
        self.time.boot_at = self.time.real - 1;
        self.time.boot_id += 1;
        // What the clock's module says it cannot tell: the wall clock was set forward, and the power went before that was kept.
        self.time.error = self.time.error.min(self.time.marked_error);
        // The battery was empty, or was not.
        if self.random.once_in(3) {
            self.time.error -= self.random.below(30_000) as i64;
        }
    }

    /// From a start to its end.
    fn live(&mut self) {
        let mut life = self.begin();
        self.catch_up(&mut life);
        for _ in 0..self.random.below(120) {
            if self.disk.is_off() {
                break;
            }
            match self.random.below(32) {
                0..14 => self.request(&mut life),
                14..22 => drop(self.journal_step(&mut life)),
                22..24 => self.release_parked(&mut life),
                24 => drop(self.history.take(&mut life.follower, self.random.once_in(2))),
                25..28 => self.compaction_step(&mut life),
                28 => {
                    // A stall of the disk, seen from outside.
                    self.time.real += self.random.below(12);
                    life.table.expire(self.now_s(&life), 64);
                }
                29 => self.time.error += self.random.below(40_000) as i64 - 20_000,
                30 => self.trouble(),
                _ => self.disk.heal(),
            }
        }
        self.end(life);
    }

    /// Sometimes reads all that a follower can, and looks whether that is all.
    fn catch_up(&mut self, life: &mut Life) {
        if self.random.once_in(2) {
            return;
        }
        self.disk.heal();
        while self.history.take(&mut life.follower, self.random.once_in(2)) {}
        self.history.check();
        self.stats.caught_up += 1;
    }

    fn trouble(&mut self) {
        match self.random.below(4) {
            0 => self.disk.fail_once_in(2 + self.random.below(20)),
            1 => self.disk.set_full(true),
            2 => self.disk.set_broken(true),
            _ => self.disk.cut_power_after(self.random.below(40)),
        }
    }

    fn end(&mut self, mut life: Life) {
        if !self.disk.is_off() {
            self.catch_up(&mut life);
        }
        match self.random.below(3) {
            _ if self.disk.is_off() => self.power_cut(),
            0 => self.power_cut(),
            1 => {
                // Killed: the system still has what was written.
                self.stats.kills += 1;
                self.disk.heal();
                self.time.real += self.random.below(5);
                self.time.error += self.random.below(40_000) as i64 - 20_000;
            }
            _ => {
                // The disk comes back, and the service with it, by itself.
                self.stats.stops += 1;
                self.disk.heal();
                let mut steps = 0;
                while self.journal_step(&mut life) != Step::Idle {
                    steps += 1;
                    assert!(steps < 100, "it never comes to an end");
                }
                self.release_parked(&mut life);
                assert!(life.parked.is_empty(), "all is durable");
                let now_s = self.now_s(&life);
                life.table.expire(now_s, 1000);
                for key in (0..CIRCUITS).map(|number| circuit(number).key) {
                    let bound = life.table.iter(now_s).filter(|binding| binding.limits.contains(&key)).count();
                    assert_eq!(life.table.limit_count(key) as usize, bound, "no place is lost");
                }
                assert_eq!(life.shared.progress().failing, None);
                self.check(&life);
                life.writer.close();
            }
        }
    }
}

/// Says which seed it was.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay it: DHCP_XDP_SIM_SEED={} cargo test -p dhcp-xdp --lib journal::tests::sim", self.0);
        }
    }
}

fn run(seed: u64, total: &mut Counts) {
    let _seed = Seed(seed);
    let mut world = World::new(seed);
    for _ in 0..6 {
        world.live();
    }
    world.disk.heal();
    let mut life = world.begin();
    world.disk.heal();
    while world.history.take(&mut life.follower, true) {}
    world.history.check();
    total.add(&world.stats);
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.acks += other.acks;
        self.thinned += other.thinned;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.stops += other.stops;
        self.compactions += other.compactions;
        self.failed_steps += other.failed_steps;
        self.recoveries_cut_short += other.recoveries_cut_short;
        self.limited += other.limited;
        self.changed_circuit += other.changed_circuit;
        self.freed += other.freed;
        self.in_both += other.in_both;
        self.caught_up += other.caught_up;
    }
}

fn run_seeds(usual: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let mut total = Counts::default();
    if let Some(seed) = number("DHCP_XDP_SIM_SEED") {
        run(seed, &mut total);
        return;
    }
    let count = number("DHCP_XDP_SIM_COUNT").unwrap_or(usual);
    let next = AtomicU64::new(0);
    let all = std::sync::Mutex::new(&mut total);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut own = Counts::default();
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    run(seed, &mut own);
                }
                all.lock().unwrap().add(&own);
            });
        }
    });
    println!("{count} seeds: {total:?}");
    let Counts { acks, thinned, power_cuts, kills, stops, compactions, failed_steps, recoveries_cut_short, .. } = total;
    let Counts { limited, changed_circuit, freed, in_both, caught_up, .. } = total;
    for (what, happened) in [
        ("ACKs", acks),
        ("ACKs for an address that is leased in both spaces", in_both),
        ("renewals without a record", thinned),
        ("power cuts", power_cuts),
        ("kills", kills),
        ("stops", stops),
        ("compactions", compactions),
        ("failing disks", failed_steps),
        ("recoveries cut short", recoveries_cut_short),
        ("refused for the limit of a circuit", limited),
        ("leases that change their circuit", changed_circuit),
        ("places that become free", freed),
        ("followers that caught up", caught_up),
    ] {
        assert!(happened >= count / 8, "hardly any {what}: {happened}");
    }
}

#[test]
fn what_clients_were_told_survives_thousands_of_simulated_lives() {
    run_seeds(2000);
}

#[test]
#[ignore = "long: two hundred thousand seeds"]
fn what_clients_were_told_survives_two_hundred_thousand_simulated_lives() {
    run_seeds(200_000);
}
