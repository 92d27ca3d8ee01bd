//! Looking for who had an address. Of a closed file its index says where the address's lines are; the open one, and files whose
//! index is missing, are read whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use super::{
    GapLine, Head, Hold, Line,
    files::{self, FileName},
    hold::Holds,
    index::Index,
    writer::Checkpoint,
};
use crate::{
    config::GLOBAL_NAME,
    control::{colons, text_or_hex},
};

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// There is no history there.
    #[error(
        "{0}: there is no lease history here: `[history]` in the server's configuration makes one; say with --directory where it is"
    )]
    None(PathBuf),
    /// A file cannot be read.
    #[error("{path}: cannot read it: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not as this program writes them.
    #[error("{path}: the line at byte {offset} is none of a lease history: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

/// What is looked for. All that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The address; without it all files are read whole.
    pub address: Option<Ipv4Addr>,
    /// Seconds since 1970: at some moment from the first to the second, both included.
    pub span_s: Option<(u32, u32)>,
    /// The client's hardware address.
    pub hw_address: Option<Vec<u8>>,
    /// The client identifier.
    pub client_id: Option<Vec<u8>>,
    /// The circuit that its relay agent named (RFC 3046 3.1).
    pub circuit_id: Option<Vec<u8>>,
    /// The remote end of the circuit (RFC 3046 3.2).
    pub remote_id: Option<Vec<u8>>,
    /// The VPN, by its name; [`GLOBAL_NAME`] is outside of all.
    pub vrf: Option<String>,
}

impl Query {
    /// What of the client is wanted, as lines show it.
    fn texts(&self) -> [(&'static str, Option<String>); 4] {
        let colons = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(colons);
        let text_or_hex = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text_or_hex);
        [
            ("hw_address", colons(&self.hw_address)),
            ("client_id", colons(&self.client_id)),
            ("circuit_id", text_or_hex(&self.circuit_id)),
            ("remote_id", text_or_hex(&self.remote_id)),
        ]
    }
}

/// A time of which the history has not all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// All before is there, seconds since 1970; 0: nobody knows since when something is missing.
    pub from_s: u32,
    /// All after is there.
    pub to_s: u32,
    /// Why.
    pub reason: String,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who had it, in the order of addresses and times.
    pub holds: Vec<Hold>,
    /// What is missing of the time that was asked for, oldest first.
    pub missing: Vec<Missing>,
    /// All that happened up to this moment is in the history, seconds since 1970.
    pub complete_until_s: u32,
    /// When the oldest line was written, as far as that is known.
    pub begins_s: Option<u32>,
}

/// What is in a [`GapLine`] and in no other.
const GAP: &str = "\"event\":\"gap\"";

impl Missing {
    fn of(line: &[u8]) -> Option<Self> {
        let GapLine { at, event, since, reason } = serde_json::from_slice(line).ok()?;
        let from_s = since.as_deref().map_or(0, super::seconds);
        (event == GapLine::EVENT).then(|| Self { from_s, to_s: super::seconds(&at), reason })
    }
}

/// Takes a line and where it begins.
type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), SearchError> + 'a;

/// A history to search.
#[derive(Debug)]
pub struct Search {
    dir: PathBuf,
    names: Vec<FileName>,
    complete_until_s: u32,
}

