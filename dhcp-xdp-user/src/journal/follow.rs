//! Following a running journal: changes in the order in which they became durable, behind the writer.
//!
//! The writer notes on the [`Board`](super::board::Board) how far each of its segments counts, once a group, and wakes who waits; that is all that it
//! costs. A [`Follower`] reads the files itself, at its own pace: one that is slow grows no memory and holds nobody up, but may
//! find its segment compacted, and then has [lagged](FollowError::Lagged). One that *retains* keeps compaction from what it has
//! not [dealt with](Follower::done_with), within a bound.
//!
//! Of one life of the server each change comes once. A [`Position`] stays good over a restart; what a start records once more,
//! because it may not have been durable, is not handed out twice ([`resume`](super::resume)).

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Disk, JournalError, StoredFile,
    board::{RESERVED, Retained},
    chain,
    record::{self, RECORD, Record},
    recovery::Parts,
    resume::{self, Piece},
    segment::{self, Kind},
    status::Shared,
    writer::ALL_THERE_WAS,
};
use crate::{clock::Moment, lease::Binding};

/// Most changes of a batch, about.
const BATCH: usize = 1024;
/// Bytes that are read at a time.
const READ: usize = 128 << 10;

/// A place in the journal between two changes. Good over restarts, for as long as its segment is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// What its checksums start from: a segment of that number in another journal has another one.
    pub seed: u32,
    /// Bytes from its start.
    pub offset: u64,
}

/// Where a follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowFrom {
    /// After what is there.
    Now,
    /// With the oldest that the journal has: of the addresses in its snapshot the newest change of each, then all changes since.
    Oldest,
    /// Where another one ended.
    Position(Position),
}

/// Why nothing follows.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// What follows its position is gone: compacted, or of another journal. Begin [anew](FollowFrom), and look at the table for what it missed.
    #[error("the journal no longer has what follows this position")]
    Lagged,
    /// The journal was stopped, and all was read.
    #[error("the journal was stopped")]
    Stopped,
    /// A file cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A batch of changes, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The changes; none when the wait was over.
    pub bindings: Vec<Binding>,
    /// The place after them.
    pub position: Position,
    /// What the clocks said when the group of the last of them was written.
    pub moment: Moment,
    /// All that had changed by then is in this batch or a former one, seconds since 1970-01-01 UTC as leases have it; 0 until that
    /// is known. Nothing is said of what still waits to be written, which while the disk stalls may be long.
    pub settled_s: u32,
    /// The batch is empty, and nothing waited to be written when it was asked for: all that had changed by then was handed out.
    pub is_all: bool,
}

impl Changes {
    /// A group, from its start on and begun at a time, ends here: if it had all that waited then, all of before has been read.
    fn end_group(&mut self, group: Option<(u64, u32)>, end: u64) {
        const ALL: u64 = ((1 + ALL_THERE_WAS) * RECORD) as u64;
        if let Some((_, begun_s)) = group.filter(|(start, _)| end.saturating_sub(*start) <= ALL) {
            self.settled_s = self.settled_s.max(begun_s);
        }
    }
}

/// A way to follow a journal, for any thread.
#[derive(Clone)]
pub struct Followers {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<dyn Disk>,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followers").field("path", &self.disk.path()).finish_non_exhaustive()
    }
}

impl Followers {
    /// The place after all that is durable (or written, where durability is not `sync`) now.
    pub fn now(&self) -> Position {
        let state = self.shared.board.state();
        let last = state.marks.last_key_value();
        last.map_or_else(Position::default, |(number, mark)| Position {
            segment: *number,
            seed: mark.seed,
            offset: mark.end,
        })
    }

    /// How many bytes of changes follow a position, as far as this life's segments tell.
    pub fn behind_bytes(&self, position: Position) -> u64 {
        let state = self.shared.board.state();
        let later = state.marks.range(position.segment..);
        let read = if state.marks.contains_key(&position.segment) { position.offset } else { 0 };
        later.map(|(_, mark)| mark.end).sum::<u64>().saturating_sub(read)
    }

    /// The disk's last error while it has not been overcome: changes may wait.
    pub fn failing(&self) -> Option<String> {
        self.shared.failing()
    }

