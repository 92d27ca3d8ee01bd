//! Ethernet II, up to two VLAN tags, IPv4 and UDP: a checked view of a received frame, and the headers of a reply.
//!
//! The offsets come from the walk that the XDP program runs too; every length and checksum is checked here again, because
//! user space trusts no filter. References: IEEE 802.3 and 802.1Q, RFC 791 (IPv4), RFC 768 (UDP), RFC 1071 (checksum).
//!
//! [`Datagram::new_checked`] never panics, and neither does any method of a `Datagram` on any slice; [`seal`] writes
//! inside the slice that it is given or not at all.

use std::net::Ipv4Addr;

use dhcp_xdp_ebpf::{Role, Verdict, walk};
use etherparse::{Ethernet2HeaderSlice, IpNumber, Ipv4Header, Ipv4HeaderSlice, UdpHeader, UdpHeaderSlice};

use super::checksum::Sum;

/// Length of the IPv4 and UDP headers of a reply: no IPv4 options.
pub const REPLY_IP_UDP_LEN: usize = Ipv4Header::MIN_LEN + UdpHeader::LEN;

/// The broadcast address of Ethernet.
pub const ETHERNET_BROADCAST: [u8; 6] = [0xff; 6];

/// Offset of the first VLAN tag: behind the Ethernet addresses.
const FIRST_TAG: usize = 12;
/// Length of a VLAN tag.
const TAG_LEN: usize = 4;

/// Hops that a reply may take; RFC 1700's recommended default.
const TTL: u8 = 64;

/// Why a frame is not a datagram of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A header or a length field runs past the end of the frame.
    #[error("a header or a length field runs past the end of the frame")]
    Truncated,
    /// The IPv4 header checksum is wrong.
    #[error("wrong IPv4 header checksum")]
    BadIpChecksum,
    /// The UDP length is less than its header or more than its datagram.
    #[error("UDP length does not fit its datagram")]
    BadUdpLength,
    /// The UDP checksum is wrong.
    #[error("wrong UDP checksum")]
    BadUdpChecksum,
    /// Another protocol, a fragment, another port, another BOOTP `op`, or a group address as Ethernet source.
    #[error("not a DHCP datagram of this role")]
    NotOurs,
}

/// Where a checked datagram lies in its frame, and the addresses of its headers.
///
/// It holds no borrow, so that the frame may be written to while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source address of the Ethernet frame: the client, or the last router on its way.
    pub ethernet_source: [u8; 6],
    /// VLAN tags between the Ethernet addresses and the IPv4 header.
    pub vlan_tags: u8,
    /// IPv4 source address.
    pub source: Ipv4Addr,
    /// IPv4 destination address.
    pub destination: Ipv4Addr,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    ipv4: u16,
    payload: u16,
    payload_len: u16,
}

