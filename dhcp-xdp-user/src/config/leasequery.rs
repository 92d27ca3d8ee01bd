//! `[leasequery]`: who may ask about leases, how often, and what they are told.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::{
    AddressRange, Subnet,
    check::{Checker, interface_name},
    file::{FileForm, LeaseQueryForm, Text},
    levels::Levels,
};
use crate::{
    lease::Space,
    leasequery::tcp,
    wire::options::{Codes, code},
};

/// Queries that a worker answers in a second, where the configuration does not say.
const DEFAULT_QUERIES_PER_S: i64 = 10_000;

/// Options that are told where the configuration does not say: what a subnet's clients all get.
const DEFAULT_OPTIONS: [u8; 6] = [
    code::SUBNET_MASK,
    code::ROUTER,
    code::DOMAIN_NAME_SERVER,
    code::DOMAIN_NAME,
    code::BROADCAST_ADDRESS,
    code::CLASSLESS_ROUTE,
];

/// Leasequery (RFC 4388).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseQuery {
    /// Who may ask: sorted, not overlapping.
    allow: Vec<AddressRange>,
    /// The kernel's names of the interfaces that queries may come in on; `None`: any.
    pub interfaces: Option<Vec<String>>,
    /// Queries over UDP that each worker answers in a second.
    pub queries_per_s: u32,
    /// The "non-sensitive options" of the configuration that are told (RFC 4388 6.4.2).
    pub options: Codes,
    /// Over TCP; `None`: it is not listened for.
    pub tcp: Option<tcp::Settings>,
}

impl LeaseQuery {
    /// With these that may ask.
    pub fn new(allow: impl IntoIterator<Item = Ipv4Net>, queries_per_s: u32, options: Codes) -> Self {
        let nets = Ipv4Net::aggregate(&allow.into_iter().collect());
        let mut allow: Vec<AddressRange> =
            nets.iter().map(|net| AddressRange { first: net.network(), last: net.broadcast() }).collect();
        allow.sort_unstable_by_key(|range| range.first);
        Self { allow, interfaces: None, queries_per_s, options, tcp: None }
    }

    /// Whether an address may ask, in logarithmic time.
    pub fn allows(&self, address: Ipv4Addr) -> bool {
        let after = self.allow.partition_point(|range| range.first <= address);
        after.checked_sub(1).is_some_and(|at| self.allow[at].contains(address))
    }

    /// Whether queries may come in on an interface.
    pub fn allows_on(&self, interface: &str) -> bool {
        self.interfaces.as_ref().is_none_or(|names| names.iter().any(|name| name == interface))
    }
}

/// Checks the table, if there is one.
pub(super) fn leasequery(
    checker: &mut Checker<'_>,
    form: &FileForm,
    levels: &Levels,
    subnets: &[Subnet],
) -> Option<LeaseQuery> {
    let spanned = form.leasequery.as_ref()?;
    let given = spanned.get_ref();
    let mut allow: Vec<Ipv4Net> = Vec::new();
    for text in &given.allow {
        let found = text.get_ref();
        let net = found.parse::<Ipv4Net>().or_else(|_| found.parse::<Ipv4Addr>().map(Ipv4Net::from));
        match net {
            Ok(net) if net.trunc() != net => {
                let expected = net.trunc();
                checker.error(text.span(), format!("found {net}, which has host bits; expected {expected}"));
            }
            Ok(net) => {
                look_for_clients(checker, text, net, subnets);
                allow.push(net);
            }
            Err(_) => checker.error(
                text.span(),
                format!("found `{found}`; expected the addresses of who may ask, as 198.51.100.1 or 198.51.100.0/28"),
            ),
        }
    }
    if given.allow.is_empty() {
        checker.error(
            spanned.span(),
            "`allow` is missing; expected the addresses of who may ask, as allow = [\"198.51.100.0/28\"]",
        );
    }
    let interfaces = given.interfaces.as_ref().map(|names| interfaces(checker, form, spanned, names));
    let queries_per_s = checker.number(
        given.queries_per_s.as_ref(),
        1..=10_000_000,
        DEFAULT_QUERIES_PER_S,
        " queries a second and worker",
    ) as u32;
    let options = match &given.options {
        None => Codes::of(&DEFAULT_OPTIONS),
        Some(names) => {
            let mut codes = Codes::default();
            for name in names {
                match levels.settable(name.get_ref()) {
                    Ok(code) => drop(codes.insert(code)),
                    Err(why) => checker.error(name.span(), why),
                }
            }
            codes
        }
    };
    let tcp = super::leasequery_tcp::tcp(checker, given.tcp.as_ref(), levels);
    Some(LeaseQuery { interfaces, tcp, ..LeaseQuery::new(allow, queries_per_s, options) })
}

