//! Two VPNs with the same addresses behind one relay agent (RFC 6607).

use std::{
    net::{Ipv4Addr, UdpSocket},
    process::{Command, Output},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use xtask::{
    lab::{
        End, Lab, Namespace, Server, Veth,
        clients::{Client, Kind},
        raw::RawSocket,
        server::messages,
        wait_for,
    },
    workspace,
};

use crate::{
    net::Datagram,
    site::{INSIDE, OUTSIDE, SERVER, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![test("clients_of_two_vpns_have_the_same_address_and_keep_it_through_a_restart", same_address)]
}

const VPNS: [&str; 2] = ["red", "blue"];
/// The relay agent's address in both.
const GATEWAY: [u8; 4] = [10, 0, 0, 1];
/// Where a message's options begin.
const OPTIONS: usize = 240;

const CONFIGURATION: &str = "[[interface]]\nname = \"server0\"\n[defaults]\nlease_time_s = 600\n\
    [[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"red\"\npools = [\"10.0.0.10-10.0.0.19\"]\n\
    [[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"blue\"\npools = [\"10.0.0.10-10.0.0.19\"]\n";
/// The same with the VPNs the other way round: what the journal has must not depend on it.
const TURNED: &str = "[[interface]]\nname = \"server0\"\n[defaults]\nlease_time_s = 600\n\
    [[subnet]]\nprefix = \"172.16.0.0/24\"\nvrf = \"green\"\npools = [\"172.16.0.10\"]\n\
    [[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"blue\"\npools = [\"10.0.0.10-10.0.0.19\"]\n\
    [[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"red\"\npools = [\"10.0.0.10-10.0.0.19\"]\n";

/// A client of each VPN, the relay agent that both are linked to, and the server.
struct Site {
    clients: [Namespace; 2],
    between: Namespace,
    inside: Namespace,
    lab: Lab,
}

impl Site {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let clients = [lab.namespace("red")?, lab.namespace("blue")?];
        let site = Self { clients, between: lab.namespace("r")?, inside: lab.namespace("s")?, lab };
        let (server, up) = (End::new(&site.inside, INSIDE), site.up());
        Veth::default().join(server, up)?;
        server.add_address(&format!("{SERVER}/24"))?;
        up.add_address("198.18.0.254/24")?;
        for number in 0..2 {
            Veth::default().join(site.down(number), site.client(number))?;
            site.down(number).add_address("10.0.0.1/24")?;
        }
        Ok(site)
    }

    fn up(&self) -> End<'_> {
        End::new(&self.between, "up0")
    }

    fn down(&self, number: usize) -> End<'_> {
        End::new(&self.between, ["red0", "blue0"][number])
    }

    fn client(&self, number: usize) -> End<'_> {
        End::new(&self.clients[number], OUTSIDE)
    }
}

/// A relay agent that says which VPN its clients are in. It has itself taken for the server (RFC 5107), so that renewals come
/// through it too.
struct Agent {
    down: [RawSocket; 2],
    up: RawSocket,
    mac: [u8; 6],
    /// Keeps the kernel from answering that nobody listens here.
    _port: UdpSocket,
    /// Replies that came back.
    replies: AtomicU64,
    is_stopping: AtomicBool,
}

impl Agent {
    fn new(site: &Site) -> Result<Self> {
        let mac = site.up().mac()?;
        let bytes: Vec<u8> = mac.trim().split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        Ok(Self {
            down: [RawSocket::open(site.down(0))?, RawSocket::open(site.down(1))?],
            up: RawSocket::open(site.up())?,
            mac: bytes.try_into().ok().with_context(|| format!("the MAC address `{mac}`"))?,
            _port: site.between.enter(|| UdpSocket::bind("0.0.0.0:67"))?.context("cannot listen on port 67")?,
            replies: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
        })
    }

    fn run(&self) -> Result<()> {
        while !self.is_stopping.load(Ordering::Relaxed) {
            let soon = || Instant::now() + Duration::from_millis(5);
            for (down, vpn) in self.down.iter().zip(VPNS) {
                if let Some(frame) = down.receive(soon())?
                    && let Some((is_unicast, message)) = dhcp(&frame, 1)
                {
                    self.send_up(vpn, is_unicast, message)?;
                }
            }
            if let Some(frame) = self.up.receive(soon())?
                && let Some((_, message)) = dhcp(&frame, 2)
            {
                self.send_down(message)?;
            }
        }
        Ok(())
    }

