//! Files, fine-tuning jobs and their checkpoints as callers see them.

use serde::{Deserialize, Serialize};

use super::recipes::Mapping;
use super::{FileId, JobId, KeyId, Recipe};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    ValidatingFiles,
    Queued,
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobStatus {
    pub const ALL: [Self; 7] = [
        Self::ValidatingFiles,
        Self::Queued,
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidatingFiles => "validating_files",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileView {
    pub id: FileId,
    /// The key that made it; `None` where none was asked for.
    pub owner: Option<KeyId>,
    pub bytes: u64,
    /// Unix seconds.
    pub created_at: i64,
    pub filename: String,
    pub purpose: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    pub id: JobId,
    /// The key that made it; `None` where none was asked for.
    pub owner: Option<KeyId>,
    pub status: JobStatus,
    /// Unix seconds.
    pub created_at: i64,
    pub finished_at: Option<i64>,
    pub estimated_finish: Option<i64>,
    /// The base model's served name.
    pub model: String,
    /// The name it will be served under; `fine_tuned_model` once it succeeded.
    pub name: String,
    /// The generation it made.
    pub generation: Option<super::Generation>,
    /// Whether its name serves that generation, or did, to all or to some; otherwise it is only kept.
    #[serde(default)]
    pub published: bool,
    pub training_file: FileId,
    pub validation_file: Option<FileId>,
    pub recipe: Recipe,
    /// What became of each key of the recipes that came with it.
    #[serde(default)]
    pub mappings: Vec<Mapping>,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    pub trained_tokens: Option<u64>,
    pub step: u64,
    pub total_steps: u64,
    /// Of the newest step.
    pub train_loss: Option<f64>,
    /// Trainable and all parameters, as PEFT's `print_trainable_parameters` counts them.
    pub trainable_parameters: Option<(u64, u64)>,
    /// `(code, message, param)`.
    pub error: Option<(String, String, Option<String>)>,
}

/// What of a model learns, in the words of PEFT's `print_trainable_parameters`.
pub fn parameters_report(trainable: u64, all: u64) -> String {
    let share = 100.0 * trainable as f64 / all.max(1) as f64;
    format!(
        "trainable params: {} || all params: {} || trainable%: {share:.4}",
        thousands(trainable),
        thousands(all)
    )
}

/// `4,194,304`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointView {
    pub id: String,
    pub job: JobId,
    pub created_at: i64,
    pub step: u64,
    pub metrics: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// r = 8 on q and v of Llama-2-7B: 2 · 32 layers · 8 · (4096 + 4096).
    #[test]
    fn parameters_are_reported_as_peft_prints_them() {
        assert_eq!(
            parameters_report(4_194_304, 6_742_609_920),
            "trainable params: 4,194,304 || all params: 6,742,609,920 || trainable%: 0.0622"
        );
        assert_eq!(
            parameters_report(12, 100),
            "trainable params: 12 || all params: 100 || trainable%: 12.0000"
        );
    }
}
