//! The thread that writes the history. It waits for a disk that is full or fails as long as it takes, and nobody waits for it: what it
//! has not read stays in the journal, as far as that may keep it.

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
    keeper::Keeper,
    watch::{Begin, Watch, with_client},
};
use crate::{
    clock::Clock,
    control::{now_s, rfc3339},
    history::{Checkpoint, FileName, GapLine, Settings, Writer},
    journal::{FollowError, Followers, Position},
    lease::LeaseTable,
};

/// What was written is synced so often, or when it is so many bytes.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const COMMIT_BYTES: usize = 4 << 20;
/// An idle history says so often that it is complete.
const COMPLETE_EVERY: Duration = Duration::from_secs(10);
/// Old files are looked for so often.
const TIDY_EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 60_000 });
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
    /// Times that changes were missed: the history was behind for longer than the journal could wait, or others removed the file that
    /// was being written.
    pub gaps: u64,
    /// Bytes of the journal's records that are still to be read.
    pub behind_bytes: u64,
    /// Why nothing is written now; it is tried again, and caught up with as far as the journal has it.
    pub failing: Option<String>,
    /// Times that it was held back: its file system had less room than is left for the journal.
    #[serde(default)]
    pub held_back: u64,
    /// Files that were removed before their time, to stay within `max_mib`.
    #[serde(default)]
    pub removed_early: u64,
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
    pub keeper: Keeper,
    /// When old files were last looked for.
    pub tidied: Instant,
    pub stats: Arc<Mutex<HistoryStats>>,
    /// Nothing is waited for any more: what cannot be written at once is left to the next start.
    pub stopping: Arc<AtomicBool>,
}

/// Why it ends.
enum End {
    /// All is written, or what is not is left to the next start.
    Done,
    /// What follows in the journal, or what was written, is gone.
    Gap(Gap),
}

/// What is missing.
struct Gap {
    reason: &'static str,
    /// Since when, seconds since 1970; `None`: nobody knows.
    since_s: Option<u32>,
}

/// Why nothing was written.
enum NotNow {
    HeldBack(String),
    Failed(String),
}

impl From<std::io::Error> for NotNow {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Recorder {
    /// Until the journal has ended.
    pub fn run(mut self) {
        // Without a checkpoint it begins; one without a place in the journal was made when it began.
        let dir = self.settings.dir.clone();
        let Some(last) = self.patiently(|_| Ok(Checkpoint::read(&dir)?)) else { return };
        let is_backed = self.patiently(|_| Ok(last.as_ref().map_or(Ok(true), |last| last.is_backed(&dir))?));
        let Some(is_backed) = is_backed else { return };
        let mut complete_s = last.as_ref().map(|last| last.complete_until_s);
        let mut gap = (!is_backed).then(|| {
            let file = last.as_ref().and_then(|last| FileName::parse(last.file.as_deref()?));
            self.gap(Gap { reason: LOST, since_s: file.map(|file| file.begun_s()) })
        });
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
            let watch = self.patiently(|this| match Watch::begin(&this.followers, this.clock, begin) {
                Ok(watch) => Ok(Some(watch)),
                Err(FollowError::Lagged) => Ok(None),
                Err(error) => Err(NotNow::Failed(error.to_string())),
            });
            let end = match watch {
                None => End::Done,
                // One that nobody could write down yet goes on.
                Some(None) => End::Gap(gap.take().unwrap_or(Gap { reason: LAGGED, since_s: complete_s })),
                Some(Some(watch)) => self.record(watch, goes_on, gap.take()),
            };
            let End::Gap(found) = end else { return };
            complete_s = found.since_s;
            (begin, goes_on, gap) = (oldest, false, Some(self.gap(found)));
        }
    }

    /// Says that there is a gap, and why.
    fn gap(&self, gap: Gap) -> Gap {
        self.change(|stats| stats.gaps += 1);
        log::error!("history: {}: there is a gap: {}", self.settings.dir.display(), gap.reason);
        gap
    }

