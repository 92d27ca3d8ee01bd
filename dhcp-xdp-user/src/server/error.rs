//! Why a server does not start.

use std::{io, path::PathBuf};

use crate::{
    events::EventsError,
    journal::JournalError,
    leasequery::tcp::ListenError,
    xsk::{DeviceError, OpenError, ProgramError},
};

/// Why a server does not start; each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An interface cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The XDP program cannot be attached.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// AF_XDP sockets cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Leasequery cannot listen.
    #[error(transparent)]
    LeaseQuery(#[from] ListenError),
    /// The journal cannot be opened or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state directory cannot be used.
    #[error("{path}: cannot {action}: {source}")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("{path}: is there and is no directory: move it away, or use another one")]
    StateDirNone {
        /// What it is called.
        path: PathBuf,
    },
    /// Others could change leases behind our back.
    #[error("{path}: everybody may write to it (mode {mode:03o}); `chmod o-w {path}`")]
    StateDirOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The pools do not fit into memory.
    #[error(
        "{addresses} addresses in the pools need about {mib} MiB, which this process may not have; make the pools smaller"
    )]
    Memory {
        /// How many addresses.
        addresses: u64,
        /// What their table needs, MiB.
        mib: u64,
    },
    /// Addresses cannot be probed.
    #[error(
        "ping check: cannot open a raw ICMP socket: {0}; it needs CAP_NET_RAW; without it set enabled = false in [ping_check] \
         and take ping_check = true out of the subnets"
    )]
    Ping(io::Error),
    /// No file descriptor was left.
    #[error("cannot make an eventfd: {0}; LimitNOFILE=65536, or `ulimit -n`, gives more files")]
    Wake(io::Error),
    /// A thread could not be started.
    #[error("cannot start thread {name}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The history's directory cannot be used.
    #[error("lease history: {0}")]
    History(Box<Self>),
    /// Another server writes its history there.
    #[error("lease history: {path}: in use by another process: give this server's a directory of its own")]
    HistoryInUse {
        /// The directory.
        path: PathBuf,
    },
    /// Lease events cannot be dealt with.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The statistics of a socket cannot be read.
    #[error("{interface} queue {queue}: cannot read the socket's statistics: {source}")]
    Statistics {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What the system said.
        source: io::Error,
    },
}
