//! The lease table's figures: `cargo xtask bench table`.
//!
//! Each figure is the median of several rounds. Rounds of what is compared take turns, so that a neighbour on the machine
//! slows both. What the project claims is printed with its limit and whether it holds; the exit code says the same.

#![allow(missing_docs, reason = "a program")]

mod index;
mod leases;
mod parts;
mod report;

/// What the included parts of the table expect at the root of their crate.
mod xsk {
    pub use dhcp_xdp::xsk::advise_huge_pages;
}

use std::process::ExitCode;

use clap::Parser;
use report::Report;

/// Measures the lease table and its index.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  cargo xtask bench table\n  cargo xtask bench table -- --quick\n  cargo xtask bench table -- --only index"
)]
struct Args {
    /// A fiftieth of the leases: a look at whether it runs. Its ratios say nothing.
    #[arg(long)]
    quick: bool,
    /// Leases of the large table.
    #[arg(long, default_value_t = 10_000_000)]
    leases: u32,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only this part.
    #[arg(long, value_parser = ["leases", "expiry", "index"])]
    only: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.quick {
        args.leases = args.leases.min(200_000);
        args.rounds = args.rounds.min(3);
    }
    let wants = |part: &str| args.only.as_deref().is_none_or(|only| only == part);
    let mut report = Report::default();
    // First, while the process has nothing else in memory.
    if wants("leases") {
        leases::leases(args.leases, args.rounds, &mut report);
    }
    if wants("expiry") {
        leases::expiry(args.leases / 10, &mut report);
    }
    if wants("index") {
        index::compare(args.leases, args.rounds, &mut report);
    }
    report.finish()
}
