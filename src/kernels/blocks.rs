//! The process's allocator: the system's, but blocks of a MiB and more are kept for the next of their size, on large pages.
//!
//! A training step asks for the same large arrays again and again. The C library maps and unmaps such blocks each time, and
//! clearing fresh pages takes a seventh of a step and more: under a hypervisor that takes freed pages back, a page that comes
//! again is fetched from it first.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, PoisonError};

/// Bytes from which a block is kept.
const BLOCK: usize = 1 << 20;
/// Bytes kept at most for blocks to come, and how many.
const KEPT: usize = 4 << 30;
const COUNT: usize = 4096;
/// Bytes of zeros up to which a kept block is cleared: of more, often only a part is ever used, and fresh pages take no memory
/// before that.
const ZEROED: usize = 64 << 20;
const LARGE_PAGE: usize = 2 << 20;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Allocator;

/// Blocks that are free, the longest free first.
static FREE: Mutex<Free> = Mutex::new(Free {
    blocks: [NONE; COUNT],
    count: 0,
    bytes: 0,
    spell: 0,
});

struct Free {
    blocks: [Block; COUNT],
    count: usize,
    bytes: usize,
    /// Counts calls of [`return_idle`].
    spell: u32,
}

const NONE: Block = Block {
    start: 0,
    bytes: 0,
    spell: 0,
};

#[derive(Clone, Copy)]
struct Block {
    start: usize,
    /// As mapped.
    bytes: usize,
    /// When it was freed.
    spell: u32,
}

/// Bytes mapped for a block: of eight sizes between a power of two and the next, so that nearly equal ones replace another.
fn mapped(size: usize) -> usize {
    size.next_multiple_of((1 << size.ilog2()) / 8)
}

impl Free {
    fn remove(&mut self, at: usize) -> Block {
        let block = self.blocks[at];
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.bytes -= block.bytes;
        block
    }

    /// A block of so many bytes: of several the one freed last, which the cache may still have.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let all = &self.blocks[..self.count];
        let at = all.iter().rposition(|block| block.bytes == bytes)?;
        Some(self.remove(at).start)
    }

    fn put(&mut self, start: usize, bytes: usize) {
        if bytes > KEPT {
            return unmap(start, bytes);
        }
        if self.count == COUNT {
            self.unmap_first();
        }
        self.blocks[self.count] = Block {
            start,
            bytes,
            spell: self.spell,
        };
        self.count += 1;
        self.bytes += bytes;
        self.keep(KEPT);
    }

    /// Returns the longest free to the system until at most so many bytes are kept.
    fn keep(&mut self, bytes: usize) {
        while self.bytes > bytes {
            self.unmap_first();
        }
    }

    fn unmap_first(&mut self) {
        let block = self.remove(0);
        unmap(block.start, block.bytes);
    }
}

/// Of a block that nobody uses any longer.
fn unmap(start: usize, bytes: usize) {
    // SAFETY: mapped by `map` with this size, and in use by nobody.
    unsafe { libc::munmap(start as *mut libc::c_void, bytes) };
}

fn free() -> std::sync::MutexGuard<'static, Free> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns those to the system that have been free since the call before.
pub(super) fn return_idle() {
    let mut free = free();
    let spell = free.spell;
    while free.count > 0 && free.blocks[0].spell != spell {
        free.unmap_first();
    }
    free.spell = spell.wrapping_add(1);
}

/// A kept block for `size` bytes. Where there is none, what lies idle makes room, so that blocks of other sizes do not add to
/// the most that is ever needed.
fn take(size: usize) -> Option<*mut u8> {
    let bytes = mapped(size);
    let mut free = free();
    if let Some(start) = free.take(bytes) {
        return Some(start as *mut u8);
    }
    let rest = free.bytes.saturating_sub(bytes);
    free.keep(rest);
    None
}