    /// Hands out what is before a place, oldest first: of the addresses in the snapshot the newest change of each. Of some
    /// changes that the journal has twice both may come. Compaction may interfere, and it is to be begun anew then.
    ///
    /// # Errors
    /// A file cannot be read, or is no longer there.
    pub fn replay_before(&self, position: Position, each: impl FnMut(Binding)) -> Result<(), JournalError> {
        resume::before(&*self.disk, position, each)
    }

    /// Follows from a place on. Compaction does not wait for it.
    ///
    /// # Errors
    /// [`FollowError::Lagged`]: the place is gone; a file cannot be read.
    pub fn follow(&self, from: FollowFrom) -> Result<Follower, FollowError> {
        self.begin(from, None)
    }

    /// As [`follow`](Self::follow); compaction leaves what it has not [dealt with](Follower::done_with), up to so many bytes of closed
    /// segments. Beyond that it is dropped, said and counted, and will lag unless it catches up before it is compacted.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub fn retain(&self, from: FollowFrom, max_bytes: u64) -> Result<Follower, FollowError> {
        let segment = match from {
            FollowFrom::Now => self.now().segment,
            FollowFrom::Oldest => 0,
            FollowFrom::Position(position) => position.segment,
        };
        let id = {
            let mut state = self.shared.board.state();
            let id = state.next_follower.max(RESERVED + 1);
            state.next_follower = id + 1;
            state.retained.insert(id, Retained { segment, max_bytes });
            // It was held for this one.
            state.retained.remove(&RESERVED);
            id
        };
        self.begin(from, Some(Hold { shared: Arc::clone(&self.shared), id, max_bytes }))
    }

    fn begin(&self, from: FollowFrom, hold: Option<Hold>) -> Result<Follower, FollowError> {
        let mut follower = Follower {
            from: self.clone(),
            pieces: VecDeque::new(),
            live: 0,
            at: None,
            changes: Changes::default(),
            group: None,
            buffer: Vec::new(),
            hold,
        };
        let position = match from {
            FollowFrom::Now => self.now(),
            FollowFrom::Oldest => {
                follower.resume(None)?;
                return Ok(follower);
            }
            FollowFrom::Position(position) => position,
        };
        follower.changes.position = position;
        if let Some(end) = self.end_of(position.segment, position.seed) {
            if position.offset > end {
                return Err(FollowError::Lagged);
            }
            let mut reading = follower.open(position.segment, position.seed, None)?;
            reading.offset = position.offset.max(RECORD as u64);
            follower.at = Some(reading);
        } else {
            follower.resume(Some(position))?;
        }
        Ok(follower)
    }

    /// The first segment of this life.
    fn first(&self) -> Option<u64> {
        self.shared.board.state().marks.first_key_value().map(|(number, _)| *number)
    }

    fn end_of(&self, number: u64, seed: u32) -> Option<u64> {
        let state = self.shared.board.state();
        state.marks.get(&number).filter(|mark| mark.seed == seed).map(|mark| mark.end)
    }
}

/// Keeps segments from compaction until it is dropped.
struct Hold {
    shared: Arc<Shared>,
    id: u64,
    max_bytes: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.board.state().retained.remove(&self.id);
    }
}

/// A file that is being read.
struct Reading {
    name: String,
    file: Box<dyn StoredFile>,
    number: u64,
    seed: u32,
    offset: u64,
    /// Where it ends; `None`: as far as the writer says.
    end: Option<u64>,
    /// Changes in it that were handed out before.
    known: resume::Known,
}

/// Reads changes behind the writer.
pub struct Follower {
    from: Followers,
    /// Files of former lives that are still to be read, and the number of this life's first one.
    pieces: VecDeque<Piece>,
    live: u64,
    at: Option<Reading>,
    changes: Changes,
    /// Where the group that is being read begins, and when it was begun.
    group: Option<(u64, u32)>,
    buffer: Vec<u8>,
    hold: Option<Hold>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("position", &self.changes.position).finish_non_exhaustive()
    }
}

impl Follower {
    /// The place after the last batch.
    pub fn position(&self) -> Position {
        self.changes.position
    }

