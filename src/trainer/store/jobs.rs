//! Rows of jobs and the changes of their status.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteExecutor, SqlitePool};

use super::{Page, failed, now, one_more, unreadable};
use crate::domain::{AdapterName, FileId, Generation, JobId, JobStatus, JobView, Reason};

/// A job as stored: what is told about it, and what only running it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub view: JobView,
    /// Of the base it was created for, 64 hex digits.
    pub base_digest: String,
    /// Over training and validation file.
    pub data_digest: String,
    /// The generation it continues from.
    pub parent: Option<Generation>,
    pub publishing: Option<Publishing>,
}

/// What publishing a job's adapter changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publishing {
    /// What the name pointed to.
    pub before: Option<Generation>,
    pub after: Generation,
}

impl JobRow {
    pub fn name(&self) -> Result<AdapterName, Reason> {
        self.view
            .name
            .parse()
            .map_err(|fault| unreadable("job", fault))
    }

    fn read(row: &SqliteRow) -> Result<Self, Reason> {
        let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
        let maybe = |column: &str| row.try_get::<Option<String>, _>(column).map_err(failed);
        let number = |column: &str| row.try_get::<Option<i64>, _>(column).map_err(failed);
        let count =
            |column: &str| number(column).map(|value| value.map_or(0, |value| value as u64));
        let generation = |column: &str| {
            maybe(column)?
                .map(|text| text.parse())
                .transpose()
                .map_err(|fault| unreadable("job", fault))
        };
        let json =
            |text: &str| serde_json::from_str(text).map_err(|fault| unreadable("job", fault));
        let status = text("status")?;
        let after: Option<Generation> = generation("publish_after")?;
        let before = generation("publish_before")?;
        let trainable = match (number("trainable")?, number("parameters")?) {
            (Some(trainable), Some(all)) => Some((trainable as u64, all as u64)),
            _ => None,
        };
        let error = match maybe("error_code")? {
            Some(code) => Some((
                code,
                maybe("error_message")?.unwrap_or_default(),
                maybe("error_param")?,
            )),
            None => None,
        };
        let tokens = count("tokens")?;
        Ok(Self {
            view: JobView {
                id: JobId::from_text(text("id")?),
                status: JobStatus::from_text(&status)
                    .ok_or_else(|| unreadable("job", format!("status `{status}`")))?,
                created_at: row.try_get("created_at").map_err(failed)?,
                finished_at: number("finished_at")?,
                estimated_finish: number("estimated_finish")?,
                model: text("base_name")?,
                name: text("name")?,
                generation: generation("generation")?,
                training_file: FileId::from_text(text("training_file")?),
                validation_file: maybe("validation_file")?.map(FileId::from_text),
                recipe: serde_json::from_str(&text("recipe")?)
                    .map_err(|fault| unreadable("job", fault))?,
                metadata: json(&text("metadata")?)?,
                trained_tokens: (tokens > 0).then_some(tokens),
                step: count("step")?,
                total_steps: count("total_steps")?,
                train_loss: row.try_get("train_loss").map_err(failed)?,
                trainable_parameters: trainable,
                error,
            },
            base_digest: text("base_digest")?,
            data_digest: text("data_digest")?,
            parent: generation("parent")?,
            publishing: after.map(|after| Publishing { before, after }),
        })
    }
}

