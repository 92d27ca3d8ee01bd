//! What a configuration makes of a message, and why: `dhcp-xdp check --explain`.
//!
//! A message goes through the worker's own [`Processor`], whose recorder keeps what was decided in place of a journal. What is
//! said of it is read from that decision, from the engine's own functions and from the configuration: there is no second set
//! of rules here that could tell another story. Nothing is written anywhere; the lease table is one in memory. The command line alone
//! calls it.

mod reply;
mod story;
mod table;
#[cfg(test)]
mod tests;
mod why;

use std::{cell::RefCell, net::Ipv4Addr, rc::Rc, sync::Arc};

use arrayvec::ArrayVec;
use dhcp_xdp_ebpf::Role;

pub use story::{
    Address, Asked, Class, Dropped, LeaseTime, OptionSent, Pool, Reply, Reservation, Setting, Story, Subnet,
};
pub use table::{TableError, lease_table};

use crate::{
    class::{ClassSet, Packet},
    config::Config,
    engine::{self, Classified, Decision, Ingress, Place, Request},
    journal::{LaneFull, Ticket},
    lease::{BindingState, HwAddress, Kept, Lease, LeaseTable, LimitKey},
    wire::{link::Datagram, options::Scratch},
    worker::{
        batch::{BATCH, Disposition, Frame, Processor, Recorder},
        counters::{Counters, DropReason},
        port::{Port, SharedPort},
    },
};

/// Room of a frame: what a UMEM chunk has.
const CHUNK: usize = 4096;

/// What a processor decided and would have recorded.
#[derive(Debug, Default)]
struct Seen {
    decided: Option<(Place, Classified, Decision)>,
    records: Vec<Lease>,
    /// Places under lease limits that its records free.
    freed: Vec<LimitKey>,
}

/// A journal that keeps nothing: no reply waits for it.
#[derive(Debug, Default)]
struct Watch(Rc<RefCell<Seen>>);

impl Recorder for Watch {
    fn submit(&mut self, lease: &Lease, _: &HwAddress, _: &[u8], kept: Kept<'_>) -> Result<Ticket, LaneFull> {
        let mut seen = self.0.borrow_mut();
        seen.records.push(*lease);
        seen.freed.extend_from_slice(kept.freed);
        Ok(Ticket::default())
    }
    fn decided(&mut self, place: &Place, classes: &Classified, decision: &Decision) {
        self.0.borrow_mut().decided = Some((*place, classes.clone(), decision.clone()));
    }
}

/// A server in memory that says why it answers as it does.
pub struct Explainer {
    config: Arc<Config>,
    leases: Arc<LeaseTable>,
    port: Port,
    processor: Processor<Watch>,
    seen: Rc<RefCell<Seen>>,
}

/// All that is known of one message while its story is told.
struct Telling<'a> {
    config: &'a Config,
    leases: &'a LeaseTable,
    request: &'a Request<'a>,
    ingress: Ingress<'a>,
    /// What the client had before.
    had: Option<Lease>,
    place: Option<Place>,
    classes: Classified,
    packet: Option<Packet<'a>>,
}

impl Explainer {
    /// One with these leases, whose messages come in on this port.
    pub fn new(config: Arc<Config>, leases: LeaseTable, port: Port) -> Self {
        let (leases, seen) = (Arc::new(leases), Rc::default());
        let shared = Arc::new(SharedPort::new(port.clone()));
        let watch = Watch(Rc::clone(&seen));
        let processor = Processor::new(config.clone(), leases.clone(), watch, shared, Arc::new(Counters::default()));
        Self { config, leases, port, processor, seen }
    }

