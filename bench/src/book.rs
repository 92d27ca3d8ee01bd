//! A ledger of every ACK that came in, as the wire brought it: what a client may believe in, whatever the judge makes of it.
//!
//! It stands between the engine and its [`Port`] and looks at each frame, so that it also has what came late, twice or wrong.
//! A line of JSON each: `mac`, `address`, `lease_time_s` (4294967295 is for ever) and `at_s`, seconds since 1970 when it was
//! taken from the ring.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    port::Port,
    reply::{ACK, Reply},
    verdict::mac,
};

/// Bytes written at a time.
const BUFFER: usize = 1 << 20;

/// The ledger.
pub struct Book<W: Write> {
    to: BufWriter<W>,
    begin: (Duration, Instant),
    /// The first error; nothing is written after it.
    error: Option<io::Error>,
}

impl Book<File> {
    /// Begins a ledger in this file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self::new(File::create(path)?))
    }
}

impl<W: Write> Book<W> {
    /// Begins a ledger.
    pub fn new(to: W) -> Self {
        // A clock before 1970 is a machine without one.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { to: BufWriter::with_capacity(BUFFER, to), begin: (wall, Instant::now()), error: None }
    }

    fn see(&mut self, frame: &[u8]) {
        let Ok(reply) = Reply::parse(frame) else { return };
        if reply.message_type != ACK || reply.your_address == 0 || self.error.is_some() {
            return;
        }
        let at = self.begin.0 + self.begin.1.elapsed();
        self.error = self.write(&reply, at).err();
    }

    fn write(&mut self, reply: &Reply<'_>, at: Duration) -> io::Result<()> {
        let (mac, address) = (mac(reply.mac), Ipv4Addr::from(reply.your_address));
        let lease_time_s = reply.lease_time_s.unwrap_or(0);
        let (at_s, micros) = (at.as_secs(), at.subsec_micros());
        writeln!(
            self.to,
            r#"{{"mac":"{mac}","address":"{address}","lease_time_s":{lease_time_s},"at_s":{at_s}.{micros:06}}}"#
        )
    }

    /// Ends it.
    ///
    /// # Errors
    /// The first error of all its writing: it is not whole.
    pub fn finish(mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.to.flush(),
        }
    }
}

/// A port whose frames are seen by a ledger on their way.
pub struct Watched<'a, P: Port, W: Write> {
    /// The port.
    pub port: &'a mut P,
    /// The ledger.
    pub book: &'a mut Book<W>,
}

impl<P: Port, W: Write> Port for Watched<'_, P, W> {
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        self.port.send(write)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.port.flush()
    }

    fn receive(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let book = &mut *self.book;
        self.port.receive(most, |frame| {
            book.see(frame);
            take(frame);
        })
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.port.wait(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives these frames once.
    struct Frames(Vec<Vec<u8>>);

    impl Port for Frames {
        fn send(&mut self, _: impl FnOnce(&mut [u8]) -> usize) -> bool {
            false
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn receive(&mut self, most: usize, take: impl FnMut(&[u8])) -> usize {
            let frames: Vec<_> = self.0.drain(..most.min(self.0.len())).collect();
            frames.iter().map(Vec::as_slice).for_each(take);
            frames.len()
        }
        fn wait(&mut self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reply of this type that gives 10.0.0.`last` for 60 s.
    fn reply(message_type: u8, last: u8) -> Vec<u8> {
        let options = [99, 130, 83, 99, 53, 1, message_type, 51, 4, 0, 0, 0, 60, 54, 4, 10, 0, 0, 1, 255];
        let udp_len = 8 + 236 + options.len();
        let mut frame = vec![0xff; 12];
        frame.extend([8, 0]);
        let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 255, 255, 255, 255];
        ip[2..4].copy_from_slice(&((20 + udp_len) as u16).to_be_bytes());
        let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        frame.extend(ip);
        frame.extend([0, 67, 0, 68]);
        frame.extend((udp_len as u16).to_be_bytes());
        frame.extend([0, 0]);
        let mut bootp = [0; 236];
        bootp[..3].copy_from_slice(&[2, 1, 6]);
        bootp[16..20].copy_from_slice(&[10, 0, 0, last]);
        bootp[28..34].copy_from_slice(&[2, 0, 0, 0, 0, last]);
        frame.extend(bootp);
        frame.extend(options);
        frame
    }

    #[test]
    fn every_ack_is_in_the_ledger_and_nothing_else_and_all_frames_go_on() {
        let frames = vec![reply(2, 7), reply(ACK, 7), vec![1, 2, 3], reply(6, 0), reply(ACK, 8), reply(ACK, 7)];
        let mut written = Vec::new();
        let mut book = Book::new(&mut written);
        let mut seen = Vec::new();
        let mut port = Frames(frames.clone());
        let mut watched = Watched { port: &mut port, book: &mut book };
        assert_eq!(watched.receive(64, |frame| seen.push(frame.to_vec())), 6);
        assert_eq!(seen, frames);
        book.finish().unwrap();
        let text = String::from_utf8(written).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let acks: Vec<_> =
            lines.iter().map(|line| (line["mac"].as_str().unwrap(), line["address"].as_str().unwrap())).collect();
        let (seven, eight) = (("02:00:00:00:00:07", "10.0.0.7"), ("02:00:00:00:00:08", "10.0.0.8"));
        assert_eq!(acks, [seven, eight, seven]);
        assert!(lines.iter().all(|line| line["lease_time_s"] == 60 && line["at_s"].as_f64().unwrap() > 1e9));
    }
}
