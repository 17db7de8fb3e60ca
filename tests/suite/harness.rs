//! A whole daemon inside the test's process: a tiny base with random weights, the real registry, scheduler and trainer,
//! and HTTP and gRPC on free ports of 127.0.0.1.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapterd::adapter::Precision;
use adapterd::api::{Limits, Memory, Pace, grpc, http};
use adapterd::device::Turns;
use adapterd::domain::AdapterName;
use adapterd::gateway::{self, Files, Gateway};
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, Quant};
use adapterd::registry::{self, BaseIdentity, Registry};
use adapterd::scheduler::{self, Scheduler, Unobserved};
use adapterd::store::Database;
use adapterd::text::grammar::{self, Grammars};
use adapterd::trainer::{self, Trainer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the base is called: its folder's name.
pub const BASE: &str = "llama";
/// Connections served at once.
pub const CONNECTIONS: usize = 64;
/// Nothing in a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at canaries.
const ROUTES: Duration = Duration::from_millis(200);

pub use crate::callers::trust;
pub use crate::samples::{adapter, folder, golden, tarball};

pub struct Daemon {
    /// `http://127.0.0.1:PORT`
    pub http: String,
    /// `http://127.0.0.1:PORT`
    pub grpc: String,
    pub gateway: Gateway,
    pub scheduler: Scheduler,
    pub registry: Registry,
    pub keys: gateway::Keys,
    pub routes: gateway::Routes,
    pub client: reqwest::Client,
    _ending: Ending,
    dir: TempDir,
    stop: CancellationToken,
    doors: Vec<JoinHandle<()>>,
}

/// The trainer's thread works on the test's runtime and must end before it, also when a test fails.
struct Ending(Trainer);

impl Drop for Ending {
    fn drop(&mut self) {
        let farewell = self.0.shutdown();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(farewell));
    }
}

/// What a daemon is made with; the usual one has no adapters and asks for no keys.
struct Setup {
    origin: Origin,
    quant: Option<Quant>,
    kv: KvKind,
    dir: TempDir,
    http: http::Config,
    doors: gateway::Config,
    feedback: gateway::feedback::Config,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            origin: Origin::Folder(golden("models/llama")),
            quant: Some(Quant::To(Format::F32)),
            kv: KvKind::F32,
            dir: TempDir::new().unwrap(),
            http: http_config(),
            doors: gateway::Config::default(),
            feedback: gateway::feedback::Config::default(),
        }
    }
}

impl Setup {
    fn with_keys(mut self, needs_keys: bool) -> Self {
        self.doors.needs_keys = needs_keys;
        self
    }
}

impl Daemon {
    /// A fresh one, without adapters.
    pub async fn start() -> Self {
        Self::of(Setup::default()).await
    }

    /// On a state directory an earlier one may have left.
    pub async fn start_in(dir: TempDir) -> Self {
        Self::of(Setup {
            dir,
            ..Setup::default()
        })
        .await
    }

    /// A fresh one on another base.
    pub async fn on(model: &Path) -> Self {
        Self::of(Setup {
            origin: Origin::Folder(model.to_owned()),
            ..Setup::default()
        })
        .await
    }

    /// With the golden adapters `plain` and `regex` registered as `legal` and `medical`.
    pub async fn with_adapters() -> Self {
        Self::adapted(Setup::default()).await
    }

    /// As [`Self::with_adapters`], and only holders of keys are let in, to metrics too.
    pub async fn with_keys() -> Self {
        let mut setup = Setup::default().with_keys(true);
        setup.http.open_metrics = false;
        Self::adapted(setup).await
    }

    /// As [`Self::with_adapters`] or [`Self::with_keys`], and each adapter may be asked so much.
    pub async fn with_limited_adapters(
        adapter_rates: gateway::AdapterRates,
        needs_keys: bool,
    ) -> Self {
        let mut setup = Setup::default().with_keys(needs_keys);
        setup.doors.adapter_rates = adapter_rates;
        Self::adapted(setup).await
    }

