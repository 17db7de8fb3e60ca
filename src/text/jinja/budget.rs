//! What one rendering may take: steps, text and stack. Templates come with models, and some never end.

use std::cell::Cell;

use super::fault::{Outcome, failed, spent};

/// Bytes of text that cost as much as one step.
const BYTES_A_STEP: usize = 128;

/// Bytes of stack: half of what a thread of the runtime has.
const MOST_STACK: usize = 1 << 20;

/// Bytes of one text, and items of one list.
const MOST_BYTES: usize = 64 << 20;
const MOST_ITEMS: usize = 4 << 20;

pub(in crate::text) struct Budget {
    steps: Cell<u64>,
    stack: Stack,
}

impl Budget {
    pub fn new(steps: u64) -> Self {
        let stack = Stack::here(MOST_STACK);
        let steps = Cell::new(steps);
        Self { steps, stack }
    }

    pub fn spend(&self, steps: u64) -> Outcome<()> {
        match self.steps.get().checked_sub(steps) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => Err(spent("rendering takes too long")),
        }
    }

    /// Whether a text may grow to so many bytes.
    pub fn bound(&self, bytes: usize) -> Outcome<()> {
        match bytes <= MOST_BYTES {
            true => Ok(()),
            false => Err(spent("renders a text that is too long")),
        }
    }

    /// Before a text of so many bytes is made.
    pub fn text(&self, bytes: usize) -> Outcome<()> {
        self.bound(bytes)?;
        self.spend((bytes / BYTES_A_STEP) as u64)
    }

    /// Before a text of so many bytes is searched, which takes longer than to copy it.
    pub fn scan(&self, bytes: usize) -> Outcome<()> {
        self.spend((bytes / 32) as u64)
    }

    /// Before so many items are made, or gone through.
    pub fn items(&self, items: usize) -> Outcome<()> {
        if items > MOST_ITEMS {
            return Err(spent("makes a list that is too long"));
        }
        self.spend(items as u64 / 4)
    }

    /// Before going one level deeper.
    pub fn deeper(&self) -> Outcome<()> {
        self.stack.check()
    }
}

/// A recursion is ended by the stack it has taken, whatever its frames measure.
pub(super) struct Stack {
    start: usize,
    most: usize,
}

impl Stack {
    pub fn here(most: usize) -> Self {
        let start = address();
        Self { start, most }
    }

    pub fn check(&self) -> Outcome<()> {
        match self.start.abs_diff(address()) < self.most {
            true => Ok(()),
            false => Err(failed("maximum recursion depth exceeded")),
        }
    }
}

#[inline(never)]
fn address() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here).addr()
}
