//! The thread that serves leasequery over TCP: listening, and who may connect.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{self, JoinSet},
};

use super::{
    connection,
    counters::{Counters, TcpStats},
    throttle::Throttle,
    world::World,
};
use crate::{
    priority::{self, Priority},
    wire::options::Codes,
};

/// How long connections may take to end when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// After an accept that failed (no descriptors left, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// How it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: Vec<SocketAddrV4>,
    /// Most connections at a time (BULK_LQ_MAX_CONNS of RFC 6926 6.3).
    pub max_connections: usize,
    /// Most connections at a time from one address.
    pub max_connections_per_source: usize,
    /// Most queries that are worked on at a time, of one connection.
    pub max_queries: usize,
    /// Most bindings that are told a second, to all requestors together; `None`: as fast as it goes.
    pub bindings_per_s: Option<u32>,
    /// How long a requestor may neither ask nor read (BULK_LQ_DATA_TIMEOUT of RFC 6926 6.3).
    pub data_timeout: Duration,
    /// Active queries; `None`: there are none.
    pub active: Option<ActiveSettings>,
}

/// How active queries are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSettings {
    /// How often a requestor that nothing changes for is told that it is still there (ACTIVE_LQ_IDLE_TIMEOUT of RFC 7724 5.3).
    pub idle: Duration,
    /// How long a requestor may not read (ACTIVE_LQ_SEND_TIMEOUT of RFC 7724 5.3).
    pub send_timeout: Duration,
    /// Options that are not told though asked for (RFC 7724 8.2).
    pub withhold: Codes,
}

/// Why it does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is on no interface.
    #[error(
        "leasequery: cannot listen on {0}: this machine has no such address (yet): give it one, or change `leasequery.tcp.listen`"
    )]
    NoAddress(SocketAddrV4),
    /// There is no such interface.
    #[error(
        "leasequery: cannot listen on {address} at {interface}: this machine has no such interface (yet): make it, or change \
         `leasequery.interfaces`"
    )]
    NoInterface {
        /// Where it was to listen.
        address: SocketAddrV4,
        /// On this interface alone.
        interface: String,
    },
    /// Something else listens there.
    #[error("leasequery: cannot listen on {0}: another program does (`ss -ltnp 'sport = {port}'` shows it)", port = .0.port())]
    InUse(SocketAddrV4),
    /// Ports below 1024 are for the privileged.
    #[error("leasequery: cannot listen on {0}: not permitted: it needs CAP_NET_BIND_SERVICE for a port below 1024")]
    NotPermitted(SocketAddrV4),
    /// The operating system refused.
    #[error("leasequery: cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why not.
        source: io::Error,
    },
}

/// What all connections share.
pub(super) struct Shared {
    pub settings: Settings,
    pub world: World,
    pub throttle: Throttle,
    pub counters: Counters,
}

/// Listens, and does not serve yet.
#[derive(Debug)]
pub struct Listening {
    settings: Settings,
    counters: Counters,
    listeners: Vec<TcpListener>,
}

impl Listening {
    /// Listens where the settings say, for what comes in on one of these interfaces, and on any where there are none given.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn open(settings: Settings, interfaces: Option<&[String]>) -> Result<Self, ListenError> {
        let mut listeners = Vec::new();
        for address in &settings.listen {
            match interfaces {
                None => listeners.push(listen(*address, None)?),
                Some(names) => {
                    for name in names {
                        listeners.push(listen(*address, Some(name))?);
                    }
                }
            }
        }
        Ok(Self { settings, counters: Counters::default(), listeners })
    }

    /// What will be counted, from any thread.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Where it listens: the ports are known then, if the settings left them open.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok())
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn serve(self, world: World) -> Result<Tcp, ListenError> {
        let io = |action: &str| {
            let action = action.to_owned();
            move |source| ListenError::Io { action, source }
        };
        let Self { settings, counters, listeners } = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Each active query has one read under way.
            .max_blocking_threads(settings.max_connections.max(1))
            .thread_name("leasequery-read")
            .build()
            .map_err(io("start its runtime"))?;
        let throttle = Throttle::new(settings.bindings_per_s);
        let shared = Arc::new(Shared { settings, world, throttle, counters: counters.clone() });
        let listeners = {
            let _inside = runtime.enter();
            let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
            listeners.collect::<Result<Vec<_>, _>>().map_err(io("listen"))?
        };
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("leasequery-tcp".into())
            .spawn(move || {
                // Whoever serves clients comes first.
                priority::lower(Priority::Tenth);
                runtime.block_on(serve(listeners, shared, stopped));
                runtime.shutdown_timeout(STOP_PATIENCE);
            })
            .map_err(io("start its thread"))?;
        Ok(Tcp { counters, stop, thread: Some(thread) })
    }
}

