//! `cargo xtask bench durability`: what it costs, end to end, that every ACK is on stable storage before it leaves.
//!
//! The same storm against the same server, with `durability = "sync"` and `"off"` in turns, so that whatever else the machine
//! does falls on both; each on an empty state directory.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::{
    bed::{self, Bed, Common, POOL, SERVER, SERVER_INTERFACE, SUBNET, figure, list},
    median,
};
use crate::lab::Server;

/// How to measure.
#[derive(Args, Clone, Debug)]
pub struct Durability {
    /// Pairs of storms
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of a storm
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    duration: u32,
    #[command(flatten)]
    common: Common,
}

/// Version of the JSON.
const SCHEMA: u32 = 1;
/// The share of the rate without stable storage that is to be left with it.
const GOAL: f64 = 0.85;
const KINDS: [&str; 2] = ["sync", "off"];

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
    bed::as_root(options.common.built, || measure(options))
}

fn measure(options: &Durability) -> Result<()> {
    let bed = Bed::new(options.common.disk.as_deref())?;
    println!(
        "{} clients, {} exchanges at a time, {} s each, state on {}",
        options.common.clients,
        options.common.window,
        options.duration,
        bed.file_system()
    );
    let mut all: [Vec<Figures>; 2] = Default::default();
    for round in 0..options.rounds {
        // Whoever comes second finds another machine; so they take turns in that as well.
        for kind in [round as usize % 2, (round as usize + 1) % 2] {
            let state = bed.path(&format!("{}-{round}", KINDS[kind]));
            let figures = storm(&bed, &state, KINDS[kind], options)?;
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
fn storm(bed: &Bed, state: &Path, kind: &str, options: &Durability) -> Result<Figures> {
    let words = ["--interface", SERVER_INTERFACE, "--subnet", SUBNET, "--pool", POOL];
    let words: Vec<&str> = words.into_iter().chain(["--router", SERVER, "--durability", kind]).collect();
    let server = Server::start(bed.server_end().namespace, state, &words)?;
    let (clients, window) = (options.common.clients.to_string(), options.common.window.to_string());
    let words = ["--scenario", "dora", "--rate", "max", "--clients", &clients, "--window", &window];
    let storm = bed.storm(&words, options.duration)?;
    let stats = server.stop()?;
    Ok(Figures {
        bindings_per_s: storm.figure("bindings_per_s")?,
        ack_p50_us: storm.ack_us("p50"),
        ack_p99_us: storm.ack_us("p99"),
        lost_ratio: storm.figure("lost_ratio")?,
        group: figure(&stats, "/journal/records")? / figure(&stats, "/journal/groups")?.max(1.0),
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
    let Some(file) = &options.common.json else { return Ok(()) };
    let rounds: Vec<Value> =
        all[0].iter().zip(&all[1]).map(|(a, b)| json!({ "sync": view(a), "off": view(b) })).collect();
    let json = json!({
        "schema": SCHEMA,
        "command": bed::command_line(),
        "clients": options.common.clients,
        "window": options.common.window,
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
    bed::write(file, &json)
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
