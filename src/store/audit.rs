//! The record of who did what to which name. A line is written with its change or not at all.

use sqlx::SqliteConnection;

use super::database::{Database, commit, run};
use crate::domain::{AdapterName, Generation, Reason};

/// Lines that one transaction removes: others wait for it no longer than for a change of a name.
const LINES: i64 = 500;

pub struct Audit {
    database: Database,
}

impl Audit {
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Whether the record has a publication of this version under this name from there, in whatever way it was published.
    pub async fn has_published(
        &self,
        name: &AdapterName,
        generation: Generation,
        source: &str,
    ) -> Result<bool, Reason> {
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM adapter_audit
                 WHERE action IN ('publish', 'canary', 'keep') AND name = ? AND generation = ? AND source = ?)",
        )
        .bind(name.as_str())
        .bind(generation.to_string())
        .bind(source)
        .fetch_one(self.database.pool())
        .await?;
        Ok(found)
    }

    /// Removes lines from before that second and says how many. Those stay that an unfinished job needs to find out whether
    /// it has published already.
    pub async fn trim(&self, before: i64) -> Result<u64, Reason> {
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
            .fetch_all(self.database.pool())
            .await?;
            let (Some(first), Some(last)) = (old.first(), old.last()) else {
                return Ok(removed);
            };
            tracing::debug!(first, last, "removing lines of the audit");
            let mut change = self.database.begin().await?;
            for id in &old {
                let delete = sqlx::query("DELETE FROM adapter_audit WHERE id = ?");
                run(&mut *change, delete.bind(id)).await?;
            }
            commit(change).await?;
            removed += old.len() as u64;
        }
    }
}

pub(super) struct Line<'a> {
    pub action: &'static str,
    pub name: &'a AdapterName,
    pub generation: Option<Generation>,
    pub previous: Option<Generation>,
    pub source: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub fn of(action: &'static str, name: &'a AdapterName) -> Self {
        Self {
            action,
            name,
            generation: None,
            previous: None,
            source: None,
        }
    }
}

pub(super) async fn write(db: &mut SqliteConnection, line: &Line<'_>) -> Result<(), Reason> {
    let insert = sqlx::query(
        "INSERT INTO adapter_audit (at, action, name, generation, previous, source)
         VALUES (unixepoch(), ?, ?, ?, ?, ?)",
    )
    .bind(line.action)
    .bind(line.name.as_str())
    .bind(line.generation.map(|generation| generation.to_string()))
    .bind(line.previous.map(|generation| generation.to_string()))
    .bind(line.source);
    run(db, insert).await.map(drop)
}
