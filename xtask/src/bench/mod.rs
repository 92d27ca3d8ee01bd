//! `cargo xtask bench`: the project's figures, each from one command that anyone can run.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::{
    cargo::cargo,
    ebpf, group,
    setup::{self, Purpose},
};

pub mod durability;
pub mod peers;

use durability::Durability;
use peers::Peers;

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// The lease table: memory a lease, costs at 10 million leases against 10,000, allocation, expiry.
    #[command(after_help = "Example:\n  cargo xtask bench table -- --quick")]
    Table {
        /// Words for the benchmark itself.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// The way of a frame through parser, decision and reply, in memory.
    #[command(after_help = "Example:\n  cargo xtask bench path -- --rounds 3")]
    Path {
        /// Words for the benchmark itself.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// The journal: durable bindings a second by group size, latency beside compaction, recovery.
    #[command(after_help = "Example:\n  cargo xtask bench journal -- --quick")]
    Journal {
        /// Words for the benchmark itself.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// This server and its neighbours side by side: capacity, latency, memory, processor time; Kea, dnsmasq, ISC dhcpd.
    #[command(after_help = peers::EXAMPLES)]
    Peers(Peers),
    /// End to end, leases a second with every ACK on stable storage first, against those without. Needs root.
    #[command(after_help = "Example:\n  cargo xtask bench durability --rounds 5 --json durability.json")]
    Durability(Durability),
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
