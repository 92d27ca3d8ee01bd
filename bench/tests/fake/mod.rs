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
    LeaseTimeZero,
    /// ACKs with a server identifier that is not that of its OFFER.
    AnotherServerId,
    /// T1 is the end of the lease, and T2 after it.
    RenewsAfterTheEnd,
    /// `giaddr` is another than that of the request.
    ForgetsGiaddr,
    /// Answers in a VLAN of its own.
    Tags,
    /// Says nothing any more after so many messages.
    StopsAfter(u32),
    /// Sends a frame of noise with each answer.
    Noise,
    /// Gives an attacker the address of the client before.
    GivesInToAttackers,
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

/// A message as the server reads it.
struct Asked {
    vlans: Vec<u8>,
    bootp: Vec<u8>,
}

/// What a client asks for, or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Discover,
    Select,
    Reboot,
    Extend,
    Release,
    Decline,
}

/// Takes a frame apart; what is no DHCP message is none.
fn asked(frame: &[u8]) -> Option<Asked> {
    let packet = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    let Some(etherparse::TransportSlice::Udp(udp)) = &packet.transport else { return None };
    let bootp = udp.payload().to_vec();
    let tags = packet.vlan_ids().len();
    (bootp.len() >= 240 && bootp[236..240] == [99, 130, 83, 99] && bootp[1..3] == [1, 6])
        .then(|| Asked { vlans: frame[12..12 + 4 * tags].to_vec(), bootp })
}

