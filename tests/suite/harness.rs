//! A whole daemon inside the test's process: a tiny base with random weights, the real registry, scheduler and trainer,
//! and HTTP and gRPC on free ports of 127.0.0.1.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapterd::adapter::Precision;
use adapterd::api::{Limits, Memory, Pace, grpc, http};
use adapterd::device::Turns;
use adapterd::domain::{AdapterName, KeyAsk, KeyId};
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

pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

/// An adapter folder's files, by name.
pub fn folder(path: &Path) -> Files {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap().into(),
            )
        })
        .collect()
}

/// The golden adapters that fit [`BASE`].
pub fn adapter(name: &str) -> Files {
    folder(&golden(&format!("adapters/llama-{name}")))
}

/// An archive of `files`, each name with `within` before it.
pub fn tarball(files: &Files, within: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("{within}{name}"), &content[..])
            .unwrap();
    }
    archive.into_inner().unwrap()
}

pub struct Daemon {
    /// `http://127.0.0.1:PORT`
    pub http: String,
    /// `http://127.0.0.1:PORT`
    pub grpc: String,
    pub gateway: Gateway,
    pub scheduler: Scheduler,
    pub registry: Registry,
    pub keys: gateway::Keys,
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

impl Daemon {
    /// A fresh one, without adapters.
    pub async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    /// With the golden adapters `plain` and `regex` registered as `legal` and `medical`.
    pub async fn with_adapters() -> Self {
        let daemon = Self::start().await;
        for (name, files) in [("legal", "plain"), ("medical", "regex")] {
            daemon.publish(name, adapter(files)).await;
        }
        daemon
    }

    /// A fresh one that pages of these origins may use.
    pub async fn open_to(origins: &[&str]) -> Self {
        let entries: Vec<String> = origins.iter().map(|entry| (*entry).to_owned()).collect();
        let config = http::Config {
            origins: http::Origins::parse(&entries).unwrap(),
            ..http_config()
        };
        Self::start_with(TempDir::new().unwrap(), config, false).await
    }

    /// On a state directory an earlier one may have left.
    pub async fn start_in(dir: TempDir) -> Self {
        Self::start_with(dir, http_config(), false).await
    }

    /// As [`Self::with_adapters`], and only holders of keys are let in, to metrics too.
    pub async fn with_keys() -> Self {
        let config = http::Config {
            open_metrics: false,
            ..http_config()
        };
        let daemon = Self::start_with(TempDir::new().unwrap(), config, true).await;
        for (name, files) in [("legal", "plain"), ("medical", "regex")] {
            daemon.publish(name, adapter(files)).await;
        }
        daemon
    }

    /// A new key: its id, and what its holder sends.
    pub async fn key(&self, scopes: &str, adapters: &str) -> (KeyId, String) {
        let ask = KeyAsk {
            name: "test".into(),
            scopes: scopes.parse().unwrap(),
            adapters: adapters.parse().unwrap(),
            weight: None,
            expires_in: None,
        };
        let issued = self.keys.create(ask).await.unwrap();
        (issued.key.id, issued.secret)
    }

    /// A request with a key, to a path.
    pub fn request(&self, key: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        let request = self.client.request(method, format!("{}{path}", self.http));
        request.bearer_auth(key)
    }

    /// A fresh one on the embedded base.
    pub async fn embedded() -> Self {
        let base = Base::open(&Origin::Embedded, None, KvKind::Auto).unwrap();
        Self::start_on(base, TempDir::new().unwrap(), http_config(), false).await
    }

    async fn start_with(dir: TempDir, http_config: http::Config, needs_keys: bool) -> Self {
        let base = Base::open(
            &Origin::Folder(golden("models/llama")),
            Some(Quant::To(Format::F32)),
            KvKind::F32,
        );
        Self::start_on(base.unwrap(), dir, http_config, needs_keys).await
    }

    async fn start_on(
        base: Base,
        dir: TempDir,
        http_config: http::Config,
        needs_keys: bool,
    ) -> Self {
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
        let trainer = Trainer::open(database, base.clone(), registry.clone(), turns, config)
            .await
            .unwrap();
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
        };
        let config = gateway::Config {
            needs_keys,
            ..gateway::Config::default()
        };
        let gateway = Gateway::new(parts, config);
        let stop = CancellationToken::new();
        let (http_door, http_at) = open_port().await;
        let (grpc_door, grpc_at) = open_port().await;
        let app = http::App::new(gateway.clone(), http_config, Arc::new(http::Untold));
        let serving = http::serve(http_door, app, stop.clone());
        let calls = grpc::serve(
            grpc_door,
            gateway.clone(),
            grpc::Config {
                limits: limits(),
                ..grpc::Config::default()
            },
            stop.clone(),
        );
        let doors = vec![
            tokio::spawn(serving),
            tokio::spawn(async move { calls.await.unwrap() }),
        ];
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            http: http_at,
            grpc: grpc_at,
            gateway,
            scheduler,
            registry,
            keys,
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
