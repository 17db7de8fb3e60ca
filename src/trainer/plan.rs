//! Everything decided before a job runs: which layers, from where, on which rows.

use std::sync::Arc;

use super::checkpoint::Identity;
use super::course::Course;
use super::data::{Example, Order, Renderer, parse, refusal, split};
use super::learner::Learner;
use super::methods::{self, Method};
use super::recipe::{Wishes, resolve};
use crate::adapter::Adapter;
use crate::domain::{Generation, Keep, Reason, Recipe};
use crate::model::Base;

/// The bytes a job learns from and is measured on.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub training: &'a [u8],
    /// Held-out rows of their own; without, `eval_split` takes some of the training rows.
    pub validation: Option<&'a [u8]>,
}

/// The adapter a job continues from.
#[derive(Clone)]
pub struct Parent {
    pub adapter: Arc<Adapter>,
    /// Of the registered version; `None` for a folder that was never registered.
    pub generation: Option<Generation>,
}

/// A job, ready to run on its base.
pub struct Plan {
    pub recipe: Recipe,
    pub method: Box<dyn Method>,
    pub parent: Option<Parent>,
    pub train: Vec<Example>,
    pub held_out: Vec<Example>,
    pub identity: Identity,
    pub total_steps: u64,
    /// What of the data is not used, or not as its author may expect.
    pub warnings: Vec<String>,
}

/// Turns wishes into a recipe for `base`, with the shape of `parent` where the job continues one.
pub fn settle(wishes: &Wishes, parent: Option<&Adapter>, base: &Base) -> Result<Recipe, Reason> {
    let shape = match parent {
        None => None,
        Some(parent) => {
            let kind = methods::kind_for(parent, wishes.method)?;
            Some(kind.shape(parent, wishes, methods::Fitting::of(base))?)
        }
    };
    resolve(wishes, shape.as_ref(), base.model.context())
}

impl Plan {
    /// Reads and renders all rows. Costs time in proportion to the data; not for an async thread.
    ///
    /// `time` (Unix seconds) is the time that chat templates see: a job that goes on another day must see the tokens it
    /// began with.
    ///
    /// # Errors
    /// `BadRows` with every unusable row's line, `BadField` for settings that do not fit the base or the data.
    pub fn new(
        base: &Base,
        recipe: Recipe,
        parent: Option<Parent>,
        data: Data<'_>,
        time: i64,
    ) -> Result<Self, Reason> {
        let adapter = parent.as_ref().map(|parent| parent.adapter.clone());
        let kind = methods::kind(recipe.method)?;
        let method = kind.settle(&recipe, adapter, methods::Fitting::of(base))?;
        let renderer = Renderer {
            tokenizer: &base.tokenizer,
            template: &base.template.at(time),
            max_seq: recipe.max_seq,
            objective: recipe.objective,
        };
        let Rows {
            train,
            held_out,
            warnings,
        } = rows(&renderer, &recipe, data)?;
        if held_out.is_empty() {
            let why = "compares held-out rows, and there are none: give a validation file or `eval_split`";
            if recipe.early_stopping.is_some() {
                return Err(Reason::field("early_stopping", why));
            }
            if recipe.keep == Keep::Best {
                return Err(Reason::field("keep", why));
            }
        }
        let course = Course::of(&recipe, &Order::new(&recipe, train.len()));
        let total_steps = course.total_steps();
        // A share is below 1 and so always fits.
        let shortest = course.shortest().max(1);
        if recipe.warmup > shortest as f64 {
            let why = match recipe.stages {
                None => format!("warms up for longer than the job's {total_steps} steps"),
                Some(_) => format!("warms up for longer than the {shortest} steps of a stage"),
            };
            return Err(Reason::field("warmup", why));
        }
        let identity = Identity {
            base_digest: hex(base.digest),
            tokenizer_digest: hex(base.tokenizer.digest()),
            template_digest: hex(base.template.digest()),
            data_digest: digest(data),
            recipe: recipe.clone(),
        };
        Ok(Self {
            recipe,
            method,
            parent,
            train,
            held_out,
            identity,
            total_steps,
            warnings,
        })
    }

    /// Trainable and all parameters, as PEFT counts them.
    pub fn parameters(&self, learner: &dyn Learner) -> (u64, u64) {
        let trainable = self.method.count();
        (trainable, learner.parameters() + self.method.added())
    }
}

struct Rows {
    train: Vec<Example>,
    held_out: Vec<Example>,
    warnings: Vec<String>,
}

fn rows(renderer: &Renderer<'_>, recipe: &Recipe, data: Data<'_>) -> Result<Rows, Reason> {
    let (train, mut warnings) = read(renderer, data.training, "training_file")?;
    let Some(validation) = data.validation else {
        let (kept, held_out) = split(train.len(), recipe.eval_split, recipe.seed)?;
        let take = |rows: Vec<usize>| rows.into_iter().map(|row| train[row].clone()).collect();
        return Ok(Rows {
            train: take(kept),
            held_out: take(held_out),
            warnings,
        });
    };
    if recipe.eval_split > 0.0 {
        let why = "a validation file is given, so no rows are split off; leave one of the two out";
        return Err(Reason::field("eval_split", why));
    }
    let (held_out, more) = read(renderer, validation, "validation_file")?;
    warnings.extend(
        more.into_iter()
            .map(|why| format!("validation_file: {why}")),
    );
    Ok(Rows {
        train,
        held_out,
        warnings,
    })
}

/// The rows of a file, and what of them is not used.
fn read(
    renderer: &Renderer<'_>,
    bytes: &[u8],
    field: &'static str,
) -> Result<(Vec<Example>, Vec<String>), Reason> {
    let parsed = parse(bytes);
    let mut bad = parsed.bad;
    let (examples, remarks) = match renderer.examples(&parsed.rows) {
        Ok(rendered) => rendered,
        Err(more) => {
            bad.extend(more);
            Default::default()
        }
    };
    if !bad.is_empty() {
        bad.sort_by_key(|row| row.line);
        return Err(refusal(field, bad));
    }
    if examples.is_empty() {
        return Err(Reason::field(field, "has no rows"));
    }
    let mut warnings = parsed.unused.warnings();
    warnings.extend(remarks.warnings());
    Ok((examples, warnings))
}

/// Both files, each with its length, so that no byte can move from one to the other unseen.
fn digest(data: Data<'_>) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("adapterd training data 1");
    for part in [Some(data.training), data.validation].into_iter().flatten() {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_string()
}

fn hex(digest: [u8; 32]) -> String {
    blake3::Hash::from_bytes(digest).to_string()
}
