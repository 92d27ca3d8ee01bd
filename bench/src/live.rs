//! What the run shows while it goes: a few counters that the engine publishes now and then, and the thread that prints them.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Counters for the eye, some milliseconds old.
#[derive(Debug, Default)]
pub struct Live {
    /// Messages sent.
    pub sent: AtomicU64,
    /// Frames received.
    pub received: AtomicU64,
    /// Bindings, or offers where the scenario stops there.
    pub done: AtomicU64,
    /// Clients that are done.
    pub clients_done: AtomicU64,
    /// Transmissions without an answer.
    pub timeouts: AtomicU64,
    /// Violations.
    pub violations: AtomicU64,
    /// The run is over.
    pub over: AtomicBool,
}

/// Shows progress on standard error until the run is over: a bar on a terminal, otherwise a line a second.
pub fn show(live: &Live, clients: u32, duration: Duration) {
    let began = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(duration.as_millis() as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let (mut last_done, mut last_at, mut last_line) = (0, began, began);
    while !live.over.load(Ordering::Acquire) {
        thread::park_timeout(Duration::from_millis(250));
        let now = Instant::now();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let due = if terminal { Duration::from_millis(250) } else { Duration::from_secs(1) };
        if now - last_line < due {
            continue;
        }
        let done = load(&live.done);
        let rate = done.saturating_sub(last_done) as f64 / (now - last_at).as_secs_f64();
        let line = format!(
            "{rate:.0}/s  clients {}/{clients}  sent {}  received {}  timeouts {}  violations {}",
            load(&live.clients_done),
            load(&live.sent),
            load(&live.received),
            load(&live.timeouts),
            load(&live.violations),
        );
        (last_done, last_at, last_line) = (done, now, now);
        if terminal {
            bar.set_position(began.elapsed().as_millis() as u64);
            bar.set_message(line);
        } else {
            eprintln!("{:6.1} s  {line}", began.elapsed().as_secs_f64());
        }
    }
    bar.finish_and_clear();
}
