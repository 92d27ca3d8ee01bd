//! One lease as a line of a file says it.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use dhcp_xdp::{
    config::Vrfs,
    control::{parse_bytes, parse_state},
    lease::{Binding, BindingState, HwAddress, Space},
};
use serde::{Deserialize, Deserializer};

/// The fields, by the names of columns and keys.
pub(super) const NAMES: [&str; 9] =
    ["address", "state", "hw_address", "client_id", "started_at", "expires_at", "hw_type", "vrf", "relay_agent_info"];
/// Of these, the ones that must be there; the others may be left out.
pub(super) const NEEDED: usize = 6;

/// The fields of a line, as text; an empty one says that there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub address: &'a str,
    pub state: &'a str,
    pub hw_address: &'a str,
    pub client_id: &'a str,
    pub started_at: &'a str,
    pub expires_at: &'a str,
    pub hw_type: &'a str,
    pub vrf: &'a str,
    pub relay_agent_info: &'a str,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A lease, of no generation yet.
    Lease(Box<Binding>),
    /// An offer: no journal keeps it.
    Offer,
}

/// A line of JSON. All keys must be there, so that a misspelt one is not taken for nothing.
#[derive(Debug, Deserialize)]
pub(super) struct JsonLine {
    address: String,
    state: String,
    #[serde(deserialize_with = "may_be_null")]
    hw_address: Option<String>,
    #[serde(deserialize_with = "may_be_null")]
    client_id: Option<String>,
    started_at: String,
    #[serde(deserialize_with = "may_be_null")]
    expires_at: Option<String>,
    #[serde(default)]
    hw_type: Option<serde_json::Number>,
    #[serde(default)]
    vrf: Option<String>,
    relay_agent_info: Option<String>,
    #[serde(skip)]
    hw_type_text: String,
}

/// With a function of its own serde misses a key that is not there.
fn may_be_null<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(value)
}

impl JsonLine {
    /// Reads one.
    ///
    /// # Errors
    /// What was found and what would be right.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut line: Self = serde_json::from_slice(text).map_err(|error| {
            let said = error.to_string();
            // There is one line, and its number is told already.
            let said = said.split(" at line ").next().unwrap_or_default();
            format!("{said}; expected an object with {}", NAMES[..NEEDED].join(", "))
        })?;
        line.hw_type_text = line.hw_type.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(line)
    }

    /// As text.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            address: &self.address,
            state: &self.state,
            hw_address: self.hw_address.as_deref().unwrap_or_default(),
            client_id: self.client_id.as_deref().unwrap_or_default(),
            started_at: &self.started_at,
            expires_at: self.expires_at.as_deref().unwrap_or_default(),
            hw_type: &self.hw_type_text,
            vrf: self.vrf.as_deref().unwrap_or_default(),
            relay_agent_info: self.relay_agent_info.as_deref().unwrap_or_default(),
        }
    }
}

impl Fields<'_> {
    /// Checks all of it. A VPN that is not among these is added to them.
    ///
    /// # Errors
    /// What was found and what would be right.
    pub fn read(&self, vrfs: &mut Vrfs) -> Result<Read, String> {
        let address = address(self.address)?;
        let state = parse_state(self.state)?;
        let hw = self.hw()?;
        let client_id = bytes("client_id", self.client_id)?;
        let agent_info = bytes("relay_agent_info", self.relay_agent_info)?;
        let started_s = time("started_at", self.started_at)?;
        let expires_s = if self.expires_at.is_empty() { u32::MAX } else { time("expires_at", self.expires_at)? };
        if state == BindingState::Offered {
            return Ok(Read::Offer);
        }
        if state != BindingState::Declined && hw.hlen == 0 && client_id.is_empty() {
            return Err(format!(
                "found a lease that is {} and of no client; expected hw_address or client_id",
                self.state
            ));
        }
        Ok(Read::Lease(Box::new(Binding {
            space: if self.vrf.is_empty() { Space::GLOBAL } else { vrfs.learn(self.vrf)? },
            address,
            state,
            generation: 0,
            started_s,
            expires_s,
            hw,
            client_id,
            limits: Default::default(),
            agent_info,
        })))
    }

    fn hw(&self) -> Result<HwAddress, String> {
        let htype = match self.hw_type {
            "" => 1,
            text => {
                text.parse().map_err(|_| format!("found hw_type `{text}`; expected 0 to 255, as 1 for Ethernet"))?
            }
        };
        let mut hw = HwAddress { htype, ..HwAddress::default() };
        if !self.hw_address.is_empty() {
            let bytes = parse_bytes(self.hw_address).map_err(|what| format!("hw_address: {what}"))?;
            let len = bytes.len();
            let room = hw.chaddr.get_mut(..len);
            room.ok_or_else(|| format!("found hw_address of {len} bytes; expected at most 16"))?
                .copy_from_slice(&bytes);
            hw.hlen = len as u8;
        }
        Ok(hw)
    }
}

