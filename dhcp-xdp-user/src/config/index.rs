//! All subnets, found by address (relay agents', what the journal restores, listings) and by interface and VLANs; and which of
//! them share a network.

use std::{collections::HashMap, net::Ipv4Addr, ops::Deref};

use super::{Subnet, Vrf};

/// The subnets of a configuration in the order of the file; read as a slice.
#[derive(Clone, Debug, Default)]
pub struct Subnets {
    all: Vec<Subnet>,
    /// First and last address with the subnet's place, in the order of addresses. Prefixes do not overlap.
    by_address: Vec<(u32, u32, u16)>,
    /// By subnet: the places of all subnets of its network, as a range of `members`.
    groups: Vec<(u32, u32)>,
    members: Vec<u16>,
    /// What is on the link of each interface.
    links: Vec<OnLink>,
    /// VPNs as the virtual subnet selection options name them (RFC 6607): type and identifier. The first is [`Vrf`] 1.
    vrfs: Vec<Vec<u8>>,
}

/// What is on the link of an interface. A VLAN there is one network's.
#[derive(Clone, Debug)]
struct OnLink {
    interface: String,
    /// What has no VLAN: all frames that no other takes.
    any: Option<u16>,
    /// First and last outer VLAN, with a subnet's place, sorted.
    outer: Vec<(u32, u32, u16)>,
    /// The same of both tags together: outer, and inner below it.
    both: Vec<(u32, u32, u16)>,
}

impl OnLink {
    fn find(&self, [outer, inner]: [Option<u16>; 2]) -> Option<u16> {
        let within = |ranges: &[(u32, u32, u16)], tags: u32| {
            let at = ranges.partition_point(|&(first, ..)| first <= tags).checked_sub(1)?;
            let (_, last, place) = ranges[at];
            (tags <= last).then_some(place)
        };
        let of_both = outer.zip(inner).and_then(|(outer, inner)| within(&self.both, both_tags(outer, inner)));
        of_both.or_else(|| within(&self.outer, outer?.into())).or(self.any)
    }
}

/// Two VLANs as one number.
pub(super) fn both_tags(outer: u16, inner: u16) -> u32 {
    u32::from(outer) << 12 | u32::from(inner & 0xfff)
}

/// The type of a virtual subnet selection that means no VPN at all (RFC 6607 3.5).
const VSS_GLOBAL: u8 = 255;

impl Subnets {
    /// Of subnets that do not overlap; those beyond what a `u16` counts are not found by address.
    pub fn new(mut all: Vec<Subnet>) -> Self {
        let numbers = all.len()..;
        let guarded = all.iter_mut().flat_map(|subnet| &mut subnet.guarded_pools);
        for (pool, number) in guarded.zip(numbers) {
            // There are no more: the check counts them.
            pool.group = u16::try_from(number).unwrap_or(u16::MAX);
        }
        let places = || all.iter().zip(0..=u16::MAX);
        let range = |subnet: &Subnet| (subnet.prefix.network().into(), subnet.prefix.broadcast().into());
        let mut by_address: Vec<(u32, u32, u16)> = places()
            .map(|(subnet, place)| {
                let (first, last) = range(subnet);
                (first, last, place)
            })
            .collect();
        by_address.sort_unstable();
        let (groups, members) = networks(&all);
        let links = links(&all);
        Self { all, by_address, groups, members, links, vrfs: Vec::new() }
    }

    /// These, in VPNs: by [`Vrf`], the first being number 1, as type and identifier.
    #[must_use]
    pub fn with_vrfs(self, vrfs: Vec<Vec<u8>>) -> Self {
        Self { vrfs, ..self }
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

    /// The subnets of a subnet's network, itself among them, in the order of the file.
    pub fn network(&self, place: u16) -> &[u16] {
        let range = self.groups.get(usize::from(place)).map(|&(start, end)| start as usize..end as usize);
        range.and_then(|range| self.members.get(range)).unwrap_or(&[])
    }

    /// The number of a subnet's network: the place of its first subnet.
    pub fn network_of(&self, place: u16) -> u16 {
        self.network(place).first().copied().unwrap_or(place)
    }

    /// Whether two subnets are of one network.
    pub fn are_together(&self, one: u16, other: u16) -> bool {
        one == other || self.network_of(one) == self.network_of(other)
    }

    /// The first subnet on the link of an interface that frames with these VLAN tags (outer, inner) belong to: one that names
    /// both, else one that names the outer, else one that names none.
    pub fn on_link(&self, interface: &str, vlans: [Option<u16>; 2]) -> Option<u16> {
        let found = self.links.iter().find(|link| link.interface == interface)?.find(vlans)?;
        Some(self.network_of(found))
    }
}

/// The subnets of each one's network, all in one list.
fn networks(all: &[Subnet]) -> (Vec<(u32, u32)>, Vec<u16>) {
    let mut by_name: HashMap<&str, Vec<u16>> = HashMap::new();
    for (subnet, place) in all.iter().zip(0..=u16::MAX) {
        if let Some(name) = &subnet.network {
            by_name.entry(name).or_default().push(place);
        }
    }
    let (mut groups, mut members) = (vec![(0, 0); all.len()], Vec::with_capacity(all.len()));
    for (subnet, place) in all.iter().zip(0..=u16::MAX) {
        let alone = [place];
        let together = subnet.network.as_ref().and_then(|name| by_name.get(&name[..])).map_or(&alone[..], |list| list);
        if together.first() == Some(&place) {
            let start = members.len() as u32;
            members.extend_from_slice(together);
            for member in together {
                groups[usize::from(*member)] = (start, members.len() as u32);
            }
        }
    }
    (groups, members)
}

fn links(all: &[Subnet]) -> Vec<OnLink> {
    let mut links: Vec<OnLink> = Vec::new();
    for (subnet, place) in all.iter().zip(0..=u16::MAX) {
        let Some(interface) = &subnet.interface else { continue };
        let at = links.iter().position(|link| link.interface == *interface).unwrap_or_else(|| {
            let empty = OnLink { interface: interface.clone(), any: None, outer: Vec::new(), both: Vec::new() };
            links.push(empty);
            links.len() - 1
        });
        let link = &mut links[at];
        match subnet.vlans.map(|vlans| vlans.tags()) {
            None => link.any = link.any.or(Some(place)),
            Some((first, last, true)) => link.both.push((first, last, place)),
            Some((first, last, false)) => link.outer.push((first, last, place)),
        }
    }
    for link in &mut links {
        link.outer.sort_unstable();
        link.both.sort_unstable();
    }
    links
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
        self.subnets = Subnets::new(self.subnets.to_vec()).with_vrfs(vrfs);
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
        assert_eq!(subnets.on_link("eth1", [None, None]), Some(4000));
        assert_eq!(subnets.on_link("eth1", [Some(7), None]), Some(4000));
        assert_eq!(subnets.on_link("eth2", [None, None]), None);
    }
}
