//! Rotary positions (Su et al., arXiv 2104.09864), pairs half a head apart: (x[i], x[i + d/2]).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::pool;
use super::simd::{fma, simd_fn};
use super::values::{self, Values};

/// Values a tile works on.
const TILE: usize = 1 << 14;

/// Cosine and sine of each token's angles, one pair a frequency: [tokens, frequencies] each. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
    frequencies: usize,
}

impl Angles {
    /// Angles of tokens at `positions`: position · frequency, computed in f32 as reference implementations do, with
    /// sine and cosine multiplied by `factor`.
    pub fn at(
        positions: impl ExactSizeIterator<Item = usize>,
        frequencies: &[f32],
        factor: f32,
    ) -> Self {
        let count = positions.len() * frequencies.len();
        let (mut cos, mut sin) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for position in positions {
            for frequency in frequencies {
                let angle = position as f32 * frequency;
                let (s, c) = angle.sin_cos();
                cos.push(c * factor);
                sin.push(s * factor);
            }
        }
        Self {
            cos: cos.into(),
            sin: sin.into(),
            frequencies: frequencies.len(),
        }
    }

    /// Those of all tokens of `parts`, one part after the other. All parts have as many frequencies as the first.
    pub fn joined(parts: &[Self]) -> Self {
        let all = |of: fn(&Self) -> &[f32]| parts.iter().flat_map(of).copied().collect();
        Self {
            cos: all(|part| &part.cos),
            sin: all(|part| &part.sin),
            frequencies: parts.first().map_or(0, |part| part.frequencies),
        }
    }

    pub fn tokens(&self) -> usize {
        self.cos.len() / self.frequencies.max(1)
    }

    /// Fails unless these are the angles of so many tokens with heads of d.
    pub(super) fn fit(&self, tokens: usize, dim: usize) -> Result<()> {
        let frequencies = self.frequencies;
        if frequencies == 0 || dim != 2 * frequencies || tokens != self.tokens() {
            bail!(
                "angles of {} tokens and {frequencies} frequencies for {tokens} of heads of {dim}",
                self.tokens()
            );
        }
        Ok(())
    }

    /// `x` [heads · d] turned by a token's angles, which [`fit`](Self::fit) has seen.
    pub(super) fn turn(&self, token: usize, x: &[f32], y: &mut [f32]) {
        let angles = token * self.frequencies..(token + 1) * self.frequencies;
        let sizes = (x.len() / (2 * self.frequencies), self.frequencies);
        turn(
            x,
            &self.cos[angles.clone()],
            &self.sin[angles],
            1.0,
            sizes,
            y,
        );
    }
}

/// Turns every head of x [tokens, heads · d] by its token's angles, d = 2 · frequencies. Tracked.
pub fn rotate(x: &Tensor, angles: &Angles) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Rotate(angles.clone()))
}

struct Rotate(Angles);

impl Rotate {
    fn turn(&self, x: &[f32], shape: &Shape, direction: f32) -> Result<Vec<f32>> {
        let (tokens, width) = shape.dims2()?;
        let half = self.0.frequencies;
        if half == 0 || !width.is_multiple_of(2 * half) || tokens != self.0.tokens() {
            bail!(
                "angles of {} tokens and {half} frequencies for {shape:?}",
                self.0.tokens()
            );
        }
        let mut y = vec![0.0; x.len()];
        let heads = width / (2 * half);
        pool::over_rows(&mut y, width, pool::rows_of(TILE, width), |rows, y| {
            let angles = rows.start * half..rows.end * half;
            let part = &x[rows.start * width..rows.end * width];
            turn(
                part,
                &self.0.cos[angles.clone()],
                &self.0.sin[angles],
                direction,
                (heads, half),
                y,
            );
        });
        Ok(y)
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.turn(values::slice(x, layout)?, layout.shape(), 1.0)?;
        values::result(y, layout.shape())
    }

    /// A rotation's transpose turns the other way.
    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dx = self.turn(&Values::of(&dy)?, x.shape(), -1.0)?;
        values::tensor(dx, x.shape()).map(Some)
    }
}

simd_fn! {
    fn turn(x: &[f32], cos: &[f32], sin: &[f32], direction: f32, sizes: (usize, usize), y: &mut [f32]) {
        let (heads, half) = sizes;
        let tokens = x.chunks_exact(heads * 2 * half).zip(y.chunks_exact_mut(heads * 2 * half));
        for ((x, y), (cos, sin)) in tokens.zip(cos.chunks_exact(half).zip(sin.chunks_exact(half))) {
            for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
                let (x_low, x_high) = x.split_at(half);
                let (y_low, y_high) = y.split_at_mut(half);
                for i in 0..half {
                    let s = sin[i] * direction;
                    y_low[i] = fma::<FUSED>(x_low[i], cos[i], -(x_high[i] * s));
                    y_high[i] = fma::<FUSED>(x_high[i], cos[i], x_low[i] * s);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, noise};
    use super::*;
    use candle_core::Device;

    fn angles(positions: &[usize], half: usize) -> Angles {
        let frequencies: Vec<f32> = (0..half).map(|i| 0.5f32.powi(i as i32)).collect();
        Angles::at(positions.iter().copied(), &frequencies, 1.0)
    }

    #[test]
    fn it_agrees_with_rotate_half() -> Result<()> {
        let (positions, heads, half) = ([0, 1, 7, 3], 3, 5);
        let angles = angles(&positions, half);
        let x = noise(&[4, heads, 2 * half], 1.0, 1);
        let table = |values: &[f32]| {
            let once = Tensor::from_slice(values, (4, 1, half), &Device::Cpu)?;
            Tensor::cat(&[&once, &once], 2)
        };
        let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned = Tensor::cat(&[&high.neg()?, &low], 2)?;
        let oracle = (x.broadcast_mul(&table(&angles.cos)?)?
            + turned.broadcast_mul(&table(&angles.sin)?)?)?;
        let found = rotate(&x.flatten(1, 2)?, &angles)?;
        assert_close(&found, &oracle.flatten(1, 2)?, 1e-6, "rotary");
        Ok(())
    }

    #[test]
    fn its_gradient_follows_differences() {
        let angles = angles(&[2, 0, 5], 4);
        assert_gradients(&[noise(&[3, 2 * 8], 1.0, 2)], 2e-3, |t| {
            rotate(&t[0], &angles)
        });
    }

    #[test]
    fn angles_must_fit_the_heads() {
        assert!(rotate(&noise(&[3, 2 * 8], 1.0, 1), &angles(&[1, 2], 4)).is_err());
        assert!(rotate(&noise(&[2, 2 * 6], 1.0, 1), &angles(&[1, 2], 4)).is_err());
    }
}
