//! Writes the history: lines, then what they were made of (the checkpoint), each synced before the next.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    files::{self, FileName},
    index::{self, Index},
};
use crate::journal::Position;

/// The checkpoint's file.
pub(super) const STATE: &str = "history.state";

/// How a history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its directory.
    pub dir: PathBuf,
    /// A file is closed when it is as large as this, bytes.
    pub rotate_bytes: u64,
    /// Or as old.
    pub rotate_after: Duration,
    /// Files whose last line is older are removed; `None`: never.
    pub keep: Option<Duration>,
    /// What all files may take, bytes: beyond that the oldest is removed; `None`: as much as there is.
    pub max_bytes: Option<u64>,
}

/// What has been written, and of what: noted together, so that neither is ahead of the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of this form.
    pub schema: u32,
    /// The last file, and how much of it counts, bytes; none before the first line.
    pub file: Option<String>,
    /// See `file`.
    pub length: u64,
    /// The journal was read up to here.
    pub journal: Position,
    /// Expiries were told up to this moment, in the leases' time.
    pub expired_until_s: u32,
    /// All that happened up to this moment is in the history, seconds since 1970, by the wall clock.
    pub complete_until_s: u32,
}

/// Version of [`Checkpoint`].
const SCHEMA: u32 = 1;

/// What each version of it has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