/// `false`, and nothing inserted, when one of its files is gone.
pub async fn insert_job(db: impl SqliteExecutor<'_>, job: &JobRow) -> Result<bool, Reason> {
    let view = &job.view;
    let recipe =
        serde_json::to_string(&view.recipe).map_err(|fault| Reason::Internal(fault.to_string()))?;
    let metadata = serde_json::to_string(&view.metadata)
        .map_err(|fault| Reason::Internal(fault.to_string()))?;
    let done = sqlx::query(
        "INSERT INTO jobs (id, name, status, created_at, training_file, validation_file, recipe, metadata, data_digest, \
         parent, total_steps, trainable, parameters, base_name, base_digest) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15 \
         WHERE EXISTS (SELECT 1 FROM files WHERE id = ?5) \
         AND (?6 IS NULL OR EXISTS (SELECT 1 FROM files WHERE id = ?6))",
    )
    .bind(view.id.as_str())
    .bind(&view.name)
    .bind(view.status.as_str())
    .bind(view.created_at)
    .bind(view.training_file.as_str())
    .bind(view.validation_file.as_ref().map(FileId::as_str))
    .bind(recipe)
    .bind(metadata)
    .bind(&job.data_digest)
    .bind(job.parent.map(|parent| parent.to_string()))
    .bind(view.total_steps as i64)
    .bind(view.trainable_parameters.map(|(trainable, _)| trainable as i64))
    .bind(view.trainable_parameters.map(|(_, all)| all as i64))
    .bind(&view.model)
    .bind(&job.base_digest)
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

pub async fn job(db: &SqlitePool, id: &JobId) -> Result<JobRow, Reason> {
    let row = sqlx::query("SELECT * FROM jobs WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(db)
        .await;
    match row.map_err(failed)? {
        Some(row) => JobRow::read(&row),
        None => Err(Reason::NoSuchJob(id.to_string())),
    }
}

pub async fn list_jobs(
    db: &SqlitePool,
    after: Option<&JobId>,
    limit: usize,
) -> Result<Page<JobView>, Reason> {
    let rows = sqlx::query(
        "SELECT * FROM jobs WHERE ?1 IS NULL OR number < (SELECT number FROM jobs WHERE id = ?1) \
         ORDER BY number DESC LIMIT ?2",
    )
    .bind(after.map(JobId::as_str))
    .bind(one_more(limit))
    .fetch_all(db)
    .await
    .map_err(failed)?;
    let jobs = rows
        .iter()
        .map(|row| JobRow::read(row).map(|job| job.view))
        .collect::<Result<_, _>>()?;
    Ok(Page::of(jobs, limit))
}

pub async fn counts(db: &SqlitePool) -> Result<Vec<(JobStatus, u64)>, Reason> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, COUNT(*) FROM jobs GROUP BY status")
            .fetch_all(db)
            .await
            .map_err(failed)?;
    let count = |status: JobStatus| {
        rows.iter()
            .find(|(text, _)| text == status.as_str())
            .map_or(0, |(_, n)| *n as u64)
    };
    Ok(JobStatus::ALL
        .map(|status| (status, count(status)))
        .to_vec())
}

/// Jobs waiting for the worker that serves this base.
pub async fn queued(db: impl SqliteExecutor<'_>, base_digest: &str) -> Result<usize, Reason> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM jobs WHERE status = 'queued' AND base_digest = ?")
            .bind(base_digest)
            .fetch_one(db)
            .await
            .map_err(failed)?;
    Ok(count as usize)
}

/// The oldest waiting job of this base, now running.
pub async fn claim(db: &SqlitePool, base_digest: &str) -> Result<Option<JobRow>, Reason> {
    let row = sqlx::query(
        "UPDATE jobs SET status = 'running' WHERE status = 'queued' \
         AND number = (SELECT MIN(number) FROM jobs WHERE status = 'queued' AND base_digest = ?) RETURNING *",
    )
    .bind(base_digest)
    .fetch_optional(db)
    .await
    .map_err(failed)?;
    row.map(|row| JobRow::read(&row)).transpose()
}

/// Waiting jobs of other bases, with the names of those.
pub async fn strangers(db: &SqlitePool, base_digest: &str) -> Result<Vec<(JobId, String)>, Reason> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT id, base_name FROM jobs WHERE status = 'queued' AND base_digest <> ? ORDER BY number",
    )
    .bind(base_digest)
    .fetch_all(db)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|(id, base)| (JobId::from_text(id), base))
        .collect())
}

/// Jobs from before bases were recorded are taken to be of the one served now.
pub async fn adopt(db: &SqlitePool, name: &str, base_digest: &str) -> Result<(), Reason> {
    sqlx::query("UPDATE jobs SET base_name = ?, base_digest = ? WHERE base_digest = ''")
        .bind(name)
        .bind(base_digest)
        .execute(db)
        .await
        .map(drop)
        .map_err(failed)
}

/// Jobs that ran when the process ended wait again.
pub async fn recover(db: &SqlitePool) -> Result<(), Reason> {
    sqlx::query("UPDATE jobs SET status = 'queued' WHERE status = 'running'")
        .execute(db)
        .await
        .map(drop)
        .map_err(failed)
}

/// The running job waits again.
pub async fn release(db: impl SqliteExecutor<'_>, id: &JobId) -> Result<(), Reason> {
    sqlx::query("UPDATE jobs SET status = 'queued' WHERE id = ? AND status = 'running'")
        .bind(id.as_str())
        .execute(db)
        .await
        .map(drop)
        .map_err(failed)
}

