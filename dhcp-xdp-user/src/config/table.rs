//! The lease table that a configuration asks for.

use std::net::Ipv4Addr;

use super::{Config, Subnet};
use crate::lease::{LeaseTable, Plan, PoolRange, ReservedAddress, Space, SpacedAddress};

impl Config {
    /// Whether an address is a client's to have: of a pool, or reserved.
    pub fn leases_out(&self, at: impl Into<SpacedAddress>) -> bool {
        let at = at.into();
        let in_pool = |subnet: &Subnet| subnet.pools.iter().any(|pool| pool.contains(at.address));
        self.subnets.holding(at).is_some_and(in_pool) || self.reservations.of_address(at).is_some()
    }

    /// Whether an address that an interface has is a client's to have: outside of all VPNs, or in the one that the interface is in.
    pub fn leases_out_on(&self, interface: &str, address: Ipv4Addr) -> bool {
        let mut spaces = self.subnets.of_interface(interface).map(|subnet| subnet.space);
        self.leases_out(address) || spaces.any(|space| self.leases_out(SpacedAddress::new(space, address)))
    }

    /// An empty table of all pools and reserved addresses. A pool that is for some clients only is a subnet of its own there, in
    /// the same network.
    pub fn lease_table(&self, secret: [u64; 2]) -> LeaseTable {
        let of_subnet = self.subnets.iter().zip(0u16..);
        let pools: Vec<PoolRange> = of_subnet
            .flat_map(|(subnet, index)| {
                subnet.pools.iter().map(move |pool| {
                    let group = subnet.guarded_pool_at(pool.first).map_or(index, |guarded| guarded.group);
                    PoolRange { subnet: group, first: pool.first, last: pool.last }
                })
            })
            .collect();
        let reserved: Vec<ReservedAddress> = self
            .reservations
            .addresses()
            .filter_map(|at| Some(ReservedAddress { subnet: self.subnets.index_of(at)?, address: at.address }))
            .collect();
        let networks: Vec<u16> = (0..=u16::MAX).zip(&self.subnets).map(|(at, _)| self.subnets.network_of(at)).collect();
        let guarded = self
            .subnets
            .iter()
            .zip(&networks)
            .flat_map(|(subnet, network)| subnet.guarded_pools.iter().map(move |_| *network));
        let networks: Vec<u16> = networks.iter().copied().chain(guarded).collect();
        // The subnets of a network are in one space.
        let space = |network: &u16| self.subnets.get(usize::from(*network)).map_or(Space::GLOBAL, |first| first.space);
        let spaces: Vec<Space> = networks.iter().map(space).collect();
        let plan = Plan { pools: &pools, reserved: &reserved, networks: &networks, spaces: &spaces };
        LeaseTable::planned(&plan, secret).with_limits(self.classes.limited.iter().count())
    }
}
