//! AF_PACKET: frames through the kernel, for interfaces where XDP is not wanted (packet(7)).
//!
//! A classic BPF filter on the socket lets through what a client or a relay agent hears: UDP to port 67 or 68, and ARP. The
//! kernel takes the outer VLAN tag off what it hands over; the judge knows that.

use std::{
    array,
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use anyhow::Context as _;
use arrayvec::ArrayVec;
use dhcp_xdp::xsk::Device;
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrLike as _, bind, recvmmsg,
        sendmmsg, setsockopt, socket, sockopt,
    },
};
use socket2::{SockFilter, SockRef};

use super::{KernelCounts, Modes, Port, gone, wait_for_any};

/// Room for a frame.
const CHUNK: usize = 2048;
/// Frames that wait to be sent.
const STAGED: usize = 256;
/// Frames in one system call.
const BATCH: usize = 64;
/// Room for frames in the kernel, each way.
const BUFFER: usize = 8 << 20;

/// What a socket is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// DHCP replies and ARP.
    Replies,
    /// ARP.
    Arp,
}

/// A packet socket on an interface, with its buffers.
pub struct PacketPort {
    socket: OwnedFd,
    tx: Vec<u8>,
    tx_lens: ArrayVec<usize, STAGED>,
    tx_headers: MultiHeaders<()>,
    rx: Vec<u8>,
    rx_headers: MultiHeaders<()>,
    failed: Option<Errno>,
}

impl PacketPort {
    /// Opens it.
    ///
    /// # Errors
    /// One line on what is in the way.
    pub fn open(device: &Device, hears: Hears) -> anyhow::Result<Self> {
        let name = &device.name;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
        let socket = socket.map_err(|error| match error {
            Errno::EPERM => anyhow::anyhow!(
                "{name}: no permission to open a packet socket: CAP_NET_RAW is missing (run as root, or grant it)"
            ),
            error => anyhow::anyhow!("{name}: cannot open a packet socket: {error}"),
        })?;
        let fail = |what: &'static str| move || format!("{name}: cannot {what}");
        let program: Vec<_> =
            filter(hears).into_iter().map(|(code, jt, jf, k)| SockFilter::new(code, jt, jf, k)).collect();
        SockRef::from(&socket).attach_filter(&program).with_context(fail("filter what a packet socket hears"))?;
        // The kernel lists each interface with its link-layer address, which is what `bind` wants.
        let address = getifaddrs().with_context(fail("list interfaces"))?.find_map(|interface| {
            let address = interface.address.filter(|address| address.family() == Some(AddressFamily::Packet));
            address.filter(|_| interface.interface_name == *name)
        });
        let address = address.with_context(|| format!("{name}: no such interface"))?;
        bind(socket.as_raw_fd(), &address).with_context(fail("bind a packet socket"))?;
        // As much as is allowed: without CAP_NET_ADMIN the system's limit is.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER));
        let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &BUFFER));
        let mut port = Self {
            socket,
            tx: vec![0; STAGED * CHUNK],
            tx_lens: ArrayVec::new(),
            tx_headers: MultiHeaders::preallocate(BATCH, None),
            rx: vec![0; BATCH * CHUNK],
            rx_headers: MultiHeaders::preallocate(BATCH, None),
            failed: None,
        };
        // Between opening and binding it heard all interfaces.
        while port.receive(BATCH, |_| {}) > 0 {}
        Ok(port)
    }

    /// How it came about.
    pub fn modes(&self) -> Modes {
        Modes { socket: "packet", attach: "none", bind: "copy", queues: 1 }
    }

    /// The kernel counts nothing here that could be read.
    pub fn counts(&self) -> KernelCounts {
        KernelCounts::default()
    }

    /// Sends staged frames, a batch at most; returns how many.
    fn send_batch(&mut self, from: usize) -> Result<usize, Errno> {
        let frames = self.tx.chunks_exact(CHUNK).zip(&self.tx_lens).skip(from).take(BATCH);
        let slices: ArrayVec<[IoSlice<'_>; 1], BATCH> =
            frames.map(|(chunk, len)| [IoSlice::new(&chunk[..*len])]).collect();
        let addresses = [None::<()>; BATCH];
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent =
            sendmmsg(self.socket.as_raw_fd(), &mut self.tx_headers, &slices, &addresses[..slices.len()], [], flags)?;
        Ok(sent.count())
    }
}

impl Port for PacketPort {
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.tx_lens.is_full() {
            return false;
        }
        let at = self.tx_lens.len() * CHUNK;
        let len = write(&mut self.tx[at..at + CHUNK]);
        self.tx_lens.push(len);
        true
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(error) = self.failed {
            return Err(gone(error.into()));
        }
        let mut sent = 0;
        while sent < self.tx_lens.len() {
            match self.send_batch(sent) {
                Ok(0) | Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                Ok(count) => sent += count,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(gone(error.into())),
            }
        }
        // What found no room goes first the next time.
        let (first, end) = (sent * CHUNK, self.tx_lens.len() * CHUNK);
        if sent > 0 {
            self.tx.copy_within(first..end, 0);
            self.tx_lens.drain(..sent);
        }
        Ok(())
    }

    fn receive(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut lens: ArrayVec<usize, BATCH> = ArrayVec::new();
        let mut chunks = self.rx.chunks_exact_mut(CHUNK);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let slices = slices.iter_mut().take(most);
        match recvmmsg(self.socket.as_raw_fd(), &mut self.rx_headers, slices, MsgFlags::MSG_DONTWAIT, None) {
            Ok(received) => lens.extend(received.map(|message| message.bytes)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => self.failed = Some(error),
        }
        for (chunk, len) in self.rx.chunks_exact(CHUNK).zip(&lens) {
            take(&chunk[..(*len).min(CHUNK)]);
        }
        lens.len()
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        wait_for_any(&[self.as_fd()], timeout)
    }
}

