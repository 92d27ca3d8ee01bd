//! `cargo xtask bench durability`: what it costs, end to end, that every ACK is on stable storage before it leaves.
//!
//! The same storm against the same server, with `durability = "sync"` and `"off"` in turns, so that whatever else the machine
//! does falls on both; each on an empty state directory.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::median;
use crate::{
    cargo, command, group,
    lab::{End, Lab, Process, Server, Veth, wait_for},
    setup::{self, Purpose},
    signals::Stop,
    workspace,
};

/// How to measure.
#[derive(Args, Clone, Debug)]
pub struct Durability {
    /// Pairs of storms
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of a storm
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    duration: u32,
    /// Simulated clients
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=130_000))]
    clients: u32,
    /// Exchanges at a time
    #[arg(long, value_name = "W", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: u32,
    /// Folder on the disk that is measured; cargo's target folder unless given
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// Write all figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Everything is built, and this is root
    #[arg(long, hide = true)]
    built: bool,
}

/// Version of the JSON.
const SCHEMA: u32 = 1;
/// The share of the rate without stable storage that is to be left with it.
const GOAL: f64 = 0.85;
const KINDS: [&str; 2] = ["sync", "off"];

const SERVER: &str = "198.18.0.1";
const SERVER_INTERFACE: &str = "server0";
const CLIENT_INTERFACE: &str = "client0";

/// One storm.
#[derive(Clone, Copy, Debug)]
struct Figures {
    bindings_per_s: f64,
    ack_p50_us: f64,
    ack_p99_us: f64,
    lost_ratio: f64,
    /// Records of a group, on average.
    group: f64,
}

/// Builds everything, then measures as root.
///
/// # Errors
/// Something could not be installed, built or started, or a storm found a violation.
pub fn bench(options: &Durability) -> Result<()> {
    if options.built {
        Stop::listen()?;
        return measure(options);
    }
    setup::setup(Purpose::Run, false)?;
    cargo::build(true)?;
    if command::is_root() {
        Stop::listen()?;
        return measure(options);
    }
    println!("Network namespaces need root: going on with sudo");
    let mut command = command::as_root(env::current_exe().context("cannot find the running program")?)?;
    command.args(env::args_os().skip(1)).arg("--built");
    group::run(&mut command)
}

fn measure(options: &Durability) -> Result<()> {
    let lab = Lab::new()?;
    let disk = options.disk.clone().unwrap_or_else(workspace::target);
    let folder = TempDir::with_prefix_in("bench-durability-", &disk);
    let folder = folder.with_context(|| format!("cannot make a folder in {}", disk.display()))?;
    let (inside, outside) = (lab.namespace("s")?, lab.namespace("c")?);
    let (here, there) = (End::new(&inside, SERVER_INTERFACE), End::new(&outside, CLIENT_INTERFACE));
    Veth::default().join(here, there)?;
    here.add_address(&format!("{SERVER}/15"))?;
    println!(
        "{} clients, {} exchanges at a time, {} s each, state on {}",
        options.clients,
        options.window,
        options.duration,
        file_system(folder.path())
    );
    let mut all: [Vec<Figures>; 2] = Default::default();
    for round in 0..options.rounds {
        // Whoever comes second finds another machine; so they take turns in that as well.
        for kind in [round as usize % 2, (round as usize + 1) % 2] {
            let state = folder.path().join(format!("{}-{round}", KINDS[kind]));
            let figures = storm(&lab, here, there, &state, KINDS[kind], options)?;
            fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))?;
            let Figures { bindings_per_s, ack_p50_us, ack_p99_us, lost_ratio, group } = figures;
            println!(
                "round {:>2}  {:<4}  {bindings_per_s:>9.0} leases/s   ACK p50 {ack_p50_us:>7.0} us  p99 {ack_p99_us:>7.0} us   \
                 lost {:.2} %   {group:.0} records a group",
                round + 1,
                KINDS[kind],
                100.0 * lost_ratio
            );
            all[kind].push(figures);
        }
    }
    report(options, &all)
}

