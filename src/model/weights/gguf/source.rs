//! A GGUF file as a source of tensors: names as in Hugging Face checkpoints, rows of q and k in their order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::blob::Blob;
use super::super::convert::{Quant, Raw};
use super::super::folder::refuse_foreign;
use super::super::{Source, WeightError, names};
use super::file::{Container, Info};
use super::header::{self, DIVISORS};
use super::split;
use super::vocabulary;
use super::write::value_bytes;
use crate::kernels::quant::{Format, Matrix};
use crate::model::spec::Spec;
use crate::text::{ChatTemplate, TextError, Tokenizer};

/// An opened file, or several that a model is split over: every tensor is there with the right shape.
pub struct Gguf {
    /// In order; nearly always one.
    pieces: Vec<Blob>,
    file: Container,
    spec: Spec,
    quant: Quant,
}

impl Gguf {
    /// Of a model that is split, any piece leads to all.
    pub fn open(path: &Path, quant: Quant) -> Result<Self, WeightError> {
        let (pieces, file) = split::open(path)?;
        Self::of(pieces, file, quant)
    }

    /// From bytes that are part of the program.
    pub fn from_static(bytes: &'static [u8], quant: Quant) -> Result<Self, WeightError> {
        let blob = Blob::of(bytes);
        refuse_foreign("the embedded base", &blob)?;
        let file = Container::parse(&blob)?;
        Self::of(vec![blob], file, quant)
    }

    fn of(pieces: Vec<Blob>, file: Container, quant: Quant) -> Result<Self, WeightError> {
        let divisors = match file.tensors.get(DIVISORS) {
            None => None,
            Some(info) => Some(raw(&pieces[info.piece], DIVISORS, info)?.into_vector()?),
        };
        let spec = header::spec(&file, divisors)?;
        let gguf = Self {
            pieces,
            file,
            spec,
            quant,
        };
        gguf.check()?;
        Ok(gguf)
    }

    /// BLAKE3 of the whole file, or of all pieces one after the other.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for piece in &self.pieces {
            piece.hash_into(&mut hasher);
        }
        *hasher.finalize().as_bytes()
    }

    pub fn tokenizer(&self) -> Result<Tokenizer, TextError> {
        vocabulary::tokenizer(&self.file.metadata)
    }

    /// The file's template, or the plain one.
    pub fn template(&self) -> Result<ChatTemplate, TextError> {
        vocabulary::template(&self.file.metadata)
    }

    fn check(&self) -> Result<(), WeightError> {
        let mut known = BTreeSet::from([DIVISORS.to_owned()]);
        for (name, shape) in names::expected(&self.spec) {
            let stored = stored(&name);
            let Some(info) = self.file.tensors.get(&stored) else {
                return Err(WeightError::new(stored, "is missing from the file"));
            };
            if info.shape != shape {
                return Err(WeightError::new(
                    stored,
                    format!("has shape {:?}, its header calls for {shape:?}", info.shape),
                ));
            }
            known.insert(stored);
        }
        let extra = self
            .file
            .tensors
            .keys()
            .find(|name| !known.contains(*name) && !name.ends_with(".attn_rot_embd"));
        match extra {
            Some(name) => Err(WeightError::new(
                name,
                "is a tensor that this architecture does not have",
            )),
            None => Ok(()),
        }
    }

    /// Bytes of a tensor in the order of Hugging Face checkpoints.
    pub(in crate::model::weights) fn raw<'a>(
        &'a self,
        path: &'a str,
        dims: usize,
    ) -> Result<Raw<'a>, WeightError> {
        let stored = stored(path);
        let info = self
            .file
            .tensors
            .get(&stored)
            .filter(|info| info.shape.len() == dims);
        let info = info.ok_or_else(|| WeightError::new(path, "is not a tensor of this base"))?;
        let mut raw = raw(&self.pieces[info.piece], path, info)?;
        if self.spec.arch.gguf.paired && (path.contains(".q_proj.") || path.contains(".k_proj.")) {
            let unit = if dims == 2 {
                raw.row_bytes()
            } else {
                raw.format.bytes_of_block()
            };
            raw.bytes = Cow::Owned(separated(&raw.bytes, unit, self.spec.head_dim));
        }
        Ok(raw)
    }
}

