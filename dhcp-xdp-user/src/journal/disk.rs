//! The disk as the journal sees it: files that grow and are synced. A parameter, so that tests can make it fail.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where segments are made.
pub trait Disk: Send {
    /// Makes a new, empty file that is to survive a crash under this name once its first [`SegmentFile::sync`] returned.
    ///
    /// # Errors
    /// What the operating system says, also that the name is taken.
    fn create(&mut self, name: &str) -> io::Result<Box<dyn SegmentFile>>;
    /// Gives a file another name, for good when it returns.
    ///
    /// # Errors
    /// The file has either name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. A crash may bring it back.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&mut self, name: &str) -> io::Result<()>;
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

    /// A name is durable only when the directory is.
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl Disk for DirectoryDisk {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.dir.join(name))?;
        self.sync_names()?;
        Ok(Box::new(file))
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))?;
        self.sync_names()
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
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
