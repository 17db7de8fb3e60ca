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
static FREE: Mutex<Free> = Mutex::new(Free::NONE);

struct Free {
    blocks: [Block; COUNT],
    count: usize,
    bytes: usize,
    /// Counts calls of [`return_idle`].
    spell: u32,
}

/// Memory that was mapped, and that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    const NONE: Self = Self {
        blocks: [Block {
            start: 0,
            bytes: 0,
            spell: 0,
        }; COUNT],
        count: 0,
        bytes: 0,
        spell: 0,
    };

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

    /// Keeps a block; says `false` where there is no place.
    fn put(&mut self, start: usize, bytes: usize) -> bool {
        if self.count == COUNT {
            return false;
        }
        self.blocks[self.count] = Block {
            start,
            bytes,
            spell: self.spell,
        };
        self.count += 1;
        self.bytes += bytes;
        true
    }

    /// The longest free, where more bytes than these are kept.
    fn beyond(&mut self, bytes: usize) -> Option<Block> {
        (self.bytes > bytes).then(|| self.remove(0))
    }

    /// The longest free, where it was freed before this spell.
    fn idle_before(&mut self, spell: u32) -> Option<Block> {
        let idle = self.count > 0 && self.blocks[0].spell != spell;
        idle.then(|| self.remove(0))
    }
}

/// Returns blocks to the system, as long as there are. Other threads may allocate meanwhile.
fn unmap_all(mut next: impl FnMut(&mut Free) -> Option<Block>) {
    loop {
        let block = next(&mut free());
        let Some(block) = block else {
            return;
        };
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

/// Bytes kept for blocks to come.
pub(super) fn kept() -> usize {
    free().bytes
}

/// Returns all kept blocks to the system.
pub(super) fn return_all() {
    unmap_all(|free| free.beyond(0));
}

/// Returns those to the system that have been free since the call before.
pub(super) fn return_idle() {
    let spell = free().spell;
    unmap_all(|free| free.idle_before(spell));
    free().spell = spell.wrapping_add(1);
}

/// A kept block for `size` bytes. Where there is none, what lies idle makes room, so that blocks of other sizes do not add to
/// the most that is ever needed.
fn take(size: usize) -> Option<*mut u8> {
    let bytes = mapped(size);
    let rest = {
        let mut free = free();
        if let Some(start) = free.take(bytes) {
            return Some(start as *mut u8);
        }
        free.bytes.saturating_sub(bytes)
    };
    unmap_all(|free| free.beyond(rest));
    None
}

fn put(start: usize, bytes: usize) {
    // One that is larger than all that is kept would only drive the others out.
    if bytes <= KEPT && free().put(start, bytes) {
        unmap_all(|free| free.beyond(KEPT));
    } else {
        unmap(start, bytes);
    }
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
        put(start as usize, mapped(layout.size()));
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
    fn nearly_equal_sizes_share_blocks() {
        assert_eq!(mapped(8 << 20), 8 << 20);
        assert_eq!(mapped((8 << 20) + 1), 9 << 20);
        assert_eq!(mapped((15 << 20) + 1), 16 << 20);
    }

    fn free_blocks(blocks: &[(usize, usize)]) -> Box<Free> {
        let mut free = Box::new(Free::NONE);
        for (start, bytes) in blocks {
            assert!(free.put(*start, *bytes));
        }
        free
    }

    #[test]
    fn a_block_serves_again_for_its_size_alone_the_one_freed_last() {
        let mut free = free_blocks(&[(1, 10), (2, 20), (3, 10)]);
        assert_eq!(free.take(15), None);
        assert_eq!(free.take(10), Some(3));
        assert_eq!(free.take(10), Some(1));
        assert_eq!(free.take(10), None);
        assert_eq!((free.count, free.bytes), (1, 20));
    }

    #[test]
    fn what_is_beyond_a_bound_goes_the_longest_free_first() {
        let mut free = free_blocks(&[(1, 10), (2, 20), (3, 10)]);
        let mut gone = Vec::new();
        while let Some(block) = free.beyond(15) {
            gone.push(block.start);
        }
        assert_eq!(gone, [1, 2]);
        assert_eq!((free.count, free.bytes), (1, 10));
    }

    #[test]
    fn only_what_lay_idle_for_a_whole_spell_is_returned() {
        let mut free = free_blocks(&[(1, 10)]);
        assert_eq!(free.idle_before(free.spell), None);
        free.spell += 1;
        assert!(free.put(2, 10));
        assert_eq!(
            free.idle_before(free.spell).map(|block| block.start),
            Some(1)
        );
        assert_eq!(free.idle_before(free.spell), None);
        assert_eq!(free.bytes, 10);
    }

    #[test]
    fn no_more_blocks_are_kept_than_have_a_place() {
        let mut free = Box::new(Free::NONE);
        for at in 0..COUNT {
            assert!(free.put(at, 1));
        }
        assert!(!free.put(COUNT, 1));
        assert_eq!(free.bytes, COUNT);
    }

    #[test]
    fn memory_that_does_not_exist_is_refused() {
        let mut bytes: Vec<u8> = Vec::new();
        assert!(bytes.try_reserve_exact(1 << 60).is_err());
        bytes.push(1);
        assert_eq!(bytes, [1]);
    }
}
