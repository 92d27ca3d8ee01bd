//! `cargo xtask`: setup, build, run and test.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{
    audit,
    bench::{self, Bench},
    cargo, ebpf,
    fuzz::{self, Fuzz},
    lab,
    run::{self, Run},
    setup::{self, Purpose},
    signals::Stopped,
    suite::{self, Suite},
};

/// Builds, runs and tests dhcp-xdp.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    after_help = "Examples:\n  cargo xtask run\n  cargo xtask test"
)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

const RUN_EXAMPLES: &str = "Examples:
  cargo xtask run
  cargo xtask run --once
  cargo xtask run -- --interface eth1 --subnet 192.0.2.0/24 --pool 192.0.2.10-192.0.2.250 --router 192.0.2.1";

#[derive(Debug, Subcommand)]
enum Task {
    /// Find or install what the build and the tests need (on Debian and Ubuntu).
    #[command(after_help = "Examples:\n  cargo xtask setup --check\n  cargo xtask setup --bench")]
    Setup {
        /// Only say what is missing; exit code 1 when something is.
        #[arg(long)]
        check: bool,
        /// For `bench peers`: the servers of others, too, none of them started.
        #[arg(long)]
        bench: bool,
        /// Also what `fuzz` needs.
        #[arg(long)]
        fuzz: bool,
    },
    /// Build the XDP program's object file.
    #[command(after_help = "Example:\n  cargo xtask build-ebpf --force")]
    BuildEbpf {
        /// Also when nothing changed.
        #[arg(long)]
        force: bool,
    },
    /// Build the XDP program, the server and the load generator.
    #[command(after_help = "Example:\n  cargo xtask build --release")]
    Build {
        /// With optimisations.
        #[arg(long)]
        release: bool,
    },
    /// Attach the XDP program alone to an interface and show its counters until Ctrl-C.
    #[command(after_help = "Example:\n  cargo xtask load --interface eth1")]
    Load {
        /// The interface.
        #[arg(long)]
        interface: String,
    },
    /// Build all, make a laboratory, take real leases, run a short storm, and serve until Ctrl-C.
    ///
    /// With words after `--`, serve a real interface with them instead.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Run all tests: format, clippy, unit, property, documentation and end-to-end tests.
    #[command(after_help = "Example:\n  cargo xtask test lifecycle")]
    Test(Suite),
    /// Measure: the lease table, the way of a frame, the journal, and the whole server beside others.
    #[command(subcommand, after_help = "Example:\n  cargo xtask bench table")]
    Bench(Bench),
    /// Fuzz: arbitrary frames, messages, configurations, journals and requests, each against what must hold.
    #[command(after_help = "Examples:\n  cargo xtask fuzz --seconds 10\n  cargo xtask fuzz batch --seconds 600")]
    Fuzz(Fuzz),
    /// Check the dependencies with cargo-deny and cargo-machete.
    #[command(after_help = "Example:\n  cargo xtask audit")]
    Audit,
    /// The laboratory of `run`, once everything is built.
    #[command(hide = true)]
    Lab(Run),
}

fn main() -> ExitCode {
    lab::janitor::take_over();
    match execute(Cli::parse().command) {
        Ok(code) => code,
        // Somebody asked for it.
        Err(error) if error.is::<Stopped>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup { check, bench, fuzz } => {
            setup::setup(if bench { Purpose::Bench } else { Purpose::Test }, check)?;
            if fuzz {
                setup::setup_fuzz(check)?;
            }
        }
        Task::BuildEbpf { force } => {
            let object = ebpf::build(force)?;
            println!("The XDP program is in {}", object.display());
        }
        Task::Build { release } => cargo::build(release)?,
        Task::Load { interface } => run::load(&interface)?,
        Task::Run(options) => run::run(&options)?,
        Task::Lab(options) => run::lab(options.once)?,
        Task::Test(options) => return suite::test(&options),
        Task::Bench(bench) => return bench::bench(&bench),
        Task::Fuzz(options) => fuzz::fuzz(&options)?,
        Task::Audit => audit::audit()?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_examples_that_the_command_line_takes() {
        let root = Cli::command();
        let shown = |command: &clap::Command| -> Vec<clap::Command> {
            command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help").cloned().collect()
        };
        let commands = shown(&root);
        let nested = commands.iter().flat_map(shown).collect::<Vec<_>>();
        for command in commands.iter().chain(&nested).chain([&root]) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().skip(1).map(str::trim).collect();
            assert!(help.starts_with("Example") && !examples.is_empty(), "{}: {help}", command.get_name());
            for example in examples {
                let words = example.strip_prefix("cargo ").unwrap_or_else(|| panic!("{example}")).split_whitespace();
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
    }

    #[test]
    fn every_flag_and_command_is_explained() {
        for command in Cli::command().get_subcommands().filter(|sub| sub.get_name() != "help") {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{}: {}", command.get_name(), argument.get_id());
            }
        }
    }
}
