//! Changes of the table: each claims the slots that it needs, or gives up, and publishes them when all is decided. Here are binding
//! and its ends, which the journal records; [`offer`](super::offer) has the holds that it never sees.
//!
//! Two rules keep the index and the slots in step: an entry is changed only by who holds the slot that it points to, and a
//! claim is never waited for. So two workers asking for one client, or one address, end with one slot and one owner, and
//! nobody can deadlock.

use std::net::Ipv4Addr;

use super::{
    BindError, BindingState, Bound, Client, ClientKey, Ended, Lease, LeaseTable, LimitKeys, LimitReached,
    SpacedAddress, Stamp,
    index::{ClientIndex, Entered},
    limit,
    side::Full,
    slot::{Body, Claim, HwHead, Seen},
    table::may_bind,
};

/// How often a change starts anew when others were faster, before it gives up.
pub(super) const ATTEMPTS: usize = 8;

/// Why one attempt came to nothing.
pub(super) enum Retry {
    /// Something changed in between: look again.
    Changed,
    /// Somebody holds a slot that is needed.
    Contended,
    /// There is no room for the client identifier.
    Room,
    /// A lease limit is reached.
    Limited,
}

impl From<LimitReached> for Retry {
    fn from(LimitReached: LimitReached) -> Self {
        Self::Limited
    }
}

impl From<Full> for Retry {
    fn from(Full: Full) -> Self {
        Self::Room
    }
}

/// The changing part of a slot's body.
pub(super) struct Entry {
    pub state: BindingState,
    pub generation: u32,
    pub started_s: u32,
    pub expires_s: u32,
}

impl LeaseTable {
    /// Writes a held slot's side data, unless what is there is this client's (`own`) and all that can change of it is the same.
    pub(super) fn write_side(&self, client: &Client<'_>, slot: u32, own: Option<&Seen>) -> Result<(), Retry> {
        if own.is_some_and(|seen| seen.hw == HwHead::of(client.hw) && seen.hw.hlen <= 8) {
            return Ok(());
        }
        Ok(self.side.write(slot, client.hw, client.client_id)?)
    }

    /// Puts down what a client's message says of its relay agent in the slot, which the caller holds. What was there of its
    /// `own` stays when it says nothing.
    pub(super) fn note_agent_info(&self, client: &Client<'_>, slot: u32, own: bool) {
        if !(own && client.agent_info.is_empty()) {
            self.side.write_agent_info(slot, client.agent_info);
        }
    }

    /// A claimed slot's side data becomes the client's, and its former client is forgotten. `seen` is what was claimed, if that
    /// was looked at.
    pub(super) fn take_over(
        &self,
        client: &Client<'_>,
        slot: u32,
        claim: &Claim<'_>,
        seen: Option<&Seen>,
    ) -> Result<(), Retry> {
        let (former, was_used) = (claim.key(), claim.before().state() != BindingState::Free);
        let same = was_used && former == client.key;
        self.write_side(client, slot, seen.filter(|_| same))?;
        self.note_agent_info(client, slot, same);
        if was_used && !same && !ClientIndex::are_alike(&former, &client.key) {
            self.index.remove_if_at(&former, slot);
        }
        Ok(())
    }

    /// Forgets a slot's former client before a new one is entered for it if their entries look alike: afterwards nobody could
    /// tell whose is to be removed. Should the new one not get the slot after all, the former has lost a free address that it
    /// would have been given first.
    pub(super) fn forget_alike(&self, key: &ClientKey, slot: u32, former: &ClientKey) {
        if ClientIndex::are_alike(former, key) {
            self.index.remove_if_at(former, slot);
        }
    }

    pub(super) fn write_and_publish(
        &self,
        client: &Client<'_>,
        slot: u32,
        claim: Claim<'_>,
        stamp: Stamp,
        Entry { state, generation, started_s, expires_s }: Entry,
    ) -> Lease {
        claim.write(&Body { key: client.key, generation, stamp, started_s, hw: HwHead::of(client.hw) });
        self.publish(slot, claim, state, expires_s);
        let SpacedAddress { space, address } = self.layout.address_of(slot).0;
        Lease { space, address, state, generation, started_s, expires_s }
    }

    /// Binds `address` to the client until `expires_s`, or as long as it has it already if that is longer. An offer that the
    /// client holds on another address is given up; a bound lease of it on another address is released, and is to be journaled
    /// too.
    ///
    /// # Errors
    /// [`BindError`]; nothing was changed.
    pub fn bind(&self, client: &Client<'_>, address: Ipv4Addr, expires_s: u32, now_s: u32) -> Result<Bound, BindError> {
        self.bind_with_slack(client, address, expires_s, 0, now_s)
    }

