//! `dhcp-storm reflect`: its arguments.

use clap::Args;

pub(super) const HELP: &str = "\
Example:
  dhcp-storm reflect --interface eth1 --workers 2

Frames come back with MAC addresses, IP addresses and ports swapped, and as BOOTREPLY, so that a generator on the other end \
takes them in: `dhcp-storm run --scenario echo` measures round trips. Ctrl-C ends it.";

/// Arguments of `reflect`.
#[derive(Debug, Args)]
pub struct ReflectArgs {
    /// Interface to reflect on
    #[arg(short, long, value_name = "IF")]
    pub interface: String,
    /// Sockets and threads on each receive queue
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Attach the XDP program in generic mode: slower, for drivers without XDP
    #[arg(long)]
    pub generic: bool,
    /// Spin instead of sleeping
    #[arg(long)]
    pub busy_poll: bool,
}
