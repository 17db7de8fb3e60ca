//! segmented: what many low-rank adapters add to one flat batch, in one call.
//!
//! `y[rows] += scale · (x[rows] Aᵀ) Bᵀ` for every segment of rows, each at its own rank, without padding and without
//! touching the rows between segments. Segments over the very same rows add up, in their order: so several adapters are
//! blended. The numbers of a row depend on that row alone, bit for bit: every sum runs over one accumulator in the order of
//! its index, whatever other rows, segments or threads take part.
//!
//! For serving; adapters that learn have operations with a backward.

mod blob;
mod bottleneck;
mod layout;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod plain;
mod store;
#[cfg(test)]
mod tests;
mod through;
mod work;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

pub use bottleneck::{Bottleneck, add_bottlenecks};
pub use layout::LAYOUT;
pub use store::{Factors, Form, LowRank, Matrix, Numbers, Precision};
pub use through::through;

/// Rows of one adapter.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    pub rows: Range<usize>,
    pub weights: &'a LowRank,
}

/// Read-only rows of equal width, `stride` apart.
#[derive(Debug, Clone, Copy)]
struct Rows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

/// Rows that are changed.
#[derive(Debug)]
struct RowsMut<'a> {
    pub data: &'a mut [f32],
    pub stride: usize,
}

/// Why a batch cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct SegmentError(String);

/// Every bound the kernels rely on, for so many numbers of y in rows so far apart.
fn check(
    x: Rows<'_>,
    (len, stride): (usize, usize),
    segments: &[Segment<'_>],
) -> Result<(), SegmentError> {
    let (mut at, mut last) = (0, 0..0);
    for Segment { rows, weights } in segments {
        if rows.is_empty() {
            continue;
        }
        if rows.start < at && *rows != last {
            return Err(SegmentError(format!(
                "segment {rows:?} begins before row {at}, where the last one ended"
            )));
        }
        let (inputs, outputs) = (weights.inputs(), weights.outputs());
        let fits = |len: usize, stride: usize, width: usize| {
            let reach = (rows.end - 1)
                .checked_mul(stride)
                .and_then(|start| start.checked_add(width));
            width <= stride && reach.is_some_and(|end| end <= len)
        };
        if !fits(x.data.len(), x.stride, inputs) || !fits(len, stride, outputs) {
            return Err(SegmentError(format!(
                "rows {rows:?} of width {inputs} and {outputs} lie outside the batch"
            )));
        }
        (at, last) = (rows.end, rows.clone());
    }
    Ok(())
}
