//! `dhcp-xdp leases import`

use std::{
    fs::{DirBuilder, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use csv::StringRecord;
use dhcp_xdp::{
    config::Vrfs,
    control::now_s,
    journal::{self, Imported, JournalError, NotImported, keep_vrfs, known_vrfs},
};
use serde::Serialize;

use super::{
    export::Format,
    failure::{Done, Failure},
    lease_line::{Fields, JsonLine, NAMES, NEEDED, Read as LeaseRead},
    output::Output,
    progress,
    state::State,
};

/// Wrong lines that are told of one by one.
const TOLD: u64 = 20;
/// Longest line, bytes: a lease takes some 3000 at most.
const LONGEST: u64 = 16 * 1024;

/// Read leases from a file into the journal of a stopped server
///
/// Takes what `leases export` writes: CSV needs a header line with the columns address, state, hw_address, client_id, started_at
/// and expires_at in any order (hw_type is 1, vrf and relay_agent_info are none unless given, others are not looked at: circuit_id
/// and the like are parts of relay_agent_info); JSON needs one object a line with these keys. All lines are checked, and either all
/// leases become part of the journal at once or none does. Offers are left out. A lease that contradicts one in the journal that
/// has not ended is wrong, as is an address of a VPN that comes twice.
///
/// A state is offered, bound, released, expired or declined; a time 2026-01-31T12:00:00Z; bytes are hexadecimal as
/// 02:00:00:00:00:01.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dhcp-xdp leases import leases.csv --state-dir /var/lib/dhcp-xdp
  dhcp-xdp leases import leases.json --dry-run
  dhcp-xdp leases import leases.csv --state-dir /var/lib/dhcp-xdp --create")]
pub(super) struct Import {
    /// The file; - is stdin
    file: PathBuf,
    /// How it is written; unless given, the file's name tells
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only check
    #[arg(long)]
    dry_run: bool,
    /// Leave wrong lines out and import the others
    #[arg(long)]
    skip_wrong: bool,
    /// Make the state directory if it is not there
    #[arg(long)]
    create: bool,
    /// Take the file's lease where the journal has another that has not ended
    #[arg(long)]
    replace: bool,
    /// Say as JSON what was done
    #[arg(long)]
    json: bool,
}

/// What became of the file's lines.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Outcome {
    /// Lines with a lease.
    leases: u64,
    #[serde(flatten)]
    imported: Imported,
    /// Offers, which are left out.
    offers: u64,
    /// Wrong lines.
    wrong: u64,
    /// Whether the journal was changed.
    done: bool,
}

impl Import {
    pub fn run(self, state: &State) -> Done {
        let outcome = self.import(&state.state_dir)?;
        self.tell(&state.state_dir, &outcome)
    }

    fn import(&self, dir: &Path) -> Result<Outcome, Failure> {
        let format = self.format()?;
        let (file, size) = self.open()?;
        self.prepare(dir)?;
        let import = journal::Import::begin(dir, now_s(), self.replace).map_err(|error| match error {
            JournalError::InUse { path } => Failure::Failed(format!(
                "{path}: a server holds it, and would not see the leases: stop that server first"
            )),
            other => Failure::of(other),
        })?;
        let bar = progress::bytes("importing", size);
        let (name, vrfs) = (self.file.display().to_string(), known_vrfs(dir).map_err(Failure::of)?);
        let mut reading = Reading { name, import, vrfs, outcome: Outcome::default(), bar: bar.clone() };
        let file = bar.wrap_read(file);
        match format {
            Format::Csv => reading.csv(file)?,
            Format::Json => reading.json(BufReader::with_capacity(64 * 1024, file))?,
        }
        bar.finish_and_clear();
        let Reading { name, import, vrfs, mut outcome, .. } = reading;
        if outcome.wrong > 0 && !self.skip_wrong {
            let Outcome { wrong, leases, .. } = outcome;
            let more = if wrong > TOLD { format!("; the first {TOLD} are named above") } else { String::new() };
            return Err(Failure::Failed(format!(
                "{name}: {wrong} of {leases} leases are wrong{more}; nothing is imported"
            )));
        }
        outcome.imported = import.imported();
        if !self.dry_run {
            // Before the leases, so that no number is without its name.
            keep_vrfs(dir, &vrfs).map_err(Failure::of)?;
            outcome.imported = import.finish().map_err(Failure::of)?;
            outcome.done = true;
        }
        Ok(outcome)
    }

    /// Leases that went into a directory which nobody serves from would be missed late: one is made only when that is asked for.
    fn prepare(&self, dir: &Path) -> Result<(), Failure> {
        let fail = |what: String| Failure::Failed(format!("state directory {}: {what}", dir.display()));
        if !self.create && !dir.exists() {
            return Err(fail("is not there: say where it is with --state-dir, or --create to have it made".into()));
        }
        // As `serve` makes it.
        let made = DirBuilder::new().recursive(true).mode(0o750).create(dir);
        made.map_err(|error| fail(format!("cannot make it: {error}")))
    }

    fn format(&self) -> Result<Format, Failure> {
        let by_name = || match self.file.extension()?.to_str()? {
            "csv" => Some(Format::Csv),
            "json" | "jsonl" | "ndjson" => Some(Format::Json),
            _ => None,
        };
        self.format.or_else(by_name).ok_or_else(|| {
            eprintln!(
                "dhcp-xdp: {}: its name does not tell how it is written: say --format csv or json",
                self.file.display()
            );
            Failure::Told { usage: true }
        })
    }

    fn open(&self) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
        if self.file == Path::new("-") {
            return Ok((Box::new(io::stdin().lock()), None));
        }
        let fail = |error: io::Error| Failure::Failed(format!("cannot read {}: {error}", self.file.display()));
        let file = File::open(&self.file).map_err(fail)?;
        let there = file.metadata().map_err(fail)?;
        if there.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Ok((Box::new(file), there.is_file().then_some(there.len())))
    }

    fn tell(&self, dir: &Path, outcome: &Outcome) -> Done {
        let mut out = Output::new();
        if self.json {
            out.json(outcome)?;
            return out.flush();
        }
        let Outcome { leases, imported: Imported { written, known }, offers, wrong, done } = outcome;
        let (what, is_written) =
            if *done { ("imported into", "written") } else { ("checked, nothing imported into", "would be written") };
        out.line(format!(
            "{leases} leases {what} {}: {written} {is_written}, {known} there already, {offers} offers left out, {wrong} wrong",
            dir.display()
        ))?;
        out.flush()
    }
}

