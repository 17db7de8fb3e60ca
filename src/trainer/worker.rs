//! The threads that train: each takes waiting jobs in their order and runs one to its end, an interruption or a fault.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::account::Learned;
use super::checkpoint::Checkpoints;
use super::create::data_folder;
use super::data::Examples;
use super::fault::{Fault, retry};
use super::follower::Follower;
use super::gate::decide;
use super::plan::Plan;
use super::publish::publish;
use super::run::{Ending, Memory, RunSpec, Watch, run};
use super::shared::Shared;
use super::summary::{summarize, withhold};
use crate::adapter::{Adapt, Unadapted, Uniform};
use crate::device::Budget;
use crate::domain::{JobEvent, JobId, JobStatus, Level, Reason};
use crate::kernels::pool::{self, Class};
use crate::store::{self, JobError, JobRow, NewEvent, Way};

/// Waiting is by notification; this only bounds the harm of one that got lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Starts so many threads. What they ask of storage runs on a runtime of their own, which nothing else that ends takes along.
pub fn start(shared: &Arc<Shared>, threads: usize) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("trainer-storage")
        .enable_all()
        .build()?;
    let runtime = Arc::new(runtime);
    shared.workers.send_replace(threads);
    for number in 1..=threads {
        let (shared, runtime) = (shared.clone(), runtime.clone());
        let thread = std::thread::Builder::new().name(format!("trainer-{number}"));
        thread.spawn(move || {
            Worker {
                shared: &shared,
                runtime: &runtime,
            }
            .work();
            drop(runtime);
            shared.workers.send_modify(|left| *left -= 1);
        })?;
    }
    Ok(())
}

/// A worker's state, and the runtime it waits for storage on.
#[derive(Clone, Copy)]
pub struct Worker<'a> {
    pub shared: &'a Shared,
    pub runtime: &'a Runtime,
}

