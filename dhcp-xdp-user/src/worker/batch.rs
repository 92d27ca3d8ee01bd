//! A batch of frames in, a disposition for each out: parse, decide, journal, craft in place. No socket, no clock.
//!
//! Called by the ring loop and by tests with plain memory. All frames are parsed, and all their leases brought into the cache,
//! before the first decision; all is decided, and handed to the journal, before the first reply is written. A request is read
//! from a copy of its message, because its reply is written over the message itself. It allocates nothing after
//! [`Processor::new`].
//!
//! Who counts what: a frame is counted `received` here, a `Drop` is counted under its reason here, messages are counted here
//! (a reply when it is crafted). `sent` and `parked` belong to the ring loop, as do drops that it decides on
//! ([`DropReason::ParkingFull`], [`DropReason::TxFull`]): only it knows what reached a ring.

mod recorder;

use std::{net::Ipv4Addr, ops::Range, sync::Arc};

use arrayvec::ArrayVec;
use dhcp_xdp_ebpf::Role;

pub use self::recorder::Recorder;
use super::{
    counters::{Counters, DropReason, Message, Notice},
    port::{Port, SharedPort},
};
use crate::{
    class::{ClassSet, Packet},
    config::Config,
    engine::{self, Classified, ClientAt, Decision, Ingress, Place, Reply, Request},
    journal::{LaneFull, Ticket},
    lease::{AgentInfo, Bound, Kept, Lease, LeaseTable, LimitKey, Space},
    leasequery::{
        answer::{Answerer, Question},
        index::Index,
    },
    ping::{ClientTag, Recent},
    wire::{
        dhcp::MessageType,
        link::{self, Datagram, LinkError, REPLY_IP_UDP_LEN},
        options::{MAX_OPTION_DATA, Scratch},
        relay::{RelayAgentInfo, sub},
    },
    xsk,
};

/// Most frames of a batch.
pub const BATCH: usize = 64;

/// How long an ACK may wait for the disk, seconds; its client asks again after 4 (RFC 2131 4.1).
const PARKED_AT_MOST_S: u32 = 10;

/// Memory for the messages of a batch: none is longer than a chunk. What a caller with larger frames has beyond that is refused.
const MESSAGES: usize = BATCH * xsk::CHUNK_LEN as usize;

/// For options that come in parts (RFC 3396), and for what a reply has of option 82 where that is not all of it. A batch that
/// needs more is an attack; what does not fit is refused.
const SCRATCH: usize = 64 * 1024;

/// And for what leases keep of option 82.
const RECALLED: usize = BATCH * MAX_OPTION_DATA;

/// A frame in its UMEM chunk.
pub struct Frame<'a> {
    /// From the first byte of the packet to the end of the chunk: a reply may be longer than its request.
    pub buffer: &'a mut [u8],
    /// Bytes of it that were received.
    pub len: usize,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The frame now holds a reply of this length: send it.
    Send {
        /// Bytes from the start of the buffer.
        len: usize,
    },
    /// As `Send`, once the lane says that the ticket is durable.
    Park {
        /// Bytes from the start of the buffer.
        len: usize,
        /// What it waits for.
        ticket: Ticket,
        /// From then on it must not leave any more, seconds since 1970-01-01 UTC: the lease that it grants is over, or its
        /// client has long asked again and the later ACK is the one that counts.
        until_s: u32,
    },
    /// As `Send`, once a probe has shown that nobody uses the address that it offers; it may not be due, or not possible.
    Probe {
        /// Bytes from the start of the buffer.
        len: usize,
        /// The address.
        address: Ipv4Addr,
        /// Whom it is offered to.
        client: ClientTag,
    },
    /// The frame is free. Counted already.
    Drop(DropReason),
}

