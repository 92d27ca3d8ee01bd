//! Options by name or number: their types, and how a value of the file becomes the bytes of a reply.
//!
//! The usual options of RFC 2132 and its successors have a name and a type; any other is written by number with a type
//! beside its value, as `150 = { ip = "192.0.2.9" }`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::Value;

use super::OptionBlob;
use crate::wire::options::{MAX_OPTION_DATA, code};

/// What an option's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ip,
    Ips,
    /// Destination and router, in pairs (RFC 2132 5.8).
    IpPairs,
    Bool,
    U8,
    U16,
    U32,
    I32,
    Text,
    Hex,
    /// Names in wire form, not compressed (RFC 3397).
    DomainNames,
    /// RFC 3442.
    ClasslessRoutes,
}

impl Kind {
    /// How a value is written, for messages.
    const fn expected(self) -> &'static str {
        match self {
            Kind::Ip => "an IPv4 address as \"192.0.2.1\"",
            Kind::Ips => "IPv4 addresses as [\"192.0.2.1\", \"192.0.2.2\"]",
            Kind::IpPairs => "pairs of host and router as [\"198.51.100.7 via 192.0.2.1\"]",
            Kind::Bool => "true or false",
            Kind::U8 => "a number from 0 to 255",
            Kind::U16 => "a number from 0 to 65535",
            Kind::U32 => "a number from 0 to 4294967295",
            Kind::I32 => "a number from -2147483648 to 2147483647",
            Kind::Text => "a text as \"example.net\"",
            Kind::Hex => "bytes in hexadecimal as \"01:04:c0:00:02:01\"",
            Kind::DomainNames => "domain names as [\"example.net\", \"example.org\"]",
            Kind::ClasslessRoutes => "routes as [\"198.51.100.0/24 via 192.0.2.1\"]",
        }
    }
}

/// The usual options. The first of several names for a code is the one that messages use.
const NAMED: &[(u8, &str, Kind)] = &[
    (code::SUBNET_MASK, "subnet-mask", Kind::Ip),
    (2, "time-offset", Kind::I32),
    (code::ROUTER, "routers", Kind::Ips),
    (4, "time-servers", Kind::Ips),
    (5, "ien116-name-servers", Kind::Ips),
    (code::DOMAIN_NAME_SERVER, "dns-servers", Kind::Ips),
    (code::DOMAIN_NAME_SERVER, "domain-name-servers", Kind::Ips),
    (7, "log-servers", Kind::Ips),
    (9, "lpr-servers", Kind::Ips),
    (code::HOST_NAME, "host-name", Kind::Text),
    (13, "boot-size", Kind::U16),
    (code::DOMAIN_NAME, "domain-name", Kind::Text),
    (16, "swap-server", Kind::Ip),
    (17, "root-path", Kind::Text),
    (18, "extensions-path", Kind::Text),
    (19, "ip-forwarding", Kind::Bool),
    (23, "default-ip-ttl", Kind::U8),
    (code::INTERFACE_MTU, "interface-mtu", Kind::U16),
    (27, "all-subnets-local", Kind::Bool),
    (code::BROADCAST_ADDRESS, "broadcast-address", Kind::Ip),
    (31, "router-discovery", Kind::Bool),
    (code::STATIC_ROUTE, "static-routes", Kind::IpPairs),
    (35, "arp-cache-timeout", Kind::U32),
    (37, "default-tcp-ttl", Kind::U8),
    (38, "tcp-keepalive-interval", Kind::U32),
    (40, "nis-domain", Kind::Text),
    (41, "nis-servers", Kind::Ips),
    (code::NTP_SERVER, "ntp-servers", Kind::Ips),
    (43, "vendor-encapsulated-options", Kind::Hex),
    (44, "netbios-name-servers", Kind::Ips),
    (45, "netbios-dd-servers", Kind::Ips),
    (46, "netbios-node-type", Kind::U8),
    (47, "netbios-scope", Kind::Text),
    (code::VENDOR_CLASS_ID, "vendor-class-identifier", Kind::Text),
    (66, "tftp-server-name", Kind::Text),
    (67, "boot-file-name", Kind::Text),
    (69, "smtp-servers", Kind::Ips),
    (70, "pop3-servers", Kind::Ips),
    (72, "www-servers", Kind::Ips),
    (100, "posix-timezone", Kind::Text),
    (101, "tzdb-timezone", Kind::Text),
    (108, "ipv6-only-preferred", Kind::U32),
    (114, "captive-portal", Kind::Text),
    (119, "domain-search", Kind::DomainNames),
    (code::CLASSLESS_ROUTE, "classless-static-routes", Kind::ClasslessRoutes),
    (125, "vendor-identifying-options", Kind::Hex),
    (138, "capwap-controllers", Kind::Ips),
    (150, "tftp-server-addresses", Kind::Ips),
    (212, "6rd", Kind::Hex),
    (252, "web-proxy-autodiscovery", Kind::Text),
];

