//! What a run begins with: fresh, or from its newest checkpoint.

use std::path::Path;

use super::{RunSpec, Watch};
use crate::domain::{Level, Offload, Reason, Recipe};
use crate::kernels::tape::Parameter;
use crate::store::create_folder;
use crate::trainer::checkpoint::{Found, Progress, Shapes};
use crate::trainer::fault::{Fault, retry};
use crate::trainer::methods::Trainable;
use crate::trainer::optimizer::{AdamW, Form, Settings};
use crate::trainer::step::TrainState;

/// The state to begin with: the newest whole checkpoint's, or a fresh one.
pub(super) fn start(
    spec: &RunSpec<'_>,
    trainable: Box<dyn Trainable>,
    shapes: Shapes<'_>,
    watch: &mut dyn Watch,
) -> Result<(TrainState, Progress), Fault> {
    let mut state = TrainState {
        optimizer: optimizer(spec, shapes.of, watch)?,
        trainable,
    };
    let (found, damaged) = match spec.checkpoints {
        Some(checkpoints) => {
            let wait = &mut |pause| watch.wait(pause);
            retry(wait, || checkpoints.newest(shapes))?
        }
        None => (None, Vec::new()),
    };
    for why in damaged {
        watch.note(Level::Warn, why)?;
    }
    let progress = match found {
        Some(mut found) => {
            let what = format!("continuing after step {}", found.progress.step);
            watch.note(Level::Info, what)?;
            take_up(&mut state, &mut found, shapes.names, watch)?;
            found.progress
        }
        None => {
            if spec.recipe.offload_optimizer == Offload::Host {
                let what = "offload_optimizer host changes nothing: jobs run on the processor, whose memory holds the optimizer's state anyway";
                watch.note(Level::Info, what.into())?;
            }
            Progress::default()
        }
    };
    Ok((state, progress))
}

/// Gives what is trained, and its optimizer, what a checkpoint holds. A read that broke off is begun anew.
pub(super) fn take_up(
    state: &mut TrainState,
    found: &mut Found,
    names: &[String],
    watch: &mut dyn Watch,
) -> Result<(), Fault> {
    let (tensors, updates) = (&mut found.tensors, found.progress.updates);
    retry(&mut |pause| watch.wait(pause), || {
        tensors.set(&*state.trainable)?;
        Ok(tensors.restore(&mut state.optimizer, names, updates)?)
    })
}

/// An optimizer before its first update, where the recipe wants its state.
fn optimizer(
    spec: &RunSpec<'_>,
    shapes: &[(Form, usize)],
    watch: &mut dyn Watch,
) -> Result<AdamW, Fault> {
    let settings = optimizer_settings(spec.recipe);
    let path = match spec.recipe.offload_optimizer {
        Offload::None | Offload::Host => None,
        Offload::Disk => {
            let missing = || Reason::field("offload_optimizer", "needs a folder of the job's own");
            Some(spec.scratch.ok_or_else(missing)?)
        }
    };
    retry(&mut |pause| watch.wait(pause), || {
        if let Some(path) = path {
            create_folder_of(path)?;
        }
        Ok(AdamW::held(settings, shapes, path)?)
    })
}

/// The folder that a file is to lie in.
pub(super) fn create_folder_of(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), create_folder)
}

fn optimizer_settings(recipe: &Recipe) -> Settings {
    Settings {
        beta1: recipe.adam_beta1,
        beta2: recipe.adam_beta2,
        epsilon: recipe.adam_epsilon,
        weight_decay: recipe.weight_decay,
    }
}

/// Bytes of the moments in memory.
pub(super) fn moments(recipe: &Recipe, shapes: &[(Form, usize)]) -> u64 {
    if recipe.offload_optimizer == Offload::Disk {
        return 0;
    }
    let of_both = { shapes.iter() }.map(|(form, len)| 2 * form.bytes(*len).iter().sum::<usize>());
    of_both.sum::<usize>() as u64
}

/// How the moments of each parameter are held, and how many values it has; its checkpoints hold the same.
pub fn shapes(recipe: &Recipe, trainable: &dyn Trainable) -> Vec<(Form, usize)> {
    let parameters = trainable.parameters().into_iter();
    let shape = |(name, parameter): (String, &Parameter)| {
        let len = parameter.array().len();
        (Form::of(recipe.optimizer, &name, len), len)
    };
    parameters.map(shape).collect()
}
