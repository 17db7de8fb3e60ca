//! For how long it is known who changed which adapter.

use futures::{Stream, StreamExt};

use super::{Registry, begin, fault};
use crate::domain::Reason;

/// Lines that one transaction removes: others wait for it no longer than for a change of a name.
const LINES: i64 = 500;
const DAY: i64 = 24 * 60 * 60;

impl Registry {
    /// Removes lines older than `days` at each tick, which says what time it is, in Unix seconds. Ends with the ticks;
    /// 0 days keep everything.
    pub async fn keep_audit(self, days: u32, ticks: impl Stream<Item = i64>) {
        let mut ticks = std::pin::pin!(ticks);
        while let Some(now) = ticks.next().await {
            if days == 0 {
                continue;
            }
            match self.trim_audit(now - i64::from(days) * DAY).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, days, "removed old lines of the audit"),
                // What is left is removed a day later.
                Err(reason) => tracing::warn!(%reason, "old lines of the audit are left"),
            }
        }
    }

    /// Removes lines from before that second and says how many. Those stay that an unfinished job needs to find out whether
    /// it has published already.
    async fn trim_audit(&self, before: i64) -> Result<u64, Reason> {
        let mut removed = 0;
        loop {
            // Looked up outside the transaction, which then only removes.
            let old: Vec<i64> = sqlx::query_scalar(
                "SELECT id FROM adapter_audit AS line WHERE at < ? AND NOT EXISTS (
                     SELECT 1 FROM jobs WHERE line.source = 'job:' || jobs.id
                         AND jobs.publish_after IS NOT NULL AND jobs.status <> 'succeeded')
                 ORDER BY id LIMIT ?",
            )
            .bind(before)
            .bind(LINES)
            .fetch_all(&self.shared.pool)
            .await
            .map_err(fault::sql)?;
            let (Some(first), Some(last)) = (old.first(), old.last()) else {
                return Ok(removed);
            };
            tracing::debug!(first, last, "removing lines of the audit");
            let mut transaction = begin(&self.shared.pool).await?;
            for id in &old {
                sqlx::query("DELETE FROM adapter_audit WHERE id = ?")
                    .bind(id)
                    .execute(&mut *transaction)
                    .await
                    .map_err(fault::sql)?;
            }
            transaction.commit().await.map_err(fault::sql)?;
            removed += old.len() as u64;
        }
    }
}
