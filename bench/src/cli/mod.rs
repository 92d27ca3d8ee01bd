//! The command line: one file a command, and [`values`] for what flags take.

use clap::{Parser, Subcommand};

pub mod capacity;
pub mod clients;
pub mod compare;
pub mod reflect;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod txbench;
pub mod values;

pub use capacity::CapacityArgs;
pub use compare::CompareArgs;
pub use reflect::ReflectArgs;
pub use replay::ReplayArgs;
pub use report::ReportArgs;
pub use run::RunArgs;
pub use scenarios::ScenariosArgs;
pub use txbench::TxbenchArgs;

/// Packet generator and load tester for DHCPv4 servers, on AF_XDP.
#[derive(Debug, Parser)]
#[command(name = "dhcp-storm", version, subcommand_required = true, arg_required_else_help = true, after_help = HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends a load of clients to a server and judges its replies
    #[command(after_help = run::HELP)]
    Run(Box<RunArgs>),
    /// Finds the highest rate at which at most so much is lost
    #[command(after_help = capacity::HELP)]
    Capacity(Box<CapacityArgs>),
    /// Sends the client messages of a capture again
    #[command(after_help = replay::HELP)]
    Replay(ReplayArgs),
    /// Lists the scenarios, or shows one
    #[command(after_help = scenarios::HELP)]
    Scenarios(ScenariosArgs),
    /// Holds the generator against a bare transmit loop on the same interface
    #[command(after_help = txbench::HELP)]
    Txbench(TxbenchArgs),
    /// Sends every DHCP request that comes in straight back: the limit against which a server is held
    #[command(after_help = reflect::HELP)]
    Reflect(ReflectArgs),
    /// Makes a page of results in JSON: plots, tables, no other file needed
    #[command(after_help = report::HELP)]
    Report(ReportArgs),
    /// Holds results against each other: what became better, worse, or differs no more than runs do
    #[command(after_help = compare::HELP)]
    Compare(CompareArgs),
}

const HELP: &str = "\
Examples:
  dhcp-storm run --interface eth1 --rate max --duration 5
  dhcp-storm capacity --interface eth1 --max-loss 0.1
  dhcp-storm reflect --interface eth1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Pace;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_examples_that_the_command_line_takes() {
        let root = Cli::command();
        for command in root.get_subcommands().filter(|sub| sub.get_name() != "help").chain([&root]) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().map(str::trim).filter(|l| l.starts_with("dhcp-storm ")).collect();
            assert!(help.starts_with("Example") && !examples.is_empty(), "{}: {help}", command.get_name());
            for example in examples {
                let words = example.split_whitespace().map(|word| word.trim_matches('\''));
                let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
                if let Command::Run(args) = cli.command {
                    args.plan([2; 6]).unwrap_or_else(|error| panic!("{example}: {error}"));
                    let plan = args.plan([2; 6]).unwrap();
                    if let (Pace::Open { rate_per_s }, false) = (&plan.pace, plan.once) {
                        let needed = rate_per_s * plan.load.as_secs_f64();
                        assert!(f64::from(plan.clients) >= needed, "{example}: clients would run out or come again");
                    }
                }
            }
        }
    }
}
