//! Output head and cross entropy in one operation, a chunk of rows at a time: logits of all rows never exist together.

use std::sync::{Arc, OnceLock};

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
        Head::Learning(weight) => hidden.apply_op2(&weight.contiguous()?, Learning { targets }),
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
        let mut scaled = Vec::with_capacity(slopes.len());
        for (slopes, factor) in slopes.chunks_exact(width.max(1)).zip(factors.iter()) {
            scaled.extend(slopes.iter().map(|slope| slope * factor));
        }
        values::tensor(scaled, hidden.shape()).map(Some)
    }
}

struct Learning {
    targets: Arc<[u32]>,
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
            cross_entropy(logits, targets, vocabulary, losses, Slopes::None);
        }
        values::result(losses, rows)
    }

    /// The logits are computed again: keeping them would take rows × vocabulary numbers.
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
        let mut logits = vec![0.0; at_once.min(rows) * vocabulary];
        let mut losses = vec![0.0; at_once.min(rows)];
        for start in (0..rows).step_by(at_once) {
            let part = start..(start + at_once).min(rows);
            let count = part.len();
            let values = part.start * width..part.end * width;
            let logits = &mut logits[..count * vocabulary];
            logits_of(
                &hiddens[values.clone()],
                &weights,
                (count, width, vocabulary),
                logits,
            );
            let factors = Slopes::Times(&factors[part.clone()]);
            cross_entropy(
                logits,
                &self.targets[part],
                vocabulary,
                &mut losses[..count],
                factors,
            );
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
mod tests {
    use super::super::quant::Format;
    use super::super::testing::{assert_close, assert_gradients, noise};
    use super::*;
    use candle_core::{D, Device, Var};

    fn plain_log_softmax(logits: &Tensor) -> Result<Tensor> {
        let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
        shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
    }

    fn plain(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let picked = Tensor::new(targets, &Device::Cpu)?.unsqueeze(1)?;
        plain_log_softmax(&hidden.matmul(&weight.t()?)?)?
            .gather(&picked, 1)?
            .squeeze(1)?
            .neg()
    }

    #[test]
    fn both_heads_agree_with_log_softmax_in_loss_and_gradient() -> Result<()> {
        // More rows than a chunk holds.
        let (rows, width, vocabulary) = (150, 8, 20_000);
        let targets: Vec<u32> = (0..rows as u32)
            .map(|i| (i * 131) % vocabulary as u32)
            .collect();
        let hidden = Var::from_tensor(&noise(&[rows, width], 2.0, 1))?;
        let weight = Var::from_tensor(&noise(&[vocabulary, width], 1.0, 2))?;
        let frozen = Arc::new(Matrix::quantize(&weight, Format::F32)?);
        let factors = noise(&[rows], 1.0, 3);
        let oracle = plain(&hidden, &weight, &targets)?;
        let oracle_grads = (&oracle * &factors)?.sum_all()?.backward()?;
        for head in [Head::Frozen(&frozen), Head::Learning(&weight)] {
            let found = token_losses(&hidden, head, &targets)?;
            assert_close(&found, &oracle, 1e-5, "losses");
            let grads = (found * &factors)?.sum_all()?.backward()?;
            assert_close(
                grads.get(&hidden).unwrap(),
                oracle_grads.get(&hidden).unwrap(),
                1e-5,
                "to hidden",
            );
            match head {
                Head::Frozen(_) => assert!(grads.get(&weight).is_none()),
                Head::Learning(_) => {
                    assert_close(
                        grads.get(&weight).unwrap(),
                        oracle_grads.get(&weight).unwrap(),
                        1e-5,
                        "to the head",
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_follow_differences() -> Result<()> {
        let inputs = [noise(&[3, 4], 1.0, 1), noise(&[7, 4], 1.0, 2)];
        assert_gradients(&inputs, 4e-3, |t| {
            token_losses(&t[0], Head::Learning(&t[1]), &[6, 0, 2])
        });
        let frozen = Arc::new(Matrix::quantize(&inputs[1], Format::F32)?);
        assert_gradients(&inputs[..1], 4e-3, |t| {
            token_losses(&t[0], Head::Frozen(&frozen), &[6, 0, 2])
        });
        Ok(())
    }

    #[test]
    fn log_softmax_agrees_with_the_written_out_formula() -> Result<()> {
        let logits = noise(&[5, 301], 9.0, 4);
        assert_close(
            &log_softmax(&logits)?,
            &plain_log_softmax(&logits)?,
            1e-5,
            "log softmax",
        );
        Ok(())
    }

    #[test]
    fn targets_are_checked() {
        let (hidden, weight) = (noise(&[2, 4], 1.0, 1), noise(&[7, 4], 1.0, 2));
        assert!(token_losses(&hidden, Head::Learning(&weight), &[1, 7]).is_err());
        assert!(token_losses(&hidden, Head::Learning(&weight), &[1]).is_err());
    }
}
