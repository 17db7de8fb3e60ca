//! Checkpoints: everything a run needs to go on, in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::init;
use super::optimizer::{Optimizer, Rates};
use super::run::Failure;
use crate::device::Array;
use crate::model::Model;
use crate::model::spec::Spec;
use crate::model::weights::WeightError;
use crate::store::publish_file;

/// A run between two steps.
pub struct State {
    pub model: Model,
    pub optimizer: Optimizer,
    pub progress: Progress,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub stage: usize,
    pub step: u64,
    pub tokens: u64,
    /// Tokens since the stage began.
    pub of_stage: u64,
}

impl State {
    pub fn fresh(spec: &Spec, seed: u64, rates: Rates) -> Result<Self, Failure> {
        let model = fresh(spec, seed)?;
        Ok(Self {
            optimizer: Optimizer::new(&model, rates),
            model,
            progress: Progress::default(),
        })
    }
}

/// A decoder at its seeded start.
pub fn fresh(spec: &Spec, seed: u64) -> Result<Model, WeightError> {
    let mut start = init::weights(spec, seed).0;
    Model::learning(spec, &mut |path, _| {
        start.remove(path).map_or_else(Vec::new, |grid| grid.data)
    })
}

/// The weights by their Hugging Face names.
pub fn weights(model: &Model) -> BTreeMap<String, Array> {
    let parameters = model.learning_parameters().iter();
    parameters
        .map(|(name, parameter)| (name.clone(), parameter.array()))
        .collect()
}

/// Written aside and synchronised, then renamed: a checkpoint is whole or not there, after a power failure too.
pub fn save(path: &Path, state: &State) -> Result<(), Failure> {
    let progress = state.progress;
    let numbers = [
        ("stage", progress.stage as u64),
        ("step", progress.step),
        ("tokens", progress.tokens),
        ("of_stage", progress.of_stage),
        ("updates", state.optimizer.updates()),
    ];
    let metadata = numbers
        .map(|(name, number)| (name.to_owned(), number.to_string()))
        .into();
    let mut tensors = named(&state.model);
    for (name, values) in state.optimizer.state(&state.model) {
        tensors.push((name, vec![values.len()], bytes(values)));
    }
    write(path, &tensors, metadata)
}

/// The weights alone.
pub fn save_weights(path: &Path, model: &Model) -> Result<(), Failure> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write(path, &named(model), metadata)
}

/// The weights that `save_weights` wrote, or the same tensors from elsewhere.
pub fn load_weights(path: &Path, spec: &Spec) -> Result<Model, Failure> {
    let read = fs::read(path)?;
    model(&SafeTensors::deserialize(&read)?, spec)
}

/// `None` when there is no such file.
pub fn load(path: &Path, spec: &Spec, rates: Rates) -> Result<Option<State>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let read = fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&read)?;
    let numbers = header.metadata().clone().unwrap_or_default();
    let number = |name: &str| {
        let text = numbers.get(name).and_then(|text| text.parse::<u64>().ok());
        text.ok_or_else(|| Failure::Misfit(format!("has no number `{name}`")))
    };
    let file = SafeTensors::deserialize(&read)?;
    let model = model(&file, spec)?;
    let optimizer = Optimizer::restore(&model, rates, number("updates")?, |name| {
        let weight = name.split_once('.').map_or("", |(_, weight)| weight);
        let mut parameters = model.learning_parameters().iter();
        let size = parameters
            .find(|(name, _)| name == weight)
            .map_or(0, |(_, parameter)| parameter.array().len());
        values(&file, &name, size)
    })?;
    let progress = Progress {
        stage: number("stage")? as usize,
        step: number("step")?,
        tokens: number("tokens")?,
        of_stage: number("of_stage")?,
    };
    Ok(Some(State {
        model,
        optimizer,
        progress,
    }))
}

fn model(file: &SafeTensors<'_>, spec: &Spec) -> Result<Model, Failure> {
    let mut misfit = None;
    let model = Model::learning(spec, &mut |path, (rows, width)| {
        values(file, path, rows * width).unwrap_or_else(|failure| {
            misfit.get_or_insert(failure);
            Vec::new()
        })
    });
    match misfit {
        Some(failure) => Err(failure),
        None => Ok(model?),
    }
}

