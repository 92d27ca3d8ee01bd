//! `dhcp-storm scenarios`: its arguments.

use clap::Args;

pub(super) const HELP: &str = "\
Examples:
  dhcp-storm scenarios
  dhcp-storm scenarios power-return

With a name it prints that scenario's file: a start for one of your own, which `--scenario FILE` takes.";

/// Arguments of `scenarios`.
#[derive(Debug, Args)]
pub struct ScenariosArgs {
    /// Print this one's file
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}