impl Asked {
    fn option(&self, code: u8) -> Option<&[u8]> {
        option(&self.bootp[240..], code)
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bootp[at..at + 4].try_into().unwrap())
    }

    fn kind(&self) -> Option<Kind> {
        Some(match self.option(53)? {
            [1] => Kind::Discover,
            [3] if self.option(54).is_some() => Kind::Select,
            [3] if self.word(12) != 0 => Kind::Extend,
            [3] => Kind::Reboot,
            [4] => Kind::Decline,
            [7] => Kind::Release,
            _ => return None,
        })
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
    /// How many of each came.
    pub kinds: HashMap<Kind, u32>,
    /// Who has which address.
    pub leases: HashMap<[u8; 6], u32>,
    clock: TestClock,
    delay_ns: u64,
    next: u32,
    questions: Vec<(u32, Vec<u8>)>,
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
            kinds: HashMap::new(),
            leases: HashMap::new(),
            clock: clock.clone(),
            delay_ns,
            next: FIRST_ADDRESS,
            questions: Vec::new(),
            replies: VecDeque::new(),
            messages: 0,
            requests: 0,
            room: 32,
            queued: 0,
        }
    }

    /// Sends a frame of its own once so many messages came.
    pub fn ask_after(&mut self, messages: u32, frame: Vec<u8>) {
        self.questions.push((messages, frame));
    }

    /// Puts a frame on the wire to the client.
    fn send_frame(&mut self, frame: Vec<u8>) {
        self.replies.push_back((self.clock.0.get() + self.delay_ns, frame));
    }

    fn take(&mut self, frame: &[u8]) {
        if self.record {
            self.seen.push(frame.to_vec());
        }
        self.messages += 1;
        if let Some(at) = self.questions.iter().position(|(messages, _)| *messages == self.messages) {
            let (_, question) = self.questions.swap_remove(at);
            self.send_frame(question);
        }
        match self.quirk {
            Quirk::Silent => return,
            Quirk::DropsEvery(n) if self.messages.is_multiple_of(n) => return,
            Quirk::StopsAfter(n) if self.messages > n => return,
            _ => {}
        }
        let Some(asked) = asked(frame) else { return };
        let Some(kind) = asked.kind() else { return };
        *self.kinds.entry(kind).or_default() += 1;
        let mac: [u8; 6] = asked.bootp[28..34].try_into().unwrap();
        let Some((answer, address)) = self.decide(kind, mac, &asked) else { return };
        let reply = self.reply(&asked, answer, address);
        if self.quirk == Quirk::Twice {
            self.send_frame(reply.clone());
        }
        if self.quirk == Quirk::Noise {
            let noise = reply.iter().enumerate().map(|(i, byte)| if i < 14 { *byte } else { byte ^ i as u8 });
            self.send_frame(noise.collect());
            self.send_frame(vec![0; 20]);
        }
        self.send_frame(reply);
    }

    fn decide(&mut self, kind: Kind, mac: [u8; 6], asked: &Asked) -> Option<(u8, u32)> {
        const OFFER: u8 = 2;
        const ACK: u8 = 5;
        const NAK: u8 = 6;
        let held = self.leases.get(&mac).copied();
        match kind {
            Kind::Release => {
                // Only of one's own lease.
                if held == Some(asked.word(12)) {
                    self.leases.remove(&mac);
                }
                return None;
            }
            Kind::Decline => {
                self.leases.remove(&mac);
                return None;
            }
            Kind::Reboot | Kind::Extend => {
                let wanted = match kind {
                    Kind::Extend => asked.word(12),
                    _ => u32::from_be_bytes(asked.option(50)?.try_into().unwrap()),
                };
                if self.quirk == Quirk::GivesInToAttackers && mac[0] == 0x06 {
                    return Some((ACK, wanted));
                }
                self.requests += 1;
                let refuses = matches!(self.quirk, Quirk::NaksEvery(n) if self.requests.is_multiple_of(n));
                return Some(if held == Some(wanted) && !refuses { (ACK, wanted) } else { (NAK, 0) });
            }
            Kind::Discover | Kind::Select => {}
        }
        let count = self.leases.len() as u32;
        let mut address = held.unwrap_or_else(|| {
            let doubles = matches!(self.quirk, Quirk::DoublesAddressOf(n) if n == count);
            self.next += 1;
            self.next - 1 - u32::from(doubles)
        });
        self.leases.insert(mac, address);
        if kind == Kind::Discover {
            return Some((if self.quirk == Quirk::AcksADiscover { ACK } else { OFFER }, address));
        }
        self.requests += 1;
        if matches!(self.quirk, Quirk::NaksEvery(n) if self.requests.is_multiple_of(n)) {
            return Some((NAK, 0));
        }
        if self.quirk == Quirk::AcksAnotherAddress {
            address += 1;
        }
        Some((ACK, address))
    }

    fn reply(&self, asked: &Asked, kind: u8, address: u32) -> Vec<u8> {
        let request = &asked.bootp;
        let mut bootp = vec![0; 240];
        bootp[..4].copy_from_slice(&[2, 1, 6, 0]);
        bootp[4..8].copy_from_slice(&request[4..8]);
        if self.quirk == Quirk::WrongXid {
            bootp[7] = bootp[7].wrapping_add(1);
        }
        bootp[16..20].copy_from_slice(&address.to_be_bytes());
        bootp[24..34].copy_from_slice(&request[24..34]);
        if self.quirk == Quirk::ForgetsGiaddr {
            bootp[27] ^= 1;
        }
        bootp[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bootp.extend([53, 1, kind]);
        if self.quirk != Quirk::NoServerId {
            bootp.extend([54, 4]);
            bootp.extend(SERVER);
            if self.quirk == Quirk::AnotherServerId && kind == 5 {
                *bootp.last_mut().unwrap() += 1;
            }
        }
        if kind != 6 && self.quirk != Quirk::NoLeaseTime {
            bootp.extend([51, 4]);
            let lease_time_s = if self.quirk == Quirk::LeaseTimeZero { 0 } else { self.lease_time_s };
            bootp.extend(lease_time_s.to_be_bytes());
            let (t1, t2) = match self.quirk {
                Quirk::RenewsAfterTheEnd => (lease_time_s, lease_time_s + 1),
                _ => (lease_time_s / 4, lease_time_s * 7 / 8),
            };
            for (code, time) in [(58, t1), (59, t2)] {
                bootp.extend([code, 4]);
                bootp.extend(time.to_be_bytes());
            }
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
        let vlans = if self.quirk == Quirk::Tags { &[0x81, 0, 0, 9][..] } else { &asked.vlans };
        frame.splice(12..12, vlans.iter().copied());
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
                let (len, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(*len))?;
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
        assert!(len > 14);
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