    /// As [`Self::with_keys`] or [`Self::with_adapters`], and what is answered is kept as `feedback` says.
    pub async fn hearing(feedback: gateway::feedback::Config, needs_keys: bool) -> Self {
        let mut setup = Setup::default().with_keys(needs_keys);
        setup.feedback = feedback;
        Self::adapted(setup).await
    }

    /// A fresh one that pages of these origins may use.
    pub async fn open_to(origins: &[&str]) -> Self {
        let entries: Vec<String> = origins.iter().map(|entry| (*entry).to_owned()).collect();
        let origins = http::Origins::parse(&entries).unwrap();
        Self::changed(false, |config| config.origins = origins).await
    }

    /// A fresh one that fetches adapters from the hub at this address.
    pub async fn with_hub(at: &str) -> Self {
        let mut setup = Setup::default();
        setup.doors.hub = gateway::Hub::new(at, "").unwrap();
        Self::of(setup).await
    }

    /// A fresh one with other settings than usual.
    pub async fn changed(needs_keys: bool, change: impl FnOnce(&mut http::Config)) -> Self {
        let mut setup = Setup::default().with_keys(needs_keys);
        change(&mut setup.http);
        Self::of(setup).await
    }

    async fn adapted(setup: Setup) -> Self {
        let daemon = Self::of(setup).await;
        for (name, files) in [("legal", "plain"), ("medical", "regex")] {
            daemon.publish(name, adapter(files)).await;
        }
        daemon
    }

    /// A fresh one on the embedded base.
    pub async fn embedded() -> Self {
        Self::of(Setup {
            origin: Origin::Embedded,
            quant: None,
            kv: KvKind::Auto,
            ..Setup::default()
        })
        .await
    }

    async fn of(setup: Setup) -> Self {
        let Setup {
            origin,
            quant,
            kv,
            dir,
            http: http_config,
            doors,
            feedback,
        } = setup;
        let base = Base::open(&origin, quant, kv).unwrap();
        let base = Arc::new(base);
        let turns = Turns::default();
        let root = dir.path().join("incoming");
        std::fs::create_dir_all(&root).unwrap();
        let database = Database::open(&dir.path().join("state.db")).await.unwrap();
        let identity = BaseIdentity {
            name: base.name.clone(),
            digest: base.digest,
            sites: base.model.sites().to_vec(),
            weights: base.clone(),
        };
        let config = registry::Config {
            dir: dir.path().to_owned(),
            root,
            resident_bytes: 64 << 20,
            max_rank: 64,
            precision: Precision::Exact,
            max_file_bytes: 16 << 20,
            keep_versions: 8,
            room_wait: Duration::ZERO,
            turns: turns.clone(),
        };
        let registry = Registry::open(
            database.clone(),
            identity,
            config,
            Arc::new(registry::Unobserved),
        )
        .await
        .unwrap();
        let config = scheduler::Config {
            rows: 16,
            step_tokens: 256,
            kv_bytes: 4 << 20,
            block_size: 16,
            queue: 64,
            max_n: 8,
            shortcuts: scheduler::Shortcuts::default(),
        };
        let scheduler =
            Scheduler::start(base.clone(), turns.clone(), config, Arc::new(Unobserved)).unwrap();
        let config = trainer::Config {
            dir: dir.path().to_owned(),
            max_file_bytes: 16 << 20,
            max_queued: 8,
            parallel_jobs: 1,
            max_rank: 64,
        };
        let keys = gateway::Keys::open(database.clone()).await.unwrap();
        let audit = gateway::Audit::new(database.clone());
        let kept_in = database.clone();
        let trainer = Trainer::open(database, base.clone(), registry.clone(), turns, config)
            .await
            .unwrap();
        let unobserved = Arc::new(gateway::feedback::Unobserved);
        let feedback = gateway::Feedback::open(kept_in, feedback, unobserved);
        let routes = gateway::Routes::new(registry.clone(), Arc::new(gateway::UnobservedRoutes));
        let grammars = Grammars::new(
            base.tokenizer.clone(),
            base.model.vocab(),
            Arc::new(grammar::Unobserved),
        );
        let parts = gateway::Parts {
            grammars: Arc::new(grammars),
            base,
            registry: registry.clone(),
            scheduler: scheduler.clone(),
            trainer: trainer.clone(),
            keys: keys.clone(),
            audit,
            feedback,
            routes: routes.clone(),
        };
        let gateway = Gateway::new(parts, doors);
        let stop = CancellationToken::new();
        let (http_door, http_at) = open_port().await;
        let (grpc_door, grpc_at) = open_port().await;
        let (limits, common) = (http_config.limits.clone(), http_config.common.clone());
        let is_public = http_config.part == http::Part::Public;
        let app = http::App::new(gateway.clone(), http_config, Arc::new(http::Untold));
        let serving = http::serve(http_door, app, stop.clone());
        let calls = grpc::serve(
            grpc_door,
            gateway.clone(),
            grpc::Config {
                limits,
                common,
                is_public,
                ..grpc::Config::default()
            },
            stop.clone(),
        );
        let (ticking, ends) = (tokio::time::interval(ROUTES), stop.clone());
        let ticks = futures::stream::unfold(ticking, move |mut ticking| {
            let ends = ends.clone();
            async move {
                ends.run_until_cancelled(ticking.tick()).await?;
                Some(((), ticking))
            }
        });
        let doors = vec![
            tokio::spawn(routes.clone().keep(ticks)),
            tokio::spawn(serving),
            tokio::spawn(async move { calls.await.unwrap() }),
        ];
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .tls_backend_preconfigured(trust(None, None))
            .build()
            .unwrap();
        Self {
            http: http_at,
            grpc: grpc_at,
            gateway,
            scheduler,
            registry,
            keys,
            routes,
            _ending: Ending(trainer),
            client,
            dir,
            stop,
            doors,
        }
    }

