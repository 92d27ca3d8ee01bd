//! What control asks of a server: the seam that lets the API be tested with no server, and the server be run with no API.

use std::{
    net::Ipv4Addr,
    ops::ControlFlow,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    clock::Clock,
    config::{Config, Vrfs},
    journal::{Lane, Ticket},
    lease::{Binding, Ended, Kept, LeaseTable, SpacedAddress},
    stats::Stats,
    wake::Wake,
};

/// Longest wait for the disk when an operator releases an address.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// Why an address was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// No pool has it.
    #[error("{0} is in no pool of this server")]
    NotInPool(Ipv4Addr),
    /// Nobody has it.
    #[error("nobody has {0}: there is nothing to release")]
    NotLeased(Ipv4Addr),
    /// The disk does not keep up; nothing was changed.
    #[error("{0} is not released: the journal takes no record of it: see `journal` in `dhcp-xdp stats`")]
    JournalFull(Ipv4Addr),
    /// The disk does not keep up; the address may be leased again after a restart.
    #[error("{0} is released, but its record is not on stable storage yet: see `journal` in `dhcp-xdp stats`")]
    NotDurable(Ipv4Addr),
}

/// A running server as control sees it. Called from control's threads; may block, never on a worker.
pub trait Backend: Send + Sync + 'static {
    /// Everything it counts.
    fn stats(&self) -> Stats;
    /// Its VPNs.
    fn vrfs(&self) -> &Vrfs;
    /// What keeps it from serving all that it should, if anything does, apart from the disk.
    fn trouble(&self) -> Option<String>;
    /// Calls `each` for every binding that is not free, until it breaks off.
    fn leases(&self, each: &mut dyn FnMut(Binding) -> ControlFlow<()>);
    /// The binding of an address; `None`: it is free, or in no pool.
    fn lease(&self, at: SpacedAddress) -> Option<Binding>;
    /// Whether some pool has an address.
    fn in_pool(&self, at: SpacedAddress) -> bool;
    /// The prefix of the subnet that an address belongs to.
    fn subnet_of(&self, at: SpacedAddress) -> Option<Ipv4Net>;
    /// Takes an address back from whoever has it. When it returns, that is on stable storage, as far as the server's
    /// durability promises.
    ///
    /// # Errors
    /// Nothing to release, or the disk does not take it.
    fn release(&self, at: SpacedAddress) -> Result<Binding, ReleaseError>;
}

/// The real one.
pub struct ServerBackend {
    config: Arc<Config>,
    leases: Arc<LeaseTable>,
    clock: Clock,
    stats: Box<dyn Fn() -> Stats + Send + Sync>,
    trouble: Arc<OnceLock<String>>,
    lane: Mutex<Lane>,
    wake: Arc<Wake>,
}

impl ServerBackend {
    /// `clock` is the one that the workers keep leases in; `trouble` is filled in when a worker ends by itself; `lane` is
    /// control's own way into the journal, with what the journal wakes it with.
    pub fn new(
        config: Arc<Config>,
        leases: Arc<LeaseTable>,
        clock: Clock,
        stats: Box<dyn Fn() -> Stats + Send + Sync>,
        trouble: Arc<OnceLock<String>>,
        (lane, wake): (Lane, Arc<Wake>),
    ) -> Self {
        Self { config, leases, clock, stats, trouble, lane: Mutex::new(lane), wake }
    }

    /// The lane, once it has room for a change. It is held until the change is durable: one operator's command at a time.
    fn lane_with_room(&self, deadline: Instant) -> Option<MutexGuard<'_, Lane>> {
        let lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        while !lane.has_room() {
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(lane)
    }

    /// Hands a change over and waits until it is durable.
    fn commit(&self, lane: &mut Lane, ended: &Ended, binding: &Binding, deadline: Instant) -> bool {
        // Released, it counts against nothing.
        let kept = Kept { limits: &[], agent_info: &binding.agent_info, freed: &ended.freed };
        let pushed = lane.push(&ended.lease, &binding.hw, &binding.client_id, kept);
        let Ok(ticket) = pushed else { return false };
        lane.ring();
        !lane.parks() || self.wait_durable(lane, ticket, deadline)
    }

