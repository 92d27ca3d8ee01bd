//! Control: what operators ask a running server, on its own threads, never on a worker.
//!
//! The server starts [`Control`] over a [`Backend`]; the command line talks to it through [`client`].

mod api;
mod backend;
pub mod client;
mod listing;
mod service;
mod socket;
#[cfg(test)]
mod tests;

pub use api::{
    ErrorView, Filter, Health, LeaseView, colons, now_s, parse_bytes, parse_state, parse_subnet, parse_text_or_hex,
    parse_vrf, rfc3339, text_or_hex,
};
pub use backend::{Backend, ReleaseError, ServerBackend};
pub use service::Control;
pub use socket::{ControlError, SOCKET_NAME};
