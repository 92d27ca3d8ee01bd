//! `kill -9` in the middle of storms: every lease that a client was told of is there afterwards, whatever the moment.

use std::{
    collections::HashSet,
    env, fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::{
    lab::{Process, Server, Veth, raw::RawSocket},
    workspace,
};

use crate::{
    ledger::{Belief, Ledger},
    long,
    net::{Datagram, message, replies},
    site::{Direct, OUTSIDE, SERVER, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("kill_9_at_20_moments_of_a_storm_loses_no_lease_that_was_acknowledged", || rounds(20)),
        long("kill_9_at_200_moments_of_a_storm_loses_no_lease_that_was_acknowledged", || rounds(200)),
    ]
}

/// Replays a run: the moments of its kills.
const SEED: &str = "DHCP_XDP_CRASH_SEED";
/// The longest time from a storm's begin to the kill.
const LATEST: Duration = Duration::from_millis(900);
/// Clients of each of the two storms that take turns, so that leases are both taken and taken again; the pool has 130,000 addresses.
const CLIENTS: &str = "60000";
/// Clients that renew after each round.
const RENEWING: usize = 64;

/// A series of numbers from a seed (Steele, Lea and Flood 2014: SplitMix64).
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn rounds(count: u64) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(now.as_nanos() as u64);
    eprintln!("{SEED}={seed} kills at the same moments");
    let mut moments = Moments(seed);
    let site = Direct::new(Veth::default())?;
    let mut ledger = Ledger::default();
    let mut server = site.serve(&[])?;
    let (mut acks, mut caught) = (0, 0);
    for round in 0..count {
        let moment = LATEST.mul_f64(moments.next() as f64 / u64::MAX as f64);
        let failed = || format!("round {round}, killed {} ms into the storm; {SEED}={seed}", moment.as_millis());
        let added = kill_in_storm(&site, server, round, moment, &mut ledger).with_context(failed)?;
        server = site.serve(&[]).with_context(failed)?;
        ledger.expect_kept(&server.export()?).with_context(failed)?;
        renew(&site, &ledger.sample(RENEWING, moments.next())).with_context(failed)?;
        acks += added;
        caught += u64::from(added > 0);
    }
    eprintln!("{acks} ACKs to {} clients in {caught} of {count} rounds that had any before the kill", ledger.len());
    ensure!(caught * 2 > count, "only {caught} of {count} rounds had an ACK before the kill: the storms are too slow");
    stop(server, site.server_end()).map(drop)
}

/// One storm, and the server killed in it; returns how many ACKs clients got.
fn kill_in_storm(site: &Direct, server: Server, round: u64, moment: Duration, ledger: &mut Ledger) -> Result<usize> {
    let (json, book, log) = (site.lab.path("storm.json"), site.lab.path("book.jsonl"), site.lab.path("storm.log"));
    for old in [&json, &book, &log] {
        let _ = fs::remove_file(old);
    }
    let seed = (1 + round % 2).to_string();
    let mut command = site.outside.command(workspace::binary("dhcp-storm")?)?;
    command.args(["run", "--interface", OUTSIDE, "--scenario", "dora", "--clients", CLIENTS, "--seed", &seed]);
    command.args(["--rate", "max", "--window", "512", "--duration", "30", "--drain", "0"]);
    command.arg("--json").arg(&json).arg("--ledger").arg(&book);
    let mut storm = Process::spawn(&mut command, &log)?;
    // It says how it sends when it begins.
    storm.wait_for_output("AF_XDP", Duration::from_secs(20))?;
    std::thread::sleep(moment);
    server.kill()?;
    // Replies that were on their way are taken still.
    std::thread::sleep(Duration::from_millis(20));
    storm.signal(Signal::SIGINT)?;
    storm.wait(Duration::from_secs(20))?;
    let report = fs::read_to_string(&json).with_context(|| storm.last_words())?;
    let report: Value = serde_json::from_str(&report).context("dhcp-storm's JSON")?;
    ensure!(report["summary"]["violations"] == 0, "{} {}", report["violations"], report["violation_examples"]);
    ledger.add(&book).with_context(|| storm.last_words())
}

/// Each of these clients renews its lease (RFC 2131 4.3.2, RENEWING), by frames that this test makes, and gets an ACK for the
/// address that it has.
fn renew(site: &Direct, clients: &[(String, Belief)]) -> Result<()> {
    let socket = RawSocket::open(site.client_end())?;
    let mut waiting: HashSet<usize> = (0..clients.len()).collect();
    for attempt in 0..5u32 {
        for &index in &waiting {
            socket.send(&renewal(&clients[index], index as u32 + attempt * 10_000)?)?;
        }
        let end = Instant::now() + Duration::from_secs(1);
        while !waiting.is_empty()
            && let Some(frame) = socket.receive(end)?
        {
            let is_ipv4 = frame.get(12..14) == Some(&[8, 0]);
            for reply in if is_ipv4 { replies(&[frame])? } else { Vec::new() } {
                let index = (reply.message.xid() % 10_000) as usize;
                let (mac, belief) = clients.get(index).with_context(|| format!("a reply to nobody: {reply:?}"))?;
                ensure!(reply.kind() == Some(MessageType::Ack), "{mac} renews {}: {:?}", belief.address, reply.kind());
                let got = reply.message.yiaddr();
                ensure!(got == belief.address, "{mac} renews {} and gets {got}", belief.address);
                waiting.remove(&index);
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
    }
    let silent: Vec<_> = waiting.iter().map(|index| &clients[*index]).collect();
    anyhow::bail!("{} of {} renewals got no answer in five tries: {:?}", silent.len(), clients.len(), silent.first())
}

fn renewal((mac, belief): &(String, Belief), xid: u32) -> Result<Vec<u8>> {
    let bytes: Result<Vec<u8>, _> = mac.split(':').map(|part| u8::from_str_radix(part, 16)).collect();
    let mac: [u8; 6] = bytes?.try_into().ok().context("a hardware address has six bytes")?;
    let mut payload = message(mac, xid, MessageType::Request, &[DhcpOption::MaxMessageSize(1500)]);
    // `ciaddr`, and replies come to the client's address.
    payload[12..16].copy_from_slice(&belief.address.octets());
    payload[10..12].fill(0);
    let destination = SERVER.parse::<std::net::Ipv4Addr>()?.octets();
    Ok(Datagram { mac, source: belief.address.octets(), destination, ..Datagram::default() }.frame(&payload))
}
