//! Jobs as rows, with their events and checkpoints.

mod changes;
mod checkpoints;
mod events;
mod limits;

use std::collections::HashSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::audit::{self, Line};
use super::clock::now;
use super::database::{Database, commit, run};
use super::fault::unreadable;
use super::feedback::{self, Use};
use super::page::{Page, one_more};
use crate::domain::rollout::Publish;
use crate::domain::{
    Action, Actor, AdapterName, Asker, FileId, Generation, JobEvent, JobId, JobStatus, JobView,
    KeyId, KeyLimits, Reason,
};

pub use changes::{JobError, JobProgress};
pub use events::NewEvent;

/// What is recorded, or heeded, beside a new job.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// Of its owner.
    pub limits: &'a KeyLimits,
    pub actor: &'a Actor,
    /// What it learns from, where that is feedback; it counts as used with the job.
    pub feedback: Option<&'a [Use]>,
}

/// A job as stored: what callers see of it, and what only running it needs.
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
    /// Tokens it reads when it runs to its end, as far as could be told when it was created.
    pub planned_tokens: u64,
}

/// What publishing a job's adapter changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Publishing {
    /// What the name pointed to.
    pub before: Option<Generation>,
    pub after: Generation,
    pub way: Way,
}

/// How a job's generation reaches its name.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    As(Publish),
    /// It is only kept, for this reason.
    Withheld(String),
}

impl Way {
    const WITHHELD: &str = "withheld:";

    fn text(&self) -> String {
        match self {
            Self::As(publish) => publish.to_string(),
            Self::Withheld(why) => format!("{}{why}", Self::WITHHELD),
        }
    }

    /// Absent in what was stored before there were several ways.
    fn read(text: Option<String>) -> Result<Self, Reason> {
        let Some(text) = text else {
            return Ok(Self::As(Publish::Now));
        };
        match text.strip_prefix(Self::WITHHELD) {
            Some(why) => Ok(Self::Withheld(why.to_owned())),
            None => { text.parse().map(Self::As) }.map_err(|fault| unreadable("job", fault)),
        }
    }

    /// Whether the name serves what has reached it like that, if only to some.
    pub fn is_served(&self) -> bool {
        matches!(self, Self::As(Publish::Now | Publish::Canary(_)))
    }
}

impl JobRow {
    pub fn name(&self) -> Result<AdapterName, Reason> {
        self.view
            .name
            .parse()
            .map_err(|fault| unreadable("job", fault))
    }

    fn read(row: &SqliteRow) -> Result<Self, Reason> {
        let text = |column: &str| row.try_get::<String, _>(column);
        let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
        let number = |column: &str| row.try_get::<Option<i64>, _>(column);
        let count =
            |column: &str| number(column).map(|value| value.map_or(0, |value| value as u64));
        let generation = |column: &str| {
            maybe(column)?
                .map(|text| text.parse())
                .transpose()
                .map_err(|fault| unreadable("job", fault))
        };
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
        let made: Option<Generation> = generation("generation")?;
        Ok(Self {
            view: JobView {
                id: JobId::from_text(text("id")?),
                owner: maybe("owner")?.map(KeyId::from_text),
                status: JobStatus::from_text(&status)
                    .ok_or_else(|| unreadable("job", format!("status `{status}`")))?,
                created_at: row.try_get("created_at")?,
                finished_at: number("finished_at")?,
                estimated_finish: number("estimated_finish")?,
                model: text("base_name")?,
                name: text("name")?,
                // What had a generation before this was recorded was served.
                published: made.is_some()
                    && number("published")?.is_none_or(|published| published != 0),
                generation: made,
                training_file: FileId::from_text(text("training_file")?),
                validation_file: maybe("validation_file")?.map(FileId::from_text),
                recipe: json(&text("recipe")?)?,
                mappings: json(&text("mappings")?)?,
                metadata: json(&text("metadata")?)?,
                trained_tokens: (tokens > 0).then_some(tokens),
                step: count("step")?,
                total_steps: count("total_steps")?,
                train_loss: row.try_get("train_loss")?,
                trainable_parameters: trainable,
                error,
            },
            base_digest: text("base_digest")?,
            data_digest: text("data_digest")?,
            parent: generation("parent")?,
            publishing: match after {
                None => None,
                Some(after) => Some(Publishing {
                    before,
                    after,
                    way: Way::read(maybe("publish_how")?)?,
                }),
            },
            planned_tokens: count("planned_tokens")?,
        })
    }
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

/// Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    database: Database,
}

