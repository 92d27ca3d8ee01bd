//! A set of addresses that stays small however many there are.

use std::collections::BTreeMap;

use crate::lease::SpacedAddress;

/// Words of 64 bits for the addresses of a /16.
const WORDS: usize = 1024;

/// A set of addresses: a bit each, for every /16 of an address space that there is one of. At most 512 MiB a space, for all of
/// its addresses.
#[derive(Default)]
pub struct Addresses {
    blocks: BTreeMap<u32, Box<[u64; WORDS]>>,
}

impl Addresses {
    /// Adds an address; whether it is new.
    pub fn insert(&mut self, at: impl Into<SpacedAddress>) -> bool {
        let number = at.into().number();
        // Of 48 bits.
        let block = self.blocks.entry((number >> 16) as u32).or_insert_with(|| Box::new([0; WORDS]));
        let word = &mut block[usize::from(number as u16 >> 6)];
        let bit = 1 << (number & 63);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether an address is there.
    pub fn contains(&self, at: impl Into<SpacedAddress>) -> bool {
        let number = at.into().number();
        let block = self.blocks.get(&((number >> 16) as u32));
        block.is_some_and(|block| block[usize::from(number as u16 >> 6)] >> (number & 63) & 1 == 1)
    }

    /// How many there are of each /16 that there are any of, ascending: the upper bits of its addresses'
    /// [numbers](SpacedAddress::number).
    pub fn counts(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.blocks.iter().map(|(block, words)| (*block, words.iter().map(|word| word.count_ones()).sum()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::lease::Space;

    #[test]
    fn each_address_is_new_once() {
        let mut set = Addresses::default();
        for text in ["10.0.0.0", "10.0.255.255", "10.1.0.0", "255.255.255.255", "0.0.0.0"] {
            assert!(set.insert(text.parse::<Ipv4Addr>().unwrap()), "{text}");
        }
        assert!(set.insert(SpacedAddress::new(Space(2), Ipv4Addr::new(10, 0, 0, 0))), "in another space");
        assert!(!set.insert(Ipv4Addr::new(10, 0, 255, 255)));
        let is_there = |address: Ipv4Addr| (set.contains(address), set.contains(SpacedAddress::new(Space(2), address)));
        assert_eq!(is_there(Ipv4Addr::new(10, 0, 0, 0)), (true, true));
        assert_eq!(is_there(Ipv4Addr::new(10, 0, 255, 255)), (true, false));
        assert_eq!(is_there(Ipv4Addr::new(10, 0, 255, 254)), (false, false));
        assert_eq!(set.counts().collect::<Vec<_>>(), [(0, 1), (0x0a00, 2), (0x0a01, 1), (0xffff, 1), (0x2_0a00, 1)]);
    }
}
