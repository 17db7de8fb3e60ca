//! demo: the guided tour. Starts a daemon of its own on free ports with an empty data directory, asks the same
//! questions of base and adapters, trains one more adapter live, and holds the answers against held-out ones.

mod ask;
mod methods;
mod report;
mod tasks;

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use self::ask::Questions;
use self::report::{Report, Scores};
use self::tasks::Task;
use super::local::Local;
use crate::cli::{Client, Content, Failure, Output, Upload, create_job};

/// What each step must show for the demo to succeed.
const BASE_AT_MOST: f64 = 0.10;
const OWN_AT_LEAST: f64 = 0.90;
const OTHERS_AT_MOST: f64 = 0.20;

#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Held-out rows to ask of each task
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=200))]
    rows: u64,
    /// Train by every method instead, and show what each costs and reaches (some minutes)
    #[arg(long)]
    methods: bool,
}

/// Runs the whole tour. An error where any step did not show what it should.
pub async fn run(args: &DemoArgs, json: bool) -> Result<(), Failure> {
    let began = Instant::now();
    let output = Output::new(json);
    let local = Local::start(&[]).await?;
    let rows = args.rows as usize;
    let shortcomings = if args.methods {
        let trained = methods::run(local.client(), rows, output).await;
        local.stop().await;
        let report = trained?;
        output.show(&report.as_json(), |_| report.as_text())?;
        report.shortcomings()
    } else {
        let toured = tour(local.client(), rows, output).await;
        local.stop().await;
        let report = Report {
            tasks: toured?,
            seconds: began.elapsed().as_secs_f64(),
        };
        output.show(&report.as_json(), |_| report.as_text())?;
        report.shortcomings()
    };
    match shortcomings.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(shortcomings.join("\n"))),
    }
}

async fn tour(client: &Client, rows: usize, output: Output) -> Result<Vec<Scores>, Failure> {
    let tasks = tasks::all();
    let live = tasks::live();
    let names: Vec<&str> = tasks.iter().map(|task| task.name).collect();
    // Base and every adapter on every task; training counts as much as one task's questions.
    let asks = (tasks.len() * (1 + names.len()) * rows) as u64;
    let bar = progress_bar(output, asks + rows as u64);

    bar.set_message(format!(
        "training `{live}` on its examples while the others answer"
    ));
    let task = tasks.iter().find(|task| task.name == live);
    let task = task.ok_or_else(|| Failure::failed("there is no task to train"))?;
    let training = start_training(client, task, live, task.recipe()?).await?;

    let mut questions = Vec::new();
    for task in &tasks {
        questions.push(Questions::prepare(client, task, rows).await?);
    }
    let mut scores: Vec<Scores> = names.iter().map(|name| Scores::new(name)).collect();
    for (task, scores) in questions.iter().zip(&mut scores) {
        bar.set_message(format!(
            "{}: asking the base and the ready-made adapters",
            scores.name
        ));
        scores.base = task.exact_match(client, None, &bar).await?;
        for name in names.iter().filter(|name| **name != live) {
            let share = task.exact_match(client, Some(name), &bar).await?;
            scores.record(name, share);
        }
    }
    finish_training(client, &training, &bar, rows as u64).await?;
    for (task, scores) in questions.iter().zip(&mut scores) {
        bar.set_message(format!(
            "{}: asking the adapter trained just now",
            scores.name
        ));
        let share = task.exact_match(client, Some(live), &bar).await?;
        scores.record(live, share);
    }
    bar.finish_and_clear();
    Ok(scores)
}

fn progress_bar(output: Output, length: u64) -> ProgressBar {
    let bar = match output.shows_progress() {
        true => ProgressBar::new(length),
        false => ProgressBar::hidden(),
    };
    if let Ok(style) =
        ProgressStyle::with_template("[{bar:30}] {percent:>3}%  {elapsed}  {prefix}{msg}")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The id of a job that learns `task` under a name.
async fn start_training(
    client: &Client,
    task: &Task,
    name: &str,
    recipe: Map<String, Value>,
) -> Result<String, Failure> {
    let upload = Upload {
        filename: format!("{}.jsonl", task.name),
        purpose: "fine-tune",
        content: Content::Bytes(task.train.as_bytes().to_vec()),
    };
    let file = client.upload(upload).await?;
    let job = create_job(client, name, &file["id"], None, recipe).await?;
    let id = job["id"]
        .as_str()
        .ok_or_else(|| Failure::failed("the job has no id"))?;
    Ok(id.to_owned())
}

/// Follows the job to its end, as it then is; its steps fill `share` of the bar.
async fn finish_training(
    client: &Client,
    id: &str,
    bar: &ProgressBar,
    share: u64,
) -> Result<Value, Failure> {
    let start = bar.position();
    loop {
        let job = client.get(&["v1", "fine_tuning", "jobs", id], &[]).await?;
        let count = |field: &str| job["adapterd"][field].as_u64().unwrap_or(0);
        let (step, total) = (count("step"), count("total_steps"));
        bar.set_position(start + share * step / total.max(1));
        let loss = job["adapterd"]["train_loss"]
            .as_f64()
            .map(|loss| format!(", loss {loss:.4}"));
        bar.set_message(format!(
            "training step {step} of {total}{}",
            loss.unwrap_or_default()
        ));
        match job["status"].as_str() {
            Some("succeeded") => return Ok(job),
            Some("failed" | "cancelled") => {
                let why = job["error"]["message"]
                    .as_str()
                    .unwrap_or("it did not succeed");
                return Err(Failure::Failed(format!("training `{id}`: {why}")));
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// One row of a held-out file.
fn question(row: &Value) -> Option<(String, String)> {
    let text = |field: &str| row[field].as_str();
    let asked = match text("input") {
        Some(input) => format!("{}\n{input}", text("instruction")?),
        None => text("instruction")?.to_owned(),
    };
    Some((asked, text("output")?.to_owned()))
}

fn chat_body(adapter: Option<&str>, asked: &str, max_tokens: u64) -> Value {
    json!({
        "messages": [{"role": "user", "content": asked}],
        "adapter": adapter.unwrap_or("none"),
        "temperature": 0,
        "max_tokens": max_tokens,
    })
}
