//! What control asks of a server: the seam that lets the API be tested with no server, and the server be run with no API.

use std::{
    net::Ipv4Addr,
    ops::ControlFlow,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    clock::Clock,
    config::Config,
    journal::{Lane, Ticket},
    lease::{Binding, BindingState, Lease, LeaseTable},
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
    /// The disk does not keep up; the address may be leased again after a restart.
    #[error("{0} is released, but its record is not on stable storage yet: see `journal` in `dhcp-xdp stats`")]
    NotDurable(Ipv4Addr),
}

/// A running server as control sees it. Called from control's threads; may block, never on a worker.
pub trait Backend: Send + Sync + 'static {
    /// Everything it counts.
    fn stats(&self) -> Stats;
    /// What keeps it from serving all that it should, if anything does, apart from the disk.
    fn trouble(&self) -> Option<String>;
    /// Calls `each` for every binding that is not free, until it breaks off.
    fn leases(&self, each: &mut dyn FnMut(Binding) -> ControlFlow<()>);
    /// The binding of an address; `None`: in no pool.
    fn lease(&self, address: Ipv4Addr) -> Option<Binding>;
    /// The prefix of the subnet that an address belongs to.
    fn subnet_of(&self, address: Ipv4Addr) -> Option<Ipv4Net>;
    /// Takes an address back from whoever has it. When it returns, that is on stable storage, as far as the server's
    /// durability promises.
    ///
    /// # Errors
    /// Nothing to release, or the disk does not take it.
    fn release(&self, address: Ipv4Addr) -> Result<Binding, ReleaseError>;
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

    /// Hands a change over and waits until it is durable. The lock is held meanwhile: one operator's command at a time.
    fn commit(&self, lease: &Lease, binding: &Binding) -> bool {
        let deadline = Instant::now() + COMMIT_PATIENCE;
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = loop {
            match lane.submit(lease, &binding.hw, &binding.client_id) {
                Ok(ticket) => break ticket,
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => return false,
            }
        };
        !lane.parks() || self.wait_durable(&lane, ticket, deadline)
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

impl Backend for ServerBackend {
    fn stats(&self) -> Stats {
        (self.stats)()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.get().cloned()
    }

    fn leases(&self, each: &mut dyn FnMut(Binding) -> ControlFlow<()>) {
        for binding in self.leases.iter(self.clock.now_s()) {
            if each(binding).is_break() {
                return;
            }
        }
    }

    fn lease(&self, address: Ipv4Addr) -> Option<Binding> {
        self.leases.get(address, self.clock.now_s())
    }

    fn subnet_of(&self, address: Ipv4Addr) -> Option<Ipv4Net> {
        self.config.subnet_of(address).map(|subnet| subnet.prefix)
    }

    fn release(&self, address: Ipv4Addr) -> Result<Binding, ReleaseError> {
        let now_s = self.clock.now_s();
        let before = self.leases.get(address, now_s).ok_or(ReleaseError::NotInPool(address))?;
        if before.state == BindingState::Free {
            return Err(ReleaseError::NotLeased(address));
        }
        let lease = self.leases.release_address(address, now_s).ok_or(ReleaseError::NotLeased(address))?;
        // The client may have changed between the look and the release; the slot tells whose binding ended, unless it has
        // gone to yet another client since, whose record is the newer one then.
        let binding = match self.leases.get(address, now_s) {
            Some(after) if after.generation == lease.generation => after,
            _ => Binding {
                state: lease.state,
                generation: lease.generation,
                started_s: lease.started_s,
                expires_s: lease.expires_s,
                ..before
            },
        };
        if self.commit(&lease, &binding) { Ok(binding) } else { Err(ReleaseError::NotDurable(address)) }
    }
}
