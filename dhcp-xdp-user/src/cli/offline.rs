//! Leases without a running server: the newest record of each address in the journal.

use std::{collections::BTreeMap, net::Ipv4Addr, path::Path};

use dhcp_xdp::{
    journal::{Journal, JournalError},
    lease::{Binding, BindingState, HwAddress, is_current},
};

/// A binding without the room that a client identifier could take: a journal may hold millions.
struct Kept {
    state: BindingState,
    generation: u32,
    started_s: u32,
    expires_s: u32,
    hw: HwAddress,
    client_id: Box<[u8]>,
}

/// The newest binding of every address, in the order of addresses.
pub(super) struct Offline {
    kept: BTreeMap<Ipv4Addr, Kept>,
}

impl Offline {
    /// Reads the journal of a state directory; `None`: there is none in it.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, JournalError> {
        let mut offline = Self { kept: BTreeMap::new() };
        let report = Journal::read(state_dir, |binding| offline.add(binding))?;
        Ok((report.segments > 0).then_some(offline))
    }

    fn add(&mut self, binding: Binding) {
        if let Some(kept) = self.kept.get(&binding.address)
            && !is_current(binding.generation, kept.generation)
        {
            return;
        }
        let kept = Kept {
            state: binding.state,
            generation: binding.generation,
            started_s: binding.started_s,
            expires_s: binding.expires_s,
            hw: binding.hw,
            client_id: binding.client_id.as_slice().into(),
        };
        self.kept.insert(binding.address, kept);
    }

    /// All of them as they are at `now_s`: what is overdue has expired.
    pub fn iter(&self, now_s: u32) -> impl Iterator<Item = Binding> {
        self.kept.iter().map(move |(address, kept)| {
            let overdue = kept.state == BindingState::Bound && kept.expires_s != u32::MAX && kept.expires_s <= now_s;
            Binding {
                address: *address,
                state: if overdue { BindingState::Expired } else { kept.state },
                generation: kept.generation,
                started_s: kept.started_s,
                expires_s: kept.expires_s,
                hw: kept.hw,
                client_id: kept.client_id.iter().copied().take(255).collect(),
                limits: Default::default(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(last: u8, generation: u32, state: BindingState) -> Binding {
        Binding {
            address: Ipv4Addr::new(192, 0, 2, last),
            state,
            generation,
            started_s: 0,
            expires_s: 100,
            hw: HwAddress::default(),
            client_id: Default::default(),
            limits: Default::default(),
        }
    }

    fn read(bindings: &[Binding], now_s: u32) -> Vec<(u8, BindingState)> {
        let mut offline = Offline { kept: BTreeMap::new() };
        bindings.iter().for_each(|binding| offline.add(binding.clone()));
        offline.iter(now_s).map(|b| (b.address.octets()[3], b.state)).collect()
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
        assert!(Offline::read(dir.path()).unwrap().is_some_and(|offline| offline.iter(0).count() == 0));
    }

    #[test]
    fn what_is_overdue_has_expired() {
        let all = [binding(10, 1, BindingState::Bound), binding(9, 1, BindingState::Declined)];
        assert_eq!(read(&all, 99), [(9, BindingState::Declined), (10, BindingState::Bound)]);
        assert_eq!(read(&all, 100), [(9, BindingState::Declined), (10, BindingState::Expired)]);
    }
}
