//! A base, opened: weights, tokenizer and template from wherever they lie.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Model;
use super::hub;
use super::weights::gguf::Named;
use super::weights::merge::Stored;
use super::weights::{Folder, Gguf, Quant, Source, WeightError};
use crate::adapter::{BaseShape, BaseTensor, BaseWeights, Fit, Precision, Site};
use crate::kernels::attention;
use crate::kernels::quant::{Format, Matrix};
use crate::text::{ChatTemplate, TextError, Tokenizer};

/// Where a base comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Part of the program.
    Embedded,
    /// A Hugging Face model folder.
    Folder(PathBuf),
    /// A GGUF file; of one that is split, any piece.
    Gguf(PathBuf),
    /// A GGUF file that its store calls by another name than its own.
    Named { name: String, path: PathBuf },
    /// `owner/name` on the Hugging Face hub.
    Hub(String),
}

impl Origin {
    /// The weights as they lie in their files.
    pub fn stored(&self) -> Result<Stored, OpenError> {
        let folder = |dir: PathBuf| {
            let folder = Folder::open(&dir, Quant::AsStored)?;
            Ok(Stored::Folder(dir, Box::new(folder)))
        };
        match self {
            Self::Embedded if EMBEDDED.is_empty() => Err(OpenError::NothingEmbedded),
            Self::Embedded => {
                let file = Gguf::from_static(EMBEDDED, Quant::AsStored)?;
                Ok(Stored::Gguf(Box::new(file)))
            }
            Self::Gguf(path) | Self::Named { path, .. } => {
                let file = Gguf::open(path, Quant::AsStored)?;
                Ok(Stored::Gguf(Box::new(file)))
            }
            Self::Folder(dir) => folder(dir.clone()),
            Self::Hub(id) => folder(hub::folder(id).map_err(|why| OpenError::Hub {
                id: id.clone(),
                why,
            })?),
        }
    }
}

/// What turns texts into tokens and back, of a base whose weights nobody needs.
pub fn voice(origin: &Origin) -> Result<(Tokenizer, ChatTemplate), OpenError> {
    let of_gguf = |file: Gguf| {
        let tokenizer = file.tokenizer()?.within(file.spec().vocab);
        Ok((tokenizer, file.template()?))
    };
    let of_folder = |dir: &Path| {
        let tokenizer = Tokenizer::from_folder(dir)?;
        Ok((tokenizer, ChatTemplate::from_folder(dir)?))
    };
    match origin {
        Origin::Embedded => of_gguf(Gguf::from_static(EMBEDDED, Quant::AsStored)?),
        Origin::Gguf(path) | Origin::Named { path, .. } => {
            of_gguf(Gguf::open(path, Quant::AsStored)?)
        }
        Origin::Folder(dir) => of_folder(dir),
        Origin::Hub(id) => of_folder(&hub::folder(id).map_err(|why| OpenError::Hub {
            id: id.clone(),
            why,
        })?),
    }
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvKind {
    /// f32 where every matrix is f32, else f16.
    Auto,
    F32,
    F16,
    /// 8 bits a number, with a scale for each 32 numbers of a head.
    Q8,
}

impl KvKind {
    /// In which numbers that is; `single`: every matrix is f32.
    pub(super) const fn stored(self, single: bool) -> attention::Stored {
        match self {
            Self::F32 => attention::Stored::F32,
            Self::F16 => attention::Stored::F16,
            Self::Q8 => attention::Stored::Q8,
            Self::Auto if single => attention::Stored::F32,
            Self::Auto => attention::Stored::F16,
        }
    }
}

/// Everything serving and training share.
pub struct Base {
    /// Served name: the folder's or file's name, the hub id, or `adapterd-base`.
    pub name: String,
    /// BLAKE3 of the weight files as stored; ties adapters to their base.
    pub digest: [u8; 32],
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
    pub model: Model,
}

impl Base {
    /// What adapters of this base must fit.
    pub fn fit(&self, max_rank: usize, precision: Precision) -> Fit<'_> {
        Fit {
            sites: self.model.sites(),
            base_digest: self.digest,
            weights: &self.model,
            max_rank,
            precision,
        }
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base `{}`", self.name)
    }
}

impl BaseWeights for Base {
    fn shape(&self) -> BaseShape {
        self.model.shape()
    }

    fn matrix(&self, site: Site) -> Option<Arc<Matrix>> {
        self.model.matrix(site)
    }

    fn tensors(&self) -> Vec<(String, BaseTensor)> {
        self.model.tensors()
    }
}

