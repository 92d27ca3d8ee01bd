//! `cargo xtask test`: everything that must hold, in one go, and a count of it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    cargo::{self, cargo},
    command, group,
    setup::{self, Purpose},
    workspace,
};

/// What to test.
#[derive(Args, Clone, Debug, Default)]
pub struct Suite {
    /// Also the tests that take minutes.
    #[arg(long)]
    pub long: bool,
    /// Fail when something was skipped.
    #[arg(long)]
    pub deny_skips: bool,
    /// Only tests with this in their names; format and clippy are left out then.
    pub filter: Option<String>,
}

/// Name of the test target that makes network namespaces, for which it is run as root.
const END_TO_END: &str = "e2e";
/// How the reason of an ignored test begins that is only run with `--long`.
const LONG: &str = "long";

/// How long one program of tests may take, without and with the long ones: a test that hangs must not hang the suite.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(3 * 3600));

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    /// Name and reason.
    skipped: Vec<(String, String)>,
    left_for_long: usize,
}

/// One program with tests in it.
#[derive(Debug)]
struct Target {
    name: String,
    program: PathBuf,
    package: PathBuf,
}

/// Runs it all, prints a summary, and gives the exit code.
///
/// # Errors
/// Something could not be installed, built or started. A test that fails is no error here, but a failing exit code.
pub fn test(options: &Suite) -> Result<ExitCode> {
    setup::setup(Purpose::Test, false)?;
    let mut tally = Tally::default();
    cargo::build(true)?;
    if options.filter.is_none() {
        check(&mut tally, "format", cargo().args(["fmt", "--all", "--check"]))?;
        check(&mut tally, "clippy", cargo().args(CLIPPY))?;
    }
    let (end_to_end, others): (Vec<Target>, Vec<Target>) =
        targets()?.into_iter().partition(|target| target.name == END_TO_END);
    for target in others {
        run_target(&mut tally, &target, options)?;
    }
    if options.filter.is_none() {
        let mut doc = cargo();
        let doc = doc.args(["test", "--locked", "--workspace", "--doc"]);
        run_tests(&mut tally, "documentation", doc, false, PATIENCE.0)?;
    }
    for target in end_to_end {
        run_target(&mut tally, &target, options)?;
    }
    Ok(summary(&tally, options))
}

const CLIPPY: [&str; 8] = ["clippy", "--locked", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];

/// A command that passes or fails as a whole.
fn check(tally: &mut Tally, name: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    let status = group::status(command)?;
    println!("{name}: {} ({:.1} s)", if status.success() { "ok" } else { "FAILED" }, start.elapsed().as_secs_f32());
    if status.success() {
        tally.passed += 1;
    } else {
        tally.failed.push(name.to_owned());
    }
    Ok(())
}

/// Builds all programs with tests and says where they are.
fn targets() -> Result<Vec<Target>> {
    println!("Building the tests");
    let mut build = cargo();
    build.args(["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--no-run"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let output = group::output(&mut build)?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    Ok(messages.lines().filter_map(|line| target(&serde_json::from_str(line).ok()?)).collect())
}

/// The program of a message of cargo's, if it is one with tests.
fn target(message: &Value) -> Option<Target> {
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let package = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let program = PathBuf::from(message["executable"].as_str().filter(|_| is_test)?);
    let name = message["target"]["name"].as_str()?;
    let kind = message["target"]["kind"][0].as_str()?;
    let name = if kind == "test" { name.to_owned() } else { format!("{name} ({kind})") };
    Some(Target { name, program, package })
}

fn run_target(tally: &mut Tally, target: &Target, options: &Suite) -> Result<()> {
    let end_to_end = target.name == END_TO_END;
    let mut command = if end_to_end { command::as_root(&target.program)? } else { Command::new(&target.program) };
    // As `cargo test` does.
    command.current_dir(&target.package).env("CARGO_MANIFEST_DIR", &target.package);
    command.env("DHCP_XDP_BIN_DIR", workspace::binaries(true).canonicalize().context("nothing is built")?);
    command.args(&options.filter);
    if options.long {
        command.arg("--include-ignored");
    }
    let patience = if options.long { PATIENCE.1 } else { PATIENCE.0 };
    run_tests(tally, &target.name, &mut command, end_to_end, patience)
}

/// Runs a command that prints as libtest does, and counts. `aloud` shows each test as it ends; else only what fails. It is
/// killed after `patience`; what it printed by then names the test that hangs.
fn run_tests(tally: &mut Tally, name: &str, command: &mut Command, aloud: bool, patience: Duration) -> Result<()> {
    let start = Instant::now();
    let before = tally.passed;
    if aloud {
        println!("{name}:");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let (ended, end) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let is_late = end.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
        // The child is waited for only after this thread, so that its number is still its own.
        is_late && kill(pid, Signal::SIGKILL).is_ok()
    });
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line.context("cannot read the tests' output")?;
        if aloud && !line.is_empty() {
            println!("  {line}");
        }
        tally.line(name, &line);
        text.push_str(&line);
        text.push('\n');
    }
    drop(ended);
    if watch.join().unwrap_or(false) {
        tally.failed.push(format!("{name}: hung, and was killed after {} s", patience.as_secs()));
    }
    let status = child.wait().context("cannot wait for the tests")?;
    let failed = tally.failed.iter().any(|test| test.starts_with(&format!("{name}: ")));
    if !status.success() && !failed {
        // It died, or could not even start its tests.
        tally.failed.push(format!("{name}: ended with {status}"));
    }
    if !status.success() && !aloud {
        println!("{text}");
    }
    let outcome = if status.success() { "ok" } else { "FAILED" };
    println!("{name}: {outcome}, {} passed ({:.1} s)", tally.passed - before, start.elapsed().as_secs_f32());
    Ok(())
}