    /// As [`bind`](Self::bind), and holds the address for the client `slack_s` longer than until `expires_s`, which is what the
    /// client is told. A renewal that moves what the client is told by no more than that changes nothing: what the table
    /// holds, and the journal has, does not end before it. So a restart finds no lease that ends before its client believes.
    ///
    /// # Errors
    /// [`BindError`]; nothing was changed.
    pub fn bind_with_slack(
        &self,
        client: &Client<'_>,
        address: Ipv4Addr,
        expires_s: u32,
        slack_s: u32,
        now_s: u32,
    ) -> Result<Bound, BindError> {
        let slot = self.slot_near(client.subnet, address).ok_or(BindError::NotInPool)?;
        if self.reserved.has(slot) {
            return Err(BindError::Reserved);
        }
        self.bind_slot(client, slot, expires_s, slack_s, now_s)
    }

    /// As [`bind_with_slack`](Self::bind_with_slack), also of a reserved address: the caller says that this is its client.
    ///
    /// # Errors
    /// [`BindError`]; nothing was changed.
    pub fn bind_reserved(
        &self,
        client: &Client<'_>,
        address: Ipv4Addr,
        expires_s: u32,
        slack_s: u32,
        now_s: u32,
    ) -> Result<Bound, BindError> {
        let slot = self.slot_near(client.subnet, address).ok_or(BindError::NotInPool)?;
        self.bind_slot(client, slot, expires_s, slack_s, now_s)
    }

    fn bind_slot(
        &self,
        client: &Client<'_>,
        slot: u32,
        expires_s: u32,
        slack_s: u32,
        now_s: u32,
    ) -> Result<Bound, BindError> {
        for _ in 0..ATTEMPTS {
            let seen = self.slots[slot as usize].read().ok_or(BindError::Contended)?;
            if !may_bind(&seen, &client.key, now_s) {
                return Err(BindError::Taken);
            }
            if slack_s > 0 && self.covers(slot, &seen, client, expires_s, now_s) {
                let lease = self.lease_of(slot, &seen, now_s);
                let (freed, freed_by_leaving) = Default::default();
                let stamp = seen.stamp;
                return Ok(Bound { lease, released: None, must_record: false, stamp, freed, freed_by_leaving });
            }
            match self.bind_seen(client, slot, &seen, expires_s.saturating_add(slack_s), now_s) {
                Ok(bound) => return Ok(bound),
                Err(Retry::Changed) => {}
                Err(Retry::Contended) => return Err(BindError::Contended),
                Err(Retry::Room) => return Err(BindError::ClientIdRoom),
                // Leases that are over may count still.
                Err(Retry::Limited) if self.expire_some(now_s) > 0 => {}
                Err(Retry::Limited) => return Err(BindError::Limited),
            }
        }
        Err(BindError::Contended)
    }

    /// Whether the client has this very lease already, until then at least.
    fn covers(&self, slot: u32, seen: &Seen, client: &Client<'_>, expires_s: u32, now_s: u32) -> bool {
        let is_bound = seen.key == client.key && seen.word.state_at(now_s) == BindingState::Bound;
        let is_same = seen.hw == HwHead::of(client.hw) && seen.hw.hlen <= 8;
        is_bound
            && is_same
            && (client.agent_info.is_empty() || self.side.has_agent_info(slot, client.agent_info))
            && expires_s <= seen.word.expires_s()
            && self.index.get(&client.key, &self.slots) == Some(slot)
            && self.limits.as_ref().is_none_or(|limits| {
                let keys = limits.keys(slot);
                client.limits.is_empty() || client.limits.iter().map(|limit| limit.key).eq(keys)
            })
    }

    /// Notes where the record of a lease is on its way to the disk, as a later renewal that it covers has to know. Nothing
    /// happens when the lease is another one by now.
    pub fn stamp(&self, lease: &Lease, stamp: Stamp) {
        if let Some((slot, _)) = self.layout.slot_of(lease.at()) {
            self.slots[slot as usize].stamp(lease.generation, stamp);
        }
    }

