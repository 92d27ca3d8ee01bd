//! Lease events of a real server: its history, also through `kill -9` and a full disk, and its hook.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use dhcp_xdp::{journal::Journal, lease::BindingState};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::{
    lab::{Process, Server, Veth, wait_for},
    workspace,
};

use crate::{
    disks::{Ext4, Memory},
    site::{Direct, INSIDE, OUTSIDE, SERVER, figure, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("history_says_who_had_an_address_at_a_time", who),
        test("history_catches_up_when_its_full_disk_has_room_again_and_clients_are_served_meanwhile", full),
        test("a_history_that_would_fill_the_journals_disk_waits_and_each_client_is_served", shared),
        test("a_history_with_a_limit_never_takes_more_of_the_disk", limited),
        test("a_hook_is_run_for_each_event_with_variables", hooked),
        test("the_end_of_a_lease_is_told_to_history_and_hook", ended),
        test("a_hook_that_hangs_holds_no_client_up_and_is_ended_with_all_that_it_started", hanging),
        test("a_hook_that_cannot_be_killed_holds_no_stopping_server_up", stuck),
        test("what_a_hook_leaves_running_is_ended_with_its_time_and_nothing_of_it_stays_with_the_server", leaving),
    ]
}

/// Those that want the machine for themselves.
pub fn alone() -> Vec<Trial> {
    vec![
        test("history_after_kills_in_storms_has_each_durable_change_once", killed),
        test("history_after_kills_while_its_disk_is_full_has_each_durable_change_once", killed_on_a_full_disk),
    ]
}

const LIMIT: Duration = Duration::from_secs(20);

/// A configuration with these sections.
fn configuration(more: &str) -> String {
    format!(
        "{more}\n[[interface]]\nname = \"{INSIDE}\"\n[[subnet]]\nprefix = \"198.18.0.0/15\"\ninterface = \"{INSIDE}\"\n\
         pools = [\"198.18.1.0-198.19.255.254\"]\nlease_time_s = 3600\n[subnet.options]\nrouters = [\"{SERVER}\"]\n"
    )
}

fn serve(site: &Direct, more: &str) -> Result<Server> {
    Server::start_configured(&site.inside, site.state(), &configuration(more))
}

/// A storm of so many clients, and what it reports.
fn storm(site: &Direct, scenario: &str, clients: u32, seed: u32, more: &[&str]) -> Result<Value> {
    let (json, log) = (site.lab.path("storm.json"), site.lab.path("storm.log"));
    let _ = fs::remove_file(&json);
    let mut command = site.outside.command(workspace::binary("dhcp-storm")?)?;
    let (clients, seed) = (clients.to_string(), seed.to_string());
    command.args(["run", "--interface", OUTSIDE, "--scenario", scenario, "--clients", &clients, "--seed", &seed]);
    command.args(["--duration", "2", "--json"]).arg(&json).args(more);
    let mut storm = Process::spawn(&mut command, &log)?;
    storm.wait(Duration::from_secs(60))?;
    let report = fs::read_to_string(&json).with_context(|| storm.last_words())?;
    let report: Value = serde_json::from_str(&report).context("dhcp-storm's JSON")?;
    ensure!(report["summary"]["violations"] == 0, "{} {}", report["violations"], report["violation_examples"]);
    Ok(report)
}

fn history(state: &Path, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(workspace::binary("dhcp-xdp")?);
    Ok(command.args(["history", "--state-dir"]).arg(state).args(words).output()?)
}

