//! What a server sent: a reply taken apart, every length checked.
//!
//! Deliberately not the server's own parser: what judges the server must not share its mistakes. References: RFC 791, 768,
//! 1071 (headers), RFC 2131 2 (message), RFC 2132 (options, 9.3 for overload), RFC 3396 is not needed by what is read here.

use dhcp_xdp_ebpf::walk::{ETHERNET_LEN, Role, UDP_LEN, VLAN_TAG_LEN, walk};

use crate::template::{fold, sum_of};

/// Length of the fixed BOOTP fields and the magic cookie.
const BOOTP_FIXED: usize = 240;

/// DHCPOFFER (RFC 2132 9.6).
pub const OFFER: u8 = 2;
/// DHCPACK.
pub const ACK: u8 = 5;
/// DHCPNAK.
pub const NAK: u8 = 6;

/// What the UDP checksum of a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Right.
    Right,
    /// Zero: none was made, which RFC 768 allows.
    Absent,
    /// The sum of the pseudo header alone: left to hardware that a virtual link doesn't have.
    Offloaded,
}

/// A reply; slices are into its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Client hardware address, if it is an Ethernet address.
    pub mac: [u8; 6],
    /// Transaction identifier.
    pub xid: u32,
    /// `yiaddr`.
    pub your_address: u32,
    /// Option 53.
    pub message_type: u8,
    /// Option 54.
    pub server_id: Option<u32>,
    /// Option 51, in seconds.
    pub lease_time_s: Option<u32>,
    /// T1, option 58, in seconds.
    pub renewal_time_s: Option<u32>,
    /// T2, option 59, in seconds.
    pub rebinding_time_s: Option<u32>,
    /// Option 61.
    pub client_id: Option<&'a [u8]>,
    /// Option 82.
    pub relay_info: Option<&'a [u8]>,
    /// `giaddr`.
    pub relay_address: u32,
    /// Identifiers of the VLAN tags in the frame, outer first.
    pub vlans: [Option<u16>; 2],
    /// Where the frame came from on its link.
    pub source_mac: [u8; 6],
    /// The UDP checksum.
    pub checksum: Checksum,
}

/// Why a frame is no reply that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Not a BOOTREPLY.
    NotAReply,
    /// A BOOTREPLY to this hardware address, with this mistake.
    Malformed {
        /// The client's hardware address.
        mac: [u8; 6],
        /// What is wrong.
        what: &'static str,
    },
}

impl<'a> Reply<'a> {
    /// Takes a frame apart.
    ///
    /// # Errors
    /// It is not a reply, or a malformed one.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Unread> {
        let layers = walk(frame, Role::Client).map_err(|_| Unread::NotAReply)?;
        let [a, b, c, d, e, f, ..] = layers.chaddr;
        let mac = [a, b, c, d, e, f];
        let parts = Layers { ipv4: layers.ipv4.into(), udp: layers.udp.into(), bootp: layers.bootp.into() };
        read(frame, parts, mac).map_err(|what| Unread::Malformed { mac, what })
    }
}

struct Layers {
    ipv4: usize,
    udp: usize,
    bootp: usize,
}

