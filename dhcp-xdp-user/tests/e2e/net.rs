//! Frames and messages as tests write and read them: encoded and decoded by `dhcproto`, not by the code under test.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use dhcproto::{
    Decodable, Decoder, Encodable,
    v4::{DhcpOption, Flags, Message, MessageType, OptionCode},
};

/// An Ethernet frame with a UDP datagram in it.
#[derive(Clone, Debug)]
pub struct Datagram<'a> {
    /// Ethernet source.
    pub mac: [u8; 6],
    /// EtherTypes of the tags, the outer one first; their VLAN ids are 100, 101, ...
    pub tags: &'a [u16],
    /// IPv4 source.
    pub source: [u8; 4],
    /// IPv4 destination.
    pub destination: [u8; 4],
    /// Bytes of IPv4 options, a multiple of 4: no-operation each.
    pub ip_options: usize,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
}

impl Default for Datagram<'_> {
    fn default() -> Self {
        Self {
            mac: [2, 0, 0, 0, 0, 7],
            tags: &[],
            source: [0; 4],
            destination: [255; 4],
            ip_options: 0,
            source_port: 68,
            destination_port: 67,
        }
    }
}

impl Datagram<'_> {
    /// The whole frame, broadcast, without a UDP checksum (RFC 768 allows that).
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend(self.mac);
        for (i, tag) in self.tags.iter().enumerate() {
            frame.extend(tag.to_be_bytes());
            frame.extend((100 + i as u16).to_be_bytes());
        }
        frame.extend([0x08, 0x00]);
        let header = 20 + self.ip_options;
        let mut ip = vec![0x40 | (header / 4) as u8, 0x10];
        ip.extend(((header + 8 + payload.len()) as u16).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        ip.extend(self.source);
        ip.extend(self.destination);
        ip.resize(header, 1);
        write_ip_checksum(&mut ip);
        frame.extend(ip);
        frame.extend(self.source_port.to_be_bytes());
        frame.extend(self.destination_port.to_be_bytes());
        frame.extend((8 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }
}

/// Makes the checksum of an IPv4 header right.
pub fn write_ip_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = ones_complement(header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The Internet checksum (RFC 1071).
fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A message of a client, encoded.
pub fn message(mac: [u8; 6], xid: u32, kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut message = Message::default();
    message.set_xid(xid).set_flags(Flags::default().set_broadcast()).set_chaddr(&mac);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    let wanted = vec![OptionCode::SubnetMask, OptionCode::Router, OptionCode::DomainNameServer];
    message.opts_mut().insert(DhcpOption::ParameterRequestList(wanted));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message.to_vec().unwrap_or_default()
}

/// A DISCOVER.
pub fn discover(mac: [u8; 6], xid: u32) -> Vec<u8> {
    message(mac, xid, MessageType::Discover, &[])
}

/// A REQUEST in the state SELECTING, for what was offered.
pub fn request(offer: &Reply, mac: [u8; 6], xid: u32) -> Result<Vec<u8>> {
    let server = offer.server_id()?;
    let options = [DhcpOption::ServerIdentifier(server), DhcpOption::RequestedIpAddress(offer.message.yiaddr())];
    Ok(message(mac, xid, MessageType::Request, &options))
}

/// A server's reply as it lay on the wire.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Tags, from the first EtherType on: EtherType and VLAN id each.
    pub tags: Vec<(u16, u16)>,
    /// Ethernet destination.
    pub to: [u8; 6],
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// The message.
    pub message: Message,
}

impl Reply {
    /// Its message type.
    pub fn kind(&self) -> Option<MessageType> {
        self.message.opts().msg_type()
    }

    /// Its server identifier: every reply of a server has one (RFC 2131 table 3).
    pub fn server_id(&self) -> Result<Ipv4Addr> {
        match self.message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(address)) => Ok(*address),
            other => bail!("server identifier {other:?}"),
        }
    }
}

/// The server's replies in a capture: every frame from port 67 with op 2. Each must decode as a whole.
pub fn replies(frames: &[Vec<u8>]) -> Result<Vec<Reply>> {
    let mut replies = Vec::new();
    for frame in frames {
        if let Some(reply) = reply(frame).with_context(|| format!("{frame:02x?}"))? {
            replies.push(reply);
        }
    }
    Ok(replies)
}

fn reply(frame: &[u8]) -> Result<Option<Reply>> {
    let word = |offset: usize| frame.get(offset..offset + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let mut offset = 12;
    let mut tags = Vec::new();
    while let Some(ethertype @ (0x8100 | 0x88a8)) = word(offset) {
        tags.push((ethertype, word(offset + 2).context("cut")? & 0x0fff));
        offset += 4;
    }
    ensure!(word(offset) == Some(0x0800), "not IPv4");
    let ip = frame.get(offset + 2..).context("cut")?;
    let header = usize::from(ip[0] & 0x0f) * 4;
    let udp = ip.get(header..).context("cut")?;
    if udp.get(..2) != Some(&[0, 67]) || udp.get(8) != Some(&2) {
        return Ok(None);
    }
    ensure!(ones_complement(&ip[..header]) == 0, "IPv4 checksum");
    let len = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let payload = udp.get(8..len).context("the UDP length is longer than the frame")?;
    ensure!(payload.len() >= 300, "{} bytes of BOOTP: at least 300 are due (RFC 1542 2.1)", payload.len());
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    Ok(Some(Reply {
        tags,
        to: frame[..6].try_into()?,
        source: address(12),
        destination: address(16),
        message: Message::decode(&mut Decoder::new(payload))?,
    }))
}
