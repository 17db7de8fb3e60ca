//! Whom the system lets run first.

/// Puts the calling thread behind those that answer requests, for good: it takes a tenth of a processor they want, and
/// all of one they leave. For threads that end with their work. Where the system knows no such thing, nothing happens.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    // SAFETY: `gettid` and `setpriority` take numbers only. On Linux the priority is the thread's own, and lowering it is
    // always allowed.
    unsafe {
        const NICE: libc::c_int = 10;
        let thread = libc::gettid() as libc::id_t;
        libc::setpriority(libc::PRIO_PROCESS, thread, NICE);
    }
}
