//! Compaction at start: the newest record of each address, in one new segment, in place of all segments before it.
//!
//! The new segment names no predecessor, which is what makes it the journal's beginning. It is written under another name,
//! synced, and renamed: before the rename it counts for nothing, after it the older ones do. They are removed only then, and
//! those that a crash left are removed at the next start. Records keep their order, so that replaying them has the same
//! effect. Addresses that are in no pool now are kept too: a pool that comes back finds its leases.

use std::{collections::HashMap, fs, net::Ipv4Addr, path::Path};

use super::{
    Disk, JournalError, RecoveryReport, SegmentFile,
    record::{self, MAX_RECORDS, RECORD},
    recovery,
    segment::{self, Header},
    writer::GROUP,
};
use crate::lease::{Binding, Lease, is_current};

/// The newest record of each address: its generation, and its place among all records, counted from 0.
type Newest = HashMap<Ipv4Addr, (u32, u64)>;

/// Reads everything, oldest first, then compacts if that leaves anything out.
pub(super) fn recover(
    disk: &mut dyn Disk,
    dir: &Path,
    mut each: impl FnMut(Binding),
) -> Result<RecoveryReport, JournalError> {
    let mut newest = Newest::new();
    let mut ordinal = 0;
    let report = recovery::read(dir, |binding| {
        note(&mut newest, &binding, ordinal);
        ordinal += 1;
        each(binding);
    })?;
    let is_worth_it = report.segments > 1 || report.torn_bytes > 0 || report.records > newest.len() as u64;
    let done = if is_worth_it { compact(disk, dir, &newest) } else { Ok(()) };
    if let Err(error) = &done {
        log::warn!("journal: not compacted, the old segments stay: {error}");
    }
    sweep(disk, dir, done.is_ok());
    Ok(report)
}

fn note(newest: &mut Newest, binding: &Binding, ordinal: u64) {
    let entry = newest.entry(binding.address).or_insert((binding.generation, ordinal));
    if is_current(binding.generation, entry.0) {
        *entry = (binding.generation, ordinal);
    }
}

fn compact(disk: &mut dyn Disk, dir: &Path, newest: &Newest) -> Result<(), JournalError> {
    let fail = |action| JournalError::io(dir, action);
    let number = recovery::next_number(dir)?;
    let header = Header { number, seed: segment::random_seed(), previous: None };
    let unfinished = segment::unfinished_name(number);
    let mut snapshot = Snapshot::begin(disk, header, &unfinished).map_err(fail("begin a snapshot in it"))?;
    let (mut ordinal, mut failed) = (0, None);
    recovery::read(dir, |binding| {
        if failed.is_none() && newest.get(&binding.address).is_some_and(|(_, at)| *at == ordinal) {
            failed = snapshot.add(&binding).err();
        }
        ordinal += 1;
    })?;
    failed.map_or_else(|| snapshot.finish(), Err).map_err(fail("write a snapshot in it"))?;
    disk.rename(&unfinished, &segment::name(number)).map_err(fail("put the snapshot in place in it"))
}

/// Removes what no longer counts: unfinished segments, and those before the one that the journal begins with, unless a
/// power cut may take that one's name away (a rename that failed here, or in the run before). What cannot be removed does no
/// harm.
fn sweep(disk: &mut dyn Disk, dir: &Path, is_compacted: bool) {
    let is_named = is_compacted && fs::File::open(dir).and_then(|names| names.sync_all()).is_ok();
    let old = || {
        let first = if is_named { recovery::first_number(dir)? } else { None };
        let old = segment::list(dir)?.into_iter().filter(|(number, _)| first.is_some_and(|first| *number < first));
        Ok::<_, JournalError>(old.chain(segment::list_unfinished(dir)?).collect::<Vec<_>>())
    };
    for (_, path) in old().unwrap_or_default() {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Err(error) = disk.remove(name) {
            log::warn!("{}: cannot remove it: {error}", path.display());
        }
    }
}

/// A segment that is written in one go and synced at its end.
struct Snapshot {
    file: Box<dyn SegmentFile>,
    seed: u32,
    len: u64,
    buffer: Vec<u8>,
}

impl Snapshot {
    fn begin(disk: &mut dyn Disk, header: Header, name: &str) -> std::io::Result<Self> {
        let mut file = disk.create(name)?;
        file.append(&header.encode())?;
        let buffer = Vec::with_capacity((GROUP + MAX_RECORDS) * RECORD);
        Ok(Self { file, seed: header.seed, len: RECORD as u64, buffer })
    }

    fn add(&mut self, binding: &Binding) -> std::io::Result<()> {
        let Binding { address, state, generation, started_s, expires_s, hw, ref client_id, ref limits } = *binding;
        let lease = Lease { address, state, generation, started_s, expires_s };
        record::encode(&lease, &hw, client_id, limits, |mut bytes| {
            record::seal(&mut bytes, self.seed);
            self.buffer.extend_from_slice(&bytes);
        });
        if self.buffer.len() < GROUP * RECORD { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.append(&self.buffer)?;
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends it with a marker that vouches for all of it, and syncs it.
    fn finish(mut self) -> std::io::Result<()> {
        self.flush()?;
        let mut marker = record::marker(self.len);
        record::seal(&mut marker, self.seed);
        self.file.append(&marker)?;
        self.file.sync()
    }
}
