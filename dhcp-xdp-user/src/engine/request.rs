//! A request, read once from its message.

use std::{net::Ipv4Addr, ops::RangeInclusive};

use super::DropReason;
use crate::{
    config::Identity,
    lease::HwAddress,
    wire::{
        dhcp::{self, HTYPE_ETHERNET, Header, HeaderError, MessageType},
        options::{DhcpOption, Joined, MAX_OPTION_DATA, Options, Scratch, code},
        relay::{RelayAgentInfo, Routing},
    },
};

/// A client identifier is a type and at least one byte (RFC 2132 9.14); leases keep up to 255, which is what one option holds.
const CLIENT_ID_LEN: RangeInclusive<usize> = 2..=MAX_OPTION_DATA;

/// A request as the engine sees it: parsed, lengths checked, all slices into the frame or into scratch memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// DHCP message type (option 53); [`MessageType::Bootp`] when there is none.
    pub message_type: MessageType,
    /// Transaction identifier.
    pub xid: u32,
    /// Seconds since the client began (RFC 2131 2).
    pub secs: u16,
    /// Relay agents passed.
    pub hops: u8,
    /// The broadcast flag.
    pub broadcast: bool,
    /// The magic cookie was there. Without it, the vendor area is not made of options (RFC 951), and neither is a reply's.
    pub has_options: bool,
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
    /// Relay agent information (option 82), whole; its sub-options by [`relay_agent`](Self::relay_agent).
    pub relay_agent_info: Option<&'a [u8]>,
    /// What the client's lease keeps of it, where the message came past the relay agent: see [`locate`](super::locate).
    pub recalled: Option<&'a [u8]>,
    /// What a relay agent's option 82 says of where the request belongs and the reply goes; nothing unless it was relayed, but
    /// the server identifier, which is recalled too.
    pub routing: Routing<'a>,
    /// The client would take a DHCPACK to its DHCPDISCOVER (option 80, RFC 4039).
    pub rapid_commit: bool,
    /// Auto-configure (option 116, RFC 2563).
    pub auto_configure: Option<u8>,
    /// Subnet selection (option 118, RFC 3011).
    pub subnet_selection: Option<Ipv4Addr>,
    /// Virtual subnet selection (option 221, RFC 6607): a type and an identifier.
    pub virtual_subnet: Option<&'a [u8]>,
    /// The client's system architectures (option 93, RFC 4578 2.1).
    pub architectures: Architectures,
    /// Client machine identifier (option 97, RFC 4578 2.3).
    pub machine_id: Option<&'a [u8]>,
    /// The whole message, for what reads other options than these: see [`options`](Self::options).
    pub message: &'a [u8],
}

/// A client's system architectures, in its order: the first eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Architectures {
    list: [u16; 8],
    len: u8,
}

impl Architectures {
    /// Of an option's data: numbers of 16 bits, one after the other.
    fn of(data: &[u8]) -> Self {
        let mut all = Self::default();
        for (place, pair) in all.list.iter_mut().zip(data.chunks_exact(2)) {
            *place = u16::from_be_bytes([pair[0], pair[1]]);
            all.len += 1;
        }
        all
    }

    /// Their numbers (IANA: Processor Architecture Types).
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.list.into_iter().take(self.len.into())
    }
}

impl<'a> Request<'a> {
    /// Reads a message (a UDP payload) in one pass over its options.
    ///
    /// An option that is read here and comes more than once is joined (RFC 3396), which takes two passes more and room in
    /// `scratch` for the data of all options; without room the message is refused.
    ///
    /// # Errors
    /// Why the message is dropped.
    pub fn parse(message: &'a [u8], destination: Ipv4Addr, scratch: &mut Scratch<'a>) -> Result<Self, DropReason> {
        let (header, has_options) = match Header::new_checked(message) {
            Ok(header) => (header, true),
            Err(HeaderError::BadCookie) => (Header::without_options(message)?, false),
            Err(error) => return Err(error.into()),
        };
        if header.op() != dhcp::BOOTREQUEST {
            return Err(DropReason::NotOurs);
        }
        let options = Options::new(header);
        let mut request = Self::without_options(&header, has_options, message, destination);
        if request.read_where_they_lie(options.clone()).is_none() {
            request = Self::without_options(&header, has_options, message, destination);
            request.read_joined(options, scratch).ok_or(DropReason::BadOption)?;
        }
        if !request.message_type.is_leasequery() {
            if request.hw.hlen == 0 && request.client_id.is_none() {
                return Err(DropReason::NoClientIdentity);
            }
            if is_nobodys_address(&request.hw) {
                return Err(DropReason::BadHwAddress);
            }
        }
        if let Some(data) = request.relay_agent_info.filter(|_| request.is_relayed()) {
            request.routing = RelayAgentInfo::new(data).routing();
        }
        Ok(request)
    }

