//! A disk in a directory that fails on purpose, and forgets what was not synced.

use super::*;
use crate::room::Room;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Create,
    Append,
    /// Writes some bytes, then fails.
    TornAppend,
    Sync,
    Rename,
    /// Renames, but does not know that for good.
    RenameSync,
}

impl Fault {
    /// A full disk takes no bytes and no files; a broken one fails to sync.
    pub(super) fn errno(self) -> i32 {
        match self {
            Self::Create | Self::TornAppend | Self::Rename => libc::ENOSPC,
            Self::Append | Self::Sync | Self::RenameSync => libc::EIO,
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct Faults(pub(super) Arc<std::sync::Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    now: Vec<Fault>,
    /// What the file system is said to have.
    room: Option<Room>,
    /// A name that a list does not have, so many times.
    unlisted: Option<(String, usize)>,
    /// Written and synced bytes of each file.
    files: Vec<(u64, u64)>,
}

impl Faults {
    pub(super) fn set(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().now = fault.into_iter().collect();
    }

    pub(super) fn set_all(&self, faults: &[Fault]) {
        self.0.lock().unwrap().now = faults.to_vec();
    }

    pub(super) fn check(&self, fault: Fault) -> io::Result<()> {
        let failing = self.0.lock().unwrap().now.contains(&fault);
        if failing { Err(io::Error::from_raw_os_error(fault.errno())) } else { Ok(()) }
    }

    pub(super) fn set_room(&self, room: Room) {
        self.0.lock().unwrap().room = Some(room);
    }

    /// Lists leave a file out, so many times, as they may where others come and go.
    pub(super) fn leave_out(&self, name: &str, times: usize) {
        self.0.lock().unwrap().unlisted = Some((name.into(), times));
    }

    pub(super) fn unsynced(&self) -> u64 {
        self.0.lock().unwrap().files.iter().map(|(written, synced)| written - synced).sum()
    }
}

pub(super) struct FaultyDisk {
    inner: DirectoryDisk,
    pub(super) faults: Faults,
}

pub(super) struct FaultyFile {
    inner: Box<dyn SegmentFile>,
    number: usize,
    pub(super) faults: Faults,
}

impl FaultyDisk {
    pub(super) fn new(dir: &TempDir) -> Self {
        Self { inner: DirectoryDisk::new(dir.path()), faults: Faults::default() }
    }
}

impl Disk for FaultyDisk {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn lock(&self) -> io::Result<Option<DiskLock>> {
        self.inner.lock()
    }
    fn list(&self) -> io::Result<Vec<DiskEntry>> {
        let mut entries = self.inner.list()?;
        if let Some((name, times)) = &mut self.faults.0.lock().unwrap().unlisted
            && *times > 0
        {
            *times -= 1;
            entries.retain(|entry| entry.name != *name);
        }
        Ok(entries)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        self.inner.open(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.faults.check(Fault::RenameSync)?;
        self.inner.sync_names()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.check(Fault::Create)?;
        let inner = self.inner.create(name)?;
        let files = &mut self.faults.0.lock().unwrap().files;
        files.push((0, 0));
        Ok(Box::new(FaultyFile { inner, number: files.len() - 1, faults: self.faults.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.faults.check(Fault::Rename)?;
        self.inner.rename(from, to)?;
        self.faults.check(Fault::RenameSync)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn room(&self) -> io::Result<Option<Room>> {
        Ok(self.faults.0.lock().unwrap().room)
    }
}

impl SegmentFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.faults.check(Fault::Append)?;
        let torn = self.faults.check(Fault::TornAppend);
        let bytes = if torn.is_ok() { bytes } else { &bytes[..bytes.len() * 2 / 3] };
        self.inner.append(bytes)?;
        self.faults.0.lock().unwrap().files[self.number].0 += bytes.len() as u64;
        torn
    }

    fn is_named(&self) -> io::Result<bool> {
        self.inner.is_named()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.faults.check(Fault::Sync)?;
        let file = &mut self.faults.0.lock().unwrap().files[self.number];
        file.1 = file.0;
        Ok(())
    }
}
