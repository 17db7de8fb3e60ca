//! The sizes of a base without its weights: of files, or of a `config.json` alone.

use std::path::Path;

use serde_json::Value;

use super::convert::held;
use super::{Folder, Gguf, Quant, Source, WeightError, config, names};
use crate::adapter::TensorSize;
use crate::kernels::quant::{Format, Matrix};
use crate::model::spec::Spec;

/// A tensor of a base, and how it would be held.
pub struct Sized {
    pub path: String,
    pub size: TensorSize,
    /// Of a matrix; `None` for int8.
    pub format: Option<Format>,
    pub is_matrix: bool,
}

/// Of a folder: of its weight files where it has some, else as its `config.json` says.
pub fn of_folder(dir: &Path, quant: Quant) -> Result<(Spec, Vec<Sized>), WeightError> {
    let has_weights = std::fs::read_dir(dir).is_ok_and(|entries| {
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.any(|path| path.extension().is_some_and(|end| end == "safetensors"))
    });
    if !has_weights {
        return of_config(&read(&dir.join("config.json"))?, quant);
    }
    let folder = Folder::open(dir, quant)?;
    let all = sized(folder.spec(), quant, |path| folder.format(path));
    Ok((folder.spec().clone(), all))
}

pub fn of_gguf(file: &Gguf, quant: Quant) -> (Spec, Vec<Sized>) {
    let all = sized(file.spec(), quant, |path| file.format(path));
    (file.spec().clone(), all)
}

/// Of the text of a `config.json`, whose weights are stored as its `torch_dtype` says.
pub fn of_config(text: &str, quant: Quant) -> Result<(Spec, Vec<Sized>), WeightError> {
    let spec = config::parse(text)?;
    let stored = stored_in(text);
    let all = sized(&spec, quant, |_| Some(stored));
    Ok((spec, all))
}

/// The text of a `config.json`.
fn read(path: &Path) -> Result<String, WeightError> {
    let text = std::fs::read_to_string(path);
    text.map_err(|error| WeightError::new(path.display().to_string(), error.to_string()))
}

/// The format that the text of a `config.json` gives its weights; most published ones are bf16.
fn stored_in(config: &str) -> Format {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let said = |key: &str| config[key].as_str().map(str::to_owned);
    match said("dtype").or_else(|| said("torch_dtype")).as_deref() {
        Some("float32") => Format::F32,
        Some("float16") => Format::F16,
        _ => Format::Bf16,
    }
}

fn sized(spec: &Spec, quant: Quant, stored: impl Fn(&str) -> Option<Format>) -> Vec<Sized> {
    let expected = names::expected(spec).into_iter();
    let sized = expected.map(|(path, shape)| match shape[..] {
        [n, k] => {
            let edge = path == names::EMBEDDING || path == names::HEAD;
            let stored = stored(&path).unwrap_or(Format::Bf16);
            let format = held(quant, stored, edge, k);
            let bytes = Matrix::bytes_held(format, (n, k));
            Sized {
                size: TensorSize {
                    dims: (n, k),
                    bytes,
                },
                is_matrix: true,
                format,
                path,
            }
        }
        _ => {
            let n = shape.iter().product();
            Sized {
                size: TensorSize {
                    dims: (1, n),
                    bytes: 4 * n as u64,
                },
                is_matrix: false,
                format: None,
                path,
            }
        }
    });
    sized.collect()
}
