//! A disk made of memory, whose whole behaviour follows from a seed.
//!
//! What was not synced is lost on a power cut, or not: each sector of it by itself, torn at any byte, and the file's length
//! too. After a sync that failed, what it should have written may never get there, though later syncs succeed.
//! Names are durable when the directory was synced; on a power cut each change of names since then has happened, or not.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use super::super::super::{Disk, DiskEntry, DiskLock, SegmentFile, StoredFile};

/// What reaches the disk, or does not, in one piece.
const SECTOR: usize = 512;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `of` times.
    pub fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// Written and not synced.
    volatile: Vec<Range<usize>>,
    /// Of a sync that failed: no later one makes it durable.
    doubtful: Vec<Range<usize>>,
    links: u32,
}

/// A change of names.
#[derive(Clone, Debug)]
enum Change {
    Add(String, usize),
    Remove(String, usize),
    Rename(String, String, usize),
}

#[derive(Debug)]
struct State {
    random: Random,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    /// Operations before the power goes.
    until_power_cut: Option<u64>,
    is_off: bool,
    /// One operation in so many fails; 0: none.
    fails_once_in: u64,
    /// Nothing more can be written.
    is_full: bool,
    /// Every sync fails.
    is_broken: bool,
}

/// What an operation that is under way comes to.
enum Fate {
    Works,
    Fails(i32),
    /// The power goes, before it or after it.
    Stops {
        done: bool,
    },
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    fn fate(&mut self) -> io::Result<Fate> {
        if self.is_off {
            return Err(off());
        }
        if let Some(left) = &mut self.until_power_cut {
            if *left == 0 {
                self.is_off = true;
                return Ok(Fate::Stops { done: self.random.once_in(2) });
            }
            *left -= 1;
        }
        let fails = self.fails_once_in > 0 && self.random.once_in(self.fails_once_in);
        Ok(if fails { Fate::Fails(libc::EIO) } else { Fate::Works })
    }

    /// An operation that happens as a whole or not at all.
    fn whole<T>(&mut self, happen: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        match self.fate()? {
            Fate::Works => happen(self),
            Fate::Fails(errno) => Err(error(errno)),
            Fate::Stops { done } => {
                if done {
                    happen(self)?;
                }
                Err(off())
            }
        }
    }

