//! What one forward knows besides its rows: positions, adapters, and what attention reads.

use std::ops::Range;
use std::sync::Arc;

use super::Cache;
use crate::adapter::Adapt;
use crate::device::{Result, bail};
use crate::kernels::attention::{self, Attend, Packed, Query};
use crate::kernels::op::{Run, Value};
use crate::kernels::rotary::{Angles, Rotate};

pub(super) struct Step<'s, 'a> {
    pub run: Run<'s, 'a>,
    pub tokens: &'s [u32],
    pub angles: Angles,
    pub adapt: &'s dyn Adapt,
    pub mode: Mode<'s>,
}

/// What a forward is for.
pub(super) enum Mode<'s> {
    /// Learning: rows attend within their record.
    Packed(Arc<[Range<usize>]>),
    /// Serving: rows write their keys and values to a cache and attend over it; nothing is recorded.
    Paged {
        cache: &'s mut Cache,
        queries: Vec<Query<'s>>,
        slots: Vec<(u32, usize)>,
    },
}

impl Step<'_, '_> {
    /// What attention makes of the queries, keys and values of this step's rows, which it turns.
    pub fn attend(
        &mut self,
        layer: usize,
        [q, k, v]: [&Value; 3],
        attend: Attend,
    ) -> Result<Value> {
        match &mut self.mode {
            Mode::Packed(ranges) => {
                let turn = |x: &Value| self.run.op(Rotate(self.angles.clone()), &[x]);
                let ranges = ranges.clone();
                let op = Packed { ranges, attend };
                let pair = [turn(k)?, v.clone()];
                let [k, v] = self.adapt.with_past(self.run, layer, self.tokens, pair)?;
                self.run.op(op, &[&turn(q)?, &k, &v])
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
                if let Some(past) = self.adapt.past(layer, self.tokens)? {
                    let slots: Vec<_> = past.rows.iter().map(|row| slots[*row]).collect();
                    pages.store(&past.keys, &past.values, None, &slots)?;
                }
                attention::paged(q, angles, pages, queries, attend).map(Value::from)
            }
        }
    }
}
