//! A Hugging Face model folder: `config.json` beside safetensors, one file or shards with an index.
//! Pickle files and Git LFS pointers are refused by their first bytes, whatever their name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::blob::Blob;
use super::convert::{Quant, Raw};
use super::{Source, WeightError, config, names};
use crate::domain::lfs_pointer;
use crate::kernels::quant::Format;
use crate::kernels::quant::Matrix;
use crate::model::spec::Spec;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// An opened folder: every tensor is there, with the right shape and a type that can be read.
pub struct Folder {
    spec: Spec,
    quant: Quant,
    files: Vec<Blob>,
    tensors: BTreeMap<String, Entry>,
}

struct Entry {
    file: usize,
    bytes: Range<usize>,
    format: Format,
    shape: Vec<usize>,
}

impl Folder {
    pub fn open(dir: &Path, quant: Quant) -> Result<Self, WeightError> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| WeightError::new(path.display().to_string(), e.to_string()))?;
        refuse_pointer("config.json", text.as_bytes())?;
        let spec = config::parse(&text)?;
        let mut files = Vec::new();
        let mut tensors = BTreeMap::new();
        for path in shards(dir)? {
            let blob = Blob::open(&path)?;
            read_header(&path, &blob, files.len(), &mut tensors)?;
            files.push(blob);
        }
        let mut folder = Self {
            spec,
            quant,
            files,
            tensors,
        };
        folder.settle_head()?;
        folder.check()?;
        Ok(folder)
    }

    /// BLAKE3 over the content of the weight files, in the order of their names.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for file in &self.files {
            file.hash_into(&mut hasher);
        }
        *hasher.finalize().as_bytes()
    }

    /// Embedding and head of a tied model may be stored once, under either name, or twice. Stored twice and different,
    /// they are two matrices whatever the config says.
    fn settle_head(&mut self) -> Result<(), WeightError> {
        if !self.spec.tied {
            return Ok(());
        }
        match (
            self.tensors.contains_key(names::EMBEDDING),
            self.tensors.remove(names::HEAD),
        ) {
            (true, Some(head)) => {
                let same = self.bytes(&head) == self.bytes(&self.tensors[names::EMBEDDING]);
                if !same {
                    tracing::warn!(
                        "lm_head.weight differs from the embedding; tie_word_embeddings is not applied"
                    );
                    self.spec.tied = false;
                    self.tensors.insert(names::HEAD.to_owned(), head);
                }
            }
            (false, Some(head)) => {
                self.tensors.insert(names::EMBEDDING.to_owned(), head);
            }
            (_, None) => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), WeightError> {
        let mut expected = BTreeSet::new();
        for (name, shape) in names::expected(&self.spec) {
            let Some(entry) = self.tensors.get(&name) else {
                return Err(WeightError::new(name, "is missing from the weight files"));
            };
            if entry.shape != shape {
                return Err(WeightError::new(
                    name,
                    format!(
                        "has shape {:?}, config.json calls for {shape:?}",
                        entry.shape
                    ),
                ));
            }
            expected.insert(name);
        }
        match self
            .tensors
            .keys()
            .find(|name| !expected.contains(*name) && !names::ignorable(name))
        {
            Some(extra) => Err(WeightError::new(
                extra,
                "is a tensor that config.json does not call for",
            )),
            None => Ok(()),
        }
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.files[entry.file][entry.bytes.clone()]
    }

    /// The format a tensor is stored in.
    pub(super) fn format(&self, path: &str) -> Option<Format> {
        self.tensors.get(path).map(|entry| entry.format)
    }

    /// Lets go of the memory behind a tensor.
    pub(super) fn release(&self, path: &str) {
        if let Some(entry) = self.tensors.get(path) {
            self.files[entry.file].release(entry.bytes.clone());
        }
    }

    pub(super) fn raw<'a>(&'a self, path: &'a str, dims: usize) -> Result<Raw<'a>, WeightError> {
        let entry = self
            .tensors
            .get(path)
            .ok_or_else(|| WeightError::new(path, "is not a tensor of this base"))?;
        let (rows, width) = match (dims, entry.shape.as_slice()) {
            (2, &[rows, width]) => (rows, width),
            (1, &[n]) => (1, n),
            _ => {
                return Err(WeightError::new(
                    path,
                    format!("has {} dimensions, not {dims}", entry.shape.len()),
                ));
            }
        };
        Ok(Raw {
            name: path,
            bytes: self.bytes(entry).into(),
            format: entry.format,
            rows,
            width,
        })
    }
}

