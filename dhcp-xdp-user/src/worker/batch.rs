//! A batch of frames in, a disposition for each out: parse, decide, journal, craft in place. No socket, no clock.
//!
//! Called by the ring loop and by tests with plain memory. All frames are parsed, and all their leases brought into the cache,
//! before the first decision. It allocates nothing after [`Processor::new`].
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
    lease::{AgentInfo, Bound, ClientKey, Kept, Lease, LeaseTable, LimitKey, Space},
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
};

/// Most frames of a batch.
pub const BATCH: usize = 64;

/// How long an ACK may wait for the disk, seconds; its client asks again after 4 (RFC 2131 4.1).
const PARKED_AT_MOST_S: u32 = 10;

/// Bytes that replies echo of their requests, in the middle of a batch: client identifier, parameter request list, relay agent
/// information, virtual subnet, machine identifier. One may need more, all together may not.
const ECHO: usize = 5 * 255;

/// Scratch memory of a batch for options that come in parts (RFC 3396). A batch that needs more is an attack; what does not
/// fit is refused.
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
    /// What the replies of a batch echo; they are written over the requests that it came in. Never grows.
    echoes: Vec<u8>,
    /// Options of the replies of a batch that were computed. Never grows; without any in the configuration it has no room.
    computed: Vec<u8>,
    /// What requests of a batch have in parts, joined.
    scratch: Box<[u8]>,
    /// What is recalled of the relay agents of a batch's clients.
    recalled: Box<[u8]>,
    /// Answers queries about leases, where the configuration has them answered.
    answerer: Option<Answerer>,
}

/// What a frame holds: all slices are into it.
enum Read<'a> {
    /// A client's request.
    Client(Parsed<'a>),
    /// A query about leases.
    Query(Datagram, Request<'a>),
}

/// A client's request, before its lease is looked at.
struct Parsed<'a> {
    datagram: Datagram,
    request: Request<'a>,
    client: ClientAt,
    vlans: [Option<u16>; 2],
}

/// A client's request with all that its decision is made from.
struct Located<'r, 'a> {
    datagram: &'r Datagram,
    request: &'r Request<'a>,
    place: Place,
    vlans: [Option<u16>; 2],
    classes: Classified,
}

