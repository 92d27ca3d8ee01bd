//! Leases from elsewhere: one more segment of the journal, which is there as a whole or not at all.
//!
//! The segment continues the last one, and gets its name only when all of it is on stable storage. A lease that the journal
//! has already, or has for longer, is not written again; one that contradicts a lease that has not ended is refused, because
//! the client that was told of that one believes in it.

use std::{
    collections::HashMap,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

use super::{
    DirectoryDisk, Disk as _, DiskLock, JournalError,
    addresses::Addresses,
    chain::End,
    lock, recovery,
    repair::give_to_owner_of,
    segment::{self, Header, Kind},
    snapshot::WholeSegment,
};
use crate::{
    clock::Moment,
    lease::{Binding, BindingState, SpacedAddress, is_current},
};

/// What became of the leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Written.
    pub written: u64,
    /// In the journal already, as they are or with a later end.
    pub known: u64,
}

/// Why a lease cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum NotImported {
    /// The address was there before.
    #[error("address {0} comes a second time; every address once")]
    Twice(SpacedAddress),
    /// The journal has a lease or a quarantine of the address that has not ended.
    #[error(
        "address {address}: the journal here has it {} until {}; expected no lease of it, or the same client's \
         (--replace takes the imported one)",
        state.name(),
        crate::control::rfc3339(*expires_s)
    )]
    Taken {
        /// The address.
        address: SpacedAddress,
        /// As the journal has it.
        state: BindingState,
        /// Until when, seconds since 1970-01-01 UTC.
        expires_s: u32,
    },
    /// The disk refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl NotImported {
    /// The address that it is about, if it is about one.
    pub fn address(&self) -> Option<SpacedAddress> {
        match self {
            Self::Twice(at) | Self::Taken { address: at, .. } => Some(*at),
            Self::Journal(_) => None,
        }
    }
}

/// Leases on their way into a journal that no server holds meanwhile. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct Import {
    dir: PathBuf,
    known: HashMap<SpacedAddress, Known>,
    seen: Addresses,
    end: End,
    pub(super) segment: Option<WholeSegment>,
    imported: Imported,
    now_s: u32,
    replaces: bool,
    _lock: DiskLock,
}

/// The newest change of an address.
struct Known {
    generation: u32,
    state: BindingState,
    started_s: u32,
    expires_s: u32,
    client: u64,
    has_agent_info: bool,
}

impl Import {
    /// Reads the journal of a state directory, which may have none yet. With `replaces`, an imported lease goes before one of
    /// the journal's that has not ended.
    ///
    /// # Errors
    /// As [`Recovery::open`](super::Recovery::open).
    pub fn begin(dir: &Path, now_s: u32, replaces: bool) -> Result<Self, JournalError> {
        let disk = DirectoryDisk::new(dir);
        let lock = lock(&disk)?;
        let found = recovery::find(&disk)?;
        let mut known: HashMap<SpacedAddress, Known> = HashMap::new();
        found.replay(&disk, |binding| {
            let is_old = known.get(&binding.at()).is_some_and(|it| !is_current(binding.generation, it.generation));
            if !is_old {
                known.insert(binding.at(), Known::of(binding));
            }
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            known,
            seen: Addresses::default(),
            end: found.end(&disk)?,
            segment: None,
            imported: Imported::default(),
            now_s,
            replaces,
            _lock: lock,
        })
    }

    /// Takes a lease; its generation is chosen here.
    ///
    /// # Errors
    /// [`NotImported`]. Others can still be added, unless it is the disk that refuses.
    pub fn add(&mut self, binding: &Binding) -> Result<(), NotImported> {
        if !self.seen.insert(binding.at()) {
            return Err(NotImported::Twice(binding.at()));
        }
        let mut generation = 1;
        if let Some(known) = self.known.get(&binding.at()) {
            if known.says_all_of(binding, self.now_s) {
                self.imported.known += 1;
                return Ok(());
            }
            if known.contradicts(binding, self.now_s) && !self.replaces {
                let Known { state, expires_s, .. } = *known;
                return Err(NotImported::Taken { address: binding.at(), state, expires_s });
            }
            generation = known.generation.wrapping_add(1);
        }
        let fail = |action| JournalError::io(&self.dir, action);
        if self.segment.is_none() {
            self.segment = Some(self.open()?);
        }
        let segment = self.segment.as_mut().ok_or_else(|| fail("write to it")(io::ErrorKind::NotFound.into()))?;
        segment.add(&Binding { generation, ..binding.clone() }).map_err(fail("write a segment in it"))?;
        self.imported.written += 1;
        Ok(())
    }

