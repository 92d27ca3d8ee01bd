//! Snapshots: the newest record of each address, in the order of address spaces and addresses, so that two can be merged as they are read.

use std::io;

use super::{
    Disk, JournalError, SegmentFile, StoredFile,
    chain::{self, Link, READ_SIZE},
    record::{self, Bytes, MAX_RECORDS, RECORD, Record},
    recovery::Parts,
    segment::{self, Carried, Header, Kind},
};
use crate::{clock::Moment, lease::Binding};

/// Bytes of a snapshot that are written, and synced, at a time: what a commit that comes in between waits for at most.
pub(super) const CHUNK: usize = 256 << 10;

/// A change as the file has it: its records, continuations first.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// [`SpacedAddress::number`](crate::lease::SpacedAddress::number)
    pub address: u64,
    pub generation: u32,
    pub records: arrayvec::ArrayVec<Bytes, MAX_RECORDS>,
}

/// What the records of one file have shown so far of the change that they belong to.
#[derive(Default)]
pub(super) struct Assembly {
    parts: Parts,
    records: arrayvec::ArrayVec<Bytes, MAX_RECORDS>,
}

impl Assembly {
    /// Takes the next record, decoded and as it is. `Some` when a change is whole; an error when it cannot be.
    pub fn take(&mut self, record: &Record<'_>, bytes: &Bytes) -> Result<Option<(u64, u32)>, ()> {
        match record {
            Record::Marker { .. } => Ok(None),
            Record::Continuation { at, generation, part, bytes: id } => {
                if *part == 1 || self.records.is_full() {
                    self.records.clear();
                }
                self.parts.add((*at, *generation), *part, id);
                self.records.push(*bytes);
                Ok(None)
            }
            Record::Base { lease, tail, start, .. } => {
                let of = (lease.at(), lease.generation);
                let extra = record::records_of(tail.len()) - 1;
                self.parts.complete(of, start, tail.len()).ok_or(())?;
                // Continuations of a change whose base never came may lie before.
                let surplus = self.records.len().checked_sub(extra).ok_or(())?;
                self.records.drain(..surplus);
                self.records.try_push(*bytes).map_err(|_| ())?;
                Ok(Some((lease.at().number(), lease.generation)))
            }
        }
    }

    /// The records of the change that is whole.
    pub fn records(&mut self) -> arrayvec::ArrayVec<Bytes, MAX_RECORDS> {
        std::mem::take(&mut self.records)
    }
}

/// Reads a snapshot change by change.
pub(super) struct SnapshotReader {
    link: Link,
    file: Box<dyn StoredFile>,
    buffer: Vec<u8>,
    /// The next record in `buffer`, and the offset of the one behind it in the file.
    at: usize,
    offset: u64,
    assembly: Assembly,
    last: Option<u64>,
}

impl SnapshotReader {
    pub fn open(disk: &dyn Disk, link: Link) -> Result<Self, JournalError> {
        let file = link.open(disk)?;
        let (buffer, assembly) = (Vec::with_capacity(READ_SIZE), Assembly::default());
        Ok(Self { link, file, buffer, at: 0, offset: RECORD as u64, assembly, last: None })
    }

    /// The next change; `None` at the end.
    pub fn next(&mut self, disk: &dyn Disk) -> Result<Option<Change>, JournalError> {
        loop {
            if self.at == self.buffer.len() && !self.fill(disk)? {
                return Ok(None);
            }
            let offset = self.offset - (self.buffer.len() - self.at) as u64;
            let damaged = || chain::damaged(disk, &self.link.name, offset);
            let bytes: &Bytes = self.buffer[self.at..].first_chunk().ok_or_else(damaged)?;
            self.at += RECORD;
            let record = record::decode(bytes, self.link.header.seed).ok_or_else(damaged)?;
            let Some((address, generation)) = self.assembly.take(&record, bytes).map_err(|()| damaged())? else {
                continue;
            };
            if self.last.is_some_and(|last| last >= address) {
                return Err(damaged());
            }
            self.last = Some(address);
            return Ok(Some(Change { address, generation, records: self.assembly.records() }));
        }
    }

