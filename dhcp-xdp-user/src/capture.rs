//! Captures (pcap and pcapng): the client messages in them, with their times.
//!
//! `dhcp-xdp check --explain` and `dhcp-storm replay` read them. Which packet is a client message is told by the walk that the
//! XDP program takes.

use std::{fs::File, io, path::Path};

use dhcp_xdp_ebpf::{Role, Verdict, walk};
use pcap_parser::{
    Block, Linktype, PcapBlockOwned, PcapError, create_reader,
    traits::{PcapNGPacketBlock as _, PcapReaderIterator},
};

/// Most bytes of messages that are kept.
pub const MAX_BYTES: usize = 1 << 30;
/// Longest frame that is sent again: what every interface takes.
pub const MAX_FRAME: usize = 1514 + 8;
/// Largest block of a file.
const BUFFER: usize = 1 << 20;

/// Why a file gives no client messages; each is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// It has another format.
    #[error("{0} is neither a pcap nor a pcapng file")]
    NoCapture(String),
    /// There is no client message in it.
    #[error(
        "{file} has no DHCP client message in whole Ethernet frames ({packets} packets, {left_out} left out, {not_ethernet} not of Ethernet){damage}"
    )]
    NoMessage {
        /// Its name.
        file: String,
        /// Packets in it.
        packets: u64,
        /// Client messages that are cut off or too long.
        left_out: u64,
        /// Packets of an interface that is no Ethernet, as of `tcpdump -i any`.
        not_ethernet: u64,
        /// What is wrong with its end, behind a semicolon, or nothing.
        damage: String,
    },
    /// More than [`MAX_BYTES`].
    #[error("{0}: more than {mib} MiB of client messages: cut it into parts (editcap -c)", mib = MAX_BYTES >> 20)]
    TooLarge(String),
}

/// A client message: when it came, where its bytes lie, the number of its packet in the file.
#[derive(Clone, Copy, Debug)]
struct Message {
    ns: u64,
    at: u32,
    len: u16,
    packet: u64,
}

/// The client messages of a capture, in its order.
#[derive(Debug, Default)]
pub struct Capture {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// Packets in the file.
    pub packets: u64,
    /// Client messages that were cut off by the capture or are longer than [`MAX_FRAME`], and left out.
    pub left_out: u64,
    /// Packets that are no client messages, by what the walk says of them.
    others: [u64; Verdict::COUNT as usize],
    /// Packets of an interface that is no Ethernet.
    pub not_ethernet: u64,
    /// What is wrong with the file's end, if something is: what came before it is there.
    pub damage: Option<String>,
}

/// There is more in a capture than is kept.
struct Full;

/// Where the packets of an interface begin, and what their times mean.
#[derive(Clone, Copy)]
struct Interface {
    ethernet: bool,
    units_a_second: u64,
}

impl Capture {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no capture of Ethernet frames, has no client message, or more than [`MAX_BYTES`] of them.
    pub fn read(path: &Path) -> Result<Self, CaptureError> {
        let name = || path.display().to_string();
        let unreadable = |source| CaptureError::Unreadable { file: name(), source };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mut reader = create_reader(BUFFER, file).map_err(|_| CaptureError::NoCapture(name()))?;
        let mut capture = Self::default();
        capture.take_all(&mut *reader).map_err(|Full| CaptureError::TooLarge(name()))?;
        if capture.messages.is_empty() {
            let damage = capture.damage.as_ref().map(|damage| format!("; {damage}")).unwrap_or_default();
            let Self { packets, left_out, not_ethernet, .. } = capture;
            return Err(CaptureError::NoMessage { file: name(), packets, left_out, not_ethernet, damage });
        }
        Ok(capture)
    }

