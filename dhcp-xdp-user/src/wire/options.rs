//! DHCP options: codes, a checked iterator through all three areas, a bounded writer (RFC 2132, RFC 2131 4.1).
//!
//! Options lie in the `options` field and, when option 52 says so, in `file` and then in `sname`. The iterator yields each
//! instance as it lies; whoever reads options decides what a repeated one means (RFC 3396 would have them joined), so no
//! repetition is hidden here.

use super::dhcp::{Header, MIN_MESSAGE_LEN, OPTIONS_OFFSET, field};

/// Option codes, in the order of their numbers.
pub mod code {
    /// Padding: one byte, no length (RFC 2132 3.1).
    pub const PAD: u8 = 0;
    /// Subnet mask (RFC 2132 3.3).
    pub const SUBNET_MASK: u8 = 1;
    /// Routers (RFC 2132 3.5).
    pub const ROUTER: u8 = 3;
    /// Domain name servers (RFC 2132 3.8).
    pub const DOMAIN_NAME_SERVER: u8 = 6;
    /// Host name (RFC 2132 3.14).
    pub const HOST_NAME: u8 = 12;
    /// Domain name (RFC 2132 3.17).
    pub const DOMAIN_NAME: u8 = 15;
    /// Interface MTU (RFC 2132 5.1).
    pub const INTERFACE_MTU: u8 = 26;
    /// Broadcast address (RFC 2132 5.3).
    pub const BROADCAST_ADDRESS: u8 = 28;
    /// Static routes, by class (RFC 2132 5.8).
    pub const STATIC_ROUTE: u8 = 33;
    /// NTP servers (RFC 2132 8.3).
    pub const NTP_SERVER: u8 = 42;
    /// Requested IP address (RFC 2132 9.1).
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// IP address lease time, seconds (RFC 2132 9.2).
    pub const LEASE_TIME: u8 = 51;
    /// Option overload (RFC 2132 9.3).
    pub const OVERLOAD: u8 = 52;
    /// DHCP message type (RFC 2132 9.6).
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server identifier (RFC 2132 9.7).
    pub const SERVER_ID: u8 = 54;
    /// Parameter request list (RFC 2132 9.8).
    pub const PARAMETER_REQUEST_LIST: u8 = 55;
    /// Message: an error in words (RFC 2132 9.9).
    pub const MESSAGE: u8 = 56;
    /// Maximum DHCP message size (RFC 2132 9.10).
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    /// Renewal time T1, seconds (RFC 2132 9.11).
    pub const RENEWAL_TIME: u8 = 58;
    /// Rebinding time T2, seconds (RFC 2132 9.12).
    pub const REBINDING_TIME: u8 = 59;
    /// Vendor class identifier (RFC 2132 9.13).
    pub const VENDOR_CLASS_ID: u8 = 60;
    /// Client identifier (RFC 2132 9.14).
    pub const CLIENT_ID: u8 = 61;
    /// Relay agent information (RFC 3046).
    pub const RELAY_AGENT_INFO: u8 = 82;
    /// Classless static routes (RFC 3442).
    pub const CLASSLESS_ROUTE: u8 = 121;
    /// Vendor-identifying vendor class (RFC 3925 3).
    pub const VENDOR_IDENTIFYING_CLASS: u8 = 124;
    /// Vendor-identifying vendor-specific information (RFC 3925 4).
    pub const VENDOR_IDENTIFYING_OPTIONS: u8 = 125;
    /// End of an options area: one byte, no length (RFC 2132 3.2).
    pub const END: u8 = 255;
}

/// Value of option 52: `file` holds options.
const OVERLOAD_FILE: u8 = 1;
/// Value of option 52: `sname` holds options.
const OVERLOAD_SNAME: u8 = 2;

/// Most data of one option.
pub const MAX_OPTION_DATA: usize = 255;
/// Code and length.
const OPTION_HEAD: usize = 2;
/// Code, length and value of option 52.
const OVERLOAD_LEN: usize = 3;

/// An option runs past the end of its area, or option 52 itself is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an option runs past the end of its field, or the overload option is malformed")]
pub struct OptionError;

/// One instance of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DhcpOption<'a> {
    /// Its code, 1 to 254.
    pub code: u8,
    /// Its data, at most 255 bytes.
    pub data: &'a [u8],
}

impl DhcpOption<'_> {
    /// The data as an array: `None` when its length is another one.
    pub fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.data.try_into().ok()
    }
}

/// Iterates over the options of one area; [`Options`] is over those of a message.
///
/// Pads are skipped; the End option or the end of the area ends it (a missing End is forgiven: some clients fill the area to
/// its last byte). After an error it ends.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    rest: &'a [u8],
}

impl<'a> Area<'a> {
    /// The options of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Area<'a> {
    type Item = Result<DhcpOption<'a>, OptionError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.rest {
                [] | [code::END, ..] => return None,
                [code::PAD, ref rest @ ..] => self.rest = rest,
                [code, len, ref rest @ ..] => {
                    let Some((data, rest)) = rest.split_at_checked(usize::from(len)) else {
                        self.rest = &[];
                        return Some(Err(OptionError));
                    };
                    self.rest = rest;
                    return Some(Ok(DhcpOption { code, data }));
                }
                [_] => {
                    self.rest = &[];
                    return Some(Err(OptionError));
                }
            }
        }
    }
}

