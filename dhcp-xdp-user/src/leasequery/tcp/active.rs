//! An active query: changes as they become durable, and what ends without a record (RFC 7724).
//!
//! Changes come from a follower of the journal, read on a blocking thread when the former ones have been written to the
//! socket: a slow reader grows no memory, and one that is too slow has lagged. Leases that run out are in no record; so the
//! table is walked for them, every few seconds while somebody is there to be told.
//!
//! The base-time of an update says up to when changes have been told. That is a moment ago; or longer, for a requestor that reads
//! slowly, and while the journal's disk stalls, since what waits for it is not told. So it can be the query-start-time of the
//! requestor's next query without a gap (RFC 7724 7.4).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{
    reply::{Replies, Status},
    walk::{CHUNK, Filter, Step, Walk},
    world::{Spaces, World},
};
use crate::{
    journal::{Changes, FollowError, FollowFrom, Follower},
    lease::Binding,
};

/// How long a read waits for a change. Stopping waits for it.
const WAIT: Duration = Duration::from_millis(250);
/// How often leases are looked for that ran out.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// So much more of the past is told than was asked for, seconds: a change has its time a moment before its worker hands it to the
/// journal, and of what ran out a base-time may be so far ahead.
const MARGIN_S: u32 = 60;

/// What a read gives: the follower back, and what followed.
type Read = (Follower, Result<Changes, FollowError>);

/// An active query under way.
#[derive(Debug)]
pub(super) struct Active {
    replies: Replies,
    spaces: Spaces,
    /// At rest; else it is on its way in `read`.
    follower: Option<Follower>,
    read: Option<JoinHandle<Read>>,
    /// When that read began, seconds since 1970-01-01 UTC.
    read_from_s: u32,
    /// Changes that are still to be told.
    changes: VecDeque<Binding>,
    /// All changes up to then have been told, seconds since 1970-01-01 UTC. See [`base_s`](Self::base_s).
    recorded_s: u32,
    /// The same once all that is in `changes` is told.
    until_s: u32,
    catch_up: Option<Walk>,
    /// The walk for what ran out, and up to when.
    look: Option<(Walk, u32)>,
    /// All that ran out by then has been told.
    pub(super) looked_s: u32,
    next_look: Instant,
    last_said: Instant,
    idle: Duration,
}

/// Why an active query ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// Its requestor read too slowly.
    Lagged,
    /// Something else.
    Failed(String),
}

impl Active {
    /// Begins; `start_s` is the query-start-time. What is to be said at once goes to `out`.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn begin(
        world: &World,
        mut replies: Replies,
        spaces: Spaces,
        start_s: Option<u32>,
        idle: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Self, Ending> {
        let now_s = world.clock.now_s();
        let follower = world.followers.follow(FollowFrom::Now)?;
        // After the follower's place was taken: what changes from here on is told by both, rather than by none.
        let catch_up = match start_s {
            Some(start_s) if start_s > now_s || start_s < world.known_since_s => {
                replies.status(out, now_s, Status::DataMissing, "not all changes since then are known");
                None
            }
            Some(start_s) => Some(Walk::new(Filter::ChangedSince(start_s.saturating_sub(MARGIN_S)), spaces)),
            None => None,
        };
        let now = Instant::now();
        Ok(Self {
            replies,
            spaces,
            follower: Some(follower),
            read: None,
            read_from_s: now_s,
            changes: VecDeque::new(),
            recorded_s: now_s,
            until_s: now_s,
            catch_up,
            look: None,
            looked_s: now_s,
            next_look: now + LOOK,
            last_said: now,
            idle,
        })
    }

