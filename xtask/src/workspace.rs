//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// The workspace's folder.
pub fn root() -> PathBuf {
    // Cargo says so to what it runs: clones that share a target folder share this program. Else as when it was compiled.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).parent().map_or_else(|| ".".into(), Path::to_path_buf)
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// The XDP program's object file, whether it exists or not; `dhcp-xdp-user/build.rs` has the same rule.
pub fn ebpf_object() -> PathBuf {
    target().join("bpf/dhcp-xdp.bpf.o")
}

/// Where cargo puts the programs of a profile.
pub fn binaries(release: bool) -> PathBuf {
    target().join(if release { "release" } else { "debug" })
}

/// A program of this workspace, built with optimisations: what the laboratory runs. `DHCP_XDP_BIN_DIR` names another folder.
///
/// # Errors
/// It has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = env::var_os("DHCP_XDP_BIN_DIR").map_or_else(|| binaries(true), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is not built: run `cargo xtask build --release`", path.display());
    }
    Ok(path)
}
