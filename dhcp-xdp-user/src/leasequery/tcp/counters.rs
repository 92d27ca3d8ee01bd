//! What is counted of leasequery over TCP.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

use super::reply::Status;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its requestor closed it.
    Requestor,
    /// No query came for the data timeout.
    Idle,
    /// Replies were not read for the data timeout, or the send timeout of an active query.
    Blocked,
    /// What came was no message of this protocol.
    Malformed,
    /// An active query was refused.
    Refused,
    /// An active query's updates were read so slowly that some were gone.
    Lagged,
    /// The server could not go on.
    Failed,
    /// The server stopped.
    Stopped,
}

impl End {
    const ALL: [Self; 8] = [
        Self::Requestor,
        Self::Idle,
        Self::Blocked,
        Self::Malformed,
        Self::Refused,
        Self::Lagged,
        Self::Failed,
        Self::Stopped,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Requestor => "requestor",
            Self::Idle => "idle",
            Self::Blocked => "blocked",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Lagged => "lagged",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Bulk,
    Active,
    Tls,
}

/// The counters, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    open: AtomicI64,
    active: AtomicI64,
    accepted: AtomicU64,
    refused_source: AtomicU64,
    refused_full: AtomicU64,
    refused_source_full: AtomicU64,
    asked: [AtomicU64; 3],
    malformed: AtomicU64,
    not_allowed: AtomicU64,
    bindings: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
}

impl Counters {
    pub(super) fn accepted(&self) {
        self.0.accepted.fetch_add(1, Relaxed);
        self.0.open.fetch_add(1, Relaxed);
    }

    pub(super) fn refused_source(&self) {
        self.0.refused_source.fetch_add(1, Relaxed);
    }

    pub(super) fn refused_full(&self) {
        self.0.refused_full.fetch_add(1, Relaxed);
    }

    pub(super) fn refused_source_full(&self) {
        self.0.refused_source_full.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.0.open.fetch_sub(1, Relaxed);
    }

    pub(super) fn ended(&self, end: End) {
        self.0.ended[end as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn asked(&self, what: Asked) {
        self.0.asked[what as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self, status: Status) {
        let counter = if status == Status::MalformedQuery { &self.0.malformed } else { &self.0.not_allowed };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn told(&self, bindings: u32) {
        self.0.bindings.fetch_add(bindings.into(), Relaxed);
    }

    /// Active queries more or fewer.
    pub(super) fn active(&self, more: i64) {
        self.0.active.fetch_add(more, Relaxed);
    }

    /// What they say now.
    pub fn read(&self) -> TcpStats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let gauge = |counter: &AtomicI64| u64::try_from(counter.load(Relaxed)).unwrap_or(0);
        let [bulk, active, tls] = &self.0.asked;
        TcpStats {
            connections: gauge(&self.0.open),
            active: gauge(&self.0.active),
            accepted: get(&self.0.accepted),
            refused_source: get(&self.0.refused_source),
            refused_full: get(&self.0.refused_full),
            refused_source_full: get(&self.0.refused_source_full),
            bulk_queries: get(bulk),
            active_queries: get(active),
            tls_refused: get(tls),
            malformed_queries: get(&self.0.malformed),
            queries_not_allowed: get(&self.0.not_allowed),
            bindings: get(&self.0.bindings),
            ended: End::ALL.map(|end| (end.name().to_owned(), get(&self.0.ended[end as usize]))).into(),
        }
    }
}

/// What leasequery over TCP did since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpStats {
    /// Connections that are open.
    pub connections: u64,
    /// Active queries under way.
    pub active: u64,
    /// Connections that were served.
    pub accepted: u64,
    /// Connections that were closed at once: their source is not allowed.
    pub refused_source: u64,
    /// Connections that were closed at once: there were as many as allowed.
    pub refused_full: u64,
    /// Connections that were closed at once: their source had as many as one may have.
    #[serde(default)]
    pub refused_source_full: u64,
    /// Bulk queries that were begun.
    pub bulk_queries: u64,
    /// Active queries that were begun.
    pub active_queries: u64,
    /// DHCPTLS messages, each refused.
    pub tls_refused: u64,
    /// Queries that were answered with MalformedQuery.
    pub malformed_queries: u64,
    /// Queries that were answered with NotAllowed.
    pub queries_not_allowed: u64,
    /// Bindings and free addresses that were told.
    pub bindings: u64,
    /// Connections that ended, by reason.
    pub ended: BTreeMap<String, u64>,
}
