//! The trainer's handle: files and jobs as callers see them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::served::Served;
use super::shared::{Control, Shared};
use super::worker;
use crate::device::{Part, Turns};
use crate::domain::{
    Actor, Asker, CheckpointView, FileId, FileView, JobEvent, JobId, JobStatus, JobView, Level,
    Reason,
};
use crate::model::Base;
use crate::registry::Registry;
use crate::store::{
    self, Database, Incoming, JobRow, Jobs, NewEvent, Page, Stored, Uploads, blocking, disk_fault,
};

/// Events a live follower may be behind before it has to read them from the store.
const BACKLOG: usize = 4096;
/// Longest wait for the workers to put their jobs away.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(60);
/// Longest wait of a pause for the job's progress to be saved.
const PAUSE: Duration = Duration::from_secs(30);
/// Jobs whose data is read and checked at the same time: each takes a block of rows and the time of a thread or more.
const CHECKS: usize = 2;

pub struct Config {
    /// `files/` and `jobs/<id>/` live here.
    pub dir: PathBuf,
    pub max_file_bytes: u64,
    /// Jobs that may wait.
    pub max_queued: usize,
    /// Jobs that run at the same time, at least one.
    pub parallel_jobs: usize,
    /// Adapters above this rank could be trained but not served.
    pub max_rank: usize,
}

/// Cheap to clone. So many jobs run at a time, each on a thread of its own; the rest wait in the order of their creation.
#[derive(Clone)]
pub struct Trainer {
    pub(super) shared: Arc<Shared>,
    pub(super) max_queued: usize,
    pub(super) max_rank: usize,
    /// Who changes what is changed through this handle.
    pub(super) actor: Actor,
    /// Ends the workers when the last handle goes.
    _shutdown: Arc<ShutdownGuard>,
}

struct ShutdownGuard(Arc<Shared>);

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        self.0.control.stop();
    }
}

impl Trainer {
    /// Takes up the jobs that ran when the process last ended and starts the workers.
    pub async fn open(
        database: Database,
        base: Arc<Base>,
        registry: Registry,
        turns: Turns,
        config: Config,
    ) -> Result<Self, Reason> {
        let files = config.dir.join("files");
        let uploads = Uploads::open(database.clone(), files, config.max_file_bytes).await?;
        let shared = Arc::new(Shared {
            store: Jobs::new(database),
            base,
            registry,
            turns,
            uploads,
            jobs: config.dir.join("jobs"),
            live: broadcast::channel(BACKLOG).0,
            checks: Arc::new(Semaphore::new(CHECKS)),
            control: Control::default(),
            served: Served::default(),
            settled: watch::channel(()).0,
            memory: Default::default(),
            workers: watch::channel(0).0,
        });
        let trainer = Self {
            max_queued: config.max_queued,
            max_rank: config.max_rank,
            actor: Actor::system(),
            _shutdown: Arc::new(ShutdownGuard(shared.clone())),
            shared,
        };
        let Shared { store, base, .. } = &*trainer.shared;
        store
            .adopt(&base.name, &trainer.shared.base_digest())
            .await?;
        store.recover().await?;
        trainer.sweep().await?;
        trainer.warn_of_other_bases().await?;
        worker::start(&trainer.shared, config.parallel_jobs.max(1)).map_err(|fault| {
            Reason::Internal(format!("a training thread does not start: {fault}"))
        })?;
        Ok(trainer)
    }

    /// A handle by which somebody changes things.
    pub fn by(&self, actor: Actor) -> Self {
        Self {
            actor,
            ..self.clone()
        }
    }

    /// Removes folders of jobs that are over, or that were never recorded.
    async fn sweep(&self) -> Result<(), Reason> {
        let folder = self.shared.jobs.clone();
        let unfinished = self.shared.store.unfinished().await?;
        blocking(move || {
            store::create_folder(&folder)
                .and_then(|()| store::sweep(&folder, |id| unfinished.contains(id)))
                .map(drop)
                .map_err(|error| disk_fault("cleaning the folder of jobs", &error))
        })
        .await
    }

    /// Tells jobs that wait for another base what they wait for.
    async fn warn_of_other_bases(&self) -> Result<(), Reason> {
        let Shared { store, base, .. } = &*self.shared;
        let digest = self.shared.base_digest();
        for (id, other) in store.queued_for_other_bases(&digest).await? {
            tracing::warn!(job = %id, base = other, "the job waits until its base is served");
            let message = format!(
                "created for the base `{other}`: waits until it is served again; `{}` is served now",
                base.name
            );
            let event = NewEvent::message(Level::Warn, message);
            store.record(&id, &[event], None).await?;
        }
        Ok(())
    }

    /// Writes an upload to disk, then records it; both are durable when this returns.
    pub async fn put_file(
        &self,
        filename: &str,
        purpose: &str,
        bytes: Bytes,
    ) -> Result<FileView, Reason> {
        self.shared.uploads.put(filename, purpose, bytes).await
    }

    /// A file that is about to come.
    pub async fn receive_file(&self, filename: &str, asker: &Asker) -> Result<Incoming, Reason> {
        self.shared.uploads.receive(filename, asker).await
    }

