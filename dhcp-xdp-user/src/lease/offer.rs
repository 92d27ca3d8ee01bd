//! Offers: addresses that are held for clients for a short time, in memory alone.
//!
//! As [`change`](super::change) does: claim the slots that are needed, or give up, and publish them when all is decided.

use std::net::Ipv4Addr;

use super::{
    BindingState, Client, ClientKey, Lease, LeaseTable, OfferError, Stamp,
    change::{ATTEMPTS, Entry, Retry},
    index::Entered,
    slot::{Claim, Seen},
};

/// Small steps of expiry that a worker which finds no free address takes at most: what others have just put before the wheel
/// comes first.
const EXPIRE_STEPS: usize = 8;

impl LeaseTable {
    /// Holds an address for a client until `hold_until_s`: the one that it has or had in the subnet's network, else `wanted` when
    /// free, else the next free one of the subnet. A bound lease of the client stays bound and is returned as it is. Not
    /// journaled. Never a reserved address: a client that has one bound still is held another beside it.
    ///
    /// # Errors
    /// [`OfferError`]; nothing was changed.
    pub fn offer(
        &self,
        client: &Client<'_>,
        wanted: Option<Ipv4Addr>,
        hold_until_s: u32,
        now_s: u32,
    ) -> Result<Lease, OfferError> {
        self.offer_keeping(client, wanted, hold_until_s, now_s, |slot| !self.reserved.has(slot))
    }

    /// As [`offer`](Self::offer), but never the address that the client has or had: it is not to have it any more.
    ///
    /// # Errors
    /// [`OfferError`]; nothing was changed.
    pub fn offer_apart(
        &self,
        client: &Client<'_>,
        wanted: Option<Ipv4Addr>,
        hold_until_s: u32,
        now_s: u32,
    ) -> Result<Lease, OfferError> {
        self.offer_keeping(client, wanted, hold_until_s, now_s, |_| false)
    }

    fn offer_keeping(
        &self,
        client: &Client<'_>,
        wanted: Option<Ipv4Addr>,
        hold_until_s: u32,
        now_s: u32,
        may_keep: impl Fn(u32) -> bool,
    ) -> Result<Lease, OfferError> {
        for _ in 0..ATTEMPTS {
            let offered = match self.index.get(&client.key, &self.slots) {
                Some(slot) if may_keep(slot) => self.offer_known(client, slot, hold_until_s, now_s),
                Some(slot) => match self.let_go(&client.key, slot, now_s) {
                    Ok(true) => {
                        let (slot, claim) = match self.take_beside(client, now_s) {
                            Some(taken) => taken,
                            None => self.take_free(client, wanted, now_s)?,
                        };
                        self.offer_beside(client, slot, claim, hold_until_s, now_s)
                    }
                    Ok(false) => Err(Retry::Changed),
                    Err(retry) => Err(retry),
                },
                None => {
                    let (slot, claim) = self.take_free(client, wanted, now_s)?;
                    self.offer_claimed(client, slot, claim, hold_until_s, now_s)
                }
            };
            match offered {
                Ok(lease) => return Ok(lease),
                Err(Retry::Changed) => {}
                Err(Retry::Contended) => return Err(OfferError::Contended),
                Err(Retry::Room) => return Err(OfferError::ClientIdRoom),
                // An offer counts against nothing.
                Err(Retry::Limited) => return Err(OfferError::Exhausted),
            }
        }
        Err(OfferError::Contended)
    }

    fn offer_known(&self, client: &Client<'_>, slot: u32, hold_until_s: u32, now_s: u32) -> Result<Lease, Retry> {
        let this = &self.slots[slot as usize];
        let seen = this.read().ok_or(Retry::Contended)?;
        if seen.key != client.key {
            return Err(Retry::Changed);
        }
        match seen.word.state_at(now_s) {
            BindingState::Bound => return Ok(self.lease_of(slot, &seen, now_s)),
            BindingState::Declined => return Err(Retry::Changed),
            _ => {}
        }
        let claim = this.claim(&seen).ok_or(Retry::Changed)?;
        let is_there = self.index.get_holding(&client.key, &self.slots, slot, &seen.key) == Some(slot);
        // Else it moved to another address between the two looks.
        let ready = if is_there { self.write_side(client, slot, Some(&seen)) } else { Err(Retry::Changed) };
        let ready = ready.inspect(|()| self.note_agent_info(client, slot, true));
        if let Err(retry) = ready {
            self.give_back(slot, claim);
            return Err(retry);
        }
        Ok(self.hold(client, slot, claim, seen.stamp, hold_until_s, now_s))
    }

    /// Holds a claimed slot, whose side data is the client's, for its offer: of the generation that it has, since nothing is journaled.
    fn hold(
        &self,
        client: &Client<'_>,
        slot: u32,
        claim: Claim<'_>,
        stamp: Stamp,
        hold_until_s: u32,
        now_s: u32,
    ) -> Lease {
        let (generation, state) = (claim.generation(), BindingState::Offered);
        let entry = Entry { state, generation, started_s: now_s, expires_s: hold_until_s };
        self.write_and_publish(client, slot, claim, stamp, entry)
    }

