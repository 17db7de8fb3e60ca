//! Small bases and adapters for tests of this layer and of those above it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::peft::{
    Beside, BottleneckSettings, BottleneckWeights, Bottlenecks, Encoder, Files, Ia3, Ia3Settings,
    Lora, LoraSettings, OuterFactors, PrefixResume, PromptResume, Saved, Selection, dense_files,
    prefix_files, prompt_files,
};
use super::{
    BaseShape, BaseTensor, BaseWeights, Fit, Module, NormAt, Place, Precision, Site, SiteShape,
};
use crate::device::Array;
use crate::domain::{Bias, Placement, Targets};
use crate::kernels::nonlinear::Activation;
use crate::kernels::quant::{Format, Matrix};
use crate::kernels::testing::noise;

pub const BASE_DIGEST: [u8; 32] = [7; 32];

/// A decoder of hidden size 16 with two query heads for each key head and an inner width of 24.
pub fn sites(layers: usize) -> Vec<SiteShape> {
    let width = |module| match module {
        Module::Q | Module::O => (16, 16),
        Module::K | Module::V => (16, 8),
        Module::Gate | Module::Up => (16, 24),
        Module::Down => (24, 16),
    };
    let all = (0..layers).flat_map(|layer| Module::ALL.map(|module| Site { layer, module }));
    all.map(|site| SiteShape {
        site,
        inputs: width(site.module).0,
        outputs: width(site.module).1,
    })
    .collect()
}

/// Random weights of that decoder, and biases of its queries and of one layer of its feed-forward blocks.
#[derive(Debug)]
pub struct Weights;

impl BaseWeights for Weights {
    fn shape(&self) -> BaseShape {
        BaseShape {
            layers: 2,
            hidden: 16,
            heads: 4,
            key_heads: 2,
            key_width: 8,
            vocab: 32,
            tied: false,
            context: 0,
        }
    }

    fn tensors(&self) -> Vec<(String, BaseTensor)> {
        let shape = self.shape();
        let matrix = |name: &str, seed| {
            let values = noise((shape.vocab, shape.hidden), 0.3, seed);
            let matrix = Matrix::quantize(&values, Format::F32).unwrap();
            (name.to_owned(), BaseTensor::Matrix(matrix.into()))
        };
        let norm = |at: NormAt| {
            let ones = Array::row(vec![1.0; shape.hidden]);
            (at.path(), BaseTensor::Vector(ones))
        };
        let layers = (0..shape.layers).flat_map(|layer| {
            let linears = sites(layer + 1).into_iter();
            let linears = linears.filter(move |at| at.site.layer == layer);
            let linears = linears.flat_map(|at| {
                let matrix = self.matrix(at.site).unwrap();
                let weight = (at.site.path() + ".weight", BaseTensor::Matrix(matrix));
                let bias = noise((1, at.outputs), 0.3, 300 + at.site.layer as u64);
                let bias = (at.site.path() + ".bias", BaseTensor::Vector(bias));
                let biased = [Module::Q, Module::Up].contains(&at.site.module);
                std::iter::once(weight).chain(biased.then_some(bias))
            });
            let norms = [NormAt::Attention(layer), NormAt::FeedForward(layer)].map(norm);
            linears.chain(norms).collect::<Vec<_>>()
        });
        let first = matrix("model.embed_tokens.weight", 100);
        let last = [norm(NormAt::Last), matrix("lm_head.weight", 101)];
        std::iter::once(first).chain(layers).chain(last).collect()
    }

    fn matrix(&self, site: Site) -> Option<Arc<Matrix>> {
        let shape = sites(site.layer + 1)
            .into_iter()
            .find(|at| at.site == site)?;
        let seed = (site.layer * 7 + site.module as usize) as u64;
        let values = noise((shape.outputs, shape.inputs), 0.3, seed);
        Some(Arc::new(Matrix::quantize(&values, Format::F32).unwrap()))
    }
}

pub fn fit(sites: &[SiteShape]) -> Fit<'_> {
    Fit {
        sites,
        base_digest: BASE_DIGEST,
        weights: &Weights,
        max_rank: 64,
        precision: Precision::Exact,
    }
}

pub fn settings(targets: Targets) -> LoraSettings {
    LoraSettings::new(4, 8.0, Selection::of(targets))
}

/// Random A and B for every site the settings choose.
pub fn weights(
    settings: &LoraSettings,
    sites: &[SiteShape],
    seed: u64,
) -> BTreeMap<Site, (Array, Array)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut matrix = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        Array::new(values, (rows, columns)).unwrap()
    };
    let chosen = settings.sites(sites).unwrap().into_iter();
    chosen
        .map(|site| {
            (
                site.shape.site,
                (
                    matrix(site.rank, site.shape.inputs),
                    matrix(site.shape.outputs, site.rank),
                ),
            )
        })
        .collect()
}