    fn change(names: &mut BTreeMap<String, usize>, change: &Change) {
        match change {
            Change::Add(name, inode) => drop(names.insert(name.clone(), *inode)),
            Change::Remove(name, inode) => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
            Change::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn apply(&mut self, change: Change) {
        Self::change(&mut self.names, &change);
        self.changes.push(change);
        self.count_links();
    }

    fn count_links(&mut self) {
        self.inodes.iter_mut().for_each(|inode| inode.links = 0);
        for inode in self.names.values() {
            self.inodes[*inode].links += 1;
        }
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.whole(|state| {
            state.durable_names = state.names.clone();
            state.changes.clear();
            Ok(())
        })
    }

    fn append(&mut self, inode: usize, bytes: &[u8]) -> io::Result<()> {
        let fate = if self.is_full && !self.is_off { Fate::Fails(libc::ENOSPC) } else { self.fate()? };
        let (len, result) = match fate {
            Fate::Works => (bytes.len(), Ok(())),
            Fate::Fails(errno) => (self.random.below(bytes.len() as u64 + 1) as usize, Err(error(errno))),
            Fate::Stops { .. } => (self.random.below(bytes.len() as u64 + 1) as usize, Err(off())),
        };
        let file = &mut self.inodes[inode];
        let start = file.bytes.len();
        file.bytes.extend_from_slice(&bytes[..len]);
        file.volatile.push(start..start + len);
        result
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        let fate = if self.is_broken && !self.is_off { Fate::Fails(libc::EIO) } else { self.fate()? };
        let file = &mut self.inodes[inode];
        match fate {
            Fate::Works => file.volatile.clear(),
            Fate::Fails(errno) => {
                let volatile = std::mem::take(&mut file.volatile);
                file.doubtful.extend(volatile);
                return Err(error(errno));
            }
            Fate::Stops { done } => {
                if done {
                    file.volatile.clear();
                }
                return Err(off());
            }
        }
        Ok(())
    }

    fn power_cut(&mut self) {
        let Self { random, inodes, durable_names, changes, .. } = self;
        for change in changes.drain(..) {
            if random.once_in(2) {
                Self::change(durable_names, &change);
            }
        }
        for file in inodes {
            let lost: Vec<_> = file.volatile.drain(..).chain(file.doubtful.drain(..)).collect();
            let Some(first) = lost.iter().map(|range| range.start).min() else { continue };
            for range in &lost {
                lose_sectors(&mut file.bytes, range.clone(), random);
            }
            if random.once_in(2) {
                let len = first + random.below((file.bytes.len() - first) as u64 + 1) as usize;
                let kept = (0..file.bytes.len()).rev().find(|at| !lost.iter().any(|range| range.contains(at)));
                file.bytes.truncate(len.max(kept.map_or(0, |at| at + 1)));
            }
        }
        self.names = self.durable_names.clone();
        self.count_links();
    }
}

/// Each sector of the range is there, or zero, or a part of it.
fn lose_sectors(bytes: &mut [u8], range: Range<usize>, random: &mut Random) {
    let mut start = range.start;
    while start < range.end {
        let end = ((start / SECTOR + 1) * SECTOR).min(range.end);
        match random.below(4) {
            0 => bytes[start..end].fill(0),
            1 => bytes[start + random.below((end - start) as u64) as usize..end].fill(0),
            _ => {}
        }
        start = end;
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            until_power_cut: None,
            is_off: false,
            fails_once_in: 0,
            is_full: false,
            is_broken: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power goes at the operation after so many.
    pub fn cut_power_after(&self, operations: u64) {
        self.state().until_power_cut = Some(operations);
    }

    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// One operation in so many fails; 0: none.
    pub fn fail_once_in(&self, operations: u64) {
        self.state().fails_once_in = operations;
    }

    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    pub fn set_broken(&self, is_broken: bool) {
        self.state().is_broken = is_broken;
    }

    /// Everything works again; nothing is lost by this.
    pub fn heal(&self) {
        let mut state = self.state();
        state.until_power_cut = None;
        state.fails_once_in = 0;
        (state.is_full, state.is_broken) = (false, false);
    }

    /// The power goes, and comes back.
    pub fn power_cut(&self) {
        let mut state = self.state();
        state.power_cut();
        state.is_off = false;
        state.until_power_cut = None;
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.state().names.get(name).copied().ok_or_else(|| error(libc::ENOENT))
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        Path::new("/simulated")
    }
    fn lock(&self) -> io::Result<Option<DiskLock>> {
        Ok(Some(DiskLock::default()))
    }
    fn list(&self) -> io::Result<Vec<DiskEntry>> {
        let entry = |name: &String| DiskEntry { name: name.clone(), is_file: true };
        self.state().whole(|state| Ok(state.names.keys().map(entry).collect()))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let inode = self.inode(name)?;
        self.state().whole(|_| Ok(()))?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(error(libc::EEXIST));
        }
        let inode = state.inodes.len();
        state.whole(|state| {
            state.inodes.push(Inode::default());
            state.apply(Change::Add(name.into(), inode));
            Ok(())
        })?;
        if let Err(error) = state.sync_names() {
            if !state.is_off {
                state.apply(Change::Remove(name.into(), inode));
            }
            return Err(error);
        }
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.inode(from)?;
        let mut state = self.state();
        state.whole(|state| {
            state.apply(Change::Rename(from.into(), to.into(), inode));
            Ok(())
        })?;
        state.sync_names()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        let inode = self.inode(name)?;
        self.state().whole(|state| {
            state.apply(Change::Remove(name.into(), inode));
            Ok(())
        })
    }
    fn sync_names(&self) -> io::Result<()> {
        self.state().sync_names()
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl SegmentFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.state().append(self.inode, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().sync(self.inode)
    }
    fn is_named(&self) -> io::Result<bool> {
        Ok(self.disk.state().inodes[self.inode].links > 0)
    }
}

impl StoredFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].bytes.len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inode = self.inode;
        self.disk.state().whole(|state| {
            let bytes = state.inodes[inode].bytes.get(offset as usize..).unwrap_or_default();
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            Ok(count)
        })
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync(self.inode)
    }
}
