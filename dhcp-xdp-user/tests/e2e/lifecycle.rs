//! Starting, idling, ending well and ending badly.

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use xtask::lab::{
    Process, Server, Veth,
    clients::{Client, Kind},
    raw::RawSocket,
    wait_for,
};
use xtask::workspace;

use crate::{
    net::{Datagram, discover},
    site::{Direct, INSIDE, state_of, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("sigterm_ends_the_server_with_exit_code_0_and_takes_its_program_off", || end(Signal::SIGTERM)),
        test("ctrl_c_ends_the_server_with_exit_code_0_and_takes_its_program_off", || end(Signal::SIGINT)),
        test("kill_9_leaves_no_program_attached_and_every_lease_survives", kill_9),
        test("leases_survive_a_restart", restart),
        test("a_second_server_on_the_same_state_is_refused", second),
        test("load_shows_counters_and_takes_its_program_off", load),
    ]
}

fn take(site: &Direct, name: &str) -> Result<Ipv4Addr> {
    let end = site.client_end();
    end.namespace.ip(&format!("address flush dev {}", end.interface))?;
    Client::new(Kind::Udhcpc, end, site.lab.path(name))?.take()
}

fn end(signal: Signal) -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server = site.serve(&[])?;
    ensure!(site.server_end().xdp_program()?.is_some(), "no XDP program is attached while the server runs");
    take(&site, "client")?;
    server.closed_ledger()?;
    server.process().signal(signal)?;
    let status = server.process().wait(Duration::from_secs(10))?;
    ensure!(status.code() == Some(0), "{status}: {}", server.log());
    ensure!(site.server_end().xdp_program()?.is_none(), "the XDP program is still attached");
    let socket = server.state_dir().join("control.sock");
    ensure!(fs::symlink_metadata(socket).is_err(), "the control socket is still there");
    Ok(())
}

/// The same client gets the same address from a server that was started on the same state, and the lease was there before.
fn same_address_again(site: &Direct, before: Ipv4Addr) -> Result<()> {
    let server = site.serve(&[])?;
    let state = state_of(&server.leases()?, &before.to_string());
    ensure!(state.as_deref() == Some("bound"), "{before} is {state:?} after the restart");
    let after = take(site, "again")?;
    ensure!(before == after, "{before} became {after}");
    stop(server, site.server_end()).map(drop)
}

fn kill_9() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let address = take(&site, "client")?;
    server.kill()?;
    let detached = || Ok(site.server_end().xdp_program()?.is_none().then_some(()));
    wait_for("the kernel to take the program off", Duration::from_secs(5), detached)?;
    same_address_again(&site, address)
}

fn restart() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let address = take(&site, "client")?;
    stop(server, site.server_end())?;
    same_address_again(&site, address)
}

fn second() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let first = site.serve(&[])?;
    let mut command = site.inside.command(workspace::binary("dhcp-xdp")?)?;
    command.args(["serve", "--interface", INSIDE, "--subnet", "198.18.0.0/15", "--state-dir"]).arg(site.state());
    let mut second = Process::spawn(&mut command, site.lab.path("second.log"))?;
    let status = second.wait(Duration::from_secs(10)).context("the second server serves")?;
    ensure!(status.code() == Some(1), "{status}: {}", second.log());
    take(&site, "client").context("the first one does no longer serve")?;
    stop(first, site.server_end()).map(drop)
}

fn load() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut command = site.inside.command(workspace::binary("dhcp-xdp")?)?;
    command.args(["load", "--interface", INSIDE]);
    let mut process = Process::spawn(&mut command, site.lab.path("load.log"))?;
    let attached = wait_for("the program to be attached", Duration::from_secs(10), || {
        process.expect_running()?;
        site.server_end().xdp_program()
    });
    attached.with_context(|| process.log())?;
    // No socket is open: what it would redirect goes on to the kernel.
    let discover = Datagram::default().frame(&discover([2, 0, 0, 0, 0, 7], 1));
    RawSocket::open(site.client_end())?.send(&discover)?;
    process.wait_for_output("pass_no_socket", Duration::from_secs(5))?;
    process.signal(Signal::SIGINT)?;
    let status = process.wait(Duration::from_secs(5))?;
    ensure!(status.code() == Some(0), "{status}: {}", process.log());
    ensure!(site.server_end().xdp_program()?.is_none(), "the XDP program is still attached");
    Ok(())
}

/// An idle server sleeps: less than a hundredth of a CPU, with a client that has just been served.
pub fn idle() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let mut server: Server = site.serve(&["--workers", "2"])?;
    take(&site, "client")?;
    // What the lease set in motion is over.
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let before = server.process().cpu_ticks()?;
    std::thread::sleep(Duration::from_secs(3));
    let used = server.process().cpu_ticks()? - before;
    ensure!(used <= 3, "{used} ticks of CPU in {:.1} s of doing nothing", start.elapsed().as_secs_f32());
    stop(server, site.server_end()).map(drop)
}
