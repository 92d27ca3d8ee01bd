//! The rings against the real kernel: a reflector on the worker's loop, with the XDP program in front of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use arrayvec::ArrayVec;
use dhcp_xdp::{
    config::XdpMode,
    wake::Wake,
    worker::{
        batch::{BATCH, Disposition, Frame},
        counters::{Counters, DropReason},
        ring::{Options, Worker},
    },
    xsk::{
        AttachMode, Device, OBJECT, Program, ProgramConfig, ProgramError, QueueConfig, QueueFrames, RingStatsReader,
        Socket, open_queue,
    },
};
use dhcp_xdp_ebpf::{Role, Verdict, steering_hash, worker_of};
use libtest_mimic::Trial;
use xtask::lab::{Veth, raw::RawSocket, wait_for};

use crate::{
    net::Datagram,
    site::{Direct, INSIDE},
    test,
};

const WORKERS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(5);

pub fn tests() -> Vec<Trial> {
    vec![
        test("two_workers_on_a_queue_share_its_load_and_lose_no_frame", || share(XdpMode::Native)),
        test("two_workers_share_a_queue_in_generic_mode_too", || share(XdpMode::Generic)),
        test("a_worker_with_all_the_load_is_not_starved_by_an_owner_that_sleeps", skewed),
        test("frames_lost_for_want_of_chunks_are_counted_once", overload),
        test("frames_that_are_dropped_go_back_to_the_fill_ring", dropped),
        test("what_is_in_the_rings_when_a_worker_stops_is_answered", drained),
        test("a_program_of_somebody_else_is_left_alone", occupied),
        test("a_socket_whose_interface_is_gone_says_so", removed),
    ]
}

/// A BOOTREQUEST with nothing in it but its client: enough for the XDP program.
fn request(chaddr: [u8; 16]) -> Vec<u8> {
    let mut bootp = vec![0; 300];
    bootp[0] = 1;
    bootp[28..44].copy_from_slice(&chaddr);
    Datagram::default().frame(&bootp)
}

fn chaddr(n: u32) -> [u8; 16] {
    let mut chaddr = [0; 16];
    chaddr[0] = 2;
    chaddr[2..6].copy_from_slice(&n.to_be_bytes());
    chaddr
}

/// The first clients that steering gives to a worker.
fn clients_of(worker: u32) -> impl Iterator<Item = [u8; 16]> {
    (0..).map(chaddr).filter(move |chaddr| worker_of(steering_hash(chaddr), WORKERS) == worker)
}

/// Workers on the first queue of an interface that send each frame back, or drop it.
struct Reflector {
    program: Program,
    frames: Arc<QueueFrames>,
    readers: Vec<RingStatsReader>,
    counters: Vec<Arc<Counters>>,
    wakes: Vec<Arc<Wake>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<std::io::Result<Socket>>>,
    waiting: Vec<Socket>,
}

