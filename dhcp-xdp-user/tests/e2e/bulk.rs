//! Leasequery over TCP as a BNG uses it: a requestor in another namespace, clients by the thousand meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::{
    DhcpOption, OptionCode,
    relay::{RelayCode, RelayInfo},
};
use libtest_mimic::Trial;
use xtask::{
    command,
    lab::{
        self, Server, Veth,
        requestor::{BULK, DONE, LEASE_ACTIVE, LEASE_UNASSIGNED, connect_from, query},
        wait_for,
    },
    workspace,
};

use crate::{
    net::Datagram,
    reply::Reply,
    site::{Direct, INSIDE, LOAD, SERVER, figure, stop},
    storm, test,
};

const ACTIVE: u8 = 16;
const TLS: u8 = 18;
const STATUS: u8 = 17;

/// Addresses of the pool: 198.18.1.0-198.18.16.255.
const ADDRESSES: usize = 4096;
/// What a BNG wants to know.
const WANTED: (u8, &[u8]) = (55, &[1, 3, 51, 58, 59, 61, 82, 91, 152, 153, 156, 157]);

pub fn tests() -> Vec<Trial> {
    vec![
        test("a_bng_rebuilds_its_state_over_tcp_while_a_storm_runs", rebuild),
        test("dhcproto_and_tshark_decode_each_kind_of_reply_over_tcp", witnesses),
        test("a_bng_finds_its_clients_by_remote_id_relay_id_and_hardware_address", finds),
        test("what_changed_while_a_bng_was_away_is_told_also_after_a_restart_of_the_server", catches_up),
        test("leasequery_over_tcp_is_for_those_in_the_list_and_ends_with_the_server", access_and_stop),
        test("a_server_that_cannot_listen_for_leasequery_says_so_in_a_line", cannot_listen),
    ]
}

fn configuration(more: &str) -> String {
    format!(
        "[[interface]]\nname = \"{INSIDE}\"\n\
         [defaults]\nlease_time_s = 3600\nserver_id = \"{SERVER}\"\n\
         [leasequery]\nallow = [\"198.18.0.0/28\"]\n\
         [leasequery.tcp]\nlisten = [\"{SERVER}\"]\nactive = true\nactive_insecure = true\n{more}\n\
         [[subnet]]\nprefix = \"198.18.0.0/15\"\npools = [\"198.18.1.0-198.18.16.255\"]\n\
         options = {{ routers = [\"{SERVER}\"] }}\n"
    )
}

fn begin() -> Result<(Direct, Server)> {
    let site = Direct::new(Veth::default())?;
    site.client_end().add_address(&format!("{LOAD}/15"))?;
    let server = Server::start_configured(&site.inside, site.state(), &configuration(""))?;
    Ok((site, server))
}

/// A requestor, which knows nothing of the code under test.
struct Requestor {
    wire: lab::Requestor,
    /// All that was read, each message whole.
    raw: Vec<Vec<u8>>,
}

impl Requestor {
    fn connect(site: &Direct) -> Result<Self> {
        Ok(Self { wire: lab::Requestor::connect(&site.outside, SERVER.parse()?)?, raw: Vec::new() })
    }

    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.wire.send(message)
    }

    fn ask(&mut self, kind: u8, xid: u32, options: &[(u8, &[u8])]) -> Result<()> {
        self.send(&query(kind, xid, options))
    }

    /// The next reply; `None` when the connection is closed, or nothing came in time.
    fn next(&mut self) -> Result<Option<Reply>> {
        let Some(message) = self.wire.message()? else { return Ok(None) };
        let reply = Reply::read(message).with_context(|| format!("no reply: {message:02x?}"))?;
        self.raw.push(message.to_vec());
        Ok(Some(reply))
    }

    fn reply(&mut self) -> Result<Reply> {
        self.next()?.context("the connection was closed, or nothing came")
    }

    /// All replies to a bulk query.
    fn bulk(&mut self, xid: u32, options: &[(u8, &[u8])]) -> Result<Vec<Reply>> {
        self.ask(BULK, xid, options)?;
        self.until_done(xid)
    }

    fn until_done(&mut self, xid: u32) -> Result<Vec<Reply>> {
        let mut replies = Vec::new();
        loop {
            let reply = self.reply()?;
            ensure!(reply.message.xid() == xid, "{reply:?}");
            match reply.kind {
                DONE if reply.number(151).is_none() => return Ok(replies),
                LEASE_ACTIVE | LEASE_UNASSIGNED => replies.push(reply),
                _ => bail!("{reply:?}"),
            }
        }
    }

    /// Replies of an active query up to a status, and that.
    fn until_status(&mut self) -> Result<(Vec<Reply>, u32)> {
        let mut replies = Vec::new();
        loop {
            let reply = self.reply()?;
            if reply.kind == STATUS {
                return Ok((replies, reply.number(151).context("no status")?));
            }
            replies.push(reply);
        }
    }
}