impl Jobs {
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Whether the asker may have one more job, of one token or more.
    pub async fn check_limits(&self, asker: &Asker) -> Result<(), Reason> {
        let Some(owner) = &asker.key else {
            return Ok(());
        };
        let mut db = self.database.pool().acquire().await?;
        limits::check(&mut db, owner, &asker.limits, 1, now()).await
    }

    /// Records a job and its first events, unless the limits of its owner forbid it. `None`, and nothing recorded, when one of its files is gone.
    pub async fn create(
        &self,
        job: &JobRow,
        events: &[NewEvent],
        limits: &KeyLimits,
        actor: &Actor,
    ) -> Result<Option<Vec<JobEvent>>, Reason> {
        let beside = Beside {
            limits,
            actor,
            feedback: None,
        };
        self.create_of(job, events, &beside).await
    }

    /// The same of a job that may learn from feedback, which counts as used with it.
    pub async fn create_of(
        &self,
        job: &JobRow,
        events: &[NewEvent],
        beside: &Beside<'_>,
    ) -> Result<Option<Vec<JobEvent>>, Reason> {
        let Beside {
            limits,
            actor,
            feedback,
        } = *beside;
        let view = &job.view;
        let mut change = self.database.begin().await?;
        if let Some(owner) = &view.owner {
            let now = view.created_at;
            limits::check(&mut change, owner, limits, job.planned_tokens, now).await?;
        }
        let insert = sqlx::query(
            "INSERT INTO jobs (id, name, status, created_at, training_file, validation_file, recipe, metadata, data_digest, \
             parent, total_steps, trainable, parameters, base_name, base_digest, mappings, owner, planned_tokens) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18 \
             WHERE EXISTS (SELECT 1 FROM files WHERE id = ?5) \
             AND (?6 IS NULL OR EXISTS (SELECT 1 FROM files WHERE id = ?6))",
        )
        .bind(view.id.as_str())
        .bind(&view.name)
        .bind(view.status.as_str())
        .bind(view.created_at)
        .bind(view.training_file.as_str())
        .bind(view.validation_file.as_ref().map(FileId::as_str))
        .bind(text(&view.recipe)?)
        .bind(text(&view.metadata)?)
        .bind(&job.data_digest)
        .bind(job.parent.map(|parent| parent.to_string()))
        .bind(view.total_steps as i64)
        .bind(view.trainable_parameters.map(|(trainable, _)| trainable as i64))
        .bind(view.trainable_parameters.map(|(_, all)| all as i64))
        .bind(&view.model)
        .bind(&job.base_digest)
        .bind(text(&view.mappings)?)
        .bind(view.owner.as_ref().map(KeyId::as_str))
        .bind(job.planned_tokens as i64);
        if run(&mut *change, insert).await? == 0 {
            return Ok(None);
        }
        let stored = events::append(&mut change, &view.id, events).await?;
        let line = Line {
            detail: Some(&view.name),
            ..Line::of(actor, Action::JobCreate, view.id.as_str())
        };
        audit::write(&mut change, &line).await?;
        if let Some(uses) = feedback {
            feedback::mark(&mut change, &view.id, &view.name, uses).await?;
            let line = Line {
                previous: job.parent,
                ..Line::of(actor, Action::AdapterRetrain, &view.name)
            };
            audit::write(&mut change, &line).await?;
        }
        commit(change).await?;
        Ok(Some(stored))
    }

