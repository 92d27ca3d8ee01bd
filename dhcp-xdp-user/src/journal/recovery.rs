//! Reading what a state directory holds: the chain of segments, oldest first, and where it ends.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use arrayvec::ArrayVec;

use super::{
    JournalError,
    record::{self, MAX_RECORDS, MAX_TAIL, RECORD, Record},
    segment::{self, Header, NoHeader, VERSION},
};
use crate::lease::Binding;

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments read.
    pub segments: u64,
    /// Changes read.
    pub records: u64,
    /// Bytes at the torn end of the last segment, which were never durable and do not count.
    pub torn_bytes: u64,
}

/// A segment in memory, with the header checked.
struct Loaded {
    path: PathBuf,
    header: Header,
    bytes: Vec<u8>,
}

/// Where the journal ends: the last segment's number and how many bytes of it count, and the next free number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub last: Option<(u64, u64)>,
    pub next: u64,
}

/// Reads everything, oldest first.
pub(super) fn read(dir: &Path, mut each: impl FnMut(Binding)) -> Result<RecoveryReport, JournalError> {
    let mut report = RecoveryReport::default();
    for (path, limit) in chain(dir)? {
        let Some(segment) = load(&path)? else { continue };
        let end = end_of(&segment, limit)?;
        if limit.is_none() {
            report.torn_bytes = (segment.bytes.len() - end) as u64;
        }
        report.segments += 1;
        report.records += replay(&segment, end, &mut each)?;
    }
    Ok(report)
}

/// The first number after all segments and unfinished ones.
pub(super) fn next_number(dir: &Path) -> Result<u64, JournalError> {
    let last = segment::list(dir)?.pop().into_iter().chain(segment::list_unfinished(dir)?.pop());
    let Some((number, path)) = last.max() else { return Ok(0) };
    let what = "no segment can be numbered after it";
    number.checked_add(1).ok_or_else(|| JournalError::Foreign { path: path.display().to_string(), what })
}

/// The number of the segment that the journal begins with.
pub(super) fn first_number(dir: &Path) -> Result<Option<u64>, JournalError> {
    let Some((path, _)) = chain(dir)?.into_iter().next() else { return Ok(None) };
    Ok(header(&path)?.map(|header| header.number))
}

/// Where a writer goes on. What was read of the last segment may have been in the system's memory only, after a crash of the
/// server alone: it is synced here, since the next header will vouch for it.
pub(super) fn end(dir: &Path) -> Result<End, JournalError> {
    let next = next_number(dir)?;
    let Some((path, limit)) = chain(dir)?.pop() else { return Ok(End { last: None, next }) };
    let Some(segment) = load(&path)? else { return Ok(End { last: None, next }) };
    fs::File::open(&path).and_then(|file| file.sync_data()).map_err(JournalError::io(&path, "sync it"))?;
    let end = end_of(&segment, limit)?;
    Ok(End { last: Some((segment.header.number, end as u64)), next })
}

/// The segments that count, oldest first, each with its length as the next one's header has it; the last has none.
///
/// A segment whose header cannot be read never got as far as its first group, unless another one names it.
fn chain(dir: &Path) -> Result<Vec<(PathBuf, Option<u64>)>, JournalError> {
    let mut chain: Vec<(PathBuf, Option<u64>)> = Vec::new();
    let mut wanted: Option<Option<(u64, u64)>> = None;
    for (number, path) in segment::list(dir)?.into_iter().rev() {
        let limit = match wanted {
            None => None,
            Some(Some((previous, len))) if previous == number => Some(len),
            // Made while the disk failed, and never used.
            Some(Some((previous, _))) if previous < number => continue,
            Some(_) => break,
        };
        let header = match header(&path)? {
            Some(header) => header,
            None if limit.is_some() => return Err(damaged(&path, 0)),
            None => continue,
        };
        wanted = Some(header.previous);
        chain.push((path, limit));
    }
    if let Some(Some((number, _))) = wanted
        && chain.last().is_none_or(|(path, _)| *path != dir.join(segment::name(number)))
    {
        return Err(JournalError::Io {
            path: dir.join(segment::name(number)).display().to_string(),
            action: "find it, though a later segment continues it",
            source: std::io::ErrorKind::NotFound.into(),
        });
    }
    chain.reverse();
    Ok(chain)
}

