//! How an adapter is to be trained: the resolved settings of one job.

use std::convert::Infallible;
use std::str::FromStr;

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
#[serde(untagged, from = "Said")]
pub enum Targets {
    /// Module names: exact, or the end of a path after a dot.
    List(Vec<String>),
    /// `all-linear`, or a regular expression that matches whole paths.
    Pattern(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    List(Vec<String>),
    Text(String),
}

impl From<Said> for Targets {
    fn from(said: Said) -> Self {
        match said {
            Said::List(names) => Self::List(names),
            Said::Text(text) => Self::from_text(&text),
        }
    }
}

impl Targets {
    /// What one text means, whichever way it came: `all-linear` and regular expressions as in PEFT, and besides a name
    /// or names with commas between. That takes nothing from the expressions: as one, a bare name or a list of them
    /// matches no path, and a whole path means itself either way.
    pub fn from_text(text: &str) -> Self {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ',' | ' ');
        if !text.trim().is_empty() && text.chars().all(bare) {
            return Self::List(text.split(',').map(|name| name.trim().to_owned()).collect());
        }
        Self::Pattern(text.to_owned())
    }
}

impl FromStr for Targets {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from_text(text))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_means_the_same_at_every_door() {
        let list = |names: &[&str]| Targets::List(names.iter().map(|n| (*n).into()).collect());
        let pattern = |text: &str| Targets::Pattern(text.into());
        for (text, meaning) in [
            ("q_proj", list(&["q_proj"])),
            ("q_proj, v_proj", list(&["q_proj", "v_proj"])),
            (
                "model.layers.0.mlp.up_proj",
                list(&["model.layers.0.mlp.up_proj"]),
            ),
            ("all-linear", pattern("all-linear")),
            (r".*\.(q|v)_proj", pattern(r".*\.(q|v)_proj")),
            ("", pattern("")),
        ] {
            assert_eq!(Targets::from_text(text), meaning);
            let json = serde_json::to_value(text).unwrap();
            assert_eq!(serde_json::from_value::<Targets>(json).unwrap(), meaning);
            let kept = serde_json::to_value(&meaning).unwrap();
            assert_eq!(serde_json::from_value::<Targets>(kept).unwrap(), meaning);
        }
        let given = serde_json::json!(["q_proj", "v_proj"]);
        assert_eq!(
            serde_json::from_value::<Targets>(given).unwrap(),
            list(&["q_proj", "v_proj"])
        );
    }
}
