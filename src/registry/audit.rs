//! The record of changes: who makes them, and how long it is kept.

use futures::{Stream, StreamExt};

use super::Registry;
use crate::domain::Actor;

const DAY: i64 = 24 * 60 * 60;

impl Registry {
    /// A handle by which somebody changes things.
    pub fn by(&self, actor: Actor) -> Self {
        Self {
            actor,
            ..self.clone()
        }
    }

    /// Removes lines older than `days` at each tick, which says what time it is, in Unix seconds. Ends with the ticks;
    /// 0 days keep everything.
    pub async fn keep_audit(self, days: u32, ticks: impl Stream<Item = i64>) {
        let mut ticks = std::pin::pin!(ticks);
        while let Some(now) = ticks.next().await {
            if days == 0 {
                continue;
            }
            match self.shared.audit.trim(now - i64::from(days) * DAY).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, days, "removed old lines of the audit"),
                // What is left is removed a day later.
                Err(reason) => tracing::warn!(%reason, "old lines of the audit are left"),
            }
        }
    }
}