    fn fill(&mut self, disk: &dyn Disk) -> Result<bool, JournalError> {
        let left = usize::try_from(self.link.whole() - self.offset).unwrap_or(READ_SIZE).min(READ_SIZE);
        self.buffer.resize(left, 0);
        self.at = 0;
        let read = self.file.read_at(&mut self.buffer, self.offset);
        let filled = read.map_err(JournalError::on(disk, Some(&self.link.name), "read it"))?;
        self.buffer.truncate(filled);
        self.offset += filled as u64;
        Ok(filled > 0)
    }
}

/// Writes a snapshot under a name that does not count yet.
pub(super) struct SnapshotWriter {
    file: Box<dyn SegmentFile>,
    header: Header,
    len: u64,
    buffer: Vec<u8>,
}

impl SnapshotWriter {
    /// Begins the snapshot that replaces all up to the segment of this number.
    pub fn begin(disk: &dyn Disk, number: u64) -> io::Result<Self> {
        let name = segment::unfinished_name(number);
        let mut file = disk.create(&name).or_else(|error| match error.kind() {
            // What an earlier attempt left behind.
            io::ErrorKind::AlreadyExists => disk.remove(&name).and_then(|()| disk.create(&name)),
            _ => Err(error),
        })?;
        let header = Header {
            kind: Kind::Snapshot,
            number,
            seed: segment::random_seed(),
            previous: None,
            carries: true,
            carried: Carried::default(),
        };
        file.append(&header.encode())?;
        Ok(Self { file, header, len: RECORD as u64, buffer: Vec::with_capacity(CHUNK + (MAX_RECORDS + 1) * RECORD) })
    }

    /// Adds a change. True when there is enough for [`flush`](Self::flush).
    pub fn add<'a>(&mut self, records: impl IntoIterator<Item = &'a Bytes>) -> bool {
        for bytes in records {
            let mut bytes = *bytes;
            record::seal(&mut bytes, self.header.seed);
            self.buffer.extend_from_slice(&bytes);
        }
        self.buffer.len() >= CHUNK
    }

    /// Writes and syncs what was added.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.file.sync()?;
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends it with a marker that vouches for all of it, and gives it its name, for good when this returns.
    pub fn finish(mut self, disk: &dyn Disk, moment: &Moment) -> io::Result<()> {
        self.flush()?;
        let mut marker = record::marker(self.len, moment);
        record::seal(&mut marker, self.header.seed);
        self.file.append(&marker)?;
        self.file.sync()?;
        let number = self.header.number;
        disk.rename(&segment::unfinished_name(number), &segment::name(number, Kind::Snapshot))
    }
}

/// A segment that is written in one go and synced at its end: what a repair saved, or what was imported.
pub(super) struct WholeSegment {
    file: Box<dyn SegmentFile>,
    seed: u32,
    len: u64,
    buffer: Vec<u8>,
}

impl WholeSegment {
    pub fn begin(disk: &dyn Disk, header: Header, name: &str) -> io::Result<Self> {
        let mut file = disk.create(name)?;
        file.append(&header.encode())?;
        let buffer = Vec::with_capacity(CHUNK + MAX_RECORDS * RECORD);
        Ok(Self { file, seed: header.seed, len: RECORD as u64, buffer })
    }

    pub fn add(&mut self, binding: &Binding) -> io::Result<()> {
        record::encode(&binding.lease(), &binding.hw, &binding.client_id, binding.kept(), |mut bytes| {
            record::seal(&mut bytes, self.seed);
            self.buffer.extend_from_slice(&bytes);
        });
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends it with a marker that vouches for all of it, and syncs it.
    pub fn finish(mut self, moment: &Moment) -> io::Result<()> {
        self.flush()?;
        let mut marker = record::marker(self.len, moment);
        record::seal(&mut marker, self.seed);
        self.file.append(&marker)?;
        self.file.sync()
    }
}
