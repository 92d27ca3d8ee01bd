//! The decision: RFC 2131 4.3, one function a message type, one a client state.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    Classified, Decision, DropReason, Ingress, Overlays, Place, Reply, Request, TimeFrom,
    subnet::{is_attached, server_id, virtual_subnet_echo},
};
use crate::{
    config::{Access, Config, LeaseTimes, Reservation, Subnet, UnknownRenewals},
    lease::{
        BindError, BindingState, Bound, Client, ClientKey, Contended, Lease, LeaseTable, OfferError, Space,
        SpacedAddress,
    },
    wire::{dhcp::MessageType, options::code},
};

/// Option 51's "for ever" (RFC 2131 3.3), and the table's "never".
const FOREVER: u32 = u32::MAX;

const NOTE_WRONG_NETWORK: &str = "requested address is not on this network";
const NOTE_WRONG_ADDRESS: &str = "requested address is not the client's";
const NOTE_UNAVAILABLE: &str = "requested address is not available";
const NOTE_LIMITED: &str = "as many leases as allowed here are in use";
const NOTE_UNKNOWN: &str = "client is unknown";

/// The decision about a request whose place is known. A function of its parameters and the table alone; what it changes in
/// the table is in the decision that it returns, except an offer's hold, which is never journaled.
pub fn decide_at(
    place: &Place,
    request: &Request<'_>,
    classes: &Classified,
    ingress: &Ingress<'_>,
    now_s: u32,
    config: &Config,
    leases: &LeaseTable,
) -> Decision {
    let Some(subnet) = config.subnets.get(usize::from(place.subnet)) else {
        return Decision::Drop(DropReason::NoSubnet);
    };
    let is_known = place.reservation.is_some();
    if let Some(reason) = classes.refusal(request.message_type, config, config.subnets.network(place.subnet), is_known)
    {
        return Decision::Drop(reason);
    }
    let reservation = place.reservation.and_then(|number| config.reservations.get(number));
    let case = Case { place, request, classes, ingress, now_s, config, subnet, leases, reservation };
    match request.message_type {
        MessageType::Discover => case.discover(),
        MessageType::Request => case.request(),
        MessageType::Decline => case.decline(),
        MessageType::Release => case.release(),
        MessageType::Inform => case.inform(),
        MessageType::Bootp => case.bootp(),
        // What only servers send, what asks of others' leases, what nobody knows.
        _ => Decision::Drop(DropReason::UnexpectedMessageType),
    }
}

/// One request and all that its decision is made from.
struct Case<'a> {
    place: &'a Place,
    request: &'a Request<'a>,
    classes: &'a Classified,
    ingress: &'a Ingress<'a>,
    now_s: u32,
    config: &'a Config,
    subnet: &'a Subnet,
    leases: &'a LeaseTable,
    reservation: Option<&'a Reservation>,
}

/// An address for a client that asks for one.
struct Found {
    address: Ipv4Addr,
    /// One is reserved for the client, and somebody else has it still.
    reserved_in_use: bool,
    /// See [`Reply::probe`].
    probe: bool,
}

impl<'a> Case<'a> {
    /// 4.3.1: an OFFER, of the client's present or previous address, else the one that it asks for, else the next free one.
    ///
    /// The lease time offered is the one that an ACK would now grant, also to a client that has a lease already: 4.3.1
    /// would have what is left of that lease, which its ACK, a fresh one, would then contradict.
    fn discover(&self) -> Decision {
        if self.request.secs < self.subnet.min_secs {
            return Decision::Drop(DropReason::TooEarly);
        }
        if self.subnet.ipv6_only && self.request.asks_for(code::IPV6_ONLY_PREFERRED) {
            // RFC 8925 3.3: such a client is offered 0.0.0.0, and no address is held for it.
            // One that knows of auto-configuration is not to take a link-local address in its place, unless so configured.
            let may = self.request.auto_configure.map(|_| self.subnet.auto_configure.unwrap_or(false));
            return Decision::Reply(Reply { auto_configure: may, ..self.reply(MessageType::Offer) });
        }
        if self.leases.is_limited(&self.client(), self.now_s) {
            return Decision::Drop(DropReason::LeaseLimit);
        }
        match self.address_to_offer(self.request.requested_address.filter(|address| self.is_near(*address))) {
            // An address that is probed first is offered: there is nothing to be committed yet.
            Ok(found) if self.home_of(found.address).1.rapid_commit && self.request.rapid_commit && !found.probe => {
                self.commit_rapidly(found.address)
            }
            Ok(Found { address, reserved_in_use, probe }) => {
                let offer = self.granting(MessageType::Offer, address, self.lease_time(address));
                Decision::Reply(Reply { reserved_in_use, probe, ..offer })
            }
            Err(OfferError::Exhausted) => self.no_address(),
            Err(OfferError::Contended) => Decision::Drop(DropReason::Contended),
            Err(OfferError::ClientIdRoom) => Decision::Drop(DropReason::ClientIdRoom),
        }
    }

