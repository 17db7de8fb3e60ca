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

use crate::api::{Common, Limits};

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
    pub telemetry: Arc<dyn Telemetry>,
    pub common: Common,
    /// Services that operate the daemon are refused: who may call them has an address of its own.
    pub is_public: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            telemetry: Arc::new(Untold),
            common: Common::default(),
            is_public: false,
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
