//! Root-mean-square normalisation (Zhang and Sennrich, arXiv 1910.07467).

use super::cuda;
use super::op::{Op, Wants};
use super::pool;
use super::simd::{LANES, fma, fold, simd_fn};
use crate::device::{Accelerator, Array, Part, Result, bail};

/// Values a tile works on.
const TILE: usize = 1 << 14;

/// x / √(mean(x²) + eps) · w over every run of d values: x is [T, n·d], w is [1, d]; with n heads side by side each is
/// normalised on its own.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    pub eps: f32,
}

impl Op for RmsNorm {
    /// x and w
    type Saved = [Array; 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let [x, w] = inputs else {
            bail!("a norm takes rows and a weight")
        };
        let width = w.len();
        if width == 0 || !x.width().is_multiple_of(width) {
            bail!("a norm of {width} for rows of {}", x.width());
        }
        let (xs, ws) = (x.values(), w.values());
        let mut y = vec![0.0; xs.len()];
        pool::over_rows(&mut y, width, pool::rows_of(TILE, width), |rows, y| {
            forward(&xs[rows.start * width..rows.end * width], ws, self.eps, y);
        });
        Ok((Array::new(y, x.dims())?, [(*x).clone(), (*w).clone()]))
    }

    fn backward(
        &self,
        [x, w]: Self::Saved,
        grad: Array,
        wants: Wants,
    ) -> Result<Vec<Option<Array>>> {
        let (xs, ws, dys) = (x.values(), w.values(), grad.values());
        let width = ws.len();
        let mut grads = vec![None, None];
        if wants.has(0) {
            let mut dx = vec![0.0; xs.len()];
            pool::over_rows(&mut dx, width, pool::rows_of(TILE, width), |rows, dx| {
                let part = rows.start * width..rows.end * width;
                backward_input(&xs[part.clone()], ws, &dys[part], self.eps, dx);
            });
            grads[0] = Some(Array::new(dx, x.dims())?);
        }
        if wants.has(1) {
            let mut dw = vec![0.0; width];
            backward_weight(xs, dys, self.eps, &mut dw);
            grads[1] = Some(Array::row(dw));
        }
        Ok(grads)
    }

    fn forward_on(
        &self,
        on: &dyn Accelerator,
        inputs: &[&Array],
        _: Wants,
    ) -> Result<(Array, Self::Saved)> {
        let [x, w] = inputs else {
            bail!("a norm takes rows and a weight")
        };
        let y = Array::unwritten(on, Part::Activations, x.dims())?;
        let norm = cuda::norm::Norm {
            weight: w.buffer()?,
            width: w.len(),
            eps: self.eps,
        };
        cuda::norm::rms_norm(on, cuda::Rows::of(x)?, norm, cuda::Rows::of(&y)?)?;
        Ok((y, [(*x).clone(), (*w).clone()]))
    }
}

/// 1 / √(mean(x²) + eps); not a number where that sum is not finite. A scale of 0 would turn a row that overflowed into
/// zeros, and the overflow could not be seen in the result.
#[inline(always)]
fn scale<const FUSED: bool>(x: &[f32], eps: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = fma::<FUSED>(chunk[lane], chunk[lane], lanes[lane]);
        }
    }
    let sum = tail
        .iter()
        .fold(fold(lanes), |sum, x| fma::<FUSED>(*x, *x, sum));
    if sum.is_finite() {
        1.0 / (sum / x.len() as f32 + eps).sqrt()
    } else {
        f32::NAN
    }
}

simd_fn! {
    fn forward(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        for (x, y) in x.chunks_exact(w.len()).zip(y.chunks_exact_mut(w.len())) {
            let s = scale::<FUSED>(x, eps);
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * s * w;
            }
        }
    }
}

simd_fn! {
    // With s the row's scale: dx = s·(dy·w) − x · s³/d · Σ dy·w·x.
    fn backward_input(x: &[f32], w: &[f32], dy: &[f32], eps: f32, dx: &mut [f32]) {
        let d = w.len();
        let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
        for ((x, dy), dx) in rows {
            let s = scale::<FUSED>(x, eps);
            for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(w) {
                *dx = dy * w;
            }
            let along = super::simd::dot::<FUSED>(dx, x);
            let pull = along * s * s * s / d as f32;
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = fma::<FUSED>(-pull, *x, s * *dx);
            }
        }
    }
}

simd_fn! {
    // dw = Σ over rows of dy · x · s.
    fn backward_weight(x: &[f32], dy: &[f32], eps: f32, dw: &mut [f32]) {
        for (x, dy) in x.chunks_exact(dw.len()).zip(dy.chunks_exact(dw.len())) {
            let s = scale::<FUSED>(x, eps);
            for ((dw, dy), x) in dw.iter_mut().zip(dy).zip(x) {
                *dw = fma::<FUSED>(dy * s, *x, *dw);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Tensor};

    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    fn norm(x: &Array, w: &Array, eps: f32) -> Result<Array> {
        once(RmsNorm { eps }, &[x, w])
    }

    fn plain(x: &Tensor, w: &Array, eps: f64) -> candle_core::Result<Tensor> {
        let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / x.dim(D::Minus1)? as f64)?;
        let scaled = x.broadcast_div(&(mean + eps)?.sqrt()?)?;
        scaled.broadcast_mul(&tensor(w).flatten_all()?)
    }

    #[test]
    fn heads_side_by_side_are_normalised_one_by_one() {
        let (x, w) = (noise((3, 4 * 6), 2.0, 5), noise((1, 6), 1.0, 6));
        let heads = tensor(&x).reshape((3, 4, 6)).unwrap();
        let oracle = plain(&heads, &w, 1e-6).unwrap().reshape((3, 24)).unwrap();
        assert_close(&norm(&x, &w, 1e-6).unwrap(), &oracle, 2e-6, "heads");
    }

    #[test]
    fn it_agrees_with_the_written_out_formula() {
        for dims in [(3, 8), (10, 33), (70, 256)] {
            let (x, w) = (noise(dims, 2.0, 1), noise((1, dims.1), 1.0, 2));
            let oracle = plain(&tensor(&x), &w, 1e-5).unwrap();
            assert_close(&norm(&x, &w, 1e-5).unwrap(), &oracle, 2e-6, "norm");
        }
    }

    #[test]
    fn a_row_that_is_not_finite_or_overflows_comes_out_as_not_a_number_and_alone() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            for width in [8, 33] {
                let (rows, w) = (noise((3, width), 2.0, 1), noise((1, width), 1.0, 2));
                let mut x = rows.clone();
                x.values_mut()[2 * width - 1] = bad;
                let found = norm(&x, &w, 1e-5).unwrap();
                let spoiled = found.select_rows(&[1]).unwrap();
                let all = spoiled.values();
                assert!(all.iter().all(|y| y.is_nan()), "{bad}: {all:?}");
                let oracle = norm(&rows, &w, 1e-5).unwrap();
                for row in [0, 2] {
                    let [found, oracle] = [&found, &oracle].map(|a| a.select_rows(&[row]).unwrap());
                    assert_close(&found, &tensor(&oracle), 0.0, "its neighbours");
                }
            }
        }
    }

    #[test]
    fn its_gradients_follow_differences() {
        let inputs = [noise((3, 2 * 19), 1.0, 3), noise((1, 19), 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |run, t| {
            run.op(RmsNorm { eps: 1e-5 }, &[&t[0], &t[1]])
        });
    }

    #[test]
    fn a_weight_of_another_width_is_an_error() {
        assert!(norm(&noise((2, 8), 1.0, 1), &noise((1, 9), 1.0, 1), 1e-5).is_err());
    }
}
