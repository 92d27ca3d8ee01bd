//! The lease history: who had which address when, as one JSON object a line in files that are rotated, indexed and kept for a
//! while.
//!
//! The [events](crate::events) of the journal are written by a [`Writer`], each exactly once: what it has written and how far the
//! journal was read for that are noted together (`history.state`), and a start cuts off what was written after that, for it is read again.
//! `dhcp-xdp history` [searches](Search) the files, also beside a running server; nobody else reads them.

mod files;
mod hold;
mod index;
mod search;
#[cfg(test)]
mod tests;
mod writer;

pub use files::FileName;
pub use hold::Hold;
pub use search::{Found, Missing, Query, Search, SearchError};
pub use writer::{Checkpoint, Settings, Writer};

use serde::{Deserialize, Serialize};

use crate::{
    config::Vrfs,
    control::{LeaseView, rfc3339},
    events::Event,
};

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it happened, RFC 3339 in UTC, by the wall clock of that moment.
    pub at: String,
    /// What happened: the name of an [`EventKind`](crate::events::EventKind).
    pub event: String,
    /// Counts what the address has been through, wrapping; no two lines of an address have the same, but for its expiry.
    pub generation: u32,
    /// The lease after it, as listings show it.
    #[serde(flatten)]
    pub lease: LeaseView,
}

impl Line {
    /// Of an event. The wall clock was so far ahead of the leases' time, seconds.
    pub fn new(event: &Event, subnet: Option<ipnet::Ipv4Net>, vrfs: &Vrfs, wall_ahead_s: i64) -> Self {
        // Both clocks tick alike; some seconds are the way to the disk.
        let ahead = if wall_ahead_s.abs() > 2 { wall_ahead_s } else { 0 };
        let at_s = u32::try_from(i64::from(event.at_s) + ahead).unwrap_or(event.at_s);
        Self {
            at: rfc3339(at_s),
            event: event.kind.name().to_owned(),
            generation: event.binding.generation,
            lease: LeaseView::new(&event.binding, subnet, vrfs),
        }
    }
}

/// A line that says that events are missing before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapLine {
    /// When that was found.
    pub at: String,
    /// [`GapLine::EVENT`]
    pub event: String,
    /// All that happened up to then is there; none: nobody knows.
    #[serde(default)]
    pub since: Option<String>,
    /// Why.
    pub reason: String,
}

impl GapLine {
    /// What its `event` is.
    pub const EVENT: &str = "gap";
}

/// What all lines begin with.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Head<'a> {
    at: &'a str,
    event: &'a str,
    #[serde(default)]
    address: Option<std::net::Ipv4Addr>,
}

impl<'a> Head<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    fn at_s(&self) -> u32 {
        seconds(self.at)
    }
}

/// Seconds since 1970 of a time in a line.
fn seconds(text: &str) -> u32 {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    time.and_then(|time| u32::try_from(time.as_second()).ok()).unwrap_or(0)
}
