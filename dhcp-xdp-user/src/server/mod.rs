//! The server as a whole: puts the rooms together, starts them, stops them in order.
//!
//! The command line starts and stops a [`Server`]; control reads its [`Stats`]. Start: interfaces are looked at, the journal is
//! replayed into the table, XDP programs are attached, sockets opened, threads started, and only then is the first frame
//! redirected. Stop, so that the ledger closes: nothing more is redirected, rings are emptied, parked ACKs become durable and
//! leave, the journal is synced, programs are taken off, sockets are closed.

mod error;
mod interface;
mod ping;
mod state;

use std::{
    collections::BTreeSet,
    fs::File,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

pub use error::StartError;
pub(crate) use state::{Adoption, expect_room};

use crate::{
    clock::Clock,
    config::{Config, Durability},
    events::{EventStats, Events, Surroundings},
    journal::{self, Journal, JournalError, JournalStatus, Lane, OnFreed, Recovery, keep_vrfs},
    lease::{LeaseTable, LimitKey},
    leasequery::{
        self,
        index::Index,
        tcp::{self, Counters, Listening, Tcp},
    },
    ping::{IcmpSocket, PingCounters},
    stats::{LeaseStats, Ledger, SCHEMA, Stats},
    wake::Wake,
    worker::ring::Options,
    xsk::Device,
};
use interface::{Interface, Running};
use ping::Pinging;

/// How long stopping waits for the disk to take what is parked.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How often housekeeping runs.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Slots that one step of expiry looks at at most, and steps a second at most: a million leases that begin and a million that
/// end in a second are dealt with in some tenths of one, without holding anybody up. (A slot that is overdue already reads as
/// expired.)
const EXPIRE_STEP: usize = 1024;
const EXPIRE_STEPS: usize = 2048;

/// What the server's threads and its statistics share.
struct Shared {
    config: Arc<Config>,
    leases: Arc<LeaseTable>,
    /// Where queries about leases are answered.
    leasequery: Option<Arc<Index>>,
    /// What it does over TCP.
    tcp: Option<Counters>,
    clock: Clock,
    interfaces: Vec<Interface>,
    /// `None` once it is stopped.
    journal: Mutex<Option<Journal>>,
    /// Its last word, once it is stopped.
    last_journal: Mutex<JournalStatus>,
    /// As `journal`: what deals with events, and its last word.
    events: Mutex<Option<Events>>,
    last_events: Mutex<EventStats>,
    failure: Mutex<Option<String>>,
    /// Where addresses are probed.
    ping: Option<Arc<PingCounters>>,
}

/// A server that serves. Dropping it without [`stop`](Server::stop) stops it as well, and tells nobody how that went.
pub struct Server {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    workers: Vec<Running>,
    housekeeping: Option<(Sender<()>, JoinHandle<()>)>,
    leasequery: Option<JoinHandle<()>>,
    tcp: Option<Tcp>,
    pinging: Option<Pinging>,
    control: Option<(Lane, Arc<Wake>)>,
    /// A lock on the history's directory: two servers would write over each other's lines.
    _history: Option<File>,
}

impl Server {
    /// Starts all of it. When this returns, requests are being answered.
    ///
    /// # Errors
    /// See [`StartError`]; nothing stays attached, open or running.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let devices = config.interfaces.iter().map(|i| Device::find(&i.name)).collect::<Result<Vec<_>, _>>()?;
        let leasequery = config.leasequery.as_ref();
        let over_tcp = leasequery.and_then(|leasequery| Some((leasequery.tcp.clone()?, &leasequery.interfaces)));
        let listening = over_tcp.map(|(tcp, interfaces)| Listening::open(tcp, interfaces.as_deref())).transpose()?;
        let icmp = config.ping_check.as_ref().map(|_| IcmpSocket::open()).transpose().map_err(StartError::Ping)?;
        state::prepare_dir(&config.state_dir)?;
        let journal = Recovery::open(&config.state_dir)?;
        keep_vrfs(&config.state_dir, config.subnets.vrfs())?;
        let clock = state::resume_clock(&journal);
        let leases = Arc::new(state::recover(&config, &journal, clock.now_s())?);

        let mut interfaces = Vec::new();
        let mut seats = Vec::new();
        for (index, device) in devices.into_iter().enumerate() {
            let (interface, opened) = interface::open(&config, index, device)?;
            interfaces.push(interface);
            seats.extend(opened);
        }
        interface::assign_cpus(&config, &mut seats);
        let pinging = icmp.map(|socket| Pinging::start(&config, socket, &mut seats)).transpose()?;

        // The last lane is control's.
        let control_wake = Arc::new(Wake::new().map_err(StartError::Wake)?);
        let mut wakes: Vec<_> = seats.iter().map(|seat| Arc::clone(&seat.wake)).collect();
        wakes.push(Arc::clone(&control_wake));
        let history = config.events.history.as_ref();
        let history_dir = history.map(|history| history.files(&config.state_dir).dir);
        let held = history_dir.map(|dir| state::hold_history(&dir, &config.state_dir)).transpose()?.flatten();
        let retain = history.map(|history| history.retain(&config.state_dir));
        let (durability, compaction) = (config.durability, config.compaction);
        let on_freed = leases.has_limits().then(|| {
            let leases = Arc::clone(&leases);
            Arc::new(move |keys: &[LimitKey]| leases.free(keys)) as OnFreed
        });
        let options = journal::Options { durability, compaction, clock, retain, on_freed };
        let (journal, mut lanes) = journal.start(options, wakes)?;
        let control = lanes.pop().map(|lane| (lane, control_wake));

        let leasequery = config.leasequery.as_ref().map(|_| Arc::new(Index::new(leases.slots(), state::secret())));
        let shared = Arc::new(Shared {
            config,
            leases,
            leasequery,
            tcp: listening.as_ref().map(Listening::counters),
            clock,
            interfaces,
            journal: Mutex::new(Some(journal)),
            last_journal: Mutex::default(),
            events: Mutex::default(),
            last_events: Mutex::default(),
            failure: Mutex::default(),
            ping: pinging.as_ref().map(Pinging::counters),
        });
        let mut server = Self {
            shared,
            stop: Arc::default(),
            workers: Vec::new(),
            housekeeping: None,
            leasequery: None,
            tcp: None,
            pinging,
            control,
            _history: held,
        };
        // From here on an error drops the server, which stops what runs by then.
        server.run(seats, lanes, listening)?;
        Ok(server)
    }

    fn run(
        &mut self,
        seats: Vec<interface::Seat>,
        lanes: Vec<Lane>,
        listening: Option<Listening>,
    ) -> Result<(), StartError> {
        self.shared.start_events()?;
        for (seat, lane) in seats.into_iter().zip(lanes) {
            self.workers.push(interface::spawn(&self.shared, seat, lane, &self.stop)?);
        }
        let (stop, stopped) = bounded(0);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("housekeeping".into())
            .spawn(move || {
                while stopped.recv_timeout(HOUSEKEEPING) == Err(RecvTimeoutError::Timeout) {
                    shared.keep_house();
                }
            })
            .map_err(|source| StartError::Thread { name: "housekeeping".into(), source })?;
        self.housekeeping = Some((stop, thread));
        self.keep_leasequery()?;
        self.tcp = listening.map(|listening| self.shared.answer_over_tcp(listening)).transpose()?.flatten();
        for interface in &self.shared.interfaces {
            interface.redirect()?;
        }
        Ok(())
    }

    /// Starts the thread that fills leasequery's index, where there is one.
    fn keep_leasequery(&mut self) -> Result<(), StartError> {
        let shared = Arc::clone(&self.shared);
        let followers = lock(&shared.journal).as_ref().map(Journal::followers);
        let (Some(index), Some(followers)) = (shared.leasequery.clone(), followers) else { return Ok(()) };
        let stop = Arc::clone(&self.stop);
        let keep = move || leasequery::keep::keep(&index, &shared.leases, &followers, shared.clock, &stop);
        let name = "leasequery".to_owned();
        let thread = std::thread::Builder::new().name(name.clone()).spawn(keep);
        self.leasequery = Some(thread.map_err(|source| StartError::Thread { name, source })?);
        Ok(())
    }

    /// The configuration that it was started with.
    pub fn config(&self) -> &Arc<Config> {
        &self.shared.config
    }

    /// Its leases.
    pub fn leases(&self) -> &Arc<LeaseTable> {
        &self.shared.leases
    }

    /// Its clock, which lease times are in.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Control's own way into the journal and what the journal wakes it with; once. Give it up before [`stop`](Self::stop).
    pub fn take_control_lane(&mut self) -> Option<(Lane, Arc<Wake>)> {
        self.control.take()
    }

    /// What it counts, at this moment.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// A way to take [`stats`](Self::stats) from another thread; to be dropped before [`stop`](Self::stop).
    pub fn stats_source(&self) -> impl Fn() -> Stats + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.stats()
    }

    /// What serves no more, if anything: an interface that is gone, mostly. The others serve on.
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared.failure).clone()
    }

    /// Stops in order, within some seconds (a disk that does not answer is given ten), and returns the last statistics.
    ///
    /// # Errors
    /// The disk did not take the journal's last records; their ACKs were never sent, unless durability is not `sync`.
    pub fn stop(mut self) -> Result<Stats, JournalError> {
        self.stop_all()
    }

    fn stop_all(&mut self) -> Result<Stats, JournalError> {
        for interface in &self.shared.interfaces {
            interface.stop_redirecting();
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(tcp) = &self.tcp {
            tcp.begin_to_stop();
        }
        for worker in &self.workers {
            worker.wake.wake();
        }
        // Sockets and lanes come back here, and live until the statistics are taken.
        let ended: Vec<_> = self.workers.drain(..).filter_map(Running::join).collect();
        // After those that ask it: it has nothing under way that anybody waits for.
        self.pinging = None;
        if let Some((stop, thread)) = self.housekeeping.take() {
            drop(stop);
            // It cannot panic but for a bug; the panic was printed then.
            let _ = thread.join();
        }
        if let Some(thread) = self.leasequery.take() {
            let _ = thread.join();
        }
        if let Some(tcp) = self.tcp.take() {
            tcp.stop();
        }
        let sockets: Vec<_> = ended.into_iter().map(|(socket, _lane)| socket).collect();
        self.control = None;
        // Before the disk is waited for, which may take its time.
        for interface in &self.shared.interfaces {
            interface.detach();
        }
        let journal = lock(&self.shared.journal).take();
        let mut result = Ok(());
        if let Some(journal) = journal {
            let (status, stopped) = journal.stop_with_status();
            *lock(&self.shared.last_journal) = status;
            result = stopped;
        }
        // After the journal: the history is to have all of it.
        let events = lock(&self.shared.events).take();
        if let Some(events) = events {
            *lock(&self.shared.last_events) = events.stop();
        }
        let stats = self.shared.stats();
        for interface in &self.shared.interfaces {
            interface.close();
        }
        drop(sockets);
        report(&stats);
        result.map(|()| stats)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = lock(&self.shared.journal).is_some();
        if running && let Err(error) = self.stop_all() {
            log::error!("{error}");
        }
    }
}

