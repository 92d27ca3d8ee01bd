//! The settings of a reply, from the most specific to the least: reservation and classes, then what the configuration has
//! merged beforehand, pool over subnet over network over global.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use super::{Architectures, MAX_OVERLAYS, Overlays, Reply};
use crate::config::{Config, Level, OptionBlob, OptionSet, Overlay, Subnet};

/// The layers of one reply. Without classes and reservations, all is in one set that was made when the configuration was
/// loaded.
pub(super) struct Layers<'c> {
    overlays: ArrayVec<&'c Overlay, MAX_OVERLAYS>,
    base: &'c OptionSet,
    subnet: &'c Subnet,
}

/// Where a setting of a reply is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An overlay, by its index in the configuration: a class's or a reservation's.
    Overlay(u32),
    /// What the configuration has merged.
    Level(Level),
}

impl<'c> Layers<'c> {
    /// `ciaddr` is the client's own address, for a reply that gives it none.
    pub fn new(reply: &Reply, ciaddr: Ipv4Addr, subnet: &'c Subnet, config: &'c Config) -> Self {
        let address = if reply.your_address.is_unspecified() { ciaddr } else { reply.your_address };
        Self::at(address, &reply.overlays, subnet, config)
    }

    /// Those of a client with this address.
    pub fn at(address: Ipv4Addr, overlays: &Overlays, subnet: &'c Subnet, config: &'c Config) -> Self {
        Self { overlays: overlays.resolve(config), base: subnet.options_at(address), subnet }
    }

    /// The option with this code.
    pub fn get(&self, code: u8) -> Option<&'c OptionBlob> {
        self.overlays.iter().find_map(|overlay| overlay.options.get(code)).or_else(|| self.base.get(code))
    }

    /// Which layer an option is from; `overlays` are the indices of the reply's.
    pub fn origin(&self, code: u8, overlays: &[u32]) -> Option<Origin> {
        let of_base = || self.base.get(code).map(|blob| Origin::Level(blob.level));
        self.first(overlays, |overlay| overlay.options.get(code).is_some()).or_else(of_base)
    }

    /// The first overlay that has something.
    pub fn first(&self, overlays: &[u32], has: impl Fn(&Overlay) -> bool) -> Option<Origin> {
        let found = self.overlays.iter().zip(overlays).find(|(overlay, _)| has(overlay));
        found.map(|(_, index)| Origin::Overlay(*index))
    }

    /// All options; of a code that is set in several layers the one that counts comes first.
    pub fn all(&self) -> impl Iterator<Item = &'c OptionBlob> {
        self.overlays.iter().flat_map(|overlay| overlay.options.iter()).chain(self.base.iter())
    }

    pub fn next_server(&self) -> Ipv4Addr {
        self.overlays.iter().find_map(|overlay| overlay.next_server).unwrap_or(self.subnet.next_server)
    }

    pub fn server_name(&self) -> &'c [u8] {
        self.overlays.iter().find_map(|overlay| overlay.server_name.as_deref()).unwrap_or(&self.subnet.server_name)
    }

    pub fn boot_file(&self, architectures: Architectures) -> &'c [u8] {
        let laid_over = self.overlays.iter().find_map(|overlay| overlay.boot_file.as_deref());
        laid_over.unwrap_or_else(|| self.subnet.boot_file_of(architectures.iter()))
    }
}
