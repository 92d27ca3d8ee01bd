//! What a request's classes mean for it: whether it is answered, what its lease counts against, for how long it is.

use super::{DropReason, Overlays};
use crate::{
    class::{ClassId, ClassSet, Packet},
    config::{ClassSettings, Config, LeaseTimes},
    lease::{Limit, LimitKey, Limits},
    wire::dhcp::MessageType,
};

/// The classes of a request, and what its lease counts against. Without classes in the configuration both are empty, and no
/// packet is asked anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classified {
    /// The classes that it is in.
    pub members: ClassSet,
    /// What a lease of its client counts against.
    pub limits: Limits,
}

impl Classified {
    /// Asks a packet for its classes, beside those that the client's reservation gives it.
    pub fn new(packet: &Packet<'_>, reserved: &ClassSet, config: &Config) -> Self {
        let classes = &config.classes;
        let mut early = classes.compiled.early_members(packet);
        early.extend(reserved.iter());
        let members = classes.compiled.late_members(packet, early);
        let mut limits = Limits::new();
        if members.intersects(&classes.limited) {
            for class in members.iter().filter(|class| classes.limited.contains(*class)) {
                let (Some(settings), Some(named)) =
                    (classes.settings.get(usize::from(class)), classes.compiled.get(class))
                else {
                    continue;
                };
                let key = |value: &[u8]| LimitKey::new(named.name(), value);
                let spawned = classes.compiled.with_value(class, packet, &members, key);
                let most = settings.lease_limit.unwrap_or(u32::MAX);
                // The configuration has no more limits than fit.
                let _ = limits.try_push(Limit { key: spawned.unwrap_or_else(|| key(&[])), most });
            }
        }
        Self { members, limits }
    }

    /// Why a request gets no answer, if its classes say so: no subnet of its network is for it. What a client gives back is taken
    /// from everybody.
    pub(super) fn refusal(
        &self,
        message_type: MessageType,
        config: &Config,
        network: &[u16],
        is_known: bool,
    ) -> Option<DropReason> {
        let mut subnets = network.iter().filter_map(|subnet| config.subnets.get(usize::from(*subnet)));
        if matches!(message_type, MessageType::Release | MessageType::Decline) {
            None
        } else if self.members.intersects(&config.classes.ignored) {
            Some(DropReason::ClassIgnored)
        } else if !subnets.any(|subnet| subnet.access.admits(&self.members, is_known)) {
            Some(DropReason::ClassDenied)
        } else {
            None
        }
    }

    /// The first of its classes, in the order in which they are written, that sets something, and what.
    pub fn first<T>(&self, config: &Config, get: impl Fn(&ClassSettings) -> Option<T>) -> Option<(ClassId, T)> {
        self.members.iter().find_map(|class| Some((class, get(config.classes.settings.get(usize::from(class))?)?)))
    }

    /// Adds what its classes lay over a reply, the first written first. More than a reply has room for is left out, the last ones.
    pub(super) fn add_overlays(&self, config: &Config, overlays: &mut Overlays) {
        if self.members.intersects(&config.classes.overlaid) {
            let overlaid = self.members.iter().filter(|class| config.classes.overlaid.contains(*class));
            let _ = overlaid.take_while(|class| overlays.push(u32::from(*class))).count();
        }
    }

    /// A subnet's lease times with those of its classes over them.
    pub fn lease_times(&self, subnet: &LeaseTimes, config: &Config) -> LeaseTimes {
        if self.members.is_empty() {
            return *subnet;
        }
        let first = |get: fn(&ClassSettings) -> Option<u32>| self.first(config, get).map(|(_, value)| value);
        let min_s = first(|class| class.min_lease_time_s).unwrap_or(subnet.min_s);
        let max_s = first(|class| class.max_lease_time_s).unwrap_or(subnet.max_s).max(min_s);
        let default_s = first(|class| class.lease_time_s).unwrap_or(subnet.default_s).clamp(min_s, max_s);
        LeaseTimes { min_s, default_s, max_s, ..*subnet }
    }
}