/// Whether the status changed; it does not once the adapter is being published.
pub async fn cancel(db: impl SqliteExecutor<'_>, id: &JobId) -> Result<bool, Reason> {
    let done = sqlx::query(
        "UPDATE jobs SET status = 'cancelled', finished_at = ?, estimated_finish = NULL WHERE id = ? \
         AND status IN ('validating_files', 'queued', 'running', 'paused') AND publish_after IS NULL",
    )
    .bind(now())
    .bind(id.as_str())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

/// Whether a job of status `from` is paused now; it is not once its adapter is being published. A running job's progress
/// must have been saved.
pub async fn pause(
    db: impl SqliteExecutor<'_>,
    id: &JobId,
    from: JobStatus,
) -> Result<bool, Reason> {
    let done = sqlx::query(
        "UPDATE jobs SET status = 'paused', estimated_finish = NULL WHERE id = ? AND status = ? \
         AND publish_after IS NULL",
    )
    .bind(id.as_str())
    .bind(from.as_str())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

/// The fault that would come again.
const DIVERGED: &str = "diverged";

/// Whether nothing can make the job go on.
pub fn is_over(job: &JobView) -> bool {
    match job.status {
        JobStatus::Succeeded | JobStatus::Cancelled => true,
        JobStatus::Failed => job
            .error
            .as_ref()
            .is_some_and(|(code, ..)| code == DIVERGED),
        _ => false,
    }
}

/// Whether the status changed: a paused job waits again, and so does one that failed where trying again can help and
/// its data is still there.
pub async fn resume(db: impl SqliteExecutor<'_>, id: &JobId) -> Result<bool, Reason> {
    let done = sqlx::query(
        "UPDATE jobs SET status = 'queued', finished_at = NULL, error_code = NULL, error_message = NULL, \
         error_param = NULL WHERE id = ?1 AND (status = 'paused' OR (status = 'failed' AND error_code <> ?2 \
         AND EXISTS (SELECT 1 FROM files WHERE id = training_file) \
         AND (validation_file IS NULL OR EXISTS (SELECT 1 FROM files WHERE id = validation_file))))",
    )
    .bind(id.as_str())
    .bind(DIVERGED)
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

/// From here on the job can only succeed or fail. `false`: it no longer runs.
pub async fn begin_publishing(
    db: &SqlitePool,
    id: &JobId,
    publishing: &Publishing,
) -> Result<bool, Reason> {
    let done = sqlx::query(
        "UPDATE jobs SET publish_before = ?, publish_after = ? WHERE id = ? AND status = 'running' \
         AND publish_after IS NULL",
    )
    .bind(publishing.before.map(|generation| generation.to_string()))
    .bind(publishing.after.to_string())
    .bind(id.as_str())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

pub async fn succeed(
    db: impl SqliteExecutor<'_>,
    id: &JobId,
    generation: Generation,
) -> Result<bool, Reason> {
    let done = sqlx::query(
        "UPDATE jobs SET status = 'succeeded', finished_at = ?, estimated_finish = NULL, generation = ? \
         WHERE id = ? AND status = 'running'",
    )
    .bind(now())
    .bind(generation.to_string())
    .bind(id.as_str())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

/// `error` is code, message and the field at fault.
pub async fn fail(
    db: impl SqliteExecutor<'_>,
    id: &JobId,
    (code, message, param): (&str, &str, Option<&str>),
) -> Result<bool, Reason> {
    let done = sqlx::query(
        "UPDATE jobs SET status = 'failed', finished_at = ?, estimated_finish = NULL, error_code = ?, error_message = ?, \
         error_param = ? WHERE id = ? AND status = 'running'",
    )
    .bind(now())
    .bind(code)
    .bind(message)
    .bind(param)
    .bind(id.as_str())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

/// How far a running job is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Far {
    pub step: u64,
    pub tokens: u64,
    pub train_loss: Option<f64>,
    /// Unix seconds.
    pub estimated_finish: Option<i64>,
}

/// Steps that are done again after a crash do not turn a job back.
pub async fn progress(db: impl SqliteExecutor<'_>, id: &JobId, far: &Far) -> Result<(), Reason> {
    sqlx::query(
        "UPDATE jobs SET step = ?1, tokens = ?2, train_loss = ?3, \
         estimated_finish = CASE status WHEN 'running' THEN ?4 END WHERE id = ?5 AND step <= ?1",
    )
    .bind(far.step as i64)
    .bind(far.tokens as i64)
    .bind(far.train_loss)
    .bind(far.estimated_finish)
    .bind(id.as_str())
    .execute(db)
    .await
    .map(drop)
    .map_err(failed)
}
