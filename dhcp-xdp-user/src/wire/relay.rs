//! Relay agent information (option 82): its sub-options, as relay agents of access networks send them.
//!
//! A view never fails: sub-options are read as far as they are whole, and of one that comes twice the first counts. What is
//! echoed is the option's bytes, whatever a view makes of them (RFC 3046 2.2).

use std::net::Ipv4Addr;

/// Sub-option codes.
pub mod sub {
    /// Agent circuit identifier (RFC 3046 3.1).
    pub const CIRCUIT_ID: u8 = 1;
    /// Agent remote identifier (RFC 3046 3.2).
    pub const REMOTE_ID: u8 = 2;
    /// Link selection (RFC 3527).
    pub const LINK_SELECTION: u8 = 5;
    /// Subscriber identifier (RFC 3993).
    pub const SUBSCRIBER_ID: u8 = 6;
    /// Vendor-specific information (RFC 4243).
    pub const VENDOR_SPECIFIC: u8 = 9;
    /// Relay agent flags (RFC 5010).
    pub const FLAGS: u8 = 10;
    /// Server identifier override (RFC 5107).
    pub const SERVER_ID_OVERRIDE: u8 = 11;
    /// Relay agent identifier (RFC 6925).
    pub const RELAY_ID: u8 = 12;
    /// The relay agent listens on another source port than 67 (RFC 8357).
    pub const SOURCE_PORT: u8 = 19;
    /// Virtual subnet selection (RFC 6607).
    pub const VIRTUAL_SUBNET: u8 = 151;
    /// Asks whether virtual subnet selection was acted on: a server that did takes it out (RFC 6607).
    pub const VIRTUAL_SUBNET_CONTROL: u8 = 152;
}

/// The flag of RFC 5010: the client's message came to the relay agent by unicast.
const UNICAST: u8 = 0x80;

/// The sub-options of an option 82.
#[derive(Clone, Copy, Debug)]
pub struct RelayAgentInfo<'a>(&'a [u8]);

impl<'a> RelayAgentInfo<'a> {
    /// A view of the option's data.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The bytes of the first sub-options that together have at most this many; all of it when it is no longer.
    pub fn first(self, bytes: usize) -> &'a [u8] {
        if self.0.len() <= bytes {
            return self.0;
        }
        let ends = self.iter().scan(0, |end, (_, data)| {
            *end += 2 + data.len();
            Some(*end)
        });
        &self.0[..ends.take_while(|end| *end <= bytes).last().unwrap_or(0)]
    }

    /// All whole sub-options in their order: code and data.
    pub fn iter(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let [code, len, after @ ..] = rest else { return None };
            let (data, after) = after.split_at_checked(usize::from(*len))?;
            rest = after;
            Some((*code, data))
        })
    }

    /// The bytes of all whole sub-options in their order, but for those with this code.
    pub fn without(self, code: u8) -> impl Iterator<Item = &'a [u8]> + Clone {
        let mut rest = self.0;
        let whole = std::iter::from_fn(move || {
            let len = 2 + usize::from(*rest.get(1)?);
            let (whole, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(whole)
        });
        whole.filter(move |whole| whole[0] != code)
    }

    /// The data of a sub-option.
    pub fn get(self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == code).map(|(_, data)| data)
    }

    /// The circuit that the client is on (RFC 3046 3.1).
    pub fn circuit_id(self) -> Option<&'a [u8]> {
        self.get(sub::CIRCUIT_ID)
    }

    /// The remote end of the circuit (RFC 3046 3.2).
    pub fn remote_id(self) -> Option<&'a [u8]> {
        self.get(sub::REMOTE_ID)
    }

    /// The subscriber (RFC 3993).
    pub fn subscriber_id(self) -> Option<&'a [u8]> {
        self.get(sub::SUBSCRIBER_ID)
    }

    /// The relay agent (RFC 6925).
    pub fn relay_id(self) -> Option<&'a [u8]> {
        self.get(sub::RELAY_ID)
    }

    /// What of it decides where a request belongs and where its reply goes.
    pub fn routing(self) -> Routing<'a> {
        let mut routing = Routing::default();
        let address = |data: &[u8]| <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from);
        for (code, data) in self.iter() {
            match code {
                sub::LINK_SELECTION => routing.link_selection = routing.link_selection.or(address(data)),
                sub::SERVER_ID_OVERRIDE => routing.server_id = routing.server_id.or(address(data)),
                sub::FLAGS => {
                    routing.unicast = routing.unicast || data.first().is_some_and(|flags| flags & UNICAST != 0)
                }
                sub::SOURCE_PORT => routing.source_port = true,
                sub::VIRTUAL_SUBNET => routing.virtual_subnet = routing.virtual_subnet.or(Some(data)),
                _ => {}
            }
        }
        routing
    }
}

/// The sub-options that the server itself acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routing<'a> {
    /// The link of the client, where it is not the one of `giaddr` (RFC 3527).
    pub link_selection: Option<Ipv4Addr>,
    /// The server identifier that clients are to be given: the relay agent's own address (RFC 5107).
    pub server_id: Option<Ipv4Addr>,
    /// The client sent by unicast (RFC 5010): of two REQUESTs with `ciaddr` it is the RENEWING one.
    pub unicast: bool,
    /// The reply goes to the port that the relay agent sent from (RFC 8357).
    pub source_port: bool,
    /// The VPN of the client: a type and an identifier (RFC 6607).
    pub virtual_subnet: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn sub_options_are_read_by_name() {
        let data = b"\x01\x02c1\x02\x02r1\x06\x01s\x0c\x03\x00\x01d\x05\x04\x0a\x00\x00\x01\x0a\x01\x80\x0b\x04\xc0\x00\x02\x07\x13\x00\x97\x04\x00red";
        let info = RelayAgentInfo::new(data);
        assert_eq!(info.circuit_id(), Some(&b"c1"[..]));
        assert_eq!(info.remote_id(), Some(&b"r1"[..]));
        assert_eq!(info.subscriber_id(), Some(&b"s"[..]));
        assert_eq!(info.relay_id(), Some(&b"\x00\x01d"[..]));
        let routing = Routing {
            link_selection: Some(Ipv4Addr::new(10, 0, 0, 1)),
            server_id: Some(Ipv4Addr::new(192, 0, 2, 7)),
            unicast: true,
            source_port: true,
            virtual_subnet: Some(b"\x00red"),
        };
        assert_eq!(info.routing(), routing);
    }

    #[test]
    fn sub_options_of_one_code_are_left_out_wherever_they_are() {
        let info = RelayAgentInfo::new(b"\x98\x00\x01\x02c1\x98\x01x\x0a\x00\x98\x00\x05\x09cut");
        assert_eq!(info.without(sub::VIRTUAL_SUBNET_CONTROL).collect::<Vec<_>>().concat(), b"\x01\x02c1\x0a\x00");
    }

    #[test]
    fn a_broken_sub_option_ends_the_reading_and_an_address_of_another_length_is_none() {
        assert_eq!(RelayAgentInfo::new(b"\x01\x01a\x02\x09b").iter().count(), 1);
        assert_eq!(RelayAgentInfo::new(b"\x05\x03\x0a\x00\x00\x0b").routing(), Routing::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(data in vec(any::<u8>(), 0..255)) {
            let info = RelayAgentInfo::new(&data);
            prop_assert!(info.iter().map(|(_, data)| data.len() + 2).sum::<usize>() <= data.len());
            info.routing();
        }
    }
}