/// Options that the protocol itself sets, or that only clients and relay agents send, with what to do in their place.
const REFUSED: &[(u8, &str, &str)] = &[
    (code::PAD, "pad", "it has no value"),
    (code::REQUESTED_ADDRESS, "requested-address", "only clients send it"),
    (code::LEASE_TIME, "lease-time", "the server sets it: use `lease_time_s`"),
    (code::OVERLOAD, "option-overload", "the server sets it where it is needed"),
    (code::MESSAGE_TYPE, "message-type", "the server sets it"),
    (code::SERVER_ID, "server-identifier", "the server sets it: use `server_id`"),
    (code::PARAMETER_REQUEST_LIST, "parameter-request-list", "only clients send it"),
    (code::MESSAGE, "message", "the server sets it in a NAK"),
    (code::MAX_MESSAGE_SIZE, "max-message-size", "only clients send it"),
    (code::RENEWAL_TIME, "renewal-time", "the server sets it: use `t1`"),
    (code::REBINDING_TIME, "rebinding-time", "the server sets it: use `t2`"),
    (code::CLIENT_ID, "client-identifier", "the server echoes the client's (RFC 6842)"),
    (code::RELAY_AGENT_INFO, "relay-agent-information", "the server echoes the relay agent's (RFC 3046)"),
    (code::END, "end", "it has no value"),
];

/// The name of an option in messages: its own, or its number.
pub(super) fn name_of(code: u8) -> String {
    let named = NAMED.iter().map(|&(code, name, _)| (code, name));
    let refused = REFUSED.iter().map(|&(code, name, _)| (code, name));
    match named.chain(refused).find(|&(c, _)| c == code) {
        Some((_, name)) => format!("{name} ({code})"),
        None => format!("option {code}"),
    }
}

/// The code that a key of an `options` table means.
///
/// # Errors
/// There is no such option, or it is not for the configuration to set.
pub(super) fn code_of(key: &str) -> Result<u8, String> {
    let by_number = key.bytes().all(|b| b.is_ascii_digit()) && !key.is_empty();
    let refused = |code: u8| REFUSED.iter().find(|&&(c, ..)| c == code);
    let code = if by_number {
        key.parse::<u8>().map_err(|_| format!("found option number {key}; expected 1 to 254"))?
    } else if let Some(&(code, ..)) = NAMED.iter().find(|(_, name, _)| *name == key) {
        code
    } else if let Some(&(code, ..)) = REFUSED.iter().find(|(_, name, _)| *name == key) {
        code
    } else {
        let names = NAMED.iter().map(|(_, name, _)| *name);
        let near = nearest(key, names, '-').map_or(String::new(), |name| format!("; did you mean `{name}`?"));
        return Err(format!(
            "no option is known by the name `{key}`{near} (any option can be written by its number, as 150 = {{ ip = \"192.0.2.9\" }})"
        ));
    };
    match refused(code) {
        Some((_, name, why)) => Err(format!("option {name} ({code}) cannot be set here: {why}")),
        None => Ok(code),
    }
}

/// The code of any option by its name: those that clients and relay agents send, too.
///
/// # Errors
/// There is no such option.
pub(crate) fn option_code(name: &str) -> Result<u8, String> {
    let named = || NAMED.iter().map(|&(code, name, _)| (code, name));
    let all = || named().chain(REFUSED.iter().map(|&(code, name, _)| (code, name)));
    if let Some((code, _)) = all().find(|(_, known)| *known == name) {
        return Ok(code);
    }
    let near = nearest(name, all().map(|(_, name)| name), '-');
    let advice = near.map_or("expected its number, as option[60]".to_owned(), |near| format!("did you mean `{near}`?"));
    Err(format!("no option is known by the name `{name}`; {advice}"))
}

