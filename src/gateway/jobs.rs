//! Fine-tuning jobs: what a caller may leave out is filled in here, the trainer checks the rest.

use uuid::Uuid;

use super::{Caller, Claims, Page, Wishes, Work, listed};
use crate::domain::recipes::{Joined, Recipes};
use crate::domain::{
    AdapterChoice, AdapterName, CheckpointView, FileId, JobEvent, JobId, JobPlan, JobView, Reason,
    Recipe, Scope,
};
use crate::store::Use;
use crate::trainer::{NewJob, Trainer};

const TRAIN: Scope = Scope::Train;

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
    /// Files of other programs that say settings too.
    pub recipes: Recipes,
    /// Scales the default learning rate.
    pub learning_rate_multiplier: Option<f64>,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What was asked for and has no effect, for the job's first events.
    pub notes: Vec<String>,
}

/// What a caller may note with a job.
const MAX_NOTES: usize = 16;
const MAX_KEY_BYTES: usize = 64;
const MAX_VALUE_BYTES: usize = 512;

fn check_metadata(entries: &serde_json::Map<String, serde_json::Value>) -> Result<(), Reason> {
    let refuse = |why: String| Err(Reason::field("metadata", why));
    if entries.len() > MAX_NOTES {
        return refuse(format!("has more than {MAX_NOTES} entries"));
    }
    for (key, value) in entries {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return refuse(format!("each key has 1 to {MAX_KEY_BYTES} bytes"));
        }
        if value
            .as_str()
            .is_none_or(|text| text.len() > MAX_VALUE_BYTES)
        {
            let why = format!("`{key}` is no text of at most {MAX_VALUE_BYTES} bytes");
            return refuse(why);
        }
    }
    Ok(())
}

/// What all places say. A multiplier of the default learning rate is one of them, so no other may say that rate.
fn joined(
    recipes: &Recipes,
    mut wishes: Wishes,
    multiplier: Option<f64>,
) -> Result<Joined, Reason> {
    let Some(multiplier) = multiplier else {
        return recipes.join(wishes);
    };
    if let Some(place) = recipes.join(wishes.clone())?.says("lr") {
        let why = format!("cannot be combined with `{place}`");
        return Err(Reason::field("learning_rate_multiplier", why));
    }
    wishes.learning_rate = Some(Recipe::default().learning_rate * multiplier);
    recipes.join(wishes)
}

impl Caller {
    pub async fn create_job(&self, ask: JobAsk) -> Result<JobView, Reason> {
        self.create_from(ask, None).await
    }

    /// The same of a job that learns from feedback, which counts as used with it.
    pub(super) async fn create_job_of(
        &self,
        ask: JobAsk,
        feedback: &[Use],
    ) -> Result<JobView, Reason> {
        self.create_from(ask, Some(feedback)).await
    }

    async fn create_from(&self, ask: JobAsk, feedback: Option<&[Use]>) -> Result<JobView, Reason> {
        let (job, joined) = self.new_job(ask).await?;
        let prepared = self.unless_ended(self.may(TRAIN)?.trainer.prepare(job));
        let prepared = self.count_refusal(prepared.await);
        let prepared = prepared.map_err(|reason| joined.explain(reason))?;
        // Checking its data takes long; what is recorded is recorded as a whole.
        let created = self.trainer()?.create_of(prepared, feedback).await;
        let created = self.count_refusal(created);
        created.map_err(|reason| joined.explain(reason))
    }

    /// The trainer, for changes.
    pub(super) fn trainer(&self) -> Result<Trainer, Reason> {
        Ok(self.may(TRAIN)?.trainer.by(self.actor()))
    }

    /// What such a job would be; none is created.
    pub async fn plan_job(&self, ask: JobAsk) -> Result<JobPlan, Reason> {
        let (job, joined) = self.new_job(ask).await?;
        let planned = self.unless_ended(self.may(TRAIN)?.trainer.plan(job));
        planned.await.map_err(|reason| joined.explain(reason))
    }

    /// The job that is asked for, and what recipes say of it.
    async fn new_job(&self, ask: JobAsk) -> Result<(NewJob, Joined), Reason> {
        self.check(TRAIN)?;
        self.afford(Work::Upload)?;
        check_metadata(&ask.metadata)?;
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
        let name = match ask.name {
            Some(name) => self.new_name("suffix", &name)?,
            None => self.new_name(
                "suffix",
                &format!("ft-{}", &Uuid::new_v4().simple().to_string()[..12]),
            )?,
        };
        self.may_name(&name)?;
        let joined = joined(&ask.recipes, wishes, ask.learning_rate_multiplier)?;
        if let Some(from) = joined.wishes.from.as_deref().and_then(named)
            && let Err(missing) = self.see(&from)
        {
            return Err(Reason::field("from", missing.to_string()));
        }
        let job = NewJob {
            name,
            training_file: FileId::from_text(ask.training_file),
            validation_file: ask.validation_file.map(FileId::from_text),
            wishes: joined.wishes.clone(),
            mappings: joined.mappings.clone(),
            metadata: ask.metadata,
            notes: ask.notes,
            asker: self.asker(),
        };
        Ok((job, joined))
    }

