//! AF_XDP: the server's own sockets, one on each receive queue, and the XDP program that sends replies to them.

use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use arrayvec::ArrayVec;
use dhcp_xdp::{
    config::XdpMode,
    wake::Wake,
    xsk::{Device, FrameToken, OBJECT, Program, ProgramConfig, QueueConfig, RingStats, Socket, open_queue},
};
use dhcp_xdp_ebpf::Role;

use super::{
    KernelCounts, MAX_POLLED, Modes, Port, gone,
    packet::{Hears, PacketPort},
    wait_for_any,
};

/// Chunks of a queue, half of them to receive into.
const FRAMES: u32 = 8192;
/// Frames taken at a time.
const BATCH: usize = 64;

/// The sockets of an interface and its program, which is taken off when this is dropped.
pub struct XdpPort {
    sockets: Vec<Socket>,
    program: Program,
    tokens: ArrayVec<FrameToken, BATCH>,
    /// Socket that sends during this turn.
    sender: usize,
    /// Socket that is looked at first for replies.
    receiver: usize,
    modes: Modes,
    /// Hears who asks for the addresses of clients and relay agents, which the XDP program passes on to the kernel.
    arp: Option<PacketPort>,
    /// Whether to look there before the next [`LOOK_FOR_ARP_EVERY`] turns are over.
    look_for_arp: bool,
    turns: u32,
}

/// Turns between two looks for ARP requests under load.
const LOOK_FOR_ARP_EVERY: u32 = 256;

impl XdpPort {
    /// Attaches the program and opens the sockets; with `hears_arp` one more for ARP requests.
    ///
    /// # Errors
    /// One line on what is in the way: the interface's state, a permission, another program.
    pub fn open(device: &Device, mode: XdpMode, hears_arp: bool) -> anyhow::Result<Self> {
        let arp = hears_arp.then(|| PacketPort::open(device, Hears::Arp)).transpose()?;
        let config = ProgramConfig { workers: 1, role: Role::Client, filter_destination: false };
        let mut program = Program::attach(OBJECT, device, mode, config)?;
        let config = QueueConfig {
            frames: FRAMES,
            sockets: 1,
            fill: FRAMES / 2,
            zero_copy: program.mode() == dhcp_xdp::xsk::AttachMode::Native,
            busy_poll: false,
        };
        // Nobody wakes this thread: it sleeps for milliseconds at most.
        let wake = Arc::new(Wake::new()?);
        let mut sockets = Vec::new();
        let mut bind = "";
        for queue in 0..device.rx_queues {
            let opened = open_queue(&device.name, queue, &config, Arc::clone(&wake))?;
            bind = opened.bind_mode.name();
            for socket in opened.sockets {
                program.set_socket(queue, 0, &socket)?;
                sockets.push(socket);
            }
        }
        let modes = Modes { socket: "xdp", attach: program.mode().name(), bind, queues: sockets.len() };
        Ok(Self {
            sockets,
            program,
            tokens: ArrayVec::new(),
            sender: 0,
            receiver: 0,
            modes,
            arp,
            look_for_arp: false,
            turns: 0,
        })
    }

    /// How the program is attached and the sockets are bound.
    pub fn modes(&self) -> Modes {
        self.modes
    }

    /// What the kernel counted so far.
    ///
    /// # Errors
    /// The kernel would not say.
    pub fn counts(&self) -> anyhow::Result<KernelCounts> {
        let mut rings = RingStats::default();
        for socket in &self.sockets {
            let one = socket.statistics_reader()?.read()?;
            rings.rx_dropped += one.rx_dropped;
            rings.rx_ring_full += one.rx_ring_full;
            rings.fill_ring_empty += one.fill_ring_empty;
            rings.rx_invalid += one.rx_invalid;
            rings.tx_invalid += one.tx_invalid;
        }
        Ok(KernelCounts { rings, verdicts: self.program.verdicts()? })
    }
}

impl Port for XdpPort {
    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let socket = &mut self.sockets[self.sender];
        let Some(mut token) = socket.alloc() else { return false };
        let len = write(socket.bytes_mut(&mut token));
        match socket.transmit(token, len) {
            Ok(()) => true,
            Err(token) => {
                socket.recycle(token);
                false
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        for socket in &mut self.sockets {
            socket.flush().map_err(gone)?;
            socket.service();
        }
        // The next turn's frames leave on the next queue.
        self.sender = (self.sender + 1) % self.sockets.len();
        Ok(())
    }

    fn receive(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        self.turns += 1;
        if let Some(arp) = &mut self.arp
            && (self.look_for_arp || self.turns >= LOOK_FOR_ARP_EVERY)
        {
            (self.look_for_arp, self.turns) = (false, 0);
            let count = arp.receive(most, &mut take);
            if count > 0 {
                return count;
            }
        }
        for _ in 0..self.sockets.len() {
            let socket = &mut self.sockets[self.receiver];
            self.receiver = (self.receiver + 1) % self.modes.queues;
            let count = socket.receive(&mut self.tokens);
            for mut token in self.tokens.drain(..) {
                let len = token.len();
                let bytes = socket.bytes_mut(&mut token);
                take(&bytes[..len.min(bytes.len())]);
                socket.recycle(token);
            }
            if count > 0 {
                return count;
            }
        }
        0
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let mut timeout = timeout;
        for socket in &mut self.sockets {
            if let Some(most_ms) = socket.before_sleep() {
                timeout = timeout.min(Duration::from_millis(most_ms.into()));
            }
        }
        let arp = self.arp.iter().map(|arp| arp.as_fd());
        let fds: ArrayVec<_, MAX_POLLED> =
            arp.chain(self.sockets.iter().map(|socket| socket.as_fd())).take(MAX_POLLED).collect();
        self.look_for_arp = true;
        wait_for_any(&fds, timeout)
    }
}
