//! What the tour found, as a table, as JSON, and as what fell short.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{BASE_AT_MOST, OTHERS_AT_MOST, OWN_AT_LEAST};
use crate::cli::Table;

/// Exact match of one task's held-out rows, 0 to 1.
pub struct Scores {
    pub name: String,
    pub base: f64,
    pub adapter: f64,
    pub others: BTreeMap<String, f64>,
}

impl Scores {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            base: 0.0,
            adapter: 0.0,
            others: BTreeMap::new(),
        }
    }

    pub fn record(&mut self, adapter: &str, share: f64) {
        match adapter == self.name {
            true => self.adapter = share,
            false => {
                self.others.insert(adapter.to_owned(), share);
            }
        }
    }
}

pub struct Report {
    pub tasks: Vec<Scores>,
    pub seconds: f64,
}

impl Report {
    pub fn as_json(&self) -> Value {
        let tasks: Vec<Value> = self
            .tasks
            .iter()
            .map(|task| {
                json!({
                    "name": task.name,
                    "base": task.base,
                    "adapter": task.adapter,
                    "others": task.others,
                })
            })
            .collect();
        json!({"tasks": tasks, "seconds": self.seconds})
    }

    pub fn as_text(&self) -> String {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let mut table = Table::new(&["TASK", "BASE", "ITS ADAPTER", "OTHER ADAPTERS"]);
        for task in &self.tasks {
            let others: Vec<String> = task
                .others
                .iter()
                .map(|(name, share)| format!("{name} {}", percent(*share)))
                .collect();
            table.row(vec![
                task.name.clone(),
                percent(task.base),
                percent(task.adapter),
                others.join(", "),
            ]);
        }
        format!(
            "Exact answers to held-out questions, one base and one daemon:\n\n{}\n{:.0} s in all",
            table.render(),
            self.seconds
        )
    }

    /// Every bound that was not kept, in words.
    pub fn shortcomings(&self) -> Vec<String> {
        let mut found = Vec::new();
        for task in &self.tasks {
            let name = &task.name;
            if task.base > BASE_AT_MOST {
                found.push(format!(
                    "{name}: the base alone reached {:.3}, more than {BASE_AT_MOST}",
                    task.base
                ));
            }
            if task.adapter < OWN_AT_LEAST {
                found.push(format!(
                    "{name}: its adapter reached {:.3}, less than {OWN_AT_LEAST}",
                    task.adapter
                ));
            }
            for (other, share) in task
                .others
                .iter()
                .filter(|(_, share)| **share > OTHERS_AT_MOST)
            {
                found.push(format!(
                    "{name}: `{other}` reached {share:.3}, more than {OTHERS_AT_MOST}"
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(base: f64, adapter: f64, other: f64) -> Scores {
        let mut scores = Scores::new("legal");
        scores.base = base;
        scores.record("legal", adapter);
        scores.record("medical", other);
        scores
    }

    #[test]
    fn only_a_tour_that_kept_every_bound_has_no_shortcomings() {
        let report = |scores| Report {
            tasks: vec![scores],
            seconds: 1.0,
        };
        assert!(report(scores(0.1, 0.9, 0.2)).shortcomings().is_empty());
        assert_eq!(report(scores(0.2, 0.8, 0.3)).shortcomings().len(), 3);
        assert_eq!(
            report(scores(0.0, 1.0, 0.5)).as_json()["tasks"][0],
            json!({"name": "legal", "base": 0.0, "adapter": 1.0, "others": {"medical": 0.5}})
        );
    }
}