impl Reflector {
    /// Opens it; [`start`](Self::start) starts its workers.
    fn open(site: &Direct, frames: u32, mode: XdpMode) -> Result<Self> {
        site.inside.enter(|| {
            let device = Device::find(INSIDE)?;
            let config = ProgramConfig { workers: WORKERS, role: Role::Server, filter_destination: true };
            let mut program = Program::attach(OBJECT, &device, mode, config)?;
            let expected = if mode == XdpMode::Generic { AttachMode::Generic } else { AttachMode::Native };
            ensure!(program.mode() == expected, "attached in {:?} mode", program.mode());
            let wakes = (0..WORKERS).map(|_| Wake::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
            let zero_copy = program.mode() == AttachMode::Native;
            let config = QueueConfig { frames, sockets: WORKERS, fill: frames, zero_copy, busy_poll: false };
            let queue = open_queue(INSIDE, 0, &config, Arc::clone(&wakes[0]))?;
            for (socket, worker) in queue.sockets.iter().zip(0..) {
                program.set_socket(0, worker, socket)?;
            }
            let readers = queue.sockets.iter().map(Socket::statistics_reader).collect::<Result<Vec<_>, _>>()?;
            let counters = (0..WORKERS).map(|_| Arc::default()).collect();
            let (stop, waiting) = (Arc::default(), queue.sockets);
            Ok(Self { program, frames: queue.frames, readers, counters, wakes, stop, threads: vec![], waiting })
        })?
    }

    fn start(&mut self, disposition: fn(usize) -> Disposition) {
        let shared = self.counters.iter().zip(&self.wakes);
        for (socket, (counters, wake)) in self.waiting.drain(..).zip(shared) {
            let (counters, wake, stop) = (Arc::clone(counters), Arc::clone(wake), Arc::clone(&self.stop));
            self.threads.push(thread::spawn(move || {
                let counted = Arc::clone(&counters);
                let step = move |_now_s: u32, frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>| {
                    out.clear();
                    counted.received(frames.len() as u64);
                    for frame in frames {
                        let (to, from) = frame.buffer[..12].split_at_mut(6);
                        to.swap_with_slice(from);
                        out.push(disposition(frame.len));
                        if let Disposition::Drop(reason) = disposition(frame.len) {
                            counted.dropped(reason);
                        }
                    }
                };
                let mut worker = Worker::new(socket, step, counters, 64);
                let options = Options { busy_poll: false, stop_within: PATIENCE };
                worker.run(|| 0, &wake, &stop, &options)?;
                Ok(worker.into_parts().0)
            }));
        }
    }

    fn received(&self) -> Vec<u64> {
        self.counters.iter().map(|counters| counters.snapshot().received).collect()
    }

    fn wait_received(&self, count: u64) -> Result<()> {
        let done = || Ok((self.received().iter().sum::<u64>() == count).then_some(()));
        wait_for("the workers", PATIENCE, done).with_context(|| format!("{:?} of {count} received", self.received()))
    }

    /// Stops, and checks what must hold at the end: the ledger, and the frames. Returns received and lost frames.
    fn finish(mut self) -> Result<(Vec<u64>, u64)> {
        self.program.clear_sockets()?;
        self.stop.store(true, Ordering::Relaxed);
        self.wakes.iter().for_each(|wake| wake.wake());
        let mut sockets = Vec::new();
        for thread in self.threads.drain(..) {
            let Ok(socket) = thread.join() else { bail!("a worker panicked") };
            sockets.push(socket?);
        }
        self.program.detach();
        let redirected = self.program.verdicts()?[Verdict::Redirected as usize];
        let received = self.received();
        let mut lost = 0;
        for (reader, counters) in self.readers.iter().zip(&self.counters) {
            let (stats, counters) = (reader.read()?, counters.snapshot());
            ensure!(stats.rx_invalid == 0 && stats.tx_invalid == 0, "{stats:?}");
            ensure!(counters.closes() && counters.parked == 0, "{counters:?}");
            lost += stats.rx_dropped + stats.rx_ring_full;
        }
        let account = self.frames.account();
        ensure!(account.balance() && account.worker == 0, "frames leaked: {account:?}");
        ensure!(
            redirected == received.iter().sum::<u64>() + lost,
            "{redirected} redirected, {received:?}, {lost} lost"
        );
        Ok((received, lost))
    }
}

fn send_back(len: usize) -> Disposition {
    Disposition::Send { len }
}

fn share(mode: XdpMode) -> Result<()> {
    const FRAMES: u32 = 4000;
    let site = Direct::new(Veth::default())?;
    let mut reflector = Reflector::open(&site, 4096, mode)?;
    reflector.start(send_back);
    let client = RawSocket::open(site.client_end())?;
    for n in 0..FRAMES {
        client.send(&request(chaddr(n)))?;
    }
    reflector.wait_received(u64::from(FRAMES))?;
    let (received, lost) = reflector.finish()?;
    ensure!(lost == 0, "{lost} lost");
    let fair = u64::from(FRAMES / WORKERS);
    ensure!(received.iter().all(|count| count.abs_diff(fair) < fair / 10), "uneven: {received:?}");
    Ok(())
}

fn skewed() -> Result<()> {
    // Far more frames than there are chunks, never more at a time than the kernel has: only a queue whose chunks go round
    // answers them all.
    const CHUNKS: u32 = 256;
    let site = Direct::new(Veth::default())?;
    let mut reflector = Reflector::open(&site, CHUNKS, XdpMode::Native)?;
    reflector.start(send_back);
    let client = RawSocket::open(site.client_end())?;
    let frame = request(clients_of(1).next().context("no such client")?);
    for burst in 1..=64 {
        for _ in 0..64 {
            client.send(&frame)?;
        }
        reflector.wait_received(burst * 64)?;
        // The owner may take its time, but not more than the shortest sleep.
        thread::sleep(Duration::from_millis(5));
    }
    let (received, lost) = reflector.finish()?;
    ensure!(received == [0, 64 * 64] && lost == 0, "{received:?}, {lost} lost");
    Ok(())
}

fn overload() -> Result<()> {
    const CHUNKS: u64 = 64;
    let site = Direct::new(Veth::default())?;
    let mut reflector = Reflector::open(&site, CHUNKS as u32, XdpMode::Native)?;
    let client = RawSocket::open(site.client_end())?;
    let frame = request(clients_of(0).next().context("no such client")?);
    // Nobody works the rings yet.
    for _ in 0..3 * CHUNKS {
        client.send(&frame)?;
    }
    let redirected = || Ok((reflector.program.verdicts()?[Verdict::Redirected as usize] == 3 * CHUNKS).then_some(()));
    wait_for("the XDP program", PATIENCE, redirected)?;
    reflector.start(send_back);
    reflector.wait_received(CHUNKS)?;
    let (received, lost) = reflector.finish()?;
    ensure!(received == [CHUNKS, 0] && lost == 2 * CHUNKS, "{received:?}, {lost} lost");
    Ok(())
}

fn dropped() -> Result<()> {
    const CHUNKS: u32 = 128;
    let site = Direct::new(Veth::default())?;
    let mut reflector = Reflector::open(&site, CHUNKS, XdpMode::Native)?;
    reflector.start(|_| Disposition::Drop(DropReason::NoSubnet));
    let client = RawSocket::open(site.client_end())?;
    // To both, so that the worker without the fill ring gives its frames to the one that has it.
    let frames: Vec<_> = (0..64).map(|n| request(chaddr(n))).collect();
    for burst in 1..=32 {
        frames.iter().try_for_each(|frame| client.send(frame))?;
        reflector.wait_received(burst * 64)?;
        thread::sleep(Duration::from_millis(5));
    }
    let (received, lost) = reflector.finish()?;
    ensure!(received.iter().all(|&count| count > 0) && lost == 0, "{received:?}, {lost} lost");
    Ok(())
}

fn drained() -> Result<()> {
    const FRAMES: u64 = 1000;
    let site = Direct::new(Veth::default())?;
    let mut reflector = Reflector::open(&site, 4096, XdpMode::Native)?;
    let client = RawSocket::open(site.client_end())?;
    for n in 0..FRAMES {
        client.send(&request(chaddr(n as u32)))?;
    }
    let redirected = || Ok((reflector.program.verdicts()?[Verdict::Redirected as usize] == FRAMES).then_some(()));
    wait_for("the XDP program", PATIENCE, redirected)?;
    // Told to stop before they have looked at a ring.
    reflector.stop.store(true, Ordering::Relaxed);
    reflector.start(send_back);
    let counters = reflector.counters.clone();
    let (received, lost) = reflector.finish()?;
    ensure!(received.iter().sum::<u64>() == FRAMES && lost == 0, "{received:?}, {lost} lost");
    let sent: u64 = counters.iter().map(|counters| counters.snapshot().sent).sum();
    ensure!(sent == FRAMES, "{sent} sent");
    Ok(())
}

fn occupied() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let reflector = Reflector::open(&site, 64, XdpMode::Native)?;
    site.inside.enter(|| {
        let device = Device::find(INSIDE)?;
        let there = device.program.context("no program is listed")?;
        let config = ProgramConfig { workers: 1, role: Role::Server, filter_destination: true };
        // With the look before attaching, and without it, as when both start at the same time.
        for device in [device.clone(), Device { program: None, ..device }] {
            match Program::attach(OBJECT, &device, XdpMode::Auto, config).err() {
                Some(error @ ProgramError::Occupied { .. }) if error.to_string().contains(&there.id.to_string()) => {}
                other => bail!("{other:?}"),
            }
        }
        ensure!(Device::find(INSIDE)?.program == Some(there), "it was replaced");
        Ok(())
    })??;
    reflector.finish()?;
    // The link goes with its last descriptor; a program that another test starts at this moment has a copy of it until its `exec`.
    let gone = || site.inside.enter(|| Ok(Device::find(INSIDE)?.program.is_none().then_some(())))?;
    wait_for("the end of the XDP program", PATIENCE, gone)
}

fn removed() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let reflector = Reflector::open(&site, 64, XdpMode::Native)?;
    ensure!(!reflector.readers[0].lost_device(), "it has not lost it yet");
    site.inside.ip(&format!("link delete {INSIDE}"))?;
    let lost = || Ok(reflector.readers[0].lost_device().then_some(()));
    wait_for("the loss of the interface", PATIENCE, lost)
}
