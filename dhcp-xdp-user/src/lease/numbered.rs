//! The table by the numbers of its slots, for indexes beside it: a number stands for one address as long as the table lives.

use std::net::Ipv4Addr;

use super::{Binding, Contended, LeaseTable};

impl LeaseTable {
    /// How many slots there are; their numbers begin at zero.
    pub fn slots(&self) -> u32 {
        self.layout.slots()
    }

    /// The number of an address; `None`: it is neither in a pool nor reserved.
    pub fn slot_of(&self, address: Ipv4Addr) -> Option<u32> {
        self.layout.slot_of(address).map(|(slot, _)| slot)
    }

    /// A consistent copy of a slot, as it is at `now_s`; `None` of one that nobody has ever had. It waits for nobody.
    ///
    /// # Errors
    /// Another thread is changing it at this moment.
    pub fn binding_at(&self, slot: u32, now_s: u32) -> Result<Option<Binding>, Contended> {
        if slot >= self.slots() {
            return Ok(None);
        }
        self.copy_within(slot, now_s, 1)
    }
}
