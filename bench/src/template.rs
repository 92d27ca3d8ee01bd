//! Frames, whole: Ethernet, IPv4, UDP and BOOTP, made once and patched for each transmission.
//!
//! What differs between two messages of a kind is a handful of fields; the rest is copied, and its checksum is known. A frame
//! so costs one copy of about 350 bytes and a few additions. References: RFC 2131 2 (message), RFC 2132 (options), RFC 3046
//! (option 82), RFC 1071 and 1624 (checksum arithmetic).

use std::net::Ipv4Addr;

use dhcp_xdp_ebpf::walk::{CLIENT_PORT, ETHERNET_LEN, SERVER_PORT, UDP_LEN};

/// Length of an IPv4 header without options.
const IPV4_LEN: usize = 20;
/// Length of the fixed BOOTP fields and the magic cookie.
const BOOTP_FIXED: usize = 240;
/// Shortest BOOTP message (RFC 1542 2.1).
const BOOTP_MIN: usize = 300;
/// Offset of the UDP header.
const UDP: usize = ETHERNET_LEN + IPV4_LEN;
/// Offset of the BOOTP header.
const BOOTP: usize = UDP + UDP_LEN;
/// Decimal digits that stand for a client's index in a circuit identifier.
pub const INDEX_DIGITS: usize = 8;
/// Longest circuit identifier.
pub const MAX_CIRCUIT_ID: usize = 64;
/// Longest frame that a template makes.
pub const MAX_FRAME: usize = 512;

/// What the generator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// DHCPDISCOVER.
    Discover,
    /// DHCPREQUEST in SELECTING: with server identifier and requested address.
    Request,
    /// DHCPREQUEST in INIT-REBOOT: with requested address alone.
    Reboot,
    /// DHCPREQUEST in RENEWING: with `ciaddr`, unicast to the server.
    Renew,
    /// DHCPREQUEST in REBINDING: with `ciaddr`, broadcast.
    Rebind,
    /// DHCPRELEASE, which has no answer.
    Release,
    /// DHCPDECLINE, which has none either.
    Decline,
}

impl Message {
    /// All messages.
    pub const ALL: [Message; 7] = [
        Message::Discover,
        Message::Request,
        Message::Reboot,
        Message::Renew,
        Message::Rebind,
        Message::Release,
        Message::Decline,
    ];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The key in reports.
    pub fn name(self) -> &'static str {
        match self {
            Message::Discover => "discover",
            Message::Request => "request",
            Message::Reboot => "init_reboot",
            Message::Renew => "renew",
            Message::Rebind => "rebind",
            Message::Release => "release",
            Message::Decline => "decline",
        }
    }
}

/// A relay agent that the generator plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its address, and the source of its messages.
    pub giaddr: Ipv4Addr,
    /// Where it sends to.
    pub server: Ipv4Addr,
    /// Agent circuit identifier: `{index}` stands for the client's index, in eight digits. Empty: no option 82.
    pub circuit_id: String,
}

/// How messages look, alike for all clients of a run.
#[derive(Clone, Debug)]
pub struct Look {
    /// Ethernet destination.
    pub destination_mac: [u8; 6],
    /// Ethernet source; the client's own when there is none.
    pub source_mac: Option<[u8; 6]>,
    /// Asks the server to broadcast its replies (RFC 2131 4.1).
    pub broadcast: bool,
    /// Sends a client identifier (option 61): type 1 and the MAC address.
    pub client_id: bool,
    /// Sends as a relay agent.
    pub relay: Option<Relay>,
}

impl Default for Look {
    fn default() -> Self {
        Self { destination_mac: [0xff; 6], source_mac: None, broadcast: true, client_id: false, relay: None }
    }
}

/// What differs from message to message.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Index of the client.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Transaction identifier.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Address to ask for; used by REQUEST.
    pub requested: u32,
    /// Server identifier of the offer; used by REQUEST.
    pub server_id: u32,
}

/// The frame of one kind of message.
struct Frame {
    bytes: Vec<u8>,
    /// Sum of the pseudo header and of all that is patched with nothing yet.
    sum: u32,
    requested: Option<usize>,
    server_id: Option<usize>,
    client_id: Option<usize>,
    circuit_index: Option<usize>,
}

/// The frames of a run.
pub struct Templates {
    discover: Frame,
    request: Frame,
    source_mac: Option<[u8; 6]>,
    circuit_id: Option<(Vec<u8>, Option<usize>)>,
}

