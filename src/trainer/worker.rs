//! The one thread that trains: takes waiting jobs in their order and runs each to its end, an interruption or a fault.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};

use super::checkpoint::Checkpoints;
use super::disk;
use super::fault::Fault;
use super::files::Uploads;
use super::follower::{Follower, Outside};
use super::plan::{Data, Parent, Plan};
use super::publish;
use super::run::{Course, Ending, Finished, run};
use super::store::{self, JobRow, NewEvent, Publishing};
use crate::adapter::Fit;
use crate::adapter::peft;
use crate::device::Turns;
use crate::domain::{AdapterName, JobEvent, JobId, JobStatus, Level, Reason};
use crate::kernels::pool::{self, Class};
use crate::model::Base;
use crate::registry::{Registry, begin};

/// The graph of a deep model is walked by recursion.
pub const STACK: usize = 64 << 20;
/// Waiting is by notification; this only bounds the harm of one that got lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Attempts to record the end of a job where storage fails.
const ATTEMPTS: u32 = 5;

/// What the worker shares with the handle.
pub struct Shared {
    pub pool: SqlitePool,
    pub base: Arc<Base>,
    pub registry: Registry,
    pub turns: Turns,
    pub uploads: Uploads,
    /// A folder for each job.
    pub jobs: PathBuf,
    pub live: broadcast::Sender<JobEvent>,
    /// There may be a job to take.
    pub news: Notify,
    pub stop: AtomicBool,
    pub current: Mutex<Option<(JobId, Arc<AtomicBool>)>>,
    /// `true` once the thread has ended.
    pub ended: watch::Sender<bool>,
}

impl Shared {
    /// Interrupts the job if it is the one that runs.
    pub fn interrupt(&self, id: &JobId) {
        if let Some((current, interrupted)) =
            &*self.current.lock().unwrap_or_else(PoisonError::into_inner)
            && current == id
        {
            interrupted.store(true, Ordering::Relaxed);
        }
    }

    /// Interrupts whatever runs and takes no further job.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some((_, interrupted)) =
            &*self.current.lock().unwrap_or_else(PoisonError::into_inner)
        {
            interrupted.store(true, Ordering::Relaxed);
        }
        self.news.notify_one();
    }

    fn set_current(&self, current: Option<(JobId, Arc<AtomicBool>)>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    pub fn job_folder(&self, id: &JobId) -> PathBuf {
        self.jobs.join(id.as_str())
    }
}

/// Starts the thread.
pub fn start(shared: Arc<Shared>, runtime: Handle) -> std::io::Result<()> {
    let thread = std::thread::Builder::new()
        .name("trainer".into())
        .stack_size(STACK);
    thread.spawn(move || {
        Worker {
            shared: &shared,
            runtime: &runtime,
        }
        .work();
        shared.ended.send_replace(true);
    })?;
    Ok(())
}

struct Worker<'a> {
    shared: &'a Shared,
    runtime: &'a Handle,
}

