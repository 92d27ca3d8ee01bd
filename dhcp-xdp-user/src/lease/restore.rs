//! Putting back what the journal kept, before the first worker starts.

use arrayvec::ArrayVec;

use super::{
    Binding, BindingState, Client, ClientKey, LeaseTable, RestoreError, Stamp, binding::is_current, change::Entry,
    index::Entered, slot::Claim,
};

impl LeaseTable {
    /// Puts back what the journal kept; an older generation than the slot's is ignored. Called before the first worker starts,
    /// by any number of threads, with records in any order: an address ends with its newest.
    ///
    /// A client that comes with two live bindings (a crash between the two records of [`bind`](Self::bind)) keeps both
    /// addresses out of others' reach until they expire; it is known by the one that started later.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing was changed.
    pub fn restore(&self, binding: &Binding, subnet: u16, now_s: u32) -> Result<(), RestoreError> {
        self.restore_one(binding, self.key(subnet, &binding.hw, &binding.client_id), subnet, now_s)
    }

    /// As [`restore`](Self::restore), for many at once, which is faster: their places in the index are brought into the cache
    /// together. `failed` gets those that could not be restored.
    pub fn restore_all<'a>(
        &self,
        bindings: impl Iterator<Item = (&'a Binding, u16)>,
        now_s: u32,
        mut failed: impl FnMut(&'a Binding, u16, RestoreError),
    ) {
        let mut bindings = bindings.fuse();
        let key = |(binding, subnet): (&'a Binding, u16)| {
            (binding, subnet, self.key(subnet, &binding.hw, &binding.client_id))
        };
        loop {
            let batch: ArrayVec<_, { Self::RESTORE_BATCH }> =
                bindings.by_ref().take(Self::RESTORE_BATCH).map(key).collect();
            if batch.is_empty() {
                return;
            }
            self.prefetch(batch.iter().map(|(_, _, key)| key));
            for (binding, subnet, key) in batch {
                if let Err(error) = self.restore_one(binding, key, subnet, now_s) {
                    failed(binding, subnet, error);
                }
            }
        }
    }

    fn restore_one(&self, binding: &Binding, key: ClientKey, subnet: u16, now_s: u32) -> Result<(), RestoreError> {
        let slot = self.slot_near(subnet, binding.address).ok_or(RestoreError::NotInPool)?;
        let seen = self.slots[slot as usize].read().ok_or(RestoreError::Contended)?;
        if seen.word.state() != BindingState::Free && !is_current(binding.generation, seen.generation) {
            return Ok(());
        }
        let claim = self.slots[slot as usize].claim(&seen).ok_or(RestoreError::Contended)?;
        self.used.mark(slot);
        let state = match binding.state {
            BindingState::Bound | BindingState::Declined if binding.expires_s > now_s => binding.state,
            BindingState::Released => BindingState::Released,
            _ => BindingState::Expired,
        };
        self.forget_alike(&key, slot, &claim.key());
        if binding.state == BindingState::Declined {
            self.index.remove_if_at(&key, slot);
        } else if !self.restore_index(&key, slot, &claim, state, binding.started_s) {
            self.give_back(slot, claim);
            return Err(RestoreError::Contended);
        }
        let client =
            Client { key, subnet, hw: &binding.hw, client_id: &binding.client_id, limits: &[], agent_info: &[] };
        if self.take_over(&client, slot, &claim, None).is_err() {
            // The lease stands, by the client's key; what is lost is the identifier's bytes in listings.
            let _ = self.take_over(&Client { client_id: &[], ..client }, slot, &claim, None);
        }
        self.side.write_agent_info(slot, &binding.agent_info);
        if let Some(limits) = &self.limits {
            limits.restore(slot, if state == BindingState::Bound { &binding.limits } else { &[] });
        }
        let Binding { generation, started_s, expires_s, .. } = *binding;
        let entry = Entry { state, generation, started_s, expires_s };
        self.write_and_publish(&client, slot, claim, Stamp::UNSETTLED, entry);
        Ok(())
    }

    /// Lets the index name a restored slot (held by the caller), unless the client has a better one. False: another thread
    /// restores that one, or one beside it, at this moment.
    fn restore_index(&self, key: &ClientKey, slot: u32, held: &Claim<'_>, state: BindingState, started_s: u32) -> bool {
        let other = match self.index.insert(key, slot, &self.slots, &held.key()) {
            Entered::New => return true,
            Entered::Busy => return false,
            Entered::At(other) if other == slot => return true,
            Entered::At(other) => other,
        };
        let there = &self.slots[other as usize];
        // Another client's: it was being changed, and its key could not be told from this one's.
        let Some(seen) = there.read().filter(|seen| seen.key == *key) else { return false };
        let Some(claim) = there.claim(&seen) else { return false };
        let rank = |state, started_s| (state == BindingState::Bound, started_s);
        if rank(state, started_s) >= rank(claim.before().state(), claim.started_s()) {
            self.index.move_if_at(key, other, slot);
        }
        self.give_back(other, claim);
        true
    }
}