/// At most 255 bytes in hexadecimal, or none.
fn bytes(field: &str, text: &str) -> Result<ArrayVec<u8, 255>, String> {
    if text.is_empty() {
        return Ok(ArrayVec::new());
    }
    let bytes = parse_bytes(text).map_err(|what| format!("{field}: {what}"))?;
    let too_long = |_| format!("found {field} of {} bytes; expected at most 255", bytes.len());
    ArrayVec::try_from(bytes.as_slice()).map_err(too_long)
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    let address: Ipv4Addr = text.parse().map_err(|_| format!("found address `{text}`; expected one as 192.0.2.10"))?;
    if address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback() {
        return Err(format!("found address {address}, which no client can have; expected one as 192.0.2.10"));
    }
    Ok(address)
}

/// Seconds since 1970; what is left of a second is dropped.
fn time(field: &str, text: &str) -> Result<u32, String> {
    let expected = "expected a time as 2026-01-31T12:00:00Z";
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("found {field} `{text}`; {expected}"))?;
    let seconds = u32::try_from(time.as_second()).ok().filter(|seconds| *seconds != u32::MAX);
    seconds.ok_or_else(|| format!("found {field} `{text}`; {expected}, from 1970 to 2106"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Fields<'_> = Fields {
        address: "192.0.2.1",
        state: "bound",
        hw_address: "02:00:00:00:00:01",
        client_id: "",
        started_at: "2026-01-01T00:00:00Z",
        expires_at: "",
        hw_type: "",
        vrf: "",
        relay_agent_info: "",
    };

    #[test]
    fn a_wrong_field_is_told_with_what_would_be_right() {
        assert!(GOOD.read(&mut Vrfs::default()).is_ok());
        for (wrong, expected) in [
            (Fields { address: "192.0.2", ..GOOD }, "found address `192.0.2`; expected one as 192.0.2.10"),
            (Fields { address: "0.0.0.0", ..GOOD }, "which no client can have"),
            (Fields { state: "free", ..GOOD }, "found state `free`; expected offered, bound"),
            (Fields { hw_address: "0", ..GOOD }, "hw_address: found `0`; expected bytes in hexadecimal"),
            (Fields { hw_address: &"00".repeat(17), ..GOOD }, "found hw_address of 17 bytes; expected at most 16"),
            (Fields { client_id: "xy", ..GOOD }, "client_id: found `xy`"),
            (Fields { client_id: &"00".repeat(256), ..GOOD }, "found client_id of 256 bytes; expected at most 255"),
            (
                Fields { relay_agent_info: "eth7", ..GOOD },
                "relay_agent_info: found `eth7`; expected bytes in hexadecimal",
            ),
            (
                Fields { relay_agent_info: &"00".repeat(256), ..GOOD },
                "found relay_agent_info of 256 bytes; expected at most 255",
            ),
            (Fields { hw_type: "256", ..GOOD }, "found hw_type `256`; expected 0 to 255"),
            (Fields { started_at: "", ..GOOD }, "found started_at ``; expected a time as"),
            (Fields { expires_at: "tomorrow", ..GOOD }, "found expires_at `tomorrow`; expected a time as"),
            (Fields { expires_at: "2200-01-01T00:00:00Z", ..GOOD }, "from 1970 to 2106"),
            (Fields { vrf: "\u{e9}", ..GOOD }, "found VPN `\u{e9}`; expected a VPN's name"),
            (Fields { hw_address: "", ..GOOD }, "of no client; expected hw_address or client_id"),
        ] {
            let what = wrong.read(&mut Vrfs::default()).unwrap_err();
            assert!(what.contains(expected), "{what}");
        }
        let json = JsonLine::parse(br#"{"address":"192.0.2.1","state":"bound","hw_address":null}"#).unwrap_err();
        assert!(json.starts_with("missing field `client_id`; expected an object with address, state"), "{json}");
    }

    #[test]
    fn times_may_have_an_offset_and_parts_of_seconds() {
        let fields = Fields { expires_at: "2026-01-01T02:00:00.9+01:00", ..GOOD };
        let Ok(Read::Lease(lease)) = fields.read(&mut Vrfs::default()) else { panic!() };
        assert_eq!((lease.started_s, lease.expires_s), (1_767_225_600, 1_767_229_200));
        let Ok(Read::Lease(lease)) = GOOD.read(&mut Vrfs::default()) else { panic!() };
        assert_eq!(lease.expires_s, u32::MAX, "no end is never");
    }
}
