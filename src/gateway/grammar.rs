//! Constraints to guides, on a bounded number of blocking threads and for a bounded time: a schema that takes long delays
//! neither other requests nor the sockets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::Caller;
use crate::domain::{Ask, Constraint, Reason};
use crate::text::grammar::{Effort, Guide};

/// Constraints compiled at once.
const THREADS: usize = 2;
/// How long one may take to compile, on a core.
const LONGEST: Duration = Duration::from_secs(1);
/// How long a caller waits for that, on a machine with other things to do.
const LONGEST_BUSY: Duration = Duration::from_secs(20);
/// How often is looked how long it took.
const LOOK: Duration = Duration::from_millis(20);
/// How long a request waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

pub(super) struct Compiling {
    turns: Arc<Semaphore>,
}

impl Default for Compiling {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(THREADS)),
        }
    }
}

impl Caller {
    /// As [`Gateway::form`](super::Gateway), which reads the schemas of functions.
    pub(super) async fn form(&self, ask: &Ask) -> Result<Option<Arc<Constraint>>, Reason> {
        let (tools, asked) = (&ask.tools, ask.constraint.clone());
        let strict = || tools.offered().iter().any(|tool| tool.strict);
        if tools.offered().is_empty() || !(tools.must_call() || asked.is_some() || strict()) {
            return Ok(asked);
        }
        // By itself first: what is wrong with it is told by its place, and whether or not it binds this answer.
        self.guides(asked.as_ref(), 0).await?;
        let tools = tools.clone();
        let gateway = self.gateway().clone();
        self.compile("tools", move |effort| {
            let _working = effort.join();
            gateway.form(&tools, asked)
        })
        .await
    }

    /// A guide for each of `answers`; none where they may have any form.
    pub(super) async fn guides(
        &self,
        constraint: Option<&Arc<Constraint>>,
        answers: u32,
    ) -> Result<Vec<Guide>, Reason> {
        let Some(constraint) = constraint else {
            return Ok(Vec::new());
        };
        let grammars = self.gateway().parts().grammars.clone();
        let owner = self.tenant().number;
        // What the first constraint of all waits for is no fault of its own.
        let prepared = tokio::task::spawn_blocking(move || grammars.prepare().map(|()| grammars));
        let grammars = prepared.await.map_err(|_| failed())??;
        let asked = constraint.clone();
        let work = move |effort: &Effort| grammars.guides(&asked, owner, answers as usize, effort);
        self.compile(&constraint.field, work).await
    }

    /// Runs it when it is its turn.
    async fn compile<T: Send + 'static>(
        &self,
        field: &str,
        work: impl FnOnce(&Effort) -> Result<T, Reason> + Send + 'static,
    ) -> Result<T, Reason> {
        let overloaded = || Reason::Overloaded {
            retry_after: LONGEST_WAIT.as_secs(),
        };
        let turns = self.gateway().inner.compiling.turns.clone();
        let turn = tokio::time::timeout(LONGEST_WAIT, turns.acquire_owned())
            .await
            .map_err(|_| overloaded())?
            .map_err(|_| Reason::Draining)?;
        let effort = Arc::new(Effort::default());
        let (began, of_work) = (Instant::now(), effort.clone());
        let mut compiled = tokio::task::spawn_blocking(move || {
            // Moves into the thread: work whose caller has gone still counts.
            let _turn = turn;
            work(&of_work)
        });
        loop {
            if let Ok(done) = tokio::time::timeout(LOOK, &mut compiled).await {
                return done.map_err(|_| failed())?;
            }
            if effort.spent() > LONGEST {
                return Err(Reason::GrammarTooComplex {
                    field: field.to_owned(),
                    why: format!("takes more than {} s to compile", LONGEST.as_secs()),
                });
            }
            if began.elapsed() > LONGEST_BUSY {
                return Err(overloaded());
            }
        }
    }
}

fn failed() -> Reason {
    Reason::Internal("a thread that compiles grammars failed".into())
}