fn read<'a>(frame: &'a [u8], at: Layers, mac: [u8; 6]) -> Result<Reply<'a>, &'static str> {
    debug_assert!(at.ipv4 >= ETHERNET_LEN);
    // The walk saw to it that the headers are in the frame.
    let ip_header = &frame[at.ipv4..at.udp];
    if sum_of(ip_header) != 0xffff {
        return Err("the IPv4 header checksum is wrong");
    }
    let ip_len = usize::from(be16(ip_header, 2));
    let datagram = frame.get(at.udp..at.ipv4 + ip_len).ok_or("the IPv4 length runs past the frame")?;
    let udp_len = if datagram.len() < UDP_LEN { 0 } else { usize::from(be16(datagram, 4)) };
    if udp_len < UDP_LEN {
        return Err("the UDP length is too small");
    }
    let datagram = datagram.get(..udp_len).ok_or("the UDP length runs past the datagram")?;
    let checksum = checksum_of(ip_header, datagram)?;

    let bootp = &frame[at.bootp..at.udp + udp_len];
    if bootp.len() < BOOTP_FIXED {
        return Err("shorter than a BOOTP header and the magic cookie");
    }
    if bootp[1..3] != [1, 6] {
        return Err("the hardware type and length are not those of Ethernet");
    }
    if bootp[236..240] != [99, 130, 83, 99] {
        return Err("the magic cookie is wrong");
    }
    let mut options = Options::default();
    options.scan(&bootp[240..])?;
    // Fields that are options instead (RFC 2132 9.3): 1 is file, 2 is sname, 3 is both.
    let overload = options.overload;
    if overload & 1 != 0 {
        options.scan(&bootp[108..236])?;
    }
    if overload & 2 != 0 {
        options.scan(&bootp[44..108])?;
    }
    Ok(Reply {
        mac,
        xid: be32(bootp, 4),
        your_address: be32(bootp, 16),
        relay_address: be32(bootp, 24),
        renewal_time_s: options.renewal_time_s,
        rebinding_time_s: options.rebinding_time_s,
        vlans: [ETHERNET_LEN, ETHERNET_LEN + VLAN_TAG_LEN]
            .map(|tag| (at.ipv4 > tag).then(|| be16(frame, tag) & 0x0fff)),
        source_mac: [frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]],
        message_type: options.message_type.ok_or("there is no message type")?,
        server_id: options.server_id,
        lease_time_s: options.lease_time_s,
        client_id: options.client_id,
        relay_info: options.relay_info,
        checksum,
    })
}

/// Checks a datagram's checksum.
fn checksum_of(ip_header: &[u8], datagram: &[u8]) -> Result<Checksum, &'static str> {
    let found = be16(datagram, 6);
    if found == 0 {
        return Ok(Checksum::Absent);
    }
    let pseudo = fold(u32::from(sum_of(&ip_header[12..20])) + 17 + datagram.len() as u32);
    if fold(u32::from(pseudo) + u32::from(sum_of(datagram))) == 0xffff {
        return Ok(Checksum::Right);
    }
    if found == pseudo {
        return Ok(Checksum::Offloaded);
    }
    Err("the UDP checksum is wrong")
}

#[derive(Default)]
struct Options<'a> {
    message_type: Option<u8>,
    server_id: Option<u32>,
    lease_time_s: Option<u32>,
    renewal_time_s: Option<u32>,
    rebinding_time_s: Option<u32>,
    client_id: Option<&'a [u8]>,
    relay_info: Option<&'a [u8]>,
    overload: u8,
}

impl<'a> Options<'a> {
    /// Reads the options of one field.
    fn scan(&mut self, mut field: &'a [u8]) -> Result<(), &'static str> {
        const PAST_END: &str = "an option runs past the end of its field";
        loop {
            let (value, rest) = match field {
                [] => return Err("the options have no end"),
                [0, rest @ ..] => {
                    field = rest;
                    continue;
                }
                [255, ..] => return Ok(()),
                [_] => return Err(PAST_END),
                [_, len, rest @ ..] => rest.split_at_checked(usize::from(*len)).ok_or(PAST_END)?,
            };
            self.take(field[0], value)?;
            field = rest;
        }
    }

    fn take(&mut self, code: u8, value: &'a [u8]) -> Result<(), &'static str> {
        let word = |what| <[u8; 4]>::try_from(value).map(u32::from_be_bytes).map_err(|_| what);
        match (code, value) {
            (53, [kind]) => self.message_type = Some(*kind),
            (53, _) => return Err("the message type has another length than 1"),
            (54, _) => self.server_id = Some(word("the server identifier has another length than 4")?),
            (51, _) => self.lease_time_s = Some(word("the lease time has another length than 4")?),
            (58, _) => self.renewal_time_s = Some(word("the renewal time has another length than 4")?),
            (59, _) => self.rebinding_time_s = Some(word("the rebinding time has another length than 4")?),
            (52, [fields @ 1..=3]) => self.overload = *fields,
            (52, _) => return Err("the option overload is not 1, 2 or 3"),
            (61, _) => self.client_id = Some(value),
            (82, _) => self.relay_info = Some(value),
            _ => {}
        }
        Ok(())
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 1, 2, 3, 4, 5];

    /// A frame with these options behind the cookie and right checksums.
    fn frame(options: &[u8]) -> Vec<u8> {
        let mut bootp = vec![0; 240];
        bootp[..4].copy_from_slice(&[2, 1, 6, 0]);
        bootp[4..8].copy_from_slice(&7u32.to_be_bytes());
        bootp[16..20].copy_from_slice(&[10, 0, 0, 9]);
        bootp[28..34].copy_from_slice(&MAC);
        bootp[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bootp.extend(options);
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2; 6], [0xff; 6])
            .ipv4([10, 0, 0, 1], [255; 4], 64)
            .udp(67, 68)
            .write(&mut frame, &bootp)
            .unwrap();
        frame
    }

    fn malformed(frame: &[u8]) -> &'static str {
        match Reply::parse(frame) {
            Err(Unread::Malformed { mac: MAC, what }) => what,
            other => panic!("{other:?}"),
        }
    }

