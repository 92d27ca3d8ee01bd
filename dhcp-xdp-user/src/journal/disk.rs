//! The disk as the journal sees it: a flat directory of files that grow and are synced. A parameter, so that tests can make
//! it fail, lose what was not synced, and replay a whole life from a seed.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::room::{self, Room};

/// Where segments and snapshots are. Shared by the journal's threads.
pub trait Disk: Send + Sync {
    /// The directory, for messages.
    fn path(&self) -> &Path;
    /// Takes it for this process, until the lock is dropped; `None`: another process has it.
    ///
    /// # Errors
    /// What the operating system says.
    fn lock(&self) -> io::Result<Option<DiskLock>>;
    /// The names in it, in any order; none if it is not there.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self) -> io::Result<Vec<DiskEntry>>;
    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;
    /// Makes a new, empty file that is to survive a crash under this name once its first [`SegmentFile::sync`] returned.
    ///
    /// # Errors
    /// What the operating system says, also that the name is taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>>;
    /// Gives a file another name, for good when it returns.
    ///
    /// # Errors
    /// The file has either name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. A crash may bring it back.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when all names are durable as they are now.
    ///
    /// # Errors
    /// It is not known which are.
    fn sync_names(&self) -> io::Result<()>;
    /// What the file system has; `None`: it has no size.
    ///
    /// # Errors
    /// What the operating system says.
    fn room(&self) -> io::Result<Option<Room>> {
        Ok(None)
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// The name.
    pub name: String,
    /// A regular file (and no FIFO, whose opening would wait for ever).
    pub is_file: bool,
}

/// Holds the directory for this process.
#[derive(Debug, Default)]
pub struct DiskLock {
    /// A lock on the directory itself, which no file in it that is removed can undo.
    _dir: Option<File>,
}

/// A file that only grows.
pub trait SegmentFile: Send {
    /// Appends all bytes.
    ///
    /// # Errors
    /// Any part of them may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was appended is on stable storage.
    ///
    /// # Errors
    /// Nothing is known of what was appended since the last sync that returned without one.
    fn sync(&mut self) -> io::Result<()>;
    /// Whether it still has a name: what is written to a file that was removed is gone with it.
    ///
    /// # Errors
    /// What the operating system says.
    fn is_named(&self) -> io::Result<bool>;
}

/// A file to read.
pub trait StoredFile: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn size(&self) -> io::Result<u64>;
    /// Fills the buffer from this offset on; returns less than its length at the end of the file only.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Returns when all that can be read of it is on stable storage.
    ///
    /// # Errors
    /// Nothing is known.
    fn sync(&self) -> io::Result<()>;
    /// All of it will be read soon: a hint.
    fn will_need(&self) {}
}

/// A directory of the file system.
#[derive(Debug)]
pub struct DirectoryDisk {
    dir: PathBuf,
}

impl DirectoryDisk {
    /// Files are made in `dir`, which is there already.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

impl Disk for DirectoryDisk {
    fn path(&self) -> &Path {
        &self.dir
    }
    fn lock(&self) -> io::Result<Option<DiskLock>> {
        let dir = File::open(&self.dir)?;
        match dir.try_lock() {
            Ok(()) => Ok(Some(DiskLock { _dir: Some(dir) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
    fn list(&self) -> io::Result<Vec<DiskEntry>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is no text is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.file_type() {
                Ok(kind) => found.push(DiskEntry { name, is_file: kind.is_file() }),
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(File::open(self.dir.join(name))?))
    }
    /// For its owner and group: leases say who is where.
    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(&path)?;
        // A disk that fails would collect one such file at each attempt.
        self.sync_names().inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Box::new(file))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))?;
        self.sync_names()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        room::remove(&self.dir.join(name))
    }
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
    fn room(&self) -> io::Result<Option<Room>> {
        Room::at(&self.dir)
    }
}

impl SegmentFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
    fn is_named(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }
}

impl StoredFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
    fn will_need(&self) {
        // A hint that is refused costs time only.
        let _ = posix_fadvise(self, 0, 0, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }
}