impl Templates {
    /// Makes the frames.
    ///
    /// # Errors
    /// A circuit identifier that is longer than [`MAX_CIRCUIT_ID`].
    pub fn new(look: &Look) -> Result<Self, String> {
        let circuit_id = match &look.relay {
            Some(relay) if !relay.circuit_id.is_empty() => Some(circuit_id_of(&relay.circuit_id)?),
            _ => None,
        };
        Ok(Self {
            discover: frame(Message::Discover, look, circuit_id.as_ref()),
            request: frame(Message::Request, look, circuit_id.as_ref()),
            source_mac: look.source_mac,
            circuit_id,
        })
    }

    /// Writes a message into `buffer` and returns its length; 0 when the buffer is too short, which a UMEM chunk never is.
    #[inline]
    pub fn write(&self, message: Message, fields: &Fields, buffer: &mut [u8]) -> usize {
        let frame = match message {
            Message::Discover => &self.discover,
            _ => &self.request,
        };
        let len = frame.bytes.len();
        let Some(out) = buffer.get_mut(..len) else { return 0 };
        out.copy_from_slice(&frame.bytes);
        out[6..12].copy_from_slice(&self.source_mac.unwrap_or(fields.mac));
        let mut patch = Patch { out, sum: frame.sum };
        patch.put(BOOTP + 4, &fields.xid.to_be_bytes());
        patch.put(BOOTP + 8, &fields.secs.to_be_bytes());
        patch.put(BOOTP + 28, &fields.mac);
        if let Some(at) = frame.requested {
            patch.put(at, &fields.requested.to_be_bytes());
        }
        if let Some(at) = frame.server_id {
            patch.put(at, &fields.server_id.to_be_bytes());
        }
        if let Some(at) = frame.client_id {
            patch.put(at, &fields.mac);
        }
        if let Some(at) = frame.circuit_index {
            patch.put(at, &digits(fields.index));
        }
        let checksum = match !fold(patch.sum) {
            // 0 means "no checksum" (RFC 768).
            0 => 0xffff,
            sum => sum,
        };
        out[UDP + 6..UDP + 8].copy_from_slice(&checksum.to_be_bytes());
        len
    }

    /// Whether `echo` is the relay agent information (option 82, without code and length) that this client's messages carry.
    pub fn is_relay_info(&self, index: u32, echo: &[u8]) -> bool {
        let Some((circuit_id, digits_at)) = &self.circuit_id else { return echo.is_empty() };
        let mut expected = [0; MAX_CIRCUIT_ID];
        let expected = &mut expected[..circuit_id.len()];
        expected.copy_from_slice(circuit_id);
        if let Some(at) = *digits_at {
            expected[at..at + INDEX_DIGITS].copy_from_slice(&digits(index));
        }
        // Sub-option 1, its length, its value.
        matches!(echo, [1, len, value @ ..] if usize::from(*len) == value.len() && value == expected)
    }

    /// Whether messages carry option 82.
    pub fn sends_relay_info(&self) -> bool {
        self.circuit_id.is_some()
    }

    /// Whether messages carry a client identifier.
    pub fn sends_client_id(&self) -> bool {
        self.discover.client_id.is_some()
    }
}

/// Writes fields and keeps count of the checksum.
struct Patch<'a> {
    out: &'a mut [u8],
    sum: u32,
}

impl Patch<'_> {
    /// Writes `bytes` over zeros at `at`.
    #[inline]
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = sum_of(bytes);
        // At an odd offset each byte counts in the other half of its word.
        self.sum += u32::from(if (at - UDP).is_multiple_of(2) { sum } else { sum.swap_bytes() });
    }
}

/// The circuit identifier with zeros where the index goes, and where that is.
fn circuit_id_of(pattern: &str) -> Result<(Vec<u8>, Option<usize>), String> {
    let (bytes, at) = match pattern.split_once("{index}") {
        None => (pattern.as_bytes().to_vec(), None),
        Some((before, after)) => {
            (format!("{before}{}{after}", "\0".repeat(INDEX_DIGITS)).into_bytes(), Some(before.len()))
        }
    };
    if bytes.len() > MAX_CIRCUIT_ID {
        return Err(format!("the circuit identifier has {} bytes; {MAX_CIRCUIT_ID} is the most", bytes.len()));
    }
    Ok((bytes, at))
}

fn digits(mut index: u32) -> [u8; INDEX_DIGITS] {
    let mut digits = [b'0'; INDEX_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (index % 10) as u8;
        index /= 10;
    }
    digits
}