/// Who has which address, as a BNG comes to know it.
type Known = BTreeMap<Ipv4Addr, Vec<u8>>;

fn learn(known: &mut Known, reply: &Reply) {
    match reply.kind {
        LEASE_ACTIVE => drop(known.insert(reply.message.ciaddr(), reply.message.chaddr().to_vec())),
        LEASE_UNASSIGNED => drop(known.remove(&reply.message.ciaddr())),
        _ => {}
    }
}

/// Who has which address, as the server lists it.
fn listed(server: &Server) -> Result<Known> {
    let mut known = Known::new();
    for lease in server.leases()?.iter().filter(|lease| lease["state"] == "bound") {
        let text = |key: &str| lease[key].as_str().context("no text");
        let hw = text("hw_address")?.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        known.insert(text("address")?.parse()?, hw);
    }
    Ok(known)
}

fn rebuild() -> Result<()> {
    let (site, server) = begin()?;
    // What the BNG had known before it lost its memory.
    let load = ["--socket", "packet", "--relay", "198.18.0.5,198.18.0.6", "--server", SERVER, "--remote-id", "{mac}"];
    let first = ["run", "--clients", "1500", "--rate", "1500", "--once", "--duration", "10", "--seed", "7"];
    storm::storm(&site, &[&first[..], &load].concat())?.clean()?;
    let (churning, json) = storm::begin(
        &site,
        &[&["--scenario", "churn", "--clients", "1500", "--rate", "400", "--duration", "5"][..], &load].concat(),
    )?;

    // Changes first, then all there is: nothing falls between the two (RFC 7724 4). Changes wait meanwhile, unread.
    let mut active = Requestor::connect(&site)?;
    active.ask(ACTIVE, 1, &[WANTED])?;
    let mut requestor = Requestor::connect(&site)?;
    let replies = requestor.bulk(2, &[WANTED])?;
    let addresses: BTreeSet<Ipv4Addr> = replies.iter().map(|reply| reply.message.ciaddr()).collect();
    ensure!(addresses.len() == ADDRESSES && replies.len() == ADDRESSES, "{} of {}", addresses.len(), replies.len());
    let mut known = Known::new();
    for reply in &replies {
        learn(&mut known, reply);
        if reply.kind == LEASE_ACTIVE {
            let left_s = reply.number(51).context("no lease time")?;
            ensure!(left_s > 3500 && left_s <= 3600 && reply.number(91).is_some(), "{reply:?}");
            ensure!(
                reply.message.opts().get(OptionCode::Router).is_some(),
                "an option of the configuration: {reply:?}"
            );
            let agent = reply.message.opts().get(OptionCode::RelayAgentInformation);
            ensure!(matches!(agent, Some(DhcpOption::RelayAgentInformation(_))), "{reply:?}");
        }
    }
    ensure!(known.len() >= 1500, "{}", known.len());

    let churned = storm::ended(churning, &json)?.clean()?;
    ensure!(churned.figure("bindings_per_s")? > 50.0);
    let mut updates = BTreeMap::<u8, u32>::new();
    active.wire.wait_at_most(Duration::from_secs(2))?;
    while let Some(reply) = active.next()? {
        *updates.entry(reply.kind).or_default() += 1;
        learn(&mut known, &reply);
    }
    for kind in [LEASE_ACTIVE, LEASE_UNASSIGNED] {
        ensure!(updates.get(&kind).is_some_and(|count| *count > 100), "{updates:?}");
    }
    let listed = listed(&server)?;
    let differ: Vec<_> = listed.iter().filter(|(address, hw)| known.get(address) != Some(hw)).take(5).collect();
    ensure!(known == listed, "the BNG knows {}, the server {}: {differ:?}", known.len(), listed.len());
    let stats = stop(server, site.server_end())?;
    ensure!(figure(&stats, "/leasequery_tcp/bindings")? > ADDRESSES as u64, "{}", stats["leasequery_tcp"]);
    Ok(())
}

