//! What a check asks the machine that it runs on: its interfaces and its CPUs.

use std::{io, net::Ipv4Addr, os::unix::fs::PermissionsExt as _, path::Path};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

use crate::xsk::{Device, DeviceError};

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    /// Nothing: the check runs elsewhere, or has no right to ask.
    Unknown,
    /// There is none of this name.
    Missing,
    /// It is there.
    Present(Link),
}

/// An interface that is there, as far as a configuration can fit it or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// Whether it hides VLAN tags from XDP.
    pub hides_vlan_tags: bool,
}

/// A machine to check a configuration against.
pub trait Machine {
    /// What is known of an interface.
    fn interface(&self, name: &str) -> InterfaceState;
    /// CPUs that workers may be pinned to; empty when that is not known.
    fn cpus(&self) -> Vec<usize>;
    /// Why a program cannot be run here, with what to do; `None`: it can, or nothing is known.
    fn program(&self, _path: &Path) -> Option<String> {
        None
    }
}

/// The machine that this program runs on.
#[derive(Clone, Copy, Debug)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn interface(&self, name: &str) -> InterfaceState {
        match Device::find(name) {
            Ok(device) => InterfaceState::Present(Link {
                // A veth hands a tag over however its offload is set.
                hides_vlan_tags: device.strips_vlan_tags && !device.is_veth(),
                rx_queues: device.rx_queues,
                addresses: device.addresses,
            }),
            Err(DeviceError::NotFound(_)) => InterfaceState::Missing,
            Err(DeviceError::Io { .. }) => InterfaceState::Unknown,
        }
    }

    fn cpus(&self) -> Vec<usize> {
        let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
        (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect()
    }

    fn program(&self, path: &Path) -> Option<String> {
        match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is not there".into()),
            Err(error) => Some(format!("cannot be looked at: {error}")),
            Ok(found) if !found.is_file() => Some("is no file".into()),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => Some("is not executable; chmod +x it".into()),
            Ok(_) => None,
        }
    }
}

/// A machine of which nothing is known: only what stands in the configuration is checked.
#[derive(Clone, Copy, Debug)]
pub struct AnyMachine;

impl Machine for AnyMachine {
    fn interface(&self, _name: &str) -> InterfaceState {
        InterfaceState::Unknown
    }

    fn cpus(&self) -> Vec<usize> {
        Vec::new()
    }
}
