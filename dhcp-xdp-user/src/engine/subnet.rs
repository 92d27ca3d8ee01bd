//! Which subnet a request belongs to, and who its client is there.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use super::{
    DropReason, Ingress, Request, balance,
    decide::{is_host, is_within},
    is_past_relay_agents,
};
use crate::{
    class::{ClassSet, Packet},
    config::{Anywhere, Config, IdKind, Identified, Identity, Subnet},
    lease::{BindingState, ClientKey, Contended, HwAddress, LeaseTable, Space, SpacedAddress},
    wire::{
        dhcp::MessageType,
        options::{MAX_OPTION_DATA, Scratch},
    },
};

/// A request's subnet, client and server identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into `Config::subnets`: of its network's subnets the one that it claims an address of, else the first.
    pub subnet: u16,
    /// The client's key in that network.
    pub key: ClientKey,
    /// What is reserved for the client there: a number of `Config::reservations`.
    pub reservation: Option<u32>,
    /// What the key was made from.
    pub identity: Identity,
    /// Our server identifier there, or the one that the relay agent wants its clients to have in its place (RFC 5107).
    pub server_id: Ipv4Addr,
    /// Our address there: what a reply comes from.
    pub source: Ipv4Addr,
}

/// A request's client and where it is: what is known before its lease is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAt {
    /// See [`Place::subnet`].
    pub subnet: u16,
    /// See [`Place::key`].
    pub key: ClientKey,
}

/// Finds a request's subnet and its client's key there, if it is for this server at all.
///
/// # Errors
/// [`DropReason::TooManyHops`], [`DropReason::OtherServersBucket`], [`DropReason::NoSubnet`] and
/// [`DropReason::NoClientIdentity`].
pub fn client_of(
    request: &Request<'_>,
    ingress: &Ingress<'_>,
    config: &Config,
    leases: &LeaseTable,
) -> Result<ClientAt, DropReason> {
    if request.hops > config.max_hops {
        return Err(DropReason::TooManyHops);
    }
    if config.load_balance.as_ref().is_some_and(|balance| !balance::is_ours(request, balance)) {
        return Err(DropReason::OtherServersBucket);
    }
    let (subnet, _) = subnet_of(request, ingress, config).map_err(|_| DropReason::NoSubnet)?;
    let subnet = claimed_of_network(subnet, request, config);
    let identity = config.subnets.get(usize::from(subnet)).ok_or(DropReason::NoSubnet)?.identity;
    if identity == Identity::HwAddress && request.hw.hlen == 0 {
        return Err(DropReason::NoClientIdentity);
    }
    Ok(ClientAt { subnet, key: leases.key(subnet, &request.hw, request.identifier(identity)) })
}

/// Finds what is reserved for a request's client, and the server identifier that it is to see; puts down in the request what
/// is [recalled](Request::recalled) of its relay agent, in `memory`.
///
/// # Errors
/// [`DropReason::NoServerId`]; [`DropReason::Contended`]: another thread is changing the lease.
pub fn locate<'a>(
    request: &mut Request<'a>,
    ClientAt { subnet, key }: ClientAt,
    ingress: &Ingress<'_>,
    now_s: u32,
    config: &Config,
    leases: &LeaseTable,
    memory: &mut Scratch<'a>,
) -> Result<Place, DropReason> {
    let found = config.subnets.get(usize::from(subnet)).ok_or(DropReason::NoSubnet)?;
    let source = server_id(found, ingress).ok_or(DropReason::NoServerId)?;
    let (identity, space) = (found.identity, found.space);
    recall(request, &key, space, now_s, leases, memory)?;
    let network = config.subnets.network_of(subnet);
    let found = named_reservation(network, request, ingress, config);
    let reservation = found.or_else(|| believed_reservation(network, space, &key, request, now_s, config, leases));
    Ok(Place { subnet, key, reservation, identity, server_id: request.routing.server_id.unwrap_or(source), source })
}

/// What is reserved in a network for the client that a message names.
pub fn named_reservation(network: u16, request: &Request<'_>, ingress: &Ingress<'_>, config: &Config) -> Option<u32> {
    config.reservations.find(network, &Named { request, flex_id: flex_id(network, request, ingress, config) })
}