/// Puts messages into a capture, each in a datagram: tshark 4.0 knows DHCPv4 over UDP alone, but all of its options.
fn to_capture(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(65535u32.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for message in messages {
        let frame = Datagram { source_port: 67, destination_port: 67, ..Datagram::default() }.frame(message);
        file.extend([0; 8]);
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend(frame);
    }
    file
}

fn witnesses() -> Result<()> {
    let (site, server) = begin()?;
    let load = ["run", "--clients", "50", "--rate", "100", "--once", "--duration", "10", "--client-id"];
    let relay = ["--socket", "packet", "--relay", "198.18.0.5", "--server", SERVER, "--remote-id", "{mac}"];
    storm::storm(&site, &[&load[..], &relay].concat())?.clean()?;
    let mut requestor = Requestor::connect(&site)?;
    let bound = requestor.bulk(1, &[WANTED])?.iter().filter(|reply| reply.kind == LEASE_ACTIVE).count();
    ensure!(bound == 50, "{bound}");
    // Two primary queries, and a time of three bytes.
    requestor.ask(BULK, 2, &[(61, b"\x01a"), (82, b"\x02\x01r")])?;
    requestor.ask(BULK, 3, &[(154, &[1, 2, 3])])?;
    requestor.ask(TLS, 4, &[])?;
    requestor.ask(ACTIVE, 5, &[WANTED, (154, &[0; 4])])?;
    let mut statuses = Vec::new();
    while statuses.len() < 4 {
        let reply = requestor.reply()?;
        statuses.extend(reply.number(151).map(|status| (reply.kind, status)));
    }
    ensure!(statuses == [(DONE, 4), (DONE, 3), (TLS, 8), (STATUS, 7)], "{statuses:?}");

    let file = site.lab.path("replies.pcap");
    fs::write(&file, to_capture(&requestor.raw))?;
    let tshark = |words: &[&str]| -> Result<Vec<String>> {
        let mut tshark = command::tool("tshark")?;
        let text = command::output(tshark.arg("-r").arg(&file).arg("-n").args(words))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let all = tshark(&["-Y", "dhcp"])?.len();
    ensure!(all == requestor.raw.len(), "{all} of {}", requestor.raw.len());
    let bad = tshark(&["-Y", "_ws.malformed || dhcp.option.end != 255 || !dhcp.option.end"])?;
    ensure!(bad.is_empty(), "{bad:?}");
    let count = |filter: &str| -> Result<usize> { Ok(tshark(&["-Y", filter])?.len()) };
    // Once of the bulk query, once of the catch-up.
    ensure!(count("dhcp.option.dhcp == 13")? == 100 && count("dhcp.option.dhcp == 11")? == ADDRESSES - 50);
    let whole = "dhcp.option.bulk_lease.base_time && dhcp.option.bulk_lease.start_time_of_state && \
                 dhcp.option.bulk_lease.dhcp_state == 2 && dhcp.option.ip_address_lease_time && dhcp.option.type == 82";
    ensure!(count(whole)? == 100, "{}", count(whole)?);
    ensure!(count("dhcp.option.bulk_lease.status_code == 4")? == 1);
    ensure!(count("dhcp.option.dhcp_server_id == 198.18.0.1")? == 5, "the first reply to each query");
    stop(server, site.server_end()).map(drop)
}

fn finds() -> Result<()> {
    let (site, server) = begin()?;
    let load = ["run", "--clients", "20", "--rate", "100", "--once", "--duration", "10", "--socket", "packet"];
    let relay = ["--relay", "198.18.0.5,198.18.0.6", "--server", SERVER, "--remote-id", "of {relay}"];
    storm::storm(&site, &[&load[..], &relay].concat())?.clean()?;
    let mut requestor = Requestor::connect(&site)?;
    let all = requestor.bulk(1, &[WANTED])?;
    let all: Vec<&Reply> = all.iter().filter(|reply| reply.kind == LEASE_ACTIVE).collect();
    ensure!(all.len() == 20, "{}", all.len());
    let remote_id = |reply: &Reply| match reply.message.opts().get(OptionCode::RelayAgentInformation) {
        Some(DhcpOption::RelayAgentInformation(info)) => info.get(RelayCode::AgentRemoteId).cloned(),
        _ => None,
    };
    let wanted = remote_id(all[3]).context("no remote identifier")?;
    let alike = all.iter().filter(|reply| remote_id(reply).as_ref() == Some(&wanted)).count();
    let RelayInfo::AgentRemoteId(id) = &wanted else { bail!("{wanted:?}") };
    let sub_option = [&[2, id.len() as u8][..], id].concat();
    let of_relay = requestor.bulk(2, &[WANTED, (82, &sub_option)])?;
    ensure!(alike == 10 && of_relay.len() == alike, "{alike} have it, {} were told", of_relay.len());
    ensure!(of_relay.iter().all(|reply| remote_id(reply).as_ref() == Some(&wanted)));
    ensure!(requestor.bulk(3, &[(82, b"\x0c\x01x")])?.is_empty(), "no relay agent of that identifier");
    let mut by_hw = query(BULK, 4, &[WANTED]);
    by_hw[1..3].copy_from_slice(&[1, 6]);
    by_hw[28..34].copy_from_slice(all[3].message.chaddr());
    requestor.send(&by_hw)?;
    let found = requestor.until_done(4)?;
    ensure!(found.len() == 1 && found[0].message.ciaddr() == all[3].message.ciaddr(), "{found:?}");
    stop(server, site.server_end()).map(drop)
}

fn catches_up() -> Result<()> {
    let (site, server) = begin()?;
    let load = ["run", "--clients", "30", "--rate", "100", "--once", "--duration", "10", "--socket", "packet"];
    let load = [&load[..], &["--relay", "198.18.0.5", "--server", SERVER]].concat();
    storm::storm(&site, &[&load[..], &["--seed", "1"]].concat())?.clean()?;
    let mut active = Requestor::connect(&site)?;
    active.ask(ACTIVE, 1, &[WANTED])?;
    storm::storm(&site, &[&load[..], &["--seed", "2"]].concat())?.clean()?;
    let mut base_s = 0;
    for _ in 0..30 {
        base_s = base_s.max(active.reply()?.number(152).context("no base-time")?);
    }
    drop(active);
    // While it is away: more clients, and a restart.
    storm::storm(&site, &[&load[..], &["--seed", "3"]].concat())?.clean()?;
    stop(server, site.server_end())?;
    let server = Server::start_configured(&site.inside, site.state(), &configuration(""))?;
    let mut active = Requestor::connect(&site)?;
    active.ask(ACTIVE, 1, &[WANTED, (154, &base_s.to_be_bytes())])?;
    let (replies, status) = active.until_status()?;
    ensure!(status == 7, "CatchUpComplete expected: {status}");
    let told: BTreeSet<Ipv4Addr> =
        replies.iter().filter(|reply| reply.kind == LEASE_ACTIVE).map(|reply| reply.message.ciaddr()).collect();
    let listed = listed(&server)?;
    ensure!(listed.len() == 90 && told.len() >= 30, "{} of {}", told.len(), listed.len());
    ensure!(told.iter().all(|address| listed.contains_key(address)));
    stop(server, site.server_end()).map(drop)
}

fn access_and_stop() -> Result<()> {
    let (site, mut server) = begin()?;
    // Another address of the same machine, that is not in the list.
    site.client_end().add_address("198.18.0.99/15")?;
    let stream =
        site.outside.enter(|| connect_from([198, 18, 0, 99].into(), SocketAddr::new(SERVER.parse()?, 67)))??;
    let refused = lab::Requestor::over(stream)?.message().map_or_else(|error| is_reset(&error), |read| read.is_none());
    ensure!(refused, "it was served");
    let mut active = Requestor::connect(&site)?;
    active.ask(ACTIVE, 1, &[])?;
    let counts = || -> Result<bool> {
        let stats = server.stats()?;
        Ok(figure(&stats, "/leasequery_tcp/active")? == 1 && figure(&stats, "/leasequery_tcp/refused_source")? == 1)
    };
    wait_for("the active query", Duration::from_secs(5), || Ok(counts()?.then_some(())))?;
    let start = Instant::now();
    let status = server.process().terminate(Duration::from_secs(10))?;
    ensure!(status.success() && start.elapsed() < Duration::from_secs(5), "{status} after {:?}", start.elapsed());
    let last = active.reply()?;
    ensure!((last.kind, last.number(151)) == (STATUS, Some(2)), "QueryTerminated expected: {last:?}");
    ensure!(active.next()?.is_none(), "the last message on that connection");
    Ok(())
}

fn is_reset(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

fn cannot_listen() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let held = site.inside.enter(|| std::net::TcpListener::bind((SERVER, 67)))??;
    let fails = |text: &str, expected: &str| -> Result<()> {
        let file = site.lab.path("dhcp-xdp.toml");
        fs::write(&file, text)?;
        let mut serve = site.inside.command(workspace::binary("dhcp-xdp")?)?;
        let state = site.lab.folder("state")?;
        let output = command::finish(serve.args(["serve", "--config"]).arg(&file).arg("--state-dir").arg(&state))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains(expected), "{}: {said}", output.status);
        ensure!(said.lines().filter(|line| line.contains("leasequery")).count() == 1, "{said}");
        ensure!(site.server_end().xdp_program()?.is_none(), "a program is left behind");
        Ok(())
    };
    fails(&configuration(""), "leasequery: cannot listen on 198.18.0.1:67: another program does")?;
    drop(held);
    let elsewhere = configuration("").replace(&format!("listen = [\"{SERVER}\"]"), "listen = [\"198.18.0.77\"]");
    fails(&elsewhere, "leasequery: cannot listen on 198.18.0.77:67: this machine has no such address (yet)")
}
