//! Reading what a state directory holds: the chain of segments, oldest first, and where it ends.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use super::{
    JournalError,
    record::{self, RECORD, Record},
    segment::{self, Header, NoHeader, VERSION},
};
use crate::lease::{Binding, ClientId};

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

/// Where a writer goes on.
pub(super) fn end(dir: &Path) -> Result<End, JournalError> {
    let next = segment::list(dir)?.last().map_or(0, |(number, _)| number + 1);
    let Some((path, limit)) = chain(dir)?.pop() else { return Ok(End { last: None, next }) };
    let Some(segment) = load(&path)? else { return Ok(End { last: None, next }) };
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
        && !chain.last().is_some_and(|(path, _)| *path == dir.join(segment::name(number)))
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

/// How many bytes of a segment count: up to `limit` when the next segment says so, else up to the first bad record.
///
/// A bad record before an end that was durable is damage: one before `limit`, or before what any marker vouches for. Bad
/// ones behind that were never durable, even when good ones follow: pages of a group reach the disk in any order.
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
    let durable = limit.unwrap_or(vouched);
    if (good as u64) < durable {
        return Err(damaged(&segment.path, good));
    }
    Ok(limit.map_or(good, |limit| limit as usize))
}

/// Hands out the changes before `end`; returns how many.
fn replay(segment: &Loaded, end: usize, each: &mut impl FnMut(Binding)) -> Result<u64, JournalError> {
    let mut parts: HashMap<(Ipv4Addr, u32), Vec<(u8, &[u8])>> = HashMap::new();
    let mut count = 0;
    for (offset, record) in segment.records().take_while(|(offset, _)| *offset < end) {
        match record {
            Some(Record::Continuation { address, generation, part, bytes }) => {
                let entry = parts.entry((address, generation)).or_default();
                if part == 1 {
                    entry.clear();
                }
                entry.push((part, bytes));
            }
            Some(Record::Base { lease, hw, client_id_len, client_id }) => {
                let more = parts.remove(&(lease.address, lease.generation)).unwrap_or_default();
                let mut whole = ClientId::new();
                let rest = more.iter().flat_map(|(_, bytes)| bytes.iter());
                whole.extend(client_id.iter().chain(rest).copied().take(usize::from(client_id_len)));
                if whole.len() != usize::from(client_id_len) {
                    return Err(damaged(&segment.path, offset));
                }
                each(Binding {
                    address: lease.address,
                    state: lease.state,
                    generation: lease.generation,
                    started_s: lease.started_s,
                    expires_s: lease.expires_s,
                    hw,
                    client_id: whole,
                });
                count += 1;
            }
            Some(Record::Marker { .. }) | None => {}
        }
    }
    Ok(count)
}
