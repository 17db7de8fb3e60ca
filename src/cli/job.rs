//! `job …`: fine-tuning jobs from the command line.

use serde_json::{Map, Value, json};

use crate::domain::parameters_report;
use crate::domain::recipes::{self, Mapping};
use crate::domain::settings::{Setting, TABLE};

use super::follow::follow;
use super::output::{Table, cell, when};
use super::{Client, Failure, Output, summary};

#[derive(Debug, Clone, clap::Subcommand)]
pub enum JobCommand {
    /// Jobs, newest first
    List {
        /// Jobs that are shown at most
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// All that is known about one job
    Show {
        /// As `job list` shows it
        id: String,
    },
    /// What happened so far, oldest first
    Logs {
        /// As `job list` shows it
        id: String,
        /// Also every step's loss and learning rate
        #[arg(long)]
        metrics: bool,
    },
    /// Follow a job to its end; Ctrl-C leaves it running
    Watch {
        /// As `job list` shows it
        id: String,
    },
    /// Stop a job for good
    Cancel {
        /// As `job list` shows it
        id: String,
    },
    /// Stop a job at its next step and keep its progress
    Pause {
        /// As `job list` shows it
        id: String,
    },
    /// Go on with a job that is paused, or that failed without diverging
    Resume {
        /// As `job list` shows it
        id: String,
    },
}

pub async fn run(client: &Client, command: JobCommand, output: Output) -> Result<(), Failure> {
    let act = async |id: &str, verb: &str| {
        let path = ["v1", "fine_tuning", "jobs", id, verb];
        output.show(&client.post(&path, &json!({})).await?, details)
    };
    match command {
        JobCommand::List { limit } => {
            let query = [("limit", limit.to_string())];
            output.show(
                &client.get(&["v1", "fine_tuning", "jobs"], &query).await?,
                listing,
            )
        }
        JobCommand::Show { id } => {
            let job = get(client, &id).await?;
            let (told, summary) = match output.is_json() {
                true => (Vec::new(), None),
                false => (
                    about_data(client, &job).await?,
                    summary::find(client, &id).await?,
                ),
            };
            output.show(&job, |job| {
                let mut text = details(job);
                told.iter()
                    .for_each(|line| text.push_str(&format!("{line}\n")));
                if let Some(summary) = summary {
                    text.push_str(&format!("\n{}", summary::text(&summary)));
                }
                text
            })
        }
        JobCommand::Logs { id, metrics } => logs(client, &id, metrics, output).await,
        JobCommand::Watch { id } => follow(client, &id, output).await,
        JobCommand::Cancel { id } => act(&id, "cancel").await,
        JobCommand::Pause { id } => act(&id, "pause").await,
        JobCommand::Resume { id } => act(&id, "resume").await,
    }
}

pub(super) async fn get(client: &Client, id: &str) -> Result<Value, Failure> {
    client.get(&["v1", "fine_tuning", "jobs", id], &[]).await
}

/// Steps done, and steps to do.
pub(super) fn steps(job: &Value) -> (u64, u64) {
    let count = |field: &str| job["adapterd"][field].as_u64().unwrap_or(0);
    (count("step"), count("total_steps"))
}

fn listing(jobs: &Value) -> String {
    let mut table = Table::new(&["ID", "NAME", "STATUS", "STEP", "LOSS", "CREATED"]);
    for job in jobs["data"].as_array().into_iter().flatten() {
        let (step, total) = steps(job);
        table.row(vec![
            cell(job, "id"),
            cell(&job["adapterd"], "name"),
            cell(job, "status"),
            format!("{step}/{total}"),
            job["adapterd"]["train_loss"]
                .as_f64()
                .map_or("-".into(), |loss| format!("{loss:.4}")),
            when(&job["created_at"]),
        ]);
    }
    table.render()
}

fn details(job: &Value) -> String {
    let mut table = Table::default();
    let mut put = |name: &str, value: String| table.row(vec![format!("{name}:"), value]);
    for field in [
        "id",
        "status",
        "model",
        "fine_tuned_model",
        "training_file",
        "trained_tokens",
    ] {
        put(field, cell(job, field));
    }
    for field in ["created_at", "finished_at"] {
        put(field, when(&job[field]));
    }
    let count = |of: &str| job["adapterd"]["parameters"][of].as_u64();
    if let (Some(trainable), Some(all)) = (count("trainable"), count("all")) {
        put("parameters", parameters_report(trainable, all));
    }
    for (field, value) in job["adapterd"].as_object().into_iter().flatten() {
        match value.as_object().filter(|_| field != "parameters") {
            None if field == "parameters" || field == "mappings" => {}
            Some(recipe) if field == "recipe" => said(recipe)
                .into_iter()
                .for_each(|(name, value)| put(&format!("recipe.{name}"), value)),
            Some(inner) => inner
                .iter()
                .filter(|(_, value)| !value.is_null())
                .for_each(|(name, _)| put(&format!("{field}.{name}"), cell(value, name))),
            None => put(field, cell(&job["adapterd"], field)),
        }
    }
    if let Some(message) = job["error"]["message"].as_str() {
        put("error", message.to_owned());
    }
    let mappings: Vec<Mapping> =
        serde_json::from_value(job["adapterd"]["mappings"].clone()).unwrap_or_default();
    table.render() + &recipes::table(&mappings)
}

/// A recipe by the names and values that flags have, in the order of their table.
fn said(recipe: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let there = |setting: &&Setting| {
        recipe
            .get(setting.field)
            .is_some_and(|value| !value.is_null())
    };
    { TABLE.iter() }
        .filter(there)
        .map(|setting| {
            let value = setting.kept(recipe[setting.field].clone());
            (setting.name, cell(&json!({"it": value}), "it"))
        })
        .collect()
}

/// Every event of a job, oldest first.
async fn events(client: &Client, id: &str) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let mut query = vec![("limit", "100".to_owned())];
    loop {
        let page = client
            .get(&["v1", "fine_tuning", "jobs", id, "events"], &query)
            .await?;
        let found = page["data"].as_array().cloned().unwrap_or_default();
        let last = found
            .last()
            .and_then(|event| event["id"].as_str())
            .map(str::to_owned);
        all.extend(found);
        match (page["has_more"].as_bool(), last) {
            (Some(true), Some(last)) => {
                query.truncate(1);
                query.push(("after", last));
            }
            _ => break,
        }
    }
    all.reverse();
    Ok(all)
}