/// Recalls option 82 for a message that the client of a lease sent past its relay agent, as RENEWING clients do (RFC 2131
/// 4.3.2): what its lease keeps of it. Everything is decided by it as if it had come, so that the client stays in its
/// classes, its reservation and its pool; but it is in no reply, because no relay agent would take it out. An option 82 that
/// did come with such a message may be its client's own invention, and decides nothing.
///
/// The server identifier override (RFC 5107) in it is ours for this message too, and the reply has it: the client's next one
/// goes to the relay agent again.
///
/// # Errors
/// [`DropReason::Contended`]: another thread is changing the lease.
fn recall<'a>(
    request: &mut Request<'a>,
    key: &ClientKey,
    space: Space,
    now_s: u32,
    leases: &LeaseTable,
    memory: &mut Scratch<'a>,
) -> Result<(), DropReason> {
    let is_of_a_lease = matches!(request.message_type, MessageType::Request | MessageType::Release)
        && !request.ciaddr.is_unspecified()
        && is_past_relay_agents(request.giaddr, request.destination);
    if !is_of_a_lease || !leases.has_agent_info() {
        return Ok(());
    }
    let at = SpacedAddress::new(space, request.ciaddr);
    let known = leases.agent_info_of(key, at, now_s).map_err(|Contended| DropReason::Contended)?;
    let Some(known) = known.filter(|known| !known.is_empty()) else { return Ok(()) };
    request.recalled = memory.keep(&known);
    request.routing.server_id = request.relay_agent().and_then(|info| info.routing().server_id);
    Ok(())
}

/// What is reserved for a client whose message came past the relay agents and of which nothing is recalled, as of a lease that
/// was imported: who has an address bound that is reserved for a circuit is believed to be on it. The next message through
/// the relay agent tells.
fn believed_reservation(
    network: u16,
    space: Space,
    key: &ClientKey,
    request: &Request<'_>,
    now_s: u32,
    config: &Config,
    leases: &LeaseTable,
) -> Option<u32> {
    let reservations = &config.reservations;
    let ciaddr = request.ciaddr;
    if request.relay_agent().is_some() || ciaddr.is_unspecified() || !reservations.has_circuits(network) {
        return None;
    }
    let number = reservations.of_address(SpacedAddress::new(space, ciaddr))?;
    let is_of_circuit = reservations.get(number)?.kind().is_of_relay_agent();
    let lease = leases.find(key, now_s).filter(|_| is_of_circuit)?;
    (lease.state == BindingState::Bound && lease.address == ciaddr).then_some(number)
}

/// Of the subnets of a network, the one that the client claims an address of, else the first.
fn claimed_of_network(subnet: u16, request: &Request<'_>, config: &Config) -> u16 {
    let network = config.subnets.network(subnet);
    let (Some(&first), 2..) = (network.first(), network.len()) else { return subnet };
    let space = config.subnets.get(usize::from(first)).map_or(Space::GLOBAL, |subnet| subnet.space);
    let claimed = request.claimed_address().map(|address| SpacedAddress::new(space, address));
    let claimed = claimed.and_then(|at| config.subnets.index_of(at));
    claimed.filter(|claimed| network.binary_search(claimed).is_ok()).unwrap_or(first)
}

/// A client as reservations recognise it.
struct Named<'a> {
    request: &'a Request<'a>,
    flex_id: Option<FlexId>,
}

/// A client's flexible identifier.
pub type FlexId = ArrayVec<u8, MAX_OPTION_DATA>;

impl Identified for Named<'_> {
    fn id(&self, kind: IdKind) -> Option<&[u8]> {
        match kind {
            IdKind::FlexId => self.flex_id.as_deref(),
            IdKind::ClientId => self.request.client_id,
            IdKind::CircuitId => self.request.relay_agent()?.circuit_id(),
            IdKind::RemoteId => self.request.relay_agent()?.remote_id(),
            IdKind::HwAddress => None,
        }
    }
    fn hw(&self) -> &HwAddress {
        &self.request.hw
    }
}

/// The client's flexible identifier, where a reservation could match it; none of a value that no reservation can have.
pub fn flex_id(network: u16, request: &Request<'_>, ingress: &Ingress<'_>, config: &Config) -> Option<FlexId> {
    let expression = config.flex_id.as_ref().filter(|_| config.reservations.uses(network, IdKind::FlexId))?;
    let packet =
        Packet::new(request.message, ingress.name, request.destination, ingress.vlans, false, request.recalled)?;
    expression.value(&packet, &ClassSet::EMPTY, None, |bytes| FlexId::try_from(bytes).ok())?
}

