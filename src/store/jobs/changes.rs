//! Changes of a job's status. Each is a compare-and-set, so that a cancel and the end of a job cannot both win, and an event
//! that comes with it is stored with it.

use super::events::append;
use super::{DIVERGED, JobRow, Jobs, NewEvent, Publishing, Way};
use crate::domain::{Action, Actor, Generation, JobEvent, JobId, JobStatus, Reason};
use crate::store::audit::{self, Line};
use crate::store::clock::now;
use crate::store::database::{Statement, commit, run};

/// As the record of changes calls it.
const PAUSE: Action = Action::JobPause;

/// Why a job failed.
#[derive(Debug, Clone, Copy)]
pub struct JobError<'a> {
    pub code: &'a str,
    pub message: &'a str,
    /// The field at fault.
    pub param: Option<&'a str>,
}

/// How far a running job is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JobProgress {
    pub step: u64,
    pub tokens: u64,
    pub train_loss: Option<f64>,
    /// Unix seconds.
    pub estimated_finish: Option<i64>,
}

/// The event as it was stored, numbered; `None` where the status did not change.
type Changed = Result<Option<Vec<JobEvent>>, Reason>;

impl Jobs {
    /// The oldest waiting job of this base, now running.
    pub async fn claim(&self, base_digest: &str) -> Result<Option<JobRow>, Reason> {
        let row = sqlx::query(
            "UPDATE jobs SET status = 'running' WHERE status = 'queued' \
             AND number = (SELECT MIN(number) FROM jobs WHERE status = 'queued' AND base_digest = ?) RETURNING *",
        )
        .bind(base_digest)
        .fetch_optional(self.database.pool())
        .await;
        let row = row?;
        row.map(|row| JobRow::read(&row)).transpose()
    }

    /// Jobs from before bases were recorded are taken to be of the one served now.
    pub async fn adopt(&self, name: &str, base_digest: &str) -> Result<(), Reason> {
        let update = "UPDATE jobs SET base_name = ?, base_digest = ? WHERE base_digest = ''";
        let update = sqlx::query(update).bind(name).bind(base_digest);
        self.update(update).await.map(drop)
    }

    /// Jobs that ran when the process ended wait again.
    pub async fn recover(&self) -> Result<(), Reason> {
        let update = "UPDATE jobs SET status = 'queued' WHERE status = 'running'";
        self.update(sqlx::query(update)).await.map(drop)
    }

    /// The running job waits again.
    pub async fn release(&self, id: &JobId) -> Result<(), Reason> {
        let update = "UPDATE jobs SET status = 'queued' WHERE id = ? AND status = 'running'";
        let update = sqlx::query(update).bind(id.as_str());
        self.update(update).await.map(drop)
    }

    /// Nothing changes once the adapter is being published.
    pub async fn cancel(&self, id: &JobId, event: &NewEvent, actor: &Actor) -> Changed {
        let update = sqlx::query(
            "UPDATE jobs SET status = 'cancelled', finished_at = ?, estimated_finish = NULL WHERE id = ? \
             AND status IN ('validating_files', 'queued', 'running', 'paused') AND publish_after IS NULL",
        );
        let line = Line::of(actor, Action::JobCancel, id.as_str());
        let update = update.bind(now()).bind(id.as_str());
        self.change(update, id, event, Some(line)).await
    }

    /// Of a job of status `from`; nothing changes once its adapter is being published. A running job's progress must have
    /// been saved. `actor`: who pauses it, unless that was recorded when it was asked for.
    pub async fn pause(
        &self,
        id: &JobId,
        from: JobStatus,
        event: &NewEvent,
        actor: Option<&Actor>,
    ) -> Changed {
        let update = sqlx::query(
            "UPDATE jobs SET status = 'paused', estimated_finish = NULL WHERE id = ? AND status = ? \
             AND publish_after IS NULL",
        );
        let line = actor.map(|actor| Line::of(actor, PAUSE, id.as_str()));
        let update = update.bind(id.as_str()).bind(from.as_str());
        self.change(update, id, event, line).await
    }

    /// Records that a running job is to be paused.
    pub async fn ask_pause(&self, id: &JobId, actor: &Actor) -> Result<(), Reason> {
        let mut change = self.database.begin().await?;
        let line = Line::of(actor, PAUSE, id.as_str());
        audit::write(&mut change, &line).await?;
        commit(change).await
    }