    const GOOD: &[u8] = &[53, 1, 2, 54, 4, 10, 0, 0, 1, 51, 4, 0, 0, 14, 16, 82, 2, 1, 0, 255];

    #[test]
    fn a_reply_is_read_whole() {
        let frame = frame(GOOD);
        let reply = Reply::parse(&frame).unwrap();
        assert_eq!((reply.mac, reply.xid, reply.your_address), (MAC, 7, 0x0a00_0009));
        assert_eq!((reply.message_type, reply.server_id, reply.lease_time_s), (OFFER, Some(0x0a00_0001), Some(3600)));
        assert_eq!((reply.client_id, reply.relay_info), (None, Some(&[1u8, 0][..])));
        assert_eq!(reply.checksum, Checksum::Right);
    }

    #[test]
    fn a_checksum_that_hardware_should_have_filled_in_is_told_from_a_wrong_one() {
        let mut frame = frame(GOOD);
        let len = (frame.len() - 34) as u32;
        let pseudo = fold(u32::from(sum_of(&frame[26..34])) + 17 + len);
        frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
        assert_eq!(Reply::parse(&frame).unwrap().checksum, Checksum::Offloaded);
        frame[40..42].copy_from_slice(&[0, 0]);
        assert_eq!(Reply::parse(&frame).unwrap().checksum, Checksum::Absent);
        frame[40..42].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(malformed(&frame), "the UDP checksum is wrong");
    }

    #[test]
    fn each_mistake_has_its_name() {
        assert_eq!(malformed(&frame(&[53, 1, 2, 54, 9, 1, 255])), "an option runs past the end of its field");
        assert_eq!(malformed(&frame(&[53, 1, 2])), "the options have no end");
        assert_eq!(malformed(&frame(&[255])), "there is no message type");
        assert_eq!(malformed(&frame(&[53, 1, 2, 51, 3, 0, 0, 0, 255])), "the lease time has another length than 4");
        let mut ttl = frame(GOOD);
        ttl[22] ^= 1;
        assert_eq!(malformed(&ttl), "the IPv4 header checksum is wrong");
        let mut short = frame(GOOD);
        short.truncate(300);
        assert_eq!(malformed(&short[..290]), "the IPv4 length runs past the frame");
    }

    #[test]
    fn options_in_sname_and_file_are_read_when_overload_says_so() {
        let mut frame = frame(&[52, 1, 3, 255, 0, 0, 0, 0]);
        let bootp = 42;
        frame[bootp + 108..bootp + 112].copy_from_slice(&[53, 1, 5, 255]);
        frame[bootp + 44..bootp + 51].copy_from_slice(&[54, 4, 10, 0, 0, 1, 255]);
        frame[40..42].copy_from_slice(&[0, 0]);
        let reply = Reply::parse(&frame).unwrap();
        assert_eq!((reply.message_type, reply.server_id), (ACK, Some(0x0a00_0001)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Reply::parse(&bytes);
        }

        #[test]
        fn no_change_to_a_good_reply_makes_it_panic(
            changes in proptest::collection::vec((0usize..302, any::<u8>()), 1..8), cut in 0usize..400
        ) {
            let mut frame = frame(GOOD);
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) { *byte = value; }
            }
            frame.truncate(frame.len().min(cut));
            let _ = Reply::parse(&frame);
        }
    }
}