/// Fresh zeros for `size` bytes, which begin on a large page; null where there is no memory.
fn map(size: usize) -> *mut u8 {
    let bytes = mapped(size);
    // SAFETY: new memory, of which the parts before and after the block are returned; advice a system may refuse.
    unsafe {
        let start = libc::mmap(
            std::ptr::null_mut(),
            bytes + LARGE_PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if start == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        let before = start.align_offset(LARGE_PAGE);
        let block = start.add(before);
        if before > 0 {
            libc::munmap(start, before);
        }
        libc::munmap(block.add(bytes), LARGE_PAGE - before);
        // Of a large page that is not filled, the rest would take memory for nothing.
        libc::madvise(block, size / LARGE_PAGE * LARGE_PAGE, libc::MADV_HUGEPAGE);
        block.cast()
    }
}

/// Whether a block is one of these.
fn is_kept(layout: Layout) -> bool {
    layout.size() >= BLOCK && layout.align() <= LARGE_PAGE
}

// SAFETY: a block is what the system's allocator gives, or memory mapped for it alone, at least as large and as aligned as
// asked; which of both a layout says.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_kept(layout) {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc(layout) };
        }
        match take(layout.size()) {
            Some(start) => start,
            None => map(layout.size()),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_kept(layout) {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc_zeroed(layout) };
        }
        let size = layout.size();
        let Some(start) = take(size) else {
            return map(size);
        };
        // SAFETY: a block of at least this size, which nobody else has, of whole pages as it was mapped.
        unsafe {
            if size > ZEROED && libc::madvise(start.cast(), mapped(size), libc::MADV_DONTNEED) == 0
            {
                return start;
            }
            start.write_bytes(0, size);
        }
        start
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if !is_kept(layout) {
            // SAFETY: as the caller promises.
            return unsafe { System.dealloc(start, layout) };
        }
        free().put(start as usize, mapped(layout.size()));
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: of the layout's alignment, and no larger than the caller promises.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_kept(layout), is_kept(new)) {
            // SAFETY: as the caller promises.
            (false, false) => unsafe { System.realloc(start, layout, size) },
            (true, true) if mapped(layout.size()) == mapped(size) => start,
            // SAFETY: both blocks are as large as what is copied, and the old one is the caller's to give.
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(start, layout.size().min(size));
                    self.dealloc(start, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_what_was_put_in_them_whatever_size_they_take() {
        let mut numbers: Vec<u32> = Vec::new();
        for step in 1..9 {
            let len = step * BLOCK / 8 + step;
            let before = numbers.len() as u32;
            numbers.extend(before..len as u32);
            numbers.shrink_to_fit();
            assert!(numbers.iter().copied().eq(0..len as u32));
        }
        for step in (1..8).rev() {
            numbers.truncate(step * BLOCK / 8);
            numbers.shrink_to_fit();
            assert!(numbers.iter().copied().eq(0..numbers.len() as u32));
        }
    }

    #[test]
    fn zeros_are_zeros_where_others_have_written() {
        for size in [BLOCK, 3 * BLOCK + 5, ZEROED, ZEROED + 1] {
            drop(vec![7_u8; size]);
            let zeros = vec![0_u8; size];
            assert!(zeros.iter().all(|byte| *byte == 0), "{size}");
            assert!((zeros.as_ptr() as usize).is_multiple_of(LARGE_PAGE));
        }
    }

    #[test]
    fn nearly_equal_sizes_share_blocks_and_little_is_kept() {
        assert_eq!(mapped(8 << 20), 8 << 20);
        assert_eq!(mapped((8 << 20) + 1), 9 << 20);
        assert_eq!(mapped((15 << 20) + 1), 16 << 20);
        let all: Vec<Vec<u8>> = (0..9)
            .map(|at| Vec::with_capacity((at + 1) << 20))
            .collect();
        drop(all);
        assert!(free().bytes <= KEPT);
    }

    #[test]
    fn memory_that_does_not_exist_is_refused() {
        let mut bytes: Vec<u8> = Vec::new();
        assert!(bytes.try_reserve_exact(1 << 60).is_err());
        bytes.push(1);
        assert_eq!(bytes, [1]);
    }
}
