//! The reply of a story: read back from the frame that the worker has written.

use std::net::Ipv4Addr;

use dhcp_xdp_ebpf::Role;

use super::{
    Telling,
    story::{Address, LeaseTime, OptionSent, Reply, Setting},
    why::{self, seconds},
};
use crate::{
    class::relay_sub_option,
    config::{IdKind, Level, Overlay},
    engine::{self, Origin, TimeFrom},
    lease::BindingState,
    wire::{
        dhcp::{Header, MessageType},
        link::{Datagram, ETHERNET_BROADCAST},
        options::{Area, Joined, Options, Scratch, code},
        relay::RelayAgentInfo,
        shown,
    },
};

impl Telling<'_> {
    pub(super) fn reply(&self, reply: &engine::Reply, frame: &[u8]) -> Option<Reply> {
        let datagram = Datagram::new_checked(frame, Role::Client, false).ok()?;
        let message = datagram.payload(frame);
        let header = Header::new_checked(message).or_else(|_| Header::without_options(message)).ok()?;
        let options = self.options(reply, header);
        let codes: Vec<u8> = options.iter().map(|option| option.code).collect();
        let is_nak = reply.message_type == MessageType::Nak;
        Some(Reply {
            message_type: why::message_type(reply.message_type),
            note: is_nak.then(|| reply.note.to_owned()),
            address: self.address(reply),
            lease_time: reply.lease_time_s.map(|seconds| self.lease_time(reply, seconds)),
            renewal_times_s: reply.renewal_times_s,
            renewal_why: reply.renewal_times_s.and_then(|_| self.renewal_why(reply)),
            server_id: reply.server_id,
            sent_to: self.sent_to(&datagram, frame, reply),
            header: self.header_fields(reply, header),
            left_out: if is_nak { Vec::new() } else { self.left_out(reply, &codes) },
            options,
        })
    }

    fn address(&self, reply: &engine::Reply) -> Option<Address> {
        let address = reply.your_address;
        if address.is_unspecified() {
            return None;
        }
        let subnet = self.config.subnets.get(usize::from(reply.subnet))?;
        let reserved = self.reserved_address();
        let mut why = match (reserved == Some(address), self.had(address)) {
            (true, _) => "it is reserved for the client".to_owned(),
            (_, Some(BindingState::Bound)) => "the client has it bound".to_owned(),
            (_, Some(BindingState::Offered)) => "it was offered to the client".to_owned(),
            (_, Some(state)) => format!("the client had it before ({})", state.name()),
            _ if self.request.claimed_address() == Some(address) => "the client asks for it".to_owned(),
            _ => "it is the next free one".to_owned(),
        };
        if reply.reserved_in_use {
            let own = reserved.map_or_else(String::new, |own| format!(" {own}"));
            why.push_str(&format!("; the reserved one{own} is in use by somebody else, or quarantined"));
        } else if let Some(own) = reserved.filter(|own| *own != address) {
            why.push_str(&format!("; {own} is reserved for the client"));
        }
        if reply.probe {
            why.push_str("; it is probed first (ping check), and offered when nobody answers there");
        }
        let pool = subnet.pools.iter().find(|pool| pool.contains(address));
        let from = pool.map_or_else(|| "outside of all pools".to_owned(), |pool| format!("pool {pool}"));
        Some(Address { address, subnet: subnet.prefix.to_string(), why: format!("{why}; {from}") })
    }

    pub(super) fn reserved_address(&self) -> Option<Ipv4Addr> {
        self.config.reservations.get(self.place?.reservation?)?.address
    }

    fn lease_time(&self, reply: &engine::Reply, seconds_granted: u32) -> LeaseTime {
        LeaseTime { seconds: seconds_granted, why: self.lease_time_why(reply).unwrap_or_default() }
    }

    fn lease_time_why(&self, reply: &engine::Reply) -> Option<String> {
        let subnet = self.config.subnets.get(usize::from(reply.subnet))?;
        let times = self.classes.lease_times(&subnet.lease, self.config);
        let of = |found: Option<(u8, u32)>| {
            let named = found.and_then(|(class, _)| self.config.classes.compiled.get(class));
            named.map_or_else(|| format!("subnet {}", subnet.prefix), |class| format!("class {}", class.name()))
        };
        let default = || of(self.classes.first(self.config, |class| class.lease_time_s));
        let least = || of(self.classes.first(self.config, |class| class.min_lease_time_s));
        let most = || of(self.classes.first(self.config, |class| class.max_lease_time_s));
        Some(match (reply.lease_time_from, self.request.lease_time_s) {
            (TimeFrom::Reservation, _) => "of the reservation".into(),
            (TimeFrom::Bootp, _) => format!("bootp_lease_time_s of subnet {}", subnet.prefix),
            (TimeFrom::Scarcity, _) => format!(
                "the least of {}: at least {} % of the addresses are in use (scarce_above)",
                least(),
                f64::from(times.scarce_permille) / 10.0
            ),
            (TimeFrom::Times, None) => format!("the default of {}; the client asks for none", default()),
            (TimeFrom::Times, Some(asked)) if asked > times.max_s => {
                format!("the most of {}; the client asks for {}", most(), seconds(asked))
            }
            (TimeFrom::Times, Some(asked)) if asked < times.min_s => {
                format!("the least of {}; the client asks for {}", least(), seconds(asked))
            }
            (TimeFrom::Times, Some(_)) => {
                format!("as the client asks; {} allows {} to {}", most(), seconds(times.min_s), seconds(times.max_s))
            }
        })
    }

    fn renewal_why(&self, reply: &engine::Reply) -> Option<String> {
        let times = &self.config.subnets.get(usize::from(reply.subnet))?.lease;
        let part = |permille: u16| f64::from(permille) / 10.0;
        let base = format!("{} % and {} % of the lease time", part(times.t1_permille), part(times.t2_permille));
        Some(match times.jitter_permille {
            0 => base,
            jitter => format!(
                "{base}, less up to {} %, which differs from client to client and from start to start",
                part(jitter)
            ),
        })
    }

    /// Where a reply goes: what its frame says, and what of the request made it so.
    fn sent_to(&self, datagram: &Datagram, frame: &[u8], reply: &engine::Reply) -> String {
        let mac = frame.first_chunk::<6>().copied().unwrap_or_default();
        let to = format!("{} port {}", datagram.destination, datagram.destination_port);
        let why = if self.request.message_type == MessageType::Inform {
            "directly to ciaddr, as any answer to an INFORM"
        } else if self.request.is_relayed() {
            "to the relay agent, back to where its frame came from"
        } else if mac == ETHERNET_BROADCAST && reply.message_type == MessageType::Nak {
            "broadcast, as any NAK that no relay agent carries"
        } else if mac == ETHERNET_BROADCAST && self.request.broadcast {
            "broadcast: the client set the broadcast flag"
        } else if mac == ETHERNET_BROADCAST {
            "broadcast: the client has no address to be sent to"
        } else if datagram.destination == self.request.ciaddr {
            "unicast to ciaddr, which is in the subnet"
        } else {
            "unicast to the address given and the client's hardware address"
        };
        format!("{to}, Ethernet {}: {why}", crate::control::colons(&mac))
    }

    fn header_fields(&self, reply: &engine::Reply, header: Header<'_>) -> Vec<Setting> {
        // Where options lie in them, they are no names.
        let overload = Area::new(header.options()).flatten().find(|option| option.code == code::OVERLOAD);
        let overload = overload.and_then(|option| option.data.first().copied()).unwrap_or(0);
        let text = |bit: u8, bytes: &[u8]| {
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            (overload & bit == 0 && !text.is_empty()).then(|| shown::bytes(text))
        };
        let next_server = (!header.siaddr().is_unspecified()).then(|| header.siaddr().to_string());
        let set = |name, value: Option<String>, has: fn(&Overlay) -> bool| {
            let from = engine::header_origin(reply, self.config, has).map(|origin| self.origin(reply, origin));
            Some(Setting { name, value: value?, from: from.unwrap_or_default() })
        };
        let fields = [
            set("next server", next_server, |overlay| overlay.next_server.is_some()),
            set("server name", text(2, header.sname()), |overlay| overlay.server_name.is_some()),
            set("boot file", text(1, header.file()), |overlay| overlay.boot_file.is_some()),
        ];
        fields.into_iter().flatten().collect()
    }

    fn options(&self, reply: &engine::Reply, header: Header<'_>) -> Vec<OptionSent> {
        let mut memory = vec![0; usize::from(u16::MAX)];
        let Ok(joined) = Joined::new(Options::new(header), &mut Scratch::new(&mut memory)) else { return Vec::new() };
        let definitions = &self.config.definitions;
        let of = |code: u8| {
            let data = joined.get(code)?;
            let value = match code {
                code::MESSAGE_TYPE => data.first().map_or_else(String::new, |kind| why::message_type((*kind).into())),
                code::RELAY_AGENT_INFO => {
                    let parts = RelayAgentInfo::new(data).iter();
                    let name = |code: u8| relay_sub_option(code).map_or_else(|| code.to_string(), str::to_owned);
                    let parts = parts.map(|(code, data)| format!("{} {}", name(code), shown::bytes(data)));
                    parts.collect::<Vec<_>>().join(", ")
                }
                code => shown::show(definitions.kind_of(code), data),
            };
            let from = engine::origin(self.request, reply, self.config, code);
            let from = from.map_or_else(
                || self.set_by_server(code),
                |origin| match self.expression(reply, code) {
                    Some(text) => format!("{}: {text}", self.origin(reply, origin)),
                    None => self.origin(reply, origin),
                },
            );
            Some(OptionSent { code, name: definitions.name_of(code), value, data: shown::hex(data), from })
        };
        (1..255).filter_map(of).collect()
    }

    /// What an option is computed by.
    fn expression(&self, reply: &engine::Reply, code: u8) -> Option<String> {
        let blob = engine::configured(self.request, reply, self.config, code)?;
        blob.computed.as_ref().map(|expression| expression.text().to_owned())
    }

    fn set_by_server(&self, code: u8) -> String {
        let echoed = match code {
            code::CLIENT_ID => "RFC 6842",
            code::RELAY_AGENT_INFO => "RFC 3046",
            code::CLIENT_MACHINE_ID => "RFC 4578",
            code::SUBNET_SELECTION => "RFC 3011",
            code::VIRTUAL_SUBNET_SELECTION => "RFC 6607",
            _ => return "the server".into(),
        };
        format!("the request, echoed ({echoed})")
    }

    /// A setting's place in the configuration.
    fn origin(&self, reply: &engine::Reply, origin: Origin) -> String {
        let subnet = self.config.subnets.get(usize::from(reply.subnet));
        match origin {
            Origin::Overlay(index) => {
                let class = u8::try_from(index).ok().and_then(|class| self.config.classes.compiled.get(class));
                class.map_or_else(|| "the reservation".into(), |class| format!("class {}", class.name()))
            }
            Origin::Level(Level::Prefix) => "the subnet's prefix".into(),
            Origin::Level(Level::Global) => "global".into(),
            Origin::Level(Level::Network) => {
                let name = subnet.and_then(|subnet| subnet.network.as_deref());
                format!("network {}", name.unwrap_or_default())
            }
            Origin::Level(Level::Pool) => {
                let address = reply.your_address;
                let pool = subnet.and_then(|subnet| {
                    subnet.pool_options.iter().find(|pool| pool.range.contains(address)).map(|pool| pool.range)
                });
                pool.map_or_else(|| "pool".into(), |range| format!("pool {range}"))
            }
            Origin::Level(Level::Subnet | Level::Overlay) => {
                subnet.map_or_else(String::new, |subnet| format!("subnet {}", subnet.prefix))
            }
        }
    }

    /// Options that the client asks for, that are configured for it, and that are not there.
    fn left_out(&self, reply: &engine::Reply, sent: &[u8]) -> Vec<String> {
        let routes = sent.contains(&code::CLASSLESS_ROUTE);
        let list = self.request.parameter_request_list.iter();
        let missing = list
            .copied()
            .filter(|code| !sent.contains(code) && engine::origin(self.request, reply, self.config, *code).is_some());
        let name = |code| self.config.definitions.name_of(code);
        missing
            .map(|code| match code {
                code::ROUTER | code::STATIC_ROUTE if routes => {
                    format!("{}: classless routes make it superfluous (RFC 3442)", name(code))
                }
                code => match self.expression(reply, code) {
                    Some(text) => format!("{}: {text} has no value here, or it does not fit", name(code)),
                    None => format!("{}: it does not fit into the message", name(code)),
                },
            })
            .collect()
    }

    pub(super) fn identifier(&self, kind: IdKind, network: u16) -> Option<Vec<u8>> {
        let request = self.request;
        match kind {
            IdKind::FlexId => engine::flex_id(network, request, &self.ingress, self.config).map(|id| id.to_vec()),
            IdKind::ClientId => request.client_id.map(<[u8]>::to_vec),
            IdKind::HwAddress => Some(request.hw.bytes().to_vec()),
            IdKind::CircuitId => request.relay_agent()?.circuit_id().map(<[u8]>::to_vec),
            IdKind::RemoteId => request.relay_agent()?.remote_id().map(<[u8]>::to_vec),
        }
    }
}
