//! What a check asks the machine that it runs on: an interface's addresses.

use std::net::Ipv4Addr;

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    /// Nothing: the check runs elsewhere, or has no right to ask.
    Unknown,
    /// There is none of this name.
    Missing,
    /// It is there, with these IPv4 addresses.
    Present(Vec<Ipv4Addr>),
}

/// A machine to check a configuration against.
pub trait Machine {
    /// What is known of an interface.
    fn interface(&self, name: &str) -> InterfaceState;
}

/// The machine that this program runs on.
#[derive(Clone, Copy, Debug)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn interface(&self, name: &str) -> InterfaceState {
        if nix::net::if_::if_nametoindex(name).is_err() {
            return InterfaceState::Missing;
        }
        let Ok(all) = nix::ifaddrs::getifaddrs() else { return InterfaceState::Unknown };
        let addresses = all.filter(|one| one.interface_name == name);
        InterfaceState::Present(addresses.filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip())).collect())
    }
}

/// A machine of which nothing is known: only what stands in the configuration is checked.
#[derive(Clone, Copy, Debug)]
pub struct AnyMachine;

impl Machine for AnyMachine {
    fn interface(&self, _name: &str) -> InterfaceState {
        InterfaceState::Unknown
    }
}
