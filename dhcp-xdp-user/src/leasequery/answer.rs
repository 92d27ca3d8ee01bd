//! The answer to a query over UDP (RFC 4388 6.3 and 6.4, RFC 6148 4): who may ask, how often, and what is told.
//!
//! `worker::batch` calls it: [`Answerer::admit`] when the query is read, [`Answerer::write`] when its frame is free to be
//! written to. It allocates nothing and waits for nobody.

use std::{cell::Cell, net::Ipv4Addr, sync::Arc};

use arrayvec::ArrayVec;

use super::{
    index::{Found, Index, MOST_FOUND, Value},
    message::{Facts, Head, ReplyWriter},
};
use crate::{
    config::{Config, LeaseQuery},
    engine::{DEFAULT_MESSAGE_SIZE, DropReason, PROTOCOL_OPTIONS, Remembered, Request},
    lease::{Binding, BindingState, HwAddress, LeaseTable, Space, SpacedAddress},
    wire::{
        dhcp::MessageType,
        link::REPLY_IP_UDP_LEN,
        options::{Codes, code},
    },
};

/// What a DHCPACK tells unasked (RFC 2131 4.3.1), and so an answer to a query without a parameter request list.
const UNASKED: [u8; 3] = [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME];

/// Options that an answer takes from the binding, beside those of the protocol: never from the configuration.
const OWN: [u8; 2] = [code::CLIENT_LAST_TRANSACTION_TIME, code::ASSOCIATED_IP];

/// Leases that may be looked at for one query; one that needs more counts as several.
const LOOKS_A_QUERY: u32 = 8;

/// A query's one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Query<'a> {
    Address(Ipv4Addr),
    Value(Value<'a>),
}

/// What there is to tell.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack: a box would be an allocation")]
enum Told {
    /// DHCPLEASEACTIVE, with all addresses of the client; of a query by address there is but that one.
    Active(Binding, ArrayVec<Ipv4Addr, MOST_FOUND>),
    /// DHCPLEASEUNASSIGNED
    Unassigned(Ipv4Addr),
    /// DHCPLEASEUNKNOWN
    Unknown,
}

/// A query and what its answer is made of.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The query.
    pub request: &'a Request<'a>,
    /// Where the answer comes from, of [`Answerer::source`].
    pub source: Ipv4Addr,
    /// The present, seconds since 1970-01-01 UTC.
    pub now_s: u32,
    /// The configuration.
    pub config: &'a Config,
    /// The leases.
    pub leases: &'a LeaseTable,
}

/// One worker's answers.
#[derive(Debug)]
pub struct Answerer {
    index: Arc<Index>,
    /// Queries may come in on the worker's interface.
    is_allowed_here: bool,
    /// The second that `left` is of.
    second: u32,
    left: Cell<u32>,
    /// All server identifiers of the configuration, sorted.
    server_ids: Box<[Ipv4Addr]>,
}

impl Answerer {
    /// For one worker, of the interface that the kernel calls so.
    pub fn new(index: Arc<Index>, config: &Config, interface: &str) -> Self {
        let is_allowed_here = config.leasequery.as_ref().is_some_and(|settings| settings.allows_on(interface));
        let mut server_ids: Vec<Ipv4Addr> = config.subnets.iter().filter_map(|subnet| subnet.server_id).collect();
        server_ids.sort_unstable();
        server_ids.dedup();
        Self { index, is_allowed_here, second: 0, left: Cell::new(0), server_ids: server_ids.into_boxed_slice() }
    }