impl Source for Folder {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn matrix(&mut self, path: &str) -> Result<Matrix, WeightError> {
        let raw = self.raw(path, 2)?;
        let edge = path == names::EMBEDDING || path == names::HEAD;
        let made = raw.into_wanted(self.quant, edge);
        self.release(path);
        made
    }

    fn vector(&mut self, path: &str) -> Result<Vec<f32>, WeightError> {
        self.raw(path, 1)?.into_vector()
    }

    fn has(&self, path: &str) -> bool {
        self.tensors.contains_key(path)
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weight files of a folder, sorted by name.
fn shards(dir: &Path) -> Result<Vec<PathBuf>, WeightError> {
    if dir.join(SINGLE).exists() {
        return Ok(vec![dir.join(SINGLE)]);
    }
    let index = dir.join(INDEX);
    if index.exists() {
        let text =
            std::fs::read_to_string(&index).map_err(|e| WeightError::new(INDEX, e.to_string()))?;
        refuse_pointer(INDEX, text.as_bytes())?;
        let index: Index =
            serde_json::from_str(&text).map_err(|e| WeightError::new(INDEX, e.to_string()))?;
        let files: BTreeSet<String> = index.weight_map.into_values().collect();
        // A shard is a plain file name: an index must not lead out of its folder.
        if let Some(odd) = files.iter().find(|name| {
            Path::new(name)
                .file_name()
                .is_none_or(|n| n != name.as_str())
        }) {
            return Err(WeightError::new(
                INDEX,
                format!("names `{odd}`, which is not a file name"),
            ));
        }
        return Ok(files.into_iter().map(|name| dir.join(name)).collect());
    }
    let listing = std::fs::read_dir(dir)
        .map_err(|e| WeightError::new(dir.display().to_string(), e.to_string()))?;
    let pickle = listing
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            [".bin", ".pt", ".pth", ".ckpt", ".pkl"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .min();
    Err(match pickle {
        Some(name) => WeightError::new(
            name,
            "is a pickle file, which can run code; convert the weights to safetensors",
        ),
        None => WeightError::new(
            dir.display().to_string(),
            format!("has neither {SINGLE} nor {INDEX}"),
        ),
    })
}

/// Adds the tensors of one file; the header has been checked against the file's length.
fn read_header(
    path: &Path,
    blob: &Blob,
    file: usize,
    tensors: &mut BTreeMap<String, Entry>,
) -> Result<(), WeightError> {
    let shown = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    refuse_foreign(&shown, blob)?;
    let (header, metadata) = SafeTensors::read_metadata(blob)
        .map_err(|e| WeightError::new(&shown, format!("is not a safetensors file: {e}")))?;
    let data = 8 + header;
    for (name, info) in metadata.tensors() {
        let format = match info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::Bf16,
            _ if names::ignorable(&name) => continue,
            other => {
                return Err(WeightError::new(
                    name,
                    format!("has type {other:?}; known: F32, F16, BF16"),
                ));
            }
        };
        let bytes = data + info.data_offsets.0..data + info.data_offsets.1;
        let entry = Entry {
            file,
            bytes,
            format,
            shape: info.shape.clone(),
        };
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(WeightError::new(
                name,
                format!("is stored twice, again in {shown}"),
            ));
        }
    }
    Ok(())
}

/// Fails where a repository was cloned without its large files.
fn refuse_pointer(shown: &str, bytes: &[u8]) -> Result<(), WeightError> {
    lfs_pointer(bytes).map_or(Ok(()), |why| Err(WeightError::new(shown, why)))
}

/// Fails on what commonly lies where weights belong and is none: Git LFS pointers and pickle files. Pickle protocol 2 and
/// later begin with 0x80; a zip archive, as torch writes it, with `PK`.
pub(super) fn refuse_foreign(shown: &str, bytes: &[u8]) -> Result<(), WeightError> {
    refuse_pointer(shown, bytes)?;
    // A safetensors file begins with the length of its header, whose JSON begins with a brace in the ninth byte.
    let pickled = bytes.starts_with(b"PK\x03\x04")
        || (bytes.first() == Some(&0x80) && bytes.get(8) != Some(&b'{'));
    match pickled {
        true => Err(WeightError::new(
            shown,
            "is a pickle file, which can run code; convert the weights to safetensors",
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
