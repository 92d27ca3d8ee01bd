//! The whole table: memory, renewals, allocation, exhaustion, expiry.

use std::{
    hint::black_box,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use dhcp_xdp::lease::{BindingState, Client, ClientKey, HwAddress, LeaseTable, OfferError, PoolRange};

use dhcp_storm::measure::median;

use crate::report::{Random, Report, cpu_time, ns, ns_each, resident};

const NOW: u32 = 1_900_000_000;
const TERM: u32 = 3600;
const HOLD: u32 = 30;
const BATCH: usize = 64;
/// Leases of the small table.
const SMALL: u32 = 10_000;
/// Renewals of a round.
const RENEWALS: usize = 1 << 20;

/// A client: a MAC, and for two in three an identifier of the usual kinds (type and MAC; RFC 4361 with a DUID-UUID).
struct Who {
    hw: HwAddress,
    id: [u8; 23],
    id_len: usize,
}

impl Who {
    fn new(n: u32) -> Self {
        let mut chaddr = [0; 16];
        chaddr[0] = 2;
        chaddr[2..6].copy_from_slice(&n.to_be_bytes());
        let mut id = [0x5a; 23];
        id[..2].copy_from_slice(&[1, 2]);
        id[3..7].copy_from_slice(&n.to_be_bytes());
        Self { hw: HwAddress { htype: 1, hlen: 6, chaddr }, id, id_len: [0, 7, 23][n as usize % 3] }
    }

    fn id(&self) -> &[u8] {
        &self.id[..self.id_len]
    }

    fn key(&self, table: &LeaseTable) -> ClientKey {
        table.key(0, &self.hw, self.id())
    }

    fn of(&self, key: ClientKey) -> Client<'_> {
        Client { key, subnet: 0, hw: &self.hw, client_id: self.id(), limits: &[], agent_info: &[] }
    }
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + n)
}

fn table(leases: u32) -> LeaseTable {
    LeaseTable::new(&[PoolRange { subnet: 0, first: address(0), last: address(leases - 1) }], [3, 4])
}

/// The whole exchange; the offer alone is timed.
fn lease(table: &LeaseTable, n: u32, now_s: u32) -> Result<Duration, OfferError> {
    let who = Who::new(n);
    let client = who.of(who.key(table));
    let start = Instant::now();
    let offer = table.offer(&client, None, now_s + HOLD, now_s)?;
    let time = start.elapsed();
    table.bind(&client, offer.address, now_s + TERM, now_s).expect("what was offered can be bound");
    Ok(time)
}

/// Median cost of an offer to each of these clients, ns.
fn offers(table: &LeaseTable, clients: std::ops::Range<u32>, now_s: u32) -> f64 {
    median(clients.map(|n| lease(table, n, now_s).expect("an address").as_nanos() as f64).collect())
}

/// Lookup and renewal of random clients; ns each.
fn renewals(table: &LeaseTable, leases: u32, round: u32, batched: bool) -> f64 {
    let mut random = Random(u64::from(round) * 2 + 1);
    let clients: Vec<u32> = (0..RENEWALS).map(|_| random.below(leases)).collect();
    let now_s = NOW + 1 + round;
    // CPU time: what a neighbour takes is not the table's.
    let start = cpu_time();
    for batch in clients.chunks(BATCH) {
        let whos: [Who; BATCH] = std::array::from_fn(|i| Who::new(batch[i]));
        let keys: [ClientKey; BATCH] = std::array::from_fn(|i| whos[i].key(table));
        if batched {
            table.prefetch(keys.iter());
        }
        for (who, key) in whos.iter().zip(keys) {
            let found = table.find(&key, now_s).expect("each client is there");
            let bound = table.bind(&who.of(key), found.address, now_s + TERM, now_s);
            black_box(bound.expect("each client renews"));
        }
    }
    ns_each(cpu_time() - start, RENEWALS)
}

