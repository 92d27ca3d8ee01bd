//! `cargo xtask bench peers`: this server and its neighbours, side by side.
//!
//! One veth pair, one load, one machine; the servers take turns, round after round, so that what else happens on the machine
//! happens to all. Of each: the highest rate that it answers with next to no loss, how long it takes at half of that, its
//! memory and its processor time. `perfdhcp` asks the same servers at the same rates as a second witness.

use std::{
    env, fs,
    ops::RangeInclusive,
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    cargo, command,
    lab::{End, Lab, Veth},
    setup::{self, Purpose},
    signals::{Stop, Stopped},
    workspace,
};

mod load;
mod measure;
mod result;
mod subject;

pub use subject::Subject;

use load::Generator;
use result::{Results, Settings};

/// How to compare.
#[derive(Args, Clone, Debug)]
pub struct Peers {
    /// Rounds: each server has its turn in each.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub rounds: u32,
    /// One round, with short loads: two minutes and a half in place of a quarter of an hour, and coarser figures.
    #[arg(long)]
    pub quick: bool,
    /// Only these, separated by commas.
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<Subject>,
    /// Simulated clients; the same in every load.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    pub clients: u32,
    /// How long a load takes, in seconds.
    #[arg(long, value_name = "S")]
    pub load_s: Option<f64>,
    /// How long the search for a capacity may take, in seconds [default: 15 loads].
    #[arg(long, value_name = "S")]
    pub search_s: Option<f64>,
    /// Results in JSON [default: peers.json in cargo's target folder].
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Results as a page [default: peers.html in cargo's target folder].
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Everything is built and installed.
    #[arg(long, hide = true)]
    pub ready: bool,
}

/// What `--help` shows at its end.
pub const EXAMPLES: &str = "Examples:
  cargo xtask bench peers
  cargo xtask bench peers --quick --only dhcp-xdp-sync,kea --html /tmp/peers.html";

/// Shortest and longest load, in seconds.
const LOAD_S: RangeInclusive<f64> = 0.1..=60.0;
/// Shortest and longest search.
const SEARCH_S: RangeInclusive<f64> = 1.0..=3600.0;
/// Loads that a search takes about.
const SEARCH_LOADS: f64 = 15.0;

impl Peers {
    fn load_s(&self) -> f64 {
        self.load_s.unwrap_or(if self.quick { 0.8 } else { 2.0 })
    }

    fn search_s(&self) -> f64 {
        self.search_s.unwrap_or(self.load_s() * SEARCH_LOADS)
    }

