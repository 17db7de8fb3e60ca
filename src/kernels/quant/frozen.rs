//! A product with a frozen weight as a tracked operation: its backward gives the input's gradient and nothing else.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::super::values;
use super::Matrix;

/// x·Wᵀ + bias for x [.., k]: [.., n]. Tracked to `x`; weight and bias never get a gradient.
pub fn frozen(x: &Tensor, weight: &Arc<Matrix>, bias: Option<&Arc<[f32]>>) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Frozen {
        weight: weight.clone(),
        bias: bias.cloned(),
    })
}

struct Frozen {
    weight: Arc<Matrix>,
    bias: Option<Arc<[f32]>>,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let n = self.weight.n;
        let mut y = self.weight.product(values::slice(x, layout)?)?;
        if let Some(bias) = &self.bias {
            if bias.len() != n {
                bail!("a bias of {} for {n} outputs", bias.len());
            }
            for row in y.chunks_exact_mut(n) {
                row.iter_mut().zip(bias.iter()).for_each(|(y, b)| *y += b);
            }
        }
        let mut shape = layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = n;
        }
        values::result(y, shape)
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.weight.backward_input(dy).map(Some)
    }
}
