//! Which of several servers answers a client: the hash of RFC 3074, which all of them compute alike.

use super::Request;
use crate::{config::LoadBalance, wire::dhcp::MessageType};

/// Pearson's mixing table, as RFC 3074 6 has it.
#[rustfmt::skip]
const MIX: [u8; 256] = [
    251, 175, 119, 215, 81, 14, 79, 191, 103, 49, 181, 143, 186, 157, 0, 232,
    31, 32, 55, 60, 152, 58, 17, 237, 174, 70, 160, 144, 220, 90, 57, 223,
    59, 3, 18, 140, 111, 166, 203, 196, 134, 243, 124, 95, 222, 179, 197, 65,
    180, 48, 36, 15, 107, 46, 233, 130, 165, 30, 123, 161, 209, 23, 97, 16,
    40, 91, 219, 61, 100, 10, 210, 109, 250, 127, 22, 138, 29, 108, 244, 67,
    207, 9, 178, 204, 74, 98, 126, 249, 167, 116, 34, 77, 193, 200, 121, 5,
    20, 113, 71, 35, 128, 13, 182, 94, 25, 226, 227, 199, 75, 27, 41, 245,
    230, 224, 43, 225, 177, 26, 155, 150, 212, 142, 218, 115, 241, 73, 88, 105,
    39, 114, 62, 255, 192, 201, 145, 214, 168, 158, 221, 148, 154, 122, 12, 84,
    82, 163, 44, 139, 228, 236, 205, 242, 217, 11, 187, 146, 159, 64, 86, 239,
    195, 42, 106, 198, 118, 112, 184, 172, 87, 2, 173, 117, 176, 229, 247, 253,
    137, 185, 99, 164, 102, 147, 45, 66, 231, 52, 141, 211, 194, 206, 246, 238,
    56, 110, 78, 248, 63, 240, 189, 93, 92, 51, 53, 183, 19, 171, 72, 50,
    33, 104, 101, 69, 8, 252, 83, 120, 76, 135, 85, 54, 202, 125, 188, 213,
    96, 235, 136, 208, 162, 129, 190, 132, 156, 38, 47, 1, 7, 254, 24, 4,
    216, 131, 89, 21, 28, 133, 37, 153, 149, 80, 170, 68, 6, 169, 234, 151,
];

/// The bucket of a service transaction identifier.
fn bucket(id: &[u8]) -> u8 {
    id.iter().rev().fold(id.len() as u8, |hash, byte| MIX[usize::from(hash ^ byte)])
}

/// Whether this server is to answer a request: it is in a bucket of ours, or names its server, or has waited long (RFC 3074 4 and 5).
pub(super) fn is_ours(request: &Request<'_>, balance: &LoadBalance) -> bool {
    let names_its_server = request.server_id.is_some()
        || !request.is_relayed() && !request.destination.is_broadcast()
        || !matches!(request.message_type, MessageType::Discover | MessageType::Request | MessageType::Bootp);
    let id = request.client_id.unwrap_or(request.hw.bytes());
    names_its_server || request.secs > balance.after_secs || balance.buckets.contains(bucket(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixing_table_is_a_permutation() {
        let mut sorted = MIX;
        sorted.sort_unstable();
        assert!(sorted.iter().enumerate().all(|(i, &value)| i == usize::from(value)));
    }

    #[test]
    fn the_hash_begins_with_the_length_and_goes_from_the_last_byte_to_the_first() {
        assert_eq!(bucket(&[]), 0);
        assert_eq!(bucket(&[1]), MIX[0]);
        assert_eq!(bucket(&[7, 2]), MIX[usize::from(MIX[0] ^ 7)]);
    }

    #[test]
    fn other_servers_find_the_same_buckets() {
        // With the tables in the programs of ISC dhcpd 4.4.3 and Kea 2.2, which are alike.
        assert_eq!(bucket(&[2, 0, 0, 0, 0, 1]), 133);
        assert_eq!(bucket(&[0x00, 0x16, 0x3e, 0x12, 0x34, 0x56]), 113);
        assert_eq!(bucket(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]), 237);
        assert_eq!(bucket(b"client-0001"), 219);
        // Each entry of the table, at its place.
        let weighed =
            |weight: fn(u32) -> u32| (0..=255).map(|n| weight(n) * u32::from(bucket(&[n as u8]))).sum::<u32>();
        assert_eq!((weighed(|n| n), weighed(|n| n * n)), (4182466, 704208678));
    }

    #[test]
    fn clients_spread_evenly_over_the_buckets() {
        let mut counts = [0; 256];
        for n in 0..25_600u32 {
            let [_, a, b, c] = n.to_be_bytes();
            counts[usize::from(bucket(&[2, 0, 0, a, b, c]))] += 1;
        }
        assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
    }
}
