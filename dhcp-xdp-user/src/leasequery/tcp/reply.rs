//! Replies over TCP: a binding, the end of a query, how an active one does (RFC 6926 8.3, RFC 7724 5.2).

use std::net::Ipv4Addr;

use super::stream::frame;
use crate::{
    engine::Remembered,
    lease::{BindingState, HwAddress, Lease},
    leasequery::message::{Facts, Head, ReplyWriter},
    wire::{
        dhcp::MessageType,
        options::{Codes, code},
    },
};

/// Room for a reply: the fixed part, a client identifier, option 82, a dozen short options, and some of the configuration.
const MOST: u16 = 2048;
/// What is told to a requestor without a parameter request list: all that is known.
const ALL: [u8; 9] = [
    code::CLIENT_ID,
    code::LEASE_TIME,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::RELAY_AGENT_INFO,
    code::CLIENT_LAST_TRANSACTION_TIME,
    code::BASE_TIME,
    code::START_TIME_OF_STATE,
    code::DHCP_STATE,
];

/// Options of the message itself.
const OF_MESSAGES: [u8; 5] =
    [code::MESSAGE_TYPE, code::SERVER_ID, code::STATUS_CODE, code::OVERLOAD, code::VIRTUAL_SUBNET_SELECTION];

/// What replies repeat of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its transaction identifier.
    pub xid: u32,
    /// Its `giaddr`.
    pub giaddr: Ipv4Addr,
    /// Its parameter request list.
    pub wanted: Option<Codes>,
    /// Its message type.
    pub asked: MessageType,
}

impl Origin {
    /// Whether it is an active query's.
    pub(super) fn is_active(&self) -> bool {
        self.asked == MessageType::ActiveLeaseQuery
    }
}

/// Values of the status-code option (RFC 6926 6.2.2, RFC 7724 5.2.2). Success is told by having none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The query was ended before its time.
    QueryTerminated = 2,
    /// It was not understood.
    MalformedQuery = 3,
    /// It was understood and is not allowed.
    NotAllowed = 4,
    /// What was asked for is not known any more.
    DataMissing = 5,
    /// The connection is alive.
    ConnectionActive = 6,
    /// All that was asked for of the past was told.
    CatchUpComplete = 7,
    /// There is no TLS.
    TlsConnectionRefused = 8,
}

/// When the state of a lease began, as far as the table knows: a renewal hides when a lease was first bound.
pub(super) fn state_began(lease: &Lease) -> Option<u32> {
    match lease.state {
        BindingState::Free => None,
        BindingState::Bound | BindingState::Offered | BindingState::Declined => Some(lease.started_s),
        // Both are kept with the time at which it ended.
        BindingState::Released | BindingState::Expired => Some(lease.expires_s),
    }
}

/// The value of the dhcp-state option (RFC 6926 6.2.7). An offer is on its way from one state to another.
fn state_code(state: BindingState) -> u8 {
    match state {
        BindingState::Free => 1,
        BindingState::Bound => 2,
        BindingState::Expired => 3,
        BindingState::Released => 4,
        BindingState::Declined => 5,
        BindingState::Offered => 8,
    }
}

/// What else is known of a binding.
pub(super) struct Known<'a> {
    /// What its client was told.
    pub remembered: Option<&'a Remembered<'a>>,
    /// Its VPN, where it is in one.
    pub vpn: Option<&'a [u8]>,
    /// When an address that nobody had was free at the latest, seconds since 1970-01-01 UTC.
    pub free_since_s: u32,
}

/// Writes the replies to one query.
#[derive(Clone, Debug)]
pub(super) struct Replies {
    origin: Origin,
    wanted: Codes,
    /// Options of the configuration that are wanted.
    configured: Vec<u8>,
    /// The server identifier, until it was told: it is in the first reply and in no other (RFC 6926 8.3).
    server_id: Option<Ipv4Addr>,
}

impl Replies {
    /// Of a query that came to this address. `tellable` are the options of the configuration that may be told, `withhold` is
    /// told to nobody.
    pub fn new(origin: Origin, server_id: Ipv4Addr, tellable: &Codes, withhold: &Codes) -> Self {
        let may_tell = |code: &u8| !withhold.contains(*code);
        let asks_for = |code: &u8| origin.wanted.is_some_and(|codes| codes.contains(*code));
        let known = ALL.into_iter().filter(|code| origin.wanted.is_none() || asks_for(code)).filter(may_tell);
        let is_own = |code: &u8| ALL.contains(code) || OF_MESSAGES.contains(code);
        let configured = (1..=254).filter(|code| tellable.contains(*code) && asks_for(code) && !is_own(code));
        Self {
            origin,
            wanted: Codes::of(&known.collect::<Vec<_>>()),
            configured: configured.filter(may_tell).collect(),
            server_id: Some(server_id),
        }
    }

