//! The table: its parts put together, and what only looks. Changes are in [`super::change`].

use std::{net::Ipv4Addr, sync::Mutex};

use super::{
    AgentInfo, Binding, BindingState, ClientId, ClientKey, HwAddress, KeyHasher, Lease, Limit, LimitKey, LimitKeys,
    Space, SpacedAddress, Stamp,
    counts::{StateCounts, SubnetCounts, is_in_use},
    free::{FreeAddresses, UsedMap},
    free_map::FreeMap,
    index::ClientIndex,
    layout::Layout,
    limit::LimitTable,
    memory,
    plan::{Plan, ReservedMap},
    side::SideData,
    slot::{Claim, Seen, Slot},
    sync::{AtomicU32, Ordering, yield_now},
    wheel::{MAX_SLOTS, Wheel},
};

/// A range of addresses of one subnet, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRange {
    /// Index of the subnet.
    pub subnet: u16,
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
}

/// A client as a request names it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its key, of [`LeaseTable::key`].
    pub key: ClientKey,
    /// The subnet whose pools it gets an address of.
    pub subnet: u16,
    /// Its hardware address.
    pub hw: &'a HwAddress,
    /// Its client identifier, or empty.
    pub client_id: &'a [u8],
    /// What its lease counts against; when empty, whatever it counts against already.
    pub limits: &'a [Limit],
    /// The relay agent information that it came with, at most 255 bytes; when empty, what is known of it stays.
    pub agent_info: &'a [u8],
}

/// Why no address can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Every address of the subnet is in use, or is overdue and not yet freed by [`LeaseTable::expire`], which is behind.
    #[error("no free address")]
    Exhausted,
    /// Another worker is changing the same slot at this moment. The client asks again.
    #[error("slot is being changed")]
    Contended,
    /// There is no room for another client identifier of this length.
    #[error("no room for the client identifier")]
    ClientIdRoom,
}

/// Why an address cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The address is in no pool of the subnet's network.
    #[error("not in a pool")]
    NotInPool,
    /// The address is reserved.
    #[error("reserved")]
    Reserved,
    /// Another client has it (bound, or offered and still held), or it is quarantined.
    #[error("taken")]
    Taken,
    /// Another worker is changing the same slot at this moment. Nothing was changed.
    #[error("slot is being changed")]
    Contended,
    /// There is no room for another client identifier of this length. Nothing was changed.
    #[error("no room for the client identifier")]
    ClientIdRoom,
    /// As many leases as allowed count against one of its limits. Nothing was changed.
    #[error("lease limit reached")]
    Limited,
}

/// Why a record cannot be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The address is in no pool of the subnet.
    #[error("not in a pool")]
    NotInPool,
    /// Another thread restores the same address or client at this moment: to be tried again once the others are done.
    #[error("slot is being changed")]
    Contended,
}

/// Another worker is changing the same slot at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot is being changed")]
pub struct Contended;

/// What binding an address changed; all of it goes to the journal, in this order: `lease`, then `released`.
///
/// The order matters when the machine stops in between. With the new binding alone on the disk, the old address stays out of
/// use until its time is over, which harms nobody; the other way round a client could lose an address that it still uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The binding.
    pub lease: Lease,
    /// The client's binding of another address, which this one ended. Its hardware address and client identifier are the
    /// client's.
    pub released: Option<Lease>,
    /// Whether anything changed. A renewal that an earlier record covers changes nothing and needs none, as long as that
    /// record is on the disk, which its `stamp` tells: else it is to be recorded again.
    pub must_record: bool,
    /// Where the record that covers the renewal is; [`Stamp::UNSETTLED`] with `must_record`.
    pub stamp: Stamp,
    /// Places that become free when the record of `lease` is durable: to be handed over with it.
    pub freed: LimitKeys,
    /// Places that become free when the record of `released` is durable.
    pub freed_by_leaving: LimitKeys,
}

/// The end of a lease, which goes to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What its address is by now.
    pub lease: Lease,
    /// Places that become free when its record is durable: to be handed over with it.
    pub freed: LimitKeys,
}

