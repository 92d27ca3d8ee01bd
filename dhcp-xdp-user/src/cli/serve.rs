//! `dhcp-xdp serve`

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Args;
use dhcp_xdp::{
    config::{self, Config, QuickFlags, Subnet, ThisMachine},
    control::{Control, SOCKET_NAME, ServerBackend},
    lease::Space,
    server::Server,
    stats::{InterfaceStats, Stats},
};

use super::{
    check,
    failure::{Done, Failure},
    output::Output,
    signals::Stop,
};

/// How often the server is asked whether a worker has ended by itself.
const WATCH: Duration = Duration::from_secs(1);

/// Serve clients: from a configuration file, or one subnet on one interface with flags alone
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dhcp-xdp serve --config /etc/dhcp-xdp.toml
  dhcp-xdp serve --interface eth1 --subnet 192.0.2.0/24 --router 192.0.2.1")]
pub(super) struct Serve {
    /// Configuration file; `dhcp-xdp check` checks one
    #[arg(long, value_name = "FILE", conflicts_with_all = QUICK)]
    config: Option<PathBuf>,
    /// Interface to serve
    #[arg(long, value_name = "IF", requires = "subnet")]
    interface: Option<String>,
    /// Subnet to serve on it
    #[arg(long, value_name = "CIDR", requires = "interface")]
    subnet: Option<String>,
    /// Addresses to lease; all hosts of the subnet but this machine and the router unless given
    #[arg(long, value_name = "A-B", requires = "interface")]
    pool: Option<String>,
    /// Router to hand out
    #[arg(long, value_name = "IP", requires = "interface")]
    router: Option<String>,
    /// Name servers to hand out
    #[arg(long, value_name = "IP,..", requires = "interface")]
    dns: Option<String>,
    /// Lease time, seconds (3600 unless given)
    #[arg(long, value_name = "S", requires = "interface", allow_negative_numbers = true)]
    lease_time: Option<i64>,
    /// Workers for each receive queue (1 unless given)
    #[arg(long, value_name = "N", requires = "interface", allow_negative_numbers = true)]
    workers: Option<i64>,
    /// Spin on the rings in place of sleeping: least latency, whole CPUs
    #[arg(long, requires = "interface")]
    busy_poll: bool,
    /// When an ACK may leave: sync (after fdatasync), interval or off
    #[arg(long, value_name = "KIND", requires = "interface")]
    durability: Option<String>,
    /// Directory of the journal and the control socket; overrides the file's (/var/lib/dhcp-xdp unless given)
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
}

const NOTHING_TO_SERVE: &str = "nothing to serve: give --config FILE, or --interface IF and --subnet CIDR (best with --pool \
                                and --router); see `dhcp-xdp serve --help`";

/// Flags that make up a configuration by themselves.
const QUICK: [&str; 9] =
    ["interface", "subnet", "pool", "router", "dns", "lease_time", "workers", "busy_poll", "durability"];

impl Serve {
    pub fn run(self) -> Done {
        let config = self.configuration()?;
        // Before anything is attached: a Ctrl-C during the start stops what was started, in order.
        let stop = Stop::listen()?;
        let mut server = Server::start(config).map_err(Failure::of)?;
        let trouble = Arc::new(OnceLock::new());
        let control = start_control(&mut server, &trouble)?;
        let watched = announce(&server).and_then(|()| watch(&server, &stop, &trouble));
        // Control first: it has a lane of the journal.
        control.stop();
        server.stop().map_err(Failure::of)?;
        watched
    }

    fn configuration(self) -> Result<Config, Failure> {
        if self.config.is_none() && self.interface.is_none() {
            eprintln!("dhcp-xdp: {NOTHING_TO_SERVE}");
            return Err(Failure::Told { usage: true });
        }
        if let Some(file) = &self.config {
            let mut config = check::tell(config::load(file, &ThisMachine))?;
            if let Some(dir) = self.state_dir {
                config.state_dir = dir.into();
            }
            return Ok(config);
        }
        let flags = QuickFlags {
            interface: self.interface.unwrap_or_default(),
            subnet: self.subnet.unwrap_or_default(),
            pool: self.pool,
            router: self.router,
            dns: self.dns,
            lease_time_s: self.lease_time,
            state_dir: self.state_dir,
            workers: self.workers,
            busy_poll: self.busy_poll,
            durability: self.durability,
        };
        // Wrong flags are wrong usage.
        check::tell(flags.check(&ThisMachine)).map_err(|_| Failure::Told { usage: true })
    }
}

fn start_control(server: &mut Server, trouble: &Arc<OnceLock<String>>) -> Result<Control, Failure> {
    let (lane, wake) = server
        .take_control_lane()
        .ok_or_else(|| Failure::Failed("control's way into the journal is taken: this is a bug".into()))?;
    let backend = ServerBackend::new(
        Arc::clone(server.config()),
        Arc::clone(server.leases()),
        server.clock(),
        Box::new(server.stats_source()),
        Arc::clone(trouble),
        (lane, wake),
    );
    let socket = server.config().state_dir.join(SOCKET_NAME);
    Control::start(&socket, Arc::new(backend)).map_err(Failure::of)
}

