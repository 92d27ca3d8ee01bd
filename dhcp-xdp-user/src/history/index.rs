//! The index of a closed file: where the lines of each address are. Eight bytes a line, so that a search reads some pages of a
//! file and not all of it. A file without one is read whole.
//!
//! ```text
//! header  magic 8 | entries 8 | length of the file 8 | earliest time 4 | latest time 4 | crc of the header 4 | 0 4
//! entry   address 4 | offset 4, both big-endian, in the order of addresses, then offsets; a gap has the address 0.0.0.0
//! ```

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    net::Ipv4Addr,
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::{
    Head,
    files::{self, FileName},
};

const MAGIC: &[u8; 8] = b"dhcpxdpI";
const HEADER: usize = 40;
const ENTRY: u64 = 8;
/// Offsets have 32 bits.
pub(super) const MAX_LEN: u64 = u32::MAX as u64;

/// What an index says of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub lines: u64,
    pub len: u64,
    pub first_s: u32,
    pub last_s: u32,
}

/// Makes the index of a file that is complete.
pub(super) fn build(dir: &Path, name: &FileName) -> io::Result<Span> {
    let path = dir.join(name.lines());
    let len = path.metadata()?.len();
    let mut entries = Vec::new();
    let mut span = Span { lines: 0, len, first_s: u32::MAX, last_s: 0 };
    files::each_line(&path, |offset, line| {
        if let Some(head) = Head::parse(line) {
            let at_s = head.at_s();
            span.first_s = span.first_s.min(at_s);
            span.last_s = span.last_s.max(at_s);
            let address = head.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
            entries.push((u32::from(address), offset as u32));
        }
        true
    })?;
    entries.sort_unstable();
    span.lines = entries.len() as u64;
    let unfinished = dir.join(format!("{}.tmp", name.index()));
    let _ = std::fs::remove_file(&unfinished);
    let mut out = BufWriter::new(files::create(&unfinished)?);
    out.write_all(&header(&span))?;
    for (address, offset) in entries {
        out.write_all(&address.to_be_bytes())?;
        out.write_all(&offset.to_be_bytes())?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
    std::fs::rename(unfinished, dir.join(name.index()))?;
    Ok(span)
}

fn header(span: &Span) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&span.lines.to_le_bytes());
    bytes[16..24].copy_from_slice(&span.len.to_le_bytes());
    bytes[24..28].copy_from_slice(&span.first_s.to_le_bytes());
    bytes[28..32].copy_from_slice(&span.last_s.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// An index to look into.
pub(super) struct Index {
    file: File,
    pub span: Span,
}

impl Index {
    /// The index of a file; `None`: it has none, or one of another state of it.
    pub fn open(dir: &Path, name: &FileName) -> io::Result<Option<Self>> {
        let file = match File::open(dir.join(name.index())) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; HEADER];
        if file.metadata()?.len() < HEADER as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let span = Span { lines: u64_at(8), len: u64_at(16), first_s: u32_at(24), last_s: u32_at(28) };
        let is_whole = header(&span) == bytes
            && file.metadata()?.len() == HEADER as u64 + span.lines * ENTRY
            && dir.join(name.lines()).metadata()?.len() == span.len;
        Ok(is_whole.then_some(Self { file, span }))
    }

    fn entry(&self, at: u64) -> io::Result<(u32, u32)> {
        let mut bytes = [0; ENTRY as usize];
        self.file.read_exact_at(&mut bytes, HEADER as u64 + at * ENTRY)?;
        let half = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        Ok((half(0), half(4)))
    }

    /// Where the lines of an address begin, in their order.
    pub fn offsets(&self, address: Ipv4Addr) -> io::Result<Vec<u64>> {
        let address = u32::from(address);
        let (mut low, mut high) = (0, self.span.lines);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 < address { low = middle + 1 } else { high = middle }
        }
        let mut offsets = Vec::new();
        while low < self.span.lines {
            let (of, offset) = self.entry(low)?;
            if of != address {
                break;
            }
            offsets.push(offset.into());
            low += 1;
        }
        Ok(offsets)
    }
}
