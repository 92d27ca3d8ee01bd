//! Which worker a client's frames go to.

/// Hash of the `chaddr` field, all 16 bytes of it, for choosing a worker.
///
/// A multiplicative mix (the golden-ratio multiplier of Fibonacci hashing) of the two halves: two multiplications, no loop,
/// so that it costs the verifier and the packet next to nothing. It need not resist an attacker: the worst a chosen
/// `chaddr` does is to load one worker, and correctness never depends on steering.
#[inline(always)]
pub fn steering_hash(chaddr: &[u8; 16]) -> u32 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *chaddr;
    let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let high = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    let mixed = (low ^ high.rotate_left(32)).wrapping_mul(GOLDEN);
    let folded = (mixed ^ (mixed >> 32)).wrapping_mul(GOLDEN);
    (folded >> 32) as u32
}

/// The worker, from 0 to `workers - 1`, that a hash belongs to: a multiply and a shift in place of a division.
#[inline(always)]
pub fn worker_of(hash: u32, workers: u32) -> u32 {
    ((hash as u64 * workers as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_macs_spread_evenly_over_workers() {
        for workers in [2u32, 3, 4, 8] {
            let mut counts = [0u32; 8];
            for n in 0u32..80_000 {
                let mut chaddr = [0u8; 16];
                chaddr[0] = 0x02;
                chaddr[2..6].copy_from_slice(&n.to_be_bytes());
                counts[worker_of(steering_hash(&chaddr), workers) as usize] += 1;
            }
            let fair = 80_000 / workers;
            for &count in &counts[..workers as usize] {
                assert!(count.abs_diff(fair) < fair / 20, "{workers} workers: {counts:?}");
            }
        }
    }

    #[test]
    fn a_worker_is_always_in_range() {
        for hash in [0, 1, u32::MAX / 2, u32::MAX] {
            for workers in 1..=64 {
                assert!(worker_of(hash, workers) < workers);
            }
        }
    }
}