    /// The address that a client which asks for one is to have: the one that is reserved for it, which nobody else can take and
    /// which need not be held; else one that is held for it, out of the subnets of its network in their order.
    fn address_to_offer(&self, wanted: Option<Ipv4Addr>) -> Result<Found, OfferError> {
        let reserved = self.reserved_address();
        if let Some(address) = reserved
            && self.is_free(address).map_err(|Contended| OfferError::Contended)?
        {
            // Whoever answers there has it from elsewhere, and its operator says that it is this client's.
            return Ok(Found { address, reserved_in_use: false, probe: false });
        }
        let wanted = wanted.filter(|address| self.admits(*address));
        let offer = |is_apart: bool| self.groups().map(move |group| self.hold(group, wanted, is_apart));
        let fits = |offered: &Result<Lease, OfferError>| !matches!(offered, Err(OfferError::Exhausted));
        let mut offered = offer(false).find(fits);
        if let Some(Ok(lease)) = &offered
            && !self.admits(lease.address)
        {
            // It has that one, and is not to have it any more.
            offered = offer(true).find(fits);
        }
        let Lease { address, state, .. } = offered.unwrap_or(Err(OfferError::Exhausted))?;
        // Who answers at the address of a lease is most likely its client.
        let probe = state != BindingState::Bound && self.home_of(address).1.ping_check;
        Ok(Found { address, reserved_in_use: reserved.is_some(), probe })
    }

    /// Holds an address of a group for the client; `is_apart`: not the one that it has.
    fn hold(&self, group: u16, wanted: Option<Ipv4Addr>, is_apart: bool) -> Result<Lease, OfferError> {
        let (client, until_s) =
            (Client { subnet: group, ..self.client() }, self.now_s.saturating_add(self.config.offer_hold_s));
        if is_apart {
            self.leases.offer_apart(&client, wanted, until_s, self.now_s)
        } else {
            self.leases.offer(&client, wanted, until_s, self.now_s)
        }
    }

    /// Where the lease table looks for an address for this client: in the subnets of its network that are for it, in their
    /// order, and in each first in the pools that are for some clients only and for this one.
    fn groups(&self) -> impl Iterator<Item = u16> {
        let subnets = &self.config.subnets;
        let network = subnets.network(self.place.subnet).iter();
        let found = network.filter_map(|place| Some((*place, subnets.get(usize::from(*place))?)));
        found.filter(|(_, subnet)| self.is_for_us(&subnet.access)).flat_map(|(place, subnet)| {
            let guarded = subnet.guarded_pools.iter().filter(|pool| self.is_for_us(&pool.access));
            guarded.map(|pool| pool.group).chain([place])
        })
    }

    fn is_for_us(&self, access: &Access) -> bool {
        access.admits(&self.classes.members, self.reservation.is_some())
    }

    /// Whether the subnet and the pool of an address are for this client; what is reserved for it always is.
    fn admits(&self, address: Ipv4Addr) -> bool {
        let (_, subnet) = self.home_of(address);
        let pool = subnet.guarded_pool_at(address);
        self.reserved_address() == Some(address)
            || self.is_for_us(&subnet.access) && pool.is_none_or(|pool| self.is_for_us(&pool.access))
    }

