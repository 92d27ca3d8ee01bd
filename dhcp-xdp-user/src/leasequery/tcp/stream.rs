//! Messages in a stream of bytes: each with its size before it (RFC 6926 6.1).

/// Octets of the message-size.
const SIZE: usize = 2;
/// The fixed part of a message and the magic cookie: what is announced shorter is no DHCP message.
const SHORTEST: usize = crate::wire::dhcp::OPTIONS_OFFSET;

/// What was announced cannot be a DHCP message, so nothing that follows can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is announced, which is too short to be one")]
pub struct FrameError(pub u16);

/// Takes bytes as they come and gives messages. It never holds more than one whole message and what came with its end.
#[derive(Debug, Default)]
pub struct StreamReader {
    bytes: Vec<u8>,
    /// Bytes in front that were given out.
    given: usize,
}

impl StreamReader {
    /// Takes what was read. To be called when [`message`](Self::message) has no more, which is what bounds it.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.given);
        self.given = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more is pushed.
    ///
    /// # Errors
    /// The stream is not what it should be: close it.
    pub fn message(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some((size, rest)) = self.bytes[self.given..].split_first_chunk::<SIZE>() else { return Ok(None) };
        let size = u16::from_be_bytes(*size);
        if usize::from(size) < SHORTEST {
            return Err(FrameError(size));
        }
        if rest.len() < usize::from(size) {
            return Ok(None);
        }
        let start = self.given + SIZE;
        self.given = start + usize::from(size);
        Ok(Some(&self.bytes[start..self.given]))
    }

    /// How many bytes it holds.
    pub fn held(&self) -> usize {
        self.bytes.len() - self.given
    }
}

/// Writes a message with its size before it: `write` gets a buffer of `most` bytes and returns the message's length, or `None`
/// when there is none, and then nothing is added.
pub(super) fn frame(out: &mut Vec<u8>, most: u16, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
    let start = out.len();
    out.resize(start + SIZE + usize::from(most), 0);
    let written = write(&mut out[start + SIZE..]);
    let len = written.unwrap_or(0).min(usize::from(most));
    out[start..start + SIZE].copy_from_slice(&(len as u16).to_be_bytes());
    out.truncate(if written.is_some() { start + SIZE + len } else { start });
    written.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
        bytes.extend(message);
        bytes
    }

    #[test]
    fn two_octets_containing_the_message_size_in_network_byte_order_are_prepended_to_each_dhcpv4_message() {
        let mut out = vec![9];
        assert!(frame(&mut out, 600, |buffer| {
            buffer[..3].fill(7);
            Some(258)
        }));
        assert_eq!((out.len(), &out[..6]), (1 + 2 + 258, &[9, 1, 2, 7, 7, 7][..]));
        assert!(!frame(&mut out, 600, |_| None));
        assert_eq!(out.len(), 261, "nothing was added");
    }

    #[test]
    fn the_maximum_message_size_is_65535_octets() {
        let message = vec![5; 65535];
        let mut reader = StreamReader::default();
        for part in framed(&message).chunks(4096) {
            assert_eq!(reader.message(), Ok(None));
            reader.push(part);
        }
        assert_eq!(reader.message(), Ok(Some(&message[..])));
        assert_eq!(reader.message(), Ok(None));
        assert_eq!(reader.held(), 0);
    }

    #[test]
    fn a_size_that_no_message_can_have_is_found_out_with_its_two_octets() {
        for size in [0u16, 1, 239] {
            let mut reader = StreamReader::default();
            reader.push(&size.to_be_bytes());
            assert_eq!(reader.message(), Err(FrameError(size)));
            assert_eq!(reader.message(), Err(FrameError(size)), "and stays so");
        }
    }

    proptest! {
        /// Cut anywhere, even byte by byte: the same messages, and no more held than one message and a read.
        #[test]
        fn however_a_stream_is_cut_its_messages_are_the_same(
            lengths in vec(240usize..700, 1..6), cuts in vec(1usize..400, 1..9), fill in any::<u8>(),
        ) {
            let messages: Vec<Vec<u8>> = lengths.iter().map(|len| vec![fill; *len]).collect();
            let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
            let mut reader = StreamReader::default();
            let mut seen = Vec::new();
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + cuts.next().unwrap()).min(stream.len());
                reader.push(&stream[at..end]);
                at = end;
                while let Some(message) = reader.message().unwrap() {
                    seen.push(message.to_vec());
                }
                prop_assert!(reader.held() < 2 + 700);
            }
            prop_assert_eq!(seen, messages);
        }

        #[test]
        fn any_bytes_are_read_without_panic(parts in vec(vec(any::<u8>(), 0..300), 0..20)) {
            let mut reader = StreamReader::default();
            for part in parts {
                reader.push(&part);
                while let Ok(Some(message)) = reader.message() {
                    prop_assert!(message.len() >= SHORTEST);
                }
            }
        }
    }
}
