//! What a job would be, before there is one.

use super::Recipe;

/// A job that was checked and not created.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPlan {
    /// The base model's served name.
    pub model: String,
    /// The name it would be served under.
    pub name: String,
    pub recipe: Recipe,
    /// Rows to learn from.
    pub rows: u64,
    pub held_out: u64,
    /// Tokens of the rows to learn from, of those the ones that are learned, and of the longest row.
    pub tokens: u64,
    pub trained_tokens: u64,
    pub longest: u64,
    pub steps_per_epoch: u64,
    pub steps: u64,
    /// Trainable and all parameters, as PEFT counts them.
    pub parameters: (u64, u64),
    pub memory: MemoryPlan,
    /// What of the data or the request is not used, or not as its author may expect.
    pub warnings: Vec<String>,
}

/// What training would take beside what serves, at its peak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes by part.
    pub parts: Vec<(&'static str, u64)>,
    pub peak: u64,
    /// The work that it is needed for.
    pub peak_at: &'static str,
    /// What training may take, as the job says.
    pub limit: Option<u64>,
    /// What the machine has left.
    pub available: Option<u64>,
    /// Whether the job fits as it was asked for.
    pub fits: bool,
    /// Whether it fits in smaller forwards, which learn the same.
    pub fits_smaller: bool,
    /// Near jobs that fit, where it does not.
    pub changes: Vec<PlannedChange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// Settings by their names.
    pub settings: Vec<(&'static str, String)>,
    pub peak: u64,
    pub fits: bool,
}