    /// RFC 4039 3.1: a client that asked for it gets its ACK at once, and no OFFER.
    fn commit_rapidly(&self, address: Ipv4Addr) -> Decision {
        match self.bind(address) {
            Ok(Decision::Commit(reply, bound)) => Decision::Commit(Reply { rapid_commit: true, ..reply }, bound),
            // A DISCOVER is never refused aloud.
            Ok(Decision::Reply(_)) => Decision::Drop(DropReason::LeaseLimit),
            Ok(decision) => decision,
            Err(_) => Decision::Drop(DropReason::Contended),
        }
    }

    /// RFC 2563 2.3: a client that knows of auto-configuration is told whether to do it; others get silence.
    fn no_address(&self) -> Decision {
        match self.subnet.auto_configure.filter(|_| self.request.auto_configure.is_some()) {
            Some(may) => Decision::Reply(Reply { auto_configure: Some(may), ..self.reply(MessageType::Offer) }),
            None => Decision::Drop(DropReason::NoFreeAddress),
        }
    }

    /// RFC 1534 2: a BOOTP client has an address from one request on, for as long as the subnet says.
    fn bootp(&self) -> Decision {
        let Some(lease_time_s) = self.subnet.bootp_lease_s else {
            let reason = if self.request.has_options { DropReason::NoMessageType } else { DropReason::BadCookie };
            return Decision::Drop(reason);
        };
        let wanted = Some(self.request.ciaddr).filter(|address| is_host(&self.subnet.prefix, *address));
        let Found { address, reserved_in_use, .. } = match self.address_to_offer(wanted) {
            Ok(found) => found,
            Err(OfferError::Exhausted) => return Decision::Drop(DropReason::NoFreeAddress),
            Err(OfferError::Contended) => return Decision::Drop(DropReason::Contended),
            Err(OfferError::ClientIdRoom) => return Decision::Drop(DropReason::ClientIdRoom),
        };
        match self.bind_for(address, lease_time_s, 0) {
            Ok(bound) => {
                let (subnet, _) = self.home_of(address);
                let lease_time_from = TimeFrom::Bootp;
                let reply = self.reply(MessageType::Bootp);
                let reply = Reply { your_address: address, subnet, reserved_in_use, lease_time_from, ..reply };
                Decision::Commit(reply, bound)
            }
            Err(BindError::Limited) => Decision::Drop(DropReason::LeaseLimit),
            Err(_) => Decision::Drop(DropReason::Contended),
        }
    }

    /// 4.3.2: tells the client's state from the fields it filled in, as table 4 has them.
    ///
    /// More is accepted than the table says where the meaning is plain: `ciaddr` together with our server identifier or
    /// with the same address in option 50 is a renewal by a client that fills in too much.
    fn request(&self) -> Decision {
        let claims = (self.request.server_id, self.request.requested_address, self.request.ciaddr);
        match claims {
            (Some(server_id), ..) if !self.is_ours(server_id) => {
                self.leases.withdraw(&self.place.key, self.now_s);
                Decision::Drop(DropReason::OtherServerChosen)
            }
            (Some(_), Some(address), Ipv4Addr::UNSPECIFIED) => self.selecting(address),
            (None, Some(address), Ipv4Addr::UNSPECIFIED) => self.init_reboot(address),
            (_, None, Ipv4Addr::UNSPECIFIED) => Decision::Drop(DropReason::BadRequest),
            (_, None, ciaddr) => self.extend(ciaddr),
            (_, Some(address), ciaddr) if address == ciaddr => self.extend(ciaddr),
            _ => Decision::Drop(DropReason::BadRequest),
        }
    }

    /// SELECTING: the client took our offer. An address that we do not remember offering (we restarted, the hold ended) is
    /// as good, as long as nobody else has it.
    fn selecting(&self, address: Ipv4Addr) -> Decision {
        if self.is_to_move(address) {
            return self.nak(NOTE_WRONG_ADDRESS);
        }
        self.bind(address).unwrap_or_else(|_| self.nak(NOTE_UNAVAILABLE))
    }

