//! What adapters make of token ids: low-rank updates of an embedding's rows, and rows of their own.
//!
//! Every number is computed from one row alone, in an order that other rows have no part in.

use std::sync::Arc;

use super::op::{Op, Wants};
use crate::device::{Array, Result, bail};

/// s · (A[:, id])ᵀ Bᵀ for each id, with A [r, vocabulary] and B [n, r]: [ids, n].
#[derive(Debug, Clone)]
pub struct LowRankLookup {
    pub ids: Arc<[u32]>,
    pub scale: f32,
}

impl Op for LowRankLookup {
    /// A and B
    type Saved = [Array; 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let [a, b] = inputs else {
            bail!("a low-rank lookup takes two factors")
        };
        let update = LowRankRows::new(a, b, self.scale)?;
        let mut y = Array::zeros((self.ids.len(), b.rows()));
        update.add(&self.ids, &mut y)?;
        Ok((y, [(*a).clone(), (*b).clone()]))
    }

    fn backward(
        &self,
        [a, b]: Self::Saved,
        grad: Array,
        wants: Wants,
    ) -> Result<Vec<Option<Array>>> {
        let ((rank, vocabulary), outputs) = (a.dims(), b.rows());
        let (mut da, mut db) = (Array::zeros(a.dims()), Array::zeros(b.dims()));
        let rows = grad.values().chunks_exact(outputs.max(1));
        for (&id, dy) in self.ids.iter().zip(rows) {
            let places = (0..rank).map(|j| j * vocabulary + id as usize);
            if wants.has(0) {
                let mut low = vec![0.0; rank];
                for (dy, b) in dy.iter().zip(b.values().chunks_exact(rank)) {
                    let pairs = low.iter_mut().zip(b);
                    pairs.for_each(|(low, b)| *low += dy * b);
                }
                let da = da.values_mut();
                let pairs = places.clone().zip(low);
                pairs.for_each(|(place, low)| da[place] += self.scale * low);
            }
            if wants.has(1) {
                let low: Vec<f32> = places.map(|place| self.scale * a.values()[place]).collect();
                let rows = db.values_mut().chunks_exact_mut(rank);
                for (dy, db) in dy.iter().zip(rows) {
                    let pairs = db.iter_mut().zip(&low);
                    pairs.for_each(|(db, low)| *db += dy * low);
                }
            }
        }
        Ok(vec![wants.has(0).then_some(da), wants.has(1).then_some(db)])
    }
}

/// A low-rank update of an embedding, held for lookups.
#[derive(Debug, Clone)]
pub struct LowRankRows {
    scale: f32,
    /// [vocabulary, r]
    a: Array,
    /// [r, n]
    b: Array,
}

impl LowRankRows {
    /// Of A [r, vocabulary] and B [n, r].
    pub fn new(a: &Array, b: &Array, scale: f32) -> Result<Self> {
        if a.rows() != b.width() {
            bail!("factors {a:?} and {b:?} of a low-rank update");
        }
        Ok(Self {
            scale,
            a: a.transposed(),
            b: b.transposed(),
        })
    }

    pub fn bytes(&self) -> u64 {
        self.a.bytes() + self.b.bytes()
    }

    /// Adds the update of each id's row to a row of `y` [ids, n].
    pub fn add(&self, ids: &[u32], y: &mut Array) -> Result<()> {
        let (vocabulary, outputs) = (self.a.rows(), self.b.width());
        if y.dims() != (ids.len(), outputs) {
            bail!("updates of {} rows of {outputs} for {y:?}", ids.len());
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            bail!("token {id} of a vocabulary of {vocabulary}");
        }
        let rank = self.a.width();
        let rows = y.values_mut().chunks_exact_mut(outputs.max(1));
        for (&id, y) in ids.iter().zip(rows) {
            let low = &self.a.values()[id as usize * rank..][..rank];
            for (low, b) in low.iter().zip(self.b.values().chunks_exact(outputs)) {
                let low = self.scale * low;
                y.iter_mut().zip(b).for_each(|(y, b)| *y += low * b);
            }
        }
        Ok(())
    }
}

/// Rows of a vocabulary's matrix that take the place of others.
#[derive(Debug, Clone)]
pub struct OwnRows {
    /// Ascending, each with its row.
    ids: Vec<(u32, usize)>,
    /// [ids, n]
    rows: Array,
}

