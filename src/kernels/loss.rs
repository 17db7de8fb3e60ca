//! Output head and cross entropy in one operation, a chunk of rows at a time: logits of all rows never exist together.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::gemm::{self, View};
use super::pool;
use super::quant::Matrix;
use super::simd::{exp_shifted, max, simd_fn};
use super::values::{self, Values};

/// Logits held at a time, where that many rows are enough for a good product.
const CHUNK: usize = 1 << 20;
/// Rows of a chunk at least: fewer would read the head's weight too often.
const ROWS: usize = 64;
/// Logits a tile works on.
const TILE: usize = 1 << 15;

/// The weight that turns hidden states into logits, [vocabulary, h].
#[derive(Clone, Copy)]
pub enum Head<'a> {
    Frozen(&'a Arc<Matrix>),
    Learning(&'a Tensor),
}

/// −ln softmax(hidden·Wᵀ)[target] of each row: hidden is [R, h], the result [R]. Tracked to `hidden` and a learning head.
pub fn token_losses(hidden: &Tensor, head: Head<'_>, targets: &[u32]) -> Result<Tensor> {
    let hidden = hidden.contiguous()?;
    let targets: Arc<[u32]> = targets.into();
    match head {
        Head::Frozen(weight) => {
            let op = Frozen {
                weight: weight.clone(),
                targets,
                slopes: OnceLock::new(),
                learn: hidden.track_op(),
            };
            hidden.apply_op1(op)
        }
        Head::Learning(weight) => {
            let op = Learning {
                targets,
                learn: hidden.track_op() || weight.track_op(),
                kept: Mutex::new(None),
            };
            hidden.apply_op2(&weight.contiguous()?, op)
        }
    }
}

/// ln softmax of each row of logits [R, vocabulary], untracked.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let (_, vocabulary) = logits.dims2()?;
    let logits = logits.contiguous()?;
    let mut rows = Values::of(&logits)?.to_vec();
    pool::over_rows(
        &mut rows,
        vocabulary,
        pool::rows_of(TILE, vocabulary),
        |_, rows| {
            log_rows(rows, vocabulary);
        },
    );
    values::tensor(rows, logits.shape())
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

struct Frozen {
    weight: Arc<Matrix>,
    targets: Arc<[u32]>,
    /// Gradient of each row's loss by its hidden state, found on the way forward: [R, h].
    slopes: OnceLock<Vec<f32>>,
    learn: bool,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "head-loss"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let (vocabulary, _) = self.weight.dims();
        check(rows, &self.targets, vocabulary)?;
        let hidden = values::slice(hidden, layout)?;
        let mut losses = vec![0.0; rows];
        let mut slopes = Vec::new();
        let at_once = rows_of_a_chunk(vocabulary);
        let chunks = hidden
            .chunks((at_once * width).max(1))
            .zip(self.targets.chunks(at_once));
        for ((hidden, targets), losses) in chunks.zip(losses.chunks_mut(at_once)) {
            let mut logits = self.weight.product(hidden)?;
            if self.learn {
                cross_entropy(&mut logits, targets, vocabulary, losses, Slopes::Unscaled);
                slopes.extend(self.weight.transposed_product(&logits)?);
            } else {
                cross_entropy(&mut logits, targets, vocabulary, losses, Slopes::None);
            }
        }
        // An operation runs forward once: candle makes a new one for each use.
        self.slopes.get_or_init(|| slopes);
        values::result(losses, rows)
    }

    fn bwd(&self, hidden: &Tensor, _losses: &Tensor, factors: &Tensor) -> Result<Option<Tensor>> {
        let Some(slopes) = self.slopes.get() else {
            return Ok(None);
        };
        let factors = factors.contiguous()?;
        let factors = Values::of(&factors)?;
        let (_, width) = hidden.dims2()?;
        let mut scaled = slopes.clone();
        scale_rows(&mut scaled, &factors, width);
        values::tensor(scaled, hidden.shape()).map(Some)
    }
}

struct Learning {
    targets: Arc<[u32]>,
    learn: bool,
    /// Gradient of each row's loss by its logits, where all rows are one chunk; else the logits are computed again.
    kept: Mutex<Option<Vec<f32>>>,
}

impl Learning {
    fn kept(&self) -> MutexGuard<'_, Option<Vec<f32>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CustomOp2 for Learning {
    fn name(&self) -> &'static str {
        "learning-head-loss"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let (vocabulary, inner) = weight_layout.shape().dims2()?;
        if inner != width {
            bail!("hidden states of {width} for a head [{vocabulary}, {inner}]");
        }
        check(rows, &self.targets, vocabulary)?;
        let (hidden, weight) = (
            values::slice(hidden, layout)?,
            values::slice(weight, weight_layout)?,
        );
        let mut losses = vec![0.0; rows];
        let at_once = rows_of_a_chunk(vocabulary);
        let mut logits = vec![0.0; at_once.min(rows) * vocabulary];
        let chunks = hidden
            .chunks((at_once * width).max(1))
            .zip(self.targets.chunks(at_once));
        for ((hidden, targets), losses) in chunks.zip(losses.chunks_mut(at_once)) {
            let logits = &mut logits[..targets.len() * vocabulary];
            logits_of(hidden, weight, (targets.len(), width, vocabulary), logits);
            let slopes = if self.learn && rows <= at_once {
                Slopes::Unscaled
            } else {
                Slopes::None
            };
            cross_entropy(logits, targets, vocabulary, losses, slopes);
        }
        if self.learn && rows <= at_once {
            *self.kept() = Some(logits);
        }
        values::result(losses, rows)
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _losses: &Tensor,
        factors: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let factors = factors.contiguous()?;
        let (rows, width) = hidden.dims2()?;
        let vocabulary = weight.dim(0)?;
        let (mut dhidden, mut dweight) = (vec![0.0; rows * width], vec![0.0; vocabulary * width]);
        let (hiddens, weights, factors) = (
            Values::of(hidden)?,
            Values::of(weight)?,
            Values::of(&factors)?,
        );
        let at_once = rows_of_a_chunk(vocabulary);
        let kept = self.kept().take();
        let again = kept.is_none();
        let mut logits = kept.unwrap_or_else(|| vec![0.0; at_once.min(rows) * vocabulary]);
        let mut losses = vec![0.0; at_once.min(rows)];
        for start in (0..rows).step_by(at_once) {
            let part = start..(start + at_once).min(rows);
            let count = part.len();
            let values = part.start * width..part.end * width;
            let logits = &mut logits[..count * vocabulary];
            let factors = &factors[part.clone()];
            if again {
                logits_of(
                    &hiddens[values.clone()],
                    &weights,
                    (count, width, vocabulary),
                    logits,
                );
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
                View::dense(&weights, vocabulary, width),
                &mut dhidden[values],
                0.0,
                1.0,
            );
            gemm::parallel(slopes.transposed(), part_of_hidden, &mut dweight, 1.0, 1.0);
        }
        Ok((
            Some(values::tensor(dhidden, hidden.shape())?),
            Some(values::tensor(dweight, weight.shape())?),
        ))
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
