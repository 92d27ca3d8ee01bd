//! What there is to tell: the leases of a running server.

use std::sync::Arc;

use super::reply::Replies;
use crate::{
    clock::Clock,
    journal::Followers,
    lease::{Binding, LeaseTable},
    leasequery::message::Facts,
};

/// The leases, and how their changes are learned of.
pub struct World {
    /// The lease table.
    pub leases: Arc<LeaseTable>,
    /// The clock that leases are in.
    pub clock: Clock,
    /// The journal's changes as they become durable.
    pub followers: Followers,
    /// The table tells all that changed since then, seconds since 1970-01-01 UTC; zero: whenever.
    pub known_since_s: u32,
}

impl World {
    /// Tells of a binding as of `base_s`.
    pub(super) fn tell(&self, replies: &mut Replies, binding: &Binding, base_s: u32, out: &mut Vec<u8>) {
        let relay_agent_info = Some(&binding.agent_info[..]).filter(|info| !info.is_empty());
        let facts = Facts { binding, now_s: base_s, renewal_s: None, associated: &[], relay_agent_info };
        let since_start_s = u32::try_from(self.clock.elapsed().as_secs()).unwrap_or(u32::MAX);
        replies.binding(out, &facts, self.clock.now_s().saturating_sub(since_start_s));
    }
}
