//! Answers as they are written down.

use super::{Feedback, commit, run};
use crate::domain::{Generation, KeyId, Reason};

/// An answer that was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Without a protocol's prefix.
    pub id: String,
    /// Unix seconds.
    pub at: i64,
    /// The key that got it.
    pub owner: Option<KeyId>,
    /// `None` is the base.
    pub adapter: Option<String>,
    pub generation: Option<Generation>,
    /// Of the answer.
    pub tokens: u64,
    pub kept: Option<Kept>,
}

/// What may be kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// JSON: `{"messages": […]}` or `{"prompt": …}`.
    pub input: String,
    pub answer: String,
}

/// What a row with content counts beside its texts.
const ROW: usize = 256;

impl Kept {
    /// As they count towards the bound.
    pub fn bytes(&self) -> usize {
        ROW + self.input.len() + self.answer.len()
    }
}

impl Feedback {
    /// Writes answers down; those of a known id were written before.
    pub async fn remember(&self, answers: &[Answered]) -> Result<(), Reason> {
        let mut change = self.database.begin().await?;
        for answered in answers {
            let kept = answered.kept.as_ref();
            let insert = sqlx::query(
                "INSERT OR IGNORE INTO answers (id, at, owner, adapter, generation, tokens, input, answer, bytes) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&answered.id)
            .bind(answered.at)
            .bind(answered.owner.as_ref().map(KeyId::as_str))
            .bind(&answered.adapter)
            .bind(answered.generation.map(|generation| generation.to_string()))
            .bind(answered.tokens as i64)
            .bind(kept.map(|kept| kept.input.as_str()))
            .bind(kept.map(|kept| kept.answer.as_str()))
            .bind(kept.map_or(0, Kept::bytes) as i64);
            run(&mut *change, insert).await?;
        }
        commit(change).await
    }
}
