//! Reading a journal that may be damaged: what is there, what is lost, and what can be read all the same.
//!
//! [Recovery](super::recovery) stops at the first byte that is wrong, because nothing may be served without what was lost. Here
//! reading goes on after it. What counts follows the same rules: before the end that was durable everything does, which a
//! marker or the next segment's header vouches for; behind it, all up to the first bad record. What lies behind that was
//! never acknowledged and may contradict what was, so it is left out even when it can be read.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    DirectoryDisk, JournalError,
    mend::{self, common_seed, mend_header},
    record::{self, Bytes, RECORD, Record},
    recovery::Parts,
    segment::{self, Header, Kind, NoHeader, VERSION},
};
use crate::lease::{Binding, BindingState, SpacedAddress, is_current};

const SIZE: u64 = RECORD as u64;
/// Bytes read at a time, and the piece that is given up when the disk cannot read it.
const BLOCK: usize = 1 << 20;
const PIECE: usize = 4096;
/// Records that are asked what a segment's checksums start from when its header cannot tell.
const VOTERS: usize = 16_384;

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
    fn new(segment: String, kind: DamageKind, part: Range<u64>) -> Self {
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

/// What replaying comes upon, in the order that it was written.
pub(super) enum Found {
    /// A change of this segment; the part of the damage that it was in, if it had to be put right.
    Change { binding: Box<Binding>, segment: usize, mended: Option<usize> },
    /// A record that is no change was put right.
    PutRight { damage: usize },
    /// At most so many changes cannot be read; the address that what is left of one names.
    Lost { damage: usize, count: u64, hint: Option<SpacedAddress> },
    /// A change can be read but for the rest of its tail, which was in no damaged part. Without what its relay agent said it may
    /// be a [`Change`](Self::Change) all the same, which comes next.
    Incomplete { segment: usize, offset: u64, address: SpacedAddress },
}

/// The segments that count, oldest first, and what counts of them.
pub(super) struct Survey {
    parts: Vec<Part>,
    ignored: Vec<Ignored>,
    torn_bytes: u64,
    total: u64,
}

/// A segment.
struct Part {
    number: u64,
    kind: Kind,
    path: PathBuf,
    len: u64,
    /// A later one begins with what else was in it: it ends at its limit.
    is_cut: bool,
    /// What its checksums start from; `None`: nobody knows, and nothing of it can be read.
    seed: Option<u32>,
    damage: Vec<(DamageKind, Range<u64>)>,
    /// Where what counts ends.
    end: u64,
}

/// Which segment comes before the one just looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The next lower one; the header that would tell is not there.
    Any,
    /// This one, of which so many bytes were durable.
    Exactly(u64, u64),
    /// None.
    Nothing,
}