/// One worker's way from frames to dispositions.
pub struct Processor<R> {
    config: Arc<Config>,
    leases: Arc<LeaseTable>,
    recorder: R,
    /// A copy of `shared_port`, of its generation `port_generation`.
    port: Port,
    port_generation: u64,
    shared_port: Arc<SharedPort>,
    counters: Arc<Counters>,
    /// Where a subnet has its addresses probed.
    recent: Option<Arc<Recent>>,
    /// Options of the replies of a batch that were computed. Never grows; without any in the configuration it has no room.
    computed: Vec<u8>,
    /// What the requests of a batch are slices of: [`MESSAGES`], [`SCRATCH`] and [`RECALLED`] bytes.
    memory: [Box<[u8]>; 3],
    /// Answers queries about leases, where the configuration has them answered.
    answerer: Option<Answerer>,
}

/// Where the requests of a batch put what they are slices of.
struct Memory<'m> {
    messages: Scratch<'m>,
    scratch: Scratch<'m>,
    recalled: Scratch<'m>,
}

/// A frame's request, before any lease is looked at.
struct Parsed<'m> {
    datagram: Datagram,
    request: Request<'m>,
    vlans: [Option<u16>; 2],
    /// None of a query about leases.
    client: Option<ClientAt>,
}

/// What a reply is made of.
enum Told {
    /// A decision.
    Client {
        reply: Reply,
        /// Of `Processor::computed`.
        computed: Range<usize>,
        /// What the reply waits for, and until when.
        wait: Option<(Ticket, u32)>,
        /// For whom the address of the reply is probed first.
        probe: Option<ClientTag>,
    },
    /// What the lease table says when the reply is written: of a query, whose answer comes from this address.
    Querier(Ipv4Addr),
}

impl<R: Recorder> Processor<R> {
    /// A processor; all that it will ever need is allocated now.
    pub fn new(
        config: Arc<Config>,
        leases: Arc<LeaseTable>,
        recorder: R,
        shared_port: Arc<SharedPort>,
        counters: Arc<Counters>,
    ) -> Self {
        let (port_generation, port) = shared_port.get();
        let computed = Vec::with_capacity(if config.computes_options() { BATCH * engine::MAX_COMPUTED } else { 0 });
        let memory = [MESSAGES, SCRATCH, RECALLED].map(|len| vec![0; len].into_boxed_slice());
        Self {
            config,
            leases,
            recorder,
            port,
            port_generation,
            shared_port,
            counters,
            recent: None,
            computed,
            memory,
            answerer: None,
        }
    }

    /// Has queries about leases answered, where the configuration says who may ask.
    pub fn with_leasequery(mut self, index: Arc<Index>) -> Self {
        self.answerer = self.config.leasequery.as_ref().map(|_| Answerer::new(index, &self.config, &self.port.name));
        self
    }

    /// Tells the ping check which addresses clients are given.
    pub fn remember_in(&mut self, recent: Arc<Recent>) {
        self.recent = Some(recent);
    }

    /// Somebody answered at an address that was to be offered: it is quarantined as after a DECLINE. The reason for which its
    /// OFFER is dropped.
    pub fn found_in_use(&mut self, now_s: u32, address: Ipv4Addr) -> DropReason {
        if !self.recorder.has_room() {
            // The table must not run ahead of the journal: the address is probed again for the next one.
            return DropReason::JournalFull;
        }
        let offered = self.leases.get(address, now_s);
        let until_s = now_s.saturating_add(self.config.decline_quarantine_s);
        let declined = self.leases.decline_offered(address, until_s, now_s);
        // Else it is bound meanwhile, by the client that answered; or free, and probed for the next one.
        if let (Some(ended), Some(offered)) = (declined, offered) {
            let kept = Kept { limits: &[], agent_info: &offered.agent_info, freed: &ended.freed };
            let submitted = self.recorder.submit(&ended.lease, &offered.hw, &offered.client_id, kept);
            self.recorder.flush();
            if submitted.is_err() {
                return DropReason::JournalFull;
            }
        }
        DropReason::AddressInUse
    }

    /// The recorder: the ring loop asks its lane what is durable.
    pub fn recorder(&self) -> &R {
        &self.recorder
    }

    /// The recorder back, for stopping.
    pub fn into_recorder(self) -> R {
        self.recorder
    }