/// How many addresses are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// All addresses of all pools, and the reserved ones outside of them.
    pub total: u64,
    /// Offered.
    pub offered: u64,
    /// Bound.
    pub bound: u64,
    /// Released or expired, their client remembered.
    pub remembered: u64,
    /// Declined.
    pub declined: u64,
    /// How often relay agent information was left out because its memory is used up.
    pub agent_info_left_out: u64,
}

/// Slots that a worker which finds no free address looks at, so that none waits for the housekeeping thread.
const EXPIRE_SOME: usize = 64;

/// How often a slot that is being changed is looked at by who is in no hurry.
pub(super) const PATIENCE: usize = 1000;

/// The table. All methods take `&self` and may be called from any thread; none waits for another thread's change of a slot.
///
/// Times are seconds since 1970-01-01 UTC. What is overdue at the caller's `now_s` reads and is treated as expired, whether
/// or not [`expire`](Self::expire) has got to it.
pub struct LeaseTable {
    pub(super) keys: KeyHasher,
    pub(super) layout: Layout,
    pub(super) reserved: ReservedMap,
    networks: Box<[u16]>,
    /// By subnet; none where all are in the global space.
    spaces: Box<[Space]>,
    pub(super) slots: Box<[Slot]>,
    pub(super) side: SideData,
    pub(super) index: ClientIndex,
    pub(super) used: UsedMap,
    pub(super) free_map: FreeMap,
    pub(super) free: Box<[Option<FreeAddresses>]>,
    pub(super) wheel: Wheel,
    pub(super) counts: StateCounts,
    /// Where the configuration has lease limits.
    pub(super) limits: Option<LimitTable>,
    pub(super) subnet_counts: SubnetCounts,
    /// Held by whoever expires: wheel and queues are cleaned by one thread at a time.
    pub(super) housekeeping: Mutex<()>,
    /// The last second in which a worker without a free address found nothing overdue.
    barren_s: AtomicU32,
}

impl LeaseTable {
    /// Resident memory that an address takes, bytes: slot 64, side data 32, index 64/5, queue of freed ones 8, maps 1/4. A test
    /// holds it against what is allocated, `cargo xtask bench table` against what is resident.
    pub const BYTES_PER_ADDRESS: u64 = 118;

    /// Memory that a table of so many addresses asks for, bytes: also what is reserved for long client identifiers, which is
    /// resident as far as there are such clients.
    pub const fn bytes(addresses: u64) -> u64 {
        addresses
            .saturating_mul(Self::BYTES_PER_ADDRESS)
            .saturating_add(SideData::reserved_bytes(addresses as usize) as u64)
    }

    /// How many bindings [`restore_all`](Self::restore_all) takes together.
    pub const RESTORE_BATCH: usize = 64;

    /// The most addresses that one table can hold; the configuration's check is to refuse more.
    pub const MAX_ADDRESSES: u32 = MAX_SLOTS;

    /// A table over these ranges, which do not overlap and are at most [`MAX_ADDRESSES`](Self::MAX_ADDRESSES) together; all
    /// memory is taken now ([`bytes`](Self::bytes)). A range that breaks a rule is left out: [`counts`](Self::counts)
    /// tells the total.
    ///
    /// `secret` makes the clients' keys; it is random in a server, and need not outlive it.
    pub fn new(ranges: &[PoolRange], secret: [u64; 2]) -> Self {
        Self::planned(&Plan { pools: ranges, ..Plan::default() }, secret)
    }

