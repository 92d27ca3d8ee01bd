//! Advice to the kernel about memory: here because it takes an `unsafe` call, not because it has to do with packets.

use std::{mem::MaybeUninit, ptr::NonNull};

/// Smallest memory that is worth asking for: a huge page is 2 MiB on x86-64 and on most others.
const HUGE: usize = 2 << 20;
/// The advice must begin at a page's begin; no page that Linux runs on DHCP servers with is larger.
const PAGE: usize = 64 << 10;

/// Asks for huge pages behind memory that was not written yet. It is advice: a kernel without them, or with
/// `transparent_hugepage/enabled` at `never`, goes on with small ones (`madvise(2)`, `MADV_HUGEPAGE`).
pub fn advise_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    let len = size_of_val(memory);
    let start = NonNull::from(memory).cast::<u8>();
    let skip = start.as_ptr().align_offset(PAGE);
    if len < HUGE + PAGE || skip > len {
        return;
    }
    let len = (len - skip) / PAGE * PAGE;
    // SAFETY: `skip` bytes on and `len` from there lie within `memory`.
    let start = unsafe { start.add(skip) };
    // SAFETY: the range is the caller's own memory, mapped by the allocator, and `MADV_HUGEPAGE` changes nothing in what is
    // read from it or written to it. A refusal (no such advice in this kernel) changes nothing either.
    let _ = unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advised_memory_holds_what_is_written_to_it() {
        for len in [0, 1, 1 << 10, 1 << 20] {
            let mut memory: Vec<u64> = Vec::with_capacity(len);
            advise_huge_pages(memory.spare_capacity_mut());
            memory.extend(0..len as u64);
            assert!(memory.iter().copied().eq(0..len as u64));
        }
    }
}
