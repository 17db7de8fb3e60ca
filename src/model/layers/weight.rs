//! A matrix that is frozen in some weight format, or one that learns.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use crate::kernels::linear;
use crate::kernels::loss::Head;
use crate::kernels::quant::{Format, Layer, Matrix, frozen};

/// [outputs, inputs]. Cheap to clone; clones are the same weight.
#[derive(Clone)]
pub(in crate::model) enum Weight {
    Frozen(Arc<Matrix>),
    /// f32; a gradient reaches the variable behind it.
    Learning(Tensor),
}

impl Weight {
    /// (outputs, inputs)
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Frozen(matrix) => Ok(matrix.dims()),
            Self::Learning(tensor) => tensor.dims2(),
        }
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::Frozen(matrix) => matrix.bytes(),
            Self::Learning(tensor) => (tensor.elem_count() * DType::F32.size_in_bytes()) as u64,
        }
    }

    pub fn has_32_bits(&self) -> bool {
        match self {
            Self::Frozen(matrix) => matrix.format() == Some(Format::F32),
            Self::Learning(_) => true,
        }
    }

    /// x·Wᵀ + bias. Without `learn` a weight that learns is used as it stands.
    pub fn project(&self, x: &Tensor, bias: Option<&Bias>, learn: bool) -> Result<Tensor> {
        match (self, bias) {
            (Self::Frozen(matrix), None) => frozen(x, matrix, None),
            (Self::Frozen(matrix), Some(bias)) => frozen(x, matrix, Some(&bias.values)),
            (Self::Learning(tensor), bias) => {
                let y = linear::linear(x, &as_stands(tensor, learn))?;
                match bias {
                    Some(bias) => y.broadcast_add(&as_stands(&bias.tensor, learn)),
                    None => Ok(y),
                }
            }
        }
    }

    /// This weight and its bias as one layer, where they are frozen.
    pub fn frozen_layer<'a>(&'a self, bias: Option<&'a Bias>) -> Option<Layer<'a>> {
        match self {
            Self::Frozen(weight) => Some(Layer {
                weight,
                bias: bias.map(|bias| &bias.values),
            }),
            Self::Learning(_) => None,
        }
    }

    /// The rows with these numbers, [ids, inputs].
    pub fn rows(&self, ids: &[u32], learn: bool) -> Result<Tensor> {
        match self {
            Self::Frozen(matrix) => matrix.gather(ids),
            Self::Learning(tensor) => linear::lookup(&as_stands(tensor, learn), ids),
        }
    }

    pub fn head(&self) -> Head<'_> {
        match self {
            Self::Frozen(matrix) => Head::Frozen(matrix),
            Self::Learning(tensor) => Head::Learning(tensor),
        }
    }
}

/// What is added to every row of a product; learns where its weight does.
pub(in crate::model) struct Bias {
    tensor: Tensor,
    values: Arc<[f32]>,
}

impl Bias {
    pub fn new(tensor: Tensor) -> Result<Self> {
        let values = tensor.to_vec1::<f32>()?.into();
        Ok(Self { tensor, values })
    }
}

/// The tensor itself, or the same numbers without a way back for gradients.
pub(super) fn as_stands(tensor: &Tensor, learn: bool) -> Tensor {
    if learn {
        tensor.clone()
    } else {
        tensor.detach()
    }
}
