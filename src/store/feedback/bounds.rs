//! How much is kept and for how long, and how it goes.

use super::{Change, Feedback, commit, run};
use crate::domain::{Asker, Reason};

/// What is kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Seconds.
    pub age: i64,
    /// Of prompts, answers and feedback, in bytes.
    pub content: u64,
    /// Answers without content.
    pub bare: u64,
}

/// Rows of one transaction, so that others wait no longer for it than for a change of a name.
const ROWS: i64 = 500;

impl Feedback {
    /// Removes what is older than it may be, and the oldest of the answers without content where there are too many.
    pub async fn trim(&self, now: i64) -> Result<(), Reason> {
        let old =
            "DELETE FROM answers WHERE number IN (SELECT number FROM answers WHERE at < ? LIMIT ?)";
        let before = now.saturating_sub(self.bounds.age);
        while run(
            self.database.pool(),
            sqlx::query(old).bind(before).bind(ROWS),
        )
        .await?
            > 0
        {}
        let many = "DELETE FROM answers WHERE number IN \
             (SELECT number FROM answers WHERE bytes = 0 ORDER BY number DESC LIMIT ? OFFSET ?)";
        let most = self.bounds.bare as i64;
        while run(
            self.database.pool(),
            sqlx::query(many).bind(ROWS).bind(most),
        )
        .await?
            > 0
        {}
        Ok(())
    }

    /// Deletes content, that of the oldest answers first, until the rest is no more than may be kept. Scores stay.
    pub async fn trim_content(&self) -> Result<(), Reason> {
        let kept = "SELECT coalesce(sum(bytes), 0) FROM answers WHERE bytes > 0";
        loop {
            let kept: i64 = sqlx::query_scalar(kept)
                .fetch_one(self.database.pool())
                .await?;
            let mut over = kept - i64::try_from(self.bounds.content).unwrap_or(i64::MAX);
            if over <= 0 {
                return Ok(());
            }
            let oldest: Vec<(String, i64)> = sqlx::query_as(
                "SELECT id, bytes FROM answers WHERE bytes > 0 ORDER BY number LIMIT ?",
            )
            .bind(ROWS)
            .fetch_all(self.database.pool())
            .await?;
            let mut change = self.database.begin().await?;
            for (id, bytes) in oldest {
                if over <= 0 {
                    break;
                }
                clear(&mut change, &id).await?;
                over -= bytes;
            }
            commit(change).await?;
        }
    }

    /// Deletes the feedback of this id: an answer's, with all that is kept of the answer, or that of one key alone. Only
    /// what exists for the asker.
    pub async fn delete(&self, id: &str, asker: &Asker) -> Result<(), Reason> {
        let (answer, key) = match id.split_once(':') {
            Some((answer, _)) => (answer, Some(id)),
            None => (id, None),
        };
        let mut change = self.database.begin().await?;
        let known: Option<i64> = sqlx::query_scalar(
            "SELECT bytes FROM answers WHERE id = ?1 AND (?2 IS NULL OR owner = ?2)",
        )
        .bind(answer)
        .bind(asker.whose())
        .fetch_optional(&mut *change)
        .await?;
        let missing = || Reason::NoSuchFeedback(id.chars().take(200).collect());
        let bytes = known.ok_or_else(missing)?;
        let delete = "DELETE FROM feedback WHERE answer = ?1 AND (?2 IS NULL OR id = ?2)";
        let gone = run(&mut *change, sqlx::query(delete).bind(answer).bind(key)).await?;
        if gone == 0 && (key.is_some() || bytes == 0) {
            return Err(missing());
        }
        match key {
            None => clear(&mut change, answer).await?,
            Some(_) => super::giving::count(&mut change, answer).await?,
        }
        commit(change).await?;
        self.forget_pages().await;
        Ok(())
    }

    /// Deletes all that is remembered of a key, its answers and the feedback it gave, and says how many answers and
    /// feedback of others that were. `None`: of callers without a key.
    pub async fn delete_of(&self, key: Option<&str>) -> Result<u64, Reason> {
        let mut change = self.database.begin().await?;
        let answers = sqlx::query("DELETE FROM answers WHERE owner IS ?").bind(key);
        let mut gone = run(&mut *change, answers).await?;
        if key.is_some() {
            let given: Vec<String> =
                sqlx::query_scalar("SELECT DISTINCT answer FROM feedback WHERE given_by = ?")
                    .bind(key)
                    .fetch_all(&mut *change)
                    .await?;
            let feedback = sqlx::query("DELETE FROM feedback WHERE given_by = ?").bind(key);
            gone += run(&mut *change, feedback).await?;
            for answer in given {
                super::giving::count(&mut change, &answer).await?;
            }
        }
        commit(change).await?;
        self.forget_pages().await;
        Ok(gone)
    }

    /// Deleted pages are overwritten, but the log of changes still has them: it is emptied. Where others read just now,
    /// that is done with the next checkpoint.
    async fn forget_pages(&self) {
        let emptied = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)");
        let emptied = emptied.fetch_one(self.database.pool()).await;
        match emptied {
            Ok((0_i64, _, _)) => {}
            Ok((_, pages, done)) => {
                let (pages, done): (i64, i64) = (pages, done);
                tracing::warn!(pages, done, "the database's log still has what was deleted");
            }
            Err(error) => {
                tracing::warn!(%error, "the database's log still has what was deleted");
            }
        }
    }
}

/// Deletes what an answer and the feedback on it say.
async fn clear(change: &mut Change, answer: &str) -> Result<(), Reason> {
    let content = "UPDATE answers SET input = NULL, answer = NULL, bytes = 0 WHERE id = ?";
    run(&mut **change, sqlx::query(content).bind(answer)).await?;
    let said = "UPDATE feedback SET correction = NULL, comment = NULL WHERE answer = ?";
    run(&mut **change, sqlx::query(said).bind(answer)).await?;
    Ok(())
}
