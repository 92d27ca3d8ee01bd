//! Frames, whole: Ethernet, IPv4, UDP and BOOTP, made once and patched for each transmission.
//!
//! What differs between two messages of a kind is a handful of fields; the rest is copied, and its checksum is known. A frame
//! so costs one copy of about 350 bytes and a few additions. References: RFC 2131 2 (message), RFC 2132 (options), RFC 3046
//! (option 82), RFC 1071 and 1624 (checksum arithmetic).

use dhcp_xdp_ebpf::walk::{CLIENT_PORT, ETHERNET_LEN, SERVER_PORT, UDP_LEN, VLAN_TAG_LEN};

use crate::look::Pattern;
pub use crate::look::{Look, Person, Relay, Tags};

/// Length of an IPv4 header without options.
const IPV4_LEN: usize = 20;
/// Length of the fixed BOOTP fields and the magic cookie.
const BOOTP_FIXED: usize = 240;
/// Shortest BOOTP message (RFC 1542 2.1).
const BOOTP_MIN: usize = 300;
/// Longest frame that a template makes.
pub const MAX_FRAME: usize = 640;

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

    /// Whether a server answers it.
    #[inline]
    pub fn is_answered(self) -> bool {
        !matches!(self, Message::Release | Message::Decline)
    }

    /// Option 53.
    fn kind(self) -> u8 {
        match self {
            Message::Discover => 1,
            Message::Request | Message::Reboot | Message::Renew | Message::Rebind => 3,
            Message::Decline => 4,
            Message::Release => 7,
        }
    }

    /// Whether the client speaks from its address: `ciaddr` (RFC 2131, table 5).
    fn has_address(self) -> bool {
        matches!(self, Message::Renew | Message::Rebind | Message::Release)
    }

    /// Whether it goes to one server and past relay agents (RFC 2131 4.4.4).
    pub fn is_unicast(self) -> bool {
        matches!(self, Message::Renew | Message::Release)
    }

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

/// What differs from message to message.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Who sends.
    pub person: Person,
    /// Transaction identifier.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The address that it is about: `ciaddr` or option 50, as the message has it.
    pub address: u32,
    /// The server that it is for.
    pub server_id: u32,
    /// Where messages to that server go, where it is known.
    pub server_mac: Option<[u8; 6]>,
}

/// Where the IPv4 source address of a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// It is always the same.
    Fixed,
    /// `ciaddr`.
    Client,
    /// `giaddr`.
    Relay,
}

/// The frame of one kind of message, its variable fields zero.
struct Frame {
    bytes: Vec<u8>,
    /// Sum of the IPv4 header so far.
    ip_sum: u32,
    /// Sum of the pseudo header and the datagram so far.
    udp_sum: u32,
    source: Source,
    unicast: bool,
    has_address: bool,
    requested: Option<usize>,
    server_id: Option<usize>,
    client_id: Option<usize>,
    circuit_id: Option<usize>,
    remote_id: Option<usize>,
}

/// The frames of a run.
pub struct Templates {
    frames: [Frame; Message::COUNT],
    look: Look,
    circuit_id: Option<Pattern>,
    remote_id: Option<Pattern>,
    /// Offset of the IPv4 header, behind the VLAN tags.
    ip: usize,
}

impl Templates {
    /// Makes the frames.
    ///
    /// # Errors
    /// What cannot be said in a message: an identifier that is too long, or of unknown variables.
    pub fn new(look: &Look) -> Result<Self, String> {
        look.check()?;
        let pattern = |what: &str, text: &str| match text {
            "" => Ok(None),
            text => Pattern::new(text).map(Some).map_err(|error| format!("{what}: {error}")),
        };
        let (circuit_id, remote_id) = match &look.relay {
            Some(relay) => (
                pattern("the circuit identifier", &relay.circuit_id)?,
                pattern("the remote identifier", &relay.remote_id)?,
            ),
            None => (None, None),
        };
        let make = |message| frame(message, look, circuit_id.as_ref(), remote_id.as_ref());
        Ok(Self {
            frames: Message::ALL.map(make),
            ip: ETHERNET_LEN + VLAN_TAG_LEN * look.tag_count(),
            look: look.clone(),
            circuit_id,
            remote_id,
        })
    }