impl OwnRows {
    /// The row of each id, no id twice.
    pub fn new(ids: &[u32], rows: Array) -> Result<Self> {
        let mut sorted: Vec<(u32, usize)> = ids.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        if ids.len() != rows.rows() || sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            bail!("{} ids for {rows:?}", ids.len());
        }
        Ok(Self { ids: sorted, rows })
    }

    pub fn bytes(&self) -> u64 {
        self.rows.bytes()
    }

    fn row(&self, at: usize) -> &[f32] {
        let width = self.rows.width();
        &self.rows.values()[at * width..][..width]
    }

    /// Writes the rows of those ids that it has over rows of `x` [ids, n].
    pub fn replace(&self, ids: &[u32], x: &mut Array) -> Result<()> {
        let width = self.rows.width();
        if x.dims() != (ids.len(), width) {
            bail!("rows of {width} for {} ids in {x:?}", ids.len());
        }
        for (id, x) in ids
            .iter()
            .zip(x.values_mut().chunks_exact_mut(width.max(1)))
        {
            if let Ok(found) = self.ids.binary_search_by_key(id, |(id, _)| *id) {
                x.copy_from_slice(self.row(self.ids[found].1));
            }
        }
        Ok(())
    }

    /// Writes them over the rows from `first` on of a whole weight, `width` numbers each.
    pub fn over(&self, first: usize, width: usize, values: &mut [f32]) {
        let rows = values.chunks_exact_mut(width.max(1)).enumerate();
        for (row, values) in rows {
            let found = self
                .ids
                .binary_search_by_key(&(first + row), |(id, _)| *id as usize);
            if let Ok(found) = found {
                values.copy_from_slice(self.row(self.ids[found].1));
            }
        }
    }

    /// Writes what its rows make of one hidden row over their places in that row's logits.
    pub fn logits(&self, hidden: &[f32], logits: &mut [f32]) -> Result<()> {
        if hidden.len() != self.rows.width() {
            bail!("a hidden row of {} for {:?}", hidden.len(), self.rows);
        }
        for (id, at) in &self.ids {
            let Some(logit) = logits.get_mut(*id as usize) else {
                bail!("token {id} of a vocabulary of {}", logits.len())
            };
            *logit = dot(hidden, self.row(*at));
        }
        Ok(())
    }
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (x, y) in x.iter().zip(y) {
        let pairs = x.iter().zip(y);
        let places = sums.iter_mut().zip(pairs);
        places.for_each(|(sum, (x, y))| *sum += x * y);
    }
    let rest = x_rest.iter().zip(y_rest).map(|(x, y)| x * y);
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    fn lookup(ids: &[u32]) -> LowRankLookup {
        LowRankLookup {
            ids: ids.into(),
            scale: 1.5,
        }
    }

    #[test]
    fn updates_are_rows_of_the_product() {
        let (a, b) = (noise((3, 9), 1.0, 1), noise((5, 3), 1.0, 2));
        let product = tensor(&b).matmul(&tensor(&a)).unwrap();
        let whole = (product.t().unwrap() * 1.5).unwrap();
        let ids = [8u32, 0, 8, 3];
        let chosen = candle_core::Tensor::new(&ids, &candle_core::Device::Cpu).unwrap();
        let oracle = whole
            .contiguous()
            .unwrap()
            .index_select(&chosen, 0)
            .unwrap();
        let found = once(lookup(&ids), &[&a, &b]).unwrap();
        assert_close(&found, &oracle, 1e-5, "rows");
        assert!(once(lookup(&[9]), &[&a, &b]).is_err());
        assert!(once(lookup(&ids), &[&a, &a]).is_err());
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [noise((2, 6), 1.0, 3), noise((4, 2), 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |run, t| {
            run.op(lookup(&[5, 1, 5]), &[&t[0], &t[1]])
        });
    }

    #[test]
    fn own_rows_are_looked_up_and_multiplied_in_place_of_others() {
        let (whole, own) = (noise((7, 19), 1.0, 5), noise((2, 19), 1.0, 6));
        let rows = OwnRows::new(&[6, 2], own.clone()).unwrap();
        let row = |array: &Array, at| array.select_rows(&[at]).unwrap();
        let ids = [2, 3, 6];
        let mut x = whole.select_rows(&[2, 3, 6]).unwrap();
        rows.replace(&ids, &mut x).unwrap();
        assert_eq!(row(&x, 0), row(&own, 1));
        assert_eq!(row(&x, 1), row(&whole, 3));
        assert_eq!(row(&x, 2), row(&own, 0));
        let hidden = noise((1, 19), 1.0, 7);
        let mut logits = vec![9.0; 7];
        rows.logits(hidden.values(), &mut logits).unwrap();
        let oracle = tensor(&hidden).matmul(&tensor(&own).t().unwrap()).unwrap();
        assert_close(
            &Array::row(vec![logits[6], logits[2]]),
            &oracle,
            1e-5,
            "logits",
        );
        assert!(logits.iter().filter(|logit| **logit == 9.0).count() == 5);
        assert!(rows.logits(hidden.values(), &mut [0.0; 6]).is_err());
        assert!(OwnRows::new(&[1, 1], own).is_err());
    }
}
