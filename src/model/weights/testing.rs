//! Small random bases on disk, for tests.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{Rng, SeedableRng, rngs::StdRng};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::{config, names};
use crate::model::spec::Spec;

/// A config of 2 layers, 4 heads over 2 key heads, hidden 64, vocabulary 96; `changes` are laid over it.
pub fn config(arch: &str, changes: Value) -> Value {
    let mut config = json!({
        "model_type": arch, "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 96,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        "sliding_window": null, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    });
    if arch == "llama" {
        config.as_object_mut().unwrap().remove("sliding_window");
    }
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

pub fn spec(config: &Value) -> Spec {
    config::parse(&config.to_string()).unwrap()
}

pub type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Values around 0 for matrices and around 1 for norms.
pub fn weights(spec: &Spec, seed: u64) -> Weights {
    let mut rng = StdRng::seed_from_u64(seed);
    names::expected(spec)
        .into_iter()
        .map(|(name, shape)| {
            let center = if name.ends_with("norm.weight") {
                1.0
            } else {
                0.0
            };
            let values = (0..shape.iter().product())
                .map(|_| center + rng.random_range(-0.5..0.5f32))
                .collect();
            (name, (shape, values))
        })
        .collect()
}

/// Writes one safetensors file, values turned to `dtype`.
pub fn write(path: &Path, weights: &Weights, dtype: Dtype) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = match dtype {
                Dtype::F16 => values
                    .iter()
                    .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
                    .collect(),
                Dtype::BF16 => values
                    .iter()
                    .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                    .collect(),
                _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            };
            (name.clone(), shape.clone(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (
            name.as_str(),
            TensorView::new(dtype, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A folder with `config.json` and `model.safetensors` in f32.
pub fn folder(config: &Value, weights: &Weights) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    write(&dir.path().join("model.safetensors"), weights, Dtype::F32);
    dir
}
