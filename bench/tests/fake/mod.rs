//! A DHCP server in memory, right or wrong on purpose, on the other end of a [`Port`]; and a clock that it moves.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    io,
    net::Ipv4Addr,
    rc::Rc,
    time::Duration,
};

use dhcp_storm::port::{Clock, Port};

pub const SERVER: [u8; 4] = [10, 0, 0, 1];
const FIRST_ADDRESS: u32 = 0x0a01_0000;

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    None,
    /// Says nothing.
    Silent,
    /// Drops every n-th message.
    DropsEvery(u32),
    /// Gives client number `n` (in order of arrival) the address of the one before.
    DoublesAddressOf(u32),
    /// Answers with a transaction identifier that is one too high.
    WrongXid,
    /// Answers twice.
    Twice,
    /// Refuses every n-th REQUEST.
    NaksEvery(u32),
    NoLeaseTime,
    NoServerId,
    /// ACKs the address after the one asked for.
    AcksAnotherAddress,
    ForgetsOption82,
    ForgetsClientId,
    ForgetsEnd,
    WrongUdpChecksum,
    ChecksumLeftToHardware,
    AcksADiscover,
    /// Answers every message so late that the client has sent it again.
    Slow(Duration),
    /// The link goes down after so many messages.
    LinkDownAfter(u32),
}

/// Time in a test.
#[derive(Clone, Default)]
pub struct TestClock(Rc<Cell<u64>>);

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        // A turn of the loop takes a little, so that a loop that spins comes to an end.
        self.0.set(self.0.get() + 1_000);
        self.0.get()
    }
}

/// The server and the wire to it.
pub struct FakeServer {
    pub quirk: Quirk,
    pub lease_time_s: u32,
    /// Everything that came, in order.
    pub seen: Vec<Vec<u8>>,
    /// Whether to keep it.
    pub record: bool,
    clock: TestClock,
    delay_ns: u64,
    leases: HashMap<[u8; 6], u32>,
    replies: VecDeque<(u64, Vec<u8>)>,
    messages: u32,
    requests: u32,
    room: usize,
    queued: usize,
}

impl FakeServer {
    pub fn new(quirk: Quirk, clock: &TestClock) -> Self {
        let delay_ns = if let Quirk::Slow(delay) = quirk { delay.as_nanos() as u64 } else { 100_000 };
        Self {
            quirk,
            lease_time_s: 3600,
            seen: Vec::new(),
            record: false,
            clock: clock.clone(),
            delay_ns,
            leases: HashMap::new(),
            replies: VecDeque::new(),
            messages: 0,
            requests: 0,
            room: 32,
            queued: 0,
        }
    }

    fn take(&mut self, frame: &[u8]) {
        if self.record {
            self.seen.push(frame.to_vec());
        }
        self.messages += 1;
        if self.quirk == Quirk::Silent || matches!(self.quirk, Quirk::DropsEvery(n) if self.messages.is_multiple_of(n))
        {
            return;
        }
        let bootp = &frame[42..];
        let mac: [u8; 6] = bootp[28..34].try_into().unwrap();
        let asked = option(&bootp[240..], 53).unwrap()[0];
        let count = self.leases.len() as u32;
        let mut next = FIRST_ADDRESS + count;
        if matches!(self.quirk, Quirk::DoublesAddressOf(n) if n == count) {
            next -= 1;
        }
        let mut address = *self.leases.entry(mac).or_insert(next);
        let mut kind = if asked == 1 { 2 } else { 5 };
        if asked == 3 {
            self.requests += 1;
            if matches!(self.quirk, Quirk::NaksEvery(n) if self.requests.is_multiple_of(n)) {
                (kind, address) = (6, 0);
            }
            if self.quirk == Quirk::AcksAnotherAddress {
                address += 1;
            }
        } else if self.quirk == Quirk::AcksADiscover {
            kind = 5;
        }
        let reply = self.reply(bootp, kind, address);
        let due = self.clock.0.get() + self.delay_ns;
        if self.quirk == Quirk::Twice {
            self.replies.push_back((due, reply.clone()));
        }
        self.replies.push_back((due, reply));
    }

    fn reply(&self, request: &[u8], kind: u8, address: u32) -> Vec<u8> {
        let mut bootp = vec![0; 240];
        bootp[..4].copy_from_slice(&[2, 1, 6, 0]);
        bootp[4..8].copy_from_slice(&request[4..8]);
        if self.quirk == Quirk::WrongXid {
            bootp[7] = bootp[7].wrapping_add(1);
        }
        bootp[16..20].copy_from_slice(&address.to_be_bytes());
        bootp[24..34].copy_from_slice(&request[24..34]);
        bootp[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bootp.extend([53, 1, kind]);
        if self.quirk != Quirk::NoServerId {
            bootp.extend([54, 4]);
            bootp.extend(SERVER);
        }
        if kind != 6 && self.quirk != Quirk::NoLeaseTime {
            bootp.extend([51, 4]);
            bootp.extend(self.lease_time_s.to_be_bytes());
        }
        for (code, forgets) in [(61, Quirk::ForgetsClientId), (82, Quirk::ForgetsOption82)] {
            if let Some(value) = option(&request[240..], code).filter(|_| self.quirk != forgets) {
                bootp.extend([code, value.len() as u8]);
                bootp.extend(value);
            }
        }
        if self.quirk != Quirk::ForgetsEnd {
            bootp.push(255);
        }
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [0xff; 6])
            .ipv4(SERVER, Ipv4Addr::BROADCAST.octets(), 64)
            .udp(67, 68)
            .write(&mut frame, &bootp)
            .unwrap();
        match self.quirk {
            Quirk::WrongUdpChecksum => frame[40] ^= 0x55,
            Quirk::ChecksumLeftToHardware => {
                let header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
                let sum = etherparse::checksum::Sum16BitWords::new()
                    .add_4bytes(header.source)
                    .add_4bytes(header.destination)
                    .add_2bytes([0, 17])
                    .add_2bytes([frame[38], frame[39]])
                    .ones_complement();
                frame[40..42].copy_from_slice(&(!sum.to_be()).to_be_bytes());
            }
            _ => {}
        }
        frame
    }
}

/// The value of an option.
fn option(mut options: &[u8], code: u8) -> Option<&[u8]> {
    while let [found, rest @ ..] = options {
        match *found {
            0 => options = rest,
            255 => return None,
            _ => {
                let (value, rest) = rest[1..].split_at(rest[0].into());
                if *found == code {
                    return Some(value);
                }
                options = rest;
            }
        }
    }
    None
}

impl Port for FakeServer {
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.queued == self.room {
            return false;
        }
        self.queued += 1;
        let mut buffer = [0; 2048];
        let len = write(&mut buffer);
        assert!(len > 0);
        self.take(&buffer[..len]);
        true
    }

    fn flush(&mut self) -> io::Result<()> {
        self.queued = 0;
        if matches!(self.quirk, Quirk::LinkDownAfter(n) if self.messages >= n) {
            return Err(io::Error::other("Network is down"));
        }
        Ok(())
    }

    fn receive(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let now = self.clock.0.get();
        let mut count = 0;
        while count < most && self.replies.front().is_some_and(|(due, _)| *due <= now) {
            let (_, frame) = self.replies.pop_front().unwrap();
            take(&frame);
            count += 1;
        }
        count
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let now = self.clock.0.get();
        let mut until = now + timeout.as_nanos() as u64;
        if let Some((due, _)) = self.replies.front() {
            until = until.min((*due).max(now));
        }
        self.clock.0.set(until);
        Ok(())
    }
}
