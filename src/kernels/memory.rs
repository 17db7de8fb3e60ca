//! What computing needs of memory and of the process: large pages for weights, freed memory that stays with the
//! allocator, and no threads of other libraries.

use std::alloc::{self, Layout};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Once;

/// Bytes of a large page on x86-64 and most arm64 systems.
const LARGE_PAGE: usize = 2 << 20;
pub(super) const CACHE_LINE: usize = 64;

/// An array that begins on a cache line, and on large pages where it fills one. A product reads every weight once, in
/// order: with small pages, looking up addresses and the prefetcher's stop at each page's end cost a quarter of the
/// bandwidth.
pub(super) struct Large<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its values, as a Vec does.
unsafe impl<T: Send> Send for Large<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Large<T> {}

impl<T: bytemuck::Zeroable + Copy> Large<T> {
    /// All zero.
    pub fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        if layout.size() == 0 {
            return Self {
                start: NonNull::dangling(),
                len,
            };
        }
        // SAFETY: the layout has a size.
        let start = unsafe { alloc::alloc(layout) };
        let Some(start) = NonNull::new(start.cast::<T>()) else {
            alloc::handle_alloc_error(layout)
        };
        if layout.align() == LARGE_PAGE {
            // Pages take their size when they are first written, so this comes before.
            #[cfg(target_os = "linux")]
            // SAFETY: advice on memory of our own. A system without large pages refuses it, and nothing is lost.
            unsafe {
                libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE);
            }
        }
        let page = LARGE_PAGE / size_of::<T>().max(1);
        for first in (0..len).step_by(page.max(1)) {
            // SAFETY: these values lie within the `len` there is room for, and all bits zero is a value.
            unsafe {
                let part = start.as_ptr().add(first);
                part.write_bytes(0, page.max(1).min(len - first));
            }
            // The system clears fresh pages, which is long enough to matter to others.
            super::pool::give_way();
        }
        Self { start, len }
    }
}

impl<T> Large<T> {
    fn layout(len: usize) -> Layout {
        let size = len.saturating_mul(size_of::<T>());
        let align = if size < LARGE_PAGE {
            CACHE_LINE
        } else {
            LARGE_PAGE
        };
        match Layout::from_size_align(size, align.max(align_of::<T>())) {
            Ok(layout) => layout,
            Err(_) => panic!("an array of {size} bytes"),
        }
    }
}

impl<T> Drop for Large<T> {
    fn drop(&mut self) {
        let layout = Self::layout(self.len);
        if layout.size() > 0 {
            // SAFETY: allocated with this layout; the values are `Copy`, so nothing else is to be dropped.
            unsafe { alloc::dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

impl<T> Deref for Large<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values from `start`, all written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Large<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// A zeroed array like [`Large`], of which only what is used takes memory.
pub(super) struct Lazy<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: bytemuck::Zeroable + Copy> Lazy<T> {
    pub fn zeroed(len: usize) -> Self {
        let align = Large::<T>::layout(len).align();
        let memory = vec![T::zeroed(); len + align / size_of::<T>().max(1)];
        let start = memory.as_ptr().align_offset(align).min(memory.len() - len);
        #[cfg(target_os = "linux")]
        if align == LARGE_PAGE {
            // SAFETY: whole pages of our own memory, which hold zeros and are zeros again when they are first read.
            unsafe {
                let size = len * size_of::<T>() / LARGE_PAGE * LARGE_PAGE;
                let start = memory.as_ptr().add(start).cast_mut();
                libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE);
                // The allocator may have cleared a block that was used before.
                libc::madvise(start.cast(), size, libc::MADV_DONTNEED);
            }
        }
        Self { memory, start, len }
    }
}

impl<T> Deref for Lazy<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Lazy<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

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

/// Returns freed pages to the system, also those between pages in use. Adapters that come and go beside small allocations
/// that stay leave more and more free pages, which the allocator gives back by itself only from its end. Takes
/// milliseconds, during which other threads' allocations may wait.
pub fn return_freed_pages() {
    #[cfg(target_os = "linux")]
    super::blocks::return_idle();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the C library's allocator gives back pages of its own that hold nothing, under its own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes of freed memory that are kept for what comes: this process holds them, but they are there for whoever asks.
pub fn kept_bytes() -> u64 {
    #[cfg(target_os = "linux")]
    return super::blocks::kept() as u64;
    #[cfg(not(target_os = "linux"))]
    0
}

/// Returns all of [`kept_bytes`] to the system. What comes next fetches its pages anew.
pub fn return_kept() {
    #[cfg(target_os = "linux")]
    super::blocks::return_all();
}

/// Keeps candle from starting threads of its own, which would spin beside those of [`super::pool`] and know no classes.
/// For the first line of a program: once there are other threads it does nothing and says `false`.
pub fn claim_threads() -> bool {
    const NAME: &str = "CANDLE_NUM_THREADS";
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone && std::env::var_os(NAME).is_none() {
        // SAFETY: this is the only thread, so no other reads the environment meanwhile.
        unsafe { std::env::set_var(NAME, "1") };
    }
    alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_zero_aligned_and_of_its_length() {
        for len in [0, 1, 1000, LARGE_PAGE / 8 + 3] {
            let mut array = Large::<u64>::zeroed(len);
            assert_eq!(array.len(), len);
            assert!(array.iter().all(|value| *value == 0));
            let align = if len * 8 < LARGE_PAGE {
                CACHE_LINE
            } else {
                LARGE_PAGE
            };
            assert!(len == 0 || (array.as_ptr() as usize).is_multiple_of(align));
            if let Some(last) = array.last_mut() {
                *last = 7;
            }
            assert_eq!(array.iter().sum::<u64>(), if len == 0 { 0 } else { 7 });
        }
    }
}
