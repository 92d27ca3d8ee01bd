//! The values that go over the socket, and how a binding looks as JSON. Fields are added, never renamed.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{
    config::{GLOBAL_NAME, IdKind, Vrfs, identifier_bytes},
    lease::{Binding, BindingState, Space},
    wire::relay::RelayAgentInfo,
};

/// A binding as listings, exports and the API show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// The address.
    pub address: Ipv4Addr,
    /// The client's hardware address, lower case with colons; none when the client is forgotten (a declined address).
    pub hw_address: Option<String>,
    /// Hardware type (1 is Ethernet).
    pub hw_type: u8,
    /// The client identifier, lower case with colons; none when the client sent none.
    pub client_id: Option<String>,
    /// `offered`, `bound`, `released`, `expired` or `declined`.
    pub state: String,
    /// The client's last transaction, or its release by an operator; RFC 3339 in UTC.
    pub started_at: String,
    /// When the binding, hold or quarantine ends or ended, RFC 3339 in UTC; none is never.
    pub expires_at: Option<String>,
    /// The subnet's prefix; none when it is not known (a listing without a running server).
    pub subnet: Option<Ipv4Net>,
    /// The VPN that the address is of, by its name; none outside of all.
    #[serde(default)]
    pub vrf: Option<String>,
    /// What the relay agent said last, all of option 82, lower case with colons; not there when no message of the client had any,
    /// nor is what follows, which is part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_agent_info: Option<String>,
    /// The circuit (RFC 3046 3.1); as all of these by [`text_or_hex`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_id: Option<String>,
    /// The remote end of the circuit (RFC 3046 3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The subscriber (RFC 3993).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_id: Option<String>,
    /// The relay agent (RFC 6925).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_id: Option<String>,
}

impl LeaseView {
    /// Of a binding in a subnet, which is in one of these VPNs or in none.
    pub fn new(binding: &Binding, subnet: Option<Ipv4Net>, vrfs: &Vrfs) -> Self {
        let relay_agent = RelayAgentInfo::new(&binding.agent_info);
        Self {
            address: binding.address,
            hw_address: Some(colons(binding.hw.bytes())).filter(|text| !text.is_empty()),
            hw_type: binding.hw.htype,
            client_id: Some(colons(&binding.client_id)).filter(|text| !text.is_empty()),
            state: binding.state.name().to_owned(),
            started_at: rfc3339(binding.started_s),
            expires_at: (binding.expires_s != u32::MAX).then(|| rfc3339(binding.expires_s)),
            subnet,
            vrf: (binding.space != Space::GLOBAL).then(|| vrfs.name_of(binding.space)),
            relay_agent_info: Some(colons(&binding.agent_info)).filter(|text| !text.is_empty()),
            circuit_id: relay_agent.circuit_id().map(text_or_hex),
            remote_id: relay_agent.remote_id().map(text_or_hex),
            subscriber_id: relay_agent.subscriber_id().map(text_or_hex),
            relay_id: relay_agent.relay_id().map(text_or_hex),
        }
    }

    /// The address with its VPN, if it is in one: `10.0.0.1%red`, as [`SpacedAddress`](crate::lease::SpacedAddress) has it.
    pub fn place(&self) -> String {
        match &self.vrf {
            Some(vrf) => format!("{}%{vrf}", self.address),
            None => self.address.to_string(),
        }
    }
}

/// The answer to an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorView {
    /// What is wrong, in one line.
    pub error: String,
}

/// The answer of `/v1/health`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `failing` when clients cannot be served as they should.
    pub status: String,
    /// Why it is failing.
    pub reason: Option<String>,
    /// The server's version.
    pub version: String,
}

/// Which bindings to list; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state only.
    pub state: Option<BindingState>,
    /// With an address in this prefix only.
    pub subnet: Option<Ipv4Net>,
    /// With an address of this VPN only, by its name; [`GLOBAL_NAME`](crate::config::GLOBAL_NAME) is outside of all.
    pub vrf: Option<String>,
    /// Of this hardware address only.
    pub hw_address: Option<Vec<u8>>,
    /// Of this client identifier only.
    pub client_id: Option<Vec<u8>>,
    /// Of clients on this circuit only (RFC 3046 3.1).
    pub circuit_id: Option<Vec<u8>>,
    /// Of clients with this remote identifier only (RFC 3046 3.2).
    pub remote_id: Option<Vec<u8>>,
}

/// A [`Filter`] as a query string has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterQuery {
    state: Option<String>,
    subnet: Option<String>,
    vrf: Option<String>,
    hw_address: Option<String>,
    client_id: Option<String>,
    circuit_id: Option<String>,
    remote_id: Option<String>,
}

impl Filter {
    /// The space that its VPN has, if it names one.
    ///
    /// # Errors
    /// There is no such VPN.
    pub fn space(&self, vrfs: &Vrfs) -> Result<Option<Space>, String> {
        self.vrf.as_deref().map(|name| parse_vrf(name, vrfs)).transpose()
    }

