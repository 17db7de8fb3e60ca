//! A job from its first step, or from its newest checkpoint, to its last. Shared by the worker and by training without
//! a daemon; what happens on the way is reported to a [`Watch`].

mod best;
mod recover;
mod room;
mod start;
mod watch;

use std::path::Path;
use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoints, Progress, Shapes, Tensors};
use super::course::Course;
use super::data::{Example, Examples, Order, Sample};
use super::evaluate::{Score, evaluate};
use super::fault::{Fault, retry};
use super::learner::Learner;
use super::methods::Trainable;
use super::objective::refer;
use super::optimizer;
use super::scaling;
use super::step::{self, StepAt, TrainState};
use super::verdict::{self, Losses};
use crate::adapter::{Adapt, Fit, Unadapted};
use crate::device::Array;
use crate::domain::Recipe;

use room::Kept;
pub use room::{Form, Memory};
pub use start::shapes;
use start::{moments, start};
pub use watch::{StepReport, Watch};

/// Training rows whose loss is taken before the first step and after the last, to see whether training helped.
const PROBE_ROWS: usize = 16;
/// Without `save_every`, a checkpoint is written when the last one is this old; the table of settings says so too.
const SAVE_AFTER: Duration = Duration::from_secs(15);

/// One job, ready to run.
pub struct RunSpec<'a> {
    pub learner: &'a dyn Learner,
    pub recipe: &'a Recipe,
    pub train: &'a dyn Examples,
    /// May be empty: then nothing is evaluated.
    pub held_out: &'a dyn Examples,
    /// `None`: nothing is saved and an interrupted job is lost.
    pub checkpoints: Option<&'a Checkpoints>,
    /// The file that holds the optimizer's state where the recipe wants it on disk. What is there is overwritten.
    pub scratch: Option<&'a Path>,
    /// What answers are compared under, where they are: what a job begins with.
    pub reference: &'a dyn Adapt,
    /// What adapters are rounded to when they are served, and so when they are scored.
    pub fit: Fit<'a>,
    /// `None`: nobody counts.
    pub memory: Option<&'a Memory<'a>>,
}

/// How a run ended.
pub enum Ending {
    Finished(Finished),
    /// The watch said stop. With checkpoints, the state after the last whole step is saved.
    Interrupted,
}

pub struct Finished {
    pub trainable: Box<dyn Trainable>,
    /// After which its values are: not the last one where a better one was gone back to.
    pub step: u64,
    pub progress: Box<Progress>,
}

/// Trains `trainable` to the end of the spec, going on from the newest checkpoint where there is one.
pub fn run(
    spec: &RunSpec<'_>,
    trainable: Box<dyn Trainable>,
    watch: &mut dyn Watch,
) -> Result<Ending, Fault> {
    let names: Vec<String> = { trainable.parameters() }
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let shapes = shapes(spec.recipe, &*trainable);
    let moments = moments(spec.recipe, &shapes);
    let kept = { spec.memory }
        .map(|memory| memory.hold(moments))
        .transpose()?;
    let shapes = Shapes {
        names: &names,
        of: &shapes,
    };
    let (state, progress) = start(spec, trainable, shapes, watch)?;
    let form = match progress.form {
        Some(form) => form.applied(spec.recipe),
        None => spec.recipe.clone(),
    };
    let mut order = Order::new(spec.recipe, spec.train.len());
    let course = Course::of(spec.recipe, &order);
    let total = course.total_steps();
    watch.started(&progress, total)?;
    let saved_step = progress.step;
    let mut run = Run {
        spec,
        watch,
        state,
        progress,
        names,
        saved: Instant::now(),
        saved_step,
        best: None,
        taken: None,
        form,
        kept,
    };
    run.offload()?;
    if !run.score_before()? {
        return run.interrupted();
    }
    loop {
        // What is due after a step comes first: a job may have been interrupted just there.
        if !run.evaluate_if_due(total)? {
            return run.interrupted();
        }
        let done = run.progress.step >= total || run.stops_early();
        if done {
            run.take_best()?;
            if !run.judge()? {
                return run.interrupted();
            }
        }
        run.save_if_due(done)?;
        if done {
            break;
        }
        if run.passes_over(&course)? {
            continue;
        }
        let rows = order.batch(run.progress.step).into_iter();
        let batch = spec.train.take(rows)?;
        let batch: Vec<&Example> = batch.iter().map(|row| &**row).collect();
        if !run.step(&batch, &course)? {
            return run.interrupted();
        }
    }
    Ok(Ending::Finished(Finished {
        trainable: run.state.trainable,
        step: run.taken.unwrap_or(run.progress.step),
        progress: run.progress.into(),
    }))
}

