//! Checkpoints that answer requests: `name@step-N` is what the newest job for that name that keeps such a checkpoint had
//! learned after so many steps. Jobs that do not exist for the asker are passed over, as if there were none.
//!
//! A checkpoint holds what training needs. What serving needs is made of it when it is asked for, the folder that would be
//! published there, and lent through the registry, in whose memory it is one adapter among others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::checkpoint::{Checkpoints, Identity, Shapes};
use super::fault::Fault;
use super::methods::{self, Fitting};
use super::run::shapes;
use super::service::Trainer;
use super::shared::Shared;
use crate::adapter::peft::Files;
use crate::domain::{
    AdapterChoice, AdapterName, Asker, Generation, JobStatus, Reason, checkpoint_name,
};
use crate::kernels::pool::{self, Class};
use crate::registry::Lease;
use crate::store::{JobRow, blocking, is_over};

/// Generations of checkpoints that have been served.
const KNOWN: usize = 256;

#[derive(Default)]
pub struct Served {
    /// By the number of the checkpoint's row: a step that is done again has another.
    generations: Mutex<HashMap<i64, Generation>>,
    /// Held while one is made: it takes as much memory as a job that starts.
    making: tokio::sync::Mutex<()>,
}

impl Served {
    fn generations(&self) -> MutexGuard<'_, HashMap<i64, Generation>> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, number: i64, generation: Generation) {
        let mut known = self.generations();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(number, generation);
    }
}

impl Trainer {
    /// What answers for `name@step-N`, in memory.
    pub async fn lease_checkpoint(
        &self,
        asker: &Asker,
        name: &AdapterName,
        step: u64,
    ) -> Result<Lease, Reason> {
        let Shared {
            registry, served, ..
        } = &*self.shared;
        let (number, job) = self.kept(asker, name, step).await?;
        if let Some(generation) = job.view.generation {
            // The checkpoint that was published.
            let choice = AdapterChoice::Named {
                name: name.clone(),
                pin: Some(generation.into()),
            };
            let leased = registry.lease(&choice).await?;
            return leased.ok_or_else(|| Reason::NoSuchAdapter(name.to_string()));
        }
        let resident = || {
            let generation = served.generations().get(&number).copied()?;
            registry.lease_resident(name, generation)
        };
        if let Some(lease) = resident() {
            return Ok(lease);
        }
        let _making = served.making.lock().await;
        if let Some(lease) = resident() {
            return Ok(lease);
        }
        let shared = self.shared.clone();
        let beside = Class::Beside(shared.turns.clone());
        let made = blocking(move || {
            pool::within(beside, || files(&shared, &job, step)).map_err(|fault| {
                let id = &job.view.id;
                Reason::Internal(format!("the checkpoint of step {step} of {id}: {fault}"))
            })
        });
        let files = match made.await {
            Ok(files) => files,
            // The job has gone on meanwhile, and this one has made room.
            Err(reason) => return Err(self.kept(asker, name, step).await.err().unwrap_or(reason)),
        };
        let lease = registry.lease_files(name, files).await?;
        served.know(number, lease.generation());
        Ok(lease)
    }

    /// Whether there is what answers for `name@step-N`. Loads nothing.
    pub async fn find_checkpoint(
        &self,
        asker: &Asker,
        name: &AdapterName,
        step: u64,
    ) -> Result<(), Reason> {
        self.kept(asker, name, step).await.map(drop)
    }

    /// The asker's newest job for `name` that keeps a checkpoint of `step`, and the number of its row.
    async fn kept(
        &self,
        asker: &Asker,
        name: &AdapterName,
        step: u64,
    ) -> Result<(i64, JobRow), Reason> {
        let Shared {
            store, registry, ..
        } = &*self.shared;
        let base = self.shared.base_digest();
        let found = store.checkpoints_for(asker, name, &base).await?;
        for kept in found.iter().filter(|kept| kept.step == step) {
            let job = store.job(&kept.job).await?;
            if answers(&job) {
                return Ok((kept.number, job));
            }
        }
        if found.is_empty() && !registry.knows(name) {
            return Err(Reason::NoSuchAdapter(checkpoint_name(name, step)));
        }
        let mut kept = Vec::new();
        for other in &found {
            if answers(&store.job(&other.job).await?) && !kept.contains(&other.step) {
                kept.push(other.step);
            }
        }
        Err(Reason::NoSuchStep {
            name: name.to_string(),
            step,
            kept,
        })
    }
}

/// Whether a job's checkpoints are on disk, or what was published of them is.
fn answers(job: &JobRow) -> bool {
    job.view.status == JobStatus::Succeeded || !is_over(&job.view)
}

/// The folder that the job would publish, had it ended with this step.
fn files(shared: &Shared, job: &JobRow, step: u64) -> Result<Files, Fault> {
    let base = &shared.base;
    let parent = shared.parent(job)?;
    let recipe = &job.view.recipe;
    let kind = methods::kind(recipe.method)?;
    let parent = parent.map(|parent| parent.adapter);
    let method = kind.settle(recipe, parent, Fitting::of(base))?;
    let trainable = method.start(&base.model)?;
    let names = { trainable.parameters().into_iter() }.map(|(name, _)| name);
    let (names, of) = (names.collect::<Vec<_>>(), shapes(recipe, &*trainable));
    let checkpoints = Checkpoints {
        folder: shared.job_folder(&job.view.id).join("checkpoints"),
        identity: Identity::of(base, recipe, job.data_digest.clone()),
    };
    let shapes = Shapes {
        names: &names,
        of: &of,
    };
    let mut stored = checkpoints
        .tensors_of(step, shapes)
        .map_err(Reason::Storage)?;
    stored.set(&*trainable)?;
    Ok(trainable.files(&base.name)?)
}