    /// Whether a binding is wanted, whichever VPN it is of.
    pub fn takes(&self, binding: &Binding) -> bool {
        let relay_agent = RelayAgentInfo::new(&binding.agent_info);
        self.state.is_none_or(|state| binding.state == state)
            && self.subnet.is_none_or(|subnet| subnet.contains(&binding.address))
            && self.hw_address.as_ref().is_none_or(|hw| binding.hw.bytes() == hw)
            && self.client_id.as_ref().is_none_or(|id| binding.client_id.as_slice() == id)
            && self.circuit_id.as_ref().is_none_or(|id| relay_agent.circuit_id() == Some(id))
            && self.remote_id.as_ref().is_none_or(|id| relay_agent.remote_id() == Some(id))
    }

    /// As a query string, empty or with its question mark. Only names have characters that need escaping.
    pub(super) fn query(&self) -> String {
        let hex = |name, id: &Vec<u8>| format!("{name}={}", hex(id));
        let pairs = [
            self.state.map(|state| format!("state={}", state.name())),
            self.subnet.map(|subnet| format!("subnet={subnet}")),
            self.vrf.as_deref().map(vrf_query),
            self.hw_address.as_ref().map(|hw| format!("hw_address={}", colons(hw))),
            self.client_id.as_ref().map(|id| format!("client_id={}", colons(id))),
            self.circuit_id.as_ref().map(|id| hex("circuit_id", id)),
            self.remote_id.as_ref().map(|id| hex("remote_id", id)),
        ];
        let pairs: Vec<String> = pairs.into_iter().flatten().collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

impl TryFrom<FilterQuery> for Filter {
    type Error = String;

    fn try_from(query: FilterQuery) -> Result<Self, String> {
        Ok(Self {
            state: query.state.as_deref().map(parse_state).transpose()?,
            subnet: query.subnet.as_deref().map(parse_subnet).transpose()?,
            vrf: query.vrf,
            hw_address: query.hw_address.as_deref().map(parse_bytes).transpose()?,
            client_id: query.client_id.as_deref().map(parse_bytes).transpose()?,
            circuit_id: query.circuit_id.as_deref().map(parse_text_or_hex).transpose()?,
            remote_id: query.remote_id.as_deref().map(parse_text_or_hex).transpose()?,
        })
    }
}

/// A state by its name.
///
/// # Errors
/// There is none of this name.
pub fn parse_state(text: &str) -> Result<BindingState, String> {
    use BindingState::{Bound, Declined, Expired, Offered, Released};
    let states = [Offered, Bound, Released, Expired, Declined];
    states
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| format!("found state `{text}`; expected {}", states.map(BindingState::name).join(", ")))
}

/// The space of a VPN by its name.
///
/// # Errors
/// There is none of this name.
pub fn parse_vrf(name: &str, vrfs: &Vrfs) -> Result<Space, String> {
    vrfs.named(name).ok_or_else(|| {
        let known: Vec<&str> = vrfs.iter().map(|vrf| &vrf.name[..]).chain([GLOBAL_NAME]).collect();
        format!("found VPN `{name}`; expected {}", known.join(", "))
    })
}

/// A VPN's name as part of a query string.
pub(super) fn vrf_query(name: &str) -> String {
    format!("vrf={}", form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>())
}

/// A prefix; host bits are taken for what they are not.
///
/// # Errors
/// It is none.
pub fn parse_subnet(text: &str) -> Result<Ipv4Net, String> {
    text.parse::<Ipv4Net>()
        .map(|net| net.trunc())
        .map_err(|_| format!("found subnet `{text}`; expected a prefix as 192.0.2.0/24"))
}

/// Bytes in hexadecimal, with or without colons or dashes, either case.
///
/// # Errors
/// They are none.
pub fn parse_bytes(text: &str) -> Result<Vec<u8>, String> {
    let error = || format!("found `{text}`; expected bytes in hexadecimal as 02:00:00:00:00:01");
    let digits: Option<Vec<u32>> = text.chars().filter(|c| !matches!(c, ':' | '-')).map(|c| c.to_digit(16)).collect();
    match digits {
        Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 => {
            Ok(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
        }
        _ => Err(error()),
    }
}

/// Bytes as the configuration has identifiers of relay agents: as they are when they are printable ASCII, else, or when that would
/// look like it, in lower-case hexadecimal after `0x`.
pub fn text_or_hex(bytes: &[u8]) -> String {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(is_printable) && !text.starts_with("0x") => text.to_owned(),
        _ => hex(bytes),
    }
}

/// The bytes of what [`text_or_hex`] makes.
///
/// # Errors
/// They are none.
pub fn parse_text_or_hex(text: &str) -> Result<Vec<u8>, String> {
    // Read as it is in the configuration.
    identifier_bytes(IdKind::CircuitId, text)
        .map_err(|_| format!("found `{text}`; expected a text of 1 to 255 bytes, or bytes as 0x0102"))
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", colons(bytes).replace(':', ""))
}

/// Bytes in lower-case hexadecimal with colons.
pub fn colons(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 3);
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 {
            text.push(':');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Seconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(seconds: u32) -> String {
    // 32 bits of seconds end in 2106: every value is a time.
    jiff::Timestamp::from_second(i64::from(seconds)).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// The present, in seconds since 1970-01-01 UTC.
pub fn now_s() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{HwAddress, Space};

    fn binding() -> Binding {
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(&[2, 0, 0xAB, 0, 0, 1]);
        Binding {
            space: Space::GLOBAL,
            address: [192, 0, 2, 10].into(),
            state: BindingState::Bound,
            generation: 1,
            started_s: 1_700_000_000,
            expires_s: 1_700_003_600,
            hw: HwAddress { htype: 1, hlen: 6, chaddr },
            client_id: [1, 2, 0xFF].into_iter().collect(),
            limits: Default::default(),
            agent_info: (*b"\x01\x04eth7\x02\x02\x00\xff\x06\x020x\x0c\x01r").into_iter().collect(),
        }
    }

    #[test]
    fn a_binding_is_shown_as_scripts_read_it() {
        let json =
            serde_json::to_value(LeaseView::new(&binding(), Some("192.0.2.0/24".parse().unwrap()), &Vrfs::default()))
                .unwrap();
        let expected = serde_json::json!({
            "address": "192.0.2.10",
            "hw_address": "02:00:ab:00:00:01",
            "hw_type": 1,
            "client_id": "01:02:ff",
            "state": "bound",
            "started_at": "2023-11-14T22:13:20Z",
            "expires_at": "2023-11-14T23:13:20Z",
            "subnet": "192.0.2.0/24",
            "vrf": null,
            "relay_agent_info": "01:04:65:74:68:37:02:02:00:ff:06:02:30:78:0c:01:72",
            "circuit_id": "eth7",
            "remote_id": "0x00ff",
            "subscriber_id": "0x3078",
            "relay_id": "r",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let forgotten = Binding {
            hw: HwAddress::default(),
            client_id: Default::default(),
            expires_s: u32::MAX,
            agent_info: Default::default(),
            ..binding()
        };
        let view = LeaseView::new(&forgotten, None, &Vrfs::default());
        let json = serde_json::to_string(&view).unwrap();
        assert!(!json.contains("relay") && !json.contains("circuit"), "of a relay agent there is nothing: {json}");
        assert_eq!((view.hw_address, view.client_id, view.expires_at, view.subnet), (None, None, None, None));
    }

    #[test]
    fn a_filter_takes_what_matches_all_of_it() {
        let all = Filter {
            state: Some(BindingState::Bound),
            subnet: Some("192.0.2.0/28".parse().unwrap()),
            hw_address: Some(vec![2, 0, 0xAB, 0, 0, 1]),
            client_id: Some(vec![1, 2, 0xFF]),
            vrf: None,
            circuit_id: Some(b"eth7".to_vec()),
            remote_id: Some(vec![0, 0xff]),
        };
        assert!(all.takes(&binding()));
        assert!(Filter::default().takes(&binding()));
        assert!(!Filter { state: Some(BindingState::Offered), ..all.clone() }.takes(&binding()));
        assert!(!Filter { subnet: Some("192.0.2.16/28".parse().unwrap()), ..all.clone() }.takes(&binding()));
        assert!(!Filter { hw_address: Some(vec![2]), ..all.clone() }.takes(&binding()));
        assert!(!Filter { client_id: Some(vec![1, 2]), ..all.clone() }.takes(&binding()));
        assert!(!Filter { circuit_id: Some(b"eth".to_vec()), ..all.clone() }.takes(&binding()));
        assert!(!Filter { remote_id: Some(vec![0]), ..all.clone() }.takes(&binding()));
    }

    #[test]
    fn wrong_filters_say_what_would_be_right() {
        assert!(parse_state("busy").unwrap_err().contains("expected offered, bound, released, expired, declined"));
        assert!(parse_subnet("x").unwrap_err().contains("expected a prefix"));
        assert_eq!(parse_bytes("02-00:aB"), Ok(vec![2, 0, 0xAB]));
        for wrong in ["", "0", "0g", "é"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0x", "0x1", "0xyz"] {
            assert!(
                parse_text_or_hex(wrong).unwrap_err().contains("expected a text of 1 to 255 bytes, or bytes as 0x")
            );
        }
    }

    #[test]
    fn any_identifier_of_a_relay_agent_is_read_as_it_is_shown() {
        let shown = [(&b"olt1 xpon 0/1/0:7, \"a\""[..], "olt1 xpon 0/1/0:7, \"a\""), (b"\x00\x04", "0x0004")];
        for (bytes, text) in shown {
            assert_eq!((text_or_hex(bytes).as_str(), parse_text_or_hex(text).as_deref()), (text, Ok(bytes)));
        }
        for bytes in [&b"0x12"[..], b"0x", b"\xff", "\u{e9}".as_bytes(), b"a\n", b"00:01", b" "] {
            assert_eq!(parse_text_or_hex(&text_or_hex(bytes)).as_deref(), Ok(bytes));
        }
    }
}
