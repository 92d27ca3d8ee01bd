//! Ranges of addresses: how they are written, and cutting some out of others.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::AddressRange;

/// How a range can be written, for messages.
pub(super) const FORMS: &str = "a range as 192.0.2.10-192.0.2.250, a single address, or a prefix as 192.0.2.64/26";

/// Reads a range as the file writes it. A prefix stands for all of its addresses.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn parse(text: &str) -> Result<AddressRange, String> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(first.trim())?, address(last.trim())?);
        return if first <= last {
            Ok(AddressRange { first, last })
        } else {
            Err(format!("{first} comes after {last}: the lower address goes first"))
        };
    }
    if text.contains('/') {
        let net = text.parse::<Ipv4Net>().map_err(|_| format!("found `{text}`; expected {FORMS}"))?;
        return if net.addr() == net.network() {
            Ok(AddressRange { first: net.network(), last: net.broadcast() })
        } else {
            Err(format!("found `{text}`, which has host bits set; the prefix is {}", net.trunc()))
        };
    }
    let only = address(text)?;
    Ok(AddressRange { first: only, last: only })
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("found `{text}`, which is no IPv4 address; expected {FORMS}"))
}

/// `ranges`, in the order of addresses and apart, without `holes`, which may lie anywhere and overlap.
pub(super) fn cut(ranges: impl Iterator<Item = AddressRange>, holes: &[AddressRange]) -> Vec<AddressRange> {
    let mut holes = holes.to_vec();
    holes.sort_by_key(|hole| hole.first);
    // Apart as well, so that each is looked at once for all ranges.
    holes.dedup_by(|later, first| {
        let touches = later.first <= first.last;
        first.last = if touches { first.last.max(later.last) } else { first.last };
        touches
    });
    let mut holes = holes.into_iter().peekable();
    let mut left = Vec::new();
    for range in ranges {
        // In 64 bits, so that one past 255.255.255.255 is a number.
        let mut next = u64::from(u32::from(range.first));
        let end = u64::from(u32::from(range.last));
        let mut keep = |from: u64, to: u64| {
            if let (Ok(first), Ok(last)) = (u32::try_from(from), u32::try_from(to))
                && from <= to
            {
                left.push(AddressRange { first: first.into(), last: last.into() });
            }
        };
        while let Some(hole) = holes.peek()
            && hole.first <= range.last
        {
            let (first, last) = (u64::from(u32::from(hole.first)), u64::from(u32::from(hole.last)));
            if first > next {
                keep(next, first - 1);
            }
            next = next.max(last + 1);
            if last > end {
                // It reaches into the next range too.
                break;
            }
            holes.next();
        }
        keep(next, end);
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: u32, last: u32) -> AddressRange {
        AddressRange { first: first.into(), last: last.into() }
    }

    #[test]
    fn a_range_is_written_in_three_ways() {
        assert_eq!(parse("192.0.2.10-192.0.2.20"), parse("192.0.2.10 - 192.0.2.20"));
        assert_eq!(parse("192.0.2.7").unwrap().len(), 1);
        assert_eq!(parse("192.0.2.64/26").unwrap().len(), 64);
        assert_eq!(parse("0.0.0.0/0").unwrap().len(), 1 << 32);
    }

    #[test]
    fn a_wrong_range_is_told_with_what_would_be_right() {
        assert!(parse("192.0.2.20-192.0.2.10").unwrap_err().contains("the lower address goes first"));
        assert!(parse("192.0.2.65/26").unwrap_err().contains("the prefix is 192.0.2.64/26"));
        assert!(parse("192.0.2.300").unwrap_err().contains("expected a range as"));
        assert!(parse("").is_err() && parse("-").is_err() && parse("1.2.3.4-").is_err() && parse("/").is_err());
    }

    #[test]
    fn the_last_address_of_all_can_be_cut_out() {
        assert_eq!(
            cut([range(u32::MAX - 1, u32::MAX)].into_iter(), &[range(u32::MAX, u32::MAX)]),
            [range(u32::MAX - 1, u32::MAX - 1)]
        );
    }

    proptest! {
        #[test]
        fn cutting_leaves_exactly_what_is_in_no_hole(
            parts in proptest::collection::vec((1u32..20, 0u32..20), 0..6),
            holes in proptest::collection::vec((0u32..120, 0u32..30), 0..8),
        ) {
            let holes: Vec<_> = holes.into_iter().map(|(first, len)| range(first, first + len)).collect();
            let mut at = 0;
            let ranges: Vec<_> = parts
                .into_iter()
                .map(|(gap, len)| {
                    let first = at + gap;
                    at = first + len;
                    range(first, at)
                })
                .collect();
            let left = cut(ranges.iter().copied(), &holes);
            for n in 0..260 {
                let address = Ipv4Addr::from(n);
                let is_in = |all: &[AddressRange]| all.iter().any(|one| one.contains(address));
                let expected = is_in(&ranges) && !is_in(&holes);
                prop_assert_eq!(left.iter().filter(|r| r.contains(address)).count(), usize::from(expected), "{}", n);
            }
            prop_assert!(left.windows(2).all(|pair| pair[0].last < pair[1].first));
        }
    }
}