impl AsFd for PacketPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An instruction of classic BPF: code, jumps if so and if not, constant.
type Instruction = (u16, u8, u8, u32);

/// The filter: ARP, and for replies UDP to port 67 or 68 with one tag or none before it (the kernel took the outer one off).
fn filter(hears: Hears) -> Vec<Instruction> {
    // linux/bpf_common.h: BPF_LD | BPF_ABS of 2 bytes and of 1, BPF_LDX | BPF_MSH (4 * IHL), BPF_LD | BPF_IND of 2 bytes,
    // BPF_JMP | BPF_JEQ and BPF_JSET by a constant, BPF_RET.
    const HALF: u16 = 0x28;
    const BYTE: u16 = 0x30;
    const HEADER_LEN: u16 = 0xb1;
    const HALF_BEHIND_HEADER: u16 = 0x48;
    const EQUAL: u16 = 0x15;
    const ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let op = |code, if_so, if_not, constant| (code, if_so, if_not, constant);
    if hears == Hears::Arp {
        return vec![
            op(HALF, 0, 0, 12),
            op(EQUAL, 3, 0, 0x0806),
            op(EQUAL, 0, 3, 0x8100),
            op(HALF, 0, 0, 16),
            op(EQUAL, 0, 1, 0x0806),
            op(RETURN, 0, 0, u32::MAX),
            op(RETURN, 0, 0, 0),
        ];
    }
    // UDP to port 67 or 68, unfragmented, IPv4 header at `ip`: falls through to the next instruction when it is, and jumps
    // `miss` beyond the last of these eight when not.
    let dhcp = |ip: u32, hit: u8, miss: u8| {
        [
            op(BYTE, 0, 0, ip + 9),
            op(EQUAL, 0, miss + 6, 17),
            op(HALF, 0, 0, ip + 6),
            op(ANY_BIT, miss + 4, 0, 0x3fff),
            op(HEADER_LEN, 0, 0, ip),
            op(HALF_BEHIND_HEADER, 0, 0, ip + 2),
            op(EQUAL, hit + 1, 0, 67),
            op(EQUAL, hit, miss, 68),
        ]
    };
    let mut program = vec![
        op(HALF, 0, 0, 12),
        op(EQUAL, 21, 0, 0x0806), // 1 -> accept at 23
        op(EQUAL, 4, 0, 0x0800),  // 2 -> 7
        op(EQUAL, 0, 21, 0x8100), // 3 -> reject at 25
        op(HALF, 0, 0, 16),       // 4
        op(EQUAL, 18, 0, 0x0806), // 5 -> accept at 24
        op(EQUAL, 8, 18, 0x0800), // 6 -> 15, or reject at 25
    ];
    program.extend(dhcp(14, 8, 10)); // 7 to 14 -> accept at 23, reject at 25
    program.extend(dhcp(18, 0, 2)); // 15 to 22
    program.push(op(RETURN, 0, 0, u32::MAX)); // 23
    program.push(op(RETURN, 0, 0, u32::MAX)); // 24
    program.push(op(RETURN, 0, 0, 0)); // 25
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with a frame, for the few instructions that are used.
    fn passes(hears: Hears, frame: &[u8]) -> bool {
        let program = filter(hears);
        let half = |at: usize| frame.get(at..at + 2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]])));
        let (mut a, mut x, mut at) = (0, 0, 0);
        loop {
            let (code, jt, jf, k) = program[at];
            let loaded = match code {
                0x28 => half(k as usize),
                0x30 => frame.get(k as usize).map(|b| u32::from(*b)),
                0x48 => half((k + x) as usize),
                0xb1 => frame.get(k as usize).map(|b| u32::from(b & 15) * 4),
                _ => Some(0),
            };
            let Some(loaded) = loaded else { return false };
            at += 1;
            match code {
                0x28 | 0x30 | 0x48 => a = loaded,
                0xb1 => x = loaded,
                0x15 => at += usize::from(if a == k { jt } else { jf }),
                0x45 => at += usize::from(if a & k != 0 { jt } else { jf }),
                0x06 => return k != 0,
                code => panic!("{code:#x}"),
            }
        }
    }

    fn udp(tag: &[u8], port: u16, protocol: u8, fragment: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend(tag);
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, fragment, 0, 64, protocol, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 67]);
        frame.extend(port.to_be_bytes());
        frame.extend([0; 20]);
        frame
    }

    #[test]
    fn the_filter_lets_through_what_a_client_hears_and_nothing_else() {
        let tag = [0x81, 0, 0, 7];
        let mut arp = vec![2; 12];
        arp.extend([8, 6]);
        arp.extend([0; 28]);
        let mut tagged_arp = arp.clone();
        tagged_arp.splice(12..12, tag);
        for tag in [&[][..], &tag] {
            for port in [67, 68] {
                assert!(passes(Hears::Replies, &udp(tag, port, 17, 0)));
            }
            assert!(!passes(Hears::Replies, &udp(tag, 53, 17, 0)));
            assert!(!passes(Hears::Replies, &udp(tag, 68, 6, 0)));
            assert!(!passes(Hears::Replies, &udp(tag, 68, 17, 0x20)));
            assert!(passes(Hears::Replies, &udp(tag, 68, 17, 0x40)), "don't fragment is no fragment");
            assert!(!passes(Hears::Arp, &udp(tag, 68, 17, 0)));
        }
        for hears in [Hears::Replies, Hears::Arp] {
            assert!(passes(hears, &arp) && passes(hears, &tagged_arp));
            assert!(!passes(hears, &[0; 60]) && !passes(hears, &[]));
        }
    }
}
