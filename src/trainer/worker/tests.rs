use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use super::*;
use crate::adapter::Precision;
use crate::device::Turns;
use crate::domain::{AdapterChoice, Asker, EventData, FileId, HeldOut, JobView, Recipe};
use crate::kernels::quant::Format;
use crate::model::{Base, KvKind, Origin, Quant};
use crate::registry::{BaseIdentity, Registry};
use crate::store::Database;
use crate::trainer::{Config, NewJob, Trainer, Wishes};

const LONGEST_WAIT: Duration = Duration::from_secs(60);

fn base() -> Arc<Base> {
    static BASE: OnceLock<Arc<Base>> = OnceLock::new();
    let open = || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/llama");
        Arc::new(
            Base::open(
                &Origin::Folder(folder),
                Some(Quant::To(Format::F32)),
                KvKind::Auto,
            )
            .unwrap(),
        )
    };
    BASE.get_or_init(open).clone()
}

/// A trainer with a registry and a folder of its own.
struct Shop {
    trainer: Trainer,
    registry: Registry,
    database: Database,
    folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    async fn at(folder: tempfile::TempDir) -> Self {
        Self::with(folder, 1).await
    }

    /// With so many jobs at a time.
    async fn with(folder: tempfile::TempDir, parallel_jobs: usize) -> Self {
        let (base, dir) = (base(), folder.path());
        let database = Database::open(&dir.join("state.db")).await.unwrap();
        let identity = BaseIdentity {
            name: base.name.clone(),
            digest: base.digest,
            sites: base.model.sites().to_vec(),
            weights: base.clone(),
        };
        let config = crate::registry::Config {
            dir: dir.join("registry"),
            root: dir.join("incoming"),
            resident_bytes: 1 << 30,
            max_rank: 64,
            keep_versions: 2,
            precision: Precision::Exact,
            max_file_bytes: 1 << 20,
            room_wait: Duration::ZERO,
            turns: Turns::default(),
        };
        let registry = Registry::open(
            database.clone(),
            identity,
            config,
            Arc::new(crate::registry::Unobserved),
        )
        .await
        .unwrap();
        let config = Config {
            dir: dir.join("training"),
            max_file_bytes: 1 << 20,
            max_queued: 3,
            parallel_jobs,
            max_rank: 64,
        };
        let trainer = Trainer::open(
            database.clone(),
            base,
            registry.clone(),
            Turns::default(),
            config,
        )
        .await
        .unwrap();
        Self {
            trainer,
            registry,
            database,
            folder,
        }
    }

    /// Ends this process's part and begins again on the same folder.
    async fn reopen(self) -> Self {
        self.trainer.shutdown().await;
        self.database.close().await;
        Self::at(self.folder).await
    }

    async fn file(&self, text: &str) -> FileId {
        self.trainer
            .put_file("rows.jsonl", "fine-tune", text.to_owned().into())
            .await
            .unwrap()
            .id
    }

