//! merge: a base's files written again with an adapter folded into its weights, a tensor at a time.
//!
//! A folder becomes a folder or a GGUF file, a GGUF file either. What cannot be said in the other form is refused by name.

mod config;
mod folder;
mod gguf;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use half::f16;
use rayon::prelude::*;

use super::convert::{Quant, Raw, wanted};
use super::{Folder, Gguf, Source, WeightError, names};
use crate::adapter::{Fold, Folded, Place};
use crate::kernels::quant::{Format, encode};
use crate::model::spec::Spec;
use crate::text::{ChatTemplate, Tokenizer};

/// Values that a thread turns at a time.
const CHUNK_VALUES: usize = 1 << 18;

/// Where the weights of a base lie.
pub enum Stored {
    Folder(PathBuf, Box<Folder>),
    Gguf(Box<Gguf>),
}

/// What is written.
pub struct Merge<'a> {
    pub stored: &'a Stored,
    pub fold: Fold<'a>,
    /// Of the weights; `None`: as the base has them, and f16 for what a folder cannot hold.
    pub format: Option<Format>,
    /// What a file or folder says of itself, where it is of another form than the base's.
    pub name: &'a str,
    pub tokenizer: &'a Tokenizer,
    pub template: &'a ChatTemplate,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub tensors: usize,
    /// Of those, the ones that the adapter changed.
    pub changed: usize,
    pub bytes: u64,
}

impl Stored {
    fn spec(&self) -> &Spec {
        match self {
            Self::Folder(_, folder) => folder.spec(),
            Self::Gguf(file) => file.spec(),
        }
    }

    fn raw<'a>(&'a self, path: &'a str, dims: usize) -> Result<Raw<'a>, WeightError> {
        match self {
            Self::Folder(_, folder) => folder.raw(path, dims),
            Self::Gguf(file) => file.raw(path, dims),
        }
    }

    /// Lets go of the memory behind a tensor.
    fn release(&self, path: &str) {
        match self {
            Self::Folder(_, folder) => folder.release(path),
            Self::Gguf(file) => file.release(path),
        }
    }
}

/// One tensor on its way.
struct Tensor<'a> {
    raw: Raw<'a>,
    /// What is done to it, one after the other.
    folded: Vec<Folded>,
    format: Format,
}

impl Merge<'_> {
    /// Writes the files of a Hugging Face folder into `dir`, which is empty; of weights in several files, each has at most
    /// `most` bytes.
    pub fn into_folder(&self, dir: &Path, most: u64) -> Result<Written, WeightError> {
        folder::write(self, dir, most)
    }

    /// Writes a GGUF file.
    pub fn into_gguf(&self, file: &Path) -> Result<Written, WeightError> {
        gguf::write(self, file)
    }

    /// Of what is written: a head that was the embedding may be a weight of its own now.
    fn spec(&self) -> Spec {
        let spec = self.stored.spec();
        Spec {
            tied: spec.tied && !self.fold.unties(),
            ..spec.clone()
        }
    }

    /// The tensors that are written, by their names in checkpoints, with their shapes.
    fn expected(&self) -> Vec<(String, Vec<usize>)> {
        names::expected(&self.spec())
    }

    /// Where the base has what becomes a tensor.
    fn source<'a>(&self, path: &'a str) -> &'a str {
        match path == names::HEAD && self.stored.spec().tied {
            true => names::EMBEDDING,
            false => path,
        }
    }

    /// `format`: what the place it goes to holds, of what is asked for and what is stored.
    fn tensor<'a>(
        &'a self,
        path: &'a str,
        shape: &[usize],
        format: impl FnOnce(Option<Format>, Format) -> Format,
    ) -> Result<Tensor<'a>, WeightError> {
        let raw = self.stored.raw(self.source(path), shape.len())?;
        let format = format(self.format, raw.format);
        let folded = Place::parse(path).map_or_else(Vec::new, |place| self.fold.at(place));
        Ok(Tensor {
            raw,
            folded,
            format,
        })
    }
}

impl Tensor<'_> {
    /// Its bytes as a file holds them, in the order of checkpoints.
    fn encoded(&self) -> Result<Cow<'_, [u8]>, WeightError> {
        self.raw.check_finite()?;
        let Raw { rows, width, .. } = self.raw;
        if self.folded.is_empty() && self.format == self.raw.format {
            return Ok(Cow::Borrowed(&self.raw.bytes));
        }
        let at_once = (CHUNK_VALUES / width.max(1)).max(1);
        let chunks: Vec<_> = (0..rows)
            .step_by(at_once)
            .map(|first| first..(first + at_once).min(rows))
            .collect();
        let wrong = |why: String| WeightError::new(self.raw.name, why);
        let parts = chunks.into_par_iter().map(|rows| {
            let mut values = self.raw.dense(rows.clone())?;
            for folded in &self.folded {
                folded.apply(rows.clone(), &mut values);
            }
            if values.iter().any(|value| !value.is_finite()) {
                return Err(wrong("is not finite with the adapter in it".into()));
            }
            let most = f16::MAX.to_f32();
            if self.format == Format::F16 && values.iter().any(|value| value.abs() > most) {
                return Err(wrong(
                    "has values beyond the range of f16; ask for bf16".into(),
                ));
            }
            encode(values, width, self.format).map_err(|error| wrong(error.to_string()))
        });
        let parts: Vec<Vec<u8>> = parts.collect::<Result<_, WeightError>>()?;
        Ok(Cow::Owned(parts.concat()))
    }
}

/// What a matrix of a GGUF file is held as.
fn format_in_gguf(path: &str, width: usize) -> impl Fn(Option<Format>, Format) -> Format {
    let edge = path == names::EMBEDDING || path == names::HEAD;
    move |asked, stored| match asked {
        None => stored,
        Some(format) => {
            let format = wanted(Quant::To(format), stored, edge);
            format.fitting(width).unwrap_or(stored)
        }
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> WeightError {
    let shown = path.display().to_string();
    move |error| WeightError::new(shown.clone(), error.to_string())
}

#[cfg(test)]
mod tests;
