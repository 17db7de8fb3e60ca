//! Events of jobs. A step's metrics are stored at most once, however often the step is done.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Jobs, Page, one_more, unreadable};
use crate::domain::{JobEvent, JobEventKind, JobId, Level, Reason};
use crate::store::clock::now;

/// An event before it has its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub created_at: i64,
    pub level: Level,
    pub message: String,
    pub telling: Telling,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Telling {
    Message { data: Value },
    Metrics { step: u64, data: Value },
}

impl NewEvent {
    pub fn message(level: Level, message: impl Into<String>) -> Self {
        Self::about(level, message, Value::Object(serde_json::Map::new()))
    }

    pub fn about(level: Level, message: impl Into<String>, data: Value) -> Self {
        Self {
            created_at: now(),
            level,
            message: message.into(),
            telling: Telling::Message { data },
        }
    }

    pub fn metrics(step: u64, message: String, data: Value) -> Self {
        Self {
            created_at: now(),
            level: Level::Info,
            message,
            telling: Telling::Metrics { step, data },
        }
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
        let (kind, step, data) = match &event.telling {
            Telling::Message { data } => (JobEventKind::Message, None, data),
            Telling::Metrics { step, data } => (JobEventKind::Metrics, Some(*step as i64), data),
        };
        let seq: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO job_events (job, created_at, level, kind, message, data, step) VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING RETURNING seq",
        )
        .bind(job.as_str())
        .bind(event.created_at)
        .bind(level_text(event.level))
        .bind(kind_text(kind))
        .bind(&event.message)
        .bind(data.to_string())
        .bind(step)
        .fetch_optional(&mut *db)
        .await?;
        if let Some((seq,)) = seq {
            stored.push(JobEvent {
                seq,
                job: job.clone(),
                created_at: event.created_at,
                level: event.level,
                kind,
                message: event.message.clone(),
                data: data.clone(),
            });
        }
    }
    Ok(stored)
}

impl Jobs {
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
    Ok(JobEvent {
        seq: row.try_get("seq")?,
        job: JobId::from_text(text("job")?),
        created_at: row.try_get("created_at")?,
        level: level(&text("level")?)?,
        kind: if text("kind")? == kind_text(JobEventKind::Metrics) {
            JobEventKind::Metrics
        } else {
            JobEventKind::Message
        },
        message: text("message")?,
        data: serde_json::from_str(&text("data")?).map_err(|fault| unreadable("event", fault))?,
    })
}

const fn level_text(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn level(text: &str) -> Result<Level, Reason> {
    [Level::Info, Level::Warn, Level::Error]
        .into_iter()
        .find(|level| level_text(*level) == text)
        .ok_or_else(|| unreadable("event", format!("level `{text}`")))
}

const fn kind_text(kind: JobEventKind) -> &'static str {
    match kind {
        JobEventKind::Message => "message",
        JobEventKind::Metrics => "metrics",
    }
}