    /// The query's transaction identifier.
    pub fn xid(&self) -> u32 {
        self.origin.xid
    }

    /// A binding, or an address that nobody has.
    pub fn binding(&mut self, out: &mut Vec<u8>, facts: &Facts<'_>, known: &Known<'_>) {
        let Known { remembered, vpn, free_since_s } = *known;
        let binding = facts.binding;
        // Who was offered an address has nothing to do with it yet.
        let has_client = !matches!(binding.state, BindingState::Free | BindingState::Offered);
        let is_active = binding.state == BindingState::Bound;
        let message_type = if is_active { MessageType::LeaseActive } else { MessageType::LeaseUnassigned };
        let hw = if has_client { binding.hw } else { HwAddress::default() };
        let head = Head { ciaddr: binding.address, hw, ..self.head(message_type) };
        let server_id = self.server_id.take();
        let began_s = state_began(&binding.lease()).unwrap_or(free_since_s);
        frame(out, MOST, |buffer| {
            let mut reply = ReplyWriter::begin(buffer, &head)?;
            if let Some(address) = server_id {
                reply.address(code::SERVER_ID, address);
            }
            // "A VPN-ID option MUST appear in the packet" (RFC 6926 8.2).
            if let Some(vpn) = vpn {
                reply.option(code::VIRTUAL_SUBNET_SELECTION, vpn);
            }
            // Asked for or not: without it no other time makes sense.
            reply.number(code::BASE_TIME, facts.now_s);
            if self.wanted.contains(code::DHCP_STATE) {
                reply.option(code::DHCP_STATE, &[state_code(binding.state)]);
            }
            if self.wanted.contains(code::START_TIME_OF_STATE) {
                reply.number(code::START_TIME_OF_STATE, facts.now_s.saturating_sub(began_s));
            }
            if has_client {
                reply.lease(facts, |code| self.wanted.contains(code));
            } else if binding.state == BindingState::Offered && self.wanted.contains(code::LEASE_TIME) {
                reply.number(code::LEASE_TIME, binding.expires_s.saturating_sub(facts.now_s));
            }
            if is_active {
                for blob in self.configured.iter().filter_map(|code| remembered?.option(*code)) {
                    reply.option(blob.code, &blob.data);
                }
            }
            Some(reply.finish())
        });
    }

    /// The end of a bulk query; without a status it succeeded.
    pub fn done(&mut self, out: &mut Vec<u8>, status: Option<(Status, &str)>) {
        self.short(out, MessageType::LeaseQueryDone, None, status);
    }

    /// How an active query does, at a time in seconds since 1970-01-01 UTC.
    pub fn status(&mut self, out: &mut Vec<u8>, base_s: u32, status: Status, text: &str) {
        self.short(out, MessageType::LeaseQueryStatus, Some(base_s), Some((status, text)));
    }

    /// There is no TLS here (RFC 7724 8.1).
    pub fn tls_refused(&mut self, out: &mut Vec<u8>) {
        let refused = (Status::TlsConnectionRefused, "this server has no TLS");
        self.short(out, MessageType::Tls, None, Some(refused));
    }

    /// Ends the query for this reason, in the message that its kind ends with.
    pub fn end(&mut self, out: &mut Vec<u8>, base_s: u32, status: Status, text: &str) {
        match self.origin.asked {
            MessageType::ActiveLeaseQuery => self.status(out, base_s, status, text),
            _ => self.done(out, Some((status, text))),
        }
    }

    fn short(&mut self, out: &mut Vec<u8>, kind: MessageType, base_s: Option<u32>, status: Option<(Status, &str)>) {
        let head = self.head(kind);
        let server_id = self.server_id.take();
        frame(out, MOST, |buffer| {
            let mut reply = ReplyWriter::begin(buffer, &head)?;
            if let Some(address) = server_id {
                reply.address(code::SERVER_ID, address);
            }
            if let Some(base_s) = base_s {
                reply.number(code::BASE_TIME, base_s);
            }
            if let Some((status, text)) = status {
                let mut data = vec![status as u8];
                data.extend(text.bytes().take(254));
                reply.option(code::STATUS_CODE, &data);
            }
            Some(reply.finish())
        });
    }

    fn head(&self, message_type: MessageType) -> Head {
        Head {
            message_type,
            xid: self.origin.xid,
            giaddr: self.origin.giaddr,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            hw: HwAddress::default(),
        }
    }
}
