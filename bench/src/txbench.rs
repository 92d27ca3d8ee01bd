//! `dhcp-storm txbench`: what the generator's own work costs, against a bare transmit loop on the same sockets.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use dhcp_xdp::xsk::Device;
use serde::Serialize;

use crate::{
    cli::TxbenchArgs,
    engine::{End, Engine, Plan},
    host::{self, CpuTime, Host},
    identity::Identities,
    live::Live,
    output::{self, Output},
    port::{Port, SystemClock, Wire},
    report::SCHEMA,
    run::{Failure, command_line, stop_flag},
    scenario::Scenario,
    schedule::{Backoff, Pace},
    template::{Fields, Look, MAX_FRAME, Message, Templates},
};

/// Frames handed over between two system calls: as many as the engine does.
const BATCH: usize = 64;
/// Frames that are written once before the bare loop begins, so that every chunk has one.
const PREBUILT: usize = 16_384;

/// What was measured.
#[derive(Debug, Serialize)]
struct Txbench {
    schema: u32,
    version: &'static str,
    command: String,
    host: Host,
    summary: Summary,
    rounds: Vec<Round>,
}

/// The medians.
#[derive(Debug, Serialize)]
struct Summary {
    interface: String,
    socket: &'static str,
    clients: u32,
    /// How long it took to make the clients, the longest.
    setup_s: f64,
    bare_per_s: f64,
    generator_per_s: f64,
    /// The median of the rounds' ratios.
    ratio: f64,
}

/// One after the other.
#[derive(Debug, Serialize)]
struct Round {
    bare_per_s: f64,
    generator_per_s: f64,
    ratio: f64,
    setup_s: f64,
    generator_cpu_s: f64,
}

/// Measures.
///
/// # Errors
/// What is in the way, or that the interface went away, or that the clients ran out.
pub fn txbench(args: &TxbenchArgs) -> Result<bool, Failure> {
    let device = Device::find(&args.wire.interface)?;
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let stop = stop_flag()?;
    if let Some(cpu) = args.wire.cpu {
        host::pin(cpu)?;
    }
    let mut port = Wire::open(&args.wire, &device, false)?;
    let modes = port.modes();
    eprintln!("{}: {modes}; {} clients", args.wire.interface, args.clients);
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        let bare_per_s = bare(&mut port, args.duration, &stop)?;
        let round = generator(args, number, bare_per_s, &mut port, &stop)?;
        eprintln!(
            "round {:2}  bare {:.0} frames/s, generator {:.0}, ratio {:.3}; clients made in {:.3} s",
            number + 1,
            round.bare_per_s,
            round.generator_per_s,
            round.ratio,
            round.setup_s
        );
        rounds.push(round);
    }
    let median = |of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let summary = Summary {
        interface: args.wire.interface.clone(),
        socket: modes.socket,
        clients: args.clients,
        setup_s: rounds.iter().map(|round| round.setup_s).fold(0.0, f64::max),
        bare_per_s: median(|round| round.bare_per_s),
        generator_per_s: median(|round| round.generator_per_s),
        ratio: median(|round| round.ratio),
    };
    let line = format!(
        "transmit   bare {:.0} frames/s, generator {:.0}, ratio {:.3} (medians of {} rounds); {} clients made in {:.3} s at most",
        summary.bare_per_s, summary.generator_per_s, summary.ratio, args.rounds, args.clients, summary.setup_s
    );
    if json.as_ref().is_some_and(Output::is_stdout) {
        eprintln!("{line}")
    } else {
        println!("{line}")
    }
    if let Some(json) = json {
        let version = env!("CARGO_PKG_VERSION");
        let report = Txbench { schema: SCHEMA, version, command: command_line(), host: Host::this(), summary, rounds };
        json.write(&output::json(&report)?)?;
    }
    Ok(true)
}

fn interrupted(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) { Err(io::Error::other("interrupted")) } else { Ok(()) }
}

/// Hands the same frame to the socket again and again; returns frames a second.
fn bare(port: &mut Wire, duration: Duration, stop: &AtomicBool) -> io::Result<f64> {
    let names = Identities::new(1, 1);
    let templates = Templates::new(&Look::default()).map_err(io::Error::other)?;
    let person = Look::default().person(0, names.mac(0), 0);
    let fields = Fields { person, xid: names.xid(0, 1), secs: 0, address: 0, server_id: 0, server_mac: None };
    let mut frame = [0; MAX_FRAME];
    let len = templates.write(Message::Discover, &fields, &mut frame);
    let mut written = 0;
    let (mut sent, mut began) = (0u64, Instant::now());
    loop {
        let mut batch = 0;
        while batch < BATCH {
            // Every chunk has the frame once it was through: then there is nothing left to write.
            let write = |buffer: &mut [u8]| {
                if written < PREBUILT {
                    buffer[..len].copy_from_slice(&frame[..len]);
                }
                len
            };
            if !port.send(write) {
                break;
            }
            batch += 1;
        }
        port.flush()?;
        port.receive(BATCH, |_| {});
        if written < PREBUILT {
            written += batch;
            began = Instant::now();
            continue;
        }
        sent += batch as u64;
        let elapsed = began.elapsed();
        if elapsed >= duration {
            return Ok(sent as f64 / elapsed.as_secs_f64());
        }
        interrupted(stop)?;
    }
}

/// The generator, with more due than it can send.
fn generator(
    args: &TxbenchArgs,
    number: u32,
    bare_per_s: f64,
    port: &mut Wire,
    stop: &AtomicBool,
) -> Result<Round, Failure> {
    let plan = Plan {
        scenario: Scenario::find("discover-only").map_err(Failure::Usage)?,
        clients: args.clients,
        pace: Pace::Open { rate_per_s: 1e9 },
        load: args.duration,
        drain: Duration::ZERO,
        once: false,
        backoff: Backoff::new(1.0),
        look: Look::default(),
        pool: None,
        server: None,
        seed: u64::from(number) + 1,
        first_round: 0,
    };
    let making = Instant::now();
    let engine = Engine::new(&plan).map_err(Failure::Usage)?;
    let setup_s = making.elapsed().as_secs_f64();
    let cpu = CpuTime::now();
    let outcome = engine.run(port, &SystemClock::start(), stop, &Live::default());
    let cpu = CpuTime::now().since(cpu);
    match outcome.end {
        End::Interrupted => interrupted(stop)?,
        End::Failed(error) => return Err(error.into()),
        _ => {}
    }
    let counters = &outcome.under_load;
    if counters.no_idle_client > 0 {
        let what = format!("all {} clients were used up: more --clients, or a shorter --duration", args.clients);
        return Err(Failure::Usage(what));
    }
    let generator_per_s = counters.sent_total() as f64 / (outcome.load_ns as f64 / 1e9);
    let ratio = generator_per_s / bare_per_s;
    Ok(Round { bare_per_s, generator_per_s, ratio, setup_s, generator_cpu_s: cpu.user_s + cpu.system_s })
}
