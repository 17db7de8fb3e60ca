//! The process-wide settings that computing wants: who keeps freed memory, and who starts threads.

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

/// Keeps candle from starting threads of its own, which would spin beside those of [`super::pool`] and know no classes.
/// For the first line of a program: once there are other threads it does nothing and says `false`.
pub fn claim_threads() -> bool {
    const NAME: &str = "CANDLE_NUM_THREADS";
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone && std::env::var_os(NAME).is_none() {
        // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(NAME, "1") };
    }
    alone
}
