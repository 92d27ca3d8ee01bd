//! Tests that measure, each alone on the machine: perfdhcp, dhcp-storm, and how little an idle server does.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use xtask::{
    command,
    lab::{Veth, counters, perfdhcp, server::drop_reasons},
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
        test("perfdhcp_gets_20000_leases_a_second", rate),
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

/// Whose a loss is: what the kernel of the client's side and the server's ledger say.
fn whose(site: &Direct, stats: &Value, sent: u64) -> Result<String> {
    let udp = counters::udp(&site.outside)?;
    let interface = counters::interface(&site.outside, OUTSIDE)?;
    Ok(format!(
        "perfdhcp sent {sent}; its interface sent {} (dropped {}) and received {} (dropped {}); its side's {udp}; the server's \
         ledger {}, drops: {}",
        interface.tx_packets,
        interface.tx_dropped,
        interface.rx_packets,
        interface.rx_dropped,
        stats["ledger"],
        drop_reasons(stats)
    ))
}

fn rate() -> Result<()> {
    let site = site()?;
    let server = site.serve(&["--workers", "1"])?;
    let words = ["-l", OUTSIDE, "-r", "20000", "-p", "10", "-R", "100000"];
    let report = perfdhcp::run(&site.outside, &words, Duration::from_secs(60))?;
    let stats = stop(server, site.server_end())?;
    let whose = whose(&site, &stats, report.discover_offer.sent + report.request_ack.sent)?;
    for (name, exchange) in [("DISCOVER-OFFER", &report.discover_offer), ("REQUEST-ACK", &report.request_ack)] {
        ensure!(exchange.sent > 100_000, "{name}: only {} sent: {whose}", exchange.sent);
        ensure!(exchange.drops_percent <= 0.5, "{name}: {} % lost: {whose}", exchange.drops_percent);
        ensure!(exchange.non_unique_addresses == 0, "{name}: {} addresses twice", exchange.non_unique_addresses);
    }
    eprintln!("{:.0} four-way exchanges/s; {whose}", report.rate_per_s);
    Ok(())
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
    ensure!(bound == CLIENTS, "{bound} leases for {CLIENTS} clients: {}", whose(&site, &stats, 0)?);
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
