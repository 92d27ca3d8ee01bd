//! `dhcp-storm reflect`: sends each DHCP request straight back, with the server's own sockets, batches and worker loop.
//!
//! What a server could do at most on this machine, had it nothing to decide. `dhcp-storm run --scenario echo` on the other
//! end measures it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use arrayvec::ArrayVec;
use dhcp_xdp::{
    config::XdpMode,
    wake::Wake,
    worker::{
        batch::{BATCH, Disposition, Frame},
        counters::{Counters, DropReason},
        ring::{Options, Worker},
    },
    xsk::{AttachMode, Device, OBJECT, Program, ProgramConfig, QueueConfig, Socket, open_queue},
};
use dhcp_xdp_ebpf::{Role, walk};

use crate::{
    cli::ReflectArgs,
    run::{Failure, stop_flag},
};

/// Chunks of a queue.
const FRAMES: u32 = 4096;
/// How often the rate is printed.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Reflects until Ctrl-C.
///
/// # Errors
/// What is in the way, or that the interface went away.
pub fn reflect(args: &ReflectArgs) -> Result<bool, Failure> {
    let stop = stop_flag()?;
    let device = Device::find(&args.interface)?;
    let mode = if args.generic { XdpMode::Generic } else { XdpMode::Auto };
    let config = ProgramConfig { workers: args.workers, role: Role::Server, filter_destination: false };
    let mut program = Program::attach(OBJECT, &device, mode, config)?;
    let (workers, bind_mode) = start(args, &device, &mut program)?;
    eprintln!(
        "{}: XDP {}, AF_XDP {bind_mode}, {} queue(s), {} worker(s) each; Ctrl-C ends",
        args.interface,
        program.mode().name(),
        device.rx_queues,
        args.workers
    );

    watch(&workers, &stop);
    program.clear_sockets()?;
    for worker in &workers {
        worker.stop.store(true, Ordering::Relaxed);
        worker.wake.wake();
    }
    let mut total = 0;
    for worker in workers {
        total += worker.counters.snapshot().sent;
        worker.thread.join().map_err(|_| anyhow!("a worker panicked"))??;
    }
    program.detach();
    println!("reflected {total} frames");
    Ok(true)
}

/// One worker's thread and the ways to it.
struct Running {
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: JoinHandle<std::io::Result<()>>,
}

fn start(args: &ReflectArgs, device: &Device, program: &mut Program) -> Result<(Vec<Running>, &'static str), Failure> {
    let config = QueueConfig {
        frames: FRAMES,
        sockets: args.workers,
        fill: FRAMES,
        zero_copy: program.mode() == AttachMode::Native,
        busy_poll: args.busy_poll,
    };
    let mut workers = Vec::new();
    let mut bind_mode = "";
    for queue in 0..device.rx_queues {
        let owner_wake = Arc::new(Wake::new()?);
        let opened = open_queue(&device.name, queue, &config, Arc::clone(&owner_wake))?;
        bind_mode = opened.bind_mode.name();
        for (index, socket) in (0..).zip(opened.sockets) {
            program.set_socket(queue, index, &socket)?;
            let wake = if index == 0 { Arc::clone(&owner_wake) } else { Arc::new(Wake::new()?) };
            workers.push(spawn(socket, wake, args.busy_poll)?);
        }
    }
    Ok((workers, bind_mode))
}

fn spawn(socket: Socket, wake: Arc<Wake>, busy_poll: bool) -> std::io::Result<Running> {
    let (stop, counters) = (Arc::new(AtomicBool::new(false)), Arc::new(Counters::default()));
    let thread = {
        let (wake, stop, counters) = (Arc::clone(&wake), Arc::clone(&stop), Arc::clone(&counters));
        thread::Builder::new().name("reflect".into()).spawn(move || {
            let mine = Arc::clone(&counters);
            let step = move |_: u32, frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>| {
                turn_round(frames, out, &mine);
            };
            let options = Options { busy_poll, stop_within: Duration::from_millis(100) };
            Worker::new(socket, step, counters, 0).run(|| 0, &wake, &stop, &options)
        })?
    };
    Ok(Running { wake, stop, counters, thread })
}