/// Leasequery over TCP, running.
#[derive(Debug)]
pub struct Tcp {
    counters: Counters,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Tcp {
    /// What it counts, from any thread.
    pub fn stats(&self) -> TcpStats {
        self.counters.read()
    }

    /// Has connections end, and waits for none.
    pub fn begin_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends all connections, each with a last word, and the thread; within two seconds. The counts at the end.
    pub fn stop(mut self) -> TcpStats {
        self.end();
        self.counters.read()
    }

    fn end(&mut self) {
        self.begin_to_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("leasequery: its thread panicked");
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.end();
    }
}

/// Binds by hand: the address may be in use by connections that are over, and the queue is bounded. To an interface it is bound
/// (`SO_BINDTODEVICE`, socket(7)) rather than that accepted connections are looked at: the kernel then takes no segment of a
/// connection that comes in elsewhere, and sends none elsewhere, and a forger on another link finds a closed port.
fn listen(address: SocketAddrV4, interface: Option<&str>) -> Result<TcpListener, ListenError> {
    use nix::{
        errno::Errno,
        sys::socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
        },
    };
    use std::os::fd::AsRawFd as _;
    let fail = |errno: Errno| match errno {
        Errno::EADDRNOTAVAIL => ListenError::NoAddress(address),
        Errno::EADDRINUSE => ListenError::InUse(address),
        Errno::EACCES | Errno::EPERM => ListenError::NotPermitted(address),
        other => ListenError::Io { action: format!("listen on {address}"), source: other.into() },
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).map_err(fail)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true).map_err(fail)?;
    if let Some(name) = interface {
        // Before the address: two listeners of one address differ in it.
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(name)).map_err(|errno| match errno {
            Errno::ENODEV => ListenError::NoInterface { address, interface: name.to_owned() },
            other => fail(other),
        })?;
    }
    bind(fd.as_raw_fd(), &SockaddrIn::from(address)).map_err(fail)?;
    listen(&fd, Backlog::new(BACKLOG).map_err(fail)?).map_err(fail)?;
    Ok(TcpListener::from(fd))
}

async fn serve(listeners: Vec<tokio::net::TcpListener>, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let mut connections = Connections::default();
    let mut stop = stopped.clone();
    let mut first = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            () = connections.ended() => {
                shared.counters.closed();
                continue;
            }
            accepted = accept(&listeners, first) => accepted,
        };
        // No listener waits for ever behind a busy one.
        first = (first + 1) % listeners.len().max(1);
        match accepted {
            Ok((stream, peer)) => {
                if !shared.world.may_ask(peer.ip()) {
                    shared.counters.refused_source();
                } else if connections.len() >= shared.settings.max_connections {
                    shared.counters.refused_full();
                } else if connections.of(peer) >= shared.settings.max_connections_per_source {
                    shared.counters.refused_source_full();
                } else if let Ok(SocketAddr::V4(local)) = stream.local_addr() {
                    shared.counters.accepted();
                    // Whole chunks are written at a time.
                    let _ = stream.set_nodelay(true);
                    let server_id: Ipv4Addr = *local.ip();
                    let serve = connection::serve(stream, server_id, Arc::clone(&shared), stopped.clone());
                    connections.begin(peer, serve);
                }
                // A flood of connections leaves time for those that are served.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                log::debug!("leasequery: a connection was not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listeners);
    let all_ended = async {
        while connections.len() > 0 {
            connections.ended().await;
            shared.counters.closed();
        }
    };
    // What has not ended by then ends with the set.
    let _ = tokio::time::timeout(STOP_PATIENCE, all_ended).await;
}

/// The connections that are served, and whose they are.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    sources: HashMap<task::Id, IpAddr>,
}

impl Connections {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    /// How many one address has. There are a thousand at most.
    fn of(&self, peer: SocketAddr) -> usize {
        self.sources.values().filter(|source| **source == peer.ip()).count()
    }

    fn begin(&mut self, peer: SocketAddr, serve: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(serve);
        self.sources.insert(task.id(), peer.ip());
    }

    /// Waits until one has ended, however that was; for ever while there is none.
    async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        };
        self.sources.remove(&id);
    }
}

/// The next connection, whichever listener it comes to.
async fn accept(
    listeners: &[tokio::net::TcpListener],
    first: usize,
) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| {
        for offset in 0..listeners.len() {
            let ready = listeners[(first + offset) % listeners.len()].poll_accept(context);
            if ready.is_ready() {
                return ready;
            }
        }
        std::task::Poll::Pending
    })
    .await
}
