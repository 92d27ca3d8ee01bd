//! Finds the XDP program's object file and hands it to the library, which embeds it: the binary alone is enough to deploy.
//!
//! `cargo xtask build-ebpf` makes the object; `DHCP_XDP_EBPF_OBJECT` in the environment names another one. The library reads
//! the path with `env!("DHCP_XDP_EBPF_OBJECT")`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The environment variable that names the object, for this script and for the library.
const VARIABLE: &str = "DHCP_XDP_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    let root = workspace();
    let object = match env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => target(&root).join("bpf/dhcp-xdp.bpf.o"),
    };
    // Also when it does not exist: cargo then runs this script again until it does.
    println!("cargo::rerun-if-changed={}", object.display());
    let built = match object.canonicalize().and_then(|path| Ok((fs::metadata(&path)?.modified()?, path))) {
        Ok((built, path)) => {
            println!("cargo::rustc-env={VARIABLE}={}", path.display());
            built
        }
        Err(error) => {
            println!(
                "cargo::error=the XDP program's object file {} cannot be read ({error}): run `cargo xtask build-ebpf` once",
                object.display()
            );
            return;
        }
    };
    if env::var_os(VARIABLE).is_none() {
        warn_when_stale(&root.join("dhcp-xdp-ebpf/src"), built);
    }
}

/// The workspace: the folder above this package.
fn workspace() -> PathBuf {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into()));
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

/// Where `cargo xtask` puts what it builds: the same rule as its own.
fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target))
}

/// An old object in a new server would be found late, by its behaviour: say so now.
fn warn_when_stale(sources: &Path, built: SystemTime) {
    println!("cargo::rerun-if-changed={}", sources.display());
    let newer = newest(sources).is_ok_and(|changed| changed > built);
    if newer {
        println!("cargo::warning=the XDP program changed since its object was built: run `cargo xtask build-ebpf`");
    }
}

fn newest(folder: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        newest = newest.max(entry?.metadata()?.modified()?);
    }
    Ok(newest)
}
