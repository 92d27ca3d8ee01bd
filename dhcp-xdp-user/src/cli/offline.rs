//! Leases without a running server: the newest record of each address of each VPN in the journal.
//!
//! A journal has them in the order in which they came, and maybe more than fit into memory. So it is read once to count the
//! addresses, then once for each part of them that fits.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    ops::{ControlFlow, RangeInclusive},
    path::{Path, PathBuf},
};

use dhcp_xdp::{
    config::Vrfs,
    journal::{Addresses, Journal, JournalError, known_vrfs},
    lease::{Binding, BindingState, HwAddress, SpacedAddress, is_current},
};

/// Leases that are held in memory at a time, about: some 140 bytes each, and what their relay agents said.
const AT_A_TIME: u64 = if cfg!(test) { 2 } else { 1 << 20 };

/// A binding without the room that a client identifier could take.
struct Kept {
    state: BindingState,
    generation: u32,
    started_s: u32,
    expires_s: u32,
    hw: HwAddress,
    client_id: Box<[u8]>,
    agent_info: Box<[u8]>,
}

/// The journal of a state directory.
pub(super) struct Offline {
    dir: PathBuf,
    /// Ranges of addresses' [numbers](SpacedAddress::number) that are read one at a time.
    parts: Vec<RangeInclusive<u64>>,
    count: u64,
    /// The VPNs that were ever configured.
    pub vrfs: Vrfs,
}

impl Offline {
    /// Looks into the journal of a state directory; `None`: there is none in it.
    pub fn read(dir: &Path) -> Result<Option<Self>, JournalError> {
        let mut addresses = Addresses::default();
        let report = Journal::read(dir, |binding| {
            addresses.insert(binding.at());
        })?;
        if report.segments == 0 {
            return Ok(None);
        }
        let (mut parts, mut in_part, mut count) = (Vec::<RangeInclusive<u64>>::new(), 0, 0);
        for (block, of_block) in addresses.counts() {
            let (first, last) = (u64::from(block) << 16, u64::from(block) << 16 | 0xffff);
            count += u64::from(of_block);
            in_part += u64::from(of_block);
            match parts.last_mut() {
                Some(part) if in_part <= AT_A_TIME => *part = *part.start()..=last,
                _ => {
                    in_part = u64::from(of_block);
                    parts.push(first..=last);
                }
            }
        }
        Ok(Some(Self { dir: dir.to_owned(), parts, count, vrfs: known_vrfs(dir)? }))
    }

