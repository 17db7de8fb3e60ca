//! `feedback …` and `retrain`: what people think of answers, and learning from it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::follow::follow;
use super::output::{Table, cell, line, short, when};
use super::recipes::Brought;
use super::train::TrainFlags;
use super::{Client, Failure, Output};
use crate::domain::RowForm;

#[derive(Debug, Clone, clap::Subcommand)]
pub enum FeedbackCommand {
    /// Say what an answer was worth, and what it should have been
    Give(GiveArgs),
    /// Feedback, newest first
    List(ListArgs),
    /// One, with prompt and answer where they are kept
    Show { id: String },
    /// Write training rows: corrections as answers, and answers that were liked
    Export(ExportArgs),
    /// What each generation of an adapter was worth to people
    Scores { adapter: String },
    /// Delete one with what is kept of its answer, or all that is remembered of a key
    Delete(DeleteArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct GiveArgs {
    /// The answer's `id`, as `chatcmpl-…`
    id: String,
    /// -1 to 1; above 0 is good
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    score: f64,
    /// What the answer should have been; the daemon must keep prompts (`feedback.capture`)
    #[arg(long, value_name = "TEXT")]
    correction: Option<String>,
    /// For finding it again
    #[arg(long)]
    label: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// On answers of this adapter; `none` is the base
    #[arg(long)]
    adapter: Option<String>,
    /// On answers of this generation; its first digits do
    #[arg(long)]
    generation: Option<String>,
    #[arg(long)]
    label: Option<String>,
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    min_score: Option<f64>,
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    max_score: Option<f64>,
    /// With a correction, or without one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    has_correction: Option<bool>,
    /// Start after this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Entries at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// On answers of this adapter; `none` is the base
    #[arg(long)]
    adapter: String,
    /// sft: answers to learn; dpo: corrections beside the answers
    #[arg(long, default_value = RowForm::NAMES[0], value_parser = clap::builder::PossibleValuesParser::new(RowForm::NAMES))]
    format: String,
    /// What answers without a correction need [default: above 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    min_score: Option<f64>,
    /// Where to write them [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct DeleteArgs {
    id: Option<String>,
    /// All that is remembered of the key with this id; `none`: of callers without a key
    #[arg(long, value_name = "ID")]
    owner: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("length").args(["epochs", "steps"])))]
pub struct RetrainArgs {
    /// The name that learns from its feedback
    name: String,
    /// New rows of feedback that it needs [default: 1]
    #[arg(long, value_name = "N")]
    min_rows: Option<u64>,
    /// New corrections that it needs among them [default: 0]
    #[arg(long, value_name = "N")]
    min_corrections: Option<u64>,
    /// Wait for the end; exit 0 only on success (without it, only a terminal follows the job)
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    recipe: TrainFlags,
    #[command(flatten)]
    brought: Brought,
}

const PATH: [&str; 2] = ["v1", "feedback"];

pub async fn run(client: &Client, command: FeedbackCommand, output: Output) -> Result<(), Failure> {
    match command {
        FeedbackCommand::Give(args) => {
            let body = json!({
                "id": args.id,
                "score": args.score,
                "correction": args.correction,
                "label": args.label,
                "comment": args.comment,
            });
            let given = client.post(&PATH, &body).await?;
            output.show(&given, |given| table(std::slice::from_ref(given)))
        }
        FeedbackCommand::List(args) => {
            let found = client.get(&PATH, &query(args)).await?;
            output.show(&found, |found| {
                let data = found["data"].as_array();
                table(data.map_or(&[], Vec::as_slice))
            })
        }
        FeedbackCommand::Show { id } => {
            let found = client.get(&["v1", "feedback", &id], &[]).await?;
            output.show(&found, whole)
        }
        FeedbackCommand::Scores { adapter } => {
            let query = [("adapter", adapter)];
            let found = client.get(&["v1", "feedback", "scores"], &query).await?;
            output.show(&found, scores)
        }
        FeedbackCommand::Export(args) => export(client, args).await,
        FeedbackCommand::Delete(DeleteArgs { id, owner }) => {
            let gone = match (&id, owner) {
                (Some(id), _) => client.delete(&["v1", "feedback", id], &[]).await,
                (None, owner) => {
                    let query = [("owner", owner.unwrap_or_default())];
                    client.delete(&PATH, &query).await
                }
            };
            output.show(&gone?, |gone| match gone["count"].as_u64() {
                Some(count) => format!("{count} answers and feedback deleted"),
                None => format!("{} deleted", cell(gone, "id")),
            })
        }
    }
}

