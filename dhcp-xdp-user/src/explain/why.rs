//! The reasons in words, each made of what the engine and the configuration say.

use std::net::Ipv4Addr;

use super::{
    Telling,
    story::{Asked, Class, Pool, Reservation, Subnet},
};
use crate::{
    class::{ClassId, ClassSet, Shown},
    config::{Access, IdKind, Identity, UnknownRenewals},
    control::colons,
    engine::{self, Ground, Place},
    lease::{BindingState, Lease, LimitKey, Space},
    wire::{
        dhcp::{HTYPE_ETHERNET, MessageType},
        shown,
    },
    worker::counters::DropReason,
};

pub(super) fn message_type(message_type: MessageType) -> String {
    match message_type {
        MessageType::Discover => "DISCOVER".into(),
        MessageType::Offer => "OFFER".into(),
        MessageType::Request => "REQUEST".into(),
        MessageType::Decline => "DECLINE".into(),
        MessageType::Ack => "ACK".into(),
        MessageType::Nak => "NAK".into(),
        MessageType::Release => "RELEASE".into(),
        MessageType::Inform => "INFORM".into(),
        MessageType::LeaseQuery => "LEASEQUERY".into(),
        MessageType::LeaseUnassigned => "LEASEUNASSIGNED".into(),
        MessageType::LeaseUnknown => "LEASEUNKNOWN".into(),
        MessageType::LeaseActive => "LEASEACTIVE".into(),
        MessageType::BulkLeaseQuery => "BULKLEASEQUERY".into(),
        MessageType::LeaseQueryDone => "LEASEQUERYDONE".into(),
        MessageType::ActiveLeaseQuery => "ACTIVELEASEQUERY".into(),
        MessageType::LeaseQueryStatus => "LEASEQUERYSTATUS".into(),
        MessageType::Tls => "TLS".into(),
        MessageType::Bootp => "BOOTP".into(),
        MessageType::Unknown(number) => format!("message type {number}"),
    }
}

pub(super) fn seconds(seconds: u32) -> String {
    if seconds == u32::MAX { "for ever".into() } else { format!("{seconds} s") }
}

/// A record of the journal.
pub(super) fn change(lease: &Lease) -> String {
    let Lease { address, state, expires_s, started_s, .. } = *lease;
    let over = match expires_s {
        u32::MAX => " for ever".to_owned(),
        _ => format!(", until {} s after it began", expires_s.saturating_sub(started_s)),
    };
    match state {
        BindingState::Bound => format!("{address} is bound{over}"),
        BindingState::Declined => format!("{address} is quarantined"),
        state => format!("{address} is {}", state.name()),
    }
}

/// A value of an expression.
fn value(shown: Shown) -> String {
    const MISSING: &str = "missing";
    match shown {
        Shown::Condition(value) => value.to_string(),
        Shown::Bytes(bytes) => bytes.map_or_else(|| MISSING.into(), |bytes| shown::bytes(&bytes)),
        Shown::Number(number) => number.map_or_else(|| MISSING.into(), |number| number.to_string()),
        Shown::Address(address) => address.map_or_else(|| MISSING.into(), |address| address.to_string()),
    }
}

