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
use crate::domain::Recipe;
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
    /// Saves the state after `progress.step` steps and drops all but the newest two. Returns the steps that are kept.
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
        let mut steps = self.steps()?;
        steps.truncate(KEPT);
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
        let mut damaged = Vec::new();
        for step in self.steps()? {
            match self.read(step, names, sizes) {
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
mod tests {
    use std::fs;

    use super::*;
    use crate::trainer::recipe::{Wishes, resolve};

    fn checkpoints(folder: &std::path::Path, data: &str) -> Checkpoints {
        of(folder, data, "c")
    }

    fn of(folder: &std::path::Path, data: &str, template: &str) -> Checkpoints {
        let identity = Identity {
            base_digest: "b".into(),
            tokenizer_digest: "t".into(),
            template_digest: template.into(),
            data_digest: data.into(),
            recipe: resolve(
                &Wishes {
                    learning_rate: Some(0.1 + 0.2),
                    ..Wishes::default()
                },
                None,
                512,
            )
            .unwrap(),
        };
        Checkpoints {
            folder: folder.to_owned(),
            identity,
        }
    }

    fn state(step: u64) -> (Progress, Tensors) {
        let moments = Moments {
            first: vec![0.1, -3.5e-30],
            second: vec![0.0, f32::MIN_POSITIVE],
        };
        let tensors = Tensors {
            values: vec![vec![step as f32, 1.0 / 3.0]],
            moments: vec![moments],
        };
        (
            Progress {
                step,
                train_loss: Some(1.0 / 3.0),
                ..Progress::default()
            },
            tensors,
        )
    }

    const NAMES: fn() -> Vec<String> = || vec!["w".into()];

    fn save(checkpoints: &Checkpoints, step: u64) -> Vec<u64> {
        let (progress, tensors) = state(step);
        checkpoints.save(&progress, &NAMES(), &tensors).unwrap()
    }

    #[test]
    fn a_checkpoint_returns_bit_for_bit_and_two_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(folder.path(), "d");
        assert!(checkpoints.newest(&NAMES(), &[2]).unwrap().0.is_none());
        assert_eq!(save(&checkpoints, 1), [1]);
        save(&checkpoints, 2);
        assert_eq!(save(&checkpoints, 3), [3, 2]);
        let (found, damaged) = checkpoints.newest(&NAMES(), &[2]).unwrap();
        let found = found.unwrap();
        assert_eq!((found.progress, found.tensors), state(3));
        assert!(damaged.is_empty());
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before() {
        for (file, cut) in [
            (TENSORS, false),
            (STATE, false),
            (TENSORS, true),
            (DIGESTS, true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let checkpoints = checkpoints(folder.path(), "d");
            save(&checkpoints, 1);
            save(&checkpoints, 2);
            let path = folder.path().join(folder_name(2)).join(file);
            let mut bytes = fs::read(&path).unwrap();
            if cut {
                bytes.truncate(bytes.len() / 2);
            } else {
                *bytes.last_mut().unwrap() ^= 1;
            }
            fs::write(&path, bytes).unwrap();
            let (found, damaged) = checkpoints.newest(&NAMES(), &[2]).unwrap();
            assert_eq!(found.unwrap().progress.step, 1);
            assert_eq!(damaged.len(), 1);
        }
    }

    #[test]
    fn a_checkpoint_of_other_data_or_another_template_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        save(&checkpoints(folder.path(), "d"), 1);
        for (other, part) in [
            (of(folder.path(), "other", "c"), "training data"),
            (of(folder.path(), "d", "other"), "chat template"),
        ] {
            let refused = other.newest(&NAMES(), &[2]).err().unwrap();
            assert!(
                matches!(&refused, Fault::Foreign { step: 1, why } if why.contains(part)),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_a_crash_left_half_written_is_not_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(folder.path(), "d");
        save(&checkpoints, 1);
        let half = folder.path().join(format!(".{}.part", folder_name(2)));
        fs::create_dir(&half).unwrap();
        fs::write(half.join(TENSORS), b"half").unwrap();
        assert_eq!(
            checkpoints
                .newest(&NAMES(), &[2])
                .unwrap()
                .0
                .unwrap()
                .progress
                .step,
            1
        );
        assert_eq!(save(&checkpoints, 2), [2, 1]);
    }
}
