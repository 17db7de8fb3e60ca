//! The gated feed-forward block: down(silu(gate(x)) · up(x)).

use super::{At, Linear, Step};
use crate::adapter::Module;
use crate::device::Result;
use crate::kernels::activation::SwiGlu;
use crate::kernels::op::Value;
use crate::model::weights::WeightError;

pub(in crate::model) struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl GatedMlp {
    pub fn silu(at: &mut At<'_>, bias: bool) -> std::result::Result<Self, WeightError> {
        let (hidden, inner) = (at.spec().hidden, at.spec().intermediate);
        Ok(Self {
            gate: Linear::new(at, Module::Gate, (inner, hidden), bias)?,
            up: Linear::new(at, Module::Up, (inner, hidden), bias)?,
            down: Linear::new(at, Module::Down, (hidden, inner), bias)?,
        })
    }

    pub fn forward(&self, x: &Value, step: &Step<'_, '_>) -> Result<Value> {
        let [gate, up] = Linear::each([&self.gate, &self.up], x, step)?;
        self.down
            .forward(&step.run.op(SwiGlu, &[&gate, &up])?, step)
    }

    pub fn linears(&self) -> [&Linear; 3] {
        [&self.gate, &self.up, &self.down]
    }
}