    /// The adapter `model` names, as `from` takes it; `None` for the base.
    async fn parent(&self, model: Option<String>) -> Result<Option<String>, Reason> {
        let Some(text) = model else { return Ok(None) };
        let chosen = self.choose(&Claims {
            model: Some(text),
            ..Claims::default()
        })?;
        let (name, pin) = match &chosen.choice {
            AdapterChoice::Base => return Ok(None),
            AdapterChoice::Named { name, pin } => (name, pin),
            AdapterChoice::Checkpoint { .. } | AdapterChoice::Blend(_) => {
                let why = "names a checkpoint; a job continues what has been published";
                return Err(Reason::field("model", why));
            }
        };
        let registry = &self.may(TRAIN)?.registry;
        let found = registry.check_choice(&chosen.choice);
        found.map_err(|reason| chosen.explain(reason))?;
        Ok(Some(match pin {
            None => name.to_string(),
            Some(pin) => format!("{name}@{}", pin.as_str()),
        }))
    }

    pub async fn jobs(&self, after: Option<&JobId>, limit: usize) -> Result<Page<JobView>, Reason> {
        if let Some(after) = after {
            listed(self.job(after).await)?;
        }
        let trainer = &self.may(TRAIN)?.trainer;
        trainer.list(&self.asker(), after, limit).await
    }

    pub async fn job(&self, id: &JobId) -> Result<JobView, Reason> {
        let job = self.may(TRAIN)?.trainer.job(id).await?;
        match self.asker().sees(job.owner.as_ref()) {
            true => Ok(job),
            false => Err(Reason::NoSuchJob(id.to_string())),
        }
    }

    pub async fn cancel_job(&self, id: &JobId) -> Result<JobView, Reason> {
        self.job(id).await?;
        self.trainer()?.cancel(id).await
    }

    pub async fn pause_job(&self, id: &JobId) -> Result<JobView, Reason> {
        self.job(id).await?;
        self.trainer()?.pause(id).await
    }

    pub async fn resume_job(&self, id: &JobId) -> Result<JobView, Reason> {
        self.job(id).await?;
        self.trainer()?.resume(id).await
    }

    /// Newest first; `after` is an event's number.
    pub async fn job_events(
        &self,
        id: &JobId,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page<JobEvent>, Reason> {
        self.job(id).await?;
        self.may(TRAIN)?.trainer.events(id, after, limit).await
    }

    pub async fn job_checkpoints(
        &self,
        id: &JobId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CheckpointView>, Reason> {
        self.job(id).await?;
        let trainer = &self.may(TRAIN)?.trainer;
        let page = trainer.checkpoints(id, after, limit).await?;
        if let (Some(after), true) = (after, page.items.is_empty()) {
            // The oldest has none after it; what was never one is a mistake.
            let all = trainer.checkpoints(id, None, usize::MAX >> 1).await?;
            if !all.items.iter().any(|checkpoint| checkpoint.id == after) {
                return Err(Reason::field("after", "is no checkpoint of this job"));
            }
        }
        Ok(page)
    }
}

/// The name that `from` begins with, where it may be an adapter's; anything else is a path.
fn named(from: &str) -> Option<AdapterName> {
    from.split('@').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_multiplier_of_the_default_rate_stands_beside_no_other_rate() {
        let half = |wishes: Wishes, deepspeed: Value| {
            let mut recipes = Recipes::default();
            recipes.put("deepspeed", deepspeed).unwrap();
            joined(&recipes, wishes, Some(0.5))
        };
        let rate = |lr: Value| json!({"optimizer": {"params": {"lr": lr}}});
        let halved = Recipe::default().learning_rate * 0.5;
        let auto = half(Wishes::default(), rate("auto".into())).unwrap();
        assert_eq!(auto.wishes.learning_rate, Some(halved));
        assert_eq!(auto.mappings[0].becomes, format!("`lr` = {halved}"));
        let flags = Wishes {
            learning_rate: Some(halved),
            ..Wishes::default()
        };
        for (wishes, file, place) in [
            (flags, json!({}), "`lr`"),
            (
                Wishes::default(),
                rate(3e-5.into()),
                "`deepspeed.optimizer.params.lr`",
            ),
            (
                Wishes::default(),
                rate(halved.into()),
                "`deepspeed.optimizer.params.lr`",
            ),
        ] {
            let refused = half(wishes, file).unwrap_err();
            let why = format!("cannot be combined with {place}");
            assert_eq!(refused, Reason::field("learning_rate_multiplier", why));
        }
    }

    #[test]
    fn metadata_has_few_and_short_entries() {
        let check = |value: Value| check_metadata(value.as_object().unwrap()).is_ok();
        assert!(check(
            json!({"team": "claims", "k".repeat(64): "v".repeat(512)})
        ));
        for bad in [
            json!({"": "v"}),
            json!({"k".repeat(65): "v"}),
            json!({"k": "v".repeat(513)}),
            json!({"k": 7}),
            (0..17).map(|n| (n.to_string(), json!("v"))).collect(),
        ] {
            assert!(!check(bad.clone()), "{bad}");
        }
    }
}
