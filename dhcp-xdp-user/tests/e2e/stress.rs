//! What goes wrong around a server: a disk that is full for longer than a lease, a stop in the middle of a storm, an address
//! that comes late; and the ways to run it that other tests do not take.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::{
    lab::{
        Capture, Process, Server, Veth,
        clients::{Client, Kind},
        raw::RawSocket,
        server::workers,
        wait_for,
    },
    workspace,
};

use crate::{
    disks::Memory,
    net::{Datagram, discover, message, replies},
    site::{Direct, INSIDE, OUTSIDE, SERVER, figure, state_of, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("a_disk_that_is_full_for_longer_than_a_lease_doubles_no_address", full_disk),
        test("a_stop_in_the_middle_of_a_storm_accounts_for_every_frame_and_keeps_every_lease", stop_in_storm),
        test("an_interface_that_gets_its_address_later_is_served", late_address),
        test("the_binary_alone_is_enough", binary_alone),
        test("busy_polling_serves", busy_poll),
        test("workers_are_pinned_to_the_cpus_that_statistics_name", pinned),
    ]
}

fn take(site: &Direct, name: &str) -> Result<Ipv4Addr> {
    let end = site.client_end();
    end.namespace.ip(&format!("address flush dev {}", end.interface))?;
    Client::new(Kind::Udhcpc, end, site.lab.path(name))?.take()
}

/// The REQUEST of a client that boots with an address (INIT-REBOOT).
fn reboot(mac: [u8; 6], xid: u32, address: Ipv4Addr) -> Vec<u8> {
    message(mac, xid, MessageType::Request, &[DhcpOption::RequestedIpAddress(address)])
}

fn full_disk() -> Result<()> {
    let (first, second) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let only: Ipv4Addr = "198.18.0.77".parse()?;
    let site = Direct::new(Veth::default())?;
    let disk = Memory::mount(site.lab.path("small"), "96k")?;
    let pool = format!("{only}-{only}");
    let words = ["--interface", INSIDE, "--subnet", "198.18.0.0/15", "--pool", &pool, "--lease-time", "6"];
    let server = Server::start(&site.inside, disk.0.join("state"), &words)?;
    let socket = RawSocket::open(site.client_end())?;
    let capture = Capture::start(&site.outside, OUTSIDE, site.lab.path("all.pcap"))?;
    let send = |mac, payload: Vec<u8>| socket.send(&Datagram { mac, ..Datagram::default() }.frame(&payload));
    let bound_to = |mac: [u8; 6]| -> Result<bool> {
        let hw: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let leases = server.leases()?;
        Ok(leases.iter().any(|lease| lease["hw_address"] == hw.join(":") && lease["state"] == "bound"))
    };
    send(first, discover(first, 1))?;
    std::thread::sleep(Duration::from_millis(300));
    send(first, select(first, 2, only)?)?;
    wait_for("the first lease", Duration::from_secs(5), || Ok(bound_to(first)?.then_some(())))?;

    fill(&disk.0.join("fill"))?;
    // The first one renews into the full disk (what the segment's last page has room for still gets there).
    let failing = || Ok::<_, anyhow::Error>(server.stats()?["journal"]["failing"].as_str().map(str::to_owned));
    let mut renewal = 100;
    wait_for("the journal to fail", Duration::from_secs(15), || {
        renewal += 1;
        send(first, reboot(first, renewal, only))?;
        std::thread::sleep(Duration::from_millis(30));
        failing()
    })
    .context("the disk is not full")?;
    // Its lease ends, and the second one asks.
    std::thread::sleep(Duration::from_secs(7));
    send(second, discover(second, 4))?;
    std::thread::sleep(Duration::from_millis(300));
    send(second, select(second, 5, only)?)?;
    std::thread::sleep(Duration::from_millis(500));
    fs::remove_file(disk.0.join("fill"))?;
    wait_for("the journal to recover", Duration::from_secs(10), || Ok(failing()?.is_none().then_some(())))?;
    std::thread::sleep(Duration::from_millis(500));

    let captured = capture.stop()?;
    let acks: Vec<u32> = replies(&captured.frames()?)?
        .iter()
        .filter(|reply| reply.kind() == Some(MessageType::Ack))
        .map(|reply| reply.message.xid())
        .collect();
    let in_time: Vec<u32> = std::iter::once(2).chain(101..renewal).chain([5]).collect();
    ensure!(acks == in_time, "ACKs for transactions {acks:?}: {renewal} granted a lease that was over when it left");
    ensure!(bound_to(second)?, "the second client's lease is not there");
    stop(server, site.server_end()).map(drop)
}