    /// How messages look.
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// Writes a message into `buffer` and returns its length; 0 when the buffer is too short, which a UMEM chunk never is.
    #[inline]
    pub fn write(&self, message: Message, fields: &Fields, buffer: &mut [u8]) -> usize {
        let frame = &self.frames[message as usize];
        let (len, ip, person) = (frame.bytes.len(), self.ip, &fields.person);
        let Some(out) = buffer.get_mut(..len) else { return 0 };
        out.copy_from_slice(&frame.bytes);
        out[6..12].copy_from_slice(&self.look.source_mac.unwrap_or(person.mac));
        if let Some(tags) = &self.look.tags {
            out[14..16].copy_from_slice(&person.outer.to_be_bytes());
            if tags.inner.is_some() {
                out[18..20].copy_from_slice(&person.inner.to_be_bytes());
            }
        }
        let bootp = ip + IPV4_LEN + UDP_LEN;
        let mut patch = Patch { out, sum: frame.udp_sum };
        patch.put(bootp + 4, fields.xid.to_be_bytes());
        patch.put(bootp + 8, fields.secs.to_be_bytes());
        patch.put(bootp + 28, person.mac);
        if frame.source != Source::Fixed {
            patch.addresses(ip, bootp, frame, fields);
        }
        if let Some(at) = frame.requested {
            patch.put(at, fields.address.to_be_bytes());
        }
        if let Some(at) = frame.server_id {
            patch.put(at, fields.server_id.to_be_bytes());
        }
        if let Some(at) = frame.client_id {
            patch.put(at, person.mac);
        }
        for (at, pattern) in [(frame.circuit_id, &self.circuit_id), (frame.remote_id, &self.remote_id)] {
            if let (Some(at), Some(pattern)) = (at, pattern) {
                pattern.render(person, |offset, digits| patch.put_all(at + offset, digits));
            }
        }
        let checksum = match !fold(patch.sum) {
            // 0 means "no checksum" (RFC 768).
            0 => 0xffff,
            sum => sum,
        };
        let udp = ip + IPV4_LEN;
        out[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
        len
    }

    /// Whether `echo` is the relay agent information (option 82, without code and length) that this person's messages carry.
    pub fn is_relay_info(&self, person: &Person, mut echo: &[u8]) -> bool {
        for (code, pattern) in [(1, &self.circuit_id), (2, &self.remote_id)] {
            let Some(pattern) = pattern else { continue };
            let [found, len, rest @ ..] = echo else { return false };
            let Some((value, rest)) = rest.split_at_checked(usize::from(*len)) else { return false };
            if *found != code || !pattern.is(person, value) {
                return false;
            }
            echo = rest;
        }
        echo.is_empty()
    }

    /// Whether messages carry a client identifier.
    pub fn sends_client_id(&self) -> bool {
        self.look.client_id
    }
}

/// Writes fields and keeps count of the datagram's checksum. A datagram begins at an even offset in every frame.
struct Patch<'a> {
    out: &'a mut [u8],
    sum: u32,
}

impl Patch<'_> {
    /// Writes bytes over zeros at `at`.
    #[inline]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        const { assert!(N.is_multiple_of(2)) };
        self.out[at..at + N].copy_from_slice(&bytes);
        // Few words: they do not overflow, and the loop is none once it is compiled.
        let sum: u32 = bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
        // At an odd offset each byte counts in the other half of its word.
        self.sum += if at.is_multiple_of(2) { sum } else { u32::from(fold(sum).swap_bytes()) };
    }

    /// The same of any length.
    #[inline]
    fn put_all(&mut self, at: usize, bytes: &[u8]) {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = sum_of(bytes);
        self.sum += u32::from(if at.is_multiple_of(2) { sum } else { sum.swap_bytes() });
    }

    /// `ciaddr` or `giaddr`, the IPv4 addresses that follow from it, and the header's checksum.
    fn addresses(&mut self, ip: usize, bootp: usize, frame: &Frame, fields: &Fields) {
        let source = if frame.source == Source::Relay {
            let giaddr = fields.person.giaddr.to_be_bytes();
            self.put(bootp + 24, giaddr);
            if frame.has_address {
                self.put(bootp + 12, fields.address.to_be_bytes());
            }
            giaddr
        } else {
            let ciaddr = fields.address.to_be_bytes();
            self.put(bootp + 12, ciaddr);
            ciaddr
        };
        self.put(ip + 12, source);
        let mut ip_sum = frame.ip_sum + u32::from(sum_of(&source));
        if frame.unicast {
            let server = fields.server_id.to_be_bytes();
            self.put(ip + 16, server);
            ip_sum += u32::from(sum_of(&server));
            if let Some(mac) = fields.server_mac {
                self.out[..6].copy_from_slice(&mac);
            }
        }
        self.out[ip + 10..ip + 12].copy_from_slice(&(!fold(ip_sum)).to_be_bytes());
    }
}

