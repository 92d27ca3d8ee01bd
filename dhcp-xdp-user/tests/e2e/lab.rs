//! The laboratory itself: it leaves nothing behind.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use xtask::lab::{Lab, Parameter, Process, Veth, counters, raw::RawSocket, wait_for};

use crate::{
    site::{Direct, INSIDE},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("a_laboratory_leaves_nothing_behind", leaves_nothing),
        test("what_a_killed_process_made_is_removed", killed_leaves_nothing),
        test("frames_pass_between_the_ends_of_a_laboratory", frames_pass),
    ]
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

fn leaves_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let folder = lab.folder("some")?;
    let namespace = lab.namespace("s")?;
    let name = namespace.name().to_owned();
    ensure!(exists(&name));
    let mut process = Process::spawn(namespace.command("sleep")?.arg("600"), lab.path("log"))?;
    drop(namespace);
    ensure!(!exists(&name), "the namespace is still there");
    process.wait(Duration::from_secs(5)).context("what ran in the namespace still runs")?;
    drop(lab);
    ensure!(!folder.exists(), "the folder is still there");
    Ok(())
}

fn frames_pass() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let received = || -> Result<u64> { Ok(counters::interface(&site.inside, INSIDE)?.rx_packets) };
    let before = received()?;
    let socket = RawSocket::open(site.client_end())?;
    for _ in 0..10 {
        socket.send(&[0xff; 100])?;
    }
    wait_for("the frames", Duration::from_secs(2), || Ok((received()? - before == 10).then_some(())))
}

/// A kernel parameter that hardly anything depends on.
const HARMLESS: &str = "net/core/optmem_max";

fn harmless() -> Result<u64> {
    Ok(fs::read_to_string(Path::new("/proc/sys").join(HARMLESS))?.trim().parse()?)
}

const VICTIM: &str = "DHCP_XDP_E2E_VICTIM";

/// If this process was started as a victim: makes a laboratory, tells of it, and waits to be killed.
pub fn be_victim_if_asked() {
    if env::var_os(VICTIM).is_none() {
        return;
    }
    let made = Lab::new().and_then(|lab| {
        let namespace = lab.namespace("v")?;
        let _more = Parameter::at_least(&lab, HARMLESS, harmless()? + 1)?;
        println!("{} {}", namespace.name(), lab.path("").display());
        thread::sleep(Duration::from_secs(600));
        Ok(())
    });
    eprintln!("{made:?}");
    std::process::exit(1);
}

fn killed_leaves_nothing() -> Result<()> {
    let before = harmless()?;
    let mut victim =
        Command::new(env::current_exe()?).env(VICTIM, "1").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(victim.stdout.take().context("no output")?).read_line(&mut line)?;
    let (namespace, folder) = line.trim().split_once(' ').context("the victim said nothing")?;
    let were_there = exists(namespace) && Path::new(folder).exists() && harmless()? == before + 1;
    victim.kill()?;
    victim.wait()?;
    ensure!(were_there, "the victim made nothing");
    let gone = || Ok((!exists(namespace) && fs::metadata(folder).is_err() && harmless()? == before).then_some(()));
    wait_for("the janitor", Duration::from_secs(5), gone)
}
