//! Putting a damaged journal in order: all that can be read in one sound segment, all files as they were beside it.
//!
//! The steps are such that a crash after any of them leaves either the damaged journal, which no server starts with, or the
//! sound one, and repairing again goes on from there:
//!
//! 1. every segment gets a second name in a folder of its own, where no start of a server removes it;
//! 2. the newest readable change of each address goes into a new segment, under a name that counts for nothing, synced;
//! 3. that segment gets its name: from here on the journal begins with it, and what came before counts no more;
//! 4. the old segments lose their first names.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use super::{
    DirectoryDisk, Disk as _, DiskLock, JournalError, chain,
    inspect::{self, Found, Inspection, NewestOf, Progress, Survey},
    lock,
    segment::{self, Header, Kind},
    snapshot::WholeSegment,
};
use crate::clock::Moment;

/// A journal that is about to be repaired. No server can start on its directory while this lives.
pub struct Repair {
    dir: PathBuf,
    survey: Survey,
    newest: NewestOf,
    inspection: Inspection,
    number: u64,
    _lock: DiskLock,
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    /// Addresses whose newest readable change is in the journal now.
    pub saved: u64,
    /// The segment that they are in.
    pub segment: PathBuf,
    /// Where the segments are kept as they were.
    pub kept_in: PathBuf,
}

impl Repair {
    /// Looks at a journal that no server may hold meanwhile.
    ///
    /// # Errors
    /// As [`inspect`](super::inspect), and [`JournalError::InUse`].
    pub fn open(dir: &Path, now_s: u32, progress: &mut dyn FnMut(Progress)) -> Result<Self, JournalError> {
        let disk = DirectoryDisk::new(dir);
        let lock = lock(&disk)?;
        let (survey, newest, inspection) = inspect::look(dir, now_s, progress)?;
        let number = chain::number_after(&disk, segment::list(&disk)?.whole.last().copied())?;
        Ok(Self { dir: dir.to_owned(), survey, newest, inspection, number, _lock: lock })
    }

    /// What is there.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Where the segments will be kept as they are.
    pub fn keeps_in(&self) -> PathBuf {
        self.dir.join(format!("damaged-{:010}", self.number))
    }

    /// The segment that will be written.
    pub fn writes(&self) -> PathBuf {
        self.dir.join(segment::name(self.number, Kind::Segment))
    }

    /// Does it. Nothing is changed when there is no damage.
    ///
    /// # Errors
    /// The disk refuses; the journal is as damaged as before, and nothing of it is gone.
    pub fn run(self, progress: &mut dyn FnMut(Progress)) -> Result<Repaired, JournalError> {
        let old = self.keep()?;
        let unfinished = self.write(progress)?;
        for made in [self.keeps_in(), self.dir.join(&unfinished)] {
            give_to_owner_of(&self.dir, &made);
        }
        let disk = DirectoryDisk::new(&self.dir);
        disk.rename(&unfinished, &segment::name(self.number, Kind::Segment))
            .map_err(JournalError::io(&self.dir, "put the repaired journal in place in it"))?;
        for path in old {
            fs::remove_file(&path).map_err(JournalError::io(&path, "take its first name"))?;
        }
        sync(&self.dir)?;
        Ok(Repaired { saved: self.newest.len() as u64, segment: self.writes(), kept_in: self.keeps_in() })
    }

    /// Step 1; returns the segments by their first names.
    pub(super) fn keep(&self) -> Result<Vec<PathBuf>, JournalError> {
        let folder = self.keeps_in();
        DirBuilder::new().recursive(true).mode(0o750).create(&folder).map_err(JournalError::io(&folder, "make it"))?;
        let mut old = Vec::new();
        for (number, kind) in segment::list(&DirectoryDisk::new(&self.dir))?.whole {
            let name = segment::name(number, kind);
            let (path, kept) = (self.dir.join(&name), folder.join(&name));
            keep_as(&path, &kept).map_err(JournalError::io(&kept, "keep a damaged segment there"))?;
            old.push(path);
        }
        sync(&folder)?;
        sync(&self.dir)?;
        Ok(old)
    }

    /// Step 2; returns the file's name.
    pub(super) fn write(&self, progress: &mut dyn FnMut(Progress)) -> Result<String, JournalError> {
        let fail = |action| JournalError::io(&self.dir, action);
        let name = segment::unfinished_name(self.number);
        match fs::remove_file(self.dir.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fail("remove what is unfinished")(error));
            }
            _ => {}
        }
        let (number, seed) = (self.number, segment::random_seed());
        let header =
            Header { kind: Kind::Segment, number, seed, previous: None, carries: true, carried: Default::default() };
        let written = self.write_to(&name, header, progress);
        if written.is_err() {
            // Of no use, and the disk may be full.
            let _ = fs::remove_file(self.dir.join(&name));
        }
        written.map(|()| name)
    }

    fn write_to(&self, name: &str, header: Header, progress: &mut dyn FnMut(Progress)) -> Result<(), JournalError> {
        let fail = |action| JournalError::io(&self.dir, action);
        let disk = DirectoryDisk::new(&self.dir);
        let mut snapshot = WholeSegment::begin(&disk, header, name).map_err(fail("begin a segment in it"))?;
        let (mut ordinal, mut failed) = (0, None);
        self.survey.replay(progress, &mut |found| {
            let Found::Change { binding, .. } = found else { return };
            if failed.is_none() && self.newest.get(&binding.at()).is_some_and(|newest| newest.ordinal == ordinal) {
                failed = snapshot.add(&binding).err();
            }
            ordinal += 1;
        })?;
        failed
            .map_or_else(|| snapshot.finish(&Moment::default()), Err)
            .map_err(fail("write the repaired journal in it"))
    }
}

/// Gives a file a second name, or copies it where the file system has no second names.
fn keep_as(path: &Path, kept: &Path) -> io::Result<()> {
    let is_same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match fs::hard_link(path, kept) {
        // From a repair that was broken off.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_same(&fs::metadata(path)?, &fs::metadata(kept)?) {
                return Ok(());
            }
            Err(io::Error::new(error.kind(), "another file is there; move it away"))
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK)) => {
            let unfinished = kept.with_extension("part");
            fs::copy(path, &unfinished)?;
            File::open(&unfinished)?.sync_all()?;
            fs::rename(unfinished, kept)
        }
        done => done,
    }
}

/// Lets whoever owns the directory have a file that root made in it: the server may run as a user of its own.
pub(super) fn give_to_owner_of(dir: &Path, made: &Path) {
    let given = fs::metadata(dir).and_then(|dir| chown(made, Some(dir.uid()), Some(dir.gid())));
    if let Err(error) = given {
        log::debug!("{}: cannot give it to the owner of its directory: {error}", made.display());
    }
}

/// Makes names durable.
fn sync(dir: &Path) -> Result<(), JournalError> {
    File::open(dir).and_then(|names| names.sync_all()).map_err(JournalError::io(dir, "sync it"))
}
