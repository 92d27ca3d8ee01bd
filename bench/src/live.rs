//! What the run shows while it goes: a few counters that the engine publishes now and then, and the thread that shows them.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{engine::Plan, html::number, series::Interval, template::Message};

/// How often a terminal is drawn anew.
const FRAME: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(1);
/// Rates that are drawn: the last so many frames.
const SPARKS: usize = 32;

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
    /// Median latency of the last interval, in nanoseconds; of the slowest message.
    pub p50_ns: AtomicU64,
    /// 99th percentile likewise.
    pub p99_ns: AtomicU64,
    /// Clients take the leases that the scenario begins with; what is measured begins after that.
    pub preparing: AtomicBool,
    /// The run is over.
    pub over: AtomicBool,
}

impl Live {
    /// An interval of the series is over.
    pub fn interval(&self, interval: &Interval) {
        let slowest = Message::ALL.into_iter().filter_map(|m| interval.latency(m)).max_by_key(|q| q.p99);
        if let Some(quantiles) = slowest {
            self.p50_ns.store(quantiles.p50, Ordering::Relaxed);
            self.p99_ns.store(quantiles.p99, Ordering::Relaxed);
        }
    }
}

/// One look at the counters.
struct Look {
    preparing: bool,
    done: u64,
    clients_done: u64,
    sent: u64,
    received: u64,
    timeouts: u64,
    violations: u64,
    p50: String,
    p99: String,
}

impl Look {
    fn at(live: &Live) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |counter| match load(counter) {
            0 => "–".to_owned(),
            ns => number::micros(ns as f64 / 1e3),
        };
        Self {
            preparing: live.preparing.load(Ordering::Relaxed),
            done: load(&live.done),
            clients_done: load(&live.clients_done),
            sent: load(&live.sent),
            received: load(&live.received),
            timeouts: load(&live.timeouts),
            violations: load(&live.violations),
            p50: time(&live.p50_ns),
            p99: time(&live.p99_ns),
        }
    }
}

/// Shows progress on standard error until the run is over: bars on a terminal, otherwise a line a second.
pub fn show(live: &Live, plan: &Plan) {
    if std::io::stderr().is_terminal() {
        on_terminal(live, plan);
    } else {
        in_lines(live, plan);
    }
}

fn in_lines(live: &Live, plan: &Plan) {
    let began = Instant::now();
    let (mut last_done, mut last_at) = (0, began);
    while !live.over.load(Ordering::Acquire) {
        thread::park_timeout(FRAME);
        if last_at.elapsed() < LINE {
            continue;
        }
        let (look, now) = (Look::at(live), Instant::now());
        let rate = look.done.saturating_sub(last_done) as f64 / (now - last_at).as_secs_f64();
        (last_done, last_at) = (look.done, now);
        eprintln!(
            "{:6.1} s  {}{rate:.0}/s  clients {}/{}  sent {}  received {}  p50 {}  p99 {}  timeouts {}  violations {}",
            began.elapsed().as_secs_f64(),
            if look.preparing { "preparing, " } else { "" },
            look.clients_done,
            plan.clients,
            look.sent,
            look.received,
            look.p50,
            look.p99,
            look.timeouts,
            look.violations,
        );
    }
}

/// A bar of time, one of clients, and two lines of figures.
struct Screen {
    all: MultiProgress,
    time: ProgressBar,
    clients: ProgressBar,
    rate: ProgressBar,
    replies: ProgressBar,
}

impl Screen {
    fn new(plan: &Plan) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bar = |template: &str, length: u64| {
            // The templates are constants.
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(length).with_style(style.progress_chars("━╸─"));
            all.add(bar)
        };
        Self {
            time: bar("{prefix:>12} {bar:40.cyan/dim} {msg}", plan.load.as_millis() as u64),
            clients: bar("{prefix:>12} {bar:40.green/dim} {msg}", plan.clients.into()),
            rate: bar("{prefix:>12} {msg}", 1),
            replies: bar("{prefix:>12} {msg}", 1),
            all,
        }
    }
}

fn on_terminal(live: &Live, plan: &Plan) {
    let screen = Screen::new(plan);
    screen.time.set_prefix(plan.scenario.name().to_owned());
    screen.clients.set_prefix("clients");
    screen.rate.set_prefix(plan.scenario.aim());
    screen.replies.set_prefix("replies");
    let mut began = Instant::now();
    let mut rates: Vec<f64> = Vec::with_capacity(SPARKS + 1);
    let (mut last_done, mut last_at) = (0, began);
    while !live.over.load(Ordering::Acquire) {
        thread::park_timeout(FRAME);
        let (look, now) = (Look::at(live), Instant::now());
        rates.push(look.done.saturating_sub(last_done) as f64 / (now - last_at).as_secs_f64().max(1e-3));
        if rates.len() > SPARKS {
            rates.remove(0);
        }
        (last_done, last_at) = (look.done, now);
        if look.preparing {
            began = now;
        }
        draw(&screen, plan, &look, &rates, began.elapsed());
    }
    let _ = screen.all.clear();
}

fn draw(screen: &Screen, plan: &Plan, look: &Look, rates: &[f64], elapsed: Duration) {
    let count = |n: u64| number::count(n as f64);
    screen.time.set_position(elapsed.as_millis() as u64);
    screen.time.set_message(if look.preparing {
        "clients take the leases that the scenario begins with".to_owned()
    } else {
        format!("{:.1} of {:.0} s", elapsed.as_secs_f64(), plan.load.as_secs_f64())
    });
    screen.clients.set_position(look.clients_done);
    screen.clients.set_message(format!("{} of {}", count(look.clients_done), count(plan.clients.into())));
    let rate = rates.last().copied().unwrap_or(0.0);
    screen.rate.set_message(format!(
        "{:<32} {}/s   p50 {}   p99 {}",
        sparks(rates),
        number::count(rate),
        look.p50,
        look.p99
    ));
    screen.replies.set_message(format!(
        "{} to {} messages, {} lost, {} wrong",
        count(look.received),
        count(look.sent),
        count(look.timeouts),
        count(look.violations)
    ));
}

/// Values as a row of little bars.
fn sparks(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| if most > 0.0 { BARS[((value / most * 7.0).round() as usize).min(7)] } else { BARS[0] };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_the_highest_bar() {
        assert_eq!(sparks(&[0.0, 50.0, 100.0]), "▁▅█");
        assert_eq!(sparks(&[0.0, 0.0]), "▁▁");
        assert_eq!(sparks(&[]), "");
    }
}