/// A file on its way into the journal.
struct Reading {
    name: String,
    import: journal::Import,
    vrfs: Vrfs,
    outcome: Outcome,
    bar: indicatif::ProgressBar,
}

impl Reading {
    fn csv(&mut self, file: impl Read) -> Done {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
        let mut record = StringRecord::new();
        let mut columns = None;
        loop {
            let at = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(false) if columns.is_some() => return Ok(()),
                Ok(false) => {
                    return Err(self.failure(1, "the file is empty; expected a line with the names of the columns"));
                }
                Ok(true) => {}
                Err(error) => match error.into_kind() {
                    csv::ErrorKind::Io(error) => return Err(self.unreadable(&error)),
                    csv::ErrorKind::Utf8 { pos, .. } => {
                        let line = pos.map_or(at, |pos| pos.line());
                        self.wrong(line, "found bytes that are no UTF-8; expected text");
                        continue;
                    }
                    other => return Err(self.failure(at, &format!("{other:?}"))),
                },
            }
            let line = record.position().map_or(at, csv::Position::line);
            match &columns {
                None => columns = Some(columns_of(&record).map_err(|what| self.failure(line, &what))?),
                Some(columns) => {
                    let fields = fields(columns, &record);
                    let read = fields.and_then(|fields| fields.read(&mut self.vrfs));
                    self.lease(line, read)?;
                }
            }
        }
    }

    fn json(&mut self, mut file: impl BufRead) -> Done {
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let mut limited = Read::take(&mut file, LONGEST);
            match limited.read_until(b'\n', &mut bytes) {
                Ok(0) => return Ok(()),
                Ok(_) if bytes.len() as u64 == LONGEST && bytes.last() != Some(&b'\n') => {
                    let what = format!("found a line of more than {LONGEST} bytes; expected one JSON object a line");
                    return Err(self.failure(line, &what));
                }
                Ok(_) => {}
                Err(error) => return Err(self.unreadable(&error)),
            }
            let text = bytes.trim_ascii();
            if text.starts_with(b"[") && line == 1 {
                let what =
                    "found a JSON array; expected one object a line, as `leases export --format json` writes them";
                return Err(self.failure(line, what));
            }
            if !text.is_empty() {
                let read = JsonLine::parse(text).and_then(|lease| lease.fields().read(&mut self.vrfs));
                self.lease(line, read)?;
            }
        }
        Ok(())
    }

    /// Takes what a line says. An error ends the reading.
    fn lease(&mut self, line: u64, read: Result<LeaseRead, String>) -> Done {
        self.outcome.leases += 1;
        match read {
            Ok(LeaseRead::Lease(binding)) => match self.import.add(&binding) {
                Ok(()) => {}
                Err(NotImported::Journal(error)) => return Err(Failure::of(error)),
                Err(why) => {
                    let told = why.to_string();
                    let named = why.address().map(|at| told.replacen(&at.to_string(), &self.vrfs.place(at), 1));
                    self.wrong(line, &named.unwrap_or(told));
                }
            },
            Ok(LeaseRead::Offer) => self.outcome.offers += 1,
            Err(what) => self.wrong(line, &what),
        }
        Ok(())
    }

    fn wrong(&mut self, line: u64, what: &str) {
        self.outcome.wrong += 1;
        if self.outcome.wrong <= TOLD {
            let name = &self.name;
            self.bar.suspend(|| eprintln!("{name}:{line}: {what}"));
        }
    }

    fn failure(&self, line: u64, what: &str) -> Failure {
        Failure::Failed(format!("{}:{line}: {what}; nothing is imported", self.name))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::Failed(format!("cannot read {}: {error}; nothing is imported", self.name))
    }
}

