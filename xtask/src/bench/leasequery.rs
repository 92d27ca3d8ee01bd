//! `cargo xtask bench leasequery`: what bulk leasequeries (RFC 6926) beside them cost clients.
//!
//! One server with a large table, and storms of clients against it: in each round some alone, and some while requestors ask for all
//! of the table again and again. The requestors run on the same machine, so that what reading costs them is in it too; a BNG's
//! would not be.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{
    bed::{self, Bed, Common, POOL, SERVER, SERVER_INTERFACE, SUBNET, list},
    median,
};
use crate::{
    command,
    lab::{
        Namespace, Requestor, Server,
        requestor::{BULK, DONE, LEASE_ACTIVE, LEASE_UNASSIGNED, kind, query},
        wait_for,
    },
    workspace,
};

/// What `--help` shows at its end.
pub const EXAMPLES: &str = "Examples:
  cargo xtask bench leasequery
  cargo xtask bench leasequery --quick
  cargo xtask bench leasequery --leases 1000000 --bindings-per-s 100000 --json leasequery.json";

/// How to measure.
#[derive(Args, Clone, Debug)]
pub struct LeaseQuery {
    /// Rounds: storms alone, and storms beside queries
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Two rounds of short storms over the smallest table: coarse figures in half a minute
    #[arg(long)]
    quick: bool,
    /// Seconds of a storm [default: 5, or 2 if --quick]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    duration: Option<u32>,
    /// Leases in the table besides those of the simulated clients [default: 500000, or 200000 if --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(200_000..=10_000_000))]
    leases: Option<u32>,
    /// Connections that ask for all of the table, each once more when it has it
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    connections: u32,
    /// `bindings_per_s` of the server: what it tells to all of them together
    #[arg(long, value_name = "R", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    bindings_per_s: u32,
    #[command(flatten)]
    common: Common,
}

impl LeaseQuery {
    fn rounds(&self) -> u32 {
        if self.quick { 2 } else { self.rounds }
    }

    fn duration_s(&self) -> u32 {
        self.duration.unwrap_or(if self.quick { 2 } else { 5 })
    }

    fn leases(&self) -> u32 {
        self.leases.unwrap_or(if self.quick { 200_000 } else { 500_000 })
    }
}

/// Version of the JSON.
const SCHEMA: u32 = 1;
/// The first address of the table's leases.
const FIRST: u32 = 0x0a01_0000;
/// What a requestor that rebuilds its state asks for.
const WANTED: (u8, &[u8]) = (55, &[51, 58, 59, 61, 82, 91, 152, 153, 156]);

/// Storms of one kind in one round.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// As fast as it goes.
    exchanges_per_s: f64,
    /// At half of that.
    ack_p50_us: f64,
    ack_p99_us: f64,
    lost_ratio: f64,
}

/// What the requestors had meanwhile.
#[derive(Clone, Copy, Debug)]
struct Told {
    leases_per_s: f64,
    /// Leases, and addresses that nobody has.
    addresses_per_s: f64,
    /// Of one CPU, what reading it took.
    requestors_cpu: f64,
}

/// A round.
#[derive(Clone, Copy, Debug)]
struct Round {
    alone: Figures,
    beside: Figures,
    told: Told,
}

/// Builds everything, then measures as root.
///
/// # Errors
/// Something could not be installed, built or started, a storm found a violation, or a requestor was cut off.
pub fn bench(options: &LeaseQuery) -> Result<()> {
    bed::as_root(options.common.built, || measure(options))
}

fn measure(options: &LeaseQuery) -> Result<()> {
    let bed = Bed::new(options.common.disk.as_deref())?;
    let state = bed.path("state");
    import(&bed, &state, options.leases())?;
    bed.client_end().add_address("198.18.0.2/15")?;
    let server = Server::start_configured(bed.server_end().namespace, &state, &configuration(options))?;
    let (clients, window) = (options.common.clients.to_string(), options.common.window.to_string());
    let load = ["--scenario", "dora", "--clients", &clients];
    let full = |duration_s: u32| bed.storm(&[&load[..], &["--rate", "max", "--window", &window]].concat(), duration_s);
    // Each client has its lease then, and everything is warm.
    full(options.duration_s())?;
    let half = (full(options.duration_s())?.figure("bindings_per_s")? / 2.0).round().max(1.0);
    println!(
        "{} leases in the table, on {}; {} clients; storms of {} s, at {half:.0} exchanges/s for latency; {} connections \
         that ask for all of it, {} bindings/s at most",
        options.leases(),
        bed.file_system(),
        options.common.clients,
        options.duration_s(),
        options.connections,
        options.bindings_per_s
    );
    let rate = half.to_string();
    let storms = || -> Result<Figures> {
        let fast = full(options.duration_s())?;
        let calm = bed.storm(&[&load[..], &["--rate", &rate]].concat(), options.duration_s())?;
        Ok(Figures {
            exchanges_per_s: fast.figure("bindings_per_s")?,
            ack_p50_us: calm.ack_us("p50"),
            ack_p99_us: calm.ack_us("p99"),
            lost_ratio: calm.figure("lost_ratio")?,
        })
    };
    let beside = || asking(bed.client_end().namespace, options.connections, storms);
    let mut rounds = Vec::new();
    for number in 0..options.rounds() {
        // Whoever comes second finds another machine; so they take turns in that as well.
        let round = if number % 2 == 0 {
            let alone = storms()?;
            let (beside, told) = beside()?;
            Round { alone, beside, told }
        } else {
            let (beside, told) = beside()?;
            Round { alone: storms()?, beside, told }
        };
        println!("round {:>2}  alone   {}", number + 1, line(&round.alone));
        let Told { leases_per_s, addresses_per_s, requestors_cpu } = round.told;
        println!("          beside  {}", line(&round.beside));
        println!(
            "                  {leases_per_s:.0} leases/s told ({addresses_per_s:.0} addresses/s); reading them took \
             {:.0} % of a CPU",
            100.0 * requestors_cpu
        );
        rounds.push(round);
    }
    server.stop()?;
    report(options, half, &rounds)
}