    fn open(&self) -> Result<WholeSegment, JournalError> {
        let name = segment::unfinished_name(self.end.next);
        let (number, seed, previous) = (self.end.next, segment::random_seed(), self.end.last);
        let header =
            Header { kind: Kind::Segment, number, seed, previous, carries: false, carried: Default::default() };
        WholeSegment::begin(&DirectoryDisk::new(&self.dir), header, &name)
            .map_err(JournalError::io(&self.dir, "begin a segment in it"))
    }

    /// How it would end.
    pub fn imported(&self) -> Imported {
        self.imported
    }

    /// Makes all of it part of the journal.
    ///
    /// # Errors
    /// The disk refuses, and nothing of it is there.
    pub fn finish(mut self) -> Result<Imported, JournalError> {
        let Some(segment) = self.segment.take() else { return Ok(self.imported) };
        let (unfinished, name) = (segment::unfinished_name(self.end.next), segment::name(self.end.next, Kind::Segment));
        let fail = |action| JournalError::io(&self.dir, action);
        let finished = segment.finish(&Moment::default()).map_err(fail("write a segment in it")).and_then(|()| {
            give_to_owner_of(&self.dir, &self.dir.join(&unfinished));
            let disk = DirectoryDisk::new(&self.dir);
            disk.rename(&unfinished, &name).map_err(fail("put the segment in place in it"))
        });
        if finished.is_err() {
            let _ = fs::remove_file(self.dir.join(&unfinished));
        }
        finished.map(|()| self.imported)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if self.segment.take().is_some() {
            // It counts for nothing, and the next start removes it.
            let _ = fs::remove_file(self.dir.join(segment::unfinished_name(self.end.next)));
        }
    }
}

impl Known {
    fn of(binding: &Binding) -> Self {
        let Binding { generation, state, started_s, expires_s, .. } = *binding;
        let has_agent_info = !binding.agent_info.is_empty();
        Self { generation, state, started_s, expires_s, client: client(binding), has_agent_info }
    }

    /// Whether nothing new is said of the address.
    fn says_all_of(&self, binding: &Binding, now_s: u32) -> bool {
        let is_same_client = self.client == client(binding);
        let is_live = self.state == BindingState::Bound && self.expires_s > now_s;
        // Of its relay agent, of which nothing was known.
        let is_told = !binding.agent_info.is_empty() && !self.has_agent_info;
        if is_same_client && is_live && binding.state == BindingState::Bound {
            // The client was told of the later end.
            return self.expires_s > binding.expires_s || self.expires_s == binding.expires_s && !is_told;
        }
        !is_told
            && is_same_client
            && (self.started_s, self.expires_s) == (binding.started_s, binding.expires_s)
            && at(self.state, self.expires_s, now_s) == at(binding.state, binding.expires_s, now_s)
    }

    /// Whether what the journal says still holds, and the other says something else.
    fn contradicts(&self, binding: &Binding, now_s: u32) -> bool {
        let holds = matches!(self.state, BindingState::Bound | BindingState::Declined) && self.expires_s > now_s;
        holds && !(self.state == binding.state && self.client == client(binding))
    }
}

/// A state at this time.
fn at(state: BindingState, expires_s: u32, now_s: u32) -> BindingState {
    match state {
        BindingState::Bound if expires_s <= now_s => BindingState::Expired,
        state => state,
    }
}

fn client(binding: &Binding) -> u64 {
    let mut hasher = DefaultHasher::new();
    if binding.client_id.is_empty() {
        (binding.hw.htype, binding.hw.bytes()).hash(&mut hasher);
    } else {
        binding.client_id.hash(&mut hasher);
    }
    hasher.finish()
}
