//! How a job comes to be: everything about it is checked before anything of it is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use super::data::report::at_a_glance;
use super::data::{Examples, Length, RowReader};
use super::gate;
use super::opening::opening;
use super::plan::{Data, Parent, Plan, digest, settle};
use super::recipe::Wishes;
use super::room::Room;
use super::service::Trainer;
use super::shared::Shared;
use crate::domain::recipes::Mapping;
use crate::domain::{
    AdapterChoice, AdapterName, Asker, FileId, JobId, JobPlan, JobStatus, JobView, Reason, Recipe,
};
use crate::kernels::pool::{self, Class};
use crate::store::{self, Artefacts, Beside, JobRow, Stored, Use, blocking, disk_fault, now};

/// Sent as `retry-after` (seconds) to a caller that is refused for now.
const COME_BACK: u64 = 60;
/// Longest wait for earlier jobs' data to be checked.
pub const CHECK_WAIT: Duration = Duration::from_secs(10);

/// The adapter that a job continues from, in the job's folder.
pub const PARENT: &str = "parent";

/// A job that nothing is wrong with.
struct Checked {
    id: JobId,
    /// Where its rows were written down.
    folder: Unrecorded,
    plan: Plan,
    /// How long the rows are that it learns from.
    rows: Vec<Length>,
    /// What it may take.
    room: Option<Room>,
    /// What to tell where it may take less than it asks for, or why it cannot run.
    fits: Result<Option<String>, Reason>,
    created_at: i64,
}

/// A job that may be recorded.
pub struct Prepared {
    job: NewJob,
    id: JobId,
    folder: Unrecorded,
    plan: Plan,
    planned_tokens: u64,
    created_at: i64,
}

/// A job as asked for.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub name: AdapterName,
    pub training_file: FileId,
    pub validation_file: Option<FileId>,
    pub wishes: Wishes,
    /// What became of the recipes that came with it.
    pub mappings: Vec<Mapping>,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What was asked for and has no effect: becomes the job's first warnings.
    pub notes: Vec<String>,
    /// Whose it is, and whose files it may use.
    pub asker: Asker,
}

impl Trainer {
    /// Checks every setting and every row. Nothing is kept of it until [`create`](Self::create).
    ///
    /// # Errors
    /// `BadField` naming the setting, `BadRows` with the lines at fault, `NotEnoughMemory` where no form of it fits,
    /// `Overloaded` when too many jobs wait.
    pub async fn prepare(&self, mut job: NewJob) -> Result<Prepared, Reason> {
        let shared = &self.shared;
        if shared.store.queued(&shared.base_digest()).await? >= self.max_queued {
            return Err(Reason::Overloaded {
                retry_after: COME_BACK,
            });
        }
        shared.store.check_limits(&job.asker).await?;
        let checked = self.check(&job).await?;
        job.notes.extend(checked.fits?);
        Ok(Prepared {
            planned_tokens: checked.plan.tokens(&checked.rows),
            job,
            id: checked.id,
            folder: checked.folder,
            plan: checked.plan,
            created_at: checked.created_at,
        })
    }

    /// Records the job; it is queued when this returns.
    pub async fn create(&self, prepared: Prepared) -> Result<JobView, Reason> {
        self.create_of(prepared, None).await
    }

    /// The same of a job that learns from `feedback`.
    pub async fn create_of(
        &self,
        prepared: Prepared,
        feedback: Option<&[Use]>,
    ) -> Result<JobView, Reason> {
        let Prepared {
            job,
            id,
            folder,
            plan,
            planned_tokens,
            created_at,
        } = prepared;
        if plan.parent.is_some() {
            self.keep_parent(&id, &plan).await?;
        }
        let view = self
            .record(id, job, (&plan, planned_tokens), created_at, feedback)
            .await?;
        folder.keep();
        Ok(view)
    }

    /// What such a job would be and take. Keeps nothing.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), but that it may take more memory than there is.
    pub async fn plan(&self, job: NewJob) -> Result<JobPlan, Reason> {
        let Checked {
            folder,
            plan,
            rows,
            room,
            ..
        } = self.check(&job).await?;
        let base = self.shared.base.clone();
        let name = job.name.to_string();
        blocking(move || {
            let shown = plan.shown(&base, name, (&rows, room), job.notes);
            drop(folder);
            Ok(shown)
        })
        .await
    }

