//! Output head and cross entropy in one operation, a chunk of rows at a time: logits of all rows never exist together.

mod adapted;

use std::sync::Arc;

use super::gemm::{self, View};
use super::op::{Holds, Op, Wants};
use super::pool;
use super::quant::{Matrix, in_pairs};
use super::simd::{exp_shifted, max, simd_fn};
use crate::device::{Array, Result, bail};

pub use adapted::AdaptedHead;

/// Logits held at a time, where that many rows are enough for a good product.
const CHUNK: usize = 1 << 20;
/// Rows of a chunk at least: fewer would read the head's weight too often.
const ROWS: usize = 256;
/// Logits a tile works on.
const TILE: usize = 1 << 15;

/// −ln softmax(hidden·Wᵀ)\[target\] of each row for a frozen head W [vocabulary, h]: hidden is [R, h], the result [R, 1].
pub struct FrozenHead {
    pub weight: Arc<Matrix>,
    pub targets: Arc<[u32]>,
}

/// The same for a head that learns, which is the second input.
pub struct LearningHead {
    pub targets: Arc<[u32]>,
}

/// ln softmax of each row of logits [R, vocabulary].
pub fn log_softmax(mut logits: Array) -> Array {
    let vocabulary = logits.width();
    let tile = pool::rows_of(TILE, vocabulary);
    pool::over_rows(logits.values_mut(), vocabulary, tile, |_, rows| {
        log_rows(rows, vocabulary);
    });
    logits
}

/// −ln softmax(row)\[target\] of each row of logits [R, vocabulary].
pub fn losses_of(mut logits: Array, targets: &[u32]) -> Result<Vec<f32>> {
    let (rows, vocabulary) = logits.dims();
    check(rows, targets, vocabulary)?;
    let mut losses = vec![0.0; rows];
    let values = logits.values_mut();
    cross_entropy(values, targets, vocabulary, &mut losses, Slopes::None);
    Ok(losses)
}

fn check(rows: usize, targets: &[u32], vocabulary: usize) -> Result<()> {
    if rows != targets.len() {
        bail!("{} targets for {rows} rows", targets.len());
    }
    match targets
        .iter()
        .find(|target| **target as usize >= vocabulary)
    {
        Some(target) => bail!("target {target} of a vocabulary of {vocabulary}"),
        None => Ok(()),
    }
}

fn rows_of_a_chunk(vocabulary: usize) -> usize {
    pool::rows_of(CHUNK, vocabulary).max(ROWS)
}

/// Logits that exist at a time for so many rows.
pub fn logits_at_once(rows: usize, vocabulary: usize) -> usize {
    rows_of_a_chunk(vocabulary).min(rows) * vocabulary
}

/// Writes the losses of rows of logits; with `slopes`, turns the logits into the losses' gradients by them, each row
/// times its factor.
fn cross_entropy(
    logits: &mut [f32],
    targets: &[u32],
    vocabulary: usize,
    losses: &mut [f32],
    slopes: Slopes<'_>,
) {
    let losses = pool::Shared::new(losses);
    pool::over_rows(
        logits,
        vocabulary,
        pool::rows_of(TILE, vocabulary),
        |rows, logits| {
            // SAFETY: each tile has its own rows.
            let losses = unsafe { losses.part(rows.clone()) };
            for ((at, logits), loss) in rows.zip(logits.chunks_exact_mut(vocabulary)).zip(losses) {
                let target = targets[at] as usize;
                match slopes {
                    Slopes::None => *loss = loss_of(logits, target),
                    Slopes::Unscaled => *loss = slope_of(logits, target, 1.0),
                    Slopes::Times(factors) => *loss = slope_of(logits, target, factors[at]),
                }
            }
        },
    );
}

#[derive(Clone, Copy)]
enum Slopes<'a> {
    None,
    Unscaled,
    Times(&'a [f32]),
}

simd_fn! {
    fn loss_of(logits: &mut [f32], target: usize) -> f32 {
        let wanted = logits[target];
        let top = max(logits);
        top - wanted + exp_shifted::<FUSED>(logits, top).ln()
    }
}

simd_fn! {
    // The gradient of the loss by the logits is softmax − onehot(target).
    fn slope_of(logits: &mut [f32], target: usize, factor: f32) -> f32 {
        let wanted = logits[target];
        let top = max(logits);
        let sum = exp_shifted::<FUSED>(logits, top);
        let by = factor / sum;
        logits.iter_mut().for_each(|weight| *weight *= by);
        logits[target] -= factor;
        top - wanted + sum.ln()
    }
}

simd_fn! {
    fn log_rows(rows: &mut [f32], vocabulary: usize) {
        let mut scratch = vec![0.0; vocabulary];
        for row in rows.chunks_exact_mut(vocabulary) {
            scratch.copy_from_slice(row);
            let top = max(row);
            let shift = top + exp_shifted::<FUSED>(&mut scratch, top).ln();
            row.iter_mut().for_each(|value| *value -= shift);
        }
    }
}

impl Op for FrozenHead {
    /// Gradient of each row's loss by its hidden state, found on the way forward: [R, h].
    type Saved = Vec<f32>;

    const EXACT: bool = true;

