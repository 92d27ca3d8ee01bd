//! Long options, joined (RFC 3396): all instances of a code, in the order of the areas, are one option.
//!
//! Most messages have no option twice, and are read where they lie. For one that has, [`Joined`] copies all its options into
//! scratch memory in two passes, sorted by code: the work is linear in the message however it is made.

use super::{Codes, OptionError, Options};

/// Memory for options that must be joined, given out piece by piece; never grown.
#[derive(Debug)]
pub struct Scratch<'s> {
    rest: &'s mut [u8],
}

impl<'s> Scratch<'s> {
    /// Scratch in this memory.
    pub fn new(memory: &'s mut [u8]) -> Self {
        Self { rest: memory }
    }

    /// A copy of these bytes; `None` when there is no room.
    pub fn keep(&mut self, bytes: &[u8]) -> Option<&'s [u8]> {
        let kept = self.take(bytes.len())?;
        kept.copy_from_slice(bytes);
        Some(kept)
    }

    /// A copy of all these bytes, one after the other; `None` when there is no room.
    pub fn keep_all<'b>(&mut self, parts: impl Iterator<Item = &'b [u8]> + Clone) -> Option<&'s [u8]> {
        let kept = self.take(parts.clone().map(<[u8]>::len).sum())?;
        let mut rest = &mut *kept;
        for part in parts {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        Some(kept)
    }

    /// The next `len` bytes; `None` when there are fewer, which are then there for who needs less.
    fn take(&mut self, len: usize) -> Option<&'s mut [u8]> {
        if len > self.rest.len() {
            return None;
        }
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        Some(taken)
    }
}

/// All options of a message, each joined.
#[derive(Clone, Debug)]
pub struct Joined<'s> {
    /// Data of all options, in the order of their codes.
    data: &'s [u8],
    /// Where each code's data begins and ends.
    places: [[u16; 2]; 256],
    present: Codes,
}

impl<'s> Joined<'s> {
    /// Joins all options of a message. The scratch must have room for their data, which is less than the message.
    ///
    /// # Errors
    /// An option is malformed, or the scratch is full.
    pub fn new(options: Options<'_>, scratch: &mut Scratch<'s>) -> Result<Self, OptionError> {
        let mut present = Codes::default();
        let mut places = [[0u16; 2]; 256];
        for option in options.clone() {
            let option = option?;
            present.insert(option.code);
            let [_, len] = &mut places[usize::from(option.code)];
            *len = u16::try_from(option.data.len()).ok().and_then(|more| len.checked_add(more)).ok_or(OptionError)?;
        }
        // Lengths become starts; the ends then move on as the data is copied.
        let mut total = 0u16;
        for code in present.iter() {
            let [start, end] = &mut places[usize::from(code)];
            let len = std::mem::replace(end, total);
            *start = total;
            total = total.checked_add(len).ok_or(OptionError)?;
        }
        let data = scratch.take(usize::from(total)).ok_or(OptionError)?;
        for option in options {
            let option = option?;
            let [_, end] = &mut places[usize::from(option.code)];
            let at = usize::from(*end);
            data[at..at + option.data.len()].copy_from_slice(option.data);
            *end += option.data.len() as u16;
        }
        Ok(Self { data, places, present })
    }

    /// The data of an option; empty also when it was sent with no data.
    pub fn get(&self, code: u8) -> Option<&'s [u8]> {
        let [start, end] = self.places[usize::from(code)].map(usize::from);
        self.data.get(start..end).filter(|_| self.present.contains(code))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wire::{
        dhcp::{Header, HeaderMut, field},
        options::code,
    };

    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 240];
        HeaderMut::new_cleared(&mut message).unwrap();
        message.extend(options);
        message
    }

    fn options(message: &[u8]) -> Options<'_> {
        Options::new(Header::new_checked(message).unwrap())
    }

    #[test]
    fn parts_are_joined_in_the_order_options_file_sname() {
        let mut message = message(&[52, 1, 3, 61, 2, b'a', b'b', 12, 0, 61, 1, b'c', 255]);
        message[field::FILE][..4].copy_from_slice(&[61, 1, b'd', 255]);
        message[field::SNAME][..4].copy_from_slice(&[61, 1, b'e', 255]);
        let mut memory = [0; 5];
        let joined = Joined::new(options(&message), &mut Scratch::new(&mut memory)).unwrap();
        assert_eq!(joined.get(code::CLIENT_ID), Some(&b"abcde"[..]));
        assert_eq!(joined.get(code::HOST_NAME), Some(&[][..]));
        assert_eq!(joined.get(1), None);
        assert_eq!(joined.get(0), None);
    }

    #[test]
    fn who_needs_more_than_there_is_leaves_it_to_the_others() {
        let mut memory = [0; 4];
        let mut scratch = Scratch::new(&mut memory);
        assert_eq!(scratch.keep(b"12345"), None);
        assert_eq!(scratch.keep_all([&b"123"[..], b"45"].into_iter()), None);
        assert_eq!(scratch.keep(b"1234"), Some(&b"1234"[..]));
    }

    #[test]
    fn a_full_scratch_is_an_error_and_a_broken_option_too() {
        let whole = message(&[61, 2, 1, 2]);
        assert!(Joined::new(options(&whole), &mut Scratch::new(&mut [0])).is_err());
        assert!(Joined::new(options(&message(&[61, 2, 1])), &mut Scratch::new(&mut [0; 64])).is_err());
    }

    proptest! {
        #[test]
        fn each_code_has_all_its_data_in_order(parts in vec((1u8..8, vec(any::<u8>(), 0..9)), 0..40)) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(code, data)| [&[*code, data.len() as u8], &data[..]].concat()).collect();
            let message = message(&bytes);
            let mut memory = [0; 400];
            let mut scratch = Scratch::new(&mut memory);
            let joined = Joined::new(options(&message), &mut scratch).unwrap();
            for code in 0..=255u8 {
                let own: Vec<_> = parts.iter().filter(|(c, _)| *c == code).collect();
                let all: Vec<u8> = own.iter().flat_map(|(_, data)| data.clone()).collect();
                prop_assert_eq!(joined.get(code), (!own.is_empty()).then_some(&all[..]), "code {}", code);
            }
        }

        #[test]
        fn any_bytes_are_joined_or_refused_without_panic(bytes in vec(any::<u8>(), 0..600)) {
            let message = message(&bytes);
            let _ = Joined::new(options(&message), &mut Scratch::new(&mut [0; 1024]));
        }
    }
}
