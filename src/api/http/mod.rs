//! http: OpenAI-shaped endpoints and the rest of the HTTP interface. One table of routes makes the router, its
//! errors, the metrics' labels and the OpenAPI document; one table a request says what it may hold.

mod adapters;
mod archive;
mod call;
mod chat;
mod chat_view;
mod completions;
mod completions_view;
mod dispatch;
mod docs;
mod documents;
mod files;
mod gather;
mod health;
mod job_ask;
mod job_fields;
mod job_view;
mod jobs;
mod models;
mod multipart;
mod paging;
mod respond;
mod routes;
mod sampling;
mod server;
mod shape;
mod sse;
mod tokens;
mod vllm;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::Reason;
use crate::gateway::Gateway;

pub use server::serve;

/// What the doors tell the program's telemetry, and where `/metrics` comes from.
pub trait Telemetry: Send + Sync {
    /// The Prometheus text exposition.
    fn exposition(&self) -> String;

    /// A request was answered; `route` is one of a fixed set.
    fn answered(&self, route: &'static str, code: u16, took: Duration);
}

/// Counts nothing and exposes nothing.
pub struct Untold;

impl Telemetry for Untold {
    fn exposition(&self) -> String {
        String::new()
    }

    fn answered(&self, _route: &'static str, _code: u16, _took: Duration) {}
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Connections served at once; more wait to be accepted.
    pub connections: usize,
    /// How long the headers of a request may take, and a connection may idle.
    pub header_patience: Duration,
    /// How long a body may pause.
    pub body_patience: Duration,
    pub max_json_bytes: usize,
    /// One uploaded training file.
    pub max_file_bytes: usize,
    /// One uploaded adapter, all its files together.
    pub max_adapter_bytes: usize,
    /// Uploads held in memory at once.
    pub uploads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_patience: Duration::from_secs(30),
            body_patience: Duration::from_secs(30),
            max_json_bytes: 8 << 20,
            max_file_bytes: 256 << 20,
            max_adapter_bytes: 1 << 30,
            uploads: 2,
        }
    }
}

/// What every handler works with.
pub struct App {
    gateway: Gateway,
    config: Config,
    telemetry: Arc<dyn Telemetry>,
    /// `system_fingerprint`: which base answers.
    fingerprint: String,
    uploads: Semaphore,
}

impl App {
    pub fn new(gateway: Gateway, config: Config, telemetry: Arc<dyn Telemetry>) -> Arc<Self> {
        let digest = gateway.base_digest();
        let fingerprint = format!("fp_{}", digest.get(..12).unwrap_or(&digest));
        let uploads = Semaphore::new(config.uploads.max(1));
        Arc::new(Self {
            gateway,
            config,
            telemetry,
            fingerprint,
            uploads,
        })
    }
}

/// A turn at holding an upload in memory.
async fn upload_turn(app: &App) -> Result<tokio::sync::SemaphorePermit<'_>, Reason> {
    let patience = app.config.body_patience;
    let turn = tokio::time::timeout(patience, app.uploads.acquire()).await;
    turn.map_err(|_| Reason::Overloaded {
        retry_after: patience.as_secs().max(1),
    })?
    .map_err(|_| Reason::Draining)
}