/// The interfaces that queries may come in on. Over UDP they come by those that are served alone; over TCP by any.
fn interfaces(
    checker: &mut Checker<'_>,
    form: &FileForm,
    table: &Spanned<LeaseQueryForm>,
    names: &[Text],
) -> Vec<String> {
    if names.is_empty() {
        checker.error(
            table.span(),
            "`interfaces` is empty; expected the interfaces that queries come in on, or no `interfaces` for all",
        );
    }
    let mut read: Vec<String> = Vec::new();
    for text in names {
        let name = text.get_ref();
        if read.contains(name) {
            checker.error(text.span(), format!("{name} is there already"));
        }
        interface_name(checker, text);
        let is_served =
            form.interfaces.iter().any(|one| one.get_ref().name.as_ref().is_some_and(|one| one.get_ref() == name));
        if !is_served && table.get_ref().tcp.is_none() {
            let why = "there is no [[interface]] of that name, so that no query over UDP comes in on it, and no [leasequery.tcp]";
            checker.warn(text.span(), format!("found `{name}`: {why}"));
        }
        read.push(name.clone());
    }
    read
}

/// Warns where clients may ask: they would learn of each other.
fn look_for_clients(checker: &mut Checker<'_>, text: &Text, net: Ipv4Net, subnets: &[Subnet]) {
    let range = AddressRange { first: net.network(), last: net.broadcast() };
    let pools = subnets.iter().filter(|subnet| subnet.space == Space::GLOBAL).flat_map(|subnet| &subnet.pools);
    if let Some(pool) = pools.into_iter().find(|pool| pool.overlaps(&range)) {
        checker.warn(text.span(), format!("{net} has addresses of the pool {pool}: clients may ask about each other"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        AnyMachine,
        machine::{InterfaceState, Machine},
        parse,
    };

    fn read(table: &str) -> Result<Option<LeaseQuery>, String> {
        let text = format!(
            "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10\"]\n{table}"
        );
        parse("f", &text, &AnyMachine).map(|checked| checked.config.leasequery).map_err(|why| why.to_string())
    }

    #[test]
    fn without_the_table_nobody_may_ask() {
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn who_is_in_the_list_may_ask_and_nobody_else() {
        let table = "[leasequery]\nallow = [\"198.51.100.0/28\", \"203.0.113.7\", \"198.51.100.8/29\"]";
        let read = read(table).unwrap().unwrap();
        let allows = |text: &str| read.allows(text.parse().unwrap());
        for yes in ["198.51.100.0", "198.51.100.15", "203.0.113.7"] {
            assert!(allows(yes), "{yes}");
        }
        for no in ["198.51.99.255", "198.51.100.16", "203.0.113.6", "203.0.113.8", "0.0.0.0", "255.255.255.255"] {
            assert!(!allows(no), "{no}");
        }
        assert_eq!(read.queries_per_s, 10_000);
        assert!(read.options.contains(code::ROUTER) && !read.options.contains(code::HOST_NAME));
    }

    #[test]
    fn everything_wrong_with_it_is_told_at_once() {
        let why =
            read("[leasequery]\nallow = [\"10.0.0.1/24\", \"x\"]\nqueries_per_s = 0\noptions = [\"rooters\", \"61\"]")
                .unwrap_err();
        for part in [
            "f:7:10: error: leasequery.allow[0]: found 10.0.0.1/24, which has host bits; expected 10.0.0.0/24",
            "found `x`; expected the addresses of who may ask",
            "found 0; expected 1 to 10000000 queries a second and worker",
            "did you mean `routers`?",
            "cannot be set here",
        ] {
            assert!(why.contains(part), "{part}\n{why}");
        }
        let why = read("[leasequery]\nqueries_per_s = 5").unwrap_err();
        assert!(why.contains("`allow` is missing"), "{why}");
    }

    #[test]
    fn queries_come_in_on_any_interface_or_on_those_that_are_named() {
        let all = read("[leasequery]\nallow = [\"10.0.0.1\"]").unwrap().unwrap();
        assert!(all.allows_on("eth1") && all.allows_on("eth2"));
        let one = read("[leasequery]\nallow = [\"10.0.0.1\"]\ninterfaces = [\"eth2\", \"eth3\"]").unwrap().unwrap();
        assert!(!one.allows_on("eth1") && one.allows_on("eth2") && one.allows_on("eth3") && !one.allows_on("eth"));
    }

    #[test]
    fn an_interface_that_is_no_name_or_there_twice_and_none_at_all_are_errors() {
        let why =
            |names: &str| read(&format!("[leasequery]\nallow = [\"10.0.0.1\"]\ninterfaces = [{names}]")).unwrap_err();
        let found = why("\"eth1\", \"eth1\", \"an interface\"");
        assert!(found.contains("f:8:23: error: leasequery.interfaces[1]: eth1 is there already"), "{found}");
        assert!(found.contains("found `an interface`; expected an interface's name as eth1"), "{found}");
        assert!(why("").contains("`interfaces` is empty; expected the interfaces that queries come in on"));
    }

    #[test]
    fn an_interface_that_is_not_there_and_one_that_no_query_comes_in_on_are_warned_of() {
        struct NoEth2;
        impl Machine for NoEth2 {
            fn interface(&self, name: &str) -> InterfaceState {
                if name == "eth2" { InterfaceState::Missing } else { InterfaceState::Unknown }
            }
            fn cpus(&self) -> Vec<usize> {
                Vec::new()
            }
        }
        let warnings = |names: &str, more: &str| -> Vec<String> {
            let text = format!(
                "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10\"]\n\
                 [leasequery]\nallow = [\"10.0.0.1\"]\ninterfaces = [{names}]\n{more}"
            );
            let read = parse("f", &text, &NoEth2).unwrap_or_else(|why| panic!("{why}"));
            read.warnings.iter().map(ToString::to_string).collect()
        };
        let tcp = "[leasequery.tcp]\nlisten = [\"192.0.2.1\"]";
        assert_eq!(warnings("\"eth1\"", ""), [""; 0]);
        assert_eq!(warnings("\"eth1\", \"eth3\"", tcp), [""; 0], "over TCP it may come in on any");
        assert_eq!(
            warnings("\"eth2\"", tcp),
            [
                "f:8:15: warning: leasequery.interfaces[0]: this machine has no interface eth2 at the moment (see `ip link`)"
            ]
        );
        assert_eq!(
            warnings("\"eth3\"", ""),
            [
                "f:8:15: warning: leasequery.interfaces[0]: found `eth3`: there is no [[interface]] of that name, so that no \
              query over UDP comes in on it, and no [leasequery.tcp]"
            ]
        );
    }

    #[test]
    fn options_are_named_as_everywhere() {
        let read =
            read("[leasequery]\nallow = [\"10.0.0.1\"]\noptions = [\"routers\", \"host-name\", \"224\"]").unwrap();
        assert_eq!(read.unwrap().options, Codes::of(&[code::ROUTER, code::HOST_NAME, 224]));
    }

    #[test]
    fn an_address_that_a_client_may_have_is_warned_of() {
        let warnings = |allow: &str| {
            let text = format!(
                "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.20\"]\n\
                 [leasequery]\nallow = [\"{allow}\"]\n"
            );
            parse("f", &text, &AnyMachine).unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(warnings("192.0.2.1"), [""; 0]);
        assert_eq!(
            warnings("192.0.2.16/28"),
            ["f:7:10: warning: leasequery.allow[0]: 192.0.2.16/28 has addresses of the pool 192.0.2.10-192.0.2.20: \
              clients may ask about each other"]
        );
    }
}