    /// As [`new`](Self::new), with reserved addresses and networks of several subnets.
    pub fn planned(plan: &Plan<'_>, secret: [u64; 2]) -> Self {
        let layout = Layout::new(plan, Self::MAX_ADDRESSES);
        let slots = layout.slots() as usize;
        let subnets = layout.ranges().iter().map(|range| usize::from(range.subnet) + 1).max().unwrap_or(0);
        let (mut runs, mut total) = (vec![Vec::new(); subnets], vec![0u32; subnets]);
        for range in layout.ranges().iter().filter(|range| range.is_pool) {
            runs[usize::from(range.subnet)].push((range.base, range.base + range.len));
            total[usize::from(range.subnet)] += range.len;
        }
        let reserved_slots = || plan.reserved.iter().filter_map(|one| layout.slot_of(plan.at(one.subnet, one.address)));
        let reserved = ReservedMap::new(layout.slots(), reserved_slots().map(|(slot, _)| slot));
        let (used, free_map) = (UsedMap::new(slots), FreeMap::new(slots));
        for (slot, subnet) in reserved_slots() {
            // Nobody comes upon it: neither as a never-used address nor as a freed one.
            if used.mark(slot) {
                free_map.clear(slot);
                let in_pool = &mut total[usize::from(subnet)];
                *in_pool = in_pool.saturating_sub(u32::from(layout.is_in_pool(slot)));
            }
        }
        let free = runs.into_iter().map(|runs| (!runs.is_empty()).then(|| FreeAddresses::new(&runs))).collect();
        Self {
            subnet_counts: SubnetCounts::new(total.into_boxed_slice()),
            keys: KeyHasher::new(secret),
            reserved,
            networks: plan.networks.into(),
            spaces: if plan.spaces.iter().all(|space| *space == Space::GLOBAL) {
                [].into()
            } else {
                plan.spaces.into()
            },
            slots: memory::resident(slots, Slot::default),
            side: SideData::new(slots),
            index: ClientIndex::new(slots),
            used,
            free_map,
            free,
            wheel: Wheel::new(),
            counts: StateCounts::default(),
            limits: None,
            housekeeping: Mutex::new(()),
            barren_s: AtomicU32::new(0),
            layout,
        }
    }

    /// The table, empty still, with room for so many limits a lease, at most [`MAX_LIMITS`](super::MAX_LIMITS). Without any
    /// it costs nothing, with them some 50 bytes an address and limit.
    pub fn with_limits(mut self, limits: usize) -> Self {
        self.limits = (limits > 0).then(|| LimitTable::new(self.slots.len(), limits));
        self
    }

    /// The key of a client of this subnet, which is the same in all subnets of its network.
    pub fn key(&self, subnet: u16, hw: &HwAddress, client_id: &[u8]) -> ClientKey {
        self.keys.key(self.network_of(subnet), hw, client_id)
    }

    /// The number of a subnet's network.
    pub(super) fn network_of(&self, subnet: u16) -> u16 {
        self.networks.get(usize::from(subnet)).copied().unwrap_or(subnet)
    }

    /// The slot of an address of the subnet's network.
    pub(super) fn slot_near(&self, subnet: u16, address: Ipv4Addr) -> Option<u32> {
        let space = self.spaces.get(usize::from(subnet)).copied().unwrap_or_default();
        let (slot, of) = self.layout.slot_of(SpacedAddress::new(space, address))?;
        (self.network_of(of) == self.network_of(subnet)).then_some(slot)
    }

    /// Whether an address may be bound to this client now: it is free, or is the client's already.
    ///
    /// # Errors
    /// Another thread is changing its slot.
    pub fn is_free_for(&self, key: &ClientKey, at: impl Into<SpacedAddress>, now_s: u32) -> Result<bool, Contended> {
        let Some((slot, _)) = self.layout.slot_of(at.into()) else { return Ok(false) };
        let seen = self.slots[slot as usize].read().ok_or(Contended)?;
        Ok(may_bind(&seen, key, now_s))
    }