    /// Processes up to [`BATCH`] frames; `out` gets one disposition for each, in their order. Frames beyond that are left
    /// alone and get none: a caller hands over no more. `now_s` is seconds since 1970-01-01 UTC.
    pub fn process(&mut self, now_s: u32, frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>) {
        debug_assert!(frames.len() <= BATCH, "a batch of {}", frames.len());
        out.clear();
        let count = frames.len().min(BATCH);
        let frames = &mut frames[..count];
        if self.shared_port.generation() != self.port_generation {
            (self.port_generation, self.port) = self.shared_port.get();
        }
        self.counters.received(count as u64);
        // Lent to the requests, which live as long as this call.
        let mut memory = std::mem::take(&mut self.memory);
        self.process_in(memory.each_mut().map(|memory| Scratch::new(memory)), now_s, frames, out);
        self.memory = memory;
    }

    fn process_in<'m>(
        &mut self,
        [messages, scratch, recalled]: [Scratch<'m>; 3],
        now_s: u32,
        frames: &mut [Frame<'_>],
        out: &mut ArrayVec<Disposition, BATCH>,
    ) {
        let mut memory = Memory { messages, scratch, recalled };
        let mut parsed: ArrayVec<Result<Parsed<'m>, DropReason>, BATCH> = ArrayVec::new();
        for frame in &*frames {
            parsed.push(self.parse(frame, &mut memory));
        }
        self.leases.prefetch(parsed.iter().flatten().filter_map(|parsed| Some(&parsed.client.as_ref()?.key)));
        self.computed.clear();
        // In their places: a request is too large to be moved about.
        let mut told: ArrayVec<Result<Told, DropReason>, BATCH> = ArrayVec::new();
        for parsed in &mut parsed {
            told.push(match parsed {
                Ok(parsed) => self.decide(now_s, parsed, &mut memory),
                Err(reason) => Err(*reason),
            });
        }
        self.recorder.flush();
        for ((frame, parsed), told) in frames.iter_mut().zip(&parsed).zip(&told) {
            let disposition = match (parsed, told) {
                (Ok(parsed), Ok(told)) => self.craft(now_s, frame, parsed, told),
                (Err(reason), _) | (_, Err(reason)) => Disposition::Drop(*reason),
            };
            if let Disposition::Drop(reason) = disposition {
                self.counters.dropped(reason);
            }
            out.push(disposition);
        }
    }

    fn parse<'m>(&self, frame: &Frame<'_>, memory: &mut Memory<'m>) -> Result<Parsed<'m>, DropReason> {
        let bytes = frame.buffer.get(..frame.len).ok_or(DropReason::Truncated)?;
        let datagram = Datagram::new_checked(bytes, Role::Server, self.config.verify_udp_checksum)?;
        let message = memory.messages.keep(datagram.payload(bytes)).ok_or(DropReason::ReplyTooLong)?;
        let request = Request::parse(message, datagram.destination, &mut memory.scratch)?;
        let mut parsed = Parsed { vlans: datagram.vlans(bytes), datagram, request, client: None };
        let Parsed { datagram, request, vlans, client } = &mut parsed;
        self.counters.message(match request.message_type {
            MessageType::Discover => Message::Discover,
            MessageType::Request => Message::Request,
            MessageType::Decline => Message::Decline,
            MessageType::Release => Message::Release,
            MessageType::Inform => Message::Inform,
            MessageType::Bootp => Message::Bootp,
            MessageType::LeaseQuery if self.answerer.is_some() => Message::LeaseQuery,
            _ => return Err(DropReason::UnexpectedMessageType),
        });
        // A frame that could not hold its reply is refused before anything is changed for it.
        let least = usize::from(engine::DEFAULT_MESSAGE_SIZE);
        if frame.buffer.len() < datagram.ipv4_offset() + least || self.port.mtu < least {
            return Err(DropReason::ReplyTooLong);
        }
        if request.message_type != MessageType::LeaseQuery {
            *client =
                Some(engine::client_of(request, &ingress(&self.port, datagram, *vlans), &self.config, &self.leases)?);
        }
        Ok(parsed)
    }

    /// The classes of a message, where the configuration has any.
    fn classify(&self, request: &Request<'_>, vlans: [Option<u16>; 2], place: &Place) -> Classified {
        if self.config.classes.compiled.is_empty() {
            return Classified::default();
        }
        let reservation = place.reservation.and_then(|number| self.config.reservations.get(number));
        let Some(packet) = packet_of(request, &self.port, vlans, reservation.is_some()) else {
            return Classified::default();
        };
        let reserved = reservation.map_or(&ClassSet::EMPTY, |reservation| &reservation.classes);
        Classified::new(&packet, reserved, &self.config)
    }

    /// Decides about a request; from then on it has of option 82 what its reply has.
    fn decide<'m>(
        &mut self,
        now_s: u32,
        Parsed { datagram, request, vlans, client }: &mut Parsed<'m>,
        memory: &mut Memory<'m>,
    ) -> Result<Told, DropReason> {
        let Some(client) = client else {
            let told = self.admit(now_s, datagram, request)?;
            request.relay_agent_info = self.echoed_agent_info(request, &mut memory.scratch)?;
            return Ok(told);
        };
        let ingress = ingress(&self.port, datagram, *vlans);
        let recalled = &mut memory.recalled;
        let place = engine::locate(request, *client, &ingress, now_s, &self.config, &self.leases, recalled)?;
        let echoed = self.echoed_agent_info(request, &mut memory.scratch)?;
        let told = self.decide_at(now_s, datagram, request, *vlans, &place)?;
        request.relay_agent_info = echoed;
        Ok(told)
    }

