//! Finding or installing what the build, the laboratory and the tests need.
//!
//! What is there is found by its files, in milliseconds; only what is missing is asked of `apt-get` and `cargo install`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{cargo, command, ebpf, group};

/// What runs the targets of `fuzz/` under libFuzzer.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// The linker for BPF, and the LLVM that it is built with: that of Debian's rustc-web and of the nightlies of its time.
const LINKER_VERSION: &str = "0.13.0";
const LLVM: &str = "22";

/// How to see that something is there.
#[derive(Clone, Copy, Debug)]
enum Sign {
    Program(&'static str),
    Header(&'static str),
}

/// What must be there, and Debian's package of it.
#[derive(Clone, Copy, Debug)]
struct Need {
    sign: Sign,
    package: &'static str,
    why: &'static str,
}

const fn need(sign: Sign, package: &'static str, why: &'static str) -> Need {
    Need { sign, package, why }
}

use Sign::{Header, Program};

const XSK: &str = "libxdp and libbpf, which xsk-rs builds";
const CLIENT: &str = "a client of the end-to-end tests";
const DISK: &str = "a disk that fails in the end-to-end tests";
const JUDGE: &str = "captures in the end-to-end tests";

/// For the server and its XDP program.
const BUILD: [Need; 6] = [
    need(Program("cc"), "gcc", XSK),
    need(Program("clang"), "clang", XSK),
    need(Header("libelf.h"), "libelf-dev", XSK),
    need(Header("zlib.h"), "zlib1g-dev", XSK),
    need(Program("pkg-config"), "pkg-config", XSK),
    need(Program("m4"), "m4", XSK),
];

/// For `run`, besides.
const RUN: [Need; 2] = [
    need(Program("ip"), "iproute2", "network namespaces"),
    need(Program("udhcpc"), "udhcpc", "the client of the laboratory"),
];

/// For `test`, besides.
const TEST: [Need; 14] = [
    need(Program("ss"), "iproute2", "counters of sockets"),
    need(Program("ethtool"), "ethtool", "settings of interfaces"),
    need(Program("bpftool"), "bpftool", "to look at the XDP program"),
    need(Program("dhclient"), "isc-dhcp-client", CLIENT),
    need(Program("dhcpcd"), "dhcpcd-base", CLIENT),
    need(Program("dhcrelay"), "isc-dhcp-relay", "the relay agent of the end-to-end tests"),
    need(Program("kea-dhcp4"), "kea-dhcp4-server", "the server that ours is held against"),
    need(Program("perfdhcp"), "kea-admin", "load in the end-to-end tests"),
    need(Program("mkfs.ext4"), "e2fsprogs", DISK),
    need(Program("chattr"), "e2fsprogs", DISK),
    need(Program("fsfreeze"), "util-linux", DISK),
    need(Program("setpriv"), "util-linux", "a server without root in the end-to-end tests"),
    need(Program("tcpdump"), "tcpdump", JUDGE),
    need(Program("tshark"), "tshark", JUDGE),
];

impl Need {
    fn is_met(&self) -> bool {
        match self.sign {
            Program(name) => command::find(name).is_some(),
            Header(name) => {
                ["/usr/include", "/usr/local/include"].iter().any(|folder| Path::new(folder).join(name).exists())
            }
        }
    }
}

/// What for; each needs what those before it need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// `build` and `build-ebpf`.
    Build,
    /// `run`.
    Run,
    /// `test`: all of it.
    Test,
}

/// What is missing, in the order in which it would be installed.
#[derive(Debug, Default)]
struct Missing {
    packages: Vec<Need>,
    toolchain: bool,
    linker: bool,
    components: Vec<&'static str>,
}

impl Missing {
    fn look(purpose: Purpose) -> Self {
        let lists: [(Purpose, &[Need]); 3] = [(Purpose::Build, &BUILD), (Purpose::Run, &RUN), (Purpose::Test, &TEST)];
        let needs = lists.iter().filter(|(from, _)| *from <= purpose).flat_map(|(_, needs)| needs.iter());
        Self {
            packages: needs.filter(|need| !need.is_met()).copied().collect(),
            toolchain: ebpf::Toolchain::find().is_empty(),
            linker: !linker_works(),
            components: if purpose == Purpose::Test { missing_components() } else { Vec::new() },
        }
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.toolchain && !self.linker && self.components.is_empty()
    }

