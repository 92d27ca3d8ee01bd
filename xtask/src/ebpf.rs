//! Building the XDP program: which toolchain can, and the call.
//!
//! The BPF target has no ready-made `core`, so it is built with the program, which takes the sources of the standard library
//! and an unstable flag: a nightly of rustup's with `rust-src`, or Debian's own rustc, whose source package matches it.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};

use crate::{cargo, command, group, workspace};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "dhcp-xdp-ebpf";

/// A toolchain that has the sources of the standard library.
#[derive(Clone, Debug)]
pub enum Toolchain {
    /// A nightly of rustup's, by its name.
    Rustup(String),
    /// The distribution's rustc and cargo, in `/usr/bin`.
    Distribution,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Toolchain::Rustup(name) => write!(f, "rustup's {name}"),
            Toolchain::Distribution => f.write_str("the distribution's /usr/bin/rustc"),
        }
    }
}

impl Toolchain {
    /// All that can build the program, the one to prefer first.
    pub fn find() -> Vec<Toolchain> {
        let nightlies = nightlies().into_iter().map(Toolchain::Rustup);
        let mut found: Vec<_> = nightlies.filter(Toolchain::has_sources).collect();
        if Path::new("/usr/bin/cargo").exists() && Toolchain::Distribution.has_sources() {
            found.push(Toolchain::Distribution);
        }
        found
    }

    fn has_sources(&self) -> bool {
        let sysroot = match self {
            Toolchain::Rustup(name) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", name, "rustc"]);
                rustup
            }
            Toolchain::Distribution => Command::new("/usr/bin/rustc"),
        };
        let mut sysroot = sysroot;
        let Ok(path) = command::output(sysroot.args(["--print", "sysroot"])) else { return false };
        PathBuf::from(path.trim()).join("lib/rustlib/src/rust/library/core").exists()
    }

    /// Cargo of this toolchain, allowed the unstable flag.
    fn cargo(&self) -> Command {
        match self {
            Toolchain::Rustup(name) => {
                let mut cargo = cargo::foreign("rustup");
                cargo.args(["run", name, "cargo"]);
                cargo
            }
            Toolchain::Distribution => {
                let mut cargo = cargo::foreign("/usr/bin/cargo");
                // Named, since `rustc` in PATH may be rustup's; the variable makes a stable compiler take `-Z`.
                cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        }
    }

    fn build(&self, target: &Path) -> Result<PathBuf> {
        let mut cargo = self.cargo();
        cargo.env("CARGO_TARGET_DIR", target);
        cargo.args(["build", "--quiet", "--locked", "--release", "--package", PACKAGE, "--bin", PACKAGE]);
        cargo.args(["--features", "program", "-Z", "build-std=core", "--target", TARGET]);
        group::run(&mut cargo)?;
        Ok(target.join(TARGET).join("release").join(PACKAGE))
    }
}

/// rustup's nightlies, by name.
pub fn nightlies() -> Vec<String> {
    let list = command::tool("rustup").and_then(|mut rustup| command::output(rustup.args(["toolchain", "list"])));
    let list = list.unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).map(str::to_owned).collect()
}

/// Builds the object file, unless it is newer than everything that it is made of; `force` builds it all the same.
///
/// # Errors
/// No toolchain can, `bpf-linker` is missing, or the program does not compile.
pub fn build(force: bool) -> Result<PathBuf> {
    let object = workspace::ebpf_object();
    if !force && is_fresh(&object)? {
        return Ok(object);
    }
    let toolchains = Toolchain::find();
    if toolchains.is_empty() || command::find("bpf-linker").is_none() {
        bail!("nothing here can build the XDP program: run `cargo xtask setup`");
    }
    let folder = object.parent().unwrap_or(Path::new("."));
    for (i, toolchain) in toolchains.iter().enumerate() {
        println!("Building the XDP program with {toolchain}");
        match toolchain.build(&folder.join("build")) {
            Ok(built) => {
                put(&built, &object)?;
                println!("Built {}", object.display());
                return Ok(object);
            }
            // A nightly can be too new for the linker's LLVM, for one.
            Err(error) if i + 1 < toolchains.len() => println!("That did not work ({error}); trying another toolchain"),
            Err(error) => return Err(error),
        }
    }
    bail!("no toolchain could build the XDP program")
}

/// Into place in one step, so that a build that reads it meanwhile sees the old or the new one.
fn put(built: &Path, object: &Path) -> Result<()> {
    let temporary = object.with_extension("new");
    fs::copy(built, &temporary).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&temporary, object).with_context(|| format!("cannot write {}", object.display()))
}

fn is_fresh(object: &Path) -> Result<bool> {
    let Ok(built) = fs::metadata(object).and_then(|metadata| metadata.modified()) else { return Ok(false) };
    let package = workspace::root().join(PACKAGE);
    let newest = newest(&package.join("src"))?
        .max(modified(&package.join("Cargo.toml"))?)
        .max(modified(&workspace::root().join("Cargo.lock"))?);
    Ok(newest <= built)
}

fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        newest = newest.max(modified(&entry?.path())?);
    }
    Ok(newest)
}

fn modified(path: &Path) -> Result<SystemTime> {
    let time: io::Result<SystemTime> = fs::metadata(path).and_then(|metadata| metadata.modified());
    time.with_context(|| format!("cannot read {}", path.display()))
}