/// The subnet of a request, as an index (RFC 2131 4.3.1 and 4.3.2).
///
/// - Relayed: the one that the link selection sub-option names (RFC 3527), else the client's own subnet selection option
///   where clients may choose (RFC 3011), else the one that the relay agent's address is in; in the address space of the VPN that
///   the virtual subnet selection sub-option names (RFC 6607), or outside of all VPNs.
/// - Unicast (RENEWING, RELEASE, INFORM): the one that `ciaddr` is in; the client may be behind routers, which leave no
///   `giaddr`, and "the DHCP server will trust the value in 'ciaddr'". In which space: see [`of_ciaddr`].
/// - Otherwise one of the interface's own: one that names both VLANs of the frame, else one that names the outer, else one that
///   names none. A broadcast never leads to a subnet elsewhere, whatever `ciaddr` says: the client is on this link now. What a
///   router brought leads to none: its client is on another one.
///
/// It stands for all subnets of its network.
fn subnet_of(request: &Request<'_>, ingress: &Ingress<'_>, config: &Config) -> Result<(u16, Ground), Ground> {
    let subnets = &config.subnets;
    let chosen = subnet_selection(request, config);
    let selected = match virtual_subnet(request, config) {
        Selected::Unknown => return Err(Ground::UnknownVpn),
        Selected::Nothing => None,
        Selected::It(space) => Some(space),
    };
    if request.is_relayed() {
        let at = |address| SpacedAddress::new(selected.unwrap_or_default(), address);
        let (index, ground) = match (request.routing.link_selection, chosen) {
            (Some(link), _) => (subnets.index_of(at(link)), Ground::LinkSelection(link)),
            (None, Some(link)) => (subnets.index_of(at(link)), Ground::SubnetSelection(link)),
            (None, None) => {
                let relay = |index: &u16| is_host(&subnets[usize::from(*index)].prefix, request.giaddr);
                (subnets.index_of(at(request.giaddr)).filter(relay), Ground::RelayAgent(request.giaddr))
            }
        };
        return index.map(|index| (index, ground)).ok_or(ground);
    }
    let on_link = || subnets.on_link(ingress.name, ingress.vlans);
    // The link is in a VPN when what is on it is.
    let space = selected.unwrap_or_else(|| match subnets.vrfs().is_empty() {
        true => Space::GLOBAL,
        false => on_link().and_then(|index| subnets.get(usize::from(index))).map_or(Space::GLOBAL, |here| here.space),
    });
    if let Some(link) = chosen {
        let ground = Ground::SubnetSelection(link);
        return subnets.index_of(SpacedAddress::new(space, link)).map(|index| (index, ground)).ok_or(ground);
    }
    // RFC 2131 table 5: a DHCPDISCOVER has none. One that did would have an address anywhere held for whoever sends it.
    let has_one = !request.ciaddr.is_unspecified() && request.message_type != MessageType::Discover;
    if !request.destination.is_broadcast() && has_one {
        match of_ciaddr(SpacedAddress::new(space, request.ciaddr), selected.is_some(), config) {
            Anywhere::In(index) => return Ok((index, Ground::Ciaddr(request.ciaddr))),
            Anywhere::Several => return Err(Ground::Ambiguous(request.ciaddr)),
            Anywhere::Nowhere => {}
        }
    }
    if is_routed(request, ingress, config) {
        return Err(Ground::Routed);
    }
    let here = on_link().filter(|index| subnets.get(usize::from(*index)).is_some_and(|here| here.space == space));
    here.map(|index| (index, Ground::Link)).ok_or(Ground::Link)
}

/// Whether a router brought the message to this link, as it brings a client's unicast from anywhere. What was broadcast here, or
/// sent by the client's own hardware address, is of a client on this link; what has `giaddr`, of one behind that relay agent.
///
/// A `chaddr` that is the router's is soon written. So a client here also sends from an address of this link, or from none, which
/// routers should not forward (RFC 1812 5.3.7): that of another link's hosts is one that routers can look at (RFC 2827).
fn is_routed(request: &Request<'_>, ingress: &Ingress<'_>, config: &Config) -> bool {
    let is_from_here = || {
        let network =
            config.subnets.on_link(ingress.name, ingress.vlans).map_or(&[][..], |here| config.subnets.network(here));
        let mut here = network.iter().filter_map(|index| config.subnets.get(usize::from(*index)));
        ingress.source.is_unspecified() || here.any(|subnet| is_within(&subnet.prefix, ingress.source))
    };
    is_past_relay_agents(request.giaddr, request.destination)
        && !(*request.hw.bytes() == ingress.ethernet_source && is_from_here())
}