    /// Debian's packages for all of it, each once.
    fn debian_packages(&self) -> Vec<String> {
        let mut packages: Vec<String> = self.packages.iter().map(|need| need.package.to_owned()).collect();
        if self.toolchain {
            packages.extend(["rustc-web", "cargo-web", "rust-web-src"].map(str::to_owned));
        }
        if self.linker && command::find(&format!("llvm-config-{LLVM}")).is_none() {
            packages.push(format!("llvm-{LLVM}-dev"));
        }
        packages.sort();
        packages.dedup();
        packages
    }

    fn print(&self) {
        for need in &self.packages {
            let what = match need.sign {
                Program(name) => format!("the program {name}"),
                Header(name) => format!("the header {name}"),
            };
            println!("Missing: {what} (Debian: {}), for {}", need.package, need.why);
        }
        if self.toolchain {
            println!(
                "Missing: a Rust toolchain with the sources of the standard library, for the XDP program (Debian: rustc-web \
                 cargo-web rust-web-src; or a nightly of rustup's with the component rust-src)"
            );
        }
        if self.linker {
            println!(
                "Missing: bpf-linker {LINKER_VERSION}, for the XDP program: LLVM_PREFIX=\"$(llvm-config-{LLVM} --prefix)\" cargo \
                 install bpf-linker --version {LINKER_VERSION} --locked --no-default-features --features llvm-{LLVM} (Debian: \
                 llvm-{LLVM}-dev)"
            );
        }
        for component in &self.components {
            println!("Missing: {component}, for the tests: rustup component add {component}");
        }
    }
}

/// Installs what is missing, or only says so with `check`.
///
/// # Errors
/// Something is missing with `check`, or on a system that is not Debian's kin; or installing failed.
pub fn setup(purpose: Purpose, check: bool) -> Result<()> {
    let missing = Missing::look(purpose);
    if missing.is_empty() {
        println!("Setup: all that is needed is there");
        return Ok(());
    }
    missing.print();
    if check {
        bail!("something is missing: `cargo xtask setup` installs it");
    }
    install(&missing)?;
    let still = Missing::look(purpose);
    if !still.is_empty() {
        still.print();
        bail!("something is still missing");
    }
    println!("Setup: done");
    Ok(())
}

fn install(missing: &Missing) -> Result<()> {
    let packages = missing.debian_packages();
    if !packages.is_empty() {
        if !is_debian() {
            bail!("only on Debian and Ubuntu can this be installed for you: please install what is listed above");
        }
        apt_install(&packages)?;
    }
    if missing.linker {
        install_linker()?;
    }
    for component in &missing.components {
        if command::find("rustup").is_none() {
            bail!("{component} is missing and there is no rustup to add it: please install it");
        }
        println!("Setup: rustup component add {component}");
        command::run(Command::new("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}

fn apt_install(packages: &[String]) -> Result<()> {
    println!("Setup: apt-get install {}", packages.join(" "));
    let install = || -> Result<Command> {
        let mut command = command::as_root("env")?;
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet"]);
        command.args(["--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]).args(packages);
        command.stdin(Stdio::null());
        Ok(command)
    };
    // The lists of packages may be old or empty: get them when the first try says so, not each time.
    if command::run(&mut install()?).is_ok() {
        return Ok(());
    }
    println!("Setup: apt-get update, and once more");
    let mut update = command::as_root("apt-get")?;
    command::run(update.args(["update", "--quiet"]))?;
    command::run(&mut install()?).context("please install these packages by hand")
}

fn install_linker() -> Result<()> {
    let prefix = command::output(command::tool(&format!("llvm-config-{LLVM}"))?.arg("--prefix"))?;
    println!("Setup: cargo install bpf-linker {LINKER_VERSION} (some minutes)");
    let mut cargo = cargo::foreign("cargo");
    cargo.env("LLVM_PREFIX", prefix.trim()).env_remove("CARGO_TARGET_DIR");
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]);
    group::run(&mut cargo)
}

/// Installs what `cargo xtask fuzz` needs, or only says so with `check`.
///
/// # Errors
/// It is missing with `check`, or could not be installed.
pub fn setup_fuzz(check: bool) -> Result<()> {
    let install = format!("cargo install cargo-fuzz --version {CARGO_FUZZ_VERSION} --locked");
    if command::find("c++").is_none() {
        let need = need(Program("c++"), "g++", "libFuzzer");
        Missing { packages: vec![need], ..Missing::default() }.print();
        if check {
            bail!("something is missing: `cargo xtask setup --fuzz` installs it");
        }
        if !is_debian() {
            bail!("only on Debian and Ubuntu can this be installed for you: please install what is listed above");
        }
        apt_install(&["g++".to_owned()])?;
    }
    if is_version(&fuzz_version(), CARGO_FUZZ_VERSION) {
        return Ok(());
    }
    println!("Missing: cargo-fuzz {CARGO_FUZZ_VERSION}, for fuzzing: {install}");
    if check {
        bail!("something is missing: `cargo xtask setup --fuzz` installs it");
    }
    println!("Setup: {install} (a minute or two)");
    let mut cargo = cargo::foreign("cargo");
    cargo.env_remove("CARGO_TARGET_DIR").args(install.split(' ').skip(1)).arg("--force");
    group::run(&mut cargo)
}

/// What `cargo fuzz --version` says.
fn fuzz_version() -> String {
    command::tool("cargo-fuzz").and_then(|mut fuzz| command::output(fuzz.arg("--version"))).unwrap_or_default()
}

/// Whether it is there in the version that this was made with, and its LLVM with it: without that it could not say so.
fn linker_works() -> bool {
    let said = command::tool("bpf-linker").and_then(|mut linker| command::output(linker.arg("--version")));
    said.is_ok_and(|said| is_version(&said, LINKER_VERSION))
}

/// Whether a program's `--version` said this version.
fn is_version(said: &str, version: &str) -> bool {
    said.split_whitespace().nth(1) == Some(version)
}

fn missing_components() -> Vec<&'static str> {
    let programs = [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")];
    programs.into_iter().filter(|(program, _)| !component_works(program)).map(|(_, component)| component).collect()
}

/// rustup has a proxy for each component, there or not: ask the file of the toolchain that builds this.
fn component_works(program: &str) -> bool {
    let beside = std::env::var_os("CARGO").and_then(|cargo| Some(Path::new(&cargo).parent()?.join(program)));
    beside.is_some_and(|path| path.exists()) || (command::find("rustup").is_none() && command::find(program).is_some())
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    is_debian_release(&release) && command::find("apt-get").is_some()
}

/// Whether this is the `/etc/os-release` of Debian or of a system made from it (os-release(5)).
fn is_debian_release(release: &str) -> bool {
    let values = release.lines().filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    values.flat_map(|value| value.trim_matches('"').split_whitespace()).any(|id| id == "debian" || id == "ubuntu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_kin_are_known() {
        assert!(is_debian_release("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
        assert!(is_debian_release("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian_release("ID=fedora\nVERSION_ID=42\n"));
        assert!(!is_debian_release("NAME=\"not debian\"\nID=\"arch\"\n"));
    }

    #[test]
    fn a_package_that_two_needs_share_is_installed_once() {
        let packages = RUN.iter().chain(&TEST).copied().filter(|need| need.package == "iproute2").collect();
        let missing = Missing { packages, ..Missing::default() };
        assert_eq!(missing.debian_packages(), ["iproute2"]);
    }

    #[test]
    fn only_the_linker_that_setup_installs_will_do() {
        assert!(is_version(&format!("bpf-linker {LINKER_VERSION}\n"), LINKER_VERSION));
        for other in ["bpf-linker 0.9.15\n", "bpf-linker 0.13.01", "bpf-linker", ""] {
            assert!(!is_version(other, LINKER_VERSION), "{other}");
        }
    }

    #[test]
    fn a_missing_toolchain_is_debians() {
        let missing = Missing { toolchain: true, ..Missing::default() };
        assert_eq!(missing.debian_packages(), ["cargo-web", "rust-web-src", "rustc-web"]);
    }
}