    /// What follows of changes, some at a time; waits at most so long for a first one, and returns none then. Without a wait it
    /// takes what is there.
    ///
    /// # Errors
    /// [`FollowError::Lagged`]: begin anew. [`FollowError::Stopped`]: the end. A file cannot be read: it may be tried again.
    pub fn next(&mut self, max_wait: Duration) -> Result<&Changes, FollowError> {
        let until = Instant::now() + max_wait;
        let had_settled = self.from.shared.has_settled();
        self.changes.bindings.clear();
        loop {
            // No place between what is carried over and was handed out before is one to go on from.
            let is_between = self.at.as_ref().is_some_and(|reading| !reading.known.is_empty());
            if !self.changes.bindings.is_empty() && !is_between {
                break;
            }
            if self.at.is_none() && !self.open_next(until)? {
                break;
            }
            let Some(mut reading) = self.at.take() else { break };
            match reading.end {
                Some(end) if reading.offset >= end => {}
                Some(end) => {
                    let read = self.read(&mut reading, end);
                    self.at = Some(reading);
                    read?;
                }
                None => match self.wait_for(&reading, until)? {
                    Wait::More(end) => {
                        let read = self.read(&mut reading, end);
                        self.at = Some(reading);
                        read?;
                    }
                    Wait::Closed => {}
                    Wait::Over => {
                        self.at = Some(reading);
                        break;
                    }
                    Wait::Ended => {
                        self.at = Some(reading);
                        return Err(FollowError::Stopped);
                    }
                },
            }
        }
        self.changes.is_all = had_settled && self.changes.bindings.is_empty();
        Ok(&self.changes)
    }

    /// All up to this place has been dealt with for good: where it retains, compaction may have it.
    pub fn done_with(&self, position: Position) {
        // Before this life, what a start may need to make sense of the rest is kept as well.
        if let Some(Hold { shared, id, max_bytes }) = self.hold.as_ref().filter(|_| position.segment >= self.live) {
            // One that was dropped and has caught up holds again.
            let retained = Retained { segment: position.segment, max_bytes: *max_bytes };
            shared.board.state().retained.insert(*id, retained);
        }
    }

    /// Plans the files of former lives.
    fn resume(&mut self, position: Option<Position>) -> Result<(), FollowError> {
        let Followers { shared, disk } = &self.from;
        let own = self.from.first();
        let reserved = shared.board.state().plan.take().filter(|(of, _)| *of == position.unwrap_or_default());
        let plan = match reserved {
            Some((_, plan)) => plan,
            None => resume::plan(&**disk, position, own)?.ok_or(FollowError::Lagged)?,
        };
        if let Some(hold) = &self.hold
            && let Some(retained) = shared.board.state().retained.get_mut(&hold.id)
        {
            retained.segment = retained.segment.min(plan.needs);
        }
        self.pieces = plan.pieces;
        self.live = own.unwrap_or(0);
        Ok(())
    }