impl Gguf {
    /// The format a tensor is stored in.
    pub(in crate::model::weights) fn format(&self, path: &str) -> Option<Format> {
        self.file.tensors.get(&stored(path)).map(|info| info.format)
    }
}

/// What is written again when a file is copied with changes.
impl Gguf {
    /// Lets go of the memory behind a tensor.
    pub(in crate::model::weights) fn release(&self, path: &str) {
        if let Some(info) = self.file.tensors.get(&stored(path)) {
            self.pieces[info.piece].release(info.bytes.clone());
        }
    }

    /// Every tensor in the order of the file: name, shape and format, bytes.
    pub(in crate::model::weights) fn table(&self) -> Vec<Stored<'_>> {
        let mut all: Vec<_> = self.file.tensors.iter().collect();
        all.sort_by_key(|(_, info)| (info.piece, info.bytes.start));
        let all = all.into_iter();
        all.map(|(name, info)| {
            let bytes = &self.pieces[info.piece][info.bytes.clone()];
            (name.clone(), (info.shape.clone(), info.format), bytes)
        })
        .collect()
    }

    /// By key, type and value as they stand in the file, where it has today's lengths. What is said of pieces is left out:
    /// one file is written.
    pub(in crate::model::weights) fn metadata_bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let each = self.file.metadata.iter();
        each.filter(|(key, _)| !split::is_of_pieces(key))
            .map(|(key, value)| {
                let bytes = match self.file.values.get(key) {
                    Some(place) => self.pieces[0][place.clone()].to_vec(),
                    None => value_bytes(value),
                };
                (key.clone(), bytes)
            })
            .collect()
    }

    pub(in crate::model::weights) fn alignment(&self) -> usize {
        self.file.alignment
    }
}

/// A tensor of a file.
type Stored<'a> = (String, (Vec<usize>, Format), &'a [u8]);

impl Source for Gguf {
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
        self.file.tensors.contains_key(&stored(path))
    }
}

fn raw<'a>(blob: &'a Blob, name: &'a str, info: &Info) -> Result<Raw<'a>, WeightError> {
    let (rows, width) = match *info.shape.as_slice() {
        [rows, width] => (rows, width),
        [n] => (1, n),
        _ => {
            return Err(WeightError::new(
                name,
                format!("has {} dimensions", info.shape.len()),
            ));
        }
    };
    Ok(Raw {
        name,
        bytes: blob[info.bytes.clone()].into(),
        format: info.format,
        rows,
        width,
    })
}

/// The name under which a GGUF file holds a tensor.
pub(in crate::model::weights) fn stored(path: &str) -> String {
    match path {
        names::EMBEDDING => return "token_embd.weight".to_owned(),
        names::FINAL_NORM => return "output_norm.weight".to_owned(),
        names::HEAD => return "output.weight".to_owned(),
        _ => {}
    }
    let parts = path
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once('.'));
    let Some((layer, (module, kind))) =
        parts.and_then(|(layer, rest)| Some((layer, rest.rsplit_once('.')?)))
    else {
        return path.to_owned();
    };
    let module = match module {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    };
    format!("blk.{layer}.{module}.{kind}")
}

/// Llama-architecture files keep the two rows that turn together side by side: row `2i + j` of a head is row
/// `j · half + i` elsewhere. Rows are `unit` bytes each, and independent, in whatever format.
fn separated(bytes: &[u8], unit: usize, head_dim: usize) -> Vec<u8> {
    reordered(bytes, unit, head_dim, |i, half| 2 * (i % half) + i / half)
}

/// The inverse of [`separated`].
pub(in crate::model::weights) fn interleaved(
    bytes: &[u8],
    unit: usize,
    head_dim: usize,
) -> Vec<u8> {
    reordered(bytes, unit, head_dim, |i, half| (i % 2) * half + i / 2)
}

/// Row `i` of each head of the result is row `from(i, half)` of that head.
fn reordered(
    bytes: &[u8],
    unit: usize,
    head_dim: usize,
    from: impl Fn(usize, usize) -> usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact(unit * head_dim) {
        for i in 0..head_dim {
            let at = from(i, head_dim / 2) * unit;
            out.extend_from_slice(&head[at..at + unit]);
        }
    }
    out
}

#[cfg(test)]
mod tests;
