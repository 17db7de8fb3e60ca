//! What a model must be able to do to be learned on: the trainer's whole view of it.

use crate::adapter::Adapt;
use crate::device::{Array, Result};
use crate::kernels::op::{Run, Value};
use crate::model::{Model, Pack};

pub trait Learner {
    /// Of the frozen base.
    fn parameters(&self) -> u64;

    /// Hidden states [T, hidden] of packed sequences, recorded through `adapters` and nothing else.
    fn learn<'a>(&'a self, run: Run<'_, 'a>, pack: &Pack, adapters: &'a dyn Adapt)
    -> Result<Value>;

    /// Cross entropy (natural log) of each hidden row [R, hidden] against its target: [R, 1], recorded through them.
    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        adapters: &dyn Adapt,
    ) -> Result<Value>;

    /// Log-probabilities [R, vocab] of hidden rows.
    fn log_probs(&self, hidden: &Array, adapters: &dyn Adapt) -> Result<Array>;
}

impl Learner for Model {
    fn parameters(&self) -> u64 {
        self.parameters()
    }

    fn learn<'a>(
        &'a self,
        run: Run<'_, 'a>,
        pack: &Pack,
        adapters: &'a dyn Adapt,
    ) -> Result<Value> {
        self.learn(run, pack, adapters)
    }

    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        adapters: &dyn Adapt,
    ) -> Result<Value> {
        self.token_losses(run, hidden, targets, adapters)
    }

    fn log_probs(&self, hidden: &Array, adapters: &dyn Adapt) -> Result<Array> {
        self.log_probs(hidden, adapters)
    }
}
