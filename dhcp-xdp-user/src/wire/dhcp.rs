//! The fixed part of a DHCP message: field ranges, a checked view, in-place setters (RFC 2131 2, RFC 951).
//!
//! [`Header::new_checked`] is the only way to a view, after which no accessor can fail; the setters of [`HeaderMut`] write
//! inside their fixed fields.

use std::net::Ipv4Addr;

/// Length of the fixed part with the magic cookie; options begin here.
pub const OPTIONS_OFFSET: usize = 240;
/// A message shorter than this is dropped by some relay agents: BOOTP's fixed part and its 64 bytes of vendor area (RFC 1542 2.1).
pub const MIN_MESSAGE_LEN: usize = 300;
/// Magic cookie: 99.130.83.99 (RFC 2131 3).
pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Most bytes that `hlen` may say: the length of `chaddr`.
pub const MAX_HLEN: u8 = 16;
/// `htype` of Ethernet (RFC 1700).
pub const HTYPE_ETHERNET: u8 = 1;
/// `op` of a client's message.
pub const BOOTREQUEST: u8 = 1;
/// `op` of a server's message.
pub const BOOTREPLY: u8 = 2;

/// Field ranges (RFC 2131 figure 1), as offsets from the message's first byte.
pub mod field {
    use std::ops::Range;

    /// Message op code.
    pub const OP: usize = 0;
    /// Hardware address type.
    pub const HTYPE: usize = 1;
    /// Hardware address length.
    pub const HLEN: usize = 2;
    /// Relay agents passed.
    pub const HOPS: usize = 3;
    /// Transaction identifier.
    pub const XID: Range<usize> = 4..8;
    /// Seconds since the client began.
    pub const SECS: Range<usize> = 8..10;
    /// Flags; the leftmost bit is broadcast.
    pub const FLAGS: Range<usize> = 10..12;
    /// Client's address, when it can answer ARP for it.
    pub const CIADDR: Range<usize> = 12..16;
    /// "Your" address.
    pub const YIADDR: Range<usize> = 16..20;
    /// Next server in bootstrap.
    pub const SIADDR: Range<usize> = 20..24;
    /// Relay agent's address.
    pub const GIADDR: Range<usize> = 24..28;
    /// Client's hardware address.
    pub const CHADDR: Range<usize> = 28..44;
    /// Server's name, or options when overloaded.
    pub const SNAME: Range<usize> = 44..108;
    /// Boot file's name, or options when overloaded.
    pub const FILE: Range<usize> = 108..236;
    /// Magic cookie.
    pub const COOKIE: Range<usize> = 236..240;
}

/// The broadcast bit of `flags`.
const BROADCAST: u16 = 0x8000;

/// DHCP message types (RFC 2132 9.6, and where else it says so); unknown ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// 1
    Discover,
    /// 2
    Offer,
    /// 3
    Request,
    /// 4
    Decline,
    /// 5
    Ack,
    /// 6
    Nak,
    /// 7
    Release,
    /// 8
    Inform,
    /// 10: DHCPLEASEQUERY (RFC 4388)
    LeaseQuery,
    /// 11: DHCPLEASEUNASSIGNED (RFC 4388)
    LeaseUnassigned,
    /// 12: DHCPLEASEUNKNOWN (RFC 4388)
    LeaseUnknown,
    /// 13: DHCPLEASEACTIVE (RFC 4388)
    LeaseActive,
    /// 14: DHCPBULKLEASEQUERY (RFC 6926), over TCP
    BulkLeaseQuery,
    /// 15: DHCPLEASEQUERYDONE (RFC 6926), over TCP
    LeaseQueryDone,
    /// 16: DHCPACTIVELEASEQUERY (RFC 7724), over TCP
    ActiveLeaseQuery,
    /// 17: DHCPLEASEQUERYSTATUS (RFC 7724), over TCP
    LeaseQueryStatus,
    /// 18: DHCPTLS (RFC 7724), over TCP
    Tls,
    /// No DHCP message type at all: a message of BOOTP (RFC 951, RFC 1534). It has no number.
    Bootp,
    /// Any other.
    Unknown(u8),
}

