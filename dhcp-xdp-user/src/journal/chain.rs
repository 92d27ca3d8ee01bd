//! The chain: which files count, oldest first, and where each ends.
//!
//! Every segment names the one before it and how much of that one counts. A snapshot has the number of the last segment that
//! it replaces, so the segment after that one continues the snapshot. The walk starts at the newest file and ends at a
//! snapshot, or at a segment that continues nothing. What lies before, or aside, no longer counts.

use super::{
    Disk, JournalError, StoredFile,
    record::{self, Bytes, MAX_RECORDS, RECORD, Record},
    segment::{self, Header, Kind, NoHeader, VERSION},
};
use crate::clock::Moment;

/// Bytes that are read at a time.
pub(super) const READ_SIZE: usize = 1 << 20;

/// A file of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub name: String,
    pub header: Header,
    /// The file's length when it was found, bytes.
    pub len: u64,
    /// Its durable length as the next segment's header has it; the last one has none.
    pub limit: Option<u64>,
    /// A later one begins with what else was in it: it ends at the limit.
    pub is_cut: bool,
}

/// Where the journal ends: the last file's number and how many bytes of it count, and the next free number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub last: Option<(u64, u64)>,
    pub next: u64,
}

/// What looking at all of a file came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes that count.
    pub end: u64,
    /// Bytes that were durable for certain, by its own markers; 0: it has none.
    pub vouched: u64,
    /// What the last marker before the end says of the time.
    pub moment: Option<Moment>,
}

/// Times that a directory is listed again.
const LISTED_AGAIN: usize = 4;

