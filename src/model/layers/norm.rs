//! Root-mean-square normalisation.

use candle_core::{Result, Tensor};

use super::weight::as_stands;
use super::{At, Step};
use crate::kernels::norm::rms_norm;
use crate::model::weights::WeightError;

pub(in crate::model) struct Norm {
    weight: Tensor,
    eps: f64,
}

impl Norm {
    pub fn new(
        at: &mut At<'_>,
        path: &str,
        width: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            weight: at.vector(path, width)?,
            eps: at.spec().norm_eps,
        })
    }

    /// Every run of `width` values of a row on its own.
    pub fn forward(&self, x: &Tensor, step: &Step<'_>) -> Result<Tensor> {
        rms_norm(x, &as_stands(&self.weight, step.learns()), self.eps)
    }
}
