//! ARP (RFC 826), as far as it takes to be reached: a server whose replies go through its kernel asks who has the address of
//! a relay agent, or of a client that renews.

use std::net::Ipv4Addr;

use dhcp_xdp_ebpf::walk::{ETHERNET_LEN, MAX_VLAN_TAGS, VLAN_TAG_LEN};

/// Length of an ARP packet for IPv4 over Ethernet.
const ARP_LEN: usize = 28;
/// Hardware Ethernet, protocol IPv4, their lengths, and a request.
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
/// Shortest Ethernet frame, without its checksum.
const SHORTEST: usize = 60;

/// A question: who has `target`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub sender_mac: [u8; 6],
    /// The asker's address.
    pub sender: Ipv4Addr,
    /// The address asked for.
    pub target: Ipv4Addr,
    /// VLAN tags, four bytes each.
    tags: [[u8; VLAN_TAG_LEN]; MAX_VLAN_TAGS],
    tag_count: u8,
}

impl Request {
    /// Reads a frame; `None` when it is none, and no probe for an address either (RFC 5227).
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut at = ETHERNET_LEN - 2;
        let mut tags = [[0; VLAN_TAG_LEN]; MAX_VLAN_TAGS];
        let mut tag_count = 0;
        while let Some(tag @ ([0x81, 0x00, ..] | [0x88, 0xa8, ..])) = frame.get(at..at + VLAN_TAG_LEN) {
            tags.get_mut(usize::from(tag_count))?.copy_from_slice(tag);
            (tag_count, at) = (tag_count + 1, at + VLAN_TAG_LEN);
        }
        let arp = frame.get(at..at + 2 + ARP_LEN)?.strip_prefix(&[0x08, 0x06])?.strip_prefix(&REQUEST)?;
        let address = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
        let request = Self {
            sender_mac: [arp[0], arp[1], arp[2], arp[3], arp[4], arp[5]],
            sender: address(6),
            target: address(16),
            tags,
            tag_count,
        };
        (!request.sender.is_unspecified()).then_some(request)
    }

    /// Writes the answer, that `mac` has it, and returns its length.
    pub fn answer(&self, mac: [u8; 6], buffer: &mut [u8]) -> usize {
        let mut frame = arrayvec::ArrayVec::<u8, 64>::new();
        let mut add = |bytes: &[u8]| frame.extend(bytes.iter().copied());
        add(&self.sender_mac);
        add(&mac);
        for tag in &self.tags[..usize::from(self.tag_count)] {
            add(tag);
        }
        add(&[0x08, 0x06]);
        add(&REQUEST[..7]);
        add(&[2]);
        add(&mac);
        add(&self.target.octets());
        add(&self.sender_mac);
        add(&self.sender.octets());
        while frame.len() < SHORTEST {
            frame.push(0);
        }
        let Some(out) = buffer.get_mut(..frame.len()) else { return 0 };
        out.copy_from_slice(&frame);
        frame.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tags: &[u8], sender: u8) -> Vec<u8> {
        let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat();
        frame.extend(tags);
        frame.extend([8, 6]);
        frame.extend(REQUEST);
        frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, sender, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
        frame
    }

    #[test]
    fn a_request_is_answered_in_its_own_vlan() {
        for tags in [&[][..], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]] {
            let request = Request::parse(&frame(tags, 1)).unwrap();
            assert_eq!(request.target, Ipv4Addr::new(10, 0, 0, 9));
            let mut buffer = [0; 100];
            let len = request.answer([2, 2, 2, 2, 2, 2], &mut buffer);
            assert!(len >= SHORTEST);
            assert_eq!(buffer[..12], [2, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2]);
            assert_eq!(buffer[12..12 + tags.len()], *tags);
            let arp = &buffer[14 + tags.len()..];
            assert_eq!(arp[..8], [0, 1, 8, 0, 6, 4, 0, 2]);
            assert_eq!(arp[8..28], [2, 2, 2, 2, 2, 2, 10, 0, 0, 9, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        }
    }

    #[test]
    fn what_is_no_request_is_nothing() {
        assert_eq!(Request::parse(&frame(&[], 1)[..41]), None);
        assert_eq!(Request::parse(&[]), None);
        let mut reply = frame(&[], 1);
        reply[21] = 2;
        assert_eq!(Request::parse(&reply), None);
        let mut probe = frame(&[], 1);
        probe[28..32].fill(0);
        assert_eq!(Request::parse(&probe), None, "a probe is not answered: the address is free for it");
        assert_eq!(Request::parse(&frame(&[0x81, 0, 0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1], 1)), None);
    }
}
