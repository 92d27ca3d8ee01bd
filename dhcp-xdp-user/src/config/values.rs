//! A value of the file becomes the bytes of an option, by what the option's data is.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::Ipv4Net;
use toml::Value;

use crate::wire::registry::Kind;

/// Encodes a value.
///
/// # Errors
/// What was found and what would be right.
pub(super) fn encode(kind: &Kind, value: &Value) -> Result<Vec<u8>, String> {
    let wrong = || wrong(value, &kind.expected(), "");
    let text = || value.as_str().ok_or_else(wrong);
    let number = |min: i64, max: i64| {
        value.as_integer().filter(|n| (min..=max).contains(n)).map(i64::to_be_bytes).ok_or_else(wrong)
    };
    match kind {
        Kind::Empty => text()?.is_empty().then(Vec::new).ok_or_else(wrong),
        Kind::Ip => Ok(ip(text()?).ok_or_else(wrong)?.octets().to_vec()),
        Kind::Ips => each(value, kind, |text| Some(ip(text)?.octets().to_vec())),
        Kind::IpPairs => each(value, kind, ip_pair),
        Kind::IpMasks => each(value, kind, ip_mask),
        Kind::Ip6 => Ok(text()?.parse::<Ipv6Addr>().map_err(|_| wrong())?.octets().to_vec()),
        Kind::Ip6s => each(value, kind, |text| Some(text.parse::<Ipv6Addr>().ok()?.octets().to_vec())),
        Kind::Bool => Ok(vec![u8::from(value.as_bool().ok_or_else(wrong)?)]),
        Kind::U8 => Ok(number(0, 255)?[7..].to_vec()),
        Kind::U16 => Ok(number(0, 65_535)?[6..].to_vec()),
        Kind::U32 => Ok(number(0, u32::MAX.into())?[4..].to_vec()),
        Kind::I32 => Ok(number(i32::MIN.into(), i32::MAX.into())?[4..].to_vec()),
        Kind::U8s => all_of(value, &Kind::U8, kind),
        Kind::U16s => all_of(value, &Kind::U16, kind),
        Kind::Text => Ok(value.as_str().filter(|text| !text.contains('\0')).ok_or_else(wrong)?.into()),
        Kind::Texts => each(value, kind, |text| counted(text.as_bytes(), 1).filter(|counted| counted.len() > 1)),
        Kind::Uris => each(value, kind, |text| counted(text.as_bytes(), 2)),
        Kind::Hex => hex(text()?).ok_or_else(wrong),
        Kind::DomainName => domain_name(text()?).ok_or_else(wrong),
        Kind::DomainNames => each(value, kind, domain_name),
        Kind::SearchList => search_list(value).ok_or_else(wrong),
        Kind::Routes => each(value, kind, classless_route),
        Kind::SipServers => sip_servers(value).ok_or_else(wrong),
        Kind::IpLists => ip_lists(value).ok_or_else(wrong),
        Kind::Record(kinds) => record(kinds, value, kind),
        // Those are tables, which the options' own checks read; as a text they are bytes.
        Kind::Suboptions | Kind::VendorClasses | Kind::VendorOptions => value.as_str().and_then(hex).ok_or_else(wrong),
    }
}

/// What was found where something else was expected; `what` is a part's name, or empty.
pub(super) fn wrong(value: &Value, expected: &str, what: &str) -> String {
    let what = if what.is_empty() { String::new() } else { format!("{what}: ") };
    let found = match value {
        Value::String(text) => format!("`{text}`"),
        Value::Table(_) => "a table".into(),
        other => format!("`{other}`"),
    };
    format!("{what}found {found}; expected {expected}")
}

/// Encodes each text of a list one after the other; a single text is a list of one.
fn each(value: &Value, kind: &Kind, encode: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let one = |value: &Value| value.as_str().and_then(&encode).ok_or_else(|| wrong(value, &kind.expected(), ""));
    match value {
        Value::Array(values) => Ok(values.iter().map(one).collect::<Result<Vec<_>, _>>()?.concat()),
        _ => one(value),
    }
}

/// Encodes each number of a list; a single one is a list of one.
fn all_of(value: &Value, element: &Kind, kind: &Kind) -> Result<Vec<u8>, String> {
    let one = |value: &Value| encode(element, value).map_err(|_| wrong(value, &kind.expected(), ""));
    match value {
        Value::Array(values) => Ok(values.iter().map(one).collect::<Result<Vec<_>, _>>()?.concat()),
        _ => one(value),
    }
}

