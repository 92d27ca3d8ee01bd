//! What a journal that may be damaged holds: what is there, what is lost, and what can be read all the same; as
//! `dhcp-xdp journal` tells it, of what a [survey](super::survey) finds.

use std::{collections::HashMap, io, ops::Range, path::Path};

use serde::Serialize;

use super::{
    JournalError,
    survey::{Found, SIZE, Survey},
};
use crate::lease::{Binding, BindingState, SpacedAddress, is_current};

/// What is wrong with a part of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// A segment's first 64 bytes are wrong.
    Header,
    /// Records with a wrong checksum.
    Records,
    /// A record whose continuation is missing.
    Incomplete,
    /// The segment is shorter than it was.
    CutShort,
    /// There is no such file, though a later segment continues it.
    Missing,
}

impl DamageKind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "damaged header",
            Self::Records => "damaged records",
            Self::Incomplete => "incomplete record",
            Self::CutShort => "cut short",
            Self::Missing => "segment missing",
        }
    }
}

/// One damaged part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The segment's file name.
    pub segment: String,
    /// First byte of the part.
    pub offset: u64,
    /// Its length, bytes.
    pub bytes: u64,
    /// What is wrong.
    pub kind: DamageKind,
    /// Most changes that were in it and cannot be read.
    pub lost: u64,
    /// Records that one wrong byte had spoilt and that are read as they were.
    pub put_right: u64,
    /// Changes before it, in the whole journal, that can be read.
    pub records_before: u64,
    /// Changes after it.
    pub records_after: u64,
}

/// A segment that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentView {
    /// Its file name.
    pub name: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// Changes in it that can be read.
    pub records: u64,
}

/// A file that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Its file name.
    pub name: String,
    /// Why not.
    pub why: &'static str,
}

/// What a state directory's journal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Segments that count, oldest first.
    pub segments: Vec<SegmentView>,
    /// Others; the next start removes them.
    pub ignored: Vec<Ignored>,
    /// Changes that can be read.
    pub records: u64,
    /// Addresses that they are of.
    pub addresses: u64,
    /// Bindings that have not ended.
    pub live: u64,
    /// Bytes of an unfinished write at the end, which were never durable and do not count.
    pub torn_bytes: u64,
    /// What is damaged, oldest first.
    pub damage: Vec<Damage>,
    /// Addresses whose last change is probably lost: what is left of a damaged record names them, and nothing after it does.
    pub suspects: Vec<SpacedAddress>,
    /// Most changes that are lost and of which nothing says for certain to which address they belong.
    pub nameless: u64,
    /// The latest end of all leases that can be read, seconds since 1970-01-01 UTC; by then none given before is held.
    pub last_expiry_s: Option<u32>,
}

impl Inspection {
    /// Whether a server would start with it.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// Most changes that are lost.
    pub fn lost(&self) -> u64 {
        self.damage.iter().map(|damage| damage.lost).sum()
    }
}

/// How far reading is, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Read so far.
    pub done: u64,
    /// To be read in all.
    pub total: u64,
}

/// Looks at the journal of a state directory and changes nothing, also beside a running server. Reads it twice.
///
/// # Errors
/// A file cannot be read, or was written by a newer version. Damage is none.
pub fn inspect(dir: &Path, now_s: u32, progress: &mut dyn FnMut(Progress)) -> Result<Inspection, JournalError> {
    let is_missing = |damage: &Damage| !dir.join(&damage.segment).exists();
    for _ in 0..3 {
        match look(dir, now_s, progress) {
            // A server may be replacing segments.
            Ok((_, _, inspection)) if inspection.damage.iter().any(is_missing) => {}
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            done => return done.map(|(_, _, inspection)| inspection),
        }
    }
    look(dir, now_s, progress).map(|(_, _, inspection)| inspection)
}

/// The newest readable change of an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    pub generation: u32,
    /// Its place among all readable changes, counted from 0.
    pub ordinal: u64,
    is_live: bool,
    expires_s: u32,
}

pub(super) type NewestOf = HashMap<SpacedAddress, Newest>;

pub(super) fn look(
    dir: &Path,
    now_s: u32,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Survey, NewestOf, Inspection), JournalError> {
    let survey = Survey::of(dir, progress)?;
    let mut newest = NewestOf::new();
    let mut hints: HashMap<SpacedAddress, u64> = HashMap::new();
    let mut inspection = survey.begin_inspection();
    let mut before: Vec<Option<u64>> = vec![None; inspection.damage.len()];
    let mut ordinal = 0;
    survey.replay(progress, &mut |found| match found {
        Found::Change { binding, segment, mended } => {
            note(&mut newest, &binding, ordinal, now_s);
            ordinal += 1;
            inspection.segments[segment].records += 1;
            if let Some(damage) = mended {
                before[damage].get_or_insert(ordinal - 1);
                inspection.damage[damage].put_right += 1;
            }
        }
        Found::PutRight { damage } => {
            before[damage].get_or_insert(ordinal);
            inspection.damage[damage].put_right += 1;
        }
        Found::Lost { damage, count, hint } => {
            before[damage].get_or_insert(ordinal);
            inspection.damage[damage].lost += count;
            // What is left of a record names an address; that may be one of the bytes that changed.
            inspection.nameless += count;
            if let Some(address) = hint {
                hints.insert(address, ordinal);
            }
        }
        Found::Incomplete { segment, offset, address } => {
            hints.insert(address, ordinal);
            let segment = inspection.segments[segment].name.clone();
            let (kind, bytes) = (DamageKind::Incomplete, SIZE);
            inspection.damage.push(Damage { lost: 1, ..Damage::new(segment, kind, offset..offset + bytes) });
            before.push(Some(ordinal));
        }
    })?;
    for (damage, before) in inspection.damage.iter_mut().zip(before) {
        damage.records_before = before.unwrap_or(ordinal);
        damage.records_after = ordinal - damage.records_before;
    }
    inspection.damage.sort_by(|a, b| (&a.segment, a.offset).cmp(&(&b.segment, b.offset)));
    let is_suspect =
        |(address, at): &(&SpacedAddress, &u64)| newest.get(*address).is_none_or(|known| known.ordinal < **at);
    inspection.suspects = hints.iter().filter(is_suspect).map(|(address, _)| *address).collect();
    inspection.suspects.sort_unstable();
    inspection.records = ordinal;
    inspection.addresses = newest.len() as u64;
    inspection.live = newest.values().filter(|known| known.is_live).count() as u64;
    inspection.last_expiry_s = newest.values().map(|known| known.expires_s).filter(|end| *end != u32::MAX).max();
    Ok((survey, newest, inspection))
}

fn note(newest: &mut NewestOf, binding: &Binding, ordinal: u64, now_s: u32) {
    let Binding { generation, expires_s, .. } = *binding;
    let is_live = binding.state == BindingState::Bound && expires_s > now_s;
    let this = Newest { generation, ordinal, is_live, expires_s };
    let entry = newest.entry(binding.at()).or_insert(this);
    if is_current(generation, entry.generation) {
        *entry = this;
    }
}

impl Damage {
    pub(super) fn new(segment: String, kind: DamageKind, part: Range<u64>) -> Self {
        Self {
            segment,
            offset: part.start,
            bytes: part.end - part.start,
            kind,
            lost: 0,
            put_right: 0,
            records_before: 0,
            records_after: 0,
        }
    }
}