impl Search {
    /// Opens the history of a directory.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, SearchError> {
        let fail = |source| SearchError::Io { path: dir.to_owned(), source };
        let checkpoint = Checkpoint::read(dir).map_err(fail);
        let names = match files::list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SearchError::None(dir.to_owned())),
            Err(error) => return Err(fail(error)),
        };
        let checkpoint = checkpoint?;
        if names.is_empty() && checkpoint.is_none() {
            return Err(SearchError::None(dir.to_owned()));
        }
        Ok(Self { dir: dir.to_owned(), names, complete_until_s: checkpoint.map_or(0, |it| it.complete_until_s) })
    }

    /// Looks for it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn find(&self, query: &Query) -> Result<Found, SearchError> {
        let (from_s, until_s) = query.span_s.unwrap_or((0, u32::MAX));
        let (mut addresses, mut missing) = (BTreeSet::new(), BTreeSet::new());
        match query.address {
            Some(address) => drop(addresses.insert(address)),
            None => self.addresses(query, &mut addresses, &mut missing)?,
        }
        let mut holds = Vec::new();
        for address in addresses {
            let of_address = self.holds(address, &mut missing)?;
            holds.extend(of_address.into_iter().filter(|hold| self.fits(query, hold)));
        }
        holds.retain(|hold| super::seconds(&hold.from) <= until_s);
        missing.retain(|it| it.from_s <= until_s && it.to_s >= from_s);
        let mut begins_s = None;
        for name in &self.names {
            begins_s = self.first_s(name)?;
            if begins_s.is_some() {
                break;
            }
        }
        let missing = missing.into_iter().collect();
        Ok(Found { holds, missing, complete_until_s: self.complete_until_s, begins_s })
    }

    fn fits(&self, query: &Query, hold: &Hold) -> bool {
        let lease = &hold.lease;
        let found = [&lease.hw_address, &lease.client_id, &lease.circuit_id, &lease.remote_id];
        let fits = |(wanted, found): (Option<String>, &Option<String>)| wanted.is_none() || wanted == *found;
        query.texts().map(|(_, text)| text).into_iter().zip(found).all(fits)
            && query.vrf.as_ref().is_none_or(|vrf| lease.vrf.as_deref().unwrap_or(GLOBAL_NAME) == vrf)
            && query.span_s.is_none_or(|span_s| hold.overlaps(span_s, self.complete_until_s))
    }

    /// All addresses with a line that may fit, and what is missing.
    fn addresses(
        &self,
        query: &Query,
        found: &mut BTreeSet<Ipv4Addr>,
        missing: &mut BTreeSet<Missing>,
    ) -> Result<(), SearchError> {
        // A text is in a line as JSON has it.
        let field = |(name, text): (&str, Option<String>)| Some(format!("\"{name}\":{}", serde_json::json!(text?)));
        let wanted: Vec<String> = query.texts().into_iter().filter_map(field).collect();
        for name in &self.names {
            self.each_line(name, |_, line| {
                let text = std::str::from_utf8(line).unwrap_or_default();
                let fits = wanted.iter().all(|it| text.contains(it));
                if fits && let Some(address) = Head::parse(line).and_then(|head| head.address) {
                    found.insert(address);
                }
                if text.contains(GAP) {
                    missing.extend(Missing::of(line));
                }
                true
            })?;
        }
        Ok(())
    }

    /// Who had an address, in the order of times, and what is missing.
    fn holds(&self, address: Ipv4Addr, missing: &mut BTreeSet<Missing>) -> Result<Vec<Hold>, SearchError> {
        // Of each VPN that has the address.
        let mut holds: BTreeMap<Option<String>, Holds> = BTreeMap::new();
        for name in &self.names {
            let path = self.dir.join(name.lines());
            let mut add = |offset, bytes: &[u8]| {
                let bad = |reason: String| SearchError::Line { path: path.clone(), offset, reason };
                let head = Head::parse(bytes).ok_or_else(|| bad("it is not such JSON".into()))?;
                if head.event == GapLine::EVENT {
                    missing.extend(Missing::of(bytes));
                    holds.values_mut().for_each(|holds| holds.gap(head.at));
                } else if head.address == Some(address) {
                    let line: Line = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
                    holds.entry(line.lease.vrf.clone()).or_default().add(line);
                }
                Ok(())
            };
            match self.each_of(name, address, &mut add) {
                // Removed meanwhile, little by little: it was too old, or one too many.
                Err(_) if !path.exists() => {}
                done => done?,
            }
        }
        Ok(holds.into_values().flat_map(Holds::finish).collect())
    }

    /// The lines of an address and the gaps, in a file.
    fn each_of(&self, name: &FileName, address: Ipv4Addr, each: &mut Each<'_>) -> Result<(), SearchError> {
        let index = Index::open(&self.dir, name).map_err(|source| self.io(&name.index(), source))?;
        let Some(index) = index else {
            let wanted = format!("\"address\":\"{address}\"");
            let mut failed = Ok(());
            self.each_line(name, |offset, line| {
                let text = std::str::from_utf8(line).unwrap_or_default();
                if text.contains(&wanted) || text.contains(GAP) {
                    failed = each(offset, line);
                }
                failed.is_ok()
            })?;
            return failed;
        };
        let fail = |source| self.io(&name.lines(), source);
        let mut offsets = index.offsets(address).map_err(fail)?;
        offsets.extend(index.offsets(Ipv4Addr::UNSPECIFIED).map_err(fail)?);
        if offsets.is_empty() {
            return Ok(());
        }
        offsets.sort_unstable();
        let file = File::open(self.dir.join(name.lines())).map_err(fail)?;
        let mut reader = BufReader::with_capacity(4096, file);
        let mut line = Vec::new();
        for offset in offsets {
            reader.seek(SeekFrom::Start(offset)).map_err(fail)?;
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(fail)?;
            each(offset, line.trim_ascii_end())?;
        }
        Ok(())
    }

    fn first_s(&self, name: &FileName) -> Result<Option<u32>, SearchError> {
        let mut first_s = None;
        self.each_line(name, |_, line| {
            first_s = Head::parse(line).map(|head| head.at_s());
            false
        })?;
        Ok(first_s)
    }

    fn each_line(&self, name: &FileName, each: impl FnMut(u64, &[u8]) -> bool) -> Result<(), SearchError> {
        let path = self.dir.join(name.lines());
        match files::each_line(&path, each) {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| SearchError::Io { path, source }),
        }
    }

    fn io(&self, name: &str, source: io::Error) -> SearchError {
        SearchError::Io { path: self.dir.join(name), source }
    }
}