/// Who had an address, by `dhcp-xdp history --json`.
fn holds(state: &Path, words: &[&str]) -> Result<Vec<Value>> {
    let output = history(state, &[words, &["--json"]].concat())?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Waits until the history has all that the journal has.
fn caught_up(server: &Server) -> Result<Value> {
    let mut last = None;
    wait_for("the history to have all", LIMIT, || {
        let stats = server.stats()?;
        let lines = figure(&stats, "/events/history/lines")?;
        let is_idle = stats["events"]["history"]["behind_bytes"] == 0 && last.replace(lines) == Some(lines);
        std::thread::sleep(Duration::from_millis(200));
        Ok(is_idle.then_some(stats))
    })
}

fn who() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = serve(&site, "[history]\n")?;
    let before = (now_s() - 10).to_string();
    // No client comes twice.
    storm(&site, "dora", 1000, 1, &["--rate", "100"])?;
    caught_up(&server)?;
    // What was written is on the disk after a second.
    std::thread::sleep(Duration::from_millis(1500));
    let leases = server.leases()?;
    let bound: Vec<&Value> = leases.iter().filter(|lease| lease["state"] == "bound").collect();
    ensure!(bound.len() >= 100, "{} leases", bound.len());
    let state = site.state();
    for lease in bound.iter().take(20) {
        let address = lease["address"].as_str().context("no address")?;
        // Beside the running server.
        let found = holds(&state, &["--address", address, "--at", &now_s().to_string()])?;
        ensure!(found.len() == 1, "{address}: {found:?}");
        for field in ["hw_address", "client_id", "address", "expires_at"] {
            ensure!(found[0][field] == lease[field], "{field}: {} and {lease}", found[0]);
        }
        let nobody = history(&state, &["--address", address, "--at", &before])?;
        ensure!(nobody.status.code() == Some(1) && nobody.stdout.is_empty(), "{nobody:?}");
        let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
        ensure!(said.contains("nobody that fits had") && said.contains("the history begins at"), "{said}");
        let mac = lease["hw_address"].as_str().context("no hardware address")?;
        let by_mac = holds(&state, &["--hw-address", mac])?;
        ensure!(by_mac.iter().any(|hold| hold["address"] == lease["address"]), "{mac}: {by_mac:?}");
    }
    let address = bound[0]["address"].as_str().context("no address")?.to_owned();
    let mut release = Command::new(workspace::binary("dhcp-xdp")?);
    release.args(["leases", "release", &address, "--state-dir"]).arg(&state);
    ensure!(release.output()?.status.success(), "not released");
    stop(server, site.server_end())?;
    // Without a server.
    let found = holds(&state, &["--address", &address])?;
    ensure!(found.len() == 1 && found[0]["ended_by"] == "released", "{found:?}");
    let table = history(&state, &["--address", &address])?;
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    ensure!(table.status.success() && text.contains("released") && text.lines().count() == 2, "{text}");
    let wrong = history(&state, &["--address", &address, "--from", "20", "--to", "10"])?;
    ensure!(wrong.status.code() == Some(2), "{wrong:?}");
    let mode = fs::metadata(state.join("history"))?.permissions().mode() & 0o777;
    ensure!(mode & 0o027 == 0, "the history's directory has mode {mode:o}");
    Ok(())
}

/// How often each change is in the history, by address and generation; expiries are none of the journal's.
fn lines(dir: &Path) -> Result<BTreeMap<(Ipv4Addr, u64), u32>> {
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))?;
            ensure!(line["event"] != "gap", "{line}");
            if line["event"] != "expired" {
                let address = line["address"].as_str().context("no address")?.parse()?;
                *counts.entry((address, line["generation"].as_u64().context("no generation")?)).or_insert(0) += 1;
            }
        }
    }
    Ok(counts)
}

/// Kills, each when so many records of its storm are durable and some time later.
const ROUNDS: u32 = 6;
const UNDER_WAY: u64 = 200;

fn killed() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let dir = site.state().join("history");
    kills_in_storms(&site, "compact_at_percent = 0\n[history]\nrotate_mib = 1\n", &dir, |_| Ok(()))
}

fn killed_on_a_full_disk() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let memory = Memory::mount(site.lab.path("history"), "2m")?;
    let dir = memory.0.join("history");
    let sections = format!(
        "compact_at_percent = 0\n[history]\ndirectory = \"{}\"\nrotate_mib = 1\nkeep_free_percent = 0\n",
        dir.display()
    );
    let others = memory.0.join("others");
    kills_in_storms(&site, &sections, &dir, |round| {
        if round % 2 == 0 {
            // As much as goes in; and a little comes free while a server catches up.
            let _ = fs::write(&others, vec![1; 2 << 20]);
            return Ok(());
        }
        fs::OpenOptions::new().write(true).open(&others)?.set_len(4096 * u64::from(round))?;
        let size = format!("remount,size={}m", 1 << (3 * round / 2));
        ensure!(Command::new("mount").args(["-o", &size]).arg(&memory.0).status()?.success(), "cannot make room");
        Ok(())
    })
}