    fn send_up(&self, vpn: &str, is_unicast: bool, message: &[u8]) -> Result<()> {
        let (options, end) = options(message);
        ensure!(options.iter().all(|(code, _)| *code != 82), "a client speaks as a relay agent");
        let mut sent = message[..end].to_vec();
        sent[3] += 1;
        sent[24..28].copy_from_slice(&GATEWAY);
        let vss = [&[151, 1 + vpn.len() as u8, 0], vpn.as_bytes()].concat();
        let info = [&[1, 2, b'c', vpn.as_bytes()[0], 11, 4][..], &GATEWAY, &vss, &[152, 0]].concat();
        let info = if is_unicast { [&info[..], &[10, 1, 0x80]].concat() } else { info };
        sent.extend([82, info.len() as u8]);
        sent.extend(info);
        sent.push(255);
        sent.resize(sent.len().max(300), 0);
        let server: Ipv4Addr = SERVER.parse()?;
        let to = Datagram {
            mac: self.mac,
            source: GATEWAY,
            destination: server.octets(),
            source_port: 67,
            ..Datagram::default()
        };
        self.up.send(&to.frame(&sent))
    }

    fn send_down(&self, message: &[u8]) -> Result<()> {
        let (options, end) = options(message);
        let (code, info) = options.last().context("a reply without options")?;
        ensure!(*code == 82, "option 82 comes last, and is {code}");
        // RFC 6607 6: its lack says that the server acted on the VPN's name.
        ensure!(!info.windows(2).any(|two| two == [152, 0]), "VSS-Control came back: {info:02x?}");
        let vpn = VPNS.iter().position(|vpn| {
            let vss = [&[151, 1 + vpn.len() as u8, 0], vpn.as_bytes()].concat();
            info.windows(vss.len()).any(|part| part == vss)
        });
        let vpn = vpn.with_context(|| format!("no VPN in {info:02x?}"))?;
        let mut sent = message[..end - info.len() - 2].to_vec();
        sent.push(255);
        sent.resize(sent.len().max(300), 0);
        let to =
            Datagram { mac: self.mac, source: GATEWAY, source_port: 67, destination_port: 68, ..Datagram::default() };
        self.replies.fetch_add(1, Ordering::Relaxed);
        self.down[vpn].send(&to.frame(&sent))
    }
}

/// The DHCP message of a frame, a request (1) or a reply (2), and whether it came by unicast.
fn dhcp(frame: &[u8], op: u8) -> Option<(bool, &[u8])> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let udp = ip.get(usize::from(*ip.first()? & 15) * 4..).filter(|_| ip[9] == 17)?;
    let len = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    let message = udp.get(8..len).filter(|message| message.first() == Some(&op) && message.len() > OPTIONS)?;
    (udp[2..4] == [0, 67]).then(|| (ip[16..20] != [255; 4], message))
}

/// The options of a message, and where they end.
fn options(message: &[u8]) -> (Vec<(u8, &[u8])>, usize) {
    let (mut all, mut at) = (Vec::new(), OPTIONS);
    while let Some([code, rest @ ..]) = message.get(at..)
        && *code != 255
    {
        if *code == 0 {
            at += 1;
            continue;
        }
        let Some(data) = rest.first().and_then(|len| rest.get(1..1 + usize::from(*len))) else { break };
        all.push((*code, data));
        at += 2 + data.len();
    }
    (all, at)
}

/// `dhcp-xdp leases` with these words.
fn leases(site: &Site, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(workspace::binary("dhcp-xdp")?);
    Ok(command.args(["leases", "--state-dir"]).arg(site.lab.path("state")).args(words).output()?)
}

/// The address, VPN and state of all leases.
fn listed(site: &Site) -> Result<Vec<[String; 3]>> {
    let output = leases(site, &["list", "--json"])?;
    ensure!(output.status.success(), "{output:?}");
    let all: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let text = |lease: &Value, key: &str| lease[key].as_str().unwrap_or("-").to_owned();
    let mut all: Vec<_> = all.iter().map(|lease| ["address", "vrf", "state"].map(|key| text(lease, key))).collect();
    all.sort();
    Ok(all)
}