impl Shared {
    fn stats(&self) -> Stats {
        let interfaces: Vec<_> = self.interfaces.iter().map(Interface::stats).collect();
        let journal = lock(&self.journal).as_ref().map(Journal::status);
        let events = lock(&self.events).as_ref().map(Events::stats);
        Stats {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.clock.elapsed().as_secs(),
            ledger: Ledger::of(&interfaces),
            interfaces,
            journal: journal.unwrap_or_else(|| lock(&self.last_journal).clone()),
            leases: LeaseStats::from(self.leases.counts()),
            leasequery_tcp: self.tcp.as_ref().map(Counters::read),
            ping_check: self.ping.as_ref().map(|counters| counters.snapshot()),
            events: events.unwrap_or_else(|| lock(&self.last_events).clone()),
        }
    }

    /// Starts the thread of queries over TCP; none once the journal is stopped.
    fn answer_over_tcp(&self, listening: Listening) -> Result<Option<Tcp>, StartError> {
        let Some(followers) = lock(&self.journal).as_ref().map(Journal::followers) else { return Ok(None) };
        // What was acknowledged and lost when the machine stopped is in no table.
        let known_since_s = if self.config.durability == Durability::Sync { 0 } else { self.clock.now_s() };
        let addresses: BTreeSet<_> = listening.addresses().collect();
        let at = self.config.leasequery.as_ref().and_then(|leasequery| leasequery.interfaces.as_ref());
        log::info!(
            "leasequery over TCP on {}{}",
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            at.map_or_else(String::new, |names| format!(" at {}", names.join(", ")))
        );
        let world = tcp::World {
            config: Arc::clone(&self.config),
            leases: Arc::clone(&self.leases),
            index: self.leasequery.clone(),
            clock: self.clock,
            followers,
            known_since_s,
        };
        Ok(Some(listening.serve(world)?))
    }

