//! Tests that measure, each alone on the machine: perfdhcp, dhcp-storm, and how little an idle server does.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use xtask::{
    command,
    lab::{Parameter, Veth, counters, perfdhcp, server::drop_reasons},
    workspace,
};

use crate::{
    lifecycle,
    site::{Direct, LOAD, OUTSIDE, figure, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("an_idle_server_uses_no_cpu", lifecycle::idle),
        test("perfdhcp_at_20000_a_second_loses_nothing_to_the_server", rate),
        test("perfdhcps_avalanche_of_50000_clients_is_served", avalanche),
        test("dhcp_storm_finds_no_violation", storm),
    ]
}

/// perfdhcp plays a relay agent: its interface has an address.
fn site() -> Result<Direct> {
    let site = Direct::new(Veth::default())?;
    site.client_end().add_address(&format!("{LOAD}/15"))?;
    Ok(site)
}

/// Replies that went missing, each with its owner.
struct Losses {
    /// In percent of what perfdhcp sent: not answered, or answered and not arrived at its interface.
    ours_percent: f64,
    /// All counters that say so.
    told: String,
}

/// Whose a loss is: what the kernel of the client's side counts, and what the server's ledger says.
fn losses(site: &Direct, stats: &Value) -> Result<Losses> {
    let udp = counters::udp(&site.outside)?;
    let interface = counters::interface(&site.outside, OUTSIDE)?;
    let (sent, back) = (interface.tx_packets, interface.rx_packets);
    let told = format!(
        "perfdhcp's interface sent {sent} (dropped {}) and received {back} (dropped {}); its {udp}; the server's ledger {}, drops: \
         {}; queues {}; journal {}",
        interface.tx_dropped,
        interface.rx_dropped,
        stats["ledger"],
        drop_reasons(stats),
        rings(stats),
        stats["journal"],
    );
    Ok(Losses { ours_percent: 100.0 * sent.saturating_sub(back) as f64 / sent.max(1) as f64, told })
}

/// What each queue's rings and frames came to: where a ring loss happened.
fn rings(stats: &Value) -> String {
    let interfaces = stats["interfaces"].as_array().into_iter().flatten();
    let queues = interfaces.flat_map(|interface| interface["queues"].as_array().into_iter().flatten());
    let of_queue = |queue: &Value| {
        let workers = queue["workers"].as_array().into_iter().flatten();
        let lost =
            workers.map(|worker| format!("dropped {} ring full {}", worker["rx_dropped"], worker["rx_ring_full"]));
        format!("[{}; frames {}]", lost.collect::<Vec<_>>().join(", "), queue["frames"])
    };
    queues.map(of_queue).collect()
}

/// Room for a tenth of a second of replies in perfdhcp's socket, bytes: the usual 208 KiB hold some milliseconds of them, and
/// overflow whenever its one thread does not get its CPU in time.
const ROOM: u64 = 8 << 20;

/// The ratio that is judged is perfdhcp's own. Up to three rounds, because a disk or a CPU that something else keeps busy is
/// nobody's fault; what is lost is told with its owner.
fn rate() -> Result<()> {
    let mut told = String::new();
    for _ in 0..3 {
        let site = site()?;
        let _room = Parameter::at_least(&site.lab, "net/core/rmem_default", ROOM)?;
        let server = site.serve(&[])?;
        let words = ["-l", OUTSIDE, "-r", "20000", "-p", "10", "-R", "100000"];
        let report = perfdhcp::run(&site.outside, &words, Duration::from_secs(60))?;
        let Losses { ours_percent, told: counters } = losses(&site, &stop(server, site.server_end())?)?;
        let mut lost_percent = 0.0f64;
        for (name, exchange) in [("DISCOVER-OFFER", &report.discover_offer), ("REQUEST-ACK", &report.request_ack)] {
            ensure!(exchange.non_unique_addresses == 0, "{name}: {} addresses twice", exchange.non_unique_addresses);
            lost_percent = lost_percent.max(exchange.drops_percent);
        }
        ensure!(report.discover_offer.sent > 100_000, "perfdhcp sent too little to tell: {}", report.text);
        let rate = report.rate_per_s;
        let line =
            format!("perfdhcp: {rate:.0} leases/s, {lost_percent:.2} % lost, {ours_percent:.2} % by us; {counters}");
        eprintln!("{line}");
        if lost_percent <= 0.5 {
            return Ok(());
        }
        told.push_str(&line);
        told.push('\n');
    }
    bail!("more than 0.5 % was lost in each round:\n{told}")
}

fn avalanche() -> Result<()> {
    const CLIENTS: u64 = 50_000;
    let site = site()?;
    let server = site.serve(&[])?;
    // It ends when all are served, and not before.
    let words = ["-l", OUTSIDE, "--scenario", "avalanche", "-R", "50000"];
    let report = perfdhcp::run(&site.outside, &words, Duration::from_secs(120))?;
    let stats = stop(server, site.server_end())?;
    let bound = figure(&stats, "/leases/bound")?;
    ensure!(bound == CLIENTS, "{bound} leases for {CLIENTS} clients: {}", losses(&site, &stats)?.told);
    let twice = report.discover_offer.non_unique_addresses + report.request_ack.non_unique_addresses;
    ensure!(twice == 0, "{twice} addresses twice: {}", report.text);
    Ok(())
}

fn storm() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let json = site.lab.path("storm.json");
    let mut storm = site.outside.command(workspace::binary("dhcp-storm")?)?;
    storm.args(["run", "--interface", OUTSIDE, "--scenario", "dora", "--clients", "20000", "--rate", "20000"]);
    let output = command::finish(storm.args(["--duration", "3", "--json"]).arg(&json))?;
    if !output.status.success() {
        bail!("dhcp-storm: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).context("dhcp-storm's JSON")?)?;
    let summary = &report["summary"];
    ensure!(summary["violations"] == 0, "{summary}");
    ensure!(summary["bindings_per_s"].as_f64() > Some(1000.0), "{summary}");
    stop(server, site.server_end()).map(drop)
}