fn select(mac: [u8; 6], xid: u32, address: Ipv4Addr) -> Result<Vec<u8>> {
    let chosen = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(SERVER.parse()?)];
    Ok(message(mac, xid, MessageType::Request, &chosen))
}

/// Takes all room that there is.
fn fill(path: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    while file.write_all(&[0; 256]).is_ok() {}
    Ok(())
}

fn stop_in_storm() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = site.serve(&[])?;
    let json = site.lab.path("storm.json");
    let mut storm = site.outside.command(workspace::binary("dhcp-storm")?)?;
    storm.args([
        "run",
        "--interface",
        OUTSIDE,
        "--scenario",
        "dora",
        "--clients",
        "60000",
        "--rate",
        "20000",
        "--once",
    ]);
    storm.args(["--duration", "3", "--json"]).arg(&json);
    let mut storm = Process::spawn(&mut storm, site.lab.path("storm.log"))?;
    let busy = || Ok((figure(&server.stats()?, "/leases/bound")? > 10_000).then_some(()));
    wait_for("the storm to be under way", Duration::from_secs(10), busy)?;
    server.process().signal(Signal::SIGTERM)?;
    let status = server.process().wait(Duration::from_secs(20))?;
    ensure!(status.code() == Some(0), "{status}: {}", server.log());
    for word in ["DOES NOT CLOSE", "leaked", "panicked"] {
        ensure!(!server.log().contains(word), "{word}: {}", server.log());
    }
    // It lost messages when the server went, which is no fault; what matters is what it holds.
    let _ = storm.wait(Duration::from_secs(20))?;
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).context("dhcp-storm's JSON")?)?;
    ensure!(report["summary"]["violations"] == 0, "{}", report["summary"]);
    let acked = figure(&report, "/summary/clients_bound")?;
    let server = site.serve(&[])?;
    let bound = figure(&server.stats()?, "/leases/bound")?;
    ensure!(acked > 10_000 && bound >= acked, "{acked} clients had an ACK, {bound} leases are left");
    stop(server, site.server_end()).map(drop)
}

fn late_address() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    site.inside.ip(&format!("address flush dev {INSIDE}"))?;
    let server = site.serve(&[])?;
    let addresses = || Ok::<Value, anyhow::Error>(server.stats()?["interfaces"][0]["addresses"].clone());
    ensure!(addresses()? == serde_json::json!([]), "{}", addresses()?);
    site.server_end().add_address(&format!("{SERVER}/15"))?;
    let known = || Ok((addresses()? == serde_json::json!([SERVER])).then_some(()));
    wait_for("the server to know its address", Duration::from_secs(5), known)?;
    let address = take(&site, "client")?;
    // Unicast to the new address is ours too: a release is.
    ensure!(state_of(&server.leases()?, &address.to_string()).as_deref() == Some("bound"), "{address} is not bound");
    stop(server, site.server_end()).map(drop)
}

fn binary_alone() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let folder = site.lab.folder("alone")?;
    let binary = folder.join("dhcp-xdp");
    fs::copy(workspace::binary("dhcp-xdp")?, &binary)?;
    let mut command = site.inside.command(&binary)?;
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(&folder);
    command.args(["serve", "--interface", INSIDE, "--subnet", "198.18.0.0/15", "--state-dir", "state"]);
    let mut process = Process::spawn(&mut command, site.lab.path("alone.log"))?;
    process.wait_for_output("serving", Duration::from_secs(10))?;
    take(&site, "client").with_context(|| process.log())?;
    let status = process.terminate(Duration::from_secs(20))?;
    ensure!(status.success(), "{status}: {}", process.log());
    Ok(())
}

fn busy_poll() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&["--busy-poll"])?;
    take(&site, "client")?;
    stop(server, site.server_end()).map(drop)
}

fn pinned() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = site.serve(&["--workers", "2"])?;
    let stats = server.stats()?;
    let named: Vec<u64> = workers(&stats).filter_map(|worker| worker["cpu"].as_u64()).collect();
    ensure!(named.len() == 2, "{named:?}");
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", server.process().pid()))? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?;
        if name.starts_with(&format!("{INSIDE}-0-")) {
            let status = fs::read_to_string(task.join("status"))?;
            let list =
                status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("no CPU list")?;
            found.push((name, list.trim().parse::<u64>()?));
        }
    }
    found.sort();
    let allowed: Vec<u64> = found.into_iter().map(|(_, cpu)| cpu).collect();
    ensure!(allowed == named, "the kernel has {allowed:?}, statistics {named:?}");
    stop(server, site.server_end()).map(drop)
}
