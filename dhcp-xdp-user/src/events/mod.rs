//! Lease events: what happened to an address, made of the journal's changes, behind the writer, on threads of their own.
//!
//! The server starts [`Events`] with the journal and stops them after it. A [`watch`] follows the journal and hands events to a
//! sink: the [history](crate::history), which must have each of them, or the [`hook`], which may miss some.

mod hook;
mod keeper;
mod recorder;
#[cfg(test)]
mod tests;
mod tracker;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

pub use hook::{Hook, HookStats};
pub use recorder::HistoryStats;

use crate::{
    clock::Clock,
    config::Config,
    history::{self, Line},
    journal::{Followers, Retain},
    lease::{Binding, LeaseTable},
    priority::{self, Priority},
    room::Reserve,
};
use keeper::Keeper;
use recorder::Recorder;

/// What happened to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A client got it that did not have it.
    Bound,
    /// Its client keeps it; in the history also: it was found bound, and nobody knows since when.
    Renewed,
    /// Its client gave it back, moved to another one, or an operator took it back.
    Released,
    /// Its time ran out.
    Expired,
    /// Its client found somebody else using it.
    Declined,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bound, Self::Renewed, Self::Released, Self::Expired, Self::Declined];

    /// Its name in files, variables and the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Renewed => "renewed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Declined => "declined",
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When, in the leases' time, seconds since 1970-01-01 UTC.
    pub at_s: u32,
    /// Whether it changes the answer to "who had which address when": all do but most renewals.
    pub is_news: bool,
    /// The binding after it. Of one whose time ran out the client identifier may be missing.
    pub binding: Binding,
}

/// What is to be done with events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where the history is kept, if it is.
    pub history: Option<HistorySettings>,
    /// What is run, if anything.
    pub hook: Option<Hook>,
}

/// How a history is kept, and how far it may be behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Its directory; `None`: `history` in the state directory.
    pub directory: Option<PathBuf>,
    /// See [`history::Settings::rotate_bytes`].
    pub rotate_bytes: u64,
    /// See [`history::Settings::rotate_after`].
    pub rotate_after: Duration,
    /// See [`history::Settings::keep`].
    pub keep: Option<Duration>,
    /// See [`history::Settings::max_bytes`].
    pub max_bytes: Option<u64>,
    /// Bytes of closed segments that the journal leaves for it.
    pub max_lag_bytes: u64,
    /// What it leaves free of its file system, and what the journal has for itself of its own.
    pub keep_free: Reserve,
}

/// Name of the history's directory in the state directory.
pub const HISTORY_DIR: &str = "history";

impl HistorySettings {
    /// Its files, of a server with this state directory.
    pub fn files(&self, state_dir: &Path) -> history::Settings {
        history::Settings {
            dir: self.directory.clone().unwrap_or_else(|| state_dir.join(HISTORY_DIR)),
            rotate_bytes: self.rotate_bytes,
            rotate_after: self.rotate_after,
            keep: self.keep,
            max_bytes: self.max_bytes,
        }
    }

    /// What the journal is to keep for it from its start on.
    pub fn retain(&self, state_dir: &Path) -> Retain {
        Retain {
            from: recorder::position_in(&self.files(state_dir).dir),
            max_bytes: self.max_lag_bytes,
            reserve: self.keep_free,
        }
    }
}

/// Why events cannot be dealt with.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread `{name}`: {source}")]
pub struct EventsError {
    name: &'static str,
    source: std::io::Error,
}

/// What the threads work with.
pub struct Surroundings {
    /// The journal.
    pub followers: Followers,
    /// The leases: they remember clients.
    pub table: Arc<LeaseTable>,
    /// The leases' time.
    pub clock: Clock,
    /// The configuration: it knows subnets.
    pub config: Arc<Config>,
}

/// The threads that deal with events.
#[derive(Debug, Default)]
pub struct Events {
    history: Option<(Arc<Mutex<HistoryStats>>, JoinHandle<()>)>,
    hook: Option<(Arc<hook::Counters>, [JoinHandle<()>; 2])>,
    /// The hook misses what comes now, and the history waits for no disk.
    stopping: Arc<AtomicBool>,
}

