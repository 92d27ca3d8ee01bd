//! Who a client is: its MAC address and transaction identifiers, from the seed and its index alone.
//!
//! Nothing of it is stored: ten million clients cost no memory for their names, a reply finds its client by arithmetic, and
//! the same seed sends the same.

/// Most clients of a run.
pub const MAX_CLIENTS: u32 = 10_000_000;

/// Bits of a MAC address that tell the clients of a run apart.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const _: () = assert!(MAX_CLIENTS <= INDEX_MASK);

/// First octet of an attacker's MAC address: locally administered too.
const FOREIGN: u8 = 0x06;

/// The names of the clients of one run.
///
/// A MAC address is locally administered (first octet 02), two octets of the seed, and 24 bits that are the index under a
/// permutation that the seed chooses: clients that start one after the other have addresses far apart, as a network has.
#[derive(Clone, Debug)]
pub struct Identities {
    seed: u64,
    clients: u32,
    prefix: [u8; 3],
    multiplier: u32,
    inverse: u32,
    offset: u32,
}

impl Identities {
    /// The names of `clients` clients, at most [`MAX_CLIENTS`].
    pub fn new(seed: u64, clients: u32) -> Self {
        let a = mix(seed);
        let b = mix(a);
        // Odd, so that it has an inverse modulo a power of two.
        let multiplier = (b as u32 & INDEX_MASK) | 1;
        let [high, low, ..] = a.to_be_bytes();
        Self {
            seed: a,
            clients: clients.min(MAX_CLIENTS),
            prefix: [0x02, high, low],
            multiplier,
            inverse: inverse_of(multiplier),
            offset: (b >> 32) as u32 & INDEX_MASK,
        }
    }

    /// How many clients there are.
    pub fn count(&self) -> u32 {
        self.clients
    }

    /// The MAC address of a client.
    #[inline]
    pub fn mac(&self, index: u32) -> [u8; 6] {
        let [_, x, y, z] = (index.wrapping_mul(self.multiplier).wrapping_add(self.offset) & INDEX_MASK).to_be_bytes();
        let [a, b, c] = self.prefix;
        [a, b, c, x, y, z]
    }

    /// The MAC address of an attacker's identity number `n`, which is no client's: they begin anew after 2^24.
    #[inline]
    pub fn foreign_mac(&self, n: u32) -> [u8; 6] {
        let [_, x, y, z] = (n.wrapping_mul(self.multiplier).wrapping_add(self.offset) & INDEX_MASK).to_be_bytes();
        let [_, b, c] = self.prefix;
        [FOREIGN, b, c, x, y, z]
    }

    /// Whether this is an attacker's MAC address.
    #[inline]
    pub fn is_foreign(&self, mac: [u8; 6]) -> bool {
        mac[..3] == [FOREIGN, self.prefix[1], self.prefix[2]]
    }

    /// The client with this MAC address, if it is one of ours.
    #[inline]
    pub fn index_of(&self, mac: [u8; 6]) -> Option<u32> {
        let [a, b, c, x, y, z] = mac;
        if [a, b, c] != self.prefix {
            return None;
        }
        let scrambled = u32::from_be_bytes([0, x, y, z]);
        let index = scrambled.wrapping_sub(self.offset).wrapping_mul(self.inverse) & INDEX_MASK;
        (index < self.clients).then_some(index)
    }

    /// The transaction identifier of a client's exchange number `round`.
    #[inline]
    pub fn xid(&self, index: u32, round: u32) -> u32 {
        (mix(self.seed ^ (u64::from(round) << 32 | u64::from(index))) >> 32) as u32
    }

    /// 32 bits of chance for the start number `n`, for one of several purposes.
    #[inline]
    pub fn chance_of(&self, n: u64, purpose: u8) -> u32 {
        (mix(self.seed ^ n ^ u64::from(purpose) << 48) >> 16) as u32
    }

    /// 32 bits of chance for a client's transmission number `attempt`, the same for the same seed.
    #[inline]
    pub fn chance(&self, index: u32, round: u32, attempt: u8) -> u32 {
        mix(self.seed ^ (u64::from(round) << 32 | u64::from(index)) ^ (u64::from(attempt) + 1) << 56) as u32
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of the value.
#[inline]
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The inverse of an odd number modulo 2^24, by Newton's iteration: each step doubles the bits that are right.
fn inverse_of(odd: u32) -> u32 {
    let mut inverse = odd;
    for _ in 0..4 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    inverse & INDEX_MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_mac_leads_back_to_its_client_for_any_seed() {
        for seed in [0, 1, 2, 77, u64::MAX] {
            let names = Identities::new(seed, MAX_CLIENTS);
            for index in (0..MAX_CLIENTS).step_by(9_973).chain([MAX_CLIENTS - 1]) {
                assert_eq!(names.index_of(names.mac(index)), Some(index), "seed {seed}");
            }
        }
    }

    #[test]
    fn macs_are_unique_unicast_and_locally_administered() {
        let names = Identities::new(5, 50_000);
        let macs: HashSet<_> = (0..50_000).map(|i| names.mac(i)).collect();
        assert_eq!(macs.len(), 50_000);
        assert!(macs.iter().all(|mac| mac[0] & 0x03 == 0x02));
    }

    #[test]
    fn a_foreign_mac_is_nobody() {
        let names = Identities::new(5, 10);
        assert_eq!(names.index_of([0x00, 0x11, 0x22, 0x33, 0x44, 0x55]), None);
        let beyond = Identities::new(5, 11).mac(10);
        assert_eq!(names.index_of(beyond), None, "an index past the last client");
    }

    #[test]
    fn an_attacker_is_no_client() {
        let names = Identities::new(5, MAX_CLIENTS);
        for n in 0..1000 {
            let mac = names.foreign_mac(n);
            assert!(names.is_foreign(mac) && names.index_of(mac).is_none());
            assert!(!names.is_foreign(names.mac(n)));
        }
    }

    #[test]
    fn the_seed_changes_macs_and_transactions() {
        let (a, b) = (Identities::new(1, 10), Identities::new(2, 10));
        assert_ne!(a.mac(3), b.mac(3));
        assert_ne!(a.xid(3, 0), b.xid(3, 0));
        assert_ne!(a.xid(3, 0), a.xid(3, 1));
        assert_ne!(a.xid(3, 0), a.xid(4, 0));
        assert_eq!(a.xid(3, 0), Identities::new(1, 10).xid(3, 0));
    }
}
