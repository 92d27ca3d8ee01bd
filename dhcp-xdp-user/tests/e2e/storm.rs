//! dhcp-storm on real interfaces: against this server and three others, and against what goes wrong around it.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::{
    bench::peers::Subject,
    command,
    lab::{Capture, Process, Veth, wait_for},
    workspace,
};

use crate::{
    site::{Direct, OUTSIDE, SERVER, stop},
    test,
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Longer than any run here.
const LIMIT: Duration = Duration::from_secs(60);

pub fn tests() -> Vec<Trial> {
    let peers = [Subject::Kea, Subject::Dnsmasq, Subject::Dhcpd];
    let peers = peers.map(|peer| {
        test(format!("dhcp_storm_takes_extends_and_gives_back_leases_of_{}", peer.name()), move || of_peer(peer))
    });
    let ours = vec![
        test("dhcp_storm_finds_nothing_wrong_in_any_scenario", every_scenario),
        test("dhcp_storm_plays_relay_agents_and_tags_frames", relayed_and_tagged),
        test("dhcp_storm_goes_through_packet_sockets_where_xdp_is_taken", beside_another_program),
        test("dhcp_storm_says_in_a_line_why_it_cannot_begin", cannot_begin),
        test("dhcp_storm_keeps_the_partial_result_of_a_server_that_goes_away", server_goes_away),
        test("dhcp_storm_keeps_the_partial_result_of_an_interface_that_goes_away", interface_goes_away),
        test("dhcp_storm_leaves_no_program_behind_however_it_ends", leaves_nothing_behind),
        test("dhcp_storm_sends_a_capture_again", replayed),
        test("dhcp_storm_finds_a_capacity", capacity),
    ];
    ours.into_iter().chain(peers).collect()
}

/// A run that has ended.
pub struct Ran {
    code: Option<i32>,
    said: String,
    json: Value,
}

impl Ran {
    /// Fails unless it ended with this exit code.
    fn expect(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "exit code {:?}, not {code}: {}", self.code, self.said);
        Ok(self)
    }

    pub fn figure(&self, key: &str) -> Result<f64> {
        self.json["summary"][key].as_f64().with_context(|| format!("no figure {key} in {}", self.json["summary"]))
    }

    /// Fails unless the run is whole, nothing was wrong, and nothing lost.
    pub fn clean(self) -> Result<Self> {
        let run = self.expect(0)?;
        ensure!(run.json["complete"] == true, "{}", run.json["reason"]);
        for key in ["violations", "lost"] {
            ensure!(run.figure(key)? == 0.0, "{key}: {}", run.said);
        }
        Ok(run)
    }
}

pub fn storm(site: &Direct, words: &[&str]) -> Result<Ran> {
    let json = site.lab.path("storm.json");
    let mut storm = site.outside.command(workspace::binary("dhcp-storm")?)?;
    storm.args(words).args(["--quiet", "--interface", OUTSIDE, "--json"]).arg(&json);
    let output = command::finish(&mut storm)?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let text = fs::read_to_string(&json).unwrap_or_default();
    Ok(Ran { code: output.status.code(), said, json: serde_json::from_str(&text).unwrap_or_default() })
}

