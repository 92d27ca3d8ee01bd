//! `dhcp-xdp check FILE [--explain CAPTURE]`

use std::path::PathBuf;

use clap::Args;
use dhcp_xdp::{
    config::{self, Checked, Config, Rejected, Subnet, ThisMachine},
    lease::Space,
};

use super::{
    explanation::Explanation,
    failure::{Done, Failure},
    output::Output,
};

/// Check a configuration file: every error and warning with its line, and what would be right
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Check {
    /// The file
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print the JSON schema of configuration files, for an editor
    #[arg(long, conflicts_with = "file")]
    schema: bool,
    #[command(flatten)]
    explanation: Explanation,
}

const EXAMPLE: &str =
    "Exit codes: 0 the file is good, and each message of the capture is explained, answered or not; 1 the file has \
     errors, or the capture cannot be read; 2 wrong usage.

Example:
  dhcp-xdp check /etc/dhcp-xdp.toml
  dhcp-xdp check /etc/dhcp-xdp.toml --explain monday.pcap --interface eth1
  dhcp-xdp check --schema";

impl Check {
    pub fn run(self) -> Done {
        let mut out = Output::new();
        let Some(file) = self.file else {
            out.line(format!("{:#}", config::json_schema()))?;
            return out.flush();
        };
        let config = tell(config::load(&file, &ThisMachine))?;
        if self.explanation.is_wanted() {
            return self.explanation.run(&file, config, &mut out);
        }
        out.line(format!("{}: good: {}", file.display(), summary(&config)))?;
        for subnet in &config.subnets {
            out.line(format!("  {}", described(&config, subnet)))?;
        }
        out.flush()
    }
}

/// A subnet in a line.
fn described(config: &Config, subnet: &Subnet) -> String {
    let through = subnet.interface.as_deref().unwrap_or("relay agents");
    let vlans = subnet.vlans.map_or_else(String::new, |vlans| format!(" VLAN {vlans}"));
    let network = subnet.network.as_ref().map_or_else(String::new, |name| format!(", network {name}"));
    let vpn = if subnet.space == Space::GLOBAL {
        String::new()
    } else {
        format!(" of VPN {}", config.subnets.vrfs().name_of(subnet.space))
    };
    let count = subnet.address_count();
    let addresses = if count == 1 { "address" } else { "addresses" };
    format!("{}{vpn} through {through}{vlans}{network}: {count} {addresses}", subnet.prefix)
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
    let reserved = match config.reservations.len() {
        0 => String::new(),
        n => format!(", {}", some(n, "reservation")),
    };
    format!(
        "{}, {}, {} {}{reserved}",
        some(config.interfaces.len(), "interface"),
        some(config.subnets.len(), "subnet"),
        config.address_count(),
        if config.address_count() == 1 { "address" } else { "addresses" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_of_a_vpn_is_named_with_it() {
        let text = include_str!("../../../examples/vpn.toml");
        let config = config::parse("vpn.toml", text, &ThisMachine).unwrap().config;
        let lines: Vec<String> = config.subnets.iter().map(|subnet| described(&config, subnet)).collect();
        assert!(lines[0].starts_with("10.0.0.0/24 of VPN customer-red through relay agents"), "{lines:#?}");
        assert!(lines[1].contains("of VPN customer-blue") && !lines[3].contains("VPN"), "{lines:#?}");
    }
}
