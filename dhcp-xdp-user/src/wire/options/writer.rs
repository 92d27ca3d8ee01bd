//! Options of a reply, written in place: into the `options` field, then into `file` and `sname` where those are free.

use super::{MAX_OPTION_DATA, OVERLOAD_FILE, OVERLOAD_SNAME, code};
use crate::wire::dhcp::{MIN_MESSAGE_LEN, OPTIONS_OFFSET, field};

/// Code and length.
const OPTION_HEAD: usize = 2;
/// Code, length and value of option 52.
const OVERLOAD_LEN: usize = 3;
/// What each area adds to option 52, in the order that they are read (RFC 2131 4.1).
const AREA_BITS: [u8; 3] = [0, OVERLOAD_FILE, OVERLOAD_SNAME];
/// The `options` field among the areas.
const MAIN: usize = 0;

/// Bytes of an option with this much data: one of more than 255 bytes is split (RFC 3396).
const fn encoded_len(data_len: usize) -> usize {
    let parts = if data_len == 0 { 1 } else { data_len.div_ceil(MAX_OPTION_DATA) };
    data_len + parts * OPTION_HEAD
}

/// Where the next option of an area goes, and where the area ends for options.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    at: usize,
    end: usize,
}

impl Room {
    fn left(self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// The most data that fits as parts of one option.
    fn data(self) -> usize {
        let (whole, rest) =
            (self.left() / (OPTION_HEAD + MAX_OPTION_DATA), self.left() % (OPTION_HEAD + MAX_OPTION_DATA));
        whole * MAX_OPTION_DATA + rest.saturating_sub(OPTION_HEAD)
    }
}

/// Writes the options of a message in place, within the length of the slice that it is given.
///
/// Options go to the `options` field; one that does not fit there goes to `file` or `sname` where the caller has no other
/// use for those, and [`finish`](Self::finish) then adds option 52 (RFC 2131 4.1, RFC 2132 9.3). One of more than 255 bytes
/// is split, its parts in the order that a reader joins them in, from one field into the next where need be (RFC 3396).
#[derive(Debug)]
pub struct OptionWriter<'a> {
    message: &'a mut [u8],
    /// `options`, `file`, `sname`; empty where options must not go.
    rooms: [Room; 3],
    overload: u8,
}

impl<'a> OptionWriter<'a> {
    /// A writer of the options of `message`, whose length is the most that the message may have and whose fixed part is
    /// written already. `file_free` and `sname_free` say whether those fields may hold options.
    ///
    /// `None` when the message is shorter than the 300 bytes that one must have.
    pub fn new(message: &'a mut [u8], file_free: bool, sname_free: bool) -> Option<Self> {
        if message.len() < MIN_MESSAGE_LEN {
            return None;
        }
        // One byte for End, and three for option 52, which must lie here when it is needed.
        let reserved = 1 + if file_free || sname_free { OVERLOAD_LEN } else { 0 };
        let main = Room { at: OPTIONS_OFFSET, end: message.len() - reserved };
        // An overloaded field ends with End too.
        let room = |range: std::ops::Range<usize>, is_free: bool| {
            if is_free { Room { at: range.start, end: range.end - 1 } } else { Room::default() }
        };
        let rooms = [main, room(field::FILE, file_free), room(field::SNAME, sname_free)];
        Some(Self { message, rooms, overload: 0 })
    }

    /// Keeps room in the `options` field for an option that [`finish`](Self::finish) writes last. False: it does not fit.
    pub fn reserve(&mut self, data_len: usize) -> bool {
        let len = encoded_len(data_len);
        let fits = self.rooms[MAIN].left() >= len;
        if fits {
            self.rooms[MAIN].end -= len;
        }
        fits
    }

    /// Writes an option where it fits. False: it fits nowhere, and nothing was written.
    #[inline]
    pub fn push(&mut self, code: u8, data: &[u8]) -> bool {
        // Nearly always: in line, so that of data whose length the compiler knows little more than a store is left.
        match u8::try_from(data.len()) {
            Ok(len) if self.rooms[MAIN].left() >= OPTION_HEAD + data.len() => {
                write(self.message, &mut self.rooms[MAIN], code, len, data);
                true
            }
            _ => self.push_elsewhere(code, data),
        }
    }

