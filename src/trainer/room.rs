//! room: whether a job fits the memory it may take, before it is created and before it starts, and what would.

use super::account::{Account, Change, Learned, Load, changes, longest_of, smallest, total_steps};
use super::data::{Examples, Length};
use super::methods::{self, Fitting};
use super::plan::Plan;
use crate::device::{Budget, Part};
use crate::domain::{
    Checkpointing, JobPlan, MOST_OF_A_LIMIT, MemoryPlan, PlannedChange, Reason, Recipe, shown_bytes,
};
use crate::model::Base;

/// What training may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    /// As the job says.
    pub limit: Option<u64>,
    /// What the machine has left.
    pub machine: Option<u64>,
}

impl Room {
    /// On a machine that has so much left; `None` where nobody says.
    pub fn of(recipe: &Recipe, machine: Option<u64>) -> Option<Self> {
        // Checked with the other settings.
        let limit = recipe.memory_limit.as_ref();
        let limit = limit.and_then(|bytes| bytes.count().ok());
        Some(Self {
            bytes: [limit, machine].into_iter().flatten().min()?,
            limit,
            machine,
        })
    }

    /// Who says so.
    fn said_by(self) -> &'static str {
        match self.limit {
            Some(limit) if limit == self.bytes => "memory_limit",
            _ => "the machine's free memory",
        }
    }
}

/// What a job that runs holds.
pub struct Held {
    pub budget: Budget,
    /// What it may come to hold.
    pub promised: u64,
}

impl Held {
    pub fn held(&self) -> u64 {
        self.budget.totals().iter().map(|(_, bytes)| bytes).sum()
    }

    /// What it may still take.
    pub fn owed(&self) -> u64 {
        self.promised.saturating_sub(self.held())
    }
}

impl Plan {
    /// What the job takes as `recipe` changes it, on training rows of these lengths.
    fn account(&self, base: &Base, rows: &[Length], recipe: &Recipe) -> Option<Account> {
        let learned = match recipe.method == self.recipe.method {
            true => Learned::of(&*self.method),
            false => {
                let kind = methods::kind(recipe.method).ok()?;
                let method = kind.settle(recipe, None, Fitting::of(base)).ok()?;
                Learned::of(&*method)
            }
        };
        let load = Load::of_rows(rows, recipe);
        Some(Account::of(base.model.spec(), &learned, recipe, load))
    }

    fn peak(&self, base: &Base, rows: &[Length], recipe: &Recipe) -> Option<u64> {
        Some(self.account(base, rows, recipe)?.peak().total())
    }

    /// Near jobs that fit.
    fn changes(&self, base: &Base, rows: &[Length], room: Room) -> Vec<Change> {
        let peak = |recipe: &Recipe| self.peak(base, rows, recipe);
        changes(&self.recipe, room.bytes, longest_of(rows), &peak)
    }

    /// What the job takes at its peak as it was asked for, on training rows of these lengths; 0 where that is not known.
    pub fn asked(&self, base: &Base, rows: &[Length]) -> u64 {
        self.peak(base, rows, &self.recipe).unwrap_or(0)
    }

    /// Whether blocks are computed again, where that is left to the plan. `rows`: the lengths of those to train on.
    pub fn decide(&mut self, base: &Base, rows: &[Length], room: Option<Room>) {
        if self.recipe.recompute != Checkpointing::Auto {
            return;
        }
        let off = Recipe {
            recompute: Checkpointing::Off,
            ..self.recipe.clone()
        };
        let fits = |room: Room| {
            self.peak(base, rows, &off)
                .is_none_or(|peak| peak <= room.bytes)
        };
        let decided = match room.is_none_or(fits) {
            true => Checkpointing::Off,
            false => Checkpointing::On,
        };
        self.recipe.recompute = decided;
        self.identity.recipe.recompute = decided;
    }