    /// The threads that deal with lease events, behind the journal.
    fn start_events(&self) -> Result<(), StartError> {
        let Some(followers) = lock(&self.journal).as_ref().map(Journal::followers) else { return Ok(()) };
        let around = Surroundings {
            followers,
            table: Arc::clone(&self.leases),
            clock: self.clock,
            config: Arc::clone(&self.config),
        };
        *lock(&self.events) = Some(Events::start(&self.config.events, &around)?);
        if let Some(history) = &self.config.events.history {
            log::info!("the lease history is kept in {}", history.files(&self.config.state_dir).dir.display());
        }
        if let Some(hook) = &self.config.events.hook {
            log::info!("{} is run for lease events", hook.command.display());
        }
        Ok(())
    }

    fn keep_house(&self) {
        let now_s = self.clock.now_s();
        for _ in 0..EXPIRE_STEPS {
            if self.leases.expire(now_s, EXPIRE_STEP) < EXPIRE_STEP {
                break;
            }
        }
        for interface in &self.interfaces {
            interface.log_events();
            interface.follow(|address| self.config.leases_out_on(interface.name(), address));
            interface.look_for_silence();
            if interface.lost_device() {
                self.fail(format!("{}: the interface is gone", interface.name()));
            } else if interface.lost_program() {
                // Not put back: whoever took it off meant to.
                self.fail(format!(
                    "{}: somebody took the XDP program off, so that no request arrives; restart to put it back",
                    interface.name()
                ));
            }
        }
    }

