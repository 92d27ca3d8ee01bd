//! The journal's thread: collects a group, writes it once, syncs it once, publishes what is durable.
//!
//! After a write or sync that failed nothing is known of what lies behind the last durable byte (a later `fdatasync` may
//! succeed although pages were dropped), so the segment is abandoned there and the group, which is still in memory, goes
//! into a new one, again and again until the disk takes it. Nothing is published meanwhile.
//!
//! [`Writer::step`] does one of these at a time and never waits, so that a test drives it without a thread; [`Writer::run`] is the
//! thread, which waits in between.

use std::{
    io,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::{
    Disk, JournalError, SegmentFile,
    chain::End,
    lane::Lanes,
    places::OnFreed,
    record::{self, Bytes, MAX_RECORDS, RECORD},
    recovery,
    segment::{self, Carried, Header, Kind},
    status::Shared,
};
use crate::{clock::Moment, config::Durability};

/// Most records of a group.
pub(super) const GROUP: usize = 4096;
/// A group of no more than this has all that waited when it was begun: a change that did not fit would have made it larger.
pub(super) const ALL_THERE_WAS: usize = GROUP - MAX_RECORDS;
/// First and longest pause after an error of the disk.
const BACK_OFF: (Duration, Duration) = if cfg!(test) {
    (Duration::from_millis(1), Duration::from_millis(10))
} else {
    (Duration::from_millis(100), Duration::from_secs(1))
};
/// How long a stopping server waits for a disk that fails.
const STOP_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5000 });
/// When so many records came while a group was committed, there is load,
const BUSY: usize = 32;
/// and then a group is begun so long after the one before.
const GATHER: Duration = Duration::from_micros(400);
/// An idle journal looks at the wall clock so often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// A wall clock that was set by more than this is worth a marker of its own, seconds.
const CLOCK_STEP_S: u64 = 2;

/// An open segment.
struct Open {
    file: Box<dyn SegmentFile>,
    header: Header,
    /// Bytes written and known durable (or taken by the system, where nothing is synced).
    len: u64,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There was nothing to do.
    Idle,
    /// A group was written and published.
    Committed,
    /// The disk did not take it; it is tried again.
    Failed,
}

/// The journal's thread.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    durability: Durability,
    shared: Arc<Shared>,
    lanes: Lanes,
    on_freed: Option<OnFreed>,
    /// Tells the time that a group is marked with.
    moment: Box<dyn Fn() -> Moment + Send>,
    rotate_at: u64,
    /// Told when a segment was closed.
    closed: Option<Sender<()>>,
    segment: Option<Open>,
    /// The last segment that counts and its length; the next number.
    end: End,
    /// Room for the marker, then the records of the group.
    group: Vec<u8>,
    /// The lane that is looked at first.
    turn: usize,
    /// Of each lane: records that are in this group or a former one.
    taken: Box<[u64]>,
    /// Something was written since the last sync.
    unsynced: bool,
    last_sync: Instant,
    last_commit: Instant,
    /// As `end.last`, at the last sync: all that counts once the disk has failed.
    synced: Option<(u64, u64)>,
    /// The time as the last marker tells it.
    marked: Moment,
    is_failing: bool,
}

/// How a writer works.
pub(super) struct Setup {
    pub durability: Durability,
    pub moment: Box<dyn Fn() -> Moment + Send>,
    pub rotate_at: u64,
    pub closed: Option<Sender<()>>,
    /// Where leases are counted: what is told of places that have become free.
    pub on_freed: Option<OnFreed>,
}

