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
    assert_eq!(found.ok().map(|walked| (walked.ipv4.into(), walked.bootp.into())), plainly(frame, role));
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

/// The same question, asked as the standards put it: offsets of the IPv4 header and of the message, if it is one of this role's.
fn plainly(frame: &[u8], role: Role) -> Option<(usize, usize)> {
    let mut ipv4 = 14;
    while ipv4 < 22 && matches!(frame.get(ipv4 - 2..ipv4)?, [0x81, 0x00] | [0x88, 0xa8]) {
        ipv4 += 4;
    }
    let is_ipv4 = frame.get(ipv4 - 2..ipv4)? == [0x08, 0x00];
    let header: &[u8; 20] = frame.get(ipv4..ipv4 + 20)?.try_into().ok()?;
    let (version, len) = (header[0] / 16, usize::from(header[0] % 16) * 4);
    let is_whole = header[6] & 0x3f == 0 && header[7] == 0;
    let bootp = ipv4 + len + 8;
    let port = frame.get(ipv4 + len + 2..ipv4 + len + 4)?;
    let is_port = port == [0, 67] || (port == [0, 68] && role == Role::Client);
    let message = frame.get(bootp..bootp + 44)?;
    let is_ours = is_ipv4 && version == 4 && len >= 20 && header[9] == 17 && is_whole && is_port;
    (is_ours && message[0] == role as u8).then_some((ipv4, bootp))
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
    let frame = || message::Message::new(message::DISCOVER, 1);
    let changed = |at: usize, value: u8| {
        let mut frame = frame().frame();
        frame[at] = value;
        framed(0, frame)
    };
    let three = frame().with(|m| m.tags = [0x81, 0, 0, 7].repeat(3));
    seeds.extend([
        ("three-tags", framed(0, three.frame())),
        ("version-5", changed(14, 0x55)),
        ("header-of-16-bytes", changed(14, 0x44)),
        ("fragment", changed(21, 1)),
        ("more-fragments", changed(20, 0x20)),
        ("do-not-fragment", changed(20, 0x40)),
        ("tcp", changed(23, 6)),
        ("another-port", changed(37, 68)),
        ("another-op", changed(42, 2)),
        ("cut-in-chaddr", framed(0, frame().frame()[..80].to_vec())),
    ]);
    seeds
}