/// Kills in storms, and something before each round of them: then the history in this directory has each change once.
fn kills_in_storms(site: &Direct, sections: &str, dir: &Path, mut before: impl FnMut(u32) -> Result<()>) -> Result<()> {
    let mut server = serve(site, sections)?;
    for round in 0..ROUNDS {
        before(round)?;
        let (json, log) = (site.lab.path("storm.json"), site.lab.path("storm.log"));
        let mut command = site.outside.command(workspace::binary("dhcp-storm")?)?;
        let seed = (1 + round).to_string();
        command.args(["run", "--interface", OUTSIDE, "--scenario", "dora", "--clients", "15000", "--seed", &seed]);
        command.args(["--rate", "max", "--window", "512", "--duration", "30", "--drain", "0"]).arg("--json").arg(&json);
        let mut storm = Process::spawn(&mut command, &log)?;
        storm.wait_for_output("AF_XDP", LIMIT)?;
        wait_for("the storm to be under way", LIMIT, || {
            Ok((figure(&server.stats()?, "/journal/records")? >= UNDER_WAY).then_some(()))
        })?;
        std::thread::sleep(Duration::from_millis(u64::from(round) * 70));
        server.kill()?;
        storm.signal(Signal::SIGINT)?;
        storm.wait(LIMIT)?;
        server = serve(site, sections)?;
    }
    caught_up(&server)?;
    let stats = stop(server, site.server_end())?;
    ensure!(stats["events"]["history"]["gaps"] == 0, "{}", stats["events"]);
    let found = lines(dir)?;
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).take(3).collect();
    ensure!(twice.is_empty(), "not once: {twice:?}");
    // What begins a lease, ends it or is an address's first change leaves a line. A renewal leaves none, but for the one that comes
    // first after its address's own moment of the day: of some hundred renewals in a minute hardly any.
    let (mut expected, mut renewals) = (BTreeMap::new(), BTreeSet::new());
    let mut last: BTreeMap<Ipv4Addr, (BindingState, [u8; 16])> = BTreeMap::new();
    Journal::read(&site.state(), |binding| {
        let now = (binding.state, binding.hw.chaddr);
        let is_renewal = binding.state == BindingState::Bound && last.get(&binding.address) == Some(&now);
        last.insert(binding.address, now);
        let key = (binding.address, u64::from(binding.generation));
        if is_renewal {
            renewals.insert(key);
        } else {
            expected.insert(key, 1);
        }
    })?;
    let of_the_day: Vec<_> = found.keys().filter(|key| renewals.contains(*key)).copied().collect();
    ensure!(of_the_day.len() <= 1 + renewals.len() / 500, "{} of {} renewals", of_the_day.len(), renewals.len());
    expected.extend(of_the_day.iter().map(|key| (*key, 1)));
    ensure!(expected.len() as u64 >= u64::from(ROUNDS) * UNDER_WAY, "no storms: {} changes", expected.len());
    let missing = expected.keys().find(|key| !found.contains_key(key));
    let strange = found.keys().find(|key| !expected.contains_key(key));
    ensure!(
        found == expected,
        "{} lines and {} changes; missing {missing:?}, strange {strange:?}",
        found.len(),
        expected.len()
    );
    eprintln!("{} changes, each once", found.len());
    Ok(())
}

fn full() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let memory = Memory::mount(site.lab.path("history"), "256k")?;
    // Everybody may write to the root of such a file system, which the server would not take.
    let dir = memory.0.join("history");
    // To the last block, that is: of a disk of its own nothing is left to anybody.
    let sections = format!("[history]\ndirectory = \"{}\"\nkeep_free_percent = 0\n", dir.display());
    let server = serve(&site, &sections)?;
    let report = storm(&site, "dora", 4000, 1, &["--rate", "3000"])?;
    ensure!(figure(&report, "/summary/lost")? < 100, "{}", report["summary"]);
    wait_for("the full disk to be told", LIMIT, || {
        let stats = server.stats()?;
        Ok(stats["events"]["history"]["failing"].as_str().is_some_and(|why| why.contains("No space")).then_some(()))
    })?;
    let count = server.leases()?.iter().filter(|lease| lease["state"] == "bound").count();
    ensure!(count > 3000, "{count} leases");
    let mut more = Command::new("mount");
    more.args(["-o", "remount,size=64m"]).arg(&memory.0);
    ensure!(more.output()?.status.success(), "cannot make room");
    wait_for("the history to go on", LIMIT, || {
        Ok((server.stats()?["events"]["history"]["failing"].is_null()).then_some(()))
    })?;
    caught_up(&server)?;
    ensure!(server.log().matches("clients are served, and it catches up").count() == 1, "{}", server.log());
    stop(server, site.server_end())?;
    let found = lines(&dir)?;
    ensure!(found.len() >= count && found.values().all(|times| *times == 1), "{} of {count}", found.len());
    Ok(())
}

