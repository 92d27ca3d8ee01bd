//! The clients that the world runs, directly and through a relay agent: take, renew, release, retake.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use libtest_mimic::Trial;
use xtask::lab::{
    Capture, End, Lab, Server, Veth,
    capture::Captured,
    clients::{Client, Kind, Relay},
    server::{drop_reasons, messages},
    wait_for,
};

use crate::{
    net::replies,
    site::{Direct, INSIDE, OUTSIDE, Relayed, SERVER, state_of, stop},
    test,
};

/// dhclient only renews when half of this is over.
const LEASE_TIME_S: &str = "12";

pub fn tests() -> Vec<Trial> {
    let of = |kind: Kind| {
        let name = kind.name();
        [
            test(format!("{name}_takes_renews_releases_and_retakes_a_lease"), move || direct(kind)),
            test(format!("{name}_does_so_through_a_relay_agent"), move || relayed(kind, false)),
        ]
    };
    let more = [
        test("option_82_comes_back_through_the_relay_agent", || relayed(Kind::Udhcpc, true)),
        test("a_client_identifier_goes_before_the_hardware_address", identifier),
    ];
    Kind::ALL.into_iter().flat_map(of).chain(more).collect()
}

/// The lease of an address is in this state before long: a RELEASE has no reply to wait for.
fn expect_state(server: &Server, address: Ipv4Addr, expected: &str) -> Result<()> {
    let address = address.to_string();
    let mut last = None;
    let found = wait_for("a lease to change its state", Duration::from_secs(3), || {
        last = state_of(&server.leases()?, &address);
        Ok((last.as_deref() == Some(expected)).then_some(()))
    });
    found.with_context(|| {
        format!("{address} is {last:?}, not {expected}: {}", drop_reasons(&server.stats().unwrap_or_default()))
    })
}

/// The whole life of a lease.
fn live(kind: Kind, server: &Server, end: End<'_>, lab: &Lab) -> Result<Ipv4Addr> {
    let acks = || Ok::<u64, anyhow::Error>(messages(&server.stats()?, "ack"));
    let mut client = Client::new(kind, end, lab.path("client"))?;
    let taken = client.take().context("taking")?;
    expect_state(server, taken, "bound").context("after it was taken")?;

    let before = acks()?;
    let renewed = client.renew().context("renewing")?;
    ensure!(renewed == taken, "{taken} became {renewed} by a renewal");
    ensure!(acks()? > before, "it renewed without an ACK of ours");
    expect_state(server, taken, "bound").context("after it was renewed")?;

    client.release().context("releasing")?;
    expect_state(server, taken, "released").context("after it was released")?;

    let retaken = client.take().context("retaking")?;
    ensure!(retaken == taken, "the client's old address was {taken}, and it got {retaken}");
    expect_state(server, taken, "bound").context("after it was retaken")?;
    client.release().context("releasing again")?;
    expect_state(server, taken, "released").context("after it was released again")?;
    Ok(taken)
}

/// Every reply that was seen is whole, from the server, and for the address; tshark finds no fault.
fn judge(captured: &Captured, address: Ipv4Addr) -> Result<()> {
    captured.expect_well_formed(SERVER)?;
    let replies = replies(&captured.frames()?)?;
    ensure!(!replies.is_empty(), "no reply was captured");
    for reply in &replies {
        ensure!(reply.server_id()?.to_string() == SERVER, "server identifier of {reply:?}");
        ensure!(reply.source.to_string() == SERVER, "source address of {reply:?}");
        ensure!(reply.message.yiaddr() == address, "{:?} for {}", reply.kind(), reply.message.yiaddr());
    }
    let acks = replies.iter().filter(|reply| reply.kind() == Some(MessageType::Ack)).count();
    ensure!(acks >= 3, "{acks} ACKs for a lease that was taken, renewed and retaken");
    Ok(())
}

fn direct(kind: Kind) -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&["--lease-time", LEASE_TIME_S])?;
    // On the client's side: what the server sends through AF_XDP passes no tap on its own interface.
    let capture = Capture::start(&site.outside, OUTSIDE, site.lab.path("direct.pcap"))?;
    let address = live(kind, &server, site.client_end(), &site.lab)?;
    judge(&capture.stop()?, address)?;
    stop(server, site.server_end()).map(drop)
}

fn relayed(kind: Kind, agent_options: bool) -> Result<()> {
    let site = Relayed::new()?;
    let server = site.serve(&["--lease-time", LEASE_TIME_S])?;
    let log = site.lab.path("relay.log");
    let mut relay = Relay::start(&site.between, Relayed::INTERFACES, SERVER, agent_options, &log)?;
    let capture = Capture::start(&site.between, Relayed::INTERFACES.1, site.lab.path("relayed.pcap"))?;
    let address = live(kind, &server, site.client_end(), &site.lab)?;
    relay.expect_running()?;
    let captured = capture.stop()?;
    judge(&captured, address)?;
    let gateway: Ipv4Addr = Relayed::GATEWAY.parse()?;
    for reply in replies(&captured.frames()?)? {
        let through_relay = reply.message.giaddr() == gateway;
        // Renewals go past the relay agent, to the client's own address.
        let expected = if through_relay { gateway } else { address };
        ensure!(reply.destination == expected, "{:?} sent to {}", reply.kind(), reply.destination);
        let agent = matches!(
            reply.message.opts().get(OptionCode::RelayAgentInformation),
            Some(DhcpOption::RelayAgentInformation(_))
        );
        ensure!(agent == (agent_options && through_relay), "option 82 in {:?}: {agent}", reply.kind());
    }
    stop(server, End::new(&site.inside, INSIDE)).map(drop)
}

fn identifier() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let end = site.client_end();
    let take = |name: &str, mac: &str, identifier: &str| {
        end.namespace.ip(&format!("address flush dev {}", end.interface))?;
        end.set_mac(mac)?;
        Client::new(Kind::Udhcpc, end, site.lab.path(name))?.with(&["-C", "-x", identifier]).take()
    };
    let first = take("first", "02:00:00:00:01:01", "0x3d:00aa01")?;
    let other_mac = take("other-mac", "02:00:00:00:01:02", "0x3d:00aa01")?;
    let other_identifier = take("other-identifier", "02:00:00:00:01:01", "0x3d:00aa02")?;
    ensure!(first == other_mac, "one identifier, two addresses: {first} and {other_mac}");
    ensure!(first != other_identifier, "two identifiers, one address: {first}");
    stop(server, site.server_end()).map(drop)
}
