//! `dhcp-storm run`: its arguments, and the plan that they make.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    clients::{ClientArgs, WireArgs},
    values::{Rate, percent, rate, seconds},
};
use crate::{
    engine::Plan,
    schedule::{Curve, Pace},
};

pub(super) const HELP: &str = "\
Examples:
  20,000 new clients a second for ten seconds, good if at most 1 % of their messages are lost; results also as JSON:
    dhcp-storm run --interface eth1 --clients 200000 --rate 20000 --duration 10 --max-loss 1 --json storm.json
  As fast as the server goes, 512 exchanges at a time:
    dhcp-storm run --interface eth1 --rate max --window 512 --duration 5
  The same with plots of how it went, on a page:
    dhcp-storm run --interface eth1 --rate max --window 512 --duration 5 --report storm.html
  A city comes back: each client once, until all are bound, or five minutes are over:
    dhcp-storm run --interface eth1 --clients 1000000 --rate max --once --duration 300
  The same along a curve, with a share of INIT-REBOOT and doubled relay paths (`dhcp-storm scenarios` has more):
    dhcp-storm run --interface eth1 --scenario power-return --clients 200000 --duration 60
  Through two relay agents that the generator plays, each client in a VLAN pair of its own:
    dhcp-storm run --interface eth1 --relay 10.9.0.1,10.9.0.2 --server 10.0.0.1 --circuit-id 'olt-1/{index}' --vlan 100-199.1-4000

Exit code: 0 good; 1 a reply was wrong, more was lost than --max-loss allows, no reply came at all, the server fell silent or the \
run failed; 2 wrong usage. What a run found up to then is printed and written in each case but the last.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The way to the server.
    #[command(flatten)]
    pub wire: WireArgs,
    /// The clients.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// Exchanges begun a second, whether or not the server keeps up (20000, 20k); or max: as many as the window lets through
    /// [default: the scenario's, or max]
    #[arg(long, value_name = "R|max", value_parser = rate)]
    pub rate: Option<Rate>,
    /// Exchanges at a time with --rate max [default: the scenario's, or 256]
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub window: Option<u32>,
    /// How long exchanges are begun, in seconds [default: the scenario's, or 10]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// How long the last replies are awaited after that, at most, in seconds [default: the scenario's, or 1]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub drain: Option<Duration>,
    /// Each client takes part once; the run ends when all are done. Otherwise a client that is done begins again in its turn
    #[arg(long)]
    pub once: bool,
    /// Exit with 1 when more than so many percent of the messages are lost
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub max_loss: Option<f64>,
    /// Write the results as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write every ACK that comes in to this file, a line of JSON each: mac, address, lease_time_s, at_s
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Write the results as a page with plots, one file that needs no other; - is standard output
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Network namespace of the interface's peer, if that is the other end of a veth pair: a name of `ip netns`, or a file as
    /// /proc/4711/ns/net. Its counters are reported too. In the same namespace it is found without
    #[arg(long, value_name = "NETNS")]
    pub peer_netns: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Exchanges at a time when `--window` says nothing.
pub(super) const DEFAULT_WINDOW: u32 = 256;

impl RunArgs {
    /// The plan that these arguments ask for, with the interface's own MAC address where it is needed.
    ///
    /// # Errors
    /// What does not fit together, in one line: wrong usage.
    pub fn plan(&self, interface_mac: [u8; 6]) -> Result<Plan, String> {
        let mut plan = self.clients.plan(interface_mac)?;
        plan.load = self.duration.unwrap_or(plan.load);
        plan.drain = self.drain.unwrap_or(plan.drain);
        plan.once |= self.once;
        let curve = &plan.scenario.curve;
        plan.pace = match (self.rate, self.window) {
            (Some(Rate::PerSecond(_)), Some(_)) => return Err("--window is for --rate max".into()),
            (Some(Rate::PerSecond(rate_per_s)), None) => Pace::Open { rate_per_s },
            (None, None) if !curve.is_empty() => Pace::Curve(Curve {
                points: curve.clone(),
                clients: plan.clients,
                over_ns: plan.load.as_nanos() as u64,
            }),
            (None, None) => plan.pace,
            (_, window) => {
                let window = window.or(plan.scenario.defaults.window).unwrap_or(DEFAULT_WINDOW);
                Pace::Closed { window }
            }
        };
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn parse(words: &str) -> Result<Plan, String> {
        let cli = Cli::try_parse_from(words.split_whitespace()).map_err(|e| e.to_string())?;
        match cli.command {
            Command::Run(args) => args.plan([2, 0, 0, 0, 0, 1]),
            _ => Err("not a run".into()),
        }
    }

    #[test]
    fn the_usage_of_the_design_is_understood() {
        let plan = parse("dhcp-storm run --interface e --scenario dora --clients 5 --rate 20k --duration 2").unwrap();
        assert_eq!(plan.pace, Pace::Open { rate_per_s: 20_000.0 });
        assert_eq!((plan.clients, plan.load), (5, Duration::from_secs(2)));
        assert!(plan.look.broadcast);
        let plan = parse("dhcp-storm run --interface e --scenario discover-only --rate max --window 7").unwrap();
        assert_eq!((plan.pace, plan.scenario.name()), (Pace::Closed { window: 7 }, "discover-only"));
    }

    #[test]
    fn a_relay_sends_from_the_interface_and_unicast() {
        let plan =
            parse("dhcp-storm run -i e --relay 10.0.0.2 --server 10.0.0.1 --server-mac 02:00:00:00:00:09").unwrap();
        assert_eq!(plan.look.source_mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(plan.look.destination_mac, [2, 0, 0, 0, 0, 9]);
        assert!(!plan.look.broadcast);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for words in [
            "run",
            "run -i e --rate 0",
            "run -i e --rate -5",
            "run -i e --rate nan",
            "run -i e --rate 100 --window 5",
            "run -i e --clients 0",
            "run -i e --clients 10000001",
            "run -i e --duration inf",
            "run -i e --relay 10.0.0.2",
            "run -i e --scenario nonsense",
            "run -i e --scenario ./nonsense.toml",
            "run -i e --vlan 0",
            "run -i e --vlan 100-99",
            "run -i e --outer-8100",
            "run -i e --relay 10.0.0.2, --server 10.0.0.1",
            "run -i e --relay 10.0.0.2 --server 10.0.0.1 --circuit-id {foo}",
            "run -i e --socket tcp",
            "run -i e --backoff-scale 0",
            "run -i e --max-loss 101",
            "run -i e --max-loss -1",
            "run -i e --max-loss nan",
            "run -i e --expect-pool 10.0.0.9-10.0.0.1",
            "run -i e --expect-pool 10.0.0.0/33",
            "run -i e --relay 10.0.0.2 --server 10.0.0.1 --server-mac 1:2:3",
        ] {
            assert!(parse(&format!("dhcp-storm {words}")).is_err(), "{words}");
        }
    }
}
