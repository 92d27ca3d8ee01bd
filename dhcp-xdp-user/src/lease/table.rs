//! CONTRACT STUB: the operations of the table. To be replaced by the implementation with these signatures.

use std::net::Ipv4Addr;

use super::{Binding, ClientKey, HwAddress, Lease};

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
    /// The subnet that the key was made for.
    pub subnet: u16,
    /// Its hardware address.
    pub hw: &'a HwAddress,
    /// Its client identifier, or empty.
    pub client_id: &'a [u8],
}

/// Why no address can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Every address of the subnet is in use.
    #[error("no free address")]
    Exhausted,
    /// Another worker is changing the same slot at this moment.
    #[error("slot is being changed")]
    Contended,
}

/// Why an address cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The address is in no pool of the subnet.
    #[error("not in a pool")]
    NotInPool,
    /// Another client has it (bound, or offered and still held), or it is quarantined.
    #[error("taken")]
    Taken,
    /// Another worker is changing the same slot at this moment.
    #[error("slot is being changed")]
    Contended,
}

/// How many addresses are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// All addresses of all pools.
    pub total: u64,
    /// Offered.
    pub offered: u64,
    /// Bound.
    pub bound: u64,
    /// Released or expired, their client remembered.
    pub remembered: u64,
    /// Declined.
    pub declined: u64,
}

/// The table. All methods take `&self` and may be called from any thread.
pub struct LeaseTable {}

impl LeaseTable {
    /// A table over these ranges, which do not overlap; all memory is taken now.
    pub fn new(_ranges: &[PoolRange], _secret: [u64; 2]) -> Self {
        todo!()
    }
    /// The key of a client.
    pub fn key(&self, _subnet: u16, _hw: &HwAddress, _client_id: &[u8]) -> ClientKey {
        todo!()
    }
    /// Brings what the next call for this client needs near, without waiting for it.
    pub fn prefetch(&self, _key: &ClientKey) {}
    /// The client's slot in its present state; an overdue one reads as expired at `now_s`.
    pub fn find(&self, _key: &ClientKey, _now_s: u32) -> Option<Lease> {
        todo!()
    }
    /// Holds an address for a client until `hold_until_s`: the one that it has or had, else `wanted` when free, else the
    /// next free one. A bound lease of the client stays bound and is returned as it is.
    pub fn offer(
        &self,
        _client: &Client<'_>,
        _wanted: Option<Ipv4Addr>,
        _hold_until_s: u32,
        _now_s: u32,
    ) -> Result<Lease, OfferError> {
        todo!()
    }
    /// Binds `address` to the client until `expires_s`. An offer that the client holds on another address is given up; a
    /// bound lease of it on another address is released (the returned value's generation orders them in the journal).
    pub fn bind(
        &self,
        _client: &Client<'_>,
        _address: Ipv4Addr,
        _expires_s: u32,
        _now_s: u32,
    ) -> Result<Lease, BindError> {
        todo!()
    }
    /// Takes back the offer that the client holds, if any: another server was chosen. True if there was one.
    pub fn withdraw(&self, _key: &ClientKey, _now_s: u32) -> bool {
        todo!()
    }
    /// Releases `address` if this client has it bound; the client is remembered.
    pub fn release(&self, _key: &ClientKey, _address: Ipv4Addr, _now_s: u32) -> Option<Lease> {
        todo!()
    }
    /// Puts `address` into quarantine until `until_s` if this client has it bound or offered; the client is forgotten.
    pub fn decline(&self, _key: &ClientKey, _address: Ipv4Addr, _until_s: u32, _now_s: u32) -> Option<Lease> {
        todo!()
    }
    /// Releases an address whoever has it (an operator's command).
    pub fn release_address(&self, _address: Ipv4Addr, _now_s: u32) -> Option<Lease> {
        todo!()
    }
    /// Puts back what the journal kept; an older generation than the slot's is ignored. False: the address is in no pool.
    pub fn restore(&self, _binding: &Binding, _subnet: u16, _now_s: u32) -> bool {
        todo!()
    }
    /// A consistent copy of the slot of an address.
    pub fn get(&self, _address: Ipv4Addr, _now_s: u32) -> Option<Binding> {
        todo!()
    }
    /// All slots that are not free, each a consistent copy of its own.
    pub fn iter(&self, _now_s: u32) -> impl Iterator<Item = Binding> + '_ {
        std::iter::empty()
    }
    /// One step of expiry, called by one housekeeping thread: turns overdue slots into free ones, at most `budget` of them.
    pub fn expire(&self, _now_s: u32, _budget: usize) -> usize {
        todo!()
    }
    /// Counts by state.
    pub fn counts(&self) -> TableCounts {
        todo!()
    }
}
