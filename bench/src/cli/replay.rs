//! `dhcp-storm replay`: its arguments.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    clients::WireArgs,
    values::{Rate, mac, rate, seconds, speed},
};

pub(super) const HELP: &str = "\
Examples:
  As it was captured, and then ten times as fast:
    dhcp-storm replay --interface eth1 monday.pcap
    dhcp-storm replay --interface eth1 monday.pcapng --speed 10
  5,000 messages a second, three times over, to a server that was not the one of the capture:
    dhcp-storm replay --interface eth1 monday.pcap --rate 5k --rounds 3 --server-mac 02:00:5e:00:53:01

Frames leave with the addresses that they were captured with. Replies are matched by hardware address and transaction identifier \
and counted, not judged. Exit code: 0 an answer came, 1 none did or it failed, 2 wrong usage.";

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The way to the server.
    #[command(flatten)]
    pub wire: WireArgs,
    /// Capture in pcap or pcapng format, of Ethernet frames
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Messages a second, in place of the capture's own times; or max
    #[arg(long, value_name = "R|max", value_parser = rate, conflicts_with = "speed")]
    pub rate: Option<Rate>,
    /// So many times as fast as captured: 0.001 to 1000000
    #[arg(long, value_name = "F", default_value = "1", value_parser = speed)]
    pub speed: f64,
    /// Send the capture so many times, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rounds: u32,
    /// Ethernet destination of all frames, in place of the captured ones
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub server_mac: Option<[u8; 6]>,
    /// How long the last replies are awaited, at most, in seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    pub drain: Duration,
    /// Write the results as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
