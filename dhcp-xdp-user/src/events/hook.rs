//! A program of the operator's that is run for events, one after the other, on a thread of its own. What it cannot keep up with
//! is dropped and counted.

use std::{
    collections::VecDeque,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    EventKind, MakeLine,
    watch::{Begin, Watch, with_client},
};
use crate::{
    clock::Clock,
    history::Line,
    journal::{FollowError, Followers, Position},
    lease::LeaseTable,
};

/// What was left running is looked at so often.
const LOOK: Duration = Duration::from_millis(100);
/// Programs of which something may be left running; beyond that the oldest is ended before its time.
const MOST_LEFT: usize = 500;

/// What is run, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program, an absolute path.
    pub command: PathBuf,
    /// The events that it is run for.
    pub events: Vec<EventKind>,
    /// It is run no oftener than this a second.
    pub rate_per_s: u32,
    /// It and all that it started are killed when that takes longer, also what it leaves running when it ends.
    pub timeout: Duration,
    /// Events that may wait for it.
    pub queue: usize,
}

/// What became of events for the hook; for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStats {
    /// Times that the program ended with exit code 0.
    pub done: u64,
    /// Times that it could not be started, or ended otherwise.
    pub failed: u64,
    /// Times that it took too long and was killed.
    pub timed_out: u64,
    /// Times that it ended and left something running for too long, which was killed.
    #[serde(default)]
    pub left_running: u64,
    /// Events that it was not run for, because too many waited.
    pub dropped: u64,
    /// Events that wait.
    pub waiting: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    done: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    left_running: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicU64,
}

