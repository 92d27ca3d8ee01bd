//! The table's memory: taken at start, on huge pages where the kernel has them.
//!
//! A table of millions is read at random places, so that with pages of 4 KiB nearly each look at a slot would also miss the
//! TLB and walk page tables that are in no cache either.

use super::sync::AtomicU64;
use crate::xsk::advise_huge_pages;

/// `len` elements, each written now: all of it is resident, and nothing is left to be faulted in while packets wait.
pub(super) fn resident<T>(len: usize, element: impl FnMut() -> T) -> Box<[T]> {
    let mut memory = Vec::with_capacity(len);
    advise_huge_pages(memory.spare_capacity_mut());
    memory.extend(std::iter::repeat_with(element).take(len));
    memory.into_boxed_slice()
}

/// `len` elements of zeros that become resident when they are first written.
pub(super) fn reserved<const WORDS: usize>(len: usize) -> Box<[[AtomicU64; WORDS]]> {
    bytemuck::zeroed_slice_box(len)
}
