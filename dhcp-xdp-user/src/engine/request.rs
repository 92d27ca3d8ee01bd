//! A request, read once from its message.

use std::net::Ipv4Addr;

use super::DropReason;
use crate::{
    lease::HwAddress,
    wire::{
        dhcp::{self, HTYPE_ETHERNET, Header, HeaderError, MessageType},
        options::{DhcpOption, Options, code},
    },
};

/// A client identifier is a type and at least one byte (RFC 2132 9.14).
const MIN_CLIENT_ID: usize = 2;

/// A request as the engine sees it: parsed, lengths checked, all slices into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// DHCP message type (option 53).
    pub message_type: MessageType,
    /// Transaction identifier.
    pub xid: u32,
    /// The broadcast flag.
    pub broadcast: bool,
    /// Client's address.
    pub ciaddr: Ipv4Addr,
    /// Relay agent's address; zero when the client is on the interface's own link, or unicasts.
    pub giaddr: Ipv4Addr,
    /// IPv4 destination of the datagram: tells RENEWING (unicast to a server) from REBINDING (RFC 2131 4.3.2).
    pub destination: Ipv4Addr,
    /// Client's hardware address.
    pub hw: HwAddress,
    /// Client identifier (option 61).
    pub client_id: Option<&'a [u8]>,
    /// Requested IP address (option 50).
    pub requested_address: Option<Ipv4Addr>,
    /// Server identifier (option 54).
    pub server_id: Option<Ipv4Addr>,
    /// Requested lease time (option 51), seconds.
    pub lease_time_s: Option<u32>,
    /// Maximum DHCP message size (option 57), bytes, IP and UDP headers included.
    pub max_message_size: Option<u16>,
    /// Parameter request list (option 55); empty when there is none.
    pub parameter_request_list: &'a [u8],
    /// Relay agent information (option 82), whole.
    pub relay_agent_info: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads a message (a UDP payload) in one pass over its options.
    ///
    /// An option that is read here and comes twice is refused: RFC 2131 4.1 wants one instance, RFC 3396 wants several
    /// joined, and reading the first or the last alone would be wrong by both. Options that are not read may repeat.
    ///
    /// # Errors
    /// Why the message is dropped.
    pub fn parse(message: &'a [u8], destination: Ipv4Addr) -> Result<Self, DropReason> {
        let header = Header::new_checked(message).map_err(|error| match error {
            HeaderError::TooShort => DropReason::BootpTooShort,
            HeaderError::BadHlen => DropReason::BadHlen,
            HeaderError::BadCookie => DropReason::BadCookie,
        })?;
        if header.op() != dhcp::BOOTREQUEST {
            return Err(DropReason::NotOurs);
        }
        let options = Fields::read(Options::new(header)).ok_or(DropReason::BadOption)?;
        let message_type = options.message_type.ok_or(DropReason::NoMessageType)?;
        let hw = HwAddress { htype: header.htype(), hlen: header.hlen(), chaddr: header.chaddr() };
        if hw.hlen == 0 && options.client_id.is_none() {
            return Err(DropReason::NoClientIdentity);
        }
        if is_nobodys_address(&hw) {
            return Err(DropReason::BadHwAddress);
        }
        Ok(Self {
            message_type: message_type.into(),
            xid: header.xid(),
            broadcast: header.broadcast(),
            ciaddr: header.ciaddr(),
            giaddr: header.giaddr(),
            destination,
            hw,
            client_id: options.client_id,
            requested_address: options.requested_address,
            server_id: options.server_id,
            lease_time_s: options.lease_time_s,
            max_message_size: options.max_message_size,
            parameter_request_list: options.parameter_request_list.unwrap_or(&[]),
            relay_agent_info: options.relay_agent_info,
        })
    }

    /// The address that the client says it has or wants: `ciaddr`, else option 50.
    pub fn claimed_address(&self) -> Option<Ipv4Addr> {
        if self.ciaddr.is_unspecified() { self.requested_address } else { Some(self.ciaddr) }
    }

    /// The client identifier, or nothing.
    pub fn client_id_bytes(&self) -> &'a [u8] {
        self.client_id.unwrap_or(&[])
    }

    /// Whether a relay agent sent it on.
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }
}

/// The options that a server reads.
#[derive(Default)]
struct Fields<'a> {
    message_type: Option<u8>,
    client_id: Option<&'a [u8]>,
    requested_address: Option<Ipv4Addr>,
    server_id: Option<Ipv4Addr>,
    lease_time_s: Option<u32>,
    max_message_size: Option<u16>,
    parameter_request_list: Option<&'a [u8]>,
    relay_agent_info: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// `None`: an option is malformed, has a length that its type forbids, or is repeated.
    fn read(options: Options<'a>) -> Option<Self> {
        let mut fields = Self::default();
        for option in options {
            fields.take(option.ok()?)?;
        }
        Some(fields)
    }

    fn take(&mut self, option: DhcpOption<'a>) -> Option<()> {
        match option.code {
            code::MESSAGE_TYPE => once(&mut self.message_type, u8::from_be_bytes(option.array()?)),
            code::REQUESTED_ADDRESS => once(&mut self.requested_address, Ipv4Addr::from(option.array::<4>()?)),
            code::SERVER_ID => once(&mut self.server_id, Ipv4Addr::from(option.array::<4>()?)),
            code::LEASE_TIME => once(&mut self.lease_time_s, u32::from_be_bytes(option.array()?)),
            code::MAX_MESSAGE_SIZE => once(&mut self.max_message_size, u16::from_be_bytes(option.array()?)),
            code::PARAMETER_REQUEST_LIST => once(&mut self.parameter_request_list, option.data),
            code::RELAY_AGENT_INFO => once(&mut self.relay_agent_info, option.data),
            code::CLIENT_ID if option.data.len() < MIN_CLIENT_ID => None,
            code::CLIENT_ID => once(&mut self.client_id, option.data),
            _ => Some(()),
        }
    }
}

/// Sets a field that must not be set yet.
fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

/// Whether this is an Ethernet address that no host can have (IEEE 802.3: zero, or the group bit is set). A reply to it would go
/// to nobody, or to everybody who listens to the group.
fn is_nobodys_address(hw: &HwAddress) -> bool {
    let bytes = hw.bytes();
    hw.htype == HTYPE_ETHERNET && bytes.len() == 6 && (bytes[0] & 1 != 0 || bytes.iter().all(|byte| *byte == 0))
}