impl Survey {
    /// Follows the segments from the newest back to the first, then looks for what is wrong with each.
    fn of(dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Self, JournalError> {
        let mut survey = Self { parts: Vec::new(), ignored: Vec::new(), torn_bytes: 0, total: 0 };
        let limits = survey.follow(dir)?;
        survey.total = survey.parts.iter().map(|part| part.len).sum::<u64>() * 2;
        let mut done = Progress { done: 0, total: survey.total };
        let last = survey.parts.len().saturating_sub(1);
        for (index, (part, limit)) in survey.parts.iter_mut().zip(limits).enumerate() {
            let torn_bytes = part.survey(limit, &mut |bytes| {
                done.done += bytes;
                progress(done);
            })?;
            if index == last && limit.is_none() {
                survey.torn_bytes = torn_bytes;
            }
        }
        Ok(survey)
    }

    /// Fills in the segments; returns how much of each was durable by the header after it.
    fn follow(&mut self, dir: &Path) -> Result<Vec<Option<u64>>, JournalError> {
        let mut limits = Vec::new();
        let mut wanted = Wanted::Any;
        let mut is_cut = false;
        let files = segment::list(&DirectoryDisk::new(dir))?;
        for (number, kind) in files.whole.into_iter().rev() {
            let path = dir.join(segment::name(number, kind));
            if let Wanted::Exactly(missing, len) = wanted
                && missing > number
            {
                self.parts.push(Part::missing(dir, missing, len));
                limits.push(Some(len));
                wanted = Wanted::Any;
            }
            let (limit, why) = match wanted {
                Wanted::Exactly(named, len) if named == number => (Some(len), ""),
                Wanted::Exactly(..) => (None, "made while the disk failed, and never used"),
                Wanted::Nothing => (None, "older than the snapshot that the journal begins with"),
                Wanted::Any => (None, ""),
            };
            let read = if why.is_empty() { Part::open((number, kind), path, limit)? } else { None };
            match read {
                Some((mut part, previous, carries)) => {
                    wanted = previous;
                    part.is_cut = is_cut;
                    is_cut |= carries;
                    // A snapshot does not know how long the segment was that it ends with.
                    let limit = limit.filter(|_| kind == Kind::Segment);
                    self.parts.push(part);
                    limits.push(limit);
                }
                None => {
                    let why = if why.is_empty() { "begun and never used" } else { why };
                    self.ignored.push(Ignored { name: segment::name(number, kind), why });
                }
            }
        }
        if let Wanted::Exactly(missing, len) = wanted {
            self.parts.push(Part::missing(dir, missing, len));
            limits.push(Some(len));
        }
        self.parts.reverse();
        limits.reverse();
        self.ignored.reverse();
        for number in files.unfinished {
            self.ignored.push(Ignored { name: segment::unfinished_name(number), why: "never finished" });
        }
        Ok(limits)
    }

    fn begin_inspection(&self) -> Inspection {
        let mut inspection =
            Inspection { torn_bytes: self.torn_bytes, ignored: self.ignored.clone(), ..Inspection::default() };
        for part in &self.parts {
            let name = segment::name(part.number, part.kind);
            for (kind, bytes) in &part.damage {
                inspection.damage.push(Damage::new(name.clone(), *kind, bytes.clone()));
            }
            inspection.segments.push(SegmentView { name, bytes: part.len, records: 0 });
        }
        inspection
    }

    /// Tells of every change that can be read and of all that cannot, oldest first. Damage is numbered as in
    /// [`begin_inspection`](Self::begin_inspection).
    pub fn replay(&self, progress: &mut dyn FnMut(Progress), each: &mut dyn FnMut(Found)) -> Result<(), JournalError> {
        let mut done = Progress { done: self.total / 2, total: self.total };
        let mut first_damage = 0;
        for (index, part) in self.parts.iter().enumerate() {
            let mut replay = Replay { part, segment: index, damage: 0, first_damage, parts: Parts::default(), each };
            replay.run(&mut |bytes| {
                done.done += bytes;
                progress(done);
            })?;
            first_damage += part.damage.len();
        }
        Ok(())
    }
}

impl Part {
    fn missing(dir: &Path, number: u64, len: u64) -> Self {
        let damage = vec![(DamageKind::Missing, 0..len)];
        let (kind, path) = (Kind::Segment, dir.join(segment::name(number, Kind::Segment)));
        Self { number, kind, path, len: 0, is_cut: false, seed: None, damage, end: 0 }
    }

    /// Looks at a segment's header; `None`: it never got as far as its first group. `limit`: the next one names it.
    fn open(
        (number, kind): (u64, Kind),
        path: PathBuf,
        limit: Option<u64>,
    ) -> Result<Option<(Self, Wanted, bool)>, JournalError> {
        let fail = |action| JournalError::io(&path, action);
        let mut file = File::open(&path).map_err(fail("read it"))?;
        let len = file.metadata().map_err(fail("look at it"))?.len();
        let mut start = Vec::with_capacity(RECORD);
        if let Err(error) = (&mut file).take(SIZE).read_to_end(&mut start)
            && error.raw_os_error() != Some(libc::EIO)
        {
            return Err(fail("read it")(error));
        }
        let wanted = |header: &Header| match header.previous {
            Some((number, len)) => Wanted::Exactly(number, len),
            None => Wanted::Nothing,
        };
        let part = |seed, damage| {
            let path = path.clone();
            Self { number, kind, path, len, is_cut: false, seed, damage, end: 0 }
        };
        let why = match Header::decode(&start) {
            Ok(header) => return Ok(Some((part(Some(header.seed), Vec::new()), wanted(&header), header.carries))),
            Err(why) => why,
        };
        let damage = vec![(DamageKind::Header, 0..len.min(SIZE))];
        // A newer program's header needs no mending, if one byte in ours makes it look like one, it does.
        if let Some(header) = start.first_chunk().and_then(mend_header) {
            return Ok(Some((part(Some(header.seed), damage), wanted(&header), header.carries)));
        }
        match why {
            NoHeader::Newer(found) => {
                Err(JournalError::NewerVersion { path: path.display().to_string(), found, known: VERSION })
            }
            NoHeader::Bad if len <= SIZE && limit.is_none() && kind == Kind::Segment => Ok(None),
            NoHeader::Bad => {
                let previous = if kind == Kind::Snapshot { Wanted::Nothing } else { Wanted::Any };
                Ok(Some((part(likely_seed(&file, &start), damage), previous, kind == Kind::Snapshot)))
            }
        }
    }

