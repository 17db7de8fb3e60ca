//! One decoder block: attention and feed-forward, each around a residual.

use std::sync::Arc;

use super::{At, Attention, GatedMlp, Linear, Norm, Step};
use crate::adapter::{BaseTensor, NormAt, Part, Site, SiteShape, Sublayer};
use crate::device::Result;
use crate::kernels::op::Value;
use crate::kernels::quant::Matrix;
use crate::model::weights::WeightError;

pub(in crate::model) struct Block {
    layer: usize,
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
        let layer = at.layer();
        Ok(Self {
            layer,
            input_norm: Norm::new(at, NormAt::Attention(layer), hidden)?,
            attention,
            inner_norm: Norm::new(at, NormAt::FeedForward(layer), hidden)?,
            mlp,
        })
    }

    pub fn forward(&self, x: &Value, step: &mut Step<'_, '_>) -> Result<Value> {
        let normed = self.input_norm.forward(x, step.run, step.adapt)?;
        let mixed = self.attention.forward(&normed, step)?;
        let x = step
            .adapt
            .residual(step.run, self.sublayer(Part::Attention), x, &mixed)?;
        let normed = self.inner_norm.forward(&x, step.run, step.adapt)?;
        let inner = self.mlp.forward(&normed, step)?;
        let at = self.sublayer(Part::FeedForward);
        step.adapt.residual(step.run, at, &x, &inner)
    }

    fn sublayer(&self, part: Part) -> Sublayer {
        Sublayer {
            layer: self.layer,
            part,
        }
    }

    /// Its frozen weights, by their paths.
    pub fn tensors(&self) -> Vec<(String, BaseTensor)> {
        let linears = self.linears().flat_map(Linear::tensors);
        let norms = [&self.input_norm, &self.inner_norm].into_iter();
        let norms = norms.chain(self.attention.norms()).filter_map(Norm::tensor);
        linears.chain(norms).collect()
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
