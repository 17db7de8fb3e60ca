//! A product with a frozen weight as a tracked operation: its backward gives the input's gradient and nothing else.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::super::values;
use super::Matrix;

/// A frozen linear layer: x·Wᵀ + bias.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    pub weight: &'a Arc<Matrix>,
    /// [n]
    pub bias: Option<&'a Arc<[f32]>>,
}

impl Layer<'_> {
    /// For x [.., k]: [.., n]. Tracked to `x`; weight and bias never get a gradient.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1(Frozen {
            weight: self.weight.clone(),
            bias: self.bias.cloned(),
        })
    }
}

/// [`Layer::forward`] of these parts.
pub fn frozen(x: &Tensor, weight: &Arc<Matrix>, bias: Option<&Arc<[f32]>>) -> Result<Tensor> {
    Layer { weight, bias }.forward(x)
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
        let y = self
            .weight
            .product_and_bias(values::slice(x, layout)?, self.bias.as_deref())?;
        let mut shape = layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.n;
        }
        values::result(y, shape)
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.weight.backward_input(dy).map(Some)
    }
}
