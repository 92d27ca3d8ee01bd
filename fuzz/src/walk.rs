//! The frame walk, as the XDP program and user space run it. Input: a byte for the role, then a frame.

use dhcp_xdp::wire::link::{Datagram, LinkError};
use dhcp_xdp_ebpf::{Bytes, Role, Verdict, steering_hash, walk, worker_of};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::{Seed, message};

/// A frame as the kernel lends it: two addresses, and a comparison before each read.
struct Packet<'a> {
    bytes: &'a [u8],
    data: usize,
    data_end: usize,
}

impl Bytes for Packet<'_> {
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.data + offset;
        if start + N > self.data_end {
            return None;
        }
        Some(std::array::from_fn(|i| self.bytes[start + i - self.data]))
    }
}

/// Any frame: both views see the same, another parser agrees, and user space refuses whatever the walk passes on.
pub fn run(data: &[u8]) {
    let Some((&role, frame)) = data.split_first() else { return };
    let role = if role & 1 == 0 { Role::Server } else { Role::Client };
    let found = walk(frame, role);
    // An address as packets have it: the walk must not depend on it.
    let data = 0xffff_8881_0000_0100;
    assert_eq!(walk(&Packet { bytes: frame, data, data_end: data + frame.len() }, role), found);
    match (found, Datagram::new_checked(frame, role, false)) {
        (Ok(walked), datagram) => {
            let (ipv4, bootp) = (usize::from(walked.ipv4), usize::from(walked.bootp));
            assert!(walked.vlan_tags <= 2 && ipv4 == 14 + 4 * usize::from(walked.vlan_tags));
            assert_eq!(frame[bootp], role as u8);
            assert_eq!(frame[bootp + 28..bootp + 44], walked.chaddr);
            assert_eq!(frame[ipv4 + 16..ipv4 + 20], walked.destination);
            for workers in [1, 2, 3, 64] {
                assert!(worker_of(steering_hash(&walked.chaddr), workers) < workers);
            }
            if let Some((ipv4_elsewhere, bootp_elsewhere)) = elsewhere(frame) {
                assert_eq!((ipv4, bootp), (ipv4_elsewhere, bootp_elsewhere));
            }
            if let Ok(datagram) = datagram {
                assert_eq!(datagram.ipv4_offset(), ipv4);
                assert_eq!(datagram.destination.octets(), walked.destination);
                assert!(frame[bootp..].starts_with(datagram.payload(frame)));
            }
        }
        (Err(Verdict::PassTruncated), datagram) => assert_eq!(datagram, Err(LinkError::Truncated)),
        (Err(_), datagram) => assert_eq!(datagram, Err(LinkError::NotOurs)),
    }
}

/// Offsets of the IPv4 header and the UDP payload as another parser has them; it also checks the lengths that headers claim.
fn elsewhere(frame: &[u8]) -> Option<(usize, usize)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = packet.net else { return None };
    let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
    let offset = |part: &[u8]| part.as_ptr().addr() - frame.as_ptr().addr();
    Some((offset(ip.header().slice()), offset(udp.payload())))
}

/// Each message, and a reply for the client's role.
pub fn seeds() -> Vec<Seed> {
    let framed = |role: u8, frame: Vec<u8>| [vec![role], frame].concat();
    let mut seeds: Vec<Seed> = message::each().into_iter().map(|(name, m)| (name, framed(0, m.frame()))).collect();
    let mut reply = message::Message::new(2, 1).frame();
    reply[42] = 2;
    reply[37] = 68;
    message::mend(&mut reply);
    seeds.push(("reply", framed(1, reply)));
    seeds
}
