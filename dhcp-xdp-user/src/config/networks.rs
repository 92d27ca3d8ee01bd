//! `[[network]]`: which subnets are one link, and that no two links are the same VLAN of an interface.

use std::collections::{HashMap, HashSet};

use ipnet::Ipv4Net;
use toml::Spanned;

use super::{
    Subnet,
    check::Checker,
    file::{FileForm, NetworkForm, SubnetForm, Text},
};

/// The networks of a file by name, and by the prefixes that they list.
pub(super) struct Networks<'f> {
    by_name: HashMap<&'f str, &'f NetworkForm>,
    by_prefix: HashMap<Ipv4Net, (&'f Text, &'f str)>,
}

impl<'f> Networks<'f> {
    pub fn new(checker: &mut Checker<'_>, form: &'f FileForm) -> Self {
        let (mut by_name, mut by_prefix) = (HashMap::new(), HashMap::new());
        for spanned in &form.networks {
            let given = spanned.get_ref();
            let Some(name) = &given.name else {
                checker.error(spanned.span(), "`name` is missing; expected it as name = \"city-centre\"");
                continue;
            };
            if name.get_ref().is_empty() {
                checker.error(name.span(), "is empty; expected a name as \"city-centre\"");
            }
            if by_name.insert(&name.get_ref()[..], given).is_some() {
                checker.error(name.span(), format!("network `{}` is there already", name.get_ref()));
            }
            for text in &given.subnets {
                match text.get_ref().parse::<Ipv4Net>() {
                    Ok(prefix) => {
                        if let Some((_, other)) = by_prefix.insert(prefix, (text, &name.get_ref()[..])) {
                            checker.error(
                                text.span(),
                                format!("{prefix} is in network `{other}` already; a subnet is in one network"),
                            );
                        }
                    }
                    Err(_) => checker.error(
                        text.span(),
                        format!("found `{}`; expected the prefix of a [[subnet]] as 192.0.2.0/24", text.get_ref()),
                    ),
                }
            }
        }
        Self { by_name, by_prefix }
    }

    /// The network that a subnet is in, with its name.
    pub fn of(
        &self,
        checker: &mut Checker<'_>,
        given: &SubnetForm,
        prefix: Ipv4Net,
    ) -> Option<(&'f str, &'f NetworkForm)> {
        let listed = self.by_prefix.get(&prefix).map(|(_, name)| *name);
        let Some(text) = &given.network else { return Some((listed?, self.by_name.get(listed?)?)) };
        let Some((name, found)) = self.by_name.get_key_value(&text.get_ref()[..]) else {
            checker.error(text.span(), format!("no [[network]] has the name `{}`", text.get_ref()));
            return None;
        };
        if let Some(listed) = listed.filter(|listed| listed != name) {
            checker.error(text.span(), format!("found `{name}`; network `{listed}` lists {prefix} as its own"));
        }
        Some((name, found))
    }

    /// What can only be told once all subnets are there: prefixes that are no subnet's, members that disagree, VLANs of two
    /// networks. `given` are the forms of the subnets.
    pub fn check(&self, checker: &mut Checker<'_>, form: &FileForm, subnets: &[(Subnet, &SubnetForm)]) {
        let prefixes: HashSet<Ipv4Net> = subnets.iter().map(|(subnet, _)| subnet.prefix).collect();
        for (prefix, (text, _)) in &self.by_prefix {
            if !prefixes.contains(prefix) {
                checker.error(text.span(), format!("no [[subnet]] has the prefix {prefix}"));
            }
        }
        for (prefix, (text, name)) in &self.by_prefix {
            if subnets.iter().filter(|(subnet, _)| subnet.prefix == *prefix).count() > 1 {
                checker.error(
                    text.span(),
                    format!("subnets of several VPNs have the prefix {prefix}; expected network = \"{name}\" in the [[subnet]] that is meant"),
                );
            }
        }
        let mut firsts: HashMap<&str, &Subnet> = HashMap::new();
        for (subnet, given) in subnets {
            let Some(name) = &subnet.network else { continue };
            let first = *firsts.entry(name).or_insert(subnet);
            let differs = [
                (first.interface != subnet.interface, "interface"),
                (first.vlans != subnet.vlans, "vlan"),
                (first.space != subnet.space, "vrf"),
                (first.identity != subnet.identity, "identity"),
            ];
            if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
                checker.error(
                    place(given),
                    format!("subnets {} and {} of network `{name}` differ in `{what}`; they are one link: set it in [[network]]", first.prefix, subnet.prefix),
                );
            }
        }
        for network in &form.networks {
            let name = network.get_ref().name.as_ref().map(|name| name.get_ref().as_str());
            if name.is_some_and(|name| !firsts.contains_key(name)) {
                checker
                    .warn(network.span(), "has no subnet; expected network = \"…\" in a [[subnet]], or `subnets` here");
            }
        }
        check_links(checker, subnets);
    }
}

/// Two subnets on one link that are not of one network: a client there would have an address of the first one only.
fn check_links(checker: &mut Checker<'_>, subnets: &[(Subnet, &SubnetForm)]) {
    type Tags = (u32, u32, bool);
    let mut on_links: Vec<(&str, Option<bool>, Tags, usize)> = Vec::new();
    for (at, (subnet, given)) in subnets.iter().enumerate() {
        match &subnet.interface {
            Some(interface) => {
                let tags = subnet.vlans.map(|vlans| vlans.tags());
                on_links.push((interface, tags.map(|tags| tags.2), tags.unwrap_or_default(), at));
            }
            None if subnet.vlans.is_some() => checker.error(
                given.vlan.as_ref().map_or(place(given), Spanned::span),
                "has no effect without `interface`: a relay agent's subnet is chosen by its address",
            ),
            None => {}
        }
    }
    on_links.sort();
    let mut before: Option<(&str, Option<bool>, Tags, usize)> = None;
    for here in on_links {
        if let Some(other) = before.filter(|other| other.0 == here.0 && other.1 == here.1 && here.2.0 <= other.2.1) {
            let ((one, _), (two, given)) = (&subnets[other.3.min(here.3)], &subnets[other.3.max(here.3)]);
            let together = one.network.is_some() && one.network == two.network;
            if !(together && other.2 == here.2) {
                let at = given.interface.as_ref().map_or_else(|| place(given), Spanned::span);
                checker.error(
                    at,
                    format!("{} serves subnet {} already; two subnets on one link belong into one [[network]], on two links of an interface each has its `vlan`", here.0, one.prefix),
                );
            }
        }
        if before.is_none_or(|other| other.0 != here.0 || other.1 != here.1 || here.2.1 >= other.2.1) {
            before = Some(here);
        }
    }
}

fn place(given: &SubnetForm) -> std::ops::Range<usize> {
    let text = given.network.as_ref().or(given.prefix.as_ref());
    text.map_or(0..0, Spanned::span)
}
