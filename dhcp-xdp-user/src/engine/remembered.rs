//! What the client of a binding was told with it, made once more from the binding and the configuration: for who asks about it
//! later (leasequery).
//!
//! What a class sets and what is computed is not among it: both are of a packet, and the client's is gone.

use std::net::Ipv4Addr;

use super::{Overlays, decide::renewal_times_s, layers::Layers};
use crate::{
    config::{Config, IdKind, Identified, OptionBlob, Subnet},
    lease::{Binding, HwAddress, LeaseTable},
    wire::relay::RelayAgentInfo,
};

/// The settings of a binding's client.
pub struct Remembered<'c> {
    index: u16,
    subnet: &'c Subnet,
    layers: Layers<'c>,
}

impl<'c> Remembered<'c> {
    /// Of a binding; `None`: its address is in no subnet.
    pub fn of(binding: &Binding, config: &'c Config) -> Option<Self> {
        let index = config.subnets.index_of(binding.at())?;
        let subnet = config.subnets.get(usize::from(index))?;
        let reserved = config.reservations.find(config.subnets.network_of(index), &Client(binding));
        let mut overlays = Overlays::default();
        if let Some(overlay) = reserved.and_then(|number| config.reservations.get(number)?.overlay) {
            overlays.push(overlay);
        }
        Some(Self { index, subnet, layers: Layers::at(binding.address, &overlays, subnet, config) })
    }

    /// An option of the client's reservation, else of its pool or subnet.
    pub fn option(&self, code: u8) -> Option<&'c OptionBlob> {
        self.layers.get(code).filter(|blob| blob.computed.is_none())
    }

    /// The options that are sent to every client, asked for or not.
    pub fn always(&self) -> impl Iterator<Item = &'c OptionBlob> {
        self.layers.all().filter(|blob| blob.always && blob.computed.is_none())
    }

    /// The server identifier that the subnet sets.
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.subnet.server_id
    }

    /// When the client was told to renew (T1) and to rebind (T2), seconds since 1970-01-01 UTC: at the latest transaction that was
    /// recorded.
    pub fn renewal_s(&self, binding: &Binding, leases: &LeaseTable) -> Option<(u32, u32)> {
        let times = &self.subnet.lease;
        if binding.expires_s == u32::MAX {
            return None;
        }
        // What the table holds is what the client was told and the slack.
        let held_s = u64::from(binding.expires_s.saturating_sub(binding.started_s));
        let told_s = held_s * 1000 / (1000 + u64::from(times.renewal_slack_permille));
        let key = leases.key(self.index, &binding.hw, &binding.client_id);
        let (t1_s, t2_s) = renewal_times_s(times, u32::try_from(told_s).unwrap_or(u32::MAX), &key)?;
        Some((binding.started_s.saturating_add(t1_s), binding.started_s.saturating_add(t2_s)))
    }
}

/// The client of a binding as reservations recognise it.
struct Client<'b>(&'b Binding);

impl Identified for Client<'_> {
    fn id(&self, kind: IdKind) -> Option<&[u8]> {
        let agent = RelayAgentInfo::new(&self.0.agent_info);
        match kind {
            IdKind::ClientId => Some(&self.0.client_id[..]).filter(|id| !id.is_empty()),
            IdKind::CircuitId => agent.circuit_id(),
            IdKind::RemoteId => agent.remote_id(),
            // The value of an expression over a packet; and what `hw` says.
            IdKind::FlexId | IdKind::HwAddress => None,
        }
    }
    fn hw(&self) -> &HwAddress {
        &self.0.hw
    }
}
