//! Fine-tuning jobs: what a caller may leave out is filled in here, the trainer judges the rest.

use uuid::Uuid;

use super::{Claims, Gateway, Page, Wishes};
use crate::domain::{AdapterChoice, CheckpointView, FileId, JobEvent, JobId, JobView, Reason};
use crate::trainer::{DEFAULT_LEARNING_RATE, NewJob};

/// A job as asked for.
#[derive(Debug, Clone, Default)]
pub struct JobAsk {
    /// The base, or an adapter to continue from.
    pub model: Option<String>,
    /// The name it will be served under; one is made up when absent.
    pub name: Option<String>,
    pub training_file: String,
    pub validation_file: Option<String>,
    pub wishes: Wishes,
    /// Scales the default learning rate.
    pub learning_rate_multiplier: Option<f64>,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What was asked for and has no effect, for the job's first events.
    pub notes: Vec<String>,
}

impl Gateway {
    pub async fn create_job(&self, ask: JobAsk) -> Result<JobView, Reason> {
        let mut wishes = ask.wishes;
        if let Some(parent) = self.parent(ask.model).await? {
            match &wishes.from {
                Some(from) if *from != parent => {
                    let why = format!("continues from `{from}`, but `model` names `{parent}`");
                    return Err(Reason::field("from", why));
                }
                _ => wishes.from = Some(parent),
            }
        }
        if let Some(multiplier) = ask.learning_rate_multiplier {
            if wishes.learning_rate.is_some() {
                return Err(Reason::field(
                    "learning_rate_multiplier",
                    "cannot be combined with `lr`",
                ));
            }
            wishes.learning_rate = Some(DEFAULT_LEARNING_RATE * multiplier);
        }
        let name = match ask.name {
            Some(name) => self.new_name("suffix", &name)?,
            None => self.new_name(
                "suffix",
                &format!("ft-{}", &Uuid::new_v4().simple().to_string()[..12]),
            )?,
        };
        let job = NewJob {
            name,
            training_file: FileId::from_text(ask.training_file),
            validation_file: ask.validation_file.map(FileId::from_text),
            wishes,
            metadata: ask.metadata,
            notes: ask.notes,
        };
        self.parts().trainer.create(job).await
    }

    /// The adapter `model` names, as `from` takes it; `None` for the base.
    async fn parent(&self, model: Option<String>) -> Result<Option<String>, Reason> {
        let Some(text) = model else { return Ok(None) };
        let chosen = self
            .choose(&Claims {
                model: Some(text),
                ..Claims::default()
            })
            .await?;
        let AdapterChoice::Named { name, pin } = &chosen.choice else {
            return Ok(None);
        };
        self.parts()
            .registry
            .show(name)
            .await
            .map_err(|reason| chosen.explain(reason))?;
        Ok(Some(match pin {
            None => name.to_string(),
            Some(pin) => format!("{name}@{}", pin.as_str()),
        }))
    }

    pub async fn jobs(&self, after: Option<&JobId>, limit: usize) -> Result<Page<JobView>, Reason> {
        self.parts().trainer.list(after, limit).await
    }

    pub async fn job(&self, id: &JobId) -> Result<JobView, Reason> {
        self.parts().trainer.job(id).await
    }

    pub async fn cancel_job(&self, id: &JobId) -> Result<JobView, Reason> {
        self.parts().trainer.cancel(id).await
    }

    pub async fn pause_job(&self, id: &JobId) -> Result<JobView, Reason> {
        self.parts().trainer.pause(id).await
    }

    pub async fn resume_job(&self, id: &JobId) -> Result<JobView, Reason> {
        self.parts().trainer.resume(id).await
    }

    /// Newest first; `after` is an event's number.
    pub async fn job_events(
        &self,
        id: &JobId,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page<JobEvent>, Reason> {
        self.parts().trainer.events(id, after, limit).await
    }

    pub async fn job_checkpoints(
        &self,
        id: &JobId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CheckpointView>, Reason> {
        self.parts().trainer.checkpoints(id, after, limit).await
    }
}