struct Run<'c, 'w> {
    spec: &'c RunSpec<'c>,
    watch: &'w mut dyn Watch,
    state: TrainState,
    progress: Progress,
    names: Vec<String>,
    saved: Instant,
    /// Of the newest checkpoint; 0 where there is none.
    saved_step: u64,
    /// The best values so far, where they are to be published and nothing is saved.
    best: Option<Vec<Vec<f32>>>,
    /// The step whose values were gone back to at the end.
    taken: Option<u64>,
    /// The job's recipe with forwards as large as fit.
    form: Recipe,
    /// `None`: nobody counts.
    kept: Option<Kept>,
}

impl<'c> Run<'c, '_> {
    fn shapes(&self) -> Vec<(optimizer::Form, usize)> {
        self.state.optimizer.shapes()
    }

    /// Scores what there is before the first step. `false`: interrupted.
    fn score_before(&mut self) -> Result<bool, Fault> {
        if self.progress.step == 0 {
            let Some(probed) = self.score(Of::Adapter, self.probe_rows())? else {
                return Ok(false);
            };
            self.progress.before = Some(probed.loss).filter(|loss| loss.is_finite());
        }
        let held_out = self.held_out();
        if held_out.of.is_empty() || self.progress.base.is_some() {
            return Ok(true);
        }
        let Some(base) = self.score(Of::Base, held_out)? else {
            return Ok(false);
        };
        self.watch.evaluated(0, &base)?;
        if self.spec.recipe.from.is_some() {
            let Some(parent) = self.score(Of::Adapter, held_out)? else {
                return Ok(false);
            };
            self.progress.parent = Some(parent);
        }
        self.progress.base = Some(base);
        Ok(true)
    }

    /// Some of the training rows, spread over all of them.
    fn probe_rows(&self) -> Sample<'c> {
        let of = self.spec.train;
        let every = of.len().div_ceil(PROBE_ROWS).max(1);
        Sample { of, every }
    }

    fn held_out(&self) -> Sample<'c> {
        let of = self.spec.held_out;
        Sample { of, every: 1 }
    }

    fn score(&mut self, of: Of, examples: Sample<'_>) -> Result<Option<Score>, Fault> {
        let RunSpec {
            learner,
            fit,
            reference,
            ..
        } = self.spec;
        let served_adapter;
        let adapters: &dyn Adapt = match of {
            Of::Base => &Unadapted,
            Of::Adapter => {
                let served = self.state.trainable.served(fit)?;
                served_adapter = served.map_err(|fault| self.diverged(fault.to_string()))?;
                &served_adapter
            }
        };
        evaluate(
            *learner,
            &self.form,
            (adapters, *reference),
            examples,
            &mut || self.watch.go_on(),
        )
    }

    /// Whether what training made may be served. `false`: interrupted before that was known.
    fn judge(&mut self) -> Result<bool, Fault> {
        let losses = match self.progress.before {
            None => None,
            Some(before) => match self.score(Of::Adapter, self.probe_rows())? {
                None => return Ok(false),
                Some(score) => Some(Losses {
                    before,
                    after: score.loss,
                }),
            },
        };
        match verdict::at_the_end(&self.progress, losses) {
            None => Ok(true),
            Some(why) => Err(self.diverged(why)),
        }
    }

    fn diverged(&self, why: String) -> Fault {
        Fault::Diverged {
            step: self.progress.step,
            learning_rate: self.spec.recipe.learning_rate * self.progress.rate_factor(),
            why,
        }
        .with_losses(&self.progress.recent, self.spec.recipe.precision)
    }

    /// One step; `false`: interrupted before it was whole.
    fn step(&mut self, batch: &[&Example], course: &Course) -> Result<bool, Fault> {
        let RunSpec {
            learner, reference, ..
        } = self.spec;
        let _taken = self.take_room(batch)?;
        let recipe = &self.form;
        let done = self.progress.step;
        let (stage, leg) = course.at(done);
        self.state.enter(stage, done == leg.first)?;
        let at = StepAt {
            done,
            learning_rate: leg.rate_at(done) * self.progress.rate_factor(),
            loss_scale: scaling::of(recipe, &mut self.progress.scale),
        };
        let began = Instant::now();
        let mut go_on = || self.watch.go_on();
        let reference = (*reference, step::half(recipe));
        let reference = refer(*learner, recipe, reference, batch, &mut go_on)?;
        let Some(reference) = reference else {
            return Ok(false);
        };
        let batch = (batch, &reference);
        let state = &mut self.state;
        let stepped = state.step(*learner, recipe, batch, at, &mut go_on);
        let stepped =
            stepped.map_err(|fault| fault.with_losses(&self.progress.recent, recipe.precision))?;
        let Some(stepped) = stepped else {
            return Ok(false);
        };
        let progress = &mut self.progress;
        progress.step += 1;
        progress.tokens += stepped.tokens;
        progress.updates = self.state.optimizer.updates();
        progress.train_loss = Some(stepped.loss).filter(|loss| loss.is_finite());
        progress.grad_norm = Some(stepped.grad_norm).filter(|norm| norm.is_finite());
        let overflowed = progress.count(&stepped);
        self.watch.stepped(&StepReport {
            step: self.progress.step,
            total: course.total_steps(),
            stepped,
            tokens_per_second: stepped.tokens as f64 / began.elapsed().as_secs_f64().max(1e-9),
            total_tokens: self.progress.tokens,
        })?;
        match stepped.applied {
            true => self.look_for_spike(stepped.loss)?,
            false => self.skipped(&stepped, overflowed)?,
        }
        Ok(true)
    }

    /// Scores the held-out rows where that is due after the steps done so far. `false`: interrupted.
    fn evaluate_if_due(&mut self, total: u64) -> Result<bool, Fault> {
        let step = self.progress.step;
        let due = step == total
            || self
                .spec
                .recipe
                .eval_every
                .is_some_and(|every| step.is_multiple_of(every));
        if self.spec.held_out.is_empty() || !due || step == self.progress.evaluated {
            return Ok(true);
        }
        let Some(score) = self.score(Of::Adapter, self.held_out())? else {
            return Ok(false);
        };
        self.watch.evaluated(step, &score)?;
        self.progress.held_out = Some(score);
        self.progress.evaluated = step;
        self.compare_with_best(score)?;
        Ok(true)
    }

    fn save_if_due(&mut self, done: bool) -> Result<(), Fault> {
        let step = self.progress.step;
        let due = match self.spec.recipe.save_every {
            Some(every) => step.is_multiple_of(every),
            None => self.saved.elapsed() >= SAVE_AFTER,
        };
        // While steps are skipped, the checkpoints before them may be needed.
        let due = due && self.progress.skipped_in_a_row == 0;
        match due || done || self.is_best() {
            true => self.save(),
            false => Ok(()),
        }
    }

    fn save(&mut self) -> Result<(), Fault> {
        let Some(checkpoints) = self.spec.checkpoints else {
            return Ok(());
        };
        if self.saved_step == self.progress.step {
            return Ok(());
        }
        self.watch.saving()?;
        let parameters = self.state.trainable.parameters().into_iter();
        let values: Vec<Array> = parameters.map(|(_, p)| p.array()).collect();
        let tensors = Tensors {
            names: &self.names,
            values: &values,
            optimizer: &self.state.optimizer,
        };
        let kept = retry(&mut |pause| self.watch.wait(pause), || {
            Ok(checkpoints.save(&self.progress, &tensors)?)
        })?;
        self.saved = Instant::now();
        self.saved_step = self.progress.step;
        self.watch.saved(&self.progress, &kept)
    }

    fn interrupted(mut self) -> Result<Ending, Fault> {
        self.save()?;
        Ok(Ending::Interrupted)
    }
}

enum Of {
    Base,
    Adapter,
}

#[cfg(test)]
mod tests;