    /// Whether a query is to be answered: `source` is where its datagram came from.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &mut self,
        request: &Request<'_>,
        source: Ipv4Addr,
        now_s: u32,
        config: &LeaseQuery,
    ) -> Result<(), DropReason> {
        // Who may not ask takes nothing from those who may.
        if !self.is_allowed_here {
            return Err(DropReason::LeaseQueryInterface);
        }
        if !config.allows(source) || !config.allows(request.giaddr) {
            return Err(DropReason::LeaseQueryNotAllowed);
        }
        let query = query_of(request).ok_or(DropReason::LeaseQueryMalformed)?;
        if matches!(query, Query::Value(_)) && !self.index.is_whole() {
            return Err(DropReason::LeaseQueryNotReady);
        }
        if self.second != now_s {
            self.second = now_s;
            self.left.set(config.queries_per_s);
        }
        self.left.set(self.left.get().checked_sub(1).ok_or(DropReason::LeaseQueryRate)?);
        Ok(())
    }

    /// The address that an answer comes from: the one that was asked, where that is ours alone.
    ///
    /// # Errors
    /// There is none.
    pub fn source(&self, destination: Ipv4Addr, addresses: &[Ipv4Addr]) -> Result<Ipv4Addr, DropReason> {
        if addresses.contains(&destination) || self.server_ids.binary_search(&destination).is_ok() {
            return Ok(destination);
        }
        addresses.first().or(self.server_ids.first()).copied().ok_or(DropReason::NoServerId)
    }

    /// Writes the answer to a query that was admitted into `message`, whose length is the most that the frame can carry. Returns
    /// its type and length.
    ///
    /// # Errors
    /// [`DropReason::Contended`], [`DropReason::ReplyTooLong`].
    pub fn write(&self, question: &Question<'_>, message: &mut [u8]) -> Result<(MessageType, usize), DropReason> {
        let Question { request, now_s, config, leases, .. } = *question;
        let query = query_of(request).ok_or(DropReason::LeaseQueryMalformed)?;
        let told = match space_of(request, config) {
            Some(space) => self.find(&query, space, now_s, leases)?,
            None => Told::Unknown,
        };
        let size = request.max_message_size.unwrap_or(0).max(DEFAULT_MESSAGE_SIZE);
        let limit = (usize::from(size) - REPLY_IP_UDP_LEN).min(message.len());
        let message = message.get_mut(..limit).ok_or(DropReason::ReplyTooLong)?;
        let (message_type, ciaddr, hw) = match &told {
            Told::Active(binding, _) => (MessageType::LeaseActive, binding.address, binding.hw),
            Told::Unassigned(address) => (MessageType::LeaseUnassigned, *address, HwAddress::default()),
            Told::Unknown => (MessageType::LeaseUnknown, request.ciaddr, request.hw),
        };
        let head = Head { message_type, xid: request.xid, giaddr: request.giaddr, ciaddr, hw };
        let mut reply = ReplyWriter::begin(message, &head).ok_or(DropReason::ReplyTooLong)?;
        // RFC 6607: a copy of the option, where it was acted on.
        let vpn = request.virtual_subnet.filter(|_| !config.subnets.vrfs().is_empty());
        if let (Some(vpn), Told::Active(..) | Told::Unassigned(_)) = (vpn, &told) {
            reply.option(code::VIRTUAL_SUBNET_SELECTION, vpn);
        }
        match &told {
            Told::Active(binding, associated) => {
                question.tell(binding, associated, &mut reply);
            }
            // RFC 4388 6.4.2: "No other options are returned".
            Told::Unassigned(_) => {}
            // RFC 6148 4.3: "the DHCP server MUST echo the option 82"; of any other query nothing (RFC 4388 6.4).
            Told::Unknown => {
                if let (Query::Value(Value::RemoteId(_)), Some(data)) = (query, request.relay_agent_info) {
                    reply.relay_agent_info(data);
                }
            }
        }
        Ok((message_type, reply.finish()))
    }

    fn find(&self, query: &Query<'_>, space: Space, now_s: u32, leases: &LeaseTable) -> Result<Told, DropReason> {
        let contended = |_| DropReason::Contended;
        let is_active = |binding: &Binding| binding.state == BindingState::Bound;
        let value = match query {
            Query::Address(address) => {
                let Some(slot) = leases.slot_of(SpacedAddress::new(space, *address)) else { return Ok(Told::Unknown) };
                let binding = leases.try_binding_at(slot, now_s).map_err(contended)?.filter(is_active);
                return Ok(binding.map_or(Told::Unassigned(*address), |one| Told::Active(one, ArrayVec::new())));
            }
            Query::Value(value) => value,
        };
        let Found { slots, is_cut } = self.index.find(space, value).map_err(contended)?;
        // Who asks for much asks seldom.
        self.left.set(self.left.get().saturating_sub(slots.len() as u32 / LOOKS_A_QUERY));
        let mut latest: Option<Binding> = None;
        let mut addresses = ArrayVec::new();
        for slot in slots {
            let binding = leases.try_binding_at(slot, now_s).map_err(contended)?;
            let is_it = |binding: &Binding| is_active(binding) && binding.space == space && value.is_of(binding);
            let Some(binding) = binding.filter(is_it) else { continue };
            // No more slots than there is room for.
            let _ = addresses.try_push(binding.address);
            let when = |binding: &Binding| (binding.started_s, binding.address);
            if latest.as_ref().is_none_or(|latest| when(latest) < when(&binding)) {
                latest = Some(binding);
            }
        }
        // "Unknown" would be believed, and one may be among those that were not looked at.
        if latest.is_none() && is_cut {
            return Err(DropReason::LeaseQueryTooMany);
        }
        addresses.sort_unstable();
        Ok(latest.map_or(Told::Unknown, |binding| Told::Active(binding, addresses)))
    }
}

