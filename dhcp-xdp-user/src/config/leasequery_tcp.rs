//! `[leasequery.tcp]`: bulk and active queries.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use toml::Spanned;

use super::{check::Checker, file::LeaseQueryTcpForm, levels::Levels};
use crate::{
    leasequery::tcp::{ActiveSettings, Settings},
    wire::options::Codes,
};

/// The port of DHCP servers, over TCP as well (RFC 6926 6.3).
const PORT: i64 = 67;
/// BULK_LQ_MAX_CONNS (RFC 6926 6.3).
const MAX_CONNECTIONS: i64 = 10;
/// An active query and a bulk one beside it, as a requestor that rebuilds has them (RFC 7724 7.4.1), and those of before it broke down.
const MAX_CONNECTIONS_PER_SOURCE: i64 = 4;
const MAX_QUERIES: i64 = 10;
/// A million leases in half a minute, for some hundredths of a core.
const BINDINGS_PER_S: i64 = 40_000;
/// BULK_LQ_DATA_TIMEOUT (RFC 6926 6.3), and what comes with a smaller one.
const DATA_TIMEOUT_S: i64 = 300;
/// ACTIVE_LQ_IDLE_TIMEOUT (RFC 7724 5.3).
const ACTIVE_IDLE_S: i64 = 60;
/// ACTIVE_LQ_SEND_TIMEOUT (RFC 7724 5.3).
const ACTIVE_SEND_TIMEOUT_S: i64 = 120;

