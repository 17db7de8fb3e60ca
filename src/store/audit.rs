//! The record of changes: who changed what. A row is written with its change or not at all, and follows from the row before.

mod chain;
mod verify;

#[cfg(test)]
mod tests;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::database::{Database, commit, run};
use super::fault::unreadable;
use super::page::{Page, one_more};
use crate::domain::{AdapterName, AuditAsk, AuditRow, Generation, Reason};

pub(super) use chain::{Line, carry_over, write};

/// Rows that one transaction removes: others wait for it no longer than for a change of a name.
const ROWS: i64 = 500;

/// Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    database: Database,
}

impl Audit {
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Ends the database's connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Newest first; `after` is a row's number.
    pub async fn list(
        &self,
        ask: &AuditAsk,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page<AuditRow>, Reason> {
        let rows = sqlx::query(
            "SELECT * FROM audit WHERE (?1 IS NULL OR number < ?1) AND (?2 IS NULL OR object = ?2) \
             AND (?3 IS NULL OR action = ?3 OR substr(action, 1, length(?3) + 1) = ?3 || '.') \
             AND (?4 IS NULL OR who = ?4) AND (?5 IS NULL OR at >= ?5) ORDER BY number DESC LIMIT ?6",
        )
        .bind(after)
        .bind(&ask.object)
        .bind(&ask.action)
        .bind(&ask.who)
        .bind(ask.since)
        .bind(one_more(limit))
        .fetch_all(self.database.pool())
        .await;
        Page::read(rows, limit, read)
    }

    /// Whether that was published under this name from there, by a job that has not succeeded.
    pub async fn has_published(
        &self,
        name: &AdapterName,
        generation: Generation,
        source: &str,
    ) -> Result<bool, Reason> {
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM publications WHERE source = ? AND name = ? AND generation = ?)",
        )
        .bind(source)
        .bind(name.as_str())
        .bind(generation.to_string())
        .fetch_one(self.database.pool())
        .await?;
        Ok(found)
    }

    /// Removes rows from before that second and says how many. The first that is younger ends it: what is left is a chain.
    pub async fn trim(&self, before: i64) -> Result<u64, Reason> {
        let forget = "DELETE FROM publications WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE source = 'job:' || jobs.id \
             AND publish_after IS NOT NULL AND status <> 'succeeded')";
        run(self.database.pool(), sqlx::query(forget)).await?;
        let mut removed = 0;
        loop {
            // Looked up outside the transaction, which then only removes.
            let old: Vec<i64> = sqlx::query_scalar(
                "SELECT number FROM audit WHERE number < coalesce((SELECT min(number) FROM audit WHERE at >= ?1), \
                 9223372036854775807) ORDER BY number LIMIT ?2",
            )
            .bind(before)
            .bind(ROWS)
            .fetch_all(self.database.pool())
            .await?;
            let Some(last) = old.last() else {
                return Ok(removed);
            };
            tracing::debug!(last, "removing rows of the audit");
            let mut change = self.database.begin().await?;
            let anchor = "UPDATE audit_ends SET first_number = ?1, \
                 first_digest = (SELECT digest FROM audit WHERE number = ?1)";
            run(&mut *change, sqlx::query(anchor).bind(last)).await?;
            let delete = sqlx::query("DELETE FROM audit WHERE number <= ?").bind(last);
            removed += run(&mut *change, delete).await?;
            commit(change).await?;
        }
    }
}

fn read(row: &SqliteRow) -> Result<AuditRow, Reason> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
    let generation = |column: &str| {
        let parsed = maybe(column)?.map(|text| text.parse()).transpose();
        parsed.map_err(|fault| unreadable("row of the audit", fault))
    };
    let digest: Vec<u8> = row.try_get("digest")?;
    Ok(AuditRow {
        id: row.try_get::<i64, _>("number")?.to_string(),
        at: row.try_get("at")?,
        who: maybe("who")?,
        action: text("action")?,
        object: text("object")?,
        before: generation("before")?,
        after: generation("after")?,
        detail: maybe("detail")?,
        request_id: maybe("request")?,
        outcome: text("outcome")?,
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}
