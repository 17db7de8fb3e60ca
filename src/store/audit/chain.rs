//! How rows follow from one another, and how the next is written.

use blake3::{Hash, Hasher};
use sqlx::{Row, SqliteConnection};

use crate::domain::{Action, Actor, Generation, JobId, Reason};
use crate::store::clock::now;
use crate::store::database::run;
use crate::store::fault::unreadable;

/// What became of a change that was made.
const DONE: &str = "done";

/// A change, on its way into the record.
pub(in crate::store) struct Line<'a> {
    pub actor: &'a Actor,
    /// As `adapter.promote`.
    pub action: &'a str,
    pub object: &'a str,
    pub generation: Option<Generation>,
    pub previous: Option<Generation>,
    pub detail: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub fn of(actor: &'a Actor, action: Action, object: &'a str) -> Self {
        Self {
            actor,
            action: action.as_str(),
            object,
            generation: None,
            previous: None,
            detail: None,
        }
    }
}

/// All of a row that its digest is made of.
pub(super) struct Content<'a> {
    pub number: i64,
    pub at: i64,
    pub who: Option<&'a str>,
    pub action: &'a str,
    pub object: &'a str,
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
    pub detail: Option<&'a str>,
    pub request: Option<&'a str>,
    pub outcome: &'a str,
}

impl Content<'_> {
    /// Each text with its length before it, so that no two rows are made of the same bytes.
    pub fn digest(&self, previous: &Hash) -> Hash {
        let mut hasher = Hasher::new();
        hasher.update(previous.as_bytes());
        hasher.update(&self.number.to_le_bytes());
        hasher.update(&self.at.to_le_bytes());
        for text in [
            self.who,
            Some(self.action),
            Some(self.object),
            self.before,
            self.after,
            self.detail,
            self.request,
            Some(self.outcome),
        ] {
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(text.unwrap_or_default().as_bytes());
        }
        hasher.finalize()
    }
}

/// Writes the next row, as part of the change it tells of.
pub(in crate::store) async fn write(
    db: &mut SqliteConnection,
    line: &Line<'_>,
) -> Result<(), Reason> {
    write_at(db, line, now()).await
}

pub(super) async fn write_at(
    db: &mut SqliteConnection,
    line: &Line<'_>,
    at: i64,
) -> Result<(), Reason> {
    // Also where nothing else has been written yet, the write lock is taken before the end of the chain is read.
    let touch =
        "UPDATE audit_ends SET last_number = last_number + 1 RETURNING last_number, last_digest";
    let end = sqlx::query(touch).fetch_one(&mut *db).await?;
    let previous = hash(&end.try_get::<Vec<u8>, _>("last_digest")?)?;
    let text = |generation: Option<Generation>| generation.map(|generation| generation.to_string());
    let (before, after) = (text(line.previous), text(line.generation));
    let content = Content {
        number: end.try_get("last_number")?,
        at,
        who: line.actor.who(),
        action: line.action,
        object: line.object,
        before: before.as_deref(),
        after: after.as_deref(),
        detail: line.detail,
        request: line.actor.request(),
        outcome: DONE,
    };
    let digest = content.digest(&previous);
    let insert = sqlx::query(
        "INSERT INTO audit (number, at, who, action, object, before, after, detail, request, outcome, digest)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(content.number)
    .bind(content.at)
    .bind(content.who)
    .bind(content.action)
    .bind(content.object)
    .bind(content.before)
    .bind(content.after)
    .bind(content.detail)
    .bind(content.request)
    .bind(content.outcome)
    .bind(&digest.as_bytes()[..]);
    run(&mut *db, insert).await?;
    let end = sqlx::query("UPDATE audit_ends SET last_digest = ?").bind(&digest.as_bytes()[..]);
    run(db, end).await.map(drop)
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, Reason> {
    Hash::from_slice(bytes).map_err(|fault| unreadable("audit", fault))
}

/// Takes over the rows of the record that adapters had before, when the schema gets this one.
pub(in crate::store) async fn carry_over(db: &mut SqliteConnection) -> Result<(), Reason> {
    let rows = sqlx::query("SELECT * FROM adapter_audit ORDER BY id")
        .fetch_all(&mut *db)
        .await?;
    for row in rows {
        let text = |column: &str| row.try_get::<Option<String>, _>(column);
        // What is no generation was none then either.
        let generation =
            |column: &str| Ok::<_, Reason>(text(column)?.and_then(|text| text.parse().ok()));
        let (action, name) = (
            row.try_get::<String, _>("action")?,
            row.try_get::<String, _>("name")?,
        );
        let source = text("source")?;
        let job = source
            .as_deref()
            .and_then(|source| source.strip_prefix("job:"));
        let actor = match job {
            Some(job) => Actor::job(&JobId::from_text(job)),
            None => Actor::caller(None, None),
        };
        let action = format!("adapter.{action}");
        let line = Line {
            actor: &actor,
            action: &action,
            object: &name,
            generation: generation("generation")?,
            previous: generation("previous")?,
            detail: source.as_deref(),
        };
        write_at(db, &line, row.try_get("at")?).await?;
    }
    run(db, sqlx::query("DROP TABLE adapter_audit"))
        .await
        .map(drop)
}
