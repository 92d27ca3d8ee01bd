//! A chain of two relay agents between clients and the server: hops counted, giaddr and option 82 the first one's.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use libtest_mimic::Trial;
use xtask::lab::{
    Capture, End, Lab, Namespace, Server, Veth,
    clients::{Client, Kind, Relay},
};

use crate::{
    net::replies,
    site::{INSIDE, OUTSIDE, SERVER, stop},
    test,
};

/// The first relay agent's address towards clients: giaddr, and their router.
const GATEWAY: &str = "198.19.0.1";
/// The second one's address towards the first.
const SECOND: &str = "198.18.1.1";

pub fn tests() -> Vec<Trial> {
    vec![
        test("a_client_behind_a_chain_of_two_relay_agents_takes_renews_and_releases", || chain(false)),
        test("option_82_of_the_first_of_two_relay_agents_comes_back_to_it", || chain(true)),
    ]
}

/// The server on 198.18.0.0/24, the second relay agent, 198.18.1.0/24, the first one, clients on 198.19.0.0/24.
struct Chain {
    // Dropped in this order: the folder goes last.
    inside: Namespace,
    second: Namespace,
    first: Namespace,
    outside: Namespace,
    lab: Lab,
}

impl Chain {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let site = Self {
            inside: lab.namespace("s")?,
            second: lab.namespace("q")?,
            first: lab.namespace("r")?,
            outside: lab.namespace("c")?,
            lab,
        };
        let server = End::new(&site.inside, INSIDE);
        let (up_2, down_2) = (End::new(&site.second, "up0"), End::new(&site.second, "down0"));
        let (up_1, down_1) = (End::new(&site.first, "up0"), End::new(&site.first, "down0"));
        Veth::default().join(server, up_2)?;
        Veth::default().join(down_2, up_1)?;
        Veth::default().join(down_1, End::new(&site.outside, OUTSIDE))?;
        server.add_address(&format!("{SERVER}/24"))?;
        up_2.add_address("198.18.0.254/24")?;
        down_2.add_address(&format!("{SECOND}/24"))?;
        up_1.add_address("198.18.1.2/24")?;
        down_1.add_address(&format!("{GATEWAY}/24"))?;
        // Replies go to giaddr, and renewals to the server, through both as through any router.
        site.second.ip("route add 198.19.0.0/24 via 198.18.1.2")?;
        site.first.ip(&format!("route add 198.18.0.0/24 via {SECOND}"))?;
        Ok(site)
    }

    fn serve(&self) -> Result<Server> {
        let words = ["--interface", INSIDE, "--subnet", "198.19.0.0/24", "--router", GATEWAY, "--lease-time", "12"];
        Server::start(&self.inside, self.lab.path("state"), &words)
    }
}

/// `hops` of a request that was relayed for this relay agent; nothing of other frames. No tags and no IPv4 options here.
fn relayed_hops(frame: &[u8], giaddr: Ipv4Addr) -> Option<u8> {
    let message = frame.get(14 + 20 + 8..)?;
    let is_request = frame.get(14 + 20 + 2..14 + 20 + 4) == Some(&[0, 67]) && message.first() == Some(&1);
    (is_request && message.get(24..28) == Some(&giaddr.octets())).then(|| message[3])
}

fn chain(agent_options: bool) -> Result<()> {
    let site = Chain::new()?;
    let server = site.serve()?;
    let interfaces = ("down0", "up0");
    let (log_2, log_1) = (site.lab.path("second.log"), site.lab.path("first.log"));
    let mut second = Relay::start(&site.second, interfaces, SERVER, false, &log_2)?;
    let mut first = Relay::start(&site.first, interfaces, SECOND, agent_options, &log_1)?;
    let capture = Capture::start(&site.second, "up0", site.lab.path("chain.pcap"))?;

    let mut client = Client::new(Kind::Udhcpc, End::new(&site.outside, OUTSIDE), site.lab.path("client"))?;
    let taken = client.take().context("taking")?;
    let renewed = client.renew().context("renewing")?;
    ensure!(renewed == taken, "{taken} became {renewed} by a renewal");
    client.release().context("releasing")?;
    first.expect_running()?;
    second.expect_running()?;

    let captured = capture.stop()?;
    captured.expect_well_formed(SERVER)?;
    let gateway: Ipv4Addr = GATEWAY.parse()?;
    let frames = captured.frames()?;
    let hops: Vec<u8> = frames.iter().filter_map(|frame| relayed_hops(frame, gateway)).collect();
    ensure!(!hops.is_empty() && hops.iter().all(|hops| *hops == 2), "requests passed so many relay agents: {hops:?}");
    let replies = replies(&frames)?;
    let through: Vec<_> = replies.iter().filter(|reply| reply.message.giaddr() == gateway).collect();
    for kind in [MessageType::Offer, MessageType::Ack] {
        ensure!(through.iter().any(|reply| reply.kind() == Some(kind)), "no {kind:?} went to {gateway}: {replies:?}");
    }
    for reply in through {
        ensure!(reply.destination == gateway, "{:?} sent to {}", reply.kind(), reply.destination);
        let agent = reply.message.opts().get(OptionCode::RelayAgentInformation);
        let agent = matches!(agent, Some(DhcpOption::RelayAgentInformation(_)));
        ensure!(agent == agent_options, "option 82 in {:?}: {agent}", reply.kind());
    }
    stop(server, End::new(&site.inside, INSIDE)).map(drop)
}
