//! A folder of tensors as it is written: a configuration, and a safetensors file in f32. The same values give the same bytes.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::{CONFIG_FILE, Files};
use crate::device::{Array, Error, Result};

/// Tensors of one file.
#[derive(Debug, Default)]
pub struct Writer {
    /// Name, sizes and numbers.
    tensors: Vec<(String, Vec<usize>, Array)>,
}

impl Writer {
    /// An array by the name it has in the file, [rows, width].
    pub fn matrix(&mut self, name: impl Into<String>, array: &Array) {
        self.shaped(name, vec![array.rows(), array.width()], array);
    }

    /// One of a single dimension: a bias, the weights of a norm.
    pub fn vector(&mut self, name: impl Into<String>, array: &Array) {
        self.shaped(name, vec![array.len()], array);
    }

    pub fn shaped(&mut self, name: impl Into<String>, dims: Vec<usize>, array: &Array) {
        self.tensors.push((name.into(), dims, array.clone()));
    }

    /// The file.
    pub fn bytes(self) -> Result<Vec<u8>> {
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, dims, array) in &self.tensors {
            // As they lie in memory, low bytes first: the file is the only copy of a whole model's weights.
            let bytes = bytemuck::cast_slice(array.values());
            let view = TensorView::new(Dtype::F32, dims.clone(), bytes).map_err(Error::of)?;
            views.push((name, view));
        }
        // PEFT's loader asks for this mark.
        let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(format)).map_err(Error::of)
    }

    /// The folder: `adapter_config.json` and this file under `name`.
    pub fn folder(self, config: &Value, name: &str) -> Result<Files> {
        let config = serde_json::to_vec_pretty(config).map_err(Error::of)?;
        Ok([
            (CONFIG_FILE.to_owned(), config.into()),
            (name.to_owned(), self.bytes()?.into()),
        ]
        .into())
    }
}