/// A run that goes on beside us, and where its JSON will be.
pub fn begin(site: &Direct, words: &[&str]) -> Result<(Process, PathBuf)> {
    let json = site.lab.path("storm.json");
    let mut storm = site.outside.command(workspace::binary("dhcp-storm")?)?;
    storm.args(["run", "--interface", OUTSIDE, "--json"]).arg(&json).args(words);
    // A log of its own each time: it is looked for what the run says.
    let log = site.lab.folder(&format!("storm-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))?.join("log");
    let mut process = Process::spawn(&mut storm, log)?;
    // Its first line of progress: it sends.
    process.wait_for_output(" s ", LIMIT)?;
    Ok((process, json))
}

/// How a run ended that was begun with [`begin`].
pub fn ended(mut process: Process, json: &PathBuf) -> Result<Ran> {
    let code = process.wait(LIMIT)?.code();
    let text = fs::read_to_string(json).context("dhcp-storm's JSON")?;
    Ok(Ran { code, said: process.log(), json: serde_json::from_str(&text).unwrap_or_default() })
}

fn of_peer(peer: Subject) -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = peer.start(&site.lab, site.server_end(), 1)?;
    // dhcpd syncs each lease to the disk, dnsmasq writes them all at each change.
    let (rate, clients) = match peer {
        Subject::Dhcpd => ("10", "10"),
        _ => ("50", "50"),
    };
    let first = ["run", "--clients", "1", "--once", "--duration", "20", "--backoff-scale", "0.05", "--seed", "99"];
    storm(&site, &first)?.expect(0).with_context(|| server.last_words())?;
    let of = ["--clients", clients, "--rate", rate, "--duration", "1", "--expect-server", SERVER];
    for (number, scenario) in ["dora", "renew", "init-reboot", "release"].into_iter().enumerate() {
        // A seed each, so that they are new clients; the last goes through packet sockets.
        let seed = number.to_string();
        let socket = if scenario == "release" { "packet" } else { "xdp" };
        let words = [&["run", "--scenario", scenario, "--seed", &seed, "--socket", socket][..], &of].concat();
        let run = storm(&site, &words)?.clean().with_context(|| format!("{scenario}: {}", server.last_words()))?;
        ensure!(run.json["generator"]["socket"] == socket, "{}", run.json["generator"]);
        ensure!(run.figure("completed_per_s")? > 0.0, "{scenario}: {}", run.said);
    }
    server.terminate(LIMIT).map(drop)
}

fn every_scenario() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let names = command::output(std::process::Command::new(workspace::binary("dhcp-storm")?).arg("scenarios"))?;
    let names: Vec<&str> = names.lines().filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(names.len() == 12, "{names:?}");
    for (number, name) in names.into_iter().enumerate().filter(|(_, name)| *name != "echo") {
        for socket in ["xdp", "packet"] {
            let seed = (number * 2 + usize::from(socket == "xdp")).to_string();
            // Fewer than clients over the time that churning ones stay.
            let words =
                ["run", "--scenario", name, "--clients", "600", "--duration", "1", "--seed", &seed, "--socket", socket];
            let pace: &[&str] = if name == "power-return" { &[] } else { &["--rate", "300"] };
            let run =
                storm(&site, &[&words[..], pace].concat())?.clean().with_context(|| format!("{name}, {socket}"))?;
            let hostile = run.json["summary"]["hostile"]["garbage_sent"].as_u64();
            ensure!((hostile > Some(0)) == (name == "hostile"), "{name}: {}", run.json["summary"]["hostile"]);
            ensure!(run.figure("completed_per_s")? > 10.0, "{name}: {}", run.said);
        }
    }
    stop(server, site.server_end()).map(drop)
}

fn relayed_and_tagged() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let load =
        ["run", "--clients", "300", "--rate", "300", "--duration", "1", "--client-id", "--vendor-class", "docsis3.0"];
    let relay = ["--relay", "198.18.0.5,198.18.0.6,198.18.0.7", "--server", SERVER, "--remote-id", "{mac}/{relay}"];
    let run = storm(&site, &[&load[..], &relay, &["--scenario", "mixed", "--seed", "1"]].concat())?.clean()?;
    ensure!(run.figure("bindings_per_s")? > 200.0, "{}", run.said);
    for (seed, vlan) in ["77", "100-109", "100-109.5-6"].into_iter().enumerate() {
        let run = storm(&site, &[&load[..], &["--vlan", vlan, "--seed", &(seed + 2).to_string()]].concat())?;
        let run = run.clean().with_context(|| vlan.to_owned())?;
        ensure!(run.figure("bindings_per_s")? > 200.0, "{vlan}: {}", run.said);
    }
    stop(server, site.server_end()).map(drop)
}

fn beside_another_program() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let mut other = site.outside.command(workspace::binary("dhcp-xdp")?)?;
    let _other = Process::spawn(other.args(["load", "--interface", OUTSIDE]), site.lab.path("load.log"))?;
    let program = wait_for("the other program", LIMIT, || site.client_end().xdp_program())?;
    let load = ["run", "--clients", "100", "--rate", "100", "--duration", "1"];
    let refused = storm(&site, &[&load[..], &["--socket", "xdp"]].concat())?.expect(1)?;
    ensure!(refused.said.contains("is attached already") && refused.said.lines().count() == 1, "{}", refused.said);
    let run = storm(&site, &load)?.clean()?;
    ensure!(run.said.contains("going on with AF_PACKET"), "{}", run.said);
    ensure!(run.json["generator"]["socket"] == "packet", "{}", run.json["generator"]);
    ensure!(site.client_end().xdp_program()? == Some(program), "the other program is no longer there");
    stop(server, site.server_end()).map(drop)
}

fn cannot_begin() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let binary = workspace::binary("dhcp-storm")?;
    let fails = |words: &[&str], code: i32, expected: &str| -> Result<()> {
        let mut command = site.outside.command("setpriv")?;
        // Root without a single capability.
        let output = command::finish(command.arg("--bounding-set=-all").arg(&binary).args(words))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{words:?}: {}: {said}", output.status);
        ensure!(said.contains(expected) && said.lines().count() == 1, "{words:?}: {said}");
        Ok(())
    };
    fails(&["run", "--interface", "nowhere0"], 1, "nowhere0: no such interface")?;
    fails(&["capacity", "--interface", "nowhere0"], 1, "nowhere0: no such interface")?;
    fails(&["run", "--interface", OUTSIDE], 1, "CAP_NET_RAW is missing")?;
    fails(&["run", "--interface", OUTSIDE, "--socket", "packet"], 1, "CAP_NET_RAW is missing")?;
    fails(&["run", "--interface", OUTSIDE, "--scenario", "nonsense"], 2, "there is no scenario `nonsense`")?;
    fails(&["replay", "--interface", OUTSIDE, "/dev/null"], 1, "neither a pcap nor a pcapng file")?;
    // With rights, and nobody who answers.
    let run =
        storm(&site, &["run", "--clients", "10", "--rate", "50", "--duration", "1", "--drain", "0"])?.expect(1)?;
    ensure!(run.said.contains("is there a server?"), "{}", run.said);
    let run = storm(&site, &["run", "--scenario", "renew", "--clients", "10", "--duration", "1"])?.expect(1)?;
    ensure!(run.json["complete"] == false && run.said.contains("is there a server"), "{}", run.said);
    Ok(())
}