    fn bind_seen(
        &self,
        client: &Client<'_>,
        slot: u32,
        seen: &Seen,
        expires_s: u32,
        now_s: u32,
    ) -> Result<Bound, Retry> {
        let claim = self.slots[slot as usize].claim(seen).ok_or(Retry::Changed)?;
        if seen.word.state() == BindingState::Free {
            self.used.mark(slot);
        }
        let (left, freed) = match self.point_to(client, slot, &claim, seen, now_s) {
            Ok(pointed) => pointed,
            Err(retry) => {
                self.give_back(slot, claim);
                return Err(retry);
            }
        };
        // The client may never learn of a term that ends earlier than the one it has: its ACK can get lost on the way.
        let is_renewal = seen.key == client.key && seen.word.state_at(now_s) == BindingState::Bound;
        let expires_s = if is_renewal { expires_s.max(seen.word.expires_s()) } else { expires_s };
        let (generation, state) = (seen.generation.wrapping_add(1), BindingState::Bound);
        let entry = Entry { state, generation, started_s: now_s, expires_s };
        let lease = self.write_and_publish(client, slot, claim, Stamp::UNSETTLED, entry);
        let ended = left.and_then(|(other, claim)| self.give_up(other, claim, now_s));
        let (released, freed_by_leaving) =
            ended.map_or_else(Default::default, |ended| (Some(ended.lease), ended.freed));
        Ok(Bound { lease, released, must_record: true, stamp: Stamp::UNSETTLED, freed, freed_by_leaving })
    }

