//! What others do to a server: its program is taken off, its interface is renamed or shrunk, its rights and limits are not
//! what it needs, and its control socket is written to by who knows whom.

use std::{
    io::Write as _,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use xtask::{
    command,
    lab::{
        End, Process, Server, Veth,
        raw::RawSocket,
        server::{drops, messages},
        wait_for,
    },
    workspace,
};

use crate::{
    net::{Datagram, discover},
    site::{Direct, INSIDE, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("a_server_whose_program_is_taken_off_says_so_and_ends", taken_off),
        test("an_interface_that_is_renamed_is_served_on_and_another_of_its_name_is_not", renamed),
        test("a_changed_mtu_is_followed_and_one_too_small_for_replies_is_told", shrunk),
        test("each_right_or_limit_that_is_missing_is_named", unprivileged),
        test("connections_to_the_control_socket_that_say_nothing_stop_nobody", silent_connections),
    ]
}

/// Longer than housekeeping takes to look around.
const LOOK_AROUND: Duration = Duration::from_secs(10);

fn taken_off() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = site.serve(&[])?;
    let program = site.server_end().xdp_program()?.context("no program is attached")?;
    let links: Value =
        serde_json::from_str(&command::output(command::tool("bpftool")?.args(["--json", "link", "show"]))?)?;
    let link = links.as_array().into_iter().flatten().find(|link| link["type"] == "xdp" && link["prog_id"] == program);
    let id = link.with_context(|| format!("no link of program {program} in {links}"))?["id"].to_string();
    command::output(command::tool("bpftool")?.args(["link", "detach", "id", &id]))?;
    let status = server.process().wait(LOOK_AROUND).context("it goes on although nothing reaches it")?;
    ensure!(status.code() == Some(1), "{status}");
    let log = server.log();
    ensure!(log.contains("somebody took the XDP program off"), "{log}");
    ensure!(!log.contains("DOES NOT CLOSE") && !log.contains("leaked"), "{log}");
    Ok(())
}

/// Sends a DISCOVER of a new client and waits for this figure to be this much.
fn ask(site: &Direct, server: &Server, client: u8, figure: impl Fn(&Value) -> bool) -> Result<()> {
    let frame = Datagram::default().frame(&discover([2, 0, 0, 0, 1, client], u32::from(client)));
    RawSocket::open(site.client_end())?.send(&frame)?;
    wait_for("the DISCOVER to be counted", Duration::from_secs(5), || Ok(figure(&server.stats()?).then_some(())))
        .with_context(|| format!("client {client}; {}", server.log()))
}

fn renamed() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    ask(&site, &server, 1, |stats| messages(stats, "offer") == 1)?;
    site.inside.ip(&format!("link set dev {INSIDE} name other0"))?;
    site.inside.ip("address del 198.18.0.1/15 dev other0")?;
    site.inside.ip("address add 198.18.0.3/15 dev other0")?;
    let followed = || Ok((server.stats()?["interfaces"][0]["addresses"] == json!(["198.18.0.3"])).then_some(()));
    wait_for("the new address", LOOK_AROUND, followed).with_context(|| server.log())?;
    ask(&site, &server, 2, |stats| messages(stats, "offer") == 2)?;
    site.inside.ip(&format!("link add {INSIDE} type veth peer name unused0"))?;
    site.inside.ip(&format!("address add 203.0.113.1/24 dev {INSIDE}"))?;
    thread::sleep(Duration::from_secs(3));
    ensure!(followed()?.is_some(), "it follows another interface of that name: {}", server.log());
    ask(&site, &server, 3, |stats| messages(stats, "offer") == 3)?;
    stop(server, End::new(&site.inside, "other0")).map(drop)
}

fn shrunk() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = site.serve(&[])?;
    site.inside.ip(&format!("link set dev {INSIDE} mtu 500"))?;
    server.process().wait_for_output("its MTU of 500 is below the 576 bytes of a reply", LOOK_AROUND)?;
    ask(&site, &server, 1, |stats| drops(stats, "reply_too_long") == 1)?;
    site.inside.ip(&format!("link set dev {INSIDE} mtu 1500"))?;
    server.process().wait_for_output("its MTU is now 1500", LOOK_AROUND)?;
    ask(&site, &server, 2, |stats| messages(stats, "offer") == 1)?;
    stop(server, site.server_end()).map(drop)
}

fn unprivileged() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    // The capabilities that root's own process goes without, or a limit; and what must be said.
    let cases = [
        (Some("-net_admin,-sys_admin"), None, "CAP_NET_ADMIN is missing"),
        (Some("-net_raw"), None, "CAP_NET_RAW is missing"),
        (Some("-bpf,-sys_admin"), None, "CAP_BPF is missing"),
        (Some("-perfmon,-sys_admin"), None, "CAP_PERFMON is missing"),
        (Some("-ipc_lock,-sys_resource"), Some("--memlock=65536"), "LimitMEMLOCK=infinity"),
        (None, Some("--nofile=8"), "LimitNOFILE=65536"),
        (None, Some("--nofile=14"), "LimitNOFILE=65536"),
    ];
    for (i, (without, limit, expected)) in cases.into_iter().enumerate() {
        let words = format!("{without:?} {limit:?}");
        let mut command = site.inside.command("prlimit")?;
        command.args(limit).arg("setpriv");
        if let Some(without) = without {
            command.args([format!("--inh-caps={without}"), format!("--bounding-set={without}")]);
        }
        command.arg(workspace::binary("dhcp-xdp")?).args(["serve", "--interface", INSIDE]);
        command.args(["--subnet", "198.18.0.0/15", "--pool", "198.18.1.0-198.18.1.255", "--state-dir"]);
        command.arg(site.lab.path(&format!("state-{i}")));
        let mut server = Process::spawn(&mut command, site.lab.path(&format!("log-{i}")))?;
        let status = server.wait(Duration::from_secs(20)).with_context(|| format!("{words}: it serves"))?;
        let log = server.log();
        let last = log.lines().last().unwrap_or_default();
        ensure!(status.code() == Some(1), "{words}: {status}: {log}");
        ensure!(last.starts_with("dhcp-xdp: ") && last.contains(expected), "{words}: {last}");
        ensure!(site.server_end().xdp_program()?.is_none(), "{words}: the program is still attached");
    }
    Ok(())
}

fn silent_connections() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = site.serve(&[])?;
    let path = server.state_dir().join("control.sock");
    let mut connections = Vec::new();
    for i in 0..500 {
        let mut stream = UnixStream::connect(&path).with_context(|| format!("connection {i}"))?;
        stream.write_all(if i % 2 == 0 { b"GET /v1/leases HTTP/1.1\r\n" } else { &[0xff; 100] })?;
        connections.push(stream);
    }
    ask(&site, &server, 1, |stats| messages(stats, "offer") == 1)?;
    // They are open, and a stop waits for none of them.
    server.closed_ledger()?;
    let start = Instant::now();
    let status = server.process().terminate(Duration::from_secs(10))?;
    ensure!(status.success(), "{status}; {}", server.log());
    ensure!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    Ok(())
}
