//! The trainer's handle: files and jobs as callers see them.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};

use super::disk;
use super::files::{Uploads, blocking};
use super::store::{self, NewEvent, Page};
use super::worker::{self, Shared};
use crate::device::Turns;
use crate::domain::{
    CheckpointView, FileId, FileView, JobEvent, JobId, JobStatus, JobView, Level, Reason,
};
use crate::model::Base;
use crate::registry::{Registry, begin};

/// Events a live follower may be behind before it has to read them from the store.
const BACKLOG: usize = 4096;
/// Longest wait for the worker to put its job away.
const FAREWELL: Duration = Duration::from_secs(60);

pub struct Config {
    /// `files/` and `jobs/<id>/` live here.
    pub dir: PathBuf,
    pub max_file_bytes: u64,
    /// Jobs that may wait.
    pub max_queued: usize,
    /// Adapters above this rank could be trained but not served.
    pub max_rank: usize,
}

/// Cheap to clone. One job runs at a time on a thread of its own; the rest wait in the order of their creation.
#[derive(Clone)]
pub struct Trainer {
    pub(super) shared: Arc<Shared>,
    pub(super) max_queued: usize,
    pub(super) max_rank: usize,
}

impl Trainer {
    /// Takes up the jobs that ran when the process last ended and starts the worker.
    pub async fn open(
        pool: SqlitePool,
        base: Arc<Base>,
        registry: Registry,
        turns: Turns,
        config: Config,
    ) -> Result<Self, Reason> {
        let uploads = Uploads {
            pool: pool.clone(),
            folder: config.dir.join("files"),
            max_bytes: config.max_file_bytes,
        };
        uploads.sweep().await?;
        store::recover(&pool).await?;
        let shared = Arc::new(Shared {
            pool,
            base,
            registry,
            turns,
            uploads,
            jobs: config.dir.join("jobs"),
            live: broadcast::channel(BACKLOG).0,
            news: Notify::new(),
            stop: AtomicBool::new(false),
            current: Mutex::new(None),
            ended: watch::channel(false).0,
        });
        let trainer = Self {
            shared,
            max_queued: config.max_queued,
            max_rank: config.max_rank,
        };
        trainer.sweep().await?;
        worker::start(trainer.shared.clone(), Handle::current()).map_err(|fault| {
            Reason::Internal(format!("the training thread does not start: {fault}"))
        })?;
        Ok(trainer)
    }

