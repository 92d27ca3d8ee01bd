//! What is fuzzed, as plain functions from bytes to nothing: a function panics when something that must hold does not.
//!
//! `cargo xtask fuzz TARGET` runs one under libFuzzer; the test `corpus` runs every file of `seeds/` through its function on
//! stable Rust. A file of `seeds/TARGET` has a name that says what it is; the first of them are made by [`seeds`], and what a
//! fuzzer found is added by hand. A new target is a module with `run` and `seeds`, a line in [`TARGETS`], a program of one line
//! in `fuzz_targets/` and its `[[bin]]`.

pub mod batch;
pub mod config;
pub mod control;
pub mod expression;
pub mod input;
pub mod journal;
pub mod leasequery;
pub mod leasequery_stream;
pub mod message;
pub mod options;
pub mod walk;

/// A named input to begin with.
pub type Seed = (&'static str, Vec<u8>);

/// Something that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its module, its program and its folder of seeds.
    pub name: &'static str,
    /// Runs an input through it; panics when it finds something.
    pub run: fn(&[u8]),
    /// The inputs to begin with.
    pub seeds: fn() -> Vec<Seed>,
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target { name: "walk", run: walk::run, seeds: walk::seeds },
    Target { name: "batch", run: batch::run, seeds: batch::seeds },
    Target { name: "options", run: options::run, seeds: options::seeds },
    Target { name: "config", run: config::run, seeds: config::seeds },
    Target { name: "expression", run: expression::run, seeds: expression::seeds },
    Target { name: "journal", run: journal::run, seeds: journal::seeds },
    Target { name: "control", run: control::run, seeds: control::seeds },
    Target { name: "leasequery", run: leasequery::run, seeds: leasequery::seeds },
    Target { name: "leasequery_stream", run: leasequery_stream::run, seeds: leasequery_stream::seeds },
];

/// The folder of seeds, a folder a target in it.
pub fn seeds_folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")
}
