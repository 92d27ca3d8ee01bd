//! Makes events of what a follower gets, and tells expiries, which the journal has no records of.

use std::time::Duration;

use super::{Event, EventKind, tracker::Tracker};
use crate::{
    clock::Clock,
    control::now_s,
    journal::{FollowError, FollowFrom, Follower, Followers, JournalError, Position},
    lease::{Binding, BindingState, LeaseTable},
};

/// The end of a lease is told so much later: a renewal that came in time may still be on its way to the disk.
const GRACE_S: u32 = 5;

/// A follower and what it knows of each address.
pub(super) struct Watch {
    followers: Followers,
    follower: Follower,
    tracker: Tracker,
    clock: Clock,
    /// The end of whatever ended by then was told.
    expired_until_s: u32,
    /// What is to be read before more ends can be told.
    ahead: Option<Ahead>,
    /// See [`complete_until_s`](Self::complete_until_s).
    complete_until_s: Option<u32>,
}

/// What the journal had at a moment. Once it is read, what ended before that moment was not renewed. (Waiting for a moment in which
/// nothing comes would be waiting for ever: a large server renews at all times.)
#[derive(Clone, Copy, Debug)]
struct Ahead {
    position: Position,
    lease_s: u32,
    wall_s: u32,
    /// The disk took what it was given: a renewal that was made in time is not still on its way.
    is_all: bool,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// With what comes after a place; compaction does not wait.
    After(Position),
    /// With all that the journal has; compaction waits, up to so many bytes.
    Oldest { max_bytes: u64 },
    /// Where a former one was, which had told the ends up to a time.
    Position { position: Position, expired_until_s: u32, max_bytes: u64 },
}

impl Watch {
    /// # Errors
    /// [`FollowError::Lagged`]: the position is gone; a file cannot be read.
    pub fn begin(followers: &Followers, clock: Clock, begin: Begin) -> Result<Self, FollowError> {
        let (follower, position, expired_until_s) = match begin {
            Begin::After(position) => {
                let follower = followers.follow(FollowFrom::Position(position))?;
                (follower, Some(position), clock.now_s().saturating_sub(GRACE_S))
            }
            Begin::Oldest { max_bytes } => (followers.retain(FollowFrom::Oldest, max_bytes)?, None, 0),
            Begin::Position { position, expired_until_s, max_bytes } => {
                (followers.retain(FollowFrom::Position(position), max_bytes)?, Some(position), expired_until_s)
            }
        };
        let mut tracker = Tracker::default();
        if let Some(position) = position {
            replay(followers, position, &mut tracker, expired_until_s)?;
        }
        let (ahead, complete_until_s) = (None, None);
        Ok(Self { followers: followers.clone(), follower, tracker, clock, expired_until_s, ahead, complete_until_s })
    }

    /// Hands out what happened, oldest first, with how far the wall clock was ahead of the leases' time then; waits for something
    /// at most so long. False: there was nothing new.
    ///
    /// # Errors
    /// As [`Follower::next`].
    pub fn step(&mut self, max_wait: Duration, mut each: impl FnMut(Event, i64)) -> Result<bool, FollowError> {
        let ahead = *self.ahead.get_or_insert_with(|| Ahead {
            position: self.followers.now(),
            lease_s: self.clock.now_s(),
            wall_s: now_s(),
            is_all: self.followers.failing().is_none(),
        });
        let changes = match self.follower.next(max_wait) {
            Err(FollowError::Stopped) => {
                self.complete_until_s = Some(now_s());
                return Err(FollowError::Stopped);
            }
            changes => changes?,
        };
        let ahead_s = changes.moment.wall_ahead_s();
        for binding in &changes.bindings {
            self.tracker.take(binding.clone(), |event| each(event, ahead_s));
        }
        let told_until_s = self.expired_until_s;
        let is_idle = changes.bindings.is_empty();
        let Position { segment, offset, .. } = changes.position;
        if is_idle || (segment, offset) >= (ahead.position.segment, ahead.position.offset) {
            self.ahead = None;
            if ahead.is_all && self.followers.failing().is_none() {
                self.expired_until_s = self.expired_until_s.max(ahead.lease_s.saturating_sub(GRACE_S));
                self.complete_until_s = Some(ahead.wall_s.saturating_sub(GRACE_S));
            }
        }
        // Also those whose record came late: nothing that ended by then is left untold. It looks at all blocks of addresses, and so
        // not at every step.
        let is_late = |binding: &Binding| binding.expires_s <= self.expired_until_s;
        if self.expired_until_s > told_until_s || changes.bindings.iter().any(is_late) {
            self.tracker.expire(self.expired_until_s, |event| each(event, ahead_s));
        }
        Ok(!is_idle)
    }

    /// The place after what was handed out.
    pub fn position(&self) -> Position {
        self.follower.position()
    }

    /// See the field.
    pub fn expired_until_s(&self) -> u32 {
        self.expired_until_s
    }

    /// All that happened up to this moment was handed out, seconds since 1970 by the wall clock. `None`: nobody knows yet.
    pub fn complete_until_s(&self) -> Option<u32> {
        self.complete_until_s
    }

    /// All up to here has been dealt with.
    pub fn done_with(&self, position: Position) {
        self.follower.done_with(position);
    }

    /// Bytes of the journal that are still to be read.
    pub fn behind_bytes(&self) -> u64 {
        self.followers.behind_bytes(self.position())
    }
}

/// What was before a position. Compaction may take a file away meanwhile: then it is read anew.
fn replay(
    followers: &Followers,
    position: Position,
    tracker: &mut Tracker,
    expired_until_s: u32,
) -> Result<(), FollowError> {
    for attempt in 0.. {
        match followers.replay_before(position, |binding| tracker.restore(&binding, expired_until_s)) {
            Err(JournalError::Io { source, .. }) if attempt < 5 && source.kind() == std::io::ErrorKind::NotFound => {}
            Err(JournalError::Damaged { path, .. }) if attempt < 5 && !std::path::Path::new(&path).exists() => {}
            done => return Ok(done?),
        }
        *tracker = Tracker::default();
    }
    Ok(())
}

/// An expired binding with all that is known of its client, if the table still remembers it.
pub(super) fn with_client(event: Event, table: &LeaseTable, now_s: u32) -> Event {
    use BindingState::{Bound, Expired, Released};
    if event.kind != EventKind::Expired {
        return event;
    }
    let is_it = |found: &Binding| {
        found.generation == event.binding.generation && matches!(found.state, Bound | Expired | Released)
    };
    match table.get(event.binding.at(), now_s).filter(is_it) {
        Some(found) => Event { binding: Binding { state: Expired, ..found }, ..event },
        None => event,
    }
}
