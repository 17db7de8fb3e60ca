//! Processes that train and that take adapters are killed at random moments, over and over; in the end nothing shows of
//! it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapterd::adapter::Precision;
use adapterd::device::Turns;
use adapterd::domain::{AdapterChoice, EventData, JobStatus, JobView};
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, Quant};
use adapterd::registry::{self, BaseIdentity, Registry};
use adapterd::store::Database;
use adapterd::trainer::{self, NewJob, Trainer, Wishes};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Set for the process that is killed: the folder it works in.
const FOLDER: &str = "ADAPTERD_TEST_CRASH_FOLDER";
const OUTCOME: &str = "outcome.json";
const ACKNOWLEDGED: &str = "acknowledged";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const NAME: &str = "numbers";
/// Kills that a test sees at least.
const KILLS: usize = 4;
const STEPS: u64 = 120;
const LONGEST_WAIT: Duration = Duration::from_secs(120);

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

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

fn base() -> Arc<Base> {
    let model = Origin::Folder(golden("models/llama"));
    Arc::new(Base::open(&model, Some(Quant::To(Format::Q8_0)), KvKind::Auto).unwrap())
}

async fn registry_in(folder: &Path, base: &Base) -> (Database, Registry) {
    let database = Database::open(&folder.join("state.db")).await.unwrap();
    let sites = base.model.sites().to_vec();
    let identity = BaseIdentity {
        name: base.name.clone(),
        digest: base.digest,
        sites,
        weights: Arc::new(adapterd::adapter::NoWeights),
    };
    let config = registry::Config {
        dir: folder.join("registry"),
        root: folder.join("incoming"),
        resident_bytes: 1 << 30,
        max_rank: 64,
        precision: Precision::Exact,
        max_file_bytes: 1 << 24,
        keep_versions: 8,
        room_wait: Duration::ZERO,
        turns: Turns::default(),
    };
    let registry = Registry::open(
        database.clone(),
        identity,
        config,
        Arc::new(registry::Unobserved),
    )
    .await
    .unwrap();
    (database, registry)
}

async fn open(folder: &Path) -> Shop {
    let base = base();
    let (database, registry) = registry_in(folder, &base).await;
    let config = trainer::Config {
        dir: folder.join("training"),
        max_file_bytes: 1 << 20,
        max_queued: 4,
        parallel_jobs: 1,
        max_rank: 64,
    };
    let trainer = Trainer::open(database, base, registry.clone(), Turns::default(), config)
        .await
        .unwrap();
    Shop { trainer, registry }
}

