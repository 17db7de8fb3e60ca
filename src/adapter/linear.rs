//! What adapters that are served do to the rows of one linear layer.

use std::ops::Range;

use super::adapt::unrecorded;
use super::{Adapter, Scales, Site};
use crate::device::{Array, Result};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Layer;
use crate::kernels::scale::{scale_around, scale_rows, shift_rows};
use crate::kernels::segmented::{self, LowRank, Segment};

/// What adapters do to the rows of one linear layer. Rows of different adapters do not meet, so each row is computed as
/// if it were alone.
#[derive(Default)]
pub(super) struct AtLinear<'a> {
    /// W x + b, plus these.
    products: Vec<Segment<'a>>,
    scales: Vec<(Range<usize>, &'a Scales)>,
}

impl<'a> AtLinear<'a> {
    pub(super) fn of(
        adapters: impl Iterator<Item = (Range<usize>, &'a Adapter)>,
        site: Site,
    ) -> Self {
        let mut all = Self::default();
        for (rows, adapter) in adapters {
            all.put(rows, adapter.products(site), adapter.scales(site));
        }
        all
    }

    /// What one adapter does to rows after those that are known.
    pub(super) fn put(
        &mut self,
        rows: Range<usize>,
        products: impl IntoIterator<Item = &'a LowRank>,
        scales: Option<&'a Scales>,
    ) {
        if let Some(found) = scales {
            self.scales.push((rows.clone(), found));
        }
        for weights in products {
            let rows = rows.clone();
            self.products.push(Segment { rows, weights });
        }
    }

    fn scales_inputs(&self) -> bool {
        self.scales.iter().any(|(_, scales)| scales.input.is_some())
    }

    pub(super) fn through(self, run: Run<'_, '_>, x: &Value, layer: &Layer<'_>) -> Result<Value> {
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

/// [`AtLinear::through`] for layers that read the same `x`.
pub(super) fn through_each(
    run: Run<'_, '_>,
    x: &Value,
    layers: &[(Site, Layer<'_>)],
    changes: Vec<AtLinear<'_>>,
) -> Result<Vec<Value>> {
    if changes.iter().any(AtLinear::scales_inputs) {
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
        if let Some(shift) = &scales.shift {
            shift_rows(&mut y, rows.clone(), shift)?;
        }
    }
    Ok(y.into())
}