impl Counters {
    pub fn stats(&self) -> HookStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HookStats {
            done: of(&self.done),
            failed: of(&self.failed),
            timed_out: of(&self.timed_out),
            left_running: of(&self.left_running),
            dropped: of(&self.dropped),
            waiting: of(&self.waiting),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// The thread that follows the journal for the hook.
pub(super) struct Feeder {
    pub hook: Hook,
    pub followers: Followers,
    /// It begins with what comes after this.
    pub after: Position,
    pub table: Arc<LeaseTable>,
    pub clock: Clock,
    pub line: MakeLine,
    pub counters: Arc<Counters>,
    pub queue: Sender<Line>,
    pub stopping: Arc<AtomicBool>,
}

/// A queue of the hook's length.
pub(super) fn queue(hook: &Hook) -> (Sender<Line>, Receiver<Line>) {
    bounded(hook.queue)
}

impl Feeder {
    /// Until the journal has ended.
    pub fn run(self) {
        let mut after = self.after;
        while !self.stopping.load(Ordering::Relaxed) {
            let ended =
                Watch::begin(&self.followers, self.clock, Begin::After(after)).and_then(|watch| self.feed(watch));
            match ended {
                Ok(()) | Err(FollowError::Stopped) => return,
                Err(FollowError::Lagged) => log::warn!("hook: it missed events: they came too fast"),
                Err(FollowError::Journal(error)) => {
                    log::error!("hook: it misses events: {error}");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            after = self.followers.now();
        }
    }

    fn feed(&self, mut watch: Watch) -> Result<(), FollowError> {
        while !self.stopping.load(Ordering::Relaxed) {
            let now_s = self.clock.now_s();
            watch.step(Duration::from_millis(500), |event, ahead_s| {
                if !self.hook.events.contains(&event.kind) {
                    return;
                }
                let event = with_client(event, &self.table, now_s);
                self.counters.waiting.fetch_add(1, Ordering::Relaxed);
                match self.queue.try_send((self.line)(&event, ahead_s)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
                        add(&self.counters.dropped, 1);
                    }
                }
            })?;
        }
        Ok(())
    }
}

/// The thread that runs the program.
pub(super) struct Runner {
    hook: Hook,
    counters: Arc<Counters>,
    queue: Receiver<Line>,
    stopping: Arc<AtomicBool>,
    left: VecDeque<Left>,
    looked: Instant,
}

/// A group of processes whose program has ended, and not all that it started.
struct Left {
    group: Pid,
    /// When the time of what is left is over.
    end: Instant,
}

/// What became of a program.
enum Ended {
    By(ExitStatus),
    TimedOut,
}

impl Runner {
    pub fn new(hook: Hook, counters: Arc<Counters>, queue: Receiver<Line>, stopping: Arc<AtomicBool>) -> Self {
        Self { hook, counters, queue, stopping, left: VecDeque::new(), looked: Instant::now() }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Until nobody feeds it.
    pub fn run(mut self) {
        let apart = Duration::from_secs(1) / self.hook.rate_per_s.max(1);
        let mut next = Instant::now();
        let mut is_failing = false;
        loop {
            self.look_at_left();
            let line = match self.queue.recv_timeout(LOOK) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) if !self.is_stopping() => continue,
                Err(_) => break,
            };
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            while !self.is_stopping() && Instant::now() < next {
                std::thread::sleep(next.saturating_duration_since(Instant::now()).min(LOOK));
                self.look_at_left();
            }
            if self.is_stopping() {
                add(&self.counters.dropped, 1);
                continue;
            }
            next = next.max(Instant::now()) + apart;
            let command = self.hook.command.display().to_string();
            let trouble = match self.once(&line) {
                Ok(Ended::By(status)) if status.success() => {
                    add(&self.counters.done, 1);
                    None
                }
                Ok(Ended::By(status)) => {
                    add(&self.counters.failed, 1);
                    Some(format!("{command} ended with {status}"))
                }
                Ok(Ended::TimedOut) => {
                    add(&self.counters.timed_out, 1);
                    Some(format!("{command} took longer than {} s and was killed", self.hook.timeout.as_secs_f64()))
                }
                Err(error) => {
                    add(&self.counters.failed, 1);
                    Some(format!("{command} cannot be started: {error}"))
                }
            };
            // The first of a series is said; how many there are is counted.
            if let Some(trouble) = &trouble
                && !is_failing
            {
                log::warn!("hook: {trouble} for {} {}", line.event, line.lease.address);
            }
            is_failing = trouble.is_some();
        }
        self.left.drain(..).for_each(|left| kill(left.group));
    }

    fn once(&mut self, line: &Line) -> io::Result<Ended> {
        let mut command = Command::new(&self.hook.command);
        command.env_clear().envs(variables(line)).current_dir("/");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        // A group of its own, so that nothing that it starts outlives its time.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let group = Pid::from_raw(child.id().cast_signed());
        let end = Instant::now() + self.hook.timeout;
        let mut pause = Duration::from_micros(500);
        loop {
            if let Some(status) = child.try_wait()? {
                if is_there(group) {
                    self.keep_left(Left { group, end });
                }
                return Ok(Ended::By(status));
            }
            if Instant::now() >= end || self.is_stopping() {
                kill(group);
                // Who waits in the kernel, for a disk or a file server, ends when that answers. Until then no other one is run, and a
                // server that stops does not wait for it.
                let patience = Instant::now() + LOOK;
                while child.try_wait()?.is_none() && !(self.is_stopping() && Instant::now() >= patience) {
                    self.look_at_left();
                    std::thread::sleep(pause);
                }
                return Ok(Ended::TimedOut);
            }
            self.look_at_left();
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn keep_left(&mut self, left: Left) {
        self.left.push_back(left);
        if self.left.len() > MOST_LEFT {
            self.end_oldest();
        }
    }

    /// Ends what was left running and whose time is over, and forgets what has ended.
    fn look_at_left(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        // While somebody is in a group nobody else gets its number, and once nobody is, not until all others were given out. That takes
        // longer than from one look to the next.
        self.left.retain(|left| is_there(left.group));
        while self.left.front().is_some_and(|left| left.end <= self.looked) {
            self.end_oldest();
        }
    }

    fn end_oldest(&mut self) {
        let Some(Left { group, .. }) = self.left.pop_front() else { return };
        kill(group);
        if self.counters.left_running.fetch_add(1, Ordering::Relaxed) == 0 {
            log::warn!(
                "hook: {} ended and left something running, which was killed when its time (timeout_s) was over; said once",
                self.hook.command.display()
            );
        }
    }
}

fn is_there(group: Pid) -> bool {
    killpg(group, None) != Err(Errno::ESRCH)
}

fn kill(group: Pid) {
    // It may have ended by itself.
    let _ = killpg(group, Signal::SIGKILL);
}

/// `DHCP_XDP_ADDRESS` and so on: each field of the history's line under its name; what is not known is not set.
fn variables(line: &Line) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(line) else { return Vec::new() };
    let variable = |(name, value): (String, Value)| {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(is) => is.to_string(),
            _ => return None,
        };
        Some((format!("DHCP_XDP_{}", name.to_ascii_uppercase()), text))
    };
    fields.into_iter().filter_map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::LeaseView;

    #[test]
    fn the_variables_are_those_of_the_document() {
        let some = |text: &str| Some(text.to_owned());
        let lease = LeaseView {
            address: "192.0.2.7".parse().unwrap(),
            hw_address: some("02:00:00:00:00:01"),
            hw_type: 1,
            client_id: some("01:02"),
            state: "bound".into(),
            started_at: "2027-01-15T08:00:00Z".into(),
            expires_at: some("2027-01-15T09:00:00Z"),
            subnet: "192.0.2.0/24".parse().ok(),
            vrf: some("red"),
            relay_agent_info: some("01:01:63"),
            circuit_id: some("c"),
            remote_id: some("r"),
            subscriber_id: some("s"),
            relay_id: some("i"),
        };
        let line = Line { at: "2027-01-15T08:00:01Z".into(), event: "bound".into(), generation: 3, lease };
        let mut names: Vec<String> = variables(&line).into_iter().map(|(name, _)| name).collect();
        let document = include_str!("../../../docs/history.md");
        let documented = document.split('`').filter(|word| word.starts_with("DHCP_XDP_"));
        let mut documented: Vec<String> = documented.map(str::to_owned).collect();
        names.sort();
        documented.sort();
        assert_eq!(names, documented);
        let value = |wanted: &str| variables(&line).into_iter().find(|(name, _)| name == wanted).unwrap().1;
        assert_eq!((value("DHCP_XDP_VRF"), value("DHCP_XDP_SUBNET")), ("red".into(), "192.0.2.0/24".into()));
    }
}
