//! `cargo xtask run` and `load`: the server on this machine, in a laboratory or on a real interface.

use std::{
    env, fs,
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::Value;

use crate::{
    cargo, command,
    lab::{
        End, Lab, Namespace, Process, Server, Veth,
        clients::{Client, Kind},
        wait_for,
    },
    setup::{self, Purpose},
    signals::{Stop, Stopped},
    workspace,
};

/// How to run.
#[derive(Args, Clone, Debug, Default)]
pub struct Run {
    /// End after the start: leases taken, storm run, everything removed.
    #[arg(long)]
    pub once: bool,
    /// Words for `dhcp-xdp serve` on a real interface.
    #[arg(last = true)]
    pub words: Vec<String>,
}

// RFC 2544 C.2.2: 198.18.0.0/15 is for tests like this one, and routed nowhere.
const SERVER: &str = "198.18.0.1";
const PREFIX: &str = "15";
const SUBNET: &str = "198.18.0.0/15";
const POOL: &str = "198.18.0.10-198.19.255.254";
const SERVER_INTERFACE: &str = "server0";
const CLIENT_INTERFACE: &str = "client0";
/// Clients that ask by name: name, MAC address, client identifier if it sends one.
const CLIENTS: [(&str, &str, Option<&str>); 3] = [
    ("router-of-ada", "02:00:5e:00:00:01", None),
    ("router-of-grace", "02:00:5e:00:00:02", Some("0x3d:0067726163652d6f6c74")),
    ("router-of-edsger", "02:00:5e:00:00:03", None),
];
const STORM_CLIENTS: &str = "50000";
const STORM_S: &str = "3";

/// `cargo xtask run`.
///
/// # Errors
/// Something could not be installed, built or started; or it is [`Stopped`].
pub fn run(options: &Run) -> Result<()> {
    check_words(&options.words)?;
    setup::setup(Purpose::Run, false)?;
    cargo::build(true)?;
    if !options.words.is_empty() {
        let mut serve = command::as_root(workspace::binary("dhcp-xdp")?)?;
        return Err(replace(serve.arg("serve").args(&options.words)));
    }
    if command::is_root() {
        return lab(options.once);
    }
    println!("Network namespaces need root: going on with sudo");
    let mut command = command::as_root(env::current_exe().context("cannot find the running program")?)?;
    command.arg("lab");
    if options.once {
        command.arg("--once");
    }
    Err(replace(&mut command))
}

/// What can be known to be missing is told before minutes of building; all else `dhcp-xdp serve` tells.
fn check_words(words: &[String]) -> Result<()> {
    let has = |flag: &str| words.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    if words.is_empty() || has("--config") || has("--help") || (has("--interface") && has("--subnet")) {
        return Ok(());
    }
    bail!(
        "what follows `--` must have --config FILE, or --interface IF and --subnet CIDR, as in `cargo xtask run -- --interface \
         eth1 --subnet 192.0.2.0/24 --pool 192.0.2.10-192.0.2.250 --router 192.0.2.1`"
    )
}

/// `cargo xtask load`: the XDP program alone.
///
/// # Errors
/// As [`run`].
pub fn load(interface: &str) -> Result<()> {
    setup::setup(Purpose::Build, false)?;
    cargo::build(true)?;
    let mut load = command::as_root(workspace::binary("dhcp-xdp")?)?;
    Err(replace(load.args(["load", "--interface", interface])))
}

/// Becomes another program, so that signals and its exit code are between it and whoever started us.
fn replace(command: &mut Command) -> anyhow::Error {
    let spelled = command::spelled(command);
    anyhow!(command.exec()).context(format!("cannot start `{spelled}`"))
}

/// The laboratory, once everything is built: needs root.
///
/// # Errors
/// As [`run`]. Everything that was made is removed first.
pub fn lab(once: bool) -> Result<()> {
    Stop::listen()?;
    let lab = Lab::new()?;
    let outcome = in_lab(&lab, once);
    drop(lab);
    println!("Everything that was made is removed");
    outcome
}

fn in_lab(lab: &Lab, once: bool) -> Result<()> {
    let (inside, outside) = (lab.namespace("s")?, lab.namespace("c")?);
    let here = End::new(&inside, SERVER_INTERFACE);
    let there = End::new(&outside, CLIENT_INTERFACE);
    Veth::default().join(here, there)?;
    here.add_address(&format!("{SERVER}/{PREFIX}"))?;
    println!("Laboratory: {SERVER_INTERFACE} in {} -- {CLIENT_INTERFACE} in {}", inside.name(), outside.name());

    let state = lab.folder("state")?;
    let words = ["--interface", SERVER_INTERFACE, "--subnet", SUBNET, "--pool", POOL, "--router", SERVER];
    let mut server = Server::start(&inside, &state, &words)?;
    println!("Server: dhcp-xdp serve {}", words.join(" "));

    let outcome = exercise(lab, there, &server).and_then(|_client| {
        if once {
            return Ok(());
        }
        look_further(&inside, &outside, &state)?;
        serve(&mut server)
    });
    let stopped = match &outcome {
        // In haste: what is on its way now need not close the books.
        Err(error) if error.is::<Stopped>() => server.process().terminate(Duration::from_secs(10)).map(drop),
        _ => server.stop().map(drop),
    };
    outcome.and(stopped)
}

/// Real leases, then a storm. The last client keeps its lease as long as it lives: it is returned.
fn exercise<'a>(lab: &Lab, end: End<'a>, server: &Server) -> Result<Option<Client<'a>>> {
    let mut last = None;
    for (name, mac, identifier) in CLIENTS {
        // Without a release: its lease stays.
        drop(last.take());
        let (client, address) = take_lease(lab, end, name, mac, identifier)?;
        println!("Client: udhcpc as {name} ({mac}) holds {address}");
        last = Some(client);
    }
    println!("\nLeases (dhcp-xdp leases list):");
    let mut list = Command::new(workspace::binary("dhcp-xdp")?);
    print!("{}", command::output(list.args(["leases", "list", "--state-dir"]).arg(server.state_dir()))?);
    storm(lab, end, server)?;
    Ok(last)
}

