//! How fast this machine would train: short products of the kinds that a step consists of, and how many of each it has.

use std::time::{Duration, Instant};

use crate::device::{Array, Result};
use crate::domain::{Checkpointing, Method, Recipe};
use crate::kernels::linear::Linear;
use crate::kernels::op::Run;
use crate::kernels::quant::{Format, Matrix};
use crate::model::Outline;
use crate::trainer::account::{Load, Outlined};

/// Rows of a product: as many as fill its threads.
const ROWS: usize = 128;
/// Numbers of a measured weight at most.
const WEIGHT: usize = 1 << 21;
/// A kind of product is measured for so long.
const LONG: Duration = Duration::from_millis(150);

/// Seconds of one multiply-add.
struct Speeds {
    /// With a frozen weight, forward and back to its input.
    frozen: [f64; 2],
    /// Of numbers that learn.
    dense: f64,
}

/// An estimate.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub tokens_per_second: f64,
}

/// Measures for about half a second.
pub fn measure(outline: &Outline, job: &Outlined<'_>, load: Load) -> Result<Rate> {
    let format = Format::from_name(outline.format()).unwrap_or(Format::Q8_0);
    let speeds = Speeds::measure(outline, format)?;
    let trained = load.trained as f64 / load.tokens.max(1) as f64;
    let seconds = seconds_a_token(outline, &job.recipe, job.parameters().0, trained, &speeds);
    Ok(Rate {
        tokens_per_second: 1.0 / seconds.max(1e-12),
    })
}

impl Speeds {
    fn measure(outline: &Outline, format: Format) -> Result<Self> {
        let spec = outline.spec();
        // Whole blocks of any format, and as much of a weight as is measured soon.
        let k = spec.hidden.next_multiple_of(256);
        let n = spec.intermediate.min(WEIGHT / k).max(64) / 16 * 16;
        let values = |count: usize, by: f32| (0..count).map(|at| (at as f32 * by).sin()).collect();
        let dense = Array::new(values(n * k, 0.37), (n, k))?;
        let weight = Matrix::quantize(&dense, format)?;
        let x = Array::new(values(ROWS * k, 0.11), (ROWS, k))?;
        let dy = Array::new(values(ROWS * n, 0.13), (ROWS, n))?;
        let work = (ROWS * n * k) as f64;
        Ok(Self {
            frozen: [
                seconds(|| weight.forward(&x).map(drop))? / work,
                seconds(|| weight.backward_input(&dy).map(drop))? / work,
            ],
            dense: seconds(|| {
                let (x, w) = (x.clone().into(), dense.clone().into());
                Run::host().op(Linear, &[&x, &w]).map(drop)
            })? / work,
        })
    }
}

/// Of the fastest of some runs: others have the machine too.
fn seconds(run: impl Fn() -> Result<()>) -> Result<f64> {
    run()?;
    let (began, mut least) = (Instant::now(), f64::INFINITY);
    while began.elapsed() < LONG || !least.is_finite() {
        let began = Instant::now();
        run()?;
        least = least.min(began.elapsed().as_secs_f64());
    }
    Ok(least)
}

/// Multiply-adds of a token by kind, each at its speed.
fn seconds_a_token(
    outline: &Outline,
    recipe: &Recipe,
    learned: u64,
    trained: f64,
    speeds: &Speeds,
) -> f64 {
    let spec = outline.spec();
    let sites = outline.sites().iter();
    let blocks: f64 = sites.map(|at| (at.inputs * at.outputs) as f64).sum();
    let head = (spec.vocab * spec.hidden) as f64;
    // The forward is run again where blocks are computed again.
    let forwards = match recipe.recompute {
        Checkpointing::On => 2.0,
        Checkpointing::Off | Checkpointing::Auto => 1.0,
    };
    let [forward, back] = speeds.frozen;
    let frozen = |size: f64, forwards: f64| size * (forwards * forward + back);
    let learning = learned as f64 * (forwards + 2.0) * speeds.dense;
    let of_weights = match recipe.method {
        // Every product is with a weight that learns, or whose base has been unpacked.
        Method::Full => learning,
        _ => frozen(blocks, forwards) + trained * frozen(head, 1.0) + learning,
    };
    // Scores and mixtures, half of all pairs, once forward and two and a half times back.
    let attention = spec.layers as f64
        * (spec.heads * spec.head_dim) as f64
        * recipe.max_seq as f64
        * (forwards + 2.5)
        * speeds.dense;
    of_weights + attention
}
