//! Rows times one factor a feature: the arithmetic of IA3 (Liu et al., arXiv 2205.05638).

use std::ops::Range;

use super::op::{Op, Wants};
use super::pool;
use crate::device::{Array, Result, bail};

/// Values a tile works on.
const TILE: usize = 1 << 14;

/// x ∘ l, every row of x [T, n] times l [1, n].
#[derive(Debug, Clone, Copy)]
pub struct Scale;

impl Op for Scale {
    /// x and l
    type Saved = [Array; 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let [x, factors] = inputs else {
            bail!("rows are scaled by one vector")
        };
        if factors.dims() != (1, x.width()) {
            bail!("rows of {x:?} times {factors:?}");
        }
        let mut y = (*x).clone();
        scale_rows(&mut y, 0..x.rows(), factors.values())?;
        Ok((y, [(*x).clone(), (*factors).clone()]))
    }

    fn backward(
        &self,
        [x, factors]: Self::Saved,
        mut grad: Array,
        wants: Wants,
    ) -> Result<Vec<Option<Array>>> {
        let to_factors = wants.has(1).then(|| {
            let width = x.width().max(1);
            let mut sums = vec![0.0; x.width()];
            let rows = grad.values().chunks_exact(width);
            for (dy, x) in rows.zip(x.values().chunks_exact(width)) {
                let places = sums.iter_mut().zip(dy.iter().zip(x));
                places.for_each(|(sum, (dy, x))| *sum += dy * x);
            }
            Array::row(sums)
        });
        let rows = 0..grad.rows();
        scale_rows(&mut grad, rows, factors.values())?;
        Ok(vec![Some(grad), to_factors])
    }
}

/// Multiplies some rows of x [T, n] by `factors` [n], in place.
pub fn scale_rows(x: &mut Array, rows: Range<usize>, factors: &[f32]) -> Result<()> {
    let width = x.width();
    if factors.len() != width || rows.start > rows.end || rows.end > x.rows() {
        bail!("rows {rows:?} of {x:?} times {} factors", factors.len());
    }
    let part = &mut x.values_mut()[rows.start * width..rows.end * width];
    pool::over_rows(part, width.max(1), pool::rows_of(TILE, width), |_, part| {
        for row in part.chunks_exact_mut(width.max(1)) {
            let places = row.iter_mut().zip(factors);
            places.for_each(|(x, factor)| *x *= factor);
        }
    });
    Ok(())
}

/// (y − bias) ∘ factors + bias for some rows of y [T, n], in place.
pub fn scale_around(
    y: &mut Array,
    rows: Range<usize>,
    factors: &[f32],
    bias: Option<&[f32]>,
) -> Result<()> {
    let Some(bias) = bias else {
        return scale_rows(y, rows, factors);
    };
    let width = y.width();
    let fits = factors.len() == width && bias.len() == width;
    if !fits || rows.start > rows.end || rows.end > y.rows() {
        bail!("rows {rows:?} of {y:?} times {} factors", factors.len());
    }
    let part = &mut y.values_mut()[rows.start * width..rows.end * width];
    pool::over_rows(part, width.max(1), pool::rows_of(TILE, width), |_, part| {
        for row in part.chunks_exact_mut(width.max(1)) {
            let places = row.iter_mut().zip(factors.iter().zip(bias));
            places.for_each(|(y, (factor, bias))| *y = (*y - bias) * factor + bias);
        }
    });
    Ok(())
}

/// Adds `shift` [n] to some rows of y [T, n], in place.
pub fn shift_rows(y: &mut Array, rows: Range<usize>, shift: &[f32]) -> Result<()> {
    let width = y.width();
    if shift.len() != width || rows.start > rows.end || rows.end > y.rows() {
        bail!("rows {rows:?} of {y:?} plus {} values", shift.len());
    }
    let part = &mut y.values_mut()[rows.start * width..rows.end * width];
    pool::over_rows(part, width.max(1), pool::rows_of(TILE, width), |_, part| {
        for row in part.chunks_exact_mut(width.max(1)) {
            let places = row.iter_mut().zip(shift);
            places.for_each(|(y, shift)| *y += shift);
        }
    });
    Ok(())
}

