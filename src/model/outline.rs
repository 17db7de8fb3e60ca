//! A base without its weights: sizes alone, for what is computed of them before anything is read.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::base::{EMBEDDED, KvKind, OpenError, Origin};
use super::hub;
use super::spec::Spec;
use super::weights::{self, Gguf, Quant, Sized, WeightError};
use crate::adapter::{
    BaseShape, BaseTensor, BaseWeights, Module, Place, Site, SiteShape, TensorSize,
};
use crate::device::Array;
use crate::kernels::attention::Pages;
use crate::kernels::quant::{Format, Matrix};

/// What a base would be.
pub struct Outline {
    spec: Spec,
    tensors: Vec<Sized>,
    sites: Vec<SiteShape>,
}

impl fmt::Debug for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outline of {} parameters", self.parameters())
    }
}

impl Outline {
    /// Of a base as [`Base::open`](super::Base::open) would open it, from the headers of its files.
    ///
    /// # Errors
    /// As `Base::open`, but for what only the weights themselves can show.
    pub fn open(origin: &Origin, quant: Option<Quant>) -> Result<Self, OpenError> {
        let folder = |dir: &Path| {
            let quant = quant.unwrap_or(Quant::To(Format::Q8_0));
            Ok(Self::of(weights::of_folder(dir, quant)?))
        };
        let stored = quant.unwrap_or(Quant::AsStored);
        let gguf = |file: Gguf| Ok(Self::of(weights::of_gguf(&file, stored)));
        match origin {
            Origin::Embedded if EMBEDDED.is_empty() => Err(OpenError::NothingEmbedded),
            Origin::Embedded => gguf(Gguf::from_static(EMBEDDED, stored)?),
            Origin::Gguf(path) | Origin::Named { path, .. } => gguf(Gguf::open(path, stored)?),
            Origin::Folder(dir) => folder(dir),
            Origin::Hub(id) => folder(&hub::folder(id).map_err(|why| OpenError::Hub {
                id: id.clone(),
                why,
            })?),
        }
    }

    /// Of a `config.json`, be it a file of that kind or its text.
    pub fn of_config(text: &str, quant: Option<Quant>) -> Result<Self, WeightError> {
        let quant = quant.unwrap_or(Quant::To(Format::Q8_0));
        Ok(Self::of(weights::of_config(text, quant)?))
    }

    fn of((spec, tensors): (Spec, Vec<Sized>)) -> Self {
        let places = tensors.iter().filter_map(|tensor| {
            let Some(Place::Weight(site)) = Place::parse(&tensor.path) else {
                return None;
            };
            let (outputs, inputs) = tensor.size.dims;
            Some(SiteShape {
                site,
                inputs,
                outputs,
            })
        });
        let mut sites: Vec<_> = places.collect();
        sites.sort_by_key(|shape| shape.site);
        Self {
            spec,
            tensors,
            sites,
        }
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Every linear layer that an adapter can change.
    pub fn sites(&self) -> &[SiteShape] {
        &self.sites
    }

    /// Numbers in all weights, a tied head counted once.
    pub fn parameters(&self) -> u64 {
        let numbers = self.tensors.iter().map(|tensor| {
            let (rows, width) = tensor.size.dims;
            (rows * width) as u64
        });
        numbers.sum()
    }

    /// Memory that the weights would hold.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.size.bytes).sum()
    }

    /// The format of most of its blocks' weights; `int8` for LLM.int8.
    pub fn format(&self) -> &'static str {
        let site = Site {
            layer: 0,
            module: Module::Down,
        };
        self.tensor(Place::Weight(site))
            .and_then(|tensor| tensor.format)
            .map_or("int8", Format::name)
    }

    /// Bytes of one cache block over all layers.
    pub fn block_bytes(&self, block_size: usize, kv: KvKind) -> u64 {
        let single = self
            .tensors
            .iter()
            .filter(|tensor| tensor.is_matrix)
            .all(|tensor| tensor.format == Some(Format::F32));
        let stored = kv.stored(single);
        let Spec {
            kv_heads,
            head_dim,
            layers,
            ..
        } = self.spec;
        (layers * Pages::block_bytes(stored, block_size, kv_heads, head_dim)) as u64
    }

    fn tensor(&self, place: Place) -> Option<&Sized> {
        let path = place.path();
        self.tensors.iter().find(|tensor| tensor.path == path)
    }
}

/// Weights that are not there have sizes.
impl BaseWeights for Outline {
    fn shape(&self) -> BaseShape {
        self.spec.shape()
    }

    fn matrix(&self, _: Site) -> Option<Arc<Matrix>> {
        None
    }

    /// Norms and biases alone, of zeros: which of them there are decides what can learn.
    fn tensors(&self) -> Vec<(String, BaseTensor)> {
        let vectors = self.tensors.iter().filter(|tensor| !tensor.is_matrix);
        vectors
            .map(|tensor| {
                let zeros = Array::zeros(tensor.size.dims);
                (tensor.path.clone(), BaseTensor::Vector(zeros))
            })
            .collect()
    }

    fn sizes(&self) -> Vec<(String, TensorSize)> {
        let tensors = self.tensors.iter();
        tensors
            .map(|tensor| (tensor.path.clone(), tensor.size))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::synthetic;
    use crate::model::{Base, Model};

    fn config(tied: bool) -> serde_json::Value {
        serde_json::json!({
            "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 160,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
            "max_position_embeddings": 128, "tie_word_embeddings": tied,
        })
    }

    #[test]
    fn a_base_holds_what_its_outline_says() {
        for tied in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            synthetic::write(dir.path(), &config(tied), 3).unwrap();
            for quant in [
                Quant::AsStored,
                Quant::To(Format::Q8_0),
                Quant::To(Format::Q4_0),
                Quant::Int8 { threshold: 6.0 },
            ] {
                let mut folder = weights::Folder::open(dir.path(), quant).unwrap();
                let model = Model::from_source(&mut folder, KvKind::Auto).unwrap();
                let origin = Origin::Folder(dir.path().to_owned());
                let of_files = Outline::open(&origin, Some(quant)).unwrap();
                let of_config = Outline::of_config(&config(tied).to_string(), Some(quant)).unwrap();
                for outline in [of_files, of_config] {
                    assert_eq!(outline.parameters(), model.parameters());
                    assert_eq!(outline.weight_bytes(), model.weight_bytes(), "{quant:?}");
                    assert_eq!(outline.sites(), model.sites());
                    assert_eq!(outline.shape(), model.shape());
                    let block = outline.block_bytes(16, KvKind::Auto);
                    assert_eq!(block, model.block_bytes(16));
                    let sorted = |weights: &dyn BaseWeights| {
                        let mut sizes = weights.sizes();
                        sizes.sort_by(|a, b| a.0.cmp(&b.0));
                        sizes
                    };
                    assert_eq!(sorted(&outline), sorted(&model));
                }
            }
        }
    }

    #[test]
    fn the_embedded_base_is_outlined_from_its_header() {
        let outline = Outline::open(&Origin::Embedded, None).unwrap();
        let base = Base::open(&Origin::Embedded, None, KvKind::Auto).unwrap();
        assert_eq!(outline.weight_bytes(), base.model.weight_bytes());
        assert_eq!(outline.parameters(), base.model.parameters());
    }
}
