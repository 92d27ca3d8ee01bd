//! What expressions see of a packet.

use std::{net::Ipv4Addr, ops::Range};

use arrayvec::ArrayVec;

use crate::{
    engine::is_past_relay_agents,
    wire::{
        dhcp::Header,
        options::{Options, code},
    },
};

/// A client's message and how it came.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The message.
    pub header: Header<'a>,
    /// Name of the interface that it came in on.
    pub interface: &'a str,
    /// IPv4 destination of the datagram.
    pub destination: Ipv4Addr,
    /// VLAN identifiers of its frame, the outer one first.
    pub vlans: [Option<u16>; 2],
    /// Whether the client has a reservation.
    pub known: bool,
    /// What stands for option 82 in a message that came past the relay agent: what the client's lease keeps of it.
    pub recalled: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// Of a message; `None`: it is none.
    pub fn new(
        message: &'a [u8],
        interface: &'a str,
        destination: Ipv4Addr,
        vlans: [Option<u16>; 2],
        known: bool,
        recalled: Option<&'a [u8]>,
    ) -> Option<Self> {
        let header = Header::new_checked(message).or_else(|_| Header::without_options(message)).ok()?;
        Some(Self { header, interface, destination, vlans, known, recalled })
    }
}

/// Most option codes that all expressions of a configuration together may name.
pub(super) const MAX_CODES: usize = 64;

/// The option codes that expressions name: what is not named is not kept of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Index of a code among those that are kept; `NONE` for others.
    index: [u8; 256],
    codes: u8,
}

const NONE: u8 = u8::MAX;

impl Default for Wanted {
    fn default() -> Self {
        Self { index: [NONE; 256], codes: 0 }
    }
}

impl Wanted {
    /// The index of a code, which is kept from now on. `None`: there are too many.
    pub fn add(&mut self, code: u8) -> Option<u8> {
        let index = &mut self.index[usize::from(code)];
        if *index == NONE {
            if usize::from(self.codes) == MAX_CODES {
                return None;
            }
            *index = self.codes;
            self.codes += 1;
        }
        Some(*index)
    }
}

/// The options of a packet that expressions name, found in one pass.
#[derive(Debug)]
pub(super) struct Found<'a> {
    options: ArrayVec<Instance<'a>, MAX_CODES>,
}

#[derive(Clone, Copy, Debug)]
struct Instance<'a> {
    /// Of the first one.
    data: Option<&'a [u8]>,
    code: u8,
    is_repeated: bool,
}

/// An option of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup<'a> {
    Missing,
    Once(&'a [u8]),
    /// In several instances, which are parts of one (RFC 3396): see [`parts`].
    Repeated(u8),
}

impl<'a> Found<'a> {
    /// Looks for the wanted options. What follows a malformed one is not looked at.
    pub fn new(packet: &Packet<'a>, wanted: &Wanted) -> Self {
        let missing = Instance { data: None, code: 0, is_repeated: false };
        let mut options: ArrayVec<Instance<'a>, MAX_CODES> =
            std::iter::repeat_n(missing, usize::from(wanted.codes)).collect();
        if options.is_empty() {
            return Self { options };
        }
        for option in Options::new(packet.header).map_while(Result::ok) {
            if let Some(found) = options.get_mut(usize::from(wanted.index[usize::from(option.code)])) {
                match found.data {
                    None => *found = Instance { data: Some(option.data), code: option.code, is_repeated: false },
                    Some(_) => found.is_repeated = true,
                }
            }
        }
        let relay = options.get_mut(usize::from(wanted.index[usize::from(code::RELAY_AGENT_INFO)]));
        let is_past = is_past_relay_agents(packet.header.giaddr(), packet.destination);
        if let Some(relay) = relay.filter(|relay| is_past || relay.data.is_none()) {
            // What came past the relay agents may be its client's own invention.
            *relay = Instance { data: packet.recalled, code: code::RELAY_AGENT_INFO, is_repeated: false };
        }
        Self { options }
    }

    pub fn get(&self, index: u8) -> Lookup<'a> {
        match self.options.get(usize::from(index)) {
            Some(Instance { is_repeated: true, code, .. }) => Lookup::Repeated(*code),
            Some(Instance { data: Some(data), .. }) => Lookup::Once(data),
            _ => Lookup::Missing,
        }
    }
}

/// The parts of an option that came in several instances, in their order.
pub(super) fn parts(header: Header<'_>, code: u8) -> impl Iterator<Item = &[u8]> {
    Options::new(header).map_while(Result::ok).filter(move |option| option.code == code).map(|option| option.data)
}

/// Where the data of a sub-option lies: code, length, data, one after the other; 0 is padding, and 255 ends them (RFC 2132
/// 8.4).
pub(super) fn sub_option(data: &[u8], wanted: u8) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        match *data.get(at..)? {
            [0, ..] => at += 1,
            [code @ 1..=254, len, ..] => {
                let found = at + 2..at + 2 + usize::from(len);
                data.get(found.clone())?;
                if code == wanted {
                    return Some(found);
                }
                at = found.end;
            }
            _ => return None,
        }
    }
}

/// Where the data of an enterprise lies: its number of four bytes, length, data, one after the other (RFC 3925, RFC 4243).
pub(super) fn enterprise(data: &[u8], wanted: u32) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        let [number @ .., len] = data.get(at..)?.first_chunk::<5>()?;
        let found = at + 5..at + 5 + usize::from(*len);
        data.get(found.clone())?;
        if u32::from_be_bytes(*number) == wanted {
            return Some(found);
        }
        at = found.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_options_are_found_past_padding_and_never_past_the_end() {
        let data = [0, 1, 2, b'a', b'b', 0, 2, 0, 255, 3, 1, b'c'];
        assert_eq!(sub_option(&data, 1), Some(3..5));
        assert_eq!(sub_option(&data, 2), Some(8..8));
        assert_eq!(sub_option(&data, 3), None, "behind the end");
        assert_eq!(sub_option(&[1, 3, b'a'], 1), None, "it runs past the end");
        assert_eq!(sub_option(&[1], 1), None);
    }

    #[test]
    fn enterprises_are_told_apart() {
        let data = [0, 0, 0x11, 0x8b, 2, 1, 0, 0, 0, 0, 9, 1, 7];
        assert_eq!(enterprise(&data, 4491), Some(5..7));
        assert_eq!(enterprise(&data, 9), Some(12..13));
        assert_eq!(enterprise(&data, 1), None);
        assert_eq!(enterprise(&data[..6], 4491), None);
    }
}