impl MessageType {
    /// Whether it asks about leases, its sender being no client: `chaddr` and client identifier are what it asks for, or nothing.
    pub fn is_leasequery(self) -> bool {
        matches!(self, Self::LeaseQuery | Self::BulkLeaseQuery | Self::ActiveLeaseQuery)
    }
}

impl From<u8> for MessageType {
    fn from(value: u8) -> Self {
        match value {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            10 => Self::LeaseQuery,
            11 => Self::LeaseUnassigned,
            12 => Self::LeaseUnknown,
            13 => Self::LeaseActive,
            14 => Self::BulkLeaseQuery,
            15 => Self::LeaseQueryDone,
            16 => Self::ActiveLeaseQuery,
            17 => Self::LeaseQueryStatus,
            18 => Self::Tls,
            other => Self::Unknown(other),
        }
    }
}

impl From<MessageType> for u8 {
    fn from(value: MessageType) -> Self {
        match value {
            MessageType::Discover => 1,
            MessageType::Offer => 2,
            MessageType::Request => 3,
            MessageType::Decline => 4,
            MessageType::Ack => 5,
            MessageType::Nak => 6,
            MessageType::Release => 7,
            MessageType::Inform => 8,
            MessageType::LeaseQuery => 10,
            MessageType::LeaseUnassigned => 11,
            MessageType::LeaseUnknown => 12,
            MessageType::LeaseActive => 13,
            MessageType::BulkLeaseQuery => 14,
            MessageType::LeaseQueryDone => 15,
            MessageType::ActiveLeaseQuery => 16,
            MessageType::LeaseQueryStatus => 17,
            MessageType::Tls => 18,
            MessageType::Bootp => 0,
            MessageType::Unknown(other) => other,
        }
    }
}

/// Why bytes are not a DHCP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than the fixed part and the magic cookie.
    #[error("shorter than a BOOTP header and the magic cookie")]
    TooShort,
    /// `hlen` is over 16.
    #[error("hlen is over 16")]
    BadHlen,
    /// The magic cookie is another one: BOOTP with a vendor area of its own, or rubbish.
    #[error("wrong magic cookie")]
    BadCookie,
}

/// A view of the fixed part of a message.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    fixed: &'a [u8; OPTIONS_OFFSET],
    options: &'a [u8],
}

impl<'a> Header<'a> {
    /// A view of a whole message (a UDP payload).
    ///
    /// # Errors
    /// What is wrong with the fixed part. `op` is for the caller to check: it depends on the caller's role.
    pub fn new_checked(message: &'a [u8]) -> Result<Self, HeaderError> {
        let (fixed, options) = message.split_first_chunk().ok_or(HeaderError::TooShort)?;
        let header = Self { fixed, options };
        if fixed[field::COOKIE] != MAGIC_COOKIE {
            return Err(HeaderError::BadCookie);
        }
        if header.hlen() > MAX_HLEN {
            return Err(HeaderError::BadHlen);
        }
        Ok(header)
    }

    /// A view of a BOOTP message whose vendor area is not made of options (RFC 951): it has none.
    ///
    /// # Errors
    /// As [`new_checked`](Self::new_checked), whatever the magic cookie.
    pub fn without_options(message: &'a [u8]) -> Result<Self, HeaderError> {
        let fixed = message.first_chunk().ok_or(HeaderError::TooShort)?;
        let header = Self { fixed, options: &[] };
        if header.hlen() > MAX_HLEN { Err(HeaderError::BadHlen) } else { Ok(header) }
    }

