//! `dhcp-xdp check FILE`

use std::path::PathBuf;

use clap::Args;
use dhcp_xdp::config::{self, Checked, Config, Rejected, ThisMachine};

use super::{
    failure::{Done, Failure},
    output::Output,
};

/// Check a configuration file: every error and warning with its line, and what would be right
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhcp-xdp check /etc/dhcp-xdp.toml")]
pub(super) struct Check {
    /// The file
    file: PathBuf,
}

impl Check {
    pub fn run(self) -> Done {
        let config = tell(config::load(&self.file, &ThisMachine))?;
        let mut out = Output::new();
        out.line(format!("{}: good: {}", self.file.display(), summary(&config)))?;
        for subnet in &config.subnets {
            let through = subnet.interface.as_deref().unwrap_or("relay agents");
            out.line(format!("  {} through {through}: {} addresses", subnet.prefix, subnet.address_count()))?;
        }
        out.flush()
    }
}

/// Prints findings to stderr; gives the configuration if there is one.
pub(super) fn tell(checked: Result<Checked, Rejected>) -> Result<Config, Failure> {
    match checked {
        Ok(Checked { config, warnings }) => {
            for warning in warnings {
                eprintln!("{warning}");
            }
            Ok(config)
        }
        Err(rejected) => {
            eprintln!("{rejected}");
            Err(Failure::Told { usage: false })
        }
    }
}

/// What a configuration serves, in a few words.
pub(super) fn summary(config: &Config) -> String {
    let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {}, {} addresses",
        some(config.interfaces.len(), "interface"),
        some(config.subnets.len(), "subnet"),
        config.address_count()
    )
}
