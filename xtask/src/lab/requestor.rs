//! A requestor of leasequery over TCP (RFC 6926, RFC 7724), which knows nothing of the server's code.

use std::{
    io::{BufReader, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::Namespace;

/// The port of DHCP servers.
const PORT: u16 = 67;
/// How long a message may take to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that are read at a time: a requestor is not to cost more than it must.
const READ: usize = 256 << 10;
/// Where options begin: behind the fixed part and the magic cookie.
const OPTIONS: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const MESSAGE_TYPE: u8 = 53;

/// DHCPBULKLEASEQUERY (RFC 6926 6.2.1).
pub const BULK: u8 = 14;
/// DHCPLEASEACTIVE (RFC 4388 6.1).
pub const LEASE_ACTIVE: u8 = 13;
/// DHCPLEASEUNASSIGNED (RFC 4388 6.1).
pub const LEASE_UNASSIGNED: u8 = 11;
/// DHCPLEASEQUERYDONE (RFC 6926 6.2.1).
pub const DONE: u8 = 15;

/// A query: its message type, its transaction identifier, and options besides.
pub fn query(kind: u8, xid: u32, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; OPTIONS];
    message[0] = 1;
    message[4..8].copy_from_slice(&xid.to_be_bytes());
    message[OPTIONS - 4..].copy_from_slice(&MAGIC);
    for (code, data) in [(MESSAGE_TYPE, &[kind][..])].iter().chain(options) {
        message.extend([*code, u8::try_from(data.len()).unwrap_or(u8::MAX)]);
        message.extend(data.iter().take(255));
    }
    message.push(255);
    message
}

/// The message type of a reply.
pub fn kind(message: &[u8]) -> Option<u8> {
    let mut options = message.get(OPTIONS..)?;
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [MESSAGE_TYPE, 1, kind, ..] => return Some(*kind),
            [255, ..] => return None,
            [_, len, rest @ ..] => options = rest.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
}

/// A TCP connection from this address, of several that a machine has.
///
/// # Errors
/// It has none of that address, or nobody listens.
pub fn connect_from(source: Ipv4Addr, server: SocketAddr) -> Result<TcpStream> {
    let SocketAddr::V4(server) = server else { bail!("{server} is no IPv4 address") };
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(server))?;
    Ok(TcpStream::from(fd))
}

/// A connection.
#[derive(Debug)]
pub struct Requestor {
    stream: BufReader<TcpStream>,
    last: Vec<u8>,
}

impl Requestor {
    /// Connects from a namespace to a server's port 67.
    ///
    /// # Errors
    /// The server does not listen there.
    pub fn connect(from: &Namespace, server: Ipv4Addr) -> Result<Self> {
        let stream = from.enter(|| TcpStream::connect((server, PORT)))?;
        Self::over(stream.with_context(|| format!("connecting to {server}, port {PORT}"))?)
    }

    /// Over a connection that is there already.
    ///
    /// # Errors
    /// The socket is no good.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(READ, stream), last: Vec::new() })
    }

    /// Waits so long for a message from now on.
    ///
    /// # Errors
    /// It is no time.
    pub fn wait_at_most(&self, patience: Duration) -> Result<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(patience))?)
    }

    /// Sends a message, its size before it.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        let framed = [&u16::try_from(message.len())?.to_be_bytes(), message].concat();
        Ok(self.stream.get_mut().write_all(&framed)?)
    }

    /// The next message; `None` when the connection is closed, or nothing came in time.
    ///
    /// # Errors
    /// It was cut within a message, or is broken.
    pub fn message(&mut self) -> Result<Option<&[u8]>> {
        let mut size = [0; 2];
        match self.stream.read_exact(&mut size) {
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::WouldBlock) => return Ok(None),
            read => read?,
        }
        self.last.resize(usize::from(u16::from_be_bytes(size)), 0);
        self.stream.read_exact(&mut self.last).context("cut within a message")?;
        Ok(Some(&self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_querys_type_is_read_wherever_it_stands() {
        assert_eq!(kind(&query(BULK, 7, &[(55, &[51, 61])])), Some(BULK));
        let mut late = query(BULK, 7, &[]);
        late.splice(OPTIONS..OPTIONS, [0, 54, 4, 1, 2, 3, 53]);
        assert_eq!(kind(&late), Some(BULK));
        for none in [&[][..], &[0; OPTIONS], &[255; 300], &[&[7; OPTIONS][..], &[54, 9, 1]].concat()] {
            assert_eq!(kind(none), None);
        }
    }
}
