//! `dhcp-storm`: see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use dhcp_storm::{
    capacity,
    cli::{Cli, Command},
    compare, html, reflect, replay,
    run::{self, Failure},
    scenario, txbench,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let result = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Capacity(args) => capacity::capacity(args),
        Command::Replay(args) => replay::replay(args),
        Command::Scenarios(args) => scenario::list(args.name.as_deref()),
        Command::Txbench(args) => txbench::txbench(args),
        Command::Reflect(args) => reflect::reflect(args),
        Command::Report(args) => html::report(args),
        Command::Compare(args) => compare::compare(args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failure::Usage(message)) => {
            eprintln!("dhcp-storm: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Error(error)) => {
            eprintln!("dhcp-storm: {error:#}");
            ExitCode::from(1)
        }
    }
}