impl Writer {
    /// Opens the first segment, which continues what was found.
    pub fn open(
        disk: Arc<dyn Disk>,
        found: &recovery::Found,
        setup: Setup,
        shared: Arc<Shared>,
        lanes: Lanes,
    ) -> Result<Self, JournalError> {
        let end = found.end(&*disk)?;
        let Setup { durability, moment, rotate_at, closed, on_freed } = setup;
        let mut group = Vec::with_capacity((1 + GROUP + MAX_RECORDS) * RECORD);
        group.extend_from_slice(&[0; RECORD]);
        let mut writer = Self {
            disk,
            durability,
            lanes,
            on_freed,
            moment,
            rotate_at,
            closed,
            segment: None,
            end,
            group,
            turn: 0,
            taken: vec![0; shared.lanes()].into_boxed_slice(),
            shared,
            unsynced: false,
            last_sync: Instant::now(),
            last_commit: Instant::now(),
            synced: end.last,
            marked: Moment::default(),
            is_failing: false,
        };
        let disk = Arc::clone(&writer.disk);
        let fail = |error| JournalError::on(&*disk, None, "begin a journal segment in it")(error);
        let name = segment::unfinished_name(end.next);
        let carried = found.carried(&*disk)?;
        writer.make_segment(&name, Some(carried)).map_err(fail)?;
        let started = writer
            .carry_over(found)
            .and_then(|()| disk.rename(&name, &segment::name(end.next, Kind::Segment)).map_err(fail));
        if started.is_err() {
            // It does no harm, and the next start removes it.
            let _ = disk.remove(&name);
        }
        started.map(|()| {
            writer.show_end();
            writer
        })
    }

    /// Records once more what was found and may not be durable.
    fn carry_over(&mut self, found: &recovery::Found) -> Result<(), JournalError> {
        let disk = Arc::clone(&self.disk);
        let durability = std::mem::replace(&mut self.durability, Durability::Sync);
        // All of it in this file, which counts as a whole or not at all.
        let rotate_at = std::mem::replace(&mut self.rotate_at, u64::MAX);
        let write = |writer: &mut Self| {
            let written = writer.write_group();
            writer.group.truncate(RECORD);
            written.map_err(JournalError::on(&*disk, None, "begin a journal segment in it"))
        };
        found.unsure(&*disk, |records| {
            self.group.extend_from_slice(records.as_flattened());
            if self.records() >= GROUP as u64 { write(self) } else { Ok(()) }
        })?;
        // A marker in any case: the time as this run has it.
        write(self)?;
        (self.durability, self.rotate_at) = (durability, rotate_at);
        Ok(())
    }

