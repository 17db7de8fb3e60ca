//! A small learner that stands in for a model, and records for it.

use std::fmt;
use std::sync::Arc;

use super::data::{Example, Examples, Sequence};
use super::learner::Learner;
use super::methods::{self, Trainable};
use super::recipe::{Wishes, resolve};
use super::rng::{self, Purpose};
use super::run::RunSpec;
use crate::adapter::{
    Adapt, BaseShape, BaseTensor, BaseWeights, Fit, Module, Precision, Site, SiteShape, Unadapted,
};
use crate::device::{Array, Result};
use crate::domain::Recipe;
use crate::kernels::loss::log_softmax;
use crate::kernels::nonlinear::{Activate, Activation};
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::{Format, Layer, Matrix};
use crate::model::Pack;

pub const VOCAB: usize = 19;
const HIDDEN: usize = 8;
/// A token whose hidden state is not a number.
pub const POISON: u32 = 18;

/// Predicts a token from the one before it, through two linear layers that can be adapted.
pub struct Toy {
    sites: Vec<SiteShape>,
    embedding: Array,
    weights: [Arc<Matrix>; 2],
    head: Arc<Matrix>,
}

impl Toy {
    pub fn new() -> Self {
        let at = |layer, module| SiteShape {
            site: Site { layer, module },
            inputs: HIDDEN,
            outputs: HIDDEN,
        };
        let mut embedding = random(VOCAB * HIDDEN, 1);
        embedding[POISON as usize * HIDDEN..].fill(f32::NAN);
        let matrix = |values: &[f32]| {
            let dims = (values.len() / HIDDEN, HIDDEN);
            let array = Array::new(values.to_vec(), dims).unwrap();
            Arc::new(Matrix::quantize(&array, Format::F32).unwrap())
        };
        // Without the poisoned row, so that it spoils only what reads it.
        let head = matrix(&embedding[..POISON as usize * HIDDEN]);
        Self {
            sites: vec![at(0, Module::Q), at(0, Module::Down)],
            embedding: Array::new(embedding, (VOCAB, HIDDEN)).unwrap(),
            weights: [2, 3].map(|seed| matrix(&random(HIDDEN * HIDDEN, seed))),
            head,
        }
    }

    pub fn trainable(&self) -> Box<dyn Trainable> {
        let recipe = recipe(Wishes {
            rank: Some(3),
            alpha: Some(6.0),
            seed: Some(5),
            ..Wishes::default()
        });
        let kind = methods::kind(recipe.method).unwrap();
        let method = kind.settle(&recipe, None, self.fitting()).unwrap();
        method.start(self).unwrap()
    }

    pub fn fitting(&self) -> methods::Fitting<'_> {
        methods::Fitting {
            sites: &self.sites,
            weights: self,
            tokenizer: None,
        }
    }

    /// What its adapters are served under.
    pub fn fit(&self) -> Fit<'_> {
        Fit {
            sites: &self.sites,
            base_digest: [0; 32],
            weights: self,
            max_rank: 64,
            precision: Precision::Exact,
        }
    }
}

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut words = rng::stream(seed, Purpose::Init, &[]);
    (0..n).map(|_| rng::unit(&mut words) * 2.0 - 1.0).collect()
}

impl fmt::Debug for Toy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Toy")
    }
}

impl BaseWeights for Toy {
    fn shape(&self) -> BaseShape {
        BaseShape {
            layers: 1,
            hidden: HIDDEN,
            heads: 1,
            key_heads: 1,
            key_width: HIDDEN,
            vocab: VOCAB,
            tied: false,
            context: 0,
        }
    }

    fn tensors(&self) -> Vec<(String, BaseTensor)> {
        let all = self.sites.iter().zip(&self.weights);
        all.map(|(at, weight)| {
            (
                at.site.path() + ".weight",
                BaseTensor::Matrix(weight.clone()),
            )
        })
        .collect()
    }

    fn matrix(&self, site: Site) -> Option<Arc<Matrix>> {
        let at = self.sites.iter().position(|shape| shape.site == site)?;
        Some(self.weights[at].clone())
    }
}

impl Learner for Toy {
    fn parameters(&self) -> u64 {
        (VOCAB * HIDDEN + 2 * HIDDEN * HIDDEN) as u64
    }

    fn learn<'a>(
        &'a self,
        run: Run<'_, 'a>,
        pack: &Pack,
        adapters: &'a dyn Adapt,
    ) -> Result<Value> {
        let rows: Vec<usize> = pack.tokens.iter().map(|id| *id as usize).collect();
        let mut x = Value::from(self.embedding.select_rows(&rows)?);
        for (shape, weight) in self.sites.iter().zip(&self.weights) {
            let layer = Layer { weight, bias: None };
            x = run.op(
                Activate(Activation::Tanh),
                &[&adapters.through(run, shape.site, &x, &layer)?],
            )?;
        }
        Ok(x)
    }

    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        adapters: &dyn Adapt,
    ) -> Result<Value> {
        adapters.token_losses(run, hidden, targets, &self.head)
    }

    fn log_probs(&self, hidden: &Array, adapters: &dyn Adapt) -> Result<Array> {
        let head = Layer {
            weight: &self.head,
            bias: None,
        };
        let logits = adapters.head(Run::host(), &hidden.clone().into(), &head)?;
        Ok(log_softmax(logits.into_array()))
    }
}

/// A run of which nothing is held out, saved or counted.
pub fn bare<'a>(
    learner: &'a dyn Learner,
    recipe: &'a Recipe,
    train: &'a dyn Examples,
    fit: Fit<'a>,
) -> RunSpec<'a> {
    RunSpec {
        learner,
        recipe,
        train,
        held_out: &[],
        checkpoints: None,
        scratch: None,
        reference: &Unadapted,
        fit,
        memory: None,
    }
}

/// Records of a few tokens each, the first two of which are asked.
pub fn examples(count: usize) -> Vec<Example> {
    (0..count)
        .map(|row| {
            let tokens: Vec<u32> = (0..4 + row % 5)
                .map(|at| ((row * 7 + at * at * 3) % POISON as usize) as u32)
                .collect();
            let span = 2..tokens.len();
            Example {
                line: row + 1,
                sequences: vec![Sequence {
                    tokens,
                    spans: vec![span],
                }],
                preferred: None,
            }
        })
        .collect()
}

pub fn recipe(wishes: Wishes) -> Recipe {
    resolve(&wishes, None, 64).unwrap()
}