    /// The `N` bytes from `at` on: in range by the constants that it is called with.
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.fixed[at..at + N]);
        bytes
    }

    /// Message op code: [`BOOTREQUEST`] or [`BOOTREPLY`].
    pub fn op(&self) -> u8 {
        self.fixed[field::OP]
    }
    /// Hardware address type.
    pub fn htype(&self) -> u8 {
        self.fixed[field::HTYPE]
    }
    /// Hardware address length, at most 16.
    pub fn hlen(&self) -> u8 {
        self.fixed[field::HLEN]
    }
    /// Relay agents passed.
    pub fn hops(&self) -> u8 {
        self.fixed[field::HOPS]
    }
    /// Transaction identifier.
    pub fn xid(&self) -> u32 {
        u32::from_be_bytes(self.array(field::XID.start))
    }
    /// Seconds since the client began.
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes(self.array(field::SECS.start))
    }
    /// Whether the client asks for broadcast replies.
    pub fn broadcast(&self) -> bool {
        u16::from_be_bytes(self.array(field::FLAGS.start)) & BROADCAST != 0
    }
    /// Client's address.
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.array::<4>(field::CIADDR.start).into()
    }
    /// "Your" address.
    pub fn yiaddr(&self) -> Ipv4Addr {
        self.array::<4>(field::YIADDR.start).into()
    }
    /// Next server in bootstrap.
    pub fn siaddr(&self) -> Ipv4Addr {
        self.array::<4>(field::SIADDR.start).into()
    }
    /// Relay agent's address.
    pub fn giaddr(&self) -> Ipv4Addr {
        self.array::<4>(field::GIADDR.start).into()
    }
    /// Client's hardware address field, whole.
    pub fn chaddr(&self) -> [u8; 16] {
        self.array(field::CHADDR.start)
    }
    /// Client's hardware address, the `hlen` bytes in use.
    pub fn hw_address(&self) -> &'a [u8] {
        &self.fixed[field::CHADDR][..usize::from(self.hlen().min(MAX_HLEN))]
    }
    /// Server name field, whole.
    pub fn sname(&self) -> &'a [u8] {
        &self.fixed[field::SNAME]
    }
    /// Boot file field, whole.
    pub fn file(&self) -> &'a [u8] {
        &self.fixed[field::FILE]
    }
    /// What follows the magic cookie.
    pub fn options(&self) -> &'a [u8] {
        self.options
    }
}

/// The fixed part of a message that is being written.
#[derive(Debug)]
pub struct HeaderMut<'a> {
    fixed: &'a mut [u8; OPTIONS_OFFSET],
}

impl<'a> HeaderMut<'a> {
    /// Clears the fixed part and writes the magic cookie; `None` when `message` is shorter than that.
    pub fn new_cleared(message: &'a mut [u8]) -> Option<Self> {
        let fixed: &mut [u8; OPTIONS_OFFSET] = message.first_chunk_mut()?;
        fixed.fill(0);
        fixed[field::COOKIE].copy_from_slice(&MAGIC_COOKIE);
        Some(Self { fixed })
    }

