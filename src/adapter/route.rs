//! Which rows of a flat batch each adapter changes, and how a step applies that.

use std::ops::Range;
use std::sync::Arc;

use super::{Adapter, Scales, Site};
use crate::device::{Array, Result, bail};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Layer;
use crate::kernels::scale::{scale_around, scale_rows};
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
    /// What the adapters do at a site.
    fn at(&self, site: Site) -> Changes<'_> {
        let each = self.segments.iter();
        Changes::of(each.map(|(rows, adapter)| (rows.clone(), &**adapter)), site)
    }
}

impl Adapt for Routed {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        self.at(site).through(run, x, layer)
    }

    fn through_each(
        &self,
        run: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        let changes = layers.iter().map(|(site, _)| self.at(*site)).collect();
        through_each(run, x, layers, changes)
    }
}

/// One adapter on every row of any batch, computed as `Routed` computes it.
pub struct Uniform {
    pub adapter: Arc<Adapter>,
}

impl Uniform {
    fn at(&self, site: Site, x: &Value) -> Changes<'_> {
        Changes::of([(0..x.rows(), &*self.adapter)].into_iter(), site)
    }
}

impl Adapt for Uniform {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        self.at(site, x).through(run, x, layer)
    }

    fn through_each(
        &self,
        run: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        let changes = layers.iter().map(|(site, _)| self.at(*site, x)).collect();
        through_each(run, x, layers, changes)
    }
}

/// What adapters do to the rows of one linear layer. Rows of different adapters do not meet, so each row is computed as
/// if it were alone.
struct Changes<'a> {
    /// W x + b, plus these.
    products: Vec<Segment<'a>>,
    scales: Vec<(Range<usize>, &'a Scales)>,
}

impl<'a> Changes<'a> {
    fn of(adapters: impl Iterator<Item = (Range<usize>, &'a Adapter)>, site: Site) -> Self {
        let (mut products, mut scales) = (Vec::new(), Vec::new());
        for (rows, adapter) in adapters {
            if let Some(found) = adapter.scales(site) {
                scales.push((rows.clone(), found));
            }
            if let Some(weights) = adapter.low_rank(site) {
                products.push(Segment { rows, weights });
            }
        }
        Self { products, scales }
    }

    fn scales_inputs(&self) -> bool {
        self.scales.iter().any(|(_, scales)| scales.input.is_some())
    }

    fn through(self, run: Run<'_, '_>, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        if self.products.is_empty() && self.scales.is_empty() {
            return layer.forward(run, x);
        }
        unrecorded(x)?;
        let mut scaled = None;
        if self.scales_inputs() {
            let mut own = (**x).clone();
            for (rows, scales) in &self.scales {
                if let Some(factors) = &scales.input {
                    scale_rows(&mut own, rows.clone(), factors)?;
                }
            }
            scaled = Some(Value::from(own));
        }
        let x = scaled.as_ref().unwrap_or(x);
        let y = match self.products.is_empty() {
            true => layer.forward(run, x)?.into_array(),
            false => segmented::through(x, &[(layer, self.products)])?.remove(0),
        };
        scale_outputs(y, layer, &self.scales)
    }
}

/// [`Changes::through`] for layers that read the same `x`.
fn through_each(
    run: Run<'_, '_>,
    x: &Value,
    layers: &[(Site, Layer<'_>)],
    changes: Vec<Changes<'_>>,
) -> Result<Vec<Value>> {
    if changes.iter().any(Changes::scales_inputs) {
        let layers = layers.iter().zip(changes);
        return layers
            .map(|((_, layer), changes)| changes.through(run, x, layer))
            .collect();
    }
    unrecorded(x)?;
    let (mut parts, mut scales) = (Vec::new(), Vec::new());
    for ((_, layer), changes) in layers.iter().zip(changes) {
        parts.push((layer, changes.products));
        scales.push(changes.scales);
    }
    let outputs = segmented::through(x, &parts)?.into_iter();
    let outputs = outputs.zip(layers).zip(scales);
    outputs
        .map(|((y, (_, layer)), scales)| scale_outputs(y, layer, &scales))
        .collect()
}

fn scale_outputs(
    mut y: Array,
    layer: &Layer<'_>,
    scales: &[(Range<usize>, &Scales)],
) -> Result<Value> {
    for (rows, scales) in scales {
        if let Some(factors) = &scales.around_bias {
            let bias = layer.bias.map(|bias| &bias[..]);
            scale_around(&mut y, rows.clone(), factors, bias)?;
        }
        if let Some(factors) = &scales.output {
            scale_rows(&mut y, rows.clone(), factors)?;
        }
    }
    Ok(y.into())
}

/// Adapters that are served have no way back for gradients.
fn unrecorded(x: &Value) -> Result<()> {
    match x.is_recorded() {
        true => bail!("a gradient would end at an adapter that is served"),
        false => Ok(()),
    }
}
