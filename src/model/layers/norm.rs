//! Root-mean-square normalisation.

use super::At;
use super::weight::Vector;
use crate::device::Result;
use crate::kernels::norm::RmsNorm;
use crate::kernels::op::{Run, Value};
use crate::model::weights::WeightError;

pub(in crate::model) struct Norm {
    weight: Vector,
    eps: f32,
}

impl Norm {
    pub fn new(
        at: &mut At<'_>,
        path: &str,
        width: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            weight: at.vector(path, width)?,
            eps: at.spec().norm_eps as f32,
        })
    }

    /// Every run of `width` values of a row on its own.
    pub fn forward(&self, x: &Value, run: Run<'_, '_>) -> Result<Value> {
        let norm = RmsNorm { eps: self.eps };
        run.op(norm, &[x, &self.weight.value(run)])
    }
}
