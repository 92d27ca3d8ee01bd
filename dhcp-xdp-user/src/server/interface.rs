//! One interface of a server: its program, its queues, and the threads of its workers.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam_channel::bounded;
use dhcp_xdp_ebpf::{Role, Verdict};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{Shared, StartError, lock};
use crate::{
    config::{self, Config, Machine as _, ThisMachine},
    engine::DEFAULT_MESSAGE_SIZE,
    journal::Lane,
    ping::{Desk, Recent},
    stats::{FrameStats, InterfaceStats, QueueStats, WorkerStats},
    wake::Wake,
    worker::{
        batch::Processor,
        counters::Counters,
        port::{Port, SharedPort},
        ring::Worker,
    },
    xsk::{
        AttachMode, BindMode, Device, FrameToken, OBJECT, Program, ProgramConfig, Queue, QueueConfig, QueueFrames,
        RingStats, RingStatsReader, Socket, open_queue,
    },
};

/// Redirected frames after which a zero-copy socket that has not had one is worth a word.
const SILENCE_AFTER: u64 = 32;

/// An interface while it is served: what statistics read.
pub(super) struct Interface {
    name: String,
    /// Index into `Config::interfaces`.
    index: usize,
    /// As it was when last looked at.
    device: Mutex<Device>,
    /// What its workers know of it.
    port: Arc<SharedPort>,
    /// Server identifiers that the configuration sets: frames to them are ours whatever addresses the device has.
    server_ids: Vec<Ipv4Addr>,
    mode: AttachMode,
    bind_mode: BindMode,
    program: Mutex<Program>,
    /// Its program's id, as the kernel has it.
    program_id: Option<u32>,
    /// Somebody took the program off: nothing comes any more.
    lost_program: AtomicBool,
    queues: Vec<OpenQueue>,
    silence_said: AtomicBool,
}

struct OpenQueue {
    frames: Arc<QueueFrames>,
    workers: Vec<Arc<WorkerView>>,
}

/// What statistics know of a worker.
pub(super) struct WorkerView {
    counters: Arc<Counters>,
    cpu: Mutex<Option<usize>>,
    /// `None` once the socket is closed: it would keep it open.
    ring_stats: Mutex<Option<RingStatsReader>>,
}

/// All that a worker's thread will need.
pub(super) struct Seat {
    interface: usize,
    name: String,
    queue: u32,
    worker: u32,
    socket: Socket,
    port: Arc<SharedPort>,
    view: Arc<WorkerView>,
    cpu: Option<usize>,
    /// ACKs that may wait for the disk.
    parking: usize,
    /// OFFERs that may wait for a probe, and what is known of addresses.
    desk: Option<(Desk<FrameToken>, Arc<Recent>)>,
    pub(super) wake: Arc<Wake>,
}

