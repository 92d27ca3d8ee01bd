//! The data of options in words, by their type: for people who read what a reply carries.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::registry::Kind;

/// An option's data as text, in the form that a configuration has it; in hexadecimal where it is not what its type says.
pub fn show(kind: Option<&Kind>, data: &[u8]) -> String {
    kind.and_then(|kind| of_kind(kind, data)).unwrap_or_else(|| bytes(data))
}

/// Bytes: as a text in quotes where they are one, else in hexadecimal.
pub fn bytes(data: &[u8]) -> String {
    let is_text = !data.is_empty() && data.iter().all(|byte| (b' '..=b'~').contains(byte));
    if is_text { quoted(data) } else { hex(data) }
}

/// Bytes in hexadecimal, as a configuration takes them.
pub fn hex(data: &[u8]) -> String {
    let mut text = String::from(if data.is_empty() { "(no data)" } else { "0x" });
    data.iter().for_each(|byte| {
        let _ = write!(text, "{byte:02x}");
    });
    text
}

/// A text in quotes; what no terminal should have is escaped.
fn quoted(data: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in data {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte.into()]),
            b' '..=b'~' => text.push(byte.into()),
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

fn of_kind(kind: &Kind, data: &[u8]) -> Option<String> {
    Some(match kind {
        Kind::Empty => data.is_empty().then(String::new)?,
        Kind::Ip => address(data)?.to_string(),
        Kind::Ips => each(data, |part: [u8; 4]| Some(Ipv4Addr::from(part)))?,
        Kind::IpPairs => each(data, |[a, b, c, d, e, f, g, h]: [u8; 8]| {
            Some(format!("{} via {}", Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)))
        })?,
        Kind::IpMasks => each(data, |[a, b, c, d, e, f, g, h]: [u8; 8]| {
            let mask = u32::from_be_bytes([e, f, g, h]);
            (mask.leading_ones() == mask.count_ones())
                .then(|| format!("{}/{}", Ipv4Addr::new(a, b, c, d), mask.count_ones()))
        })?,
        Kind::Ip6 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
        Kind::Ip6s => each(data, |part: [u8; 16]| Some(Ipv6Addr::from(part)))?,
        Kind::Bool => match data {
            [value @ 0..=1] => (*value == 1).to_string(),
            _ => return None,
        },
        Kind::U8 => u8::from_be_bytes(data.try_into().ok()?).to_string(),
        Kind::U16 => u16::from_be_bytes(data.try_into().ok()?).to_string(),
        Kind::U32 => u32::from_be_bytes(data.try_into().ok()?).to_string(),
        Kind::I32 => i32::from_be_bytes(data.try_into().ok()?).to_string(),
        Kind::U8s => each(data, |[byte]: [u8; 1]| Some(byte))?,
        Kind::U16s => each(data, |part: [u8; 2]| Some(u16::from_be_bytes(part)))?,
        Kind::Text => quoted(data),
        Kind::Texts => counted(data, |rest| Some((usize::from(*rest.first()?), 1)))?,
        Kind::Uris => counted(data, |rest| Some((usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 2)))?,
        Kind::DomainName | Kind::DomainNames | Kind::SearchList => names(data)?,
        Kind::Routes => routes(data)?,
        Kind::SipServers => match data {
            [0, rest @ ..] => names(rest)?,
            [1, rest @ ..] => of_kind(&Kind::Ips, rest)?,
            _ => return None,
        },
        Kind::Suboptions => sub_options(data)?,
        // Lists in lists and records are seldom; their bytes say as much.
        Kind::Hex | Kind::IpLists | Kind::VendorClasses | Kind::VendorOptions | Kind::Record(_) => return None,
    })
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?))
}

/// Parts of one size, one after the other.
fn each<const N: usize, T: ToString>(data: &[u8], part: impl Fn([u8; N]) -> Option<T>) -> Option<String> {
    let parts = data.chunks(N).map(|chunk| Some(part(chunk.try_into().ok()?)?.to_string()));
    joined(parts.collect::<Option<Vec<_>>>()?)
}

fn joined(parts: Vec<String>) -> Option<String> {
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Texts behind their lengths; `len` gives that of the next, and how many bytes it is itself.
fn counted(mut data: &[u8], len: impl Fn(&[u8]) -> Option<(usize, usize)>) -> Option<String> {
    let mut parts = Vec::new();
    while !data.is_empty() {
        let (len, own) = len(data)?;
        parts.push(quoted(data.get(own..own + len)?));
        data = &data[own + len..];
    }
    joined(parts)
}

/// Domain names in wire form, pointers followed (RFC 1035 4.1.4).
fn names(data: &[u8]) -> Option<String> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let (name, end) = name(data, at)?;
        names.push(name);
        at = end;
    }
    joined(names)
}