    async fn rows(&self) -> FileId {
        let rows = (0..12).map(|i| {
            format!(r#"{{"instruction":"Write the number {i} in brackets.","output":"[{i}]"}}"#)
        });
        self.file(&rows.collect::<Vec<_>>().join("\n")).await
    }

    async fn create(&self, name: &str, file: &FileId, wishes: Wishes) -> Result<JobView, Reason> {
        let job = NewJob {
            asker: Asker::default(),
            name: name.parse().unwrap(),
            training_file: file.clone(),
            validation_file: None,
            wishes,
            mappings: Vec::new(),
            metadata: serde_json::Map::new(),
            notes: vec!["`user` has no effect".into()],
        };
        self.order(job).await
    }

    async fn order(&self, job: NewJob) -> Result<JobView, Reason> {
        let prepared = self.trainer.prepare(job).await?;
        self.trainer.create(prepared).await
    }

    async fn status(&self, id: &JobId) -> JobStatus {
        self.trainer.job(id).await.unwrap().status
    }

    /// Waits until the job has the status, by its events.
    async fn until(&self, id: &JobId, wanted: JobStatus) -> JobView {
        let mut live = self.trainer.watch();
        let reached = async {
            loop {
                let job = self.trainer.job(id).await.unwrap();
                if job.status == wanted {
                    return job;
                }
                assert!(!job.status.is_final(), "{:?}: {:?}", job.status, job.error);
                // Woken by events; statuses that change without one are looked for again.
                let _ = tokio::time::timeout(Duration::from_millis(200), live.recv()).await;
            }
        };
        tokio::time::timeout(LONGEST_WAIT, reached)
            .await
            .expect("the status is reached")
    }

    /// Waits until the job has stored the event of a step.
    async fn until_stepped(&self, id: &JobId) {
        let mut live = self.trainer.watch();
        let told = async {
            while self.losses(id).await.is_empty() {
                let _ = tokio::time::timeout(Duration::from_millis(200), live.recv()).await;
            }
        };
        tokio::time::timeout(LONGEST_WAIT, told)
            .await
            .expect("a step is told");
    }

    /// Loss of every step that has an event.
    async fn losses(&self, id: &JobId) -> BTreeMap<u64, f64> {
        let events = self.trainer.events(id, None, 100_000).await.unwrap().items;
        let mut losses = BTreeMap::new();
        for event in events {
            let EventData::Step(metrics) = event.data else {
                continue;
            };
            let again = losses.insert(metrics.step, metrics.train_loss.unwrap());
            assert!(again.is_none(), "step {} is told twice", metrics.step);
        }
        losses
    }

    async fn messages(&self, id: &JobId) -> String {
        let events = self.trainer.events(id, None, 100_000).await.unwrap().items;
        events
            .iter()
            .map(|event| event.message.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn short() -> Wishes {
    Wishes {
        rank: Some(4),
        steps: Some(12),
        batch_size: Some(4),
        dropout: Some(0.1),
        learning_rate: Some(1e-2),
        ..Wishes::default()
    }
}

/// Far more steps than any test waits for.
fn endless() -> Wishes {
    Wishes {
        steps: Some(1_000_000),
        ..short()
    }
}

#[tokio::test]
async fn a_job_trains_scores_publishes_and_its_name_answers() {
    let shop = Shop::open().await;
    let wishes = Wishes {
        eval_split: Some(3.0),
        eval_every: Some(6),
        ..short()
    };
    let queued = shop
        .create("numbers", &shop.rows().await, wishes)
        .await
        .unwrap();
    assert_eq!((queued.status, queued.total_steps), (JobStatus::Queued, 12));
    let done = shop.until(&queued.id, JobStatus::Succeeded).await;
    assert_eq!(done.step, 12);
    assert!(
        done.finished_at.is_some() && done.train_loss.is_some() && done.trained_tokens.is_some()
    );
    assert!(
        done.trainable_parameters
            .is_some_and(|(trainable, all)| 0 < trainable && trainable < all)
    );

    let events = shop.trainer.events(&queued.id, None, 1000).await.unwrap();
    let summary = events.items.iter().find_map(|event| match &event.data {
        EventData::Summary(summary) => Some(summary),
        _ => None,
    });
    let summary = summary.expect("held-out rows are summed up");
    assert_eq!((summary.held_out_rows, summary.examples.len()), (3, 3));
    assert!(
        summary
            .best_step
            .is_some_and(|step| step == 6 || step == 12)
    );
    let loss = |held: &Option<HeldOut>| held.unwrap().loss.unwrap();
    assert!(loss(&summary.after) < loss(&summary.before));
    for row in &summary.examples {
        assert!(row.prompt.contains("in brackets") && row.expected.starts_with('['));
        assert_ne!(row.before, row.after, "{row:?}");
    }

    let losses = shop.losses(&queued.id).await;
    assert_eq!(
        losses.keys().copied().collect::<Vec<_>>(),
        (1..=12).collect::<Vec<_>>()
    );
    assert!(losses[&12] < losses[&1]);
    assert_eq!(done.train_loss, Some(losses[&12]));
    let messages = shop.messages(&queued.id).await;
    assert!(
        messages.contains("`user` has no effect") && messages.contains("served as `numbers`"),
        "{messages}"
    );

    let view = shop
        .registry
        .show(&"numbers".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(Some(view.generation), done.generation);
    assert_eq!(view.source, format!("job:{}", queued.id));
    let evaluation = view.evaluation.unwrap();
    assert!(
        evaluation["adapter"]["loss"].as_f64() < evaluation["base"]["loss"].as_f64(),
        "{evaluation}"
    );
    let choice = AdapterChoice::Named {
        name: "numbers".parse().unwrap(),
        pin: None,
    };
    assert!(shop.registry.lease(&choice).await.unwrap().is_some());
    // The folder goes after the end is stored, since a crash in between must still find its checkpoints.
    let folder = shop
        .folder
        .path()
        .join("training/jobs")
        .join(queued.id.as_str());
    let gone = async {
        while folder.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone)
        .await
        .expect("nothing is left behind");
    let checkpoints = shop
        .trainer
        .checkpoints(&queued.id, None, 10)
        .await
        .unwrap()
        .items;
    assert_eq!(checkpoints[0].step, 12);
}

#[tokio::test]
async fn a_paused_and_restarted_job_ends_as_an_undisturbed_one() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let wishes = Wishes {
        steps: Some(400),
        save_every: Some(7),
        ..short()
    };
    let calm = shop.create("calm", &rows, wishes.clone()).await.unwrap().id;
    let calm_view = shop.until(&calm, JobStatus::Succeeded).await;

    let id = shop.create("disturbed", &rows, wishes).await.unwrap().id;
    shop.until_stepped(&id).await;
    assert_eq!(
        shop.trainer.pause(&id).await.unwrap().status,
        JobStatus::Paused
    );
    assert_eq!(
        shop.trainer.pause(&id).await.unwrap().status,
        JobStatus::Paused
    );
    assert!(shop.trainer.job(&id).await.unwrap().step < 400);
    let losses = shop.losses(&calm).await;
    let shop = shop.reopen().await;
    assert_eq!(
        shop.status(&id).await,
        JobStatus::Paused,
        "a pause outlives the process"
    );
    shop.trainer.resume(&id).await.unwrap();
    let told = shop.losses(&id).await.len();
    let mut live = shop.trainer.watch();
    while shop.losses(&id).await.len() <= told && !shop.status(&id).await.is_final() {
        let _ = tokio::time::timeout(Duration::from_millis(200), live.recv()).await;
    }
    let shop = shop.reopen().await;
    let view = shop.until(&id, JobStatus::Succeeded).await;
    assert_eq!(shop.losses(&id).await, losses);
    assert_eq!(
        view.generation, calm_view.generation,
        "the same bytes are published"
    );
}

#[tokio::test]
async fn a_cancelled_job_stays_cancelled_and_publishes_nothing() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let running = shop.create("endless", &rows, endless()).await.unwrap().id;
    let waiting = shop.create("after", &rows, short()).await.unwrap().id;
    shop.until_stepped(&running).await;
    assert_eq!(
        shop.status(&waiting).await,
        JobStatus::Queued,
        "one job runs at a time"
    );
    assert_eq!(
        shop.trainer.cancel(&running).await.unwrap().status,
        JobStatus::Cancelled
    );
    assert_eq!(
        shop.trainer.cancel(&running).await.unwrap().status,
        JobStatus::Cancelled
    );
    shop.until(&waiting, JobStatus::Succeeded).await;
    assert_eq!(shop.status(&running).await, JobStatus::Cancelled);
    assert!(
        shop.registry
            .show(&"endless".parse().unwrap())
            .await
            .is_err()
    );
    for refused in [
        shop.trainer.cancel(&waiting).await,
        shop.trainer.pause(&waiting).await,
        shop.trainer.resume(&running).await,
    ] {
        assert!(matches!(refused, Err(Reason::WrongState(_))), "{refused:?}");
    }
    assert!(matches!(
        shop.trainer.cancel(&JobId::new("x")).await,
        Err(Reason::NoSuchJob(_))
    ));
}

mod asking;
mod checkpoints;
mod formats;
mod holding;
mod publishing;
mod together;