/// Attaches the program of an interface and opens its sockets. Nothing is redirected to them yet.
pub(super) fn open(config: &Config, index: usize, device: Device) -> Result<(Interface, Vec<Seat>), StartError> {
    let wanted = &config.interfaces[index];
    let queues = queue_count(wanted, &device);
    let program_config =
        ProgramConfig { workers: wanted.workers_per_queue, role: Role::Server, filter_destination: true };
    let mut program = Program::attach(OBJECT, &device, wanted.xdp_mode, program_config)?;
    let server_ids = config.subnets.iter().filter_map(|subnet| subnet.server_id);
    let server_ids: Vec<_> = server_ids.collect();
    program.set_destinations(destinations(&device, &server_ids))?;
    let program_id = Device::at(device.index)?.program.map(|program| program.id);
    look_at_mtu(&device.name, device.mtu);
    let shared_port = Arc::new(SharedPort::new(port(&device.name, index, &device)));

    let mut open = Vec::new();
    let mut seats = Vec::new();
    let mut bind_mode = BindMode::Copy;
    for queue in 0..queues {
        let wakes = (0..wanted.workers_per_queue).map(|_| Wake::new().map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let wakes = wakes.map_err(StartError::Wake)?;
        let Some(owner_wake) = wakes.first() else { break };
        let queue_config = QueueConfig {
            frames: wanted.frames_per_queue,
            sockets: wanted.workers_per_queue,
            fill: wanted.frames_per_queue,
            // In generic mode the program sees copies, which a zero-copy socket cannot take.
            zero_copy: program.mode() == AttachMode::Native,
            busy_poll: wanted.busy_poll,
        };
        let Queue { sockets, bind_mode: bound, frames } =
            open_queue(&wanted.name, queue, &queue_config, Arc::clone(owner_wake))?;
        bind_mode = bound;
        let mut workers = Vec::new();
        for ((socket, wake), worker) in sockets.into_iter().zip(wakes).zip(0..) {
            let ring_stats = socket.statistics_reader().map_err(|source| StartError::Statistics {
                interface: wanted.name.clone(),
                queue,
                source,
            })?;
            let view = Arc::new(WorkerView {
                counters: Arc::default(),
                cpu: Mutex::default(),
                ring_stats: Mutex::new(Some(ring_stats)),
            });
            workers.push(Arc::clone(&view));
            seats.push(Seat {
                interface: index,
                name: format!("{}-{queue}-{worker}", wanted.name),
                socket,
                queue,
                worker,
                port: Arc::clone(&shared_port),
                view,
                cpu: None,
                parking: parking(wanted),
                desk: None,
                wake,
            });
        }
        open.push(OpenQueue { frames, workers });
    }
    log::info!(
        "{}: XDP program attached in {} mode, AF_XDP in {} mode, {queues} queue(s) with {} worker(s) each",
        device.name,
        program.mode().name(),
        bind_mode.name(),
        wanted.workers_per_queue
    );
    let interface = Interface {
        name: device.name.clone(),
        mode: program.mode(),
        bind_mode,
        index,
        device: Mutex::new(device),
        port: shared_port,
        server_ids,
        program: Mutex::new(program),
        program_id,
        lost_program: AtomicBool::new(false),
        queues: open,
        silence_said: AtomicBool::new(false),
    };
    Ok((interface, seats))
}

fn queue_count(wanted: &config::Interface, device: &Device) -> u32 {
    // Where the two differ the configuration's checks have said so.
    wanted.queues.unwrap_or(device.rx_queues).min(device.rx_queues)
}

/// Destinations that are ours: what the program hands over.
fn destinations<'a>(device: &'a Device, server_ids: &'a [Ipv4Addr]) -> impl Iterator<Item = Ipv4Addr> + 'a {
    device.addresses.iter().chain(&device.broadcasts).chain(server_ids).copied()
}

/// Replies are refused where the device could not carry the least that a client must take.
fn look_at_mtu(name: &str, mtu: u32) {
    let least = u32::from(DEFAULT_MESSAGE_SIZE);
    if mtu < least {
        log::error!("{name}: its MTU of {mtu} is below the {least} bytes of a reply: no request is answered; raise it");
    }
}

/// `name` is the one that the configuration knows it by.
fn port(name: &str, interface: usize, device: &Device) -> Port {
    Port {
        interface,
        name: name.to_owned(),
        addresses: device.addresses.clone(),
        mac: device.mac,
        mtu: device.mtu as usize,
    }
}

/// A quarter of a queue's frames is left for receiving, however slow the disk is.
fn parking(wanted: &config::Interface) -> usize {
    (wanted.frames_per_queue / wanted.workers_per_queue.max(1)) as usize * 3 / 4
}

impl Seat {
    /// Makes room for OFFERs that wait for a probe, at most this many, out of that of ACKs that wait for the disk.
    pub(super) fn places(&mut self, wanted: usize) -> usize {
        let places = wanted.min(self.parking / 4);
        self.parking -= places;
        places
    }

    /// Has them wait there.
    pub(super) fn sit_at(&mut self, desk: Desk<FrameToken>, recent: Arc<Recent>) {
        self.desk = Some((desk, recent));
    }
}

/// Gives each worker a CPU: those of its interface's configuration in turn, else those that we may run on, one after the
/// other over all interfaces.
pub(super) fn assign_cpus(config: &Config, seats: &mut [Seat]) {
    let allowed = ThisMachine.cpus();
    let mut next = vec![0usize; config.interfaces.len()];
    let mut next_allowed = 0;
    for seat in seats {
        let listed = &config.interfaces[seat.interface].cpus;
        let (cpus, at) =
            if listed.is_empty() { (&allowed, &mut next_allowed) } else { (listed, &mut next[seat.interface]) };
        seat.cpu = (!cpus.is_empty()).then(|| cpus[*at % cpus.len()]);
        *at += 1;
    }
}

/// A worker's thread.
pub(super) struct Running {
    name: String,
    pub(super) wake: Arc<Wake>,
    thread: JoinHandle<(Socket, Lane)>,
}

impl Running {
    /// Waits for its end; `None` if it panicked.
    pub(super) fn join(self) -> Option<(Socket, Lane)> {
        let result = self.thread.join();
        if result.is_err() {
            log::error!("worker {}: its thread panicked", self.name);
        }
        result.ok()
    }
}

/// Starts a worker's thread and waits until it is pinned.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    seat: Seat,
    lane: Lane,
    stop: &Arc<AtomicBool>,
) -> Result<Running, StartError> {
    let (shared, stop) = (Arc::clone(shared), Arc::clone(stop));
    let (name, wake) = (seat.name.clone(), Arc::clone(&seat.wake));
    let (ready, is_ready) = bounded::<()>(0);
    let thread = std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let _watch = PanicWatch {
                shared: &shared,
                name: &seat.name.clone(),
                place: (seat.interface, seat.queue, seat.worker),
            };
            pin(&seat);
            drop(ready);
            work(&shared, seat, lane, &stop)
        })
        .map_err(|source| StartError::Thread { name: name.clone(), source })?;
    // An error is the other end being dropped, which is what it waits for.
    let _ = is_ready.recv();
    Ok(Running { name, wake, thread })
}

