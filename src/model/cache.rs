//! Keys and values of past positions, in numbered blocks over all layers. Owned by the engine thread.

use crate::kernels::attention::{Pages, Stored};

use super::spec::Spec;

/// Blocks are numbered from 0; which answer uses which is decided by the scheduler.
pub struct Cache {
    layers: Vec<Pages>,
    block_size: usize,
}

impl Cache {
    pub(super) fn new(spec: &Spec, stored: Stored, blocks: usize, block_size: usize) -> Self {
        let pages = || Pages::new(stored, blocks, block_size, spec.kv_heads, spec.head_dim);
        Self {
            layers: (0..spec.layers).map(|_| pages()).collect(),
            block_size,
        }
    }

    pub fn block_size(&self) -> usize {
        self.block_size
    }

    pub(super) fn layer(&mut self, layer: usize) -> Option<&mut Pages> {
        self.layers.get_mut(layer)
    }
}