/// A reply to craft, without a borrow of its frame.
struct Answer {
    datagram: Datagram,
    /// The request without its slices, which lie in `Processor::echoes`.
    request: Request<'static>,
    client_id: Option<Range<usize>>,
    parameter_request_list: Range<usize>,
    relay_agent_info: Option<Range<usize>>,
    virtual_subnet: Option<Range<usize>>,
    machine_id: Option<Range<usize>>,
    told: Told,
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
        let echoes = Vec::with_capacity(BATCH * ECHO);
        let computed = Vec::with_capacity(if config.computes_options() { BATCH * engine::MAX_COMPUTED } else { 0 });
        let [scratch, recalled] = [SCRATCH, RECALLED].map(|len| vec![0; len].into_boxed_slice());
        Self {
            config,
            leases,
            recorder,
            port,
            port_generation,
            shared_port,
            counters,
            recent: None,
            echoes,
            computed,
            scratch,
            recalled,
            answerer: None,
        }
    }

    /// Has queries about leases answered, where the configuration says who may ask.
    pub fn with_leasequery(mut self, index: Arc<Index>) -> Self {
        self.answerer = self.config.leasequery.as_ref().map(|_| Answerer::new(index, &self.config));
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
        let mut answers = ArrayVec::new();
        self.decide_all(now_s, frames, &mut answers);
        for (frame, answer) in frames.iter_mut().zip(&answers) {
            let disposition = match answer {
                Ok(answer) => self.craft(now_s, frame, answer),
                Err(reason) => Disposition::Drop(*reason),
            };
            if let Disposition::Drop(reason) = disposition {
                self.counters.dropped(reason);
            }
            out.push(disposition);
        }
    }

    /// Parses all frames, has the leases of all brought into the cache, then decides about all.
    fn decide_all(
        &mut self,
        now_s: u32,
        frames: &[Frame<'_>],
        answers: &mut ArrayVec<Result<Answer, DropReason>, BATCH>,
    ) {
        // Lent to the requests, which live as long as this call.
        let mut memory = [std::mem::take(&mut self.scratch), std::mem::take(&mut self.recalled)];
        self.decide_in(memory.each_mut().map(|memory| Scratch::new(memory)), now_s, frames, answers);
        self.recorder.flush();
        [self.scratch, self.recalled] = memory;
    }

    fn decide_in<'f>(
        &mut self,
        [mut scratch, mut recalled]: [Scratch<'f>; 2],
        now_s: u32,
        frames: &'f [Frame<'_>],
        answers: &mut ArrayVec<Result<Answer, DropReason>, BATCH>,
    ) {
        let mut parsed: ArrayVec<Result<Read<'_>, DropReason>, BATCH> = ArrayVec::new();
        for frame in frames {
            parsed.push(self.parse(frame, &mut scratch));
        }
        self.leases.prefetch(parsed.iter().flatten().filter_map(Read::key));
        self.echoes.clear();
        self.computed.clear();
        // In their places: a request is too large to be moved about.
        for read in &mut parsed {
            answers.push(match read {
                Ok(Read::Client(parsed)) => self.decide(now_s, parsed, &mut recalled),
                Ok(Read::Query(datagram, request)) => self.admit(now_s, datagram, request),
                Err(reason) => Err(*reason),
            });
        }
    }

    fn parse<'f>(&self, frame: &'f Frame<'_>, scratch: &mut Scratch<'f>) -> Result<Read<'f>, DropReason> {
        let bytes = frame.buffer.get(..frame.len).ok_or(DropReason::Truncated)?;
        let datagram = Datagram::new_checked(bytes, Role::Server, self.config.verify_udp_checksum)?;
        let request = Request::parse(datagram.payload(bytes), datagram.destination, scratch)?;
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
        if request.message_type == MessageType::LeaseQuery {
            return Ok(Read::Query(datagram, request));
        }
        let vlans = datagram.vlans(bytes);
        let client = engine::client_of(&request, &ingress(&self.port, &datagram, vlans), &self.config, &self.leases)?;
        Ok(Read::Client(Parsed { datagram, request, client, vlans }))
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

    /// Decides and journals. A message that may change a binding is refused while the journal has no room: the table must
    /// not run ahead of it.
    fn decide<'f>(
        &mut self,
        now_s: u32,
        parsed: &mut Parsed<'f>,
        recalled: &mut Scratch<'f>,
    ) -> Result<Answer, DropReason> {
        let Parsed { datagram, request, client, vlans } = parsed;
        let ingress = ingress(&self.port, datagram, *vlans);
        let place = engine::locate(request, *client, &ingress, now_s, &self.config, &self.leases, recalled)?;
        let classes = self.classify(request, *vlans, &place);
        let read = &Located { datagram, request, place, vlans: *vlans, classes };
        let Located { datagram, request, place, classes, .. } = read;
        let changes_nothing = match request.message_type {
            MessageType::Discover => !request.rapid_commit || !self.commits_rapidly(place.subnet),
            message_type => message_type == MessageType::Inform,
        };
        if !changes_nothing && !self.recorder.has_room() {
            return Err(DropReason::JournalFull);
        }
        self.expect_room(request)?;
        let decision = engine::decide_at(place, request, classes, &ingress, now_s, &self.config, &self.leases);
        self.recorder.decided(place, classes, &decision);
        let (reply, wait) = match decision {
            Decision::Reply(reply) => (reply, None),
            Decision::Commit(reply, bound) => {
                let ticket = self.commit(&bound, read)?.filter(|_| self.recorder.parks());
                // What the client is told, not what the table holds.
                let told_s = now_s.saturating_add(PARKED_AT_MOST_S.min(reply.lease_time_s.unwrap_or(PARKED_AT_MOST_S)));
                let until_s = told_s.min(bound.lease.expires_s);
                self.remember(&bound.lease, place, now_s);
                (reply, ticket.map(|ticket| (ticket, until_s)))
            }
            Decision::Record(ended, reason) => {
                self.record(&ended.lease, read, &[], &ended.freed)?;
                return Err(reason);
            }
            Decision::Drop(reason) => return Err(reason),
        };
        let probe = reply.probe.then(|| ClientTag::from(&place.key));
        let computed = self.compute(read, &reply);
        Ok(self.answer(datagram, request, Told::Client { reply, computed, wait, probe }))
    }

    /// Whether a query about leases is answered; what the answer is, is looked up when it is written.
    fn admit(&mut self, now_s: u32, datagram: &Datagram, request: &Request<'_>) -> Result<Answer, DropReason> {
        let (Some(answerer), Some(settings)) = (&mut self.answerer, &self.config.leasequery) else {
            return Err(DropReason::UnexpectedMessageType);
        };
        answerer.admit(request, datagram.source, now_s, settings)?;
        let source = answerer.source(datagram.destination, &self.port.addresses)?;
        self.expect_room(request)?;
        Ok(self.answer(datagram, request, Told::Querier(source)))
    }

    /// Whether what a reply echoes of its request has room beyond the frame.
    fn expect_room(&self, request: &Request<'_>) -> Result<(), DropReason> {
        let has_room = self.echoes.capacity() - self.echoes.len() >= echo_len(request);
        if has_room { Ok(()) } else { Err(DropReason::ReplyTooLong) }
    }

    /// A reply to craft: what it echoes of its request is kept. The caller has seen that there is room.
    #[inline(always)] // Out of line, it is moved once more.
    fn answer(&mut self, datagram: &Datagram, request: &Request<'_>, told: Told) -> Answer {
        let virtual_subnet = match told {
            Told::Client { .. } => engine::virtual_subnet_echo(request, &self.config),
            Told::Querier(_) => request.virtual_subnet,
        };
        Answer {
            datagram: *datagram,
            client_id: request.client_id.map(|bytes| self.save(bytes)),
            parameter_request_list: self.save(request.parameter_request_list),
            relay_agent_info: request.relay_agent_info.map(|bytes| self.save_relay_agent_info(bytes, request)),
            virtual_subnet: virtual_subnet.map(|bytes| self.save(bytes)),
            machine_id: request.machine_id.map(|bytes| self.save(bytes)),
            request: request.detached(),
            told,
        }
    }

    /// Computes the options of a reply that are computed, where the configuration has any.
    fn compute(&mut self, read: &Located<'_, '_>, reply: &Reply) -> Range<usize> {
        let start = self.computed.len();
        // Each reply has its room.
        if self.computed.capacity() - start >= engine::MAX_COMPUTED {
            let Located { request, place, vlans, classes, .. } = read;
            let known = place.reservation.is_some();
            if let Some(packet) = packet_of(request, &self.port, *vlans, known) {
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
    fn commit(&mut self, bound: &Bound, read: &Located<'_, '_>) -> Result<Option<Ticket>, DropReason> {
        if !bound.must_record && self.recorder.is_settled(bound.stamp) {
            return Ok(None);
        }
        // The lease first: should a crash keep one of the two records only, the client has both addresses until they
        // expire, and nobody else gets the one that it may still use.
        let limits = self.leases.limit_keys(&bound.lease);
        let mut ticket = self.record(&bound.lease, read, &limits, &bound.freed)?;
        self.leases.stamp(&bound.lease, self.recorder.stamp(ticket));
        if let Some(released) = bound.released {
            ticket = self.record(&released, read, &[], &bound.freed_by_leaving)?;
        }
        Ok(Some(ticket))
    }

    /// Journals a change. Should that fail in spite of the room that there was, no reply leaves, and the client's next try
    /// is recorded again. (What would have become free stays taken: on the disk it is.)
    fn record(
        &mut self,
        lease: &Lease,
        read: &Located<'_, '_>,
        limits: &[LimitKey],
        freed: &[LimitKey],
    ) -> Result<Ticket, DropReason> {
        let identifier = read.request.identifier(read.place.identity);
        let known = if self.leases.has_agent_info() { self.leases.agent_info(lease) } else { Some(AgentInfo::new()) };
        let agent_info = known.as_deref().unwrap_or_else(|| read.request.agent_info());
        let kept = Kept { limits, agent_info, freed };
        let submitted = self.recorder.submit(lease, &read.request.hw, identifier, kept);
        submitted.map_err(|LaneFull| DropReason::JournalFull)
    }

    /// Keeps option 82 for the reply: whole, but for what RFC 6607 has a server take out.
    fn save_relay_agent_info(&mut self, bytes: &[u8], request: &Request<'_>) -> Range<usize> {
        if !engine::takes_out_vss_control(request, &self.config) {
            return self.save(bytes);
        }
        let start = self.echoes.len();
        for (code, data) in RelayAgentInfo::new(bytes).iter().filter(|(code, _)| *code != sub::VIRTUAL_SUBNET_CONTROL) {
            // A sub-option's length is a byte.
            self.echoes.extend_from_slice(&[code, data.len() as u8]);
            self.echoes.extend_from_slice(data);
        }
        start..self.echoes.len()
    }

    /// Keeps bytes of a request beyond the frame that its reply is written into. The caller has seen that there is room.
    fn save(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.echoes.len();
        self.echoes.extend_from_slice(bytes);
        start..self.echoes.len()
    }

    /// Writes the reply over its request.
    fn craft(&self, now_s: u32, frame: &mut Frame<'_>, answer: &Answer) -> Disposition {
        let written = match &answer.told {
            Told::Client { reply, computed, .. } => {
                let written = self.write(frame, answer, reply, computed.clone());
                written.map(|len| (reply.message_type, len)).ok_or(DropReason::ReplyTooLong)
            }
            Told::Querier(source) => self.tell(now_s, frame, answer, *source),
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
        match &answer.told {
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

    /// The request of an answer, with what was kept of it.
    #[inline(always)] // Out of line, it is copied once more.
    fn request_of(&self, answer: &Answer) -> Request<'_> {
        Request {
            client_id: answer.client_id.clone().map(|range| &self.echoes[range]),
            parameter_request_list: &self.echoes[answer.parameter_request_list.clone()],
            relay_agent_info: answer.relay_agent_info.clone().map(|range| &self.echoes[range]),
            virtual_subnet: answer.virtual_subnet.clone().map(|range| &self.echoes[range]),
            machine_id: answer.machine_id.clone().map(|range| &self.echoes[range]),
            ..answer.request
        }
    }

    /// Where a reply's message may lie in its frame.
    fn room(&self, frame: &Frame<'_>, datagram: &Datagram) -> Range<usize> {
        let start = datagram.reply_offset();
        start..frame.buffer.len().min(start + self.port.mtu.saturating_sub(REPLY_IP_UDP_LEN))
    }

    fn write(&self, frame: &mut Frame<'_>, answer: &Answer, reply: &Reply, computed: Range<usize>) -> Option<usize> {
        let datagram = &answer.datagram;
        let request = self.request_of(answer);
        let subnet = self.config.subnets.get(usize::from(reply.subnet))?;
        let room = self.room(frame, datagram);
        let computed = engine::Computed::new(&self.computed[computed]);
        let len = engine::write_reply(&request, reply, computed, &self.config, frame.buffer.get_mut(room)?)?;
        let envelope = engine::envelope(&request, reply, subnet, datagram, self.port.mac);
        link::seal(frame.buffer, datagram.ipv4_offset(), &envelope, len)
    }

    /// Writes the answer to a query about leases over it.
    fn tell(
        &self,
        now_s: u32,
        frame: &mut Frame<'_>,
        answer: &Answer,
        source: Ipv4Addr,
    ) -> Result<(MessageType, usize), DropReason> {
        let datagram = &answer.datagram;
        let request = self.request_of(answer);
        let answerer = self.answerer.as_ref().ok_or(DropReason::UnexpectedMessageType)?;
        let room = self.room(frame, datagram);
        let message = frame.buffer.get_mut(room).ok_or(DropReason::ReplyTooLong)?;
        let (config, leases) = (&*self.config, &*self.leases);
        let question = Question { request: &request, source, now_s, config, leases };
        let (message_type, len) = answerer.write(&question, message)?;
        let envelope = engine::envelope_to_relay(&request, source, datagram, self.port.mac);
        let len = link::seal(frame.buffer, datagram.ipv4_offset(), &envelope, len).ok_or(DropReason::ReplyTooLong)?;
        Ok((message_type, len))
    }
}

impl Read<'_> {
    /// Whose lease a decision will look at.
    fn key(&self) -> Option<&ClientKey> {
        match self {
            Self::Client(parsed) => Some(&parsed.client.key),
            Self::Query(..) => None,
        }
    }
}

/// The most bytes that a request's reply may echo of it.
fn echo_len(request: &Request<'_>) -> usize {
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    len(request.client_id)
        + request.parameter_request_list.len()
        + len(request.relay_agent_info)
        + len(request.virtual_subnet)
        + len(request.machine_id)
}

/// What expressions see of a request.
fn packet_of<'a>(request: &Request<'a>, port: &'a Port, vlans: [Option<u16>; 2], known: bool) -> Option<Packet<'a>> {
    Packet::new(request.message, &port.name, request.destination, vlans, known, request.recalled)
}

fn ingress<'a>(port: &'a Port, datagram: &Datagram, vlans: [Option<u16>; 2]) -> Ingress<'a> {
    let (interface, ethernet_source) = (port.interface, datagram.ethernet_source);
    Ingress { interface, name: &port.name, addresses: &port.addresses, vlans, ethernet_source }
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