    /// Until everybody who could ring has gone, or the server stops, or the disk fails while it does.
    pub fn run(mut self) -> Result<(), JournalError> {
        let mut pause = BACK_OFF.0;
        let mut failing_since_stop = None;
        let mut is_last = false;
        loop {
            match self.step() {
                Step::Committed => {
                    pause = BACK_OFF.0;
                    self.gather();
                }
                // What came before the stop has been seen.
                Step::Idle if is_last => break,
                Step::Idle => is_last = !self.wait(),
                Step::Failed => {
                    if self.is_stopping() {
                        let since = *failing_since_stop.get_or_insert_with(Instant::now);
                        if since.elapsed() >= STOP_PATIENCE {
                            return Err(self.give_up());
                        }
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
        self.sync_at_end()?;
        self.close();
        Ok(())
    }

    /// Under load, lets a group grow for a moment before it is committed. A commit costs the CPU some tens of microseconds,
    /// whatever its size, and on a machine that is busy these are taken from the workers. A lone request never waits.
    fn gather(&mut self) {
        let waiting: usize = self.lanes.rings.iter().map(rtrb::Consumer::slots).sum();
        if self.durability == Durability::Sync && (BUSY..GROUP / 2).contains(&waiting) && !self.is_stopping() {
            std::thread::sleep(GATHER.saturating_sub(self.last_commit.elapsed()));
        }
    }

    /// Takes what there is and tries to commit it; or syncs what is due.
    pub fn step(&mut self) -> Step {
        self.take();
        let start = Instant::now();
        self.last_commit = start;
        if self.records() > 0 {
            return self.attempt(Self::write_group, |writer| writer.publish(start));
        }
        let is_due = matches!(self.durability, Durability::Interval(every) if self.last_sync.elapsed() >= every);
        if self.unsynced && is_due {
            return self.attempt(Self::sync, |_| ());
        }
        // A disk that failed is tried also when there is nothing to write: that it works again is to be known.
        if self.is_failing || (self.moment)().wall_ahead_s().abs_diff(self.marked.wall_ahead_s()) > CLOCK_STEP_S {
            return self.attempt(Self::write_group, |_| ());
        }
        Step::Idle
    }

    /// Records in the group.
    fn records(&self) -> u64 {
        (self.group.len() / RECORD - 1) as u64
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Waits until there may be something to do; false when nothing more will come.
    fn wait(&mut self) -> bool {
        // Who sees it lowered sees that this was not idle.
        self.shared.bell.store(false, Ordering::Release);
        // Pairs with the fence in `Lane::ring`.
        fence(Ordering::SeqCst);
        if self.lanes.rings.iter().any(|ring| !ring.is_empty()) {
            return true;
        }
        if self.is_stopping() {
            return false;
        }
        let at_most = match self.durability {
            Durability::Interval(every) if self.unsynced => every.saturating_sub(self.last_sync.elapsed()),
            _ => LOOK_AT_CLOCK,
        };
        // After what was published: who sees this sees that.
        self.shared.is_idle.store(true, Ordering::Release);
        let rung = self.lanes.bell.recv_timeout(at_most);
        self.shared.is_idle.store(false, Ordering::Relaxed);
        rung != Err(RecvTimeoutError::Disconnected)
    }

    /// Adds what the lanes have to the group, whole changes only, beginning with another lane each time.
    fn take(&mut self) {
        let lanes = self.lanes.rings.len();
        for at in 0..lanes {
            let lane = (self.turn + at) % lanes;
            let room = GROUP.saturating_sub(self.group.len() / RECORD - 1);
            if room == 0 {
                break;
            }
            let ring = &mut self.lanes.rings[lane];
            let count = ring.slots().min(room);
            let Ok(chunk) = ring.read_chunk(count) else { continue };
            let (first, second) = chunk.as_slices();
            let continues = |at: &usize| {
                let bytes: &Bytes = if *at < first.len() { &first[*at] } else { &second[*at - first.len()] };
                record::is_continuation(bytes)
            };
            // A ring's records end with a whole change; the part that fits may not.
            let count = (0..count).rev().find(|at| !continues(at)).map_or(0, |at| at + 1);
            let (first, second) = (&first[..count.min(first.len())], &second[..count.saturating_sub(first.len())]);
            self.group.extend_from_slice(first.as_flattened());
            self.group.extend_from_slice(second.as_flattened());
            chunk.commit(count);
            self.taken[lane] += count as u64;
        }
        self.turn = (self.turn + 1) % lanes.max(1);
    }

    /// One attempt; after an error the segment is abandoned.
    fn attempt(&mut self, what: fn(&mut Self) -> io::Result<()>, done: impl FnOnce(&mut Self)) -> Step {
        let shared = Arc::clone(&self.shared);
        match shared.ask_disk(|| what(self)) {
            Ok(()) => {
                done(self);
                if std::mem::take(&mut self.is_failing) {
                    self.shared.progress().failing = None;
                    log::warn!("journal: the disk takes records again");
                }
                Step::Committed
            }
            Err(error) => {
                self.failed(&error);
                Step::Failed
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.segment = None;
        self.unsynced = false;
        self.is_failing = true;
        self.end.last = self.synced;
        let reason = format!("{}: {error}", self.disk.path().display());
        if self.shared.progress().failing.replace(reason.clone()).is_none() {
            let so = match self.durability {
                Durability::Sync => "no ACK is sent",
                Durability::Interval(_) | Durability::Off => "ACKs are sent, and their leases are in memory only,",
            };
            log::error!("journal: {reason}; {so} until the disk takes records again");
        }
    }

    fn give_up(&self) -> JournalError {
        let waiting: usize = self.lanes.rings.iter().map(rtrb::Consumer::slots).sum();
        let reason = self.shared.progress().failing.clone().unwrap_or_default();
        let path = self.disk.path().display().to_string();
        JournalError::NotDurable { path, records: self.records() + waiting as u64, reason }
    }

    /// Tells everybody that the group is durable (or written), and begins the next one.
    fn publish(&mut self, start: Instant) {
        for (lane, taken) in self.taken.iter().enumerate() {
            let durable = self.shared.durable(lane);
            if durable.load(Ordering::Relaxed) != *taken {
                // First: a lane that has room for a record is to have room for what the record frees.
                if let (Some(freed), Some(on_freed)) = (self.lanes.freed.get_mut(lane), &self.on_freed) {
                    freed.give_back(*taken, on_freed);
                }
                durable.store(*taken, Ordering::Release);
                self.shared.wakes[lane].wake();
            }
        }
        self.show_end();
        self.shared.progress().committed(self.records(), start.elapsed());
        self.group.truncate(RECORD);
    }

    /// Lets followers have what is durable (or written).
    fn show_end(&self) {
        if let Some(open) = &self.segment {
            self.shared.board.publish(open.header.number, open.header.seed, open.len);
        }
    }

    /// Syncs what was written before.
    fn sync(&mut self) -> io::Result<()> {
        if let Some(open) = &mut self.segment {
            open.file.sync()?;
        }
        self.unsynced = false;
        self.last_sync = Instant::now();
        self.synced = self.end.last;
        Ok(())
    }

    fn sync_at_end(&mut self) -> Result<(), JournalError> {
        let start = Instant::now();
        while self.unsynced && self.attempt(Self::sync, |_| ()) == Step::Failed {
            if start.elapsed() >= STOP_PATIENCE {
                return Err(self.give_up());
            }
        }
        Ok(())
    }

    /// Ends the segment with a marker that vouches for all of it, so that damage to its end is told from a torn write. All
    /// is durable already: an error takes nothing away.
    pub fn close(&mut self) {
        let Some(open) = self.segment.as_mut().filter(|open| open.len > RECORD as u64) else { return };
        let mut bytes = record::marker(open.len, &(self.moment)());
        record::seal(&mut bytes, open.header.seed);
        if let Err(error) = open.file.append(&bytes).and_then(|()| open.file.sync()) {
            log::warn!("journal: {}: the last segment was not closed: {error}", self.disk.path().display());
        }
    }

    /// One write and, where it is due, one sync.
    fn write_group(&mut self) -> io::Result<()> {
        // Before the disk is asked for anything: no change of a later time is in the group, and none of an earlier one is not.
        let moment = (self.moment)();
        let size = self.group.len() as u64;
        if self.segment.as_ref().is_none_or(|open| open.len + size > self.rotate_at.max(RECORD as u64 + size)) {
            self.open_segment()?;
        }
        let Some(open) = &mut self.segment else { return Err(io::ErrorKind::NotFound.into()) };
        if !open.file.is_named()? {
            return Err(self.go_on_without_segment());
        }
        let is_sync = self.durability == Durability::Sync;
        // Only what is synced may be vouched for.
        let durable = if is_sync { open.len } else { RECORD as u64 };
        self.group[..RECORD].copy_from_slice(&record::marker(durable, &moment));
        for bytes in self.group.as_chunks_mut::<RECORD>().0 {
            record::seal(bytes, open.header.seed);
        }
        open.file.append(&self.group)?;
        if is_sync {
            open.file.sync()?;
        }
        open.len += size;
        self.marked = moment;
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
        let name =
            self.segment.take().map_or_else(String::new, |open| segment::name(open.header.number, Kind::Segment));
        let what = format!("{}: {name} was removed while in use", self.disk.path().display());
        log::error!(
            "journal: {what}: leases recorded in it are in memory only; do not stop the server before they are renewed"
        );
        self.shared.progress().lost = Some(what.clone());
        self.unsynced = false;
        match recovery::find(&*self.disk).and_then(|found| found.end(&*self.disk)) {
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
        self.make_segment(&segment::name(self.end.next, Kind::Segment), None)
    }

    fn make_segment(&mut self, name: &str, carried: Option<Carried>) -> io::Result<()> {
        let number = self.end.next;
        let seed = segment::random_seed();
        let header = Header {
            kind: Kind::Segment,
            number,
            seed,
            previous: self.end.last,
            carries: carried.is_some(),
            carried: carried.unwrap_or_default(),
        };
        let mut file = self.disk.create(name).inspect_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                // What an attempt left behind that failed, and could not be removed either.
                self.end.next = number.saturating_add(1);
            }
        })?;
        if let Err(error) = file.append(&header.encode()).and_then(|()| file.sync()) {
            // A full disk would collect one such file at each attempt. One that cannot be removed is not written to again.
            drop(file);
            if self.disk.remove(name).is_err() {
                self.end.next = number.saturating_add(1);
            }
            return Err(error);
        }
        self.end.next = number.saturating_add(1);
        self.segment = Some(Open { file, header, len: RECORD as u64 });
        self.end.last = Some((number, RECORD as u64));
        self.synced = self.end.last;
        if let Some(closed) = &self.closed {
            // Full: it looks anyway.
            let _ = closed.try_send(());
        }
        Ok(())
    }
}
