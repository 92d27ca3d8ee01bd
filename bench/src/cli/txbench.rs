//! `dhcp-storm txbench`: its arguments.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{clients::WireArgs, values::seconds};

pub(super) const HELP: &str = "\
Example:
  dhcp-storm txbench --interface eth1 --rounds 5

Sends on a link where nobody answers: in turn a bare loop that only hands one prebuilt frame to the socket again and again, and \
the generator with scenario discover-only. The ratio says what the generator's own work costs. Exit code: 0 measured, 1 failed, 2 \
wrong usage.";

/// Arguments of `txbench`.
#[derive(Debug, Args)]
pub struct TxbenchArgs {
    /// The way out.
    #[command(flatten)]
    pub wire: WireArgs,
    /// Clients of the generator; each sends once a round, so that there must be enough of them
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub clients: u32,
    /// How long each sends in a round, in seconds
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = seconds)]
    pub duration: Duration,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Write the results as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