/// The files that count, oldest first.
///
/// A segment whose header cannot be read never got as far as its first group, unless another one names it.
pub(super) fn walk(disk: &dyn Disk) -> Result<Vec<Link>, JournalError> {
    // A list of a directory in which files come and go meanwhile may have one of them and not the one before it (readdir(3)).
    let is_gone = |error: &JournalError| match error {
        JournalError::Missing { .. } => true,
        JournalError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    for _ in 0..LISTED_AGAIN {
        match walk_listed(disk) {
            Err(error) if is_gone(&error) => {}
            walked => return walked,
        }
    }
    walk_listed(disk)
}

fn walk_listed(disk: &dyn Disk) -> Result<Vec<Link>, JournalError> {
    let mut chain: Vec<Link> = Vec::new();
    let mut wanted: Option<Option<(u64, u64)>> = None;
    let mut is_cut = false;
    for (number, kind) in segment::list(disk)?.whole.into_iter().rev() {
        let limit = match wanted {
            None => None,
            Some(Some((previous, len))) if previous == number => Some(len),
            // Made while the disk failed, and never used.
            Some(Some((previous, _))) if previous < number => continue,
            Some(_) => break,
        };
        let name = segment::name(number, kind);
        let (header, len) = match header(disk, &name)? {
            (Some(header), len) => (header, len),
            (None, _) if limit.is_some() || kind == Kind::Snapshot => return Err(damaged(disk, &name, 0)),
            (None, _) => continue,
        };
        if (header.number, header.kind) != (number, kind) {
            return Err(JournalError::foreign(disk, &name, "its header is of another file"));
        }
        wanted = Some(header.previous);
        // A snapshot is whole, and does not know how long the segment was that it ends with.
        let limit = limit.filter(|_| kind == Kind::Segment);
        chain.push(Link { name, header, len, limit, is_cut: is_cut && limit.is_some() });
        is_cut |= header.carries;
    }
    if let Some(Some((number, _))) = wanted {
        let name = segment::name(number, Kind::Segment);
        return Err(JournalError::Missing { path: at(disk, &name) });
    }
    chain.reverse();
    Ok(chain)
}

/// The first number after all files.
pub(super) fn next_number(disk: &dyn Disk) -> Result<u64, JournalError> {
    let files = segment::list(disk)?;
    let unfinished = files.unfinished.last().map(|number| (*number, Kind::Segment));
    number_after(disk, files.whole.last().copied().max(unfinished))
}

/// The number after that of this file.
pub(super) fn number_after(disk: &dyn Disk, last: Option<(u64, Kind)>) -> Result<u64, JournalError> {
    let Some((number, kind)) = last else { return Ok(0) };
    let refuse = || JournalError::foreign(disk, &segment::name(number, kind), "no segment can be numbered after it");
    number.checked_add(1).ok_or_else(refuse)
}

/// A file's header, if it has one, and its length.
fn header(disk: &dyn Disk, name: &str) -> Result<(Option<Header>, u64), JournalError> {
    let mut start = [0; RECORD];
    let fail = |error| JournalError::on(disk, Some(name), "read it")(error);
    let file = disk.open(name).map_err(fail)?;
    // In this order: a running server may write the header at this moment, and a group after it.
    let len = file.size().map_err(fail)?;
    let filled = file.read_at(&mut start, 0).map_err(fail)?;
    match Header::decode(&start[..filled]) {
        Ok(header) => Ok((Some(header), len)),
        Err(NoHeader::Newer(found)) => Err(JournalError::NewerVersion { path: at(disk, name), found, known: VERSION }),
        // The header is synced before anything follows it: a file with more was a segment.
        Err(NoHeader::Bad) if len > RECORD as u64 => Err(damaged(disk, name, 0)),
        Err(NoHeader::Bad) => Ok((None, len)),
    }
}

/// A file's path, for messages.
pub(super) fn at(disk: &dyn Disk, name: &str) -> String {
    disk.path().join(name).display().to_string()
}

pub(super) fn damaged(disk: &dyn Disk, name: &str, offset: u64) -> JournalError {
    JournalError::Damaged { path: at(disk, name), offset }
}

impl Link {
    pub fn open(&self, disk: &dyn Disk) -> Result<Box<dyn StoredFile>, JournalError> {
        disk.open(&self.name).map_err(JournalError::on(disk, Some(&self.name), "open it"))
    }

    /// Bytes up to which it can hold whole records.
    pub fn whole(&self) -> u64 {
        self.len / RECORD as u64 * RECORD as u64
    }

    /// As [`extent`](Self::extent), without looking at all of it, if it ends with a marker that vouches for all before: any
    /// bad record in it is damage then.
    pub fn closed(&self, disk: &dyn Disk) -> Result<Option<Extent>, JournalError> {
        let mut extent = None;
        let Some(last) = self.len.checked_sub(RECORD as u64).filter(|last| *last > 0 && self.len == self.whole())
        else {
            return Ok(None);
        };
        let file = self.open(disk)?;
        self.scan(disk, &*file, last..self.len, &mut Vec::new(), |offset, record, _| {
            if let Some(Record::Marker { durable, moment }) = record
                && durable == offset
            {
                extent = Some(Extent {
                    end: self.len,
                    vouched: offset,
                    moment: Some(moment).filter(|moment| moment.lease_s > 0),
                });
            }
            true
        })?;
        Ok(extent)
    }

    /// How many bytes of it count: up to the first bad record.
    ///
    /// A bad record before an end that was durable is damage: before the limit, the durable length by the next segment's
    /// header, or before what any marker vouches for. Bad ones behind that were never durable, even when good ones follow:
    /// pages of a group reach the disk in any order. Good records between the durable end and the first bad one count, until
    /// a start carries them over: where nothing waits for the disk (`interval`, `off`) clients know of them; otherwise the next
    /// segment has them once more.
    pub fn extent(&self, disk: &dyn Disk) -> Result<Extent, JournalError> {
        if let Some(extent) = self.closed(disk)?
            && extent.end >= self.limit.unwrap_or(0)
            && !self.is_cut
        {
            return Ok(extent);
        }
        if self.header.kind == Kind::Snapshot {
            // It was synced before it got its name.
            return Err(damaged(disk, &self.name, self.whole()));
        }
        let mut first_bad = None;
        let mut vouched = 0;
        let mut extent = Extent::default();
        let file = self.open(disk)?;
        self.scan(disk, &*file, RECORD as u64..self.whole(), &mut Vec::new(), |offset, record, _| {
            match record {
                None => first_bad = first_bad.or(Some(offset)),
                Some(Record::Marker { durable, moment }) => {
                    vouched = vouched.max(durable);
                    if first_bad.is_none() && moment.lease_s > 0 {
                        extent.moment = Some(moment);
                    }
                }
                Some(_) => {}
            }
            true
        })?;
        let good = first_bad.unwrap_or(self.whole());
        let limit = self.limit.unwrap_or(0);
        if good < if self.is_cut { limit } else { limit.max(vouched) } {
            return Err(damaged(disk, &self.name, good));
        }
        let good = if self.is_cut { limit } else { good };
        (extent.end, extent.vouched) = (good, vouched);
        Ok(extent)
    }

    /// Reads the records in a range of offsets, which are multiples of [`RECORD`], until `each` says no; a bad one is `None`.
    /// `buffer` is grown to [`READ_SIZE`] and can be used again.
    pub fn scan(
        &self,
        disk: &dyn Disk,
        file: &dyn StoredFile,
        range: std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(u64, Option<Record<'_>>, &Bytes) -> bool,
    ) -> Result<(), JournalError> {
        let mut offset = range.start;
        while offset < range.end {
            let wanted = READ_SIZE.min(usize::try_from(range.end - offset).unwrap_or(READ_SIZE));
            if buffer.len() < wanted {
                *buffer = vec![0; wanted];
            }
            let bytes = &mut buffer[..wanted];
            let filled = file.read_at(bytes, offset).map_err(JournalError::on(disk, Some(&self.name), "read it"))?;
            let (records, _) = bytes[..filled].as_chunks::<RECORD>();
            for bytes in records {
                if !each(offset, record::decode(bytes, self.header.seed), bytes) {
                    return Ok(());
                }
                offset += RECORD as u64;
            }
            if filled < wanted || wanted < RECORD {
                // It is shorter than it was, or a header says that it ends within a record.
                return Err(damaged(disk, &self.name, offset));
            }
        }
        Ok(())
    }

    /// Where a reader begins so that it has all parts of the first change whose base record is at `offset` or later.
    pub fn lead_in(offset: u64) -> u64 {
        offset.saturating_sub(((MAX_RECORDS - 1) * RECORD) as u64).max(RECORD as u64)
    }
}