    /// Message op code.
    pub fn set_op(&mut self, op: u8) -> &mut Self {
        self.fixed[field::OP] = op;
        self
    }
    /// Hardware type, length and address.
    pub fn set_hardware(&mut self, htype: u8, hlen: u8, chaddr: &[u8; 16]) -> &mut Self {
        self.fixed[field::HTYPE] = htype;
        self.fixed[field::HLEN] = hlen;
        self.fixed[field::CHADDR].copy_from_slice(chaddr);
        self
    }
    /// Relay agents passed.
    pub fn set_hops(&mut self, hops: u8) -> &mut Self {
        self.fixed[field::HOPS] = hops;
        self
    }
    /// Transaction identifier.
    pub fn set_xid(&mut self, xid: u32) -> &mut Self {
        self.fixed[field::XID].copy_from_slice(&xid.to_be_bytes());
        self
    }
    /// Seconds since the client began.
    pub fn set_secs(&mut self, secs: u16) -> &mut Self {
        self.fixed[field::SECS].copy_from_slice(&secs.to_be_bytes());
        self
    }
    /// The broadcast bit; the other flags are zero (RFC 2131 2).
    pub fn set_broadcast(&mut self, broadcast: bool) -> &mut Self {
        let flags = if broadcast { BROADCAST } else { 0 };
        self.fixed[field::FLAGS].copy_from_slice(&flags.to_be_bytes());
        self
    }
    /// Client's address.
    pub fn set_ciaddr(&mut self, address: Ipv4Addr) -> &mut Self {
        self.fixed[field::CIADDR].copy_from_slice(&address.octets());
        self
    }
    /// "Your" address.
    pub fn set_yiaddr(&mut self, address: Ipv4Addr) -> &mut Self {
        self.fixed[field::YIADDR].copy_from_slice(&address.octets());
        self
    }
    /// Next server in bootstrap.
    pub fn set_siaddr(&mut self, address: Ipv4Addr) -> &mut Self {
        self.fixed[field::SIADDR].copy_from_slice(&address.octets());
        self
    }
    /// Relay agent's address.
    pub fn set_giaddr(&mut self, address: Ipv4Addr) -> &mut Self {
        self.fixed[field::GIADDR].copy_from_slice(&address.octets());
        self
    }
    /// Server name, cut to the 63 bytes that leave room for the terminating zero.
    pub fn set_sname(&mut self, name: &[u8]) -> &mut Self {
        let len = name.len().min(field::SNAME.len() - 1);
        self.fixed[field::SNAME][..len].copy_from_slice(&name[..len]);
        self
    }
    /// Boot file name, cut to the 127 bytes that leave room for the terminating zero.
    pub fn set_file(&mut self, name: &[u8]) -> &mut Self {
        let len = name.len().min(field::FILE.len() - 1);
        self.fixed[field::FILE][..len].copy_from_slice(&name[..len]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back_as_they_were_written_and_as_dhcproto_reads_them() {
        use dhcproto::{Decodable as _, v4};
        let mut message = vec![0xff; 244];
        message[240..].fill(0);
        HeaderMut::new_cleared(&mut message)
            .unwrap()
            .set_op(BOOTREPLY)
            .set_hardware(1, 6, &[7; 16])
            .set_hops(3)
            .set_xid(0x0102_0304)
            .set_secs(9)
            .set_broadcast(true)
            .set_ciaddr(Ipv4Addr::new(1, 2, 3, 4))
            .set_yiaddr(Ipv4Addr::new(5, 6, 7, 8))
            .set_siaddr(Ipv4Addr::new(9, 10, 11, 12))
            .set_giaddr(Ipv4Addr::new(13, 14, 15, 16))
            .set_sname(b"boot.example.net")
            .set_file(&[b'x'; 200]);
        let ours = Header::new_checked(&message).unwrap();
        let theirs = v4::Message::decode(&mut v4::Decoder::new(&message)).unwrap();
        assert_eq!((ours.op(), ours.htype(), ours.hlen(), ours.hops()), (2, 1, 6, 3));
        assert_eq!(
            (ours.xid(), ours.secs(), ours.broadcast()),
            (theirs.xid(), theirs.secs(), theirs.flags().broadcast())
        );
        assert_eq!((ours.ciaddr(), ours.yiaddr()), (theirs.ciaddr(), theirs.yiaddr()));
        assert_eq!((ours.siaddr(), ours.giaddr()), (theirs.siaddr(), theirs.giaddr()));
        assert_eq!(ours.chaddr()[..6], *theirs.chaddr());
        assert_eq!(ours.file()[126..], [b'x', 0], "a zero ends the name");
        assert_eq!(theirs.sname(), Some(&b"boot.example.net\0"[..]));
    }

    #[test]
    fn what_is_no_dhcp_message_is_refused_by_name() {
        let mut message = vec![0; 240];
        HeaderMut::new_cleared(&mut message).unwrap();
        assert!(Header::new_checked(&message).is_ok());
        assert_eq!(Header::new_checked(&message[..239]).unwrap_err(), HeaderError::TooShort);
        message[field::HLEN] = 17;
        assert_eq!(Header::new_checked(&message).unwrap_err(), HeaderError::BadHlen);
        message[239] = 0;
        assert_eq!(Header::new_checked(&message).unwrap_err(), HeaderError::BadCookie);
        assert!(HeaderMut::new_cleared(&mut message[..239]).is_none());
    }

    #[test]
    fn message_types_keep_the_unknown() {
        for value in 0..=255 {
            assert_eq!(u8::from(MessageType::from(value)), value);
        }
    }
}