/// A disk of 8 MiB for journal and history, of which so many MiB are taken by others; and a server whose log is elsewhere.
fn on_a_small_disk(site: &Direct, taken: usize, settings: &str) -> Result<(Memory, Server)> {
    let memory = Memory::mount(site.lab.path("disk"), "8m")?;
    let state = memory.0.join("state");
    fs::create_dir(&state)?;
    fs::write(memory.0.join("others"), vec![1; taken << 20])?;
    let file = site.lab.path("dhcp-xdp.toml");
    fs::write(&file, configuration(&format!("[history]\n{settings}")))?;
    let words = ["--config", &file.to_string_lossy()];
    let server = Server::start_with_log(&site.inside, &state, site.lab.path("log"), &words)?;
    Ok((memory, server))
}

fn shared() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let (memory, server) = on_a_small_disk(&site, 5, "")?;
    let state = memory.0.join("state");
    // Some four MiB of lines, and less than one of records.
    for seed in 1..=2 {
        let report = storm(&site, "dora", 5000, seed, &["--rate", "2500"])?;
        ensure!(figure(&report, "/summary/lost")? < 100, "{}", report["summary"]);
    }
    let stats = wait_for("the history to be held back", LIMIT, || {
        let stats = server.stats()?;
        let why = stats["events"]["history"]["failing"].as_str().unwrap_or_default().to_owned();
        Ok(why.contains("held back").then_some(stats))
    })?;
    ensure!(stats["journal"]["failing"].is_null(), "{}", stats["journal"]);
    ensure!(figure(&stats, "/events/history/held_back")? == 1, "{}", stats["events"]);
    // While it waits, for longer than it looks.
    std::thread::sleep(Duration::from_secs(3));
    let report = storm(&site, "dora", 500, 3, &["--rate", "250"])?;
    ensure!(figure(&report, "/summary/lost")? == 0, "{}", report["summary"]);
    let said = server.log();
    for (words, times) in [("held back: ", 1), ("left free for the journal", 1), ("No space left", 0)] {
        ensure!(said.matches(words).count() == times, "{times} times {words}: {said}");
    }
    let count = server.leases()?.iter().filter(|lease| lease["state"] == "bound").count();
    ensure!(count > 9000, "{count} leases");
    // What is asked of a time that it has not got to is answered with that.
    let output = history(&state, &["--address", "198.18.1.1", "--at", &now_s().to_string()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(said.contains("the history is complete until"), "{said}");
    fs::remove_file(memory.0.join("others"))?;
    wait_for("the history to go on", LIMIT, || {
        Ok((server.stats()?["events"]["history"]["failing"].is_null()).then_some(()))
    })?;
    let stats = caught_up(&server)?;
    ensure!(figure(&stats, "/events/history/gaps")? == 0, "{}", stats["events"]);
    stop(server, site.server_end())?;
    let found = lines(&state.join("history"))?;
    ensure!(found.len() == count && found.values().all(|times| *times == 1), "{} of {count}", found.len());
    Ok(())
}

fn limited() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let (memory, server) = on_a_small_disk(&site, 0, "rotate_mib = 1\nmax_mib = 2\n")?;
    let dir = memory.0.join("state/history");
    let taken = || -> Result<u64> { fs::read_dir(&dir)?.map(|entry| Ok(entry?.metadata()?.len())).sum() };
    let mut most = 0;
    for seed in 1..=3 {
        let report = storm(&site, "dora", 5000, seed, &["--rate", "2500"])?;
        ensure!(figure(&report, "/summary/lost")? < 100, "{}", report["summary"]);
        most = most.max(taken()?);
    }
    let stats = caught_up(&server)?;
    let events = &stats["events"];
    ensure!(figure(&stats, "/events/history/lines")? > 9000, "too few for a limit to be met: {events}");
    ensure!(figure(&stats, "/events/history/removed_early")? >= 1, "{events}");
    ensure!(figure(&stats, "/events/history/gaps")? == 0 && stats["events"]["history"]["failing"].is_null(), "{stats}");
    // A file is closed by the commit after the one that made it too large; without the limit they would be five MiB.
    ensure!(most.max(taken()?) < 4 << 20, "{most} bytes, {} in the end", taken()?);
    ensure!(server.log().contains("is removed before its time (keep_days)"), "{}", server.log());
    stop(server, site.server_end()).map(drop)
}

