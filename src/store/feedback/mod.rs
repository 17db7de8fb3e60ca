//! Which generation gave which answer, and what was thought of it. Prompts and answers are there where they may be kept.
//!
//! One task writes answers down (`answers`), callers give feedback (`giving`), and training reads it (`learning`).
//! Everything is bounded, and goes when it is told to (`bounds`).

mod answers;
mod bounds;
mod giving;
mod learning;
#[cfg(test)]
mod tests;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::database::{Change, Database, commit, run};
use super::fault::unreadable;
use super::page::{Page, one_more};
use crate::domain::{FeedbackView, Generation, JobId, KeyId, Reason};

pub use answers::{Answered, Kept};
pub use bounds::Bounds;
pub(super) use learning::mark;
pub use learning::{Given, Place, Unused, Use};

/// Cheap to clone.
#[derive(Clone)]
pub struct Feedback {
    database: Database,
    bounds: Bounds,
}

impl Feedback {
    pub fn new(database: Database, bounds: Bounds) -> Self {
        Self { database, bounds }
    }
}

/// Columns of feedback with its answer, without content.
const COLUMNS: &str = "f.number, f.id, f.given_by, f.at, f.score, f.correction, f.label, f.comment, f.used_by, \
    a.adapter, a.generation, a.owner, a.at AS answered_at, a.tokens, a.input IS NOT NULL AS captured";

const JOINED: &str = "FROM feedback AS f JOIN answers AS a ON a.id = f.answer";

fn view(row: &SqliteRow) -> Result<FeedbackView, Reason> {
    let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
    Ok(FeedbackView {
        id: row.try_get("id")?,
        object: "feedback",
        adapter: maybe("adapter")?,
        adapter_generation: generation(maybe("generation")?)?,
        owner: maybe("owner")?.map(KeyId::from_text),
        given_by: maybe("given_by")?.map(KeyId::from_text),
        created_at: row.try_get("at")?,
        answered_at: row.try_get("answered_at")?,
        score: row.try_get("score")?,
        correction: maybe("correction")?,
        label: maybe("label")?,
        comment: maybe("comment")?,
        captured: row.try_get("captured")?,
        tokens: row.try_get::<i64, _>("tokens")? as u64,
        used_by: maybe("used_by")?.map(JobId::from_text),
        input: None,
        answer: None,
    })
}

fn generation(text: Option<String>) -> Result<Option<Generation>, Reason> {
    let read = text.map(|text| text.parse()).transpose();
    read.map_err(|fault| unreadable("answer", fault))
}
