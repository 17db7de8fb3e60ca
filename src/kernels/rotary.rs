//! Rotary positions (Su et al., arXiv 2104.09864), pairs half a head apart: (x[i], x[i + d/2]).

use std::sync::Arc;

use super::op::{Op, Wants};
use super::pool;
use super::simd::{fma, simd_fn};
use crate::device::{Array, Result, bail};

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

/// Turns every head of x [tokens, heads · d] by its token's angles, d = 2 · frequencies.
#[derive(Debug, Clone)]
pub struct Rotate(pub Angles);

impl Rotate {
    fn turn(&self, x: &Array, direction: f32) -> Result<Array> {
        let (tokens, width) = x.dims();
        let half = self.0.frequencies;
        if half == 0 || !width.is_multiple_of(2 * half) || tokens != self.0.tokens() {
            bail!(
                "angles of {} tokens and {half} frequencies for {x:?}",
                self.0.tokens()
            );
        }
        let xs = x.values();
        let mut y = vec![0.0; xs.len()];
        let heads = width / (2 * half);
        pool::over_rows(&mut y, width, pool::rows_of(TILE, width), |rows, y| {
            let angles = rows.start * half..rows.end * half;
            let part = &xs[rows.start * width..rows.end * width];
            turn(
                part,
                &self.0.cos[angles.clone()],
                &self.0.sin[angles],
                direction,
                (heads, half),
                y,
            );
        });
        Array::new(y, x.dims())
    }
}

impl Op for Rotate {
    type Saved = ();

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, ())> {
        let [x] = inputs else {
            bail!("one input is turned at a time")
        };
        Ok((self.turn(x, 1.0)?, ()))
    }

    /// A rotation's transpose turns the other way.
    fn backward(&self, (): (), grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        Ok(vec![Some(self.turn(&grad, -1.0)?)])
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
    use candle_core::{Device, Tensor};

    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    fn angles(positions: &[usize], half: usize) -> Angles {
        let frequencies: Vec<f32> = (0..half).map(|i| 0.5f32.powi(i as i32)).collect();
        Angles::at(positions.iter().copied(), &frequencies, 1.0)
    }

    #[test]
    fn it_agrees_with_rotate_half() -> candle_core::Result<()> {
        let (positions, heads, half) = ([0, 1, 7, 3], 3, 5);
        let angles = angles(&positions, half);
        let flat = noise((4, heads * 2 * half), 1.0, 1);
        let x = tensor(&flat).reshape((4, heads, 2 * half))?;
        let table = |values: &[f32]| {
            let once = Tensor::from_slice(values, (4, 1, half), &Device::Cpu)?;
            Tensor::cat(&[&once, &once], 2)
        };
        let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned = Tensor::cat(&[&high.neg()?, &low], 2)?;
        let oracle = (x.broadcast_mul(&table(&angles.cos)?)?
            + turned.broadcast_mul(&table(&angles.sin)?)?)?;
        let found = once(Rotate(angles), &[&flat]).unwrap();
        assert_close(&found, &oracle.flatten(1, 2)?, 1e-6, "rotary");
        Ok(())
    }

    #[test]
    fn its_gradient_follows_differences() {
        let angles = angles(&[2, 0, 5], 4);
        assert_gradients(&[noise((3, 2 * 8), 1.0, 2)], 2e-3, |run, t| {
            run.op(Rotate(angles.clone()), &[&t[0]])
        });
    }

    #[test]
    fn angles_must_fit_the_heads() {
        let rotate = Rotate(angles(&[1, 2], 4));
        for dims in [(3, 2 * 8), (2, 2 * 6)] {
            assert!(once(rotate.clone(), &[&noise(dims, 1.0, 1)]).is_err());
        }
    }
}