    /// INIT-REBOOT: the client verifies an address that it remembers.
    ///
    /// A client of which nothing is known gets silence, or, when nobody else may serve this subnet, a NAK: it has no
    /// session to lose, and a DISCOVER at once brings it an address that is known to be free.
    fn init_reboot(&self, address: Ipv4Addr) -> Decision {
        if !self.is_near(address) {
            return self.nak(NOTE_WRONG_NETWORK);
        }
        if self.reserved_address() == Some(address) {
            return self.bind(address).unwrap_or_else(|_| self.nak(NOTE_UNAVAILABLE));
        }
        if self.is_to_move(address) {
            return self.nak(NOTE_WRONG_ADDRESS);
        }
        match self.leases.try_find(&self.place.key, self.now_s) {
            Ok(Some(lease)) if lease.address == address => {
                self.bind(address).unwrap_or_else(|_| self.nak(NOTE_UNAVAILABLE))
            }
            Ok(Some(lease)) if lease.state == BindingState::Bound => self.nak(NOTE_WRONG_ADDRESS),
            // An address that it had once, or was offered and did not take, is no binding: it may have another server's.
            Ok(_) => self.unknown(),
            Err(Contended) => Decision::Drop(DropReason::Contended),
        }
    }

    /// RENEWING and REBINDING: the client extends a lease whose address it uses.
    ///
    /// A client of which nothing is known (our state was lost, or it is another server's) is bound again to an address of a
    /// pool that nobody else has when it asks us by name, as RENEWING does ("the DHCP server will trust the value in
    /// 'ciaddr'"), or when nobody else may serve this subnet; its sessions live on, and an address is never bound twice. From
    /// where it may ask for that, the subnet says. Otherwise silence: rebinding clients ask every server, and another one may
    /// know (4.3.2 on unknown clients).
    fn extend(&self, ciaddr: Ipv4Addr) -> Decision {
        if self.reserved_address() == Some(ciaddr) {
            return self.bind(ciaddr).unwrap_or_else(|_| self.nak(NOTE_UNAVAILABLE));
        }
        if self.is_to_move(ciaddr) {
            return self.nak(NOTE_WRONG_ADDRESS);
        }
        match self.leases.try_find(&self.place.key, self.now_s) {
            Ok(Some(lease)) if lease.state == BindingState::Bound => match lease.address == ciaddr {
                true => self.bind(ciaddr).unwrap_or_else(|_| self.nak(NOTE_UNAVAILABLE)),
                false => self.nak(NOTE_WRONG_ADDRESS),
            },
            // An address that it had once, or was offered, is no binding.
            Ok(found) if self.is_taken_on(found.is_some_and(|lease| lease.address == ciaddr)) => {
                match self.bind(ciaddr) {
                    Ok(decision) => decision,
                    Err(BindError::Taken | BindError::Reserved) => self.nak(NOTE_UNAVAILABLE),
                    Err(_) => self.unknown(),
                }
            }
            // A NAK would be broadcast on a link that such a client is not on (4.1).
            Ok(_) if !self.is_attached() => Decision::Drop(DropReason::UnknownClient),
            Ok(_) => self.unknown(),
            Err(Contended) => Decision::Drop(DropReason::Contended),
        }
    }

    /// Whether a client without a binding is bound to the free address that it renews; `had_it`: it is on record with it.
    ///
    /// Whoever can send to this server can write any `ciaddr`, one after the other. So by default only those are believed who
    /// are where they could take the address by a DHCPDISCOVER as well, under the same limits.
    fn is_taken_on(&self, had_it: bool) -> bool {
        let may_be_ours = self.is_renewing() || self.subnet.authoritative;
        match self.subnet.unknown_renewals {
            UnknownRenewals::None => had_it && self.is_attached(),
            UnknownRenewals::Attached => (had_it || may_be_ours) && self.is_attached(),
            UnknownRenewals::All if self.is_attached() => had_it || may_be_ours,
            // What it counts against is not to be seen in it.
            UnknownRenewals::All => {
                may_be_ours && !self.config.classes.limits_by_path && !self.is_from_outside_of_its_vpn()
            }
        }
    }

    fn is_attached(&self) -> bool {
        is_attached(self.request, self.place.subnet, self.ingress, self.config)
    }

