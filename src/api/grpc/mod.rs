//! grpc: the services of `proto/adapterd/v1`, health and reflection. Messages are turned into the same plain values
//! as HTTP's bodies and refused for the same reasons.

mod adapters;
mod audit;
mod counted;
mod feedback;
mod generate;
mod guard;
mod inference;
mod keys;
mod recipe;
mod rollout;
mod server;
mod status;
mod training;
mod upload;
mod views;

use std::sync::Arc;

use crate::api::Limits;

pub use server::serve;

/// What the services report to the program's telemetry.
pub trait Telemetry: Send + Sync {
    /// A call has ended; `route` is one of a fixed set, `code` as the protocol spells it.
    fn called(&self, _route: &str, _code: &'static str) {}
}

/// Counts nothing.
pub struct Untold;

impl Telemetry for Untold {}

#[derive(Clone)]
pub struct Config {
    pub limits: Limits,
    /// Calls of one connection at once.
    pub streams: u32,
    pub telemetry: Arc<dyn Telemetry>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            streams: 256,
            telemetry: Arc::new(Untold),
        }
    }
}

/// What every service works with.
#[derive(Clone)]
struct Doors {
    limits: Arc<Limits>,
}

impl Doors {
    fn new(limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
        }
    }
}
