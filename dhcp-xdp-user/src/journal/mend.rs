//! Records that fail their checksum, and what can be known of them all the same.
//!
//! A CRC is linear: a change of some bytes changes it by an amount that depends on them alone. So a record in which one byte
//! went wrong can be put right, and the number that a segment's checksums start from can be had back from any whole record.

use std::{collections::HashMap, sync::OnceLock};

use super::{
    record::{self, Bytes, RECORD, Record},
    segment::Header,
};
use crate::lease::SpacedAddress;

/// Castagnoli's polynomial, bits reversed (RFC 3720 12.1).
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The record of which one byte was changed; `None` when no single byte explains it.
///
/// One in some 300,000 records of random bytes would be explained by chance, and one in ten million be of a known kind too:
/// only for a bad record that stands alone between good ones.
pub(super) fn mend(bytes: &Bytes, seed: u32) -> Option<Bytes> {
    change_back(bytes, seed).filter(|mended| record::decode(mended, seed).is_some())
}

/// As [`mend`], of a header.
pub(super) fn mend_header(bytes: &Bytes) -> Option<Header> {
    Header::decode(&change_back(bytes, 0)?).ok()
}

/// The 64 bytes with the one byte changed that makes their checksum right.
fn change_back(bytes: &Bytes, seed: u32) -> Option<Bytes> {
    let wrong = stored(bytes) ^ crc32c::crc32c_append(seed, &bytes[4..]);
    let mut mended = *bytes;
    if wrong.to_le_bytes().iter().filter(|byte| **byte != 0).count() == 1 {
        record::seal(&mut mended, seed);
    } else {
        let (at, change) = (*changes().get(&wrong)?)?;
        mended[at] ^= change;
    }
    Some(mended)
}

/// What each change of one byte does to the checksum; `None` where two do the same.
fn changes() -> &'static HashMap<u32, Option<(usize, u8)>> {
    static CHANGES: OnceLock<HashMap<u32, Option<(usize, u8)>>> = OnceLock::new();
    CHANGES.get_or_init(|| {
        let mut changes = HashMap::new();
        let mut bytes = [0u8; RECORD];
        let plain = crc32c::crc32c(&bytes[4..]);
        for at in 4..RECORD {
            for change in 1..=u8::MAX {
                bytes[at] = change;
                let wrong = crc32c::crc32c(&bytes[4..]) ^ plain;
                changes.entry(wrong).and_modify(|known| *known = None).or_insert(Some((at, change)));
            }
            bytes[at] = 0;
        }
        changes
    })
}

/// What the checksum of a record must have started from, if the record is whole.
pub(super) fn seed_of(bytes: &Bytes) -> u32 {
    let mut crc = !stored(bytes);
    for byte in bytes[4..].iter().rev() {
        for _ in 0..8 {
            // The polynomial has its highest bit set, a shifted value has not: the bit tells which of the two it was.
            crc = if crc >> 31 == 1 { ((crc ^ POLYNOMIAL) << 1) | 1 } else { crc << 1 };
        }
        crc ^= u32::from(*byte);
    }
    !crc
}

/// The number on which most of these records agree, at least two of them.
pub(super) fn common_seed<'a>(records: impl Iterator<Item = &'a Bytes>) -> Option<u32> {
    let mut votes: HashMap<u32, u32> = HashMap::new();
    for bytes in records {
        *votes.entry(seed_of(bytes)).or_default() += 1;
    }
    let (seed, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
    (count > 1).then_some(seed)
}

/// The address in a record that cannot be trusted, if it looks like part of a change.
pub(super) fn hint(bytes: &Bytes) -> Option<SpacedAddress> {
    let mut guess = *bytes;
    record::seal(&mut guess, 0);
    let at = match record::decode(&guess, 0)? {
        Record::Base { lease, hw, .. } if hw.hlen <= 16 => lease.at(),
        Record::Continuation { at, .. } => at,
        _ => return None,
    };
    (!at.address.is_unspecified()).then_some(at)
}

fn stored(bytes: &Bytes) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(fill: u8, seed: u32) -> Bytes {
        let mut bytes = record::marker(u64::from(fill) << 6, &crate::clock::Moment::default());
        record::seal(&mut bytes, seed);
        bytes
    }

    #[test]
    fn any_single_byte_that_changed_is_put_right() {
        let whole = sealed(9, 0x1234_5678);
        for at in 0..RECORD {
            for change in [1, 0x80, 0xff, 0x5a] {
                let mut bytes = whole;
                bytes[at] ^= change;
                assert_eq!(mend(&bytes, 0x1234_5678), Some(whole), "byte {at} by {change:#x}");
            }
        }
    }

    #[test]
    fn two_bytes_that_changed_are_not_made_into_something_else() {
        let whole = sealed(9, 7);
        for at in 5..RECORD - 1 {
            let mut bytes = whole;
            bytes[at] ^= 0x11;
            bytes[at + 1] ^= 0x2e;
            assert!(mend(&bytes, 7).is_none_or(|mended| mended == whole), "byte {at}");
        }
        assert_eq!(mend(&[0; RECORD], 7), None);
    }

    #[test]
    fn every_whole_record_tells_what_its_checksum_started_from() {
        for seed in [0, 1, 0xffff_ffff, 0xdead_beef] {
            assert_eq!(seed_of(&sealed(3, seed)), seed);
        }
        let (good, bad) = ([sealed(1, 77), sealed(2, 77)], [[7; RECORD], [9; RECORD]]);
        assert_eq!(common_seed(bad.iter().chain(&good)), Some(77));
        assert_eq!(common_seed(bad.iter()), None);
        assert_eq!(common_seed(bad.iter().chain(&good[..1])), None);
    }
}
