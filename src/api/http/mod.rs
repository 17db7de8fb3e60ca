//! http: OpenAI-shaped endpoints and the rest of the HTTP interface. One table of routes makes the router, its
//! errors, the metrics' labels and the OpenAPI document; one table a request says what it may hold.

mod adapters;
mod archive;
mod audit;
mod blocks;
mod body;
mod call;
mod chat;
mod chat_view;
mod completions;
mod completions_view;
mod connection;
mod console;
mod constraint;
mod dialect;
mod dispatch;
mod docs;
mod documents;
mod embeddings;
mod feedback;
mod files;
mod gather;
mod health;
mod job_ask;
mod job_fields;
mod job_view;
mod jobs;
mod keys;
mod logged;
mod messages;
mod models;
mod multipart;
mod naming;
mod origin;
mod paging;
mod respond;
mod responses;
mod rollout;
mod routes;
mod sampling;
mod server;
mod shape;
mod sse;
mod tokens;
mod tools;
mod unbuilt;
mod unpack;
mod vllm;

use std::sync::Arc;
use std::time::Duration;

use crate::api::{Common, DoorName, Limits};
use crate::gateway::Gateway;

pub use origin::Origins;
pub use server::serve;

/// What HTTP reports to the program's telemetry, and where `/metrics` comes from.
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

/// Which routes a listener has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// All of them: there is one listener.
    #[default]
    All,
    /// Those that operate nothing; the others are told to be elsewhere.
    Public,
    /// All of them, beside a public listener.
    Admin,
}

impl Part {
    const fn is_admin(self) -> bool {
        matches!(self, Self::Admin)
    }

    const fn door(self) -> DoorName {
        match self {
            Self::All | Self::Public => DoorName::Http,
            Self::Admin => DoorName::Admin,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub limits: Limits,
    /// How long the headers of a request may take, and a connection may idle.
    pub header_timeout: Duration,
    /// Connections beyond the limit that may still ask the probes, and are refused anything else.
    pub spare_connections: usize,
    /// Pages of other origins that may use this server from a browser.
    pub origins: Origins,
    /// `/metrics` asks for no key.
    pub open_metrics: bool,
    pub part: Part,
    pub common: Common,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            header_timeout: Duration::from_secs(30),
            spare_connections: 16,
            origins: Origins::default(),
            open_metrics: true,
            part: Part::All,
            common: Common::default(),
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
}

impl App {
    pub fn new(gateway: Gateway, config: Config, telemetry: Arc<dyn Telemetry>) -> Arc<Self> {
        let digest = gateway.base_digest();
        let fingerprint = format!("fp_{}", digest.get(..12).unwrap_or(&digest));
        Arc::new(Self {
            gateway,
            config,
            telemetry,
            fingerprint,
        })
    }
}
