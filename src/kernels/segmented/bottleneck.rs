//! Bottlenecks of many adapters over one flat batch: two products each, and a non-linearity between them.

use std::ops::Range;

use super::work::Call;
use super::{LowRank, Rows, RowsMut, Segment, check};
use crate::device::{Array, Error, Result, bail};
use crate::kernels::nonlinear::Activation;
use crate::kernels::pool;
use crate::kernels::simd::{self, Tier};

/// Values of outputs that a task takes at a time.
const TILE: usize = 1 << 14;

/// `scale · (W_up f(W_down x + b_down) + b_up)`
#[derive(Debug)]
pub struct Bottleneck {
    weights: LowRank,
    activation: Activation,
    scale: f32,
    /// [rank]
    down: Vec<f32>,
    /// [outputs], scaled.
    up: Vec<f32>,
}

impl Bottleneck {
    /// `weights` has W_down [rank, inputs] and W_up [outputs, rank] at a scale of 1; `down` and `up` are the biases behind
    /// them. `None` where sizes do not agree.
    pub fn new(
        weights: LowRank,
        activation: Activation,
        scale: f32,
        [down, up]: [Vec<f32>; 2],
    ) -> Option<Self> {
        let fits =
            weights.scale() == 1.0 && (down.len(), up.len()) == (weights.rank(), weights.outputs());
        fits.then(|| Self {
            weights,
            activation,
            scale,
            down,
            up: up.into_iter().map(|bias| scale * bias).collect(),
        })
    }

    /// Memory of this one alone.
    pub fn bytes(&self) -> u64 {
        let biases = self.down.len() + self.up.len();
        self.weights.bytes() + (size_of::<f32>() * biases) as u64
    }
}

/// Adds to rows of y [T, n] what each one's bottleneck makes of the same row of x [T, k]. The rows of a bottleneck come
/// behind those of the one before it.
pub fn add_bottlenecks(
    x: &Array,
    y: &mut Array,
    each: &[(Range<usize>, &Bottleneck)],
) -> Result<()> {
    add_on(simd::tier(), x, y, each)
}

pub(super) fn add_on(
    tier: Tier,
    x: &Array,
    y: &mut Array,
    each: &[(Range<usize>, &Bottleneck)],
) -> Result<()> {
    if each.is_empty() {
        return Ok(());
    }
    let (rows, stride) = y.dims();
    if x.rows() != rows {
        bail!("bottlenecks from {x:?} to {y:?}");
    }
    let from = Rows {
        data: x.values(),
        stride: x.width(),
    };
    let segments: Vec<Segment<'_>> = each
        .iter()
        .map(|(rows, bottleneck)| Segment {
            rows: rows.clone(),
            weights: &bottleneck.weights,
        })
        .collect();
    check(from, (rows * stride, stride), &segments).map_err(Error::of)?;
    let call = Call::new(tier, from, std::iter::once(&segments[..]));
    let mut hidden = call.shrink();
    call.change_each(&mut hidden, |segment, row| {
        let Bottleneck {
            activation,
            scale,
            down,
            ..
        } = each[segment].1;
        for (value, bias) in row.iter_mut().zip(down) {
            *value = scale * activation.of(*value + bias);
        }
    });
    for (rows, bottleneck) in each {
        let part = &mut y.values_mut()[rows.start * stride..rows.end * stride];
        let some = pool::rows_of(TILE, stride);
        pool::over_rows(part, stride.max(1), some, |_, part| {
            for row in part.chunks_exact_mut(stride.max(1)) {
                let places = row.iter_mut().zip(&bottleneck.up);
                places.for_each(|(y, bias)| *y += bias);
            }
        });
    }
    let output = RowsMut {
        data: y.values_mut(),
        stride,
    };
    call.expand_each(&hidden, &mut [output]);
    Ok(())
}