    /// Something serves no more. The first failure is kept for whoever watches the server.
    fn fail(&self, failure: String) {
        let mut first = lock(&self.failure);
        // Said once, however often it is found.
        if first.as_ref() != Some(&failure) {
            log::error!("{failure}");
        }
        first.get_or_insert(failure);
    }

    /// How the loop of a worker runs.
    fn options(&self, interface: usize) -> Options {
        Options { busy_poll: self.config.interfaces[interface].busy_poll, stop_within: STOP_WITHIN }
    }
}

/// The last log line, and what must hold by then.
fn report(stats: &Stats) {
    let Ledger { closes, seen, passed, redirected, answered, parked, dropped, ring_losses, in_rings } = stats.ledger;
    log::info!(
        "stopped: {seen} frames seen = {passed} passed + {redirected} redirected; {redirected} redirected = {answered} \
         answered + {dropped} dropped + {ring_losses} lost in rings{}",
        if closes && parked == 0 && in_rings == 0 { "" } else { "; THE LEDGER DOES NOT CLOSE" }
    );
    for interface in &stats.interfaces {
        for queue in &interface.queues {
            let frames = queue.frames;
            let whole = frames.balance() && frames.worker == 0 && frames.parked == 0;
            if !whole {
                log::error!("{} queue {}: frames leaked: {frames:?}", interface.name, queue.queue);
            }
            debug_assert!(whole, "{} queue {}: {frames:?}", interface.name, queue.queue);
        }
    }
}

/// A lock whose data is whole also after a panic: each is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
