//! `cargo xtask run` and `bench peers` as a whole, as their users run them. They build, so that only `cargo xtask test`, which has built, runs these.

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
use serde_json::Value;
use tempfile::NamedTempFile;
use xtask::{command, lab::wait_for};

fn main() -> ExitCode {
    let tests = vec![
        test("run_once_takes_leases_stands_a_storm_and_removes_everything", runs_once),
        test("an_interrupted_run_removes_everything", interrupted),
        test("bench_peers_measures_each_server_and_draws_a_page_that_needs_no_other_file", peers),
        test("an_interrupted_bench_of_peers_removes_everything_and_keeps_its_results", interrupted_peers),
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

const ONCE: [&str; 2] = ["run", "--once"];

/// A run; killed when dropped.
struct Run {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// What it said so far; at its end, with its complaints.
    said: String,
    complaints: NamedTempFile,
}

impl Run {
    fn start(words: &[&str]) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let complaints = NamedTempFile::new()?;
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints.reopen()?);
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
    let mut run = Run::start(&ONCE)?;
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
        let mut run = Run::start(&ONCE)?;
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

/// Where the results of a bench go, and the words for a small one.
fn small_bench(only: &str, more: &[&str]) -> Result<(tempfile::TempDir, Run)> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (json, html) = (path("peers.json"), path("peers.html"));
    // What it needs is built and there.
    let mut words = vec!["bench", "peers", "--ready", "--only", only, "--json", &json, "--html", &html];
    words.extend(["--clients", "500", "--load-s", "0.3", "--search-s", "4"]);
    words.extend(more);
    let run = Run::start(&words)?;
    Ok((folder, run))
}

fn results(folder: &tempfile::TempDir) -> Result<(Value, String)> {
    let read = |name: &str| fs::read_to_string(folder.path().join(name));
    Ok((serde_json::from_str(&read("peers.json")?)?, read("peers.html")?))
}

fn peers() -> Result<()> {
    let (folder, mut run) = small_bench("reflector,dhcp-xdp-sync,kea,dnsmasq", &["--quick"])?;
    let status = run.end()?;
    ensure!(status.success(), "{status}; it said:\n{}", run.said);
    run.expect_nothing_left()?;
    let (json, page) = results(&folder)?;
    ensure!(json["schema"] == 1 && json["kind"] == "peers" && json["complete"] == true, "{json}");
    ensure!(json["host"]["kernel"].is_string() && json["settings"]["clients"] == 500, "{json}");
    let subjects = json["subjects"].as_array().context("no subjects")?;
    ensure!(subjects.len() == 4, "{json}");
    for subject in subjects {
        let (name, median) = (&subject["name"], &subject["median"]);
        ensure!(median["capacity_per_s"].as_f64() > Some(1.0), "{name}: {subject}");
        ensure!(median["memory_bytes"].as_f64() > Some(1e6), "{name}: {subject}");
        let message = if name == "reflector" { "discover" } else { "request" };
        ensure!(median["latency_us"][message]["p99"].as_f64() > Some(0.0), "{name}: {subject}");
        let witnesses = if name == "reflector" { 0 } else { 2 };
        ensure!(subject["rounds"][0]["witnesses"].as_array().map(Vec::len) == Some(witnesses), "{name}: {subject}");
    }
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).context("the page is not well-formed")?;
    let names: Vec<&str> = document.descendants().map(|node| node.tag_name().name()).collect();
    ensure!(names.iter().filter(|name| **name == "svg").count() >= 4, "too few plots");
    for foreign in ["script", "link", "img", "iframe", "object", "image", "use"] {
        ensure!(!names.contains(&foreign), "there is a <{foreign}> in the page");
    }
    for foreign in ["http://", "https://", "src=", "href=", "url(", "@import"] {
        ensure!(!page.contains(foreign), "{foreign} is in the page");
    }
    ensure!(page.contains("dhcp-xdp, sync") && page.contains("dnsmasq 2."), "servers are not named");
    Ok(())
}

fn interrupted_peers() -> Result<()> {
    let (folder, mut run) = small_bench("dhcp-xdp-sync", &["--rounds", "20"])?;
    run.read_up_to("round 2 of 20")?;
    kill(Pid::from_raw(run.child.id().cast_signed()), Signal::SIGINT)?;
    let status = run.end()?;
    ensure!(status.code() == Some(130), "{status}; it said:\n{}", run.said);
    run.expect_nothing_left()?;
    let (json, page) = results(&folder)?;
    ensure!(json["complete"] == false && json["reason"] == "stopped", "{json}");
    ensure!(json["subjects"][0]["rounds"].as_array().map(Vec::len) == Some(1), "{json}");
    ensure!(page.contains("partial: stopped"), "the page does not say that it is partial");
    Ok(())
}