/// The line that says that it serves, and what. Nobody may be reading it.
fn announce(server: &Server) -> Done {
    let mut out = Output::new();
    match out.line(ready_line(server.config(), &server.stats())).and_then(|()| out.flush()) {
        Err(Failure::ClosedPipe) => Ok(()),
        result => result,
    }
}

/// Waits for a signal. A worker that ends by itself is told, and ends a server that has no other interface to serve.
fn watch(server: &Server, stop: &Stop, trouble: &OnceLock<String>) -> Done {
    loop {
        if let Some(signal) = stop.wait(WATCH) {
            log::info!("{signal}: stopping");
            return Ok(());
        }
        if trouble.get().is_none()
            && let Some(why) = server.failure()
        {
            let _ = trouble.set(why.clone());
            if server.config().interfaces.len() == 1 {
                return Err(Failure::Failed(format!("stopped, because there is nothing left to serve: {why}")));
            }
        }
    }
}

fn ready_line(config: &Config, stats: &Stats) -> String {
    let needs_address = config.subnets.iter().any(|subnet| subnet.server_id.is_none());
    let interfaces: Vec<String> = stats.interfaces.iter().map(|one| describe(one, needs_address)).collect();
    let subnets: Vec<String> = config.subnets.iter().take(4).map(|subnet| place(config, subnet)).collect();
    let more = config.subnets.len().saturating_sub(subnets.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "dhcp-xdp {}: serving {}{more} ({} addresses, {} bound) on {}; state in {}; pid {}",
        stats.version,
        subnets.join(", "),
        config.address_count(),
        stats.leases.bound,
        interfaces.join(", "),
        config.state_dir.display(),
        std::process::id()
    )
}

/// A subnet as its prefix, with the VPN that it is in as listings have it: `10.0.0.0/24%red`.
fn place(config: &Config, subnet: &Subnet) -> String {
    match subnet.space {
        Space::GLOBAL => subnet.prefix.to_string(),
        space => format!("{}%{}", subnet.prefix, config.subnets.vrfs().name_of(space)),
    }
}

/// An interface with how it is served, as `eth1 (native, zero-copy, 4 queues, 8 workers)`; or that it cannot be, for want of an
/// address to be the server identifier.
fn describe(interface: &InterfaceStats, needs_address: bool) -> String {
    let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let workers = interface.queues.iter().map(|queue| queue.workers.len()).sum();
    let (queues, workers) = (some(interface.queues.len(), "queue"), some(workers, "worker"));
    let lack = if needs_address && interface.addresses.is_empty() { "; NO IPv4 ADDRESS: no answers yet" } else { "" };
    format!("{} ({}, {}, {queues}, {workers}{lack})", interface.name, interface.mode, interface.bind_mode)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use dhcp_xdp::{
        config::AnyMachine,
        journal::JournalStatus,
        stats::{FrameStats, LeaseStats, Ledger, QueueStats, SCHEMA, WorkerStats},
        worker::counters::Counters,
    };

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn without_arguments_both_ways_to_serve_are_named() {
        let Command::Serve(bare) = Cli::try_parse_from(["dhcp-xdp", "serve"]).unwrap().command else {
            panic!("serve is another command")
        };
        assert!(matches!(bare.configuration(), Err(Failure::Told { usage: true })));
        for way in ["--config FILE", "--interface IF and --subnet CIDR"] {
            assert!(NOTHING_TO_SERVE.contains(way));
        }
    }

    #[test]
    fn the_ready_line_says_what_is_served_and_how() {
        let flags = QuickFlags { interface: "eth1".into(), subnet: "192.0.2.0/24".into(), ..QuickFlags::default() };
        let config = flags.check(&AnyMachine).unwrap().config;
        let worker = |number| WorkerStats::of(number, Some(0), &Counters::default().snapshot());
        let interfaces = vec![InterfaceStats {
            name: "eth1".into(),
            mode: "native".into(),
            bind_mode: "zero-copy".into(),
            addresses: vec![[192, 0, 2, 1].into()],
            xdp: [].into(),
            queues: vec![QueueStats { queue: 0, frames: FrameStats::default(), workers: vec![worker(0), worker(1)] }],
        }];
        let mut stats = Stats {
            schema: SCHEMA,
            version: "1.2.3".into(),
            uptime_s: 0,
            ledger: Ledger::of(&interfaces),
            interfaces,
            journal: JournalStatus::default(),
            leases: LeaseStats { bound: 7, ..LeaseStats::default() },
            leasequery_tcp: None,
            ping_check: None,
            events: Default::default(),
        };
        let line = ready_line(&config, &stats);
        let expected = "dhcp-xdp 1.2.3: serving 192.0.2.0/24 (254 addresses, 7 bound) on \
                        eth1 (native, zero-copy, 1 queue, 2 workers); state in /var/lib/dhcp-xdp; pid ";
        assert!(line.starts_with(expected), "{line}");
        stats.interfaces[0].addresses.clear();
        let line = ready_line(&config, &stats);
        assert!(line.contains("2 workers; NO IPv4 ADDRESS: no answers yet)"), "{line}");
    }
}
