//! weights: tensors of a base by name, whatever the file they lie in.
//! Knows names, shapes and formats; runs nothing. Names are the module paths of Hugging Face checkpoints.

mod blob;
mod config;
mod convert;
mod fields;
mod folder;
pub mod gguf;
mod keys;
pub mod merge;
mod names;
mod outline;
mod rope;
pub mod synthetic;
#[cfg(test)]
mod testing;

pub(super) use config::LARGEST;
pub use convert::Quant;
pub(super) use fields::Fields;
pub use folder::Folder;
pub use gguf::Gguf;
pub(super) use outline::{Sized, of_config, of_folder, of_gguf};

use super::spec::Spec;
use crate::kernels::quant::Matrix;

/// The tensors of one base. Every tensor is checked against the spec (shape, finite values) before it is returned.
///
/// Names: `model.embed_tokens.weight`, `model.norm.weight`, `lm_head.weight` (absent if [`Spec::tied`]) and, under `model.layers.N.`,
/// `input_layernorm.weight`, `post_attention_layernorm.weight`, `self_attn.{q,k,v,o}_proj.{weight,bias}`, `self_attn.{q,k}_norm.weight`,
/// `mlp.{gate,up,down}_proj.{weight,bias}`. Rows of q and k are in the order of half-split rotation for every kind of file.
pub trait Source {
    fn spec(&self) -> &Spec;
    /// A two-dimensional weight [outputs, inputs], in the format the base is opened with.
    fn matrix(&mut self, path: &str) -> Result<Matrix, WeightError>;
    /// A one-dimensional tensor (norm or bias), f32.
    fn vector(&mut self, path: &str) -> Result<Vec<f32>, WeightError>;
    fn has(&self, path: &str) -> bool;
}

/// Why files cannot be a base. `what` names the file, config key or tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct WeightError {
    pub what: String,
    pub why: String,
}

impl WeightError {
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
        }
    }
}
