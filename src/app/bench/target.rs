//! The daemon under measurement: one of our own on the subject, with random adapters.

use std::collections::BTreeMap;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

use super::{Subject, spelled};
use crate::adapter::peft::{self, LoraSettings, Selection};
use crate::app::local::Local;
use crate::cli::{Failure, register};
use crate::device::Array;
use crate::domain::Targets;
use crate::model::weights::synthetic;
use crate::text;

pub struct Target {
    pub local: Local,
    /// From the first file read to the first request that would be answered.
    pub load_seconds: f64,
    /// Held for its drop.
    _model: Option<TempDir>,
}

impl Target {
    /// `more`: settings besides those of the subject.
    pub async fn start(subject: &Subject, more: &[(&str, String)]) -> Result<Self, Failure> {
        let (model, path) = match subject.synthetic {
            Some(shape) => {
                let dir = tempfile::tempdir()?;
                let folder = dir.path().join(spelled(shape));
                let made = folder.clone();
                tokio::task::spawn_blocking(move || {
                    let config = shape.config();
                    std::fs::create_dir(&made)?;
                    synthetic::write(&made, &config, 0).map_err(Failure::failed)?;
                    let vocab = config["vocab_size"].as_u64().unwrap_or(0) as usize;
                    text::synthetic::write(&made, vocab).map_err(Failure::failed)
                })
                .await
                .map_err(Failure::failed)??;
                (Some(dir), Some(folder.display().to_string()))
            }
            None => (None, subject.model.clone()),
        };
        let flags: Vec<(&str, String)> = [
            ("model.path", path),
            ("model.quant", subject.quant.clone()),
            ("model.kv", subject.kv.clone()),
            ("engine.threads", subject.threads.map(|n| n.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| (key, value)))
        .chain(more.iter().cloned())
        .collect();
        let began = Instant::now();
        let local = Local::start(&flags).await?;
        Ok(Self {
            local,
            load_seconds: began.elapsed().as_secs_f64(),
            _model: model,
        })
    }

    /// Serves `count` random LoRA adapters on every linear layer and returns their names.
    pub async fn add_adapters(&self, count: usize, rank: usize) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for index in 0..count {
            let name = format!("bench-{index}");
            self.add(&name, rank, index as u64).await?;
            names.push(name);
        }
        Ok(names)
    }

    /// Serves a random adapter under `name`, or moves the name to it; the answer describes it.
    pub async fn add(&self, name: &str, rank: usize, seed: u64) -> Result<Value, Failure> {
        let dir = self.adapter(rank, seed)?;
        register(self.local.client(), name, dir.path(), &[]).await
    }

    /// A folder with a random adapter that fits the base.
    pub fn adapter(&self, rank: usize, seed: u64) -> Result<TempDir, Failure> {
        let dir = tempfile::tempdir()?;
        self.write_adapter(dir.path(), rank, seed)?;
        Ok(dir)
    }

    /// Bytes an adapter on every linear layer takes at most while it is resident.
    pub fn adapter_bytes(&self, rank: usize) -> usize {
        let sites = self.local.base().model.sites();
        let sizes = sites.iter().map(|shape| shape.inputs + shape.outputs);
        4 * rank * sizes.sum::<usize>()
    }

    fn write_adapter(&self, dir: &std::path::Path, rank: usize, seed: u64) -> Result<(), Failure> {
        let base = self.local.base();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut matrix = |rows: usize, columns: usize| {
            // Large enough to change answers, small enough to leave the base recognisable.
            let values = (0..rows * columns).map(|_| rng.random_range(-0.02..0.02f32));
            Array::new(values.collect(), (rows, columns))
        };
        let mut weights = BTreeMap::new();
        for shape in base.model.sites() {
            let pair = (
                matrix(rank, shape.inputs).map_err(Failure::failed)?,
                matrix(shape.outputs, rank).map_err(Failure::failed)?,
            );
            weights.insert(shape.site, pair);
        }
        let everywhere = Selection::of(Targets::Pattern("all-linear".to_owned()));
        let settings = LoraSettings::new(rank, rank as f64, everywhere);
        let lora = peft::Lora {
            settings: &settings,
            base_name: &base.name,
            weights: &weights,
            magnitudes: &BTreeMap::new(),
        };
        Ok(peft::write(dir, &lora)?)
    }
}