    /// What the fixed part of a message says.
    fn without_options(header: &Header<'_>, has_options: bool, message: &'a [u8], destination: Ipv4Addr) -> Self {
        Self {
            message_type: MessageType::Bootp,
            xid: header.xid(),
            secs: header.secs(),
            hops: header.hops(),
            broadcast: header.broadcast(),
            has_options,
            ciaddr: header.ciaddr(),
            giaddr: header.giaddr(),
            destination,
            hw: HwAddress { htype: header.htype(), hlen: header.hlen(), chaddr: header.chaddr() },
            client_id: None,
            requested_address: None,
            server_id: None,
            lease_time_s: None,
            max_message_size: None,
            parameter_request_list: &[],
            relay_agent_info: None,
            recalled: None,
            routing: Routing::default(),
            rapid_commit: false,
            auto_configure: None,
            subnet_selection: None,
            virtual_subnet: None,
            architectures: Architectures::default(),
            machine_id: None,
            message,
        }
    }

    /// `None`: an option is malformed, has a length that its type forbids, or comes in parts.
    fn read_where_they_lie(&mut self, options: Options<'a>) -> Option<()> {
        for option in options {
            self.take(option.ok()?)?;
        }
        Some(())
    }

    /// `None`: an option is malformed, or has a length that its type forbids.
    #[cold]
    fn read_joined(&mut self, options: Options<'a>, scratch: &mut Scratch<'a>) -> Option<()> {
        let joined = Joined::new(options, scratch).ok()?;
        let of = |code| joined.get(code).map(|data| DhcpOption { code, data });
        for option in STRICT.into_iter().filter_map(of) {
            self.take(option)?;
        }
        for option in LENIENT.into_iter().filter_map(of) {
            let _ = self.take(option);
        }
        Some(())
    }

    /// Takes what an option says, of those that a server reads. `None`: it has another length than its type has, or was there
    /// already.
    fn take(&mut self, option: DhcpOption<'a>) -> Option<()> {
        match option.code {
            code::MESSAGE_TYPE => {
                let is_first = self.message_type == MessageType::Bootp;
                self.message_type = u8::from_be_bytes(option.array()?).into();
                is_first.then_some(())
            }
            code::REQUESTED_ADDRESS => once(&mut self.requested_address, Ipv4Addr::from(option.array::<4>()?)),
            code::SERVER_ID => once(&mut self.server_id, Ipv4Addr::from(option.array::<4>()?)),
            code::LEASE_TIME => once(&mut self.lease_time_s, u32::from_be_bytes(option.array()?)),
            code::MAX_MESSAGE_SIZE => once(&mut self.max_message_size, u16::from_be_bytes(option.array()?)),
            code::PARAMETER_REQUEST_LIST => {
                let is_first = self.parameter_request_list.is_empty();
                self.parameter_request_list = option.data;
                is_first.then_some(())
            }
            code::RELAY_AGENT_INFO => once(&mut self.relay_agent_info, option.data),
            code::CLIENT_ID if !CLIENT_ID_LEN.contains(&option.data.len()) => None,
            code::CLIENT_ID => once(&mut self.client_id, option.data),
            code::RAPID_COMMIT => option.data.is_empty().then(|| self.rapid_commit = true),
            code::AUTO_CONFIGURE => once(&mut self.auto_configure, u8::from_be_bytes(option.array()?)),
            code::SUBNET_SELECTION => once(&mut self.subnet_selection, Ipv4Addr::from(option.array::<4>()?)),
            code::VIRTUAL_SUBNET_SELECTION => once(&mut self.virtual_subnet, option.data),
            code::CLIENT_ARCHITECTURE => {
                // Half a number may be a part's, too.
                let is_whole = self.architectures.len == 0 && option.data.len().is_multiple_of(2);
                self.architectures = Architectures::of(option.data);
                is_whole.then_some(())
            }
            code::CLIENT_MACHINE_ID => once(&mut self.machine_id, option.data),
            _ => Some(()),
        }
    }