fn header(path: &Path) -> Result<Option<Header>, JournalError> {
    use std::io::Read as _;
    let mut start = Vec::with_capacity(RECORD);
    fs::File::open(path)
        .and_then(|file| file.take(RECORD as u64).read_to_end(&mut start))
        .map_err(JournalError::io(path, "read it"))?;
    match Header::decode(&start) {
        Ok(header) => Ok(Some(header)),
        Err(NoHeader::Newer(found)) => {
            Err(JournalError::NewerVersion { path: path.display().to_string(), found, known: VERSION })
        }
        Err(NoHeader::Bad) => {
            let len = fs::metadata(path).map_err(JournalError::io(path, "look at it"))?.len();
            // The header is synced before anything follows it: a file with more was a segment.
            if len > RECORD as u64 { Err(damaged(path, 0)) } else { Ok(None) }
        }
    }
}

fn load(path: &Path) -> Result<Option<Loaded>, JournalError> {
    let Some(header) = header(path)? else { return Ok(None) };
    let bytes = fs::read(path).map_err(JournalError::io(path, "read it"))?;
    Ok(Some(Loaded { path: path.to_owned(), header, bytes }))
}

fn damaged(path: &Path, offset: usize) -> JournalError {
    JournalError::Damaged { path: path.display().to_string(), offset: offset as u64 }
}

impl Loaded {
    /// The records after the header, each with its offset.
    fn records(&self) -> impl Iterator<Item = (usize, Option<Record<'_>>)> {
        let (records, _) = self.bytes.as_chunks::<RECORD>();
        let decode = |(i, bytes)| (i * RECORD, record::decode(bytes, self.header.seed));
        records.iter().enumerate().skip(1).map(decode)
    }
}

/// How many bytes of a segment count: up to the first bad record.
///
/// A bad record before an end that was durable is damage: before `limit`, the durable length by the next segment's header, or
/// before what any marker vouches for. Bad ones behind that were never durable, even when good ones follow: pages of a group
/// reach the disk in any order. Good records between the durable end and the first bad one count: where nothing waits for
/// the disk (`interval`, `off`) clients know of them; otherwise the next segment has them once more.
fn end_of(segment: &Loaded, limit: Option<u64>) -> Result<usize, JournalError> {
    let mut first_bad = None;
    let mut vouched = 0;
    for (offset, record) in segment.records() {
        match record {
            None => first_bad = first_bad.or(Some(offset)),
            Some(Record::Marker { durable }) => vouched = vouched.max(durable),
            Some(_) => {}
        }
    }
    let whole = segment.bytes.len() / RECORD * RECORD;
    let good = first_bad.unwrap_or(whole);
    if (good as u64) < limit.unwrap_or(0).max(vouched) {
        return Err(damaged(&segment.path, good));
    }
    Ok(good)
}

/// Hands out the changes before `end`; returns how many.
fn replay(segment: &Loaded, end: usize, each: &mut impl FnMut(Binding)) -> Result<u64, JournalError> {
    let mut parts = Parts::default();
    let mut count = 0;
    for (offset, record) in segment.records().take_while(|(offset, _)| *offset < end) {
        match record {
            Some(Record::Continuation { address, generation, part, bytes }) => {
                parts.add((address, generation), part, bytes);
            }
            Some(Record::Base { lease, hw, tail, start }) => {
                let whole = parts.complete((lease.address, lease.generation), start, tail.len());
                let binding = whole.and_then(|whole| tail.binding(&lease, &hw, &whole));
                each(binding.ok_or_else(|| damaged(&segment.path, offset))?);
                count += 1;
            }
            Some(Record::Marker { .. }) | None => {}
        }
    }
    Ok(count)
}

/// The continuations of the change that is being read.
#[derive(Default)]
struct Parts {
    of: Option<(Ipv4Addr, u32)>,
    count: u8,
    bytes: ArrayVec<u8, { MAX_RECORDS * RECORD }>,
}

impl Parts {
    fn add(&mut self, of: (Ipv4Addr, u32), part: u8, bytes: &[u8]) {
        if part == 1 {
            self.of = Some(of);
            self.count = 0;
            self.bytes.clear();
        }
        if self.of == Some(of) && part == self.count.wrapping_add(1) && self.bytes.try_extend_from_slice(bytes).is_ok()
        {
            self.count = part;
        } else {
            self.of = None;
        }
    }

    /// The whole tail of a base record that holds its start; `None` when parts are missing.
    fn complete(&mut self, of: (Ipv4Addr, u32), start: &[u8], len: usize) -> Option<ArrayVec<u8, MAX_TAIL>> {
        let mut tail = ArrayVec::new();
        tail.try_extend_from_slice(start).ok()?;
        let missing = len.saturating_sub(start.len());
        if missing > 0 {
            let rest = self.bytes.get(..missing).filter(|_| self.of == Some(of))?;
            tail.try_extend_from_slice(rest).ok()?;
        }
        self.of = None;
        Some(tail)
    }
}