/// How a line is made of an event, with how far the wall clock was ahead of the leases' time then, seconds.
type MakeLine = Box<dyn Fn(&Event, i64) -> Line + Send>;

/// What became of events; for statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStats {
    /// None: there is no history.
    #[serde(default)]
    pub history: Option<HistoryStats>,
    /// None: there is no hook.
    #[serde(default)]
    pub hook: Option<HookStats>,
}

impl Events {
    /// Starts what is configured.
    ///
    /// # Errors
    /// A thread cannot be started; what was started ends with the journal.
    pub fn start(settings: &Settings, around: &Surroundings) -> Result<Self, EventsError> {
        let mut events = Self::default();
        let spawn = |name: &'static str, work: Box<dyn FnOnce() + Send>| {
            let run = move || {
                // Workers, and the journal's thread, come first.
                priority::lower(Priority::Least);
                work();
            };
            let thread = std::thread::Builder::new().name(name.into()).spawn(run);
            thread.map_err(|source| EventsError { name, source })
        };
        let line = || -> MakeLine {
            let config = Arc::clone(&around.config);
            Box::new(move |event, wall_ahead_s| {
                let subnet = config.subnets.holding(event.binding.at()).map(|subnet| subnet.prefix);
                Line::new(event, subnet, config.subnets.vrfs(), wall_ahead_s)
            })
        };
        let Surroundings { followers, table, clock, .. } = around;
        if let Some(history) = &settings.history {
            let stats = Arc::new(Mutex::new(HistoryStats::default()));
            let files = history.files(&around.config.state_dir);
            let recorder = Recorder {
                keeper: Keeper::new(files.dir.clone(), history.keep_free),
                settings: files,
                max_lag_bytes: history.max_lag_bytes,
                followers: followers.clone(),
                table: Arc::clone(table),
                clock: *clock,
                line: line(),
                tidied: Instant::now(),
                stats: Arc::clone(&stats),
                stopping: Arc::clone(&events.stopping),
            };
            events.history = Some((stats, spawn("history", Box::new(move || recorder.run()))?));
        }
        if let Some(hook) = &settings.hook {
            let counters = Arc::new(hook::Counters::default());
            let (sender, queue) = hook::queue(hook);
            let runner = hook::Runner::new(hook.clone(), Arc::clone(&counters), queue, Arc::clone(&events.stopping));
            let feeder = hook::Feeder {
                hook: hook.clone(),
                followers: followers.clone(),
                // Of now: this thread has the CPU when nobody serves a client, and those may come before.
                after: followers.now(),
                table: Arc::clone(table),
                clock: *clock,
                line: line(),
                counters: Arc::clone(&counters),
                queue: sender,
                stopping: Arc::clone(&events.stopping),
            };
            let runner = spawn("hook", Box::new(move || runner.run()))?;
            let feeder = spawn("hook-events", Box::new(move || feeder.run()))?;
            events.hook = Some((counters, [feeder, runner]));
        }
        Ok(events)
    }

    /// What became of events so far.
    pub fn stats(&self) -> EventStats {
        EventStats {
            history: self
                .history
                .as_ref()
                .map(|(stats, _)| stats.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            hook: self.hook.as_ref().map(|(counters, _)| counters.stats()),
        }
    }

    /// Waits until the history has all that the journal has, which has been stopped. The hook's program is killed.
    pub fn stop(self) -> EventStats {
        self.stopping.store(true, Ordering::Relaxed);
        let Self { history, hook, .. } = self;
        // They cannot panic but for a bug; the panic was printed then.
        let history = history.map(|(stats, thread)| {
            let _ = thread.join();
            stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
        });
        let hook = hook.map(|(counters, threads)| {
            threads.into_iter().for_each(|thread| drop(thread.join()));
            counters.stats()
        });
        EventStats { history, hook }
    }
}
