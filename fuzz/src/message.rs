//! Frames of clients and relay agents, for seeds, written without the server's own wire code; and making checksums right
//! again after a fuzzer has changed what they are over.

use std::net::Ipv4Addr;

/// DHCP message types (RFC 2132 9.6) that a client sends.
pub const DISCOVER: u8 = 1;
/// See [`DISCOVER`].
pub const REQUEST: u8 = 3;
/// See [`DISCOVER`].
pub const DECLINE: u8 = 4;
/// See [`DISCOVER`].
pub const RELEASE: u8 = 7;
/// See [`DISCOVER`].
pub const INFORM: u8 = 8;
/// See [`DISCOVER`] (RFC 4388); of a relay agent, or who else may ask.
pub const LEASEQUERY: u8 = 10;

/// The server's address on the link of the clients.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A relay agent.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A client's message (RFC 2131 figure 1) with what surrounds it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Last byte of its client's hardware address.
    pub client: u8,
    /// Client's address.
    pub ciaddr: Ipv4Addr,
    /// Relay agent's address.
    pub giaddr: Ipv4Addr,
    /// `flags`.
    pub flags: u16,
    /// `sname`, filled up with zeros.
    pub sname: Vec<u8>,
    /// `file`, filled up with zeros.
    pub file: Vec<u8>,
    /// Options from the message type on, without the End.
    pub options: Vec<u8>,
    /// VLAN tags: TPID and TCI.
    pub tags: Vec<u8>,
    /// IPv4 source and destination.
    pub ip: (Ipv4Addr, Ipv4Addr),
    /// IPv4 options, a multiple of four bytes.
    pub ip_options: Vec<u8>,
}

impl Message {
    /// A broadcast of client `client` on the link.
    pub fn new(message_type: u8, client: u8) -> Self {
        Self {
            client,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            flags: 0,
            sname: Vec::new(),
            file: Vec::new(),
            options: vec![53, 1, message_type],
            tags: Vec::new(),
            ip: (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
            ip_options: Vec::new(),
        }
    }

    /// With one more option of at most 255 bytes.
    pub fn option(mut self, code: u8, data: &[u8]) -> Self {
        self.options.extend([code, u8::try_from(data.len()).unwrap_or(u8::MAX)]);
        self.options.extend(&data[..data.len().min(255)]);
        self
    }

    /// With anything changed.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// As a client sends it that uses this address.
    pub fn from(self, address: Ipv4Addr) -> Self {
        self.with(|m| (m.ciaddr, m.ip) = (address, (address, SERVER)))
    }

    /// As a relay agent sends it on, with option 82 (RFC 3046).
    pub fn relayed(self) -> Self {
        self.option(82, b"\x01\x06port-7\x02\x05olt-1").with(|m| (m.giaddr, m.ip) = (RELAY, (RELAY, SERVER)))
    }

    /// The UDP payload.
    pub fn payload(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0];
        bytes.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend([2, 0, 0, 0, 0, self.client]);
        bytes.resize(44, 0);
        bytes.extend(&self.sname);
        bytes.resize(108, 0);
        bytes.extend(&self.file);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        bytes.extend(&self.options);
        bytes.push(255);
        bytes
    }

    /// The whole frame, checksums right.
    pub fn frame(&self) -> Vec<u8> {
        let payload = self.payload();
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, self.client]);
        frame.extend(&self.tags);
        frame.extend([8, 0]);
        let words = 5 + self.ip_options.len() / 4;
        let udp_len = 8 + payload.len() as u16;
        frame.extend([0x40 | words as u8, 0]);
        frame.extend((4 * words as u16 + udp_len).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(self.ip.0.octets());
        frame.extend(self.ip.1.octets());
        frame.extend(&self.ip_options);
        let ports = if self.giaddr.is_unspecified() { [0, 68, 0, 67] } else { [0, 67, 0, 67] };
        frame.extend(ports);
        frame.extend(udp_len.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        mend(&mut frame);
        frame
    }
}