impl Checkpoint {
    /// The one that a directory has, if any.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(dir.join(STATE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = |error: serde_json::Error| {
            io::Error::other(format!("{STATE} is damaged ({error}): move it away, and the history begins anew"))
        };
        let Version { schema } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if schema > SCHEMA {
            return Err(io::Error::other(format!(
                "{STATE} is of version {schema}, newer than this program's {SCHEMA}"
            )));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Whether the file that it names still has what counts of it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn is_backed(&self, dir: &Path) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        match fs::metadata(dir.join(file)) {
            Ok(found) => Ok(found.len() >= self.length),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The file that is being written.
struct Open {
    file: File,
    name: FileName,
    begun_s: u32,
    /// Bytes that count.
    len: u64,
    /// There may be more in it, of an attempt that failed.
    is_dirty: bool,
}

impl Open {
    /// The last file, of which so many bytes count, or all whole lines; `None`: it was closed.
    fn again(dir: &Path, name: FileName, counts: Option<u64>) -> io::Result<Option<Self>> {
        match Index::open(dir, &name)? {
            // What it was closed with will come again.
            Some(index) if counts.is_some_and(|len| len < index.span.len) => fs::remove_file(dir.join(name.index()))?,
            Some(_) => return Ok(None),
            None => {}
        }
        let mut file = OpenOptions::new().read(true).write(true).open(dir.join(name.lines()))?;
        let whole = files::whole_len(&mut file)?;
        let len = counts.map_or(whole, |len| len.min(whole));
        file.set_len(len)?;
        let begun_s = name.begun_s();
        Ok(Some(Self { file, name, begun_s, len, is_dirty: false }))
    }
}

/// Writes a history.
pub struct Writer {
    settings: Settings,
    open: Option<Open>,
    next_number: u64,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    /// How many they are.
    lines: u64,
    last: Option<Checkpoint>,
    removed_early: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("dir", &self.settings.dir).finish_non_exhaustive()
    }
}

impl Writer {
    /// Goes on with a history. `goes_on`: what was written after its checkpoint will come again, and is cut off. Otherwise all
    /// whole lines stay.
    ///
    /// # Errors
    /// A file cannot be read or cut.
    pub fn open(settings: Settings, goes_on: bool) -> io::Result<Self> {
        let dir = &settings.dir;
        let last = Checkpoint::read(dir)?;
        let mut names = files::list(dir)?;
        let next_number = names.last().map_or(0, |name| name.number + 1);
        let checked = last.as_ref().and_then(|last| FileName::parse(last.file.as_deref()?));
        if goes_on {
            let number = checked.as_ref().map(|name| name.number);
            for name in names.iter().filter(|name| Some(name.number) > number) {
                fs::remove_file(dir.join(name.lines()))?;
                let _ = fs::remove_file(dir.join(name.index()));
            }
            names.retain(|name| Some(name.number) <= number);
        }
        let open = match names.pop() {
            Some(name) => {
                let counts = last.as_ref().filter(|_| goes_on && checked.as_ref() == Some(&name));
                Open::again(dir, name, counts.map(|last| last.length))?
            }
            None => None,
        };
        Ok(Self { settings, open, next_number, pending: Vec::new(), last, lines: 0, removed_early: 0 })
    }

    /// Until when it is complete, by its last checkpoint; 0: nobody knows.
    pub fn complete_until_s(&self) -> u32 {
        self.last.as_ref().map_or(0, |last| last.complete_until_s)
    }

    /// When the file that is being written was begun.
    pub fn begun_s(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.begun_s)
    }

    /// Files removed since it was last asked, although `keep` was not over.
    pub fn take_removed_early(&mut self) -> u64 {
        std::mem::take(&mut self.removed_early)
    }

    /// Whether the file that is being written is still where searches look for it: what goes into one that was removed or moved
    /// away is lost to them.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(true) };
        let held = open.file.metadata()?;
        match fs::symlink_metadata(self.settings.dir.join(open.name.lines())) {
            Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
            // Without its directory nothing is lost yet: it may come back with the file in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(&self.settings.dir).map(|_| false),
            Err(error) => Err(error),
        }
    }

    /// Bytes that wait for [`commit`](Self::commit).
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Adds a line.
    pub fn add(&mut self, line: &impl Serialize) {
        // Strings and numbers into memory: nothing that could fail.
        if serde_json::to_writer(&mut self.pending, line).is_ok() {
            self.pending.push(b'\n');
            self.lines += 1;
        }
    }

    /// Makes durable what was added, so many lines, and that it comes from the journal up to there. May be called again when it
    /// failed.
    ///
    /// # Errors
    /// What the disk says; what was added is kept.
    pub fn commit(&mut self, journal: Position, expired_until_s: u32, now_s: u32) -> io::Result<u64> {
        if !self.pending.is_empty() {
            if self.is_due(now_s) {
                self.close()?;
            }
            if self.open.is_none() {
                // For the one that is about to be filled. What cannot be removed holds no line up.
                if let Err(error) = self.keep_to_limit(self.settings.rotate_bytes) {
                    log::warn!("history: {}: older files stay: {error}", self.settings.dir.display());
                }
                self.begin(now_s)?;
            }
            let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
            if open.is_dirty {
                open.file.set_len(open.len)?;
            }
            open.is_dirty = true;
            open.file.write_all_at(&self.pending, open.len)?;
            open.file.sync_data()?;
            open.is_dirty = false;
            open.len += self.pending.len() as u64;
            self.pending.clear();
        }
        let checkpoint = Checkpoint {
            schema: SCHEMA,
            file: self.open.as_ref().map(|open| open.name.lines()).or(self.last.as_ref().and_then(|l| l.file.clone())),
            length: self.open.as_ref().map_or(self.last.as_ref().map_or(0, |last| last.length), |open| open.len),
            journal,
            expired_until_s,
            complete_until_s: now_s,
        };
        files::replace(&self.settings.dir, STATE, &serde_json::to_vec(&checkpoint)?)?;
        self.last = Some(checkpoint);
        Ok(std::mem::take(&mut self.lines))
    }

    /// Closes a file that is full or old, and removes those that need not or cannot be kept.
    ///
    /// # Errors
    /// What the disk says; it is tried again.
    pub fn tidy(&mut self, now_s: u32) -> io::Result<()> {
        if self.is_due(now_s) && self.pending.is_empty() {
            self.close()?;
        }
        self.keep_to_limit(0)?;
        let Some(keep) = self.settings.keep else { return Ok(()) };
        let before_s = now_s.saturating_sub(u32::try_from(keep.as_secs()).unwrap_or(u32::MAX));
        let dir = &self.settings.dir;
        for name in self.removable()? {
            // An index that somebody removed is made anew: without it nobody would know that the file is old.
            let span = match Index::open(dir, &name)? {
                Some(index) => index.span,
                None => index::build(dir, &name)?,
            };
            if span.last_s < before_s {
                files::remove(dir, &name)?;
                log::info!("history: {} is removed, all in it is older than keep_days", name.lines());
            }
        }
        Ok(())
    }

    /// Closed files, oldest first, but for the last one and the one that the checkpoint names: the next start goes on with it.
    fn removable(&self) -> io::Result<Vec<FileName>> {
        let mut names = files::list(&self.settings.dir)?;
        names.pop();
        let checked = self.last.as_ref().and_then(|last| FileName::parse(last.file.as_deref()?));
        let is_needed = |name: &FileName| {
            self.open.as_ref().is_some_and(|open| open.name == *name) || checked.as_ref() == Some(name)
        };
        names.retain(|name| !is_needed(name));
        Ok(names)
    }

    /// Where there is a limit to what all files may take: removes the oldest until there is as much room within it.
    fn keep_to_limit(&mut self, wanted: u64) -> io::Result<()> {
        let Some(max_bytes) = self.settings.max_bytes else { return Ok(()) };
        let dir = self.settings.dir.clone();
        let mut total = files::list(&dir)?.iter().map(|name| files::size(&dir, name)).sum::<io::Result<u64>>()?;
        for name in self.removable()? {
            if total + wanted <= max_bytes {
                break;
            }
            total -= files::size(&dir, &name)?;
            self.remove_early(&name, "all files would be larger than max_mib")?;
        }
        Ok(())
    }

    /// Where there is a limit to what all files may take: removes the oldest one for what is about to be written. The bytes that it had;
    /// `None`: there is no limit, or no file to remove.
    ///
    /// # Errors
    /// What the disk says.
    pub fn replace_oldest(&mut self) -> io::Result<Option<u64>> {
        if self.settings.max_bytes.is_none() {
            return Ok(None);
        }
        let Some(oldest) = self.removable()?.into_iter().next() else { return Ok(None) };
        let size = files::size(&self.settings.dir, &oldest)?;
        self.remove_early(&oldest, "its file system has no more room for the history")?;
        Ok(Some(size))
    }

    fn remove_early(&mut self, name: &FileName, why: &str) -> io::Result<()> {
        files::remove(&self.settings.dir, name)?;
        self.removed_early += 1;
        log::warn!("history: {} is removed before its time (keep_days): {why}", name.lines());
        Ok(())
    }

    fn is_due(&self, now_s: u32) -> bool {
        let Settings { rotate_bytes, rotate_after, .. } = &self.settings;
        let add = self.pending.len() as u64;
        self.open.as_ref().is_some_and(|open| {
            let is_full = open.len >= *rotate_bytes || open.len + add > index::MAX_LEN;
            open.len > 0 && (is_full || u64::from(now_s.saturating_sub(open.begun_s)) >= rotate_after.as_secs())
        })
    }

    fn close(&mut self) -> io::Result<()> {
        if let Some(open) = &self.open {
            if open.is_dirty {
                open.file.set_len(open.len)?;
            }
            index::build(&self.settings.dir, &open.name)?;
            files::sync_names(&self.settings.dir)?;
        }
        self.open = None;
        Ok(())
    }

    fn begin(&mut self, now_s: u32) -> io::Result<()> {
        let name = FileName::new(self.next_number, now_s);
        self.next_number += 1;
        let file = files::create(&self.settings.dir.join(name.lines()))?;
        files::sync_names(&self.settings.dir)?;
        self.open = Some(Open { file, name, begun_s: now_s, len: 0, is_dirty: false });
        Ok(())
    }
}
