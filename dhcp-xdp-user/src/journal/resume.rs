//! Where a follower goes on that was stopped in a former life of the server: what of the files of that life, and of later ones, it
//! has not seen.
//!
//! A life begins with a segment that carries over what may not be durable of the former life's. Some of that the follower had
//! already when it was stopped, and what the disk failed to take is also in a later segment of the same life. So of what is
//! carried over it gets what it has not had, and will not have, from elsewhere: to know that, the files that it came from are
//! read once more, which mostly is the last group of one file. (Not so where nothing waits for the disk: what a follower had of it and two power
//! cuts in a row took from the disk comes twice.)

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::Range,
};

use super::{
    Disk, JournalError,
    chain::{self, Link},
    follow::Position,
    record::RECORD,
    recovery,
    segment::{Carried, Kind},
    snapshot::Assembly,
};
use crate::lease::Binding;

/// What makes a change of one life different from all others: the number of its address, and its generation.
type Key = (u64, u32);

/// What a follower has to read before it is at this life's first segment, which is the last piece.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub pieces: VecDeque<Piece>,
    /// The first segment that a plan made anew would have to look at.
    pub needs: u64,
}

/// A file to read, or a part of it.
#[derive(Debug)]
pub(super) struct Piece {
    pub name: String,
    pub number: u64,
    pub seed: u32,
    pub start: u64,
    /// `None`: it is this life's, and ends where the writer says.
    pub end: Option<u64>,
    pub known: Known,
}

/// Changes that a segment begins with and that are handed out from elsewhere, and how often it has them too many.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Key, u32>);

impl Known {
    /// Whether it is one, which it is then no longer.
    pub fn take(&mut self, binding: &Binding) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let key = (binding.at().number(), binding.generation);
        let Some(count) = self.0.get_mut(&key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&key);
        }
        true
    }

    /// Whether no more of them come.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is to be read after a position, or from the beginning; `None`: the position is no longer there. `own` is this life's first
/// segment.
pub(super) fn plan(disk: &dyn Disk, from: Option<Position>, own: Option<u64>) -> Result<Option<Plan>, JournalError> {
    let chain = chain::walk(disk)?;
    let own = own.unwrap_or(u64::MAX);
    let Some(first) = from.map_or(Some(0), |from| find(&chain, from)) else { return Ok(None) };
    // What was carried over once may be carried over again.
    let mut elsewhere = HashSet::new();
    let mut plan = Plan { needs: from.map_or(0, |from| from.segment), ..Plan::default() };
    for (at, link) in chain.iter().enumerate().skip(first).take_while(|(_, link)| link.header.number <= own) {
        let header = &link.header;
        let start = from.filter(|from| from.segment == header.number).map_or(0, |from| from.offset);
        let mut known = Known::default();
        if header.carries && header.kind == Kind::Segment && from.is_none_or(|from| from.segment < header.number) {
            known = known_to(disk, &chain[..at], link, from, &mut elsewhere)?;
            if !known.is_empty() {
                plan.needs = plan.needs.min(header.carried.from);
            }
        }
        plan.pieces.push_back(Piece {
            name: link.name.clone(),
            number: header.number,
            seed: header.seed,
            start: start.max(RECORD as u64),
            end: (header.number < own).then(|| link.limit.unwrap_or(link.whole())),
            known,
        });
    }
    Ok(Some(plan))
}

/// The file that a position is in, or the next one where that one, which a power cut took, was left out of the chain.
fn find(chain: &[Link], from: Position) -> Option<usize> {
    let at = chain.iter().position(|link| link.header.number >= from.segment)?;
    let Link { header, .. } = &chain[at];
    let is_it = (header.number, header.seed) == (from.segment, from.seed);
    let is_left_out = header.number > from.segment && at > 0;
    (is_it || is_left_out).then_some(at)
}

/// What a segment carries over and is handed out from `elsewhere`, which grows, or twice.
fn known_to(
    disk: &dyn Disk,
    before: &[Link],
    link: &Link,
    from: Option<Position>,
    elsewhere: &mut HashSet<Key>,
) -> Result<Known, JournalError> {
    let Carried { records, from: first } = link.header.carried;
    let mut carried: HashMap<Key, u32> = HashMap::new();
    let mut left = records;
    changes(disk, link, RECORD as u64..link.whole(), |_, key, records| {
        // They come first.
        if left > 0 {
            *carried.entry(key).or_default() += 1;
        }
        left = left.saturating_sub(records);
        left > 0
    })?;
    if carried.is_empty() {
        return Ok(Known::default());
    }
    for link in before.iter().filter(|link| link.header.number >= first) {
        let end = link.limit.unwrap_or(link.whole());
        // Where it was stopped it had what was durable, whatever the next start took for certain.
        let end = from.filter(|from| from.segment == link.header.number).map_or(end, |from| end.max(from.offset));
        changes(disk, link, RECORD as u64..end.min(link.whole()), |_, key, _| {
            if carried.contains_key(&key) {
                elsewhere.insert(key);
            }
            true
        })?;
    }
    carried.retain(|key, count| {
        *count -= u32::from(!elsewhere.contains(key));
        *count > 0
    });
    Ok(Known(carried))
}

/// Hands out what is before a position.
pub(super) fn before(disk: &dyn Disk, position: Position, mut each: impl FnMut(Binding)) -> Result<(), JournalError> {
    let mut buffer = Vec::new();
    for link in chain::walk(disk)?.iter().take_while(|link| link.header.number <= position.segment) {
        let is_last = link.header.number == position.segment;
        let end = if is_last { position.offset.min(link.whole()) } else { link.limit.unwrap_or(link.whole()) };
        recovery::replay(disk, link, RECORD as u64..end, &mut buffer, &mut |binding| each(binding.clone()))?;
    }
    Ok(())
}

/// The changes in a part of a file, with where each ends and its records, up to the first bad record.
fn changes(
    disk: &dyn Disk,
    link: &Link,
    range: Range<u64>,
    mut each: impl FnMut(u64, Key, u64) -> bool,
) -> Result<(), JournalError> {
    let mut assembly = Assembly::default();
    let file = link.open(disk)?;
    link.scan(disk, &*file, range, &mut Vec::new(), |offset, record, bytes| {
        let Some(record) = record else { return false };
        match assembly.take(&record, bytes) {
            Ok(Some(key)) => each(offset, key, assembly.records().len() as u64),
            _ => true,
        }
    })
}