    /// What becomes of a frame at a time, and why. Its client has afterwards what it was given.
    pub fn explain(&mut self, now_s: u32, frame: &[u8]) -> Story {
        self.leases.expire(now_s, usize::MAX);
        // Its options, joined, and what is recalled of option 82.
        let mut memory = vec![0; frame.len() + CHUNK];
        let mut scratch = Scratch::new(&mut memory);
        let read = Datagram::new_checked(frame, Role::Server, self.config.verify_udp_checksum)
            .map_err(DropReason::from)
            .and_then(|datagram| {
                let mut request = Request::parse(datagram.payload(frame), datagram.destination, &mut scratch)?;
                let (ingress, config, leases) = (self.ingress(&datagram, frame), &*self.config, &*self.leases);
                let client = engine::client_of(&request, &ingress, config, leases).ok();
                let place = client.and_then(|client| {
                    engine::locate(&mut request, client, &ingress, now_s, config, leases, &mut scratch).ok()
                });
                Ok((datagram, request, place))
            });
        let place = read.as_ref().ok().and_then(|(.., place)| *place);
        let had = place.and_then(|place| self.leases.find(&place.key, now_s));
        let (disposition, buffer) = self.process(now_s, frame);
        let Seen { decided, records, freed } = std::mem::take(&mut *self.seen.borrow_mut());
        self.leases.free(&freed);
        let Ok((datagram, request, _)) = &read else {
            // What cannot be read is dropped; nothing is known of it.
            let reason = if let Disposition::Drop(reason) = disposition { reason } else { DropReason::BadOption };
            return Story { dropped: Some(Dropped::new(reason, None)), ..Story::default() };
        };
        let (place, classes, decision) = match decided {
            Some((place, classes, decision)) => (Some(place), classes, Some(decision)),
            None => (place, Classified::default(), None),
        };
        let ingress = self.ingress(datagram, frame);
        let known = place.is_some_and(|place| place.reservation.is_some());
        let packet =
            Packet::new(request.message, &self.port.name, datagram.destination, ingress.vlans, known, request.recalled);
        let (config, leases) = (&*self.config, &*self.leases);
        let telling = Telling { config, leases, request, ingress, had, place, classes, packet };
        telling.story(disposition, &buffer, decision, &records)
    }

    fn ingress(&self, datagram: &Datagram, frame: &[u8]) -> Ingress<'_> {
        let Port { interface, name, addresses, .. } = &self.port;
        let &Datagram { ethernet_source, source, .. } = datagram;
        Ingress { interface: *interface, name, addresses, vlans: datagram.vlans(frame), ethernet_source, source }
    }

    /// What the worker makes of it, and the frame as it is afterwards.
    fn process(&mut self, now_s: u32, frame: &[u8]) -> (Disposition, Vec<u8>) {
        let mut buffer = frame.to_vec();
        buffer.resize(CHUNK.max(frame.len()), 0);
        let mut out: ArrayVec<Disposition, BATCH> = ArrayVec::new();
        let mut batch = [Frame { buffer: &mut buffer, len: frame.len() }];
        self.processor.process(now_s, &mut batch, &mut out);
        // One frame, one disposition.
        (out.first().copied().unwrap_or(Disposition::Drop(DropReason::NotOurs)), buffer)
    }
}

impl Telling<'_> {
    fn story(&self, disposition: Disposition, buffer: &[u8], decision: Option<Decision>, records: &[Lease]) -> Story {
        let mut story = Story {
            asked: Some(self.asked()),
            subnet: self.subnet(),
            classes: self.class_list(),
            reservation: self.place.map(|place| self.reservation(&place)),
            pools: if self.gives_address() { self.pools() } else { Vec::new() },
            ..Story::default()
        };
        let reply = match decision {
            Some(Decision::Reply(reply) | Decision::Commit(reply, _)) => Some(reply),
            _ => None,
        };
        match disposition {
            Disposition::Send { len } | Disposition::Park { len, .. } | Disposition::Probe { len, .. } => {
                story.reply = reply.and_then(|reply| self.reply(&reply, buffer.get(..len)?));
            }
            Disposition::Drop(reason) => story.dropped = Some(Dropped::new(reason, self.otherwise(reason))),
        }
        story.changes = records.iter().map(why::change).collect();
        story
    }

    /// Whether an address is sought for the client.
    fn gives_address(&self) -> bool {
        use crate::wire::dhcp::MessageType::{Bootp, Discover, Request};
        self.place.is_some() && matches!(self.request.message_type, Discover | Request | Bootp)
    }

    fn is_known(&self) -> bool {
        self.place.is_some_and(|place| place.reservation.is_some())
    }

    fn members(&self) -> &ClassSet {
        &self.classes.members
    }

    fn had(&self, address: Ipv4Addr) -> Option<BindingState> {
        self.had.filter(|lease| lease.address == address).map(|lease| lease.state)
    }
}