/// One storm against a server of its own.
fn storm(lab: &Lab, here: End<'_>, there: End<'_>, state: &Path, kind: &str, options: &Durability) -> Result<Figures> {
    let words = ["--interface", here.interface, "--subnet", "198.18.0.0/15", "--pool", "198.18.1.0-198.19.255.254"];
    let words: Vec<&str> = words.into_iter().chain(["--router", SERVER, "--durability", kind]).collect();
    let server = Server::start(here.namespace, state, &words)?;
    let json = lab.path("storm.json");
    let mut command = there.namespace.command(workspace::binary("dhcp-storm")?)?;
    command.args(["run", "--interface", there.interface, "--scenario", "dora", "--rate", "max", "--quiet"]);
    for (flag, value) in
        [("--clients", options.clients), ("--window", options.window), ("--duration", options.duration)]
    {
        command.args([flag, &value.to_string()]);
    }
    command.arg("--json").arg(&json);
    let mut process = Process::spawn(&mut command, lab.path("storm.log"))?;
    let limit = Duration::from_secs(u64::from(options.duration) + 60);
    let status = wait_for("the storm to end", limit, || process.ended())?;
    if !status.success() {
        bail!("dhcp-storm failed ({status}); {}", process.last_words());
    }
    let text = fs::read_to_string(&json).with_context(|| format!("cannot read {}", json.display()))?;
    let report: Value = serde_json::from_str(&text).context("dhcp-storm wrote strange JSON")?;
    let stats = server.stop()?;
    let number = |value: &Value, path: &str| {
        value.pointer(path).and_then(Value::as_f64).with_context(|| format!("no figure {path}"))
    };
    let ack = |name: &str| {
        // REQUEST to ACK, as whoever waits for the lease feels it.
        let by_message = report.pointer("/summary/latency_us").and_then(Value::as_object);
        let request = by_message.and_then(|all| all.iter().find(|(message, _)| message.contains("request")));
        request.and_then(|(_, latency)| latency[name].as_f64()).unwrap_or(f64::NAN)
    };
    Ok(Figures {
        bindings_per_s: number(&report, "/summary/bindings_per_s")?,
        ack_p50_us: ack("p50"),
        ack_p99_us: ack("p99"),
        lost_ratio: number(&report, "/summary/lost_ratio")?,
        group: number(&stats, "/journal/records")? / number(&stats, "/journal/groups")?.max(1.0),
    })
}

fn report(options: &Durability, all: &[Vec<Figures>; 2]) -> Result<()> {
    let of = |kind: usize, figure: fn(&Figures) -> f64| median(all[kind].iter().map(figure)).unwrap_or(f64::NAN);
    let [sync, off] = [0, 1].map(|kind| of(kind, |figures| figures.bindings_per_s));
    let ratios: Vec<f64> =
        all[0].iter().zip(&all[1]).map(|(sync, off)| sync.bindings_per_s / off.bindings_per_s).collect();
    let ratio = median(ratios.iter().copied()).unwrap_or(f64::NAN);
    println!("\nmedians         sync {sync:.0} leases/s, off {off:.0} leases/s");
    println!("sync over off   {ratio:.3} (median of the rounds; each {}); the goal is at least {GOAL}", list(&ratios));
    let Some(file) = &options.json else { return Ok(()) };
    let rounds: Vec<Value> =
        all[0].iter().zip(&all[1]).map(|(a, b)| json!({ "sync": view(a), "off": view(b) })).collect();
    let json = json!({
        "schema": SCHEMA,
        "command": env::args().skip(1).collect::<Vec<_>>().join(" "),
        "clients": options.clients,
        "window": options.window,
        "duration_s": options.duration,
        "rounds": rounds,
        "summary": {
            "sync_bindings_per_s": sync,
            "off_bindings_per_s": off,
            "ratio": ratio,
            "goal": GOAL,
            "ack_p50_us": { "sync": of(0, |figures| figures.ack_p50_us), "off": of(1, |figures| figures.ack_p50_us) },
            "ack_p99_us": { "sync": of(0, |figures| figures.ack_p99_us), "off": of(1, |figures| figures.ack_p99_us) },
        },
    });
    fs::write(file, format!("{json:#}\n")).with_context(|| format!("cannot write {}", file.display()))
}

fn view(figures: &Figures) -> Value {
    let Figures { bindings_per_s, ack_p50_us, ack_p99_us, lost_ratio, group } = *figures;
    json!({
        "bindings_per_s": bindings_per_s,
        "ack_p50_us": ack_p50_us,
        "ack_p99_us": ack_p99_us,
        "lost_ratio": lost_ratio,
        "records_a_group": group,
    })
}

fn list(ratios: &[f64]) -> String {
    ratios.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(", ")
}

/// The type of the file system that a folder is on: `tmpfs` has no stable storage.
fn file_system(folder: &Path) -> String {
    let stat = command::tool("stat").and_then(|mut stat| command::output(stat.args(["-f", "-c", "%T"]).arg(folder)));
    stat.map_or_else(|_| "an unknown file system".into(), |name| name.trim().to_owned())
}