fn query(args: ListArgs) -> Vec<(&'static str, String)> {
    let number = |score: Option<f64>| score.map(|score| score.to_string());
    [
        ("adapter", args.adapter),
        ("generation", args.generation),
        ("label", args.label),
        ("min_score", number(args.min_score)),
        ("max_score", number(args.max_score)),
        (
            "has_correction",
            args.has_correction.map(|has| has.to_string()),
        ),
        ("after", args.after),
        ("limit", Some(args.limit.to_string())),
    ]
    .into_iter()
    .filter_map(|(key, value)| value.map(|value| (key, value)))
    .collect()
}

/// Rows go where they are wanted as they come. A file that could not be written as a whole does not stay.
async fn export(client: &Client, args: ExportArgs) -> Result<(), Failure> {
    let mut query = vec![("adapter", args.adapter), ("format", args.format)];
    query.extend(args.min_score.map(|score| ("min_score", score.to_string())));
    let path = ["v1", "feedback", "export"];
    let mut response = client.read(&path, &query).await?;
    let Some(place) = args.out else {
        let mut out = std::io::stdout().lock();
        while let Some(piece) = response.chunk().await.map_err(Failure::failed)? {
            match out.write_all(&piece) {
                // Its reader wants no more.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
        }
        return Ok(());
    };
    let mut file = std::fs::File::create(&place)?;
    let written = async {
        while let Some(piece) = response.chunk().await.map_err(Failure::failed)? {
            file.write_all(&piece)?;
        }
        Ok(file.sync_all()?)
    };
    let written: Result<(), Failure> = written.await;
    if written.is_err() {
        let _ = std::fs::remove_file(&place);
    }
    written
}

/// Creates the job, and follows it as `train` does.
pub async fn retrain(client: &Client, args: &RetrainArgs, output: Output) -> Result<(), Failure> {
    let mut body = args.recipe.said.clone();
    body.extend(args.brought.files.clone());
    for (field, count) in [
        ("min_rows", args.min_rows),
        ("min_corrections", args.min_corrections),
    ] {
        body.extend(count.map(|count| (field.to_owned(), json!(count))));
    }
    let path = ["v1", "adapters", &args.name, "retrain"];
    let job = client.post(&path, &Value::Object(body)).await?;
    let id = cell(&job, "id");
    let follows = args.wait || (std::io::stdout().is_terminal() && !output.is_json());
    if !follows {
        return output.show(&job, |_| {
            format!("{id} is queued; `adapterd job watch {id}` follows it")
        });
    }
    if !output.is_json() {
        line(&format!("{id} retrains `{}`; Ctrl-C detaches", args.name))?;
    }
    follow(client, &id, output).await
}

fn table(entries: &[Value]) -> String {
    let mut table = Table::new(&[
        "ID",
        "ADAPTER",
        "GENERATION",
        "SCORE",
        "CORRECTED",
        "KEPT",
        "LABEL",
        "GIVEN",
        "USED BY",
    ]);
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    for entry in entries {
        table.row(vec![
            cell(entry, "id"),
            entry["adapter"].as_str().unwrap_or("none").to_owned(),
            short(&entry["adapter_generation"]),
            cell(entry, "score"),
            yes(entry["correction"].is_string()),
            yes(entry["captured"] == true),
            cell(entry, "label"),
            when(&entry["created_at"]),
            cell(entry, "used_by"),
        ]);
    }
    table.render()
}

fn whole(entry: &Value) -> String {
    let mut text = table(std::slice::from_ref(entry));
    let turns = entry["input"]["messages"].as_array().into_iter().flatten();
    let asked = turns.map(|turn| (cell(turn, "role"), cell(turn, "content")));
    let prompt = entry["input"]["prompt"].as_str();
    let prompt = prompt.map(|prompt| ("prompt".to_owned(), prompt.to_owned()));
    let said = ["answer", "correction", "comment"].into_iter();
    let said = said.filter_map(|key| Some((key.to_owned(), entry[key].as_str()?.to_owned())));
    for (who, what) in asked.chain(prompt).chain(said) {
        text.push_str(&format!("\n{who}: {what}"));
    }
    text
}

fn scores(found: &Value) -> String {
    let mut table = Table::new(&["GENERATION", "COUNT", "MEAN", "UP", "DOWN", "CORRECTIONS"]);
    for score in found["data"].as_array().into_iter().flatten() {
        table.row(vec![
            short(&score["adapter_generation"]),
            cell(score, "count"),
            format!("{:+.2}", score["mean"].as_f64().unwrap_or(0.0)),
            cell(score, "up"),
            cell(score, "down"),
            cell(score, "corrections"),
        ]);
    }
    table.render()
}
