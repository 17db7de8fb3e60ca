//! A job on a base that is not loaded: what it would train, and what it would take.

use super::{Account, Change, Learned, Load, Usage, changes, longest_of, process_bytes};
use crate::device::Part;
use crate::domain::{Method as Named, Reason, Recipe, Wishes};
use crate::model::Outline;
use crate::text::Tokenizer;
use crate::trainer::data::Length;
use crate::trainer::methods::{self, Fitting, Method};
use crate::trainer::recipe::resolve;

/// A job that was never created.
pub struct Outlined<'a> {
    pub recipe: Recipe,
    outline: &'a Outline,
    tokenizer: Option<&'a Tokenizer>,
    method: Box<dyn Method>,
}

impl<'a> Outlined<'a> {
    /// # Errors
    /// `BadField` for settings that do not fit each other or the base, as a job is refused.
    pub fn new(
        outline: &'a Outline,
        tokenizer: Option<&'a Tokenizer>,
        wishes: &Wishes,
    ) -> Result<Self, Reason> {
        if wishes.from.is_some() {
            let why = "is read by the daemon that has the adapter: `adapterd train --dry-run` plans such a job";
            return Err(Reason::field("from", why));
        }
        let recipe = resolve(wishes, None, outline.spec().context)?;
        let method = settle(outline, tokenizer, &recipe)?;
        Ok(Self {
            recipe,
            outline,
            tokenizer,
            method,
        })
    }

    /// Trainable and all parameters, as PEFT counts them.
    pub fn parameters(&self) -> (u64, u64) {
        let all = self.outline.parameters() + self.method.added();
        (self.method.count(), all)
    }

    pub fn account(&self, load: Load) -> Account {
        let learned = Learned::of(&*self.method);
        Account::of(self.outline.spec(), &learned, &self.recipe, load)
    }

    /// Bytes by part of a process that holds the base and trains, at its peak; the last part is the process itself.
    pub fn peak(&self, load: Load) -> (Usage, u64) {
        let usage = self.account(load).peak();
        let base = self.outline.weight_bytes();
        let process = process_bytes(self.outline.spec().vocab);
        (usage.with(Part::Base, base), process)
    }

    /// Near jobs that fit where a process with such a job may take `limit` bytes besides base and process.
    pub fn changes(&self, limit: u64, rows: Option<&[Length]>) -> Vec<Change> {
        let longest = rows.map(|rows| longest_of(rows).unwrap_or(0));
        let peak = |recipe: &Recipe| {
            let method = settle(self.outline, self.tokenizer, recipe).ok()?;
            let load = match rows {
                Some(rows) => Load::of_rows(rows, recipe),
                None => Load::full(recipe),
            };
            let learned = Learned::of(&*method);
            let account = Account::of(self.outline.spec(), &learned, recipe, load);
            Some(account.peak().total())
        };
        changes(&self.recipe, limit, longest, &peak)
    }

    /// The peak of LoRA on every linear layer of this base with one row of `max_seq` tokens and blocks computed again.
    pub fn of_lora(outline: &Outline, max_seq: usize) -> Result<u64, Reason> {
        let wishes = Wishes {
            method: Some(Named::Lora),
            max_seq: Some(max_seq.min(outline.spec().context)),
            batch_size: Some(1),
            recompute: Some(crate::domain::Checkpointing::On),
            ..Wishes::default()
        };
        let job = Outlined::new(outline, None, &wishes)?;
        let (usage, process) = job.peak(Load::full(&job.recipe));
        Ok(usage.total() + process)
    }
}

fn settle(
    outline: &Outline,
    tokenizer: Option<&Tokenizer>,
    recipe: &Recipe,
) -> Result<Box<dyn Method>, Reason> {
    let base = Fitting {
        sites: outline.sites(),
        weights: outline,
        tokenizer,
    };
    methods::kind(recipe.method)?.settle(recipe, None, base)
}
