//! DHCP options: codes, a checked iterator through all three areas, a bounded writer (RFC 2132, RFC 2131 4.1).
//!
//! Options lie in the `options` field and, when option 52 says so, in `file` and then in `sname`. The iterator yields each
//! instance as it lies; several of one code are parts of one option (RFC 3396), and [`Joined`] puts them together.

mod join;
mod writer;

pub use join::{Joined, Scratch};
pub use writer::OptionWriter;

use super::dhcp::Header;

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
    /// Vendor-specific information (RFC 2132 8.4).
    pub const VENDOR_ENCAPSULATED: u8 = 43;
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
    /// TFTP server name (RFC 2132 9.4).
    pub const TFTP_SERVER_NAME: u8 = 66;
    /// Boot file name (RFC 2132 9.5).
    pub const BOOT_FILE_NAME: u8 = 67;
    /// User class (RFC 3004).
    pub const USER_CLASS: u8 = 77;
    /// Rapid commit (RFC 4039).
    pub const RAPID_COMMIT: u8 = 80;
    /// Relay agent information (RFC 3046).
    pub const RELAY_AGENT_INFO: u8 = 82;
    /// Client-last-transaction-time: seconds since then (RFC 4388 6.1).
    pub const CLIENT_LAST_TRANSACTION_TIME: u8 = 91;
    /// Associated-ip: the addresses of a client (RFC 4388 6.1).
    pub const ASSOCIATED_IP: u8 = 92;
    /// Client system architecture types (RFC 4578 2.1).
    pub const CLIENT_ARCHITECTURE: u8 = 93;
    /// Client network interface identifier (RFC 4578 2.2).
    pub const CLIENT_NETWORK_INTERFACE: u8 = 94;
    /// Client machine identifier (RFC 4578 2.3).
    pub const CLIENT_MACHINE_ID: u8 = 97;
    /// IPv6-only preferred (RFC 8925).
    pub const IPV6_ONLY_PREFERRED: u8 = 108;
    /// Auto-configure (RFC 2563).
    pub const AUTO_CONFIGURE: u8 = 116;
    /// Subnet selection (RFC 3011).
    pub const SUBNET_SELECTION: u8 = 118;
    /// Classless static routes (RFC 3442).
    pub const CLASSLESS_ROUTE: u8 = 121;
    /// Vendor-identifying vendor class (RFC 3925 3).
    pub const VENDOR_CLASSES: u8 = 124;
    /// Vendor-identifying vendor-specific information (RFC 3925 4).
    pub const VENDOR_OPTIONS: u8 = 125;
    /// Status-code (RFC 6926 6.2.2).
    pub const STATUS_CODE: u8 = 151;
    /// Base-time, seconds since 1970-01-01 UTC (RFC 6926 6.2.3).
    pub const BASE_TIME: u8 = 152;
    /// Start-time-of-state, seconds since then (RFC 6926 6.2.4).
    pub const START_TIME_OF_STATE: u8 = 153;
    /// Query-start-time, seconds since 1970-01-01 UTC (RFC 6926 6.2.5).
    pub const QUERY_START_TIME: u8 = 154;
    /// Query-end-time, seconds since 1970-01-01 UTC (RFC 6926 6.2.6).
    pub const QUERY_END_TIME: u8 = 155;
    /// Dhcp-state (RFC 6926 6.2.7).
    pub const DHCP_STATE: u8 = 156;
    /// Data-source (RFC 6926 6.2.8).
    pub const DATA_SOURCE: u8 = 157;
    /// Virtual subnet selection (RFC 6607).
    pub const VIRTUAL_SUBNET_SELECTION: u8 = 221;
    /// End of an options area: one byte, no length (RFC 2132 3.2).
    pub const END: u8 = 255;
}

/// Value of option 52: `file` holds options.
const OVERLOAD_FILE: u8 = 1;
/// Value of option 52: `sname` holds options.
const OVERLOAD_SNAME: u8 = 2;

/// Most data of one instance of an option.
pub const MAX_OPTION_DATA: usize = 255;

/// An option runs past the end of its area, or option 52 itself is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an option runs past the end of its field, or the overload option is malformed")]
pub struct OptionError;

/// An option: one instance of it, or all joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DhcpOption<'a> {
    /// Its code, 1 to 254.
    pub code: u8,
    /// Its data; at most 255 bytes where it is one instance.
    pub data: &'a [u8],
}

impl DhcpOption<'_> {
    /// The data as an array: `None` when its length is another one.
    pub fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.data.try_into().ok()
    }
}

/// A set of option codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codes([u64; 4]);

impl Codes {
    /// Of these codes.
    pub const fn of(codes: &[u8]) -> Self {
        let mut set = Self([0; 4]);
        let mut rest = codes;
        while let [code, after @ ..] = rest {
            set.insert(*code);
            rest = after;
        }
        set
    }
    /// True when it was not there yet.
    pub const fn insert(&mut self, code: u8) -> bool {
        let (word, bit) = (&mut self.0[code as usize >> 6], 1 << (code & 63));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
    /// All of them, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0u8..).zip(self.0).flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as u8)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }
    /// Whether it is there.
    pub const fn contains(&self, code: u8) -> bool {
        self.0[code as usize >> 6] & (1 << (code & 63)) != 0
    }
}

/// The places of codes in their sorted list, each found without a search.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodePlaces {
    codes: Codes,
    /// How many there are below each 64.
    before: [u8; 4],
}

impl CodePlaces {
    /// Of these codes.
    pub fn of(codes: Codes) -> Self {
        let mut before = [0; 4];
        for code in codes.iter() {
            before[usize::from(code >> 6) + 1..].iter_mut().for_each(|count| *count += 1);
        }
        Self { codes, before }
    }

    /// The place of a code; `None`: it is not there.
    pub fn get(&self, code: u8) -> Option<usize> {
        let word = usize::from(code >> 6);
        let (codes, bit) = (self.codes.0[word], 1 << (code & 63));
        let lower = codes & (bit - 1);
        (codes & bit != 0).then(|| usize::from(self.before[word]) + lower.count_ones() as usize)
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

    #[inline]
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

    /// What comes in place of what is no option to be yielded: of the end of an area, of option 52 or of an error. It calls itself
    /// at most four times over: there are three areas, and option 52 counts once.
    #[cold]
    fn instead_of(&mut self, found: Option<Result<DhcpOption<'a>, OptionError>>) -> Option<<Self as Iterator>::Item> {
        match found {
            Some(Ok(option)) if self.overload(option) => self.next(),
            None => {
                let [file, sname] = &mut self.next;
                let bytes = file.take().or_else(|| sname.take())?;
                self.area = Area::new(bytes);
                self.in_main = false;
                self.next()
            }
            Some(_) => {
                self.area = Area::new(&[]);
                self.next = [None; 2];
                Some(Err(OptionError))
            }
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<DhcpOption<'a>, OptionError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.area.next() {
            Some(Ok(option)) if option.code != code::OVERLOAD => Some(Ok(option)),
            found => self.instead_of(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wire::dhcp::{HeaderMut, field};

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

    proptest! {
        #[test]
        fn a_codes_place_is_the_one_that_it_has_in_their_sorted_list(codes in vec(any::<u8>(), 0..40)) {
            let (set, places) = (Codes::of(&codes), CodePlaces::of(Codes::of(&codes)));
            let sorted: Vec<u8> = std::collections::BTreeSet::from_iter(codes).into_iter().collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), sorted.clone());
            for code in 0..=255 {
                prop_assert_eq!(places.get(code), sorted.binary_search(&code).ok());
            }
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
