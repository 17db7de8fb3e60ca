//! One optimizer step: forwards and their gradients, the mean over the step's tokens, clipping, the update.

use std::collections::HashMap;

use super::clip;
use super::data::{Example, Forward, forwards};
use super::fault::Fault;
use super::learner::Learner;
use super::methods::{Masks, Trainable};
use super::noise::{Noise, Noisy};
use super::objective::{self, Judged, Reference};
use super::optimizer::AdamW;
use crate::adapter::Adapt;
use crate::device::{Array, Device, Error, Half};
use crate::domain::{Checkpointing, Precision, Recipe, Rewards};
use crate::kernels::pool;
use crate::kernels::tape::{ParameterId, Tape};

/// Numbers that are looked at before serving may go first.
const LOOKED_AT: usize = 1 << 17;

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
    /// Means over the step's pairs, where answers are compared.
    pub rewards: Option<Rewards>,
    /// What the loss was multiplied by for its gradients; `None` where nothing scales it.
    pub loss_scale: Option<f64>,
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
    /// What the loss is multiplied by for its gradients.
    pub loss_scale: Option<f64>,
}

/// The 16-bit numbers of a recipe's activations and gradients.
pub fn half(recipe: &Recipe) -> Option<Half> {
    match recipe.precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(Half::Bf16),
        Precision::F16 => Some(Half::F16),
    }
}

impl TrainState {
    /// Before a step of a stage; where it is the stage's first, the optimizer begins anew, as each stage is trained on its
    /// own.
    pub fn enter(&mut self, stage: usize, begins: bool) -> Result<(), Fault> {
        self.trainable.enter(stage);
        if begins && stage > 0 {
            self.optimizer.restart()?;
        }
        Ok(())
    }

    /// Learns from one batch, of which `reference` says what is compared; `None` when `go_on`, asked before each forward, said no: nothing has changed then.
    ///
    /// # Errors
    /// `Diverged` when weights are not finite after the update: they are lost then. `Disk` where the optimizer's state lies
    /// there and cannot be read or written: some weights may have changed then.
    pub fn step(
        &mut self,
        learner: &dyn Learner,
        recipe: &Recipe,
        (batch, reference): (&[&Example], &Reference),
        at: StepAt,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Stepped>, Fault> {
        let share = 1.0 / objective::units(recipe, batch).max(1) as f64;
        let scaled_share = share * at.loss_scale.unwrap_or(1.0);
        let (mut sums, mut loss, mut rewards) = (HashMap::new(), 0.0, None::<Rewards>);
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
                Checkpointing::On | Checkpointing::Auto => Tape::recomputing(&Device::Host),
            };
            let tape = tape.rounding(half(recipe));
            let mut adapters = self.trainable.learning(masks);
            if recipe.neftune_alpha > 0.0 {
                let noise = Noise {
                    alpha: recipe.neftune_alpha,
                    seed: recipe.seed,
                    step: at.done,
                    forward: number as u64,
                };
                let ranges = &forward.pack.ranges;
                adapters = Box::new(Noisy {
                    adapters,
                    noise,
                    ranges,
                });
            }
            let judge = |losses: &[f32]| objective::judge(recipe, forward, losses, reference);
            let judged = learn(
                learner,
                forward,
                &*adapters,
                tape,
                (scaled_share, &judge),
                &mut sums,
            )?;
            loss += share * judged.loss;
            if let Some(more) = judged.rewards {
                rewards.get_or_insert_default().add(&more.times(share));
            }
        }
        let mut sums = self.in_order(sums)?;
        if let Some(scale) = at.loss_scale {
            clip::scale(&mut sums, 1.0 / scale);
        }
        let grad_norm = clip::norm(&sums);
        let applied = loss.is_finite() && grad_norm.is_finite();
        if applied {
            clip::clip(&mut sums, grad_norm, recipe.max_grad_norm);
            let parameters = self.trainable.parameters().into_iter();
            let parameters = parameters.map(|(_, p)| p);
            let parameters: Vec<_> = parameters.zip(self.trainable.rates()).collect();
            let active = self.trainable.active();
            self.optimizer
                .step_some(at.learning_rate, &parameters, &active, &sums)?;
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
            rewards,
            loss_scale: at.loss_scale,
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
        parameters.all(|(_, parameter)| {
            let values = parameter.array();
            let mut parts = values.values().chunks(LOOKED_AT);
            parts.all(|part| {
                pool::give_way();
                part.iter().all(|value| value.is_finite())
            })
        })
    }
}

/// Takes the losses of a forward's tokens.
type Judge<'j> = dyn Fn(&[f32]) -> Judged + 'j;

/// What one forward's losses add up to; the gradients of that, times `share`, are added to `sums`.
fn learn<'a>(
    learner: &'a dyn Learner,
    forward: &Forward,
    adapters: &'a dyn Adapt,
    tape: Tape<'a>,
    (share, judge): (f64, &Judge<'_>),
    sums: &mut HashMap<ParameterId, Array>,
) -> Result<Judged, Error> {
    let losses = objective::token_losses(learner, tape.run(), forward, adapters)?;
    let mut judged = judge(losses.values());
    let mut seed = std::mem::take(&mut judged.gradients);
    seed.iter_mut().for_each(|slope| *slope *= share as f32);
    tape.backward(&losses, Array::new(seed, losses.dims())?, sums)?;
    Ok(judged)
}

#[cfg(test)]
mod tests;
