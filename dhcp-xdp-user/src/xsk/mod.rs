//! XDP and AF_XDP: loading the program, UMEM, sockets and rings. The only room with `unsafe`.
//!
//! The server and the load generator call it: [`Device`] says what an interface is, [`Program`] attaches the XDP program,
//! [`open_queue`] opens the sockets of a receive queue, and each [`Socket`] goes to the one thread that works it.
//! `worker::ring` turns the sockets. Nothing here knows DHCP.
//!
//! # Why the rest is safe
//! A UMEM chunk is shared memory that the kernel writes to behind the compiler's back. Whoever may touch a chunk holds its
//! [`FrameToken`]: it cannot be copied, is made only when the kernel hands the chunk over ([`Socket::receive`]) or when a free
//! one is taken ([`Socket::alloc`]), and is used up by handing the chunk on ([`Socket::transmit`], [`Socket::recycle`]).
//! So nobody outside this room can write to a chunk that is not theirs, whatever they do.

pub mod capabilities;
mod device;
mod frames;
mod memory;
mod program;
mod queue;
mod socket;
mod statistics;

pub use device::{AttachedProgram, Device, DeviceError};
pub use frames::{FrameToken, QueueFrames};
pub use memory::advise_huge_pages;
pub use program::{AttachMode, OBJECT, Program, ProgramConfig, ProgramError};
pub use queue::{BindMode, OpenError, Queue, QueueConfig, open_queue};
pub use socket::Socket;
pub use statistics::{RingStats, RingStatsReader};

/// Bytes of a UMEM chunk. The kernel keeps the first 256 of them as headroom for XDP; the rest holds an Ethernet frame of
/// MTU 1500 with two VLAN tags.
pub const CHUNK_LEN: u32 = 2048;