    fn wait_durable(&self, lane: &Lane, ticket: Ticket, deadline: Instant) -> bool {
        loop {
            self.wake.prepare();
            let durable = lane.durable() >= ticket;
            let left = deadline.saturating_duration_since(Instant::now());
            if !durable && !left.is_zero() {
                let mut fds = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                // An interrupted poll looks once more, as after any other wake.
                let _ = poll(&mut fds, timeout);
            }
            self.wake.done();
            if durable || left.is_zero() {
                return durable;
            }
        }
    }
}

impl ServerBackend {
    /// An interface whose clients cannot be answered, because neither it nor their subnet says what address to answer from.
    fn without_address(&self) -> Option<String> {
        let stats = (self.stats)();
        let bare = stats.interfaces.iter().filter(|interface| interface.addresses.is_empty());
        let needs = |name: &str| {
            let mut subnets = self.config.subnets.iter();
            subnets.any(|subnet| subnet.interface.as_deref() == Some(name) && subnet.server_id.is_none())
        };
        let found = bare.map(|interface| &interface.name).find(|name| needs(name))?;
        Some(format!("{found}: it has no IPv4 address to answer from; give it one, or its subnet a `server_id`"))
    }
}

impl Backend for ServerBackend {
    fn stats(&self) -> Stats {
        (self.stats)()
    }

    fn vrfs(&self) -> &Vrfs {
        self.config.subnets.vrfs()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.get().cloned().or_else(|| self.without_address())
    }

    fn leases(&self, each: &mut dyn FnMut(Binding) -> ControlFlow<()>) {
        for binding in self.leases.iter(self.clock.now_s()) {
            if each(binding).is_break() {
                return;
            }
        }
    }

    fn lease(&self, at: SpacedAddress) -> Option<Binding> {
        self.leases.get(at, self.clock.now_s())
    }

    fn subnet_of(&self, at: SpacedAddress) -> Option<Ipv4Net> {
        self.config.subnets.holding(at).map(|subnet| subnet.prefix)
    }

    fn in_pool(&self, at: SpacedAddress) -> bool {
        self.config.leases_out(at)
    }

