//! Checks of `[[subnet]]`: prefixes, pools, times and options.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;
use toml::Spanned;

use super::{
    Access, AddressRange, ClassTable, GuardedPool, Identity, LeaseTimes, Subnet, UnknownRenewals, Vrfs, boot,
    check::Checker,
    file::{FileForm, NetworkForm, PoolForm, Settings, SubnetForm, Text},
    levels::Levels,
    machine::InterfaceState,
    networks::Networks,
    ranges,
};
use crate::lease::Space;

/// Lease time when none is given, seconds.
const DEFAULT_LEASE_TIME_S: i64 = 3600;
/// Longest lease time, seconds: ten years, so that a time of expiry fits into 32 bits for long enough.
pub(super) const MAX_LEASE_TIME_S: i64 = 10 * 365 * 24 * 3600;
/// Part of the renewal times by which they are shortened at most, unless it is set.
const DEFAULT_JITTER: f64 = 0.1;
/// Most of it.
const MAX_JITTER: f64 = 0.5;
/// More than all addresses of a subnet, thousandths: they are never scarce.
const NEVER_SCARCE: u16 = 1001;

/// All subnets, in the order of the file.
pub(super) fn subnets(checker: &mut Checker<'_>, form: &FileForm, levels: &Levels<'_>, vrfs: &Vrfs) -> Vec<Subnet> {
    if form.subnets.is_empty() {
        checker.error(0..0, "no subnet to serve; expected a [[subnet]] table with prefix = \"192.0.2.0/24\" and pools");
    }
    let networks = Networks::new(checker, form);
    let mut subnets: Vec<(Subnet, &SubnetForm)> = Vec::new();
    let mut by_network: BTreeMap<(Space, Ipv4Addr), Ipv4Net> = BTreeMap::new();
    for spanned in &form.subnets {
        let Some(prefix) = prefix(checker, spanned) else { continue };
        let given = spanned.get_ref();
        let at = given.prefix.as_ref().map_or(spanned.span(), Spanned::span);
        let network = networks.of(checker, given, prefix);
        let of_network = network.and_then(|(_, network)| network.vrf.as_ref());
        let space = vrfs.of(given.vrf.as_ref().or(of_network));
        let key = |address| (space, address);
        // One that overlaps it begins at or before it, or inside it.
        let before = by_network.range(key(Ipv4Addr::UNSPECIFIED)..=key(prefix.network())).next_back();
        let overlaps = |other: &&Ipv4Net| other.contains(&prefix.network()) || prefix.contains(&other.network());
        let after = by_network.range(key(prefix.network())..=key(Ipv4Addr::BROADCAST)).next();
        if let Some(other) = [before, after].into_iter().flatten().map(|(_, other)| other).find(overlaps) {
            let of = vrfs.within(space);
            checker.error(at, format!("{prefix} overlaps subnet {other}{of}; an address belongs to one subnet"));
        } else {
            by_network.insert(key(prefix.network()), prefix);
        }
        subnets.push((subnet(checker, form, network, given, prefix, levels, space), given));
    }
    networks.check(checker, form, &subnets);
    subnets.into_iter().map(|(subnet, _)| subnet).collect()
}

fn prefix(checker: &mut Checker<'_>, spanned: &Spanned<SubnetForm>) -> Option<Ipv4Net> {
    let Some(text) = &spanned.get_ref().prefix else {
        checker.error(spanned.span(), "`prefix` is missing; expected it as prefix = \"192.0.2.0/24\"");
        return None;
    };
    let Ok(prefix) = text.get_ref().parse::<Ipv4Net>() else {
        checker.error(text.span(), format!("found `{}`; expected a prefix as 192.0.2.0/24", text.get_ref()));
        return None;
    };
    if prefix.addr() != prefix.network() {
        checker
            .error(text.span(), format!("found {prefix}, which has host bits set; the prefix is {}", prefix.trunc()));
    } else if prefix.prefix_len() == 0 || prefix.network().is_multicast() || prefix.network().is_loopback() {
        checker.error(text.span(), format!("found {prefix}; expected a prefix of hosts as 192.0.2.0/24"));
    }
    Some(prefix.trunc())
}