    /// Whether nobody but the sender's `ciaddr` says that it is in the VPN of this subnet: whoever is somewhere else can write the
    /// same. That is enough for the lease of a client that is known, and not for another one.
    fn is_from_outside_of_its_vpn(&self) -> bool {
        let space = self.subnet.space;
        if space == Space::GLOBAL
            || self.request.is_relayed()
            || virtual_subnet_echo(self.request, self.config).is_some()
        {
            return false;
        }
        let subnets = &self.config.subnets;
        let here = subnets.on_link(self.ingress.name, self.ingress.vlans);
        here.and_then(|index| subnets.get(usize::from(index))).is_none_or(|here| here.space != space)
    }

    /// 4.3.3: the address is in use by somebody who is not its client. No reply.
    fn decline(&self) -> Decision {
        if self.is_for_another_server() {
            return Decision::Drop(DropReason::OtherServerChosen);
        }
        let Some(address) = self.request.requested_address else { return Decision::Drop(DropReason::BadRequest) };
        let until_s = self.now_s.saturating_add(self.config.decline_quarantine_s);
        match self.leases.decline(&self.place.key, self.at(address), until_s, self.now_s) {
            Some(ended) => Decision::Record(ended, DropReason::Declined),
            None => Decision::Drop(DropReason::NotOwner),
        }
    }

    /// 4.3.4: the client gives its address back. No reply.
    fn release(&self) -> Decision {
        if self.is_for_another_server() {
            return Decision::Drop(DropReason::OtherServerChosen);
        }
        if self.request.ciaddr.is_unspecified() {
            return Decision::Drop(DropReason::BadRequest);
        }
        match self.leases.release(&self.place.key, self.at(self.request.ciaddr), self.now_s) {
            Some(ended) => Decision::Record(ended, DropReason::Released),
            None => Decision::Drop(DropReason::NotOwner),
        }
    }

    /// 4.3.5: parameters for a client that has its address from elsewhere. Bindings are not looked at.
    fn inform(&self) -> Decision {
        if !is_host(&self.subnet.prefix, self.request.ciaddr) {
            return Decision::Drop(DropReason::BadRequest);
        }
        Decision::Reply(self.reply(MessageType::Ack))
    }

    /// Binds an address to the client for the time that it is granted. What another worker is changing at this moment is
    /// dropped here: the client asks again.
    fn bind(&self, address: Ipv4Addr) -> Result<Decision, BindError> {
        let granted @ (lease_time_s, _) = self.lease_time(address);
        let slack_s = slack_s(&self.home_of(address).1.lease, lease_time_s);
        match self.bind_for(address, lease_time_s, slack_s) {
            Ok(bound) => {
                let reply = self.granting(MessageType::Ack, bound.lease.address, granted);
                Ok(Decision::Commit(reply, bound))
            }
            Err(BindError::Contended) => Ok(Decision::Drop(DropReason::Contended)),
            Err(BindError::Limited) => Ok(self.nak(NOTE_LIMITED)),
            Err(BindError::ClientIdRoom) => Ok(Decision::Drop(DropReason::ClientIdRoom)),
            Err(error) => Err(error),
        }
    }

    /// Binds an address for a time: a reserved one to the client that it is reserved for alone.
    fn bind_for(&self, address: Ipv4Addr, lease_time_s: u32, slack_s: u32) -> Result<Bound, BindError> {
        let expires_s = self.now_s.saturating_add(lease_time_s);
        if self.reserved_address() == Some(address) {
            return self.leases.bind_reserved(&self.client(), address, expires_s, slack_s, self.now_s);
        }
        self.leases.bind_with_slack(&self.client(), address, expires_s, slack_s, self.now_s)
    }

    fn reserved_address(&self) -> Option<Ipv4Addr> {
        self.reservation.and_then(|reservation| reservation.address)
    }

    fn is_free(&self, address: Ipv4Addr) -> Result<bool, Contended> {
        self.leases.is_free_for(&self.place.key, self.at(address), self.now_s)
    }

    /// Whether the client is to give this address up: for the one that is reserved for it, unless somebody else has that one
    /// still; or because its subnet or pool is not for the client.
    fn is_to_move(&self, from: Ipv4Addr) -> bool {
        let own = self.reserved_address().filter(|address| *address != from);
        own.is_some_and(|address| self.is_free(address) == Ok(true)) || self.is_near(from) && !self.admits(from)
    }

