//! One decoder block: attention and feed-forward, each around a residual.

use super::{At, Attention, GatedMlp, Norm, Step};
use crate::adapter::SiteShape;
use crate::device::Result;
use crate::kernels::activation::Residual;
use crate::kernels::op::Value;
use crate::model::weights::WeightError;

pub(in crate::model) struct Block {
    input_norm: Norm,
    attention: Attention,
    inner_norm: Norm,
    mlp: GatedMlp,
}

impl Block {
    /// x + attention(norm(x)), then x + mlp(norm(x)).
    pub fn pre_norm(
        at: &mut At<'_>,
        attention: Attention,
        mlp: GatedMlp,
    ) -> std::result::Result<Self, WeightError> {
        let hidden = at.spec().hidden;
        let (input, inner) = (
            at.path("input_layernorm.weight"),
            at.path("post_attention_layernorm.weight"),
        );
        Ok(Self {
            input_norm: Norm::new(at, &input, hidden)?,
            attention,
            inner_norm: Norm::new(at, &inner, hidden)?,
            mlp,
        })
    }

    pub fn forward(&self, x: &Value, step: &mut Step<'_, '_>) -> Result<Value> {
        let normed = self.input_norm.forward(x, step.run)?;
        let mixed = self.attention.forward(&normed, step)?;
        let x = step.run.op(Residual, &[x, &mixed])?;
        let normed = self.inner_norm.forward(&x, step.run)?;
        let inner = self.mlp.forward(&normed, step)?;
        step.run.op(Residual, &[&x, &inner])
    }

    pub fn sites(&self) -> impl Iterator<Item = SiteShape> {
        let attention = self.attention.linears().into_iter();
        attention
            .chain(self.mlp.linears())
            .map(|linear| linear.shape())
    }
}
