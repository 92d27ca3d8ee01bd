//! What a follower that retains has got over all lives: every durable change, none twice. It is stopped with the server, and goes on from where it last noted its position; what it got after that it has forgotten.

use std::collections::HashMap;

use super::{
    super::super::{FollowError, FollowFrom, Follower, Followers, Position},
    *,
};

/// All that outlives a crash.
#[derive(Debug, Default)]
pub(super) struct History {
    /// What it got, and how much of it by the position that it noted.
    got: Vec<Record>,
    noted: (Position, usize),
    /// How often each change was submitted.
    submitted: HashMap<Record, u32>,
    /// What was said to be durable.
    durable: HashSet<Record>,
    /// Of each lane of this life, by ticket; continuations have none.
    lanes: [Vec<(Ticket, Record)>; LANES],
}

impl History {
    /// Where the next life's follower goes on; what came after it is forgotten.
    pub fn begin(&mut self) -> Position {
        self.got.truncate(self.noted.1);
        self.lanes = Default::default();
        self.noted.0
    }

    pub fn follow(&self, followers: &Followers) -> Result<Follower, JournalError> {
        let position = self.noted.0;
        let from = if position == Position::default() { FollowFrom::Oldest } else { FollowFrom::Position(position) };
        followers.retain(from, u64::MAX).map_err(|error| match error {
            FollowError::Journal(error) => error,
            other => panic!("{other}"),
        })
    }

    pub fn submitted(&mut self, lane: usize, ticket: Ticket, record: Record) {
        *self.submitted.entry(record.clone()).or_default() += 1;
        self.lanes[lane].push((ticket, record));
    }

    /// The journal says that these are durable.
    pub fn durable(&mut self, lanes: &[Lane]) {
        for (own, lane) in self.lanes.iter_mut().zip(lanes) {
            let count = own.partition_point(|(ticket, _)| *ticket <= lane.durable());
            self.durable.extend(own.drain(..count).map(|(_, record)| record));
        }
    }

    /// Takes a batch; false when there is none now.
    pub fn take(&mut self, follower: &mut Follower, notes: bool) -> bool {
        let changes = match follower.next(Duration::ZERO) {
            Ok(changes) => changes,
            Err(FollowError::Journal(JournalError::Io { .. })) => return false,
            Err(error) => panic!("{error}"),
        };
        self.got.extend(changes.bindings.iter().map(record_of));
        let (position, is_some) = (changes.position, !changes.bindings.is_empty());
        if notes {
            self.noted = (position, self.got.len());
            follower.done_with(position);
        }
        is_some
    }

    /// It has all that is durable, and each change no oftener than it was submitted.
    pub fn check(&self) {
        let mut counts: HashMap<&Record, u32> = HashMap::new();
        for record in &self.got {
            *counts.entry(record).or_default() += 1;
            let submitted = self.submitted.get(record).copied().unwrap_or(0);
            assert!(counts[record] <= submitted, "{} times instead of {submitted}: {record:?}", counts[record]);
        }
        let missing = self.durable.iter().find(|record| !counts.contains_key(record));
        assert_eq!(missing, None, "durable, and never got");
    }
}
