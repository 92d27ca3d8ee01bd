//! Looking at all of the table, slot by slot, at the pace of whoever looks: for leasequery and its index.

use super::{Binding, Contended, Lease, LeaseTable, SpacedAddress, table::PATIENCE};

impl LeaseTable {
    /// How many slots there are: one an address, free ones too, in the order of addresses.
    pub fn slots(&self) -> u32 {
        self.layout.slots()
    }

    /// What a slot holds, without its client: a cache line is all that is read. Past the last slot, nothing.
    ///
    /// # Errors
    /// Another thread is changing it.
    pub fn lease_at(&self, slot: u32, now_s: u32) -> Result<Option<Lease>, Contended> {
        let Some(this) = self.slots.get(slot as usize) else { return Ok(None) };
        let seen = this.read().ok_or(Contended)?;
        Ok(Some(self.lease_of(slot, &seen, now_s)))
    }

    /// What a slot holds, with its client; `None` when that is free by now, or there is no such slot.
    ///
    /// # Errors
    /// Another thread is changing it, and does not get on with it.
    pub fn binding_at(&self, slot: u32, now_s: u32) -> Result<Option<Binding>, Contended> {
        self.copy_of(slot, now_s, PATIENCE)
    }

    /// As [`binding_at`](Self::binding_at), and waits for nobody.
    ///
    /// # Errors
    /// Another thread is changing it at this moment.
    pub fn try_binding_at(&self, slot: u32, now_s: u32) -> Result<Option<Binding>, Contended> {
        self.copy_of(slot, now_s, 1)
    }

    fn copy_of(&self, slot: u32, now_s: u32, attempts: usize) -> Result<Option<Binding>, Contended> {
        if slot < self.slots() { self.copy_within(slot, now_s, attempts) } else { Ok(None) }
    }

    /// The slot of an address; `None`: it is neither in a pool nor reserved.
    pub fn slot_of(&self, at: impl Into<SpacedAddress>) -> Option<u32> {
        self.layout.slot_of(at.into()).map(|(slot, _)| slot)
    }

    /// The address of a slot, and its space.
    pub fn address_at(&self, slot: u32) -> Option<SpacedAddress> {
        (slot < self.layout.slots()).then(|| self.layout.address_of(slot).0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::lease::{BindingState, Client, HwAddress, PoolRange};

    #[test]
    fn all_slots_are_seen_in_the_order_of_addresses_free_ones_too() {
        let range =
            |subnet, first: [u8; 4], last: [u8; 4]| PoolRange { subnet, first: first.into(), last: last.into() };
        let ranges = [range(1, [198, 51, 100, 9], [198, 51, 100, 9]), range(0, [192, 0, 2, 1], [192, 0, 2, 3])];
        let table = LeaseTable::new(&ranges, [1, 2]);
        let hw = HwAddress { htype: 1, hlen: 6, chaddr: [7; 16] };
        let client = Client {
            key: table.key(0, &hw, b"me"),
            subnet: 0,
            hw: &hw,
            client_id: b"me",
            limits: &[],
            agent_info: &[],
        };
        let bound: Ipv4Addr = [192, 0, 2, 2].into();
        table.offer(&client, Some(bound), 130, 100).unwrap();
        table.bind(&client, bound, 600, 100).unwrap();
        let seen: Vec<_> = (0..table.slots()).map(|slot| table.lease_at(slot, 200).unwrap().unwrap()).collect();
        let addresses: Vec<String> = seen.iter().map(|lease| lease.address.to_string()).collect();
        assert_eq!(addresses, ["192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.9"]);
        let states: Vec<BindingState> = seen.iter().map(|lease| lease.state).collect();
        use BindingState::{Bound, Free};
        assert_eq!(states, [Free, Bound, Free, Free]);
        assert_eq!((table.address_at(3), table.address_at(4)), (Some(Ipv4Addr::new(198, 51, 100, 9).into()), None));
        assert_eq!(table.binding_at(1, 200).unwrap().unwrap().client_id.as_slice(), b"me");
        assert_eq!(table.lease_at(1, 600).unwrap().unwrap().state, BindingState::Expired, "its time is over");
        assert_eq!((table.binding_at(0, 200), table.binding_at(4, 200)), (Ok(None), Ok(None)));
        assert_eq!(table.lease_at(4, 200), Ok(None));
        assert_eq!((table.slot_of(bound), table.slot_of(Ipv4Addr::new(192, 0, 2, 4))), (Some(1), None));
        assert_eq!(table.try_binding_at(1, 200), table.binding_at(1, 200));
    }
}