/// The files of a LoRA adapter of rank 4 on every site of `sites(layers)`.
pub fn specimen(layers: usize, seed: u64) -> Files {
    let settings = settings(Targets::Pattern("all-linear".into()));
    let weights = weights(&settings, &sites(layers), seed);
    Lora {
        settings: &settings,
        base_name: "tiny",
        weights: &weights,
        magnitudes: &BTreeMap::new(),
    }
    .files()
    .unwrap()
}

/// As [`specimen`], with learned lengths.
pub fn dora_specimen(layers: usize, seed: u64) -> Files {
    let settings = LoraSettings {
        use_dora: true,
        ..settings(Targets::Pattern("all-linear".into()))
    };
    let weights = weights(&settings, &sites(layers), seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let magnitudes = sites(layers)
        .iter()
        .map(|shape| {
            let lengths = (0..shape.outputs).map(|_| rng.random_range(0.5..3.0));
            (shape.site, Array::row(lengths.collect()))
        })
        .collect();
    let lora = Lora {
        settings: &settings,
        base_name: "tiny",
        weights: &weights,
        magnitudes: &magnitudes,
    };
    lora.files().unwrap()
}

/// As [`specimen`] or [`dora_specimen`], with biases, and adapted at these modules beside the linear layers.
pub fn outer_specimen(layers: usize, seed: u64, use_dora: bool, outer: &[&str]) -> Files {
    let names = Module::ALL.map(Module::name).into_iter();
    let names = names.chain(outer.iter().copied()).map(str::to_owned);
    let targets = Targets::List(names.collect());
    let settings = LoraSettings {
        use_dora,
        bias: Bias::All,
        ..settings(targets)
    };
    let lengths = |width: usize, seed| {
        let mut lengths = noise((1, width), 1.0, seed);
        lengths.values_mut().iter_mut().for_each(|m| *m += 2.0);
        lengths
    };
    let weights = weights(&settings, &sites(layers), seed);
    let magnitudes = sites(layers).into_iter().filter(|_| use_dora);
    let magnitudes = magnitudes.map(|at| (at.site, lengths(at.outputs, seed)));
    let outer = settings.outer(Weights.shape()).unwrap().into_iter();
    let outer = outer.map(|at| {
        let factors = OuterFactors {
            a: noise((at.rank, at.inputs), 1.0, seed + 1),
            b: noise((at.outputs, at.rank), 1.0, seed + 2),
            magnitude: use_dora.then(|| lengths(at.outputs, seed + 3)),
        };
        (at.outer, factors)
    });
    let biases = Weights.tensors().into_iter().filter_map(|(path, tensor)| {
        let Place::Bias(site) = Place::parse(&path)? else {
            return None;
        };
        Some((site, noise(tensor.dims(), 0.5, seed + 4)))
    });
    let beside = Beside {
        outer: outer.collect(),
        biases: biases.collect(),
        others: Vec::new(),
    };
    let lora = Lora {
        settings: &settings,
        base_name: "tiny",
        weights: &weights,
        magnitudes: &magnitudes.collect(),
    };
    lora.files_with(&beside).unwrap()
}

/// As [`specimen`], with a bias of each B, norms of its own, and rows of tokens in the embedding and the head.
pub fn saved_specimen(layers: usize, seed: u64) -> Files {
    let settings = LoraSettings {
        saved: Saved {
            lora_bias: true,
            modules: vec!["norm".to_owned()],
            tokens: vec![
                ("embed_tokens".to_owned(), vec![7, 3, 30]),
                ("lm_head".to_owned(), vec![3, 11]),
            ],
            tie: false,
        },
        ..settings(Targets::Pattern("all-linear".into()))
    };
    let weights = weights(&settings, &sites(layers), seed);
    let named = |path: &str| format!("base_model.model.{path}");
    let mut others: Vec<(String, Vec<usize>, Array)> = Vec::new();
    for (at, (path, tensor)) in Weights.tensors().into_iter().enumerate() {
        if let Some(Place::Norm(_)) = Place::parse(&path) {
            let values = noise(tensor.dims(), 1.0, seed + at as u64);
            others.push((named(&path), vec![values.len()], values));
        }
    }
    for (at, shape) in sites(layers).into_iter().enumerate() {
        let values = noise((1, shape.outputs), 0.5, seed + 50 + at as u64);
        let name = named(&format!("{}.lora_B.bias", shape.site.path()));
        others.push((name, vec![shape.outputs], values));
    }
    for (name, ids) in [("model.embed_tokens", 3), ("lm_head", 2)] {
        let name = named(&format!("{name}.token_adapter.trainable_tokens_delta"));
        others.push((
            name,
            vec![ids, 16],
            noise((ids, 16), 0.5, seed + ids as u64),
        ));
    }
    let lora = Lora {
        settings: &settings,
        base_name: "tiny",
        weights: &weights,
        magnitudes: &BTreeMap::new(),
    };
    let beside = Beside {
        others,
        ..Beside::default()
    };
    lora.files_with(&beside).unwrap()
}

/// The files of an IA3 adapter on every site of `sites(layers)`, some of whose inputs it scales.
pub fn ia3_specimen(layers: usize, seed: u64) -> Files {
    let settings = Ia3Settings {
        feedforward: Some(Targets::from_text("up_proj, down_proj")),
        ..Ia3Settings::of(Targets::Pattern("all-linear".into()))
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let chosen = settings.sites(&sites(layers)).unwrap().into_iter();
    let factors = chosen
        .map(|at| {
            let values = (0..at.width()).map(|_| rng.random_range(0.5..1.5));
            (at.shape.site, (at, Array::row(values.collect())))
        })
        .collect();
    let ia3 = Ia3 {
        settings: &settings,
        base_name: "tiny",
        factors: &factors,
    };
    ia3.files().unwrap()
}

/// Bottlenecks of width 4 in such a place of every layer.
pub fn bottleneck_specimen(layers: usize, placement: Placement, seed: u64) -> Files {
    let settings = BottleneckSettings::of(placement, 4.0, Activation::Silu, 2.0);
    let base = BaseShape {
        layers,
        ..Weights.shape()
    };
    let places = settings.places(base).unwrap().into_iter().enumerate();
    let weights = places
        .map(|(number, (at, width))| {
            let seed = 100 * seed + 4 * number as u64;
            let weights = BottleneckWeights {
                down: noise((width, base.hidden), 0.5, seed),
                down_bias: noise((1, width), 0.5, seed + 1),
                up: noise((base.hidden, width), 0.5, seed + 2),
                up_bias: noise((1, base.hidden), 0.5, seed + 3),
            };
            (at, weights)
        })
        .collect();
    let bottlenecks = Bottlenecks {
        settings: &settings,
        base_name: "tiny",
        hidden: base.hidden,
        weights: &weights,
    };
    bottlenecks.files().unwrap()
}

/// Whole weights of every linear layer of the decoder of [`Weights`], its norms, its embedding and its head.
pub fn dense_specimen() -> Files {
    let values = Weights.tensors().into_iter().enumerate();
    let values = values.map(|(seed, (path, tensor))| {
        let place = Place::parse(&path).unwrap();
        (place, noise(tensor.dims(), 0.3, 200 + seed as u64))
    });
    dense_files("tiny", "full", &values.collect()).unwrap()
}

/// Virtual tokens of the specimens that have some.
pub const VIRTUAL: usize = 3;

/// A prefix for a base of this shape, with something beside it that may have made it.
pub fn prefix_for(base: BaseShape, seed: u64) -> Files {
    let (hidden, width) = (5, base.key_width);
    let all = 2 * base.layers * width;
    let prefix = PrefixResume {
        embeddings: noise((VIRTUAL, all), 1.0, seed),
        encoder: Some(Encoder {
            embedding: noise((VIRTUAL, width), 1.0, seed + 1),
            first: [
                noise((hidden, width), 0.5, seed + 2),
                noise((1, hidden), 0.5, seed + 3),
            ],
            last: [
                noise((all, hidden), 0.5, seed + 4),
                noise((1, all), 0.5, seed + 5),
            ],
        }),
    };
    prefix_files("tiny", base, &prefix).unwrap()
}

/// A prompt for a base of this shape.
pub fn prompt_for(base: BaseShape, seed: u64) -> Files {
    let prompt = PromptResume {
        embeddings: noise((VIRTUAL, base.hidden), 1.0, seed),
        text: Some("Answer briefly.".to_owned()),
    };
    prompt_files("tiny", base, &prompt).unwrap()
}

/// For the decoder of [`Weights`].
pub fn prefix_specimen(seed: u64) -> Files {
    prefix_for(Weights.shape(), seed)
}

/// As [`prefix_specimen`].
pub fn prompt_specimen(seed: u64) -> Files {
    prompt_for(Weights.shape(), seed)
}
