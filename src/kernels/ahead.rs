//! Asking for weights before they are needed. A processor's own prefetching stops at each 4 KiB, and falls behind a loop
//! that multiplies each weight with several rows: the loop would compute and wait in turns.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::memory::CACHE_LINE;

/// Asks for `count` values, `bytes` after those at `at`: lines of the cache from there on. The address may lie outside of
/// everything, for asking never fails.
#[inline(always)]
pub(super) fn ask_for<T>(at: *const T, bytes: usize, count: usize) {
    let start = at.cast::<i8>().wrapping_add(bytes);
    for line in (0..count * size_of::<T>()).step_by(CACHE_LINE) {
        let line = start.wrapping_add(line);
        // SAFETY: a hint; it reads nothing.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line)
        };
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}
