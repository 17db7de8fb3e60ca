//! Work that stands back behind requests: checking, hashing and writing adapters takes whole processors for tens of
//! milliseconds, and a step that generates wants all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::device::Turns;
use crate::domain::Reason;
use crate::kernels::pool::{self, Class};

pub(super) struct Background {
    turns: Turns,
    most: u32,
    places: Arc<Semaphore>,
}

impl Background {
    /// For so many pieces of work at once.
    pub fn new(turns: Turns, most: u32) -> Self {
        Self {
            turns,
            most,
            places: Arc::new(Semaphore::new(most as usize)),
        }
    }

    /// Runs `work` on a thread of its own, in slices with rests while a step runs. It is carried through even if the caller
    /// goes away.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Reason> + Send + 'static,
    ) -> Result<T, Reason> {
        let places = self.places.clone();
        let place = places.acquire_owned().await.map_err(|_| Reason::Draining)?;
        let (done, outcome) = oneshot::channel();
        let beside = Class::Beside(self.turns.clone());
        std::thread::Builder::new()
            .name("adapters".into())
            .spawn(move || {
                // The place is taken for as long as the work lasts, even if the caller has gone away.
                let _place = place;
                // Fails where the caller has gone away.
                let _ = done.send(pool::within(beside, work));
            })
            .map_err(|error| Reason::Internal(format!("a thread for adapters: {error}")))?;
        let panicked = |_| Reason::Internal("work on an adapter ended in a panic".into());
        outcome.await.map_err(panicked)?
    }

    /// Resolves when all that has been asked for is done; nothing begins after that.
    pub async fn finish(&self) {
        let _all = self.places.acquire_many(self.most).await;
        self.places.close();
    }

    /// The rest that is due after so much work of this kind done elsewhere.
    pub fn rest(&self, worked: Duration) -> Duration {
        self.turns.rest(worked)
    }
}
