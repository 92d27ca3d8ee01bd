//! The thread that writes the history. It waits for a disk that is full or fails as long as it takes, and nobody waits for it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    MakeLine,
    watch::{Begin, Watch, with_client},
};
use crate::{
    clock::Clock,
    control::{now_s, rfc3339},
    history::{Checkpoint, GapLine, Settings, Writer},
    journal::{FollowError, Followers, Position},
    lease::LeaseTable,
};

/// What was written is synced so often, or when it is so many bytes.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const COMMIT_BYTES: usize = 4 << 20;
/// An idle history says so often that it is complete.
const COMPLETE_EVERY: Duration = Duration::from_secs(10);
/// Old files are looked for so often.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// After an error it is tried again so much later.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
/// Why a gap is there.
const LAGGED: &str = "the history was behind for too long, or its place in the journal is gone";
const LOST: &str = "its last file was removed, moved away or cut off by others";
/// How long a stopping server waits for it.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What the history does; for statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStats {
    /// Lines written since start.
    pub lines: u64,
    /// Renewals that only move the end of a lease, and leave no line.
    pub renewals_left_out: u64,
    /// Times that changes were missed: the disk of the history failed for longer than the journal could wait.
    pub gaps: u64,
    /// Bytes of the journal's records that are still to be read.
    pub behind_bytes: u64,
    /// Why nothing is written now; it is tried again, and all is caught up with.
    pub failing: Option<String>,
}

/// What the thread needs.
pub(super) struct Recorder {
    pub settings: Settings,
    /// Bytes of closed segments that compaction leaves for it.
    pub max_lag_bytes: u64,
    pub followers: Followers,
    pub table: Arc<LeaseTable>,
    pub clock: Clock,
    pub line: MakeLine,
    pub stats: Arc<Mutex<HistoryStats>>,
    /// Nothing is waited for any more: what cannot be written at once is left to the next start.
    pub stopping: Arc<AtomicBool>,
}

/// Why it ends.
enum End {
    /// All is written, or what is not is left to the next start.
    Done,
    /// What follows in the journal is gone.
    Lagged,
    /// What was written is gone.
    Lost,
}

impl Recorder {
    /// Until the journal has ended.
    pub fn run(self) {
        // Without a checkpoint it begins; one without a place in the journal was made when it began.
        let Some(last) = self.checkpoint() else { return };
        let is_backed = self.patiently(|| match &last {
            Some(last) => last.is_backed(&self.settings.dir).map_err(|error| error.to_string()),
            None => Ok(true),
        });
        let Some(is_backed) = is_backed else { return };
        let mut gap = (!is_backed).then(|| self.gap(LOST));
        let last = last.filter(|_| is_backed);
        let mut goes_on = last.is_some();
        let oldest = Begin::Oldest { max_bytes: self.max_lag_bytes };
        let mut begin = match last.filter(|last| last.journal != Position::default()) {
            Some(Checkpoint { journal: position, expired_until_s, .. }) => {
                Begin::Position { position, expired_until_s, max_bytes: self.max_lag_bytes }
            }
            None => oldest,
        };
        loop {
            let watch = self.patiently(|| match Watch::begin(&self.followers, self.clock, begin) {
                Ok(watch) => Ok(Some(watch)),
                Err(FollowError::Lagged) => Ok(None),
                Err(error) => Err(error.to_string()),
            });
            let end = match watch {
                None => End::Done,
                Some(None) => End::Lagged,
                Some(Some(watch)) => self.record(watch, goes_on, gap),
            };
            let reason = match end {
                End::Done => return,
                End::Lagged => LAGGED,
                End::Lost => LOST,
            };
            (begin, goes_on, gap) = (oldest, false, Some(self.gap(reason)));
        }
    }

