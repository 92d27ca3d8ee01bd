//! Who is measured: how each is configured and started. All serve the same pool on the same link, to clients behind one
//! relay agent.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    command,
    lab::{End, Lab, Process},
    workspace,
};

// RFC 2544 C.2.2: 198.18.0.0/15 is for tests like this one, and routed nowhere.
pub const SERVER: &str = "198.18.0.1";
pub const RELAY: &str = "198.18.0.2";
pub const PREFIX_LENGTH: &str = "15";
pub const SUBNET: &str = "198.18.0.0/15";
pub const POOL: &str = "198.18.1.0-198.19.255.250";
const POOL_ENDS: (&str, &str) = ("198.18.1.0", "198.19.255.250");
pub const SERVER_INTERFACE: &str = "server0";
pub const CLIENT_INTERFACE: &str = "client0";

/// A server, or what stands in for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The sockets and rings of this server with no DHCP work: the limit of the machine.
    Reflector,
    /// This server, with each ACK on stable storage before it leaves.
    DhcpXdpSync,
    /// This server, without waiting for the disk.
    DhcpXdpOff,
    /// Kea with its memfile, which it writes and does not sync.
    Kea,
    /// dnsmasq, which rewrites its lease file.
    Dnsmasq,
    /// ISC dhcpd, which syncs its lease file at each ACK.
    Dhcpd,
}

impl Subject {
    /// All, in the order of the report.
    pub const ALL: [Subject; 6] =
        [Subject::Reflector, Subject::DhcpXdpSync, Subject::DhcpXdpOff, Subject::Kea, Subject::Dnsmasq, Subject::Dhcpd];

    /// The key in results, and the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Reflector => "reflector",
            Subject::DhcpXdpSync => "dhcp-xdp-sync",
            Subject::DhcpXdpOff => "dhcp-xdp-off",
            Subject::Kea => "kea",
            Subject::Dnsmasq => "dnsmasq",
            Subject::Dhcpd => "dhcpd",
        }
    }

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Subject::Reflector => "reflector",
            Subject::DhcpXdpSync => "dhcp-xdp, sync",
            Subject::DhcpXdpOff => "dhcp-xdp, off",
            Subject::Kea => "Kea, memfile",
            Subject::Dnsmasq => "dnsmasq",
            Subject::Dhcpd => "ISC dhcpd",
        }
    }

    /// What becomes of a lease by the time its ACK leaves.
    pub fn durability(self) -> &'static str {
        match self {
            Subject::Reflector => "no leases: each request comes straight back",
            Subject::DhcpXdpSync => "synced to disk before the ACK (fdatasync, in groups)",
            Subject::DhcpXdpOff => "written, not synced",
            Subject::Kea => "written to the memfile, not synced",
            Subject::Dnsmasq => "written to the lease file, not synced",
            Subject::Dhcpd => "synced to disk before the ACK (fsync, one by one)",
        }
    }

    /// The generator's scenario for it.
    pub fn scenario(self) -> &'static str {
        if self == Subject::Reflector { "echo" } else { "dora" }
    }

    /// The figure of the generator's summary that counts what is done.
    pub fn done(self) -> &'static str {
        if self == Subject::Reflector { "offers" } else { "bindings" }
    }

    fn program(self) -> Result<PathBuf> {
        let peer = |name: &str| {
            command::find(name).with_context(|| format!("`{name}` is not installed: run `cargo xtask setup --bench`"))
        };
        match self {
            Subject::Reflector => workspace::binary("dhcp-storm"),
            Subject::DhcpXdpSync | Subject::DhcpXdpOff => workspace::binary("dhcp-xdp"),
            Subject::Kea => peer("kea-dhcp4"),
            Subject::Dnsmasq => peer("dnsmasq"),
            Subject::Dhcpd => peer("dhcpd"),
        }
    }

    /// Its version, in its own words.
    ///
    /// # Errors
    /// It is not there.
    pub fn version(self) -> Result<String> {
        let mut program = Command::new(self.program()?);
        let output = command::finish(program.arg(if self == Subject::Kea { "-v" } else { "--version" }))?;
        // dhcpd says it to standard error.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let first = said.lines().next().unwrap_or_default();
        // "Dnsmasq version 2.90  Copyright", "isc-dhcpd-4.4.3-P1", "2.2.0", "dhcp-xdp 0.1.0".
        let digits = first.find(|c: char| c.is_ascii_digit()).map(|at| &first[at..]);
        Ok(digits.and_then(|text| text.split_whitespace().next()).unwrap_or(first).to_owned())
    }

    /// Starts it with nothing leased, in a new folder of the laboratory.
    ///
    /// # Errors
    /// It is not there, or its files cannot be written.
    pub fn start(self, lab: &Lab, end: End<'_>, round: u32) -> Result<Process> {
        let folder = lab.folder(&format!("{}-{round}", self.name()))?;
        let path = |name: &str| folder.join(name);
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = path(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let mut command = end.namespace.command(self.program()?)?;
        match self {
            Subject::Reflector => {
                command.args(["reflect", "--interface", end.interface]);
            }
            Subject::DhcpXdpSync | Subject::DhcpXdpOff => {
                let durability = if self == Subject::DhcpXdpSync { "sync" } else { "off" };
                let file = write("dhcp-xdp.toml", &dhcp_xdp(&folder.to_string_lossy(), durability))?;
                command.args(["serve", "--config"]).arg(file);
            }
            Subject::Kea => {
                let file = write("kea.json", &kea(&path("leases.csv").to_string_lossy()))?;
                // It refuses to start beside another one that shares these.
                command.env("KEA_PIDFILE_DIR", &folder).env("KEA_LOCKFILE_DIR", &folder).arg("-c").arg(file);
            }
            Subject::Dnsmasq => {
                let file = write("dnsmasq.conf", &dnsmasq())?;
                command.args(["--keep-in-foreground", "--user=root"]).arg(format!("--conf-file={}", file.display()));
                command.arg(format!("--dhcp-leasefile={}", path("leases").display()));
                command.arg(format!("--pid-file={}", path("pid").display()));
            }
            Subject::Dhcpd => {
                let (file, leases) = (write("dhcpd.conf", &dhcpd())?, write("leases", "")?);
                command.args(["-4", "-f", "-d", "-cf"]).arg(file).arg("-lf").arg(leases).arg("-pf").arg(path("pid"));
                command.arg(end.interface);
            }
        }
        Process::spawn(&mut command, path("log"))
    }
}

