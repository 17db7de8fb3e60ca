//! Checkpoints: everything a run needs to go on, in one safetensors file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use super::network::{Network, Shape};
use super::optimizer::{Optimizer, Rates};
use super::run::Failure;

/// A run between two steps.
pub struct State {
    pub network: Network,
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

const FIRST: &str = "first.";
const SECOND: &str = "second.";

/// Writes beside `path`, then renames: a checkpoint is whole or not there.
pub fn save(path: &Path, state: &mut State) -> Result<(), Failure> {
    let progress = state.progress;
    let numbers = [
        ("stage", progress.stage as u64),
        ("step", progress.step),
        ("tokens", progress.tokens),
        ("of_stage", progress.of_stage),
        ("updates", state.optimizer.updates as u64),
    ];
    let metadata = numbers
        .map(|(name, number)| (name.to_owned(), number.to_string()))
        .into();
    let mut tensors = named("", &mut state.network);
    tensors.extend(named(FIRST, &mut state.optimizer.first));
    tensors.extend(named(SECOND, &mut state.optimizer.second));
    write(path, tensors, metadata)
}

/// The weights alone, by their Hugging Face names.
pub fn save_network(path: &Path, network: &mut Network) -> Result<(), Failure> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write(path, named("", network), metadata)
}

/// The weights that `save_network` wrote, or the same tensors from elsewhere.
pub fn load_network(path: &Path, shape: &Shape) -> Result<Network, Failure> {
    let bytes = fs::read(path)?;
    let mut network = Network::full(shape, 0.0);
    read(&SafeTensors::deserialize(&bytes)?, "", &mut network)?;
    Ok(network)
}

/// `None` when there is no such file.
pub fn load(path: &Path, shape: &Shape, rates: Rates) -> Result<Option<State>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let numbers = header.metadata().clone().unwrap_or_default();
    let number = |name: &str| {
        let text = numbers.get(name).and_then(|text| text.parse::<u64>().ok());
        text.ok_or_else(|| Failure::Misfit(format!("has no number `{name}`")))
    };
    let file = SafeTensors::deserialize(&bytes)?;
    let mut network = Network::full(shape, 0.0);
    let mut optimizer = Optimizer::new(shape, rates);
    read(&file, "", &mut network)?;
    read(&file, FIRST, &mut optimizer.first)?;
    read(&file, SECOND, &mut optimizer.second)?;
    optimizer.updates = number("updates")? as i32;
    let progress = Progress {
        stage: number("stage")? as usize,
        step: number("step")?,
        tokens: number("tokens")?,
        of_stage: number("of_stage")?,
    };
    Ok(Some(State {
        network,
        optimizer,
        progress,
    }))
}

type Named = (String, Vec<usize>, Vec<u8>);

fn named(prefix: &str, network: &mut Network) -> Vec<Named> {
    let tensors = network.tensors().into_iter();
    tensors
        .map(|(name, _, tensor)| {
            let shape = if tensor.rows == 1 {
                vec![tensor.columns]
            } else {
                vec![tensor.rows, tensor.columns]
            };
            let bytes = tensor
                .data
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (format!("{prefix}{name}"), shape, bytes)
        })
        .collect()
}

fn write(
    path: &Path,
    tensors: Vec<Named>,
    metadata: HashMap<String, String>,
) -> Result<(), Failure> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        views.push((
            name.as_str(),
            TensorView::new(Dtype::F32, shape.clone(), bytes)?,
        ));
    }
    let beside = path.with_extension("new");
    serialize_to_file(views, Some(metadata), &beside)?;
    fs::rename(beside, path)?;
    Ok(())
}

fn read(file: &SafeTensors<'_>, prefix: &str, network: &mut Network) -> Result<(), Failure> {
    for (name, _, tensor) in network.tensors() {
        let view = file.tensor(&format!("{prefix}{name}"))?;
        let values = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if view.dtype() != Dtype::F32 || values.len() != tensor.data.len() {
            return Err(Failure::Misfit(format!("`{name}` is not of this network")));
        }
        tensor
            .data
            .iter_mut()
            .zip(values)
            .for_each(|(into, value)| *into = value);
    }
    Ok(())
}