    /// All options as they lie in the message, each part of a long one for itself; joined by
    /// [`Joined`](crate::wire::options::Joined). None of a message without the magic cookie.
    pub fn options(&self) -> Option<Options<'a>> {
        Header::new_checked(self.message).ok().map(Options::new)
    }

    /// The sub-options of option 82 that count: of the one that came, if it is to be believed, else of the one that was
    /// recalled.
    pub fn relay_agent(&self) -> Option<RelayAgentInfo<'a>> {
        self.believed_agent_info().or(self.recalled).map(RelayAgentInfo::new)
    }

    /// What a lease is to keep of option 82: its sub-options, as many of the first ones as fit into 255 bytes.
    pub fn agent_info(&self) -> &'a [u8] {
        self.believed_agent_info().map_or(&[], |data| RelayAgentInfo::new(data).first(MAX_OPTION_DATA))
    }

    /// The option 82 that came, unless its client may have written it itself, as any that is routed to us can: then it would
    /// be whoever it says it is. It is echoed all the same (RFC 3046 2.2).
    fn believed_agent_info(&self) -> Option<&'a [u8]> {
        self.relay_agent_info.filter(|_| !is_past_relay_agents(self.giaddr, self.destination))
    }

    /// The address that the client says it has or wants: `ciaddr`, else option 50.
    pub fn claimed_address(&self) -> Option<Ipv4Addr> {
        if self.ciaddr.is_unspecified() { self.requested_address } else { Some(self.ciaddr) }
    }

    /// The client identifier, or nothing.
    pub fn client_id_bytes(&self) -> &'a [u8] {
        self.client_id.unwrap_or(&[])
    }

    /// What the client is known by beside its hardware address, where this identity counts.
    pub fn identifier(&self, identity: Identity) -> &'a [u8] {
        match identity {
            Identity::ClientId => self.client_id_bytes(),
            Identity::HwAddress => &[],
        }
    }

    /// Whether a relay agent sent it on.
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// Whether the client's list asks for an option.
    pub fn asks_for(&self, code: u8) -> bool {
        self.parameter_request_list.contains(&code)
    }
}

impl From<HeaderError> for DropReason {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::TooShort => Self::BootpTooShort,
            HeaderError::BadHlen => Self::BadHlen,
            HeaderError::BadCookie => Self::BadCookie,
        }
    }
}

/// Of the options that a server reads, those that a message must have in the form that their type has.
const STRICT: [u8; 8] = [
    code::MESSAGE_TYPE,
    code::CLIENT_ID,
    code::REQUESTED_ADDRESS,
    code::SERVER_ID,
    code::LEASE_TIME,
    code::MAX_MESSAGE_SIZE,
    code::PARAMETER_REQUEST_LIST,
    code::RELAY_AGENT_INFO,
];
/// Those that are left aside in another form.
const LENIENT: [u8; 6] = [
    code::RAPID_COMMIT,
    code::AUTO_CONFIGURE,
    code::SUBNET_SELECTION,
    code::VIRTUAL_SUBNET_SELECTION,
    code::CLIENT_ARCHITECTURE,
    code::CLIENT_MACHINE_ID,
];

/// Whether a message came by unicast and through no relay agent: routers carry it, and nobody on the way looked at its option 82.
pub fn is_past_relay_agents(giaddr: Ipv4Addr, destination: Ipv4Addr) -> bool {
    giaddr.is_unspecified() && !destination.is_broadcast()
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
