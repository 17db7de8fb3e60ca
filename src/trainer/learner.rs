//! What a model must be able to do to be learned on: the trainer's whole view of it.

use candle_core::{Result, Tensor};

use crate::adapter::Adapt;
use crate::model::{Model, Pack};

pub trait Learner {
    /// Of the frozen base.
    fn parameters(&self) -> u64;

    /// Hidden states [T, hidden] of packed sequences, tracked through `adapters` and nothing else.
    fn learn(&self, pack: &Pack, adapters: &dyn Adapt) -> Result<Tensor>;

    /// Cross entropy (natural log) of each hidden row [R, hidden] against its target: [R], tracked to `hidden`.
    fn token_losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor>;

    /// Log-probabilities [R, vocab] of hidden rows, untracked.
    fn log_probs(&self, hidden: &Tensor) -> Result<Tensor>;
}

impl Learner for Model {
    fn parameters(&self) -> u64 {
        self.parameters()
    }

    fn learn(&self, pack: &Pack, adapters: &dyn Adapt) -> Result<Tensor> {
        self.learn(pack, adapters)
    }

    fn token_losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor> {
        self.token_losses(hidden, targets)
    }

    fn log_probs(&self, hidden: &Tensor) -> Result<Tensor> {
        self.log_probs(hidden)
    }
}
