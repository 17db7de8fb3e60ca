//! How a run keeps within its memory: a step that would exceed it is done in smaller forwards, and so is all that follows.

use serde::{Deserialize, Serialize};

use super::start::create_folder_of;
use super::{Run, RunSpec};
use crate::device::{Budget, NoRoom, Part, Reserved};
use crate::domain::{Checkpointing, Level, Offload, Reason, Recipe, shown_bytes};
use crate::model::spec::Spec;
use crate::trainer::account::{
    Account, Learned, Load, Usage, fewer_rows, offloaded, with_micro_batch,
};
use crate::trainer::data::Example;
use crate::trainer::fault::{Fault, retry};

/// The memory that a run may take, and what its steps need.
pub struct Memory<'a> {
    pub budget: Budget,
    pub spec: &'a Spec,
    pub learned: Learned,
}

/// How steps are cut into forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    pub micro_batch: usize,
    pub recompute: Checkpointing,
    pub pack: bool,
    /// The optimizer's moments lie on disk, wherever the recipe has them.
    #[serde(default)]
    pub offloaded: bool,
}

impl Form {
    fn of(recipe: &Recipe) -> Self {
        Self {
            micro_batch: recipe.micro_batch,
            recompute: recipe.recompute,
            pack: recipe.pack,
            offloaded: recipe.offload_optimizer == Offload::Disk,
        }
    }

    /// `recipe` in this form.
    pub fn applied(self, recipe: &Recipe) -> Recipe {
        let formed = Recipe {
            recompute: self.recompute,
            pack: self.pack,
            ..with_micro_batch(recipe, self.micro_batch)
        };
        match self.offloaded {
            true => offloaded(&formed),
            false => formed,
        }
    }
}

/// The next smaller form: fewer rows in a forward, then blocks computed again, then one record a row, then moments on disk
/// where there is a file for them.
fn smaller(recipe: &Recipe, has_file: bool) -> Option<Recipe> {
    if let Some(rows) = fewer_rows(recipe) {
        return Some(with_micro_batch(recipe, rows));
    }
    if recipe.recompute == Checkpointing::Off {
        return Some(Recipe {
            recompute: Checkpointing::On,
            ..recipe.clone()
        });
    }
    if recipe.pack {
        return Some(Recipe {
            pack: false,
            ..recipe.clone()
        });
    }
    let in_memory = recipe.offload_optimizer != Offload::Disk;
    (in_memory && has_file).then(|| offloaded(recipe))
}

/// What is held from the first step to the last.
pub(super) struct Kept {
    _values: Reserved,
    moments: Reserved,
}

impl Memory<'_> {
    /// Values, and so many bytes of moments.
    pub(super) fn hold(&self, moments: u64) -> Result<Kept, Fault> {
        let hold = |part, bytes| self.budget.reserve(part, bytes);
        let refused = |why: NoRoom| not_enough(&why);
        Ok(Kept {
            _values: hold(Part::Adapters, self.learned.values).map_err(refused)?,
            moments: hold(Part::Optimizer, moments).map_err(refused)?,
        })
    }

    fn take(&self, usage: &Usage) -> Result<Vec<Reserved>, NoRoom> {
        let parts = [Part::Activations, Part::Gradients, Part::Scratch];
        let taken = parts.map(|part| self.budget.reserve(part, usage.of(part)));
        taken.into_iter().collect()
    }
}

fn not_enough(why: &NoRoom) -> Reason {
    Reason::NotEnoughMemory(format!(
        "{} would take {}, and {} of {} are left",
        why.part,
        shown_bytes(why.asked),
        shown_bytes(why.left),
        shown_bytes(why.limit)
    ))
}

/// `1 row`, `2 rows`.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

impl Run<'_, '_> {
    /// Memory for a step on `batch`, which may make forwards smaller from here on.
    ///
    /// # Errors
    /// `NotEnoughMemory` where not even one record at a time fits.
    pub(super) fn take_room(&mut self, batch: &[&Example]) -> Result<Vec<Reserved>, Fault> {
        let Some(memory) = self.spec.memory else {
            return Ok(Vec::new());
        };
        loop {
            let load = Load::of_batch(batch, &self.form);
            let account = Account::of(memory.spec, &memory.learned, &self.form, load);
            let why = match memory.take(&account.of_a_step()) {
                Ok(taken) => return Ok(taken),
                Err(why) => why,
            };
            let Some(form) = smaller(&self.form, self.spec.scratch.is_some()) else {
                let reason = not_enough(&why);
                let advice = "a smaller max_seq, a smaller rank or fewer targets would take less";
                return Err(Reason::NotEnoughMemory(format!("{reason}; {advice}")).into());
            };
            let step = self.progress.step + 1;
            let again = match form.recompute {
                Checkpointing::Off => "",
                Checkpointing::On | Checkpointing::Auto => ", blocks computed again",
            };
            let apart = if form.pack { "" } else { ", one record a row" };
            let on_disk = match form.offload_optimizer {
                Offload::Disk => ", the optimizer's moments on disk",
                Offload::None | Offload::Host => "",
            };
            let told = format!(
                "step {step}: {}; from here on {} in a forward, {} in a step{again}{apart}{on_disk}",
                not_enough(&why),
                counted(form.micro_batch, "row"),
                counted(form.accumulate, "forward"),
            );
            self.watch.note(Level::Warn, told)?;
            self.progress.form = Some(Form::of(&form));
            self.form = form;
            self.offload()?;
        }
    }

    /// Puts the moments where the form has them, and gives back the memory they took.
    pub(super) fn offload(&mut self) -> Result<(), Fault> {
        let RunSpec {
            scratch, memory, ..
        } = self.spec;
        let (Offload::Disk, Some(path)) = (self.form.offload_optimizer, scratch) else {
            return Ok(());
        };
        retry(&mut |pause| self.watch.wait(pause), || {
            create_folder_of(path)?;
            Ok(self.state.optimizer.offload(path)?)
        })?;
        if let (Some(kept), Some(memory)) = (&mut self.kept, memory) {
            let nothing = memory.budget.reserve(Part::Optimizer, 0);
            kept.moments = nothing.map_err(|why| not_enough(&why))?;
        }
        Ok(())
    }
}