/// Makes the IPv4 checksum right and the UDP checksum absent (zero, RFC 768), where they are.
pub fn mend(frame: &mut [u8]) {
    let mut ip = 14;
    while let Some([0x81, 0] | [0x88, 0xa8]) = frame.get(ip - 2..ip)
        && ip < 22
    {
        ip += 4;
    }
    let Some(&first) = frame.get(ip) else { return };
    let len = usize::from(first & 15) * 4;
    if let Some(checksum) = frame.get_mut(ip + len + 6..ip + len + 8) {
        checksum.fill(0);
    }
    let Some(header) = frame.get_mut(ip..ip + len).filter(|header| header.len() >= 20) else { return };
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// One of each message that a client or relay agent sends, by name.
pub fn each() -> Vec<(&'static str, Message)> {
    let requested = |message: Message, host| message.option(50, &[192, 0, 2, host]);
    let selecting = |client, host| requested(Message::new(REQUEST, client).option(54, &SERVER.octets()), host);
    let bound = Ipv4Addr::new(192, 0, 2, 10);
    vec![
        ("discover", Message::new(DISCOVER, 1).option(55, &[1, 3, 6, 15, 51, 121]).option(61, b"\x01client")),
        ("discover-broadcast-flag", Message::new(DISCOVER, 2).with(|m| m.flags = 0x8000)),
        ("request-selecting", selecting(1, 10).option(57, &[5, 220])),
        ("request-init-reboot", requested(Message::new(REQUEST, 1), 10)),
        ("request-renewing", Message::new(REQUEST, 1).from(bound).option(51, &[0, 0, 14, 16])),
        ("request-rebinding", Message::new(REQUEST, 1).with(|m| m.ciaddr = bound)),
        ("request-other-server", requested(Message::new(REQUEST, 1).option(54, &[192, 0, 2, 2]), 10)),
        ("decline", requested(Message::new(DECLINE, 1).option(54, &SERVER.octets()), 10)),
        ("release", Message::new(RELEASE, 1).from(bound).option(54, &SERVER.octets())),
        ("inform", Message::new(INFORM, 3).from(Ipv4Addr::new(192, 0, 2, 99)).option(55, &[6, 15])),
        ("discover-relayed", Message::new(DISCOVER, 4).relayed()),
        (
            "request-relayed",
            Message::new(REQUEST, 4).option(54, &SERVER.octets()).option(50, &[10, 0, 0, 10]).relayed(),
        ),
        ("discover-vlan", Message::new(DISCOVER, 5).with(|m| m.tags = vec![0x81, 0, 0, 7])),
        ("discover-qinq", Message::new(DISCOVER, 6).with(|m| m.tags = vec![0x88, 0xa8, 0, 7, 0x81, 0, 0, 8])),
        ("discover-ipv4-options", Message::new(DISCOVER, 7).with(|m| m.ip_options = vec![1; 8])),
        (
            "discover-overloaded",
            Message::new(DISCOVER, 8).option(52, &[3]).with(|m| {
                m.file = b"\x0c\x04host\xff".to_vec();
                m.sname = b"\x3d\x03\x00id\xff".to_vec();
            }),
        ),
        ("discover-in-parts", Message::new(DISCOVER, 10).option(61, &[7; 120]).option(55, &[1, 3]).option(61, &[8; 120])),
        (
            "discover-through-a-knowing-relay",
            Message::new(DISCOVER, 11)
                .option(82, b"\x01\x01c\x05\x04\xc0\x00\x02\x00\x0b\x04\x0a\x00\x00\xfe\x0a\x01\x80\x13\x00\x97\x04\x00red\x98\x00")
                .relayed(),
        ),
        ("discover-long-identifier", Message::new(DISCOVER, 9).option(61, &[7; 255]).option(82, &[1; 200])),
    ]
}
