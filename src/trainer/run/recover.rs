//! What a run does about steps that went wrong: it skips them, goes back, passes over a batch, or gives up.

use super::Run;
use super::start::take_up;
use crate::domain::{Level, OnSpike};
use crate::trainer::checkpoint::{Progress, Shapes};
use crate::trainer::course::Course;
use crate::trainer::fault::{Fault, retry};
use crate::trainer::step::Stepped;
use crate::trainer::verdict;

/// Batches that are passed over at most: with more, it is not a batch that is at fault.
const MOST_PASSED_OVER: usize = 32;

impl Run<'_, '_> {
    /// A step that changed nothing.
    pub(super) fn skipped(&mut self, stepped: &Stepped, overflowed: bool) -> Result<(), Fault> {
        let step = self.progress.step;
        if let (true, Some(was), Some(scale)) =
            (overflowed, stepped.loss_scale, &self.progress.scale)
        {
            let now = scale.now;
            let what = format!(
                "step {step} was skipped: its gradients overflowed at loss scale {was}; from here on it is {now}"
            );
            return self.watch.note(Level::Info, what);
        }
        let what = if stepped.loss.is_finite() {
            "gradients are"
        } else {
            "loss is"
        };
        self.watch.note(
            Level::Warn,
            format!("step {step} was skipped: its {what} not finite"),
        )?;
        let Some(why) = verdict::of_step(&self.progress) else {
            return Ok(());
        };
        let halvings = self.progress.halvings + 1;
        if halvings > 1 || !self.go_back(|progress| progress.halvings = halvings)? {
            return Err(self.diverged(why));
        }
        let back = self.progress.step;
        self.watch.note(
            Level::Warn,
            format!("{why}: back to step {back}, with half the learning rate"),
        )
    }

    /// Compares a loss with those before it.
    pub(super) fn look_for_spike(&mut self, loss: f64) -> Result<(), Fault> {
        let spike = verdict::spike(&self.progress.recent, loss);
        let Some(median) = spike else {
            self.progress.remember(loss);
            return Ok(());
        };
        let step = self.progress.step;
        let what =
            format!("step {step}: loss {loss:.4}, where the median of those before is {median:.4}");
        let mut passed_over = self.progress.passed_over.clone();
        passed_over.push(step - 1);
        let rewinds = self.spec.recipe.on_spike == OnSpike::Rewind
            && passed_over.len() <= MOST_PASSED_OVER
            && self.go_back(|progress| progress.passed_over = passed_over)?;
        if !rewinds {
            self.progress.remember(loss);
            return self.watch.note(Level::Warn, what);
        }
        let back = self.progress.step;
        let what = format!("{what}: back to step {back}, and its batch will be passed over");
        self.watch.note(Level::Warn, what)
    }

    /// Counts a step whose batch is not learned from. `false`: the next one is.
    pub(super) fn passes_over(&mut self, course: &Course) -> Result<bool, Fault> {
        let done = self.progress.step;
        let passes = self.progress.passed_over.contains(&done);
        if passes {
            let (stage, leg) = course.at(done);
            self.state.enter(stage, done == leg.first)?;
            self.progress.updates = self.state.optimizer.updates();
            self.progress.step += 1;
        }
        Ok(passes)
    }

    /// Goes back to the newest checkpoint whose weights differ, with `change` made to its progress. `false`: there is
    /// none.
    fn go_back(&mut self, change: impl FnOnce(&mut Progress)) -> Result<bool, Fault> {
        let Some(checkpoints) = self.spec.checkpoints else {
            return Ok(false);
        };
        let shapes = self.shapes();
        let shapes = Shapes {
            names: &self.names,
            of: &shapes,
        };
        let applied = self.progress.applied();
        // Where checkpoints have their steps, a pause that wrote another one changes nothing.
        let every = self.spec.recipe.save_every.unwrap_or(1);
        let fits =
            |earlier: &Progress| earlier.applied() < applied && earlier.step.is_multiple_of(every);
        let found = retry(&mut |pause| self.watch.wait(pause), || {
            checkpoints.go_back(shapes, fits)
        });
        let (found, damaged) = found?;
        for why in damaged {
            self.watch.note(Level::Warn, why)?;
        }
        let Some(mut found) = found else {
            return Ok(false);
        };
        take_up(&mut self.state, &mut found, &self.names, &mut *self.watch)?;
        let mut progress = found.progress;
        progress.halvings = self.progress.halvings;
        progress.scale = self.progress.scale;
        progress.form = self.progress.form;
        progress.passed_over.clone_from(&self.progress.passed_over);
        change(&mut progress);
        // The best since then, or one that its place was given to, is no longer there.
        let best = progress.best.map(|(step, _)| step);
        if self.keeps_best() && best.is_some_and(|step| !checkpoints.holds(step)) {
            progress.best = None;
            progress.evaluations_since = 0;
        }
        self.progress = progress;
        self.watch.went_back(self.progress.step)?;
        // The checkpoint does not know of the change yet.
        self.saved_step = 0;
        self.save()?;
        Ok(true)
    }
}