fn subnet(
    checker: &mut Checker<'_>,
    form: &FileForm,
    network: Option<(&str, &NetworkForm)>,
    given: &SubnetForm,
    prefix: Ipv4Net,
    levels: &Levels<'_>,
    space: Space,
) -> Subnet {
    let (name, network) = network.unzip();
    let of_network = network.map(NetworkForm::settings).unwrap_or_default();
    let settings = given.settings().or(of_network).or(form.defaults.settings());
    let on = given.interface.as_ref().or(network.and_then(|network| network.interface.as_ref()));
    let interface = interface(checker, form, on);
    let mut tagged = |vlan, inner| super::vlan::vlans(checker, vlan, inner);
    let vlans = match network {
        Some(network) if given.vlan.is_none() => tagged(network.vlan.as_ref(), network.inner.as_ref()),
        _ => tagged(given.vlan.as_ref(), given.inner.as_ref()),
    };
    let server_id = settings.server_id.and_then(|text| checker.address(text));
    if let (Some(id), Some(text)) = (server_id.filter(|id| is_no_host(prefix, *id)), settings.server_id) {
        checker.error(text.span(), format!("{id} is no host of {prefix}; the hosts are {}", host_range(prefix)));
    }
    if settings.server_id.is_none() {
        check_identifier(checker, form, given, on, prefix);
    }
    let pools = pools(checker, given, prefix);
    if let (Some(id), Some(text)) = (server_id, settings.server_id)
        && let Some(pool) = pools.iter().find(|pool| pool.contains(id))
    {
        checker.error(text.span(), format!("{id} is in pool {pool}; {}", keep_out(id)));
    }
    check_own_addresses(checker, form, given, on, space, &pools);
    let boot_files =
        [Some(&form.defaults.boot_files), network.map(|network| &network.boot_files), Some(&given.boot_files)];
    let boot_files = boot_files.into_iter().flatten();
    let (options, pool_options) = levels.subnet(checker, form, network, given, prefix, &pools);
    Subnet {
        prefix,
        network: name.map(str::to_owned),
        interface,
        vlans,
        server_id,
        access: super::classes::access(
            checker,
            form,
            given.allow_classes.as_ref(),
            &given.deny_classes,
            given.known_clients_only,
        ),
        lease: lease_times(checker, settings),
        authoritative: settings.authoritative.unwrap_or(false),
        unknown_renewals: checker.word(settings.unknown_renewals, &UnknownRenewals::NAMES).unwrap_or_default(),
        space,
        identity: checker.word(settings.identity, &Identity::NAMES).unwrap_or_default(),
        min_secs: checker.number(settings.min_secs, 0..=65_535, 0, " seconds") as u16,
        rapid_commit: settings.rapid_commit.unwrap_or(false),
        bootp_lease_s: bootp_lease_s(checker, settings),
        ipv6_only: settings.ipv6_only.unwrap_or(false),
        auto_configure: settings.auto_configure,
        ping_check: super::ping::of_subnet(checker, form, given, settings, space),
        options,
        pool_options,
        guarded_pools: guarded_pools(checker, form, given),
        next_server: settings.next_server.and_then(|text| checker.address(text)).unwrap_or(Ipv4Addr::UNSPECIFIED),
        server_name: boot::name(checker, settings.server_name, boot::MAX_SERVER_NAME),
        boot_file: boot::name(checker, settings.boot_file, boot::MAX_BOOT_FILE),
        boot_files: boot::by_architecture(checker, boot_files),
        pools,
    }
}

/// Lease limits hold for clients of which nothing is known, too: `unknown_renewals = "all"` then does less than it says.
pub(super) fn warn_of_limits(checker: &mut Checker<'_>, form: &FileForm, classes: &ClassTable) {
    let networks = form.networks.iter().map(|network| &network.get_ref().unknown_renewals);
    let subnets = form.subnets.iter().map(|subnet| &subnet.get_ref().unknown_renewals);
    let given = std::iter::once(&form.defaults.unknown_renewals).chain(networks).chain(subnets).flatten();
    for text in given.filter(|text| text.get_ref() == "all" && classes.limits_by_path) {
        checker.warn(
            text.span(),
            "does as \"attached\" does: what a lease limit counts by (relay agent, interface or VLAN) is not in a renewal that \
             routers bring; its client is taken on when it rebinds, where authoritative = true",
        );
    }
}

