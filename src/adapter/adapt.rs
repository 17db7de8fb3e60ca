//! What a forward asks of adapters, point by point.

use std::sync::Arc;

use super::points::{BaseNorm, Past, Sublayer};
use super::{Routed, Site};
use crate::device::{Array, Result, bail};
use crate::kernels::activation::Residual;
use crate::kernels::loss::FrozenHead;
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::{Layer, Matrix};

/// How adapters change a forward, point by point; what is not said is as in the base.
pub trait Adapt {
    /// What comes out of a layer for `x` [T, in], changed: [T, out].
    fn through(&self, run: Run<'_, '_>, _: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        layer.forward(run, x)
    }

    /// As `through`, for layers that read the same `x`.
    fn through_each(
        &self,
        run: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        let layers = layers.iter();
        layers
            .map(|(site, layer)| self.through(run, *site, x, layer))
            .collect()
    }

    /// Virtual tokens that belong before every text.
    fn virtual_tokens(&self) -> usize {
        0
    }

    /// What enters the first layer for `tokens`, of which the base makes `x` [T, hidden].
    fn embedded(&self, _: Run<'_, '_>, _tokens: &[u32], x: Value) -> Result<Value> {
        Ok(x)
    }

    fn norm(&self, run: Run<'_, '_>, base: BaseNorm<'_>, x: &Value) -> Result<Value> {
        run.op(base.norm, &[x, base.weight])
    }

    /// The residual stream after a sublayer that makes `y` of the stream `x`, both [T, hidden].
    fn residual(&self, run: Run<'_, '_>, _: Sublayer, x: &Value, y: &Value) -> Result<Value> {
        run.op(Residual, &[x, y])
    }

    /// Keys and values of virtual tokens that an adapter holds, where `tokens` has any.
    fn past(&self, _layer: usize, _tokens: &[u32]) -> Result<Option<Past>> {
        Ok(None)
    }

    /// Keys, turned, and values [T, key width] of a layer, with those of virtual tokens in their places.
    fn with_past(
        &self,
        _: Run<'_, '_>,
        layer: usize,
        tokens: &[u32],
        [keys, values]: [Value; 2],
    ) -> Result<[Value; 2]> {
        let Some(past) = self.past(layer, tokens)? else {
            return Ok([keys, values]);
        };
        Ok([
            scatter(keys, &past.rows, &past.keys)?,
            scatter(values, &past.rows, &past.values)?,
        ])
    }

    /// Logits of hidden rows [R, hidden].
    fn head(&self, run: Run<'_, '_>, x: &Value, head: &Layer<'_>) -> Result<Value> {
        head.forward(run, x)
    }

    /// Cross entropy (natural log) of hidden rows [R, hidden] against their targets: [R, 1].
    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        head: &Arc<Matrix>,
    ) -> Result<Value> {
        let (weight, targets) = (head.clone(), targets.into());
        run.op(FrozenHead { weight, targets }, &[hidden])
    }

    /// The same for rows picked out of a batch, in their order; `None` where rows do not matter.
    fn of_rows(&self, _rows: &[usize]) -> Option<Routed> {
        None
    }
}

/// The base alone.
pub struct Unadapted;

impl Adapt for Unadapted {}

/// The rows of `part` in place of those rows of `all`.
pub(super) fn scatter(all: Value, rows: &[usize], part: &Array) -> Result<Value> {
    unrecorded(&all)?;
    let mut all = all.into_array();
    let width = all.width();
    if part.dims() != (rows.len(), width) {
        bail!("{part:?} in place of {} rows of {all:?}", rows.len());
    }
    let values = all.values_mut();
    for (row, part) in rows.iter().zip(part.values().chunks_exact(width.max(1))) {
        values[row * width..(row + 1) * width].copy_from_slice(part);
    }
    Ok(all.into())
}

/// Adapters that are served have no way back for gradients.
pub(super) fn unrecorded(x: &Value) -> Result<()> {
    match x.is_recorded() {
        true => bail!("a gradient would end at an adapter that is served"),
        false => Ok(()),
    }
}