    /// Decides about a client's request and journals. One that may change a binding is refused while the journal has no room: the
    /// table must not run ahead of it.
    fn decide_at(
        &mut self,
        now_s: u32,
        datagram: &Datagram,
        request: &Request<'_>,
        vlans: [Option<u16>; 2],
        place: &Place,
    ) -> Result<Told, DropReason> {
        let classes = &self.classify(request, vlans, place);
        let changes_nothing = match request.message_type {
            MessageType::Discover => !request.rapid_commit || !self.commits_rapidly(place.subnet),
            message_type => message_type == MessageType::Inform,
        };
        if !changes_nothing && !self.recorder.has_room() {
            return Err(DropReason::JournalFull);
        }
        let ingress = ingress(&self.port, datagram, vlans);
        let decision = engine::decide_at(place, request, classes, &ingress, now_s, &self.config, &self.leases);
        self.recorder.decided(place, classes, &decision);
        let (reply, wait) = match decision {
            Decision::Reply(reply) => (reply, None),
            Decision::Commit(reply, bound) => {
                let ticket = self.commit(&bound, request, place)?.filter(|_| self.recorder.parks());
                // What the client is told, not what the table holds.
                let told_s = now_s.saturating_add(PARKED_AT_MOST_S.min(reply.lease_time_s.unwrap_or(PARKED_AT_MOST_S)));
                let until_s = told_s.min(bound.lease.expires_s);
                self.remember(&bound.lease, place, now_s);
                (reply, ticket.map(|ticket| (ticket, until_s)))
            }
            Decision::Record(ended, reason) => {
                self.record(&ended.lease, request, place, &[], &ended.freed)?;
                return Err(reason);
            }
            Decision::Drop(reason) => return Err(reason),
        };
        let probe = reply.probe.then(|| ClientTag::from(&place.key));
        let computed = self.compute(request, vlans, place, classes, &reply);
        Ok(Told::Client { reply, computed, wait, probe })
    }

    /// Whether a query about leases is answered; what the answer is, is looked up when it is written.
    fn admit(&mut self, now_s: u32, datagram: &Datagram, request: &Request<'_>) -> Result<Told, DropReason> {
        let (Some(answerer), Some(settings)) = (&mut self.answerer, &self.config.leasequery) else {
            return Err(DropReason::UnexpectedMessageType);
        };
        answerer.admit(request, datagram.source, now_s, settings)?;
        Ok(Told::Querier(answerer.source(datagram.destination, &self.port.addresses)?))
    }