fn record(kinds: &[Kind], value: &Value, kind: &Kind) -> Result<Vec<u8>, String> {
    match value.as_array() {
        Some(values) if values.len() == kinds.len() => {
            let parts = kinds.iter().zip(values).map(|(kind, value)| encode(kind, value));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Some(values) => Err(format!("found {} values; expected {}", values.len(), kind.expected())),
        None => Err(wrong(value, &kind.expected(), "")),
    }
}

fn ip(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
}

/// `198.51.100.7 via 192.0.2.1` as two addresses.
fn ip_pair(text: &str) -> Option<Vec<u8>> {
    let (host, router) = text.split_once(" via ")?;
    Some([ip(host.trim())?.octets(), ip(router.trim())?.octets()].concat())
}

/// `198.51.100.0/24` as address and mask.
fn ip_mask(text: &str) -> Option<Vec<u8>> {
    let net: Ipv4Net = text.parse().ok()?;
    Some([net.addr().octets(), net.netmask().octets()].concat())
}

/// `192.0.2.0/24 via 192.0.2.1` as prefix length, significant octets, router (RFC 3442).
fn classless_route(text: &str) -> Option<Vec<u8>> {
    let (prefix, router) = text.split_once(" via ")?;
    let prefix: Ipv4Net = prefix.trim().parse().ok()?;
    if prefix.addr() != prefix.network() {
        return None;
    }
    let significant = usize::from(prefix.prefix_len().div_ceil(8));
    let mut data = vec![prefix.prefix_len()];
    data.extend_from_slice(&prefix.addr().octets()[..significant]);
    data.extend_from_slice(&ip(router.trim())?.octets());
    Some(data)
}

/// Bytes behind their length in `width` bytes.
fn counted(bytes: &[u8], width: usize) -> Option<Vec<u8>> {
    let len = u16::try_from(bytes.len()).ok().filter(|len| width > 1 || *len <= 255)?;
    Some([&len.to_be_bytes()[2 - width..], bytes].concat())
}

/// The labels of a domain name, without the root (RFC 1035 2.3.4).
fn labels(text: &str) -> Option<Vec<&str>> {
    let labels: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
    let fits = labels.iter().all(|label| (1..=63).contains(&label.len()) && label.is_ascii());
    let len = labels.iter().map(|label| label.len() + 1).sum::<usize>() + 1;
    (fits && len <= 255).then_some(labels)
}

fn push_label(data: &mut Vec<u8>, label: &str) {
    // At most 63 bytes.
    data.push(label.len() as u8);
    data.extend_from_slice(label.as_bytes());
}

/// A domain name as length-counted labels with the root at its end (RFC 1035 3.1).
fn domain_name(text: &str) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    for label in labels(text)? {
        push_label(&mut data, label);
    }
    data.push(0);
    Some(data)
}

/// Domain names, each ending in a pointer where an earlier one ends alike (RFC 3397 2, RFC 1035 4.1.4). Pointers count from the
/// first byte of the option, all its parts joined.
fn search_list(value: &Value) -> Option<Vec<u8>> {
    const POINTER: u16 = 0xc000;
    const FARTHEST: u16 = 0x3fff;
    let names: Vec<&str> = match value {
        Value::Array(values) => values.iter().map(Value::as_str).collect::<Option<_>>()?,
        one => vec![one.as_str()?],
    };
    let mut data = Vec::new();
    let mut suffixes: HashMap<String, u16> = HashMap::new();
    for name in names {
        let labels = labels(name)?;
        let mut at = 0;
        let pointer = loop {
            let Some(rest) = labels.get(at..).filter(|rest| !rest.is_empty()) else { break None };
            let suffix = rest.join(".").to_ascii_lowercase();
            if let Some(&place) = suffixes.get(&suffix) {
                break Some(place);
            }
            if let Some(place) = u16::try_from(data.len()).ok().filter(|place| *place <= FARTHEST) {
                suffixes.insert(suffix, place);
            }
            push_label(&mut data, labels[at]);
            at += 1;
        };
        match pointer {
            Some(place) => data.extend_from_slice(&(POINTER | place).to_be_bytes()),
            None => data.push(0),
        }
    }
    Some(data)
}

/// All names or all addresses, behind a byte that says which (RFC 3361 3).
fn sip_servers(value: &Value) -> Option<Vec<u8>> {
    let texts: Vec<&str> = match value {
        Value::Array(values) => values.iter().map(Value::as_str).collect::<Option<_>>()?,
        one => vec![one.as_str()?],
    };
    let addresses: Option<Vec<_>> = texts.iter().map(|text| Some(ip(text)?.octets().to_vec())).collect();
    let (encoding, parts) = match addresses {
        Some(addresses) => (1, addresses),
        None if texts.iter().any(|text| ip(text).is_some()) => return None,
        None => (0, texts.into_iter().map(domain_name).collect::<Option<_>>()?),
    };
    Some([vec![encoding], parts.concat()].concat())
}

/// A list of lists of addresses, each behind its length in bytes (RFC 7291 4). A single list is one.
fn ip_lists(value: &Value) -> Option<Vec<u8>> {
    let of_list = |value: &Value| {
        let octets: Option<Vec<_>> = match value {
            Value::Array(values) => values.iter().map(|value| Some(ip(value.as_str()?)?.octets())).collect(),
            one => Some(vec![ip(one.as_str()?)?.octets()]),
        };
        counted(&octets?.concat(), 1)
    };
    match value {
        Value::Array(values) if values.iter().any(Value::is_array) => {
            Some(values.iter().map(of_list).collect::<Option<Vec<_>>>()?.concat())
        }
        one => of_list(one),
    }
}

/// Bytes in hexadecimal, run together or with `:`, `-` or a space between them.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}