    fn release(&self, at: SpacedAddress) -> Result<Binding, ReleaseError> {
        let address = at.address;
        if !self.in_pool(at) {
            return Err(ReleaseError::NotInPool(address));
        }
        let before = self.lease(at).ok_or(ReleaseError::NotLeased(address))?;
        let deadline = Instant::now() + COMMIT_PATIENCE;
        // Before anything is changed: the table must not run ahead of the journal.
        let mut lane = self.lane_with_room(deadline).ok_or(ReleaseError::JournalFull(address))?;
        let now_s = self.clock.now_s();
        let ended = self.leases.release_address(at, now_s).ok_or(ReleaseError::NotLeased(address))?;
        let lease = &ended.lease;
        // The client may have changed between the look and the release; the slot tells whose binding ended, unless it has
        // gone to yet another client since, whose record is the newer one then.
        let binding = match self.leases.get(at, now_s) {
            Some(after) if after.generation == lease.generation => after,
            _ => Binding {
                state: lease.state,
                generation: lease.generation,
                started_s: lease.started_s,
                expires_s: lease.expires_s,
                ..before
            },
        };
        if self.commit(&mut lane, &ended, &binding, deadline) {
            Ok(binding)
        } else {
            Err(ReleaseError::NotDurable(address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, AnyMachine, Durability},
        journal::{self, Journal, Recovery},
        lease::{BindingState, Client, HwAddress, Limit, LimitKey, PoolRange},
        stats::{LeaseStats, Ledger, SCHEMA},
    };

    const FILE: &str = "[[interface]]\nname = \"eth1\"\n\
        [[subnet]]\nprefix = \"198.51.100.0/24\"\npools = [\"198.51.100.9\"]\n\
        [[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.19\"]\n";

    /// A backend over a real table and a real journal in `dir`.
    fn backend(dir: &std::path::Path) -> (ServerBackend, Journal) {
        let config = Arc::new(config::parse("f", FILE, &AnyMachine).unwrap().config);
        let ranges: Vec<PoolRange> = (0..)
            .zip(&config.subnets)
            .flat_map(|(subnet, s)| s.pools.iter().map(move |p| PoolRange { subnet, first: p.first, last: p.last }))
            .collect();
        let leases = Arc::new(LeaseTable::new(&ranges, [1, 2]).with_limits(1));
        let wake = Arc::new(Wake::new().unwrap());
        let counts = Arc::clone(&leases);
        let on_freed: journal::OnFreed = Arc::new(move |keys: &[LimitKey]| counts.free(keys));
        let options = journal::Options { on_freed: Some(on_freed), ..journal::Options::new(Durability::Sync) };
        let (journal, mut lanes) = Recovery::open(dir).unwrap().start(options, vec![wake.clone()]).unwrap();
        let stats = || Stats {
            schema: SCHEMA,
            version: "0".into(),
            uptime_s: 0,
            ledger: Ledger::of(&[]),
            interfaces: vec![],
            journal: Default::default(),
            leases: LeaseStats::default(),
            leasequery_tcp: None,
            ping_check: None,
            events: Default::default(),
        };
        let lane = (lanes.pop().unwrap(), wake);
        let backend = ServerBackend::new(config, leases, Clock::start(), Box::new(stats), Arc::default(), lane);
        (backend, journal)
    }

    const CIRCUIT: Limit = Limit { key: LimitKey([7, 7]), most: 2 };

    fn bind(backend: &ServerBackend, address: Ipv4Addr) -> HwAddress {
        let mut hw = HwAddress { htype: 1, hlen: 6, chaddr: [0; 16] };
        hw.chaddr[..4].copy_from_slice(&address.octets());
        let key = backend.leases.key(1, &hw, b"me");
        let client = Client { key, subnet: 1, hw: &hw, client_id: b"me", limits: &[CIRCUIT], agent_info: &[] };
        let now_s = backend.clock.now_s();
        backend.leases.offer(&client, Some(address), now_s + 30, now_s).unwrap();
        backend.leases.bind(&client, address, now_s + 600, now_s).unwrap();
        hw
    }

    #[test]
    fn a_released_address_is_in_the_journal_when_the_answer_comes() {
        let dir = tempfile::tempdir().unwrap();
        let (backend, journal) = backend(dir.path());
        let address = Ipv4Addr::new(192, 0, 2, 12);
        let hw = bind(&backend, address);
        assert_eq!(backend.lease(address.into()).unwrap().state, BindingState::Bound);

        let released = backend.release(address.into()).unwrap();
        assert_eq!((released.state, released.hw), (BindingState::Released, hw));
        assert_eq!(released.client_id.as_slice(), b"me");
        let mut kept = Vec::new();
        Journal::read(dir.path(), |binding| kept.push(binding)).unwrap();
        assert_eq!(kept, [released]);
        assert_eq!(backend.leases.limit_count(CIRCUIT.key), 0, "and its place under a lease limit is free");
        assert_eq!(backend.lease(address.into()).unwrap().state, BindingState::Released);
        drop(backend);
        journal.stop().unwrap();
    }

    #[test]
    fn only_what_somebody_has_can_be_released() {
        let dir = tempfile::tempdir().unwrap();
        let (backend, _journal) = backend(dir.path());
        let (leased, free) = (Ipv4Addr::new(192, 0, 2, 12), Ipv4Addr::new(192, 0, 2, 13));
        bind(&backend, leased);
        backend.release(leased.into()).unwrap();
        assert_eq!(backend.release(leased.into()), Err(ReleaseError::NotLeased(leased)));
        assert_eq!(backend.release(free.into()), Err(ReleaseError::NotLeased(free)));
        let stranger = Ipv4Addr::new(192, 0, 2, 99);
        assert_eq!(backend.release(stranger.into()), Err(ReleaseError::NotInPool(stranger)));
    }

    #[test]
    fn leases_are_walked_and_found_in_their_subnet() {
        let dir = tempfile::tempdir().unwrap();
        let (backend, _journal) = backend(dir.path());
        for last in [12, 15] {
            bind(&backend, Ipv4Addr::new(192, 0, 2, last));
        }
        let mut seen = Vec::new();
        backend.leases(&mut |binding| {
            seen.push(binding.address.octets()[3]);
            ControlFlow::Continue(())
        });
        assert_eq!(seen, [12, 15]);
        let subnet = |address: [u8; 4]| backend.subnet_of(Ipv4Addr::from(address).into()).map(|net| net.to_string());
        assert_eq!(subnet([192, 0, 2, 200]).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(subnet([198, 51, 100, 1]).as_deref(), Some("198.51.100.0/24"));
        assert_eq!(subnet([192, 0, 1, 255]), None);
        assert_eq!(subnet([203, 0, 113, 1]), None);
    }
}
