//! Everything decided before a job runs: which layers, from where, on which rows.

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::Identity;
use super::course::Course;
use super::data::{Chosen, Examples, Order, Scan, Scanned, Selection, Voice, held_out, select};
use super::gate;
use super::learner::Learner;
use super::methods::{self, Method};
use super::recipe::{Wishes, resolve};
use crate::adapter::Adapter;
use crate::domain::{Generation, Reason, Recipe};
use crate::model::Base;
use crate::store::Stored;

/// The files a job learns from and is measured on.
#[derive(Clone)]
pub struct Data<'a> {
    pub training: &'a Path,
    /// Held-out rows of their own; without, `eval_split` takes some of the training rows.
    pub validation: Option<&'a Path>,
    /// Of both, as [`digest`] gives it.
    pub digest: String,
    /// Where the job keeps what was found out about its rows; `None`: in temporary files.
    pub folder: Option<&'a Path>,
    /// Bytes that a file may unpack to.
    pub unpacked: u64,
    /// Asked now and then while rows are checked; `false` ends it.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
}

#[cfg(test)]
impl<'a> Data<'a> {
    /// One file, nothing of which is kept.
    pub fn of(training: &'a Path) -> Self {
        Self {
            training,
            validation: None,
            digest: String::new(),
            folder: None,
            unpacked: u64::MAX,
            go_on: &|| true,
        }
    }
}

/// Reads stored files through, each of which must be what was uploaded. Of both, each with its length, so that no byte can
/// move from one to the other unseen.
pub fn digest(files: &[&Stored]) -> Result<String, Reason> {
    let mut hasher = blake3::Hasher::new_derive_key("adapterd training data 1");
    for file in files {
        hasher.update(&file.bytes.to_le_bytes());
        file.read(|piece| {
            hasher.update(piece);
        })?;
    }
    Ok(hasher.finalize().to_string())
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
    pub train: Chosen,
    pub held_out: Chosen,
    pub identity: Identity,
    pub total_steps: u64,
    /// What of the data is not used, or not as its author may expect. Nothing where the rows were checked before.
    pub warnings: Vec<String>,
    /// Which rows were left out or repeated, as the settings want it.
    pub told: Vec<String>,
    /// Bytes of rows on disk beside the uploaded files.
    pub spooled: u64,
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
    /// Reads and renders all rows, unless that was done before for this job. Costs time in proportion to the data and no
    /// memory; not for an async thread.
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
        let voice = Voice {
            tokenizer: base.tokenizer.clone(),
            template: base.template.at(time),
            max_seq: recipe.max_seq,
            objective: recipe.objective,
            label: recipe.balance.clone(),
        };
        let Rows {
            train,
            held_out,
            warnings,
            told,
            spooled,
        } = rows(&voice, &recipe, &data)?;
        if held_out.is_empty()
            && let Some(field) = gate::compares_held_out(&recipe)?
        {
            let why = "compares held-out rows, and there are none: give a validation file or `eval_split`";
            return Err(Reason::field(field, why));
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
        let identity = Identity::of(base, &recipe, data.digest);
        Ok(Self {
            recipe,
            method,
            parent,
            train,
            held_out,
            identity,
            total_steps,
            warnings,
            told,
            spooled,
        })
    }

    /// Trainable and all parameters, as PEFT counts them.
    pub fn parameters(&self, learner: &dyn Learner) -> (u64, u64) {
        let trainable = self.method.count();
        (trainable, learner.parameters() + self.method.added())
    }
}

struct Rows {
    train: Chosen,
    held_out: Chosen,
    warnings: Vec<String>,
    told: Vec<String>,
    spooled: u64,
}

fn rows(voice: &Voice, recipe: &Recipe, data: &Data<'_>) -> Result<Rows, Reason> {
    let scan = |path, field| {
        let scan = Scan {
            path,
            field,
            voice,
            digest: &data.digest,
            folder: data.folder,
            unpacked: data.unpacked,
            go_on: data.go_on,
        };
        scan.run()
    };
    if data.validation.is_some() && recipe.eval_split > 0.0 {
        let why = "a validation file is given, so no rows are split off; leave one of the two out";
        return Err(Reason::field("eval_split", why));
    }
    let Scanned {
        stock,
        mut warnings,
        mut spooled,
    } = scan(data.training, "training_file")?;
    let chosen = match recipe.dedup || recipe.balance.is_some() {
        false => None,
        true => Some(select(data.training, data.unpacked, recipe, data.go_on)?),
    };
    let ([train, split], told) = match chosen {
        None => {
            let held_out = held_out(stock.rows(), recipe.eval_split, recipe.seed)?;
            (Chosen::split(stock, held_out), Vec::new())
        }
        Some(Selection {
            train,
            held_out,
            told,
        }) => {
            let train = Chosen::only(stock.clone(), train);
            ([train, Chosen::only(stock, held_out)], told)
        }
    };
    let held_out = match data.validation {
        None => split,
        Some(validation) => {
            let held_out = scan(validation, "validation_file")?;
            let more = held_out.warnings.iter();
            warnings.extend(more.map(|why| format!("validation_file: {why}")));
            spooled += held_out.spooled;
            Chosen::all(held_out.stock)
        }
    };
    Ok(Rows {
        train,
        held_out,
        warnings,
        told,
        spooled,
    })
}

impl Identity {
    pub fn of(base: &Base, recipe: &Recipe, data_digest: String) -> Self {
        Self {
            base_digest: hex(base.digest),
            tokenizer_digest: hex(base.tokenizer.digest()),
            template_digest: hex(base.template.digest()),
            data_digest,
            recipe: recipe.clone(),
        }
    }
}

fn hex(digest: [u8; 32]) -> String {
    blake3::Hash::from_bytes(digest).to_string()
}
