//! Where the writer tells how far it is, followers wait, and compaction asks what is kept for them.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{
    Disk, JournalError,
    chain::Link,
    follow::Position,
    resume::{self, Plan},
    segment::{Kind, ROTATE_AT},
};

/// How far a segment of this life counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub seed: u32,
    pub end: u64,
}

/// Where the writer tells how far it is, and followers wait.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
    /// Told of each publication that somebody waits for.
    pub moved: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The segments that this process wrote, by number; a few, since compacted ones go.
    pub marks: BTreeMap<u64, Mark>,
    pub waiting: usize,
    pub is_ended: bool,
    /// Of each follower that retains: the first segment that it has not dealt with, and how many bytes it may hold back.
    pub retained: BTreeMap<u64, Retained>,
    /// What was planned for the reserved one, while nothing was compacted yet.
    pub plan: Option<(Position, Plan)>,
    pub next_follower: u64,
    /// See [`JournalStatus`](super::JournalStatus).
    held_back_bytes: u64,
    dropped: u64,
}

impl State {
    /// The first segment that is held back.
    fn first_held(&self) -> Option<u64> {
        self.retained.values().map(|retained| retained.segment).min()
    }

    fn before_held<'a>(&self, chain: &'a [Link]) -> &'a [Link] {
        let Some(first) = self.first_held() else { return chain };
        match chain.iter().position(|link| link.header.number >= first && link.header.kind == Kind::Segment) {
            Some(at) => &chain[..=at],
            None => chain,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Retained {
    pub segment: u64,
    pub max_bytes: u64,
}

/// The one that [`Options::retain`](super::Options::retain) speaks for, until it follows.
pub(super) const RESERVED: u64 = 0;

impl Board {
    /// Locked for a moment.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer: this segment counts up to here. Wakes nobody who does not wait.
    pub fn publish(&self, number: u64, seed: u32, end: u64) {
        let mut state = self.state();
        state.marks.insert(number, Mark { seed, end });
        if state.waiting > 0 {
            self.moved.notify_all();
        }
    }

    /// Nothing more comes.
    pub fn end(&self) {
        self.state().is_ended = true;
        self.moved.notify_all();
    }

    /// Before anything is compacted: somebody will follow from here.
    pub fn reserve(&self, disk: &dyn Disk, from: Position, max_bytes: u64) -> Result<(), JournalError> {
        let own = self.state().marks.first_key_value().map(|(number, _)| *number);
        let start = Some(from).filter(|from| *from != Position::default());
        let plan = resume::plan(disk, start, own)?;
        let mut state = self.state();
        state.next_follower = RESERVED + 1;
        let segment = plan.as_ref().map_or(from.segment, |plan| plan.needs.min(from.segment));
        state.retained.insert(RESERVED, Retained { segment, max_bytes });
        state.plan = plan.map(|plan| (from, plan));
        Ok(())
    }

    /// The links of a chain that may be compacted, and one that stands for the open segment. Who holds back more than allowed is
    /// dropped; where the disk `is_short` nobody may hold back more than one segment, which a follower that is not behind needs.
    pub fn compactable<'a>(&self, chain: &'a [Link], is_short: bool) -> &'a [Link] {
        let mut state = self.state();
        let closed = chain.split_last().map_or(&[][..], |(_, closed)| closed);
        let held =
            |from: u64| -> u64 { closed.iter().filter(|link| link.header.number >= from).map(|link| link.len).sum() };
        let State { retained, dropped, .. } = &mut *state;
        retained.retain(|_, Retained { segment, max_bytes }| {
            let most = if is_short { ROTATE_AT.min(*max_bytes) } else { *max_bytes };
            let bytes = held(*segment);
            if bytes > most {
                *dropped += 1;
                let why = if is_short { "and the disk has little room" } else { "which is more than max_lag_mib" };
                log::error!(
                    "journal: the lease history is {} MiB of closed segments behind, {why}: they are compacted, and what it has not \
                     read by then is a gap in it",
                    bytes >> 20
                );
            }
            bytes <= most
        });
        state.held_back_bytes = state.first_held().map_or(0, held);
        state.before_held(chain)
    }

    /// As [`compactable`](Self::compactable), and nobody is dropped.
    pub fn before_held<'a>(&self, chain: &'a [Link]) -> &'a [Link] {
        self.state().before_held(chain)
    }

    /// Nothing is to be compacted, and so nothing is held back.
    pub fn nothing_is_due(&self) {
        self.state().held_back_bytes = 0;
    }

    /// Bytes that were held back, and how often somebody was dropped.
    pub fn held_back(&self) -> (u64, u64) {
        let state = self.state();
        (state.held_back_bytes, state.dropped)
    }

    /// Segments up to this one are part of a snapshot.
    pub fn compacted(&self, number: u64) {
        let mut state = self.state();
        state.marks = state.marks.split_off(&number.saturating_add(1));
    }
}
