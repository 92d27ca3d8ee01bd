//! What the XDP program and user space share: the frame walk, the steering hash and the map ABI.
//!
//! Everything here is `no_std`, has no dependency and is free of `unsafe`, so that the walk that the kernel verifies is the
//! one that user space tests and fuzzes. It reads a frame through [`Bytes`], which a slice implements in user space and a
//! bounds-checked packet pointer in the kernel.
#![no_std]
#![forbid(unsafe_code)]

pub mod abi;
pub mod steer;
pub mod walk;

pub use abi::{Verdict, map};
pub use steer::{steering_hash, worker_of};
pub use walk::{Bytes, Frame, Role, walk};
