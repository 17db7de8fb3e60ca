//! Everything a job needs to go on exactly where it was: trained values, moments, the cursor, and whose they are.
//!
//! Random state needs no saving beyond the step: every draw is a function of the seed and the step. A checkpoint is a
//! folder that appears whole; its files' BLAKE3 digests are verified when it is read. The last two are kept, so that a
//! damaged one falls back to the one before.

mod tensors;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::evaluate::Score;
use super::fault::Fault;
use super::run::Form;
use super::scaling::Scale;
use super::step::Stepped;
use super::verdict;
use crate::domain::{Keep, Recipe};
use crate::store::Artefacts;

pub use tensors::{Shapes, Stored, Tensors};

const TENSORS: &str = "tensors.safetensors";
const STATE: &str = "state.json";
const DIGESTS: &str = "digests.json";
const KEPT: usize = 2;

/// What a job is about; a checkpoint of anything else is not continued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// 64 hex digits each.
    pub base_digest: String,
    pub tokenizer_digest: String,
    pub template_digest: String,
    /// Over training and validation file.
    pub data_digest: String,
    pub recipe: Recipe,
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done, skipped ones included: the cursor into the data and the random state.
    pub step: u64,
    /// Updates made.
    pub updates: u64,
    pub skipped: u64,
    pub skipped_in_a_row: u32,
    /// Tokens read so far.
    pub tokens: u64,
    /// Of the newest step; `None` where it was not finite.
    pub train_loss: Option<f64>,
    /// Of the newest step, before clipping; `None` where it was not finite.
    pub grad_norm: Option<f64>,
    /// Loss on some of the training rows before the first step; `None` where it was not finite.
    pub before: Option<f64>,
    /// Held-out scores before the first step.
    pub base: Option<Score>,
    pub parent: Option<Score>,
    /// The newest score of the adapter, and the step it was taken after.
    pub held_out: Option<Score>,
    pub evaluated: u64,
    /// The lowest held-out loss, and the step it was taken after.
    #[serde(default)]
    pub best: Option<(u64, Score)>,
    /// Evaluations since.
    #[serde(default)]
    pub evaluations_since: u64,
    /// How often training went back because numbers were not finite: each time halves the learning rate.
    #[serde(default)]
    pub halvings: u32,
    /// Steps, counted from 0, whose batches are passed over.
    #[serde(default)]
    pub passed_over: Vec<u64>,
    /// Where the loss is scaled dynamically.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// Of the skipped steps those after which a smaller scale was tried.
    #[serde(default)]
    pub overflows: u64,
    /// Losses of the newest steps, oldest first.
    #[serde(default)]
    pub recent: Vec<f64>,
    /// How steps are cut into forwards, where memory did not do for what the recipe says.
    #[serde(default)]
    pub form: Option<Form>,
}

impl Progress {
    /// Steps that changed weights. The optimizer's count begins again with each stage.
    pub fn applied(&self) -> u64 {
        let passed_over = self.passed_over.iter().filter(|step| **step < self.step);
        self.step - self.skipped - passed_over.count() as u64
    }

    /// On the rates that the schedule gives.
    pub fn rate_factor(&self) -> f64 {
        0.5f64.powi(self.halvings as i32)
    }

    /// Counts a step as applied or skipped, and has a dynamic scale follow. `true`: its gradients overflowed at a scale
    /// that could fall, which says nothing of the weights and does not count among skipped steps in a row.
    pub fn count(&mut self, stepped: &Stepped) -> bool {
        if stepped.applied {
            self.skipped_in_a_row = 0;
            if let Some(scale) = &mut self.scale {
                scale.rise();
            }
            return false;
        }
        self.skipped += 1;
        let falls = self.scale.as_mut().is_some_and(Scale::fall);
        // A loss that is not finite is so at any scale.
        let overflowed = falls && stepped.loss.is_finite();
        match overflowed {
            true => self.overflows += 1,
            false => self.skipped_in_a_row += 1,
        }
        overflowed
    }

    pub fn remember(&mut self, loss: f64) {
        if self.recent.len() == verdict::WINDOW {
            self.recent.remove(0);
        }
        self.recent.push(loss);
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    identity: Identity,
    progress: Progress,
}

/// The checkpoints of one job.
pub struct Checkpoints {
    pub folder: PathBuf,
    pub identity: Identity,
}

/// A checkpoint as it was read, and the newer ones that could not be.
pub struct Found {
    pub progress: Progress,
    pub tensors: Stored,
}

impl Checkpoints {
    /// Saves the state after `progress.step` steps and drops all but the newest two, the newest two that `save_every`
    /// asks for, and the best one where that is to be published. Returns the steps that are kept.
    pub fn save(&self, progress: &Progress, tensors: &Tensors<'_>) -> io::Result<Vec<u64>> {
        let state = serde_json::to_vec(&State {
            identity: self.identity.clone(),
            progress: progress.clone(),
        })?;
        let artefacts = Artefacts::within(&self.folder);
        artefacts.put_written(&folder_name(progress.step), |files| {
            let of_tensors = files.file(TENSORS, |out| tensors.write(out))?;
            let of_state = files.file(STATE, |out| out.write_all(&state))?;
            let digests: BTreeMap<&str, String> = [(TENSORS, of_tensors), (STATE, of_state)]
                .map(|(name, digest)| (name, digest.to_string()))
                .into();
            let digests = serde_json::to_vec(&digests)?;
            files.file(DIGESTS, |out| out.write_all(&digests))?;
            Ok(())
        })?;
        let best = match self.identity.recipe.keep {
            Keep::Best => progress.best.map(|(step, _)| step),
            Keep::Last => None,
        };
        // Those that a pause wrote take no place from those that are due.
        let every = self.identity.recipe.save_every.unwrap_or(1);
        let mut due = 0;
        let mut kept = Vec::new();
        for (at, step) in self.steps()?.into_iter().enumerate() {
            due += usize::from(step.is_multiple_of(every));
            let is_due = step.is_multiple_of(every) && due <= KEPT;
            if at < KEPT || is_due || Some(step) == best {
                kept.push(step);
            }
        }
        let steps = kept;
        artefacts.sweep(|key| steps.iter().any(|step| folder_name(*step) == key))?;
        Ok(steps)
    }

