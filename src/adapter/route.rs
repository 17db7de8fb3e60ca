//! Which rows of a flat batch each adapter changes, and how a step applies that.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use super::{Adapter, Site, SiteMap};
use crate::kernels::quant::Layer;
use crate::kernels::segmented::{self, LowRank, Output, Rows, RowsMut, Segment};

/// How a step changes the output of a linear layer: `y` [T, out] is what the base made of `x` [T, in].
/// Serving implements it by segmented kernels (`Routed`), training by tracked tensors.
pub trait Adapt {
    fn apply(&self, site: Site, x: &Tensor, y: Tensor) -> Result<Tensor>;

    /// What comes out of a frozen layer for `x`, changed; for those that can do both in one.
    fn through(&self, site: Site, x: &Tensor, layer: &Layer<'_>) -> Result<Tensor> {
        self.apply(site, x, layer.forward(x)?)
    }

    /// As `through`, for layers that read the same `x`.
    fn through_each(&self, x: &Tensor, layers: &[(Site, Layer<'_>)]) -> Result<Vec<Tensor>> {
        let layers = layers.iter();
        layers
            .map(|(site, layer)| self.through(*site, x, layer))
            .collect()
    }
}

/// The base alone.
pub struct Unadapted;

impl Adapt for Unadapted {
    fn apply(&self, _: Site, _: &Tensor, y: Tensor) -> Result<Tensor> {
        Ok(y)
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
    /// Changes `y` in place: it must not share its storage with a tensor that is still needed. Untracked.
    fn apply(&self, site: Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        add(&self.segments(site), x, y)
    }

    fn through(&self, site: Site, x: &Tensor, layer: &Layer<'_>) -> Result<Tensor> {
        through(self.segments(site), x, layer)
    }

    fn through_each(&self, x: &Tensor, layers: &[(Site, Layer<'_>)]) -> Result<Vec<Tensor>> {
        let layers: Vec<_> = layers
            .iter()
            .map(|(site, layer)| (layer, self.segments(*site)))
            .collect();
        segmented::through(x, &layers)
    }
}

/// One adapter on every row of any batch, computed as `Routed` computes it.
pub struct Uniform {
    pub low_rank: SiteMap<LowRank>,
}

impl Uniform {
    fn segments(&self, site: Site, x: &Tensor) -> Result<Vec<Segment<'_>>> {
        let rows = 0..x.dim(0)?;
        let weights = self.low_rank.get(site);
        Ok(weights
            .map(|weights| Segment { rows, weights })
            .into_iter()
            .collect())
    }
}

impl Adapt for Uniform {
    /// In place and untracked, as [`Routed::apply`].
    fn apply(&self, site: Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        add(&self.segments(site, x)?, x, y)
    }

    fn through(&self, site: Site, x: &Tensor, layer: &Layer<'_>) -> Result<Tensor> {
        through(self.segments(site, x)?, x, layer)
    }

    fn through_each(&self, x: &Tensor, layers: &[(Site, Layer<'_>)]) -> Result<Vec<Tensor>> {
        let layers = layers
            .iter()
            .map(|(site, layer)| Ok((layer, self.segments(*site, x)?)))
            .collect::<Result<Vec<_>>>()?;
        segmented::through(x, &layers)
    }
}

fn add(segments: &[Segment<'_>], x: &Tensor, y: Tensor) -> Result<Tensor> {
    if !segments.is_empty() {
        y.inplace_op2(x, &AddLowRank { segments })?;
    }
    Ok(y)
}

fn through(segments: Vec<Segment<'_>>, x: &Tensor, layer: &Layer<'_>) -> Result<Tensor> {
    match segments.is_empty() {
        true => layer.forward(x),
        false => Ok(segmented::through(x, &[(layer, segments)])?.remove(0)),
    }
}

struct AddLowRank<'a> {
    segments: &'a [Segment<'a>],
}

impl InplaceOp2 for AddLowRank<'_> {
    fn name(&self) -> &'static str {
        "add-low-rank"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(y), CpuStorage::F32(x)) = (y, x) else {
            bail!("adapters compute in f32, on both sides of a linear layer")
        };
        let x = Rows {
            data: &x[x_layout.start_offset()..],
            stride: row_stride(x_layout)?,
        };
        let stride = row_stride(y_layout)?;
        let y = RowsMut {
            data: &mut y[y_layout.start_offset()..],
            stride,
        };
        let segments = self.segments;
        segmented::add(x, &mut [Output { y, segments }]).map_err(candle_core::Error::wrap)
    }
}

/// Distance between rows of a [T, width] layout whose numbers lie side by side within a row.
fn row_stride(layout: &Layout) -> Result<usize> {
    match (layout.dims(), layout.stride()) {
        // A stride says nothing where there is only one row or column.
        ([1, width], [_, step]) if *step == 1 || *width == 1 => Ok(*width),
        ([_, width], [stride, step]) if (*step == 1 || *width == 1) && stride >= width => {
            Ok(*stride)
        }
        _ => bail!("adapters need rows of contiguous numbers, not {layout:?}"),
    }
}