/// Iterates over all options of a message in the order that RFC 2131 4.1 gives: `options`, then `file`, then `sname`.
///
/// Option 52 is followed, not yielded. After an error it ends.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    area: Area<'a>,
    /// Overloaded areas still to come.
    next: [Option<&'a [u8]>; 2],
    header: Header<'a>,
    /// Option 52 counts in the `options` field only, and once.
    in_main: bool,
}

impl<'a> Options<'a> {
    /// The options of a message.
    pub fn new(header: Header<'a>) -> Self {
        Self { area: Area::new(header.options()), next: [None; 2], header, in_main: true }
    }

    /// Reads option 52; once seen, what it names comes next. False when it is malformed.
    fn overload(&mut self, option: DhcpOption<'a>) -> bool {
        let Some([value @ 1..=3]) = option.array::<1>() else { return false };
        if !self.in_main || self.next != [None; 2] {
            return false;
        }
        self.next = [
            (value & OVERLOAD_FILE != 0).then(|| self.header.file()),
            (value & OVERLOAD_SNAME != 0).then(|| self.header.sname()),
        ];
        true
    }

    fn fail(&mut self) -> Option<Result<DhcpOption<'a>, OptionError>> {
        self.area = Area::new(&[]);
        self.next = [None; 2];
        Some(Err(OptionError))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<DhcpOption<'a>, OptionError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.area.next() {
                Some(Ok(option)) if option.code == code::OVERLOAD => {
                    if !self.overload(option) {
                        return self.fail();
                    }
                }
                Some(Ok(option)) => return Some(Ok(option)),
                Some(Err(OptionError)) => return self.fail(),
                None => {
                    let [file, sname] = &mut self.next;
                    let bytes = file.take().or_else(|| sname.take())?;
                    self.area = Area::new(bytes);
                    self.in_main = false;
                }
            }
        }
    }
}

/// Where the next option of an area goes, and where the area ends for options.
#[derive(Clone, Copy, Debug)]
struct Room {
    at: usize,
    end: usize,
}

impl Room {
    fn fits(self, len: usize) -> bool {
        self.end.saturating_sub(self.at) >= len
    }
}

/// Writes the options of a message in place, within the length of the slice that it is given.
///
/// Options go to the `options` field; one that does not fit there goes to `file` or `sname` where the caller has no other
/// use for those, and [`finish`](Self::finish) then adds option 52 (RFC 2131 4.1, RFC 2132 9.3).
#[derive(Debug)]
pub struct OptionWriter<'a> {
    message: &'a mut [u8],
    main: Room,
    file: Option<Room>,
    sname: Option<Room>,
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
        let room = |range: std::ops::Range<usize>| Room { at: range.start, end: range.end - 1 };
        Some(Self {
            message,
            main,
            file: file_free.then(|| room(field::FILE)),
            sname: sname_free.then(|| room(field::SNAME)),
            overload: 0,
        })
    }

    /// Keeps room in the `options` field for an option that [`finish`](Self::finish) writes last. False: it does not fit.
    pub fn reserve(&mut self, data_len: usize) -> bool {
        let len = OPTION_HEAD + data_len;
        let fits = data_len <= MAX_OPTION_DATA && self.main.fits(len);
        if fits {
            self.main.end -= len;
        }
        fits
    }

    /// Writes an option where it fits. False: it fits nowhere, and nothing was written.
    pub fn push(&mut self, code: u8, data: &[u8]) -> bool {
        let Ok(len) = u8::try_from(data.len()) else { return false };
        let whole = OPTION_HEAD + data.len();
        let room = if self.main.fits(whole) {
            &mut self.main
        } else if let Some(file) = self.file.as_mut().filter(|room| room.fits(whole)) {
            self.overload |= OVERLOAD_FILE;
            file
        } else if let Some(sname) = self.sname.as_mut().filter(|room| room.fits(whole)) {
            self.overload |= OVERLOAD_SNAME;
            sname
        } else {
            return false;
        };
        write(self.message, room, code, len, data);
        true
    }

    /// Writes option 52 where fields are overloaded, the option that room was [reserved](Self::reserve) for, and the Ends;
    /// pads to 300 bytes. Returns the message's length.
    pub fn finish(mut self, last: Option<(u8, &[u8])>) -> usize {
        if self.overload != 0 {
            write(self.message, &mut self.main, code::OVERLOAD, 1, &[self.overload]);
            for (room, bit) in [(self.file, OVERLOAD_FILE), (self.sname, OVERLOAD_SNAME)] {
                if let Some(room) = room.filter(|_| self.overload & bit != 0) {
                    self.message[room.at] = code::END;
                }
            }
        }
        if let Some((code, data)) = last
            && let Ok(len) = u8::try_from(data.len())
            && self.message.len() - 1 - self.main.at >= OPTION_HEAD + data.len()
        {
            write(self.message, &mut self.main, code, len, data);
        }
        let mut len = self.main.at + 1;
        self.message[self.main.at] = code::END;
        if len < MIN_MESSAGE_LEN {
            self.message[len..MIN_MESSAGE_LEN].fill(code::PAD);
            len = MIN_MESSAGE_LEN;
        }
        len
    }
}

