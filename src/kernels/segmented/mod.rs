//! segmented: what many low-rank adapters add to one flat batch, in one call.
//!
//! `y[rows] += scale · (x[rows] Aᵀ) Bᵀ` for every segment of rows, each at its own rank, without padding and without
//! touching the rows between segments. The numbers of a row depend on that row alone, bit for bit: every sum runs over
//! one accumulator in the order of its index, whatever other rows, segments or threads take part.
//!
//! Untracked; adapters that learn go through tensors that record their steps.

mod plain;
mod store;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::kernels::pool;
use crate::kernels::simd::{self, Tier};

pub use store::{LowRank, Values};

/// Rows of one adapter.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    pub rows: Range<usize>,
    pub weights: &'a LowRank,
}

/// Read-only rows of equal width, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

/// Rows that are changed.
#[derive(Debug)]
pub struct RowsMut<'a> {
    pub data: &'a mut [f32],
    pub stride: usize,
}

/// Why a batch cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SegmentError(String);

/// Rows of one task: enough to read A and B from cache several times, few enough to share a prompt among threads.
const TASK_ROWS: usize = 16;
/// Multiply-adds below which handing work to other threads costs more than it saves.
const PARALLEL_WORK: usize = 1 << 20;

/// Adds every segment's product to its rows of `y`. Segments are in ascending order and do not overlap.
pub fn lora(x: Rows<'_>, y: RowsMut<'_>, segments: &[Segment<'_>]) -> Result<(), SegmentError> {
    lora_with(simd::tier(), x, y, segments)
}

/// As `lora`, on a tier of choice.
pub fn lora_with(
    tier: Tier,
    x: Rows<'_>,
    y: RowsMut<'_>,
    segments: &[Segment<'_>],
) -> Result<(), SegmentError> {
    if tier > simd::tier() {
        return Err(SegmentError(format!(
            "this processor has no {}",
            tier.name()
        )));
    }
    let tasks = split(x, y, segments)?;
    let work: usize = tasks.iter().map(Task::work).sum();
    if work < PARALLEL_WORK || tasks.len() < 2 {
        tasks.into_iter().for_each(|task| task.run(tier));
    } else {
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|task| Mutex::new(Some(task)))
            .collect();
        pool::for_each(tasks.len(), |i| {
            let task = tasks[i]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            task.into_iter().for_each(|task| task.run(tier));
        });
    }
    Ok(())
}

/// Some rows of one segment, with their part of `y` to themselves.
struct Task<'a> {
    rows: usize,
    x: Rows<'a>,
    y: RowsMut<'a>,
    weights: &'a LowRank,
}

impl Task<'_> {
    fn work(&self) -> usize {
        self.rows * self.weights.rank() * (self.weights.inputs() + self.weights.outputs())
    }

    fn run(mut self, tier: Tier) {
        let mut hidden = vec![0f32; self.rows * self.weights.rank()];
        match tier {
            // SAFETY (both): `lora_with` lets only tiers through that this processor has.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe {
                x86::avx2::product(self.rows, self.x, &mut self.y, self.weights, &mut hidden)
            },
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe {
                x86::avx512::product(self.rows, self.x, &mut self.y, self.weights, &mut hidden)
            },
            _ => plain::product(self.rows, self.x, &mut self.y, self.weights, &mut hidden),
        }
    }
}

/// Cuts the batch into tasks. Every bound the kernels rely on is checked here.
fn split<'a>(
    x: Rows<'a>,
    y: RowsMut<'a>,
    segments: &[Segment<'a>],
) -> Result<Vec<Task<'a>>, SegmentError> {
    let mut tasks = Vec::with_capacity(segments.len());
    let (mut rest, stride, mut at) = (y.data, y.stride, 0);
    for Segment { rows, weights } in segments {
        if rows.is_empty() {
            continue;
        }
        if rows.start < at {
            return Err(SegmentError(format!(
                "segment {rows:?} begins before row {at}, where the last one ended"
            )));
        }
        let (inputs, outputs) = (weights.inputs(), weights.outputs());
        let reach =
            |stride: usize, width: usize| (rows.end - 1).checked_mul(stride)?.checked_add(width);
        let x_fits =
            reach(x.stride, inputs).is_some_and(|end| end <= x.data.len()) && inputs <= x.stride;
        let y_fits = reach(stride, outputs).is_some_and(|end| end <= at * stride + rest.len())
            && outputs <= stride;
        if !x_fits || !y_fits {
            return Err(SegmentError(format!(
                "rows {rows:?} of width {inputs} and {outputs} lie outside the batch"
            )));
        }
        rest = rest.split_at_mut((rows.start - at) * stride).1;
        let mut start = rows.start;
        while start < rows.end {
            let count = TASK_ROWS.min(rows.end - start);
            // The last row of the batch may end before its stride does.
            let (mine, others) = rest.split_at_mut((count * stride).min(rest.len()));
            rest = others;
            tasks.push(Task {
                rows: count,
                x: Rows {
                    data: &x.data[start * x.stride..],
                    stride: x.stride,
                },
                y: RowsMut { data: mine, stride },
                weights,
            });
            start += count;
        }
        at = rows.end;
    }
    Ok(tasks)
}
