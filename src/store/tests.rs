//! Jobs, their events and the files they need, against a real database.

mod files;
mod limits;

use serde_json::json;

use super::*;
use crate::domain::recipes::{Effect, Mapping};
use crate::domain::rollout::Publish;
use crate::domain::{
    Actor, Asker, EventData, FileId, Generation, JobId, JobStatus, JobView, KeyId, KeyLimits,
    Level, Reason, Recipe, StepMetrics,
};

const MODEL: &str = "base";
const DIGEST: &str = "b0";

/// A store of its own; the folder goes with it.
struct Home {
    jobs: Jobs,
    uploads: Uploads,
    folder: tempfile::TempDir,
}

impl Home {
    async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    async fn at(folder: tempfile::TempDir) -> Self {
        let database = Database::open(&folder.path().join("test.db"))
            .await
            .unwrap();
        let files = folder.path().join("files");
        Self {
            jobs: Jobs::new(database.clone()),
            uploads: Uploads::open(database, files, 64).await.unwrap(),
            folder,
        }
    }

    async fn file(&self) -> FileId {
        let put = self.uploads.put("a.jsonl", "fine-tune", "abc".into());
        put.await.unwrap().id
    }

    async fn job(&self, id: &str, file: &FileId) -> JobId {
        let created = self
            .jobs
            .create(
                &new_job(id, file),
                &[],
                &KeyLimits::default(),
                &Actor::system(),
            )
            .await;
        assert!(created.unwrap().is_some());
        JobId::new(id)
    }

    async fn status(&self, id: &JobId) -> JobStatus {
        self.jobs.job(id).await.unwrap().view.status
    }
}

fn event() -> NewEvent {
    NewEvent::message(Level::Info, "told")
}

/// As rows have it since the first release: whatever settings are added, these stay readable.
fn recipe() -> Recipe {
    serde_json::from_value(json!({
        "method": "lora", "rank": 8, "alpha": 16.0, "use_rslora": false, "dropout": 0.05,
        "targets": ["q_proj", "v_proj"], "epochs": 3.0, "steps": null, "batch_size": 8, "micro_batch": 2,
        "learning_rate": 0.1 + 0.2, "schedule": "linear", "warmup": 0.03, "max_seq": 512, "seed": 42,
        "eval_split": 0.1, "eval_every": null, "save_every": 5, "weight_decay": 0.0, "adam_beta1": 0.9,
        "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0, "from": null, "shuffle": true, "pack": true
    }))
    .unwrap()
}

fn new_job(id: &str, file: &FileId) -> JobRow {
    let view = JobView {
        owner: None,
        id: JobId::new(id),
        status: JobStatus::Queued,
        created_at: now(),
        finished_at: None,
        estimated_finish: None,
        model: MODEL.into(),
        name: "legal".into(),
        generation: None,
        published: false,
        training_file: file.clone(),
        validation_file: None,
        recipe: recipe(),
        mappings: vec![Mapping {
            key: "deepspeed.zero_optimization.stage".into(),
            value: json!(3),
            becomes: "held once".into(),
            effect: Effect::None,
        }],
        metadata: serde_json::from_value(json!({"team": "x"})).unwrap(),
        trained_tokens: None,
        step: 0,
        total_steps: 10,
        train_loss: None,
        trainable_parameters: Some((3, 100)),
        error: None,
    };
    let parent = Some(Generation::new([9; 32]));
    JobRow {
        view,
        base_digest: DIGEST.into(),
        data_digest: "d".into(),
        parent,
        publishing: None,
        planned_tokens: 0,
    }
}

const PUBLISHING: Publishing = Publishing {
    before: None,
    after: Generation::new([1; 32]),
    way: Way::As(Publish::Now),
};

#[tokio::test]
async fn a_job_is_stored_field_for_field() {
    let home = Home::new().await;
    let file = home.file().await;
    let id = home.job("a", &file).await;
    assert_eq!(home.jobs.job(&id).await.unwrap(), new_job("a", &file));
}

#[tokio::test]
async fn jobs_are_claimed_in_the_order_of_their_creation() {
    let home = Home::new().await;
    let file = home.file().await;
    for id in ["b", "a", "c"] {
        home.job(id, &file).await;
    }
    let jobs = &home.jobs;
    let claimed = async || jobs.claim(DIGEST).await.unwrap().map(|job| job.view.id);
    assert_eq!(claimed().await, Some(JobId::new("b")));
    let cancelled = jobs
        .cancel(&JobId::new("a"), &event(), &Actor::system())
        .await
        .unwrap();
    assert_eq!(cancelled.unwrap()[0].message, "told");
    assert_eq!(claimed().await, Some(JobId::new("c")));
    assert_eq!(claimed().await, None);
    jobs.recover().await.unwrap();
    assert_eq!(jobs.queued(DIGEST).await.unwrap(), 2);
    let counts = jobs.counts().await.unwrap();
    assert!(counts.contains(&(JobStatus::Cancelled, 1)));
    let others = jobs.queued_for_other_bases("b1").await.unwrap();
    assert_eq!(others[0], (JobId::new("b"), MODEL.to_owned()));
}

