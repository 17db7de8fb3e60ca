//! Token ids to the states the first block reads.

use super::Weight;
use crate::adapter::{Adapt, FIRST_VIRTUAL, as_virtual};
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

    /// [T, hidden]
    pub fn forward(&self, tokens: &[u32], run: Run<'_, '_>, adapt: &dyn Adapt) -> Result<Value> {
        let x = match tokens.iter().any(|id| *id >= FIRST_VIRTUAL) {
            false => self.0.rows(run, tokens)?,
            // The base knows no virtual tokens; whatever it makes of them, an adapter replaces.
            true => {
                let known = tokens.iter().map(|id| match as_virtual(*id) {
                    Some(_) => 0,
                    None => *id,
                });
                self.0.rows(run, &known.collect::<Vec<_>>())?
            }
        };
        adapt.embedded(run, tokens, x)
    }
}
