//! Token ids to the states the first block reads.

use candle_core::{Result, Tensor};

use super::{Step, Weight};

pub(in crate::model) struct Embedding(Weight);

impl Embedding {
    pub fn new(weight: Weight) -> Self {
        Self(weight)
    }

    /// The matrix, for a head that is tied to it.
    pub fn weight(&self) -> &Weight {
        &self.0
    }

    pub fn forward(&self, tokens: &[u32], step: &Step<'_>) -> Result<Tensor> {
        self.0.rows(tokens, step.learns())
    }
}