    fn forward(&self, inputs: &[&Array], wants: Wants) -> Result<(Array, Vec<f32>)> {
        let [hidden] = inputs else {
            bail!("a frozen head takes hidden states")
        };
        let (rows, width) = hidden.dims();
        let (vocabulary, inner) = self.weight.dims();
        if inner != width {
            bail!("hidden states of {width} for a head [{vocabulary}, {inner}]");
        }
        check(rows, &self.targets, vocabulary)?;
        let mut losses = vec![0.0; rows];
        let mut slopes = Vec::new();
        let in_bf16 = in_pairs(hidden);
        let at_once = rows_of_a_chunk(vocabulary);
        let chunks = hidden
            .values()
            .chunks((at_once * width).max(1))
            .zip(self.targets.chunks(at_once));
        for ((hidden, targets), losses) in chunks.zip(losses.chunks_mut(at_once)) {
            let mut logits = self.weight.product(hidden)?;
            if wants.any() {
                cross_entropy(&mut logits, targets, vocabulary, losses, Slopes::Unscaled);
                slopes.extend(self.weight.turned(&logits, in_bf16)?);
            } else {
                cross_entropy(&mut logits, targets, vocabulary, losses, Slopes::None);
            }
        }
        Ok((Array::new(losses, (rows, 1))?, slopes))
    }

    fn backward(&self, mut slopes: Vec<f32>, grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        let width = slopes.len() / grad.rows().max(1);
        scale_rows(&mut slopes, grad.values(), width);
        Ok(vec![Some(Array::new(slopes, (grad.rows(), width))?)])
    }
}

/// What the backward of a learning head needs.
pub struct Kept {
    hidden: Array,
    weight: Array,
    /// Gradient of each row's loss by its logits, where all rows are one chunk; else the logits are computed again.
    slopes: Option<Vec<f32>>,
}

impl Holds for Kept {
    fn arrays(&mut self, show: &mut dyn FnMut(&mut Array)) {
        show(&mut self.hidden);
    }
}

impl Op for LearningHead {
    type Saved = Kept;

    const EXACT: bool = true;

    fn forward(&self, inputs: &[&Array], wants: Wants) -> Result<(Array, Kept)> {
        let [hidden, weight] = inputs else {
            bail!("a learning head takes hidden states and a weight")
        };
        let ((rows, width), (vocabulary, inner)) = (hidden.dims(), weight.dims());
        if inner != width {
            bail!("hidden states of {width} for a head [{vocabulary}, {inner}]");
        }
        check(rows, &self.targets, vocabulary)?;
        let mut losses = vec![0.0; rows];
        let at_once = rows_of_a_chunk(vocabulary);
        let keeps = wants.any() && rows <= at_once;
        let mut logits = vec![0.0; at_once.min(rows) * vocabulary];
        let chunks = hidden
            .values()
            .chunks((at_once * width).max(1))
            .zip(self.targets.chunks(at_once));
        for ((hidden, targets), losses) in chunks.zip(losses.chunks_mut(at_once)) {
            let logits = &mut logits[..targets.len() * vocabulary];
            let sizes = (targets.len(), width, vocabulary);
            logits_of(hidden, weight.values(), sizes, logits);
            let slopes = if keeps {
                Slopes::Unscaled
            } else {
                Slopes::None
            };
            cross_entropy(logits, targets, vocabulary, losses, slopes);
        }
        let kept = Kept {
            hidden: (*hidden).clone(),
            weight: (*weight).clone(),
            slopes: keeps.then_some(logits),
        };
        Ok((Array::new(losses, (rows, 1))?, kept))
    }

    fn backward(&self, kept: Kept, grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        let Kept {
            hidden,
            weight,
            slopes,
        } = kept;
        let ((rows, width), vocabulary) = (hidden.dims(), weight.rows());
        let (mut dhidden, mut dweight) = (vec![0.0; rows * width], vec![0.0; vocabulary * width]);
        let (hiddens, weights, factors) = (hidden.values(), weight.values(), grad.values());
        let at_once = rows_of_a_chunk(vocabulary);
        let again = slopes.is_none();
        let mut logits = slopes.unwrap_or_else(|| vec![0.0; at_once.min(rows) * vocabulary]);
        let mut losses = vec![0.0; at_once.min(rows)];
        for start in (0..rows).step_by(at_once) {
            let part = start..(start + at_once).min(rows);
            let count = part.len();
            let values = part.start * width..part.end * width;
            let logits = &mut logits[..count * vocabulary];
            let factors = &factors[part.clone()];
            if again {
                let sizes = (count, width, vocabulary);
                logits_of(&hiddens[values.clone()], weights, sizes, logits);
                let targets = &self.targets[part];
                cross_entropy(
                    logits,
                    targets,
                    vocabulary,
                    &mut losses[..count],
                    Slopes::Times(factors),
                );
            } else {
                scale_rows(logits, factors, vocabulary);
            }
            let slopes = View::dense(logits, count, vocabulary);
            let part_of_hidden = View::dense(&hiddens[values.clone()], count, width);
            gemm::parallel(
                slopes,
                View::dense(weights, vocabulary, width),
                &mut dhidden[values],
                0.0,
                1.0,
            );
            gemm::parallel(slopes.transposed(), part_of_hidden, &mut dweight, 1.0, 1.0);
        }
        Ok(vec![
            Some(Array::new(dhidden, hidden.dims())?),
            Some(Array::new(dweight, weight.dims())?),
        ])
    }
}

/// Multiplies each row by its factor.
fn scale_rows(rows: &mut [f32], factors: &[f32], width: usize) {
    pool::over_rows(rows, width, pool::rows_of(TILE, width), |part, rows| {
        for (row, factor) in rows.chunks_exact_mut(width).zip(&factors[part]) {
            row.iter_mut().for_each(|value| *value *= factor);
        }
    });
}

fn logits_of(
    hidden: &[f32],
    weight: &[f32],
    (rows, width, vocabulary): (usize, usize, usize),
    logits: &mut [f32],
) {
    let weight = View::dense(weight, vocabulary, width).transposed();
    gemm::parallel(View::dense(hidden, rows, width), weight, logits, 0.0, 1.0);
}

#[cfg(test)]
mod tests;