/// Memory, renewals, allocation, exhaustion.
pub fn leases(leases: u32, rounds: usize, report: &mut Report) {
    report.part(&format!(
        "Memory: {leases} leases, a third with no client identifier, a third with 7 bytes, a third with 23"
    ));
    let before = resident();
    let start = Instant::now();
    let large = table(leases);
    report.figure("making the table", format!("{:.2} s", start.elapsed().as_secs_f64()));
    let part = (leases / 1000).max(100);
    let first = offers(&large, 0..part, NOW);
    let start = Instant::now();
    for n in part..leases - part {
        lease(&large, n, NOW).expect("an address");
    }
    report.figure("leasing each (offer and bind)", ns(ns_each(start.elapsed(), (leases - 2 * part) as usize)));
    let last = offers(&large, leases - part..leases, NOW);
    while large.expire(NOW + 1, 1 << 16) > 0 {}
    let each = (resident() - before) as f64 / f64::from(leases);
    report.at_most("resident memory a lease", each, 128.0, " bytes");
    report.at_most("and the table's own word for it", each, LeaseTable::BYTES_PER_ADDRESS as f64 + 1.0, " bytes");

    report.part(&format!(
        "Lookup and renewal: {leases} leases and {SMALL}, round about, batches of {BATCH}, client keys made"
    ));
    let small = table(SMALL);
    (0..SMALL).for_each(|n| {
        lease(&small, n, NOW).expect("an address");
    });
    let mut times = [vec![], vec![], vec![], vec![]];
    for round in 0..rounds as u32 {
        times[0].push(renewals(&small, SMALL, round, true));
        times[1].push(renewals(&large, leases, round, true));
        times[2].push(renewals(&small, SMALL, round, false));
        times[3].push(renewals(&large, leases, round, false));
    }
    let [small_ns, large_ns, small_plain_ns, large_plain_ns] = times.map(median);
    report.figure(
        &format!("{SMALL} leases, with prefetching / without"),
        format!("{} / {}", ns(small_ns), ns(small_plain_ns)),
    );
    report.figure(
        &format!("{leases} leases, with prefetching / without"),
        format!("{} / {}", ns(large_ns), ns(large_plain_ns)),
    );
    report.at_most(&format!("renewal among {leases} / among {SMALL}"), large_ns / small_ns, 1.5, "");

    restored(&large, leases, report);

    report.part("Allocation: the offer to a new client, median");
    report.figure("never-used addresses, the first 0.1 % / the last 0.1 %", format!("{} / {}", ns(first), ns(last)));
    report.at_most("the last never-used address / the first", last / first, 2.0, "");
    let newcomer = Who::new(u32::MAX);
    let exhausted = |now_s| {
        large
            .offer(&newcomer.of(newcomer.key(&large)), None, now_s + HOLD, now_s)
            .is_err_and(|error| error == OfferError::Exhausted)
    };
    let now_s = NOW + 1 + rounds as u32;
    report.is_so(
        &format!("{leases} addresses serve {leases} clients, and not one more"),
        exhausted(now_s) && large.counts().bound == u64::from(leases),
    );
    released(&large, leases, part, report);
    let now_s = NOW + 2 * TERM;
    returned(&large, leases, part, now_s, report);
    report.is_so("and then there is none left", exhausted(now_s));
}

/// What recovery does, in the order of addresses.
fn restored(from: &LeaseTable, leases: u32, report: &mut Report) {
    let table = table(leases);
    let mut spent = Duration::ZERO;
    let mut bindings = from.iter(NOW);
    let mut all = 0;
    loop {
        let some: Vec<_> = bindings.by_ref().take(4096).collect();
        if some.is_empty() {
            break;
        }
        let start = cpu_time();
        table.restore_all(some.iter().map(|binding| (binding, 0)), NOW, |_, _, error| panic!("{error}"));
        all += some.len();
        spent += cpu_time() - start;
    }
    report.figure("restoring each, as after a restart", ns(ns_each(spent, all)));
    report.is_so("and all are there", table.counts().bound == u64::from(leases));
}

