//! The lease table that a configuration asks for.

use super::Config;
use crate::lease::{LeaseTable, Plan, PoolRange, ReservedAddress};

impl Config {
    /// An empty table of all pools and reserved addresses.
    pub fn lease_table(&self, secret: [u64; 2]) -> LeaseTable {
        let of_subnet = self.subnets.iter().zip(0u16..);
        let pools: Vec<PoolRange> = of_subnet
            .flat_map(|(subnet, index)| {
                subnet.pools.iter().map(move |pool| PoolRange { subnet: index, first: pool.first, last: pool.last })
            })
            .collect();
        let reserved: Vec<ReservedAddress> = self
            .reservations
            .addresses()
            .filter_map(|address| Some(ReservedAddress { subnet: self.subnets.index_of(address)?, address }))
            .collect();
        let networks: Vec<u16> = (0..=u16::MAX).zip(&self.subnets).map(|(at, _)| self.subnets.network_of(at)).collect();
        let plan = Plan { pools: &pools, reserved: &reserved, networks: &networks };
        LeaseTable::planned(&plan, secret).with_limits(self.classes.limited.iter().count())
    }
}
