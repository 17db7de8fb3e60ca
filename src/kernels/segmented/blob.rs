//! The memory that packed products share. What an adapter leaves behind serves the next one: memory fresh from the
//! system is cleared page by page when it is first written, which takes longer than reading an adapter into it.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::kernels::memory::Large;
use crate::kernels::pool;

/// Words of 32 bits, `len` of those in `memory`.
pub(super) struct Blob {
    memory: Large<u32>,
    len: usize,
}

impl Blob {
    /// All zero.
    pub fn zeroed(len: usize) -> Self {
        // The lock ends with this line: what follows takes its time.
        let reused = spare().take(len);
        match reused {
            Some(memory) => {
                let mut blob = Self { memory, len };
                for slice in blob.chunks_mut(LEAST) {
                    slice.fill(0);
                    pool::give_way();
                }
                blob
            }
            None => Self::fresh(len),
        }
    }

    /// With any contents, to be overwritten from end to end.
    pub fn any(len: usize) -> Self {
        let reused = spare().take(len);
        match reused {
            Some(memory) => Self { memory, len },
            None => Self::fresh(len),
        }
    }

    fn fresh(len: usize) -> Self {
        Self {
            memory: Large::zeroed(len),
            len,
        }
    }
}

impl Deref for Blob {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Blob {
    fn deref_mut(&mut self) -> &mut [u32] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Large::zeroed(0));
        // Bound, so that what is given back to the system is given back after the lock.
        let _surplus = spare().keep(memory);
    }
}

fn spare() -> MutexGuard<'static, Spare> {
    static SPARE: Mutex<Spare> = Mutex::new(Spare::new(MOST));
    // Nothing in here panics half-way.
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Words that wait for an adapter, at most.
const MOST: usize = (128 << 20) / size_of::<u32>();
/// Fewer are cheap to get.
const LEAST: usize = (1 << 20) / size_of::<u32>();

/// Memory that nothing uses now, the oldest first.
struct Spare {
    most: usize,
    words: usize,
    pieces: VecDeque<Large<u32>>,
}

impl Spare {
    const fn new(most: usize) -> Self {
        Self {
            most,
            words: 0,
            pieces: VecDeque::new(),
        }
    }

    /// The smallest piece that holds `len` words, unless a quarter of it would lie idle.
    fn take(&mut self, len: usize) -> Option<Large<u32>> {
        let fits = |piece: &Large<u32>| (len..=len + len / 3).contains(&piece.len());
        let pieces = self.pieces.iter().enumerate();
        let (at, _) = pieces
            .filter(|(_, piece)| len > 0 && fits(piece))
            .min_by_key(|(_, piece)| piece.len())?;
        let piece = self.pieces.remove(at)?;
        self.words -= piece.len();
        Some(piece)
    }

    /// Keeps a piece, and returns what there is no room for.
    fn keep(&mut self, piece: Large<u32>) -> Vec<Large<u32>> {
        if !(LEAST..=self.most).contains(&piece.len()) {
            return vec![piece];
        }
        self.words += piece.len();
        self.pieces.push_back(piece);
        let mut surplus = Vec::new();
        while self.words > self.most
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.words -= oldest.len();
            surplus.push(oldest);
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(spare: &Spare) -> Vec<usize> {
        spare.pieces.iter().map(|piece| piece.len()).collect()
    }

    #[test]
    fn the_closest_piece_is_used_again_and_a_much_larger_one_is_not() {
        let mut spare = Spare::new(100 * LEAST);
        for len in [20 * LEAST, 10 * LEAST, 11 * LEAST] {
            assert!(spare.keep(Large::zeroed(len)).is_empty());
        }
        assert_eq!(spare.take(10 * LEAST).unwrap().len(), 10 * LEAST);
        assert_eq!(spare.take(10 * LEAST).unwrap().len(), 11 * LEAST);
        assert!(spare.take(10 * LEAST).is_none());
        assert_eq!((lens(&spare), spare.words), (vec![20 * LEAST], 20 * LEAST));
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut spare = Spare::new(3 * LEAST);
        assert_eq!(spare.keep(Large::zeroed(LEAST - 1)).len(), 1, "too small");
        assert_eq!(
            spare.keep(Large::zeroed(3 * LEAST + 1)).len(),
            1,
            "too large"
        );
        assert!(spare.keep(Large::zeroed(LEAST)).is_empty());
        let surplus = spare.keep(Large::zeroed(3 * LEAST));
        assert_eq!(surplus[0].len(), LEAST);
        assert_eq!((lens(&spare), spare.words), (vec![3 * LEAST], 3 * LEAST));
    }

    #[test]
    fn memory_used_before_is_zero_where_that_is_promised() {
        let mut blob = Blob::zeroed(LEAST);
        blob.fill(7);
        drop(blob);
        assert!(Blob::zeroed(LEAST).iter().all(|word| *word == 0));
    }
}