/// Where each of [`NAMES`] is in a line, and how many fields a line has.
struct Columns {
    at: [Option<usize>; NAMES.len()],
    count: usize,
}

fn columns_of(header: &StringRecord) -> Result<Columns, String> {
    let mut at = [None; NAMES.len()];
    for ((name, at), number) in NAMES.iter().zip(&mut at).zip(0..) {
        let mut places =
            header.iter().enumerate().filter(|(_, column)| column.trim_start_matches('\u{feff}').trim() == *name);
        *at = places.next().map(|(column, _)| column);
        if places.next().is_some() {
            return Err(format!("found column {name} twice; expected it once"));
        }
        if at.is_none() && number < NEEDED {
            return Err(format!("found no column {name}; expected a first line with {}", NAMES[..NEEDED].join(",")));
        }
    }
    Ok(Columns { at, count: header.len() })
}

fn fields<'a>(columns: &Columns, record: &'a StringRecord) -> Result<Fields<'a>, String> {
    if record.len() != columns.count {
        return Err(format!("found {} fields; expected {}, as in the first line", record.len(), columns.count));
    }
    let [address, state, hw_address, client_id, started_at, expires_at, hw_type, vrf, relay_agent_info] =
        columns.at.map(|at| at.and_then(|at| record.get(at)).map_or("", str::trim));
    Ok(Fields { address, state, hw_address, client_id, started_at, expires_at, hw_type, vrf, relay_agent_info })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, net::Ipv4Addr};

    use dhcp_xdp::{
        journal::Journal,
        lease::{Binding, BindingState, HwAddress, Space, SpacedAddress},
    };
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::export::Export;

    fn importing(file: &Path, format: Format) -> Import {
        let file = file.to_owned();
        Import {
            file,
            format: Some(format),
            dry_run: false,
            skip_wrong: false,
            create: false,
            replace: false,
            json: false,
        }
    }

    fn import(file: &Path, dir: &TempDir) -> Result<Outcome, Failure> {
        importing(file, Format::Csv).import(dir.path())
    }

    fn export(dir: &TempDir, format: Format) -> Vec<u8> {
        let to = TempDir::new().unwrap();
        let output = to.path().join("leases");
        Export::of(format, output.clone()).run(&State::of(dir.path())).unwrap();
        fs::read(output).unwrap()
    }

    fn read(dir: &TempDir) -> Vec<Binding> {
        let mut found = Vec::new();
        Journal::read(dir.path(), |binding| found.push(binding)).unwrap();
        found
    }

    fn binding() -> impl Strategy<Value = Binding> {
        use BindingState::{Bound, Declined, Expired, Released};
        let state = prop::sample::select(vec![Bound, Released, Expired, Declined]);
        let id = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            prop::collection::vec(any::<u8>(), 250..=255),
            Just(b"a,\"b\"\n".to_vec()),
        ];
        let hw = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..=16));
        // From a few, so that some come again; and at the ends of what a time can be.
        let time = prop_oneof![any::<u32>(), Just(0), Just(u32::MAX - 1)];
        let ends = prop_oneof![any::<u32>(), Just(u32::MAX)];
        let agent_info = prop_oneof![
            Just(vec![]),
            prop::collection::vec(any::<u8>(), 1..=255),
            "\\PC{1,20}".prop_map(|text| [&[1, text.len() as u8], text.as_bytes()].concat()),
            Just(b"\x01\x05a,\"b\"\x02\x01 ".to_vec()),
        ];
        (0..2000u32, state, id, hw, time, ends, agent_info).prop_map(
            |(number, state, mut id, (htype, bytes), started_s, expires_s, agent_info)| {
                let mut hw = HwAddress { htype, hlen: bytes.len() as u8, chaddr: [0; 16] };
                hw.chaddr[..bytes.len()].copy_from_slice(&bytes);
                if bytes.is_empty() && id.is_empty() && state != Declined {
                    id.push(0);
                }
                Binding {
                    space: Space((number % 3) as u16 * 700),
                    address: Ipv4Addr::from(0x0a00_0000 + number / 3),
                    state,
                    generation: 1,
                    started_s,
                    expires_s,
                    hw,
                    client_id: id.into_iter().collect(),
                    limits: Default::default(),
                    agent_info: agent_info.into_iter().collect(),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn what_export_writes_import_reads_back_identically(bindings in prop::collection::vec(binding(), 0..60)) {
            let first: BTreeMap<SpacedAddress, Binding> = bindings.into_iter().map(|b| (b.at(), b)).collect();
            let dir = TempDir::new().unwrap();
            let mut import = journal::Import::begin(dir.path(), 1, false).unwrap();
            // A journal without any lease is none.
            prop_assume!(!first.is_empty());
            for binding in first.values() {
                import.add(binding).unwrap();
            }
            import.finish().unwrap();
            for format in [Format::Csv, Format::Json] {
                let exported = export(&dir, format);
                let (file, twin) = (tempfile::NamedTempFile::new().unwrap(), TempDir::new().unwrap());
                fs::write(&file, &exported).unwrap();
                let outcome = importing(file.path(), format).import(twin.path()).unwrap();
                prop_assert_eq!((outcome.leases, outcome.imported.written, outcome.wrong), (first.len() as u64, first.len() as u64, 0));
                prop_assert_eq!(String::from_utf8(export(&twin, format)), String::from_utf8(exported));
                for (there, here) in read(&twin).iter().zip(first.values()) {
                    // What is overdue has expired when it is exported.
                    let is_same_state = there.state == here.state || there.state == BindingState::Expired;
                    prop_assert!(is_same_state, "{:?} {:?}", there, here);
                    prop_assert_eq!(there, &Binding { state: there.state, ..here.clone() });
                }
                // And once more into where it is already.
                let outcome = importing(file.path(), format).import(twin.path()).unwrap();
                prop_assert_eq!((outcome.imported.written, outcome.imported.known), (0, first.len() as u64));
            }
        }

        #[test]
        fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), lines in "(\\PC|,|\n|\"){0,80}") {
            let header = "address,state,hw_address,client_id,started_at,expires_at\n";
            for bytes in [bytes, lines.clone().into_bytes(), format!("{header}{lines}").into_bytes()] {
                let (file, dir) = (tempfile::NamedTempFile::new().unwrap(), TempDir::new().unwrap());
                fs::write(&file, &bytes).unwrap();
                for format in [Format::Csv, Format::Json] {
                    let _ = importing(file.path(), format).import(dir.path());
                }
            }
        }
    }

    const HEADER: &str = "address,state,hw_address,client_id,started_at,expires_at,subnet,hw_type\n";
    const GOOD: &str = "192.0.2.1,bound,02:00:00:00:00:01,,2026-01-01T00:00:00Z,2099-01-01T00:00:00Z,192.0.2.0/24,1\n";

    /// What is said of a file of these lines.
    fn failure(text: &str) -> String {
        let (file, dir) = (tempfile::NamedTempFile::new().unwrap(), TempDir::new().unwrap());
        fs::write(&file, text).unwrap();
        let Err(Failure::Failed(message)) = import(file.path(), &dir) else { panic!("{text}: taken") };
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{text}: something is left");
        message
    }

    #[test]
    fn one_wrong_line_and_nothing_is_imported() {
        let wrong = GOOD.replace("bound", "busy");
        assert!(failure(&format!("{HEADER}{GOOD}{wrong}")).ends_with("1 of 2 leases are wrong; nothing is imported"));
        assert!(failure(&format!("{HEADER}{GOOD}{GOOD}")).contains("1 of 2"), "the same address twice");
        assert!(failure("").contains("the file is empty"));
        assert!(failure(GOOD).contains(":1: found no column address"));
        assert!(failure(&HEADER.replace("client_id", "clientid")).contains(":1: found no column client_id"));
        assert!(failure(&HEADER.replace("subnet", "state")).contains(":1: found column state twice"));
    }

    #[test]
    fn wrong_lines_can_be_left_out_and_all_can_be_only_checked() {
        let (file, dir) = (tempfile::NamedTempFile::new().unwrap(), TempDir::new().unwrap());
        let other = GOOD.replace("192.0.2.1,bound", "192.0.2.2,offered");
        fs::write(&file, format!("{HEADER}{GOOD}x,y\n{other}")).unwrap();
        let mut tolerant = Import { skip_wrong: true, dry_run: true, ..importing(file.path(), Format::Csv) };
        let outcome = tolerant.import(dir.path()).unwrap();
        assert_eq!((outcome.done, outcome.imported.written, outcome.offers, outcome.wrong), (false, 1, 1, 1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        tolerant.dry_run = false;
        assert!(tolerant.import(dir.path()).unwrap().done);
        assert_eq!(read(&dir).len(), 1);
    }

    #[test]
    fn a_state_directory_that_is_not_there_is_made_only_when_asked_for() {
        let base = TempDir::new().unwrap();
        let (file, dir) = (base.path().join("leases.csv"), base.path().join("typo"));
        std::fs::write(&file, format!("{}\n", NAMES[..6].join(","))).unwrap();
        let Failure::Failed(error) = importing(&file, Format::Csv).import(&dir).unwrap_err() else { panic!() };
        assert!(
            error.ends_with("typo: is not there: say where it is with --state-dir, or --create to have it made"),
            "{error}"
        );
        assert!(!dir.exists());
        Import { create: true, ..importing(&file, Format::Csv) }.import(&dir).unwrap();
        assert!(dir.is_dir());
    }
}
