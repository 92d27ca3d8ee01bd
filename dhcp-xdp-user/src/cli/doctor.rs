//! `dhcp-xdp doctor`

use std::{fs, io, path::Path};

use clap::Args;
use dhcp_xdp::xsk::{
    Device,
    capabilities::{self, Capability, has},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::{
    failure::{Done, Failure},
    output::Output,
};

/// Look whether this machine can serve: kernel, capabilities, limits, and an interface; says what is missing and what to do
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhcp-xdp doctor --interface eth1")]
pub(super) struct Doctor {
    /// Also look at this interface
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
}

/// How a look at one thing turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Good,
    /// It works, but there is something to know.
    Note,
    /// The server cannot run like this.
    Missing,
}

/// One thing looked at.
#[derive(Debug)]
struct Look {
    verdict: Verdict,
    what: &'static str,
    found: String,
}

fn good(what: &'static str, found: impl Into<String>) -> Look {
    Look { verdict: Verdict::Good, what, found: found.into() }
}

fn note(what: &'static str, found: impl Into<String>) -> Look {
    Look { verdict: Verdict::Note, what, found: found.into() }
}

fn missing(what: &'static str, found: impl Into<String>) -> Look {
    Look { verdict: Verdict::Missing, what, found: found.into() }
}

impl Doctor {
    pub fn run(self) -> Done {
        let capabilities = capabilities::effective();
        let release =
            nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
        let mut looks = vec![kernel(&release), af_xdp(), btf(), jit()];
        looks.extend(needed_capabilities(capabilities));
        looks.push(low_port(capabilities));
        looks.push(memlock(capabilities));
        looks.push(cpus());
        if let Some(name) = &self.interface {
            looks.extend(interface(name));
        }
        let mut out = Output::new();
        for look in &looks {
            let mark = match look.verdict {
                Verdict::Good => "good",
                Verdict::Note => "note",
                Verdict::Missing => "MISSING",
            };
            out.line(format!("{mark:<8}{:<16}{}", look.what, look.found))?;
        }
        out.flush()?;
        match looks.iter().filter(|look| look.verdict == Verdict::Missing).count() {
            0 => Ok(()),
            n => Err(Failure::Failed(format!("{n} of {} looks found something missing: see above", looks.len()))),
        }
    }
}

/// Shared UMEM among sockets of one queue needs 5.10, preferred busy polling 5.11.
fn kernel(release: &str) -> Look {
    match version(release) {
        Some(v) if v >= (5, 11) => good("kernel", release),
        Some(v) if v >= (5, 10) => note("kernel", format!("{release}: no preferred busy polling (from 5.11)")),
        Some(_) => missing("kernel", format!("{release}: sockets that share packet memory need 5.10 or later")),
        None => {
            note("kernel", format!("cannot tell the version of `{release}`; 5.11 or later is needed for everything"))
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn af_xdp() -> Look {
    match fs::read_to_string("/proc/net/protocols") {
        Ok(text) if text.lines().any(|line| line.split_whitespace().next() == Some("XDP")) => {
            good("AF_XDP", "the kernel has it")
        }
        Ok(_) => missing("AF_XDP", "the kernel has none: it needs CONFIG_XDP_SOCKETS=y"),
        Err(error) => note("AF_XDP", format!("cannot tell: /proc/net/protocols: {error}")),
    }
}

fn btf() -> Look {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        good("BTF", path)
    } else {
        note("BTF", "the kernel shows none (CONFIG_DEBUG_INFO_BTF): the server works, bpftool shows less")
    }
}

fn jit() -> Look {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable") {
        Ok(text) if text.trim() == "0" => {
            note("BPF JIT", "off: XDP is interpreted and slow; `sysctl net.core.bpf_jit_enable=1`")
        }
        Ok(_) => good("BPF JIT", "on"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            note("BPF JIT", "cannot tell: this network namespace has no net.core.bpf_jit_enable")
        }
        Err(_) => note("BPF JIT", "cannot tell (no right to read net.core.bpf_jit_enable)"),
    }
}

fn needed_capabilities(set: u64) -> Vec<Look> {
    let advice = "run as root, or see the unit in examples/dhcp-xdp.service";
    let look = |one: &Capability| {
        if one.is_in(set) {
            good(one.name, format!("there, to {}", one.purpose))
        } else {
            missing(one.name, format!("needed to {}: {advice}", one.purpose))
        }
    };
    capabilities::NEEDED.iter().map(look).collect()
}

/// Only leasequery over TCP listens on a port as other programs do.
fn low_port(set: u64) -> Look {
    let what = "TCP port 67";
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    let is_free = first.and_then(|text| text.trim().parse::<u16>().ok()).is_some_and(|first| first <= 67);
    if has(set, capabilities::NET_BIND_SERVICE) || is_free {
        good(what, "may be listened on, for leasequery over TCP")
    } else {
        note(what, "leasequery over TCP (`[leasequery.tcp]`) needs CAP_NET_BIND_SERVICE, or a `port` from 1024 on")
    }
}

/// Packet memory counts as locked memory of its user unless CAP_IPC_LOCK is there.
fn memlock(set: u64) -> Look {
    let what = "locked memory";
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        _ if has(set, capabilities::IPC_LOCK) => good(what, "no limit (CAP_IPC_LOCK)"),
        Ok((soft, _)) if soft == RLIM_INFINITY => good(what, "no limit"),
        Ok((_, hard)) if hard == RLIM_INFINITY || has(set, capabilities::SYS_RESOURCE) => {
            good(what, "limited, but the server may raise it")
        }
        Ok((_, hard)) => missing(
            what,
            format!(
                "at most {} KiB, too little for packet memory: LimitMEMLOCK=infinity, or CAP_IPC_LOCK",
                hard / 1024
            ),
        ),
        Err(error) => note(what, format!("cannot tell: {error}")),
    }
}

