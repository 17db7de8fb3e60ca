//! Feedback as it is given and looked at.

use sqlx::{AssertSqlSafe, Row};

use super::{COLUMNS, Change, Feedback, JOINED, Page, commit, generation, one_more, run, view};
use crate::domain::{Asker, FeedbackAsk, FeedbackFilter, FeedbackView, KeyId, Reason, ScoreView};
use crate::store::now;

impl Feedback {
    /// Records feedback on an answer that exists for the asker; what the same key gave before is replaced, and its score
    /// comes with the new one.
    pub async fn give(
        &self,
        ask: &FeedbackAsk,
        asker: &Asker,
    ) -> Result<(FeedbackView, Option<f64>), Reason> {
        let mut change = self.database.begin().await?;
        let known: Option<(Option<String>, bool)> = sqlx::query_as(
            "SELECT owner, input IS NOT NULL FROM answers WHERE id = ?1 AND (?2 IS NULL OR owner = ?2)",
        )
        .bind(&ask.id)
        .bind(asker.whose())
        .fetch_optional(&mut *change)
        .await?;
        let missing = || Reason::NoSuchAnswer(ask.id.chars().take(200).collect());
        let (owner, is_captured) = known.ok_or_else(missing)?;
        if ask.correction.is_some() && !is_captured {
            return Err(Reason::WrongState(format!(
                "the prompt of `{}` is not kept, so nothing could be learned from a correction: set `capture = true` under `[feedback]` \
                 (and name its adapter and key there, where only some are listed), ask again, and correct that answer",
                ask.id
            )));
        }
        let giver = asker.key.as_ref().map(KeyId::as_str);
        let id = match giver == owner.as_deref() {
            true => ask.id.clone(),
            false => format!("{}:{}", ask.id, giver.unwrap_or("none")),
        };
        let before = sqlx::query_scalar("SELECT score FROM feedback WHERE id = ?")
            .bind(&id)
            .fetch_optional(&mut *change)
            .await?;
        let insert = sqlx::query(
            "INSERT INTO feedback (id, answer, given_by, at, score, correction, label, comment) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, score = excluded.score, correction = excluded.correction, \
             label = excluded.label, comment = excluded.comment, version = version + 1, used_by = NULL",
        )
        .bind(&id)
        .bind(&ask.id)
        .bind(giver)
        .bind(now())
        .bind(ask.score)
        .bind(&ask.correction)
        .bind(&ask.label)
        .bind(&ask.comment);
        run(&mut *change, insert).await?;
        count(&mut change, &ask.id).await?;
        commit(change).await?;
        self.trim_content().await?;
        Ok((self.show(&id, asker).await?, before))
    }

    /// One, with what is kept of the answer.
    pub async fn show(&self, id: &str, asker: &Asker) -> Result<FeedbackView, Reason> {
        let text = format!(
            "SELECT {COLUMNS}, a.input, a.answer {JOINED} WHERE f.id = ?1 AND (?2 IS NULL OR a.owner = ?2)"
        );
        let row = sqlx::query(AssertSqlSafe(text))
            .bind(id)
            .bind(asker.whose())
            .fetch_optional(self.database.pool())
            .await?;
        let missing = || Reason::NoSuchFeedback(id.chars().take(200).collect());
        let row = row.ok_or_else(missing)?;
        let input: Option<String> = row.try_get("input")?;
        let input = input.map(|text| serde_json::from_str(&text)).transpose();
        Ok(FeedbackView {
            input: input.map_err(|fault| super::unreadable("prompt", fault))?,
            answer: row.try_get("answer")?,
            ..view(&row)?
        })
    }

    /// The newest first.
    pub async fn list(
        &self,
        asker: &Asker,
        filter: &FeedbackFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<FeedbackView>, Reason> {
        let text = format!(
            "SELECT {COLUMNS} {JOINED} \
             WHERE (?1 IS NULL OR f.number < (SELECT number FROM feedback WHERE id = ?1)) \
             AND (?2 IS NULL OR a.owner = ?2) \
             AND (?3 IS NULL OR coalesce(a.adapter, 'none') = ?3) \
             AND (?4 IS NULL OR substr(a.generation, 1, length(?4)) = ?4) \
             AND (?5 IS NULL OR f.label = ?5) \
             AND (?6 IS NULL OR f.score >= ?6) AND (?7 IS NULL OR f.score <= ?7) \
             AND (?8 IS NULL OR (f.correction IS NOT NULL) = ?8) \
             ORDER BY f.number DESC LIMIT ?9"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(after)
            .bind(asker.whose())
            .bind(&filter.adapter)
            .bind(&filter.generation)
            .bind(&filter.label)
            .bind(filter.min_score)
            .bind(filter.max_score)
            .bind(filter.has_correction)
            .bind(one_more(limit))
            .fetch_all(self.database.pool())
            .await;
        Page::read(rows, limit, view)
    }

    /// What the generations of an adapter (`none` is the base) were worth to people, the one scored last first.
    pub async fn scores(&self, asker: &Asker, adapter: &str) -> Result<Vec<ScoreView>, Reason> {
        let text = format!(
            "SELECT a.generation, count(*) AS count, avg(f.score) AS mean, sum(f.score > 0) AS up, sum(f.score < 0) AS down, \
             sum(f.correction IS NOT NULL) AS corrections {JOINED} \
             WHERE coalesce(a.adapter, 'none') = ?1 AND (?2 IS NULL OR a.owner = ?2) \
             GROUP BY a.generation ORDER BY max(f.number) DESC"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(adapter)
            .bind(asker.whose())
            .fetch_all(self.database.pool())
            .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let number = |column: &str| row.try_get::<i64, _>(column).map(|count| count as u64);
            Ok(ScoreView {
                adapter_generation: generation(row.try_get("generation")?)?,
                count: number("count")?,
                mean: row.try_get("mean")?,
                up: number("up")?,
                down: number("down")?,
                corrections: number("corrections")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

/// Writes down how much is kept of an answer and of the feedback on it.
pub(super) async fn count(change: &mut Change, answer: &str) -> Result<(), Reason> {
    let update = "UPDATE answers SET bytes = \
         iif(input IS NULL, 0, 256 + octet_length(input) + octet_length(answer)) \
         + coalesce((SELECT sum(coalesce(octet_length(correction), 0) + coalesce(octet_length(comment), 0)) \
                     FROM feedback WHERE feedback.answer = answers.id), 0) WHERE id = ?";
    run(&mut **change, sqlx::query(update).bind(answer)).await?;
    Ok(())
}