    /// Removes folders of jobs that are over, or that were never recorded.
    async fn sweep(&self) -> Result<(), Reason> {
        let folder = self.shared.jobs.clone();
        let names = blocking(move || {
            std::fs::create_dir_all(&folder)?;
            let names = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name()));
            Ok(names.collect::<std::io::Result<Vec<_>>>()?)
        })
        .await?;
        for id in names
            .iter()
            .filter_map(|name| name.to_str())
            .map(JobId::from_text)
        {
            let over = match self.job(&id).await {
                Ok(job) => matches!(job.status, JobStatus::Succeeded | JobStatus::Cancelled),
                Err(Reason::NoSuchJob(_)) => true,
                Err(reason) => return Err(reason),
            };
            if over {
                let folder = self.shared.job_folder(&id);
                blocking(move || Ok(disk::remove_folder(&folder)?)).await?;
            }
        }
        Ok(())
    }

    /// Streams an upload to disk, then records it.
    pub async fn put_file(
        &self,
        filename: &str,
        purpose: &str,
        bytes: Vec<u8>,
    ) -> Result<FileView, Reason> {
        self.shared.uploads.put(filename, purpose, bytes).await
    }

    pub async fn list_files(
        &self,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Page<FileView>, Reason> {
        self.shared.uploads.list(after, limit).await
    }

    pub async fn file(&self, id: &FileId) -> Result<FileView, Reason> {
        Ok(store::file(&self.shared.pool, id).await?.view)
    }

    pub async fn file_content(&self, id: &FileId) -> Result<Vec<u8>, Reason> {
        self.shared.uploads.content(id).await
    }

    pub async fn delete_file(&self, id: &FileId) -> Result<(), Reason> {
        self.shared.uploads.delete(id).await
    }

    pub async fn list(&self, after: Option<&JobId>, limit: usize) -> Result<Page<JobView>, Reason> {
        store::list_jobs(&self.shared.pool, &self.shared.base.name, after, limit).await
    }

    pub async fn job(&self, id: &JobId) -> Result<JobView, Reason> {
        Ok(store::job(&self.shared.pool, &self.shared.base.name, id)
            .await?
            .view)
    }

    /// Cancelling what is cancelled changes nothing.
    pub async fn cancel(&self, id: &JobId) -> Result<JobView, Reason> {
        self.change(id, JobStatus::Cancelled).await
    }

    /// Pausing what is paused changes nothing.
    pub async fn pause(&self, id: &JobId) -> Result<JobView, Reason> {
        self.change(id, JobStatus::Paused).await
    }

    /// Resuming what waits or runs changes nothing.
    pub async fn resume(&self, id: &JobId) -> Result<JobView, Reason> {
        self.change(id, JobStatus::Queued).await
    }

    async fn change(&self, id: &JobId, wanted: JobStatus) -> Result<JobView, Reason> {
        let shared = &self.shared;
        let mut change = begin(&shared.pool).await?;
        let (done, word) = match wanted {
            JobStatus::Cancelled => (store::cancel(&mut *change, id).await?, "cancelled"),
            JobStatus::Paused => (store::pause(&mut *change, id).await?, "paused"),
            _ => (store::resume(&mut *change, id).await?, "resumed"),
        };
        if done {
            let told =
                store::append(&mut change, id, &[NewEvent::message(Level::Info, word)]).await?;
            change.commit().await.map_err(store::failed)?;
            match wanted {
                JobStatus::Queued => shared.news.notify_one(),
                _ => shared.interrupt(id),
            }
            told.into_iter()
                .for_each(|event| drop(shared.live.send(event)));
        }
        let row = store::job(&shared.pool, &shared.base.name, id).await?;
        let status = row.view.status;
        let holds =
            status == wanted || (wanted == JobStatus::Queued && status == JobStatus::Running);
        if !done && !holds {
            let why = match row.publishing {
                Some(_) if !status.is_final() => "is being published".to_owned(),
                _ => format!("is {}", status.as_str()),
            };
            return Err(Reason::WrongState(format!(
                "job {id} {why} and cannot be {word}"
            )));
        }
        Ok(row.view)
    }

    /// Events numbered below `after`, newest first.
    pub async fn events(
        &self,
        id: &JobId,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page<JobEvent>, Reason> {
        self.job(id).await?;
        store::events(&self.shared.pool, id, after, limit).await
    }

    pub async fn checkpoints(
        &self,
        id: &JobId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CheckpointView>, Reason> {
        self.job(id).await?;
        store::checkpoints(&self.shared.pool, id, after, limit).await
    }

    /// Live events of all jobs; who falls behind loses the oldest and reads them from the store.
    pub fn watch(&self) -> broadcast::Receiver<JobEvent> {
        self.shared.live.subscribe()
    }

    pub async fn counts(&self) -> Vec<(JobStatus, u64)> {
        store::counts(&self.shared.pool).await.unwrap_or_default()
    }

    /// Checkpoints the running job and ends the worker; the job goes on at the next start.
    pub async fn shutdown(&self) {
        self.shared.stop();
        let mut ended = self.shared.ended.subscribe();
        if tokio::time::timeout(FAREWELL, ended.wait_for(|ended| *ended))
            .await
            .is_err()
        {
            tracing::warn!(
                "the training thread does not end; its job goes on from its last checkpoint"
            );
        }
    }
}