fn cpus() -> Look {
    match std::thread::available_parallelism() {
        Ok(n) if n.get() == 1 => note("CPUs", "1: workers, journal and kernel share it"),
        Ok(n) => good("CPUs", n.to_string()),
        Err(error) => note("CPUs", format!("cannot tell: {error}")),
    }
}

fn interface(name: &str) -> Vec<Look> {
    let device = match Device::find(name) {
        Ok(device) => device,
        Err(error) => return vec![missing("interface", format!("{error}: see `ip link`"))],
    };
    let driver = if device.driver.is_empty() { "unknown driver" } else { &device.driver };
    let mut looks = vec![
        good("interface", format!("{name}: {driver}, {} receive queue(s), MTU {}", device.rx_queues, device.mtu)),
        match device.addresses.as_slice() {
            [] => missing(
                "address",
                format!("{name} has no IPv4 address: `ip address add 192.0.2.1/24 dev {name}`, or set server_id"),
            ),
            all => good("address", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        },
        match device.program {
            Some(program) => note(
                "XDP",
                format!(
                    "program {} is attached: a running dhcp-xdp's, or one that must go first (`ip link set dev {name} xdp off`)",
                    program.id
                ),
            ),
            None => good("XDP", "no program is attached yet"),
        },
    ];
    if device.strips_vlan_tags && !device.is_veth() {
        looks.push(note(
            "VLAN",
            format!("{name} takes tags off before XDP sees them: with tagged clients `ethtool -K {name} rxvlan off`"),
        ));
    }
    let state = fs::read_to_string(Path::new("/sys/class/net").join(name).join("operstate")).unwrap_or_default();
    if state.trim() == "down" {
        looks.push(missing("link", format!("{name} is down: `ip link set dev {name} up`, and is the cable in?")));
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_what_they_can() {
        assert_eq!(kernel("6.18.0-1-amd64").verdict, Verdict::Good);
        assert_eq!(kernel("5.10.0").verdict, Verdict::Note);
        assert_eq!(kernel("4.19.0").verdict, Verdict::Missing);
        assert_eq!(kernel("odd").verdict, Verdict::Note);
    }

    #[test]
    fn each_capability_that_is_missing_is_told_with_what_to_do() {
        let looks = needed_capabilities(1 << 12 | 1 << 13);
        let verdicts: Vec<Verdict> = looks.iter().map(|look| look.verdict).collect();
        assert_eq!(verdicts, [Verdict::Good, Verdict::Missing, Verdict::Missing, Verdict::Good]);
        assert!(looks[1].found.contains("run as root"));
    }

    #[test]
    fn an_interface_that_is_not_there_is_missing() {
        assert_eq!(interface("none-such")[0].verdict, Verdict::Missing);
    }
}
