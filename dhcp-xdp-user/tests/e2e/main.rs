//! End-to-end tests: real clients, real frames and the real kernel, in network namespaces that the tests make and remove.
//!
//! They need root and what `cargo xtask setup` installs; `cargo xtask test` runs them. Tests of behaviour run beside each
//! other; those that measure run alone, afterwards.

mod bulk;
mod clients;
mod crash;
mod disks;
mod faults;
mod frames;
mod history;
mod hostile;
mod kea;
mod lab;
mod leasequery;
mod ledger;
mod lifecycle;
mod load;
mod net;
mod probing;
mod recall;
mod relays;
mod reply;
mod rings;
mod site;
mod storm;
mod stress;
mod vpns;
mod xdp;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use xtask::{command, lab::janitor};

/// Tests of behaviour wait more than they compute.
const BESIDE_EACH_OTHER: usize = 4;

fn main() -> ExitCode {
    janitor::take_over();
    lab::be_victim_if_asked();
    let arguments = Arguments::from_args();
    let together = [
        bulk::tests(),
        clients::tests(),
        faults::tests(),
        frames::tests(),
        history::tests(),
        kea::tests(),
        hostile::tests(),
        lab::tests(),
        leasequery::tests(),
        lifecycle::tests(),
        probing::tests(),
        recall::tests(),
        relays::tests(),
        rings::tests(),
        storm::tests(),
        stress::tests(),
        vpns::tests(),
        xdp::tests(),
    ];
    let threads = arguments.test_threads.or(Some(BESIDE_EACH_OTHER));
    let first = Arguments { test_threads: threads, ..arguments.clone() };
    let first = libtest_mimic::run(&first, together.into_iter().flatten().collect());
    let alone = Arguments { test_threads: Some(1), ..arguments };
    let second =
        libtest_mimic::run(&alone, [load::tests(), crash::tests(), history::alone()].into_iter().flatten().collect());
    if first.has_failed() || second.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A test that is skipped, with its reason, where it cannot be run.
fn test(name: impl Into<String>, run: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, || {
        if !command::is_root() {
            return Ok(Completion::ignored_with("needs root"));
        }
        match run() {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => Err(Failed::from(format!("{error:#}"))),
        }
    })
}

/// A test that takes minutes: only run when ignored tests are asked for, as `cargo xtask test --long` does.
fn long(name: impl Into<String>, run: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    let arguments = Arguments::from_args();
    if arguments.include_ignored || arguments.ignored {
        return test(name, run);
    }
    Trial::ignorable_test(name, || Ok(Completion::ignored_with("long: takes minutes")))
}
