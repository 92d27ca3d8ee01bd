//! Leasequery over TCP: bulk queries (RFC 6926) and active ones (RFC 7724), on a thread of its own.
//!
//! The server opens [`Listening`], serves with it, and stops it. It reads the lease table and follows the journal; it holds up
//! neither, nor a worker. [`StreamReader`] and [`Query`] are pure: bytes in, queries out, for tests and fuzzing.

mod active;
mod connection;
mod counters;
mod query;
mod reply;
mod server;
mod stream;
mod throttle;
mod walk;
mod world;

pub use counters::{Counters, TcpStats};
pub use query::{Ask, Primary, Query, Refusal, Selection, Vpn};
pub use reply::{Origin, Status};
pub use server::{ActiveSettings, ListenError, Listening, Settings, Tcp};
pub use stream::{FrameError, StreamReader};
pub use world::World;

#[cfg(test)]
mod tests;
