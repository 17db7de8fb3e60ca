//! Uploads: a stream of messages, the first of which is a header. Bounded in bytes, time and memory as HTTP's bodies.

use tonic::{Status, Streaming};

use super::Doors;
use super::status::status;
use crate::api::arrival::{Clock, Held};
use crate::domain::Reason;

pub(super) struct Upload<T> {
    parts: Streaming<T>,
    clock: Clock,
    held: Held,
    limit: usize,
    taken: usize,
}

impl Doors {
    /// `limit`: bytes of content.
    pub(super) fn upload<T>(&self, parts: Streaming<T>, limit: usize) -> Upload<T> {
        Upload {
            parts,
            clock: Clock::start(self.limits.pace),
            held: self.limits.memory.open(),
            limit,
            taken: 0,
        }
    }
}

impl<T> Upload<T> {
    /// The header that opens it; `read` finds it in the first message.
    pub async fn opening<H>(&mut self, read: impl FnOnce(T) -> Option<H>) -> Result<H, Status> {
        let first = self.next().await?;
        first
            .and_then(read)
            .ok_or_else(|| status(Reason::field("header", "must come first")))
    }

    /// The next message; a sender that pauses or is too slow is refused.
    pub async fn next(&mut self) -> Result<Option<T>, Status> {
        let next = self.clock.wait(self.parts.message()).await;
        next.map_err(status)?
    }

    /// Counts a piece of content that is kept in memory.
    pub fn take(&mut self, bytes: usize) -> Result<(), Status> {
        self.pass(bytes)?;
        self.held.grow(bytes).map_err(status)
    }

    /// Counts a piece of content that goes on to disk.
    pub fn pass(&mut self, bytes: usize) -> Result<(), Status> {
        self.taken += bytes;
        if self.taken > self.limit {
            return Err(status(Reason::TooLarge { limit: self.limit }));
        }
        self.clock.came(bytes);
        Ok(())
    }
}