    fn settings(&self) -> Settings {
        Settings {
            rounds: if self.quick { 1 } else { self.rounds },
            quick: self.quick,
            clients: self.clients,
            load_s: self.load_s(),
            search_s: self.search_s(),
            max_loss_percent: load::MAX_LOSS_PERCENT,
            pool: subject::POOL.to_owned(),
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        Subject::ALL.into_iter().filter(|subject| self.only.is_empty() || self.only.contains(subject)).collect()
    }
}

/// Builds, measures, writes both results, prints a table, and gives the exit code: 1 when a server could not be measured.
///
/// # Errors
/// Something could not be installed, built or written; or it is [`Stopped`].
pub fn peers(options: &Peers) -> Result<ExitCode> {
    if !LOAD_S.contains(&options.load_s()) {
        bail!("--load-s: from {} to {} seconds", LOAD_S.start(), LOAD_S.end());
    }
    if !SEARCH_S.contains(&options.search_s()) {
        bail!("--search-s: from {} to {} seconds", SEARCH_S.start(), SEARCH_S.end());
    }
    if !options.ready {
        setup::setup(Purpose::Bench, false)?;
        cargo::build(true)?;
    }
    if !command::is_root() {
        println!("Network namespaces need root: going on with sudo");
        let mut again = command::as_root(env::current_exe().context("cannot find the running program")?)?;
        let status = again.args(env::args_os().skip(1)).arg("--ready").status().context("cannot start sudo")?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    Stop::listen()?;
    let lab = Lab::new()?;
    let measured = measure_all(&lab, options);
    // Before the results are written: a full disk leaves no laboratory behind either.
    drop(lab);
    println!("Everything that was made is removed");
    let results = measured?;
    write(options, &results)?;
    print!("{}", results.text());
    if results.reason.as_deref() == Some(STOPPED) {
        bail!(Stopped);
    }
    Ok(if results.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why results are partial when somebody asked for it.
const STOPPED: &str = "stopped";

/// All rounds. What is measured when somebody asks us to stop is kept.
fn measure_all(lab: &Lab, options: &Peers) -> Result<Results> {
    let (inside, outside) = (lab.namespace("s")?, lab.namespace("c")?);
    let (here, there) = (End::new(&inside, subject::SERVER_INTERFACE), End::new(&outside, subject::CLIENT_INTERFACE));
    Veth::default().join(here, there)?;
    here.add_address(&format!("{}/{}", subject::SERVER, subject::PREFIX_LENGTH))?;
    there.add_address(&format!("{}/{}", subject::RELAY, subject::PREFIX_LENGTH))?;

    let (began, settings, subjects) = (Instant::now(), options.settings(), options.subjects());
    let generator = Generator::new(lab, there, here.mac()?, &settings);
    let mut results = Results::new(command_line(), unix_time_s(), settings, &subjects);
    println!(
        "{} servers, {} round(s), loads of {} s with {} clients; Ctrl-C keeps what is measured by then",
        subjects.len(),
        results.settings.rounds,
        results.settings.load_s,
        results.settings.clients
    );
    for round in 1..=results.settings.rounds {
        for (turn, at) in order(subjects.len(), round).into_iter().enumerate() {
            let subject = subjects[at];
            let elapsed = began.elapsed().as_secs();
            println!(
                "[{:2}:{:02}] round {round} of {}, {} of {}: {}",
                elapsed / 60,
                elapsed % 60,
                results.settings.rounds,
                turn + 1,
                subjects.len(),
                subject.label()
            );
            let known = results.subjects[at].capacity_so_far();
            match measure::measure(lab, here, &generator, subject, round, known) {
                Ok(found) => results.subjects[at].add(found),
                Err(error) if error.is::<Stopped>() => {
                    results.finish(generator.host(), began.elapsed(), Some(STOPPED));
                    return Ok(results);
                }
                Err(error) => {
                    println!("        FAILED: {error:#}");
                    results.subjects[at].fail(&error);
                }
            }
        }
    }
    let failed = results.subjects.iter().filter(|subject| subject.error.is_some()).count();
    let reason = (failed > 0).then(|| format!("{failed} of {} servers could not be measured", subjects.len()));
    results.finish(generator.host(), began.elapsed(), reason.as_deref());
    Ok(results)
}

/// Who comes when: each round begins with another.
fn order(count: usize, round: u32) -> Vec<usize> {
    let first = (round as usize - 1) % count.max(1);
    (first..count).chain(0..first).collect()
}

fn write(options: &Peers, results: &Results) -> Result<()> {
    let target = workspace::target();
    let json = options.json.clone().unwrap_or_else(|| target.join("peers.json"));
    let html = options.html.clone().unwrap_or_else(|| target.join("peers.html"));
    let text = serde_json::to_string_pretty(results)? + "\n";
    fs::write(&json, text).with_context(|| format!("cannot write {}", json.display()))?;
    let mut render = Command::new(workspace::binary("dhcp-storm")?);
    command::output(render.arg("report").arg(&json).arg("--html").arg(&html))?;
    println!("Results: {} and {}", json.display(), html.display());
    Ok(())
}

fn unix_time_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn command_line() -> String {
    let words = env::args().skip(1).filter(|word| word != "--ready");
    std::iter::once("cargo xtask".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_with_another_and_leaves_none_out() {
        assert_eq!(order(3, 1), [0, 1, 2]);
        assert_eq!(order(3, 2), [1, 2, 0]);
        assert_eq!(order(3, 5), [1, 2, 0]);
        assert_eq!(order(1, 7), [0]);
    }
}
