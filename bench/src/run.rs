//! `dhcp-storm run`: from arguments to report.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::Context as _;
use dhcp_xdp::xsk::Device;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{
    book::{Book, Watched},
    cli::RunArgs,
    clients::BYTES_A_CLIENT,
    engine::{Engine, Outcome, Plan},
    host::{self, CpuTime},
    html,
    live::{self, Live},
    nic::Watch,
    output::{self, Output},
    port::{Port, SystemClock, Wire},
    report::{Circumstances, Report},
};

/// Why there is no result.
#[derive(Debug)]
pub enum Failure {
    /// The arguments do not fit together.
    Usage(String),
    /// Something is in the way.
    Error(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// A flag that Ctrl-C and SIGTERM set; a second one ends the process at once.
///
/// # Errors
/// The handlers could not be installed.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second signal finds the flag set and ends the process.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Runs a storm; returns whether the server stood it.
///
/// # Errors
/// See [`Failure`]. What ends a run in the middle is no error: the partial result says so.
pub fn run(args: &RunArgs) -> Result<bool, Failure> {
    // Wrong usage first, with nothing touched: the interface's address does not matter to it.
    args.plan([0; 6]).map_err(Failure::Usage)?;
    let device = Device::find(&args.wire.interface)?;
    let plan = args.plan(device.mac).map_err(Failure::Usage)?;
    // The file before the run: a run whose result has no place is time lost.
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let page = args.report.as_deref().map(Output::open).transpose()?;
    let book = args
        .ledger
        .as_deref()
        .map(|path| Book::create(path).with_context(|| format!("cannot write {}", path.display())));
    let mut book = book.transpose()?;
    let stop = stop_flag()?;
    host::wake_on_time();
    if let Some(cpu) = args.wire.cpu {
        host::pin(cpu)?;
    }

    let making = Instant::now();
    let engine = Engine::new(&plan).map_err(Failure::Usage)?;
    let setup_s = making.elapsed().as_secs_f64();
    let mut port = Wire::open(&args.wire, &device, plan.is_asked_for_addresses())?;
    if !args.quiet {
        let modes = port.modes();
        eprintln!(
            "{}: {modes}; {} clients, at most {} MB",
            args.wire.interface,
            plan.clients,
            (u64::from(plan.clients) * BYTES_A_CLIENT as u64).div_ceil(1_000_000)
        );
    }
    if plan.hears_client_addresses() && !device.is_veth() && !host::is_promiscuous(&device.name) {
        eprintln!(
            "{}: replies to clients' own MAC addresses may not get in: `ip link set dev {} promisc on` lets them",
            device.name, device.name
        );
    }
    let watch = Watch::begin(&args.wire.interface, args.peer_netns.as_deref())?;
    let began_at_unix_s = host::unix_time_s();
    let cpu = CpuTime::now();
    let outcome = match &mut book {
        Some(book) => storm(&plan, engine, &mut Watched { port: &mut port, book }, &stop, args.quiet),
        None => storm(&plan, engine, &mut port, &stop, args.quiet),
    };
    let report = Report::new(
        &plan,
        &outcome,
        Circumstances {
            command: command_line(),
            interface: args.wire.interface.clone(),
            max_loss_percent: args.max_loss,
            began_at_unix_s,
            modes: port.modes(),
            counts: port.counts(),
            setup_s,
            cpu: CpuTime::now().since(cpu),
            interfaces: watch.end(),
        },
    );
    drop(port);
    if json.iter().chain(&page).any(Output::is_stdout) {
        eprint!("{}", report.text(&plan.scenario));
    } else {
        print!("{}", report.text(&plan.scenario));
    }
    if let Some(json) = json {
        json.write(&output::json(&report)?)?;
    }
    if let Some(page) = page {
        page.write(&html::run::render(&report))?;
    }
    book.map_or(Ok(()), Book::finish).context("the ledger is not whole")?;
    Ok(report.is_good())
}

/// Runs the engine, with progress on the side.
pub(crate) fn storm(plan: &Plan, engine: Engine<'_>, port: &mut impl Port, stop: &AtomicBool, quiet: bool) -> Outcome {
    let live = Live::default();
    thread::scope(|scope| {
        let shown = (!quiet).then(|| scope.spawn(|| live::show(&live, plan)));
        let outcome = engine.run(port, &SystemClock::start(), stop, &live);
        live.over.store(true, Ordering::Release);
        if let Some(shown) = shown {
            shown.thread().unpark();
        }
        outcome
    })
}

pub(crate) fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or(program);
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}
