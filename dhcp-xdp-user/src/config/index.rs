//! All subnets, found by address (relay agents', what the journal restores, listings) and by interface and VLANs; and which of
//! them share a network.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    ops::Deref,
};

use super::{Subnet, Vrfs};
use crate::lease::{Space, SpacedAddress};

/// The subnets of a configuration in the order of the file; read as a slice.
#[derive(Clone, Debug, Default)]
pub struct Subnets {
    all: Vec<Subnet>,
    /// First and last address, as their [numbers](SpacedAddress::number), with the subnet's place, in their order. Prefixes of one
    /// space do not overlap.
    by_address: Vec<(u64, u64, u16)>,
    /// Where there are several spaces: ranges of addresses that subnets have, sorted and apart, with the place of the only one.
    anywhere: Vec<(u32, u32, Option<u16>)>,
    /// By subnet: the places of all subnets of its network, as a range of `members`.
    groups: Vec<(u32, u32)>,
    members: Vec<u16>,
    /// What is on the link of each interface.
    links: Vec<OnLink>,
    vrfs: Vrfs,
}

/// What has an address when nothing is said of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anywhere {
    /// No subnet.
    Nowhere,
    /// This one alone, by its place.
    In(u16),
    /// Subnets of several spaces.
    Several,
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

impl Subnets {
    /// Of subnets of which those of one space do not overlap; those beyond what a `u16` counts are not found by address.
    pub fn new(mut all: Vec<Subnet>) -> Self {
        let numbers = all.len()..;
        let guarded = all.iter_mut().flat_map(|subnet| &mut subnet.guarded_pools);
        for (pool, number) in guarded.zip(numbers) {
            // There are no more: the check counts them.
            pool.group = u16::try_from(number).unwrap_or(u16::MAX);
        }
        let places = || all.iter().zip(0..=u16::MAX);
        let number = |subnet: &Subnet, address| SpacedAddress::new(subnet.space, address).number();
        let mut by_address: Vec<(u64, u64, u16)> = places()
            .map(|(subnet, place)| {
                let (first, last) = (subnet.prefix.network(), subnet.prefix.broadcast());
                (number(subnet, first), number(subnet, last), place)
            })
            .collect();
        by_address.sort_unstable();
        let is_global = all.iter().all(|subnet| subnet.space == Space::GLOBAL);
        let anywhere = if is_global { Vec::new() } else { anywhere(&by_address) };
        let (groups, members) = networks(&all);
        let links = links(&all);
        Self { all, by_address, anywhere, groups, members, links, vrfs: Vrfs::default() }
    }

    /// These, in these VPNs.
    #[must_use]
    pub fn with_vrfs(self, vrfs: Vrfs) -> Self {
        Self { vrfs, ..self }
    }

    /// The place of the subnet whose prefix holds an address, in logarithmic time.
    pub fn index_of(&self, at: impl Into<SpacedAddress>) -> Option<u16> {
        let number = at.into().number();
        let after = self.by_address.partition_point(|&(first, ..)| first <= number);
        let &(_, last, place) = self.by_address.get(after.checked_sub(1)?)?;
        (number <= last).then_some(place)
    }

    /// The subnet whose prefix holds an address, whatever its space, in logarithmic time.
    pub fn anywhere(&self, address: Ipv4Addr) -> Anywhere {
        if self.anywhere.is_empty() {
            return self.index_of(address).map_or(Anywhere::Nowhere, Anywhere::In);
        }
        let number = u32::from(address);
        let after = self.anywhere.partition_point(|&(first, ..)| first <= number);
        match after.checked_sub(1).map(|at| self.anywhere[at]).filter(|(_, last, _)| number <= *last) {
            None => Anywhere::Nowhere,
            Some((.., None)) => Anywhere::Several,
            Some((.., Some(place))) => Anywhere::In(place),
        }
    }

    /// The spaces that have a subnet with an address: a look for each space.
    pub fn spaces_of(&self, address: Ipv4Addr) -> impl Iterator<Item = Space> + '_ {
        let spaces = [Space::GLOBAL].into_iter().chain(self.vrfs.iter().map(|vrf| vrf.space));
        spaces.filter(move |space| self.index_of(SpacedAddress::new(*space, address)).is_some())
    }

    /// The subnet whose prefix holds an address.
    pub fn holding(&self, at: impl Into<SpacedAddress>) -> Option<&Subnet> {
        self.all.get(usize::from(self.index_of(at)?))
    }

    /// The VPNs.
    pub fn vrfs(&self) -> &Vrfs {
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

    /// The subnets on an interface, on whichever VLAN.
    pub fn of_interface<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = &'a Subnet> {
        self.all.iter().filter(move |subnet| subnet.interface.as_deref() == Some(interface))
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

/// Ranges of addresses that subnets have in any space, with the place of the one that has them alone.
fn anywhere(by_address: &[(u64, u64, u16)]) -> Vec<(u32, u32, Option<u16>)> {
    // A range begins, or ends before, an address; in 64 bits, so that one behind 255.255.255.255 is a number.
    let low = |number: u64| number & u64::from(u32::MAX);
    let begins = by_address.iter().map(|&(first, _, place)| (low(first), true, place));
    let ends = by_address.iter().map(|&(_, last, place)| (low(last) + 1, false, place));
    let mut steps: Vec<(u64, bool, u16)> = begins.chain(ends).collect();
    steps.sort_unstable();
    let mut there: BTreeSet<u16> = BTreeSet::new();
    let mut found = Vec::new();
    for pair in steps.windows(2) {
        let [(from, is_begin, place), (to, ..)] = *pair else { continue };
        if is_begin {
            there.insert(place)
        } else {
            there.remove(&place)
        };
        if let (Some(first), Ok(from), Ok(last)) =
            (there.first(), u32::try_from(from), u32::try_from(to.wrapping_sub(1)))
            && from <= last
            && to > 0
        {
            found.push((from, last, (there.len() == 1).then_some(*first)));
        }
    }
    found
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
    /// Names the VPNs that subnets were put in: of spaces 1, 2, …
    pub(crate) fn vrfs_for_tests(&mut self, names: &[&str]) {
        let vrf = |(name, number): (&&str, u16)| super::Vrf {
            space: Space(number),
            name: (*name).to_owned(),
            id: [&[0], name.as_bytes()].concat(),
        };
        let vrfs = Vrfs::new(names.iter().zip(1..).map(vrf).collect());
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
                let place = subnets.index_of(std::net::Ipv4Addr::from(host)).unwrap();
                assert_eq!(u32::from(subnets[usize::from(place)].prefix.network()), first);
            }
            assert_eq!(subnets.index_of(std::net::Ipv4Addr::from(first + 16)), None);
        }
        assert_eq!(subnets.index_of(std::net::Ipv4Addr::from([9, 255, 255, 255])), None);
        assert_eq!(subnets.index_of(std::net::Ipv4Addr::from([255, 255, 255, 255])), Some(4000));
        assert_eq!(subnets.index_of(std::net::Ipv4Addr::from([0, 0, 0, 0])), None);
        assert_eq!(subnets.on_link("eth1", [None, None]), Some(4000));
        assert_eq!(subnets.on_link("eth1", [Some(7), None]), Some(4000));
        assert_eq!(subnets.on_link("eth2", [None, None]), None);
    }
}
