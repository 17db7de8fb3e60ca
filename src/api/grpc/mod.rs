//! grpc: the services of `proto/adapterd/v1`, health and reflection. Messages are turned into the same plain values
//! as HTTP's bodies and refused for the same reasons.

mod adapters;
mod generate;
mod inference;
mod server;
mod status;
mod training;
mod upload;
mod views;

use std::sync::Arc;

use crate::api::Limits;
use crate::gateway::Gateway;

pub use server::serve;

#[derive(Debug, Clone)]
pub struct Config {
    pub limits: Limits,
    /// Calls of one connection at once.
    pub streams: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            streams: 256,
        }
    }
}

/// What every service works with.
#[derive(Clone)]
struct Doors {
    gateway: Gateway,
    limits: Arc<Limits>,
}

impl Doors {
    fn new(gateway: Gateway, limits: Limits) -> Self {
        Self {
            gateway,
            limits: Arc::new(limits),
        }
    }
}