    /// What to tell of a job that fits, but not as it was asked for; `None` where it does.
    ///
    /// # Errors
    /// `NotEnoughMemory` where nothing that learns the same fits, with what would.
    pub fn check_room(
        &self,
        base: &Base,
        rows: &[Length],
        room: Option<Room>,
    ) -> Result<Option<String>, Reason> {
        let Some(room) = room else { return Ok(None) };
        let Some(asked) = self.peak(base, rows, &self.recipe) else {
            return Ok(None);
        };
        if asked <= room.bytes {
            return Ok(None);
        }
        let (takes, left, by) = (shown_bytes(asked), shown_bytes(room.bytes), room.said_by());
        let least = self.peak(base, rows, &smallest(&self.recipe));
        let least = least.unwrap_or(asked);
        if least <= room.bytes {
            return Ok(Some(format!(
                "as asked, training would take {takes}; it may take {left} ({by}), so forwards are made smaller where they do not fit"
            )));
        }
        let changes = self.changes(base, rows, room);
        let fitting: Vec<String> = { changes.iter() }
            .filter(|change| change.fits)
            .map(|change| format!("{change} ({})", shown_bytes(change.peak)))
            .collect();
        let advice = match fitting.is_empty() {
            false => format!("what would fit: {}", fitting.join("; ")),
            true => "nothing near it fits: a method that learns less, a base of fewer bits or more memory is needed".to_owned(),
        };
        Err(Reason::NotEnoughMemory(format!(
            "training takes {takes}, and at least {} one record at a time; it may take {left} ({by}); {advice}",
            shown_bytes(least)
        )))
    }
}

impl Plan {
    /// Tokens that the job reads in all its steps, those of one row once for each time it is read.
    pub fn tokens(&self, rows: &[Length]) -> u64 {
        let once: u64 = rows.iter().map(|row| u64::from(row.tokens)).sum();
        let (steps_per_epoch, _) = total_steps(&self.recipe, self.train.len());
        let tokens = u128::from(once) * u128::from(self.total_steps);
        let tokens = tokens.div_ceil(u128::from(steps_per_epoch.max(1)));
        tokens.min(u128::from(MOST_OF_A_LIMIT)) as u64
    }

    /// For those who asked what a job named `name` would be.
    pub fn shown(
        &self,
        base: &Base,
        name: String,
        (rows, room): (&[Length], Option<Room>),
        notes: Vec<String>,
    ) -> JobPlan {
        let sum =
            |of: fn(&Length) -> u32| -> u64 { rows.iter().map(|row| u64::from(of(row))).sum() };
        let (steps_per_epoch, _) = total_steps(&self.recipe, self.train.len());
        let usage = self.account(base, rows, &self.recipe).map(|all| all.peak());
        let peak = usage.map_or(0, |usage| usage.total());
        let fits = |peak: u64| room.is_none_or(|room| peak <= room.bytes);
        let smallest = || self.peak(base, rows, &smallest(&self.recipe));
        let changes = match room {
            Some(room) if !fits(peak) => self.changes(base, rows, room),
            _ => Vec::new(),
        };
        let of_part = |part| usage.map_or(0, |usage| usage.of(part));
        let parts = Part::ALL
            .into_iter()
            .filter(|part| !matches!(part, Part::Base | Part::Kv));
        JobPlan {
            model: base.name.clone(),
            name,
            rows: self.train.len() as u64,
            held_out: self.held_out.len() as u64,
            tokens: sum(|row| row.tokens),
            trained_tokens: sum(|row| row.trained),
            longest: longest_of(rows).unwrap_or(0) as u64,
            steps_per_epoch,
            steps: self.total_steps,
            parameters: self.parameters(&base.model),
            memory: MemoryPlan {
                parts: parts.map(|part| (part.name(), of_part(part))).collect(),
                peak,
                peak_at: usage.map_or("", |usage| usage.at.name()),
                limit: room.and_then(|room| room.limit),
                available: room.and_then(|room| room.machine),
                fits: fits(peak),
                fits_smaller: fits(peak) || smallest().is_some_and(fits),
                changes: changes
                    .into_iter()
                    .map(|change| PlannedChange {
                        settings: change.settings,
                        peak: change.peak,
                        fits: change.fits,
                    })
                    .collect(),
            },
            recipe: self.recipe.clone(),
            warnings: notes
                .into_iter()
                .chain(self.warnings.iter().cloned())
                .collect(),
        }
    }
}