    /// Option 82 as a reply has it: whole, but for what RFC 6607 has a server take out.
    fn echoed_agent_info<'m>(
        &self,
        request: &Request<'m>,
        memory: &mut Scratch<'m>,
    ) -> Result<Option<&'m [u8]>, DropReason> {
        let Some(whole) = request.relay_agent_info.filter(|_| engine::takes_out_vss_control(request, &self.config))
        else {
            return Ok(request.relay_agent_info);
        };
        let rest = RelayAgentInfo::new(whole).without(sub::VIRTUAL_SUBNET_CONTROL);
        memory.keep_all(rest).map(Some).ok_or(DropReason::ReplyTooLong)
    }

    /// Computes the options of a reply that are computed, where the configuration has any.
    fn compute(
        &mut self,
        request: &Request<'_>,
        vlans: [Option<u16>; 2],
        place: &Place,
        classes: &Classified,
        reply: &Reply,
    ) -> Range<usize> {
        let start = self.computed.len();
        // Each reply has its room.
        if self.computed.capacity() - start >= engine::MAX_COMPUTED {
            let known = place.reservation.is_some();
            if let Some(packet) = packet_of(request, &self.port, vlans, known) {
                engine::compute(request, reply, &packet, &classes.members, &self.config, &mut self.computed);
            }
        }
        start..self.computed.len()
    }

    /// Tells the ping check, where there is one, who has an address now.
    fn remember(&self, lease: &Lease, place: &Place, now_s: u32) {
        // None of a VPN is probed.
        if let Some(recent) = self.recent.as_ref().filter(|_| lease.space == Space::GLOBAL) {
            recent.given(lease.address, ClientTag::from(&place.key), now_s);
        }
    }

    /// Whether a subnet of this one's network may bind an address at once.
    fn commits_rapidly(&self, subnet: u16) -> bool {
        let subnets = &self.config.subnets;
        let network = subnets.network(subnet).iter();
        network.filter_map(|subnet| subnets.get(usize::from(*subnet))).any(|subnet| subnet.rapid_commit)
    }

    /// Journals what a binding changed, unless it changed nothing and the record that covers it is on the disk; the ticket to
    /// wait for.
    fn commit(&mut self, bound: &Bound, request: &Request<'_>, place: &Place) -> Result<Option<Ticket>, DropReason> {
        if !bound.must_record && self.recorder.is_settled(bound.stamp) {
            return Ok(None);
        }
        // The lease first: should a crash keep one of the two records only, the client has both addresses until they
        // expire, and nobody else gets the one that it may still use.
        let limits = self.leases.limit_keys(&bound.lease);
        let mut ticket = self.record(&bound.lease, request, place, &limits, &bound.freed)?;
        self.leases.stamp(&bound.lease, self.recorder.stamp(ticket));
        if let Some(released) = bound.released {
            ticket = self.record(&released, request, place, &[], &bound.freed_by_leaving)?;
        }
        Ok(Some(ticket))
    }

    /// Journals a change. Should that fail in spite of the room that there was, no reply leaves, and the client's next try
    /// is recorded again. (What would have become free stays taken: on the disk it is.)
    fn record(
        &mut self,
        lease: &Lease,
        request: &Request<'_>,
        place: &Place,
        limits: &[LimitKey],
        freed: &[LimitKey],
    ) -> Result<Ticket, DropReason> {
        let known = if self.leases.has_agent_info() { self.leases.agent_info(lease) } else { Some(AgentInfo::new()) };
        let agent_info = known.as_deref().unwrap_or_else(|| request.agent_info());
        let kept = Kept { limits, agent_info, freed };
        let submitted = self.recorder.submit(lease, &request.hw, request.identifier(place.identity), kept);
        submitted.map_err(|LaneFull| DropReason::JournalFull)
    }

    /// Writes the reply over its request.
    fn craft(&self, now_s: u32, frame: &mut Frame<'_>, parsed: &Parsed<'_>, told: &Told) -> Disposition {
        let written = match told {
            Told::Client { reply, computed, .. } => {
                let written = self.write(frame, parsed, reply, computed.clone());
                written.map(|len| (reply.message_type, len)).ok_or(DropReason::ReplyTooLong)
            }
            Told::Querier(source) => self.tell(now_s, frame, parsed, *source),
        };
        let (message_type, len) = match written {
            Ok(written) => written,
            Err(reason) => return Disposition::Drop(reason),
        };
        self.counters.message(match message_type {
            MessageType::Offer => Message::Offer,
            MessageType::Nak => Message::Nak,
            MessageType::Bootp => Message::BootpReply,
            MessageType::LeaseActive => Message::LeaseActive,
            MessageType::LeaseUnassigned => Message::LeaseUnassigned,
            MessageType::LeaseUnknown => Message::LeaseUnknown,
            _ => Message::Ack,
        });
        match told {
            Told::Client { reply, wait, probe, .. } => {
                if reply.reserved_in_use {
                    self.counters.notice(Notice::ReservedInUse);
                }
                match (*wait, *probe) {
                    (Some((ticket, until_s)), _) => Disposition::Park { len, ticket, until_s },
                    (None, Some(client)) => Disposition::Probe { len, address: reply.your_address, client },
                    (None, None) => Disposition::Send { len },
                }
            }
            Told::Querier(_) => Disposition::Send { len },
        }
    }

    /// Where a reply's message may lie in its frame.
    fn room(&self, frame: &Frame<'_>, datagram: &Datagram) -> Range<usize> {
        let start = datagram.reply_offset();
        start..frame.buffer.len().min(start + self.port.mtu.saturating_sub(REPLY_IP_UDP_LEN))
    }

    fn write(
        &self,
        frame: &mut Frame<'_>,
        Parsed { datagram, request, .. }: &Parsed<'_>,
        reply: &Reply,
        computed: Range<usize>,
    ) -> Option<usize> {
        let subnet = self.config.subnets.get(usize::from(reply.subnet))?;
        let room = self.room(frame, datagram);
        let computed = engine::Computed::new(&self.computed[computed]);
        let len = engine::write_reply(request, reply, computed, &self.config, frame.buffer.get_mut(room)?)?;
        let envelope = engine::envelope(request, reply, subnet, datagram, self.port.mac);
        link::seal(frame.buffer, datagram.ipv4_offset(), &envelope, len)
    }

    /// Writes the answer to a query about leases over it.
    fn tell(
        &self,
        now_s: u32,
        frame: &mut Frame<'_>,
        Parsed { datagram, request, .. }: &Parsed<'_>,
        source: Ipv4Addr,
    ) -> Result<(MessageType, usize), DropReason> {
        let answerer = self.answerer.as_ref().ok_or(DropReason::UnexpectedMessageType)?;
        let room = self.room(frame, datagram);
        let message = frame.buffer.get_mut(room).ok_or(DropReason::ReplyTooLong)?;
        let (config, leases) = (&*self.config, &*self.leases);
        let question = Question { request, source, now_s, config, leases };
        let (message_type, len) = answerer.write(&question, message)?;
        let envelope = engine::envelope_to_relay(request, source, datagram, self.port.mac);
        let len = link::seal(frame.buffer, datagram.ipv4_offset(), &envelope, len).ok_or(DropReason::ReplyTooLong)?;
        Ok((message_type, len))
    }
}

/// What expressions see of a request.
fn packet_of<'a>(request: &Request<'a>, port: &'a Port, vlans: [Option<u16>; 2], known: bool) -> Option<Packet<'a>> {
    Packet::new(request.message, &port.name, request.destination, vlans, known, request.recalled)
}

fn ingress<'a>(port: &'a Port, datagram: &Datagram, vlans: [Option<u16>; 2]) -> Ingress<'a> {
    let &Datagram { ethernet_source, source, .. } = datagram;
    let Port { interface, name, addresses, .. } = port;
    Ingress { interface: *interface, name, addresses, vlans, ethernet_source, source }
}

impl From<LinkError> for DropReason {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Truncated => Self::Truncated,
            LinkError::BadIpChecksum => Self::BadIpChecksum,
            LinkError::BadUdpLength => Self::BadUdpLength,
            LinkError::BadUdpChecksum => Self::BadUdpChecksum,
            LinkError::NotOurs => Self::NotOurs,
        }
    }
}

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod covered;
#[cfg(test)]
mod tests;
