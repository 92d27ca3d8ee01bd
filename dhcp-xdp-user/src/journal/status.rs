//! What the journal's threads and its lanes share, and what others see of it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;

use super::{JournalError, board::Board};
use crate::wake::Wake;

/// A disk that has not answered for so long is said to fail.
const STALLED: Duration = Duration::from_secs(2);

/// What the journal is doing; for statistics and health.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JournalStatus {
    /// Records written since start (durable ones, where durability is `sync`).
    pub records: u64,
    /// Groups (one write and one fdatasync each) since start.
    pub groups: u64,
    /// The last error of the disk while it has not been overcome, or what of the journal was removed or found damaged while the
    /// server ran.
    pub failing: Option<String>,
    /// Percentiles of the time from taking a group to its being durable, microseconds: p50, p99, max.
    pub commit_latency_us: [u64; 3],
    /// Compactions since start.
    #[serde(default)]
    pub compactions: u64,
    /// One is under way.
    #[serde(default)]
    pub compacting: bool,
    /// Why the last one failed; it is tried again. No ACK waits for it.
    #[serde(default)]
    pub compaction_failing: Option<String>,
    /// Bytes of closed segments that were left for a history that is behind, when they were last looked at.
    #[serde(default)]
    pub held_back_bytes: u64,
    /// Times that a follower (the history) held back more than it may: what it has not read may be compacted, and is a gap then.
    #[serde(default)]
    pub followers_dropped: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    durable: Box<[CachePadded<AtomicU64>]>,
    pub wakes: Vec<Arc<Wake>>,
    /// Set while the journal's thread has been told that there are records, and has not looked yet.
    pub bell: CachePadded<AtomicBool>,
    /// The writer has nothing to do: all that it has been told of is durable (or written).
    pub is_idle: AtomicBool,
    pub stopping: AtomicBool,
    /// Where followers see how far the writer is.
    pub board: Board,
    /// When the disk was asked for something that it has not answered, milliseconds after `start`; 0: it has.
    asked_ms: AtomicU64,
    start: Instant,
    progress: Mutex<Progress>,
}

/// Locked once a group, and by whoever asks for the status.
#[derive(Debug)]
pub(super) struct Progress {
    pub records: u64,
    pub groups: u64,
    pub failing: Option<String>,
    /// What of the journal is gone for good; `failing` says so until the server ends.
    pub lost: Option<String>,
    latency_us: Histogram<u64>,
    compactions: u64,
    compacting: bool,
    compaction_failing: Option<String>,
}

impl Progress {
    pub fn committed(&mut self, records: u64, took: Duration) {
        self.records += records;
        self.groups += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(micros.max(1));
    }
}

impl Shared {
    pub fn new(wakes: Vec<Arc<Wake>>) -> Self {
        // Up to a minute, to three digits; these bounds are valid ones.
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds are valid");
        Self {
            durable: wakes.iter().map(|_| CachePadded::default()).collect(),
            wakes,
            bell: CachePadded::default(),
            is_idle: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            board: Board::default(),
            asked_ms: AtomicU64::new(0),
            start: Instant::now(),
            progress: Mutex::new(Progress {
                records: 0,
                groups: 0,
                failing: None,
                lost: None,
                latency_us,
                compactions: 0,
                compacting: false,
                compaction_failing: None,
            }),
        }
    }

    pub fn lanes(&self) -> usize {
        self.durable.len()
    }

    pub fn durable(&self, lane: usize) -> &AtomicU64 {
        &self.durable[lane]
    }

    /// Whether all that lanes have rung for is durable (or written), and followers may have it.
    pub fn has_settled(&self) -> bool {
        // In this order: a bell that the writer has just lowered was rung for what it has not written yet, and it is not idle then.
        !self.bell.load(Ordering::Acquire) && self.is_idle.load(Ordering::Acquire)
    }

    pub fn ask_to_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Asks the disk for something that may take its time, and notes for how long it does.
    pub fn ask_disk<T>(&self, ask: impl FnOnce() -> T) -> T {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.asked_ms.store(now_ms.max(1), Ordering::Relaxed);
        let answer = ask();
        self.asked_ms.store(0, Ordering::Relaxed);
        answer
    }

    fn stalled(&self) -> Option<String> {
        let asked_ms = Some(self.asked_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)?;
        let waited = self.start.elapsed().saturating_sub(Duration::from_millis(asked_ms));
        (waited >= STALLED).then(|| format!("the disk has not answered for {} s", waited.as_secs()))
    }

    /// See [`JournalStatus::failing`].
    pub fn failing(&self) -> Option<String> {
        let progress = self.progress();
        progress.failing.clone().or_else(|| self.stalled()).or_else(|| progress.lost.clone())
    }

    pub fn status(&self) -> JournalStatus {
        let failing = self.failing();
        let (held_back_bytes, followers_dropped) = self.board.held_back();
        let progress = self.progress();
        let latency = &progress.latency_us;
        JournalStatus {
            records: progress.records,
            groups: progress.groups,
            failing,
            commit_latency_us: [latency.value_at_quantile(0.5), latency.value_at_quantile(0.99), latency.max()],
            compactions: progress.compactions,
            compacting: progress.compacting,
            compaction_failing: progress.compaction_failing.clone(),
            held_back_bytes,
            followers_dropped,
        }
    }

    pub fn compaction_began(&self) {
        self.progress().compacting = true;
    }

    pub fn compaction_ended(&self, result: Result<(), JournalError>) {
        let mut progress = self.progress();
        let error = result.as_ref().err().map(ToString::to_string);
        if let Some(error) = &error
            && progress.compaction_failing.as_ref() != Some(error)
        {
            log::error!("journal: not compacted, the old segments stay: {error}");
        }
        if let Err(JournalError::Damaged { .. }) = result {
            // The next start would be refused: better known while the leases are still in memory.
            progress.lost = error.clone();
        }
        progress.compactions += u64::from(progress.compacting && error.is_none());
        progress.compacting = false;
        progress.compaction_failing = error;
    }

    pub fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