#[tokio::test]
async fn a_cancel_and_the_end_of_a_job_cannot_both_win() {
    let home = Home::new().await;
    let (jobs, file) = (&home.jobs, home.file().await);
    let succeed = async |id| {
        jobs.succeed(id, (PUBLISHING.after, 0, true), &event())
            .await
            .unwrap()
    };
    let cancelled = home.job("a", &file).await;
    jobs.claim(DIGEST).await.unwrap();
    let cancel = async |id| {
        jobs.cancel(id, &event(), &Actor::system())
            .await
            .unwrap()
            .is_some()
    };
    assert!(cancel(&cancelled).await);
    assert!(!cancel(&cancelled).await);
    let begun = jobs.begin_publishing(&cancelled, &PUBLISHING).await;
    assert!(!begun.unwrap());
    assert!(succeed(&cancelled).await.is_none());
    assert_eq!(home.status(&cancelled).await, JobStatus::Cancelled);
    let told = jobs.events(&cancelled, None, 9).await.unwrap();
    assert_eq!(told.items.len(), 1, "what did not happen is not told");

    let done = home.job("b", &file).await;
    jobs.claim(DIGEST).await.unwrap();
    let begun = jobs.begin_publishing(&done, &PUBLISHING).await;
    assert!(begun.unwrap());
    assert!(!cancel(&done).await);
    let paused = jobs
        .pause(&done, JobStatus::Running, &event(), Some(&Actor::system()))
        .await;
    assert!(paused.unwrap().is_none());
    jobs.recover().await.unwrap();
    let again = jobs.claim(DIGEST).await.unwrap().unwrap();
    assert_eq!(again.publishing, Some(PUBLISHING));
    let way = Way::Withheld("it is worse".into());
    assert!(jobs.change_way(&done, &way).await.unwrap() && !way.is_served());
    let told = jobs.job(&done).await.unwrap().publishing.unwrap();
    assert_eq!(told, Publishing { way, ..PUBLISHING });
    assert!(succeed(&done).await.is_some());
    let job = jobs.job(&done).await.unwrap();
    assert_eq!(job.view.generation, Some(PUBLISHING.after));
}

#[tokio::test]
async fn a_paused_job_waits_again_once_resumed() {
    let home = Home::new().await;
    let (jobs, file) = (&home.jobs, home.file().await);
    let id = home.job("a", &file).await;
    let resume = async || {
        jobs.resume(&id, &event(), &Actor::system())
            .await
            .unwrap()
            .is_some()
    };
    assert!(!resume().await);
    let paused = jobs
        .pause(&id, JobStatus::Queued, &event(), Some(&Actor::system()))
        .await;
    assert!(paused.unwrap().is_some());
    assert!(jobs.claim(DIGEST).await.unwrap().is_none());
    assert!(resume().await);
    assert!(jobs.claim(DIGEST).await.unwrap().is_some());
    let error = JobError {
        code: "storage_failed",
        message: "why",
        param: Some("rank"),
    };
    let failed = jobs.fail(&id, error, &event()).await.unwrap();
    assert!(failed.is_some());
    let job = jobs.job(&id).await.unwrap().view;
    let error = ("storage_failed".into(), "why".into(), Some("rank".into()));
    assert_eq!(job.error, Some(error));
    assert!(resume().await);
}

#[tokio::test]
async fn what_is_over_is_no_longer_unfinished() {
    let home = Home::new().await;
    let (jobs, file) = (&home.jobs, home.file().await);
    for (id, code) in [("failed", "storage_failed"), ("diverged", "diverged")] {
        let id = home.job(id, &file).await;
        jobs.claim(DIGEST).await.unwrap();
        let (message, param) = ("why", None);
        let error = JobError {
            code,
            message,
            param,
        };
        jobs.fail(&id, error, &event()).await.unwrap();
    }
    let cancelled = home.job("cancelled", &file).await;
    jobs.cancel(&cancelled, &event(), &Actor::system())
        .await
        .unwrap();
    home.job("queued", &file).await;
    let unfinished = jobs.unfinished().await.unwrap();
    assert_eq!(unfinished.len(), 2);
    for job in jobs.list(&Asker::default(), None, 9).await.unwrap().items {
        let id = job.id.to_string();
        assert_eq!(unfinished.contains(&id), !is_over(&job), "{id}");
    }
}

