//! All subnets, found by address: one answer for relay agents' addresses, for what the journal restores and for listings.

use std::{net::Ipv4Addr, ops::Deref};

use super::{Subnet, Vrf};

/// The subnets of a configuration in the order of the file; read as a slice.
#[derive(Clone, Debug, Default)]
pub struct Subnets {
    all: Vec<Subnet>,
    /// First and last address with the subnet's place, in the order of addresses. Prefixes do not overlap.
    by_address: Vec<(u32, u32, u16)>,
    /// Those that are on the link of an interface.
    on_links: Vec<u16>,
    /// VPNs as the virtual subnet selection options name them (RFC 6607): type and identifier. The first is [`Vrf`] 1.
    vrfs: Vec<Vec<u8>>,
}

/// The type of a virtual subnet selection that means no VPN at all (RFC 6607 3.5).
const VSS_GLOBAL: u8 = 255;

impl Subnets {
    /// Of subnets that do not overlap; those beyond what a `u16` counts are not found by address.
    /// `vrfs` are the VPNs that they are in by [`Vrf`], the first being number 1, as type and identifier.
    pub fn new(all: Vec<Subnet>, vrfs: Vec<Vec<u8>>) -> Self {
        let places = || all.iter().zip(0..=u16::MAX);
        let range = |subnet: &Subnet| (subnet.prefix.network().into(), subnet.prefix.broadcast().into());
        let mut by_address: Vec<(u32, u32, u16)> = places()
            .map(|(subnet, place)| {
                let (first, last) = range(subnet);
                (first, last, place)
            })
            .collect();
        by_address.sort_unstable();
        let on_links = places().filter(|(subnet, _)| subnet.interface.is_some()).map(|(_, place)| place).collect();
        Self { all, by_address, on_links, vrfs }
    }

    /// The place of the subnet whose prefix holds `address`, in logarithmic time.
    pub fn index_of(&self, address: Ipv4Addr) -> Option<u16> {
        let address = u32::from(address);
        let after = self.by_address.partition_point(|&(first, ..)| first <= address);
        let &(_, last, place) = self.by_address.get(after.checked_sub(1)?)?;
        (address <= last).then_some(place)
    }

    /// The subnet whose prefix holds `address`.
    pub fn holding(&self, address: Ipv4Addr) -> Option<&Subnet> {
        self.all.get(usize::from(self.index_of(address)?))
    }

    /// Whether any subnet is in a VPN.
    pub fn has_vrfs(&self) -> bool {
        !self.vrfs.is_empty()
    }

    /// The VPN of a virtual subnet selection option or sub-option (RFC 6607); `None` when no subnet is in it.
    pub fn vrf(&self, selection: &[u8]) -> Option<Vrf> {
        if selection.first() == Some(&VSS_GLOBAL) {
            return Some(Vrf::GLOBAL);
        }
        let at = self.vrfs.iter().position(|vrf| vrf == selection)?;
        u16::try_from(at + 1).ok().map(Vrf)
    }

    /// The VPNs, as type and identifier; the first is [`Vrf`] 1.
    pub fn vrfs(&self) -> &[Vec<u8>] {
        &self.vrfs
    }

    /// The subnets on the link of an interface with their places, in the order of the file.
    pub fn on_link<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = (u16, &'a Subnet)> {
        let all = self.on_links.iter().filter_map(|&place| Some((place, self.all.get(usize::from(place))?)));
        all.filter(move |(_, subnet)| subnet.interface.as_deref() == Some(interface))
    }
}

impl Deref for Subnets {
    type Target = [Subnet];

    fn deref(&self) -> &[Subnet] {
        &self.all
    }
}

impl<'a> IntoIterator for &'a Subnets {
    type Item = &'a Subnet;
    type IntoIter = std::slice::Iter<'a, Subnet>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}

#[cfg(test)]
impl super::Config {
    /// Names the VPNs that subnets were put in.
    pub(crate) fn vrfs_for_tests(&mut self, vrfs: Vec<Vec<u8>>) {
        self.subnets = Subnets::new(self.subnets.to_vec(), vrfs);
    }
}

/// For tests that change a subnet; one that changes its prefix or its interface must make a new index.
#[cfg(test)]
impl std::ops::DerefMut for Subnets {
    fn deref_mut(&mut self) -> &mut [Subnet] {
        &mut self.all
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use crate::config::{AnyMachine, parse};

    #[test]
    fn each_address_is_found_in_the_one_subnet_that_has_it_among_thousands() {
        // Every second /28 from 10.0.0.0 on, written from the last to the first, and one on the link at the end.
        let mut text = String::from("[[interface]]\nname = \"eth1\"\n");
        let network = |i: u32| std::net::Ipv4Addr::from(0x0a00_0000 + i * 32);
        for i in (0..4000).rev() {
            let (network, host) = (network(i), std::net::Ipv4Addr::from(u32::from(network(i)) + 1));
            writeln!(text, "[[subnet]]\nprefix = \"{network}/28\"\npools = [\"{host}\"]").unwrap();
        }
        text.push_str("[[subnet]]\nprefix = \"255.255.255.0/24\"\ninterface = \"eth1\"\npools = [\"255.255.255.9\"]\n");
        let subnets = parse("f", &text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config.subnets;
        assert_eq!(subnets.len(), 4001);
        for i in 0..4000 {
            let first = u32::from(network(i));
            for host in [first, first + 7, first + 15] {
                let place = subnets.index_of(host.into()).unwrap();
                assert_eq!(u32::from(subnets[usize::from(place)].prefix.network()), first);
            }
            assert_eq!(subnets.index_of((first + 16).into()), None);
        }
        assert_eq!(subnets.index_of([9, 255, 255, 255].into()), None);
        assert_eq!(subnets.index_of([255, 255, 255, 255].into()), Some(4000));
        assert_eq!(subnets.index_of([0, 0, 0, 0].into()), None);
        assert_eq!(subnets.on_link("eth1").map(|(place, _)| place).collect::<Vec<_>>(), [4000]);
        assert_eq!(subnets.on_link("eth2").count(), 0);
    }
}
