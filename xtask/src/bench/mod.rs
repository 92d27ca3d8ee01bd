//! `cargo xtask bench`: the project's figures, each from one command that anyone can run.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::{
    cargo::cargo,
    ebpf, group,
    setup::{self, Purpose},
};

mod bed;
pub mod durability;
pub mod leasequery;
pub mod peers;

use durability::Durability;
use leasequery::LeaseQuery;
use peers::Peers;

/// The value in the middle; of an even number the mean of two. What is no finite number is left out; none of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper })
}

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// The lease table: memory a lease, costs at 10 million leases against 10,000, allocation, expiry.
    #[command(after_help = "Example:\n  cargo xtask bench table -- --quick")]
    Table {
        /// Words for the benchmark itself: `--quick`: sooner, and coarser; `--help` has all, once it is built.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// The way of a frame through parser, decision and reply, in memory.
    #[command(after_help = "Example:\n  cargo xtask bench path -- --rounds 3")]
    Path {
        /// Words for the benchmark itself: `--rounds N`, `--only KIND`, `--instructions`; `--help` has all, once it is built.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// The journal: durable bindings a second by group size, latency beside compaction, recovery.
    #[command(after_help = "Example:\n  cargo xtask bench journal -- --quick")]
    Journal {
        /// Words for the benchmark itself: `--quick`: sooner, and coarser; `--help` has all, once it is built.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// This server and its neighbours side by side: capacity, latency, memory, processor time; Kea, dnsmasq, ISC dhcpd.
    #[command(after_help = peers::EXAMPLES)]
    Peers(Peers),
    /// End to end, leases a second with every ACK on stable storage first, against those without. Needs root.
    #[command(after_help = "Example:\n  cargo xtask bench durability --rounds 5 --json durability.json")]
    Durability(Durability),
    /// What bulk leasequeries beside them cost clients: exchanges a second and the way to the ACK, with and without. Needs root.
    #[command(name = "leasequery", after_help = leasequery::EXAMPLES)]
    LeaseQuery(LeaseQuery),
}

/// Builds it with optimisations and runs it.
///
/// # Errors
/// Something could not be installed, built or started, or the benchmark failed.
pub fn bench(bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Table { words } => micro("table", words)?,
        Bench::Path { words } => micro("path", words)?,
        Bench::Journal { words } => micro("journal", words)?,
        Bench::Durability(options) => durability::bench(options)?,
        Bench::LeaseQuery(options) => leasequery::bench(options)?,
        Bench::Peers(options) => return peers::peers(options),
    }
    Ok(ExitCode::SUCCESS)
}

/// A benchmark of the package `dhcp-storm`.
fn micro(name: &str, words: &[String]) -> Result<()> {
    setup::setup(Purpose::Build, false)?;
    ebpf::build(false)?;
    let mut cargo = cargo();
    cargo.args(["bench", "--locked", "--package", "dhcp-storm", "--bench", name, "--"]).args(words);
    group::run(&mut cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([7.0, f64::NAN, f64::INFINITY]), Some(7.0));
        assert_eq!(median([]), None);
    }
}