impl Worker<'_> {
    fn work(&self) {
        let Shared { store, control, .. } = self.shared;
        let base = self.shared.base_digest();
        while !control.stopping() {
            let heard = control.news();
            match self.runtime.block_on(store.claim(&base)) {
                Ok(Some(job)) => self.attend(&job),
                Ok(None) => control.wait(heard, LOOK_AGAIN),
                Err(reason) => {
                    tracing::error!(%reason, "cannot look for waiting jobs");
                    control.wait(heard, LOOK_AGAIN);
                }
            }
        }
    }

    /// Has storage do something, trying again while it fails in a way that may pass.
    pub fn retry<T>(&self, mut work: impl AsyncFnMut() -> Result<T, Reason>) -> Result<T, Fault> {
        retry(&mut |pause| self.pause(pause), || {
            Ok(self.runtime.block_on(work())?)
        })
    }

    /// Waits; `false` once the process is to end.
    pub fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let control = &self.shared.control;
        while !control.stopping() {
            let heard = control.news();
            match until.checked_duration_since(Instant::now()) {
                // New jobs notify too.
                Some(left) if !left.is_zero() && !control.stopping() => control.wait(heard, left),
                _ => return true,
            }
        }
        false
    }

    /// Has storage record what must not get lost while the process lives; then the next start finds the job running and
    /// takes it up.
    fn record(&self, id: &JobId, mut work: impl AsyncFnMut() -> Result<Vec<JobEvent>, Reason>) {
        loop {
            match self.retry(&mut work) {
                Ok(events) => return self.shared.broadcast(events),
                Err(fault) => {
                    tracing::error!(job = %id, %fault, "the job's status cannot be recorded");
                    if !self.pause(LOOK_AGAIN) {
                        return;
                    }
                }
            }
        }
    }

    fn attend(&self, job: &JobRow) {
        let (id, control) = (&job.view.id, &self.shared.control);
        let interrupted = control.begin(id);
        // A cancel between the claim and the line above interrupted nothing; the status tells.
        let ended = match self.status(id) {
            Ok(JobStatus::Running) if !control.stopping() => {
                tracing::info!(job = %id, name = job.view.name, "training");
                catch_unwind(AssertUnwindSafe(|| self.train(job, &interrupted)))
                    .unwrap_or_else(|_| Err(Reason::Internal("the trainer panicked".into()).into()))
            }
            Ok(_) => Ok(()),
            Err(fault) => Err(fault),
        };
        control.end(id);
        self.shared.memory().remove(id);
        // Others may wait for the memory that it held.
        control.notify();
        match ended {
            Ok(()) => self.put_away(id),
            Err(fault) if control.stopping() && fault.may_pass() => {
                tracing::warn!(job = %id, %fault, "the job goes on from its newest checkpoint at the next start");
            }
            Err(fault) => self.fail(id, &fault),
        }
        control.unpause(id);
        self.shared.settled.send_replace(());
        self.tidy(id);
    }

    fn status(&self, id: &JobId) -> Result<JobStatus, Fault> {
        let job = self.retry(async || self.shared.store.job(id).await)?;
        Ok(job.view.status)
    }

    /// Runs the job and publishes its adapter; also returns where it was interrupted.
    fn train(&self, job: &JobRow, interrupted: &AtomicBool) -> Result<(), Fault> {
        let _counted = pool::TrainingJob::begin();
        let Shared { turns, base, .. } = self.shared;
        let mut follower = Follower::new(*self, &job.view.id, interrupted);
        let plan = pool::within(Class::Training(turns.clone()), || self.plan(job))?;
        let folder = self.shared.job_folder(&job.view.id);
        let scratch = folder.join("optimizer.state");
        let checkpoints = Checkpoints {
            folder: folder.join("checkpoints"),
            identity: plan.identity.clone(),
        };
        let parent = plan.parent.as_ref().map(|parent| Uniform {
            adapter: parent.adapter.clone(),
        });
        let reference: &dyn Adapt = match &parent {
            Some(parent) => parent,
            None => &Unadapted,
        };
        let Some(budget) = self.take_room(&job.view.id, &plan, &mut follower)? else {
            return Ok(());
        };
        let memory = Memory {
            budget,
            spec: base.model.spec(),
            learned: Learned::of(&*plan.method),
        };
        let spec = RunSpec {
            learner: &base.model,
            recipe: &plan.recipe,
            train: &plan.train,
            held_out: &plan.held_out,
            checkpoints: Some(&checkpoints),
            scratch: Some(&scratch),
            reference,
            fit: self.shared.fit(),
            memory: Some(&memory),
        };
        let (name, mut way) = (job.name()?, None);
        let ending = pool::within(Class::Training(turns.clone()), || {
            let ending = run(&spec, plan.method.start(&base.model)?, &mut follower)?;
            if let Ending::Finished(finished) = &ending {
                let go_on = || !interrupted.load(Ordering::Relaxed);
                // What was decided before a crash is not decided again.
                way = match &job.publishing {
                    Some(begun) => Some(begun.way.clone()),
                    None => {
                        let about = (&name, finished);
                        decide(self, &spec, &plan, about, &mut || go_on())?
                    }
                };
                let Some(way) = &way else {
                    return Ok(Ending::Interrupted);
                };
                let mut summary = summarize(base, &spec.fit, &plan, finished, &go_on);
                if let (Some(summary), Way::Withheld(why)) = (&mut summary, way) {
                    withhold(summary, why);
                }
                follower.summarized(summary)?;
            }
            Ok::<_, Fault>(ending)
        });
        // Events from before a fault belong to the record as much as those from before the end.
        follower.store()?;
        match ending? {
            Ending::Interrupted => Ok(()),
            Ending::Finished(finished) => match way {
                Some(way) => publish(self, job, &plan, (finished, way)),
                None => Ok(()),
            },
        }
    }

    /// What the job may take. Where others hold what it needs, this waits until it can run as it was asked for, beside them
    /// or once they are done; `None`: interrupted before that.
    fn take_room(
        &self,
        id: &JobId,
        plan: &Plan,
        follower: &mut Follower<'_>,
    ) -> Result<Option<Budget>, Fault> {
        let control = &self.shared.control;
        let rows = plan.train.lengths()?;
        let mut told = false;
        loop {
            let heard = control.news();
            if let Some(budget) = self.shared.begin(id, plan, &rows)? {
                return Ok(Some(budget));
            }
            if !std::mem::replace(&mut told, true) {
                let why = "waits for memory";
                follower.note(Level::Info, why.into())?;
            }
            if !follower.go_on() {
                return Ok(None);
            }
            control.wait(heard, LOOK_AGAIN);
        }
    }

    fn plan(&self, job: &JobRow) -> Result<Plan, Fault> {
        let view = &job.view;
        let uploads = &self.shared.uploads;
        let stored = |id| self.retry(async || uploads.stored(id).await);
        let training = stored(&view.training_file)?;
        let validation = view.validation_file.as_ref().map(stored).transpose()?;
        let files = (&training, validation.as_ref());
        let parent = self.shared.parent(job)?;
        let folder = data_folder(&self.shared.job_folder(&view.id));
        let plan = retry(&mut |pause| self.pause(pause), || {
            let (recipe, parent) = (view.recipe.clone(), parent.clone());
            let plan = self
                .shared
                .plan(&folder, recipe, parent, files, view.created_at);
            Ok(plan?)
        })?;
        if plan.identity.data_digest != job.data_digest {
            return Err(Fault::Foreign {
                step: view.step,
                why: "the training data has changed".into(),
            });
        }
        Ok(plan)
    }

    /// A job that was interrupted waits: to be resumed where a pause was asked for, else for its next turn.
    fn put_away(&self, id: &JobId) {
        let Shared { store, control, .. } = self.shared;
        self.record(id, async || {
            if control.is_pausing(id) {
                let paused = NewEvent::message(Level::Info, "paused");
                if let Some(events) = store.pause(id, JobStatus::Running, &paused, None).await? {
                    return Ok(events);
                }
            }
            store.release(id).await?;
            Ok(Vec::new())
        });
    }

    fn fail(&self, id: &JobId, fault: &Fault) {
        tracing::error!(job = %id, %fault, "the job failed");
        let (message, param) = (fault.to_string(), fault.param());
        let event = NewEvent::message(Level::Error, message.as_str());
        let error = JobError {
            code: fault.code(),
            message: &message,
            param: param.as_deref(),
        };
        self.record(id, async || {
            // A job that was cancelled meanwhile stays so.
            let events = self.shared.store.fail(id, error, &event).await?;
            Ok(events.unwrap_or_default())
        });
    }

    /// A job that cannot go on needs nothing on disk; another keeps its newest checkpoints.
    fn tidy(&self, id: &JobId) {
        let over = self
            .runtime
            .block_on(self.shared.store.job(id))
            .is_ok_and(|job| store::is_over(&job.view));
        if over && let Err(fault) = store::remove(&self.shared.job_folder(id)) {
            tracing::warn!(job = %id, %fault, "cannot remove the job's folder; the next start tries again");
        }
    }
}

#[cfg(test)]
mod tests;