    /// An address in the space that the client is in.
    fn at(&self, address: Ipv4Addr) -> SpacedAddress {
        SpacedAddress::new(self.subnet.space, address)
    }

    /// Whether an address is in a subnet of the client's network.
    fn is_near(&self, address: Ipv4Addr) -> bool {
        let subnets = &self.config.subnets;
        is_within(&self.subnet.prefix, address)
            || subnets.index_of(self.at(address)).is_some_and(|other| subnets.are_together(self.place.subnet, other))
    }

    /// The subnet of an address of the client's network.
    fn home_of(&self, address: Ipv4Addr) -> (u16, &'a Subnet) {
        let subnets = &self.config.subnets;
        if is_within(&self.subnet.prefix, address) {
            return (self.place.subnet, self.subnet);
        }
        let other = subnets.index_of(self.at(address)).filter(|other| subnets.are_together(self.place.subnet, *other));
        let found = other.and_then(|other| Some((other, subnets.get(usize::from(other))?)));
        found.unwrap_or((self.place.subnet, self.subnet))
    }

    /// The answer to a client of which nothing is known.
    fn unknown(&self) -> Decision {
        if self.subnet.authoritative { self.nak(NOTE_UNKNOWN) } else { Decision::Drop(DropReason::UnknownClient) }
    }

    fn nak(&self, note: &'static str) -> Decision {
        Decision::Reply(Reply { note, ..self.reply(MessageType::Nak) })
    }

    /// A reply without an address or a lease time.
    fn reply(&self, message_type: MessageType) -> Reply {
        Reply {
            message_type,
            subnet: self.place.subnet,
            your_address: Ipv4Addr::UNSPECIFIED,
            server_id: self.place.server_id,
            source: self.place.source,
            lease_time_s: None,
            lease_time_from: TimeFrom::Times,
            renewal_times_s: None,
            rapid_commit: false,
            auto_configure: None,
            overlays: self.overlays(),
            reserved_in_use: false,
            probe: false,
            note: "",
        }
    }

    /// What is laid over a reply's options: the reservation's, before those of the classes.
    fn overlays(&self) -> Overlays {
        let mut overlays = Overlays::default();
        if let Some(own) = self.reservation.and_then(|reservation| reservation.overlay) {
            overlays.push(own);
        }
        self.classes.add_overlays(self.config, &mut overlays);
        overlays
    }

    /// A reply with an address for a time: that of the address's subnet.
    fn granting(
        &self,
        message_type: MessageType,
        your_address: Ipv4Addr,
        (lease_time_s, lease_time_from): (u32, TimeFrom),
    ) -> Reply {
        let (subnet, found) = self.home_of(your_address);
        let source = if subnet == self.place.subnet { None } else { server_id(found, self.ingress) };
        let source = source.unwrap_or(self.place.source);
        Reply {
            subnet,
            your_address,
            source,
            server_id: self.request.routing.server_id.unwrap_or(source),
            lease_time_s: Some(lease_time_s),
            lease_time_from,
            renewal_times_s: renewal_times_s(&found.lease, lease_time_s, &self.place.key),
            ..self.reply(message_type)
        }
    }

