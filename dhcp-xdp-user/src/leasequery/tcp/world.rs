//! What there is to tell: the leases of a running server.

use std::{net::IpAddr, sync::Arc};

use super::{
    query::Vpn,
    reply::{Known, Replies},
};
use crate::{
    clock::Clock,
    config::Config,
    engine::Remembered,
    journal::Followers,
    lease::{Binding, LeaseTable, Space},
    leasequery::{index::Index, message::Facts},
    wire::options::Codes,
};

/// The leases, and how their changes are learned of.
#[derive(Clone)]
pub struct World {
    /// The configuration: who may ask, and what clients were told.
    pub config: Arc<Config>,
    /// The lease table.
    pub leases: Arc<LeaseTable>,
    /// Where queries by a client's identifiers find it.
    pub index: Option<Arc<Index>>,
    /// The clock that leases are in.
    pub clock: Clock,
    /// The journal's changes as they become durable.
    pub followers: Followers,
    /// The table tells all that changed since then, seconds since 1970-01-01 UTC; zero: whenever.
    pub known_since_s: u32,
}

impl World {
    /// Whether an address may ask.
    pub(super) fn may_ask(&self, from: IpAddr) -> bool {
        let IpAddr::V4(from) = from else { return false };
        self.config.leasequery.as_ref().is_some_and(|leasequery| leasequery.allows(from))
    }

    /// Options of the configuration that may be told.
    pub(super) fn tellable(&self) -> Codes {
        self.config.leasequery.as_ref().map_or_else(Codes::default, |leasequery| leasequery.options)
    }

    /// The address spaces that a query is about; `None`: there is no such VPN.
    pub(super) fn spaces(&self, vpn: &Vpn) -> Option<Spaces> {
        match vpn {
            Vpn::Global => Some(Spaces::One(Space::GLOBAL)),
            Vpn::One(selection) => self.config.subnets.vrfs().selected(selection).map(Spaces::One),
            Vpn::All => Some(Spaces::All),
        }
    }

    /// Tells of a binding as of `base_s`.
    pub(super) fn tell(&self, replies: &mut Replies, binding: &Binding, base_s: u32, out: &mut Vec<u8>) {
        let remembered = Remembered::of(binding, &self.config);
        let facts = Facts {
            binding,
            now_s: base_s,
            renewal_s: remembered.as_ref().and_then(|remembered| remembered.renewal_s(binding, &self.leases)),
            // One message a binding: the list of a client's addresses has no place here (RFC 6926 5).
            associated: &[],
            relay_agent_info: Some(&binding.agent_info[..]).filter(|info| !info.is_empty()),
        };
        let up_s = u32::try_from(self.clock.elapsed().as_secs()).unwrap_or(u32::MAX);
        let known = Known {
            remembered: remembered.as_ref(),
            vpn: self.config.subnets.vrfs().selection_of(binding.space),
            free_since_s: self.clock.now_s().saturating_sub(up_s),
        };
        replies.binding(out, &facts, &known);
    }
}

/// Address spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spaces {
    One(Space),
    All,
}

impl Spaces {
    /// Each of them.
    pub fn all(self, world: &World) -> Vec<Space> {
        match self {
            Self::One(one) => vec![one],
            Self::All => {
                let vrfs = world.config.subnets.vrfs().iter();
                std::iter::once(Space::GLOBAL).chain(vrfs.map(|vrf| vrf.space)).collect()
            }
        }
    }

    pub fn have(self, space: Space) -> bool {
        match self {
            Self::One(one) => one == space,
            Self::All => true,
        }
    }
}
