//! The journal's thread: collects a group, writes it once, syncs it once, publishes what is durable.
//!
//! After a write or sync that failed nothing is known of what lies behind the last durable byte (a later `fdatasync` may
//! succeed although pages were dropped), so the segment is abandoned there and the group, which is still in memory, goes
//! into a new one, again and again until the disk takes it. Nothing is published meanwhile.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;

use super::{
    Disk, JournalError, SegmentFile,
    lane::Message,
    record::{self, Bytes, MAX_RECORDS, RECORD},
    recovery,
    segment::{self, Header, ROTATE_AT},
};
use crate::{config::Durability, wake::Wake};

/// Most records of a group.
pub(super) const GROUP: usize = 4096;
/// First and longest pause after an error of the disk.
const BACK_OFF: (Duration, Duration) = if cfg!(test) {
    (Duration::from_millis(1), Duration::from_millis(10))
} else {
    (Duration::from_millis(100), Duration::from_secs(1))
};
/// How long a stopping server waits for a disk that fails.
const STOP_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5000 });

/// What the journal thread is doing; for statistics and health.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct JournalStatus {
    /// Records written since start (durable ones, where durability is `sync`).
    pub records: u64,
    /// Groups (one write and one fdatasync each) since start.
    pub groups: u64,
    /// The last error of the disk while it has not been overcome, or what of the journal was removed while the server ran.
    pub failing: Option<String>,
    /// Percentiles of the time from taking a group to its being durable, microseconds: p50, p99, max.
    pub commit_latency_us: [u64; 3],
}

/// What the thread and its lanes share.
#[derive(Debug)]
pub(super) struct Shared {
    durable: Box<[CachePadded<AtomicU64>]>,
    wakes: Vec<Arc<Wake>>,
    stopping: AtomicBool,
    progress: Mutex<Progress>,
}

/// Locked once a group, and by whoever asks for the status.
#[derive(Debug)]
struct Progress {
    records: u64,
    groups: u64,
    failing: Option<String>,
    /// What of the journal is gone for good; `failing` says so until the server ends.
    lost: Option<String>,
    latency_us: Histogram<u64>,
}

impl Shared {
    pub fn new(wakes: Vec<Arc<Wake>>) -> Self {
        // Up to a minute, to three digits; these bounds are valid ones.
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds are valid");
        Self {
            durable: wakes.iter().map(|_| CachePadded::default()).collect(),
            wakes,
            stopping: AtomicBool::new(false),
            progress: Mutex::new(Progress { records: 0, groups: 0, failing: None, lost: None, latency_us }),
        }
    }

    pub fn lanes(&self) -> usize {
        self.durable.len()
    }

    pub fn durable(&self, lane: u16) -> &AtomicU64 {
        &self.durable[usize::from(lane)]
    }

