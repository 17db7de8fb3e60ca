//! The best of the evaluations: whose weights are kept, and when no better one is waited for any more.

use super::Run;
use crate::domain::{Keep, Level};
use crate::trainer::checkpoint::Shapes;
use crate::trainer::evaluate::Score;
use crate::trainer::fault::{Fault, retry};

impl Run<'_, '_> {
    pub(super) fn compare_with_best(&mut self, score: Score) -> Result<(), Fault> {
        let progress = &mut self.progress;
        let is_better = match progress.best {
            None => score.loss.is_finite(),
            Some((_, best)) => score.loss < best.loss,
        };
        if !is_better {
            progress.evaluations_since += 1;
            if self.stops_early() {
                let times = self.progress.evaluations_since;
                let why =
                    format!("stopping early: {times} evaluations without a lower held-out loss");
                self.watch.note(Level::Info, why)?;
            }
            return Ok(());
        }
        progress.best = Some((progress.step, score));
        progress.evaluations_since = 0;
        if self.keeps_best() && self.spec.checkpoints.is_none() {
            self.best = Some(self.state.trainable.values());
        }
        Ok(())
    }

    pub(super) fn keeps_best(&self) -> bool {
        self.spec.recipe.keep == Keep::Best
    }

    /// Whether what there is now is the best and must be saved to be published.
    pub(super) fn is_best(&self) -> bool {
        let best = self.progress.best.map(|(step, _)| step);
        self.keeps_best() && best == Some(self.progress.step)
    }

    pub(super) fn stops_early(&self) -> bool {
        let patience = self.spec.recipe.early_stopping;
        patience.is_some_and(|patience| self.progress.evaluations_since >= patience)
    }

    /// Goes back to the best values, where those are wanted and not the newest.
    pub(super) fn take_best(&mut self) -> Result<(), Fault> {
        let Some((step, score)) = self.progress.best else {
            return Ok(());
        };
        if !self.keeps_best() || self.is_best() {
            return Ok(());
        }
        let trainable = &*self.state.trainable;
        let taken = match (self.spec.checkpoints, self.best.take()) {
            (Some(checkpoints), _) => {
                let shapes = self.shapes();
                let shapes = Shapes {
                    names: &self.names,
                    of: &shapes,
                };
                match checkpoints.tensors_of(step, shapes) {
                    Ok(mut stored) => {
                        let wait = &mut |pause| self.watch.wait(pause);
                        retry(wait, || Ok(stored.set(trainable)?))?;
                        Ok(())
                    }
                    Err(why) => Err(why),
                }
            }
            (None, Some(values)) => {
                trainable.set(&values);
                Ok(())
            }
            (None, None) => Err("it was not kept".to_owned()),
        };
        match taken {
            Ok(()) => {
                self.taken = Some(step);
                self.progress.held_out = Some(score);
                // These are of weights that are not kept.
                self.progress.skipped_in_a_row = 0;
                self.progress.grad_norm = None;
                let what = format!(
                    "step {step} had the lowest held-out loss, {:.4}: its weights are kept",
                    score.loss
                );
                self.watch.note(Level::Info, what)
            }
            Err(why) => {
                let what = format!(
                    "the weights after step {step}, the best ones, are lost: {why}; the last ones are kept"
                );
                self.watch.note(Level::Warn, what)
            }
        }
    }
}
