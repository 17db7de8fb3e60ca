//! Training without a daemon: the same run as a job's, from bytes to an adapter's files.

use serde_json::Value;

use super::checkpoint::{Checkpoints, Progress};
use super::fault::Fault;
use super::plan::{Data, Parent, Plan, settle};
use super::publish;
use super::recipe::Wishes;
use super::run::{Course, Ending, Watch, run};
use crate::adapter::peft::Files;
use crate::model::Base;

/// What came out.
pub struct Trained {
    pub files: Files,
    pub evaluation: Option<Value>,
    pub progress: Progress,
}

/// Trains on the calling thread, which needs a stack of [`super::STACK`] bytes; `None` when `watch` interrupted it.
/// With `folder`, checkpoints are kept there and an interrupted training is continued.
pub fn train(
    base: &Base,
    wishes: &Wishes,
    parent: Option<Parent>,
    data: Data<'_>,
    folder: Option<&std::path::Path>,
    watch: &mut dyn Watch,
) -> Result<Option<Trained>, Fault> {
    let recipe = settle(
        wishes,
        parent.as_ref().map(|parent| parent.adapter.as_ref()),
        base,
    )?;
    let plan = Plan::new(base, recipe, parent, data)?;
    let checkpoints = folder.map(|folder| Checkpoints {
        folder: folder.to_owned(),
        identity: plan.identity.clone(),
    });
    let course = Course {
        learner: &base.model,
        recipe: &plan.recipe,
        train: &plan.train,
        held_out: &plan.held_out,
        checkpoints: checkpoints.as_ref(),
    };
    match run(&course, plan.trainable()?, watch)? {
        Ending::Interrupted => Ok(None),
        Ending::Finished(finished) => {
            let (files, evaluation) = publish::files(&plan, &base.name, &finished)?;
            Ok(Some(Trained {
                files,
                evaluation,
                progress: finished.progress,
            }))
        }
    }
}
