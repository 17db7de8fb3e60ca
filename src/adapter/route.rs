//! Which rows of a flat batch each adapter changes, and how a step applies that.

use std::ops::Range;
use std::sync::Arc;

use super::{Adapter, Site};
use crate::device::{Result, bail};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Layer;
use crate::kernels::segmented::{self, Segment};

/// How a step changes what frozen linear layers make of their input.
pub trait Adapt {
    /// What comes out of a layer for `x` [T, in], changed: [T, out].
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value>;

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
}

/// The base alone.
pub struct Unadapted;

impl Adapt for Unadapted {
    fn through(&self, run: Run<'_, '_>, _: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        layer.forward(run, x)
    }
}

/// Row ranges of a flat batch in ascending order, each with its adapter; rows in no range are base rows.
#[derive(Default)]
pub struct Routed {
    pub segments: Vec<(Range<usize>, Arc<Adapter>)>,
}

impl Routed {
    /// Every row is a base row.
    pub fn base() -> Self {
        Self::default()
    }
}

impl Routed {
    fn segments(&self, site: Site) -> Vec<Segment<'_>> {
        let segments = self.segments.iter();
        segments
            .filter_map(|(rows, adapter)| {
                Some(Segment {
                    rows: rows.clone(),
                    weights: adapter.low_rank(site)?,
                })
            })
            .collect()
    }
}

impl Adapt for Routed {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        one(run, x, layer, self.segments(site))
    }

    fn through_each(
        &self,
        _: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        let segments = layers.iter().map(|(site, _)| self.segments(*site));
        each(x, layers, segments)
    }
}

/// One adapter on every row of any batch, computed as `Routed` computes it.
pub struct Uniform {
    pub adapter: Arc<Adapter>,
}

impl Uniform {
    fn segments(&self, site: Site, x: &Value) -> Vec<Segment<'_>> {
        let rows = 0..x.rows();
        let weights = self.adapter.low_rank(site);
        weights
            .map(|weights| Segment { rows, weights })
            .into_iter()
            .collect()
    }
}

impl Adapt for Uniform {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        one(run, x, layer, self.segments(site, x))
    }

    fn through_each(
        &self,
        _: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        let segments = layers.iter().map(|(site, _)| self.segments(*site, x));
        each(x, layers, segments)
    }
}

fn one(
    run: Run<'_, '_>,
    x: &Value,
    layer: &Layer<'_>,
    segments: Vec<Segment<'_>>,
) -> Result<Value> {
    match segments.is_empty() {
        true => layer.forward(run, x),
        false => {
            unrecorded(x)?;
            Ok(segmented::through(x, &[(layer, segments)])?
                .remove(0)
                .into())
        }
    }
}

fn each<'a>(
    x: &Value,
    layers: &'a [(Site, Layer<'a>)],
    segments: impl Iterator<Item = Vec<Segment<'a>>>,
) -> Result<Vec<Value>> {
    unrecorded(x)?;
    let layers: Vec<_> = layers
        .iter()
        .map(|(_, layer)| layer)
        .zip(segments)
        .collect();
    let outputs = segmented::through(x, &layers)?;
    Ok(outputs.into_iter().map(Value::from).collect())
}

/// Adapters that are served have no way back for gradients.
fn unrecorded(x: &Value) -> Result<()> {
    match x.is_recorded() {
        true => bail!("a gradient would end at an adapter that is served"),
        false => Ok(()),
    }
}
