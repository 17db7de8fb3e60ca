//! Events of jobs. A step's metrics are stored at most once, however often the step is done, unless it is done again in
//! another way.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Jobs, Page, one_more, unreadable};
use crate::domain::{EventData, JobEvent, JobId, Level, Reason};
use crate::store::clock::now;
use crate::store::database::{commit, run};

/// An event before it has its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub created_at: i64,
    pub level: Level,
    pub message: String,
    pub data: EventData,
}

impl NewEvent {
    pub fn message(level: Level, message: impl Into<String>) -> Self {
        Self {
            created_at: now(),
            level,
            message: message.into(),
            data: EventData::none(),
        }
    }

    pub fn about(message: String, data: EventData) -> Self {
        let event = Self::message(Level::Info, message);
        Self { data, ..event }
    }
}

/// Stores events in their order and returns those that are new, numbered.
pub(super) async fn append(
    db: &mut SqliteConnection,
    job: &JobId,
    events: &[NewEvent],
) -> Result<Vec<JobEvent>, Reason> {
    let mut stored = Vec::with_capacity(events.len());
    for event in events {
        let step = match &event.data {
            EventData::Step(metrics) => Some(metrics.step as i64),
            _ => None,
        };
        let seq: Option<i64> = sqlx::query_scalar(
            "INSERT INTO job_events (job, created_at, level, kind, message, data, step) VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING RETURNING seq",
        )
        .bind(job.as_str())
        .bind(event.created_at)
        .bind(event.level.as_str())
        .bind(event.data.kind())
        .bind(&event.message)
        .bind(event.data.to_string())
        .bind(step)
        .fetch_optional(&mut *db)
        .await?;
        stored.extend(seq.map(|seq| JobEvent {
            seq,
            job: job.clone(),
            created_at: event.created_at,
            level: event.level,
            message: event.message.clone(),
            data: event.data.clone(),
        }));
    }
    Ok(stored)
}

impl Jobs {
    /// Steps after `step` will be done again in another way: their events stay, and new ones of the same steps are taken.
    pub async fn forget_steps(&self, job: &JobId, step: u64) -> Result<(), Reason> {
        let mut change = self.database.begin().await?;
        let forget = "UPDATE job_events SET step = NULL WHERE job = ? AND step > ?";
        let forget = sqlx::query(forget).bind(job.as_str()).bind(step as i64);
        run(&mut *change, forget).await?;
        let gone = "DELETE FROM job_checkpoints WHERE job = ? AND step > ?";
        let gone = sqlx::query(gone).bind(job.as_str()).bind(step as i64);
        run(&mut *change, gone).await?;
        let back = "UPDATE jobs SET step = ?2 WHERE id = ?1 AND step > ?2";
        let back = sqlx::query(back).bind(job.as_str()).bind(step as i64);
        run(&mut *change, back).await?;
        commit(change).await
    }

    /// A job's events numbered below `after`, newest first.
    pub async fn events(
        &self,
        job: &JobId,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page<JobEvent>, Reason> {
        let rows = sqlx::query(
            "SELECT * FROM job_events WHERE job = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(job.as_str())
        .bind(after.unwrap_or(i64::MAX))
        .bind(one_more(limit))
        .fetch_all(self.database.pool())
        .await;
        Page::read(rows, limit, read)
    }
}

fn read(row: &SqliteRow) -> Result<JobEvent, Reason> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let (level, data) = (text("level")?, text("data")?);
    Ok(JobEvent {
        seq: row.try_get("seq")?,
        job: JobId::from_text(text("job")?),
        created_at: row.try_get("created_at")?,
        level: Level::ALL
            .into_iter()
            .find(|known| known.as_str() == level)
            .ok_or_else(|| unreadable("event", format!("level `{level}`")))?,
        message: text("message")?,
        data: serde_json::from_str(&data).map_err(|fault| unreadable("event", fault))?,
    })
}