    /// Finds what is damaged and where what counts ends; the bytes behind that.
    fn survey(&mut self, limit: Option<u64>, read: &mut dyn FnMut(u64)) -> Result<u64, JournalError> {
        if self.damage.first().is_some_and(|(kind, _)| *kind == DamageKind::Missing) {
            return Ok(0);
        }
        let Some(seed) = self.seed else {
            self.damage = vec![(DamageKind::Header, 0..self.len)];
            self.end = self.len / SIZE * SIZE;
            self.note_cut(limit.unwrap_or(0));
            return Ok(0);
        };
        let mut bad: Vec<Range<u64>> = Vec::new();
        let mut vouched = 0;
        let mut closed = false;
        self.each_record(self.len, read, &mut |offset, bytes| match record::decode(bytes, seed) {
            None => match bad.last_mut() {
                Some(last) if last.end == offset => last.end += SIZE,
                _ => bad.push(offset..offset + SIZE),
            },
            Some(Record::Marker { durable, .. }) => {
                vouched = vouched.max(durable);
                closed = offset == durable;
            }
            Some(_) => closed = false,
        })?;
        let whole = self.len / SIZE * SIZE;
        let durable = match (self.kind, limit) {
            // It was synced before it got its name, and ends with a marker.
            (Kind::Snapshot, _) if closed => whole,
            (Kind::Snapshot, _) => whole + SIZE,
            (Kind::Segment, Some(limit)) if self.is_cut => limit,
            (Kind::Segment, _) => limit.unwrap_or(0).max(vouched),
        };
        self.end = if self.is_cut { whole.min(durable) } else { whole };
        for bytes in bad {
            if bytes.start < durable {
                self.damage.push((DamageKind::Records, bytes.start..bytes.end.min(durable)));
            }
            if bytes.end > durable {
                self.end = self.end.min(bytes.start.max(durable));
                break;
            }
        }
        self.note_cut(durable);
        Ok(self.len.saturating_sub(self.end.max(durable)))
    }

    /// Notes what is missing of what was durable.
    fn note_cut(&mut self, durable: u64) {
        let whole = self.len / SIZE * SIZE;
        if whole < durable {
            self.damage.push((DamageKind::CutShort, whole..durable));
        }
    }

    /// Calls `each` for every 64 bytes after the header and before `end`. What the disk cannot read is zero.
    fn each_record(
        &self,
        end: u64,
        read: &mut dyn FnMut(u64),
        each: &mut dyn FnMut(u64, &Bytes),
    ) -> Result<(), JournalError> {
        let file = File::open(&self.path).map_err(JournalError::io(&self.path, "read it"))?;
        let end = end / SIZE * SIZE;
        let mut buffer = vec![0; BLOCK];
        let mut at = 0;
        while at < end {
            let block = &mut buffer[..(end - at).min(BLOCK as u64) as usize];
            read_what_can_be(&file, at, block).map_err(JournalError::io(&self.path, "read it"))?;
            for (offset, bytes) in (at..).step_by(RECORD).zip(block.as_chunks::<RECORD>().0) {
                if offset > 0 {
                    each(offset, bytes);
                }
            }
            read(block.len() as u64);
            at += block.len() as u64;
        }
        Ok(())
    }
}

/// What a segment's checksums start from by its damaged header, if any record agrees, else by what most records say.
fn likely_seed(file: &File, start: &[u8]) -> Option<u32> {
    let mut bytes = vec![0; VOTERS * RECORD];
    let len = file.metadata().ok()?.len().min(bytes.len() as u64) as usize;
    bytes.truncate(len);
    read_what_can_be(file, 0, &mut bytes).ok()?;
    let records = || bytes.as_chunks::<RECORD>().0.iter().skip(1);
    let written = start.get(24..28).map(|seed| u32::from_le_bytes(std::array::from_fn(|i| seed[i])));
    written
        .filter(|seed| records().any(|bytes| record::decode(bytes, *seed).is_some()))
        .or_else(|| common_seed(records()))
}

/// Fills a buffer from a file that has as many bytes; pieces that the disk cannot read are zero.
fn read_what_can_be(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    let is_unreadable = |error: &io::Error| error.raw_os_error() == Some(libc::EIO);
    match file.read_exact_at(buffer, at) {
        Err(error) if is_unreadable(&error) => {}
        done => return done,
    }
    for (offset, piece) in (at..).step_by(PIECE).zip(buffer.chunks_mut(PIECE)) {
        match file.read_exact_at(piece, offset) {
            Err(error) if is_unreadable(&error) => piece.fill(0),
            done => done?,
        }
    }
    Ok(())
}

/// Replaying one segment.
struct Replay<'a> {
    part: &'a Part,
    segment: usize,
    /// The damaged part that is being read or comes next.
    damage: usize,
    first_damage: usize,
    parts: Parts,
    each: &'a mut dyn FnMut(Found),
}