    /// The newest checkpoint that is whole, and why newer ones were passed over.
    ///
    /// # Errors
    /// `Foreign` when a whole checkpoint belongs to something else: continuing would train the wrong thing.
    pub fn newest(&self, shapes: Shapes<'_>) -> Result<(Option<Found>, Vec<String>), Fault> {
        self.newest_where(shapes, |_| true)
    }

    /// The newest that is whole and of which `fits` says yes.
    fn newest_where(
        &self,
        shapes: Shapes<'_>,
        fits: impl Fn(&Progress) -> bool,
    ) -> Result<(Option<Found>, Vec<String>), Fault> {
        let mut damaged = Vec::new();
        for step in self.steps()? {
            match self.read(step, shapes) {
                Ok((state, _)) if !fits(&state.progress) => {}
                Ok((state, tensors)) => {
                    if let Some(why) = difference(&state.identity, &self.identity) {
                        return Err(Fault::Foreign { step, why });
                    }
                    return Ok((
                        Some(Found {
                            progress: state.progress,
                            tensors,
                        }),
                        damaged,
                    ));
                }
                Err(why) => {
                    damaged.push(format!("the checkpoint of step {step} is damaged: {why}"))
                }
            }
        }
        Ok((None, damaged))
    }

    /// The newest checkpoint of which `fits` says yes, and why others were passed over; those of later steps are gone then.
    /// `None`: all are as they were.
    ///
    /// # Errors
    /// As [`Self::newest`].
    pub fn go_back(
        &self,
        shapes: Shapes<'_>,
        fits: impl Fn(&Progress) -> bool + Copy,
    ) -> Result<(Option<Found>, Vec<String>), Fault> {
        let (found, damaged) = self.newest_where(shapes, fits)?;
        if let Some(Found { progress, .. }) = &found {
            let later = self.steps()?.into_iter();
            let later: Vec<String> = later
                .filter(|step| *step > progress.step)
                .map(folder_name)
                .collect();
            drop(Artefacts::within(&self.folder).remove(later.iter().map(String::as_str))?);
        }
        Ok((found, damaged))
    }

    /// Whether there is a checkpoint of that step.
    pub fn holds(&self, step: u64) -> bool {
        Artefacts::within(&self.folder).holds(&folder_name(step))
    }

    /// What there was after `step`, where it is still there as it was written.
    pub fn tensors_of(&self, step: u64, shapes: Shapes<'_>) -> Result<Stored, String> {
        let (_, tensors) = self.read(step, shapes)?;
        Ok(tensors)
    }

    /// Steps that have a checkpoint, newest first.
    fn steps(&self) -> io::Result<Vec<u64>> {
        let keys = Artefacts::within(&self.folder).keys()?;
        let mut steps: Vec<u64> = keys
            .iter()
            .filter_map(|key| key.strip_prefix("step-")?.parse().ok())
            .collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    fn read(&self, step: u64, shapes: Shapes<'_>) -> Result<(State, Stored), String> {
        let artefacts = Artefacts::within(&self.folder);
        let key = folder_name(step);
        let file = |name: &str| {
            let bytes = artefacts.read(&key, name, u64::MAX);
            bytes.map_err(|fault| format!("{name}: {fault}"))
        };
        let digests: BTreeMap<String, String> = serde_json::from_slice(&file(DIGESTS)?)
            .map_err(|fault| format!("{DIGESTS}: {fault}"))?;
        let verify = |name: &str, digest: blake3::Hash| match digests.get(name) {
            Some(written) if *written == digest.to_string() => Ok(()),
            _ => Err(format!("{name} is not what was written")),
        };
        let state = file(STATE)?;
        verify(STATE, blake3::hash(&state))?;
        let state: State =
            serde_json::from_slice(&state).map_err(|fault| format!("{STATE}: {fault}"))?;
        let tensors = artefacts.open(&key, TENSORS);
        let (tensors, digest) = tensors.map_err(|fault| format!("{TENSORS}: {fault}"))?;
        verify(TENSORS, digest)?;
        Ok((state, Stored::open(tensors, shapes)?))
    }
}

fn folder_name(step: u64) -> String {
    format!("step-{step:010}")
}

fn difference(found: &Identity, wanted: &Identity) -> Option<String> {
    let parts = [
        ("base", found.base_digest == wanted.base_digest),
        (
            "tokenizer",
            found.tokenizer_digest == wanted.tokenizer_digest,
        ),
        (
            "chat template",
            found.template_digest == wanted.template_digest,
        ),
        ("training data", found.data_digest == wanted.data_digest),
        ("recipe", found.recipe == wanted.recipe),
    ];
    parts
        .iter()
        .find(|(_, same)| !same)
        .map(|(part, _)| format!("it was made with another {part}"))
}

#[cfg(test)]
mod tests;
