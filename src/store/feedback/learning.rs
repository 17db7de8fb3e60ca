//! Feedback as training rows are made of it, and what has been learned from.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Change, Feedback, JOINED, run};
use crate::domain::{AdapterName, Asker, JobId, Reason};
use crate::store::fault::unreadable;

/// Feedback with what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub used: Use,
    /// `{"messages": […]}` or `{"prompt": …}`.
    pub input: serde_json::Value,
    pub answer: String,
    pub score: f64,
    pub correction: Option<String>,
}

/// Feedback as it was when a row was made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    pub number: i64,
    pub version: i64,
}

/// Where to read feedback.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place<'a> {
    pub asker: &'a Asker,
    /// `none` is the base.
    pub adapter: &'a str,
    /// Only what no job has learned from, but ones of which nothing has reached the name.
    pub is_fresh: bool,
    /// The number to begin behind.
    pub after: i64,
}

/// What a row can be made of: its content is kept, and it says how an answer should have been or that it was right.
const USABLE: &str = "a.input IS NOT NULL AND (f.correction IS NOT NULL OR f.score > 0)";

/// A job of which nothing has reached its name (`?2`): it failed, or what it made is kept and neither served, nor a canary, nor
/// what jobs made one of these from, since its gate held it back, its canary was given up or the name was rolled back behind it.
/// What it learned from would be lost. What the name pointed to before does not say what anything was made from.
const IN_VAIN: &str = "SELECT 1 FROM jobs j WHERE j.id = f.used_by AND (j.status IN ('failed', 'cancelled') \
     OR j.status = 'succeeded' \
     AND EXISTS (SELECT 1 FROM adapter_history h WHERE h.name = j.name AND h.generation = j.generation) \
     AND j.generation NOT IN (WITH RECURSIVE reached (generation) AS ( \
         SELECT generation FROM adapter_names WHERE name = ?2 \
         UNION SELECT canary_generation FROM adapter_routes WHERE name = ?2 AND canary_generation IS NOT NULL \
         UNION SELECT made.parent FROM reached JOIN jobs made ON made.generation = reached.generation \
             WHERE made.parent IS NOT NULL) \
     SELECT generation FROM reached))";

/// What is new for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unused {
    pub rows: u64,
    /// Of these rows.
    pub corrections: u64,
}

impl Feedback {
    /// So many at most, the oldest first.
    pub async fn usable(&self, place: Place<'_>, most: usize) -> Result<Vec<Given>, Reason> {
        let text = format!(
            "SELECT f.number, f.version, f.score, f.correction, a.input, a.answer {JOINED} \
             WHERE {USABLE} AND f.number > ?1 AND coalesce(a.adapter, 'none') = ?2 AND (?3 IS NULL OR a.owner = ?3) \
             AND (NOT ?4 OR f.used_by IS NULL OR EXISTS ({IN_VAIN})) \
             ORDER BY f.number LIMIT ?5"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(place.after)
            .bind(place.adapter)
            .bind(place.asker.whose())
            .bind(place.is_fresh)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(read).collect()
    }

    /// How many there are for an adapter that no job has ever learned from.
    pub async fn unused(&self, adapter: &AdapterName) -> Result<Unused, Reason> {
        let text = format!(
            "SELECT count(*), count(f.correction) {JOINED} \
             WHERE {USABLE} AND a.adapter = ? AND f.used_by IS NULL"
        );
        let (rows, corrections): (i64, i64) = sqlx::query_as(AssertSqlSafe(text))
            .bind(adapter.as_str())
            .fetch_one(self.database.pool())
            .await?;
        Ok(Unused {
            rows: rows as u64,
            corrections: corrections as u64,
        })
    }
}

fn read(row: &SqliteRow) -> Result<Given, Reason> {
    let input: String = row.try_get("input")?;
    Ok(Given {
        used: Use {
            number: row.try_get("number")?,
            version: row.try_get("version")?,
        },
        input: serde_json::from_str(&input).map_err(|fault| unreadable("prompt", fault))?,
        answer: row.try_get("answer")?,
        score: row.try_get("score")?,
        correction: row.try_get("correction")?,
    })
}

/// Writes down what a job learns from, with the job itself. Feedback that was replaced meanwhile is not what the job
/// learns from, and stays for the next.
///
/// # Errors
/// `WrongState` where another job for the name has not ended: both would learn the same.
pub async fn mark(
    change: &mut Change,
    job: &JobId,
    name: &str,
    uses: &[Use],
) -> Result<(), Reason> {
    let other: Option<String> = sqlx::query_scalar(
        "SELECT id FROM jobs WHERE name = ? AND id <> ? AND status NOT IN ('succeeded', 'failed', 'cancelled') LIMIT 1",
    )
    .bind(name)
    .bind(job.as_str())
    .fetch_optional(&mut **change)
    .await?;
    if let Some(other) = other {
        return Err(Reason::WrongState(format!(
            "job {other} already trains `{name}`; retrain it when that has ended"
        )));
    }
    for used in uses {
        let update =
            sqlx::query("UPDATE feedback SET used_by = ? WHERE number = ? AND version = ?")
                .bind(job.as_str())
                .bind(used.number)
                .bind(used.version);
        run(&mut **change, update).await?;
    }
    Ok(())
}
