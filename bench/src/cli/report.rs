//! Arguments of `report`.

use std::path::PathBuf;

use clap::Args;

pub(super) const HELP: &str = "\
Examples:
  dhcp-storm report storm.json --html storm.html
  dhcp-storm report peers.json --html peers.html

It reads what `dhcp-storm run --json` and `cargo xtask bench peers` wrote.";

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Results in JSON
    #[arg(value_name = "FILE.json")]
    pub file: PathBuf,
    /// Write the page here; - is standard output
    #[arg(long, value_name = "FILE.html")]
    pub html: PathBuf,
}
