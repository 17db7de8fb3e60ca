//! Asking for weights before they are needed. A processor fetches what is read in order by itself, but not far enough for
//! a loop that multiplies each weight with several rows, and never across 4 KiB: it would compute and wait in turns.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Bytes in advance for kernels that take several values of a weight at a time.
pub(super) const FAR: usize = 8 << 10;
const CACHE_LINE: usize = 64;

/// Asks for `count` values, `bytes` after those at `at`. The address may lie outside of everything: asking never fails.
#[inline(always)]
pub(super) fn ask_for<T>(at: *const T, bytes: usize, count: usize) {
    let start = at.cast::<i8>().wrapping_add(bytes);
    for line in (0..count * size_of::<T>()).step_by(CACHE_LINE) {
        // SAFETY: a hint; it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line)) };
    }
}