/// The lease time of BOOTP clients, if they are served.
fn bootp_lease_s(checker: &mut Checker<'_>, settings: Settings<'_>) -> Option<u32> {
    let lease_s = settings.bootp_lease_time_s.map_or(u32::MAX, |given| {
        checker.number(Some(given), 1..=MAX_LEASE_TIME_S, MAX_LEASE_TIME_S, " seconds") as u32
    });
    settings.bootp.unwrap_or(false).then_some(lease_s)
}

pub(super) fn keep_out(address: Ipv4Addr) -> String {
    format!("leave it out of the pool, or put it into `exclude`, as exclude = [\"{address}\"]")
}

fn interface(checker: &mut Checker<'_>, form: &FileForm, given: Option<&Text>) -> Option<String> {
    let name = given?;
    let mut known: Vec<&str> =
        form.interfaces.iter().filter_map(|i| i.get_ref().name.as_ref()).map(|n| n.get_ref().as_str()).collect();
    known.sort_unstable();
    known.dedup();
    if !known.contains(&name.get_ref().as_str()) {
        let known =
            if known.is_empty() { "there is none".to_owned() } else { format!("there are {}", known.join(", ")) };
        checker.error(name.span(), format!("no [[interface]] has the name `{}`; {known}", name.get_ref()));
    }
    Some(name.get_ref().clone())
}

/// The pools of a subnet, checked, sorted, without what is excluded.
fn pools(checker: &mut Checker<'_>, given: &SubnetForm, prefix: Ipv4Net) -> Vec<AddressRange> {
    let exclude = excluded(checker, given, prefix);
    for spanned in given.pool.iter().filter(|spanned| pool_range(spanned).is_none()) {
        checker
            .error(spanned.span(), format!("`range` is missing; expected it as range = \"{}\"", example_pool(prefix)));
    }
    // By their first address; they do not overlap, so that the last one that begins before another ends is the one to ask.
    let mut read: BTreeMap<Ipv4Addr, AddressRange> = BTreeMap::new();
    let overlapping = |read: &BTreeMap<Ipv4Addr, AddressRange>, range: &AddressRange| {
        read.range(..=range.last).next_back().map(|(_, other)| *other).filter(|other| other.overlaps(range))
    };
    for text in given.pools.iter().chain(given.pool.iter().filter_map(pool_range)) {
        let Some(range) = pool(checker, text, prefix, &exclude) else { continue };
        if let Some(other) = overlapping(&read, &range) {
            checker.error(text.span(), format!("{range} overlaps pool {other}; an address belongs to one pool"));
            continue;
        }
        read.insert(range.first, range);
    }
    for (range, text) in given.exclude.iter().filter_map(|text| Some((ranges::parse(text.get_ref()).ok()?, text))) {
        let is_within = prefix.contains(&range.first) && prefix.contains(&range.last);
        if is_within && !read.is_empty() && overlapping(&read, &range).is_none() {
            checker.warn(text.span(), format!("{range} is in no pool of {prefix}: it has no effect"));
        }
    }
    let pools = ranges::cut(read.values().copied(), &exclude);
    if pools.is_empty() && read.len() == given.pools.len() + given.pool.len() {
        let at = given.pools.first().or(given.prefix.as_ref()).map_or(0..0, Spanned::span);
        checker.warn(
            at,
            format!(
                "{prefix} has no address to lease: only DHCPINFORM is answered; expected pools as [\"{}\"]",
                example_pool(prefix)
            ),
        );
    }
    pools
}

/// The pools that say who they are for.
fn guarded_pools(checker: &mut Checker<'_>, form: &FileForm, given: &SubnetForm) -> Vec<GuardedPool> {
    let mut guarded = Vec::new();
    for pool in given.pool.iter().map(Spanned::get_ref) {
        let PoolForm { range, allow_classes, deny_classes, known_clients_only, .. } = pool;
        let Some(range) = range.as_ref().and_then(|text| ranges::parse(text.get_ref()).ok()) else { continue };
        let access = super::classes::access(checker, form, allow_classes.as_ref(), deny_classes, *known_clients_only);
        if access != Access::default() {
            guarded.push(GuardedPool { range, access, group: 0 });
        }
    }
    guarded.sort_by_key(|pool| pool.range.first);
    guarded
}