/// A worker that panics has found a bug. The others serve on, and whoever watches the server learns of it.
struct PanicWatch<'a> {
    shared: &'a Shared,
    name: &'a str,
    /// Interface, queue and worker.
    place: (usize, u32, u32),
}

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (interface, queue, worker) = self.place;
            self.shared.interfaces[interface].abandon(queue, worker);
            self.shared.fail(format!("worker {}: panicked; it serves no more", self.name));
        }
    }
}

fn pin(seat: &Seat) {
    let Some(cpu) = seat.cpu else { return };
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    match pinned {
        Ok(()) => *lock(&seat.view.cpu) = Some(cpu),
        Err(error) => log::warn!("worker {}: cannot be pinned to CPU {cpu} ({error}); it runs where it may", seat.name),
    }
}

fn work(shared: &Shared, seat: Seat, mut lane: Lane, stop: &AtomicBool) -> (Socket, Lane) {
    let Seat { interface, name, queue, worker: number, socket, port, view, parking, desk, wake, .. } = seat;
    let counters = Arc::clone(&view.counters);
    // A request whose ACK would find no place to wait is refused before anything is changed for it.
    lane.limit_to(parking as u64);
    let mut processor =
        Processor::new(Arc::clone(&shared.config), Arc::clone(&shared.leases), lane, port, Arc::clone(&counters));
    if let Some(index) = &shared.leasequery {
        processor = processor.with_leasequery(Arc::clone(index));
    }
    let (desk, recent) = desk.unzip();
    if let Some(recent) = recent {
        processor.remember_in(recent);
    }
    let mut worker = Worker::new(socket, processor, counters, parking).with_desk(desk);
    let clock = shared.clock;
    if let Err(error) = worker.run(|| clock.now_s(), &wake, stop, &shared.options(interface)) {
        shared.interfaces[interface].abandon(queue, number);
        shared.fail(format!("worker {name}: {error}; it serves no more"));
    }
    let (socket, processor) = worker.into_parts();
    (socket, processor.into_recorder())
}

