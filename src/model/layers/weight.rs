//! A matrix that is frozen in some weight format, or one that learns; and vectors of either sort.

use std::sync::Arc;

use crate::device::{Array, Result, bail};
use crate::kernels::linear::{Linear, Lookup};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::{Format, Layer, Matrix};
use crate::kernels::tape::Parameter;

/// [outputs, inputs]. Cheap to clone; clones are the same weight.
#[derive(Clone)]
pub(in crate::model) enum Weight {
    Frozen(Arc<Matrix>),
    /// f32.
    Learning(Parameter),
}

impl Weight {
    /// (outputs, inputs)
    pub fn dims(&self) -> (usize, usize) {
        match self {
            Self::Frozen(matrix) => matrix.dims(),
            Self::Learning(parameter) => parameter.dims(),
        }
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::Frozen(matrix) => matrix.bytes(),
            Self::Learning(parameter) => parameter.array().bytes(),
        }
    }

    pub fn has_32_bits(&self) -> bool {
        match self {
            Self::Frozen(matrix) => matrix.format() == Some(Format::F32),
            Self::Learning(_) => true,
        }
    }

    /// x·Wᵀ + bias.
    pub fn project(&self, run: Run<'_, '_>, x: &Value, bias: Option<&Bias>) -> Result<Value> {
        match (self, bias) {
            (Self::Frozen(_), bias) => match self.frozen_layer(bias) {
                Some(layer) => layer.forward(run, x),
                None => bail!("a bias that learns on a weight that does not"),
            },
            (Self::Learning(weight), None) => run.op(Linear, &[x, &run.parameter(weight)]),
            (Self::Learning(weight), Some(bias)) => {
                let (weight, bias) = (run.parameter(weight), bias.vector.value(run));
                run.op(Linear, &[x, &weight, &bias])
            }
        }
    }

    /// This weight and its bias as one layer, where they are frozen.
    pub fn frozen_layer<'a>(&'a self, bias: Option<&'a Bias>) -> Option<Layer<'a>> {
        match self {
            Self::Frozen(weight) => Some(Layer {
                weight,
                bias: match bias {
                    Some(bias) => Some(bias.frozen.as_ref()?),
                    None => None,
                },
            }),
            Self::Learning(_) => None,
        }
    }

    /// The rows with these numbers, [ids, inputs].
    pub fn rows(&self, run: Run<'_, '_>, ids: &[u32]) -> Result<Value> {
        match self {
            Self::Frozen(matrix) => Ok(matrix.gather(ids)?.into()),
            Self::Learning(weight) => run.op(Lookup(ids.into()), &[&run.parameter(weight)]),
        }
    }
}

/// [1, n], frozen or learning.
#[derive(Clone)]
pub(in crate::model) enum Vector {
    Frozen(Array),
    Learning(Parameter),
}

impl Vector {
    pub fn array(&self) -> Array {
        match self {
            Self::Frozen(array) => array.clone(),
            Self::Learning(parameter) => parameter.array(),
        }
    }

    pub fn value(&self, run: Run<'_, '_>) -> Value {
        match self {
            Self::Frozen(array) => array.clone().into(),
            Self::Learning(parameter) => run.parameter(parameter),
        }
    }
}

/// What is added to every row of a product; learns where its weight does.
pub(in crate::model) struct Bias {
    vector: Vector,
    /// As products with frozen weights take it; `None` where it learns.
    frozen: Option<Arc<[f32]>>,
}

impl Bias {
    pub fn new(vector: Vector) -> Self {
        let frozen = match &vector {
            Vector::Frozen(array) => Some(array.values().into()),
            Vector::Learning(_) => None,
        };
        Self { vector, frozen }
    }

    /// Where it is frozen.
    pub fn array(&self) -> Option<Array> {
        match &self.vector {
            Vector::Frozen(array) => Some(array.clone()),
            Vector::Learning(_) => None,
        }
    }
}
