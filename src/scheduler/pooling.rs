//! The vector of a prompt, made of the hidden states of its tokens while steps compute them.

use std::ops::Range;

use crate::domain::Pooling;

pub struct Pooled {
    pooling: Pooling,
    /// Of the prompt; those of virtual tokens do not count.
    positions: Range<usize>,
    /// The position whose state is added next. What came before is not added again, also where it is computed again.
    next: usize,
    /// Added in the order of positions, whatever steps they come in.
    sum: Vec<f64>,
}

impl Pooled {
    /// `positions`: those of the text's tokens.
    pub fn new(pooling: Pooling, positions: Range<usize>) -> Self {
        let next = match pooling {
            Pooling::Last => positions.end.saturating_sub(1),
            Pooling::Mean => positions.start,
        };
        Self {
            pooling,
            positions,
            next,
            sum: Vec::new(),
        }
    }

    /// Of the positions computed, those whose states are wanted.
    pub fn wants(&self, computed: Range<usize>) -> Range<usize> {
        let start = computed.start.max(self.next);
        start..computed.end.min(self.positions.end).max(start)
    }

    /// Leading positions that need not be computed again for it.
    pub fn reusable(&self) -> usize {
        self.next
    }

    /// The state of the next position.
    pub fn add(&mut self, state: &[f32]) {
        self.sum.resize(state.len(), 0.0);
        for (sum, x) in self.sum.iter_mut().zip(state) {
            *sum += f64::from(*x);
        }
        self.next += 1;
    }

    /// The vector, once every state is in it.
    pub fn vector(&self) -> Option<Vec<f32>> {
        let states = match self.pooling {
            Pooling::Last => 1.0,
            Pooling::Mean => self.positions.len() as f64,
        };
        let whole = self.next == self.positions.end;
        whole.then(|| self.sum.iter().map(|sum| (sum / states) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_the_texts_own_tokens_and_none_counts_twice() {
        let mut pooled = Pooled::new(Pooling::Mean, 2..5);
        assert_eq!(pooled.wants(0..4), 2..4);
        pooled.add(&[1.0, 3.0]);
        pooled.add(&[2.0, 3.0]);
        assert_eq!(pooled.vector(), None);
        assert_eq!((pooled.wants(0..3).len(), pooled.wants(0..5)), (0, 4..5));
        pooled.add(&[6.0, 0.0]);
        assert_eq!(pooled.vector(), Some(vec![3.0, 2.0]));
    }

    #[test]
    fn the_last_state_is_the_one_of_the_last_token() {
        let mut pooled = Pooled::new(Pooling::Last, 1..7);
        assert_eq!((pooled.wants(0..6).len(), pooled.wants(3..7)), (0, 6..7));
        assert_eq!(pooled.vector(), None);
        pooled.add(&[0.5]);
        assert_eq!(pooled.vector(), Some(vec![0.5]));
    }
}