/// A program in the laboratory's folder.
fn program(site: &Direct, script: &str) -> Result<PathBuf> {
    let path = site.lab.path("hook.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn hooked() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let out = site.lab.path("events");
    let script = format!(
        "echo \"$DHCP_XDP_EVENT $DHCP_XDP_ADDRESS $DHCP_XDP_HW_ADDRESS $DHCP_XDP_EXPIRES_AT\" >> {0}\n\
         readlink /proc/self/fd/* 2>/dev/null | grep -E 'socket|bpf|ring' >> {0}.fds; exit 0",
        out.display()
    );
    let command = program(&site, &script)?;
    let sections =
        format!("[hook]\ncommand = \"{}\"\nevents = [\"bound\", \"released\"]\nrate_per_s = 500\n", command.display());
    let server = serve(&site, &sections)?;
    storm(&site, "dora", 100, 1, &["--rate", "20"])?;
    let leases = server.leases()?;
    let bound: Vec<&Value> = leases.iter().filter(|lease| lease["state"] == "bound").collect();
    let text = wait_for("the hook to be run for all", LIMIT, || {
        let text = fs::read_to_string(&out).unwrap_or_default();
        Ok((text.lines().count() >= bound.len()).then_some(text))
    })?;
    for lease in &bound {
        let field = |name: &str| lease[name].as_str().unwrap_or("?").to_owned();
        let expected = format!("bound {} {} {}", field("address"), field("hw_address"), field("expires_at"));
        ensure!(text.contains(&expected), "{expected} is not in:\n{text}");
    }
    let leaked = fs::read_to_string(out.with_extension("fds")).unwrap_or_default();
    ensure!(leaked.is_empty(), "the hook has descriptors of the server:\n{leaked}");
    // The last one may have written and not yet ended.
    wait_for("all runs to have ended", LIMIT, || {
        Ok((figure(&server.stats()?, "/events/hook/done")? >= bound.len() as u64).then_some(()))
    })?;
    stop(server, site.server_end()).map(drop)
}

fn ended() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let out = site.lab.path("events");
    let script = format!("echo \"$DHCP_XDP_EVENT $DHCP_XDP_ADDRESS $DHCP_XDP_HW_ADDRESS\" >> {}", out.display());
    let command = program(&site, &script)?;
    let sections =
        format!("[history]\n[hook]\ncommand = \"{}\"\nevents = [\"expired\"]\nrate_per_s = 500\n", command.display());
    let short = configuration(&sections).replace("lease_time_s = 3600", "lease_time_s = 4");
    let server = Server::start_configured(&site.inside, site.state(), &short)?;
    storm(&site, "dora", 100, 1, &["--rate", "10"])?;
    let count = server.leases()?.iter().filter(|lease| lease["state"] == "bound").count();
    ensure!(count > 10, "{count} leases");
    let text = wait_for("all to have ended", LIMIT, || {
        let text = fs::read_to_string(&out).unwrap_or_default();
        Ok((text.lines().count() >= count).then_some(text))
    })?;
    let line = text.lines().next().context("no line")?;
    let words: Vec<&str> = line.split(' ').collect();
    let ["expired", address, mac] = words[..] else { anyhow::bail!("a strange line: {line}") };
    caught_up(&server)?;
    std::thread::sleep(Duration::from_millis(1500));
    let found = holds(&site.state(), &["--address", address])?;
    ensure!(found.len() == 1 && found[0]["ended_by"] == "expired" && found[0]["hw_address"] == mac, "{found:?}");
    ensure!(found[0]["to"] == found[0]["expires_at"], "{found:?}");
    let nobody = history(&site.state(), &["--address", address, "--at", &now_s().to_string()])?;
    ensure!(nobody.status.code() == Some(1), "{nobody:?}");
    stop(server, site.server_end()).map(drop)
}

