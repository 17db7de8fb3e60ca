//! What one forward knows besides its rows: positions, adapters, and what attention reads.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::Cache;
use crate::adapter::Adapt;
use crate::kernels::attention::{self, Attend, Query};
use crate::kernels::rotary::{Angles, rotate};

pub(super) struct Step<'a> {
    pub angles: Angles,
    pub adapt: &'a dyn Adapt,
    pub mode: Mode<'a>,
}

/// The two lives of a model.
pub(super) enum Mode<'a> {
    /// Learning: rows attend within their record; everything is tracked.
    Packed(&'a [Range<usize>]),
    /// Serving: rows write their keys and values to a cache and attend over it; nothing is tracked.
    Paged {
        cache: &'a mut Cache,
        queries: Vec<Query<'a>>,
        slots: Vec<(u32, usize)>,
    },
}

impl Step<'_> {
    pub fn learns(&self) -> bool {
        matches!(self.mode, Mode::Packed(_))
    }

    /// What attention makes of the queries, keys and values of this step's rows, which it turns.
    pub fn attend(
        &mut self,
        layer: usize,
        [q, k, v]: [&Tensor; 3],
        attend: Attend,
    ) -> Result<Tensor> {
        match &mut self.mode {
            Mode::Packed(ranges) => {
                let (q, k) = (rotate(q, &self.angles)?, rotate(k, &self.angles)?);
                attention::packed(&q, &k, v, ranges, attend)
            }
            Mode::Paged {
                cache,
                queries,
                slots,
            } => {
                let Some(pages) = cache.layer(layer) else {
                    bail!("a cache without layer {layer}")
                };
                // Turned on their way to the cache and into the scores: no pass over them of its own.
                let angles = Some(&self.angles);
                pages.store(k, v, angles, slots)?;
                attention::paged(q, angles, pages, queries, attend)
            }
        }
    }
}