/// The frame of a message, its variable fields zero.
fn frame(message: Message, look: &Look, circuit_id: Option<&(Vec<u8>, Option<usize>)>) -> Frame {
    let mut bytes = vec![0; BOOTP + BOOTP_FIXED];
    let mut frame =
        Frame { bytes: Vec::new(), sum: 0, requested: None, server_id: None, client_id: None, circuit_index: None };

    let bootp = &mut bytes[BOOTP..];
    bootp[..4].copy_from_slice(&[1, 1, 6, u8::from(look.relay.is_some())]);
    if look.broadcast {
        bootp[10] = 0x80;
    }
    if let Some(relay) = &look.relay {
        bootp[24..28].copy_from_slice(&relay.giaddr.octets());
    }
    bootp[236..240].copy_from_slice(&[99, 130, 83, 99]);

    // Subnet mask, router, DNS, domain name, lease time, T1, T2: what a broadband client asks for.
    const PARAMETERS: [u8; 9] = [55, 7, 1, 3, 6, 15, 51, 58, 59];
    match message {
        Message::Discover => bytes.extend([53, 1, 1]),
        _ => {
            bytes.extend([53, 1, 3, 50, 4]);
            frame.requested = Some(bytes.len());
            bytes.extend([0, 0, 0, 0, 54, 4]);
            frame.server_id = Some(bytes.len());
            bytes.extend([0, 0, 0, 0]);
        }
    }
    if look.client_id {
        bytes.extend([61, 7, 1]);
        frame.client_id = Some(bytes.len());
        bytes.extend([0; 6]);
    }
    bytes.extend(PARAMETERS);
    if let Some((circuit_id, digits_at)) = circuit_id {
        let len = circuit_id.len() as u8;
        bytes.extend([82, len + 2, 1, len]);
        frame.circuit_index = digits_at.map(|at| bytes.len() + at);
        bytes.extend(circuit_id);
    }
    bytes.push(255);
    bytes.resize(bytes.len().max(BOOTP + BOOTP_MIN), 0);
    debug_assert!(bytes.len() <= MAX_FRAME);

    headers(&mut bytes, look);
    frame.sum = pseudo_sum(&bytes);
    frame.bytes = bytes;
    frame
}

/// Ethernet, IPv4 and UDP headers, the UDP checksum left zero.
fn headers(bytes: &mut [u8], look: &Look) {
    let udp_len = (bytes.len() - UDP) as u16;
    let (source, destination, source_port) = match &look.relay {
        Some(relay) => (relay.giaddr, relay.server, SERVER_PORT),
        None => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, CLIENT_PORT),
    };
    bytes[..6].copy_from_slice(&look.destination_mac);
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);

    let ip = &mut bytes[ETHERNET_LEN..UDP];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(udp_len + IPV4_LEN as u16).to_be_bytes());
    ip[8..10].copy_from_slice(&[64, 17]);
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&destination.octets());
    let checksum = !sum_of(ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());

    let udp = &mut bytes[UDP..BOOTP];
    udp[..2].copy_from_slice(&source_port.to_be_bytes());
    udp[2..4].copy_from_slice(&SERVER_PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
}

/// Sum of the pseudo header and the datagram of a frame with an IPv4 header without options.
fn pseudo_sum(frame: &[u8]) -> u32 {
    let addresses = &frame[ETHERNET_LEN + 12..ETHERNET_LEN + 20];
    let datagram = &frame[UDP..];
    u32::from(sum_of(addresses)) + 17 + datagram.len() as u32 + u32::from(sum_of(datagram))
}

/// One's complement sum of big-endian words, folded; an odd last byte counts as the high half of a word.
pub(crate) fn sum_of(bytes: &[u8]) -> u16 {
    // Four bytes at a time: 2^32 is 1 modulo 2^16 - 1, so wider words add up to the same once folded.
    let mut chunks = bytes.chunks_exact(4);
    let mut sum: u64 = chunks.by_ref().map(|c| u64::from(u32::from_be_bytes([c[0], c[1], c[2], c[3]]))).sum();
    let mut rest = [0; 4];
    rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    sum += u64::from(u32::from_be_bytes(rest));
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    fold(((sum >> 16) + (sum & 0xffff)) as u32)
}