    /// Makes a client forget the slot that it had or was offered; true: it has it bound, and it stays so.
    fn let_go(&self, key: &ClientKey, slot: u32, now_s: u32) -> Result<bool, Retry> {
        let this = &self.slots[slot as usize];
        let seen = this.read().ok_or(Retry::Contended)?;
        if seen.key != *key {
            return Err(Retry::Changed);
        }
        let state = seen.word.state_at(now_s);
        if state == BindingState::Bound {
            return Ok(true);
        }
        let claim = this.claim(&seen).ok_or(Retry::Changed)?;
        self.index.remove_if_at(key, slot);
        match state {
            BindingState::Offered => self.publish(slot, claim, BindingState::Released, now_s),
            _ => self.give_back(slot, claim),
        }
        Ok(false)
    }

    /// One of a few slots that are always the same ones for a client: the one that it is offered already, else a free one. The
    /// index has the client elsewhere, and so cannot tell that it was offered one.
    fn take_beside(&self, client: &Client<'_>, now_s: u32) -> Option<(u32, Claim<'_>)> {
        let free = self.free.get(usize::from(client.subnet))?.as_ref()?;
        let offered = |seen: &Seen| seen.key == client.key && seen.word.state_at(now_s) == BindingState::Offered;
        let again = free.some_for(&client.key).find_map(|slot| Some((slot, self.claim_if(slot, offered)?)));
        again.or_else(|| {
            let mut few = free.some_for(&client.key).filter(|slot| !self.reserved.has(*slot));
            let taken = few.find_map(|slot| Some((slot, self.slots[slot as usize].claim_takeable(now_s)?)))?;
            self.used.mark(taken.0);
            Some(taken)
        })
    }

    /// Offers a claimed slot to a client that the index has at another one, which it keeps until it takes the offer.
    fn offer_beside(
        &self,
        client: &Client<'_>,
        slot: u32,
        claim: Claim<'_>,
        hold_until_s: u32,
        now_s: u32,
    ) -> Result<Lease, Retry> {
        self.forget_alike(&client.key, slot, &claim.key());
        if let Err(retry) = self.take_over(client, slot, &claim, None) {
            self.give_back(slot, claim);
            return Err(retry);
        }
        Ok(self.hold(client, slot, claim, Stamp::UNSETTLED, hold_until_s, now_s))
    }

    fn take_free(
        &self,
        client: &Client<'_>,
        wanted: Option<Ipv4Addr>,
        now_s: u32,
    ) -> Result<(u32, Claim<'_>), OfferError> {
        let wanted = wanted.and_then(|address| self.slot_near(client.subnet, address));
        if let Some(slot) = wanted.filter(|slot| !self.reserved.has(*slot))
            && let Some(claim) = self.slots[slot as usize].claim_takeable(now_s)
        {
            self.used.mark(slot);
            return Ok((slot, claim));
        }
        let Some(Some(free)) = self.free.get(usize::from(client.subnet)) else { return Err(OfferError::Exhausted) };
        let take = || free.take(&self.slots, &self.used, &self.free_map, now_s);
        if let Some(taken) = take() {
            return Ok(taken);
        }
        // All in use, unless some are overdue.
        for _ in 0..EXPIRE_STEPS {
            if self.expire_some(now_s) == 0 {
                break;
            }
            if let Some(taken) = take() {
                return Ok(taken);
            }
        }
        Err(OfferError::Exhausted)
    }

    fn offer_claimed(
        &self,
        client: &Client<'_>,
        slot: u32,
        claim: Claim<'_>,
        hold_until_s: u32,
        now_s: u32,
    ) -> Result<Lease, Retry> {
        self.forget_alike(&client.key, slot, &claim.key());
        match self.index.insert(&client.key, slot, &self.slots, &claim.key()) {
            Entered::New => {}
            other => {
                self.give_back(slot, claim);
                return Err(if other == Entered::Busy { Retry::Contended } else { Retry::Changed });
            }
        }
        if let Err(retry) = self.take_over(client, slot, &claim, None) {
            self.index.remove_if_at(&client.key, slot);
            self.give_back(slot, claim);
            return Err(retry);
        }
        Ok(self.hold(client, slot, claim, Stamp::UNSETTLED, hold_until_s, now_s))
    }

    /// Takes back the offer that the client holds, if any: another server was chosen. True if there was one. Not journaled.
    pub fn withdraw(&self, key: &ClientKey, now_s: u32) -> bool {
        let offered = |seen: &Seen| seen.key == *key && seen.word.state_at(now_s) == BindingState::Offered;
        let Some(slot) = self.index.get(key, &self.slots) else { return false };
        let Some(claim) = self.claim_if(slot, offered) else { return false };
        self.publish(slot, claim, BindingState::Released, now_s);
        true
    }
}