/// What a job has been warned of so far, oldest first.
pub async fn warnings(client: &Client, id: &str) -> Result<Vec<String>, Failure> {
    let found = events(client, id).await?;
    let warned = found.iter().filter(|event| event["level"] == "warn");
    Ok(warned.map(|event| cell(event, "message")).collect())
}

/// Whether a job leaves out or repeats rows of its data.
fn selects(job: &Value) -> bool {
    let recipe = &job["adapterd"]["recipe"];
    recipe["dedup"] == true || recipe["balance"].is_string()
}

/// Which rows of its data a job leaves out or repeats, as its first events tell.
async fn about_data(client: &Client, job: &Value) -> Result<Vec<String>, Failure> {
    if !selects(job) {
        return Ok(Vec::new());
    }
    let found = events(client, &cell(job, "id")).await?;
    let messages = found.iter().map(|event| cell(event, "message"));
    let of = |message: &String| {
        ["dedup: ", "balance: "]
            .iter()
            .any(|word| message.starts_with(word))
    };
    Ok(messages.filter(of).collect())
}

async fn logs(client: &Client, id: &str, metrics: bool, output: Output) -> Result<(), Failure> {
    let mut found = events(client, id).await?;
    found.retain(|event| metrics || event["type"] != "metrics");
    output.show(&json!({"object": "list", "data": found}), |list| {
        list["data"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| {
                format!(
                    "{}  {:5}  {}\n",
                    when(&event["created_at"]),
                    cell(event, "level"),
                    cell(event, "message")
                )
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_shown_by_the_names_and_values_of_flags() {
        let recipe = json!({"pack": false, "recompute": "on", "learning_rate": 0.5, "method": "lora", "steps": null});
        let shown = said(recipe.as_object().unwrap());
        let shown: Vec<(&str, &str)> = { shown.iter() }
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let expected = [
            ("method", "lora"),
            ("no_pack", "true"),
            ("gradient_checkpointing", "on"),
            ("lr", "0.5"),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn only_a_job_that_selects_rows_has_events_about_them() {
        let selects = |recipe: Value| selects(&json!({"adapterd": {"recipe": recipe}}));
        assert!(selects(json!({"dedup": true, "balance": null})));
        assert!(selects(json!({"dedup": false, "balance": "kind"})));
        assert!(!selects(json!({"dedup": false, "balance": null})));
        assert!(!selects(json!({})));
    }
}
