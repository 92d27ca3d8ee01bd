//! Segments and snapshots: their names and their header.
//!
//! The header is synced before the first group, and names the segment before it and how much of that one counts: whatever
//! a failing disk or a crash left behind that end was never durable, and no ACK was sent for it. A snapshot has the number of
//! the last segment that it replaces, and names nothing before it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use super::{
    Disk, JournalError,
    record::{self, Bytes, RECORD},
};

const MAGIC: &[u8; 8] = b"dhcpxdpJ";
/// The format that this program writes, and the newest that it reads. Version 1 had neither snapshots nor the time in its
/// markers, version 2 neither address spaces nor relay agent information; what they wrote is valid in version 3.
pub(super) const VERSION: u16 = 3;
/// Bytes after which a new segment is begun (few in tests, so that they have several).
pub(super) const ROTATE_AT: u64 = if cfg!(test) { 512 << 10 } else { 64 << 20 };

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Groups, in the order in which they came.
    Segment = 0,
    /// The newest record of each address, in the order of addresses, and a marker at its end that vouches for all of it.
    Snapshot = 1,
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Segment => ".seg",
            Self::Snapshot => ".snap",
        }
    }
}

/// A segment's first 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// What it is.
    pub kind: Kind,
    /// Its number, in its name too.
    pub number: u64,
    /// Where the checksums of its records start from; random.
    pub seed: u32,
    /// The segment before it and its durable length, header included.
    pub previous: Option<(u64, u64)>,
    /// It begins with all that was found behind the durable ends of those before it: nothing there counts any more.
    pub carries: bool,
    /// What that is, for who follows the journal.
    pub carried: Carried,
}

/// What a segment carries over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// How many records, without markers: it begins with them.
    pub records: u64,
    /// The number of the first segment that they were in.
    pub from: u64,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// Too short or a wrong checksum.
    Bad,
    /// Of this newer version.
    Newer(u16),
}

impl Header {
    pub fn encode(&self) -> Bytes {
        let mut bytes = [0; RECORD];
        bytes[4..12].copy_from_slice(MAGIC);
        bytes[12..14].copy_from_slice(&VERSION.to_le_bytes());
        bytes[14] = self.kind as u8;
        bytes[15] = self.carries.into();
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.seed.to_le_bytes());
        let (number, len) = self.previous.unwrap_or((u64::MAX, 0));
        bytes[32..40].copy_from_slice(&number.to_le_bytes());
        bytes[40..48].copy_from_slice(&len.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.carried.records.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.carried.from.to_le_bytes());
        record::seal(&mut bytes, 0);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        let bytes: &Bytes = bytes.first_chunk().ok_or(NoHeader::Bad)?;
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if &bytes[4..12] != MAGIC {
            return Err(NoHeader::Bad);
        }
        let version = u16::from_le_bytes([bytes[12], bytes[13]]);
        if version > VERSION {
            return Err(NoHeader::Newer(version));
        }
        let mut sealed = *bytes;
        record::seal(&mut sealed, 0);
        if sealed != *bytes {
            return Err(NoHeader::Bad);
        }
        let previous = (u64_at(32) != u64::MAX).then(|| (u64_at(32), u64_at(40)));
        let seed = u32::from_le_bytes(std::array::from_fn(|i| bytes[24 + i]));
        let kind = match bytes[14] {
            0 => Kind::Segment,
            1 => Kind::Snapshot,
            _ => return Err(NoHeader::Bad),
        };
        // Zero, where an earlier build wrote it.
        let carried = Carried { records: u64_at(48), from: u64_at(56) };
        Ok(Self { kind, number: u64_at(16), seed, previous, carries: bytes[15] == 1, carried })
    }
}

/// What the checksums of a new segment start from.
pub(super) fn random_seed() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

/// The file name of a segment or snapshot.
pub(super) fn name(number: u64, kind: Kind) -> String {
    format!("journal-{number:010}{}", kind.suffix())
}

/// The name of a file that is being written as a whole; it counts for nothing before it is renamed.
pub(super) fn unfinished_name(number: u64) -> String {
    format!("journal-{number:010}{UNFINISHED}")
}

const UNFINISHED: &str = ".tmp";

/// The journal's files in a directory, by their numbers; others are left alone.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Ascending; of one number the segment before the snapshot that replaces it.
    pub whole: Vec<(u64, Kind)>,
    /// Files that nobody finished.
    pub unfinished: Vec<u64>,
}

/// Lists a directory. One that is not there has none.
pub(super) fn list(disk: &dyn Disk) -> Result<Files, JournalError> {
    let entries = disk.list().map_err(JournalError::on(disk, None, "list it"))?;
    let mut files = Files::default();
    for entry in entries {
        let numbered = |suffix| number_of(&entry.name, suffix);
        if let Some(number) = numbered(Kind::Segment.suffix()) {
            files.whole.push((number, Kind::Segment));
        } else if let Some(number) = numbered(Kind::Snapshot.suffix()) {
            files.whole.push((number, Kind::Snapshot));
        } else if let Some(number) = numbered(UNFINISHED) {
            files.unfinished.push(number);
        } else {
            continue;
        }
        // Opening a FIFO would wait for ever.
        if !entry.is_file {
            return Err(JournalError::foreign(disk, &entry.name, "not a regular file"));
        }
    }
    files.whole.sort_unstable();
    files.unfinished.sort_unstable();
    Ok(files)
}

/// The number in a name exactly as [`name`] makes it: another spelling of a number is another program's file.
fn number_of(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(suffix)?;
    let number = digits.parse().ok()?;
    (format!("{number:010}") == digits).then_some(number)
}