    /// Everything about a job that can be wrong, but its memory.
    async fn check(&self, job: &NewJob) -> Result<Checked, Reason> {
        let shared = &self.shared;
        if job.name.as_str() == shared.base.name {
            return Err(Reason::field("suffix", "is the name of the base model"));
        }
        let turn = turn(&shared.checks, CHECK_WAIT).await?;
        let created_at = now();
        let asker = &job.asker;
        let training = self
            .stored(&job.training_file, "training_file", asker)
            .await?;
        let validation = match &job.validation_file {
            Some(file) => Some(self.stored(file, "validation_file", asker).await?),
            None => None,
        };
        let parent = self.parent(job.wishes.from.as_deref()).await?;
        let recipe = settle(
            &job.wishes,
            parent.as_ref().map(|parent| parent.adapter.as_ref()),
            &shared.base,
        )?;
        let in_the_way = gate::in_the_way(&recipe, &job.name, &shared.registry)?;
        let id = JobId::new(&Uuid::new_v4().simple().to_string());
        let room = shared.room(&recipe);
        let (of, folder) = (shared.clone(), Unrecorded(Some(shared.job_folder(&id))));
        let (plan, rows, fits, folder) = blocking(move || {
            // A caller that goes away does not end this: the turn is given back when the work is done.
            let _turn = turn;
            let files = (&training, validation.as_ref());
            let mut plan = of.plan(&folder.data(), recipe, parent, files, created_at)?;
            let glance = of.glance(files, &plan.recipe)?;
            plan.warnings.extend(glance);
            plan.warnings.extend(in_the_way);
            let rows = plan.train.lengths()?;
            plan.decide(&of.base, &rows, room);
            let fits = plan.check_room(&of.base, &rows, room);
            Ok((plan, rows, fits, folder))
        })
        .await?;
        let rank = plan.method.rank();
        if rank > self.max_rank {
            let why = format!("{rank} is above {}, the most that is served", self.max_rank);
            return Err(Reason::field("rank", why));
        }
        let (file, memory) = plan.method.sizes();
        if let Err(why) = shared.registry.check_room(file, memory) {
            return Err(Reason::field("method", why));
        }
        Ok(Checked {
            id,
            folder,
            plan,
            rows,
            room,
            fits,
            created_at,
        })
    }

    /// A file that `field` names, if it exists for the asker.
    pub(super) async fn stored(
        &self,
        id: &FileId,
        field: &str,
        asker: &Asker,
    ) -> Result<Stored, Reason> {
        let missing = || Reason::field(field, format!("file `{id}` does not exist"));
        match self.shared.uploads.stored(id).await {
            Err(Reason::NoSuchFile(_)) => Err(missing()),
            Ok(stored) if !asker.sees(stored.owner.as_ref()) => Err(missing()),
            stored => stored,
        }
    }

    /// The adapter `from` names: a registered one, else a folder under the adapter root.
    pub(super) async fn parent(&self, from: Option<&str>) -> Result<Option<Parent>, Reason> {
        let Some(from) = from else { return Ok(None) };
        let Some(choice) = registered(from) else {
            return self.folder(from).await.map(Some);
        };
        match self.shared.registry.original(&choice).await {
            Ok(Some(adapter)) => Ok(Some(Parent {
                generation: Some(adapter.generation()),
                adapter: Arc::new(adapter),
            })),
            Ok(None) => Err(Reason::field(
                "from",
                "names the base; leave it out to start anew",
            )),
            Err(reason @ Reason::NoSuchAdapter(_)) => match self.folder(from).await {
                Err(Reason::PathNotFound(_)) => Err(Reason::field("from", reason.to_string())),
                adapter => adapter.map(Some),
            },
            Err(reason @ Reason::NoSuchGeneration { .. }) => {
                Err(Reason::field("from", reason.to_string()))
            }
            Err(reason) => Err(reason),
        }
    }

    async fn folder(&self, path: &str) -> Result<Parent, Reason> {
        let files = self.shared.registry.read_folder(path).await?;
        let adapter = self.shared.registry.inspect(files).await?;
        Ok(Parent {
            adapter: Arc::new(adapter),
            generation: None,
        })
    }

    /// The adapter a job continues from is kept with the job: it may be unregistered before the job runs.
    async fn keep_parent(&self, id: &JobId, plan: &Plan) -> Result<(), Reason> {
        let start = plan.method.start(&self.shared.base.model);
        let files = start.and_then(|start| start.files(&self.shared.base.name));
        let files = files.map_err(|fault| Reason::Internal(fault.to_string()))?;
        let kept = Artefacts::within(&self.shared.job_folder(id));
        blocking(move || {
            let files: Vec<_> = files
                .iter()
                .map(|(name, bytes)| (name.as_str(), &bytes[..]))
                .collect();
            let put = kept.put(PARENT, &files);
            put.map_err(|error| disk_fault("keeping the adapter that a job continues", &error))
        })
        .await
    }

