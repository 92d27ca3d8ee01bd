//! Calls of cargo: the build, and what every call of it has in common.

use std::{env, path::Path, process::Command};

use anyhow::Result;

use crate::{ebpf, group, workspace};

/// What the calling cargo and rustup put into the environment for this very process, and another toolchain must not see.
const LEAKED: [&str; 8] = [
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// The cargo that called us, in the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root());
    cargo
}

/// A cargo of another toolchain, in the workspace, that knows nothing of the one that called us.
pub fn foreign(program: impl AsRef<Path>) -> Command {
    let mut cargo = Command::new(program.as_ref());
    for variable in LEAKED {
        cargo.env_remove(variable);
    }
    cargo.current_dir(workspace::root());
    cargo
}

/// Builds the XDP program where needed, then the server and the load generator.
///
/// # Errors
/// A compiler's complaint, already printed.
pub fn build(release: bool) -> Result<()> {
    ebpf::build(false)?;
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--package", "dhcp-xdp", "--package", "dhcp-storm"]);
    if release {
        cargo.arg("--release");
    }
    group::run(&mut cargo)?;
    println!("Built {}", workspace::binaries(release).join("dhcp-xdp").display());
    Ok(())
}