impl Interface {
    /// From now on the program hands frames to the sockets.
    pub(super) fn redirect(&self) -> Result<(), StartError> {
        let mut program = lock(&self.program);
        for (queue, number) in self.queues.iter().zip(0..) {
            for (worker, index) in queue.workers.iter().zip(0..) {
                if let Some(socket) = &*lock(&worker.ring_stats) {
                    program.set_socket(number, index, socket)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at the device once more: its addresses, its MTU and even its name may have changed since. Workers, program and
    /// statistics follow; its name stays that of the configuration.
    pub(super) fn follow(&self, pools: impl Fn(Ipv4Addr) -> bool) {
        let mut device = lock(&self.device);
        // By its index: another device may have its name now. One that is gone is told by its sockets.
        let Ok(now) = Device::at(device.index) else { return };
        if self.program_id.is_some() && now.program.map(|program| program.id) != self.program_id {
            self.lost_program.store(true, Ordering::Relaxed);
        }
        if now.name != device.name {
            log::warn!("{}: is called {} now; it is served on", self.name, now.name);
        }
        if now.mtu != device.mtu {
            log::warn!("{}: its MTU is now {}", self.name, now.mtu);
            look_at_mtu(&self.name, now.mtu);
        }
        if (&now.addresses, &now.broadcasts) != (&device.addresses, &device.broadcasts) {
            self.look_at_addresses(&now, pools);
        }
        self.port.set(port(&self.name, self.index, &now));
        *device = now;
    }

    fn look_at_addresses(&self, now: &Device, pools: impl Fn(Ipv4Addr) -> bool) {
        let listed: Vec<_> = now.addresses.iter().map(Ipv4Addr::to_string).collect();
        let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
        log::warn!("{}: its addresses are now {listed}", self.name);
        for address in now.addresses.iter().filter(|address| pools(**address)) {
            log::error!(
                "{}: its own address {address} is in a pool; a client may be given it: use `exclude`",
                self.name
            );
        }
        if let Err(error) = lock(&self.program).set_destinations(destinations(now, &self.server_ids)) {
            log::error!("{error}");
        }
    }

    /// A worker serves no more: its clients' frames are better passed to the kernel than put into a ring that nobody reads.
    /// Without the queue's first worker, which has its fill ring, the others get nothing either.
    fn abandon(&self, queue: u32, worker: u32) {
        if let Err(error) = lock(&self.program).clear_queue(queue, (worker > 0).then_some(worker)) {
            log::error!("{error}");
        }
    }

    /// From now on it hands over none.
    pub(super) fn stop_redirecting(&self) {
        let mut program = lock(&self.program);
        if let Err(error) = program.clear_sockets() {
            // Taking the program off does it too, at the price of what zero-copy sockets have still to send.
            log::warn!("{error}; taking the program off at once");
            program.detach();
        }
    }

    /// Takes the program off; its counters stay.
    pub(super) fn detach(&self) {
        lock(&self.program).detach();
    }

    /// Lets go of the sockets.
    pub(super) fn close(&self) {
        for worker in self.queues.iter().flat_map(|queue| &queue.workers) {
            *lock(&worker.ring_stats) = None;
        }
    }

    /// Counters of all its parts. Those nearest to the reply are read first, so that a frame on its way is counted by what
    /// it has passed, and never by what it has not: the ledger shows it as `in_rings`.
    pub(super) fn stats(&self) -> InterfaceStats {
        let queues = self.queues.iter().zip(0..).map(|(queue, number)| queue.stats(number)).collect();
        InterfaceStats {
            name: self.name.clone(),
            mode: self.mode.name().to_owned(),
            bind_mode: self.bind_mode.name().to_owned(),
            addresses: lock(&self.device).addresses.clone(),
            queues,
            xdp: Verdict::ALL.iter().map(|v| v.name().to_owned()).zip(self.verdicts()).collect(),
        }
    }

    fn verdicts(&self) -> [u64; Verdict::COUNT as usize] {
        lock(&self.program).verdicts().unwrap_or_else(|error| {
            log::error!("{error}");
            Default::default()
        })
    }

    /// Whether one of its sockets has lost the device.
    pub(super) fn lost_device(&self) -> bool {
        let mut workers = self.queues.iter().flat_map(|queue| &queue.workers);
        workers.any(|worker| lock(&worker.ring_stats).as_ref().is_some_and(RingStatsReader::lost_device))
    }

    /// Whether its program is not there any more; see [`follow`](Self::follow).
    pub(super) fn lost_program(&self) -> bool {
        self.lost_program.load(Ordering::Relaxed)
    }

    /// The name that the configuration has for it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Hands the program's rare events to the log.
    pub(super) fn log_events(&self) {
        lock(&self.program).log_events();
    }

    /// A bind in zero-copy mode that succeeds is no proof: with some drivers no frame ever arrives. Says so, once.
    pub(super) fn look_for_silence(&self) {
        if self.bind_mode != BindMode::ZeroCopy || self.silence_said.load(Ordering::Relaxed) {
            return;
        }
        let queues = self.stats().queues;
        let mut workers = queues.iter().flat_map(|queue| &queue.workers);
        let heard = workers.any(|worker| worker.received + worker.rx_dropped + worker.rx_ring_full > 0);
        let redirected = self.verdicts()[Verdict::Redirected as usize];
        if heard {
            self.silence_said.store(true, Ordering::Relaxed);
        } else if redirected >= SILENCE_AFTER {
            self.silence_said.store(true, Ordering::Relaxed);
            log::error!(
                "{}: {redirected} frames were redirected and none arrived: its driver's zero-copy mode does not work \
                 here; restart with XDP in generic mode",
                self.name
            );
        }
    }
}

impl OpenQueue {
    fn stats(&self, queue: u32) -> QueueStats {
        let workers: Vec<_> = self.workers.iter().zip(0..).map(|(worker, index)| worker.stats(index)).collect();
        let account = self.frames.account();
        // A parked frame is in its worker's hands; it has a column of its own.
        let parked = workers.iter().map(|worker| worker.parked).sum::<u64>().min(account.worker);
        let frames = FrameStats { worker: account.worker - parked, parked, ..account };
        QueueStats { queue, frames, workers }
    }
}

impl WorkerView {
    fn stats(&self, worker: u32) -> WorkerStats {
        let stats = WorkerStats::of(worker, *lock(&self.cpu), &self.counters.snapshot());
        let rings = match &*lock(&self.ring_stats) {
            Some(reader) => reader.read().unwrap_or_else(|error: io::Error| {
                log::error!("cannot read a socket's statistics: {error}");
                RingStats::default()
            }),
            None => RingStats::default(),
        };
        WorkerStats { rx_dropped: rings.rx_dropped, rx_ring_full: rings.rx_ring_full, ..stats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface() -> config::Interface {
        config::Interface {
            name: "a".into(),
            workers_per_queue: 2,
            queues: None,
            xdp_mode: config::XdpMode::Auto,
            busy_poll: false,
            cpus: vec![],
            frames_per_queue: 4096,
        }
    }

    #[test]
    fn workers_that_park_all_they_may_leave_frames_to_receive() {
        let wanted = interface();
        assert!(parking(&wanted) * wanted.workers_per_queue as usize <= wanted.frames_per_queue as usize * 3 / 4);
    }

    #[test]
    fn a_process_may_run_somewhere() {
        assert!(!ThisMachine.cpus().is_empty());
    }
}
