//! The capabilities that serving takes (capabilities(7)), and which of them this process has.

use std::fs;

/// A capability by its number in the kernel's header and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its bit in a capability set.
    pub number: u32,
    /// `CAP_…`
    pub name: &'static str,
    /// Whether CAP_SYS_ADMIN is as good.
    pub is_of_admin: bool,
    /// What it is needed for.
    pub purpose: &'static str,
}

/// CAP_NET_BIND_SERVICE: may listen on a TCP port below 1024, for leasequery.
pub const NET_BIND_SERVICE: u32 = 10;
/// CAP_IPC_LOCK: packet memory is not counted against RLIMIT_MEMLOCK.
pub const IPC_LOCK: u32 = 14;
/// CAP_SYS_ADMIN.
pub const SYS_ADMIN: u32 = 21;
/// CAP_SYS_RESOURCE: may raise its limits.
pub const SYS_RESOURCE: u32 = 24;

/// What to do where there are too few file descriptors.
pub(super) const MORE_FILES: &str = "LimitNOFILE=65536, or `ulimit -n`, gives more";

/// What loading and attaching the program takes, and opening sockets last.
pub const NEEDED: &[Capability] = &[
    Capability { number: 12, name: "CAP_NET_ADMIN", is_of_admin: true, purpose: "attach the XDP program" },
    Capability { number: 39, name: "CAP_BPF", is_of_admin: true, purpose: "load the XDP program" },
    // Without it the verifier allows no packet offset that is not a constant, and headers have lengths.
    Capability { number: 38, name: "CAP_PERFMON", is_of_admin: true, purpose: "have the XDP program verified" },
    Capability { number: 13, name: "CAP_NET_RAW", is_of_admin: false, purpose: "open AF_XDP sockets" },
];

impl Capability {
    /// Whether a set has it, or what is as good.
    pub fn is_in(&self, set: u64) -> bool {
        has(set, self.number) || (self.is_of_admin && has(set, SYS_ADMIN))
    }
}

/// Whether a set has the capability of this number.
pub fn has(set: u64, number: u32) -> bool {
    set >> number & 1 == 1
}

/// The effective set of this process; empty where `/proc` is not there.
pub fn effective() -> u64 {
    effective_of(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// The effective set in a text as `/proc/PID/status` has it.
fn effective_of(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// Why the kernel says that this process may not do what takes these.
pub(super) fn reason(needed: &[Capability]) -> String {
    reason_of(effective(), needed)
}

fn reason_of(set: u64, needed: &[Capability]) -> String {
    let names: Vec<&str> = needed.iter().filter(|one| !one.is_in(set)).map(|one| one.name).collect();
    match names[..] {
        [] => "every capability is there, so a security module or a seccomp profile forbids it (see the kernel's log)"
            .to_owned(),
        [only] => format!("{only} is missing (run as root, or grant it)"),
        _ => format!("{} are missing (run as root, or grant them)", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_in_the_examples_grants_all_of_them() {
        let unit = include_str!("../../../examples/dhcp-xdp.service");
        for key in ["AmbientCapabilities=", "CapabilityBoundingSet="] {
            let granted: Vec<&str> = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().split(' ').collect();
            let optional = ["CAP_IPC_LOCK", "CAP_NET_BIND_SERVICE"];
            for name in NEEDED.iter().map(|one| one.name).chain(optional) {
                assert!(granted.contains(&name), "{key} {name}");
            }
        }
    }

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        let set = effective_of("Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000003000\n");
        let there: Vec<&str> = NEEDED.iter().filter(|one| one.is_in(set)).map(|one| one.name).collect();
        assert_eq!(there, ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
        assert_eq!(effective_of("odd"), 0);
    }

    #[test]
    fn the_capability_that_is_missing_is_named_and_no_other() {
        let all = NEEDED.iter().fold(0, |set, one| set | 1 << one.number);
        for one in NEEDED {
            let reason = reason_of(all & !(1 << one.number), NEEDED);
            assert_eq!(reason, format!("{} is missing (run as root, or grant it)", one.name));
        }
        assert!(reason_of(1 << SYS_ADMIN, NEEDED).starts_with("CAP_NET_RAW is missing"));
        assert!(reason_of(1 << 39 | 1 << 12, NEEDED).starts_with("CAP_PERFMON, CAP_NET_RAW are missing"));
        assert!(reason_of(all, NEEDED).contains("security module"));
    }
}
