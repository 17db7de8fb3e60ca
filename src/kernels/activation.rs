//! The gated activation of feed-forward blocks: SwiGLU (Shazeer, arXiv 2002.05202).

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::pool;
use super::simd::{exp, fma, simd_fn};
use super::values::{self, Values};

/// Values a tile works on.
const TILE: usize = 1 << 14;

/// silu(gate) · up, element by element, silu(g) = g / (1 + e^−g). Tracked to both.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

/// x + y, tracked to what learns. candle's own sum leaves a gradient behind for every operand, also for one that depends
/// on nothing that learns.
pub fn residual(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match x.track_op() || !y.track_op() {
        true => x + y,
        false => y.contiguous()?.apply_op1(Shift(x.contiguous()?)),
    }
}

/// y plus a constant: the gradient passes through.
struct Shift(Tensor);

impl CustomOp1 for Shift {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn cpu_fwd(&self, y: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        if layout.shape() != self.0.shape() {
            bail!("residual of {:?} and {:?}", self.0.shape(), layout.shape());
        }
        let (y, x) = (values::slice(y, layout)?, Values::of(&self.0)?);
        let sum = y.iter().zip(x.iter()).map(|(y, x)| x + y).collect();
        values::result(sum, layout.shape())
    }

    fn bwd(&self, _y: &Tensor, _sum: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if gate_layout.shape() != up_layout.shape() {
            bail!(
                "swiglu of {:?} and {:?}",
                gate_layout.shape(),
                up_layout.shape()
            );
        }
        let (gate, up) = (
            values::slice(gate, gate_layout)?,
            values::slice(up, up_layout)?,
        );
        let mut y = vec![0.0; gate.len()];
        pool::over_rows(&mut y, 1, TILE, |part, y| {
            forward(&gate[part.clone()], &up[part], y)
        });
        values::result(y, gate_layout.shape())
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (gates, ups, dys) = (Values::of(gate)?, Values::of(up)?, Values::of(&dy)?);
        let (gates, ups, dys) = (&*gates, &*ups, &*dys);
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
        Ok((
            Some(values::tensor(dgate, gate.shape())?),
            Some(values::tensor(dup, up.shape())?),
        ))
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
    use super::super::testing::{assert_close, assert_gradients, noise};
    use super::*;

    #[test]
    fn it_agrees_with_the_written_out_formula() -> Result<()> {
        let (gate, up) = (noise(&[7, 99], 6.0, 1), noise(&[7, 99], 3.0, 2));
        assert_close(&swiglu(&gate, &up)?, &(gate.silu()? * &up)?, 2e-6, "swiglu");
        let far = (&gate * 100.0)?;
        assert_close(
            &swiglu(&far, &up)?,
            &(far.silu()? * &up)?,
            2e-6,
            "far from zero",
        );
        Ok(())
    }

    #[test]
    fn its_gradients_follow_differences() {
        let inputs = [noise(&[3, 11], 3.0, 3), noise(&[3, 11], 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |t| swiglu(&t[0], &t[1]));
    }

    #[test]
    fn shapes_have_to_match() {
        assert!(swiglu(&noise(&[2, 3], 1.0, 1), &noise(&[3, 2], 1.0, 1)).is_err());
    }

    #[test]
    fn a_constant_in_a_sum_gets_no_gradient() -> Result<()> {
        let (x, y) = (
            noise(&[3, 4], 1.0, 5),
            candle_core::Var::from_tensor(&noise(&[3, 4], 1.0, 6))?,
        );
        let sum = residual(&x, &y)?;
        assert_close(&sum, &(&x + y.as_tensor())?, 0.0, "residual");
        let gradients = sum.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_none());
        assert_close(gradients.get(&y).unwrap(), &y.ones_like()?, 0.0, "gradient");
        Ok(())
    }
}
