//! Rows in place of others: how learned keys, values and embeddings come to stand among computed ones.

use std::sync::Arc;

use super::op::{Op, Wants};
use crate::device::{Array, Result, bail};

/// For all [T, n] and part [m, ≥ n]: all, with columns `first..first + n` of row `from[i]` of part in place of row `rows[i]`.
/// No row is replaced twice; several may be replaced by the same.
#[derive(Debug, Clone)]
pub struct Replace {
    pub rows: Arc<[usize]>,
    pub from: Arc<[usize]>,
    pub first: usize,
}

impl Replace {
    fn check(&self, all: (usize, usize), part: (usize, usize)) -> Result<()> {
        let fits = self.rows.len() == self.from.len()
            && self.rows.iter().all(|row| *row < all.0)
            && self.from.iter().all(|row| *row < part.0)
            && self.first + all.1 <= part.1;
        match fits {
            true => Ok(()),
            false => bail!(
                "{} rows of {all:?} replaced by {} of {part:?} from column {}",
                self.rows.len(),
                self.from.len(),
                self.first
            ),
        }
    }

    /// Where each replaced row lies, and what replaces it.
    fn places(&self, width: usize, part_width: usize) -> impl Iterator<Item = [usize; 2]> {
        let pairs = self.rows.iter().zip(self.from.iter());
        pairs.map(move |(row, from)| [row * width, from * part_width + self.first])
    }
}

impl Op for Replace {
    /// The sizes of both inputs.
    type Saved = [(usize, usize); 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let [all, part] = inputs else {
            bail!("rows of one array are replaced by those of another")
        };
        let dims = [all.dims(), part.dims()];
        self.check(dims[0], dims[1])?;
        let (width, mut y) = (all.width(), (*all).clone());
        let values = y.values_mut();
        for [to, from] in self.places(width, part.width()) {
            values[to..to + width].copy_from_slice(&part.values()[from..from + width]);
        }
        Ok((y, dims))
    }

    fn backward(
        &self,
        [all, part]: Self::Saved,
        mut grad: Array,
        wants: Wants,
    ) -> Result<Vec<Option<Array>>> {
        let width = all.1;
        let to_part = wants.has(1).then(|| {
            let mut sums = Array::zeros(part);
            let values = sums.values_mut();
            for [at, into] in self.places(width, part.1) {
                let sums = values[into..into + width].iter_mut();
                let dy = &grad.values()[at..at + width];
                sums.zip(dy).for_each(|(sum, dy)| *sum += dy);
            }
            sums
        });
        let to_all = wants.has(0).then(|| {
            let values = grad.values_mut();
            for [at, _] in self.places(width, part.1) {
                values[at..at + width].fill(0.0);
            }
            grad
        });
        Ok(vec![to_all, to_part])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_gradients, noise, once};
    use super::*;

    fn replace(first: usize) -> Replace {
        Replace {
            rows: [1, 2, 5].into(),
            from: [2, 0, 2].into(),
            first,
        }
    }

    #[test]
    fn rows_are_replaced_and_the_others_stay() {
        let (all, part) = (noise((7, 3), 1.0, 1), noise((4, 6), 1.0, 2));
        for first in [0, 3] {
            let found = once(replace(first), &[&all, &part]).unwrap();
            for row in 0..7 {
                let plain = match [1, 2, 5].iter().position(|replaced| *replaced == row) {
                    Some(at) => &part.values()[[2, 0, 2][at] * 6 + first..][..3],
                    None => &all.values()[row * 3..][..3],
                };
                assert_eq!(&found.values()[row * 3..][..3], plain, "row {row}");
            }
        }
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [noise((7, 3), 1.0, 3), noise((4, 6), 1.0, 4)];
        for first in [0, 2] {
            assert_gradients(&inputs, 2e-3, |run, t| {
                run.op(replace(first), &[&t[0], &t[1]])
            });
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let all = noise((7, 3), 1.0, 5);
        for (part, first) in [((2, 6), 0), ((4, 2), 0), ((4, 6), 4)] {
            let part = noise(part, 1.0, 6);
            assert!(once(replace(first), &[&all, &part]).is_err());
        }
        let few = noise((5, 3), 1.0, 7);
        assert!(once(replace(0), &[&few, &noise((4, 6), 1.0, 8)]).is_err());
    }
}
