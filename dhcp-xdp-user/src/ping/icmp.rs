//! ICMP echo (RFC 792) through a raw socket.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd},
};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, IpNumber, Ipv4HeaderSlice, icmpv4::DestUnreachableHeader,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::wire::checksum::Sum;

/// What stands in an echo request, for whoever captures it.
const TEXT: &[u8] = b"dhcp-xdp: does anybody use this address?";
/// Answers may come in bursts; the kernel gives as much of it as `net.core.rmem_max` allows.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Longest answer that is read, bytes: one that is cut is none, since its checksum cannot be told.
const MOST_BYTES: usize = 2048;

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody uses the address of the echo request with this number.
    Answer {
        /// Who says so.
        from: Ipv4Addr,
        /// The number.
        sequence: u16,
    },
    /// A router says that nobody can be reached there.
    Unreachable {
        /// Whom the echo request was for.
        to: Ipv4Addr,
        /// Its number.
        sequence: u16,
    },
}

/// Sends echo requests and hears answers, without waiting; a socket, or a test's own.
pub trait Echo {
    /// Sends an echo request.
    ///
    /// # Errors
    /// What the kernel said: no route, mostly.
    fn send(&mut self, to: Ipv4Addr, sequence: u16) -> io::Result<()>;
    /// The next thing that was heard of ours, or none for now. What is not ours is looked past, a bounded number at a time.
    fn hear(&mut self) -> Option<Heard>;
}

/// A raw ICMP socket. It sends by the routes of the network namespace that it was opened in.
#[derive(Debug)]
pub struct IcmpSocket {
    socket: Socket,
    identifier: u16,
}

impl IcmpSocket {
    /// Opens one.
    ///
    /// # Errors
    /// Mostly that CAP_NET_RAW is missing.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        // Randomly seeded.
        let identifier = RandomState::new().build_hasher().finish() as u16;
        socket.attach_filter(&filter(identifier))?;
        Ok(Self { socket, identifier })
    }
}

/// The kernel gives every raw socket all ICMP that the machine receives; this takes echo replies with our identifier and
/// unreachables alone (classic BPF, as `Documentation/networking/filter.rst` has it).
fn filter(identifier: u16) -> [SockFilter; 8] {
    const LOAD_HEADER_LEN: u16 = 0xb1;
    const LOAD_BYTE_AFTER: u16 = 0x50;
    const LOAD_HALF_AFTER: u16 = 0x48;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_HEADER_LEN, 0, 0, 0),
        // Type.
        SockFilter::new(LOAD_BYTE_AFTER, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 3, 0, 3),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, 0),
        // Identifier.
        SockFilter::new(LOAD_HALF_AFTER, 0, 0, 4),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, identifier.into()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

impl AsFd for IcmpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Echo for IcmpSocket {
    fn send(&mut self, to: Ipv4Addr, sequence: u16) -> io::Result<()> {
        let kind = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: self.identifier, seq: sequence });
        let mut message = Icmpv4Header::with_checksum(kind, TEXT).to_bytes().to_vec();
        message.extend(TEXT);
        self.socket.send_to(&message, &SocketAddrV4::new(to, 0).into())?;
        Ok(())
    }

    fn hear(&mut self) -> Option<Heard> {
        let mut buffer = [0; MOST_BYTES];
        for _ in 0..64 {
            // Also the error that a datagram met with, which is told once.
            let len = self.socket.read(&mut buffer).ok()?;
            if let Some(heard) = read(&buffer[..len], self.identifier) {
                return Some(heard);
            }
        }
        None
    }
}

/// What an ICMP datagram, with its IPv4 header, says about an echo request of ours.
fn read(datagram: &[u8], identifier: u16) -> Option<Heard> {
    let (header, payload) = ipv4(datagram)?;
    // The kernel hands a raw socket what it has not looked at itself yet.
    if !Sum::default().add(payload).is_right() {
        return None;
    }
    let icmp = Icmpv4Slice::from_slice(payload).ok()?;
    match icmp.icmp_type() {
        Icmpv4Type::EchoReply(echo) if echo.id == identifier => {
            Some(Heard::Answer { from: header.source_addr(), sequence: echo.seq })
        }
        Icmpv4Type::DestinationUnreachable(why) => {
            // It has the header of what it is about, and at least eight bytes more (RFC 792).
            let (about, start) = ipv4(icmp.payload())?;
            let Icmpv4Type::EchoRequest(echo) = Icmpv4Slice::from_slice(start).ok()?.icmp_type() else { return None };
            let (to, from, sequence) = (about.destination_addr(), header.source_addr(), echo.seq);
            let is_protocol = matches!(why, DestUnreachableHeader::Protocol);
            match echo.id == identifier {
                false => None,
                // A host without echo is a host.
                true if is_protocol && from == to => Some(Heard::Answer { from, sequence }),
                true => Some(Heard::Unreachable { to, sequence }),
            }
        }
        _ => None,
    }
}

