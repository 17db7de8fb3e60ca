//! The gated activation of feed-forward blocks: SwiGLU (Shazeer, arXiv 2002.05202).

use super::op::{Op, Wants};
use super::pool;
use super::simd::{exp, fma, simd_fn};
use crate::device::{Array, Result, bail};

/// Values a tile works on.
const TILE: usize = 1 << 14;

/// silu(gate) · up, element by element, silu(g) = g / (1 + e^−g).
#[derive(Debug, Clone, Copy)]
pub struct SwiGlu;

/// x + y of equal sizes.
#[derive(Debug, Clone, Copy)]
pub struct Residual;

impl Op for Residual {
    type Saved = ();

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, ())> {
        let [x, y] = inputs else {
            bail!("a residual takes two inputs")
        };
        if x.dims() != y.dims() {
            bail!("residual of {x:?} and {y:?}");
        }
        let (xs, ys) = (x.values(), y.values());
        let mut sum = vec![0.0; xs.len()];
        pool::over_rows(&mut sum, 1, TILE, |part, sum| {
            let pairs = xs[part.clone()].iter().zip(&ys[part]);
            let places = sum.iter_mut().zip(pairs);
            places.for_each(|(sum, (x, y))| *sum = x + y);
        });
        Ok((Array::new(sum, x.dims())?, ()))
    }

    fn backward(&self, (): (), grad: Array, wants: Wants) -> Result<Vec<Option<Array>>> {
        Ok((0..2)
            .map(|at| wants.has(at).then(|| grad.clone()))
            .collect())
    }
}

impl Op for SwiGlu {
    /// gate and up
    type Saved = [Array; 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let [gate, up] = inputs else {
            bail!("swiglu takes two inputs")
        };
        if gate.dims() != up.dims() {
            bail!("swiglu of {gate:?} and {up:?}");
        }
        let (gates, ups) = (gate.values(), up.values());
        let mut y = vec![0.0; gates.len()];
        pool::over_rows(&mut y, 1, TILE, |part, y| {
            forward(&gates[part.clone()], &ups[part], y)
        });
        Ok((
            Array::new(y, gate.dims())?,
            [(*gate).clone(), (*up).clone()],
        ))
    }

    fn backward(
        &self,
        [gate, up]: Self::Saved,
        grad: Array,
        _: Wants,
    ) -> Result<Vec<Option<Array>>> {
        let (gates, ups, dys) = (gate.values(), up.values(), grad.values());
        let (mut dgate, mut dup) = (vec![0.0; gates.len()], vec![0.0; gates.len()]);
        let dup_parts = pool::Shared::new(&mut dup);
        pool::over_rows(&mut dgate, 1, TILE, |part, dgate| {
            // SAFETY: the parts of one loop do not overlap.
            let dup = unsafe { dup_parts.part(part.clone()) };
            backward(
                &gates[part.clone()],
                &ups[part.clone()],
                &dys[part],
                dgate,
                dup,
            );
        });
        Ok(vec![
            Some(Array::new(dgate, gate.dims())?),
            Some(Array::new(dup, gate.dims())?),
        ])
    }
}

simd_fn! {
    fn forward(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
            *y = g / (1.0 + exp::<FUSED>(-g)) * u;
        }
    }
}

simd_fn! {
    // With σ = 1 / (1 + e^−g): silu′(g) = σ·(1 + g·(1 − σ)).
    fn backward(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let inputs = gate.iter().zip(up).zip(dy);
        for (((g, u), dy), (dgate, dup)) in inputs.zip(dgate.iter_mut().zip(dup)) {
            let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-g));
            *dup = dy * g * sigmoid;
            *dgate = dy * u * sigmoid * fma::<FUSED>(*g, 1.0 - sigmoid, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
    use super::*;

    #[test]
    fn it_agrees_with_the_written_out_formula() {
        let (gate, up) = (noise((7, 99), 6.0, 1), noise((7, 99), 3.0, 2));
        let mut far = gate.clone();
        far.values_mut().iter_mut().for_each(|g| *g *= 100.0);
        for (gate, what) in [(&gate, "swiglu"), (&far, "far from zero")] {
            let oracle = (tensor(gate).silu().unwrap() * tensor(&up)).unwrap();
            assert_close(&once(SwiGlu, &[gate, &up]).unwrap(), &oracle, 2e-6, what);
        }
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [noise((3, 11), 3.0, 3), noise((3, 11), 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |run, t| run.op(SwiGlu, &[&t[0], &t[1]]));
        assert_gradients(&inputs, 2e-3, |run, t| run.op(Residual, &[&t[0], &t[1]]));
        // Both at once are the same value.
        assert_gradients(&inputs[..1], 2e-3, |run, t| {
            run.op(Residual, &[&t[0], &t[0]])
        });
    }

    #[test]
    fn shapes_have_to_match() {
        let inputs = [&noise((2, 3), 1.0, 1), &noise((3, 2), 1.0, 1)];
        assert!(once(SwiGlu, &inputs).is_err() && once(Residual, &inputs).is_err());
    }
}