impl Worker<'_> {
    fn work(&self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            match self
                .runtime
                .block_on(store::claim(&self.shared.pool, &self.shared.base.name))
            {
                Ok(Some(job)) => self.attend(&job),
                Ok(None) => self.wait(LOOK_AGAIN),
                Err(reason) => {
                    tracing::error!(%reason, "cannot look for waiting jobs");
                    self.wait(LOOK_AGAIN);
                }
            }
        }
    }

    fn wait(&self, longest: Duration) {
        // Either way the loop looks again.
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(longest, self.shared.news.notified()).await });
    }

    fn attend(&self, job: &JobRow) {
        let id = &job.view.id;
        let interrupted = Arc::new(AtomicBool::new(false));
        self.shared
            .set_current(Some((id.clone(), interrupted.clone())));
        // A cancel between the claim and the line above found nobody to interrupt; the status tells.
        let ended = match self.status(id) {
            Ok(JobStatus::Running) if !self.shared.stop.load(Ordering::Relaxed) => {
                tracing::info!(job = %id, name = job.view.name, "training");
                catch_unwind(AssertUnwindSafe(|| self.train(job, &interrupted)))
                    .unwrap_or_else(|_| Err(Reason::Internal("the trainer panicked".into()).into()))
            }
            Ok(_) => Ok(()),
            Err(reason) => Err(reason.into()),
        };
        self.shared.set_current(None);
        if let Err(fault) = ended {
            self.fail(job, &fault);
        } else if self.shared.stop.load(Ordering::Relaxed)
            && let Err(reason) = self.runtime.block_on(store::release(&self.shared.pool, id))
        {
            tracing::warn!(job = %id, %reason, "the job stays marked as running; the next start takes it up");
        }
        self.tidy(id);
    }

    fn status(&self, id: &JobId) -> Result<JobStatus, Reason> {
        let job = store::job(&self.shared.pool, &self.shared.base.name, id);
        Ok(self.runtime.block_on(job)?.view.status)
    }

    /// Runs the job and publishes its adapter; also returns where it was interrupted.
    fn train(&self, job: &JobRow, interrupted: &AtomicBool) -> Result<(), Fault> {
        let Shared {
            pool,
            live,
            turns,
            base,
            ..
        } = self.shared;
        let outside = Outside {
            runtime: self.runtime,
            pool,
            live,
            turns,
            interrupted,
        };
        let mut follower = Follower::new(outside, &job.view.id);
        let plan = self.plan(job)?;
        let folder = self.shared.job_folder(&job.view.id).join("checkpoints");
        let checkpoints = Checkpoints {
            folder,
            identity: plan.identity.clone(),
        };
        let course = Course {
            learner: &base.model,
            recipe: &plan.recipe,
            train: &plan.train,
            held_out: &plan.held_out,
            checkpoints: Some(&checkpoints),
        };
        let ending = pool::within(Class::Training(turns.clone()), || {
            run(&course, plan.trainable()?, &mut follower)
        });
        // What was told before a fault belongs to the record as much as what was told before the end.
        follower.store()?;
        match ending? {
            Ending::Interrupted => Ok(()),
            Ending::Finished(finished) => self.publish(job, &plan, &finished),
        }
    }

    fn plan(&self, job: &JobRow) -> Result<Plan, Fault> {
        let view = &job.view;
        let uploads = &self.shared.uploads;
        let content = |id| self.runtime.block_on(uploads.content(id));
        let training = content(&view.training_file)?;
        let validation = view.validation_file.as_ref().map(content).transpose()?;
        let data = Data {
            training: &training,
            validation: validation.as_deref(),
        };
        let plan = Plan::new(
            &self.shared.base,
            view.recipe.clone(),
            self.parent(job)?,
            data,
        )?;
        if plan.identity.data_digest != job.data_digest {
            return Err(Fault::Foreign {
                step: view.step,
                why: "the training data has changed".into(),
            });
        }
        Ok(plan)
    }

    fn parent(&self, job: &JobRow) -> Result<Option<Parent>, Fault> {
        if job.view.recipe.from.is_none() {
            return Ok(None);
        }
        let folder = self.shared.job_folder(&job.view.id).join("parent");
        let mut files = peft::Files::new();
        for name in [peft::CONFIG_FILE, peft::WEIGHTS_FILE] {
            files.insert(name.to_owned(), std::fs::read(folder.join(name))?);
        }
        let base = &self.shared.base;
        let fit = Fit {
            sites: base.model.sites(),
            base_digest: base.digest,
            max_rank: usize::MAX,
        };
        let adapter = peft::read(&files, &fit)
            .map_err(|fault| Reason::adapter(format!("from.{}", fault.field), fault.why))?;
        Ok(Some(Parent {
            adapter: Arc::new(adapter),
            generation: job.parent,
        }))
    }

    /// Publishes once, however often it is begun: what the name pointed to before, and what it is to point to, are
    /// recorded first.
    fn publish(&self, job: &JobRow, plan: &Plan, finished: &Finished) -> Result<(), Fault> {
        let Shared {
            pool,
            registry,
            base,
            ..
        } = self.shared;
        let (id, name) = (&job.view.id, job.name()?);
        let (files, evaluation) = publish::files(plan, &base.name, finished)?;
        self.runtime.block_on(async {
            let publishing = match job.publishing {
                Some(begun) => begun,
                None => {
                    let before = registry.show(&name).await.ok().map(|view| view.generation);
                    let publishing = Publishing {
                        before,
                        after: peft::generation(&files),
                    };
                    if !store::begin_publishing(pool, id, &publishing).await? {
                        return Ok(());
                    }
                    publishing
                }
            };
            if !is_published(registry, &name, &publishing).await? {
                registry
                    .publish(&name, files, None, &format!("job:{id}"), evaluation)
                    .await?;
            }
            let message = format!(
                "the adapter is served as `{name}`, generation {}",
                publishing.after
            );
            let done = NewEvent::message(Level::Info, message);
            let mut end = begin(pool).await?;
            let told = store::append(&mut end, id, &[done]).await?;
            store::succeed(&mut *end, id, publishing.after).await?;
            end.commit().await.map_err(store::failed)?;
            self.tell(told);
            tracing::info!(job = %id, %name, generation = %publishing.after, "published");
            Ok(())
        })
    }

    fn fail(&self, job: &JobRow, fault: &Fault) {
        let id = &job.view.id;
        tracing::error!(job = %id, %fault, "the job failed");
        let message = fault.to_string();
        for attempt in 1..=ATTEMPTS {
            let recorded = self.runtime.block_on(async {
                let event = NewEvent::message(Level::Error, message.as_str());
                let mut end = begin(&self.shared.pool).await?;
                let told = store::append(&mut end, id, &[event]).await?;
                store::fail(
                    &mut *end,
                    id,
                    (fault.code(), &message, fault.param().as_deref()),
                )
                .await?;
                end.commit().await.map_err(store::failed)?;
                Ok::<_, Reason>(told)
            });
            match recorded {
                Ok(told) => return self.tell(told),
                Err(reason) => {
                    tracing::error!(job = %id, %reason, attempt, "cannot record that the job failed");
                    self.wait(Duration::from_secs(1));
                }
            }
        }
    }

    fn tell(&self, events: Vec<JobEvent>) {
        // Nobody listening is no fault.
        events
            .into_iter()
            .for_each(|event| drop(self.shared.live.send(event)));
    }

    /// A job that has succeeded or was cancelled needs nothing on disk; a failed one keeps its last good checkpoint.
    fn tidy(&self, id: &JobId) {
        if matches!(
            self.status(id),
            Ok(JobStatus::Succeeded | JobStatus::Cancelled)
        ) && let Err(fault) = disk::remove_folder(&self.shared.job_folder(id))
        {
            tracing::warn!(job = %id, %fault, "cannot remove the job's folder; the next start tries again");
        }
    }
}

/// Whether publishing had been done before a crash: the name is there, or has been there and was moved on since.
async fn is_published(
    registry: &Registry,
    name: &AdapterName,
    publishing: &Publishing,
) -> Result<bool, Reason> {
    let now = match registry.show(name).await {
        Ok(view) => Some(view.generation),
        Err(Reason::NoSuchAdapter(_)) => None,
        Err(reason) => return Err(reason),
    };
    if now == Some(publishing.after) {
        return Ok(true);
    }
    if now == publishing.before || now.is_none() {
        return Ok(false);
    }
    Ok(registry.history(name).await?.contains(&publishing.after))
}

#[cfg(test)]
mod tests;