impl Datagram {
    /// Checks a frame from its first byte to its UDP payload's last; what follows that is padding.
    ///
    /// A UDP checksum counts as right when it is right, when it is absent (zero), and when it is the folded sum of the
    /// pseudo-header alone: this is what a sender on the same machine leaves for its network card to complete, and a veth
    /// carries it as it is (the kernel's `CHECKSUM_PARTIAL`).
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn new_checked(frame: &[u8], role: Role, verify_udp_checksum: bool) -> Result<Self, LinkError> {
        let layers = walk(frame, role).map_err(|verdict| match verdict {
            Verdict::PassTruncated => LinkError::Truncated,
            _ => LinkError::NotOurs,
        })?;
        let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| LinkError::Truncated)?;
        // No reply can go back to a group address; a switch or router never has one as its own.
        if ethernet.source()[0] & 1 != 0 {
            return Err(LinkError::NotOurs);
        }
        let ip_bytes = frame.get(usize::from(layers.ipv4)..).ok_or(LinkError::Truncated)?;
        let ip = Ipv4HeaderSlice::from_slice(ip_bytes).map_err(|_| LinkError::Truncated)?;
        let header_len = ip.slice().len();
        let ip_payload = ip_bytes.get(header_len..usize::from(ip.total_len())).ok_or(LinkError::Truncated)?;
        if !Sum::default().add(ip.slice()).is_right() {
            return Err(LinkError::BadIpChecksum);
        }
        let udp = UdpHeaderSlice::from_slice(ip_payload).map_err(|_| LinkError::BadUdpLength)?;
        let len = usize::from(udp.length());
        let segment = ip_payload.get(..len).filter(|_| len >= UdpHeader::LEN).ok_or(LinkError::BadUdpLength)?;
        if verify_udp_checksum && !udp_checksum_acceptable(&ip, &udp, segment) {
            return Err(LinkError::BadUdpChecksum);
        }
        Ok(Self {
            ethernet_source: ethernet.source(),
            vlan_tags: layers.vlan_tags,
            source: ip.source_addr(),
            destination: ip.destination_addr(),
            source_port: udp.source_port(),
            destination_port: udp.destination_port(),
            ipv4: layers.ipv4,
            payload: layers.bootp,
            // A UDP length is a `u16`, and the payload is 8 less.
            payload_len: udp.length() - UdpHeader::LEN as u16,
        })
    }

    /// The UDP payload. Empty when `frame` is not the one that was checked.
    pub fn payload<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        let start = usize::from(self.payload);
        frame.get(start..start + usize::from(self.payload_len)).unwrap_or(&[])
    }

    /// VLAN identifiers of the tags, the outer one first (IEEE 802.1Q 9.6). None when `frame` is not the one that was checked.
    pub fn vlans(&self, frame: &[u8]) -> [Option<u16>; 2] {
        // A tag is its protocol and its control information, whose lower 12 bits are the identifier.
        let tag = |n: usize| {
            let control = frame.get(FIRST_TAG + n * TAG_LEN + 2..)?.first_chunk().copied().map(u16::from_be_bytes)?;
            (n < usize::from(self.vlan_tags)).then_some(control & 0x0fff)
        };
        [tag(0), tag(1)]
    }

    /// Offset of the IPv4 header: what a reply keeps of the frame lies before it.
    pub fn ipv4_offset(&self) -> usize {
        usize::from(self.ipv4)
    }

    /// Offset of a reply's UDP payload in the same frame. It may lie before the request's, whose IPv4 options go.
    pub fn reply_offset(&self) -> usize {
        self.ipv4_offset() + REPLY_IP_UDP_LEN
    }
}

/// `segment` is the UDP header and its payload.
fn udp_checksum_acceptable(ip: &Ipv4HeaderSlice<'_>, udp: &UdpHeaderSlice<'_>, segment: &[u8]) -> bool {
    let found = udp.checksum().to_be_bytes();
    if found == [0; 2] {
        return true;
    }
    let pseudo_header = pseudo_header(ip.source(), ip.destination(), udp.length());
    pseudo_header.add(segment).is_right() || found == pseudo_header.folded()
}

/// The sum of what UDP's checksum covers beside UDP (RFC 768).
fn pseudo_header(source: [u8; 4], destination: [u8; 4], udp_length: u16) -> Sum {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&source);
    bytes[4..8].copy_from_slice(&destination);
    bytes[9] = IpNumber::UDP.0;
    bytes[10..].copy_from_slice(&udp_length.to_be_bytes());
    Sum::default().add(&bytes)
}

/// What a sender leaves in the checksum field for its hardware to complete: the pseudo-header's sum, not complemented.
pub fn partial_udp_checksum(source: [u8; 4], destination: [u8; 4], udp_length: u16) -> u16 {
    u16::from_be_bytes(pseudo_header(source, destination, udp_length).folded())
}

/// The addresses of a datagram that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Ethernet source: the interface that sends.
    pub ethernet_source: [u8; 6],
    /// Ethernet destination.
    pub ethernet_destination: [u8; 6],
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
}