/// Why there is no base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Weights(#[from] WeightError),
    #[error(transparent)]
    Text(#[from] TextError),
    /// The hub cannot be reached, or has no such model.
    #[error("{id}: {why}; pass a local folder or a .gguf file instead")]
    Hub { id: String, why: String },
    #[error(
        "this program was built without its embedded base; pass --model with a folder, a .gguf file or a hub id"
    )]
    NothingEmbedded,
}

/// Empty in a tree whose base has not been made yet.
pub(super) static EMBEDDED: &[u8] = include_bytes!("../../adapters/base/model.gguf");

impl Base {
    /// `quant`: `None` is Q8_0 for folders and the own types of a GGUF file.
    pub fn open(origin: &Origin, quant: Option<Quant>, kv: KvKind) -> Result<Self, OpenError> {
        let stored = quant.unwrap_or(Quant::AsStored);
        match origin {
            Origin::Embedded if EMBEDDED.is_empty() => Err(OpenError::NothingEmbedded),
            Origin::Embedded => Self::of_gguf(
                "adapterd-base".to_owned(),
                Gguf::from_static(EMBEDDED, stored)?,
                kv,
            ),
            Origin::Gguf(path) => Self::of_gguf(file_name(path), Gguf::open(path, stored)?, kv),
            Origin::Named { name, path } => {
                Self::of_gguf(name.clone(), Gguf::open(path, stored)?, kv)
            }
            Origin::Folder(dir) => Self::of_folder(folder_name(dir), dir, quant, kv),
            Origin::Hub(id) => {
                let dir = hub::folder(id).map_err(|why| OpenError::Hub {
                    id: id.clone(),
                    why,
                })?;
                Self::of_folder(id.clone(), &dir, quant, kv)
            }
        }
    }

    /// Sequences of up to `max_len` positions, be it fewer or more than the model was made for; 0 changes nothing.
    pub fn with_max_len(mut self, max_len: usize) -> Self {
        let made_for = self.model.context();
        if max_len > made_for {
            tracing::warn!(
                max_len,
                "model.max_len is beyond the {made_for} positions {} was made for; answers to longer texts may be poor",
                self.name
            );
        }
        if max_len > 0 {
            self.model.set_context(max_len);
        }
        self
    }

    fn of_gguf(name: String, mut source: Gguf, kv: KvKind) -> Result<Self, OpenError> {
        let tokenizer = source.tokenizer()?.within(source.spec().vocab);
        let template = source.template()?;
        let model = Model::from_source(&mut source, kv)?;
        Ok(Self {
            name,
            digest: source.digest(),
            tokenizer,
            template,
            model,
        })
    }

    fn of_folder(
        name: String,
        dir: &Path,
        quant: Option<Quant>,
        kv: KvKind,
    ) -> Result<Self, OpenError> {
        let mut source = Folder::open(dir, quant.unwrap_or(Quant::To(Format::Q8_0)))?;
        let tokenizer = Tokenizer::from_folder(dir)?.within(source.spec().vocab);
        let template = ChatTemplate::from_folder(dir)?;
        let model = Model::from_source(&mut source, kv)?;
        Ok(Self {
            name,
            digest: source.digest(),
            tokenizer,
            template,
            model,
        })
    }
}

/// The file's name without its end and, of a piece, without its number.
fn file_name(path: &Path) -> String {
    let stem = || Some(path.file_stem()?.to_string_lossy().into_owned());
    let pieces = Named::of(path).map(|named| named.stem);
    pieces.or_else(stem).unwrap_or_else(|| "base".to_owned())
}

/// The last part of the path, links and dots resolved.
fn folder_name(dir: &Path) -> String {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    whole.file_name().map_or_else(
        || "base".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_served_under_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("my-model");
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(folder_name(&inner), "my-model");
        assert_eq!(
            folder_name(&inner.join("..").join("my-model").join(".")),
            "my-model"
        );
    }

    #[test]
    fn a_file_is_served_under_its_name_without_end_and_number() {
        for (path, name) in [
            ("/x/tiny-Q4.gguf", "tiny-Q4"),
            ("/x/tiny-00001-of-00003.gguf", "tiny"),
            ("/blobs/sha256-ab", "sha256-ab"),
        ] {
            assert_eq!(file_name(Path::new(path)), name);
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_that_names_it() {
        let missing = Origin::Folder("/nowhere/at/all".into());
        let error = Base::open(&missing, None, KvKind::Auto).err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all"));
        let missing = Origin::Gguf("/nowhere/x.gguf".into());
        assert!(
            Base::open(&missing, None, KvKind::Auto)
                .err()
                .unwrap()
                .to_string()
                .contains("x.gguf")
        );
    }
}
