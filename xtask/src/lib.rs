//! What `cargo xtask` does, as a library: the end-to-end tests use the same [`lab`] as `cargo xtask run`.

pub mod audit;
pub mod bench;
pub mod cargo;
pub mod command;
pub mod ebpf;
pub mod fuzz;
pub mod group;
pub mod lab;
pub mod run;
pub mod setup;
pub mod signals;
pub mod suite;
pub mod workspace;
