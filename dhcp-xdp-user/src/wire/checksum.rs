//! The Internet checksum (RFC 1071), added up eight bytes at a time.
//!
//! A sum of larger words folds to the same 16 bits (RFC 1071 2 (C)), and words are taken and put down as they lie in memory, so
//! that no byte is swapped on the way (2 (B)).

/// What has been added up so far. 128 bits have room for the carries of more 64-bit words than memory has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u128);

impl Sum {
    /// With these bytes added. They begin at an even offset of what is summed up; an odd one at their end is the last of all,
    /// and counts as if a zero followed it.
    #[must_use]
    pub fn add(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().fold(self.0, |sum, word| sum + u128::from(u64::from_ne_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        Self(words + u128::from(u64::from_ne_bytes(last)))
    }

    /// The one's complement sum, as it lies in a header.
    pub fn folded(self) -> [u8; 2] {
        // Below 2^34 and more than any packet's words carry; then below 2^20, 2^17, 2^16.
        let low = self.0 as u64;
        let mut sum = (self.0 >> 64) as u64 + (low >> 32) + (low & 0xffff_ffff);
        for _ in 0..3 {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (sum as u16).to_ne_bytes()
    }

    /// Whether these bytes have their right checksum among them: all ones are the sum then (RFC 1071 1 (3)).
    pub fn is_right(self) -> bool {
        self.folded() == [0xff; 2]
    }

    /// The checksum: its one's complement.
    pub fn checksum(self) -> [u8; 2] {
        self.folded().map(|byte| !byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// As RFC 1071 4.1 has it in C: 16-bit words, an odd byte at the end, the carries folded.
    fn plain(bytes: &[u8]) -> u16 {
        let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        let mut sum = words.map(u32::from).sum::<u32>();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_3() {
        let sum = Sum::default().add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), [0xdd, 0xf2]);
        assert_eq!(sum.checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn carries_of_the_longest_datagram_are_not_lost() {
        let ones = vec![0xff; 65_535];
        assert_eq!(u16::from_be_bytes(Sum::default().add(&ones).checksum()), plain(&ones));
    }

    proptest! {
        #[test]
        fn it_is_rfc_1071s_sum_of_16_bit_words_however_the_bytes_are_cut(
            bytes in vec(any::<u8>(), 0..700),
            cut: prop::sample::Index,
        ) {
            let (first, rest) = bytes.split_at(cut.index(bytes.len() + 1) & !1);
            prop_assert_eq!(u16::from_be_bytes(Sum::default().add(first).add(rest).checksum()), plain(&bytes));
        }
    }
}