/// A name and where it ends.
fn name(data: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut name) = (start, None, String::new());
    // A name has at most 255 bytes (RFC 1035 2.3.4), whatever points where.
    while name.len() < 256 {
        match *data.get(at)? {
            0 => {
                let name = if name.is_empty() { ".".to_owned() } else { name };
                return Some((name, end.unwrap_or(at + 1)));
            }
            high @ 0xc0.. => {
                end = end.or(Some(at + 2));
                let to = usize::from(high & 0x3f) << 8 | usize::from(*data.get(at + 1)?);
                // Only backwards, so that there is an end.
                at = Some(to).filter(|to| *to < at)?;
            }
            len @ 1..=63 => {
                let label = data.get(at + 1..at + 1 + usize::from(len))?;
                if !label.iter().all(u8::is_ascii_graphic) {
                    return None;
                }
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|byte| char::from(*byte)));
                at += 1 + usize::from(len);
            }
            _ => return None,
        }
    }
    None
}

/// Destinations with their routers (RFC 3442).
fn routes(mut data: &[u8]) -> Option<String> {
    let mut routes = Vec::new();
    while let [len @ 0..=32, rest @ ..] = data {
        let significant = usize::from(len.div_ceil(8));
        let (prefix, rest) = rest.split_at_checked(significant)?;
        let (router, rest) = rest.split_at_checked(4)?;
        let mut network = [0; 4];
        network[..significant].copy_from_slice(prefix);
        routes.push(format!("{}/{len} via {}", Ipv4Addr::from(network), address(router)?));
        data = rest;
    }
    if data.is_empty() { joined(routes) } else { None }
}

/// Options within the option (RFC 2132 8.4).
fn sub_options(mut data: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while let [code, len, rest @ ..] = data {
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        parts.push(format!("{code} = {}", bytes(value)));
        data = rest;
    }
    if data.is_empty() { joined(parts) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_shown_as_its_type_says() {
        let cases: &[(Kind, &[u8], &str)] = &[
            (Kind::Ip, &[192, 0, 2, 1], "192.0.2.1"),
            (Kind::Ips, &[192, 0, 2, 1, 192, 0, 2, 2], "192.0.2.1, 192.0.2.2"),
            (Kind::IpPairs, &[198, 51, 100, 7, 192, 0, 2, 1], "198.51.100.7 via 192.0.2.1"),
            (Kind::IpMasks, &[198, 51, 100, 0, 255, 255, 255, 0], "198.51.100.0/24"),
            (Kind::Bool, &[1], "true"),
            (Kind::U16, &[5, 220], "1500"),
            (Kind::I32, &[0xff, 0xff, 0xf1, 0xf0], "-3600"),
            (Kind::U16s, &[0, 68, 5, 220], "68, 1500"),
            (Kind::Text, b"a\"b\x1b", "\"a\\\"b\\x1b\""),
            (Kind::Texts, b"\x02ab\x01c", "\"ab\", \"c\""),
            (
                Kind::Routes,
                &[25, 10, 229, 0, 128, 10, 229, 0, 1, 0, 10, 0, 0, 1],
                "10.229.0.128/25 via 10.229.0.1, 0.0.0.0/0 via 10.0.0.1",
            ),
            // The example of RFC 3397 section 2.
            (
                Kind::SearchList,
                b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04",
                "eng.apple.com, marketing.apple.com",
            ),
            (Kind::SipServers, b"\x00\x01s\x01x\x00", "s.x"),
            (Kind::Suboptions, b"\x01\x01u\x02\x02\x00\x05", "1 = \"u\", 2 = 0x0005"),
            (Kind::Hex, b"\x01\x04", "0x0104"),
        ];
        for (kind, data, expected) in cases {
            assert_eq!(show(Some(kind), data), *expected, "{kind:?}");
        }
    }

    #[test]
    fn what_is_not_of_its_type_is_shown_as_bytes_and_nothing_panics() {
        assert_eq!(show(Some(&Kind::Ip), &[1, 2, 3]), "0x010203");
        assert_eq!(show(Some(&Kind::SearchList), b"\xc0\x00"), "0xc000", "it points at itself");
        assert_eq!(show(None, b""), "(no data)");
        for (_, kind) in super::super::registry::KIND_NAMES {
            for len in 0..40u8 {
                let data: Vec<u8> = (0..len).map(|at| at.wrapping_mul(len)).collect();
                let _ = show(Some(&kind), &data);
            }
        }
    }
}
