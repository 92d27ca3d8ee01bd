//! What benchmarks of the whole server share: root, a server and a generator on one link, storms, and what is made of figures.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    cargo, command, group,
    lab::{End, Lab, Namespace, Process, Veth, wait_for},
    setup::{self, Purpose},
    signals::Stop,
    workspace,
};

// RFC 2544 C.2.2: 198.18.0.0/15 is for tests like these, and routed nowhere.
/// The server's address.
pub const SERVER: &str = "198.18.0.1";
/// The prefix of the link.
pub const SUBNET: &str = "198.18.0.0/15";
/// Addresses for simulated clients.
pub const POOL: &str = "198.18.1.0-198.19.255.254";
/// The server's interface.
pub const SERVER_INTERFACE: &str = "server0";
const CLIENT_INTERFACE: &str = "client0";

/// What benchmarks of the whole server can be told.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Simulated clients
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=130_000))]
    pub clients: u32,
    /// Exchanges at a time of a storm that goes as fast as it can
    #[arg(long, value_name = "W", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub window: u32,
    /// Folder on the disk that the journal is on; cargo's target folder unless given
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// Write all figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Everything is built, and this is root
    #[arg(long, hide = true)]
    pub built: bool,
}

/// Builds everything with optimisations unless it `is_built`, then measures as root.
///
/// # Errors
/// Something could not be installed, built or started, or what `measure` says.
pub fn as_root(is_built: bool, measure: impl FnOnce() -> Result<()>) -> Result<()> {
    if !is_built {
        setup::setup(Purpose::Run, false)?;
        cargo::build(true)?;
        if !command::is_root() {
            println!("Network namespaces need root: going on with sudo");
            let mut command = command::as_root(env::current_exe().context("cannot find the running program")?)?;
            command.args(env::args_os().skip(1)).arg("--built");
            return group::run(&mut command);
        }
    }
    Stop::listen()?;
    measure()
}

/// A link with a server's end and a generator's, and a folder on the disk that is measured.
pub struct Bed {
    // Dropped in this order: the laboratory goes last.
    inside: Namespace,
    outside: Namespace,
    folder: TempDir,
    lab: Lab,
}

impl Bed {
    /// With a folder in `disk`, or else in cargo's target folder.
    ///
    /// # Errors
    /// The laboratory or the folder cannot be made.
    pub fn new(disk: Option<&Path>) -> Result<Self> {
        let disk = disk.map_or_else(workspace::target, Path::to_owned);
        let folder = TempDir::with_prefix_in("bench-", &disk);
        let folder = folder.with_context(|| format!("cannot make a folder in {}", disk.display()))?;
        let lab = Lab::new()?;
        let bed = Self { inside: lab.namespace("s")?, outside: lab.namespace("c")?, folder, lab };
        Veth::default().join(bed.server_end(), bed.client_end())?;
        bed.server_end().add_address(&format!("{SERVER}/15"))?;
        Ok(bed)
    }

    /// Where the server is.
    pub fn server_end(&self) -> End<'_> {
        End::new(&self.inside, SERVER_INTERFACE)
    }

    /// Where the generator is.
    pub fn client_end(&self) -> End<'_> {
        End::new(&self.outside, CLIENT_INTERFACE)
    }

    /// A path on the disk that is measured.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The type of its file system: `tmpfs` has no stable storage.
    pub fn file_system(&self) -> String {
        let stat = command::tool("stat");
        let stat = stat.and_then(|mut stat| command::output(stat.args(["-f", "-c", "%T"]).arg(self.folder.path())));
        stat.map_or_else(|_| "an unknown file system".into(), |name| name.trim().to_owned())
    }

    /// `dhcp-storm run` with these words, for so many seconds.
    ///
    /// # Errors
    /// It failed, wrote no report, or found a violation.
    pub fn storm(&self, words: &[&str], duration_s: u32) -> Result<Storm> {
        let json = self.lab.path("storm.json");
        let mut command = self.outside.command(workspace::binary("dhcp-storm")?)?;
        command.args(["run", "--interface", CLIENT_INTERFACE, "--quiet", "--duration", &duration_s.to_string()]);
        command.args(words).arg("--json").arg(&json);
        let mut process = Process::spawn(&mut command, self.lab.path("storm.log"))?;
        let limit = Duration::from_secs(u64::from(duration_s) + 60);
        let status = wait_for("the storm to end", limit, || process.ended())?;
        if !status.success() {
            bail!("dhcp-storm failed ({status}); {}", process.last_words());
        }
        let text = fs::read_to_string(&json).with_context(|| format!("cannot read {}", json.display()))?;
        Ok(Storm(serde_json::from_str(&text).context("dhcp-storm wrote strange JSON")?))
    }
}

/// What a storm reported.
#[derive(Debug)]
pub struct Storm(Value);

impl Storm {
    /// A figure of its summary.
    ///
    /// # Errors
    /// It has none of that name.
    pub fn figure(&self, name: &str) -> Result<f64> {
        figure(&self.0, &format!("/summary/{name}"))
    }

    /// A percentile from REQUEST to ACK, as whoever waits for the lease feels it, microseconds.
    pub fn ack_us(&self, percentile: &str) -> f64 {
        let by_message = self.0.pointer("/summary/latency_us").and_then(Value::as_object);
        let request = by_message.and_then(|all| all.iter().find(|(message, _)| message.contains("request")));
        request.and_then(|(_, latency)| latency[percentile].as_f64()).unwrap_or(f64::NAN)
    }
}

/// A number in JSON.
///
/// # Errors
/// There is none at this path.
pub fn figure(value: &Value, path: &str) -> Result<f64> {
    value.pointer(path).and_then(Value::as_f64).with_context(|| format!("no figure {path}"))
}

/// Ratios of the rounds, for people.
pub fn list(ratios: &[f64]) -> String {
    ratios.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(", ")
}

/// Writes a report.
///
/// # Errors
/// The file cannot be written.
pub fn write(file: &Path, report: &Value) -> Result<()> {
    fs::write(file, format!("{report:#}\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// The words that this program was started with.
pub fn command_line() -> String {
    env::args().skip(1).filter(|word| word != "--built").collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storms_figures_are_found_and_a_missing_one_is_told() {
        let storm = Storm(serde_json::json!({"summary": {"lost_ratio": 0.5, "latency_us": {
            "discover": {"p99": 3.0}, "request": {"p99": 7.0}}}}));
        assert_eq!((storm.figure("lost_ratio").unwrap(), storm.ack_us("p99")), (0.5, 7.0));
        assert!(storm.figure("bindings_per_s").unwrap_err().to_string().contains("/summary/bindings_per_s"));
        assert!(storm.ack_us("p50").is_nan());
    }
}
