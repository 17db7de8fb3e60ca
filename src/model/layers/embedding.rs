//! Token ids to the states the first block reads.

use super::Weight;
use crate::device::Result;
use crate::kernels::op::{Run, Value};

pub(in crate::model) struct Embedding(Weight);

impl Embedding {
    pub fn new(weight: Weight) -> Self {
        Self(weight)
    }

    /// The matrix, for a head that is tied to it.
    pub fn weight(&self) -> &Weight {
        &self.0
    }

    pub fn forward(&self, tokens: &[u32], run: Run<'_, '_>) -> Result<Value> {
        self.0.rows(run, tokens)
    }
}
