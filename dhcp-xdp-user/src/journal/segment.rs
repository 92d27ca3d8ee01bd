//! Segments: their names, their header, and the chain that they form.
//!
//! The header is synced before the first group, and names the segment before it and how much of that one counts: whatever
//! a failing disk or a crash left behind that end was never durable, and no ACK was sent for it.

use std::{
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    path::{Path, PathBuf},
};

use super::{
    JournalError,
    record::{self, Bytes, RECORD},
};

const MAGIC: &[u8; 8] = b"dhcpxdpJ";
/// The format that this program writes, and the newest that it reads.
pub(super) const VERSION: u16 = 1;
/// Bytes after which a new segment is begun (few in tests, so that they have several).
pub(super) const ROTATE_AT: u64 = if cfg!(test) { 512 << 10 } else { 64 << 20 };

/// A segment's first 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its number, in its name too.
    pub number: u64,
    /// Where the checksums of its records start from; random.
    pub seed: u32,
    /// The segment before it and its durable length, header included.
    pub previous: Option<(u64, u64)>,
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
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.seed.to_le_bytes());
        let (number, len) = self.previous.unwrap_or((u64::MAX, 0));
        bytes[32..40].copy_from_slice(&number.to_le_bytes());
        bytes[40..48].copy_from_slice(&len.to_le_bytes());
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
        Ok(Self { number: u64_at(16), seed, previous })
    }
}

/// What the checksums of a new segment start from.
pub(super) fn random_seed() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

/// The file name of a segment.
pub(super) fn name(number: u64) -> String {
    format!("journal-{number:010}.seg")
}

/// The name of a segment that is being written in one piece; it counts for nothing before it is renamed.
pub(super) fn unfinished_name(number: u64) -> String {
    format!("journal-{number:010}.tmp")
}

/// The segments of a directory, by number; other files are left alone. A directory that is not there has none.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    files(dir, ".seg")
}

/// The segments that nobody finished.
pub(super) fn list_unfinished(dir: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    files(dir, ".tmp")
}

fn files(dir: &Path, suffix: &str) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(JournalError::io(dir, "list it")(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(JournalError::io(dir, "list it"))?;
        let (path, file_name) = (entry.path(), entry.file_name());
        let Some(number) = file_name.to_str().and_then(|name| number_of(name, suffix)) else { continue };
        // Opening a FIFO would wait for ever.
        if !entry.file_type().map_err(JournalError::io(&path, "look at it"))?.is_file() {
            return Err(JournalError::Foreign { path: path.display().to_string(), what: "not a regular file" });
        }
        found.push((number, path));
    }
    found.sort_unstable();
    Ok(found)
}

/// The number in a name exactly as [`name`] makes it: another spelling of a number is another program's file.
fn number_of(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(suffix)?;
    let number = digits.parse().ok()?;
    (format!("{number:010}") == digits).then_some(number)
}
