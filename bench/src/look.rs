//! How the messages of a run look, and what of it differs from client to client: VLAN tags, relay agent, option 82.
//!
//! All of it is arithmetic on the client's number; nothing is stored for a client.

use std::{net::Ipv4Addr, str::FromStr};

/// Longest circuit identifier, remote identifier and vendor class.
pub const MAX_IDENTIFIER: usize = 64;
/// Most relay agents.
pub const MAX_RELAYS: usize = 1000;

/// Relay agents that the generator plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Their addresses, and the sources of their messages; clients are shared out in turn. At least one.
    pub giaddrs: Vec<Ipv4Addr>,
    /// Where they send to.
    pub server: Ipv4Addr,
    /// Agent circuit identifier, a [`Pattern`]. Empty: none.
    pub circuit_id: String,
    /// Agent remote identifier, a [`Pattern`]. Empty: none.
    pub remote_id: String,
}

/// VLAN tags: one, or two (QinQ), each the same for all clients or from a range.
///
/// Written `OUTER` or `OUTER.INNER`, each a number or `FIRST-LAST`. Clients that follow each other differ in the inner tag
/// first. One tag is 802.1Q; of two the outer is 802.1ad unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// First and last.
    pub outer: (u16, u16),
    /// First and last.
    pub inner: Option<(u16, u16)>,
    /// The outer tag's protocol identifier.
    pub outer_tpid: u16,
}

impl FromStr for Tags {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let number = |text: &str| text.parse::<u16>().ok().filter(|id| (1..=4094).contains(id));
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => Ok((first, last)),
                _ => Err(format!("`{text}` is no VLAN identifier from 1 to 4094, nor a range of them as 100-199")),
            }
        };
        let (outer, inner) = match text.split_once('.') {
            Some((outer, inner)) => (range(outer)?, Some(range(inner)?)),
            None => (range(text)?, None),
        };
        Ok(Self { outer, inner, outer_tpid: if inner.is_some() { 0x88a8 } else { 0x8100 } })
    }
}

/// How messages look, alike for all clients of a run.
#[derive(Clone, Debug)]
pub struct Look {
    /// Ethernet destination.
    pub destination_mac: [u8; 6],
    /// Ethernet source; the client's own when there is none.
    pub source_mac: Option<[u8; 6]>,
    /// Asks the server to broadcast its replies (RFC 2131 4.1).
    pub broadcast: bool,
    /// Sends a client identifier (option 61): type 1 and the MAC address.
    pub client_id: bool,
    /// Option 60. Empty: none.
    pub vendor_class: String,
    /// VLAN tags.
    pub tags: Option<Tags>,
    /// Sends as relay agents.
    pub relay: Option<Relay>,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            destination_mac: [0xff; 6],
            source_mac: None,
            broadcast: true,
            client_id: false,
            vendor_class: String::new(),
            tags: None,
            relay: None,
        }
    }
}

/// What a client's messages say of where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The number of its relay agent, from 0.
    pub relay: u16,
    /// That agent's address; 0 without one.
    pub giaddr: u32,
    /// Outer VLAN identifier, or 0.
    pub outer: u16,
    /// Inner VLAN identifier, or 0.
    pub inner: u16,
}

impl Look {
    /// How many VLAN tags frames have.
    pub fn tag_count(&self) -> usize {
        self.tags.as_ref().map_or(0, |tags| 1 + usize::from(tags.inner.is_some()))
    }

    /// Whether a message over a second path differs from that over the first.
    pub fn paths_differ(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.giaddrs.len() > 1)
    }

    /// A client as it is heard over its first path (0) or its second (1): the next relay agent.
    #[inline]
    pub fn person(&self, index: u32, mac: [u8; 6], path: u8) -> Person {
        let mut person = Person { index, mac, ..Person::default() };
        if let Some(tags) = &self.tags {
            let span = |(first, last): (u16, u16)| u32::from(last - first) + 1;
            let mut rest = index;
            if let Some(inner) = tags.inner {
                person.inner = inner.0 + (rest % span(inner)) as u16;
                rest /= span(inner);
            }
            person.outer = tags.outer.0 + (rest % span(tags.outer)) as u16;
        }
        if let Some(relay) = &self.relay {
            person.relay = ((index as usize + usize::from(path)) % relay.giaddrs.len()) as u16;
            person.giaddr = relay.giaddrs[usize::from(person.relay)].into();
        }
        person
    }

    /// What cannot be sent so.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.vendor_class.len() > MAX_IDENTIFIER {
            return Err(format!("the vendor class is longer than {MAX_IDENTIFIER} bytes"));
        }
        match &self.relay {
            Some(relay) if relay.giaddrs.is_empty() || relay.giaddrs.len() > MAX_RELAYS => {
                Err(format!("there are {} relay agents; it takes 1 to {MAX_RELAYS}", relay.giaddrs.len()))
            }
            _ => Ok(()),
        }
    }
}

