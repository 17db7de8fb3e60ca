//! The arithmetic of DoRA (Liu et al., arXiv 2402.09353): rows of W + s·BA, scaled to learned lengths.

use std::sync::Arc;

use super::dropout::Dropout;
use super::gemm::{self, View};
use super::op::{Op, Wants};
use super::pool;
use super::quant::Matrix;
use crate::device::{Array, Result, bail};

/// Values of W that are unpacked at a time.
const UNPACKED: usize = 1 << 20;

/// ‖W_j + s·(BA)_j‖ of each row j of W [out, in], for A [r, in] and B [out, r].
pub fn row_norms(weight: &Matrix, (a, b): (&Array, &Array), scale: f32) -> Result<Vec<f32>> {
    let (outputs, inputs) = weight.dims();
    let rank = a.rows();
    if a.width() != inputs || b.dims() != (outputs, rank) {
        bail!("factors {a:?} and {b:?} for a weight [{outputs}, {inputs}]");
    }
    let at_once = pool::rows_of(UNPACKED, inputs);
    let mut norms = Vec::with_capacity(outputs);
    for start in (0..outputs).step_by(at_once) {
        let rows = start..(start + at_once).min(outputs);
        let mut block = weight.rows(rows.clone())?;
        let part = &b.values()[rows.start * rank..rows.end * rank];
        let part = View::dense(part, rows.len(), rank);
        let all = View::dense(a.values(), rank, inputs);
        gemm::parallel(part, all, &mut block, 1.0, scale);
        norms.extend(block.chunks_exact(inputs.max(1)).map(|row| {
            let square: f64 = row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
            square.sqrt() as f32
        }));
        pool::give_way();
    }
    Ok(norms)
}

/// ‖W_j + s·(BA)ᵀ_j‖ of each column j of an embedding W [vocabulary, n], for A [r, vocabulary] and B [n, r].
pub fn column_norms(weight: &Matrix, (a, b): (&Array, &Array), scale: f32) -> Result<Vec<f32>> {
    let (vocabulary, width) = weight.dims();
    let rank = a.rows();
    if a.width() != vocabulary || b.dims() != (width, rank) {
        bail!("factors {a:?} and {b:?} for an embedding [{vocabulary}, {width}]");
    }
    let at_once = pool::rows_of(UNPACKED, width);
    let mut squares = vec![0f64; width];
    for start in (0..vocabulary).step_by(at_once) {
        let rows = start..(start + at_once).min(vocabulary);
        let mut block = weight.rows(rows.clone())?;
        // The columns of A that belong to these rows.
        let part = View::new(&a.values()[start..], (rank, rows.len()), (vocabulary, 1));
        let all = View::dense(b.values(), width, rank);
        gemm::parallel(part.transposed(), all.transposed(), &mut block, 1.0, scale);
        for row in block.chunks_exact(width.max(1)) {
            let places = squares.iter_mut().zip(row);
            places.for_each(|(sum, w)| *sum += f64::from(*w) * f64::from(*w));
        }
        pool::give_way();
    }
    Ok(squares
        .into_iter()
        .map(|square| square.sqrt() as f32)
        .collect())
}

/// What scales an output whose magnitude is `m` and whose row of weights is `norm` long. A row of zeros stays one.
pub fn factor(magnitude: f32, norm: f32) -> f32 {
    match norm == 0.0 {
        true => 0.0,
        false => magnitude / norm,
    }
}

/// z ∘ m / n + bias, for z [T, out], magnitudes m [1, out], and norms n and a bias [out] that are constants here.
pub struct Magnitude {
    pub norms: Arc<[f32]>,
    pub bias: Option<Arc<[f32]>>,
}

impl Op for Magnitude {
    /// z and m
    type Saved = [Array; 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let [z, magnitudes] = inputs else {
            bail!("magnitudes scale one input")
        };
        let width = z.width();
        let bias = self.bias.as_ref().is_none_or(|bias| bias.len() == width);
        if magnitudes.dims() != (1, width) || self.norms.len() != width || !bias {
            bail!(
                "rows of {z:?} times {magnitudes:?} over {}",
                self.norms.len()
            );
        }
        let mut y = (*z).clone();
        let factors = self.factors(magnitudes);
        for row in y.values_mut().chunks_exact_mut(width.max(1)) {
            let places = row.iter_mut().zip(&factors);
            places.for_each(|(y, factor)| *y *= factor);
            if let Some(bias) = &self.bias {
                row.iter_mut().zip(&bias[..]).for_each(|(y, b)| *y += b);
            }
        }
        Ok((y, [(*z).clone(), (*magnitudes).clone()]))
    }

    fn backward(
        &self,
        [z, magnitudes]: Self::Saved,
        mut grad: Array,
        wants: Wants,
    ) -> Result<Vec<Option<Array>>> {
        let width = z.width().max(1);
        let to_magnitudes = wants.has(1).then(|| {
            let mut sums = vec![0.0; z.width()];
            let rows = grad.values().chunks_exact(width);
            for (dy, z) in rows.zip(z.values().chunks_exact(width)) {
                let places = sums.iter_mut().zip(dy.iter().zip(z));
                places.for_each(|(sum, (dy, z))| *sum += dy * z);
            }
            let pairs = sums.into_iter().zip(&self.norms[..]);
            Array::row(pairs.map(|(sum, n)| factor(sum, *n)).collect())
        });
        let factors = self.factors(&magnitudes);
        for row in grad.values_mut().chunks_exact_mut(width) {
            let places = row.iter_mut().zip(&factors);
            places.for_each(|(dy, factor)| *dy *= factor);
        }
        Ok(vec![Some(grad), to_magnitudes])
    }
}

