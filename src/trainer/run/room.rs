//! How a run keeps within its memory: a step that would exceed it is done in smaller forwards, and so is all that follows.

use serde::{Deserialize, Serialize};

use super::Run;
use crate::device::{Budget, NoRoom, Part, Reserved};
use crate::domain::{Checkpointing, Level, Reason, Recipe, shown_bytes};
use crate::model::spec::Spec;
use crate::trainer::account::{Account, Learned, Load, Usage, fewer_rows, with_micro_batch};
use crate::trainer::data::Example;
use crate::trainer::fault::Fault;

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
}

impl Form {
    fn of(recipe: &Recipe) -> Self {
        Self {
            micro_batch: recipe.micro_batch,
            recompute: recipe.recompute,
            pack: recipe.pack,
        }
    }

    /// `recipe` in this form.
    pub fn applied(self, recipe: &Recipe) -> Recipe {
        Recipe {
            recompute: self.recompute,
            pack: self.pack,
            ..with_micro_batch(recipe, self.micro_batch)
        }
    }
}

/// The next smaller form: fewer rows in a forward, then blocks computed again, then one record a row.
fn smaller(recipe: &Recipe) -> Option<Recipe> {
    if let Some(rows) = fewer_rows(recipe) {
        return Some(with_micro_batch(recipe, rows));
    }
    if recipe.recompute == Checkpointing::Off {
        return Some(Recipe {
            recompute: Checkpointing::On,
            ..recipe.clone()
        });
    }
    recipe.pack.then(|| Recipe {
        pack: false,
        ..recipe.clone()
    })
}

impl Memory<'_> {
    /// What is held from the first step to the last: values, and so many bytes of moments.
    pub(super) fn hold(&self, moments: u64) -> Result<Vec<Reserved>, Fault> {
        let values = self.learned.values;
        let parts = [(Part::Adapters, values), (Part::Optimizer, moments)];
        let held = parts.map(|(part, bytes)| self.budget.reserve(part, bytes));
        let held: Result<Vec<_>, NoRoom> = held.into_iter().collect();
        held.map_err(|why| not_enough(&why).into())
    }

    fn take(&self, usage: &Usage) -> Result<Vec<Reserved>, NoRoom> {
        let parts = [Part::Activations, Part::Gradients, Part::Scratch];
        let taken = parts.map(|part| self.budget.reserve(part, usage.of(part)));
        taken.into_iter().collect()
    }
}

fn not_enough(why: &NoRoom) -> Reason {
    Reason::NotEnoughMemory(format!(
        "{} need {}, and {} of {} are left",
        why.part,
        shown_bytes(why.asked),
        shown_bytes(why.left),
        shown_bytes(why.limit)
    ))
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
            let Some(form) = smaller(&self.form) else {
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
            let told = format!(
                "step {step}: {}; from here on {} rows in a forward, {} forwards in a step{again}{apart}",
                not_enough(&why),
                form.micro_batch,
                form.accumulate,
            );
            self.watch.note(Level::Warn, told)?;
            self.progress.form = Some(Form::of(&form));
            self.form = form;
        }
    }
}
