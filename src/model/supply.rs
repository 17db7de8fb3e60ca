//! Where layers get their weights while a model is built: frozen from a [`Source`], or parameters that learn.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::groups::{WeightGroup, count};
use super::layers::{Vector, Weight};
use super::spec::Spec;
use super::weights::{Source, WeightError};
use crate::device::Array;
use crate::kernels::tape::Parameter;

pub(super) trait Supply {
    fn spec(&self) -> &Spec;
    /// A weight of exactly this shape, [outputs, inputs].
    fn matrix(&mut self, path: &str, shape: (usize, usize)) -> Result<Weight, WeightError>;
    /// An f32 vector of exactly this length.
    fn vector(&mut self, path: &str, len: usize) -> Result<Vector, WeightError>;
}

/// A supply, the layer that is being built, and a tally of what was taken.
pub(super) struct At<'a> {
    supply: &'a mut dyn Supply,
    layer: usize,
    pub taken: Taken,
}

#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub parameters: u64,
    pub bytes: u64,
    /// Every matrix is held as f32.
    pub single: bool,
    /// Of frozen matrices.
    pub groups: Vec<WeightGroup>,
}

impl<'a> At<'a> {
    pub fn new(supply: &'a mut dyn Supply) -> Self {
        Self {
            supply,
            layer: 0,
            taken: Taken {
                parameters: 0,
                bytes: 0,
                single: true,
                groups: Vec::new(),
            },
        }
    }

    pub fn in_layer(&mut self, layer: usize) -> &mut Self {
        self.layer = layer;
        self
    }

    pub fn layer(&self) -> usize {
        self.layer
    }

    pub fn spec(&self) -> &Spec {
        self.supply.spec()
    }

    pub fn matrix(&mut self, path: &str, shape: (usize, usize)) -> Result<Weight, WeightError> {
        let weight = self.supply.matrix(path, shape)?;
        let found = weight.dims();
        if found != shape {
            return Err(WeightError::new(
                path,
                format!("has shape {found:?}, expected {shape:?}"),
            ));
        }
        self.taken.parameters += (shape.0 * shape.1) as u64;
        self.taken.bytes += weight.bytes();
        self.taken.single &= weight.has_32_bits();
        if let Weight::Frozen(matrix) = &weight {
            count(&mut self.taken.groups, path, matrix);
        }
        Ok(weight)
    }

    pub fn vector(&mut self, path: &str, len: usize) -> Result<Vector, WeightError> {
        let vector = self.supply.vector(path, len)?;
        let found = vector.array().len();
        if found != len {
            let why = format!("has shape [{found}], expected [{len}]");
            return Err(WeightError::new(path, why));
        }
        self.taken.parameters += len as u64;
        self.taken.bytes += 4 * len as u64;
        Ok(vector)
    }
}

/// Weights of a base, never to change.
pub(super) struct Frozen<'a>(pub &'a mut dyn Source);

impl Supply for Frozen<'_> {
    fn spec(&self) -> &Spec {
        self.0.spec()
    }

    fn matrix(&mut self, path: &str, _shape: (usize, usize)) -> Result<Weight, WeightError> {
        Ok(Weight::Frozen(self.0.matrix(path)?.into()))
    }

    fn vector(&mut self, path: &str, _len: usize) -> Result<Vector, WeightError> {
        Ok(Vector::Frozen(Array::row(self.0.vector(path)?)))
    }
}

/// Values of one parameter, by its path and sizes; a vector has one row.
pub type Initial<'a> = dyn FnMut(&str, (usize, usize)) -> Vec<f32> + 'a;

/// Parameters, each starting at what `initial` says.
pub(super) struct Learning<'a> {
    pub spec: &'a Spec,
    pub initial: &'a mut Initial<'a>,
    pub parameters: Vec<(String, Parameter)>,
}

impl Learning<'_> {
    fn parameter(&mut self, path: &str, dims: (usize, usize)) -> Result<Parameter, WeightError> {
        let start = Array::new((self.initial)(path, dims), dims);
        let start = start.map_err(|e| WeightError::new(path, e.to_string()))?;
        let parameter = Parameter::new(start);
        self.parameters.push((path.to_owned(), parameter.clone()));
        Ok(parameter)
    }
}

impl Supply for Learning<'_> {
    fn spec(&self) -> &Spec {
        self.spec
    }

    fn matrix(&mut self, path: &str, shape: (usize, usize)) -> Result<Weight, WeightError> {
        self.parameter(path, shape).map(Weight::Learning)
    }

    fn vector(&mut self, path: &str, len: usize) -> Result<Vector, WeightError> {
        self.parameter(path, (1, len)).map(Vector::Learning)
    }
}

/// GPT-2's start: norms 1, biases 0, weights normal with deviation 0.02, those that write to the residual stream smaller
/// by √(2·layers). The same seed gives the same numbers.
pub fn seeded(spec: &Spec, seed: u64) -> impl FnMut(&str, (usize, usize)) -> Vec<f32> + use<> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let to_residual = 0.02 / (2.0 * spec.layers as f32).sqrt();
    move |path, (rows, width)| {
        let count = rows * width;
        match path {
            _ if path.ends_with("norm.weight") => vec![1.0; count],
            _ if path.ends_with(".bias") => vec![0.0; count],
            _ => {
                let writes = ["o_proj.weight", "down_proj.weight"]
                    .iter()
                    .any(|end| path.ends_with(end));
                let deviation = if writes { to_residual } else { 0.02 };
                (0..count)
                    .map(|_| normal(&mut random) * deviation)
                    .collect()
            }
        }
    }
}

/// One draw of the standard normal distribution (Box and Muller).
fn normal(random: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * random.random::<f32>()).cos()
}
