//! gateway: the one way in. It decides which adapter a request means, turns prompts into tokens, takes leases and
//! hands work to the scheduler, the registry or the trainer. Speaks no protocol and touches no tensor.

mod adapters;
mod choose;
mod files;
mod intake;
mod jobs;
mod models;
mod tokens;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Base;
use crate::registry::Registry;
use crate::scheduler::Scheduler;
use crate::trainer::Trainer;

pub use crate::registry::Files;
pub use crate::scheduler::Load;
pub use crate::trainer::{Page, Wishes};
pub use choose::Claims;
pub use intake::{Answer, Answers};
pub use jobs::JobAsk;
pub use models::ModelView;
pub use watch::AdapterChange;

/// The parts a gateway stands in front of.
pub struct Parts {
    pub base: Arc<Base>,
    pub registry: Registry,
    pub scheduler: Scheduler,
    pub trainer: Trainer,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Prompts of one request, each counted as often as it is answered.
    pub max_answers: usize,
    /// Long texts tokenized at once.
    pub tokenizing: usize,
    /// How long a long text waits for its turn at the tokenizer.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_answers: 256,
            tokenizing: 2,
            patience: Duration::from_secs(20),
        }
    }
}

/// Cheap to clone; every protocol holds one.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    config: Config,
    tokenizers: tokens::Pool,
    /// Unix seconds; what the base says it was created at.
    opened_at: i64,
    closing: AtomicBool,
}

/// What probes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The engine thread still goes round its loop.
    pub live: bool,
    /// New requests are taken.
    pub ready: bool,
}

/// A step may take long on a slow machine; a loop that has not come round for this long is stuck.
const STUCK: u64 = 120_000;

impl Gateway {
    pub fn new(parts: Parts, config: Config) -> Self {
        let tokenizers = tokens::Pool::new(config.tokenizing, config.patience);
        Self {
            inner: Arc::new(Inner {
                parts,
                config,
                tokenizers,
                opened_at: unix_now(),
                closing: AtomicBool::new(false),
            }),
        }
    }

    pub fn health(&self) -> Health {
        let live = self
            .parts()
            .scheduler
            .heartbeat()
            .is_some_and(|ms| ms < STUCK);
        Health {
            live,
            ready: live && !self.inner.closing.load(Ordering::Acquire),
        }
    }

    /// Says "not ready" from now on, so that balancers look elsewhere while running work ends.
    pub fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
    }

    pub fn load(&self) -> Load {
        self.parts().scheduler.load()
    }

    pub fn base_name(&self) -> &str {
        &self.parts().base.name
    }

    /// Hex digest of the base's weights.
    pub fn base_digest(&self) -> String {
        self.parts()
            .base
            .digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn parts(&self) -> &Parts {
        &self.inner.parts
    }
}

fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}
