//! What the engine needs of a model.

use std::sync::Arc;

use crate::adapter::Routed;
use crate::device::{Array, Result, bail};
use crate::model::{Base, Batch, Cache};

pub trait Forward {
    type Cache;
    /// Of the weights: what is cached is theirs.
    fn digest(&self) -> [u8; 32];
    /// Cached keys of equal tokens are equal for prompts of this number in common.
    fn key_class(&self, _prompt: usize) -> usize {
        0
    }
    fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Self::Cache>;
    /// Logits [wanted rows, vocab] of one ragged batch; its keys and values are in the cache afterwards.
    fn serve(&self, batch: &Batch, cache: &mut Self::Cache, adapters: &Routed) -> Result<Array>;
    /// The same, and hidden states after the last norm [state_rows, hidden] beside the logits.
    fn serve_with_states(
        &self,
        _batch: &Batch,
        _state_rows: &[usize],
        _cache: &mut Self::Cache,
        _adapters: &Routed,
    ) -> Result<[Array; 2]> {
        bail!("this model tells no hidden states")
    }
}

impl Forward for Arc<Base> {
    type Cache = Cache;

    fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn key_class(&self, prompt: usize) -> usize {
        self.model.key_class(prompt)
    }

    fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Cache> {
        self.model.new_cache(blocks, block_size)
    }

    fn serve(&self, batch: &Batch, cache: &mut Cache, adapters: &Routed) -> Result<Array> {
        self.model.serve(batch, cache, adapters)
    }

    fn serve_with_states(
        &self,
        batch: &Batch,
        state_rows: &[usize],
        cache: &mut Cache,
        adapters: &Routed,
    ) -> Result<[Array; 2]> {
        let model = &self.model;
        model.serve_with_states(batch, state_rows, cache, adapters)
    }
}