impl Replay<'_> {
    fn run(&mut self, read: &mut dyn FnMut(u64)) -> Result<(), JournalError> {
        let part = self.part;
        for (index, (kind, bytes)) in part.damage.iter().enumerate() {
            let count = match kind {
                DamageKind::Missing => (bytes.end / SIZE).saturating_sub(1),
                // Its records are counted one by one.
                DamageKind::Header => 0,
                _ => continue,
            };
            (self.each)(Found::Lost { damage: self.first_damage + index, count, hint: None });
        }
        if part.end > 0 {
            part.each_record(part.end, read, &mut |offset, bytes| self.record(offset, bytes))?;
        }
        for (index, (kind, bytes)) in part.damage.iter().enumerate() {
            if *kind == DamageKind::CutShort {
                let count = (bytes.end - bytes.start).div_ceil(SIZE);
                (self.each)(Found::Lost { damage: self.first_damage + index, count, hint: None });
            }
        }
        Ok(())
    }

    fn record(&mut self, offset: u64, bytes: &Bytes) {
        let damaged = &self.part.damage;
        while damaged.get(self.damage).is_some_and(|(_, part)| part.end <= offset) {
            self.damage += 1;
        }
        let inside = damaged.get(self.damage).filter(|(_, part)| part.contains(&offset));
        let damage = inside.map(|_| self.first_damage + self.damage);
        let Some(seed) = self.part.seed else {
            let damage = damage.unwrap_or(self.first_damage);
            return (self.each)(Found::Lost { damage, count: 1, hint: mend::hint(bytes) });
        };
        if let Some(record) = record::decode(bytes, seed) {
            return self.whole(offset, record, None);
        }
        let Some(damage) = damage else { return };
        let alone = inside.is_some_and(|(_, part)| part.end - part.start == SIZE);
        match mend::mend(bytes, seed).filter(|_| alone) {
            Some(mended) => {
                if let Some(record) = record::decode(&mended, seed) {
                    self.whole(offset, record, Some(damage));
                }
            }
            None => (self.each)(Found::Lost { damage, count: 1, hint: mend::hint(bytes) }),
        }
    }

    fn whole(&mut self, offset: u64, record: Record<'_>, mended: Option<usize>) {
        match record {
            Record::Continuation { at, generation, part, bytes } => {
                self.parts.add((at, generation), part, bytes);
            }
            Record::Base { lease, hw, tail, start } => {
                let segment = self.segment;
                let whole = self.parts.complete((lease.at(), lease.generation), start, tail.len());
                let whole = whole.and_then(|whole| tail.binding(&lease, &hw, &whole));
                if whole.is_none() {
                    (self.each)(Found::Incomplete { segment, offset, address: lease.at() });
                }
                // What a relay agent said may be lost without its lease.
                if let Some(binding) = whole.or_else(|| tail.without_agent_info(&lease, &hw, start)) {
                    (self.each)(Found::Change { binding: Box::new(binding), segment, mended });
                }
                return;
            }
            Record::Marker { .. } => {}
        }
        if let Some(damage) = mended {
            (self.each)(Found::PutRight { damage });
        }
    }
}
