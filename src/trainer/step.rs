//! One optimizer step: forwards and their gradients, the mean over the step's tokens, clipping, the update.

use super::clip;
use super::data::{Example, forwards};
use super::fault::Fault;
use super::learner::Learner;
use super::optimizer::AdamW;
use super::trainable::{Masks, Trainable};
use crate::domain::Recipe;

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
pub struct Pupil {
    pub trainable: Trainable,
    pub optimizer: AdamW,
    /// The trainable values, as the optimizer updates them.
    pub values: Vec<Vec<f32>>,
}

/// Where in the job a step lies.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Steps done before.
    pub done: u64,
    pub learning_rate: f64,
}

impl Pupil {
    /// Learns from one batch; `None` when `go_on`, asked before each forward, said no: nothing has changed then.
    ///
    /// # Errors
    /// `Diverged` when weights are not finite after the update: they are lost then.
    pub fn step(
        &mut self,
        learner: &dyn Learner,
        recipe: &Recipe,
        batch: &[&Example],
        place: Place,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Stepped>, Fault> {
        let trained: usize = batch.iter().map(|example| example.trained()).sum();
        let share = 1.0 / trained.max(1) as f64;
        let mut sums: Vec<Vec<f32>> = self
            .values
            .iter()
            .map(|values| vec![0.0; values.len()])
            .collect();
        let mut loss = 0.0;
        for (at, forward) in forwards(batch, recipe).iter().enumerate() {
            if !go_on() {
                return Ok(None);
            }
            let masks = (recipe.dropout > 0.0).then_some(Masks {
                rate: recipe.dropout as f32,
                seed: recipe.seed,
                step: place.done,
                forward: at as u64,
            });
            let hidden = learner.learn(&forward.pack, &self.trainable.learning(masks))?;
            let rows = candle_core::Tensor::from_slice(
                &forward.rows,
                forward.rows.len(),
                hidden.device(),
            )?;
            let losses = learner.token_losses(&hidden.index_select(&rows, 0)?, &forward.targets)?;
            loss += losses
                .to_vec1::<f32>()?
                .into_iter()
                .map(f64::from)
                .sum::<f64>()
                * share;
            let gradients = (losses.sum_all()? * share)?.backward()?;
            for ((name, var), sum) in self.trainable.variables().zip(&mut sums) {
                let Some(gradient) = gradients.get(var) else {
                    return Err(candle_core::Error::Msg(format!("{name} got no gradient")).into());
                };
                let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
                sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
            }
        }
        let grad_norm = clip::norm(&sums);
        let applied = loss.is_finite() && grad_norm.is_finite();
        if applied {
            clip::clip(&mut sums, grad_norm, recipe.max_grad_norm);
            self.update(place.learning_rate, &sums)?;
            if !self.is_finite() {
                return Err(Fault::Diverged {
                    step: place.done + 1,
                    learning_rate: place.learning_rate,
                    why: "its update made weights that are not finite".into(),
                });
            }
        }
        let tokens = batch.iter().map(|example| example.tokens() as u64).sum();
        Ok(Some(Stepped {
            loss,
            grad_norm,
            learning_rate: place.learning_rate,
            tokens,
            applied,
        }))
    }

    fn update(&mut self, learning_rate: f64, gradients: &[Vec<f32>]) -> Result<(), Fault> {
        let mut values: Vec<&mut [f32]> = self.values.iter_mut().map(Vec::as_mut_slice).collect();
        let gradients: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
        self.optimizer.step(learning_rate, &mut values, &gradients);
        Ok(self.trainable.set(&self.values)?)
    }

    fn is_finite(&self) -> bool {
        self.values.iter().flatten().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests;