    fn client(&self) -> Client<'_> {
        Client {
            key: self.place.key,
            subnet: self.place.subnet,
            hw: &self.request.hw,
            client_id: self.request.identifier(self.place.identity),
            limits: &self.classes.limits,
            agent_info: self.request.agent_info(),
        }
    }

    /// The lease time that the client is granted with an address now: its reservation's; else that of its classes or of the
    /// address's subnet, while addresses are scarce there the least one.
    fn lease_time(&self, address: Ipv4Addr) -> (u32, TimeFrom) {
        if let Some(own_s) = self.reservation.and_then(|reservation| reservation.lease_time_s) {
            return (own_s, TimeFrom::Reservation);
        }
        let (subnet, found) = self.home_of(address);
        let times = self.classes.lease_times(&found.lease, self.config);
        let granted_s = granted_s(&times, self.request.lease_time_s);
        let group = found.guarded_pool_at(address).map_or(subnet, |pool| pool.group);
        let is_scarce = || self.leases.used_permille(group) >= u32::from(times.scarce_permille);
        if times.scarce_permille <= 1000 && is_scarce() {
            (granted_s.min(times.min_s), TimeFrom::Scarcity)
        } else {
            (granted_s, TimeFrom::Times)
        }
    }

    /// Whether an address names this server, in any subnet of the client's network.
    fn is_ours(&self, address: Ipv4Addr) -> bool {
        let subnets = &self.config.subnets;
        let of_network = || {
            let network = subnets.network(self.place.subnet).iter();
            network
                .filter_map(|subnet| subnets.get(usize::from(*subnet)))
                .any(|subnet| subnet.server_id == Some(address))
        };
        // Ours in this subnet is among these, overridden or not.
        address == self.place.server_id || self.ingress.addresses.contains(&address) || of_network()
    }

    /// DECLINE and RELEASE must carry the server identifier (table 5). One without it is judged by its owner alone.
    fn is_for_another_server(&self) -> bool {
        self.request.server_id.is_some_and(|server_id| !self.is_ours(server_id))
    }

    /// RENEWING is sent to the server that gave the lease, past any relay agent (4.3.2); REBINDING is broadcast. A relay agent
    /// that has itself taken for the server says which of the two came to it (RFC 5010). A server identifier, which neither
    /// should have, can only be ours here and names us as well.
    fn is_renewing(&self) -> bool {
        let is_unicast = !self.request.is_relayed() && self.is_ours(self.request.destination);
        is_unicast || self.request.routing.unicast || self.request.server_id.is_some()
    }
}

/// Whether an address can be a host's in this subnet: neither the prefix's own nor its broadcast address. In a /31 both are
/// (RFC 3021), and a /32 is one.
pub(super) fn is_host(prefix: &Ipv4Net, address: Ipv4Addr) -> bool {
    let is_reserved = prefix.prefix_len() < 31 && (address == prefix.network() || address == prefix.broadcast());
    is_within(prefix, address) && !is_reserved
}

/// Whether an address is in a prefix; `Ipv4Net::contains` makes both its ends first.
pub(super) fn is_within(prefix: &Ipv4Net, address: Ipv4Addr) -> bool {
    (u32::from(prefix.addr()) ^ u32::from(address)) & u32::from(prefix.netmask()) == 0
}

/// The lease time for a client that asked for this one, or for none. A finite one never becomes "for ever" by clamping
/// alone: it does only where the configured bound is "for ever" itself.
fn granted_s(times: &LeaseTimes, requested_s: Option<u32>) -> u32 {
    requested_s.map_or(times.default_s, |requested_s| requested_s.min(times.max_s).max(times.min_s))
}

/// How much longer than it is told a client has its lease, so that its next renewals need no record.
fn slack_s(times: &LeaseTimes, lease_time_s: u32) -> u32 {
    permille_of(times.renewal_slack_permille, lease_time_s)
}

fn permille_of(permille: u16, lease_time_s: u32) -> u32 {
    let part_s = u64::from(lease_time_s) * u64::from(permille) / 1000;
    u32::try_from(part_s).unwrap_or(FOREVER)
}

/// T1 and T2 of a lease time, seconds; none for a lease for ever, which is never renewed (RFC 2131 4.4.5).
///
/// "Times T1 and T2 SHOULD be chosen with some random 'fuzz'": both are shortened by the same part, at most the subnet's
/// jitter, which the client's key decides: clients that came up together do not come back together, and an OFFER and its ACK
/// agree.
pub(super) fn renewal_times_s(times: &LeaseTimes, lease_time_s: u32, key: &ClientKey) -> Option<(u32, u32)> {
    let fuzz = u64::from(times.jitter_permille) * (key.0[0] >> 48);
    let part = |permille: u16| {
        let part_s = u64::from(permille_of(permille, lease_time_s));
        // `fuzz` is at most 1000 << 16: the product stays below 2^58.
        let part_s = part_s - ((part_s * fuzz / 1000) >> 16);
        u32::try_from(part_s).unwrap_or(FOREVER)
    };
    (lease_time_s != FOREVER).then(|| (part(times.t1_permille), part(times.t2_permille)))
}
