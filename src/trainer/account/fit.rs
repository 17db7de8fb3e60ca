//! What to change of a job so that it fits.

use crate::domain::{Checkpointing, Method, Named, Offload, Recipe};

/// Changes that are proposed at most.
const MOST: usize = 5;
/// Below this, rows hold too little to be worth proposing.
const SHORTEST: usize = 64;

/// A job that asks for less.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Settings by their public names, as they would have to be.
    pub settings: Vec<(&'static str, String)>,
    pub recipe: Recipe,
    /// Bytes at its peak.
    pub peak: u64,
    pub fits: bool,
}

/// `micro_batch 1, gradient_checkpointing on: 1.2 GiB`, without the number.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let settings = self.settings.iter();
        let settings: Vec<String> = settings
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        f.write_str(&settings.join(", "))
    }
}

/// The same job with `micro_batch` rows in a forward: as many rows in a step.
pub fn with_micro_batch(recipe: &Recipe, micro_batch: usize) -> Recipe {
    Recipe {
        micro_batch,
        accumulate: recipe.batch_size / micro_batch.max(1),
        ..recipe.clone()
    }
}

/// The next smaller number of rows in a forward that divides those of a step: half, where that does.
pub fn fewer_rows(recipe: &Recipe) -> Option<usize> {
    let half = recipe.micro_batch / 2;
    (1..=half)
        .rev()
        .find(|rows| recipe.batch_size.is_multiple_of(*rows))
}

fn recomputing(recipe: &Recipe) -> Recipe {
    Recipe {
        recompute: Checkpointing::On,
        ..recipe.clone()
    }
}

/// One record at a time, blocks computed again.
fn one_at_a_time(recipe: &Recipe) -> Recipe {
    Recipe {
        pack: false,
        ..recomputing(&with_micro_batch(recipe, 1))
    }
}

/// With the optimizer's moments on disk.
pub fn offloaded(recipe: &Recipe) -> Recipe {
    Recipe {
        offload_optimizer: Offload::Disk,
        ..recipe.clone()
    }
}

/// What learns the same in the least memory: one record at a time, blocks computed again, moments on disk.
pub fn smallest(recipe: &Recipe) -> Recipe {
    offloaded(&one_at_a_time(recipe))
}

/// Jobs near to `recipe` that fit in `limit`, those that change least first; where none does, the smallest one. `peak`
/// says what a job would take, or `None` where it could not be; rows of `longest` tokens have to fit in a row.
pub fn changes(
    recipe: &Recipe,
    limit: u64,
    longest: Option<usize>,
    peak: &dyn Fn(&Recipe) -> Option<u64>,
) -> Vec<Change> {
    let judged = |changed: Recipe| {
        let peak = peak(&changed)?;
        let settings = differences(recipe, &changed);
        (!settings.is_empty()).then_some(Change {
            settings,
            recipe: changed,
            peak,
            fits: peak <= limit,
        })
    };
    let mut found: Vec<Change> = Vec::new();
    let mut least: Option<Change> = None;
    // Of each line, the first that fits.
    for line in lines(recipe, longest) {
        for change in line.into_iter().filter_map(judged) {
            if change.fits {
                if { found.iter() }.all(|other| other.settings != change.settings) {
                    found.push(change);
                }
                break;
            }
            if { least.as_ref() }.is_none_or(|least| change.peak < least.peak) {
                least = Some(change);
            }
        }
    }
    found.truncate(MOST);
    if found.is_empty() {
        found.extend(least);
    }
    found
}

/// Lines of ever smaller jobs.
fn lines(recipe: &Recipe, longest: Option<usize>) -> Vec<Vec<Recipe>> {
    let fewer = |of: &Recipe| {
        let mut jobs = Vec::new();
        let mut now = of.clone();
        while let Some(rows) = fewer_rows(&now) {
            now = with_micro_batch(&now, rows);
            jobs.push(now.clone());
        }
        jobs
    };
    let again = recomputing(recipe);
    let shorter = |of: &Recipe| {
        let mut jobs = Vec::new();
        let mut max_seq = of.max_seq / 2;
        while max_seq >= longest.unwrap_or(SHORTEST).max(2) {
            jobs.push(Recipe {
                max_seq,
                ..of.clone()
            });
            max_seq /= 2;
        }
        jobs
    };
    let mut lines = vec![
        vec![again.clone()],
        fewer(recipe),
        fewer(&again),
        vec![one_at_a_time(recipe), smallest(recipe)],
        [one_at_a_time(recipe), smallest(recipe)]
            .iter()
            .flat_map(shorter)
            .collect(),
    ];
    if matches!(
        recipe.method,
        Method::Full | Method::Staged | Method::Modules
    ) {
        let lora = |of: &Recipe| Recipe {
            method: Method::Lora,
            stages: None,
            train_modules: None,
            train_layers: None,
            ..of.clone()
        };
        let least = lora(&smallest(recipe));
        let mut line = vec![lora(recipe), lora(&again), lora(&one_at_a_time(recipe))];
        line.push(least.clone());
        line.extend(shorter(&least));
        lines.push(line);
    }
    lines
}

/// Settings of `changed` that differ, by their public names.
fn differences(recipe: &Recipe, changed: &Recipe) -> Vec<(&'static str, String)> {
    let settings = |of: &Recipe| {
        [
            ("method", of.method.name().to_owned()),
            ("micro_batch", of.micro_batch.to_string()),
            ("max_seq", of.max_seq.to_string()),
            ("gradient_checkpointing", of.recompute.name().to_owned()),
            ("no_pack", (!of.pack).to_string()),
            ("offload_optimizer", of.offload_optimizer.name().to_owned()),
        ]
    };
    let both = settings(recipe).into_iter().zip(settings(changed));
    both.filter(|(before, after)| before != after)
        .map(|(_, after)| after)
        .collect()
}