/// The address space that a query is about: that of the VPN that it names (RFC 6607), else the one outside of all. `None`: there is
/// no such VPN here.
fn space_of(request: &Request<'_>, config: &Config) -> Option<Space> {
    let vrfs = config.subnets.vrfs();
    let by_relay = || request.relay_agent()?.routing().virtual_subnet;
    match request.virtual_subnet.or_else(by_relay).filter(|_| !vrfs.is_empty()) {
        Some(vpn) => vrfs.selected(vpn),
        None => Some(Space::GLOBAL),
    }
}

/// What a query asks; `None`: it lacks a giaddr, or does not name exactly one thing (RFC 4388 6.3). A remote identifier beside
/// something else does not count (RFC 6148 5).
fn query_of<'a>(request: &'a Request<'_>) -> Option<Query<'a>> {
    let address = Some(request.ciaddr).filter(|address| !address.is_unspecified());
    let hw = Some(&request.hw).filter(|hw| hw.bytes().iter().any(|byte| *byte != 0));
    let agent = request.relay_agent();
    let remote_id = agent.and_then(|agent| agent.remote_id()).filter(|id| !id.is_empty());
    let query = match (address, hw, request.client_id, remote_id) {
        (Some(address), None, None, _) => Query::Address(address),
        (None, Some(hw), None, _) => Query::Value(Value::HwAddress(hw)),
        (None, None, Some(id), _) => Query::Value(Value::ClientId(id)),
        (None, None, None, Some(id)) => Query::Value(Value::RemoteId(id)),
        _ => return None,
    };
    (!request.giaddr.is_unspecified()).then_some(query)
}

impl Question<'_> {
    /// The options of a DHCPLEASEACTIVE (RFC 4388 6.4.2).
    fn tell<'b>(&self, binding: &'b Binding, associated: &'b [Ipv4Addr], reply: &mut ReplyWriter<'_, 'b>) {
        let Self { request, source, now_s, config, leases } = *self;
        let list = request.parameter_request_list;
        let (asked, unasked) = (Codes::of(list), Codes::of(&UNASKED));
        let remembered = Remembered::of(binding, config);
        let server_id = remembered.as_ref().and_then(Remembered::server_id).unwrap_or(source);
        reply.address(code::SERVER_ID, server_id);
        let info = &binding.agent_info;
        let facts = Facts {
            binding,
            now_s,
            renewal_s: remembered.as_ref().and_then(|remembered| remembered.renewal_s(binding, leases)),
            associated,
            relay_agent_info: (!info.is_empty()).then_some(info),
        };
        reply.lease(&facts, |code| if list.is_empty() { unasked.contains(code) } else { asked.contains(code) });
        let (Some(remembered), Some(settings)) = (remembered, &config.leasequery) else { return };
        let mut done = PROTOCOL_OPTIONS;
        for code in OWN {
            done.insert(code);
        }
        let mut tell = |code: u8, data: &[u8]| {
            if settings.options.contains(code) && done.insert(code) {
                reply.option(code, data);
            }
        };
        if list.is_empty() {
            remembered.always().for_each(|blob| tell(blob.code, &blob.data));
        }
        for blob in list.iter().filter_map(|code| remembered.option(*code)) {
            tell(blob.code, &blob.data);
        }
    }
}