/// What stands for a variable in a pattern, always of the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    /// The client's number, eight digits.
    Index,
    /// Its MAC address, twelve hexadecimal digits.
    Mac,
    /// Outer VLAN identifier, four digits.
    Vlan,
    /// Inner VLAN identifier, four digits.
    InnerVlan,
    /// Number of the relay agent from 0, three digits.
    Relay,
}

impl Variable {
    const ALL: [(&'static str, Variable, usize); 5] = [
        ("index", Variable::Index, 8),
        ("mac", Variable::Mac, 12),
        ("vlan", Variable::Vlan, 4),
        ("cvlan", Variable::InnerVlan, 4),
        ("relay", Variable::Relay, 3),
    ];
}

/// A text with variables in braces: `{index}`, `{mac}`, `{vlan}`, `{cvlan}`, `{relay}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Zeros where variables go.
    bytes: Vec<u8>,
    variables: Vec<(usize, Variable, usize)>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// An unknown variable, a brace without its other, or more than [`MAX_IDENTIFIER`] bytes.
    pub fn new(text: &str) -> Result<Self, String> {
        let (mut bytes, mut variables, mut rest) = (Vec::new(), Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            bytes.extend(before.as_bytes());
            let (name, after) =
                after.split_once('}').ok_or_else(|| format!("`{text}` has a brace that is not closed"))?;
            let found = Variable::ALL.iter().find(|(known, ..)| *known == name);
            let &(_, variable, len) = found.ok_or_else(|| {
                format!("`{text}`: {{{name}}} is none of {{index}}, {{mac}}, {{vlan}}, {{cvlan}}, {{relay}}")
            })?;
            variables.push((bytes.len(), variable, len));
            bytes.resize(bytes.len() + len, 0);
            rest = after;
        }
        bytes.extend(rest.as_bytes());
        match bytes.len() {
            1..=MAX_IDENTIFIER => Ok(Self { bytes, variables }),
            len => Err(format!("`{text}` comes to {len} bytes; it takes 1 to {MAX_IDENTIFIER}")),
        }
    }

    /// Its length, always the same.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a pattern has a byte at least.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The text, zeros where variables go.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Hands out what stands for each variable, and where.
    #[inline]
    pub fn render(&self, person: &Person, mut put: impl FnMut(usize, &[u8])) {
        for &(at, variable, len) in &self.variables {
            let mut digits = [0; 12];
            let digits = &mut digits[..len];
            match variable {
                Variable::Index => decimal(person.index, digits),
                Variable::Vlan => decimal(person.outer.into(), digits),
                Variable::InnerVlan => decimal(person.inner.into(), digits),
                Variable::Relay => decimal(person.relay.into(), digits),
                Variable::Mac => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    for (pair, octet) in digits.chunks_exact_mut(2).zip(person.mac) {
                        pair.copy_from_slice(&[HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
                    }
                }
            }
            put(at, digits);
        }
    }

    /// Whether a text is this pattern of this person.
    pub fn is(&self, person: &Person, text: &[u8]) -> bool {
        let mut expected = [0; MAX_IDENTIFIER];
        let expected = &mut expected[..self.bytes.len()];
        expected.copy_from_slice(&self.bytes);
        self.render(person, |at, digits| expected[at..at + digits.len()].copy_from_slice(digits));
        expected == text
    }
}

/// A number in so many digits.
fn decimal(mut number: u32, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_are_written() {
        assert_eq!("7".parse(), Ok(Tags { outer: (7, 7), inner: None, outer_tpid: 0x8100 }));
        assert_eq!("7-9.1-4094".parse(), Ok(Tags { outer: (7, 9), inner: Some((1, 4094)), outer_tpid: 0x88a8 }));
        for text in ["", "0", "4095", "9-7", "7.", ".7", "1.2.3", "x", "1-", "-1"] {
            assert!(text.parse::<Tags>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_its_text_with_variables_of_fixed_length() {
        let pattern = Pattern::new("olt {relay}/{vlan}.{cvlan} {index} {mac}").unwrap();
        let person = Person { index: 42, mac: [2, 0xab, 0, 1, 0xff, 9], relay: 7, giaddr: 1, outer: 100, inner: 4094 };
        assert!(pattern.is(&person, b"olt 007/0100.4094 00000042 02ab0001ff09"));
        assert!(!pattern.is(&person, b"olt 007/0100.4094 00000043 02ab0001ff09"));
        assert!(!pattern.is(&person, b""));
        for text in ["", "{index", "{foo}", &"x".repeat(65)] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }
}
