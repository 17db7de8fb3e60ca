//! A small learner that stands in for a model, and records for it.

use candle_core::{D, DType, Device, Result, Tensor};

use super::data::{Example, Sequence};
use super::learner::Learner;
use super::recipe::{Wishes, resolve};
use super::rng::{self, Purpose};
use super::trainable::Trainable;
use crate::adapter::peft::{LoraSettings, Selection};
use crate::adapter::{Adapt, Module, Site, SiteShape};
use crate::domain::{Recipe, Targets};
use crate::model::Pack;

pub const VOCAB: usize = 19;
const HIDDEN: usize = 8;
/// A token whose hidden state is not a number.
pub const POISON: u32 = 18;

/// Predicts a token from the one before it, through two linear layers that can be adapted.
pub struct Toy {
    sites: Vec<SiteShape>,
    embedding: Tensor,
    weights: [Tensor; 2],
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
        let square = |seed| {
            Tensor::from_vec(
                random(HIDDEN * HIDDEN, seed),
                (HIDDEN, HIDDEN),
                &Device::Cpu,
            )
            .unwrap()
        };
        Self {
            sites: vec![at(0, Module::Q), at(1, Module::Down)],
            embedding: Tensor::from_vec(embedding, (VOCAB, HIDDEN), &Device::Cpu).unwrap(),
            weights: [square(2), square(3)],
        }
    }

    pub fn trainable(&self) -> Trainable {
        let settings = LoraSettings {
            rank: 3,
            alpha: 6.0,
            use_rslora: false,
            dropout: 0.0,
            selection: Selection::of(Targets::Pattern("all-linear".into())),
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
        };
        Trainable::fresh(&settings.sites(&self.sites).unwrap(), 5).unwrap()
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        // Without the poisoned row, so that it spoils only what reads it.
        hidden.matmul(&self.embedding.narrow(0, 0, POISON as usize)?.t()?)
    }
}

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut words = rng::stream(seed, Purpose::Init, &[]);
    (0..n).map(|_| rng::unit(&mut words) * 2.0 - 1.0).collect()
}

impl Learner for Toy {
    fn parameters(&self) -> u64 {
        (VOCAB * HIDDEN + 2 * HIDDEN * HIDDEN) as u64
    }

    fn learn(&self, pack: &Pack, adapters: &dyn Adapt) -> Result<Tensor> {
        let tokens = Tensor::from_slice(&pack.tokens, pack.tokens.len(), &Device::Cpu)?;
        let mut x = self.embedding.index_select(&tokens, 0)?;
        for (shape, weight) in self.sites.iter().zip(&self.weights) {
            x = adapters.apply(shape.site, &x, x.matmul(weight)?)?.tanh()?;
        }
        Ok(x)
    }

    fn token_losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let logits = self.logits(hidden)?;
        let targets = Tensor::from_slice(targets, (targets.len(), 1), &Device::Cpu)?;
        logits.log_sum_exp(D::Minus1)? - logits.gather(&targets, 1)?.squeeze(1)?
    }

    fn log_probs(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.logits(hidden)?;
        logits
            .broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?)?
            .to_dtype(DType::F32)
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
            }
        })
        .collect()
}

pub fn recipe(wishes: Wishes) -> Recipe {
    resolve(&wishes, None, 64).unwrap()
}
