//! The walk over a frame: Ethernet, up to two VLAN tags, IPv4, UDP, the fixed part of BOOTP up to `chaddr`.
//!
//! References: IEEE 802.3 and 802.1Q/802.1ad (Ethernet II, tags), RFC 791 (IPv4), RFC 768 (UDP), RFC 951 and 2131 (BOOTP).

use crate::abi::Verdict;

/// A frame that can be read with a bounds check at each access.
pub trait Bytes {
    /// The `N` bytes at `offset`, or `None` when they do not all lie in the frame.
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Bytes for [u8] {
    #[inline(always)]
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        self.get(offset..end)?.try_into().ok()
    }
}

/// Which side of the protocol reads the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A server: BOOTREQUEST to port 67.
    Server = 1,
    /// A client, or the relay agent that a load generator plays: BOOTREPLY to port 68 or 67.
    Client = 2,
}

/// `htons(0x0800)` and friends: EtherTypes.
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const IPPROTO_UDP: u8 = 17;
/// More-fragments bit and fragment offset.
const FRAGMENT_MASK: u16 = 0x3fff;

/// UDP port of servers and relay agents.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// Length of an Ethernet II header without tags.
pub const ETHERNET_LEN: usize = 14;
/// Length of one VLAN tag.
pub const VLAN_TAG_LEN: usize = 4;
/// Most tags that the walk goes through.
pub const MAX_VLAN_TAGS: usize = 2;
/// Length of a UDP header.
pub const UDP_LEN: usize = 8;
const CHADDR_OFFSET: usize = 28;

/// Where the layers of a frame of ours are, all offsets from its first byte, and what steering needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// VLAN tags in the frame: 0, 1 or 2.
    pub vlan_tags: u8,
    /// Offset of the IPv4 header.
    pub ipv4: u16,
    /// Offset of the UDP header.
    pub udp: u16,
    /// Offset of the BOOTP header.
    pub bootp: u16,
    /// IPv4 destination address in network byte order, as the bytes lie in the frame.
    pub destination: [u8; 4],
    /// Client hardware address field.
    pub chaddr: [u8; 16],
}

/// Finds the layers of a frame, or says why it is not one of ours.
///
/// It checks no more than steering needs: that the headers up to `chaddr` lie in the frame. Lengths that the headers claim,
/// checksums and options are for user space, which sees the whole frame.
///
/// # Errors
/// The verdict under which the frame is passed on.
#[inline(always)]
pub fn walk<B: Bytes + ?Sized>(frame: &B, role: Role) -> Result<Frame, Verdict> {
    let truncated = Verdict::PassTruncated;
    let mut ethertype = be16(frame, 12).ok_or(truncated)?;
    let mut ipv4 = ETHERNET_LEN;
    let mut vlan_tags = 0u8;
    // Written out rather than looped: older verifiers want no loop, and two is all there is.
    if is_vlan(ethertype) {
        ethertype = be16(frame, ipv4 + 2).ok_or(truncated)?;
        ipv4 += VLAN_TAG_LEN;
        vlan_tags += 1;
        if is_vlan(ethertype) {
            ethertype = be16(frame, ipv4 + 2).ok_or(truncated)?;
            ipv4 += VLAN_TAG_LEN;
            vlan_tags += 1;
        }
    }
    if ethertype != ETHERTYPE_IPV4 {
        return Err(Verdict::PassNotIpv4);
    }
    let [version_ihl, _, _, _, _, _, frag_high, frag_low, _, protocol] = frame.array::<10>(ipv4).ok_or(truncated)?;
    if version_ihl >> 4 != 4 {
        return Err(Verdict::PassNotIpv4);
    }
    let header_len = ((version_ihl & 0x0f) as usize) * 4;
    if header_len < 20 {
        return Err(truncated);
    }
    if protocol != IPPROTO_UDP {
        return Err(Verdict::PassNotUdp);
    }
    if u16::from_be_bytes([frag_high, frag_low]) & FRAGMENT_MASK != 0 {
        return Err(Verdict::PassFragment);
    }
    let destination = frame.array::<4>(ipv4 + 16).ok_or(truncated)?;
    let udp = ipv4 + header_len;
    let port = be16(frame, udp + 2).ok_or(truncated)?;
    if !(port == SERVER_PORT || (port == CLIENT_PORT && role as u8 == Role::Client as u8)) {
        return Err(Verdict::PassOtherPort);
    }
    let bootp = udp + UDP_LEN;
    // Two bytes (op and htype) for one: the compiler turns the bounds check of a single byte, `start + 1 > end`, into
    // `start >= end`, from which the kernel's verifier learns nothing.
    let [op, _] = frame.array::<2>(bootp).ok_or(truncated)?;
    if op != role as u8 {
        return Err(Verdict::PassOtherOp);
    }
    let chaddr = frame.array::<16>(bootp + CHADDR_OFFSET).ok_or(truncated)?;
    Ok(Frame { vlan_tags, ipv4: ipv4 as u16, udp: udp as u16, bootp: bootp as u16, destination, chaddr })
}

#[inline(always)]
fn is_vlan(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

#[inline(always)]
fn be16<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<u16> {
    frame.array::<2>(offset).map(u16::from_be_bytes)
}
