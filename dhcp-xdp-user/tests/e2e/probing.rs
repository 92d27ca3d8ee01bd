//! The ping check with the real kernel's ICMP: squatters, silence, storms, and ends in the middle.

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType};
use libtest_mimic::Trial;
use serde_json::Value;
use xtask::{
    command,
    lab::{
        Process, Server, Veth,
        raw::RawSocket,
        server::{drops, workers},
        wait_for,
    },
    workspace,
};

use crate::{
    faults::Client,
    net::{Datagram, Reply, discover, message},
    site::{Direct, INSIDE, OUTSIDE, Relayed, figure, state_of, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("an_address_that_answers_to_ping_is_quarantined_and_its_client_gets_another", squatter),
        test("an_address_at_which_nobody_is_is_offered_after_the_timeout_and_not_before", nobody),
        test("addresses_behind_a_relay_agent_are_asked_by_route", relayed),
        test("a_storm_is_served_whole_with_the_ping_check_on", storm),
        test("a_server_stops_at_once_while_probes_are_under_way", stops),
        test("without_permission_for_a_raw_socket_the_ping_check_is_an_error_at_the_start", no_permission),
    ]
}

/// Silence that a client can tell from a slow answer.
const SILENCE: Duration = Duration::from_millis(1500);
const TAKEN: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 7);

fn configuration(ping_check: &str, pool: &str) -> String {
    format!(
        "ping_check = {{ enabled = true, {ping_check} }}\n[[interface]]\nname = \"{INSIDE}\"\n\
         [[subnet]]\nprefix = \"198.18.0.0/15\"\ninterface = \"{INSIDE}\"\npools = [\"{pool}\"]\n"
    )
}

fn serve(site: &Direct, ping_check: &str) -> Result<Server> {
    let text = configuration(ping_check, "198.18.1.0-198.19.255.254");
    Server::start_configured(&site.inside, site.state(), &text)
}

/// The reply to a DISCOVER for this address, and how long it took.
fn discover_for(client: &mut Client, address: Ipv4Addr) -> Result<(Option<Reply>, Duration)> {
    client.xid += 1;
    let wanted = [DhcpOption::RequestedIpAddress(address)];
    let start = Instant::now();
    let reply = client.ask(&message(client.mac, client.xid, MessageType::Discover, &wanted), SILENCE)?;
    Ok((reply, start.elapsed()))
}

fn offered(reply: Option<Reply>) -> Result<(Reply, Ipv4Addr)> {
    let reply = reply.filter(|reply| reply.kind() == Some(MessageType::Offer)).context("no OFFER")?;
    let address = reply.message.yiaddr();
    Ok((reply, address))
}

fn squatter() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    site.client_end().add_address(&format!("{TAKEN}/15"))?;
    let server = serve(&site, "timeout_ms = 300")?;
    let mut client = Client::new(&site, 1)?;
    let (reply, _) = discover_for(&mut client, TAKEN)?;
    ensure!(reply.is_none(), "{reply:?} of an address that is in use");
    ensure!(state_of(&server.leases()?, "198.18.1.7").as_deref() == Some("declined"), "{:?}", server.leases()?);
    let (offer, address) = offered(discover_for(&mut client, TAKEN)?.0)?;
    ensure!(address != TAKEN, "{address} is offered again");
    ensure!(client.select(&offer, SILENCE)? == Some(address), "not bound");
    let stats = server.stats()?;
    ensure!(drops(&stats, "address_in_use") == 1 && stats["ping_check"]["answered"] == 1, "{}", stats["ping_check"]);
    let line = "ping check: somebody uses 198.18.1.7, which was to be offered; it is quarantined for 86400 s";
    ensure!(server.log().contains(line), "{}", server.log());
    stop(server, site.server_end())?;
    // The same after a restart, and without the squatter: it is the quarantine that counts.
    site.outside.ip(&format!("address delete {TAKEN}/15 dev {OUTSIDE}"))?;
    let server = serve(&site, "timeout_ms = 300")?;
    ensure!(state_of(&server.leases()?, "198.18.1.7").as_deref() == Some("declined"), "{:?}", server.leases()?);
    let (_, address) = offered(discover_for(&mut Client::new(&site, 2)?, TAKEN)?.0)?;
    ensure!(address != TAKEN, "{address} is offered after the restart");
    stop(server, site.server_end()).map(drop)
}

fn nobody() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = serve(&site, "timeout_ms = 600")?;
    let mut client = Client::new(&site, 1)?;
    let (reply, took) = discover_for(&mut client, TAKEN)?;
    ensure!(offered(reply)?.1 == TAKEN && took >= Duration::from_millis(600), "after {took:?}");
    let (reply, took) = discover_for(&mut client, TAKEN)?;
    let (offer, address) = offered(reply)?;
    ensure!(address == TAKEN && took < Duration::from_millis(400), "asked twice: after {took:?}");
    ensure!(client.select(&offer, SILENCE)? == Some(address), "not bound");
    let stats = server.stats()?;
    let expected = serde_json::json!({"sent": 1, "unsent": 0, "answered": 0, "unreachable": 0, "silent": 1});
    ensure!(stats["ping_check"] == expected, "{}", stats["ping_check"]);
    stop(server, site.server_end()).map(drop)
}