fn pool_range(spanned: &Spanned<PoolForm>) -> Option<&Text> {
    spanned.get_ref().range.as_ref()
}

fn excluded(checker: &mut Checker<'_>, given: &SubnetForm, prefix: Ipv4Net) -> Vec<AddressRange> {
    let mut exclude = Vec::new();
    for text in &given.exclude {
        match ranges::parse(text.get_ref()) {
            Ok(range) if prefix.contains(&range.first) && prefix.contains(&range.last) => exclude.push(range),
            Ok(range) => {
                checker.error(text.span(), format!("{range} is outside of {prefix}; expected addresses of the subnet"))
            }
            Err(why) => checker.error(text.span(), why),
        }
    }
    exclude
}

/// One pool as written: inside the prefix, without its network and broadcast address.
fn pool(checker: &mut Checker<'_>, text: &Text, prefix: Ipv4Net, exclude: &[AddressRange]) -> Option<AddressRange> {
    let mut range = match ranges::parse(text.get_ref()) {
        Ok(range) => range,
        Err(why) => {
            checker.error(text.span(), why);
            return None;
        }
    };
    if !prefix.contains(&range.first) || !prefix.contains(&range.last) {
        checker.error(
            text.span(),
            format!("{range} is outside of {prefix}; expected a range inside it, as {}", example_pool(prefix)),
        );
        return None;
    }
    // A /31 or /32 has neither (RFC 3021). A pool written as a prefix means its hosts.
    if prefix.prefix_len() < 31 {
        if text.get_ref().contains('/') {
            let hosts = host_range(prefix);
            range = AddressRange { first: range.first.max(hosts.first), last: range.last.min(hosts.last) };
        }
        for (address, what) in [(prefix.network(), "network"), (prefix.broadcast(), "broadcast")] {
            if range.contains(address) && !exclude.iter().any(|hole| hole.contains(address)) {
                checker.error(
                    text.span(),
                    format!(
                        "{range} has {address} in it, the {what} address of {prefix}; the hosts are {}",
                        host_range(prefix)
                    ),
                );
            }
        }
    }
    Some(range)
}

/// Whether an address is in a prefix and yet no host's.
fn is_no_host(prefix: Ipv4Net, address: Ipv4Addr) -> bool {
    prefix.contains(&address) && !host_range(prefix).contains(address)
}

/// Addresses of a prefix that a host can have.
pub(super) fn host_range(prefix: Ipv4Net) -> AddressRange {
    let (first, last) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
    if last - first < 2 {
        AddressRange { first: prefix.network(), last: prefix.broadcast() }
    } else {
        AddressRange { first: Ipv4Addr::from(first + 1), last: Ipv4Addr::from(last - 1) }
    }
}

fn example_pool(prefix: Ipv4Net) -> AddressRange {
    let hosts = host_range(prefix);
    let (first, last) = (u32::from(hosts.first), u32::from(hosts.last));
    AddressRange { first: Ipv4Addr::from(if last - first > 20 { first + 9 } else { first }), last: hosts.last }
}

/// Without `server_id`, an address of the interface is the server identifier: there must be one, and clients on the link reach
/// it at once only when it is in their subnet.
fn check_identifier(
    checker: &mut Checker<'_>,
    form: &FileForm,
    given: &SubnetForm,
    on: Option<&Text>,
    prefix: Ipv4Net,
) {
    let at = given.prefix.as_ref().map_or(0..0, Spanned::span);
    let names = form.interfaces.iter().filter_map(|interface| interface.get_ref().name.as_ref());
    let is_used = |name: &&Text| on.is_none_or(|used| used.get_ref() == name.get_ref());
    for name in names.filter(is_used) {
        let InterfaceState::Present(link) = checker.interface(name.get_ref()) else { continue };
        let name = name.get_ref();
        match link.addresses.first() {
            None => checker.warn(
                at.clone(),
                format!("{prefix} cannot be served on {name}: it has no IPv4 address to be the server identifier; `ip address add` one, or set server_id"),
            ),
            Some(first) if on.is_some() && !link.addresses.iter().any(|a| prefix.contains(a)) => checker.warn(
                at.clone(),
                format!("{name} has no address in {prefix}: clients would be told that their server is {first}; `ip address add` one, or set server_id"),
            ),
            Some(_) => {}
        }
    }
}