    fn take_all(&mut self, reader: &mut dyn PcapReaderIterator) -> Result<(), Full> {
        let mut interfaces: Vec<Interface> = Vec::new();
        let mut stuck = 0;
        loop {
            match reader.next() {
                Ok((len, block)) => {
                    self.block(&block, &mut interfaces)?;
                    reader.consume(len);
                    stuck = 0;
                }
                Err(PcapError::Eof) => return Ok(()),
                // Once more data was asked for and none came, the file ends in the middle of a block.
                Err(PcapError::Incomplete(_)) if stuck < 2 => {
                    stuck += 1;
                    if reader.refill().is_err() {
                        self.damage = Some(format!("unreadable after packet {}", self.packets));
                        return Ok(());
                    }
                }
                Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                    self.damage = Some(format!("the file ends in the middle of packet {}", self.packets + 1));
                    return Ok(());
                }
                Err(_) => {
                    self.damage = Some(format!("damaged after packet {}", self.packets));
                    return Ok(());
                }
            }
        }
    }

    fn block(&mut self, block: &PcapBlockOwned<'_>, interfaces: &mut Vec<Interface>) -> Result<(), Full> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let units_a_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                interfaces.push(Interface { ethernet: header.network == Linktype::ETHERNET, units_a_second });
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = interfaces.first() else { return Ok(()) };
                let units = u64::from(packet.ts_sec) * interface.units_a_second + u64::from(packet.ts_usec);
                self.take(*interface, units, packet.data, packet.origlen)?;
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(described)) => interfaces.push(Interface {
                ethernet: described.linktype == Linktype::ETHERNET,
                units_a_second: described.ts_resolution().unwrap_or(1_000_000),
            }),
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let Some(interface) = interfaces.get(packet.if_id as usize) else { return Ok(()) };
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                self.take(*interface, units, packet.packet_data(), packet.orig_len())?;
            }
            PcapBlockOwned::NG(_) => {}
        }
        Ok(())
    }

    fn take(&mut self, interface: Interface, units: u64, bytes: &[u8], original_len: u32) -> Result<(), Full> {
        self.packets += 1;
        if !interface.ethernet {
            self.not_ethernet += 1;
            return Ok(());
        }
        if let Err(verdict) = walk(bytes, Role::Server) {
            self.others[verdict as usize] += 1;
            return Ok(());
        }
        if bytes.len() < original_len as usize || bytes.len() > MAX_FRAME {
            self.left_out += 1;
            return Ok(());
        }
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            return Err(Full);
        }
        let ns = u128::from(units) * 1_000_000_000 / u128::from(interface.units_a_second.max(1));
        self.messages.push(Message {
            ns: u64::try_from(ns).unwrap_or(u64::MAX),
            at: self.bytes.len() as u32,
            len: bytes.len() as u16,
            packet: self.packets,
        });
        self.bytes.extend(bytes);
        Ok(())
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// A message.
    #[inline]
    pub fn frame(&self, index: usize) -> &[u8] {
        let Message { at, len, .. } = self.messages[index];
        &self.bytes[at as usize..at as usize + usize::from(len)]
    }

    /// The number of a message's packet in the file, from 1 on, as other programs count.
    pub fn packet(&self, index: usize) -> u64 {
        self.messages[index].packet
    }

    /// How many packets are no client messages, by what the walk says of them; those alone that there are.
    pub fn others(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL.into_iter().zip(self.others).filter(|(_, count)| *count > 0)
    }

    /// When each message came, in nanoseconds from the first; a clock that went back stood still.
    pub fn times_ns(&self) -> Vec<u64> {
        let first = self.messages.first().map_or(0, |message| message.ns);
        let mut last = 0;
        let offset = |message: &Message| {
            last = last.max(message.ns.saturating_sub(first));
            last
        };
        self.messages.iter().map(offset).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::engine::testing;

    fn discover() -> Vec<u8> {
        testing::discover(5).frame()
    }

    fn pcap(link: u32, packets: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link] {
            file.extend(word.to_le_bytes());
        }
        for (s, us, bytes) in packets {
            for word in [*s, *us, bytes.len() as u32, bytes.len() as u32] {
                file.extend(word.to_le_bytes());
            }
            file.extend(bytes);
        }
        file
    }

    fn pcapng(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
        fn block(kind: u32, body: &[u8]) -> Vec<u8> {
            let mut body = body.to_vec();
            body.resize(body.len().next_multiple_of(4), 0);
            let len = (body.len() as u32 + 12).to_le_bytes();
            [&kind.to_le_bytes()[..], &len, &body, &len].concat()
        }
        let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
        let mut file = block(0x0a0d_0d0a, &section);
        // Ethernet; times in nanoseconds (if_tsresol 9).
        file.extend(block(1, &[1, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]));
        for (ns, bytes) in packets {
            let mut body = vec![0; 4];
            body.extend(((ns >> 32) as u32).to_le_bytes());
            body.extend((*ns as u32).to_le_bytes());
            body.extend((bytes.len() as u32).to_le_bytes());
            body.extend((bytes.len() as u32).to_le_bytes());
            body.extend(bytes);
            file.extend(block(6, &body));
        }
        file
    }

    fn read(bytes: &[u8]) -> Result<Capture, CaptureError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Capture::read(file.path())
    }

    #[test]
    fn both_formats_give_messages_and_times() {
        let other = vec![0xee; 80];
        let file = pcap(1, &[(9, 999_999, discover()), (10, 0, other.clone()), (11, 5, discover())]);
        let capture = read(&file).unwrap();
        assert_eq!((capture.len(), capture.packets, capture.damage.as_deref()), (2, 3, None));
        assert_eq!(capture.times_ns(), [0, 1_000_006_000]);
        assert_eq!(capture.frame(1), discover());

        let capture = read(&pcapng(&[(5_000_000_007, discover()), (6_000_000_000, other), (5, discover())])).unwrap();
        assert_eq!((capture.len(), capture.packets), (2, 3));
        assert_eq!(capture.times_ns(), [0, 0], "a clock that goes back stands still");
    }

    #[test]
    fn what_is_no_capture_of_client_messages_is_refused_in_one_line() {
        let text = b"hello, this is no capture at all, only some text";
        let wrong_link = pcap(101, &[(1, 0, discover())]);
        for (bytes, expected) in [
            (&text[..], "neither a pcap nor a pcapng file"),
            (&[], "neither a pcap nor a pcapng file"),
            (&wrong_link, "1 not of Ethernet"),
            (&pcap(1, &[(1, 0, vec![0; 60])]), "no DHCP client message"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_cut_file_gives_what_is_whole_and_says_so() {
        let file = pcap(1, &[(1, 0, discover()), (2, 0, discover())]);
        let capture = read(&file[..file.len() - 7]).unwrap();
        assert_eq!(capture.len(), 1);
        assert!(capture.damage.unwrap().contains("middle of packet 2"));
        let file = pcapng(&[(1, discover()), (2, discover())]);
        for cut in 0..file.len() {
            let _ = read(&file[..cut]);
        }
    }
}
