//! `cargo xtask run` as a whole, as its users run it. It builds, so that only `cargo xtask test`, which has built, runs these.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::NamedTempFile;
use xtask::{command, lab::wait_for};

fn main() -> ExitCode {
    let tests = vec![
        test("run_once_takes_leases_stands_a_storm_and_removes_everything", runs_once),
        test("an_interrupted_run_removes_everything", interrupted),
    ];
    // Two storms at a time would only disturb each other.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn test(name: &str, run: fn() -> Result<()>) -> Trial {
    Trial::ignorable_test(name, move || {
        if !command::is_root() {
            return Ok(Completion::ignored_with("needs root"));
        }
        if env::var_os("DHCP_XDP_BIN_DIR").is_none() {
            return Ok(Completion::ignored_with("only `cargo xtask test` has built what it needs"));
        }
        match run() {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => Err(Failed::from(format!("{error:#}"))),
        }
    })
}

/// A run; killed when dropped.
struct Run {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// What it said so far; at its end, with its complaints.
    said: String,
    complaints: NamedTempFile,
}

impl Run {
    fn start() -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let complaints = NamedTempFile::new()?;
        command.args(["run", "--once"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints.reopen()?);
        let mut child = command.spawn()?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, output, said: String::new(), complaints })
    }

    fn read_up_to(&mut self, text: &str) -> Result<()> {
        while !self.said.contains(text) {
            let read = self.output.read_line(&mut self.said)?;
            ensure!(read > 0, "it ended before it said \"{text}\":\n{}", self.said);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<ExitStatus> {
        self.output.read_to_string(&mut self.said)?;
        let status = self.child.wait()?;
        self.said.push_str(&fs::read_to_string(self.complaints.path())?);
        Ok(status)
    }

    /// What it made that is still there: names of namespaces and folders have its process id in them.
    fn left_behind(&self) -> Result<Vec<String>> {
        let pid = self.child.id();
        let (namespace, folder) = (format!("dx{pid}n"), format!("dhcp-xdp-lab-{pid}-"));
        let mut left = Vec::new();
        for place in ["/run/netns".into(), env::temp_dir()] {
            for entry in fs::read_dir(&place).into_iter().flatten() {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.starts_with(&namespace) || name.starts_with(&folder) {
                    left.push(name);
                }
            }
        }
        Ok(left)
    }

    fn expect_nothing_left(&self) -> Result<()> {
        let left = self.left_behind()?;
        ensure!(left.is_empty(), "left behind: {left:?}; it said:\n{}", self.said);
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Its janitor removes what it made.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runs_once() -> Result<()> {
    let mut run = Run::start()?;
    let status = run.end()?;
    ensure!(status.success(), "{status}; it said:\n{}", run.said);
    for part in ["router-of-ada", "leases/s", " 0 violations", "every frame is accounted for", "made is removed"] {
        ensure!(run.said.contains(part), "\"{part}\" is not in:\n{}", run.said);
    }
    run.expect_nothing_left()
}

fn interrupted() -> Result<()> {
    // Once in the laboratory with its server under way, once in the storm.
    for moment in ["Laboratory: ", "Storm: "] {
        let mut run = Run::start()?;
        run.read_up_to(moment)?;
        ensure!(!run.left_behind()?.is_empty(), "there is no laboratory yet:\n{}", run.said);
        kill(Pid::from_raw(run.child.id().cast_signed()), Signal::SIGINT)?;
        let mut status = None;
        wait_for("the end of the run", Duration::from_secs(20), || {
            status = run.child.try_wait()?;
            Ok(status.map(|_| ()))
        })?;
        run.end()?;
        ensure!(status.and_then(|status| status.code()) == Some(130), "{status:?}; it said:\n{}", run.said);
        run.expect_nothing_left()?;
    }
    Ok(())
}