    /// Brings what deciding about these clients will read into the cache: all their lines of the index first, then all their
    /// slots, so that a batch waits for memory twice and not twice a client. It changes nothing.
    ///
    /// Plain loads, whose misses the processor has under way many at a time (a prefetch instruction would need `unsafe`):
    /// among 10 million leases a renewal costs a third of what it does without.
    pub fn prefetch<'a>(&self, keys: impl Iterator<Item = &'a ClientKey> + Clone) {
        let lines = keys.clone().fold(0, |sum, key| sum ^ self.index.touch(key));
        let guess = |key| self.index.guess(key).and_then(|slot| self.slots.get(slot as usize));
        let slots = keys.fold(0, |sum, key| sum ^ guess(key).map_or(0, Slot::touch));
        // They are loaded for nobody, which a compiler must not notice.
        std::hint::black_box(lines ^ slots);
    }

    /// The client's slot in its present state; an overdue one reads as expired at `now_s`.
    ///
    /// `None` also when another thread is changing that slot at this moment: before a NAK, ask [`try_find`](Self::try_find).
    pub fn find(&self, key: &ClientKey, now_s: u32) -> Option<Lease> {
        self.try_find(key, now_s).ok().flatten()
    }

    /// As [`find`](Self::find), telling "no such client" from "cannot be told at this moment".
    ///
    /// # Errors
    /// Another thread is changing the client's slot.
    pub fn try_find(&self, key: &ClientKey, now_s: u32) -> Result<Option<Lease>, Contended> {
        for _ in 0..4 {
            let Some(slot) = self.index.get(key, &self.slots) else { return Ok(None) };
            let seen = self.slots[slot as usize].read().ok_or(Contended)?;
            if seen.key == *key {
                return Ok(Some(self.lease_of(slot, &seen, now_s)));
            }
            // The client moved between the two looks.
        }
        Err(Contended)
    }

    /// A consistent copy of the slot of an address; `None` if it is in no pool or free.
    pub fn get(&self, at: impl Into<SpacedAddress>, now_s: u32) -> Option<Binding> {
        let (slot, _) = self.layout.slot_of(at.into())?;
        self.copy(slot, now_s)
    }

    /// All slots that are not free, each a consistent copy of its own, in the order of addresses, those of the global
    /// space first. One cache miss or two a slot;
    /// workers are not held up.
    pub fn iter(&self, now_s: u32) -> impl Iterator<Item = Binding> + '_ {
        (0..self.layout.slots()).filter_map(move |slot| self.copy(slot, now_s))
    }

    /// Counts by state, of some hundred counters added up. Overdue ones count as what they were until
    /// [`expire`](Self::expire) has got to them.
    pub fn counts(&self) -> TableCounts {
        let agent_info_left_out = self.side.agents_left_out();
        TableCounts { agent_info_left_out, ..self.counts.read(u64::from(self.layout.slots())) }
    }

    /// How many thousandths of a subnet's addresses are in use (offered, bound or declined): two loads. Overdue ones count until
    /// [`expire`](Self::expire) has got to them; 1000 for a subnet without addresses.
    pub fn used_permille(&self, subnet: u16) -> u32 {
        self.subnet_counts.permille(subnet)
    }

    /// One step of expiry, called by a housekeeping thread about once a second, turns
    /// overdue slots into free ones, and cleans the queues of freed addresses. It looks at no more than `budget` slots and returns at how many it did:
    /// as many as `budget` means that there is more to do at once. Nothing is journaled: time says it all. A second caller at
    /// the same time does nothing.
    pub fn expire(&self, now_s: u32, budget: usize) -> usize {
        let Ok(_alone) = self.housekeeping.try_lock() else { return 0 };
        let mut spent = self.wheel.step(&self.slots, now_s, budget, |slot| self.expire_slot(slot, now_s));
        for free in self.free.iter().flatten() {
            spent += free.prune(&self.slots, now_s, budget - spent);
        }
        spent
    }

    /// Expires a few overdue slots for a worker that finds no free address; how many it looked at. While a pool is exhausted
    /// this costs a load a request: once nothing is overdue, nothing can be before the next second. Nothing either when the
    /// housekeeping thread is at it.
    pub(super) fn expire_some(&self, now_s: u32) -> usize {
        if self.barren_s.load(Ordering::Relaxed) == now_s {
            return 0;
        }
        let Ok(_alone) = self.housekeeping.try_lock() else { return 0 };
        let looked_at = self.wheel.step(&self.slots, now_s, EXPIRE_SOME, |slot| self.expire_slot(slot, now_s));
        if looked_at == 0 {
            self.barren_s.store(now_s, Ordering::Relaxed);
        }
        looked_at
    }

    fn copy(&self, slot: u32, now_s: u32) -> Option<Binding> {
        // A writer can be off its CPU; nothing here is in a hurry.
        self.copy_within(slot, now_s, PATIENCE).ok().flatten()
    }

    /// A consistent copy of a slot, `None` of a free one; between `attempts` the thread yields.
    pub(super) fn copy_within(&self, slot: u32, now_s: u32, attempts: usize) -> Result<Option<Binding>, Contended> {
        let this = &self.slots[slot as usize];
        if this.word().state() == BindingState::Free {
            return Ok(None);
        }
        let limits = || self.limits.as_ref().map_or(LimitKeys::new(), |limits| limits.keys(slot));
        let (mut client_id, mut rest, mut agent_info) = (ClientId::new(), [0; 8], AgentInfo::new());
        let mut read = || {
            self.side.read(slot, &mut client_id, &mut rest);
            self.side.agent_info(slot, &mut agent_info);
            limits()
        };
        let found = (0..attempts).find_map(|attempt| {
            if attempt > 0 {
                yield_now();
            }
            this.read_with(&mut read)
        });
        let (seen, limits) = found.ok_or(Contended)?;
        let lease = self.lease_of(slot, &seen, now_s);
        let mut chaddr = [0; 16];
        chaddr[..8].copy_from_slice(&seen.hw.bytes);
        chaddr[8..].copy_from_slice(&rest);
        Ok(Some(Binding {
            space: lease.space,
            address: lease.address,
            state: lease.state,
            generation: lease.generation,
            started_s: lease.started_s,
            expires_s: lease.expires_s,
            hw: HwAddress { htype: seen.hw.htype, hlen: seen.hw.hlen, chaddr },
            client_id,
            limits,
            agent_info,
        }))
    }

    /// The relay agent information of a lease. `None`: the address has changed hands or time since, or is being changed.
    pub fn agent_info(&self, lease: &Lease) -> Option<AgentInfo> {
        self.agent_info_if(lease.at(), |seen| seen.generation == lease.generation).ok()?
    }

    /// The relay agent information of the lease that this client has of an address, empty when none is known. `None`: it has no
    /// such lease at `now_s`.
    ///
    /// # Errors
    /// Another thread is changing the lease.
    pub fn agent_info_of(
        &self,
        key: &ClientKey,
        at: SpacedAddress,
        now_s: u32,
    ) -> Result<Option<AgentInfo>, Contended> {
        self.agent_info_if(at, |seen| seen.key == *key && seen.word.state_at(now_s) == BindingState::Bound)
    }

    fn agent_info_if(&self, at: SpacedAddress, wanted: impl Fn(&Seen) -> bool) -> Result<Option<AgentInfo>, Contended> {
        let Some((slot, _)) = self.layout.slot_of(at) else { return Ok(None) };
        let mut agent_info = AgentInfo::new();
        let mut read = || self.side.agent_info(slot, &mut agent_info);
        let seen = (0..4).find_map(|_| self.slots[slot as usize].read_with(&mut read));
        let (seen, ()) = seen.ok_or(Contended)?;
        Ok(wanted(&seen).then_some(agent_info))
    }

    /// Whether any lease has had relay agent information.
    pub fn has_agent_info(&self) -> bool {
        self.side.has_agents()
    }

    /// What a lease counts against; nothing when the address has changed hands or time since.
    pub fn limit_keys(&self, lease: &Lease) -> LimitKeys {
        let (Some(limits), Some((slot, _))) = (&self.limits, self.layout.slot_of(lease.at())) else {
            return LimitKeys::new();
        };
        let read = (0..4).find_map(|_| self.slots[slot as usize].read_with(|| limits.keys(slot)));
        read.filter(|(seen, _)| seen.generation == lease.generation).map_or_else(LimitKeys::new, |(_, keys)| keys)
    }

    /// How many leases count against a value, those included whose end is not durable yet.
    pub fn limit_count(&self, key: LimitKey) -> u32 {
        self.limits.as_ref().map_or(0, |limits| limits.count(key))
    }

    /// Frees places: the record that does is durable by now.
    pub fn free(&self, keys: &[LimitKey]) {
        if let Some(limits) = &self.limits {
            limits.free(keys);
        }
    }

    /// Whether leases are counted at all.
    pub fn has_limits(&self) -> bool {
        self.limits.is_some()
    }

    /// Whether one more lease of this client would be one too many. Binding decides; this saves the client an offer that it
    /// could not take.
    pub fn is_limited(&self, client: &Client<'_>, now_s: u32) -> bool {
        let Some(limits) = self.limits.as_ref().filter(|_| !client.limits.is_empty()) else { return false };
        let held = self.index.get(&client.key, &self.slots).map_or_else(LimitKeys::new, |slot| limits.keys(slot));
        let reached =
            || client.limits.iter().any(|limit| !held.contains(&limit.key) && limits.count(limit.key) >= limit.most);
        // Leases that are over may count still.
        reached() && (self.expire_some(now_s) == 0 || reached())
    }

    pub(super) fn lease_of(&self, slot: u32, seen: &Seen, now_s: u32) -> Lease {
        let SpacedAddress { space, address } = self.layout.address_of(slot).0;
        Lease {
            space,
            address,
            state: seen.word.state_at(now_s),
            generation: seen.generation,
            started_s: seen.started_s,
            expires_s: seen.word.expires_s(),
        }
    }

    fn expire_slot(&self, slot: u32, now_s: u32) -> bool {
        let this = &self.slots[slot as usize];
        let Some(seen) = this.read() else { return false };
        if !seen.word.is_overdue(now_s) {
            return true;
        }
        let Some(claim) = this.claim(&seen) else { return false };
        self.publish(slot, claim, BindingState::Expired, seen.word.expires_s());
        true
    }

    /// Ends a change: everything that has to know learns of the new state.
    pub(super) fn publish(&self, slot: u32, claim: Claim<'_>, state: BindingState, expires_s: u32) {
        let before = claim.before().state();
        self.counts.moved(slot, before, state);
        if let Some(limits) = self.limits.as_ref().filter(|_| state != BindingState::Bound) {
            // What has a record to wait for has been taken out by now.
            limits.free(&limits.take(slot));
        }
        let is_reserved = self.reserved.has(slot);
        // While the slot is held, so that at rest the bit is what the slot is.
        match (is_free(before), is_free(state)) {
            (false, true) if !is_reserved => self.free_map.set(slot),
            (true, false) if !is_reserved => self.free_map.clear(slot),
            _ => {}
        }
        if !is_reserved && is_in_use(before) != is_in_use(state) {
            self.subnet_counts.moved(self.layout.address_of(slot).1, state);
        }
        let published = claim.publish(state, expires_s);
        self.after(slot, published);
    }

    /// Ends a change that is not to be.
    pub(super) fn give_back(&self, slot: u32, claim: Claim<'_>) {
        let published = claim.give_back();
        self.after(slot, published);
    }

    fn after(&self, slot: u32, published: super::slot::Published) {
        // A reserved one stays out, and says ever after that it is in the queue.
        if published.queue && !self.reserved.has(slot) {
            self.used.mark(slot);
            let subnet = self.layout.address_of(slot).1;
            if let Some(Some(free)) = self.free.get(usize::from(subnet)) {
                free.push(slot);
            }
        }
        self.wheel.watch(&self.slots, slot, published.word);
    }
}

/// Whether a slot may be bound to this client now.
pub(super) fn may_bind(seen: &Seen, key: &ClientKey, now_s: u32) -> bool {
    match seen.word.state_at(now_s) {
        BindingState::Offered | BindingState::Bound => seen.key == *key,
        BindingState::Declined => false,
        BindingState::Free | BindingState::Released | BindingState::Expired => true,
    }
}

fn is_free(state: BindingState) -> bool {
    matches!(state, BindingState::Free | BindingState::Released | BindingState::Expired)
}