/// 0.1 % of the clients release their addresses, and as many new ones come.
fn released(table: &LeaseTable, leases: u32, part: u32, report: &mut Report) {
    let mut random = Random(77);
    let now_s = NOW + 100;
    let mut gone = 0;
    while gone < part {
        let key = Who::new(random.below(leases)).key(table);
        let bound = table.find(&key, now_s).filter(|lease| lease.state == BindingState::Bound);
        gone += u32::from(bound.is_some_and(|lease| table.release(&key, lease.address, now_s).is_some()));
    }
    let from = leases + 1000;
    let first = offers(table, from..from + part / 2, now_s);
    let last = offers(table, from + part / 2..from + part, now_s);
    report.figure("released ones at 99.9 % fill, the first half / the last", format!("{} / {}", ns(first), ns(last)));
    report.at_most("the last released address / the first", last / first, 2.0, "");
}

/// All leases end at once, and nearly all clients come back to their addresses; what is left is found among them.
fn returned(table: &LeaseTable, leases: u32, part: u32, now_s: u32, report: &mut Report) {
    let start = Instant::now();
    while table.expire(now_s, 1 << 16) > 0 {}
    report.figure("expiry of all", ns(ns_each(start.elapsed(), leases as usize)));
    // By address: clients have been replaced in between.
    let away: u32 = leases / part;
    let back: Vec<_> = table.iter(now_s).enumerate().filter(|(n, _)| *n as u32 % away != away / 2).collect();
    for (_, binding) in &back {
        let key = table.key(0, &binding.hw, &binding.client_id);
        let client =
            Client { key, subnet: 0, hw: &binding.hw, client_id: &binding.client_id, limits: &[], agent_info: &[] };
        let offer = table.offer(&client, None, now_s + HOLD, now_s).expect("its own");
        table.bind(&client, offer.address, now_s + TERM, now_s).expect("its own");
    }
    let free = leases - back.len() as u32;
    let from = 2 * leases;
    let first = offers(table, from..from + free / 2, now_s);
    let last = offers(table, from + free / 2..from + free, now_s);
    report.figure(
        "expired ones, all but 0.1 % of the clients back, first half / last",
        format!("{} / {}", ns(first), ns(last)),
    );
    report.at_most("the last expired address / the first", last / first, 2.0, "");
}

/// A million leases end in the same second.
pub fn expiry(leases: u32, report: &mut Report) {
    report.part(&format!("Expiry: {leases} leases end in one second (CPU time; median of three runs' longest)"));
    let ended = || {
        let table = table(leases);
        (0..leases).for_each(|n| {
            lease(&table, n, NOW).expect("an address");
        });
        while table.expire(NOW, 1024) > 0 {}
        table
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let now_s = NOW + TERM;
    let (mut all, mut steps, mut offers) = (vec![], vec![], vec![]);
    for _ in 0..3 {
        let table = ended();
        let (mut longest, start) = (Duration::ZERO, cpu_time());
        loop {
            let step = cpu_time();
            let done = table.expire(now_s, 1024);
            longest = longest.max(cpu_time() - step);
            if done < 1024 {
                break;
            }
        }
        all.push(ms(cpu_time() - start));
        steps.push(ms(longest));

        let table = ended();
        let mut longest = Duration::ZERO;
        for n in leases..2 * leases {
            let who = Who::new(n);
            let client = who.of(who.key(&table));
            let start = cpu_time();
            let offer = table.offer(&client, None, now_s + HOLD, now_s);
            longest = longest.max(cpu_time() - start);
            offer.expect("an expired address");
        }
        offers.push(ms(longest));
    }
    report.figure("housekeeping, all of it", format!("{:.0} ms", median(all)));
    report.at_most("housekeeping's longest step (of 1024 slots)", median(steps), 1.0, " ms");
    report.at_most("a worker's longest offer, when nobody keeps house", median(offers), 1.0, " ms");
}
