//! A process that trains is killed at random moments, over and over; in the end nothing shows of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use adapterd::device::Turns;
use adapterd::domain::{JobEventKind, JobStatus, JobView};
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, Quant};
use adapterd::registry::{self, BaseIdentity, Registry, open_database};
use adapterd::trainer::{self, NewJob, Trainer, Wishes};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Set for the process that is killed: the folder it works in.
const FOLDER: &str = "ADAPTERD_TEST_CRASH_FOLDER";
const NAME: &str = "numbers";
const STEPS: u64 = 120;
const PATIENCE: Duration = Duration::from_secs(120);

/// What a whole job leaves behind.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    /// Bits of every step's loss.
    losses: BTreeMap<u64, u64>,
    generation: String,
    served: String,
}

struct Shop {
    trainer: Trainer,
    registry: Registry,
}

async fn open(folder: &Path) -> Shop {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/llama");
    let base = Arc::new(
        Base::open(
            &Origin::Folder(model),
            Some(Quant::To(Format::Q8_0)),
            KvKind::Auto,
        )
        .unwrap(),
    );
    let pool = open_database(&folder.join("state.db")).await.unwrap();
    let sites = base.model.sites().to_vec();
    let identity = BaseIdentity {
        name: base.name.clone(),
        digest: base.digest,
        sites,
    };
    let config = registry::Config {
        dir: folder.join("registry"),
        root: folder.join("incoming"),
        resident_bytes: 1 << 30,
        max_rank: 64,
        max_file_bytes: 1 << 24,
    };
    let registry = Registry::open(pool.clone(), identity, config)
        .await
        .unwrap();
    let config = trainer::Config {
        dir: folder.join("training"),
        max_file_bytes: 1 << 20,
        max_queued: 4,
        max_rank: 64,
    };
    let trainer = Trainer::open(pool, base, registry.clone(), Turns::default(), config)
        .await
        .unwrap();
    Shop { trainer, registry }
}

impl Shop {
    /// The one job: found where an earlier process left it, else created.
    async fn job(&self) -> JobView {
        if let Some(job) = self.trainer.list(None, 1).await.unwrap().items.pop() {
            return job;
        }
        let rows = (0..16)
            .map(|i| format!(r#"{{"instruction":"Write {i} in brackets.","output":"[{i}]"}}"#));
        let rows = rows.collect::<Vec<_>>().join("\n").into_bytes();
        let file = self
            .trainer
            .put_file("rows.jsonl", "fine-tune", rows)
            .await
            .unwrap();
        let wishes = Wishes {
            rank: Some(4),
            steps: Some(STEPS),
            batch_size: Some(4),
            dropout: Some(0.1),
            learning_rate: Some(5e-3),
            save_every: Some(5),
            eval_split: Some(2.0),
            ..Wishes::default()
        };
        let job = NewJob {
            name: NAME.parse().unwrap(),
            training_file: file.id,
            validation_file: None,
            wishes,
            metadata: serde_json::Map::new(),
            notes: Vec::new(),
        };
        self.trainer.create(job).await.unwrap()
    }

    /// Works until the job has ended, and says what it left.
    async fn finish(&self) -> Outcome {
        let id = self.job().await.id;
        let mut live = self.trainer.watch();
        let ended = async {
            loop {
                let job = self.trainer.job(&id).await.unwrap();
                if job.status.is_final() {
                    return job;
                }
                // Woken by events; a status that changes without one is looked for again.
                let _ = tokio::time::timeout(Duration::from_millis(100), live.recv()).await;
            }
        };
        let job = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("the job ends");
        assert_eq!(job.status, JobStatus::Succeeded, "{:?}", job.error);
        let events = self.trainer.events(&id, None, 100_000).await.unwrap().items;
        let mut losses = BTreeMap::new();
        for event in events
            .iter()
            .filter(|event| event.kind == JobEventKind::Metrics)
        {
            let loss = event.data["train_loss"].as_f64().unwrap().to_bits();
            let again = losses.insert(event.data["step"].as_u64().unwrap(), loss);
            assert!(again.is_none(), "a step is told twice: {}", event.message);
        }
        let served = self.registry.show(&NAME.parse().unwrap()).await.unwrap();
        Outcome {
            losses,
            generation: job.generation.unwrap().to_string(),
            served: served.generation.to_string(),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The process that is killed; does nothing unless the test below started it.
#[test]
fn a_process_that_trains() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let outcome = runtime().block_on(async { open(&folder).await.finish().await });
    std::fs::write(
        folder.join("outcome.json"),
        serde_json::to_vec(&outcome).unwrap(),
    )
    .unwrap();
}

/// Starts the process and lets it live for `life`, or to its end; whether it ended by itself.
fn work(folder: &Path, life: Option<Duration>) -> bool {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::a_process_that_trains", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    if let Some(life) = life {
        // The moment of the kill is what is drawn; nothing waits for it.
        std::thread::sleep(life);
        // SIGKILL on Unix: no destructor runs, nothing is flushed.
        process.kill().unwrap();
    }
    process.wait().unwrap().success()
}

#[test]
fn a_job_killed_again_and_again_ends_as_an_undisturbed_one() {
    let calm = tempfile::tempdir().unwrap();
    let undisturbed = runtime().block_on(async { open(calm.path()).await.finish().await });
    assert_eq!(undisturbed.losses.len() as u64, STEPS);

    let folder = tempfile::tempdir().unwrap();
    let mut moments = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    for _ in 0..8 {
        let life = Duration::from_millis(moments.random_range(20..700));
        if work(folder.path(), Some(life)) {
            break;
        }
    }
    assert!(work(folder.path(), None), "the last process ends by itself");
    let outcome = std::fs::read(folder.path().join("outcome.json")).unwrap();
    assert_eq!(
        serde_json::from_slice::<Outcome>(&outcome).unwrap(),
        undisturbed
    );
}
