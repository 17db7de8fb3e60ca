//! One decoder block: attention and feed-forward, each around a residual.

use std::sync::Arc;

use super::{At, Attention, GatedMlp, Linear, Norm, Step};
use crate::adapter::{Site, SiteShape};
use crate::device::Result;
use crate::kernels::activation::Residual;
use crate::kernels::op::Value;
use crate::kernels::quant::Matrix;
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

    fn linears(&self) -> impl Iterator<Item = &Linear> {
        let attention = self.attention.linears().into_iter();
        attention.chain(self.mlp.linears())
    }

    pub fn sites(&self) -> impl Iterator<Item = SiteShape> {
        self.linears().map(Linear::shape)
    }

    /// The frozen weight of one of its linear layers.
    pub fn matrix(&self, site: Site) -> Option<Arc<Matrix>> {
        let mut linears = self.linears();
        linears.find(|linear| linear.shape().site == site)?.matrix()
    }
}