/// y + b, every row of y [T, n] plus b [1, n].
#[derive(Debug, Clone, Copy)]
pub struct Shift;

impl Op for Shift {
    type Saved = ();

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, ())> {
        let [y, shift] = inputs else {
            bail!("rows are shifted by one vector")
        };
        if shift.rows() != 1 {
            bail!("rows of {y:?} plus {shift:?}");
        }
        let mut sum = (*y).clone();
        shift_rows(&mut sum, 0..y.rows(), shift.values())?;
        Ok((sum, ()))
    }

    fn backward(&self, (): (), grad: Array, wants: Wants) -> Result<Vec<Option<Array>>> {
        let to_shift = wants.has(1).then(|| {
            let mut sums = vec![0.0; grad.width()];
            for dy in grad.values().chunks_exact(grad.width().max(1)) {
                sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
            }
            Array::row(sums)
        });
        Ok(vec![Some(grad), to_shift])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    #[test]
    fn it_agrees_with_a_plain_product() {
        let (x, factors) = (noise((300, 99), 2.0, 1), noise((1, 99), 1.5, 2));
        let oracle = tensor(&x).broadcast_mul(&tensor(&factors)).unwrap();
        let found = once(Scale, &[&x, &factors]).unwrap();
        assert_close(&found, &oracle, 0.0, "scaled");
        assert!(once(Scale, &[&x, &noise((1, 98), 1.0, 2)]).is_err());
        let oracle = tensor(&x).broadcast_add(&tensor(&factors)).unwrap();
        assert_close(
            &once(Shift, &[&x, &factors]).unwrap(),
            &oracle,
            0.0,
            "shifted",
        );
        assert!(once(Shift, &[&x, &noise((1, 98), 1.0, 2)]).is_err());
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [noise((4, 7), 1.0, 3), noise((1, 7), 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |run, t| run.op(Scale, &[&t[0], &t[1]]));
        assert_gradients(&inputs, 2e-3, |run, t| run.op(Shift, &[&t[0], &t[1]]));
    }

    #[test]
    fn other_rows_stay_as_they_are() {
        let x = noise((5, 3), 1.0, 5);
        let mut scaled = x.clone();
        scale_rows(&mut scaled, 1..3, &[2.0; 3]).unwrap();
        for row in 0..5 {
            let [x, scaled] = [&x, &scaled].map(|a| a.values()[row * 3..][..3].to_vec());
            let by = if (1..3).contains(&row) { 2.0 } else { 1.0 };
            assert_eq!(scaled, x.iter().map(|x| x * by).collect::<Vec<f32>>());
        }
        assert!(scale_rows(&mut scaled, 3..6, &[1.0; 3]).is_err());
        let bias = [1.0, -1.0, 0.5];
        let mut around = x.clone();
        scale_around(&mut around, 2..4, &[3.0; 3], Some(&bias)).unwrap();
        for (at, (x, found)) in x.values().iter().zip(around.values()).enumerate() {
            let by = if (6..12).contains(&at) { 3.0 } else { 1.0 };
            let wanted = (x - bias[at % 3]) * by + bias[at % 3];
            assert!((found - wanted).abs() < 1e-6);
        }
        assert!(scale_around(&mut around, 2..4, &[3.0; 3], Some(&bias[..2])).is_err());
        let mut shifted = x.clone();
        shift_rows(&mut shifted, 2..4, &bias).unwrap();
        for (at, (x, found)) in x.values().iter().zip(shifted.values()).enumerate() {
            let by = if (6..12).contains(&at) {
                bias[at % 3]
            } else {
                0.0
            };
            assert_eq!(*found, x + by);
        }
        assert!(shift_rows(&mut shifted, 4..6, &bias).is_err());
        assert!(shift_rows(&mut shifted, 2..4, &bias[..2]).is_err());
    }
}
