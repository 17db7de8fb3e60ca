//! How freed memory is kept.

use std::sync::Once;

/// Lets the allocator keep what forwards and backwards free, instead of returning it to the system and asking again: the
/// same sizes come back step after step, and fresh pages cost more than the arithmetic on them.
pub(super) fn keep_freed_pages() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: mallopt only sets two parameters of the C library's allocator, under its own lock.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
        }
    });
}
