//! Root-mean-square normalisation.

use super::At;
use super::weight::Vector;
use crate::adapter::{Adapt, BaseNorm, BaseTensor, NormAt};
use crate::device::Result;
use crate::kernels::norm::RmsNorm;
use crate::kernels::op::{Run, Value};
use crate::model::weights::WeightError;

pub(in crate::model) struct Norm {
    at: NormAt,
    weight: Vector,
    eps: f32,
}

impl Norm {
    pub fn new(
        at: &mut At<'_>,
        norm: NormAt,
        width: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            at: norm,
            weight: at.vector(&norm.path(), width)?,
            eps: at.spec().norm_eps as f32,
        })
    }

    /// Every run of `width` values of a row on its own.
    pub fn forward(&self, x: &Value, run: Run<'_, '_>, adapt: &dyn Adapt) -> Result<Value> {
        let base = BaseNorm {
            at: self.at,
            norm: RmsNorm { eps: self.eps },
            weight: &self.weight.value(run),
        };
        adapt.norm(run, base, x)
    }

    /// Its weight, where it is frozen.
    pub fn tensor(&self) -> Option<(String, BaseTensor)> {
        match &self.weight {
            Vector::Frozen(array) => Some((self.at.path(), BaseTensor::Vector(array.clone()))),
            Vector::Learning(_) => None,
        }
    }
}
