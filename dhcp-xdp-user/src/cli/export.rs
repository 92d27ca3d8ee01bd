//! `dhcp-xdp leases export`

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use dhcp_xdp::control::{Filter, LeaseView};

use super::{
    failure::{Done, Failure},
    leases::FilterFlags,
    output::Output,
    progress,
    source::Source,
    state::State,
};

/// How leases are written to a file and read from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Comma-separated values with a header line
    Csv,
    /// One JSON object a line
    Json,
}

/// The columns of a CSV file. More may be added, at the end.
pub(super) const COLUMNS: [&str; 14] = [
    "address",
    "state",
    "hw_address",
    "client_id",
    "started_at",
    "expires_at",
    "subnet",
    "hw_type",
    "vrf",
    "relay_agent_info",
    "circuit_id",
    "remote_id",
    "subscriber_id",
    "relay_id",
];

/// Write leases to a file or to stdout, for other programs and for `leases import`
///
/// In the order of addresses: from the memory of the running server as it goes through it, or from the journal of one that does
/// not run (which knows no subnets and no offers).
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dhcp-xdp leases export > leases.csv
  dhcp-xdp leases export --format json --output leases.json")]
pub(super) struct Export {
    #[command(flatten)]
    filter: FilterFlags,
    /// How: csv with a header line, or json with one object a line
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// File to write, which is replaced once all is written; - is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Export {
    #[cfg(test)]
    pub fn of(format: Format, output: PathBuf) -> Self {
        Self { filter: FilterFlags::default(), format, json: false, output }
    }

    pub fn run(self, state: &State) -> Done {
        let format = if self.json { Format::Json } else { self.format };
        let filter = Filter::from(self.filter);
        // First where they come from, so that nothing is written when there are none to be had.
        let source = Source::open(state)?;
        let total = source.count().filter(|_| filter == Filter::default());
        let mut target = Target::open(&self.output)?;
        // Leases would run through the bar on a terminal that shows both.
        let is_shown = !(target.is_stdout() && std::io::IsTerminal::is_terminal(&std::io::stdout()));
        let bar = if is_shown { progress::leases("exporting", total) } else { indicatif::ProgressBar::hidden() };
        if format == Format::Csv {
            target.out.line(COLUMNS.join(","))?;
        }
        source.each(&filter, &mut |lease| {
            bar.inc(1);
            target.out.text(&line(format, lease)?)
        })?;
        bar.finish_and_clear();
        target.finish()
    }
}

fn line(format: Format, lease: &LeaseView) -> Result<String, Failure> {
    if format == Format::Json {
        return serde_json::to_string(lease).map(|line| line + "\n").map_err(Failure::of);
    }
    let (address, subnet) = (lease.address.to_string(), lease.subnet.map(|subnet| subnet.to_string()));
    let hw_type = lease.hw_type.to_string();
    let or_nothing = |text: &'_ Option<String>| text.clone().unwrap_or_default();
    let mut writer = csv::WriterBuilder::new().buffer_capacity(1024).from_writer(Vec::with_capacity(1024));
    let written = writer.write_record([
        &address,
        &lease.state,
        &or_nothing(&lease.hw_address),
        &or_nothing(&lease.client_id),
        &lease.started_at,
        &or_nothing(&lease.expires_at),
        &or_nothing(&subnet),
        &hw_type,
        &or_nothing(&lease.vrf),
        &or_nothing(&lease.relay_agent_info),
        &or_nothing(&lease.circuit_id),
        &or_nothing(&lease.remote_id),
        &or_nothing(&lease.subscriber_id),
        &or_nothing(&lease.relay_id),
    ]);
    written.map_err(Failure::of)?;
    let line = writer.into_inner().map_err(|error| Failure::of(error.into_error()))?;
    String::from_utf8(line).map_err(Failure::of)
}

/// Where it goes. A file gets its name when all of it is written: what was there before stays until then.
struct Target {
    out: Output,
    file: Option<Unfinished>,
}

struct Unfinished {
    file: File,
    path: PathBuf,
    name: PathBuf,
}

impl Target {
    fn open(name: &Path) -> Result<Self, Failure> {
        let fail =
            |path: &Path, error: std::io::Error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
        if name == Path::new("-") {
            return Ok(Self { out: Output::new(), file: None });
        }
        // A device or a pipe is written to as it is.
        if fs::metadata(name).is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(name).map_err(|error| fail(name, error))?;
            return Ok(Self { out: Output::to(file), file: None });
        }
        let mut path = name.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let file = File::create(&path).map_err(|error| fail(&path, error))?;
        let copy = file.try_clone().map_err(|error| fail(&path, error))?;
        Ok(Self { out: Output::to(copy), file: Some(Unfinished { file, path, name: name.to_owned() }) })
    }

    fn is_stdout(&self) -> bool {
        self.file.is_none()
    }

    fn finish(mut self) -> Done {
        self.out.flush()?;
        let Some(mut unfinished) = self.file.take() else { return Ok(()) };
        let done = unfinished.file.flush().and_then(|()| unfinished.file.sync_all());
        let done = done.and_then(|()| fs::rename(&unfinished.path, &unfinished.name));
        done.map_err(|error| Failure::Failed(format!("cannot write {}: {error}", unfinished.name.display())))
    }
}
