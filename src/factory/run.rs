//! The run: stage after stage, step after step, probed as it goes; checkpoints beside the result.

use std::fs;
use std::io;
use std::path::PathBuf;

use tokenizers::Tokenizer;

use super::export::{export, spec};
use super::learn::learn;
use super::optimizer::Rates;
use super::probe::Probe;
use super::sampler::{Mixture, Sampler};
use super::skills::SKILLS;
use super::state::{self, State};
use super::tokenizer;
use crate::device;
use crate::model::weights::WeightError;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder for the tokenizer, the checkpoint and the finished `model.gguf`.
    pub folder: PathBuf,
    pub seed: u64,
    /// Tokens of the last stage; the learning rate falls over its second half.
    pub tokens: u64,
}

/// What the run reports as it goes.
#[derive(Debug, Clone)]
pub struct Report {
    pub stage: usize,
    pub step: u64,
    pub tokens: u64,
    /// Mean over the steps since the last report.
    pub loss: f32,
    /// Share of exact answers on unseen names and values, skill by skill.
    pub probes: Vec<(&'static str, f32)>,
}

impl Report {
    pub fn mean(&self) -> f32 {
        self.probes.iter().map(|(_, share)| share).sum::<f32>() / self.probes.len().max(1) as f32
    }
}

/// A part of the curriculum.
struct Stage {
    mixture: Mixture,
    /// Mean of the stage's probes that ends it.
    enough: f32,
    /// Tokens that end it in any case.
    most: u64,
}

const STEP_TOKENS: usize = 2560;
const RATES: Rates = Rates {
    muon: 0.004,
    adam: 0.002,
};
const WARMUP: f32 = 30.0;
/// What is left of the learning rate at the end.
const FLOOR: f32 = 0.05;
const PROBE_EVERY: u64 = 50;
const PROBE_SEED: u64 = 99;
const PROBE_EACH: usize = 40;
const TOKENIZER_RECORDS: usize = 3000;

/// The copying circuit is there from the start, so nothing has to come before the skills themselves; a share of repeated
/// segments keeps it.
fn stages(tokens: u64) -> [Stage; 1] {
    let all = Mixture {
        segments: 0.05,
        period: 64,
        skills: SKILLS.len(),
        whole: 0.0,
    };
    [Stage {
        mixture: all,
        enough: 1.0,
        most: tokens,
    }]
}

/// Runs the plan, from its checkpoint where there is one, and leaves `model.gguf`.
pub fn run(plan: &Plan, mut told: impl FnMut(&Report)) -> Result<(), Failure> {
    fs::create_dir_all(&plan.folder)?;
    let tokenizer = vocabulary(plan)?;
    let spec = spec();
    let probe = Probe::new(&tokenizer, PROBE_SEED, PROBE_EACH)?;
    let checkpoint = plan.folder.join("checkpoint.safetensors");
    let mut state = match state::load(&checkpoint, &spec, RATES)? {
        Some(state) => state,
        None => State::fresh(&spec, plan.seed, RATES)?,
    };
    let stages = stages(plan.tokens);
    let (mut losses, mut count) = (0.0, 0);
    while let Some(stage) = stages.get(state.progress.stage) {
        let batch = Sampler::new(&tokenizer, stage.mixture, plan.seed, state.progress.step)
            .batch(STEP_TOKENS)?;
        let (loss, mut gradients) = learn(&state.model, &batch)?;
        losses += loss;
        count += 1;
        let last = state.progress.stage + 1 == stages.len();
        let share = share(&state, if last { stage.most } else { u64::MAX });
        state.optimizer.step(&state.model, &mut gradients, share)?;
        state.progress.step += 1;
        state.progress.tokens += batch.tokens.len() as u64;
        state.progress.of_stage += batch.tokens.len() as u64;
        let over = state.progress.of_stage >= stage.most;
        if state.progress.step % PROBE_EVERY == 0 || over {
            let report = Report {
                stage: state.progress.stage,
                step: state.progress.step,
                tokens: state.progress.tokens,
                loss: losses / count as f32,
                probes: probe.ask(&state.model, stage.mixture.skills)?,
            };
            (losses, count) = (0.0, 0);
            told(&report);
            if over || report.mean() >= stage.enough {
                state.progress.stage += 1;
                state.progress.of_stage = 0;
            }
            state::save(&checkpoint, &state)?;
        }
    }
    state::save_weights(&plan.folder.join("model.safetensors"), &state.model)?;
    export(
        &plan.folder.join("model.gguf"),
        &spec,
        &state::weights(&state.model),
        &tokenizer.to_string(false)?,
    )
}

/// The tokenizer of the folder, learned there when it has none.
fn vocabulary(plan: &Plan) -> Result<Tokenizer, Failure> {
    let path = plan.folder.join("tokenizer.json");
    if !path.exists() {
        tokenizer::learn(plan.seed, TOKENIZER_RECORDS)?.save(&path, true)?;
    }
    Ok(Tokenizer::from_file(path)?)
}

/// Warm-up from the first step; a straight fall over the second half of `tokens`.
fn share(state: &State, tokens: u64) -> f32 {
    let warm = ((state.progress.step + 1) as f32 / WARMUP).min(1.0);
    let left = 1.0 - state.progress.of_stage as f32 / tokens as f32;
    warm * (FLOOR + (1.0 - FLOOR) * (2.0 * left).clamp(0.0, 1.0))
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("tokenizer: {0}")]
    Tokenizer(#[from] tokenizers::Error),
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] safetensors::SafeTensorError),
    #[error("checkpoint: {0}")]
    Misfit(String),
    #[error(transparent)]
    Compute(#[from] device::Error),
    #[error(transparent)]
    Weights(#[from] WeightError),
}
