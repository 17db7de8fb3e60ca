//! gateway: the one way in. It decides which adapter a request means, turns prompts into tokens, takes leases and
//! hands work to the scheduler, the registry or the trainer. Speaks no protocol and does not run the model itself.

mod adapters;
mod audit;
mod caller;
mod calls;
mod choose;
mod embed;
mod events;
pub mod feedback;
mod files;
mod follow;
mod grammar;
mod intake;
mod jobs;
mod keys;
mod limits;
mod models;
mod pressure;
mod rollout;
mod routes;
mod shadow;
mod share;
mod tokens;
mod trace;
mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Reason;
use crate::model::Base;
use crate::registry::Registry;
use crate::scheduler::Scheduler;
use crate::store::now;
use crate::text::Syntax;
use crate::text::grammar::Grammars;
use crate::trainer::Trainer;

pub use crate::registry::{Files, Hub};
pub use crate::scheduler::Load;
pub use crate::store::{Audit, Incoming, Page};
pub use crate::trainer::{ReportAsk, Wishes};
pub use caller::{Caller, Credentials};
pub use choose::Claims;
pub use embed::Embedded;
pub use events::Events;
pub use feedback::{ExportAsk, Feedback, RetrainAsk, RetrainRule};
pub use intake::{Answer, Answers};
pub use jobs::JobAsk;
pub use keys::Keys;
pub use limits::{AdapterRates, Grant};
pub use models::ModelView;
pub use pressure::{Pressure, Work, decide};
pub use routes::{ObserveRoutes, Routes, UnobservedRoutes};
pub use share::{Shares, Weighed};
pub use tokens::Dialogue;
pub use trace::{Operation, Shape, Told, Trace, Wish};
pub use watch::AdapterChange;

/// The parts a gateway stands in front of.
pub struct Parts {
    pub base: Arc<Base>,
    pub registry: Registry,
    pub scheduler: Scheduler,
    pub trainer: Trainer,
    pub keys: Keys,
    pub audit: Audit,
    pub feedback: Feedback,
    pub routes: Routes,
    pub grammars: Arc<Grammars>,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Prompts of one request, each counted as often as it is answered.
    pub max_answers: usize,
    /// Long texts tokenized at once.
    pub tokenizing: usize,
    /// How long a long text waits for its turn at the tokenizer.
    pub tokenizer_wait: Duration,
    /// Shares of callers and adapters where not all get what they ask for.
    pub shares: Shares,
    /// Only holders of keys are let in.
    pub needs_keys: bool,
    /// What adapters may be asked, whoever asks.
    pub adapter_rates: AdapterRates,
    /// Where adapters may be fetched from.
    pub hub: Hub,
    /// How short memory is; somebody else tells it.
    pub pressure: Pressure,
    /// How the model writes calls; `None` leaves it to its chat template.
    pub tool_parser: Option<Syntax>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_answers: 256,
            tokenizing: 2,
            tokenizer_wait: Duration::from_secs(20),
            shares: Shares::default(),
            needs_keys: false,
            adapter_rates: AdapterRates::default(),
            hub: Hub::default(),
            pressure: Pressure::default(),
            tool_parser: None,
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
    limits: limits::Limits,
    compiling: grammar::Compiling,
    /// Found in the template once.
    call_syntax: OnceLock<Syntax>,
    /// Unix seconds; what the base says it was created at.
    opened_at: i64,
    closing: CancellationToken,
}

/// The answer to liveness and readiness probes.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The engine thread still goes round its loop, or why it does not.
    pub live: Result<(), Reason>,
    /// New requests are taken, or why not.
    pub ready: Result<(), Reason>,
}

/// A step may take long on a slow machine; a loop that has not come round for this long is stuck.
const STUCK: u64 = 120_000;

impl Gateway {
    pub fn new(parts: Parts, config: Config) -> Self {
        let tokenizers = tokens::Pool::new(config.tokenizing, config.tokenizer_wait);
        Self {
            inner: Arc::new(Inner {
                parts,
                limits: limits::Limits::new(config.adapter_rates.clone()),
                config,
                tokenizers,
                compiling: grammar::Compiling::default(),
                call_syntax: OnceLock::new(),
                opened_at: now(),
                closing: CancellationToken::new(),
            }),
        }
    }

    pub fn health(&self) -> Health {
        let heartbeat = self.parts().scheduler.heartbeat();
        judge(heartbeat, self.inner.closing.is_cancelled())
    }

    /// Says "not ready" from now on, so that balancers look elsewhere, first before new requests are refused, then while
    /// running work ends. Whoever follows a job or adapters is told, since that would not end by itself.
    pub fn close(&self) {
        self.inner.closing.cancel();
    }

    pub fn load(&self) -> Load {
        self.parts().scheduler.load()
    }

    /// How often each limit of a key or an adapter was met.
    pub fn limit_refusals(&self) -> Vec<(&'static str, u64)> {
        self.inner.limits.refusals().to_vec()
    }

    pub fn pressure(&self) -> &Pressure {
        &self.inner.config.pressure
    }

    pub fn base_name(&self) -> &str {
        &self.parts().base.name
    }

    /// Hex digest of the base's weights.
    pub fn base_digest(&self) -> String {
        keys::hex(&self.parts().base.digest)
    }

    /// Rests after so much work on what is uploaded, where steps run that would wait for more of it.
    pub async fn stand_back(&self, worked: Duration) {
        let rest = self.parts().registry.rest(worked);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }

    fn parts(&self) -> &Parts {
        &self.inner.parts
    }
}

/// Whether what a page shall start after exists.
fn listed<T>(found: Result<T, Reason>) -> Result<(), Reason> {
    match found {
        Ok(_) => Ok(()),
        Err(
            missing @ (Reason::NoSuchJob(_) | Reason::NoSuchFile(_) | Reason::NoSuchFeedback(_)),
        ) => Err(Reason::field("after", missing.to_string())),
        Err(other) => Err(other),
    }
}

/// `heartbeat`: milliseconds since the engine's loop came round; `None` when its thread has ended.
fn judge(heartbeat: Option<u64>, closing: bool) -> Health {
    let live = match heartbeat {
        Some(ms) if ms < STUCK => Ok(()),
        Some(_) => Err(Reason::EngineDown("the engine is stuck in a step")),
        None => Err(Reason::EngineDown("the engine has ended")),
    };
    let ready = match closing {
        true => live.clone().and(Err(Reason::Draining)),
        false => live.clone(),
    };
    Health { live, ready }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_told_what_is_wrong() {
        let told = |heartbeat, closing| {
            let health = judge(heartbeat, closing);
            (health.live.err(), health.ready.err())
        };
        let down = |heartbeat| {
            let (live, ready) = told(heartbeat, true);
            assert_eq!(live, ready, "closing is not the cause");
            assert!(matches!(live, Some(Reason::EngineDown(_))), "{live:?}");
        };
        assert_eq!(told(Some(0), false), (None, None));
        assert_eq!(told(Some(0), true), (None, Some(Reason::Draining)));
        down(Some(STUCK));
        down(None);
    }
}