/// The known name that is nearest to a mistyped one, if any is near; `dash` is what stands between words in `names`.
pub(crate) fn nearest<'a>(key: &str, names: impl Iterator<Item = &'a str>, dash: char) -> Option<&'a str> {
    let key = key.to_ascii_lowercase().replace(['_', '-'], &dash.to_string());
    let (distance, name) = names.map(|name| (edit_distance(&key, name), name)).min()?;
    (distance <= 3 && distance * 2 < name.len()).then_some(name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Encodes one entry of an `options` table: a value of the option's own type, or a table
/// `{ value = …, always = true }` or `{ hex = …, always = true }` (also `string`, `ip`, `u8`, `u16`, `u32`, `bool`).
///
/// # Errors
/// What was found and what would be right.
pub(super) fn encode(code: u8, value: &Value) -> Result<OptionBlob, String> {
    let own = NAMED.iter().find(|&&(c, ..)| c == code).map(|&(_, _, kind)| kind);
    let mut always = false;
    let mut typed = None;
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let kind = match (key.as_str(), own) {
                    ("always", _) => {
                        always = value.as_bool().ok_or_else(|| wrong(value, "true or false", "always"))?;
                        continue;
                    }
                    ("value", Some(kind)) => kind,
                    ("value", None) => return Err(needs_type(code)),
                    ("hex", _) => Kind::Hex,
                    ("string", _) => Kind::Text,
                    ("ip", _) => Kind::Ips,
                    ("u8", _) => Kind::U8,
                    ("u16", _) => Kind::U16,
                    ("u32", _) => Kind::U32,
                    ("bool", _) => Kind::Bool,
                    _ => {
                        return Err(format!(
                            "unknown key `{key}`; expected value, hex, string, ip, u8, u16, u32, bool or always"
                        ));
                    }
                };
                if typed.replace((kind, value)).is_some() {
                    return Err("found two values; expected one of value, hex, string, ip, u8, u16, u32, bool".into());
                }
            }
        }
        _ => typed = Some((own.ok_or_else(|| needs_type(code))?, value)),
    }
    let Some((kind, value)) = typed else {
        return Err(format!("has no value; expected {}", own.map_or("{ hex = … }", Kind::expected)));
    };
    let data = encode_value(kind, value)?;
    if data.len() > MAX_OPTION_DATA {
        return Err(format!("is {} bytes long; an option holds at most {MAX_OPTION_DATA}", data.len()));
    }
    if data.is_empty() {
        return Err(format!("is empty; expected {}", kind.expected()));
    }
    Ok(OptionBlob { code, data, always })
}

fn needs_type(code: u8) -> String {
    format!(
        "{} has no type of its own: write one, as {{ hex = \"0a:0b\" }}, {{ string = \"…\" }} or {{ ip = [\"192.0.2.9\"] }}",
        name_of(code)
    )
}

fn wrong(value: &Value, expected: &str, what: &str) -> String {
    let what = if what.is_empty() { String::new() } else { format!("{what}: ") };
    let found = match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    format!("{what}found {found}; expected {expected}")
}

fn encode_value(kind: Kind, value: &Value) -> Result<Vec<u8>, String> {
    let wrong = || wrong(value, kind.expected(), "");
    let number = |min: i64, max: i64| {
        value.as_integer().filter(|n| (min..=max).contains(n)).map(i64::to_be_bytes).ok_or_else(wrong)
    };
    match kind {
        Kind::Ip => Ok(ip(value.as_str().ok_or_else(wrong)?).ok_or_else(wrong)?.octets().to_vec()),
        Kind::Ips => each(value, kind, |text| Some(ip(text)?.octets().to_vec())),
        Kind::IpPairs => each(value, kind, |text| {
            let (host, router) = text.split_once(" via ")?;
            Some([ip(host.trim())?.octets(), ip(router.trim())?.octets()].concat())
        }),
        Kind::ClasslessRoutes => each(value, kind, classless_route),
        Kind::DomainNames => each(value, kind, domain_name),
        Kind::Bool => Ok(vec![u8::from(value.as_bool().ok_or_else(wrong)?)]),
        Kind::U8 => Ok(number(0, 255)?[7..].to_vec()),
        Kind::U16 => Ok(number(0, 65_535)?[6..].to_vec()),
        Kind::U32 => Ok(number(0, u32::MAX.into())?[4..].to_vec()),
        Kind::I32 => Ok(number(i32::MIN.into(), i32::MAX.into())?[4..].to_vec()),
        Kind::Text => Ok(value.as_str().filter(|text| !text.contains('\0')).ok_or_else(wrong)?.as_bytes().to_vec()),
        Kind::Hex => hex(value.as_str().ok_or_else(wrong)?).ok_or_else(wrong),
    }
}

/// Encodes each text of a list one after the other; a single text is a list of one.
fn each(value: &Value, kind: Kind, encode: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let one = |value: &Value| value.as_str().and_then(&encode).ok_or_else(|| wrong(value, kind.expected(), ""));
    match value {
        Value::Array(values) => Ok(values.iter().map(one).collect::<Result<Vec<_>, _>>()?.concat()),
        _ => one(value),
    }
}

