//! `cargo xtask fuzz`: the targets of `fuzz/` under libFuzzer, through cargo-fuzz.
//!
//! A nightly of rustup's fuzzes with the address sanitizer; without one the compiler that built this fuzzes without it, which
//! finds the same panics. What a fuzzer collects stays in `fuzz/corpus`, what it finds in `fuzz/artifacts`; neither belongs to
//! the repository.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    cargo, ebpf, group,
    setup::{self, Purpose},
    workspace,
};

/// What to fuzz.
#[derive(Args, Clone, Debug)]
pub struct Fuzz {
    /// Which target; all of them, one after the other, without it.
    pub target: Option<String>,
    /// How long to fuzz each, seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Only say which targets there are.
    #[arg(long)]
    pub list: bool,
}

/// Longest input, bytes: some frames, a long configuration.
const MAX_LEN: usize = 16 * 1024;
/// Longest time that one input may take, seconds: a hang is a find.
const TIMEOUT_S: u32 = 20;

/// Builds the targets and runs them.
///
/// # Errors
/// There is no such target, something could not be installed or built, or the fuzzer found something.
pub fn fuzz(options: &Fuzz) -> Result<()> {
    let targets = targets()?;
    if options.list {
        for target in targets {
            println!("{target}");
        }
        return Ok(());
    }
    let chosen: Vec<String> = match &options.target {
        None => targets,
        Some(target) if targets.contains(target) => vec![target.clone()],
        Some(target) => bail!("there is no target `{target}`; there are {}", targets.join(", ")),
    };
    setup::setup(Purpose::Build, false)?;
    setup::setup_fuzz(false)?;
    let object = ebpf::build(false)?;
    let compiler = Compiler::find();
    println!("Fuzzing with {}", compiler.name());
    for target in &chosen {
        println!("Fuzzing {target} for {} s", options.seconds);
        let mut run = run(&compiler, target, options.seconds)?;
        run.env("DHCP_XDP_EBPF_OBJECT", &object);
        group::run(&mut run).with_context(|| {
            format!("fuzzing {target} found something: see fuzz/artifacts/{target}; keep it in fuzz/seeds/{target} under a name")
        })?;
    }
    println!("Nothing found in {} target(s), {} s each", chosen.len(), options.seconds);
    Ok(())
}

/// The targets: programs of one line each.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

/// Who compiles the targets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Compiler {
    /// A nightly of rustup's, by its name: takes the flags of the sanitizer.
    Nightly(String),
    /// The one that built this.
    Own,
}

impl Compiler {
    fn find() -> Self {
        ebpf::nightlies().into_iter().next().map_or(Self::Own, Self::Nightly)
    }

    fn name(&self) -> String {
        match self {
            Self::Nightly(name) => format!("rustup's {name} and the address sanitizer"),
            Self::Own => "this compiler, without a sanitizer (a nightly of rustup's would have one)".to_owned(),
        }
    }

    /// `cargo fuzz`, which calls the cargo and the rustc that it finds in the environment.
    fn cargo_fuzz(&self) -> Command {
        match self {
            Self::Nightly(name) => {
                let mut cargo = cargo::foreign("rustup");
                cargo.args(["run", name, "cargo", "fuzz"]);
                cargo
            }
            Self::Own => {
                let mut cargo = cargo::cargo();
                cargo.arg("fuzz");
                cargo
            }
        }
    }

    fn sanitizer(&self) -> &'static str {
        match self {
            Self::Nightly(_) => "address",
            Self::Own => "none",
        }
    }
}

fn run(compiler: &Compiler, target: &str, seconds: u32) -> Result<Command> {
    let (folder, built) = (folder(), workspace::target().join("fuzz"));
    let (corpus, seeds) = (folder.join("corpus").join(target), folder.join("seeds").join(target));
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let mut cargo = compiler.cargo_fuzz();
    // Optimising over all crates takes long and gives a fuzzer nothing.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    cargo.args(["run", "--features", "libfuzzer", "--sanitizer", compiler.sanitizer(), "--fuzz-dir"]).arg(&folder);
    cargo.arg("--target-dir").arg(built).arg(target).arg(corpus).arg(seeds).arg("--");
    cargo.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={TIMEOUT_S}"));
    cargo.args([&format!("-max_len={MAX_LEN}"), "-print_final_stats=1"]);
    Ok(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_fuzzing_crate() {
        let found = targets().unwrap();
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        assert!(found.len() >= 6, "{found:?}");
        for target in found {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
        }
    }

    #[test]
    fn an_unknown_target_is_told_with_those_that_there_are() {
        let options = Fuzz { target: Some("wlak".into()), seconds: 1, list: false };
        let error = fuzz(&options).unwrap_err().to_string();
        assert!(error.starts_with("there is no target `wlak`; there are batch, config"), "{error}");
    }
}