impl Magnitude {
    fn factors(&self, magnitudes: &Array) -> Vec<f32> {
        let pairs = magnitudes.values().iter().zip(&self.norms[..]);
        pairs.map(|(m, n)| factor(*m, *n)).collect()
    }
}

/// What a mask leaves of x [T, n], or with `rest` what it takes away, so that both add up to x.
pub struct Drop {
    pub dropout: Dropout,
    pub rest: bool,
}

impl Op for Drop {
    type Saved = ();

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, ())> {
        let [x] = inputs else {
            bail!("a mask is of one input")
        };
        Ok((self.masked((*x).clone()), ()))
    }

    fn backward(&self, (): (), grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        Ok(vec![Some(self.masked(grad))])
    }
}

impl Drop {
    fn masked(&self, mut x: Array) -> Array {
        let width = x.width();
        match self.rest {
            false => self.dropout.apply(x.values_mut(), width),
            true => {
                let mut kept = x.values().to_vec();
                self.dropout.apply(&mut kept, width);
                let places = x.values_mut().iter_mut().zip(kept);
                places.for_each(|(x, kept)| *x -= kept);
            }
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::super::quant::Format;
    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    #[test]
    fn norms_are_those_of_the_sum() {
        let (w, a, b) = (
            noise((19, 24), 1.0, 1),
            noise((3, 24), 1.0, 2),
            noise((19, 3), 1.0, 3),
        );
        let matrix = Matrix::quantize(&w, Format::F32).unwrap();
        let update = (tensor(&b).matmul(&tensor(&a)).unwrap() * 0.5).unwrap();
        let sum = (tensor(&w) + update).unwrap();
        let oracle = sum.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
        let found = Array::row(row_norms(&matrix, (&a, &b), 0.5).unwrap());
        assert_close(&found, &oracle, 1e-5, "norms");
        assert!(row_norms(&matrix, (&b, &a), 0.5).is_err());
    }

    #[test]
    fn norms_of_columns_are_those_of_the_sum() {
        let (w, a, b) = (
            noise((19, 6), 1.0, 1),
            noise((3, 19), 1.0, 2),
            noise((6, 3), 1.0, 3),
        );
        let matrix = Matrix::quantize(&w, Format::F32).unwrap();
        let update = (tensor(&b).matmul(&tensor(&a)).unwrap() * 0.5).unwrap();
        let sum = (tensor(&w) + update.t().unwrap()).unwrap();
        let oracle = sum.sqr().unwrap().sum(0).unwrap().sqrt().unwrap();
        let found = Array::row(column_norms(&matrix, (&a, &b), 0.5).unwrap());
        assert_close(&found, &oracle, 1e-5, "norms");
        assert!(column_norms(&matrix, (&b, &a), 0.5).is_err());
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [noise((4, 5), 1.0, 3), noise((1, 5), 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |run, t| {
            let op = Magnitude {
                norms: [0.5, 2.0, 1.0, 3.0, 0.7].into(),
                bias: Some([1.0, 2.0, 3.0, 4.0, 5.0].into()),
            };
            run.op(op, &[&t[0], &t[1]])
        });
        for rest in [false, true] {
            let dropout = Dropout {
                key: [3; 32],
                rate: 0.3,
            };
            assert_gradients(&inputs[..1], 2e-3, |run, t| {
                run.op(Drop { dropout, rest }, &[&t[0]])
            });
        }
    }

    #[test]
    fn a_row_of_zeros_stays_one() {
        let op = Magnitude {
            norms: [0.0, 2.0].into(),
            bias: None,
        };
        let z = Array::new(vec![0.0, 6.0], (1, 2)).unwrap();
        let m = Array::row(vec![0.0, 4.0]);
        assert_eq!(once(op, &[&z, &m]).unwrap().values(), [0.0, 12.0]);
        let op = Magnitude {
            norms: [0.0, 2.0].into(),
            bias: None,
        };
        let wants = Wants::of([true; 2]);
        let (_, saved) = op.forward(&[&z, &m], wants).unwrap();
        let grads = op
            .backward(saved, Array::row(vec![1.0, 1.0]), wants)
            .unwrap();
        let grads: Vec<_> = grads.iter().map(|g| g.as_ref().unwrap().values()).collect();
        assert_eq!(grads, [[0.0, 2.0], [0.0, 3.0]]);
    }

    #[test]
    fn what_is_left_and_what_is_taken_add_up() {
        let x = noise((40, 25), 1.0, 5);
        let dropout = Dropout {
            key: [3; 32],
            rate: 0.3,
        };
        let [left, taken] = [false, true].map(|rest| once(Drop { dropout, rest }, &[&x]).unwrap());
        let sum = (tensor(&left) + tensor(&taken)).unwrap();
        assert_close(&x, &sum, 1e-6, "both");
        assert!(left.values().contains(&0.0));
    }
}
