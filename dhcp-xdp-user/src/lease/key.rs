//! Who a client is: a keyed 128-bit fingerprint of its identity within a subnet.

use std::hash::Hasher as _;

use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};

use super::HwAddress;

/// A client's identity within a subnet: its client identifier, else its hardware type and address (RFC 2131 4.2).
///
/// It is a fingerprint of fixed size, so that a slot holds it whole and comparing is one instruction or two. 128 bits under a
/// secret key: among 10 million clients two meet with a probability of about 10^-25, and nobody can choose them to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(pub [u64; 2]);

/// Makes [`ClientKey`]s with one secret; a secret lives as long as its table.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    secret: [u64; 2],
}

impl KeyHasher {
    /// With a given secret: random in a server, fixed in a test that must repeat.
    pub fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    /// The key of a client of subnet `subnet`; an empty `client_id` means that it sent none.
    pub fn key(&self, subnet: u16, hw: &HwAddress, client_id: &[u8]) -> ClientKey {
        let mut hasher = SipHasher13::new_with_keys(self.secret[0], self.secret[1]);
        let mut head = [0u8; 20];
        head[..2].copy_from_slice(&subnet.to_le_bytes());
        if client_id.is_empty() {
            head[2] = hw.htype;
            head[3] = hw.hlen;
            let bytes = hw.bytes();
            head[4..4 + bytes.len()].copy_from_slice(bytes);
            hasher.write(&head[..4 + bytes.len()]);
            hasher.write_u8(0);
        } else {
            hasher.write(&head[..2]);
            hasher.write(client_id);
            hasher.write_u8(1);
        }
        let Hash128 { h1, h2 } = hasher.finish128();
        ClientKey([h1, h2])
    }
}