    async fn record(
        &self,
        id: JobId,
        job: NewJob,
        (plan, planned_tokens): (&Plan, u64),
        created_at: i64,
        feedback: Option<&[Use]>,
    ) -> Result<JobView, Reason> {
        let shared = &self.shared;
        let limits = job.asker.limits;
        let row = JobRow {
            view: JobView {
                id: id.clone(),
                owner: job.asker.key,
                status: JobStatus::Queued,
                created_at,
                finished_at: None,
                estimated_finish: None,
                model: shared.base.name.clone(),
                name: job.name.to_string(),
                generation: None,
                published: false,
                training_file: job.training_file,
                validation_file: job.validation_file,
                recipe: plan.recipe.clone(),
                mappings: job.mappings,
                metadata: job.metadata,
                trained_tokens: None,
                step: 0,
                total_steps: plan.total_steps,
                train_loss: None,
                trainable_parameters: Some(plan.parameters(&shared.base.model)),
                error: None,
            },
            base_digest: plan.identity.base_digest.clone(),
            data_digest: plan.identity.data_digest.clone(),
            parent: plan.parent.as_ref().and_then(|parent| parent.generation),
            publishing: None,
            planned_tokens,
        };
        let events = opening(plan, &shared.base.model, &row.view.mappings, job.notes);
        let beside = Beside {
            limits: &limits,
            actor: &self.actor,
            feedback,
        };
        let created = shared.store.create_of(&row, &events, &beside).await?;
        let Some(events) = created else {
            return Err(Reason::field(
                "training_file",
                "a file of this job has just been deleted",
            ));
        };
        shared.broadcast(events);
        shared.control.notify();
        Ok(row.view)
    }
}

/// The folder of a job that is not recorded yet; it goes with this.
struct Unrecorded(Option<PathBuf>);

impl Unrecorded {
    fn data(&self) -> PathBuf {
        self.0.as_deref().map(data_folder).unwrap_or_default()
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        // What cannot be removed now goes when the process starts next.
        if let Some(folder) = &self.0 {
            let _ = store::remove(folder);
        }
    }
}

/// Where a job keeps what was found out about its rows.
pub fn data_folder(job: &Path) -> PathBuf {
    job.join("data")
}

impl Shared {
    /// The plan of a job whose folder for data is `folder`; its rows are checked beside serving. Not for an async thread.
    pub fn plan(
        &self,
        folder: &Path,
        recipe: Recipe,
        parent: Option<Parent>,
        (training, validation): (&Stored, Option<&Stored>),
        time: i64,
    ) -> Result<Plan, Reason> {
        pool::within(Class::Training(self.turns.clone()), || {
            let files: Vec<&Stored> = [Some(training), validation].into_iter().flatten().collect();
            let data = Data {
                training: &training.path,
                validation: validation.map(|file| file.path.as_path()),
                digest: digest(&files)?,
                folder: Some(folder),
                unpacked: self.uploads.max_bytes(),
                go_on: &|| !self.control.stopping(),
            };
            Plan::new(&self.base, recipe, parent, data, time)
        })
    }
}

impl Shared {
    /// What a report finds in a job's files, in short.
    fn glance(
        &self,
        (training, validation): (&Stored, Option<&Stored>),
        recipe: &Recipe,
    ) -> Result<Vec<String>, Reason> {
        let open = |file: &Stored| RowReader::open(&file.path, self.uploads.max_bytes());
        let found = pool::within(Class::Training(self.turns.clone()), || {
            at_a_glance(open(training)?, validation.map(open).transpose()?, recipe)
        });
        found.map_err(|fault| fault.refusal("training_file"))
    }
}

/// A turn to read and check a job's data.
pub async fn turn(
    checks: &Arc<Semaphore>,
    longest: Duration,
) -> Result<OwnedSemaphorePermit, Reason> {
    match timeout(longest, checks.clone().acquire_owned()).await {
        Ok(turn) => turn.map_err(|_| Reason::Draining),
        Err(_) => {
            let retry_after = CHECK_WAIT.as_secs();
            Err(Reason::Overloaded { retry_after })
        }
    }
}

/// `name` or `name@generation`; anything else is a path.
fn registered(from: &str) -> Option<AdapterChoice> {
    let (name, pin) = match from.split_once('@') {
        Some((name, pin)) => (name, Some(pin.parse().ok()?)),
        None => (from, None),
    };
    Some(AdapterChoice::Named {
        name: name.parse().ok()?,
        pin,
    })
}