fn take_lease<'a>(
    lab: &Lab,
    end: End<'a>,
    name: &str,
    mac: &str,
    identifier: Option<&str>,
) -> Result<(Client<'a>, Ipv4Addr)> {
    end.namespace.ip(&format!("address flush dev {}", end.interface))?;
    end.set_mac(mac)?;
    let hostname = format!("hostname:{name}");
    let mut words = vec!["-x", &hostname];
    if let Some(identifier) = identifier {
        words.extend(["-C", "-x", identifier]);
    }
    let mut client = Client::new(Kind::Udhcpc, end, lab.path(name))?.with(&words);
    let address = client.take()?;
    Ok((client, address))
}

fn storm(lab: &Lab, end: End<'_>, server: &Server) -> Result<()> {
    let json = lab.path("storm.json");
    println!("\nStorm: {STORM_CLIENTS} clients, DISCOVER to ACK, as fast as they can for {STORM_S} s");
    let mut command = end.namespace.command(workspace::binary("dhcp-storm")?)?;
    command.args(["run", "--interface", end.interface, "--scenario", "dora", "--clients", STORM_CLIENTS]);
    command.args(["--rate", "max", "--duration", STORM_S, "--json"]).arg(&json);
    let mut process = Process::spawn(&mut command, lab.path("storm.log"))?;
    let status = wait_for("the storm to end", Duration::from_secs(60), || process.ended())?;
    if !status.success() {
        bail!("dhcp-storm failed ({status}); {}", process.last_words());
    }
    let text = fs::read_to_string(&json).with_context(|| format!("cannot read {}", json.display()))?;
    let report: Value = serde_json::from_str(&text).context("dhcp-storm wrote strange JSON")?;
    let summary = &report["summary"];
    let figure = |name: &str| summary[name].as_f64().map_or_else(|| "?".into(), |value| format!("{value:.0}"));
    println!(
        "Storm: {} leases/s, {} messages/s sent, {} lost, {} violations of the protocol",
        figure("bindings_per_s"),
        figure("sent_per_s"),
        figure("lost"),
        figure("violations")
    );
    let latency = &summary["latency_us"];
    for (message, latency) in latency.as_object().into_iter().flatten() {
        let figure = |name: &str| latency[name].as_f64().unwrap_or(f64::NAN);
        println!("       {message}: half within {:.0} us, 99 % within {:.0} us", figure("p50"), figure("p99"));
    }
    let stats = server.closed_ledger()?;
    println!("Server: {} leases; every frame is accounted for", stats["leases"]["bound"]);
    Ok(())
}

fn look_further(inside: &Namespace, outside: &Namespace, state: &Path) -> Result<()> {
    let (server, storm) = (shown(&workspace::binary("dhcp-xdp")?), shown(&workspace::binary("dhcp-storm")?));
    let (inside, outside, state) = (inside.name(), outside.name(), state.display());
    println!(
        "\nLook further, from another terminal, as root:\n  \
         {server} stats --state-dir {state}\n  \
         {server} leases list --state-dir {state}\n  \
         ip netns exec {outside} {storm} run --interface {CLIENT_INTERFACE} --scenario dora --clients 10000 --rate 50000 \
         --duration 10\n  \
         ip netns exec {inside} bpftool net\n\
         The server runs until Ctrl-C."
    );
    Ok(())
}

/// As one would type it in the workspace.
fn shown(program: &Path) -> String {
    let short: Option<PathBuf> = env::current_dir()
        .ok()
        .and_then(|here| Some(program.canonicalize().ok()?.strip_prefix(here.canonicalize().ok()?).ok()?.to_owned()));
    short.unwrap_or_else(|| program.to_owned()).display().to_string()
}

/// Until somebody asks us to stop, or the server ends by itself.
fn serve(server: &mut Server) -> Result<()> {
    while Stop::sleep(Duration::from_millis(500)).is_ok() {
        server.process().expect_running()?;
    }
    println!();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_serve_nothing_are_refused_before_anything_is_built() {
        let check = |words: &str| check_words(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        for words in ["", "--config f.toml", "--config=f", "--subnet=192.0.2.0/24 --interface eth1", "--help"] {
            assert!(check(words).is_ok(), "{words}");
        }
        for words in ["--interface eth1", "--subnet 192.0.2.0/24", "--router 192.0.2.1", "eth1"] {
            assert!(check(words).unwrap_err().to_string().contains("--interface IF and --subnet CIDR"), "{words}");
        }
    }
}
