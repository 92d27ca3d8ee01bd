//! `dhcp-xdp serve`

use std::path::PathBuf;

use clap::Args;
use dhcp_xdp::config::{self, Config, QuickFlags, ThisMachine};

use super::{
    check,
    failure::{Done, Failure},
};

/// Serve clients: from a configuration file, or one subnet on one interface with flags alone
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dhcp-xdp serve --config /etc/dhcp-xdp.toml
  dhcp-xdp serve --interface eth1 --subnet 192.0.2.0/24 --router 192.0.2.1 --dns 192.0.2.53,198.51.100.53")]
pub(super) struct Serve {
    /// Configuration file; `dhcp-xdp check` checks one
    #[arg(long, value_name = "FILE", required_unless_present = "interface", conflicts_with_all = QUICK)]
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

/// Flags that make up a configuration by themselves.
const QUICK: [&str; 9] =
    ["interface", "subnet", "pool", "router", "dns", "lease_time", "workers", "busy_poll", "durability"];

impl Serve {
    pub fn run(self) -> Done {
        let _config = self.configuration()?;
        Ok(())
    }

    fn configuration(self) -> Result<Config, Failure> {
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