    fn change<T>(&self, change: impl FnOnce(&mut HistoryStats) -> T) -> T {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Tries until it works; `None` when the server stops before that. Told once.
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T, NotNow>) -> Option<T> {
        let mut stopping_since = None;
        let mut is_held_back = false;
        loop {
            let is_stopping = self.is_stopping();
            let error = match attempt(self) {
                Ok(done) => {
                    self.works();
                    return Some(done);
                }
                Err(NotNow::Failed(error)) => error,
                // Room does not come of waiting: it is left to the next start.
                Err(NotNow::HeldBack(_)) if is_stopping => return None,
                Err(NotNow::HeldBack(why)) => {
                    if !std::mem::replace(&mut is_held_back, true) {
                        self.change(|stats| stats.held_back += 1);
                    }
                    why
                }
            };
            self.fails(&error);
            if self.is_stopping() && stopping_since.get_or_insert_with(Instant::now).elapsed() >= STOP_PATIENCE {
                return None;
            }
            std::thread::sleep(RETRY);
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
            log::error!(
                "history: {reason}; clients are served, and it catches up when it can be written, with what the journal keeps till then \
                 (max_lag_mib)"
            );
        }
    }

    /// Makes durable what the writer has, where there is room for it. Files whose time is over go also while there is none: that
    /// may be what makes some.
    fn commit(
        &mut self,
        writer: &mut Writer,
        journal: Position,
        expired_s: u32,
        complete_s: u32,
    ) -> Result<(), NotNow> {
        if self.tidied.elapsed() >= TIDY_EVERY {
            self.tidied = Instant::now();
            if let Err(error) = writer.tidy(now_s()) {
                log::warn!("history: {}: old files stay: {error}", self.settings.dir.display());
            }
        }
        let allowed = self.keeper.allow(writer)?;
        self.change(|stats| stats.removed_early += writer.take_removed_early());
        allowed.map_err(NotNow::HeldBack)?;
        let waited = writer.pending();
        let written = writer.commit(journal, expired_s, complete_s);
        self.keeper.wrote(waited.saturating_sub(writer.pending()) as u64);
        let lines = written?;
        self.change(|stats| stats.lines += lines);
        Ok(())
    }

    /// A writer that has written, where it does not go on, that it begins, and after what gap; `None`: the server stops.
    fn begin(&mut self, goes_on: bool, gap: Option<Gap>) -> Option<Writer> {
        let mut writer = self.patiently(|this| Ok(Writer::open(this.settings.clone(), goes_on)?))?;
        if let Some(Gap { reason, since_s }) = gap {
            let since = since_s.filter(|since_s| *since_s > 0).map(rfc3339);
            let (at, event) = (rfc3339(now_s()), GapLine::EVENT.into());
            writer.add(&GapLine { at, event, since, reason: reason.into() });
        }
        if !goes_on {
            // A start in the middle of what follows begins here once more.
            let complete_s = writer.complete_until_s();
            self.patiently(|this| this.commit(&mut writer, Position::default(), 0, complete_s))?;
        }
        Some(writer)
    }

    fn record(&mut self, mut watch: Watch, goes_on: bool, gap: Option<Gap>) -> End {
        let Some(mut writer) = self.begin(goes_on, gap) else { return End::Done };
        // No file is to be much larger than it should, however far it is behind.
        let commit_bytes = usize::try_from(self.settings.rotate_bytes).map_or(COMMIT_BYTES, |it| it.min(COMMIT_BYTES));
        let mut stopping_since = None;
        let mut is_unreadable = false;
        let (mut committed, mut completed) = (Instant::now(), Instant::now());
        loop {
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
            self.change(|stats| {
                stats.renewals_left_out += left_out;
                stats.behind_bytes = watch.behind_bytes();
            });
            let is_due = writer.pending() >= commit_bytes
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
                Err(FollowError::Lagged) => {
                    Some(End::Gap(Gap { reason: LAGGED, since_s: Some(writer.complete_until_s()) }))
                }
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
                match self.patiently(|_| Ok(writer.is_in_place()?)) {
                    Some(true) => {}
                    Some(false) => return End::Gap(Gap { reason: LOST, since_s: writer.begun_s() }),
                    None => return End::Done,
                }
                let (position, expired_s) = (watch.position(), watch.expired_until_s());
                let complete_s = watch.complete_until_s().unwrap_or_else(|| writer.complete_until_s());
                let committed_now = self.patiently(|this| {
                    this.change(|stats| stats.behind_bytes = watch.behind_bytes());
                    this.commit(&mut writer, position, expired_s, complete_s)
                });
                if committed_now.is_none() {
                    return End::Done;
                }
                watch.done_with(position);
                (committed, completed) = (Instant::now(), Instant::now());
            }
            if let Some(end) = end {
                return end;
            }
        }
    }
}

/// Where a history in this directory goes on: for the journal, which keeps what follows.
pub(super) fn position_in(dir: &Path) -> Position {
    Checkpoint::read(dir).ok().flatten().map(|last| last.journal).unwrap_or_default()
}
