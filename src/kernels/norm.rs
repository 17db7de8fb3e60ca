//! Root-mean-square normalisation (Zhang and Sennrich, arXiv 1910.07467).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::pool;
use super::simd::{LANES, fma, fold, simd_fn};
use super::values::{self, Values};

/// Values a tile works on.
const TILE: usize = 1 << 14;

/// x / √(mean(x²) + eps) · w over every run of d values: x is [.., n·d], w is [d]; with n heads side by side each is
/// normalised on its own. Tracked to both.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op2(w, RmsNorm { eps: eps as f32 })
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, row) = values::rows(x_layout.shape())?;
        let (x, w) = (values::slice(x, x_layout)?, values::slice(w, w_layout)?);
        let width = w.len();
        if width == 0 || !row.is_multiple_of(width) {
            bail!("a norm of {width} for rows of {row}");
        }
        let mut y = vec![0.0; x.len()];
        pool::over_rows(&mut y, width, pool::rows_of(TILE, width), |rows, y| {
            forward(&x[rows.start * width..rows.end * width], w, self.eps, y);
        });
        values::result(y, x_layout.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (x_values, w_values, dy_values) = (Values::of(x)?, Values::of(w)?, Values::of(&dy)?);
        let (xs, ws, dys) = (&*x_values, &*w_values, &*dy_values);
        let width = ws.len();
        let mut dx = vec![0.0; xs.len()];
        pool::over_rows(&mut dx, width, pool::rows_of(TILE, width), |rows, dx| {
            let part = rows.start * width..rows.end * width;
            backward_input(&xs[part.clone()], ws, &dys[part], self.eps, dx);
        });
        let dw = if w.track_op() {
            let mut dw = vec![0.0; width];
            backward_weight(xs, dys, self.eps, &mut dw);
            Some(values::tensor(dw, width)?)
        } else {
            None
        };
        Ok((Some(values::tensor(dx, x.shape())?), dw))
    }
}

/// 1 / √(mean(x²) + eps); not a number where that sum is not finite. A scale of 0 would turn a row that overflowed into
/// zeros, and nobody behind it would know.
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
    use super::super::testing::{assert_close, assert_gradients, noise};
    use super::*;

    #[test]
    fn heads_side_by_side_are_normalised_one_by_one() -> Result<()> {
        let (x, w) = (noise(&[3, 4 * 6], 2.0, 5), noise(&[6], 1.0, 6));
        let oracle = plain(&x.reshape((3, 4, 6))?, &w, 1e-6)?.reshape((3, 24))?;
        assert_close(&rms_norm(&x, &w, 1e-6)?, &oracle, 2e-6, "heads");
        Ok(())
    }

    fn plain(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
        let mean = (x.sqr()?.sum_keepdim(candle_core::D::Minus1)?
            / x.dim(candle_core::D::Minus1)? as f64)?;
        x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(w)
    }

    #[test]
    fn it_agrees_with_the_written_out_formula() -> Result<()> {
        for shape in [vec![3, 8], vec![2, 5, 33], vec![70, 256]] {
            let x = noise(&shape, 2.0, 1);
            let w = noise(&shape[shape.len() - 1..], 1.0, 2);
            assert_close(
                &rms_norm(&x, &w, 1e-5)?,
                &plain(&x, &w, 1e-5)?,
                2e-6,
                "norm",
            );
        }
        Ok(())
    }

    #[test]
    fn a_row_that_is_not_finite_or_overflows_comes_out_as_not_a_number_and_alone() -> Result<()> {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            for width in [8, 33] {
                let (rows, w) = (noise(&[3, width], 2.0, 1), noise(&[width], 1.0, 2));
                let mut x = rows.flatten_all()?.to_vec1::<f32>()?;
                x[2 * width - 1] = bad;
                let x = Tensor::from_vec(x, (3, width), &candle_core::Device::Cpu)?;
                let found = rms_norm(&x, &w, 1e-5)?;
                let spoiled = found.get(1)?.to_vec1::<f32>()?;
                assert!(spoiled.iter().all(|y| y.is_nan()), "{bad}: {spoiled:?}");
                let oracle = plain(&rows, &w, 1e-5)?;
                for row in [0, 2] {
                    assert_close(&found.get(row)?, &oracle.get(row)?, 2e-6, "its neighbours");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn its_gradients_follow_differences() {
        let inputs = [noise(&[3, 2, 19], 1.0, 3), noise(&[19], 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |t| rms_norm(&t[0], &t[1], 1e-5));
    }

    #[test]
    fn a_weight_of_another_width_is_an_error() {
        assert!(rms_norm(&noise(&[2, 8], 1.0, 1), &noise(&[9], 1.0, 1), 1e-5).is_err());
    }
}