fn expect(site: &Site, blue: &str, red: &str) -> Result<()> {
    let expected = [["10.0.0.10", "blue", blue], ["10.0.0.10", "red", red]];
    let found = listed(site)?;
    ensure!(found == expected.map(|lease| lease.map(str::to_owned)), "{found:?}");
    Ok(())
}

fn serve(site: &Site, configuration: &str) -> Result<Server> {
    Server::start_configured(&site.inside, site.lab.path("state"), configuration)
}

fn same_address() -> Result<()> {
    let site = Site::new()?;
    let agent = Agent::new(&site)?;
    std::thread::scope(|scope| {
        let running = scope.spawn(|| agent.run());
        let lived = live(&site, &agent);
        agent.is_stopping.store(true, Ordering::Relaxed);
        let ran = running.join().map_err(|_| anyhow::anyhow!("the relay agent panicked"))?;
        ran.context("the relay agent").and(lived)
    })
}

fn live(site: &Site, agent: &Agent) -> Result<()> {
    let server = serve(site, CONFIGURATION)?;
    let mut clients = Vec::new();
    for (number, vpn) in VPNS.into_iter().enumerate() {
        let mut client = Client::new(Kind::Udhcpc, site.client(number), site.lab.path(vpn))?;
        let taken = client.take().with_context(|| format!("taking in {vpn}"))?;
        ensure!(taken == Ipv4Addr::new(10, 0, 0, 10), "{taken} in {vpn}");
        clients.push(client);
    }
    expect(site, "bound", "bound")?;
    let text = String::from_utf8(leases(site, &["list"])?.stdout)?;
    ensure!(text.contains("10.0.0.10%red") && text.contains("10.0.0.10%blue"), "{text}");

    let acks = messages(&server.stats()?, "ack");
    for client in &mut clients {
        ensure!(client.renew().context("renewing")? == Ipv4Addr::new(10, 0, 0, 10));
    }
    ensure!(messages(&server.stats()?, "ack") >= acks + 2, "renewals without ACKs of ours");

    // By the operator: which of the two he must say.
    for what in ["show", "release"] {
        let output = leases(site, &[what, "10.0.0.10"])?;
        let why = String::from_utf8_lossy(&output.stderr);
        let names = "10.0.0.10 is in pools of several VPNs: say which, of blue, red";
        ensure!(output.status.code() == Some(2) && why.contains(names), "{what}: {output:?}");
    }
    let output = leases(site, &["show", "10.0.0.10", "--vrf", "green"])?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    let output = leases(site, &["release", "10.0.0.10", "--vrf", "red"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains("10.0.0.10%red is released"), "{output:?}");
    expect(site, "bound", "released")?;

    // From the journal of a server that does not run.
    stop(server, End::new(&site.inside, INSIDE))?;
    expect(site, "bound", "released").context("without a server")?;
    let output = leases(site, &["show", "10.0.0.10"])?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && why.contains("--vrf, of blue, red"), "{output:?}");
    let output = leases(site, &["show", "10.0.0.10", "--vrf", "blue", "--json"])?;
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(shown["vrf"] == "blue" && shown["state"] == "bound", "{shown}");

    // Both records are there, and in their VPNs although the configuration has these in another order now.
    let server = serve(site, TURNED)?;
    ensure!(server.log().contains("1 of 21 addresses bound"), "{}", server.log());
    expect(site, "bound", "released").context("after a restart")?;
    let replies = agent.replies.load(Ordering::Relaxed);
    ensure!(clients[1].renew()? == Ipv4Addr::new(10, 0, 0, 10));
    wait_for("the relay agent", Duration::from_secs(1), || {
        Ok((agent.replies.load(Ordering::Relaxed) > replies).then_some(()))
    })?;
    clients[1].release().context("releasing in blue")?;
    wait_for("the release", Duration::from_secs(5), || Ok(expect(site, "released", "released").ok()))?;
    stop(server, End::new(&site.inside, INSIDE))?;

    // With another number, a VPN would be without its leases.
    let renumbered = format!("{CONFIGURATION}[[vrf]]\nname = \"red\"\nnumber = 9\n");
    let refused = serve(site, &renumbered).err().context("it started with another number")?;
    let why = format!("{refused:#}");
    ensure!(why.contains("the leases of VPN `red` have number") && why.contains("the configuration says 9"), "{why}");
    serve(site, &renumbered.replace("red", "violet")).map(drop)
}