impl Shop {
    /// The one job: found where an earlier process left it, else created.
    async fn job(&self) -> JobView {
        if let Some(job) = self
            .trainer
            .list(&adapterd::domain::Asker::default(), None, 1)
            .await
            .unwrap()
            .items
            .pop()
        {
            return job;
        }
        let rows = (0..16)
            .map(|i| format!(r#"{{"instruction":"Write {i} in brackets.","output":"[{i}]"}}"#));
        let rows = rows.collect::<Vec<_>>().join("\n").into_bytes();
        let file = self
            .trainer
            .put_file("rows.jsonl", "fine-tune", rows.into())
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
            asker: adapterd::domain::Asker::default(),
            name: NAME.parse().unwrap(),
            training_file: file.id,
            validation_file: None,
            wishes,
            mappings: Vec::new(),
            metadata: serde_json::Map::new(),
            notes: Vec::new(),
        };
        let prepared = self.trainer.prepare(job).await.unwrap();
        self.trainer.create(prepared).await.unwrap()
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
        let job = tokio::time::timeout(LONGEST_WAIT, ended)
            .await
            .expect("the job ends");
        assert_eq!(job.status, JobStatus::Succeeded, "{:?}", job.error);
        let events = self.trainer.events(&id, None, 100_000).await.unwrap().items;
        let mut losses = BTreeMap::new();
        for event in events {
            let EventData::Step(metrics) = event.data else {
                continue;
            };
            let loss = metrics.train_loss.unwrap().to_bits();
            let again = losses.insert(metrics.step, loss);
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

/// The process that is killed; does nothing unless a test below started it.
#[test]
fn a_process_that_trains() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let outcome = runtime().block_on(async { open(&folder).await.finish().await });
    let outcome = serde_json::to_vec(&outcome).unwrap();
    std::fs::write(folder.join(OUTCOME), outcome).unwrap();
}

fn outcome(folder: &Path) -> Outcome {
    serde_json::from_slice(&std::fs::read(folder.join(OUTCOME)).unwrap()).unwrap()
}

/// Starts the process `name` and lets it live for `life`, or to its end; whether it ended by itself.
fn work(name: &str, folder: &Path, life: Option<Duration>) -> bool {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("crash::{name}"), "--nocapture"])
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
    let began = Instant::now();
    assert!(work("a_process_that_trains", calm.path(), None));
    let mut longest = began.elapsed().mul_f64(0.4);
    let undisturbed = outcome(calm.path());
    assert_eq!(undisturbed.losses.len() as u64, STEPS);

    let mut moments = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    loop {
        let folder = tempfile::tempdir().unwrap();
        let killed = |_: &usize| {
            let life = longest.mul_f64(moments.random_range(0.05..1.0));
            !work("a_process_that_trains", folder.path(), Some(life))
        };
        if (0..2 * KILLS).take_while(killed).count() < KILLS {
            // The machine has become faster since the whole life was measured.
            longest /= 2;
            assert!(longest > Duration::from_millis(1), "it is never killed");
            continue;
        }
        let last = work("a_process_that_trains", folder.path(), None);
        assert!(last, "the last process ends by itself");
        assert_eq!(outcome(folder.path()), undisturbed);
        return;
    }
}

/// The process that is killed while it takes one adapter after the other, and writes down which it has acknowledged.
#[test]
fn a_process_that_takes_adapters() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let read = |name: &str| std::fs::read(golden("training/initial").join(name)).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&read(CONFIG)).unwrap();
    let mut acknowledged = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(ACKNOWLEDGED))
        .unwrap();
    let first = acknowledged_in(&folder).len();
    runtime().block_on(async {
        let (_database, registry) = registry_in(&folder, &base()).await;
        let name = NAME.parse().unwrap();
        for alpha in first + 1.. {
            config["lora_alpha"] = alpha.into();
            let files = registry::Files::from([
                (
                    CONFIG.to_owned(),
                    serde_json::to_vec(&config).unwrap().into(),
                ),
                (WEIGHTS.to_owned(), read(WEIGHTS).into()),
            ]);
            let view = registry.publish(&name, files, None, "upload").await;
            // In one piece: a kill leaves the whole line or none of it.
            let line = format!("{}\n", view.unwrap().generation);
            acknowledged.write_all(line.as_bytes()).unwrap();
            acknowledged.sync_all().unwrap();
        }
    });
}

fn acknowledged_in(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(ACKNOWLEDGED)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn an_adapter_that_was_acknowledged_survives_whatever_kills_the_process() {
    let (folder, base) = (tempfile::tempdir().unwrap(), base());
    let folder = folder.path();
    let mut moments = rand_chacha::ChaCha8Rng::seed_from_u64(12);
    let mut longest = Duration::from_millis(200);
    for _ in 0..KILLS {
        let before = acknowledged_in(folder).len();
        // Until some are acknowledged, however slow the machine is.
        while acknowledged_in(folder).len() == before {
            let life = longest.mul_f64(moments.random_range(0.5..1.0));
            assert!(!work("a_process_that_takes_adapters", folder, Some(life)));
            longest = (longest * 5 / 4).min(LONGEST_WAIT);
        }
        let acknowledged = acknowledged_in(folder);
        runtime().block_on(async {
            let (database, registry) = registry_in(folder, &base).await;
            let name = NAME.parse().unwrap();
            let now = registry.show(&name).await.unwrap().generation.to_string();
            // One more may have been taken and not been acknowledged.
            let last = acknowledged.last().unwrap();
            assert!(now == *last || !acknowledged.contains(&now));
            let choice = AdapterChoice::Named { name, pin: None };
            assert!(registry.lease(&choice).await.unwrap().is_some());
            database.close().await;
        });
    }
}