/// The frame of a message, its variable fields zero.
fn frame(message: Message, look: &Look, circuit_id: Option<&Pattern>, remote_id: Option<&Pattern>) -> Frame {
    let ip = ETHERNET_LEN + VLAN_TAG_LEN * look.tag_count();
    let relayed = look.relay.is_some() && !message.is_unicast();
    let mut bytes = vec![0; ip + IPV4_LEN + UDP_LEN + BOOTP_FIXED];
    let bootp = &mut bytes[ip + IPV4_LEN + UDP_LEN..];
    bootp[..4].copy_from_slice(&[1, 1, 6, u8::from(relayed)]);
    if look.broadcast && !message.has_address() {
        bootp[10] = 0x80;
    }
    bootp[236..240].copy_from_slice(&[99, 130, 83, 99]);

    let mut frame = Frame {
        bytes,
        ip_sum: 0,
        udp_sum: 0,
        source: match message {
            _ if relayed => Source::Relay,
            _ if message.has_address() => Source::Client,
            _ => Source::Fixed,
        },
        unicast: message.is_unicast(),
        has_address: message.has_address(),
        requested: None,
        server_id: None,
        client_id: None,
        circuit_id: None,
        remote_id: None,
    };
    options(&mut frame, message, look, circuit_id.filter(|_| relayed), remote_id.filter(|_| relayed));
    frame.bytes.resize(frame.bytes.len().max(ip + IPV4_LEN + UDP_LEN + BOOTP_MIN), 0);
    debug_assert!(frame.bytes.len() <= MAX_FRAME);
    headers(&mut frame, look, ip, relayed);
    frame
}

/// The options, in an order that clients and relay agents use: option 82 is the last.
fn options(
    frame: &mut Frame,
    message: Message,
    look: &Look,
    circuit_id: Option<&Pattern>,
    remote_id: Option<&Pattern>,
) {
    // Subnet mask, router, DNS, domain name, lease time, T1, T2: what a broadband client asks for.
    const PARAMETERS: [u8; 9] = [55, 7, 1, 3, 6, 15, 51, 58, 59];
    let bytes = &mut frame.bytes;
    let room = |bytes: &mut Vec<u8>, start: &[u8], len: usize| {
        bytes.extend(start);
        let at = bytes.len();
        bytes.resize(at + len, 0);
        Some(at)
    };
    bytes.extend([53, 1, message.kind()]);
    if matches!(message, Message::Request | Message::Reboot | Message::Decline) {
        frame.requested = room(bytes, &[50, 4], 4);
    }
    if matches!(message, Message::Request | Message::Decline | Message::Release) {
        frame.server_id = room(bytes, &[54, 4], 4);
    }
    if look.client_id {
        frame.client_id = room(bytes, &[61, 7, 1], 6);
    }
    if message.is_answered() {
        if !look.vendor_class.is_empty() {
            bytes.extend([60, look.vendor_class.len() as u8]);
            bytes.extend(look.vendor_class.as_bytes());
        }
        bytes.extend(PARAMETERS);
    }
    let len = |pattern: Option<&Pattern>| pattern.map_or(0, |pattern| pattern.len() + 2);
    if len(circuit_id) + len(remote_id) > 0 {
        bytes.extend([82, (len(circuit_id) + len(remote_id)) as u8]);
        for (code, pattern, at) in [(1, circuit_id, &mut frame.circuit_id), (2, remote_id, &mut frame.remote_id)] {
            if let Some(pattern) = pattern {
                bytes.extend([code, pattern.len() as u8]);
                *at = Some(bytes.len());
                bytes.extend(pattern.bytes());
            }
        }
    }
    bytes.push(255);
}