/// Prints the rate until somebody wants it to end, or a worker has ended.
fn watch(workers: &[Running], stop: &AtomicBool) {
    let mut last = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) && !workers.iter().any(|worker| worker.thread.is_finished()) {
        thread::sleep(Duration::from_millis(50));
        let now = Instant::now();
        if now - last.0 < REPORT_EVERY {
            continue;
        }
        let sent: u64 = workers.iter().map(|worker| worker.counters.snapshot().sent).sum();
        if sent != last.1 {
            eprintln!("{:.0} frames/s", (sent - last.1) as f64 / (now - last.0).as_secs_f64());
        }
        last = (now, sent);
    }
}

/// Turns a batch round.
fn turn_round(frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>, counters: &Counters) {
    out.clear();
    counters.received(frames.len() as u64);
    for frame in frames {
        let len = frame.len.min(frame.buffer.len());
        out.push(if swap(&mut frame.buffer[..len]) {
            Disposition::Send { len }
        } else {
            counters.dropped(DropReason::NotOurs);
            Disposition::Drop(DropReason::NotOurs)
        });
    }
}

/// Makes a request its own answer: MAC addresses, IP addresses and ports swapped, BOOTREPLY. Checksums stay right.
fn swap(frame: &mut [u8]) -> bool {
    let Ok(at) = walk(&*frame, Role::Server) else { return false };
    let (ipv4, udp, bootp) = (usize::from(at.ipv4), usize::from(at.udp), usize::from(at.bootp));
    // The walk saw all of these in the frame.
    exchange::<6>(frame, 0, 6);
    exchange::<4>(frame, ipv4 + 12, ipv4 + 16);
    exchange::<2>(frame, udp, udp + 2);
    frame[bootp] = 2;
    // The first word of the datagram grew by 0x0100 (RFC 1624: HC' = ~(~HC + ~m + m')); no checksum stays none.
    let old = u16::from_be_bytes([frame[udp + 6], frame[udp + 7]]);
    if old != 0 {
        let (sum, carry) = (!old).overflowing_add(0x0100);
        let new = !(sum + u16::from(carry));
        frame[udp + 6..udp + 8].copy_from_slice(&if new == 0 { 0xffff } else { new }.to_be_bytes());
    }
    true
}

fn exchange<const N: usize>(frame: &mut [u8], a: usize, b: usize) {
    for i in 0..N {
        frame.swap(a + i, b + i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Fields, Look, MAX_FRAME, Message, Templates};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    #[test]
    fn a_request_comes_back_as_a_reply_with_right_checksums() {
        let templates = Templates::new(&Look::default()).unwrap();
        for xid in 0..5000 {
            let person = Look::default().person(0, [2, 0, 0, 0, 0, 5], 0);
            let fields = Fields { person, xid: xid * 7919, secs: 0, address: 0, server_id: 0, server_mac: None };
            let mut buffer = [0; MAX_FRAME];
            let len = templates.write(Message::Discover, &fields, &mut buffer);
            assert!(swap(&mut buffer[..len]));
            let packet = SlicedPacket::from_ethernet(&buffer[..len]).unwrap();
            let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (packet.net, packet.transport) else {
                panic!("not UDP over IPv4")
            };
            assert_eq!(ip.header().destination(), [0; 4]);
            assert_eq!((udp.source_port(), udp.destination_port()), (67, 68));
            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            let expected = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap();
            assert_eq!(udp.checksum(), expected);
            assert_eq!(udp.payload()[0], 2);
            assert_eq!(buffer[..6], [2, 0, 0, 0, 0, 5]);
        }
    }

    #[test]
    fn what_is_no_request_is_dropped_and_counted() {
        let counters = Counters::default();
        let mut bytes = [0u8; 60];
        let mut frames = [Frame { buffer: &mut bytes, len: 60 }];
        let mut out = ArrayVec::new();
        turn_round(&mut frames, &mut out, &counters);
        assert_eq!(out.as_slice(), [Disposition::Drop(DropReason::NotOurs)]);
        assert!(counters.snapshot().closes());
    }
}