fn line(figures: &Figures) -> String {
    let Figures { exchanges_per_s, ack_p50_us, ack_p99_us, lost_ratio } = *figures;
    format!(
        "{exchanges_per_s:>9.0} exchanges/s   at half: ACK p50 {ack_p50_us:>7.0} us  p99 {ack_p99_us:>7.0} us  lost {:.2} %",
        100.0 * lost_ratio
    )
}

fn configuration(options: &LeaseQuery) -> String {
    let last = Ipv4Addr::from(FIRST + options.leases() - 1);
    let LeaseQuery { connections, bindings_per_s, .. } = options;
    format!(
        "[[interface]]\nname = \"{SERVER_INTERFACE}\"\n\
         [leasequery]\nallow = [\"198.18.0.2\"]\n\
         [leasequery.tcp]\nlisten = [\"{SERVER}\"]\nbindings_per_s = {bindings_per_s}\n\
         max_connections = {connections}\nmax_connections_per_source = {connections}\n\
         [[subnet]]\nprefix = \"{SUBNET}\"\ninterface = \"{SERVER_INTERFACE}\"\npools = [\"{POOL}\"]\n\
         lease_time_s = 86400\noptions = {{ routers = [\"{SERVER}\"] }}\n\
         [[subnet]]\nprefix = \"10.0.0.0/8\"\nserver_id = \"{SERVER}\"\npools = [\"{}-{last}\"]\n",
        Ipv4Addr::from(FIRST)
    )
}

/// Gives the server's journal so many leases.
fn import(bed: &Bed, state: &Path, leases: u32) -> Result<()> {
    let file = bed.path("leases.csv");
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (start, end) = (rfc3339(now_s - 100)?, rfc3339(now_s + 86_400)?);
    let mut text = String::from("address,state,hw_address,client_id,started_at,expires_at\n");
    for number in 0..leases {
        let [_, a, b, c] = number.to_be_bytes();
        let address = Ipv4Addr::from(FIRST + number);
        writeln!(text, "{address},bound,06:00:00:{a:02x}:{b:02x}:{c:02x},,{start},{end}")?;
    }
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut import = command::tool("nice")?;
    import.arg(workspace::binary("dhcp-xdp")?).args(["leases", "import"]).arg(&file).arg("--create");
    command::output(import.arg("--state-dir").arg(state)).map(drop)
}

fn rfc3339(unix_s: u64) -> Result<String> {
    let mut date = command::tool("date")?;
    let text = command::output(date.args(["-u", "-d", &format!("@{unix_s}"), "+%Y-%m-%dT%H:%M:%SZ"]))?;
    Ok(text.trim().to_owned())
}

/// What the requestors count, all together.
#[derive(Default)]
struct Counts {
    leases: AtomicU64,
    free: AtomicU64,
    cpu_ns: AtomicU64,
    is_over: AtomicBool,
}

/// Does something while requestors ask for all of the table, again and again.
fn asking<T>(from: &Namespace, connections: u32, meanwhile: impl FnOnce() -> Result<T>) -> Result<(T, Told)> {
    let server: Ipv4Addr = SERVER.parse()?;
    let requestors = (0..connections).map(|_| Requestor::connect(from, server)).collect::<Result<Vec<_>>>()?;
    let counts = Counts::default();
    thread::scope(|scope| {
        let asking: Vec<_> = requestors.into_iter().map(|requestor| scope.spawn(|| ask(requestor, &counts))).collect();
        let measured = (|| {
            wait_for("a lease to be told", Duration::from_secs(20), || {
                Ok((counts.leases.load(Relaxed) > 0).then_some(()))
            })?;
            let start = Instant::now();
            let before = [&counts.leases, &counts.free, &counts.cpu_ns].map(|count| count.load(Relaxed));
            let done = meanwhile()?;
            let after = [&counts.leases, &counts.free, &counts.cpu_ns].map(|count| count.load(Relaxed));
            let elapsed_s = start.elapsed().as_secs_f64();
            let [leases, free, cpu_ns] = [0, 1, 2].map(|at| (after[at] - before[at]) as f64 / elapsed_s);
            let told = Told { leases_per_s: leases, addresses_per_s: leases + free, requestors_cpu: cpu_ns / 1e9 };
            Ok((done, told))
        })();
        counts.is_over.store(true, Relaxed);
        for thread in asking {
            thread.join().map_err(|_| anyhow::anyhow!("a requestor panicked"))??;
        }
        measured
    })
}