/// Ethernet, IPv4 and UDP headers, checksums left zero; and the sums of what is there.
fn headers(frame: &mut Frame, look: &Look, ip: usize, relayed: bool) {
    let bytes = &mut frame.bytes;
    let udp_len = (bytes.len() - ip - IPV4_LEN) as u16;
    bytes[..6].copy_from_slice(&look.destination_mac);
    if let Some(tags) = &look.tags {
        bytes[12..14].copy_from_slice(&tags.outer_tpid.to_be_bytes());
        if tags.inner.is_some() {
            bytes[16..18].copy_from_slice(&[0x81, 0x00]);
        }
    }
    bytes[ip - 2..ip].copy_from_slice(&[0x08, 0x00]);

    let header = &mut bytes[ip..ip + IPV4_LEN];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(udp_len + IPV4_LEN as u16).to_be_bytes());
    header[8..10].copy_from_slice(&[64, 17]);
    match &look.relay {
        _ if frame.unicast => {}
        Some(relay) => header[16..20].copy_from_slice(&relay.server.octets()),
        None => header[16..20].copy_from_slice(&[255; 4]),
    }
    frame.ip_sum = sum_of(header).into();
    if frame.source == Source::Fixed {
        let checksum = !sum_of(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }

    let udp = &mut bytes[ip + IPV4_LEN..ip + IPV4_LEN + UDP_LEN];
    udp[..2].copy_from_slice(&if relayed { SERVER_PORT } else { CLIENT_PORT }.to_be_bytes());
    udp[2..4].copy_from_slice(&SERVER_PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    let addresses = u32::from(sum_of(&bytes[ip + 12..ip + 20]));
    frame.udp_sum = addresses + 17 + u32::from(udp_len) + u32::from(sum_of(&bytes[ip + IPV4_LEN..]));
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
    use std::net::Ipv4Addr;

    const MAC: [u8; 6] = [2, 0xab, 0xcd, 1, 2, 3];

    fn fields(look: &Look) -> Fields {
        Fields {
            person: look.person(1_234_567, MAC, 0),
            xid: 0xdead_beef,
            secs: 7,
            address: 0x0a00_0105,
            server_id: 0x0a00_0001,
            server_mac: Some([2, 9, 9, 9, 9, 9]),
        }
    }

    fn relay() -> Relay {
        Relay {
            giaddrs: vec![Ipv4Addr::new(10, 0, 0, 2)],
            server: Ipv4Addr::new(10, 9, 9, 9),
            circuit_id: "olt-1/{index}".into(),
            remote_id: String::new(),
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

    fn written(look: &Look, message: Message) -> Vec<u8> {
        let mut buffer = [0xee; MAX_FRAME];
        let len = Templates::new(look).unwrap().write(message, &fields(look), &mut buffer);
        buffer[..len].to_vec()
    }

    #[test]
    fn every_message_has_right_lengths_and_checksums() {
        let mut looks = vec![Look::default(), Look { broadcast: false, client_id: true, ..Look::default() }];
        looks.push(Look { relay: Some(relay()), source_mac: Some([2, 0, 0, 0, 0, 1]), ..Look::default() });
        looks.push(Look { vendor_class: "x".into(), tags: Some("7".parse().unwrap()), ..Look::default() });
        looks.push(Look { relay: Some(relay()), tags: Some("7.1-9".parse().unwrap()), ..Look::default() });
        for circuit_id in ["x", "xy", "{index}", "a{index}b", "{mac}:{vlan}.{cvlan}/{relay}"] {
            let remote_id = format!("r{circuit_id}");
            let relay = Relay { circuit_id: circuit_id.into(), remote_id, ..relay() };
            looks.push(Look { relay: Some(relay), client_id: true, ..Look::default() });
        }
        for look in looks {
            for message in Message::ALL {
                let bootp = checked(&written(&look, message));
                assert!(bootp.len() >= BOOTP_MIN);
                assert_eq!(bootp[4..8], 0xdead_beef_u32.to_be_bytes());
                assert_eq!(bootp[28..34], MAC);
            }
        }
    }

    #[test]
    fn each_message_says_what_table_5_of_rfc_2131_wants_and_no_more() {
        let look = Look::default();
        let options = |message| checked(&written(&look, message))[240..].to_vec();
        let ciaddr = |message| checked(&written(&look, message))[12..16].to_vec();
        assert!(options(Message::Discover).starts_with(&[53, 1, 1, 55]));
        assert!(options(Message::Request).starts_with(&[53, 1, 3, 50, 4, 10, 0, 1, 5, 54, 4, 10, 0, 0, 1, 55]));
        assert!(options(Message::Reboot).starts_with(&[53, 1, 3, 50, 4, 10, 0, 1, 5, 55]));
        assert!(options(Message::Renew).starts_with(&[53, 1, 3, 55]));
        assert!(options(Message::Rebind).starts_with(&[53, 1, 3, 55]));
        assert!(options(Message::Release).starts_with(&[53, 1, 7, 54, 4, 10, 0, 0, 1, 255]));
        assert!(options(Message::Decline).starts_with(&[53, 1, 4, 50, 4, 10, 0, 1, 5, 54, 4, 10, 0, 0, 1, 255]));
        for message in Message::ALL {
            let expected = if message.has_address() { [10, 0, 1, 5] } else { [0; 4] };
            assert_eq!(ciaddr(message), expected, "{message:?}");
        }
    }

    #[test]
    fn a_renewal_goes_from_the_client_to_its_server_past_the_relay_agent() {
        for look in [Look::default(), Look { relay: Some(relay()), ..Look::default() }] {
            let frame = written(&look, Message::Renew);
            assert_eq!(frame[..6], [2, 9, 9, 9, 9, 9]);
            assert_eq!(frame[26..34], [10, 0, 1, 5, 10, 0, 0, 1]);
            let bootp = checked(&frame);
            assert_eq!((bootp[3], &bootp[24..28], bootp[10]), (0, &[0; 4][..], 0));
            assert!(!bootp[240..].contains(&82));
        }
        assert_eq!(written(&Look::default(), Message::Rebind)[26..34], [10, 0, 1, 5, 255, 255, 255, 255]);
    }

    #[test]
    fn a_relayed_message_comes_from_giaddr_with_a_hop_and_option_82() {
        let look = Look { relay: Some(relay()), ..Look::default() };
        for message in [Message::Discover, Message::Request, Message::Rebind, Message::Decline] {
            let frame = written(&look, message);
            assert_eq!(frame[26..34], [10, 0, 0, 2, 10, 9, 9, 9]);
            let bootp = checked(&frame);
            assert_eq!(bootp[3], 1);
            assert_eq!(bootp[24..28], [10, 0, 0, 2]);
            let option: &[u8] = b"\x52\x10\x01\x0eolt-1/01234567";
            assert!(bootp.windows(option.len()).any(|w| w == option));
            let templates = Templates::new(&look).unwrap();
            let person = |index| look.person(index, MAC, 0);
            assert!(templates.is_relay_info(&person(1_234_567), &option[2..]));
            assert!(!templates.is_relay_info(&person(1_234_568), &option[2..]));
            assert!(!templates.is_relay_info(&person(1_234_567), &[]));
            assert!(!templates.is_relay_info(&person(1_234_567), &option[2..10]));
        }
    }

    #[test]
    fn several_relay_agents_share_the_clients_and_the_second_path_is_another() {
        let giaddrs = (1..=3).map(|last| Ipv4Addr::new(10, 0, last, 1)).collect();
        let relay = Relay { giaddrs, circuit_id: "{relay}".into(), remote_id: "{mac}".into(), ..relay() };
        let look = Look { relay: Some(relay), ..Look::default() };
        let giaddr = |index, path| Ipv4Addr::from(look.person(index, MAC, path).giaddr).octets()[2];
        assert_eq!((0..6).map(|index| giaddr(index, 0)).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3]);
        assert_eq!((giaddr(0, 1), giaddr(2, 1)), (2, 1));
        let bootp = checked(&written(&look, Message::Discover));
        let option: &[u8] = b"\x52\x13\x01\x03001\x02\x0c02abcd010203";
        assert!(bootp.windows(option.len()).any(|w| w == option), "{bootp:?}");
    }

    #[test]
    fn tags_lie_outside_of_everything() {
        let look = Look { tags: Some("100-199.5-6".parse().unwrap()), ..Look::default() };
        let frame = written(&look, Message::Discover);
        // Client 1,234,567: inner 5 + 1 (odd), outer 100 + 617,283 % 100.
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 183, 0x81, 0, 0, 6, 8, 0]);
        checked(&frame);
        let look = Look { tags: Some("300".parse().unwrap()), ..Look::default() };
        assert_eq!(written(&look, Message::Discover)[12..18], [0x81, 0, 1, 44, 8, 0]);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let relay = Relay { circuit_id: "x".repeat(65), ..relay() };
        assert!(Templates::new(&Look { relay: Some(relay), ..Look::default() }).is_err());
        assert!(Templates::new(&Look { vendor_class: "x".repeat(65), ..Look::default() }).is_err());
    }

    proptest! {
        #[test]
        fn checksums_are_right_for_any_fields(
            index in 0u32..crate::identity::MAX_CLIENTS, mac: [u8; 6], xid: u32, secs: u16, address: u32,
            server_id: u32, client_id: bool, circuit_id in "[a-z]{0,5}\\{index\\}[a-z]{0,3}", relayed: bool,
        ) {
            let relay = relayed.then(|| Relay { circuit_id, ..relay() });
            let look = Look { client_id, relay, ..Look::default() };
            let templates = Templates::new(&look).unwrap();
            let person = look.person(index, mac, 0);
            let fields = Fields { person, xid, secs, address, server_id, server_mac: None };
            for message in Message::ALL {
                let mut buffer = [0; MAX_FRAME];
                let len = templates.write(message, &fields, &mut buffer);
                checked(&buffer[..len]);
            }
        }
    }
}
