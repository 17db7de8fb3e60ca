//! Random bases for tests of this layer and of those above it.

use std::collections::HashMap;

use super::Model;
use super::spec::Spec;
use super::weights::{Source, WeightError};
use crate::device::Array;
use crate::kernels::quant::{Format, Matrix};
use crate::kernels::testing::noise;

/// Starting values that leave nothing at its neutral value, so that a forgotten norm or bias shows.
pub fn random_start(scale: f32, seed: u64) -> impl FnMut(&str, (usize, usize)) -> Vec<f32> {
    let mut draws = 0;
    move |path, dims| {
        draws += 1;
        let mut values = noise(dims, scale, seed + draws).into_values();
        if path.ends_with("norm.weight") {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        values
    }
}

/// A base with the values of a model that learns, its matrices rounded to `format`.
pub struct Values {
    pub spec: Spec,
    arrays: HashMap<String, Array>,
    format: Format,
}

impl Values {
    pub fn of(learning: &Model, format: Format) -> Self {
        let parameters = learning.learning_parameters().iter();
        Self {
            spec: learning.spec().clone(),
            arrays: parameters
                .map(|(path, parameter)| (path.clone(), parameter.array()))
                .collect(),
            format,
        }
    }

    fn find(&self, path: &str) -> Result<&Array, WeightError> {
        let found = self.arrays.get(path);
        found.ok_or_else(|| WeightError::new(path, "missing"))
    }
}

impl Source for Values {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn matrix(&mut self, path: &str) -> Result<Matrix, WeightError> {
        let array = self.find(path)?;
        Matrix::quantize(array, self.format).map_err(|e| WeightError::new(path, e.to_string()))
    }

    fn vector(&mut self, path: &str) -> Result<Vec<f32>, WeightError> {
        Ok(self.find(path)?.values().to_vec())
    }

    fn has(&self, path: &str) -> bool {
        self.arrays.contains_key(path)
    }
}
