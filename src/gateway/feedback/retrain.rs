//! A name learns from its feedback: what is new of it, and what its generation was trained on, become a training file, and
//! that a job which continues the generation.

use super::super::{Caller, JobAsk, Wishes};
use super::rows;
use crate::domain::recipes::Recipes;
use crate::domain::{
    AdapterName, AdapterView, FileView, JobView, Objective, Reason, RowForm, Scope,
};
use crate::store::{Place, Use, joined};
use crate::trainer::check_retraining;

const TRAIN: Scope = Scope::Train;
/// Feedback that is read at a time.
const ROWS: usize = 64;
/// Rows of one retraining; what is more stays for the next.
const MOST: usize = 100_000;

/// A retraining as asked for.
#[derive(Debug, Clone, Default)]
pub struct RetrainAsk {
    /// New rows that it needs; one where absent.
    pub min_rows: Option<u64>,
    /// New corrections among them; none where absent.
    pub min_corrections: Option<u64>,
    pub wishes: Wishes,
    /// Files of other programs that say settings too.
    pub recipes: Recipes,
}

/// What a retraining learns from.
struct Learned {
    file: FileView,
    uses: Vec<Use>,
    replayed: u64,
}

impl Caller {
    /// Runs to its end even if who asked for it goes away: no file is left of which no job was made.
    pub async fn retrain(&self, name: &str, ask: RetrainAsk) -> Result<JobView, Reason> {
        self.check(TRAIN)?;
        let (caller, name) = (self.clone(), name.to_owned());
        joined(tokio::spawn(async move { caller.learn(&name, ask).await })).await
    }

    async fn learn(&self, name: &str, ask: RetrainAsk) -> Result<JobView, Reason> {
        let parts = self.may(TRAIN)?;
        // Taken before there is a file, so that it can be deleted even where the key ends meanwhile.
        let trainer = self.trainer()?;
        let missing = || Reason::NoSuchAdapter(name.chars().take(200).collect());
        let name: AdapterName = name.parse().map_err(|_| missing())?;
        self.see(&name)?;
        if ask.wishes.from.is_some() {
            let why = "is the generation that the name serves; leave it out";
            return Err(Reason::field("from", why));
        }
        let _alone = parts.feedback.inner.retraining.lock().await;
        let current = parts.registry.show(&name).await?;
        if let Some(job) = parts.trainer.at_work_on(&name).await? {
            return Err(Reason::WrongState(format!(
                "job {job} already trains `{name}`; retrain it when that has ended"
            )));
        }
        let joined = ask.recipes.join(ask.wishes.clone())?;
        // Before any row is looked for: nobody learns by gathering feedback that the settings cannot be.
        check_retraining(&joined.wishes).map_err(|reason| joined.explain(reason))?;
        let objective = joined.wishes.objective.unwrap_or(Objective::Sft);
        let learned = self.learned(&current, objective, (ask.min_rows, ask.min_corrections));
        let Learned {
            file,
            uses,
            replayed,
        } = learned.await?;
        let note = |key: &str, value: String| (key.to_owned(), value.into());
        let job = JobAsk {
            name: Some(name.to_string()),
            training_file: file.id.to_string(),
            wishes: Wishes {
                from: Some(format!("{name}@{}", current.generation)),
                ..ask.wishes
            },
            recipes: ask.recipes,
            metadata: [
                note("made_from", "feedback".to_owned()),
                note("feedback_rows", uses.len().to_string()),
                note("replayed_rows", replayed.to_string()),
            ]
            .into_iter()
            .collect(),
            ..JobAsk::default()
        };
        let created = self.create_job_of(job, &uses).await;
        match &created {
            Ok(job) => {
                let rows = uses.len();
                tracing::info!(adapter = %name, job = %job.id, rows, replayed, from = %current.generation, "retraining");
            }
            // A file that nothing was made of. What cannot be deleted stays in the list of files.
            Err(_) => drop(trainer.delete_file(&file.id).await),
        }
        created
    }

    /// Writes the rows down: first those of before, then the new ones, of which and of whose corrections some are needed.
    async fn learned(
        &self,
        current: &AdapterView,
        objective: Objective,
        (min_rows, min_corrections): (Option<u64>, Option<u64>),
    ) -> Result<Learned, Reason> {
        let (parts, asker) = (self.may(TRAIN)?, self.asker());
        let name = &current.id;
        let form = match objective {
            Objective::Sft => RowForm::Sft,
            Objective::Dpo => RowForm::Dpo,
        };
        parts.feedback.settle().await;
        let filename = format!("retrain-{name}.jsonl");
        let mut file = self.receive_file(&filename).await?;
        let before = parts
            .trainer
            .trained_on(name, current.generation, objective, &asker);
        let replayed = match before.await? {
            Some(before) => parts.trainer.copy_rows(&before, &mut file).await?,
            None => 0,
        };
        let (mut uses, mut corrections, mut after) = (Vec::new(), 0_u64, 0);
        while uses.len() < MOST {
            let place = Place {
                asker: &asker,
                adapter: name.as_str(),
                is_fresh: true,
                after,
            };
            let stored = self.may(TRAIN)?.feedback.stored();
            let given = stored.usable(place, ROWS).await?;
            let Some(last) = given.last() else { break };
            after = last.used.number;
            let mut lines = String::new();
            for given in &given {
                if let Some(row) = rows::row(given, form, None) {
                    lines.push_str(&row.to_string());
                    lines.push('\n');
                    uses.push(given.used);
                    corrections += u64::from(given.correction.is_some());
                }
            }
            file.write(lines.into()).await?;
        }
        let least = min_rows.unwrap_or(1).max(1);
        if (uses.len() as u64) < least {
            return Err(Reason::WrongState(format!(
                "`{name}` has {} new rows of feedback to learn from, and {least} are needed: corrections, and answers with a score above 0, \
                 whose prompts are kept (`capture = true` under `[feedback]`)",
                uses.len()
            )));
        }
        let least = min_corrections.unwrap_or(0);
        if corrections < least {
            return Err(Reason::WrongState(format!(
                "`{name}` has {corrections} new corrections to learn from, and {least} are needed"
            )));
        }
        let file = self.keep_file(file, "fine-tune").await?;
        Ok(Learned {
            file,
            uses,
            replayed,
        })
    }
}
