//! The command line: one file a command. Exit codes: 0 good, 1 failed, 2 wrong usage.

mod check;
mod doctor;
mod explain;
mod explanation;
mod export;
mod failure;
mod history;
mod import;
mod journal;
mod lease_line;
mod leases;
mod load;
mod offline;
mod output;
mod progress;
mod serve;
mod signals;
mod source;
mod state;
mod stats;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use failure::Failure;

/// A DHCPv4 server for broadband aggregation on XDP and AF_XDP.
#[derive(Debug, Parser)]
#[command(name = "dhcp-xdp", version, max_term_width = 110, after_help = EXAMPLE)]
struct Cli {
    /// Say more on stderr; twice for debugging. `RUST_LOG` overrides it
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example:
  dhcp-xdp check /etc/dhcp-xdp.toml
  dhcp-xdp serve --config /etc/dhcp-xdp.toml
  dhcp-xdp leases list";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Leases(leases::Leases),
    History(history::History),
    Journal(journal::Journal),
    Stats(stats::StatsCommand),
    Load(load::Load),
    Doctor(doctor::Doctor),
}

/// Runs the command that the command line names.
pub fn main() -> ExitCode {
    // Clap answers wrong usage with exit code 2, and help with 0.
    let cli = Cli::parse();
    let serving = matches!(cli.command, Command::Serve(_));
    start_log(cli.verbose, serving);
    let done = match cli.command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Leases(command) => command.run(),
        Command::History(command) => command.run(),
        Command::Journal(command) => command.run(),
        Command::Stats(command) => command.run(),
        Command::Load(command) => command.run(),
        Command::Doctor(command) => command.run(),
    };
    match done {
        Ok(()) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => {
            eprintln!("dhcp-xdp: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Told { usage }) => ExitCode::from(if usage { 2 } else { 1 }),
    }
}

fn start_log(verbose: u8, serving: bool) {
    let level = match (verbose, serving) {
        (0, false) => "warn",
        (0, true) | (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn each_command(command: &clap::Command, path: &str, look: &mut dyn FnMut(&clap::Command, &str)) {
        look(command, path);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            each_command(sub, &format!("{path} {}", sub.get_name()), look);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_an_example_that_the_command_line_takes() {
        each_command(&Cli::command(), "dhcp-xdp", &mut |command, path| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples =
                help.split_once("Example:").unwrap_or_else(|| panic!("{path} --help has no example:\n{help}")).1;
            let examples: Vec<&str> = examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            assert!(!examples.is_empty(), "{path}");
            for example in examples {
                assert!(example.starts_with("dhcp-xdp "), "{path}: {example}");
                let words = example.split([';', '|', '>']).next().unwrap_or_default().split_whitespace();
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{path}: the example `{example}` is wrong: {error}");
                }
            }
        });
    }

    #[test]
    fn the_commands_of_the_readme_are_taken() {
        let readme = include_str!("../../../README.md");
        let commands: Vec<&str> = readme.lines().map(str::trim).filter(|line| line.starts_with("dhcp-xdp ")).collect();
        assert!(commands.len() >= 3, "{commands:?}");
        for command in commands {
            let words = command.split_whitespace().take_while(|word| *word != "#");
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
        }
    }

    #[test]
    fn history_without_anybody_to_look_for_names_all_that_it_could_be() {
        let error = Cli::try_parse_from(["dhcp-xdp", "history"]).map(|_| ()).unwrap_err().to_string();
        for flag in ["--address", "--hw-address", "--client-id", "--circuit-id", "--remote-id"] {
            assert!(error.contains(flag), "{flag}: {error}");
        }
        Cli::try_parse_from(["dhcp-xdp", "history", "--address", "192.0.2.7", "--circuit-id", "x"]).unwrap();
    }

    #[test]
    fn every_flag_and_command_is_explained() {
        each_command(&Cli::command(), "dhcp-xdp", &mut |command, path| {
            assert!(command.get_about().is_some(), "{path}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {}", argument.get_id());
            }
        });
    }

    #[test]
    fn where_the_state_is_may_be_said_before_or_after_the_subcommand() {
        for words in [
            "dhcp-xdp leases --state-dir /x list --json",
            "dhcp-xdp leases list --json --state-dir /x",
            "dhcp-xdp leases --socket /x/control.sock",
            "dhcp-xdp stats --state-dir /x --json",
            "dhcp-xdp serve --state-dir /x --config f.toml",
        ] {
            assert!(Cli::try_parse_from(words.split(' ')).is_ok(), "{words}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for words in [
            "dhcp-xdp",
            "dhcp-xdp frobnicate",
            "dhcp-xdp serve --interface eth1",
            "dhcp-xdp serve --config f --interface eth1 --subnet 192.0.2.0/24",
            "dhcp-xdp serve --config f --router 192.0.2.1",
            "dhcp-xdp leases show",
            "dhcp-xdp leases release 192.0.2",
            "dhcp-xdp leases list --state busy",
            "dhcp-xdp load",
            "dhcp-xdp check",
            "dhcp-xdp check f.toml --json",
            "dhcp-xdp check f.toml --interface eth1",
            "dhcp-xdp check --explain f.pcap",
            "dhcp-xdp check --schema --explain f.pcap",
            "dhcp-xdp history",
            "dhcp-xdp history --address 192.0.2",
            "dhcp-xdp history --address 192.0.2.1 --at yesterday",
            "dhcp-xdp history --address 192.0.2.1 --at 5 --from 4",
            "dhcp-xdp history --hw-address 0",
        ] {
            let error = Cli::try_parse_from(words.split(' ')).expect_err(words);
            assert_eq!(error.exit_code(), 2, "{words}");
        }
    }
}