    pub async fn publish(&self, name: &str, files: Files) -> String {
        let name: AdapterName = name.parse().unwrap();
        let view = self
            .registry
            .publish(&name, files, None, "upload")
            .await
            .unwrap();
        view.generation.to_string()
    }

    /// Where state is kept.
    pub fn state(&self) -> &Path {
        self.dir.path()
    }

    /// The tree that requests may name paths in.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("incoming")
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}{path}", self.http))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.client.post(format!("{}{path}", self.http)).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.client.delete(format!("{}{path}", self.http))).await
    }

    /// Stops accepting, waits for both protocols and the engine, ends the trainer, and leaves the state.
    pub async fn stop(self) -> TempDir {
        self.stop.cancel();
        for door in self.doors {
            tokio::time::timeout(PATIENCE, door)
                .await
                .expect("the doors close")
                .unwrap();
        }
        self.scheduler.drain(PATIENCE).await;
        self.dir
    }

    /// Begins the stop without waiting for it.
    pub fn begin_stop(&self) {
        self.gateway.close();
        self.stop.cancel();
    }
}

/// Small enough to be exceeded in a test.
fn limits() -> Limits {
    Limits {
        connections: CONNECTIONS,
        max_request_bytes: 256 << 10,
        max_file_bytes: 3 << 19,
        max_adapter_bytes: 1 << 20,
        memory: Memory::new(4 << 20),
        pace: Pace {
            timeout: Duration::from_secs(5),
            ..Pace::default()
        },
        ..Limits::default()
    }
}

fn http_config() -> http::Config {
    http::Config {
        limits: limits(),
        header_timeout: Duration::from_millis(500),
        ..http::Config::default()
    }
}

async fn open_port() -> (TcpListener, String) {
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", door.local_addr().unwrap());
    (door, at)
}

pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// The JSON of every `data:` line of an event stream, and whether it ended in `[DONE]`.
pub fn chunks(stream: &str) -> (Vec<Value>, bool) {
    let mut data: Vec<&str> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    let done = data.last() == Some(&"[DONE]");
    if done {
        data.pop();
    }
    (
        data.into_iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect(),
        done,
    )
}