/// Writes one option at a room's place, which the caller has checked to have space for it.
fn write(message: &mut [u8], room: &mut Room, code: u8, len: u8, data: &[u8]) {
    let data_at = room.at + OPTION_HEAD;
    message[room.at] = code;
    message[room.at + 1] = len;
    message[data_at..data_at + data.len()].copy_from_slice(data);
    room.at = data_at + data.len();
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wire::dhcp::HeaderMut;

    fn message(len: usize) -> Vec<u8> {
        let mut message = vec![0xa5; len];
        HeaderMut::new_cleared(&mut message).unwrap();
        message
    }

    fn read(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let header = Header::new_checked(message).unwrap();
        Options::new(header).map(|option| option.unwrap()).map(|o| (o.code, o.data.to_vec())).collect()
    }

    #[test]
    fn pads_are_skipped_and_what_follows_end_is_not_read() {
        let codes: Vec<_> = Area::new(&[0, 0, 12, 1, b'a', 0, 255, 13, 1, b'b']).map(|o| o.unwrap().code).collect();
        assert_eq!(codes, [12]);
    }

    #[test]
    fn an_area_without_end_ends_where_it_ends() {
        assert_eq!(Area::new(&[12, 1, b'a']).count(), 1);
        assert_eq!(Area::new(&[]).count(), 0);
    }

    #[test]
    fn an_option_past_the_end_is_one_error_and_the_last_item() {
        for bytes in [&[12, 2, b'a'][..], &[12], &[0, 82, 255]] {
            let items: Vec<_> = Area::new(bytes).collect();
            assert_eq!(items, [Err(OptionError)]);
        }
    }

    #[test]
    fn file_is_read_before_sname_and_an_end_in_one_does_not_end_the_other() {
        let mut message = message(260);
        message[field::SNAME][..4].copy_from_slice(&[12, 1, b's', 255]);
        message[field::FILE][..4].copy_from_slice(&[12, 1, b'f', 255]);
        message[240..].fill(0);
        message[240..247].copy_from_slice(&[52, 1, 3, 12, 1, b'o', 255]);
        let data: Vec<_> = read(&message).into_iter().map(|(_, data)| data[0]).collect();
        assert_eq!(data, *b"ofs");
    }

    #[test]
    fn overload_is_an_error_twice_or_in_an_overloaded_field() {
        let mut twice = message(246);
        twice[240..].copy_from_slice(&[52, 1, 1, 52, 1, 1]);
        assert!(Options::new(Header::new_checked(&twice).unwrap()).any(|o| o.is_err()));
        let mut nested = message(243);
        nested[240..].copy_from_slice(&[52, 1, 1]);
        nested[field::FILE][..3].copy_from_slice(&[52, 1, 2]);
        assert!(Options::new(Header::new_checked(&nested).unwrap()).any(|o| o.is_err()));
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

    proptest! {
        #[test]
        fn what_was_written_is_read_back_and_lies_within_the_limit(
            limit in 300usize..700,
            file_free: bool,
            sname_free: bool,
            options in vec((1u8..50, vec(any::<u8>(), 0..80)), 0..20),
            last in prop::option::of(vec(any::<u8>(), 0..100)),
        ) {
            let mut buffer = message(700);
            buffer[limit..].fill(0x5a);
            let mut writer = OptionWriter::new(&mut buffer[..limit], file_free, sname_free).unwrap();
            let last = last.filter(|data| writer.reserve(data.len()));
            let mut expected: Vec<_> = options.into_iter().filter(|(code, data)| writer.push(*code, data)).collect();
            let len = writer.finish(last.as_deref().map(|data| (82, data)));
            prop_assert!((300..=limit).contains(&len));
            prop_assert!(buffer[limit..].iter().all(|&b| b == 0x5a), "nothing beyond the limit");
            prop_assert!(file_free || buffer[field::FILE].iter().all(|&b| b == 0));
            prop_assert!(sname_free || buffer[field::SNAME].iter().all(|&b| b == 0));
            if let Some(data) = last {
                let main: Vec<_> = Area::new(&buffer[OPTIONS_OFFSET..len]).map(|o| o.unwrap()).collect();
                prop_assert_eq!(main.last().unwrap(), &DhcpOption { code: 82, data: &data });
                expected.push((82, data));
            }
            let mut found = read(&buffer[..len]);
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_read_without_panic_and_in_bounded_steps(bytes in vec(any::<u8>(), 0..600)) {
            let mut message = message(240);
            message.extend(&bytes);
            let header = Header::new_checked(&message).unwrap();
            prop_assert!(Options::new(header).count() <= bytes.len() + 192);
        }
    }
}