    /// A paused job waits again, and so does one that failed where trying again can help and its data is still there.
    pub async fn resume(&self, id: &JobId, event: &NewEvent, actor: &Actor) -> Changed {
        let update = sqlx::query(
            "UPDATE jobs SET status = 'queued', finished_at = NULL, error_code = NULL, error_message = NULL, \
             error_param = NULL WHERE id = ?1 AND (status = 'paused' OR (status = 'failed' AND error_code <> ?2 \
             AND EXISTS (SELECT 1 FROM files WHERE id = training_file) \
             AND (validation_file IS NULL OR EXISTS (SELECT 1 FROM files WHERE id = validation_file))))",
        );
        let line = Line::of(actor, Action::JobResume, id.as_str());
        let update = update.bind(id.as_str()).bind(DIVERGED);
        self.change(update, id, event, Some(line)).await
    }

    /// From here on the job can only succeed or fail. `false`: it no longer runs.
    pub async fn begin_publishing(
        &self,
        id: &JobId,
        publishing: &Publishing,
    ) -> Result<bool, Reason> {
        let update = sqlx::query(
            "UPDATE jobs SET publish_before = ?, publish_after = ?, publish_how = ? WHERE id = ? AND status = 'running' \
             AND publish_after IS NULL",
        )
        .bind(publishing.before.map(|generation| generation.to_string()))
        .bind(publishing.after.to_string())
        .bind(publishing.way.text())
        .bind(id.as_str());
        self.update(update).await
    }

    /// Of a job that is being published, before anything of it is: how it is to be.
    pub async fn change_way(&self, id: &JobId, way: &Way) -> Result<bool, Reason> {
        let update = "UPDATE jobs SET publish_how = ? WHERE id = ? AND status = 'running'";
        let update = sqlx::query(update).bind(way.text()).bind(id.as_str());
        self.update(update).await
    }

    /// With the generation, the step it was made after, and whether it is served. Of other steps nothing is kept from here on.
    pub async fn succeed(
        &self,
        id: &JobId,
        (generation, step, published): (Generation, u64, bool),
        event: &NewEvent,
    ) -> Changed {
        let update = sqlx::query(
            "UPDATE jobs SET status = 'succeeded', finished_at = ?, estimated_finish = NULL, generation = ?, published = ? \
             WHERE id = ? AND status = 'running'",
        )
        .bind(now())
        .bind(generation.to_string())
        .bind(published)
        .bind(id.as_str());
        let mut change = self.database.begin().await?;
        if run(&mut *change, update).await? == 0 {
            return Ok(None);
        }
        let delete = "DELETE FROM job_checkpoints WHERE job = ? AND step <> ?";
        let delete = sqlx::query(delete).bind(id.as_str()).bind(step as i64);
        run(&mut *change, delete).await?;
        let stored = append(&mut change, id, std::slice::from_ref(event)).await?;
        commit(change).await?;
        Ok(Some(stored))
    }

    pub async fn fail(&self, id: &JobId, error: JobError<'_>, event: &NewEvent) -> Changed {
        let update = sqlx::query(
            "UPDATE jobs SET status = 'failed', finished_at = ?, estimated_finish = NULL, error_code = ?, \
             error_message = ?, error_param = ? WHERE id = ? AND status = 'running'",
        )
        .bind(now())
        .bind(error.code)
        .bind(error.message)
        .bind(error.param)
        .bind(id.as_str());
        self.change(update, id, event, None).await
    }

    /// Stores events of a job, and how far it is. Returns the events that are new, numbered. Steps that are done again
    /// after a crash do not turn a job back.
    pub async fn record(
        &self,
        id: &JobId,
        events: &[NewEvent],
        far: Option<&JobProgress>,
    ) -> Result<Vec<JobEvent>, Reason> {
        let mut change = self.database.begin().await?;
        let stored = append(&mut change, id, events).await?;
        if let Some(far) = far {
            let update = sqlx::query(
                "UPDATE jobs SET step = ?1, tokens = ?2, train_loss = ?3, \
                 estimated_finish = CASE status WHEN 'running' THEN ?4 END WHERE id = ?5 AND step <= ?1",
            )
            .bind(far.step as i64)
            .bind(far.tokens as i64)
            .bind(far.train_loss)
            .bind(far.estimated_finish)
            .bind(id.as_str());
            run(&mut *change, update).await?;
        }
        commit(change).await?;
        Ok(stored)
    }

    /// Whether a row changed.
    async fn update(&self, update: Statement<'_>) -> Result<bool, Reason> {
        Ok(run(self.database.pool(), update).await? > 0)
    }

    async fn change(
        &self,
        update: Statement<'_>,
        id: &JobId,
        event: &NewEvent,
        line: Option<Line<'_>>,
    ) -> Changed {
        let mut change = self.database.begin().await?;
        if run(&mut *change, update).await? == 0 {
            return Ok(None);
        }
        if let Some(line) = line {
            audit::write(&mut change, &line).await?;
        }
        let stored = append(&mut change, id, std::slice::from_ref(event)).await?;
        commit(change).await?;
        Ok(Some(stored))
    }
}