    /// Writes what there is to be said now. It is called with an empty `out`.
    pub fn step(&mut self, world: &World, out: &mut Vec<u8>) -> Step {
        let mut step = Step::default();
        let base_s = self.base_s();
        if let Some(walk) = &mut self.catch_up {
            step = walk.step(world, &mut self.replies, world.clock.now_s(), out);
            if step.is_done {
                self.catch_up = None;
                self.replies.status(out, base_s, Status::CatchUpComplete, "");
            }
        } else if !self.changes.is_empty() {
            // Not paid for: there are no more of them than clients made.
            while out.len() < CHUNK
                && let Some(binding) = self.changes.pop_front()
            {
                if self.changes.is_empty() {
                    self.recorded_s = self.until_s;
                }
                // Not before the last one: who is cut off in between is to be told the others by its next query.
                let base_s = self.base_s();
                world.tell(&mut self.replies, &binding, base_s, out);
                step.told += 1;
            }
            step = Step { told: step.told, ..Step::default() };
        } else if let Some((walk, until_s)) = &mut self.look {
            step = walk.step(world, &mut self.replies, base_s, out);
            if step.is_done {
                self.looked_s = *until_s;
                self.look = None;
            }
        } else if Instant::now() >= self.next_look {
            let until_s = world.clock.now_s();
            self.look = Some((Walk::new(Filter::EndedBetween(self.looked_s, until_s), self.spaces), until_s));
            self.next_look = Instant::now() + LOOK;
        }
        if out.is_empty() && self.last_said.elapsed() >= self.idle {
            self.replies.status(out, base_s, Status::ConnectionActive, "");
        }
        if !out.is_empty() {
            self.last_said = Instant::now();
        }
        step.is_done = false;
        step
    }

    /// Up to when all has been told, seconds since 1970-01-01 UTC: what ran out since `looked_s` a query from then on is told too.
    fn base_s(&self) -> u32 {
        self.recorded_s.min(self.looked_s.saturating_add(MARGIN_S))
    }

    /// Whether [`step`](Self::step) has something to do at once.
    pub fn has_work(&self) -> bool {
        self.catch_up.is_some() || !self.changes.is_empty() || self.look.is_some()
    }

    /// When [`step`](Self::step) is due though nothing has happened.
    pub fn due(&self) -> Instant {
        self.next_look.min(self.last_said + self.idle)
    }

    /// Waits for changes; for ever while it has others to tell. It may be dropped at any time.
    pub async fn changes(&mut self, world: &World) -> Result<(), Ending> {
        if self.catch_up.is_some() || !self.changes.is_empty() {
            return std::future::pending().await;
        }
        if let Some(mut follower) = self.follower.take() {
            self.read_from_s = world.clock.now_s();
            self.read = Some(tokio::task::spawn_blocking(move || {
                let changes = follower.next(WAIT).cloned();
                (follower, changes)
            }));
        }
        let Some(read) = &mut self.read else { return std::future::pending().await };
        let (follower, changes) = read.await.map_err(|error| Ending::Failed(error.to_string()))?;
        self.read = None;
        self.follower = Some(follower);
        let changes = changes?;
        let until_s = if changes.is_all { self.read_from_s } else { changes.settled_s };
        self.until_s = self.until_s.max(until_s);
        let spaces = self.spaces;
        self.changes.extend(changes.bindings.into_iter().filter(|binding| spaces.have(binding.space)));
        if self.changes.is_empty() {
            self.recorded_s = self.until_s;
        }
        Ok(())
    }

    /// Ends it: the last message (RFC 7724 7.4).
    pub fn end(mut self, ending: &Ending, out: &mut Vec<u8>) {
        let base_s = self.base_s();
        let text = match ending {
            Ending::Lagged => {
                const TOO_SLOW: &str = "updates were read too slowly";
                self.replies.status(out, base_s, Status::DataMissing, TOO_SLOW);
                TOO_SLOW
            }
            Ending::Failed(why) => why,
        };
        self.replies.status(out, base_s, Status::QueryTerminated, text);
    }
}

impl From<FollowError> for Ending {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Lagged => Self::Lagged,
            FollowError::Stopped => Self::Failed("the server is stopping".into()),
            FollowError::Journal(error) => {
                log::warn!("leasequery: {error}");
                Self::Failed("the journal cannot be read".into())
            }
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lagged => f.write_str("its requestor read too slowly"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}