    pub async fn list_files(
        &self,
        asker: &Asker,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Page<FileView>, Reason> {
        self.shared.uploads.list(asker, after, limit).await
    }

    pub async fn file(&self, id: &FileId) -> Result<FileView, Reason> {
        self.shared.uploads.view(id).await
    }

    /// A file whose content is what was uploaded.
    pub async fn stored_file(&self, id: &FileId) -> Result<Stored, Reason> {
        self.shared.uploads.verified(id).await
    }

    pub async fn delete_file(&self, id: &FileId) -> Result<(), Reason> {
        self.shared.uploads.delete(id, &self.actor).await
    }

    pub async fn list(
        &self,
        asker: &Asker,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Page<JobView>, Reason> {
        self.shared.store.list(asker, after, limit).await
    }

    pub async fn job(&self, id: &JobId) -> Result<JobView, Reason> {
        Ok(self.shared.store.job(id).await?.view)
    }

    /// Cancelling what is cancelled changes nothing.
    pub async fn cancel(&self, id: &JobId) -> Result<JobView, Reason> {
        let done = self.change(id, JobStatus::Cancelled).await?;
        let row = self.shared.store.job(id).await?;
        match row.view.status {
            JobStatus::Cancelled => {
                self.shared.control.interrupt(id);
                Ok(row.view)
            }
            _ if done => Ok(row.view),
            _ => Err(refused(&row, "cancelled")),
        }
    }

    /// A job is paused once its progress is saved, so nothing of a paused job is ever done again. This waits for that for
    /// a while; a job that is still running then is paused as soon as it is saved. Pausing what is paused changes nothing.
    pub async fn pause(&self, id: &JobId) -> Result<JobView, Reason> {
        let deadline = Instant::now() + PAUSE;
        let mut settled = self.shared.settled.subscribe();
        let mut told = false;
        loop {
            settled.borrow_and_update();
            self.change(id, JobStatus::Paused).await?;
            let row = self.shared.store.job(id).await?;
            match row.view.status {
                JobStatus::Paused => return Ok(row.view),
                // A worker took it up or let go of it just now.
                JobStatus::Queued if row.publishing.is_none() => {}
                JobStatus::Running if row.publishing.is_none() => {
                    // It is its worker that pauses it, when it can.
                    if !std::mem::replace(&mut told, true) {
                        self.shared.store.ask_pause(id, &self.actor).await?;
                    }
                    self.shared.control.pause(id);
                }
                _ => {
                    self.shared.control.unpause(id);
                    return Err(refused(&row, "paused"));
                }
            }
            if row.view.status == JobStatus::Running
                && timeout_at(deadline, settled.changed()).await.is_err()
            {
                return Ok(row.view);
            }
        }
    }

    /// Queues a paused job again, or one that failed: it goes on from its newest checkpoint. One that diverged would only
    /// diverge again. Resuming what waits or runs changes nothing.
    pub async fn resume(&self, id: &JobId) -> Result<JobView, Reason> {
        let row = self.shared.store.job(id).await?;
        if row.base_digest != self.shared.base_digest() {
            return Err(Reason::WrongState(format!(
                "job {id} trains another base, `{}`; serve that one to go on with it",
                row.view.model
            )));
        }
        self.shared.control.unpause(id);
        let done = self.change(id, JobStatus::Queued).await?;
        let row = self.shared.store.job(id).await?;
        match row.view.status {
            JobStatus::Queued | JobStatus::Running => Ok(row.view),
            _ if done => Ok(row.view),
            _ => Err(refused(&row, "resumed")),
        }
    }

    /// Whether the status changed.
    async fn change(&self, id: &JobId, wanted: JobStatus) -> Result<bool, Reason> {
        let (shared, actor) = (&self.shared, &self.actor);
        let event = |word| NewEvent::message(Level::Info, word);
        let changed = match wanted {
            JobStatus::Cancelled => {
                let cancelled = event("cancelled");
                shared.store.cancel(id, &cancelled, actor).await?
            }
            JobStatus::Paused => {
                let (queued, paused) = (JobStatus::Queued, event("paused"));
                shared.store.pause(id, queued, &paused, Some(actor)).await?
            }
            _ => shared.store.resume(id, &event("resumed"), actor).await?,
        };
        let Some(events) = changed else {
            return Ok(false);
        };
        shared.control.notify();
        shared.broadcast(events);
        Ok(true)
    }

    /// Events numbered below `after`, newest first.
    pub async fn events(
        &self,
        id: &JobId,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page<JobEvent>, Reason> {
        self.job(id).await?;
        self.shared.store.events(id, after, limit).await
    }

    pub async fn checkpoints(
        &self,
        id: &JobId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CheckpointView>, Reason> {
        self.job(id).await?;
        self.shared.store.checkpoints(id, after, limit).await
    }

    /// Live events of all jobs; a follower that falls behind loses the oldest and reads them from the store.
    pub fn watch(&self) -> broadcast::Receiver<JobEvent> {
        self.shared.live.subscribe()
    }

    /// Bytes that running jobs hold, by part.
    pub fn memory(&self) -> Vec<(Part, u64)> {
        self.shared.held()
    }

    pub async fn counts(&self) -> Vec<(JobStatus, u64)> {
        self.shared.store.counts().await.unwrap_or_default()
    }

    /// Checkpoints the jobs that run and ends the workers; the jobs go on at the next start.
    pub async fn shutdown(&self) {
        self.shared.control.stop();
        let mut workers = self.shared.workers.subscribe();
        if timeout(SHUTDOWN_WAIT, workers.wait_for(|left| *left == 0))
            .await
            .is_err()
        {
            tracing::warn!(
                "a training thread does not end; its job goes on from its last checkpoint"
            );
        }
    }
}

fn refused(row: &JobRow, word: &str) -> Reason {
    let (id, status) = (&row.view.id, row.view.status);
    let why = match row.publishing {
        Some(_) if !status.is_final() => "is being published".to_owned(),
        _ => format!("is {}", status.as_str()),
    };
    Reason::WrongState(format!("job {id} {why} and cannot be {word}"))
}