    /// Writes an option that does not fit into the `options` field as it is.
    #[cold]
    fn push_elsewhere(&mut self, code: u8, data: &[u8]) -> bool {
        let Ok(len) = u8::try_from(data.len()) else { return self.push_long(code, data) };
        let whole = OPTION_HEAD + data.len();
        let Some(area) = self.rooms.iter().position(|room| room.left() >= whole) else { return false };
        self.overload |= AREA_BITS[area];
        write(self.message, &mut self.rooms[area], code, len, data);
        true
    }

    /// Writes an option in parts of at most 255 bytes, each area filled before the next one is begun.
    fn push_long(&mut self, code: u8, data: &[u8]) -> bool {
        if self.rooms.iter().map(|room| room.data()).sum::<usize>() < data.len() {
            return false;
        }
        let mut rest = data;
        for (room, bit) in self.rooms.iter_mut().zip(AREA_BITS) {
            while !rest.is_empty() && room.left() > OPTION_HEAD {
                let (part, after) = rest.split_at(rest.len().min(MAX_OPTION_DATA).min(room.left() - OPTION_HEAD));
                write(self.message, room, code, part.len() as u8, part);
                self.overload |= bit;
                rest = after;
            }
        }
        true
    }

    /// Writes option 52 where fields are overloaded, the option that room was [reserved](Self::reserve) for, and the Ends;
    /// pads to 300 bytes. Returns the message's length.
    pub fn finish(mut self, last: Option<(u8, &[u8])>) -> usize {
        let [mut main, overloaded @ ..] = self.rooms;
        if self.overload != 0 {
            write(self.message, &mut main, code::OVERLOAD, 1, &[self.overload]);
            for (room, bit) in overloaded.into_iter().zip([OVERLOAD_FILE, OVERLOAD_SNAME]) {
                if self.overload & bit != 0 {
                    self.message[room.at] = code::END;
                }
            }
        }
        if let Some((code, data)) = last
            && self.message.len() - 1 - main.at >= encoded_len(data.len())
        {
            self.push_last(&mut main, code, data);
        }
        let mut len = main.at + 1;
        self.message[main.at] = code::END;
        if len < MIN_MESSAGE_LEN {
            self.message[len..MIN_MESSAGE_LEN].fill(code::PAD);
            len = MIN_MESSAGE_LEN;
        }
        len
    }

    fn push_last(&mut self, main: &mut Room, code: u8, data: &[u8]) {
        if data.is_empty() {
            write(self.message, main, code, 0, data);
        }
        for part in data.chunks(MAX_OPTION_DATA) {
            write(self.message, main, code, part.len() as u8, part);
        }
    }
}

