//! What a relay agent said of a client outlives its message: a renewal that goes past it, and the server's death in between.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use libtest_mimic::Trial;
use serde_json::Value;
use xtask::{
    command,
    lab::{
        Capture, End, Server,
        clients::{Client, Kind, Relay},
        raw::RawSocket,
        server::{drop_reasons, drops},
        wait_for,
    },
    workspace,
};

use crate::{
    net::{Datagram, discover, replies},
    site::{INSIDE, OUTSIDE, Relayed, SERVER, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![test("a_renewal_past_the_relay_agent_keeps_reservation_class_and_limit_of_its_circuit_over_a_kill", recall)]
}

/// The circuit that `isc-dhcp-relay` names: its interface towards clients.
const CIRCUIT: &str = Relayed::INTERFACES.0;
const RESERVED: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 77);
const LEASE_TIME_S: u32 = 40;

/// Whoever is on the circuit has the address, and the lease time of its class; there is one lease for all on it.
fn configuration() -> String {
    let gateway = Relayed::GATEWAY;
    format!(
        r#"
        [[interface]]
        name = "{INSIDE}"
        [[subnet]]
        prefix = "198.19.0.0/24"
        pools = ["198.19.0.100-198.19.0.200"]
        lease_time_s = 600
        [subnet.options]
        routers = ["{gateway}"]
        [[reservation]]
        circuit_id = "{CIRCUIT}"
        address = "{RESERVED}"
        [[class]]
        name = "circuit"
        spawn = "relay.circuit-id"
        lease_limit = 1
        lease_time_s = {LEASE_TIME_S}
        "#
    )
}

/// What `leases list` gives for this circuit.
fn on_circuit(server: &Server, circuit: &str) -> Result<Vec<Value>> {
    let mut command = Command::new(workspace::binary("dhcp-xdp")?);
    command.args(["leases", "list", "--json", "--circuit-id", circuit, "--state-dir"]).arg(server.state_dir());
    Ok(serde_json::from_str(&command::output(&mut command)?)?)
}

/// The listing has the one lease with its circuit.
fn expect_listed(server: &Server) -> Result<()> {
    let found = on_circuit(server, CIRCUIT)?;
    let [lease] = &found[..] else { anyhow::bail!("{} leases on circuit {CIRCUIT}: {found:?}", found.len()) };
    ensure!(lease["address"] == RESERVED.to_string() && lease["state"] == "bound", "{lease}");
    let sub_option: String = CIRCUIT.bytes().map(|byte| format!(":{byte:02x}")).collect();
    let sub_option = format!("01:{:02x}{sub_option}", CIRCUIT.len());
    let all = lease["relay_agent_info"].as_str().unwrap_or_default();
    ensure!(lease["circuit_id"] == CIRCUIT && all.contains(&sub_option), "{lease} without {sub_option}");
    ensure!(on_circuit(server, "another")?.is_empty(), "a lease is listed for a circuit that it is not on");
    Ok(())
}

fn recall() -> Result<()> {
    let site = Relayed::new()?;
    let serve = || Server::start_configured(&site.inside, site.lab.path("state"), &configuration());
    let server = serve()?;
    let relay = |log| Relay::start(&site.between, Relayed::INTERFACES, SERVER, true, &site.lab.path(log));
    let mut first = relay("first.log")?;
    let mut client = Client::new(Kind::Udhcpc, site.client_end(), site.lab.path("client"))?;
    let taken = client.take().context("taking")?;
    ensure!(taken == RESERVED, "{taken} is not what is reserved for the circuit");
    expect_listed(&server)?;

    server.kill()?;
    // This relay agent takes up what is only routed through it too: none is there, so that nobody else says the circuit.
    first.expect_running()?;
    drop(first);
    let server = serve()?;
    expect_listed(&server).context("after a restart")?;
    let capture = Capture::start(&site.between, Relayed::INTERFACES.1, site.lab.path("recall.pcap"))?;
    let renewed = client.renew().context("renewing")?;
    ensure!(renewed == taken, "{taken} became {renewed} by a renewal");
    let captured = capture.stop()?;
    captured.expect_well_formed(SERVER)?;
    let replies = replies(&captured.frames()?)?;
    ensure!(!replies.is_empty(), "no reply was captured");
    for reply in replies {
        ensure!(reply.kind() == Some(MessageType::Ack) && reply.destination == RESERVED, "{reply:?} past the agent");
        let time = reply.message.opts().get(OptionCode::AddressLeaseTime);
        ensure!(time == Some(&DhcpOption::AddressLeaseTime(LEASE_TIME_S)), "not the class's lease time: {reply:?}");
        ensure!(reply.message.opts().get(OptionCode::RelayAgentInformation).is_none(), "option 82 in {reply:?}");
    }
    expect_listed(&server).context("after the renewal")?;

    // Another client on the circuit.
    let mut second = relay("second.log")?;
    let socket = RawSocket::open(End::new(&site.outside, OUTSIDE))?;
    let mac = [2, 0, 0, 0, 0, 0x99];
    socket.send(&Datagram { mac, ..Datagram::default() }.frame(&discover(mac, 5)))?;
    let refused = wait_for("a client too many to be refused", Duration::from_secs(5), || {
        Ok((drops(&server.stats()?, "lease_limit") > 0).then_some(()))
    });
    refused.with_context(|| drop_reasons(&server.stats().unwrap_or_default()))?;
    second.expect_running()?;
    client.release().context("releasing")?;
    stop(server, End::new(&site.inside, INSIDE)).map(drop)
}
