//! Work that blocks, off the async threads.

use tokio::task::{JoinHandle, spawn_blocking};

use crate::domain::Reason;

pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Reason> + Send + 'static,
) -> Result<T, Reason> {
    joined(spawn_blocking(work)).await
}

/// What a task came to; one that was stopped or panicked is a failure too.
pub async fn joined<T>(task: JoinHandle<Result<T, Reason>>) -> Result<T, Reason> {
    match task.await {
        Ok(done) => done,
        Err(stopped) if stopped.is_cancelled() => Err(Reason::Draining),
        Err(panicked) => Err(Reason::Internal(format!("a task failed: {panicked}"))),
    }
}