    pub fn ask_to_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn status(&self) -> JournalStatus {
        let progress = self.progress();
        let latency = &progress.latency_us;
        JournalStatus {
            records: progress.records,
            groups: progress.groups,
            failing: progress.failing.clone().or_else(|| progress.lost.clone()),
            commit_latency_us: [latency.value_at_quantile(0.5), latency.value_at_quantile(0.99), latency.max()],
        }
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open segment.
struct Open {
    file: Box<dyn SegmentFile>,
    header: Header,
    /// Bytes written and known durable (or taken by the system, where nothing is synced).
    len: u64,
}

/// The journal's thread.
pub(super) struct Writer {
    disk: Box<dyn Disk>,
    dir: PathBuf,
    durability: Durability,
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    segment: Option<Open>,
    /// The last segment that counts and its length; the next number.
    end: recovery::End,
    group: Vec<Bytes>,
    buffer: Vec<u8>,
    /// Of each lane: the continuations of a change whose base record is still to come.
    held: Box<[ArrayVec<Bytes, MAX_RECORDS>]>,
    /// Of each lane: records that are in this group or a former one.
    taken: Box<[u64]>,
    /// Something was written since the last sync.
    unsynced: bool,
    /// As `end.last`, at the last sync: all that counts once the disk has failed.
    synced: Option<(u64, u64)>,
}

impl Writer {
    /// Opens the first segment.
    pub fn open(
        disk: Box<dyn Disk>,
        dir: &Path,
        durability: Durability,
        shared: Arc<Shared>,
        receiver: Receiver<Message>,
    ) -> Result<Self, JournalError> {
        let taken = vec![0; shared.lanes()].into_boxed_slice();
        let held = taken.iter().map(|_| ArrayVec::new()).collect();
        let mut writer = Self {
            disk,
            dir: dir.to_owned(),
            durability,
            shared,
            receiver,
            segment: None,
            end: recovery::end(dir)?,
            group: Vec::with_capacity(GROUP + MAX_RECORDS),
            buffer: Vec::with_capacity((GROUP + MAX_RECORDS + 1) * RECORD),
            held,
            taken,
            unsynced: false,
            synced: None,
        };
        writer.open_segment().map_err(JournalError::io(dir, "begin a journal segment in it"))?;
        Ok(writer)
    }

    /// Until everybody who could send has gone, or the disk fails while the server stops.
    pub fn run(mut self) -> Result<(), JournalError> {
        let mut last_sync = Instant::now();
        loop {
            let more = self.collect(last_sync);
            if !self.group.is_empty() {
                self.commit()?;
            }
            let is_due = match self.durability {
                Durability::Interval(every) => last_sync.elapsed() >= every,
                Durability::Sync | Durability::Off => false,
            };
            if self.unsynced && (is_due || !more) {
                self.sync_late()?;
                last_sync = Instant::now();
            }
            if !more {
                self.close();
                return Ok(());
            }
        }
    }

    /// Ends the segment with a marker that vouches for all of it, so that damage to its end is told from a torn write. All
    /// is durable already: an error takes nothing away.
    fn close(&mut self) {
        let Some(open) = self.segment.as_mut().filter(|open| open.len > RECORD as u64) else { return };
        let mut bytes = record::marker(open.len);
        record::seal(&mut bytes, open.header.seed);
        if let Err(error) = open.file.append(&bytes).and_then(|()| open.file.sync()) {
            log::warn!("journal: {}: the last segment was not closed: {error}", self.dir.display());
        }
    }

    /// Takes what there is, waiting for the first. False when nothing more will come.
    fn collect(&mut self, last_sync: Instant) -> bool {
        self.group.clear();
        let first = match self.durability {
            Durability::Interval(every) if self.unsynced => {
                self.receiver.recv_timeout(every.saturating_sub(last_sync.elapsed()))
            }
            _ => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match first {
            Ok(Message::Record(lane, bytes)) => self.take(lane, bytes),
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
        }
        while self.group.len() < GROUP {
            match self.receiver.try_recv() {
                Ok(Message::Record(lane, bytes)) => self.take(lane, bytes),
                Ok(Message::Stop) => return false,
                Err(_) => break,
            }
        }
        true
    }

    /// Adds a record to the group, once its change is complete: the records of one change stay together, whatever other
    /// lanes send in between.
    fn take(&mut self, lane: u16, bytes: Bytes) {
        let held = &mut self.held[usize::from(lane)];
        if record::is_continuation(&bytes) && held.try_push(bytes).is_ok() {
            return;
        }
        self.taken[usize::from(lane)] += held.len() as u64 + 1;
        self.group.extend(held.drain(..));
        self.group.push(bytes);
    }

    /// Writes the group until the disk has it, then publishes it.
    fn commit(&mut self) -> Result<(), JournalError> {
        let start = Instant::now();
        self.insist(Self::write_group)?;
        for (lane, taken) in (0u16..).zip(&self.taken) {
            let durable = self.shared.durable(lane);
            if durable.load(Ordering::Relaxed) != *taken {
                durable.store(*taken, Ordering::Release);
                self.shared.wakes[usize::from(lane)].wake();
            }
        }
        let mut progress = self.shared.progress();
        progress.records += self.group.len() as u64;
        progress.groups += 1;
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        progress.latency_us.saturating_record(micros.max(1));
        Ok(())
    }

    /// Syncs what was written before; an error gives up the segment as a failed group does.
    fn sync_late(&mut self) -> Result<(), JournalError> {
        self.group.clear();
        self.insist(|writer| match &mut writer.segment {
            Some(open) => open.file.sync(),
            None => Ok(()),
        })?;
        self.unsynced = false;
        self.synced = self.end.last;
        Ok(())
    }

    /// Tries until it works; after an error the segment is abandoned.
    fn insist(&mut self, mut attempt: impl FnMut(&mut Self) -> io::Result<()>) -> Result<(), JournalError> {
        let mut pause = BACK_OFF.0;
        let mut failing_since_stop = None;
        loop {
            let error = match attempt(self) {
                Ok(()) => {
                    if self.shared.progress().failing.take().is_some() {
                        log::warn!("journal: the disk takes records again");
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            self.segment = None;
            self.end.last = self.synced;
            let reason = format!("{}: {error}", self.dir.display());
            if self.shared.progress().failing.replace(reason.clone()).is_none() {
                let so = match self.durability {
                    Durability::Sync => "no ACK is sent",
                    Durability::Interval(_) | Durability::Off => "ACKs are sent, and their leases are in memory only,",
                };
                log::error!("journal: {reason}; {so} until the disk takes records again");
            }
            if self.shared.stopping.load(Ordering::Relaxed) {
                let since = *failing_since_stop.get_or_insert_with(Instant::now);
                if since.elapsed() >= STOP_PATIENCE {
                    let records = (self.group.len() + self.receiver.len()) as u64;
                    return Err(JournalError::NotDurable { path: self.dir.display().to_string(), records, reason });
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// One attempt: one write and, where it is due, one sync.
    fn write_group(&mut self) -> io::Result<()> {
        let size = ((self.group.len() + 1) * RECORD) as u64;
        if self.segment.as_ref().is_none_or(|open| open.len + size > ROTATE_AT) {
            self.open_segment()?;
        }
        let Some(open) = &mut self.segment else { return Err(io::ErrorKind::NotFound.into()) };
        if !open.file.is_named()? {
            return Err(self.go_on_without_segment());
        }
        let is_sync = self.durability == Durability::Sync;
        self.buffer.clear();
        // Only what is synced may be vouched for.
        let durable = if is_sync { open.len } else { RECORD as u64 };
        for mut bytes in std::iter::once(record::marker(durable)).chain(self.group.iter().copied()) {
            record::seal(&mut bytes, open.header.seed);
            self.buffer.extend_from_slice(&bytes);
        }
        open.file.append(&self.buffer)?;
        if is_sync {
            open.file.sync()?;
        }
        open.len += size;
        self.end.last = Some((open.header.number, open.len));
        self.unsynced = !is_sync;
        if is_sync {
            self.synced = self.end.last;
        }
        Ok(())
    }

    /// Somebody removed the open segment. The next one continues what is left of the journal; what was lost is told for as long
    /// as this server runs, since only its memory has it now.
    fn go_on_without_segment(&mut self) -> io::Error {
        let name = self.segment.take().map_or_else(String::new, |open| segment::name(open.header.number));
        let what = format!("{}: {name} was removed while in use", self.dir.display());
        log::error!(
            "journal: {what}: leases recorded in it are in memory only; do not stop the server before they are renewed"
        );
        self.shared.progress().lost = Some(what.clone());
        self.unsynced = false;
        match recovery::end(&self.dir) {
            Ok(end) => self.synced = end.last,
            Err(error) => return io::Error::other(error),
        }
        io::Error::other(what)
    }

    /// Begins a segment; its header, which says where the former ends, is durable before anything follows it.
    fn open_segment(&mut self) -> io::Result<()> {
        if self.unsynced
            && let Some(open) = &mut self.segment
        {
            // What the new header says of the former segment's length is to be true.
            open.file.sync()?;
        }
        let number = self.end.next;
        let header = Header { number, seed: segment::random_seed(), previous: self.end.last };
        let name = segment::name(number);
        let mut file = self.disk.create(&name).inspect_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                // What an attempt left behind that failed, and could not be removed either.
                self.end.next = number.saturating_add(1);
            }
        })?;
        if let Err(error) = file.append(&header.encode()).and_then(|()| file.sync()) {
            // A full disk would collect one such file at each attempt. One that cannot be removed is not written to again.
            drop(file);
            if self.disk.remove(&name).is_err() {
                self.end.next = number.saturating_add(1);
            }
            return Err(error);
        }
        self.end.next = number.saturating_add(1);
        self.segment = Some(Open { file, header, len: RECORD as u64 });
        self.end.last = Some((number, RECORD as u64));
        self.synced = self.end.last;
        Ok(())
    }
}