/// Folds a sum of words into one.
pub(crate) fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn fields() -> Fields {
        Fields {
            index: 1_234_567,
            mac: [2, 0xab, 0xcd, 1, 2, 3],
            xid: 0xdead_beef,
            secs: 7,
            requested: 0x0a00_0105,
            server_id: 0x0a00_0001,
        }
    }

    fn relay() -> Relay {
        Relay {
            giaddr: Ipv4Addr::new(10, 0, 0, 2),
            server: Ipv4Addr::new(10, 9, 9, 9),
            circuit_id: "olt-1/{index}".into(),
        }
    }

    /// Takes a frame apart with etherparse, checks every length and checksum, and returns the BOOTP message.
    fn checked(frame: &[u8]) -> Vec<u8> {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("not IPv4") };
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("not UDP") };
        let expected = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap();
        assert_eq!(udp.checksum(), expected, "UDP checksum");
        assert_eq!(usize::from(udp.length()), UDP_LEN + udp.payload().len());
        udp.payload().to_vec()
    }

    #[test]
    fn every_message_has_right_lengths_and_checksums() {
        let mut looks = vec![Look::default(), Look { broadcast: false, client_id: true, ..Look::default() }];
        looks.push(Look { relay: Some(relay()), source_mac: Some([2, 0, 0, 0, 0, 1]), ..Look::default() });
        for circuit_id in ["x", "xy", "{index}", "a{index}b"] {
            let relay = Relay { circuit_id: circuit_id.into(), ..relay() };
            looks.push(Look { relay: Some(relay), client_id: true, ..Look::default() });
        }
        for look in looks {
            let templates = Templates::new(&look).unwrap();
            for message in Message::ALL {
                let mut buffer = [0xee; MAX_FRAME];
                let len = templates.write(message, &fields(), &mut buffer);
                let bootp = checked(&buffer[..len]);
                assert!(bootp.len() >= BOOTP_MIN);
                assert_eq!(bootp[4..8], 0xdead_beef_u32.to_be_bytes());
                assert_eq!(bootp[28..34], fields().mac);
            }
        }
    }

    #[test]
    fn a_request_names_the_address_and_the_server_and_a_discover_does_not() {
        let templates = Templates::new(&Look::default()).unwrap();
        let mut buffer = [0; MAX_FRAME];
        let len = templates.write(Message::Request, &fields(), &mut buffer);
        let options = checked(&buffer[..len])[240..].to_vec();
        assert!(options.starts_with(&[53, 1, 3, 50, 4, 10, 0, 1, 5, 54, 4, 10, 0, 0, 1]));
        let len = templates.write(Message::Discover, &fields(), &mut buffer);
        assert!(checked(&buffer[..len])[240..].starts_with(&[53, 1, 1, 55]));
    }

    #[test]
    fn a_relayed_message_comes_from_giaddr_with_a_hop_and_option_82() {
        let templates = Templates::new(&Look { relay: Some(relay()), ..Look::default() }).unwrap();
        let mut buffer = [0; MAX_FRAME];
        let len = templates.write(Message::Discover, &fields(), &mut buffer);
        let frame = &buffer[..len];
        assert_eq!(frame[26..34], [10, 0, 0, 2, 10, 9, 9, 9]);
        let bootp = checked(frame);
        assert_eq!(bootp[3], 1);
        assert_eq!(bootp[24..28], [10, 0, 0, 2]);
        let option: &[u8] = b"\x52\x10\x01\x0eolt-1/01234567";
        assert!(bootp.windows(option.len()).any(|w| w == option));
        assert!(templates.is_relay_info(1_234_567, &option[2..]));
        assert!(!templates.is_relay_info(1_234_568, &option[2..]));
        assert!(!templates.is_relay_info(1_234_567, &[]));
    }

    #[test]
    fn a_circuit_identifier_that_is_too_long_is_refused() {
        let relay = Relay { circuit_id: "x".repeat(65), ..relay() };
        assert!(Templates::new(&Look { relay: Some(relay), ..Look::default() }).is_err());
    }

    proptest! {
        #[test]
        fn checksums_are_right_for_any_fields(
            index in 0u32..crate::identity::MAX_CLIENTS, mac: [u8; 6], xid: u32, secs: u16, requested: u32,
            server_id: u32, client_id: bool, circuit_id in "[a-z]{0,5}\\{index\\}[a-z]{0,3}", relayed: bool,
        ) {
            let relay = relayed.then(|| Relay { circuit_id, ..relay() });
            let templates = Templates::new(&Look { client_id, relay, ..Look::default() }).unwrap();
            let fields = Fields { index, mac, xid, secs, requested, server_id };
            for message in Message::ALL {
                let mut buffer = [0; MAX_FRAME];
                let len = templates.write(message, &fields, &mut buffer);
                checked(&buffer[..len]);
            }
        }
    }
}
