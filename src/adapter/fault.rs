//! Why a folder is not an adapter of this base, and what it has to fit.

use super::{BaseWeights, SiteShape};
use crate::kernels::segmented::Precision;

/// `field` names the configuration key, the tensor or the file at fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct AdapterFault {
    pub field: String,
    pub why: String,
}

impl AdapterFault {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// What an adapter must fit.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// Every linear layer of the base that an adapter may change.
    pub sites: &'a [SiteShape],
    pub base_digest: [u8; 32],
    pub weights: &'a dyn BaseWeights,
    pub max_rank: usize,
    /// What weights are rounded to in memory.
    pub precision: Precision,
}
