//! The journal's figures: durable bindings a second by group size, what a commit takes with compaction beside it and without,
//! how long ten million leases take from the disk to serving, and what a history costs that is behind.
//!
//! `cargo xtask bench journal`, or `cargo bench -p dhcp-storm --bench journal -- --quick`. Bindings are renewals in a real
//! lease table, each of which is recorded; what is measured is the time until the lane says that they are durable. Rounds of
//! what is compared are interleaved, and medians are told. It writes about 6 GiB (`--quick`: 900 MiB) and removes them.

mod behind;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use dhcp_storm::measure::median;
use dhcp_xdp::{
    clock::Clock,
    config::Durability,
    journal::{CompactionPolicy, Journal, Lane, Options, Recovery, Ticket},
    lease::{Client, HwAddress, Kept, Lease, LeaseTable, PoolRange, Space},
    wake::Wake,
};
use hdrhistogram::Histogram;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Measures the journal
#[derive(Debug, Parser)]
struct Words {
    /// A tenth of everything
    #[arg(long)]
    quick: bool,
    /// Where to write; a new directory beside the target folder, removed at the end, unless given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

const NOW_S: u32 = 1_800_000_000;
const FIRST: u32 = 0x0a00_0000;

fn main() -> Result<()> {
    let words = Words::parse();
    let base = words.dir.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let dir = base.join(format!("bench-journal-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("{}: cannot make it", dir.display()))?;
    let done = measure(&words, &dir);
    std::fs::remove_dir_all(&dir).with_context(|| format!("{}: cannot remove it", dir.display()))?;
    done
}

fn measure(words: &Words, dir: &Path) -> Result<()> {
    let start = Instant::now();
    sync_cost(dir)?;
    rates(words, dir)?;
    beside_compaction(words, dir)?;
    recovery(words, dir)?;
    behind::behind(words.quick, dir)?;
    println!("\ntook {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn claim(what: &str, figure: f64, limit: &str, holds: bool) {
    println!("claim: {what}: {figure:.2}, {limit}: {}", if holds { "holds" } else { "DOES NOT HOLD" });
}

/// What the disk alone takes: everything below is to be read against it.
fn sync_cost(dir: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join("sync"))?;
    let mut took = Histogram::<u64>::new(3)?;
    for _ in 0..1000 {
        let start = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        took.record(start.elapsed().as_micros() as u64)?;
    }
    let at = |q| took.value_at_quantile(q);
    println!("4 KiB and fdatasync, alone: p50 {} us, p99 {} us, p99.9 {} us", at(0.5), at(0.99), at(0.999));
    Ok(())
}

/// A table whose clients have a lease each, and the clients.
struct Engine {
    table: LeaseTable,
    clients: u32,
    next: u32,
    now_s: u32,
}

fn hw(client: u32) -> HwAddress {
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
    chaddr[2..6].copy_from_slice(&client.to_be_bytes());
    HwAddress { htype: 1, hlen: 6, chaddr }
}

fn client_id(client: u32) -> [u8; 7] {
    let hw = hw(client);
    let mut id = [1; 7];
    id[1..].copy_from_slice(&hw.chaddr[..6]);
    id
}

fn pool(clients: u32) -> PoolRange {
    PoolRange { subnet: 0, first: Ipv4Addr::from(FIRST), last: Ipv4Addr::from(FIRST + clients - 1) }
}

impl Engine {
    fn new(clients: u32) -> Self {
        Self { table: LeaseTable::new(&[pool(clients)], [5, 6]), clients, next: 0, now_s: NOW_S }
    }

    /// The next client's request: a binding, or a renewal, and its record.
    fn bind(&mut self, lane: &mut Lane) -> Ticket {
        let (hw, id) = (hw(self.next), client_id(self.next));
        let key = self.table.key(0, &hw, &id);
        let client = Client { key, subnet: 0, hw: &hw, client_id: &id, limits: &[], agent_info: &[] };
        let address = Ipv4Addr::from(FIRST + self.next);
        self.next += 1;
        if self.next == self.clients {
            self.next = 0;
            self.now_s += 1;
        }
        let bound =
            self.table.bind(&client, address, self.now_s + 3600, self.now_s).expect("the address is this client's");
        lane.push(&bound.lease, &hw, &id, Kept::default()).expect("there was room")
    }
}

fn start(dir: &Path, compaction: CompactionPolicy) -> Result<(Journal, Lane, Arc<Wake>)> {
    let wake = Arc::new(Wake::new()?);
    let options = Options { compaction, ..Options::new(Durability::Sync) };
    let (journal, mut lanes) = Recovery::open(dir)?.start(options, vec![Arc::clone(&wake)])?;
    Ok((journal, lanes.pop().context("a lane")?, wake))
}

const NEVER: CompactionPolicy = CompactionPolicy { percent: 0, segments: usize::MAX };
const AT_ONCE: CompactionPolicy = CompactionPolicy { percent: 100, segments: 1 };

/// Waits as a worker does that has nothing else to do: asleep, until the journal wakes it.
fn sleep_until(wake: &Wake, lane: &Lane, ticket: Ticket) {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd as _;
    while lane.durable() < ticket {
        wake.prepare();
        if lane.durable() < ticket {
            let _ = poll(&mut [PollFd::new(wake.as_fd(), PollFlags::POLLIN)], 1000u16);
        }
        wake.done();
    }
}

/// Durable bindings a second when so many are on their way at a time.
fn rate(engine: &mut Engine, lane: &mut Lane, wake: &Wake, group: u64, count: u64) -> f64 {
    let start = Instant::now();
    let mut last = lane.durable();
    let mut made = 0;
    while made < count {
        // Half of them are made while the others are on their way to the disk.
        for _ in 0..(group / 2).max(1) {
            last = engine.bind(lane);
            made += 1;
        }
        lane.ring();
        sleep_until(wake, lane, Ticket(last.0.saturating_sub(group / 2)));
    }
    sleep_until(wake, lane, last);
    made as f64 / start.elapsed().as_secs_f64()
}

fn rates(words: &Words, dir: &Path) -> Result<()> {
    println!("\ndurable bindings a second, one worker, by how many are on their way at most");
    let dir = dir.join("rates");
    std::fs::create_dir(&dir)?;
    let (journal, mut lane, wake) = start(&dir, NEVER)?;
    let mut engine = Engine::new(100_000);
    rate(&mut engine, &mut lane, &wake, 8192, 200_000);
    let rounds = if words.quick { 3 } else { 5 };
    let mut best: f64 = 0.0;
    for (group, count) in
        [(1, 2000), (8, 16_000), (64, 100_000), (512, 500_000), (4096, 1_500_000), (16_000, 1_500_000)]
    {
        let count = if words.quick { count / 10 } else { count };
        let figures = (0..rounds).map(|_| rate(&mut engine, &mut lane, &wake, group, count)).collect();
        let figure = median(figures);
        best = best.max(figure);
        println!("  {group:>6}: {figure:>12.0}/s");
    }
    let status = journal.status();
    let [p50, p99, max] = status.commit_latency_us;
    println!(
        "  {} records in {} groups; a commit: p50 {p50} us, p99 {p99} us, max {max} us",
        status.records, status.groups
    );
    journal.stop()?;
    std::fs::remove_dir_all(&dir)?;
    claim("durable bindings a second, millions", best / 1e6, "at least 1.00", best >= 1e6);
    Ok(())
}

/// So many records in a segment or snapshot of their own, without waiting for each group.
fn fill(dir: &Path, engine: &mut Engine, count: u64) -> Result<()> {
    let (journal, mut lane, wake) = start(dir, NEVER)?;
    rate(engine, &mut lane, &wake, 16_000, count);
    journal.stop()?;
    Ok(())
}

/// How long records take to be durable at a steady rate, while `going` says so, at most so long.
fn latencies(
    engine: &mut Engine,
    lane: &mut Lane,
    at_most: Duration,
    mut going: impl FnMut() -> bool,
    took: &mut Histogram<u64>,
) {
    /// Records each half millisecond.
    const BURST: usize = 50;
    let start = Instant::now();
    let mut due = start;
    let mut last = lane.durable();
    let mut waiting: std::collections::VecDeque<(Ticket, Instant)> = std::collections::VecDeque::new();
    while start.elapsed() < at_most && going() {
        let durable = lane.durable();
        // As many as a worker could park; what is due waits meanwhile.
        if Instant::now() >= due && last.0 - durable.0 < 8192 {
            for _ in 0..BURST {
                last = engine.bind(lane);
            }
            lane.ring();
            // From when it was due: a stall counts for all that it held up.
            waiting.push_back((last, due));
            due += Duration::from_micros(500);
        }
        while let Some((_, since)) = waiting.front().filter(|(ticket, _)| *ticket <= durable) {
            took.saturating_record(since.elapsed().as_micros() as u64);
            waiting.pop_front();
        }
        if waiting.is_empty() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        } else {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

fn beside_compaction(words: &Words, dir: &Path) -> Result<()> {
    println!("\na record's way to the disk at 100,000 a second, with compaction beside it and without");
    let clients = if words.quick { 300_000 } else { 2_000_000 };
    let dir = dir.join("beside");
    std::fs::create_dir(&dir)?;
    let mut engine = Engine::new(clients);
    fill(&dir, &mut engine, u64::from(clients))?;
    Journal::compact(&dir)?;
    let mut ratios = Vec::new();
    let new = || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3);
    let mut all = [new()?, new()?];
    for round in 0..if words.quick { 3 } else { 5 } {
        let mut p999 = [0.0; 2];
        fill(&dir, &mut engine, if words.quick { 200_000 } else { 1_000_000 })?;
        for (with, policy) in [NEVER, AT_ONCE].into_iter().enumerate() {
            let mut took = new()?;
            let (journal, mut lane, _wake) = start(&dir, policy)?;
            let at_most = Duration::from_secs(if with == 1 { 20 } else { 4 });
            let begun = Instant::now();
            let going = || with == 0 || begun.elapsed() < Duration::from_millis(50) || journal.status().compacting;
            latencies(&mut engine, &mut lane, at_most, going, &mut took);
            let compactions = journal.status().compactions;
            journal.stop()?;
            let at = |q| took.value_at_quantile(q);
            println!(
                "  round {round}, {}: p50 {} us, p99 {} us, p99.9 {} us, max {} us ({:.1} s, {compactions} compactions)",
                ["without", "with   "][with],
                at(0.5),
                at(0.99),
                at(0.999),
                took.max(),
                begun.elapsed().as_secs_f64()
            );
            p999[with] = at(0.999) as f64;
            all[with].add(&took)?;
        }
        ratios.push(p999[1] / p999[0]);
    }
    let at = |with: usize| all[with].value_at_quantile(0.999) as f64;
    println!("  all rounds: p99.9 without {} us, with {} us", at(0), at(1));
    std::fs::remove_dir_all(&dir)?;
    let ratio = median(ratios);
    claim("p99.9 while compacting, times that without", ratio, "at most 2.00", ratio <= 2.0);
    Ok(())
}

fn recovery(words: &Words, dir: &Path) -> Result<()> {
    let leases: u32 = if words.quick { 1_000_000 } else { 10_000_000 };
    println!("\nrecovery of {leases} leases: a snapshot of all of them, and a tenth renewed since");
    let dir = dir.join("recovery");
    std::fs::create_dir(&dir)?;
    write_journal(&dir, leases)?;
    let rounds = 3;
    let mut totals = Vec::new();
    for round in 0..rounds {
        let is_cold = round == rounds - 1;
        if is_cold {
            forget(&dir)?;
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let start = Instant::now();
        let recovery = Recovery::open(&dir)?;
        let found = start.elapsed();
        let clock = Clock::resume(recovery.last_moment());
        let table = LeaseTable::new(&[pool(leases)], [7, 8]);
        let made = start.elapsed();
        let contended = Mutex::new(Vec::new());
        let report = recovery.replay_with(threads, &AtomicU64::new(0), |some| {
            table.restore_all(some.iter().map(|binding| (binding, 0)), NOW_S, |binding, _, _| {
                contended.lock().expect("no panic").push(binding.clone());
            });
        })?;
        let contended = contended.into_inner().context("no panic")?;
        contended.iter().try_for_each(|binding| table.restore(binding, 0, NOW_S))?;
        let restored = start.elapsed();
        let wake = Arc::new(Wake::new()?);
        let options = Options { compaction: NEVER, clock, ..Options::new(Durability::Sync) };
        let (journal, _lanes) = recovery.start(options, vec![wake])?;
        let total = start.elapsed();
        let s = |time: Duration| time.as_secs_f64();
        println!(
            "  {}: find {:.2} s, make the table {:.2} s, read and restore {} records {:.2} s, start {:.2} s; {:.2} s in all, {} bound",
            if is_cold { "not cached" } else { "cached    " },
            s(found),
            s(made - found),
            report.records,
            s(restored - made),
            s(total - restored),
            s(total),
            table.counts().bound
        );
        assert_eq!(table.counts().bound, u64::from(leases), "all are there");
        journal.stop()?;
        if !is_cold {
            totals.push(s(total));
        }
    }
    let start = Instant::now();
    let recovery = Recovery::open(&dir)?;
    recovery.replay_with(1, &AtomicU64::new(0), |_| ())?;
    println!("  reading and checking alone, one thread: {:.2} s", start.elapsed().as_secs_f64());
    drop(recovery);
    std::fs::remove_dir_all(&dir)?;
    let total = median(totals);
    claim("seconds from the disk to serving", total, "at most 5.00", total <= 5.0);
    Ok(())
}

/// A snapshot and a segment, written without a table (which would take longer).
fn write_journal(dir: &Path, leases: u32) -> Result<()> {
    let records = |count: u32, generation: u32| -> Result<()> {
        let (journal, mut lane, wake) = start(dir, NEVER)?;
        let mut last = Ticket::default();
        for client in 0..count {
            // In no order of addresses.
            let client = (u64::from(client) * 7_919 % u64::from(leases)) as u32;
            let (address, state) = (Ipv4Addr::from(FIRST + client), dhcp_xdp::lease::BindingState::Bound);
            let lease =
                Lease { space: Space::GLOBAL, address, state, generation, started_s: NOW_S, expires_s: NOW_S + 3600 };
            if !lane.has_room() {
                lane.ring();
                sleep_until(&wake, &lane, Ticket(last.0 - 8000));
            }
            last = lane.push(&lease, &hw(client), &client_id(client), Kept::default()).context("room")?;
        }
        lane.ring();
        sleep_until(&wake, &lane, last);
        Ok(journal.stop()?)
    };
    records(leases, 1)?;
    let start = Instant::now();
    Journal::compact(dir)?;
    println!("  (compacted in {:.1} s without a rest)", start.elapsed().as_secs_f64());
    records(leases / 10, 2)
}

/// Has the system forget what it has of the files.
fn forget(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let file = std::fs::File::open(entry?.path())?;
        file.sync_all()?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}