    /// How many addresses it has.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Calls `each` for all of them in the order of addresses, as they are at `now_s`, until it breaks off: what is overdue
    /// has expired.
    pub fn each(&self, now_s: u32, each: &mut dyn FnMut(Binding) -> ControlFlow<()>) -> Result<(), JournalError> {
        for part in &self.parts {
            for (at, kept) in self.read_those(|at| part.contains(&at.number()))? {
                if each(kept.binding(at, now_s)).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What it has of one address, in each VPN that has it.
    pub fn find(&self, address: Ipv4Addr, now_s: u32) -> Result<Vec<Binding>, JournalError> {
        let found = self.read_those(|at| at.address == address)?;
        Ok(found.into_iter().map(|(at, kept)| kept.binding(at, now_s)).collect())
    }

    fn read_those(
        &self,
        wanted: impl Fn(SpacedAddress) -> bool,
    ) -> Result<BTreeMap<SpacedAddress, Kept>, JournalError> {
        let mut found: BTreeMap<SpacedAddress, Kept> = BTreeMap::new();
        Journal::read(&self.dir, |binding| {
            let is_outdated = |kept: &Kept| !is_current(binding.generation, kept.generation);
            if wanted(binding.at()) && !found.get(&binding.at()).is_some_and(is_outdated) {
                found.insert(binding.at(), Kept::of(&binding));
            }
        })?;
        Ok(found)
    }
}

impl Kept {
    fn of(binding: &Binding) -> Self {
        Self {
            state: binding.state,
            generation: binding.generation,
            started_s: binding.started_s,
            expires_s: binding.expires_s,
            hw: binding.hw,
            client_id: binding.client_id.as_slice().into(),
            agent_info: binding.agent_info.as_slice().into(),
        }
    }

    fn binding(&self, at: SpacedAddress, now_s: u32) -> Binding {
        let overdue = self.state == BindingState::Bound && self.expires_s != u32::MAX && self.expires_s <= now_s;
        Binding {
            space: at.space,
            address: at.address,
            state: if overdue { BindingState::Expired } else { self.state },
            generation: self.generation,
            started_s: self.started_s,
            expires_s: self.expires_s,
            hw: self.hw,
            client_id: self.client_id.iter().copied().take(255).collect(),
            limits: Default::default(),
            agent_info: self.agent_info.iter().copied().take(255).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use dhcp_xdp::lease::Space;

    use super::*;

    fn binding(last: u8, generation: u32, state: BindingState) -> Binding {
        Binding {
            space: Space::GLOBAL,
            address: Ipv4Addr::new(192, 0, 2, last),
            state,
            generation,
            started_s: 0,
            expires_s: 100,
            hw: HwAddress::default(),
            client_id: Default::default(),
            limits: Default::default(),
            agent_info: Default::default(),
        }
    }

    /// Writes a journal of these and reads it.
    fn read(bindings: &[Binding], now_s: u32) -> Vec<(u8, BindingState)> {
        let dir = tempfile::tempdir().unwrap();
        let wake = std::sync::Arc::new(dhcp_xdp::wake::Wake::new().unwrap());
        let (journal, mut lanes) = Journal::start(dir.path(), dhcp_xdp::config::Durability::Sync, vec![wake]).unwrap();
        for binding in bindings {
            lanes[0]
                .submit(&binding.lease(), &binding.hw, &binding.client_id, dhcp_xdp::lease::Kept::default())
                .unwrap();
        }
        drop(lanes);
        journal.stop().unwrap();
        let offline = Offline::read(dir.path()).unwrap().unwrap();
        let mut found = Vec::new();
        let collect = &mut |binding: Binding| {
            assert!(offline.find(binding.address, now_s).unwrap().contains(&binding));
            found.push((binding.address.octets()[3], binding.state));
            ControlFlow::Continue(())
        };
        offline.each(now_s, collect).unwrap();
        assert_eq!(offline.count(), found.len() as u64);
        found
    }

    #[test]
    fn more_than_fits_into_memory_comes_in_parts_in_the_order_of_addresses() {
        let far = |block: u8, last| Binding {
            space: Space::GLOBAL,
            address: Ipv4Addr::new(10, block, 0, last),
            ..binding(last, 1, BindingState::Released)
        };
        let all: Vec<_> =
            [(7, 8), (3, 4), (5, 5), (3, 3), (9, 12), (7, 7), (3, 2)].map(|(block, last)| far(block, last)).into();
        let found = read(&all, 0);
        assert_eq!(found.iter().map(|(last, _)| *last).collect::<Vec<_>>(), [2, 3, 4, 5, 7, 8, 12]);
    }

    #[test]
    fn an_address_of_two_vpns_is_two_leases() {
        let red = |generation, state| Binding { space: Space(7), ..binding(9, generation, state) };
        use BindingState::{Bound, Released};
        let all = [binding(9, 5, Bound), red(2, Bound), binding(8, 1, Bound), red(3, Released)];
        assert_eq!(read(&all, 0), [(8, Bound), (9, Bound), (9, Released)]);
    }

    #[test]
    fn the_newest_generation_of_an_address_wins_also_when_it_wraps() {
        use BindingState::{Bound, Released};
        assert_eq!(read(&[binding(9, 2, Released), binding(9, 1, Bound)], 0), [(9, Released)]);
        assert_eq!(read(&[binding(9, 1, Bound), binding(9, 2, Released)], 0), [(9, Released)]);
        assert_eq!(read(&[binding(9, u32::MAX, Bound), binding(9, 0, Released)], 0), [(9, Released)]);
        assert_eq!(read(&[binding(9, 0, Released), binding(9, u32::MAX, Bound)], 0), [(9, Released)]);
    }

    #[test]
    fn a_directory_without_a_journal_is_no_journal_without_leases() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passwd"), "root").unwrap();
        assert!(Offline::read(dir.path()).unwrap().is_none());
        let wake = std::sync::Arc::new(dhcp_xdp::wake::Wake::new().unwrap());
        let (journal, lanes) = Journal::start(dir.path(), dhcp_xdp::config::Durability::Sync, vec![wake]).unwrap();
        drop(lanes);
        journal.stop().unwrap();
        assert!(Offline::read(dir.path()).unwrap().is_some_and(|offline| offline.count() == 0));
    }

    #[test]
    fn what_is_overdue_has_expired() {
        let all = [binding(10, 1, BindingState::Bound), binding(9, 1, BindingState::Declined)];
        assert_eq!(read(&all, 99), [(9, BindingState::Declined), (10, BindingState::Bound)]);
        assert_eq!(read(&all, 100), [(9, BindingState::Declined), (10, BindingState::Expired)]);
    }
}