/// Writes one option at a room's place, which the caller has checked to have space for it.
#[inline]
fn write(message: &mut [u8], room: &mut Room, code: u8, len: u8, data: &[u8]) {
    let end = room.at + OPTION_HEAD + data.len();
    let place = &mut message[room.at..end];
    place[..OPTION_HEAD].copy_from_slice(&[code, len]);
    place[OPTION_HEAD..].copy_from_slice(data);
    room.at = end;
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wire::{
        dhcp::{Header, HeaderMut},
        options::{Area, DhcpOption, Joined, Options, Scratch},
    };

    fn message(len: usize) -> Vec<u8> {
        let mut message = vec![0xa5; len];
        HeaderMut::new_cleared(&mut message).unwrap();
        message
    }

    fn options(message: &[u8]) -> Options<'_> {
        Options::new(Header::new_checked(message).unwrap())
    }

    fn read(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
        options(message).map(|option| option.unwrap()).map(|o| (o.code, o.data.to_vec())).collect()
    }

    fn joined(message: &[u8], code: u8) -> Option<Vec<u8>> {
        let mut memory = [0; 2048];
        Joined::new(options(message), &mut Scratch::new(&mut memory)).unwrap().get(code).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_message_below_300_bytes_is_padded_and_a_shorter_buffer_refused() {
        let mut buffer = message(400);
        let writer = OptionWriter::new(&mut buffer, true, true).unwrap();
        assert_eq!(writer.finish(None), 300);
        assert_eq!(buffer[240], code::END);
        assert!(buffer[241..300].iter().all(|&b| b == 0));
        assert!(OptionWriter::new(&mut message(299), true, true).is_none());
    }

    #[test]
    fn without_free_fields_the_last_byte_is_used() {
        let mut buffer = message(300);
        let mut writer = OptionWriter::new(&mut buffer, false, false).unwrap();
        assert!(writer.push(224, &[1; 57]));
        assert!(!writer.push(225, &[]));
        assert_eq!(writer.finish(None), 300);
        assert_eq!(buffer[299], code::END);
        assert_eq!(read(&buffer), [(224, vec![1; 57])]);
    }

    #[test]
    fn a_long_option_is_split_into_parts_of_255_bytes() {
        let data: Vec<u8> = (0..600).map(|i| (i % 251) as u8).collect();
        let mut buffer = message(1400);
        let mut writer = OptionWriter::new(&mut buffer, true, true).unwrap();
        assert!(writer.push(224, &data));
        let len = writer.finish(None);
        let lengths: Vec<_> = read(&buffer[..len]).iter().map(|(code, data)| (*code, data.len())).collect();
        assert_eq!(lengths, [(224, 255), (224, 255), (224, 90)]);
        assert_eq!(joined(&buffer[..len], 224).unwrap(), data);
    }

    #[test]
    fn a_long_option_runs_on_from_options_into_file_into_sname() {
        // 240 + 100 bytes: room for 94 of it here, 125 in `file`, 61 in `sname`.
        let data: Vec<u8> = (0..280).map(|i| (i % 251) as u8).collect();
        let mut buffer = message(340);
        let mut writer = OptionWriter::new(&mut buffer, true, true).unwrap();
        assert!(writer.push(224, &data));
        assert!(!writer.push(225, &[]), "all is full");
        assert_eq!(writer.finish(None), 340);
        assert_eq!(joined(&buffer, 224).unwrap(), data);
        let mut buffer = message(340);
        assert!(
            !OptionWriter::new(&mut buffer, true, true).unwrap().push(224, &[1; 281]),
            "it fits whole or not at all"
        );
        assert!(buffer[240..].iter().all(|&b| b == 0xa5));
    }

    #[test]
    fn the_last_option_is_split_too_and_stays_in_the_options_field() {
        let data = [7; 300];
        let mut buffer = message(576);
        let mut writer = OptionWriter::new(&mut buffer, true, true).unwrap();
        assert!(writer.reserve(300));
        assert!(!writer.reserve(30));
        let len = writer.finish(Some((82, &data)));
        let main: Vec<_> =
            Area::new(&buffer[OPTIONS_OFFSET..len]).map(|o| (o.unwrap().code, o.unwrap().data.len())).collect();
        assert_eq!(main, [(82, 255), (82, 45)]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back_and_lies_within_the_limit(
            limit in 300usize..700,
            file_free: bool,
            sname_free: bool,
            options in vec((1u8..50, vec(any::<u8>(), 0..80)), 0..20),
            long in vec(any::<u8>(), 256..500),
            last in prop::option::of(vec(any::<u8>(), 0..300)),
        ) {
            let mut buffer = message(700);
            buffer[limit..].fill(0x5a);
            let mut writer = OptionWriter::new(&mut buffer[..limit], file_free, sname_free).unwrap();
            let last = last.filter(|data| writer.reserve(data.len()));
            let has_long = writer.push(100, &long);
            let mut expected: Vec<_> = options.into_iter().filter(|(code, data)| writer.push(*code, data)).collect();
            let len = writer.finish(last.as_deref().map(|data| (82, data)));
            prop_assert!((300..=limit).contains(&len));
            prop_assert!(buffer[limit..].iter().all(|&b| b == 0x5a), "nothing beyond the limit");
            prop_assert!(file_free || buffer[field::FILE].iter().all(|&b| b == 0));
            prop_assert!(sname_free || buffer[field::SNAME].iter().all(|&b| b == 0));
            prop_assert_eq!(joined(&buffer[..len], 100), has_long.then_some(long));
            if let Some(data) = last {
                let main: Vec<_> = Area::new(&buffer[OPTIONS_OFFSET..len]).map(|o| o.unwrap()).collect();
                let part = data.chunks(255).last().unwrap_or(&[]);
                prop_assert_eq!(main.last().unwrap(), &DhcpOption { code: 82, data: part });
                prop_assert_eq!(joined(&buffer[..len], 82).unwrap(), data);
            }
            let mut found = read(&buffer[..len]);
            found.retain(|(code, _)| *code < 50);
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
