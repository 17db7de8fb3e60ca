//! `demo --methods`: the same examples learned by every method, on one base.

use std::time::Instant;

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use super::ask::Questions;
use super::tasks::{self, Task};
use super::{finish_training, progress_bar, start_training};
use crate::cli::{Client, Failure, Output, Table};
use crate::domain::settings::find;
use crate::domain::{Method, Named, thousands};

/// What is different for a method, beside `recipe.toml`.
const CHANGES: &str = include_str!("../../../adapters/finance/methods.toml");

/// Where a change says it, no field of a job: the least share of exact answers.
const AT_LEAST: &str = "at_least";

struct Row {
    method: &'static str,
    /// Trainable and all.
    parameters: (u64, u64),
    seconds: f64,
    exact: f64,
    at_least: f64,
}

pub struct Report {
    rows: Vec<Row>,
    seconds: f64,
}

/// Trains one adapter a method and asks each the held-out questions.
pub async fn run(client: &Client, rows: usize, output: Output) -> Result<Report, Failure> {
    let began = Instant::now();
    let live = tasks::live();
    let task = tasks::all().into_iter().find(|task| task.name == live);
    let task = task.ok_or_else(|| Failure::failed("there is no task to train"))?;
    let questions = Questions::prepare(client, &task, rows).await?;
    let share = rows as u64;
    let bar = progress_bar(output, 2 * share * Method::NAMES.len() as u64);
    let mut report = Vec::new();
    for method in Method::NAMES {
        report.push(one(client, &task, &questions, method, (&bar, share)).await?);
    }
    bar.finish_and_clear();
    Ok(Report {
        rows: report,
        seconds: began.elapsed().as_secs_f64(),
    })
}

async fn one(
    client: &Client,
    task: &Task,
    questions: &Questions,
    method: &'static str,
    (bar, share): (&ProgressBar, u64),
) -> Result<Row, Failure> {
    let (recipe, at_least) = recipe(task, method)?;
    let name = format!("{}-{method}", task.name);
    let began = Instant::now();
    bar.set_prefix(format!("{method}: "));
    let id = start_training(client, task, &name, recipe).await?;
    let job = finish_training(client, &id, bar, share).await?;
    let seconds = began.elapsed().as_secs_f64();
    bar.set_message(format!("asking `{name}`"));
    let exact = questions.exact_match(client, Some(&name), bar).await?;
    let count = |field: &str| job["adapterd"]["parameters"][field].as_u64().unwrap_or(0);
    Ok(Row {
        method,
        parameters: (count("trainable"), count("all")),
        seconds,
        exact,
        at_least,
    })
}

/// The fields of a job, and the least share of exact answers.
fn recipe(task: &Task, method: &str) -> Result<(Map<String, Value>, f64), Failure> {
    let named = Method::named(method)
        .ok_or_else(|| Failure::failed(format!("there is no method `{method}`")))?;
    let changes: Map<String, Value> = toml::from_str(CHANGES).map_err(Failure::failed)?;
    let mut fields = task.recipe()?;
    let of_others = |name: &str| find(name).is_some_and(|row| !row.methods.contains(&named));
    fields.retain(|name, _| !of_others(name));
    fields.insert("method".to_owned(), json!(method));
    let mut changed = match changes.get(method) {
        Some(Value::Object(changed)) => changed.clone(),
        _ => Map::new(),
    };
    let at_least = changed.remove(AT_LEAST).and_then(|least| least.as_f64());
    fields.extend(changed);
    Ok((fields, at_least.unwrap_or(0.0)))
}

impl Report {
    pub fn as_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "method": row.method,
                "trainable": row.parameters.0,
                "all": row.parameters.1,
                "seconds": row.seconds,
                "exact_match": row.exact,
            })
        });
        json!({"methods": rows.collect::<Vec<_>>(), "seconds": self.seconds})
    }

    pub fn as_text(&self) -> String {
        let mut table = Table::new(&["METHOD", "TRAINABLE", "OF ALL", "SECONDS", "EXACT"]);
        for row in &self.rows {
            let (trainable, all) = row.parameters;
            table.row(vec![
                row.method.to_owned(),
                thousands(trainable),
                format!("{:.4} %", 100.0 * trainable as f64 / all.max(1) as f64),
                format!("{:.0}", row.seconds),
                format!("{:.1} %", row.exact * 100.0),
            ]);
        }
        format!(
            "The same examples by every method, and exact answers to held-out questions:\n\n{}\n{:.0} s in all",
            table.render(),
            self.seconds
        )
    }

    /// Every bound that was not kept, in words.
    pub fn shortcomings(&self) -> Vec<String> {
        let short = self.rows.iter().filter(|row| row.exact < row.at_least);
        let told = short.map(|row| {
            let (method, exact, least) = (row.method, row.exact, row.at_least);
            format!("{method}: reached {exact:.3}, less than {least}")
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Wishes;

    #[test]
    fn every_method_has_a_recipe_that_a_job_takes() {
        let task = tasks::all().into_iter().find(|task| task.name == "finance");
        let task = task.unwrap();
        for method in Method::NAMES {
            let (fields, _) = recipe(&task, method).unwrap();
            assert_eq!(fields["method"], *method);
            let wishes: Wishes = serde_json::from_value(Value::Object(fields)).unwrap();
            wishes.check().unwrap();
        }
        let changes: Map<String, Value> = toml::from_str(CHANGES).unwrap();
        assert!(changes.keys().all(|name| Method::named(name).is_some()));
    }

    #[test]
    fn a_share_below_its_bound_is_told() {
        let row = |exact| Row {
            method: "full",
            parameters: (50, 100),
            seconds: 1.0,
            exact,
            at_least: 0.8,
        };
        let report = Report {
            rows: vec![row(0.8), row(0.7)],
            seconds: 2.0,
        };
        assert_eq!(report.shortcomings().len(), 1);
        assert!(report.as_text().contains("50.0000 %"));
        assert_eq!(report.as_json()["methods"][1]["exact_match"], 0.7);
    }
}