    /// Makes a slot that the caller holds the client's, in the index and beside it; the slot that the client had before,
    /// claimed, and what the slot counts against no more. When that fails nothing was changed.
    fn point_to<'a>(
        &'a self,
        client: &Client<'_>,
        slot: u32,
        claim: &Claim<'_>,
        seen: &Seen,
        now_s: u32,
    ) -> Result<(Option<(u32, Claim<'a>)>, LimitKeys), Retry> {
        let key = &client.key;
        self.forget_alike(key, slot, &seen.key);
        // Nearly always a renewal: looking is cheaper than entering.
        let at = self.index.get_holding(key, &self.slots, slot, &seen.key);
        let left = match at {
            Some(at) if at == slot => None,
            Some(other) => Some((other, self.leave(key, other, slot)?)),
            None => match self.index.insert(key, slot, &self.slots, &seen.key) {
                Entered::New => None,
                Entered::At(_) => return Err(Retry::Changed),
                Entered::Busy => return Err(Retry::Contended),
            },
        };
        let from = left.as_ref().map(|(other, claim)| (*other, claim.before().state_at(now_s)));
        match self.count_and_take_over(client, slot, from, claim, seen) {
            Ok(freed) => {
                if let Some((other, _)) = from.filter(|_| client.agent_info.is_empty()) {
                    self.side.copy_agent_info(other, slot);
                }
                Ok((left, freed))
            }
            Err(retry) => {
                match left {
                    Some((other, claim)) => {
                        self.index.move_if_at(key, slot, other);
                        self.give_back(other, claim);
                    }
                    None if at.is_none() => self.index.remove_if_at(key, slot),
                    None => {}
                }
                Err(retry)
            }
        }
    }

    /// Counts the lease against the client's limits, and makes the slot's side data the client's. `left` is the slot that the
    /// client leaves for it, claimed, and its state. What the slot counts against no more; when it fails nothing was changed.
    fn count_and_take_over(
        &self,
        client: &Client<'_>,
        slot: u32,
        left: Option<(u32, BindingState)>,
        claim: &Claim<'_>,
        seen: &Seen,
    ) -> Result<LimitKeys, Retry> {
        let Some(limits) = &self.limits else {
            self.take_over(client, slot, claim, Some(seen))?;
            return Ok(LimitKeys::new());
        };
        let kept = match left {
            _ if !client.limits.is_empty() => LimitKeys::new(),
            Some((left, _)) => limits.keys(left),
            None if seen.key == client.key => limits.keys(slot),
            None => LimitKeys::new(),
        };
        let kept = limit::unlimited(kept.iter());
        let wanted = if client.limits.is_empty() { &kept[..] } else { client.limits };
        let left = match left {
            Some((left, BindingState::Bound)) => Some(left),
            Some((left, _)) => {
                // It is over by time, if it was a lease: its place is as good as anybody's.
                limits.free(&limits.take(left));
                None
            }
            None => None,
        };
        let is_own = seen.key == client.key && seen.word.state() == BindingState::Bound;
        limits.reserve(slot, is_own, left, wanted)?;
        if let Err(retry) = self.take_over(client, slot, claim, Some(seen)) {
            limits.forget(slot, wanted);
            return Err(retry);
        }
        Ok(limits.settle(slot, wanted))
    }

    /// Claims the slot that the client has, and moves its index entry to the slot that it gets, which the caller holds.
    fn leave(&self, key: &ClientKey, from: u32, to: u32) -> Result<Claim<'_>, Retry> {
        let this = &self.slots[from as usize];
        let seen = this.read().ok_or(Retry::Contended)?;
        if seen.key != *key {
            return Err(Retry::Changed);
        }
        let claim = this.claim(&seen).ok_or(Retry::Changed)?;
        if self.index.move_if_at(key, from, to) {
            return Ok(claim);
        }
        self.give_back(from, claim);
        Err(Retry::Changed)
    }

    /// Frees the slot that a client left; its end if there was a lease to release.
    fn give_up(&self, slot: u32, claim: Claim<'_>, now_s: u32) -> Option<Ended> {
        match claim.before().state_at(now_s) {
            BindingState::Bound => Some(self.end(slot, claim, BindingState::Released, now_s, now_s)),
            BindingState::Offered => {
                self.publish(slot, claim, BindingState::Released, now_s);
                None
            }
            _ => {
                self.give_back(slot, claim);
                None
            }
        }
    }

    /// Publishes a change of state that the journal records, and returns it.
    fn end(&self, slot: u32, claim: Claim<'_>, state: BindingState, now_s: u32, expires_s: u32) -> Ended {
        let freed = self.limits.as_ref().map_or_else(LimitKeys::new, |limits| limits.take(slot));
        let generation = claim.generation().wrapping_add(1);
        claim.write_span(generation, now_s);
        self.publish(slot, claim, state, expires_s);
        let SpacedAddress { space, address } = self.layout.address_of(slot).0;
        Ended { lease: Lease { space, address, state, generation, started_s: now_s, expires_s }, freed }
    }

    /// Claims a slot if `wanted` says so of it, tried a few times over.
    pub(super) fn claim_if(&self, slot: u32, wanted: impl Fn(&Seen) -> bool) -> Option<Claim<'_>> {
        (0..ATTEMPTS).find_map(|_| {
            let seen = self.slots[slot as usize].read()?;
            if wanted(&seen) { Some(self.slots[slot as usize].claim(&seen)) } else { Some(None) }
        })?
    }

    /// Releases an address if this client has it bound; the client is remembered. What is returned is to be journaled.
    pub fn release(&self, key: &ClientKey, at: impl Into<SpacedAddress>, now_s: u32) -> Option<Ended> {
        let (slot, _) = self.layout.slot_of(at.into())?;
        let theirs = |seen: &Seen| seen.key == *key && seen.word.state_at(now_s) == BindingState::Bound;
        let claim = self.claim_if(slot, theirs)?;
        Some(self.end(slot, claim, BindingState::Released, now_s, now_s))
    }

    /// Puts an address into quarantine until `until_s` if this client has it bound or offered; the client is forgotten. The
    /// returned end is to be journaled.
    pub fn decline(&self, key: &ClientKey, at: impl Into<SpacedAddress>, until_s: u32, now_s: u32) -> Option<Ended> {
        let (slot, _) = self.layout.slot_of(at.into())?;
        let theirs = |seen: &Seen| {
            let state = seen.word.state_at(now_s);
            seen.key == *key && matches!(state, BindingState::Bound | BindingState::Offered)
        };
        let claim = self.claim_if(slot, theirs)?;
        self.index.remove_if_at(key, slot);
        Some(self.end(slot, claim, BindingState::Declined, now_s, until_s))
    }

    /// Puts an address that is offered, to whomever, into quarantine until `until_s`: somebody uses it. The client is forgotten.
    /// What is returned is to be journaled, with the client of [`get`](Self::get) before.
    pub fn decline_offered(&self, at: impl Into<SpacedAddress>, until_s: u32, now_s: u32) -> Option<Ended> {
        let (slot, _) = self.layout.slot_of(at.into())?;
        let claim = self.claim_if(slot, |seen| seen.word.state_at(now_s) == BindingState::Offered)?;
        self.index.remove_if_at(&claim.key(), slot);
        Some(self.end(slot, claim, BindingState::Declined, now_s, until_s))
    }

    /// Releases an address whoever has it, also out of quarantine (an operator's command). What is returned is to be
    /// journaled, with the client of [`get`](Self::get).
    pub fn release_address(&self, at: impl Into<SpacedAddress>, now_s: u32) -> Option<Ended> {
        let (slot, _) = self.layout.slot_of(at.into())?;
        let claim = self.claim_if(slot, |seen| !seen.word.is_takeable(now_s))?;
        Some(self.end(slot, claim, BindingState::Released, now_s, now_s))
    }
}
