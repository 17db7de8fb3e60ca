//! The frozen weights of a base, for kinds whose arithmetic or sizes depend on them.

use std::fmt;
use std::sync::Arc;

use super::{Outer, Place, Site};
use crate::device::Array;
use crate::kernels::quant::Matrix;

pub trait BaseWeights: fmt::Debug + Send + Sync {
    fn shape(&self) -> BaseShape;

    /// Of a linear layer, [outputs, inputs]; `None` where there is none at this site.
    fn matrix(&self, site: Site) -> Option<Arc<Matrix>>;

    /// Every weight by its path, `model.layers.3.self_attn.q_proj.weight`, in the order of a forward; a tied head is none of
    /// its own.
    fn tensors(&self) -> Vec<(String, BaseTensor)>;

    /// The sizes of every weight, in the same order: known also where the weights are not at hand.
    fn sizes(&self) -> Vec<(String, TensorSize)> {
        let tensors = self.tensors().into_iter();
        let sizes = tensors.map(|(path, tensor)| {
            let size = TensorSize {
                dims: tensor.dims(),
                bytes: match &tensor {
                    BaseTensor::Matrix(matrix) => matrix.bytes(),
                    BaseTensor::Vector(array) => array.bytes(),
                },
            };
            (path, size)
        });
        sizes.collect()
    }

    /// The embedding or the head, which may be the same, [vocabulary, hidden]; `None` where they are not at hand.
    fn outer(&self, outer: Outer) -> Option<Arc<Matrix>> {
        let place = match outer {
            Outer::Head if !self.shape().tied => Place::Head,
            _ => Place::Embedding,
        };
        let found = self
            .tensors()
            .into_iter()
            .find(|(path, _)| *path == place.path());
        match found {
            Some((_, BaseTensor::Matrix(matrix))) => Some(matrix),
            _ => None,
        }
    }
}

/// Sizes that adapters must fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BaseShape {
    pub layers: usize,
    /// Of the residual stream.
    pub hidden: usize,
    /// Of queries.
    pub heads: usize,
    pub key_heads: usize,
    /// Numbers of a token's keys in one layer, and of its values.
    pub key_width: usize,
    pub vocab: usize,
    /// The head is the embedding.
    pub tied: bool,
    /// Tokens that a sequence may have; 0 where that is not known.
    pub context: usize,
}

/// One weight. Cheap to clone.
#[derive(Debug, Clone)]
pub enum BaseTensor {
    Matrix(Arc<Matrix>),
    /// [1, n]
    Vector(Array),
}

/// How large one weight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorSize {
    /// (outputs, inputs); a vector has one row.
    pub dims: (usize, usize),
    /// As the base holds it.
    pub bytes: u64,
}

impl BaseTensor {
    /// (outputs, inputs); a vector has one row.
    pub fn dims(&self) -> (usize, usize) {
        match self {
            Self::Matrix(matrix) => matrix.dims(),
            Self::Vector(array) => array.dims(),
        }
    }
}

/// For readers of adapters that change no base.
#[derive(Debug, Clone, Copy)]
pub struct NoWeights;

impl BaseWeights for NoWeights {
    fn shape(&self) -> BaseShape {
        BaseShape::default()
    }

    fn matrix(&self, _: Site) -> Option<Arc<Matrix>> {
        None
    }

    fn tensors(&self) -> Vec<(String, BaseTensor)> {
        Vec::new()
    }
}
