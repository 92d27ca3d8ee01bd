//! Which slots are free, as bits with bits over them: finds the next free one in a few looks, however few there are.

use super::{
    memory,
    sync::{AtomicU64, Ordering},
};

/// A bit a slot, and above each level one with a bit for each of its words, up to a level of one word.
///
/// A slot's bit is changed only by who holds the slot, so at rest it is what the slot is. A bit above is set by who sets one
/// below it, and cleared by who clears the last one there and then looks once more: one of the two sees the other.
#[derive(Debug)]
pub(super) struct FreeMap {
    levels: Vec<Box<[AtomicU64]>>,
}

impl FreeMap {
    /// All of these slots are free.
    pub fn new(slots: usize) -> Self {
        let (mut bits, mut levels) = (slots, Vec::new());
        loop {
            let words = bits.div_ceil(64).max(1);
            let mut left = bits;
            levels.push(memory::resident(words, || {
                let here = left.min(64);
                left -= here;
                AtomicU64::new(if here == 64 { u64::MAX } else { (1 << here) - 1 })
            }));
            if words == 1 {
                return Self { levels };
            }
            bits = words;
        }
    }

    /// The slot is free now. The caller holds it.
    pub fn set(&self, slot: u32) {
        self.set_from(0, slot as usize);
    }

    fn set_from(&self, level: usize, mut bit: usize) {
        for words in &self.levels[level..] {
            let (word, mask) = (&words[bit / 64], 1 << (bit % 64));
            if word.load(Ordering::SeqCst) & mask == 0 {
                word.fetch_or(mask, Ordering::SeqCst);
            }
            bit /= 64;
        }
    }

    /// The slot is in use now. The caller holds it.
    pub fn clear(&self, slot: u32) {
        let mut bit = slot as usize;
        for level in 0..self.levels.len() {
            let (word, mask) = (&self.levels[level][bit / 64], 1u64 << (bit % 64));
            let left = word.fetch_and(!mask, Ordering::SeqCst) & !mask;
            if level > 0 && self.levels[level - 1][bit].load(Ordering::SeqCst) != 0 {
                // Somebody set one below, and may have found this one set still.
                self.set_from(level, bit);
                return;
            }
            if left != 0 {
                return;
            }
            bit /= 64;
        }
    }

    /// The first free slot from this one on. It may be in use by the time that the caller looks at it.
    pub fn next(&self, from: u32) -> Option<u32> {
        let mut at = from as usize;
        let mut level = 0;
        loop {
            let word = self.levels.get(level)?.get(at / 64).map_or(0, |word| word.load(Ordering::SeqCst));
            let found = word & u64::MAX << (at % 64);
            if found == 0 {
                // Nothing further on in this word: look above for the next one that has something.
                at = at / 64 + 1;
                level += 1;
            } else {
                at = at / 64 * 64 + found.trailing_zeros() as usize;
                if level == 0 {
                    return u32::try_from(at).ok();
                }
                at *= 64;
                level -= 1;
            }
        }
    }
}