/// Whether the message comes from where the clients of this subnet's network are: through their relay agents, or from their own
/// link. A client there could ask for any address of the network with a DHCPDISCOVER as well.
pub(super) fn is_attached(request: &Request<'_>, subnet: u16, ingress: &Ingress<'_>, config: &Config) -> bool {
    let is_here = |here| config.subnets.are_together(subnet, here);
    // A broadcast, or a relay agent's, is placed by where it came from.
    !is_past_relay_agents(request.giaddr, request.destination)
        || !is_routed(request, ingress, config)
            && config.subnets.on_link(ingress.name, ingress.vlans).is_some_and(is_here)
}

/// The subnet of the address that a client unicasts from, where no relay agent says which VPN it is in: the one of its link's space,
/// or of the space that it names itself. What comes in outside of all VPNs may still be from a subnet in one: from the only one
/// that has the address. Of several nobody can tell which is meant, and an answer on a guess could take an address from the client
/// of another VPN: such a client hears nothing, and rebinds through its relay agent, which says so. (With the server identifier
/// override of RFC 5107 its renewals go there in the first place.)
fn of_ciaddr(at: SpacedAddress, is_selected: bool, config: &Config) -> Anywhere {
    match config.subnets.index_of(at) {
        Some(index) => Anywhere::In(index),
        None if at.space == Space::GLOBAL && !is_selected => config.subnets.anywhere(at.address),
        None => Anywhere::Nowhere,
    }
}

/// What decides on a request's subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The link that the relay agent names (RFC 3527).
    LinkSelection(Ipv4Addr),
    /// The subnet that the client names (RFC 3011).
    SubnetSelection(Ipv4Addr),
    /// `giaddr`.
    RelayAgent(Ipv4Addr),
    /// `ciaddr` of a unicast.
    Ciaddr(Ipv4Addr),
    /// `ciaddr` of a unicast, which subnets of several VPNs have.
    Ambiguous(Ipv4Addr),
    /// The interface and the VLAN tags that it came with.
    Link,
    /// A unicast that a router brought, and whose `ciaddr` is no help.
    Routed,
    /// A VPN that no subnet is in (RFC 6607).
    UnknownVpn,
}

/// What decides on a request's subnet, and whether it leads to one: for who explains [`locate`].
pub fn ground(request: &Request<'_>, ingress: &Ingress<'_>, config: &Config) -> Result<Ground, Ground> {
    subnet_of(request, ingress, config).map(|(_, ground)| ground)
}

/// The subnet that a client chooses itself, where it may (RFC 3011).
pub(super) fn subnet_selection(request: &Request<'_>, config: &Config) -> Option<Ipv4Addr> {
    request.subnet_selection.filter(|_| config.client_subnet_selection)
}

/// What a request says of its VPN.
enum Selected {
    /// Nothing, or nothing that is heard.
    Nothing,
    /// One that no subnet is in.
    Unknown,
    /// The address space of one, or the one outside of all.
    It(Space),
}

/// The VPN that a request names: its relay agent's word goes before its client's own (RFC 6607 7.3). Without subnets in VPNs
/// nobody's word on them is heard, as by a server that knows nothing of RFC 6607.
fn virtual_subnet(request: &Request<'_>, config: &Config) -> Selected {
    let vrfs = config.subnets.vrfs();
    if vrfs.is_empty() {
        return Selected::Nothing;
    }
    let own = || request.virtual_subnet.filter(|_| config.client_subnet_selection);
    match request.routing.virtual_subnet.or_else(own) {
        None => Selected::Nothing,
        Some(id) => vrfs.selected(id).map_or(Selected::Unknown, Selected::It),
    }
}

/// The virtual subnet selection of the client's own that a reply has a copy of (RFC 6607 6): one that was acted on.
pub(super) fn virtual_subnet_echo<'a>(request: &Request<'a>, config: &Config) -> Option<&'a [u8]> {
    request.virtual_subnet.filter(|_| config.client_subnet_selection && !config.subnets.vrfs().is_empty())
}

/// Whether a reply's option 82 is without the VSS-Control sub-option: its lack tells the relay agent that its virtual subnet
/// selection was acted on (RFC 6607 6).
pub fn takes_out_vss_control(request: &Request<'_>, config: &Config) -> bool {
    request.routing.virtual_subnet.is_some() && !config.subnets.vrfs().is_empty()
}

/// The server identifier in a subnet: the configured one, else an address of the interface, best one inside the subnet.
pub(super) fn server_id(subnet: &Subnet, ingress: &Ingress<'_>) -> Option<Ipv4Addr> {
    let inside = || ingress.addresses.iter().find(|address| is_within(&subnet.prefix, **address));
    subnet.server_id.or_else(|| inside().or(ingress.addresses.first()).copied())
}
