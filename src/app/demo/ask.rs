//! Puts held-out questions to a model, many at once, and counts exact answers.

use futures::StreamExt;
use indicatif::ProgressBar;
use serde_json::json;

use super::tasks::Task;
use super::{chat_body, question};
use crate::cli::{Client, Failure};

/// Requests under way at once: enough to fill the engine's batch.
const AT_ONCE: usize = 32;

struct Question {
    asked: String,
    expected: String,
    max_tokens: u64,
}

/// The held-out rows of one task, ready to be asked.
pub struct Questions {
    questions: Vec<Question>,
}

impl Questions {
    /// An answer may be a little longer than the expected one; a longer one cannot be exact any more.
    pub async fn prepare(client: &Client, task: &Task, rows: usize) -> Result<Self, Failure> {
        let rows: Vec<(String, String)> = task
            .heldout()?
            .iter()
            .filter_map(question)
            .take(rows)
            .collect();
        let questions = futures::stream::iter(rows)
            .map(|(asked, expected)| async move {
                let counted = client
                    .post(&["tokenize"], &json!({"prompt": expected}))
                    .await?;
                let max_tokens = counted["count"].as_u64().unwrap_or(64) + 4;
                Ok::<_, Failure>(Question {
                    asked,
                    expected,
                    max_tokens,
                })
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        Ok(Self {
            questions: questions.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// The share of answers equal to the expected text, surrounding white space aside.
    pub async fn exact_match(
        &self,
        client: &Client,
        adapter: Option<&str>,
        bar: &ProgressBar,
    ) -> Result<f64, Failure> {
        let mut answers = futures::stream::iter(&self.questions)
            .map(|question| async move {
                let body = chat_body(adapter, &question.asked, question.max_tokens);
                let answer = client.post(&["v1", "chat", "completions"], &body).await?;
                let text = answer["choices"][0]["message"]["content"]
                    .as_str()
                    .unwrap_or("");
                Ok::<bool, Failure>(text.trim() == question.expected.trim())
            })
            .buffer_unordered(AT_ONCE);
        let mut exact = 0usize;
        while let Some(matched) = answers.next().await {
            exact += usize::from(matched?);
            bar.inc(1);
        }
        Ok(exact as f64 / self.questions.len().max(1) as f64)
    }
}
