//! Work that waits behind requests: checking, hashing and writing adapters takes whole processors for tens of
//! milliseconds, and a step that generates wants all of them.

use tokio::sync::{Semaphore, oneshot};

use crate::domain::Reason;
use crate::kernels;

/// Pieces of such work at once.
const MOST: usize = 2;

pub(super) struct Quiet {
    turns: Semaphore,
}

impl Default for Quiet {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(MOST),
        }
    }
}

impl Quiet {
    /// Runs `work` on a thread of its own that steps back. It is carried through even if the caller goes away.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Reason> + Send + 'static,
    ) -> Result<T, Reason> {
        let _turn = self.turns.acquire().await.map_err(|_| Reason::Draining)?;
        let (done, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("adapters".into())
            .spawn(move || {
                kernels::step_back();
                // Whoever asked may have gone away.
                let _ = done.send(work());
            })
            .map_err(|error| Reason::Internal(format!("a thread for adapters: {error}")))?;
        let panicked = |_| Reason::Internal("work on an adapter ended in a panic".into());
        outcome.await.map_err(panicked)?
    }
}