    /// The job that made a generation for a name, the newest where there are several.
    pub async fn maker(
        &self,
        name: &AdapterName,
        generation: Generation,
    ) -> Result<Option<JobView>, Reason> {
        let row = sqlx::query(
            "SELECT * FROM jobs WHERE name = ? AND generation = ? ORDER BY number DESC LIMIT 1",
        )
        .bind(name.as_str())
        .bind(generation.to_string())
        .fetch_optional(self.database.pool())
        .await?;
        row.map(|row| JobRow::read(&row).map(|job| job.view))
            .transpose()
    }

    /// The job for a name that has not ended.
    pub async fn at_work_on(&self, name: &AdapterName) -> Result<Option<JobId>, Reason> {
        let id: Option<String> = sqlx::query_scalar(
            "SELECT id FROM jobs WHERE name = ? AND status NOT IN ('succeeded', 'failed', 'cancelled') LIMIT 1",
        )
        .bind(name.as_str())
        .fetch_optional(self.database.pool())
        .await?;
        Ok(id.map(JobId::from_text))
    }

    pub async fn job(&self, id: &JobId) -> Result<JobRow, Reason> {
        let row = sqlx::query("SELECT * FROM jobs WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(self.database.pool())
            .await;
        match row? {
            Some(row) => JobRow::read(&row),
            None => Err(Reason::NoSuchJob(id.to_string())),
        }
    }

    /// Those that exist for the asker.
    pub async fn list(
        &self,
        asker: &Asker,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Page<JobView>, Reason> {
        let rows = sqlx::query(
            "SELECT * FROM jobs WHERE (?1 IS NULL OR number < (SELECT number FROM jobs WHERE id = ?1)) \
             AND (?3 IS NULL OR owner = ?3) ORDER BY number DESC LIMIT ?2",
        )
        .bind(after.map(JobId::as_str))
        .bind(one_more(limit))
        .bind(asker.whose())
        .fetch_all(self.database.pool())
        .await;
        Page::read(rows, limit, |row| JobRow::read(row).map(|job| job.view))
    }

    pub async fn counts(&self) -> Result<Vec<(JobStatus, u64)>, Reason> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT status, COUNT(*) FROM jobs GROUP BY status")
                .fetch_all(self.database.pool())
                .await?;
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
    pub async fn queued(&self, base_digest: &str) -> Result<usize, Reason> {
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM jobs WHERE status = 'queued' AND base_digest = ?")
                .bind(base_digest)
                .fetch_one(self.database.pool())
                .await?;
        Ok(count as usize)
    }

    /// Waiting jobs of other bases, with the names of those.
    pub async fn queued_for_other_bases(
        &self,
        base_digest: &str,
    ) -> Result<Vec<(JobId, String)>, Reason> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, base_name FROM jobs WHERE status = 'queued' AND base_digest <> ? ORDER BY number",
        )
        .bind(base_digest)
        .fetch_all(self.database.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, base)| (JobId::from_text(id), base))
            .collect())
    }

    /// Ids of the jobs that are not over.
    pub async fn unfinished(&self) -> Result<HashSet<String>, Reason> {
        let ids = sqlx::query_scalar(
            "SELECT id FROM jobs WHERE status NOT IN ('succeeded', 'cancelled') \
             AND (status <> 'failed' OR coalesce(error_code, '') <> ?)",
        )
        .bind(DIVERGED)
        .fetch_all(self.database.pool())
        .await;
        Ok(ids?.into_iter().collect())
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, Reason> {
    serde_json::from_str(text).map_err(|fault| unreadable("job", fault))
}

fn text(value: &impl Serialize) -> Result<String, Reason> {
    serde_json::to_string(value).map_err(|fault| Reason::Internal(fault.to_string()))
}