/// Checks the table, if there is one.
pub(super) fn tcp(
    checker: &mut Checker<'_>,
    form: Option<&Spanned<LeaseQueryTcpForm>>,
    levels: &Levels,
) -> Option<Settings> {
    let spanned = form?;
    let given = spanned.get_ref();
    let mut number = |given, bounds, default, unit| checker.number(given, bounds, default, unit);
    let port = number(given.port.as_ref(), 1..=65535, PORT, "") as u16;
    let max_connections = number(given.max_connections.as_ref(), 1..=1000, MAX_CONNECTIONS, " connections") as usize;
    let most = max_connections as i64;
    let max_connections_per_source = number(
        given.max_connections_per_source.as_ref(),
        1..=most,
        MAX_CONNECTIONS_PER_SOURCE.min(most),
        " connections, as many as `max_connections` allows",
    ) as usize;
    let max_queries =
        number(given.max_queries.as_ref(), 1..=100, MAX_QUERIES, " queries on a connection at a time") as usize;
    let bindings_per_s =
        number(given.bindings_per_s.as_ref(), 1..=100_000_000, BINDINGS_PER_S, " bindings a second") as u32;
    let mut seconds =
        |given, default| Duration::from_secs(checker.number(given, 1..=86_400, default, " seconds") as u64);
    let data_timeout = seconds(given.data_timeout_s.as_ref(), DATA_TIMEOUT_S);
    let idle = seconds(given.active_idle_s.as_ref(), ACTIVE_IDLE_S);
    let send_timeout = seconds(given.active_send_timeout_s.as_ref(), ACTIVE_SEND_TIMEOUT_S);

    let mut listen: Vec<SocketAddrV4> = Vec::new();
    for text in &given.listen {
        match text.get_ref().parse::<Ipv4Addr>() {
            Ok(address) if address.is_multicast() || address.is_broadcast() => {
                checker.error(text.span(), format!("found {address}, which no machine has for its own"));
            }
            Ok(address) => {
                let is_same = |other: &&SocketAddrV4| {
                    *other.ip() == address || other.ip().is_unspecified() || address.is_unspecified()
                };
                if let Some(other) = listen.iter().find(is_same) {
                    checker.error(text.span(), format!("{} is listened on already", other.ip()));
                }
                listen.push(SocketAddrV4::new(address, port));
            }
            Err(_) => checker.error(
                text.span(),
                format!("found `{}`; expected an address of this machine, as 192.0.2.1", text.get_ref()),
            ),
        }
    }
    if given.listen.is_empty() {
        checker.error(
            spanned.span(),
            "`listen` is missing; expected the addresses to listen on, as listen = [\"192.0.2.1\"]",
        );
    }
    let mut withhold = Codes::default();
    for name in &given.active_withhold {
        let by_number = name.get_ref().parse::<u8>().ok().filter(|code| (1..=254).contains(code));
        match by_number.map_or_else(|| levels.option_named(name.get_ref()), Ok) {
            Ok(code) => drop(withhold.insert(code)),
            Err(why) => checker.error(name.span(), why),
        }
    }
    if given.active && !given.active_insecure {
        checker.error(
            spanned.span(),
            "`active` has updates sent without encryption, which is to be said as well (RFC 7724 8.1): add \
             `active_insecure = true` where the way to the requestors is a protected one",
        );
    }
    let active = given.active.then_some(ActiveSettings { idle, send_timeout, withhold });
    Some(Settings {
        listen,
        max_connections,
        max_connections_per_source,
        max_queries,
        bindings_per_s: Some(bindings_per_s),
        data_timeout,
        active,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{AnyMachine, parse},
        wire::options::code,
    };

    fn read(table: &str) -> Result<Option<Settings>, String> {
        let text = format!(
            "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10\"]\n\
             [leasequery]\nallow = [\"10.0.0.0/8\"]\n{table}"
        );
        let checked = parse("f", &text, &AnyMachine).map_err(|why| why.to_string())?;
        Ok(checked.config.leasequery.and_then(|leasequery| leasequery.tcp))
    }

    #[test]
    fn port_67_must_be_the_default_and_the_other_values_are_those_of_the_rfcs() {
        assert_eq!(read(""), Ok(None));
        let settings = read("[leasequery.tcp]\nlisten = [\"192.0.2.1\", \"192.0.2.2\"]").unwrap().unwrap();
        let expected = Settings {
            listen: vec!["192.0.2.1:67".parse().unwrap(), "192.0.2.2:67".parse().unwrap()],
            max_connections: 10,
            max_connections_per_source: 4,
            max_queries: 10,
            bindings_per_s: Some(40_000),
            data_timeout: Duration::from_secs(300),
            active: None,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn one_source_may_have_four_connections_or_as_many_as_there_are_where_these_are_fewer() {
        let per_source = |more: &str| {
            let read = read(&format!("[leasequery.tcp]\nlisten = [\"192.0.2.1\"]\n{more}"));
            read.map(|settings| settings.unwrap().max_connections_per_source)
        };
        assert_eq!(per_source("max_connections = 100"), Ok(4));
        assert_eq!(per_source("max_connections = 3"), Ok(3));
        assert_eq!(per_source("max_connections = 3\nmax_connections_per_source = 2"), Ok(2));
        let why = per_source("max_connections = 3\nmax_connections_per_source = 4").unwrap_err();
        assert!(why.contains("found 4; expected 1 to 3 connections, as many as `max_connections` allows"), "{why}");
    }

    #[test]
    fn an_address_that_cannot_be_listened_on_is_found_before_the_server_starts() {
        let why = |listen: &str| read(&format!("[leasequery.tcp]\nlisten = [{listen}]")).unwrap_err();
        for listen in ["\"192.0.2.1\", \"192.0.2.1\"", "\"192.0.2.1\", \"0.0.0.0\""] {
            assert!(
                why(listen).contains("error: leasequery.tcp.listen[1]: 192.0.2.1 is listened on already"),
                "{listen}"
            );
        }
        for listen in ["224.0.0.1", "255.255.255.255"] {
            let why = why(&format!("\"{listen}\""));
            assert!(why.contains(&format!("found {listen}, which no machine has for its own")), "{why}");
        }
        assert!(read("[leasequery.tcp]\nlisten = [\"0.0.0.0\"]").is_ok());
    }

    #[test]
    fn operation_in_insecure_mode_must_always_require_an_explicit_configuration_step() {
        let why = read("[leasequery.tcp]\nlisten = [\"192.0.2.1\"]\nactive = true").unwrap_err();
        assert!(why.contains("active_insecure = true"), "{why}");
        let active = "[leasequery.tcp]\nlisten = [\"192.0.2.1\"]\nactive = true\nactive_insecure = true\n\
                      active_withhold = [\"client-identifier\", \"82\"]";
        let expected = ActiveSettings {
            idle: Duration::from_secs(60),
            send_timeout: Duration::from_secs(120),
            withhold: Codes::of(&[code::CLIENT_ID, code::RELAY_AGENT_INFO]),
        };
        assert_eq!(read(active).unwrap().unwrap().active, Some(expected));
        let insecure = "[leasequery.tcp]\nlisten = [\"192.0.2.1\"]\nactive_insecure = true";
        assert_eq!(read(insecure).unwrap().unwrap().active, None, "the one step is not the other");
    }

    #[test]
    fn everything_wrong_with_it_is_told_at_once() {
        let why = read(
            "[leasequery.tcp]\nlisten = [\"eth1\"]\nport = 0\nmax_connections = 0\nbindings_per_s = 0\n\
             data_timeout_s = 0\nactive_withhold = [\"client-identifierr\", \"255\"]\nmax_quries = 3",
        )
        .unwrap_err();
        for part in [
            "leasequery.tcp.listen[0]: found `eth1`; expected an address of this machine",
            "found 0; expected 1 to 65535",
            "found 0; expected 1 to 1000 connections",
            "found 0; expected 1 to 100000000 bindings a second",
            "found 0; expected 1 to 86400 seconds",
            "did you mean `client-identifier`?",
            "by the name `255`",
            "there is no setting `max_quries`; did you mean `max_queries`?",
        ] {
            assert!(why.contains(part), "{part}\n{why}");
        }
        let why = read("[leasequery.tcp]\nport = 67").unwrap_err();
        assert!(why.contains("`listen` is missing"), "{why}");
    }
}
