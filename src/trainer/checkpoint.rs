//! Everything a job needs to go on exactly where it was: trained values, moments, the cursor, and whose they are.
//!
//! Random state needs no saving beyond the step: every draw is a function of the seed and the step. A checkpoint is a
//! folder that appears whole; its files' BLAKE3 digests are verified when it is read. The last two are kept, so that a
//! damaged one falls back to the one before.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::evaluate::Score;
use super::fault::Fault;
use super::optimizer::Moments;
use super::verdict;
use crate::domain::{Keep, Recipe};
use crate::store::Artefacts;

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
    /// Losses of the newest steps, oldest first.
    #[serde(default)]
    pub recent: Vec<f64>,
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

    pub fn remember(&mut self, loss: f64) {
        if self.recent.len() == verdict::WINDOW {
            self.recent.remove(0);
        }
        self.recent.push(loss);
    }
}

/// The tensors of a checkpoint, in the order of the trainable ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors {
    pub values: Vec<Vec<f32>>,
    pub moments: Vec<Moments>,
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
    pub tensors: Tensors,
}

impl Checkpoints {
    /// Saves the state after `progress.step` steps and drops all but the newest two, the newest two that `save_every`
    /// asks for, and the best one where that is to be published. Returns the steps that are kept.
    pub fn save(
        &self,
        progress: &Progress,
        names: &[String],
        tensors: &Tensors,
    ) -> io::Result<Vec<u64>> {
        let tensors = pack(names, tensors)?;
        let state = serde_json::to_vec(&State {
            identity: self.identity.clone(),
            progress: progress.clone(),
        })?;
        let digests: BTreeMap<&str, String> = [(TENSORS, &tensors), (STATE, &state)]
            .map(|(name, bytes)| (name, blake3::hash(bytes).to_string()))
            .into();
        let digests = serde_json::to_vec(&digests)?;
        let files = [
            (TENSORS, tensors.as_slice()),
            (STATE, &state),
            (DIGESTS, &digests),
        ];
        let artefacts = Artefacts::within(&self.folder);
        artefacts.put(&folder_name(progress.step), &files)?;
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
    pub fn newest(
        &self,
        names: &[String],
        sizes: &[usize],
    ) -> Result<(Option<Found>, Vec<String>), Fault> {
        self.newest_where(names, sizes, |_| true)
    }

    /// The newest that is whole and of which `fits` says yes.
    fn newest_where(
        &self,
        names: &[String],
        sizes: &[usize],
        fits: impl Fn(&Progress) -> bool,
    ) -> Result<(Option<Found>, Vec<String>), Fault> {
        let mut damaged = Vec::new();
        for step in self.steps()? {
            match self.read(step, names, sizes) {
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
        names: &[String],
        sizes: &[usize],
        fits: impl Fn(&Progress) -> bool + Copy,
    ) -> Result<(Option<Found>, Vec<String>), Fault> {
        let (found, damaged) = self.newest_where(names, sizes, fits)?;
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

    /// The values after `step`, where they are still there as they were written.
    pub fn values_of(
        &self,
        step: u64,
        names: &[String],
        sizes: &[usize],
    ) -> Result<Vec<Vec<f32>>, String> {
        let (_, tensors) = self.read(step, names, sizes)?;
        Ok(tensors.values)
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

    fn read(
        &self,
        step: u64,
        names: &[String],
        sizes: &[usize],
    ) -> Result<(State, Tensors), String> {
        let artefacts = Artefacts::within(&self.folder);
        let file = |name: &str| {
            let bytes = artefacts.read(&folder_name(step), name, u64::MAX);
            bytes.map_err(|fault| format!("{name}: {fault}"))
        };
        let digests: BTreeMap<String, String> = serde_json::from_slice(&file(DIGESTS)?)
            .map_err(|fault| format!("{DIGESTS}: {fault}"))?;
        let verified = |name: &str| {
            let bytes = file(name)?;
            match digests.get(name) {
                Some(digest) if *digest == blake3::hash(&bytes).to_string() => Ok(bytes),
                _ => Err(format!("{name} is not what was written")),
            }
        };
        let state: State = serde_json::from_slice(&verified(STATE)?)
            .map_err(|fault| format!("{STATE}: {fault}"))?;
        Ok((state, unpack(&verified(TENSORS)?, names, sizes)?))
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

const PARTS: [&str; 3] = ["value", "first_moment", "second_moment"];

fn pack(names: &[String], tensors: &Tensors) -> io::Result<Vec<u8>> {
    let mut arrays = Vec::new();
    for ((name, values), moments) in names.iter().zip(&tensors.values).zip(&tensors.moments) {
        for (part, values) in PARTS.iter().zip([values, &moments.first, &moments.second]) {
            arrays.push((format!("{name}.{part}"), values.len(), le_bytes(values)));
        }
    }
    let views = arrays
        .iter()
        .map(|(name, len, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![*len], bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(io::Error::other)?;
    safetensors::serialize(views, None).map_err(io::Error::other)
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn unpack(bytes: &[u8], names: &[String], sizes: &[usize]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|fault| fault.to_string())?;
    let array = |name: &str, part: &str, size: usize| {
        let name = format!("{name}.{part}");
        let view = file
            .tensor(&name)
            .map_err(|fault| format!("{name}: {fault}"))?;
        let (chunks, rest) = view.data().as_chunks::<4>();
        if view.dtype() != Dtype::F32 || chunks.len() != size || !rest.is_empty() {
            return Err(format!("{name} is not {size} numbers"));
        }
        Ok(chunks
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect::<Vec<f32>>())
    };
    let mut tensors = Tensors {
        values: Vec::new(),
        moments: Vec::new(),
    };
    for (name, &size) in names.iter().zip(sizes) {
        let [values, first, second] = PARTS.map(|part| array(name, part, size));
        tensors.values.push(values?);
        tensors.moments.push(Moments {
            first: first?,
            second: second?,
        });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests;
