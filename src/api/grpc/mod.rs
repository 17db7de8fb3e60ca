//! grpc: the services of `proto/adapterd/v1`, health and reflection. Messages are turned into the same plain values
//! as HTTP's bodies and refused for the same reasons.

mod adapters;
mod generate;
mod inference;
mod server;
mod status;
mod training;
mod views;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::gateway::Gateway;

pub use server::serve;

#[derive(Debug, Clone)]
pub struct Config {
    /// Connections served at once; more wait to be accepted.
    pub connections: usize,
    /// Calls of one connection at once.
    pub streams: u32,
    /// How long an upload may pause.
    pub upload_patience: Duration,
    /// One message.
    pub max_message_bytes: usize,
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
            streams: 256,
            upload_patience: Duration::from_secs(30),
            max_message_bytes: 8 << 20,
            max_file_bytes: 256 << 20,
            max_adapter_bytes: 1 << 30,
            uploads: 2,
        }
    }
}

/// What every service works with.
#[derive(Clone)]
struct Doors {
    gateway: Gateway,
    config: Arc<Config>,
    uploads: Arc<Semaphore>,
}

impl Doors {
    fn new(gateway: Gateway, config: Config) -> Self {
        let uploads = Arc::new(Semaphore::new(config.uploads.max(1)));
        Self {
            gateway,
            config: Arc::new(config),
            uploads,
        }
    }
}
