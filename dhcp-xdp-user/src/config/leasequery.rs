//! `[leasequery]`: who may ask about leases, how often, and what they are told.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    AddressRange, Subnet,
    check::Checker,
    file::{FileForm, Text},
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
        Self { allow, queries_per_s, options, tcp: None }
    }

    /// Whether an address may ask, in logarithmic time.
    pub fn allows(&self, address: Ipv4Addr) -> bool {
        let after = self.allow.partition_point(|range| range.first <= address);
        after.checked_sub(1).is_some_and(|at| self.allow[at].contains(address))
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
    Some(LeaseQuery { tcp, ..LeaseQuery::new(allow, queries_per_s, options) })
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
    use crate::config::{AnyMachine, parse};

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