    /// The file after the one that was read; false when it is not there in time.
    fn open_next(&mut self, until: Instant) -> Result<bool, FollowError> {
        if let Some(piece) = self.pieces.pop_front() {
            let file = match self.from.disk.open(&piece.name) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FollowError::Lagged),
                Err(error) => {
                    let fail = JournalError::on(&*self.from.disk, Some(&piece.name), "open it")(error);
                    self.pieces.push_front(piece);
                    return Err(fail.into());
                }
            };
            let Piece { name, number, seed, start, end, known } = piece;
            self.at = Some(Reading { name, file, number, seed, offset: start, end, known });
            return Ok(true);
        }
        let (number, seed) = {
            let after = self.changes.position.segment;
            let board = &self.from.shared.board;
            let mut state = board.state();
            loop {
                if let Some((number, mark)) = state.marks.range(after.saturating_add(1)..).next() {
                    break (*number, mark.seed);
                }
                if state.is_ended {
                    return Err(FollowError::Stopped);
                }
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(false);
                }
                state.waiting += 1;
                state = board.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                state.waiting -= 1;
            }
        };
        self.at = Some(self.open(number, seed, None)?);
        Ok(true)
    }

    fn open(&self, number: u64, seed: u32, end: Option<u64>) -> Result<Reading, FollowError> {
        let name = segment::name(number, Kind::Segment);
        match self.from.disk.open(&name) {
            Ok(file) => {
                let known = resume::Known::default();
                Ok(Reading { name, file, number, seed, offset: RECORD as u64, end, known })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FollowError::Lagged),
            Err(error) => Err(JournalError::on(&*self.from.disk, Some(&name), "open it")(error).into()),
        }
    }

    /// Waits until there is more in this segment, or another one after it.
    fn wait_for(&self, reading: &Reading, until: Instant) -> Result<Wait, FollowError> {
        let board = &self.from.shared.board;
        let mut state = board.state();
        loop {
            let mark = state.marks.get(&reading.number).ok_or(FollowError::Lagged)?;
            if mark.end > reading.offset {
                return Ok(Wait::More(mark.end));
            }
            if state.marks.range(reading.number + 1..).next().is_some() {
                return Ok(Wait::Closed);
            }
            if state.is_ended {
                return Ok(Wait::Ended);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wait::Over);
            }
            state.waiting += 1;
            state = board.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    /// Takes the changes in a part of a file, which is whole up to `end`.
    fn read(&mut self, reading: &mut Reading, end: u64) -> Result<(), FollowError> {
        let disk = &*self.from.disk;
        let wanted = usize::try_from(end - reading.offset).unwrap_or(READ).min(READ);
        self.buffer.resize(wanted, 0);
        let filled = reading
            .file
            .read_at(&mut self.buffer, reading.offset)
            .map_err(|error| JournalError::on(disk, Some(&reading.name), "read it")(error))?;
        if filled < wanted {
            // It was removed, and is being given back.
            return Err(FollowError::Lagged);
        }
        let (records, _) = self.buffer.as_chunks::<RECORD>();
        let mut parts = Parts::default();
        let (before, mut offset) = (reading.offset, reading.offset);
        let mut is_between = !reading.known.is_empty();
        for bytes in records {
            let at = offset;
            offset += RECORD as u64;
            let binding = match record::decode(bytes, reading.seed) {
                // A change that this read ends in is read again.
                Some(Record::Continuation { at, generation, part, bytes }) => {
                    parts.add((at, generation), part, bytes);
                    continue;
                }
                Some(Record::Marker { moment, .. }) => {
                    let is_set = moment.wall_ahead_s().abs_diff(self.changes.moment.wall_ahead_s()) > 1;
                    if is_set && !self.changes.bindings.is_empty() && !is_between {
                        // What comes before it was at another time of the wall clock's.
                        break;
                    }
                    self.changes.end_group(self.group.take(), at);
                    self.group = Some((at, moment.lease_s));
                    self.changes.moment = moment;
                    reading.offset = offset;
                    continue;
                }
                Some(Record::Base { lease, hw, tail, start }) => {
                    let whole = parts.complete((lease.at(), lease.generation), start, tail.len());
                    whole.and_then(|whole| tail.binding(&lease, &hw, &whole))
                }
                None => None,
            };
            match binding {
                Some(binding) if reading.known.take(&binding) => is_between = !reading.known.is_empty(),
                Some(binding) => self.changes.bindings.push(binding),
                // What came before it is handed out first.
                None if !self.changes.bindings.is_empty() && !is_between => break,
                None => return Err(chain::damaged(disk, &reading.name, at).into()),
            }
            reading.offset = offset;
            if self.changes.bindings.len() >= BATCH && !is_between {
                break;
            }
        }
        if reading.offset == before {
            // Parts of a change and no end of it: another read would find the same, for ever.
            return Err(chain::damaged(disk, &reading.name, before).into());
        }
        if reading.offset == end {
            self.changes.end_group(self.group.take(), end);
        }
        self.changes.position = Position { segment: reading.number, seed: reading.seed, offset: reading.offset };
        Ok(())
    }
}

enum Wait {
    /// This segment counts up to here now.
    More(u64),
    /// It is read, and another one follows.
    Closed,
    /// Nothing came in time.
    Over,
    /// Nothing will come.
    Ended,
}
