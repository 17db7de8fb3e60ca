//! Which checkpoints a job has on disk.

use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::events::append;
use super::{Jobs, NewEvent, Page, one_more, unreadable};
use crate::domain::{AdapterName, Asker, CheckpointView, JobEvent, JobId, Reason};
use crate::store::clock::now;
use crate::store::database::{commit, run};

/// A checkpoint of one of several jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// No other checkpoint ever has it.
    pub number: i64,
    pub job: JobId,
    pub step: u64,
}

impl Jobs {
    /// Records the checkpoint of `step`, with an event, and forgets those of steps that are not `kept`.
    pub async fn keep_checkpoints(
        &self,
        job: &JobId,
        (step, metrics): (u64, &Value),
        kept: &[u64],
        event: &NewEvent,
    ) -> Result<Vec<JobEvent>, Reason> {
        let mut change = self.database.begin().await?;
        let insert = sqlx::query(
            "INSERT INTO job_checkpoints (id, job, step, created_at, metrics) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(format!("ftckpt-{}-{step}", job.as_str().trim_start_matches(JobId::PREFIX)))
        .bind(job.as_str())
        .bind(step as i64)
        .bind(now())
        .bind(metrics.to_string());
        run(&mut *change, insert).await?;
        let delete = "DELETE FROM job_checkpoints WHERE job = ? AND step NOT IN (SELECT value FROM json_each(?))";
        let delete = sqlx::query(delete).bind(job.as_str());
        run(&mut *change, delete.bind(json!(kept).to_string())).await?;
        let stored = append(&mut change, job, std::slice::from_ref(event)).await?;
        commit(change).await?;
        Ok(stored)
    }

    /// Checkpoints of the asker's jobs for `name` on a base, the newest job's first, and of each the newest first.
    pub async fn checkpoints_for(
        &self,
        asker: &Asker,
        name: &AdapterName,
        base_digest: &str,
    ) -> Result<Vec<Kept>, Reason> {
        let rows = sqlx::query(
            "SELECT kept.number AS number, kept.job AS job, kept.step AS step FROM job_checkpoints kept \
             JOIN jobs ON jobs.id = kept.job WHERE jobs.name = ?1 AND jobs.base_digest = ?2 \
             AND (?3 IS NULL OR jobs.owner = ?3) ORDER BY jobs.number DESC, kept.step DESC",
        )
        .bind(name.as_str())
        .bind(base_digest)
        .bind(asker.whose())
        .fetch_all(self.database.pool())
        .await?;
        let kept = rows.iter().map(|row| {
            Ok(Kept {
                number: row.try_get("number")?,
                job: JobId::from_text(row.try_get::<String, _>("job")?),
                step: row.try_get::<i64, _>("step")? as u64,
            })
        });
        kept.collect()
    }

    /// A job's checkpoints, newest first; `after` is the id of one of them.
    pub async fn checkpoints(
        &self,
        job: &JobId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CheckpointView>, Reason> {
        let rows = sqlx::query(
            "SELECT * FROM job_checkpoints WHERE job = ?1 \
             AND (?2 IS NULL OR step < (SELECT step FROM job_checkpoints WHERE id = ?2)) ORDER BY step DESC LIMIT ?3",
        )
        .bind(job.as_str())
        .bind(after)
        .bind(one_more(limit))
        .fetch_all(self.database.pool())
        .await;
        Page::read(rows, limit, read)
    }
}

fn read(row: &SqliteRow) -> Result<CheckpointView, Reason> {
    let text = |column: &str| row.try_get::<String, _>(column);
    Ok(CheckpointView {
        id: text("id")?,
        job: JobId::from_text(text("job")?),
        created_at: row.try_get("created_at")?,
        step: row.try_get::<i64, _>("step")? as u64,
        metrics: serde_json::from_str(&text("metrics")?)
            .map_err(|fault| unreadable("checkpoint", fault))?,
    })
}
