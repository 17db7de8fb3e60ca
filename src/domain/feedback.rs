//! What people think of answers: a score, and perhaps what the answer should have been.

use serde::Serialize;
use serde_json::Value;

use super::{Generation, JobId, KeyId, Reason};

/// Bytes of a correction: an answer that long is none that anybody writes by hand.
pub const LONGEST_CORRECTION: usize = 256 << 10;
/// Bytes of a comment.
pub const LONGEST_COMMENT: usize = 8 << 10;
/// Bytes of a label.
pub const LONGEST_LABEL: usize = 128;

/// Feedback as it is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedbackAsk {
    /// Of the answer, with or without its protocol's prefix.
    pub id: String,
    /// -1 to 1.
    pub score: f64,
    /// What the answer should have been.
    pub correction: Option<String>,
    /// For finding it again.
    pub label: Option<String>,
    /// For people.
    pub comment: Option<String>,
}

impl FeedbackAsk {
    pub fn check(&self) -> Result<(), Reason> {
        if !(-1.0..=1.0).contains(&self.score) {
            return Err(Reason::field("score", "is between -1 and 1"));
        }
        for (field, text, most) in [
            ("correction", &self.correction, LONGEST_CORRECTION),
            ("label", &self.label, LONGEST_LABEL),
            ("comment", &self.comment, LONGEST_COMMENT),
        ] {
            let Some(text) = text else { continue };
            if text.trim().is_empty() {
                return Err(Reason::field(field, "is empty; leave it out"));
            }
            if text.len() > most {
                return Err(Reason::field(field, format!("has more than {most} bytes")));
            }
        }
        Ok(())
    }
}

/// Feedback as it is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeedbackView {
    /// The answer's; with `:KEY` behind it where another than the answer's key gave the feedback.
    pub id: String,
    /// `feedback`.
    pub object: &'static str,
    /// What answered; `None` is the base.
    pub adapter: Option<String>,
    pub adapter_generation: Option<Generation>,
    /// The key that got the answer, to which the feedback belongs; `None` where none was asked for.
    pub owner: Option<KeyId>,
    /// The key that gave the feedback.
    pub given_by: Option<KeyId>,
    /// Unix seconds.
    pub created_at: i64,
    pub answered_at: i64,
    pub score: f64,
    pub correction: Option<String>,
    pub label: Option<String>,
    pub comment: Option<String>,
    /// Whether prompt and answer are kept.
    pub captured: bool,
    /// Tokens of the answer.
    pub tokens: u64,
    /// The retraining it went into.
    pub used_by: Option<JobId>,
    /// `{"messages": […]}` or `{"prompt": …}`, where one is asked for and it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// Which feedback is meant; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedbackFilter {
    /// `none` is the base.
    pub adapter: Option<String>,
    /// The first digits of it.
    pub generation: Option<String>,
    pub label: Option<String>,
    pub min_score: Option<f64>,
    pub max_score: Option<f64>,
    pub has_correction: Option<bool>,
}

/// What a generation was worth to people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreView {
    /// `None` is the base.
    pub adapter_generation: Option<Generation>,
    pub count: u64,
    /// Of the scores.
    pub mean: f64,
    /// Scores above 0.
    pub up: u64,
    /// Scores below 0.
    pub down: u64,
    pub corrections: u64,
}

/// The form of training rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowForm {
    /// Corrections, and answers that were liked.
    #[default]
    Sft,
    /// Corrections beside what was answered.
    Dpo,
}

impl RowForm {
    pub const NAMES: &[&str] = &["sft", "dpo"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sft" => Some(Self::Sft),
            "dpo" => Some(Self::Dpo),
            _ => None,
        }
    }
}

/// An answer's id as every protocol means it: `chatcmpl-…`, `cmpl-…` and others put their mark before it.
pub fn bare_answer_id(text: &str) -> &str {
    let (id, _) = text.split_once(':').unwrap_or((text, ""));
    let start = id.rfind(['-', '_']).map_or(0, |at| at + 1);
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_id_is_the_same_in_every_protocol() {
        for (text, bare) in [
            ("chatcmpl-0123ab", "0123ab"),
            ("cmpl-0123ab", "0123ab"),
            ("resp_0123ab", "0123ab"),
            ("0123ab", "0123ab"),
            ("chatcmpl-0123ab:4f0c", "0123ab:4f0c"),
            ("0123ab:none", "0123ab:none"),
            ("", ""),
            ("chatcmpl-", ""),
        ] {
            assert_eq!(bare_answer_id(text), bare, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_feedback_is_told_by_its_field() {
        let good = FeedbackAsk {
            id: "1".into(),
            score: -1.0,
            correction: Some("b".into()),
            ..FeedbackAsk::default()
        };
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut FeedbackAsk)| {
            let mut ask = good.clone();
            change(&mut ask);
            match ask.check() {
                Err(Reason::BadField { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(with(|ask| ask.score = 1.5), "score");
        assert_eq!(with(|ask| ask.score = f64::NAN), "score");
        assert_eq!(with(|ask| ask.correction = Some(" ".into())), "correction");
        assert_eq!(with(|ask| ask.label = Some("x".repeat(129))), "label");
        assert_eq!(with(|ask| ask.comment = Some("x".repeat(9000))), "comment");
    }
}