impl Telling<'_> {
    pub(super) fn asked(&self) -> Asked {
        let request = self.request;
        let address = |address: Ipv4Addr| (!address.is_unspecified()).then(|| address.to_string());
        let bytes = |bytes: Option<&[u8]>| bytes.map(shown::bytes);
        let relay = request.relay_agent();
        let [outer, inner] = self.ingress.vlans;
        let vlans: Vec<String> = [outer, inner].into_iter().flatten().map(|vlan| vlan.to_string()).collect();
        let fields = [
            ("client identifier", request.client_id.map(shown::hex)),
            ("giaddr", address(request.giaddr)),
            ("ciaddr", address(request.ciaddr)),
            ("requested address", request.requested_address.map(|address| address.to_string())),
            ("server identifier", request.server_id.map(|address| address.to_string())),
            ("lease time", request.lease_time_s.map(seconds)),
            ("circuit-id", bytes(relay.and_then(|relay| relay.circuit_id()))),
            ("remote-id", bytes(relay.and_then(|relay| relay.remote_id()))),
            ("link selection", request.routing.link_selection.map(|address| address.to_string())),
            ("subnet selection", request.subnet_selection.map(|address| address.to_string())),
            ("VLAN", Some(vlans.join(".")).filter(|text| !text.is_empty())),
        ];
        let hw = colons(request.hw.bytes());
        Asked {
            message_type: message_type(request.message_type),
            hw_address: if request.hw.htype == HTYPE_ETHERNET {
                hw
            } else {
                format!("{hw} (type {})", request.hw.htype)
            },
            xid: format!("0x{:08x}", request.xid),
            fields: fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        }
    }

    pub(super) fn subnet(&self) -> Option<Subnet> {
        let found = engine::ground(self.request, &self.ingress, self.config);
        let why = self.ground(found.unwrap_or_else(|ground| ground), found.is_ok());
        let Some(place) = self.place else {
            // Refused before a subnet was looked for, or for want of one.
            return found.is_err().then_some(Subnet { prefix: None, vpn: None, network: None, why, client: None });
        };
        let subnet = self.config.subnets.get(usize::from(place.subnet))?;
        let claimed = self
            .request
            .claimed_address()
            .filter(|address| self.config.subnets.network(place.subnet).len() > 1 && subnet.prefix.contains(address));
        let why = match claimed {
            Some(address) => format!("{why}; of its network the one that {address}, which the client names, is in"),
            None => why,
        };
        Some(Subnet {
            prefix: Some(subnet.prefix.to_string()),
            vpn: (subnet.space != Space::GLOBAL).then(|| self.config.subnets.vrfs().name_of(subnet.space)),
            network: subnet.network.clone(),
            why,
            client: Some(self.client(&place)),
        })
    }

    fn client(&self, place: &Place) -> String {
        let identity = match place.identity {
            Identity::ClientId => "client-id",
            Identity::HwAddress => "hw-address",
        };
        match self.request.identifier(place.identity) {
            [] => format!("known by its hardware address (identity = \"{identity}\")"),
            id => format!("known by its client identifier {} (identity = \"{identity}\")", shown::hex(id)),
        }
    }

    fn ground(&self, ground: Ground, found: bool) -> String {
        let is_in = if found { "is in it" } else { "is in no subnet" };
        let relayed = self.request.is_relayed();
        let selection = || match self.request.subnet_selection {
            Some(link) => {
                format!(", subnet selection {link} not heard (client_subnet_selection is off)")
            }
            None => String::new(),
        };
        match ground {
            Ground::LinkSelection(link) => format!("link selection {link} of the relay agent {is_in} (RFC 3527)"),
            Ground::SubnetSelection(link) => format!("subnet selection {link} of the client {is_in} (RFC 3011)"),
            Ground::RelayAgent(giaddr) => {
                let is_in = if found { is_in } else { "is no host of any subnet" };
                format!("giaddr {giaddr} {is_in} (no link selection{})", selection())
            }
            Ground::Ciaddr(ciaddr) => format!("unicast, and ciaddr {ciaddr} {is_in}"),
            Ground::Link => {
                let [outer, inner] = self.ingress.vlans;
                let tags: Vec<String> = [outer, inner].into_iter().flatten().map(|vlan| vlan.to_string()).collect();
                let tags = if tags.is_empty() { "no VLAN tag".to_owned() } else { format!("VLAN {}", tags.join(".")) };
                let came = format!("it came in on {} with {tags}", self.ingress.name);
                let why = if relayed { String::new() } else { format!("no giaddr{}", selection()) };
                format!("{came} ({why}){}", if found { "" } else { ", where no subnet is" })
            }
            Ground::Routed => {
                "unicast through a router, with no giaddr, and no ciaddr of a subnet: from anywhere".into()
            }
            Ground::UnknownVpn => "its VPN (virtual subnet selection) is that of no subnet (RFC 6607)".into(),
            Ground::Ambiguous(ciaddr) => format!("unicast, and ciaddr {ciaddr} is in subnets of several VPNs"),
        }
    }

    pub(super) fn class_list(&self) -> Vec<Class> {
        let classes = &self.config.classes;
        // Without a place no class was asked.
        let (Some(packet), Some(place)) = (&self.packet, self.place) else { return Vec::new() };
        let reserved = place.reservation.and_then(|number| self.config.reservations.get(number));
        let one = |(id, class): (ClassId, &crate::class::Class)| {
            let member = self.members().contains(id);
            let looked_at = classes.compiled.looked_at(id, packet, self.members());
            let spawned = class.spawn().and_then(|text| {
                let value = classes.compiled.with_value(id, packet, self.members(), <[u8]>::to_vec)?;
                let value = if value.is_empty() { "missing".to_owned() } else { shown::bytes(&value) };
                Some((text.to_owned(), value))
            });
            let limit = classes.settings.get(usize::from(id)).and_then(|settings| settings.lease_limit);
            let leases = limit.filter(|_| member).map(|limit| {
                let bytes = classes.compiled.with_value(id, packet, self.members(), <[u8]>::to_vec);
                (self.leases.limit_count(LimitKey::new(class.name(), &bytes.unwrap_or_default())), limit)
            });
            let by_reservation = reserved.is_some_and(|reservation| reservation.classes.contains(id));
            let note = match (by_reservation, member && classes.ignored.contains(id)) {
                (true, false) => Some("the reservation puts the client into it".to_owned()),
                (true, true) => Some("the reservation puts the client into it, and it is ignored".to_owned()),
                (false, true) => Some("it is ignored: its clients get no answer".to_owned()),
                (false, false) if class.condition().is_none() && class.spawn().is_none() => {
                    Some("only reservations put clients into it".to_owned())
                }
                (false, false) => None,
            };
            Class {
                name: class.name().to_owned(),
                member,
                expression: class.condition().map(str::to_owned),
                values: looked_at.into_iter().map(|(text, shown)| (text, value(shown))).collect(),
                spawned,
                leases,
                note,
            }
        };
        (0..=ClassId::MAX).zip(classes.compiled.iter()).map(one).collect()
    }

    pub(super) fn reservation(&self, place: &Place) -> Reservation {
        let network = self.config.subnets.network_of(place.subnet);
        let reservations = &self.config.reservations;
        let said = |kind: IdKind| match self.identifier(kind, network) {
            None => "the message has none".to_owned(),
            Some(id) if kind == IdKind::HwAddress => colons(&id),
            Some(id) if kind == IdKind::ClientId => shown::hex(&id),
            Some(id) => shown::bytes(&id),
        };
        let used = IdKind::ALL.into_iter().filter(|kind| reservations.uses(network, *kind));
        let looked_for: Vec<(String, String)> = used.map(|kind| (kind.name().to_owned(), said(kind))).collect();
        let found = place.reservation.and_then(|number| reservations.get(number));
        let by_message = engine::named_reservation(network, self.request, &self.ingress, self.config);
        let note = match found {
            Some(_) if by_message != place.reservation => Some(format!(
                "the message has no option 82; the client is believed, because it has {} bound",
                self.request.ciaddr
            )),
            None if reservations.is_empty() => Some("there are none".into()),
            None if looked_for.is_empty() => Some("there are none that hold in this network".into()),
            _ => None,
        };
        Reservation {
            found: found.is_some(),
            by: found.map(|found| (found.kind().name().to_owned(), said(found.kind()))),
            address: found.and_then(|found| found.address),
            looked_for: if found.is_some() { Vec::new() } else { looked_for },
            note,
        }
    }

    /// The pools of the client's network in the order in which addresses are sought.
    pub(super) fn pools(&self) -> Vec<Pool> {
        let Some(place) = self.place else { return Vec::new() };
        let subnets = self.config.subnets.network(place.subnet).iter();
        let subnets = subnets.filter_map(|index| self.config.subnets.get(usize::from(*index)));
        let mut all = Vec::new();
        for subnet in subnets {
            let subnet_is_for = self.access(&subnet.access);
            let pool = |range: &crate::config::AddressRange, guard: Option<&Access>| {
                let (admits, why) = match (&subnet_is_for, guard.map(|access| self.access(access))) {
                    (Err(why), _) => (false, format!("its subnet is not for the client: {why}")),
                    (Ok(_), Some(Err(why))) => (false, why),
                    (Ok(_), Some(Ok(why))) => (true, why),
                    (Ok(why), None) => (true, why.clone()),
                };
                Pool { range: range.to_string(), subnet: subnet.prefix.to_string(), admits, why }
            };
            let guard = |range: &crate::config::AddressRange| subnet.guarded_pool_at(range.first);
            let guarded = subnet.pools.iter().filter_map(|range| Some(pool(range, Some(&guard(range)?.access))));
            all.extend(guarded);
            all.extend(subnet.pools.iter().filter(|range| guard(range).is_none()).map(|range| pool(range, None)));
        }
        all
    }

    fn is_past_relay_agents(&self) -> bool {
        engine::is_past_relay_agents(self.request.giaddr, self.request.destination)
    }

    /// Why the client is admitted, or why not.
    fn access(&self, access: &Access) -> Result<String, String> {
        let names = |set: &ClassSet| {
            let names =
                set.iter().filter_map(|class| self.config.classes.compiled.get(class)).map(|class| class.name());
            names.collect::<Vec<_>>().join(", ")
        };
        let mut rules = Vec::new();
        rules.extend(access.allow.as_ref().map(|allow| format!("allow_classes {}", names(allow))));
        if !access.deny.is_empty() {
            rules.push(format!("deny_classes {}", names(&access.deny)));
        }
        if access.known_only {
            rules.push(format!("known_clients_only; the client is {}", if self.is_known() { "known" } else { "not" }));
        }
        let why = if rules.is_empty() { "for every client".to_owned() } else { rules.join("; ") };
        if access.admits(self.members(), self.is_known()) { Ok(why) } else { Err(why) }
    }

    /// What would have to be otherwise for a message to be answered.
    pub(super) fn otherwise(&self, reason: DropReason) -> Option<String> {
        let request = self.request;
        let subnet = self.place.and_then(|place| self.config.subnets.get(usize::from(place.subnet)));
        let prefix = || subnet.map_or_else(String::new, |subnet| format!(" of subnet {}", subnet.prefix));
        Some(match reason {
            DropReason::TooManyHops => {
                format!("hops is {}, max_hops is {}: set max_hops higher", request.hops, self.config.max_hops)
            }
            DropReason::OtherServersBucket => {
                let after = self.config.load_balance.as_ref().map_or(0, |balance| balance.after_secs);
                format!("secs is {}: above {after} (load_balance.after_secs) it is answered here too", request.secs)
            }
            DropReason::TooEarly => {
                let least = subnet.map_or(0, |subnet| subnet.min_secs);
                format!("secs is {}: from {least} on (min_secs{}) it is answered", request.secs, prefix())
            }
            DropReason::NoSubnet
                if matches!(
                    engine::ground(request, &self.ingress, self.config),
                    Err(Ground::UnknownVpn | Ground::Ambiguous(_))
                ) =>
            {
                "a relay agent that says which VPN it is (virtual subnet selection), and a subnet in that one".into()
            }
            DropReason::NoSubnet if engine::ground(request, &self.ingress, self.config) == Err(Ground::Routed) => {
                "giaddr, which relay agents set, or the client's own hardware address as the frame's source".into()
            }
            DropReason::NoSubnet if request.is_relayed() => {
                "a subnet with that address in it, or link selection by the relay agent".into()
            }
            DropReason::NoSubnet => {
                let [outer, inner] = self.ingress.vlans;
                let vlan = match (outer, inner) {
                    (Some(outer), Some(inner)) => format!(" and vlan = \"{outer}.{inner}\""),
                    (Some(outer), None) => format!(" and vlan = {outer}"),
                    (None, _) => " and no vlan".to_owned(),
                };
                format!("a subnet with interface = \"{}\"{vlan}", self.ingress.name)
            }
            DropReason::NoServerId => {
                format!("an address on {}, or server_id; here --address says which it has", self.ingress.name)
            }
            DropReason::OtherServerChosen => {
                let own = self.place.map_or_else(String::new, |place| place.server_id.to_string());
                let named = request.server_id.map_or_else(String::new, |id| id.to_string());
                format!("the client names server identifier {named}; ours is {own}")
            }
            DropReason::NoFreeAddress => {
                let free = self.pools().iter().any(|pool| pool.admits);
                let what = if free { "a free address in a pool that is for it" } else { "a pool that is for it" };
                what.into()
            }
            DropReason::UnknownClient => match subnet.map(|subnet| subnet.unknown_renewals) {
                Some(granted) if self.is_past_relay_agents() && granted != UnknownRenewals::All => format!(
                    "a binding of the client, its rebinding through a relay agent or on its link, or unknown_renewals = \"all\"{}",
                    prefix()
                ),
                Some(UnknownRenewals::None) => format!("a binding of the client, or unknown_renewals{}", prefix()),
                _ => format!("a binding of the client, or authoritative = true{}", prefix()),
            },
            DropReason::LeaseLimit => "a lease that counts against the same value ends, or a higher lease_limit".into(),
            DropReason::ClassDenied => match subnet.map(|subnet| self.access(&subnet.access)) {
                Some(Err(why)) => format!("the subnet is for others: {why}"),
                _ => return None,
            },
            DropReason::ClassIgnored => "the class without ignore, or the client not in it".into(),
            DropReason::NotOwner => match self.had {
                Some(lease) => format!("the client has {} ({})", lease.address, lease.state.name()),
                None => "the client has no address".into(),
            },
            DropReason::BadRequest if request.message_type == MessageType::Inform => {
                format!("ciaddr is {}; expected a host{}", request.ciaddr, prefix())
            }
            DropReason::BadRequest => "expected ciaddr, or a requested address (RFC 2131 table 4)".into(),
            DropReason::BadCookie | DropReason::NoMessageType => format!("bootp = true{}", prefix()),
            _ => return None,
        })
    }
}
