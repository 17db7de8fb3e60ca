//! The three tasks of the tour: their data is in the binary.

use serde_json::{Map, Value};

use crate::cli::Failure;

/// One domain: examples to train on, held-out rows to ask.
pub struct Task {
    pub name: &'static str,
    pub train: &'static str,
    heldout: &'static str,
    recipe: &'static str,
}

macro_rules! task {
    ($name:literal) => {
        Task {
            name: $name,
            train: include_str!(concat!("../../../adapters/", $name, "/train.jsonl")),
            heldout: include_str!(concat!("../../../adapters/", $name, "/heldout.jsonl")),
            recipe: include_str!(concat!("../../../adapters/", $name, "/recipe.toml")),
        }
    };
}

/// The task whose adapter is not in the binary but trained before the user's eyes.
pub const fn live() -> &'static str {
    "finance"
}

pub fn all() -> Vec<Task> {
    vec![task!("legal"), task!("medical"), task!("finance")]
}

impl Task {
    pub fn heldout(&self) -> Result<Vec<Value>, Failure> {
        self.heldout
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).map_err(Failure::failed))
            .collect()
    }

    /// The recipe's fields, as a job takes them.
    pub fn recipe(&self) -> Result<Map<String, Value>, Failure> {
        toml::from_str(self.recipe).map_err(Failure::failed)
    }
}
