//! How an adapter is to be trained: the resolved settings of one job.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    Lora,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Linear,
    Cosine,
    Constant,
}

/// `target_modules` in PEFT's sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// Module names: exact, or the end of a path after a dot.
    List(Vec<String>),
    /// `all-linear`, or a regular expression that matches whole paths.
    Pattern(String),
}

/// Every field is final: defaults applied, ratios solved, `--from` merged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    pub method: Method,
    pub rank: usize,
    pub alpha: f64,
    pub use_rslora: bool,
    pub dropout: f64,
    pub targets: Targets,
    /// Exactly one of `epochs` and `steps` is given.
    pub epochs: Option<f64>,
    pub steps: Option<u64>,
    /// Rows in one optimizer step.
    pub batch_size: usize,
    /// Rows in one forward.
    pub micro_batch: usize,
    pub learning_rate: f64,
    pub schedule: Schedule,
    /// Steps when ≥ 1, a share of all steps when < 1.
    pub warmup: f64,
    /// Tokens of one packed row at most; longer records are refused when the job is created.
    pub max_seq: usize,
    pub seed: u64,
    /// < 1 is a share of the rows, ≥ 1 a count.
    pub eval_split: f64,
    /// In steps; `None`: at the end only.
    pub eval_every: Option<u64>,
    pub save_every: Option<u64>,
    pub weight_decay: f64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    /// 0 switches clipping off.
    pub max_grad_norm: f64,
    /// An adapter name (optionally `@generation`) or a folder under the adapter root.
    pub from: Option<String>,
    pub shuffle: bool,
    pub pack: bool,
}
