//! The files of a history: their names, in the order in which they were written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::room;

const PREFIX: &str = "history-";
const LINES: &str = ".jsonl";
const INDEX: &str = ".idx";
/// Numbers from here on are none of ours; there is always a next one.
const MAX_NUMBER: u64 = 1 << 62;

/// `history-NUMBER-TIME.jsonl`: the time of the file's beginning, UTC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// Counts the files.
    pub number: u64,
    /// As in the name: `20261124T093000Z`.
    pub begun: String,
}

impl FileName {
    /// The name of a file that begins at this time.
    pub fn new(number: u64, begun_s: u32) -> Self {
        let time = jiff::Timestamp::from_second(begun_s.into()).unwrap_or_default();
        Self { number, begun: time.strftime("%Y%m%dT%H%M%SZ").to_string() }
    }

    /// A name as [`lines`](Self::lines) makes it.
    pub fn parse(name: &str) -> Option<Self> {
        let (digits, begun) = name.strip_prefix(PREFIX)?.strip_suffix(LINES)?.split_once('-')?;
        let parsed = Self { number: digits.parse().ok()?, begun: begun.to_owned() };
        (parsed.lines() == name && begun.len() == 16 && parsed.number < MAX_NUMBER).then_some(parsed)
    }

    /// Its time, seconds since 1970.
    pub fn begun_s(&self) -> u32 {
        let time = jiff::Timestamp::strptime("%Y%m%dT%H%M%S%z", self.begun.replace('Z', "+0000"));
        time.ok().and_then(|time| u32::try_from(time.as_second()).ok()).unwrap_or(0)
    }

    /// The file of the lines.
    pub fn lines(&self) -> String {
        format!("{PREFIX}{:010}-{}{LINES}", self.number, self.begun)
    }

    /// The file of its index.
    pub fn index(&self) -> String {
        format!("{PREFIX}{:010}-{}{INDEX}", self.number, self.begun)
    }
}

/// The history files of a directory, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<FileName>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(FileName::parse)
            && entry.file_type()?.is_file()
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// What a file and its index take, bytes.
pub(super) fn size(dir: &Path, name: &FileName) -> io::Result<u64> {
    let mut bytes = 0;
    for name in [name.lines(), name.index()] {
        match fs::metadata(dir.join(name)) {
            Ok(found) => bytes += found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Removes a file and its index, that one first: a file without one is still found.
pub(super) fn remove(dir: &Path, name: &FileName) -> io::Result<()> {
    match fs::remove_file(dir.join(name.index())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => room::remove(&dir.join(name.lines())),
    }
}

/// Makes a file for its owner and group: leases say who is where.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)
}

/// Writes a small file as a whole: whatever happens, there is the former one or this one.
pub(super) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let unfinished = dir.join(format!("{name}.tmp"));
    // Whatever has its name, a pipe that nobody reads or a link, is not written to.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&unfinished, dir.join(name))?;
    sync_names(dir)
}

pub(super) fn sync_names(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Where the last whole line of a file ends.
pub(super) fn whole_len(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 4096;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Hands out the lines of a file with where each begins, until `each` says no. A last one without its end is left out: it is
/// being written.
pub(super) fn each_line(path: &Path, mut each: impl FnMut(u64, &[u8]) -> bool) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(256 << 10, File::open(path)?);
    let (mut line, mut offset) = (Vec::new(), 0);
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') || !each(offset, &line[..len - 1]) {
            return Ok(());
        }
        offset += len as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_number_and_time_and_others_are_left_alone() {
        let name = FileName::new(12, 1_800_000_000);
        assert_eq!(name.lines(), "history-0000000012-20270115T080000Z.jsonl");
        assert_eq!(FileName::parse(&name.lines()), Some(name.clone()));
        assert_eq!(name.begun_s(), 1_800_000_000);
        assert_eq!(FileName::parse(&name.index()), None);
        for strange in ["history-12-20270115T080000Z.jsonl", "history-.jsonl", "history-0000000012-x.jsonl", "x"] {
            assert_eq!(FileName::parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn a_line_that_is_being_written_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for (text, whole, lines) in [("", 0, 0), ("a", 0, 0), ("a\n", 2, 1), ("a\nbb\nc", 5, 2)] {
            fs::write(&path, text).unwrap();
            assert_eq!(whole_len(&mut File::open(&path).unwrap()).unwrap(), whole, "{text:?}");
            let mut count = 0;
            each_line(&path, |_, _| {
                count += 1;
                true
            })
            .unwrap();
            assert_eq!(count, lines, "{text:?}");
        }
        let long = "x".repeat(10_000);
        fs::write(&path, format!("ab\n{long}")).unwrap();
        assert_eq!(whole_len(&mut File::open(&path).unwrap()).unwrap(), 3);
    }
}