#[tokio::test]
async fn a_step_is_told_once_and_progress_never_goes_back() {
    let home = Home::new().await;
    let jobs = &home.jobs;
    let id = home.job("a", &home.file().await).await;
    let loss = 0.1 + 0.2;
    let step = |n: u64| {
        let metrics = StepMetrics {
            step: n,
            train_loss: Some(loss),
            ..StepMetrics::default()
        };
        NewEvent::about(format!("step {n}"), EventData::Step(metrics))
    };
    let far = |step, loss| JobProgress {
        step,
        tokens: step * 10,
        train_loss: Some(loss),
        estimated_finish: Some(7),
    };
    let (first, progress) = ([step(1), step(2)], far(2, loss));
    let told = jobs.record(&id, &first, Some(&progress)).await;
    assert_eq!(told.unwrap().len(), 2);
    let again = [
        NewEvent::message(Level::Info, "continuing"),
        step(2),
        step(3),
    ];
    let told = jobs.record(&id, &again, Some(&far(1, 9.0))).await;
    assert_eq!(told.unwrap().len(), 2);

    let page = jobs.events(&id, None, 3).await.unwrap();
    assert!(page.has_more);
    let messages: Vec<_> = page.items.iter().map(|event| &event.message[..]).collect();
    assert_eq!(messages, ["step 3", "continuing", "step 2"]);
    assert_eq!(page.items[0].data, step(3).data);
    let rest = jobs.events(&id, Some(page.items[2].seq), 3).await.unwrap();
    assert_eq!((rest.items.len(), rest.has_more), (1, false));
    let view = jobs.job(&id).await.unwrap().view;
    assert_eq!(
        (view.step, view.train_loss, view.trained_tokens),
        (2, Some(loss), Some(20))
    );
}

#[tokio::test]
async fn steps_that_are_done_again_in_another_way_are_told_again() {
    let home = Home::new().await;
    let jobs = &home.jobs;
    let id = home.job("a", &home.file().await).await;
    let step = |n: u64, loss| {
        let metrics = StepMetrics {
            step: n,
            train_loss: Some(loss),
            ..StepMetrics::default()
        };
        NewEvent::about(format!("step {n}"), EventData::Step(metrics))
    };
    let far = |step, loss| JobProgress {
        step,
        tokens: step * 10,
        train_loss: Some(loss),
        estimated_finish: None,
    };
    let first = [step(1, 3.0), step(2, 8.0), step(3, 9.0)];
    jobs.record(&id, &first, Some(&far(3, 9.0))).await.unwrap();
    jobs.forget_steps(&id, 1).await.unwrap();
    let again = [step(1, 3.0), step(2, 2.0)];
    let told = jobs.record(&id, &again, Some(&far(2, 2.0))).await.unwrap();
    assert_eq!(told.len(), 1, "the first step stands as it was told");
    assert_eq!(told[0].data, step(2, 2.0).data);
    let events = jobs.events(&id, None, 9).await.unwrap().items;
    assert_eq!(events.len(), 4, "what was told stays");
    let view = jobs.job(&id).await.unwrap().view;
    assert_eq!((view.step, view.train_loss), (2, Some(2.0)));
}

#[tokio::test]
async fn only_checkpoints_that_are_kept_are_listed() {
    let home = Home::new().await;
    let jobs = &home.jobs;
    let id = home.job("a", &home.file().await).await;
    for (step, kept) in [(3, vec![3]), (6, vec![6, 3]), (9, vec![9, 6])] {
        let (metrics, saved) = (json!({"step": step}), event());
        let told = jobs.keep_checkpoints(&id, (step, &metrics), &kept, &saved);
        assert_eq!(told.await.unwrap().len(), 1);
    }
    let page = jobs.checkpoints(&id, None, 1).await.unwrap();
    assert_eq!((page.items[0].step, page.has_more), (9, true));
    let rest = jobs.checkpoints(&id, Some(&page.items[0].id), 5).await;
    let steps: Vec<_> = rest.unwrap().items.iter().map(|c| c.step).collect();
    assert_eq!(steps, [6]);
}

#[tokio::test]
async fn files_and_jobs_are_listed_newest_first_in_pages() {
    let home = Home::new().await;
    let mut files = Vec::new();
    for id in ["x", "y", "z"] {
        files.push(home.file().await);
        home.job(id, &files[0]).await;
    }
    let page = home.uploads.list(&Asker::default(), None, 2).await.unwrap();
    let listed: Vec<_> = page.items.iter().map(|file| &file.id).collect();
    assert_eq!((listed, page.has_more), (vec![&files[2], &files[1]], true));
    let rest = home
        .uploads
        .list(&Asker::default(), Some(&files[1]), 2)
        .await
        .unwrap();
    assert_eq!((&rest.items[0].id, rest.has_more), (&files[0], false));
    let jobs = home
        .jobs
        .list(&Asker::default(), Some(&JobId::new("z")), 1)
        .await
        .unwrap();
    assert_eq!((&jobs.items[0].id, jobs.has_more), (&JobId::new("y"), true));
}