fn ip(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
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

/// A domain name as length-counted labels with the root at its end (RFC 1035 3.1).
fn domain_name(text: &str) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    for label in text.strip_suffix('.').unwrap_or(text).split('.') {
        if !(1..=63).contains(&label.len()) || !label.is_ascii() {
            return None;
        }
        data.push(u8::try_from(label.len()).ok()?);
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    (data.len() <= 255).then_some(data)
}

/// Bytes in hexadecimal, run together or with `:`, `-` or a space between them.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(key: &str, toml: &str) -> Result<Vec<u8>, String> {
        let table: toml::Table = format!("v = {toml}").parse().unwrap();
        Ok(encode(code_of(key)?, &table["v"])?.data)
    }

    #[test]
    fn each_type_is_encoded_as_its_rfc_says() {
        let cases: &[(&str, &str, &[u8])] = &[
            ("subnet-mask", "\"255.255.255.0\"", &[255, 255, 255, 0]),
            ("routers", "[\"192.0.2.1\", \"192.0.2.2\"]", &[192, 0, 2, 1, 192, 0, 2, 2]),
            ("routers", "\"192.0.2.1\"", &[192, 0, 2, 1]),
            ("time-offset", "-3600", &[0xff, 0xff, 0xf1, 0xf0]),
            ("domain-name", "\"example.net\"", b"example.net"),
            ("interface-mtu", "1500", &[5, 220]),
            ("ip-forwarding", "false", &[0]),
            ("static-routes", "[\"198.51.100.7 via 192.0.2.1\"]", &[198, 51, 100, 7, 192, 0, 2, 1]),
            // The examples of RFC 3442.
            ("classless-static-routes", "\"0.0.0.0/0 via 10.0.0.1\"", &[0, 10, 0, 0, 1]),
            ("classless-static-routes", "[\"10.229.0.128/25 via 10.229.0.1\"]", &[25, 10, 229, 0, 128, 10, 229, 0, 1]),
            ("domain-search", "[\"a.bc\", \"d.\"]", &[1, b'a', 2, b'b', b'c', 0, 1, b'd', 0]),
            ("43", "{ hex = \"01:04 ff\", always = true }", &[1, 4, 255]),
            ("43", "\"0104\"", &[1, 4]),
            ("224", "{ string = \"x\" }", b"x"),
            ("225", "{ ip = \"192.0.2.9\" }", &[192, 0, 2, 9]),
            ("226", "{ u32 = 4294967295 }", &[255, 255, 255, 255]),
            ("3", "\"192.0.2.1\"", &[192, 0, 2, 1]),
            ("dns-servers", "{ value = [\"192.0.2.1\"], always = true }", &[192, 0, 2, 1]),
        ];
        for (key, value, data) in cases {
            assert_eq!(encoded(key, value).as_deref(), Ok(*data), "{key} = {value}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_type() {
        let cases = [
            ("routers", "[\"192.0.2.1\", \"nonsense\"]", "found `nonsense`; expected IPv4 addresses"),
            ("routers", "[]", "is empty; expected IPv4 addresses"),
            ("interface-mtu", "70000", "found `70000`; expected a number from 0 to 65535"),
            ("ip-forwarding", "1", "expected true or false"),
            ("43", "\"012\"", "expected bytes in hexadecimal"),
            ("224", "\"x\"", "has no type of its own"),
            ("224", "{ always = true }", "has no value"),
            ("224", "{ hex = \"00\", string = \"x\" }", "found two values"),
            ("224", "{ text = \"x\" }", "unknown key `text`"),
            ("classless-static-routes", "\"10.0.0.1/8 via 10.0.0.1\"", "expected routes as"),
            ("domain-search", "\"a..b\"", "expected domain names"),
            ("256", "1", "expected 1 to 254"),
            ("router", "1", "did you mean `routers`?"),
            ("ntp_servers", "1", "did you mean `ntp-servers`?"),
            ("frobnicate", "1", "no option is known by the name `frobnicate` (any"),
        ];
        for (key, value, part) in cases {
            let error = encoded(key, value).unwrap_err();
            assert!(error.contains(part), "{key} = {value}: {error}");
        }
    }

    #[test]
    fn an_option_longer_than_its_length_byte_can_say_is_refused() {
        let text = |n: usize| encoded("domain-name", &format!("\"{}\"", "x".repeat(n)));
        assert_eq!(text(255).unwrap().len(), 255);
        assert!(text(256).unwrap_err().contains("is 256 bytes long; an option holds at most 255"));
    }

    #[test]
    fn options_that_the_protocol_sets_are_refused_with_a_reason() {
        for code in [0u8, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 255] {
            assert!(code_of(&code.to_string()).unwrap_err().contains("cannot be set here: "), "{code}");
        }
        assert!(code_of("lease-time").unwrap_err().contains("use `lease_time_s`"));
    }

    #[test]
    fn names_are_unique_and_codes_in_order() {
        assert!(NAMED.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let mut names: Vec<_> = NAMED.iter().map(|n| n.1).chain(REFUSED.iter().map(|r| r.1)).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(NAMED.iter().all(|n| REFUSED.iter().all(|r| r.0 != n.0)));
    }
}
