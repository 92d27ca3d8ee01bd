//! The XDP program: one walk, one lookup, one counter a frame.
//!
//! Loaded by the server with [`Role::Server`] and by the load generator with [`Role::Client`]. Source: the kernel's
//! `Documentation/networking/af_xdp.rst` and `Documentation/bpf/map_xskmap.rst`.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray, XskMap},
    programs::XdpContext,
};
use core::ptr;
use dhcp_xdp_ebpf::{
    Bytes, Role, Verdict,
    abi::{MAX_DESTINATIONS, MAX_SOCKETS},
    steering_hash, walk, worker_of,
};

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(MAX_SOCKETS, 0);
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT, 0);
#[map]
static DESTINATIONS: HashMap<[u8; 4], u8> = HashMap::with_max_entries(MAX_DESTINATIONS, 0);

// Written by the loader before the program is loaded; the verifier then sees constants.
#[unsafe(no_mangle)]
static WORKERS: u32 = 1;
#[unsafe(no_mangle)]
static ROLE: u8 = Role::Server as u8;
#[unsafe(no_mangle)]
static FILTER_DESTINATION: u8 = 1;

/// A frame as the kernel hands it over: from `data` up to, not including, `data_end`.
struct Packet {
    data: usize,
    data_end: usize,
}

impl Bytes for Packet {
    #[inline(always)]
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.data + offset;
        if start + N > self.data_end {
            return None;
        }
        // SAFETY: `start .. start + N` lies inside the packet, as just compared (the comparison that the verifier asks for);
        // a byte array has no alignment.
        Some(unsafe { *(start as *const [u8; N]) })
    }
}

/// Steers a DHCP frame to the socket of its queue and client; passes all else to the kernel.
#[xdp]
pub fn dhcp_xdp(ctx: XdpContext) -> u32 {
    match steer(&ctx) {
        Ok(action) => {
            let redirected = action == xdp_action::XDP_REDIRECT;
            count(if redirected { Verdict::Redirected } else { Verdict::PassNoSocket });
            action
        }
        Err(verdict) => {
            count(verdict);
            xdp_action::XDP_PASS
        }
    }
}

#[inline(always)]
fn steer(ctx: &XdpContext) -> Result<u32, Verdict> {
    let role = if global(&ROLE) == Role::Client as u8 { Role::Client } else { Role::Server };
    let packet = Packet { data: ctx.data(), data_end: ctx.data_end() };
    let frame = walk(&packet, role)?;
    if global(&FILTER_DESTINATION) != 0
        && frame.destination != [255; 4]
        && DESTINATIONS.get_ptr(&frame.destination).is_none()
    {
        return Err(Verdict::PassOtherDestination);
    }
    let workers = global(&WORKERS);
    let worker = worker_of(steering_hash(&frame.chaddr), workers);
    // SAFETY: `ctx.ctx` is the context that the kernel gave to this very call.
    let queue = unsafe { (*ctx.ctx).rx_queue_index };
    // XDP_PASS in the low bits of the flags is the action when the map has no socket there.
    Ok(SOCKETS.redirect(queue * workers + worker, u64::from(xdp_action::XDP_PASS)).unwrap_or(xdp_action::XDP_PASS))
}

#[inline(always)]
fn count(verdict: Verdict) {
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: the slot is this CPU's own and XDP does not nest on one CPU.
        unsafe { *counter += 1 };
    }
}

#[inline(always)]
fn global<T: Copy>(value: &'static T) -> T {
    // SAFETY: a reference is valid to read. Volatile, because the loader changes the value behind the compiler's back.
    unsafe { ptr::read_volatile(value) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic; should that change, this loop makes the verifier refuse the program.
    loop {}
}

// The kernel only lends GPL-only helpers to programs whose licence is compatible.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
