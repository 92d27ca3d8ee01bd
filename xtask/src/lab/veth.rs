//! Veth pairs between namespaces.

use anyhow::Result;

use super::Namespace;
use crate::command;

/// One end of a pair: an interface in a namespace.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// Name of the interface, at most 15 characters.
    pub interface: &'a str,
}

impl<'a> End<'a> {
    /// An interface of this name in this namespace.
    pub fn new(namespace: &'a Namespace, interface: &'a str) -> Self {
        Self { namespace, interface }
    }

    /// Gives it an address: `198.18.0.1/16`.
    ///
    /// # Errors
    /// With what `ip` said.
    pub fn add_address(&self, address: &str) -> Result<()> {
        self.namespace.ip(&format!("address add {address} dev {}", self.interface)).map(drop)
    }

    /// Gives it a MAC address.
    ///
    /// # Errors
    /// With what `ip` said.
    pub fn set_mac(&self, mac: &str) -> Result<()> {
        self.namespace.ip(&format!("link set dev {} address {mac}", self.interface)).map(drop)
    }

    /// Its MAC address, as the kernel writes it.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn mac(&self) -> Result<String> {
        let path = format!("/sys/class/net/{}/address", self.interface);
        // sysfs shows the namespace that mounted it: read it through a process in there.
        let mut cat = self.namespace.command("cat")?;
        Ok(command::output(cat.arg(path))?.trim().to_owned())
    }

    /// Id of the XDP program that is attached to it, if any.
    ///
    /// # Errors
    /// With what `ip` said.
    pub fn xdp_program(&self) -> Result<Option<u64>> {
        let text = self.namespace.ip(&format!("-json -details link show dev {}", self.interface))?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        Ok(links[0]["xdp"]["prog"]["id"].as_u64())
    }
}

/// How to make a pair.
#[derive(Clone, Copy, Debug)]
pub struct Veth {
    /// Receive queues and transmit queues of each end.
    pub queues: u32,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

impl Default for Veth {
    fn default() -> Self {
        Self { queues: 1, mtu: 1500 }
    }
}

impl Veth {
    /// Joins two namespaces; both ends are up afterwards.
    ///
    /// # Errors
    /// With what `ip` said.
    pub fn join(&self, a: End<'_>, b: End<'_>) -> Result<()> {
        let Self { queues, mtu } = *self;
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        a.namespace.ip(&format!(
            "link add {} mtu {mtu} {queues} type veth peer name {} mtu {mtu} {queues} netns {}",
            a.interface,
            b.interface,
            b.namespace.name()
        ))?;
        for end in [a, b] {
            end.namespace.ip(&format!("link set dev {} up", end.interface))?;
        }
        Ok(())
    }
}
