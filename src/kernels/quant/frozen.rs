//! A product with a frozen weight: its backward gives the input's gradient and nothing else.

use std::sync::Arc;

use super::super::op::{Op, Run, Value, Wants};
use super::Matrix;
use crate::device::{Array, Result, bail};

/// A frozen linear layer: x·Wᵀ + bias.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    pub weight: &'a Arc<Matrix>,
    /// [n]
    pub bias: Option<&'a Arc<[f32]>>,
}

impl Layer<'_> {
    /// For x [T, k]: [T, n].
    pub fn forward(&self, run: Run<'_, '_>, x: &Value) -> Result<Value> {
        let op = Frozen {
            weight: self.weight.clone(),
            bias: self.bias.cloned(),
        };
        run.op(op, &[x])
    }
}

/// [`Layer::forward`] as an operation on x.
pub struct Frozen {
    pub weight: Arc<Matrix>,
    /// [n]
    pub bias: Option<Arc<[f32]>>,
}

impl Op for Frozen {
    type Saved = ();

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, ())> {
        let [x] = inputs else {
            bail!("a frozen weight takes one input")
        };
        Ok((self.weight.product_and_bias(x, self.bias.as_deref())?, ()))
    }

    fn backward(&self, (): (), grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        Ok(vec![Some(self.weight.backward_input(&grad)?)])
    }
}