fn ipv4(bytes: &[u8]) -> Option<(Ipv4HeaderSlice<'_>, &[u8])> {
    let header = Ipv4HeaderSlice::from_slice(bytes).ok().filter(|header| header.protocol() == IpNumber::ICMP)?;
    Some((header, bytes.get(header.slice().len()..)?))
}

#[cfg(test)]
mod tests {
    use etherparse::{Ipv4Header, icmpv4::DestUnreachableHeader as Why};

    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OURS: u16 = 7;

    fn datagram(from: Ipv4Addr, to: Ipv4Addr, kind: Icmpv4Type, payload: &[u8]) -> Vec<u8> {
        let icmp = Icmpv4Header::with_checksum(kind, payload);
        let len = (icmp.header_len() + payload.len()) as u16;
        let ip = Ipv4Header::new(len, 64, IpNumber::ICMP, from.octets(), to.octets()).unwrap();
        [&ip.to_bytes()[..], &icmp.to_bytes(), payload].concat()
    }

    fn echo(id: u16, seq: u16) -> IcmpEchoHeader {
        IcmpEchoHeader { id, seq }
    }

    #[test]
    fn an_echo_reply_with_our_identifier_is_an_answer() {
        let reply = datagram(HOST, SERVER, Icmpv4Type::EchoReply(echo(OURS, 9)), TEXT);
        assert_eq!(read(&reply, OURS), Some(Heard::Answer { from: HOST, sequence: 9 }));
        assert_eq!(read(&reply, OURS + 1), None, "another program's");
        let request = datagram(HOST, SERVER, Icmpv4Type::EchoRequest(echo(OURS, 9)), TEXT);
        assert_eq!(read(&request, OURS), None);
    }

    #[test]
    fn an_unreachable_of_our_request_says_that_nobody_is_there() {
        let request = datagram(SERVER, HOST, Icmpv4Type::EchoRequest(echo(OURS, 9)), TEXT);
        let about = |why, from, cut| datagram(from, SERVER, Icmpv4Type::DestinationUnreachable(why), &request[..cut]);
        for cut in [request.len(), 28] {
            let told = read(&about(Why::Host, ROUTER, cut), OURS);
            assert_eq!(told, Some(Heard::Unreachable { to: HOST, sequence: 9 }));
        }
        assert_eq!(read(&about(Why::Host, ROUTER, 28), OURS + 1), None);
        assert_eq!(read(&about(Why::Host, ROUTER, 27), OURS), None, "cut");
        let by_host = read(&about(Why::Protocol, HOST, 28), OURS);
        assert_eq!(by_host, Some(Heard::Answer { from: HOST, sequence: 9 }), "a host without echo");
    }

    #[test]
    fn what_is_no_icmp_or_is_cut_is_looked_past() {
        let reply = datagram(HOST, SERVER, Icmpv4Type::EchoReply(echo(OURS, 9)), &[]);
        for len in 0..reply.len() {
            assert_eq!(read(&reply[..len], OURS), None, "{len}");
        }
        let mut udp = reply;
        udp[9] = 17;
        assert_eq!(read(&udp, OURS), None);
    }

    #[test]
    fn an_answer_with_a_wrong_checksum_is_none() {
        // RFC 792: the 16-bit one's complement of the one's complement sum of the ICMP message starting with the ICMP type.
        let request = datagram(SERVER, HOST, Icmpv4Type::EchoRequest(echo(OURS, 9)), TEXT);
        let reply = datagram(HOST, SERVER, Icmpv4Type::EchoReply(echo(OURS, 9)), TEXT);
        let unreachable = datagram(ROUTER, SERVER, Icmpv4Type::DestinationUnreachable(Why::Host), &request);
        for answer in [reply, unreachable] {
            assert!(read(&answer, OURS).is_some());
            for byte in Ipv4Header::MIN_LEN..answer.len() {
                let mut wrong = answer.clone();
                wrong[byte] ^= 0x10;
                assert_eq!(read(&wrong, OURS), None, "byte {byte}");
            }
        }
    }
}