fn values(file: &SafeTensors<'_>, name: &str, count: usize) -> Result<Vec<f32>, Failure> {
    let view = file.tensor(name)?;
    let values = view.data().as_chunks().0.iter();
    if view.dtype() != Dtype::F32 || values.len() != count {
        return Err(Failure::Misfit(format!("`{name}` is not of this network")));
    }
    Ok(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

type Named = (String, Vec<usize>, Vec<u8>);

fn named(model: &Model) -> Vec<Named> {
    let weights = weights(model).into_iter();
    weights
        .map(|(name, array)| {
            let shape = match array.dims() {
                (1, width) => vec![width],
                (rows, width) => vec![rows, width],
            };
            let bytes = bytes(array.values());
            (name, shape, bytes)
        })
        .collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    let values = values.iter();
    values.flat_map(|value| value.to_le_bytes()).collect()
}

fn write(path: &Path, tensors: &[Named], metadata: HashMap<String, String>) -> Result<(), Failure> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)?;
        views.push((name.as_str(), view));
    }
    let bytes = serialize(views, Some(metadata))?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename).into());
    };
    Ok(publish_file(folder, &name.to_string_lossy(), &bytes)?)
}

#[cfg(test)]
mod tests {
    use super::super::export::spec;
    use super::super::learn::learn;
    use super::super::sampler::repeated;
    use super::*;

    const RATES: Rates = Rates {
        muon: 0.004,
        adam: 0.002,
    };

    fn small() -> Spec {
        Spec {
            layers: 2,
            intermediate: 32,
            windows: vec![None; 2],
            ..spec()
        }
    }

    fn step(state: &mut State, seed: u64) -> f32 {
        let (loss, mut gradients) = learn(&state.model, &repeated(seed, 8, 24)).unwrap();
        state
            .optimizer
            .step(&state.model, &mut gradients, 1.0)
            .unwrap();
        loss
    }

    #[test]
    fn a_parameter_without_a_gradient_is_an_error_that_names_it() {
        let state = State::fresh(&small(), 1, RATES).unwrap();
        let (model, mut optimizer) = (state.model, state.optimizer);
        let batch = repeated(1, 8, 24);
        // One of each sort that the optimizer has.
        for part in ["embed_tokens", "mlp.gate_proj", "input_layernorm"] {
            let (_, mut gradients) = learn(&model, &batch).unwrap();
            let mut named = model.learning_parameters().iter();
            let (name, parameter) = named.find(|(name, _)| name.contains(part)).unwrap();
            gradients.remove(&parameter.id()).unwrap();
            let failure = optimizer.step(&model, &mut gradients, 1.0);
            let failure = failure.unwrap_err().to_string();
            assert_eq!(failure, format!("`{name}` has no gradient"));
        }
    }

    #[test]
    fn a_run_that_is_taken_up_goes_on_as_if_it_had_never_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut state = State::fresh(&small(), 1, RATES).unwrap();
        step(&mut state, 1);
        state.progress.step = 1;
        save(&path, &state).unwrap();
        let mut again = load(&path, &small(), RATES).unwrap().unwrap();
        assert_eq!(again.progress, state.progress);
        assert_eq!(step(&mut again, 2), step(&mut state, 2));
        assert_eq!(weights(&again.model), weights(&state.model));
        assert_eq!(again.optimizer.updates(), 2);
    }

    #[test]
    fn steps_lower_the_loss_of_what_they_learn() {
        let mut state = State::fresh(&small(), 1, RATES).unwrap();
        let losses: Vec<f32> = (0..8).map(|_| step(&mut state, 5)).collect();
        assert!(losses[7] < 0.5 * losses[0], "{losses:?}");
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save_weights(&path, &fresh(&small(), 1).unwrap()).unwrap();
        assert!(load_weights(&path, &small()).is_ok());
        let wider = Spec {
            intermediate: 64,
            ..small()
        };
        let failure = load_weights(&path, &wider).err().unwrap().to_string();
        assert!(failure.contains("mlp.gate_proj"), "{failure}");
    }
}
