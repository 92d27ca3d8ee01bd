//! A walk over the lease table in small steps, for one query.

use super::{
    query::{Primary, Selection},
    reply::{Replies, state_began},
    world::{Spaces, World},
};
use crate::{
    lease::{Binding, BindingState, Contended, HwAddress, Lease},
    wire::relay::RelayAgentInfo,
};

/// Slots that a step looks at: some tenths of a millisecond.
const STEP: u32 = 4096;
/// A step ends when it has written so many bytes: some hundred bindings.
pub(super) const CHUNK: usize = 32 << 10;

/// Which slots a walk tells of.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    /// A bulk query's.
    Selected(Selection),
    /// What changed in any way since then, seconds since 1970-01-01 UTC.
    ChangedSince(u32),
    /// What was over after the first of these times and at the second one, or has been offered to somebody else since then.
    EndedBetween(u32, u32),
}

/// Where a walk is.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    filter: Filter,
    spaces: Spaces,
    /// The only slots that can be it; `None`: any.
    only: Option<Vec<u32>>,
    /// How far it is, in `only` or the table.
    next: u32,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Bindings that were told.
    pub told: u32,
    /// Slots that were looked at.
    pub slots: u32,
    /// All has been told.
    pub is_done: bool,
    /// A slot is being changed: try again in a moment.
    pub must_wait: bool,
}

impl Walk {
    pub fn new(filter: Filter, spaces: Spaces) -> Self {
        Self { filter, spaces, only: None, next: 0 }
    }

    /// For a bulk query: where the index knows what has the value that is asked for, only there.
    pub fn selected(selection: Selection, spaces: Spaces, world: &World) -> Self {
        let value = selection.of.value();
        let index = world.index.as_ref().filter(|index| index.is_whole());
        let only = index.zip(value).and_then(|(index, value)| {
            let mut slots = Vec::new();
            for space in spaces.all(world) {
                let found = index.find(space, &value).ok().filter(|found| !found.is_cut)?;
                slots.extend(found.slots);
            }
            // Two values of one tag are one list.
            slots.sort_unstable();
            slots.dedup();
            Some(slots)
        });
        Self { filter: Filter::Selected(selection), spaces, only, next: 0 }
    }

    /// How many slots there are to look at.
    fn slots(&self, world: &World) -> u32 {
        self.only.as_ref().map_or_else(|| world.leases.slots(), |only| only.len() as u32)
    }

    /// Goes on, and tells of what it comes upon as of `base_s`. Each address is come upon once.
    pub fn step(&mut self, world: &World, replies: &mut Replies, base_s: u32, out: &mut Vec<u8>) -> Step {
        let (slots, mut step) = (self.slots(world), Step::default());
        // What is told of as expired is so at the end of its time, not at the end of the walk.
        let now_s = match self.filter {
            Filter::EndedBetween(_, until_s) => until_s,
            _ => base_s,
        };
        while self.next < slots && step.slots < STEP && out.len() < CHUNK {
            match self.look(world, now_s) {
                Ok(Some(binding)) => {
                    world.tell(replies, &binding, base_s, out);
                    step.told += 1;
                }
                Ok(None) => {}
                Err(Contended) => {
                    step.must_wait = true;
                    return step;
                }
            }
            self.next += 1;
            step.slots += 1;
        }
        step.is_done = self.next >= slots;
        step
    }

    /// The next slot, if it is to be told of.
    fn look(&self, world: &World, now_s: u32) -> Result<Option<Binding>, Contended> {
        let slot = self.only.as_ref().map_or(self.next, |only| only[self.next as usize]);
        // Most slots need but this line of the cache.
        let Some(lease) = world.leases.lease_at(slot, now_s)? else { return Ok(None) };
        if !self.spaces.have(lease.space) || !self.filter.takes(&lease) {
            return Ok(None);
        }
        let binding = match world.leases.binding_at(slot, now_s)? {
            Some(binding) => binding,
            None => lease.of(&HwAddress::default(), &[]),
        };
        // It may have changed between the two looks.
        let is_it = self.filter.takes(&binding.lease()) && self.filter.takes_client(&binding);
        Ok(is_it.then_some(binding))
    }
}

impl Filter {
    fn takes(&self, lease: &Lease) -> bool {
        match self {
            Self::Selected(Selection { of, start_s, end_s, .. }) => {
                // But for the query for all addresses, they are for current bindings (RFC 6926 8.2).
                let may_be = *of == Primary::All || lease.state == BindingState::Bound;
                may_be && changed_within(lease, *start_s, *end_s)
            }
            Self::ChangedSince(start_s) => changed_within(lease, Some(*start_s), None),
            Self::EndedBetween(after_s, until_s) => match lease.state {
                BindingState::Expired | BindingState::Released | BindingState::Offered => {
                    state_began(lease).is_some_and(|began_s| began_s > *after_s && began_s <= *until_s)
                }
                BindingState::Free | BindingState::Bound | BindingState::Declined => false,
            },
        }
    }

    fn takes_client(&self, binding: &Binding) -> bool {
        let Self::Selected(selection) = self else { return true };
        match (&selection.of, selection.of.value()) {
            (_, Some(value)) => value.is_of(binding),
            (Primary::RelayId(id), _) => RelayAgentInfo::new(&binding.agent_info).relay_id() == Some(id),
            _ => true,
        }
    }
}

/// "A DHCPv4 server SHOULD consider an address binding to have changed during a specified time window if either the
/// client-last-transaction-time or the start-time-of-state of the address binding changed during that time window" (RFC 6926
/// 8.2). What nobody ever had has not changed.
fn changed_within(lease: &Lease, start_s: Option<u32>, end_s: Option<u32>) -> bool {
    if (start_s, end_s) == (None, None) {
        return true;
    }
    let is_within = |time_s: u32| start_s.is_none_or(|start| time_s >= start) && end_s.is_none_or(|end| time_s <= end);
    state_began(lease).is_some_and(|began_s| is_within(began_s) || is_within(lease.started_s))
}