    /// Says that there is a gap, and why.
    fn gap(&self, reason: &'static str) -> &'static str {
        self.change(|stats| stats.gaps += 1);
        log::error!("history: {}: there is a gap: {reason}", self.settings.dir.display());
        reason
    }

    /// `None` when the server stops before it can be read.
    fn checkpoint(&self) -> Option<Option<Checkpoint>> {
        self.patiently(|| Checkpoint::read(&self.settings.dir).map_err(|error| error.to_string()))
    }

    fn change<T>(&self, change: impl FnOnce(&mut HistoryStats) -> T) -> T {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Tries until it works; `None` when the server stops before that. Told once.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, String>) -> Option<T> {
        let mut stopping_since = None;
        loop {
            match attempt() {
                Ok(done) => {
                    self.works();
                    return Some(done);
                }
                Err(error) => {
                    self.fails(&error);
                    if self.is_stopping() && stopping_since.get_or_insert_with(Instant::now).elapsed() >= STOP_PATIENCE
                    {
                        return None;
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn works(&self) {
        if self.change(|stats| stats.failing.take()).is_some() {
            log::warn!("history: it is written again");
        }
    }

    /// Said once, until it works again.
    fn fails(&self, error: &str) {
        let reason = format!("{}: {error}", self.settings.dir.display());
        if self.change(|stats| stats.failing.replace(reason.clone())).is_none() {
            log::error!("history: {reason}; clients are served, and it catches up when it can be written");
        }
    }

    fn record(&self, mut watch: Watch, goes_on: bool, gap: Option<&str>) -> End {
        let settings = || self.settings.clone();
        let opened = self.patiently(|| Writer::open(settings(), goes_on).map_err(|error| error.to_string()));
        let Some(mut writer) = opened else { return End::Done };
        if let Some(reason) = gap {
            writer.add(&GapLine { at: rfc3339(now_s()), event: GapLine::EVENT.into(), reason: reason.into() });
        }
        if !goes_on {
            // A start in the middle of what follows begins here once more.
            let complete_s = writer.complete_until_s();
            let begun = || writer.commit(Position::default(), 0, complete_s).map_err(|error| error.to_string());
            if self.patiently(begun).is_none() {
                return End::Done;
            }
        }
        let mut stopping_since = None;
        let mut is_unreadable = false;
        let (mut committed, mut completed, mut tidied) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            let before = writer.lines();
            let mut left_out = 0;
            let lease_s = self.clock.now_s();
            // Nothing is waited for where something is to be committed soon.
            let wait = if writer.pending() > 0 { Duration::from_millis(50) } else { Duration::from_millis(500) };
            let stepped = watch.step(wait, |event, ahead_s| {
                if event.is_news {
                    let event = with_client(event, &self.table, lease_s);
                    writer.add(&(self.line)(&event, ahead_s));
                } else {
                    left_out += 1;
                }
            });
            let lines = writer.lines() - before;
            self.change(|stats| {
                stats.lines += lines;
                stats.renewals_left_out += left_out;
                stats.behind_bytes = watch.behind_bytes();
            });
            let is_due = writer.pending() >= COMMIT_BYTES
                || writer.pending() > 0 && committed.elapsed() >= COMMIT_EVERY
                || !is_unreadable && completed.elapsed() >= COMPLETE_EVERY;
            let end = match stepped {
                // The journal was stopped before: nothing more comes, or too much of it.
                Ok(is_some) if self.is_stopping() => {
                    let since: Instant = *stopping_since.get_or_insert_with(Instant::now);
                    (!is_some || since.elapsed() >= STOP_PATIENCE).then_some(End::Done)
                }
                Ok(_) => {
                    if std::mem::take(&mut is_unreadable) {
                        self.works();
                    }
                    None
                }
                Err(FollowError::Stopped) => Some(End::Done),
                Err(FollowError::Lagged) => Some(End::Lagged),
                Err(FollowError::Journal(error)) => {
                    // It is still there for another attempt, or is said to be damaged at the next start.
                    self.fails(&error.to_string());
                    is_unreadable = true;
                    std::thread::sleep(RETRY);
                    let mut since = || *stopping_since.get_or_insert_with(Instant::now);
                    (self.is_stopping() && since().elapsed() >= STOP_PATIENCE).then_some(End::Done)
                }
            };
            if is_due || end.is_some() {
                match self.patiently(|| writer.is_in_place().map_err(|error| error.to_string())) {
                    Some(true) => {}
                    Some(false) => return End::Lost,
                    None => return End::Done,
                }
                let (position, expired_s) = (watch.position(), watch.expired_until_s());
                let complete_s = watch.complete_until_s().unwrap_or_else(|| writer.complete_until_s());
                let commit = || writer.commit(position, expired_s, complete_s).map_err(|error| error.to_string());
                if self.patiently(commit).is_none() {
                    return End::Done;
                }
                watch.done_with(position);
                (committed, completed) = (Instant::now(), Instant::now());
            }
            if let Some(end) = end {
                return end;
            }
            if tidied.elapsed() >= TIDY_EVERY {
                tidied = Instant::now();
                if let Err(error) = writer.tidy(now_s()) {
                    log::warn!("history: {}: not tidied: {error}", self.settings.dir.display());
                }
            }
        }
    }
}

/// Where a history in this directory goes on: for the journal, which keeps what follows.
pub(super) fn position_in(dir: &Path) -> Position {
    Checkpoint::read(dir).ok().flatten().map(|last| last.journal).unwrap_or_default()
}
