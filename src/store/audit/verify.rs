//! Whether every row still follows from the one before.

use blake3::Hash;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Audit;
use super::chain::{Content, hash};
use crate::domain::{AuditState, Reason};

/// Where a chain ends.
#[derive(Clone, Copy)]
struct End {
    number: i64,
    digest: Hash,
}

impl End {
    /// The end with `row` behind it, or what is wrong with that.
    fn and(self, row: &SqliteRow) -> Result<Result<Self, String>, Reason> {
        let text = |column: &str| row.try_get::<Option<String>, _>(column);
        let whole = |column: &str| row.try_get::<String, _>(column);
        let number: i64 = row.try_get("number")?;
        if number != self.number + 1 {
            return Ok(Err("the row is missing".to_owned()));
        }
        let (who, before, after) = (text("who")?, text("before")?, text("after")?);
        let (detail, request) = (text("detail")?, text("request")?);
        let (action, object, outcome) = (whole("action")?, whole("object")?, whole("outcome")?);
        let content = Content {
            number,
            at: row.try_get("at")?,
            who: who.as_deref(),
            action: &action,
            object: &object,
            before: before.as_deref(),
            after: after.as_deref(),
            detail: detail.as_deref(),
            request: request.as_deref(),
            outcome: &outcome,
        };
        let digest = content.digest(&self.digest);
        // What has not the length of a digest is none.
        match row.try_get::<Vec<u8>, _>("digest")? == digest.as_bytes() {
            true => Ok(Ok(Self { number, digest })),
            false => Ok(Err(
                "it is not what was written, or does not follow from the row before".to_owned(),
            )),
        }
    }
}

impl Audit {
    /// Walks the chain from where it begins to where it must end, as it stands at this moment.
    pub async fn verify(&self) -> Result<AuditState, Reason> {
        let mut snapshot = self.database.pool().begin().await?;
        let state = walk(&mut snapshot).await;
        snapshot.rollback().await?;
        state
    }
}

async fn walk(db: &mut SqliteConnection) -> Result<AuditState, Reason> {
    let Some(ends) = sqlx::query("SELECT * FROM audit_ends")
        .fetch_optional(&mut *db)
        .await?
    else {
        let why = "it is not known where the record begins and ends";
        return Ok(state(0, "", Some((0, why.to_owned()))));
    };
    let end = |number: &str, digest: &str| {
        let digest = hash(&ends.try_get::<Vec<u8>, _>(digest)?)?;
        let number = ends.try_get(number)?;
        Ok::<_, Reason>(End { number, digest })
    };
    let (mut at, last) = (
        end("first_number", "first_digest")?,
        end("last_number", "last_digest")?,
    );
    let mut count = 0;
    let mut rows = sqlx::query("SELECT * FROM audit ORDER BY number").fetch(&mut *db);
    while let Some(row) = rows.try_next().await? {
        match at.and(&row)? {
            Ok(next) => at = next,
            Err(why) => {
                return Ok(state(count, &hex(at.digest), Some((at.number + 1, why))));
            }
        }
        count += 1;
    }
    let broken = match (at.number == last.number, at.digest == last.digest) {
        (true, true) => None,
        (true, false) => Some((
            at.number,
            "the record does not end as it was written".to_owned(),
        )),
        (false, _) => Some((at.number + 1, "the row is missing".to_owned())),
    };
    Ok(state(count, &hex(at.digest), broken))
}

fn hex(digest: Hash) -> String {
    digest.to_hex().to_string()
}

fn state(rows: u64, digest: &str, broken: Option<(i64, String)>) -> AuditState {
    let (broken, why) = broken.unzip();
    AuditState {
        intact: broken.is_none(),
        rows,
        digest: digest.to_owned(),
        broken: broken.map(|number| number.to_string()),
        why,
    }
}
