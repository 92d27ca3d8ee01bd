//! Who a client is: a keyed 128-bit fingerprint of its identity within a subnet.

use arrayvec::ArrayVec;
use siphasher::sip128::{Hash128, SipHasher13};

use super::HwAddress;

/// The longest client identifier that the wire can carry; a longer one would be cut.
const MAX_ID: usize = 255;

/// A client's identity within a subnet: its client identifier, else its hardware type and address (RFC 2131 4.2).
///
/// It is a fingerprint of fixed size, so that a slot holds it whole and comparing is one instruction or two. 128 bits under a
/// secret key: among 10 million clients two meet with a probability of about 10^-25, and nobody can choose them to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(pub [u64; 2]);

/// Makes [`ClientKey`]s with one secret; a secret lives as long as its table.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    hasher: SipHasher13,
}

impl KeyHasher {
    /// With a given secret: random in a server, fixed in a test that must repeat.
    pub fn new(secret: [u64; 2]) -> Self {
        Self { hasher: SipHasher13::new_with_keys(secret[0], secret[1]) }
    }

    /// The key of a client of subnet `subnet`; an empty `client_id` means that it sent none.
    pub fn key(&self, subnet: u16, hw: &HwAddress, client_id: &[u8]) -> ClientKey {
        // All in one piece: a hasher that is fed piece by piece spends more on their edges than on hashing.
        let mut bytes: ArrayVec<u8, { 2 + MAX_ID + 1 }> = ArrayVec::new();
        let mut put = |piece: &[u8]| {
            let fits = bytes.try_extend_from_slice(piece);
            debug_assert!(fits.is_ok(), "there is room for the longest");
        };
        put(&subnet.to_le_bytes());
        if client_id.is_empty() {
            put(&[hw.htype, hw.hlen]);
            put(hw.bytes());
            put(&[0]);
        } else {
            put(&client_id[..client_id.len().min(MAX_ID)]);
            put(&[1]);
        }
        let Hash128 { h1, h2 } = self.hasher.hash(&bytes);
        ClientKey([h1, h2])
    }
}