impl Tally {
    /// Counts a line of libtest's: `test NAME ... ok`, `FAILED` or `ignored, REASON`.
    fn line(&mut self, target: &str, line: &str) {
        let Some((test, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            return;
        };
        // libtest-mimic fills names up with blanks; documentation tests add ` - compile`.
        let test = format!("{target}: {}", test.trim_end());
        if outcome.starts_with("ok") {
            self.passed += 1;
        } else if outcome.starts_with("FAILED") {
            self.failed.push(test);
        } else if let Some(reason) = outcome.strip_prefix("ignored") {
            let reason = reason.trim_matches([',', ' ', '(', ')']);
            if reason.starts_with(LONG) {
                self.left_for_long += 1;
            } else {
                let reason = if reason.is_empty() { "no reason given" } else { reason };
                self.skipped.push((test, reason.to_owned()));
            }
        }
    }
}

fn summary(tally: &Tally, options: &Suite) -> ExitCode {
    println!();
    for name in &tally.failed {
        println!("failed   {name}");
    }
    for (name, reason) in &tally.skipped {
        println!("skipped  {name}: {reason}");
    }
    if tally.left_for_long > 0 {
        println!("{} long tests were left out: `cargo xtask test --long` runs them too", tally.left_for_long);
    }
    let denied = options.deny_skips && !tally.skipped.is_empty();
    if denied {
        println!("Skipped tests count as a failure here (--deny-skips)");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed.len(), tally.skipped.len());
    if tally.failed.is_empty() && !denied { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_libtest_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a::works ... ok",
            "test b ... FAILED",
            "test c ... ignored",
            "test d           ... ignored, needs root",
            "test e ... ignored, long: takes minutes",
            "test f    ... ignored (long: as libtest-mimic says it)",
            "test result: FAILED. 1 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out",
        ] {
            tally.line("unit", line);
        }
        let expected = Tally {
            passed: 1,
            failed: vec!["unit: b".into()],
            skipped: vec![("unit: c".into(), "no reason given".into()), ("unit: d".into(), "needs root".into())],
            left_for_long: 2,
        };
        assert_eq!(tally, expected);
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_counted_as_failed() {
        let mut tally = Tally::default();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test a ... ok'; exec sleep 60"]);
        run_tests(&mut tally, "unit", &mut command, false, Duration::from_millis(200)).unwrap();
        assert_eq!((tally.passed, &tally.failed[..]), (1, &["unit: hung, and was killed after 0 s".to_owned()][..]));
    }

    #[test]
    fn skips_fail_only_where_they_are_denied() {
        let tally = Tally { skipped: vec![("a".into(), "no root".into())], ..Tally::default() };
        let code = |deny_skips| summary(&tally, &Suite { deny_skips, ..Suite::default() });
        assert_eq!(code(false), ExitCode::SUCCESS);
        assert_eq!(code(true), ExitCode::FAILURE);
    }
}