/// Whether there is such a process that has not ended.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

fn hanging() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let started = site.lab.path("started");
    let command = program(&site, &format!("sleep 1000 & echo $! >> {}; sleep 1000", started.display()))?;
    let sections = format!("[hook]\ncommand = \"{}\"\ntimeout_s = 1\nqueue = 10\n", command.display());
    let server = serve(&site, &sections)?;
    let report = storm(&site, "dora", 3000, 1, &["--rate", "2000"])?;
    ensure!(figure(&report, "/summary/lost")? < 60, "{}", report["summary"]);
    let stats = wait_for("the hook to be killed", LIMIT, || {
        let stats = server.stats()?;
        Ok((figure(&stats, "/events/hook/timed_out")? > 0).then_some(stats))
    })?;
    ensure!(figure(&stats, "/events/hook/dropped")? > 2000, "{}", stats["events"]);
    stop(server, site.server_end())?;
    let pids = fs::read_to_string(&started)?;
    ensure!(pids.lines().count() > 1, "{pids}");
    wait_for("what the hook started to be killed", LIMIT, || Ok((!pids.lines().any(is_running)).then_some(())))
}

fn stuck() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let disk = Ext4::mount(&site.lab.folder("image")?)?;
    let (started, file) = (site.lab.path("started"), disk.0.join("f"));
    let command = program(&site, &format!("echo $$ >> {}; echo x >> {}", started.display(), file.display()))?;
    let server = serve(&site, &format!("[hook]\ncommand = \"{}\"\ntimeout_s = 1\n", command.display()))?;
    let frozen = disk.freeze()?;
    storm(&site, "dora", 20, 1, &["--rate", "10"])?;
    let pids = || fs::read_to_string(&started).unwrap_or_default();
    wait_for("the hook to be run", LIMIT, || Ok((!pids().is_empty()).then_some(())))?;
    // Its time is over, and it was killed.
    std::thread::sleep(Duration::from_secs(2));
    ensure!(pids().lines().count() == 1 && is_running(pids().trim()), "{}", pids());
    ensure!(figure(&server.stats()?, "/events/hook/waiting")? > 0, "{}", server.stats()?["events"]);
    stop(server, site.server_end())?;
    ensure!(is_running(pids().trim()), "it could be killed: {}", pids());
    drop(frozen);
    wait_for("it to end", LIMIT, || Ok((!is_running(pids().trim())).then_some(())))
}

fn leaving() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let started = site.lab.path("started");
    let command = program(&site, &format!("sleep 1000 & echo $! >> {}", started.display()))?;
    let sections = format!("[hook]\ncommand = \"{}\"\ntimeout_s = 2\nrate_per_s = 1000\n", command.display());
    let mut server = serve(&site, &sections)?;
    let pid = server.process().pid();
    let open = || -> Result<usize> { Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count()) };
    let before = open()?;
    storm(&site, "dora", 60, 1, &["--rate", "20"])?;
    let done = wait_for("it to be run for all", LIMIT, || {
        let stats = server.stats()?;
        let done = figure(&stats, "/events/hook/done")?;
        Ok((done >= 30 && figure(&stats, "/events/hook/waiting")? == 0).then_some(done))
    })?;
    let pids = fs::read_to_string(&started)?;
    wait_for("what it left running to be killed", LIMIT, || Ok((!pids.lines().any(is_running)).then_some(())))?;
    let stats = wait_for("that to be counted", LIMIT, || {
        let stats = server.stats()?;
        Ok((figure(&stats, "/events/hook/left_running")? >= done).then_some(stats))
    })?;
    ensure!(figure(&stats, "/events/hook/timed_out")? == 0, "the program itself ends at once: {}", stats["events"]);
    // Neither descriptors nor children that have ended are left with the server.
    wait_for("the server to be as before", LIMIT, || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
        let children = tasks.map(|task| Ok(fs::read_to_string(task?.path().join("children"))?));
        let children = children.collect::<Result<String>>()?;
        Ok((open()? <= before && children.trim().is_empty()).then_some(()))
    })?;
    ensure!(server.log().matches("ended and left something running").count() == 1, "{}", server.log());
    stop(server, site.server_end()).map(drop)
}
