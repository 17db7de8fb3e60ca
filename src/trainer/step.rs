//! One optimizer step: forwards and their gradients, the mean over the step's tokens, clipping, the update.

use std::collections::HashMap;

use super::clip;
use super::data::{Example, Forward, forwards};
use super::fault::Fault;
use super::learner::Learner;
use super::methods::{Masks, Trainable};
use super::optimizer::AdamW;
use crate::adapter::Adapt;
use crate::device::{Array, Device, Error};
use crate::domain::{Checkpointing, Recipe};
use crate::kernels::linear::Lookup;
use crate::kernels::tape::{ParameterId, Tape};

/// What one step found and did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stepped {
    /// Mean over all trained tokens of the step, before the update.
    pub loss: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub learning_rate: f64,
    /// Tokens read, trained or not.
    pub tokens: u64,
    /// `false`: loss or gradients were not finite, and nothing was changed.
    pub applied: bool,
}

/// What is trained, and with what memory of earlier steps.
pub struct TrainState {
    pub trainable: Box<dyn Trainable>,
    pub optimizer: AdamW,
}

/// Where in the job a step lies.
#[derive(Debug, Clone, Copy)]
pub struct StepAt {
    /// Steps done before.
    pub done: u64,
    pub learning_rate: f64,
}

impl TrainState {
    /// Before a step of a stage; where it is the stage's first, the optimizer begins anew, as each stage is trained on its
    /// own.
    pub fn enter(&mut self, stage: usize, begins: bool) {
        self.trainable.enter(stage);
        if begins && stage > 0 {
            self.optimizer.restart();
        }
    }

    /// Learns from one batch; `None` when `go_on`, asked before each forward, said no: nothing has changed then.
    ///
    /// # Errors
    /// `Diverged` when weights are not finite after the update: they are lost then.
    pub fn step(
        &mut self,
        learner: &dyn Learner,
        recipe: &Recipe,
        batch: &[&Example],
        at: StepAt,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Stepped>, Fault> {
        let trained: usize = batch.iter().map(|example| example.trained()).sum();
        let share = 1.0 / trained.max(1) as f64;
        let (mut sums, mut loss) = (HashMap::new(), 0.0);
        let virtual_tokens = self.trainable.learning(None).virtual_tokens();
        let forwards = forwards(batch, recipe, virtual_tokens);
        for (number, forward) in forwards.iter().enumerate() {
            if !go_on() {
                return Ok(None);
            }
            let masks = (recipe.dropout > 0.0).then_some(Masks {
                rate: recipe.dropout as f32,
                seed: recipe.seed,
                step: at.done,
                forward: number as u64,
            });
            let tape = match recipe.recompute {
                Checkpointing::Off => Tape::new(&Device::Host),
                Checkpointing::On => Tape::recomputing(&Device::Host),
            };
            let adapters = self.trainable.learning(masks);
            let seed = share as f32;
            loss += share * learn(learner, forward, &*adapters, tape, seed, &mut sums)?;
        }
        let mut sums = self.in_order(sums)?;
        let grad_norm = clip::norm(&sums);
        let applied = loss.is_finite() && grad_norm.is_finite();
        if applied {
            clip::clip(&mut sums, grad_norm, recipe.max_grad_norm);
            let parameters = self.trainable.parameters().into_iter();
            let parameters = parameters.map(|(_, p)| p);
            let parameters: Vec<_> = parameters.zip(self.trainable.rates()).collect();
            let active = self.trainable.active();
            self.optimizer
                .step_some(at.learning_rate, &parameters, &active, &sums);
            if !self.is_finite() {
                return Err(Fault::Diverged {
                    step: at.done + 1,
                    learning_rate: at.learning_rate,
                    why: "its update made weights that are not finite".into(),
                });
            }
        }
        let tokens = batch.iter().map(|example| example.tokens() as u64).sum();
        Ok(Some(Stepped {
            loss,
            grad_norm,
            learning_rate: at.learning_rate,
            tokens,
            applied,
        }))
    }

    /// One gradient for each parameter that learns now, in the parameters' order.
    fn in_order(&self, mut sums: HashMap<ParameterId, Array>) -> Result<Vec<Array>, Error> {
        let parameters = self.trainable.parameters().into_iter();
        let parameters = parameters.zip(self.trainable.active());
        let active = parameters.filter(|(_, active)| *active);
        active
            .map(|((name, parameter), _)| {
                let sum = sums.remove(&parameter.id());
                sum.ok_or_else(|| Error::new(format!("{name} got no gradient")))
            })
            .collect()
    }

    fn is_finite(&self) -> bool {
        let mut parameters = self.trainable.parameters().into_iter();
        parameters.all(|(_, p)| p.array().values().iter().all(|value| value.is_finite()))
    }
}

/// The summed loss of one forward; its gradients, times `share`, are added to `sums`.
fn learn<'a>(
    learner: &'a dyn Learner,
    forward: &Forward,
    adapters: &'a dyn Adapt,
    tape: Tape<'a>,
    share: f32,
    sums: &mut HashMap<ParameterId, Array>,
) -> Result<f64, Error> {
    let run = tape.run();
    let hidden = learner.learn(run, &forward.pack, adapters)?;
    let asked = run.op(Lookup(forward.rows.as_slice().into()), &[&hidden])?;
    drop(hidden);
    let losses = learner.token_losses(run, &asked, &forward.targets, adapters)?;
    let sum = losses.values().iter().copied().map(f64::from).sum();
    let seed = Array::new(vec![share; losses.len()], losses.dims())?;
    tape.backward(&losses, seed, sums)?;
    Ok(sum)
}

#[cfg(test)]
mod tests;