/// Writes the headers around a payload that lies `ipv4 +` [`REPLY_IP_UDP_LEN`] bytes into the frame already.
///
/// VLAN tags and the EtherType, which lie between the Ethernet addresses and `ipv4`, stay as they are: a reply has those of
/// its request. Returns the frame's length, or `None` when the frame has no room for it; then nothing was written.
pub fn seal(frame: &mut [u8], ipv4: usize, envelope: &Envelope, payload_len: usize) -> Option<usize> {
    let payload_at = ipv4.checked_add(REPLY_IP_UDP_LEN)?;
    let end = payload_at.checked_add(payload_len)?;
    let ip_len = u16::try_from(payload_len.checked_add(REPLY_IP_UDP_LEN)?).ok()?;
    let udp_len = ip_len - Ipv4Header::MIN_LEN as u16;
    let (before, datagram) = frame.get_mut(..end)?.split_at_mut(ipv4);
    let (headers, payload) = datagram.split_first_chunk_mut::<REPLY_IP_UDP_LEN>()?;
    let addresses = before.first_chunk_mut::<12>()?;
    addresses[..6].copy_from_slice(&envelope.ethernet_destination);
    addresses[6..].copy_from_slice(&envelope.ethernet_source);

    let (source, destination) = (envelope.source.octets(), envelope.destination.octets());
    let mut ip = [0; Ipv4Header::MIN_LEN];
    // Version 4 and five words of header; what stays zero says that it is no fragment.
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
    ip[8..10].copy_from_slice(&[TTL, IpNumber::UDP.0]);
    ip[12..16].copy_from_slice(&source);
    ip[16..].copy_from_slice(&destination);
    let checksum = Sum::default().add(&ip).checksum();
    ip[10..12].copy_from_slice(&checksum);

    let mut udp = [0; UdpHeader::LEN];
    udp[..2].copy_from_slice(&envelope.source_port.to_be_bytes());
    udp[2..4].copy_from_slice(&envelope.destination_port.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    let checksum = pseudo_header(source, destination, udp_len).add(&udp).add(payload).checksum();
    // RFC 768: zero would say that there is none.
    udp[6..].copy_from_slice(if checksum == [0; 2] { &[0xff; 2] } else { &checksum });

    headers[..Ipv4Header::MIN_LEN].copy_from_slice(&ip);
    headers[Ipv4Header::MIN_LEN..].copy_from_slice(&udp);
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const ENVELOPE: Envelope = Envelope {
        ethernet_source: [2, 0, 0, 0, 0, 1],
        ethernet_destination: [2, 0, 0, 0, 0, 2],
        source: Ipv4Addr::new(192, 0, 2, 1),
        destination: Ipv4Addr::new(192, 0, 2, 2),
        source_port: 68,
        destination_port: 67,
    };

    /// A sealed frame around a payload, with these bytes between the Ethernet addresses and the IPv4 header.
    fn sealed(between: &[u8], payload: &[u8]) -> Vec<u8> {
        let ipv4 = 12 + between.len();
        let mut frame = vec![0xa5; ipv4 + REPLY_IP_UDP_LEN];
        frame[12..ipv4].copy_from_slice(between);
        frame.extend(payload);
        let len = seal(&mut frame, ipv4, &ENVELOPE, payload.len()).unwrap();
        assert_eq!(len, frame.len());
        frame
    }

    #[test]
    fn a_frame_without_room_is_left_as_it_was() {
        let mut frame = vec![7u8; 100];
        for (ipv4, payload_len) in [(14, 59), (14, usize::MAX), (usize::MAX, 0), (100, 0), (14, 65_536), (4, 10)] {
            assert_eq!(seal(&mut frame, ipv4, &ENVELOPE, payload_len), None);
        }
        assert!(frame.iter().all(|&b| b == 7));
    }

    #[test]
    fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        // RFC 768: zero would say that there is none. The two payload bytes are chosen for it.
        let plain = sealed(&[8, 0], &[0, 0]);
        let sum = u16::from_be_bytes([plain[40], plain[41]]);
        let frame = sealed(&[8, 0], &sum.to_be_bytes());
        assert_eq!(frame[40..42], [0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_read_back(tags in 0usize..3, mut payload in vec(any::<u8>(), 44..1400)) {
            payload[0] = 1;
            let between: Vec<u8> = [[0x81, 0, 0, 7].repeat(tags), vec![8, 0]].concat();
            let frame = sealed(&between, &payload);
            let datagram = Datagram::new_checked(&frame, Role::Server, true).unwrap();
            prop_assert_eq!(datagram.payload(&frame), &payload[..]);
            prop_assert_eq!(usize::from(datagram.vlan_tags), tags);
            prop_assert_eq!(datagram.ethernet_source, ENVELOPE.ethernet_source);
            prop_assert_eq!((datagram.source, datagram.destination), (ENVELOPE.source, ENVELOPE.destination));
            prop_assert_eq!((datagram.source_port, datagram.destination_port), (68, 67));
            prop_assert_eq!(datagram.reply_offset(), 42 + 4 * tags);
        }

        #[test]
        fn headers_are_those_that_etherparse_writes(payload in vec(any::<u8>(), 0..600), ends: ([u8; 4], [u8; 4], u16, u16)) {
            let (source, destination, source_port, destination_port) = ends;
            let (from, to) = (source.into(), destination.into());
            let envelope = Envelope { source: from, destination: to, source_port, destination_port, ..ENVELOPE };
            let mut frame = [&[0xa5; 14 + REPLY_IP_UDP_LEN][..], &payload].concat();
            prop_assert_eq!(seal(&mut frame, 14, &envelope, payload.len()), Some(frame.len()));
            let udp = UdpHeader::with_ipv4_checksum(
                source_port,
                destination_port,
                &Ipv4Header::new(0, TTL, IpNumber::UDP, source, destination).unwrap(),
                &payload,
            )
            .unwrap();
            let mut ip = Ipv4Header::new(udp.length, TTL, IpNumber::UDP, source, destination).unwrap();
            ip.dont_fragment = false;
            ip.header_checksum = ip.calc_header_checksum();
            prop_assert_eq!(&frame[14..34], &ip.to_bytes()[..]);
            prop_assert_eq!(&frame[34..42], &udp.to_bytes()[..]);
        }

        #[test]
        fn a_changed_bit_of_the_payload_is_noticed(mut payload in vec(any::<u8>(), 44..400), at: prop::sample::Index, bit in 0u8..8) {
            payload[0] = 1;
            let mut frame = sealed(&[8, 0], &payload);
            // Not the op, which the walk reads before the checksum is.
            let at = 43 + at.index(payload.len() - 1);
            frame[at] ^= 1 << bit;
            prop_assert_eq!(Datagram::new_checked(&frame, Role::Server, true), Err(LinkError::BadUdpChecksum));
            prop_assert!(Datagram::new_checked(&frame, Role::Server, false).is_ok());
        }

        #[test]
        fn any_bytes_are_refused_or_lie_within_the_frame(mut frame in vec(any::<u8>(), 0..200), ihl in 0u8..16) {
            // Enough of a header to get past the first questions.
            if frame.len() > 40 {
                frame[12..15].copy_from_slice(&[8, 0, 0x40 | ihl]);
                frame[20..24].copy_from_slice(&[0, 0, 64, 17]);
            }
            for role in [Role::Server, Role::Client] {
                if let Ok(datagram) = Datagram::new_checked(&frame, role, false) {
                    prop_assert!(datagram.payload(&frame).len() <= frame.len());
                    prop_assert!(datagram.payload(&[]).is_empty());
                }
            }
        }
    }
}
