//! `cargo xtask`: setup, build, run and test.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{
    audit, cargo, ebpf, lab,
    run::{self, Run},
    setup::{self, Purpose},
    signals::Stopped,
    suite::{self, Suite},
};

/// Builds, runs and tests dhcp-xdp.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find or install what the build and the tests need (on Debian and Ubuntu).
    Setup {
        /// Only say what is missing; exit code 1 when something is.
        #[arg(long)]
        check: bool,
    },
    /// Build the XDP program's object file.
    BuildEbpf {
        /// Also when nothing changed.
        #[arg(long)]
        force: bool,
    },
    /// Build the XDP program, the server and the load generator.
    Build {
        /// With optimisations.
        #[arg(long)]
        release: bool,
    },
    /// Attach the XDP program alone to an interface and show its counters until Ctrl-C.
    Load {
        /// The interface.
        #[arg(long)]
        interface: String,
    },
    /// Build all, make a laboratory, take real leases, run a short storm, and serve until Ctrl-C.
    ///
    /// With words after `--`, serve a real interface with them instead:
    /// `cargo xtask run -- --interface eth1 --subnet 192.0.2.0/24 --pool 192.0.2.10-192.0.2.250 --router 192.0.2.1`.
    Run(Run),
    /// Run all tests: format, clippy, unit, property, documentation and end-to-end tests.
    Test(Suite),
    /// Check the dependencies with cargo-deny and cargo-machete.
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
        Task::Setup { check } => setup::setup(Purpose::Test, check)?,
        Task::BuildEbpf { force } => {
            let object = ebpf::build(force)?;
            println!("The XDP program is in {}", object.display());
        }
        Task::Build { release } => cargo::build(release)?,
        Task::Load { interface } => run::load(&interface)?,
        Task::Run(options) => run::run(&options)?,
        Task::Lab(options) => run::lab(options.once)?,
        Task::Test(options) => return suite::test(&options),
        Task::Audit => audit::audit()?,
    }
    Ok(ExitCode::SUCCESS)
}
