//! A folder of whole weights: PEFT's two files, under a `peft_type` of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::config::ConfigFile;
use super::lora::refuse_keys;
use super::writer::Writer;
use super::{Files, WEIGHTS_FILE};
use crate::adapter::{AdapterFault, Place};
use crate::device::{Array, Result};

/// What a configuration says, and the weights as they were stored: enough to train them further.
#[derive(Debug, Clone, Default)]
pub struct DenseSettings {
    /// How they were trained: `full`.
    pub method: Option<String>,
    /// The names of all tensors, where they are listed.
    pub tensors: Option<Vec<String>>,
    pub values: BTreeMap<Place, Array>,
}

impl DenseSettings {
    pub fn parse(file: &ConfigFile) -> std::result::Result<Self, AdapterFault> {
        refuse_keys(file, &["method", "tensors"], &[])?;
        Ok(Self {
            method: file.text("method")?.map(str::to_owned),
            tensors: file.texts("tensors")?,
            values: BTreeMap::new(),
        })
    }
}

/// `adapter_config.json` and `adapter_model.safetensors` of such weights, in f32. The same values give the same bytes.
pub fn dense_files(
    base_name: &str,
    method: &str,
    values: &BTreeMap<Place, Array>,
) -> Result<Files> {
    let named: BTreeMap<String, (Place, &Array)> = values
        .iter()
        .map(|(place, array)| (place.path(), (*place, array)))
        .collect();
    let names: Vec<&String> = named.keys().collect();
    let config: Value = json!({
        "task_type": "CAUSAL_LM",
        "peft_type": "DENSE",
        "base_model_name_or_path": base_name,
        "inference_mode": true,
        "method": method,
        "tensors": names,
    });
    let mut writer = Writer::default();
    for (name, (place, array)) in named {
        match place {
            Place::Norm(_) | Place::Bias(_) => writer.vector(name, array),
            _ => writer.matrix(name, array),
        }
    }
    writer.folder(&config, WEIGHTS_FILE)
}