fn dhcp_xdp(state: &str, durability: &str) -> String {
    format!(
        "state_dir = \"{state}\"\ndurability = \"{durability}\"\n\n[[interface]]\nname = \"{SERVER_INTERFACE}\"\n\n[[subnet]]\n\
         prefix = \"{SUBNET}\"\ninterface = \"{SERVER_INTERFACE}\"\npools = [\"{POOL}\"]\n\n[subnet.options]\nrouters = \
         [\"{SERVER}\"]\n"
    )
}

/// Multi-threaded, with raw sockets, as its manual has it for speed; logging errors alone.
fn kea(leases: &str) -> String {
    let configuration = serde_json::json!({"Dhcp4": {
        "interfaces-config": {"interfaces": [SERVER_INTERFACE], "dhcp-socket-type": "raw"},
        "multi-threading": {"enable-multi-threading": true, "thread-pool-size": 2, "packet-queue-size": 64},
        "lease-database": {"type": "memfile", "persist": true, "name": leases, "lfc-interval": 0},
        "valid-lifetime": 3600,
        "subnet4": [{
            "id": 1,
            "subnet": SUBNET,
            "interface": SERVER_INTERFACE,
            "pools": [{"pool": POOL}],
            "option-data": [{"name": "routers", "data": SERVER}],
        }],
        "loggers": [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": "stdout"}]}],
    }});
    configuration.to_string()
}

fn dnsmasq() -> String {
    let (first, last) = POOL_ENDS;
    // Its default is a limit of 1000 leases, and a ping before each offer.
    format!(
        "port=0\ninterface={SERVER_INTERFACE}\nbind-interfaces\ndhcp-range={first},{last},255.254.0.0,1h\n\
         dhcp-option=option:router,{SERVER}\ndhcp-lease-max=1000000\ndhcp-authoritative\nno-ping\nlog-facility=/dev/null\n\
         quiet-dhcp\n"
    )
}

fn dhcpd() -> String {
    let (first, last) = POOL_ENDS;
    format!(
        "authoritative;\ndefault-lease-time 3600;\nmax-lease-time 7200;\nping-check off;\nsubnet 198.18.0.0 netmask 255.254.0.0 \
         {{\n  range {first} {last};\n  option routers {SERVER};\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_name_that_the_command_line_takes() {
        for subject in Subject::ALL {
            assert_eq!(Subject::from_str(subject.name(), false), Ok(subject));
        }
    }

    #[test]
    fn all_serve_the_same_pool() {
        let (first, last) = POOL_ENDS;
        assert_eq!(POOL, format!("{first}-{last}"));
        for configuration in [dhcp_xdp("/s", "sync"), kea("/l"), dnsmasq(), dhcpd()] {
            assert!(configuration.contains(first) && configuration.contains(last), "{configuration}");
        }
    }
}