/// The server's own addresses are not for clients. In a VPN it has none but those of the interface that the VPN is on.
fn check_own_addresses(
    checker: &mut Checker<'_>,
    form: &FileForm,
    given: &SubnetForm,
    on: Option<&Text>,
    space: Space,
    pools: &[AddressRange],
) {
    let is_there = |name: &&Text| space == Space::GLOBAL || on.is_some_and(|on| on.get_ref() == name.get_ref());
    let names = form.interfaces.iter().filter_map(|interface| interface.get_ref().name.as_ref());
    for name in names.filter(is_there) {
        let InterfaceState::Present(link) = checker.interface(name.get_ref()) else { continue };
        for address in link.addresses {
            if let Some(pool) = pools.iter().find(|pool| pool.contains(address)) {
                let at = given.pools.first().map_or(0..0, Spanned::span);
                let name = name.get_ref();
                checker.error(
                    at,
                    format!(
                        "{address} is this machine's own address on {name}, and in pool {pool}; {}",
                        keep_out(address)
                    ),
                );
            }
        }
    }
}

fn lease_times(checker: &mut Checker<'_>, settings: Settings<'_>) -> LeaseTimes {
    let bounds = 1..=MAX_LEASE_TIME_S;
    let default_s = checker.number(settings.lease_time_s, bounds.clone(), DEFAULT_LEASE_TIME_S, " seconds");
    let min_s = checker.number(settings.min_lease_time_s, bounds.clone(), default_s, " seconds");
    let max_s = checker.number(settings.max_lease_time_s, bounds, default_s, " seconds");
    if let Some(min) = settings.min_lease_time_s.filter(|_| min_s > default_s) {
        checker.error(min.span(), format!("found {min_s}; expected at most the lease time, {default_s} seconds"));
    }
    if let Some(max) = settings.max_lease_time_s.filter(|_| max_s < default_s) {
        checker.error(max.span(), format!("found {max_s}; expected at least the lease time, {default_s} seconds"));
    }
    let t1 = settings.t1.map_or(0.5, |t1| *t1.get_ref());
    let t2 = settings.t2.map_or(0.875, |t2| *t2.get_ref());
    let slack = settings.renewal_slack.map_or(0.0, |slack| *slack.get_ref());
    if let Some(given) = settings.renewal_slack.filter(|_| !(0.0..=1.0).contains(&slack)) {
        checker.error(given.span(), format!("found {slack}; expected a part of the lease time from 0 to 1, as 0.1"));
    }
    // A cast saturates; what is no number is zero.
    let permille = |part: f64| (part * 1000.0).round() as u16;
    if !(0 < permille(t1) && permille(t1) < permille(t2) && permille(t2) < 1000) {
        let at = settings.t1.or(settings.t2).map_or(0..0, Spanned::span);
        checker.error(at, format!("found t1 = {t1} and t2 = {t2}; expected parts of the lease time with 0 < t1 < t2 < 1, at least a thousandth apart, as t1 = 0.5 and t2 = 0.875"));
    }
    let jitter = settings.renewal_jitter.map_or(DEFAULT_JITTER, |jitter| *jitter.get_ref());
    if let Some(given) = settings.renewal_jitter.filter(|_| !(0.0..=MAX_JITTER).contains(&jitter)) {
        checker.error(given.span(), format!("found {jitter}; expected a part of t1 and t2 from 0.0 to {MAX_JITTER}"));
    }
    let scarce = settings.scarce_above.map(|above| (*above.get_ref(), above.span()));
    if let Some((above, at)) = scarce.clone() {
        if !(above > 0.0 && above <= 1.0) {
            checker.error(
                at,
                format!("found {above}; expected a part of the subnet's addresses above 0.0, at most 1.0, as 0.9"),
            );
        } else if min_s == default_s {
            checker.warn(at, "has no effect: min_lease_time_s is not less than lease_time_s");
        }
    }
    LeaseTimes {
        jitter_permille: permille(jitter),
        scarce_permille: scarce.map_or(NEVER_SCARCE, |(above, _)| permille(above)),
        min_s: min_s as u32,
        default_s: default_s as u32,
        max_s: max_s as u32,
        t1_permille: permille(t1),
        t2_permille: permille(t2),
        renewal_slack_permille: permille(slack),
    }
}
