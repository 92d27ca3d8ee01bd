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
    measure,
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
    /// Processor time of a frame in the bare loop, nanoseconds: hardly moved by what else runs on the machine.
    bare_cpu_ns: f64,
    /// The same of the generator.
    generator_cpu_ns: f64,
    /// The generator's own part of that: sent to nowhere.
    own_cpu_ns: f64,
    /// What the rates' ratio would be on a machine that does nothing else: `bare_cpu_ns` over itself and `own_cpu_ns`.
    cpu_ratio: f64,
}

/// One after the other.
#[derive(Debug, Serialize)]
struct Round {
    bare_per_s: f64,
    generator_per_s: f64,
    ratio: f64,
    setup_s: f64,
    bare_cpu_ns: f64,
    generator_cpu_ns: f64,
    own_cpu_ns: f64,
}

/// A port to nowhere.
struct Nowhere {
    buffers: Vec<[u8; 2048]>,
    next: usize,
}

impl Port for Nowhere {
    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        self.next = (self.next + 1) % self.buffers.len();
        std::hint::black_box(write(&mut self.buffers[self.next]));
        true
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, _most: usize, _take: impl FnMut(&[u8])) -> usize {
        0
    }

    fn wait(&mut self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// Frames, and what they took.
#[derive(Clone, Copy, Debug)]
struct Sent {
    per_s: f64,
    cpu_ns: f64,
}

impl Sent {
    fn new(frames: u64, elapsed_s: f64, cpu: CpuTime) -> Self {
        Self { per_s: frames as f64 / elapsed_s, cpu_ns: (cpu.user_s + cpu.system_s) * 1e9 / frames.max(1) as f64 }
    }
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
        let bare = bare(&mut port, args.duration, &stop)?;
        let (generator, setup_s) = generator(args, args.duration, number, &mut port, &stop)?;
        // Shorter: it goes through its clients many times as fast.
        let mut nowhere = Nowhere { buffers: vec![[0; 2048]; 4096], next: 0 };
        let (own, _) = generator_until_used_up(args, number, &mut nowhere, &stop)?;
        let round = Round {
            bare_per_s: bare.per_s,
            generator_per_s: generator.per_s,
            ratio: generator.per_s / bare.per_s,
            setup_s,
            bare_cpu_ns: bare.cpu_ns,
            generator_cpu_ns: generator.cpu_ns,
            own_cpu_ns: own.cpu_ns,
        };
        eprintln!(
            "round {:2}  bare {:.0} frames/s ({:.0} ns of processor time each), generator {:.0} ({:.0} ns, its own {:.0}), ratio \
             {:.3}; clients made in {:.3} s",
            number + 1,
            round.bare_per_s,
            round.bare_cpu_ns,
            round.generator_per_s,
            round.generator_cpu_ns,
            round.own_cpu_ns,
            round.ratio,
            round.setup_s
        );
        rounds.push(round);
    }
    let median = |of: fn(&Round) -> f64| measure::median(rounds.iter().map(of).collect());
    let (bare_cpu_ns, own_cpu_ns) = (median(|round| round.bare_cpu_ns), median(|round| round.own_cpu_ns));
    let summary = Summary {
        interface: args.wire.interface.clone(),
        socket: modes.socket,
        clients: args.clients,
        setup_s: rounds.iter().map(|round| round.setup_s).fold(0.0, f64::max),
        bare_per_s: median(|round| round.bare_per_s),
        generator_per_s: median(|round| round.generator_per_s),
        ratio: median(|round| round.ratio),
        bare_cpu_ns,
        generator_cpu_ns: median(|round| round.generator_cpu_ns),
        own_cpu_ns,
        cpu_ratio: bare_cpu_ns / (bare_cpu_ns + own_cpu_ns),
    };
    let line = format!(
        "transmit   bare {:.0} frames/s, generator {:.0}, ratio {:.3} (medians of {} rounds); by processor time {:.3} ({:.0} ns a \
         frame, and {:.0} of its own); {} clients made in {:.3} s at most",
        summary.bare_per_s,
        summary.generator_per_s,
        summary.ratio,
        args.rounds,
        summary.cpu_ratio,
        summary.bare_cpu_ns,
        summary.own_cpu_ns,
        args.clients,
        summary.setup_s
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

/// Hands the same frame to the socket again and again.
fn bare(port: &mut Wire, duration: Duration, stop: &AtomicBool) -> io::Result<Sent> {
    let names = Identities::new(1, 1);
    let templates = Templates::new(&Look::default()).map_err(io::Error::other)?;
    let person = Look::default().person(0, names.mac(0), 0);
    let fields = Fields { person, xid: names.xid(0, 1), secs: 0, address: 0, server_id: 0, server_mac: None };
    let mut frame = [0; MAX_FRAME];
    let len = templates.write(Message::Discover, &fields, &mut frame);
    let mut written = 0;
    let (mut sent, mut began, mut cpu) = (0u64, Instant::now(), CpuTime::now());
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
            (began, cpu) = (Instant::now(), CpuTime::now());
            continue;
        }
        sent += batch as u64;
        let elapsed = began.elapsed();
        if elapsed >= duration {
            return Ok(Sent::new(sent, elapsed.as_secs_f64(), CpuTime::now().since(cpu)));
        }
        interrupted(stop)?;
    }
}

/// The generator, with more due than it can send; and how long it took to make its clients, in seconds.
fn generator(
    args: &TxbenchArgs,
    load: Duration,
    number: u32,
    port: &mut impl Port,
    stop: &AtomicBool,
) -> Result<(Sent, f64), Failure> {
    let plan = Plan {
        scenario: Scenario::find("discover-only").map_err(Failure::Usage)?,
        clients: args.clients,
        pace: Pace::Open { rate_per_s: 1e9 },
        load,
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
    Ok((Sent::new(counters.sent_total(), outcome.load_ns as f64 / 1e9, cpu), setup_s))
}

/// The same, for as long as its clients last: half as long each time that they do not.
fn generator_until_used_up(
    args: &TxbenchArgs,
    number: u32,
    port: &mut impl Port,
    stop: &AtomicBool,
) -> Result<(Sent, f64), Failure> {
    let mut load = args.duration;
    loop {
        match generator(args, load, number, port, stop) {
            Err(Failure::Usage(_)) if load > Duration::from_millis(5) => load /= 2,
            found => return found,
        }
    }
}
