//! The XDP program: one walk, one lookup, one counter a frame.
//!
//! Loaded by the server with [`Role::Server`] and by the load generator with [`Role::Client`]. Source: the kernel's
//! `Documentation/networking/af_xdp.rst` and `Documentation/bpf/map_xskmap.rst`.
//!
//! It logs rare events only, and knows a rare event by its own counter, so that a frame that is not logged pays one
//! comparison. With `AYA_LOG_LEVEL` 0 the verifier removes even that.
#![no_std]
#![no_main]

use aya_ebpf::{
    Global,
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray, XskMap},
    programs::XdpContext,
};
use aya_log_ebpf::{info, warn};
use dhcp_xdp_ebpf::{
    Bytes, Role, Verdict,
    abi::{MAX_DESTINATIONS, MAX_SOCKETS, is_logged},
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
static WORKERS: Global<u32> = Global::new(1);
#[unsafe(no_mangle)]
static ROLE: Global<u8> = Global::new(Role::Server as u8);
#[unsafe(no_mangle)]
static FILTER_DESTINATION: Global<u8> = Global::new(1);

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
fn dhcp_xdp(ctx: XdpContext) -> u32 {
    match steer(&ctx) {
        Ok(action) => {
            let redirected = action == xdp_action::XDP_REDIRECT;
            let verdict = if redirected { Verdict::Redirected } else { Verdict::PassNoSocket };
            let before = count(verdict);
            if before == 0 && redirected {
                info!(&ctx, "first frame of this CPU redirected, from queue {}", ctx.rx_queue_index());
            } else if !redirected && is_logged(before) {
                warn!(&ctx, "no socket for queue {}: {} frames passed before", ctx.rx_queue_index(), before);
            }
            action
        }
        Err(verdict) => {
            let before = count(verdict);
            if verdict as u32 == Verdict::PassTruncated as u32 && is_logged(before) {
                let len = ctx.data_end() - ctx.data();
                warn!(&ctx, "truncated frame of {} bytes passed: {} before it", len, before);
            }
            xdp_action::XDP_PASS
        }
    }
}

#[inline(always)]
fn steer(ctx: &XdpContext) -> Result<u32, Verdict> {
    let role = if ROLE.load() == Role::Client as u8 { Role::Client } else { Role::Server };
    let packet = Packet { data: ctx.data(), data_end: ctx.data_end() };
    let frame = walk(&packet, role)?;
    if FILTER_DESTINATION.load() != 0
        && frame.destination != [255; 4]
        && DESTINATIONS.get_ptr(&frame.destination).is_none()
    {
        return Err(Verdict::PassOtherDestination);
    }
    let workers = WORKERS.load();
    let worker = worker_of(steering_hash(&frame.chaddr), workers);
    // XDP_PASS in the low bits of the flags is the action when the map has no socket there.
    let flags = u64::from(xdp_action::XDP_PASS);
    Ok(SOCKETS.redirect(ctx.rx_queue_index() * workers + worker, flags).unwrap_or(xdp_action::XDP_PASS))
}

/// Counts a frame and says how many there were before it, on this CPU.
#[inline(always)]
fn count(verdict: Verdict) -> u64 {
    let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) else { return 0 };
    // SAFETY: the slot is this CPU's own and XDP does not nest on one CPU.
    unsafe {
        let before = *counter;
        *counter = before + 1;
        before
    }
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