/// As [`Relayed`] has it: the relay agent itself uses an address of the pool, on the clients' link.
fn relayed() -> Result<()> {
    let site = Relayed::new()?;
    let taken = Ipv4Addr::new(198, 19, 0, 77);
    site.between.ip(&format!("address add {taken}/24 dev {}", Relayed::INTERFACES.0))?;
    let text = format!(
        "ping_check = {{ enabled = true, timeout_ms = 300 }}\n[[interface]]\nname = \"{INSIDE}\"\n\
         [[subnet]]\nprefix = \"198.19.0.0/24\"\npools = [\"198.19.0.70-198.19.0.90\"]\n"
    );
    let server = Server::start_configured(&site.inside, site.lab.path("state"), &text)?;
    let socket = RawSocket::open(xtask::lab::End::new(&site.between, Relayed::INTERFACES.1))?;
    let mac = [2, 0, 0, 0, 7, 1];
    let wanted = [DhcpOption::RequestedIpAddress(taken)];
    let mut payload = message(mac, 5, MessageType::Discover, &wanted);
    // giaddr
    payload[24..28].copy_from_slice(&[198, 19, 0, 1]);
    let datagram = Datagram { mac, source: [198, 18, 0, 254], destination: [198, 18, 0, 1], ..Datagram::default() };
    socket.send(&Datagram { source_port: 67, ..datagram }.frame(&payload))?;
    wait_for("the address to be quarantined", Duration::from_secs(3), || {
        Ok((state_of(&server.leases()?, "198.19.0.77").as_deref() == Some("declined")).then_some(()))
    })
    .with_context(|| format!("{:?} {}", server.stats(), server.log()))?;
    server.stop().map(drop)
}

fn storm() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = serve(&site, "timeout_ms = 200")?;
    let json = site.lab.path("storm.json");
    let mut storm = site.outside.command(workspace::binary("dhcp-storm")?)?;
    storm.args(["run", "--interface", OUTSIDE, "--scenario", "dora", "--clients", "8000", "--rate", "3000"]);
    let output = command::finish(storm.args(["--duration", "3", "--quiet", "--json"]).arg(&json))?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&fs::read_to_string(&json)?)?;
    let summary = &report["summary"];
    ensure!(summary["violations"] == 0 && summary["lost"] == 0, "{summary}");
    let stats = stop(server, site.server_end())?;
    let unprobed: u64 = workers(&stats).filter_map(|worker| worker["notices"]["offered_unprobed"].as_u64()).sum();
    let sent = figure(&stats, "/ping_check/sent")?;
    // 200 a second, in some four seconds; the others at once.
    ensure!((200..=1200).contains(&sent) && unprobed > 1000, "{sent} asked, {unprobed} offered unprobed");
    ensure!(
        figure(&stats, "/ledger/parked")? == 0 && figure(&stats, "/ledger/ring_losses")? == 0,
        "{}",
        stats["ledger"]
    );
    Ok(())
}

fn stops() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = serve(&site, "timeout_ms = 5000")?;
    let socket = RawSocket::open(site.client_end())?;
    for number in 0..50 {
        let mac = [2, 0, 0, 0, 8, number];
        socket.send(&Datagram { mac, ..Datagram::default() }.frame(&discover(mac, u32::from(number) + 1)))?;
    }
    wait_for("OFFERs to wait", Duration::from_secs(2), || {
        Ok((figure(&server.stats()?, "/ledger/parked")? == 50).then_some(()))
    })?;
    server.closed_ledger()?;
    let start = Instant::now();
    let status = server.process().terminate(Duration::from_secs(3))?;
    ensure!(status.success() && start.elapsed() < Duration::from_secs(2), "{status} after {:?}", start.elapsed());
    // Its last line has the whole account: 50 dropped, none leaked.
    let log = server.log();
    ensure!(log.contains("50 dropped") && !log.contains("DOES NOT CLOSE") && !log.contains("leaked"), "{log}");
    Ok(())
}

fn no_permission() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let file = site.lab.path("dhcp-xdp.toml");
    fs::write(&file, configuration("timeout_ms = 300", "198.18.1.0-198.18.1.9"))?;
    let mut command = site.inside.command("setpriv")?;
    command.arg("--bounding-set=-net_raw").arg(workspace::binary("dhcp-xdp")?);
    command.arg("serve").arg("--config").arg(&file).arg("--state-dir").arg(site.state());
    let mut process = Process::spawn(&mut command, site.lab.path("server.log"))?;
    let status = process.wait(Duration::from_secs(5))?;
    let log = process.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("rror")).collect();
    ensure!(status.code() == Some(1) && errors.len() == 1, "{status}: {log}");
    ensure!(
        errors[0].contains("ping check: cannot open a raw ICMP socket") && errors[0].contains("CAP_NET_RAW"),
        "{log}"
    );
    Ok(())
}