fn server_goes_away() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let (storm, json) =
        begin(&site, &["--clients", "2000", "--rate", "500", "--duration", "5", "--backoff-scale", "0.1"])?;
    server.kill()?;
    let run = ended(storm, &json)?.expect(1)?;
    ensure!(run.json["complete"] == false, "{}", run.said);
    let reason = run.json["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("is the server gone"), "{reason}");
    ensure!(run.figure("bindings")? > 100.0 && run.figure("violations")? == 0.0, "{}", run.said);
    ensure!(run.said.contains("PARTIAL RESULT"), "{}", run.said);
    Ok(())
}

fn interface_goes_away() -> Result<()> {
    for socket in ["xdp", "packet"] {
        let site = Direct::new(Veth::default())?;
        let _server = site.serve(&[])?;
        let words = ["--clients", "2000", "--rate", "500", "--duration", "20", "--socket", socket];
        let (storm, json) = begin(&site, &words)?;
        site.outside.ip(&format!("link delete {OUTSIDE}"))?;
        let run = ended(storm, &json)?.expect(1).with_context(|| socket.to_owned())?;
        ensure!(run.json["complete"] == false, "{socket}: {}", run.said);
        let reason = run.json["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("down or gone"), "{socket}: {reason}");
        ensure!(run.figure("bindings")? > 100.0, "{socket}: {}", run.said);
        ensure!(run.figure("elapsed_s")? < 15.0, "{socket}: it went on: {}", run.said);
    }
    Ok(())
}

fn leaves_nothing_behind() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let words = ["--clients", "2000", "--rate", "500", "--duration", "20", "--socket", "xdp"];
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let (mut storm, json) = begin(&site, &words)?;
        ensure!(site.client_end().xdp_program()?.is_some(), "no program while it runs");
        storm.signal(signal)?;
        if signal == Signal::SIGKILL {
            storm.wait(LIMIT)?;
        } else {
            let run = ended(storm, &json)?.expect(0)?;
            ensure!(run.json["complete"] == false && run.json["reason"] == "interrupted", "{}", run.said);
            ensure!(run.figure("bindings")? > 100.0, "{}", run.said);
        }
        // A killed process's descriptors are closed in a moment.
        wait_for("the program to go", Duration::from_secs(5), || {
            Ok(site.client_end().xdp_program()?.is_none().then_some(()))
        })
        .with_context(|| format!("after {signal}"))?;
    }
    stop(server, site.server_end()).map(drop)
}

fn replayed() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    // At the clients' end, and with packet sockets: what XDP takes never comes to a capture.
    let capture = Capture::start(&site.outside, OUTSIDE, site.lab.path("run.pcap"))?;
    let load = ["run", "--clients", "50", "--rate", "50", "--duration", "1", "--socket", "packet"];
    storm(&site, &load)?.clean()?;
    let file = site.lab.path("run.pcap");
    capture.stop()?;
    let mut replay = site.outside.command(workspace::binary("dhcp-storm")?)?;
    let json = site.lab.path("replay.json");
    replay.args(["replay", "--interface", OUTSIDE, "--speed", "4", "--rounds", "2", "--json"]).arg(&json).arg(file);
    let output = command::finish(&mut replay)?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    let json: Value = serde_json::from_str(&fs::read_to_string(json)?)?;
    let summary = &json["summary"];
    ensure!(summary["sent"] == 200 && summary["sent_by_message"]["discover"] == 100, "{summary}: {said}");
    ensure!(summary["lost"] == 0 && summary["offers"] == 100 && summary["bindings"] == 100, "{summary}: {said}");
    stop(server, site.server_end()).map(drop)
}

fn capacity() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    // How much that is, is not the matter here: this machine does other things meanwhile.
    let words = ["capacity", "--clients", "2000", "--trial", "0.5", "--from", "20", "--to", "80", "--max-loss", "5"];
    let run = storm(&site, &[&words[..], &["--time-limit", "20"]].concat())?.expect(0)?;
    let capacity = &run.json["capacity"];
    ensure!(capacity["capacity_per_s"].as_f64() > Some(0.0), "{capacity}");
    ensure!(capacity["trials"].as_array().is_some_and(|trials| trials.len() >= 3), "{capacity}");
    ensure!(run.figure("violations")? == 0.0, "{}", run.said);
    stop(server, site.server_end()).map(drop)
}