fn ask(mut requestor: Requestor, counts: &Counts) -> Result<()> {
    let mut seen_ns = cpu_ns();
    for xid in 1.. {
        requestor.send(&query(BULK, xid, &[WANTED]))?;
        let mut told = 0u64;
        loop {
            if counts.is_over.load(Relaxed) {
                return Ok(());
            }
            let message = requestor.message()?.context("the server cut a requestor off, or tells it nothing")?;
            match kind(message) {
                Some(LEASE_ACTIVE) => drop(counts.leases.fetch_add(1, Relaxed)),
                Some(LEASE_UNASSIGNED) => drop(counts.free.fetch_add(1, Relaxed)),
                Some(DONE) => break,
                other => anyhow::bail!("a reply of type {other:?} to a bulk query"),
            }
            told += 1;
            if told.is_multiple_of(1024) {
                let now_ns = cpu_ns();
                counts.cpu_ns.fetch_add(now_ns.saturating_sub(seen_ns), Relaxed);
                seen_ns = now_ns;
            }
        }
        ensure!(told > 0, "a bulk query for all of the table was told nothing");
    }
    Ok(())
}

/// Time that this thread has run, in nanoseconds (Documentation/scheduler/sched-stats.rst); 0 where the kernel does not say.
fn cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn report(options: &LeaseQuery, half: f64, rounds: &[Round]) -> Result<()> {
    type Row = (&'static str, &'static str, fn(&Figures) -> f64);
    let rows: [Row; 3] = [
        ("exchanges_per_s", "exchanges/s", |figures| figures.exchanges_per_s),
        ("ack_p50_us", "ACK p50 at half, us", |figures| figures.ack_p50_us),
        ("ack_p99_us", "ACK p99 at half, us", |figures| figures.ack_p99_us),
    ];
    println!(
        "\n{:<22}{:>10}{:>10}   beside over alone: median (each round); alone, least to most",
        "medians", "alone", "beside"
    );
    let mut summary = json!({ "half_per_s": half });
    for (key, name, figure) in rows {
        let alone: Vec<f64> = rounds.iter().map(|round| figure(&round.alone)).collect();
        let beside: Vec<f64> = rounds.iter().map(|round| figure(&round.beside)).collect();
        let ratios: Vec<f64> = beside.iter().zip(&alone).map(|(beside, alone)| beside / alone).collect();
        let of = |values: &[f64]| median(values.iter().copied()).unwrap_or(f64::NAN);
        let (least, most) = alone.iter().fold((f64::MAX, f64::MIN), |(low, high), &it| (low.min(it), high.max(it)));
        println!(
            "{name:<22}{:>10.0}{:>10.0}   {:.3} ({}); {least:.0} to {most:.0}",
            of(&alone),
            of(&beside),
            of(&ratios),
            list(&ratios)
        );
        summary[key] = json!({ "alone": of(&alone), "beside": of(&beside), "ratio": of(&ratios), "ratios": ratios });
    }
    let told = |figure: fn(&Told) -> f64| median(rounds.iter().map(|round| figure(&round.told))).unwrap_or(f64::NAN);
    let (leases, addresses, cpu) =
        (told(|told| told.leases_per_s), told(|told| told.addresses_per_s), told(|told| told.requestors_cpu));
    println!(
        "told beside            {leases:.0} leases/s of {addresses:.0} addresses/s, to {} connections, of at most {}; \
         the requestors took {:.0} % of a CPU of this machine",
        options.connections,
        options.bindings_per_s,
        100.0 * cpu
    );
    summary["told"] = json!({ "leases_per_s": leases, "addresses_per_s": addresses, "requestors_cpu": cpu });
    let Some(file) = &options.common.json else { return Ok(()) };
    let rounds: Vec<Value> = rounds
        .iter()
        .map(|Round { alone, beside, told }| {
            let told = json!({ "leases_per_s": told.leases_per_s, "addresses_per_s": told.addresses_per_s,
                "requestors_cpu": told.requestors_cpu });
            json!({ "alone": view(alone), "beside": view(beside), "told": told })
        })
        .collect();
    let report = json!({
        "schema": SCHEMA,
        "command": bed::command_line(),
        "leases": options.leases(),
        "clients": options.common.clients,
        "connections": options.connections,
        "bindings_per_s": options.bindings_per_s,
        "duration_s": options.duration_s(),
        "rounds": rounds,
        "summary": summary,
    });
    bed::write(file, &report)
}

fn view(figures: &Figures) -> Value {
    let Figures { exchanges_per_s, ack_p50_us, ack_p99_us, lost_ratio } = *figures;
    json!({
        "exchanges_per_s": exchanges_per_s,
        "ack_p50_us": ack_p50_us,
        "ack_p99_us": ack_p99_us,
        "lost_ratio": lost_ratio,
    })
}
