//! A forward through weights that learn.

use std::sync::Arc;

use super::Weights;
use crate::adapter::{Adapt, BaseNorm, Place, Site};
use crate::device::{Array, Result};
use crate::kernels::linear::{Linear, Lookup};
use crate::kernels::loss::LearningHead;
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::{Layer, Matrix};

pub(super) struct Learning<'a>(pub &'a Weights);

impl Learning<'_> {
    /// The weight of a place, recorded where it learns in this stage; `None`: the base's.
    fn weight(&self, run: Run<'_, '_>, place: Place) -> Option<Value> {
        let weights = self.0;
        if let Some(at) = weights.places.get(&place) {
            let (_, parameter) = &weights.learned[*at];
            return Some(match weights.learns_now(place) {
                true => run.parameter(parameter),
                false => parameter.array().into(),
            });
        }
        weights.fixed.get(&place).cloned().map(Value::from)
    }

    fn own_head(&self, run: Run<'_, '_>) -> Option<Value> {
        let head = self.weight(run, Place::Head);
        let tied = || self.weight(run, Place::Embedding).filter(|_| self.0.tied);
        head.or_else(tied)
    }
}

impl Adapt for Learning<'_> {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        let weight = self.weight(run, Place::Weight(site));
        let bias = self.weight(run, Place::Bias(site));
        let weight = match (weight, &bias) {
            (None, None) => return layer.forward(run, x),
            (Some(weight), _) => weight,
            (None, Some(_)) => {
                let dims = layer.weight.dims();
                Array::new(layer.weight.rows(0..dims.0)?, dims)?.into()
            }
        };
        let of_base = || layer.bias.map(|bias| Array::row(bias.to_vec()).into());
        match bias.or_else(of_base) {
            Some(bias) => run.op(Linear, &[x, &weight, &bias]),
            None => run.op(Linear, &[x, &weight]),
        }
    }

    fn embedded(&self, run: Run<'_, '_>, tokens: &[u32], x: Value) -> Result<Value> {
        match self.weight(run, Place::Embedding) {
            Some(weight) => run.op(Lookup(tokens.into()), &[&weight]),
            None => Ok(x),
        }
    }

    fn norm(&self, run: Run<'_, '_>, base: BaseNorm<'_>, x: &Value) -> Result<Value> {
        match self.weight(run, Place::Norm(base.at)) {
            Some(weight) => run.op(base.norm, &[x, &weight]),
            None => run.op(base.norm, &[x, base.weight]),
        }
    }

    fn head(&self, run: Run<'_, '_>, x: &Value, head: &Layer<'_>) -> Result<Value> {
        match self.own_head(run) {
            Some(weight) => run.op(Linear, &[x, &weight]),
            None => head.forward(run, x),
        }
    }

    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        head: &Arc<Matrix>,
    ) -> Result<Value> {
        let learning = |targets| LearningHead { targets };
        match self.own_head(run) {
            Some(weight) => run.op(learning(targets.into()), &[hidden, &weight]),
            None => crate::adapter::Unadapted.token_losses(run, hidden, targets, head),
        }
    }
}
