//! `bench train`: a job on made-up text, as its own events tell it.

use std::time::Duration;

use indicatif::ProgressBar;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::Subject;
use super::numbers::{Numbers, peak_memory};
use super::target::Target;
use crate::cli::{Client, Content, Failure, Output, Table, Upload, create_job, size};
use crate::domain::{Checkpointing, Named, Offload, Optimizer, Precision};
use crate::text::synthetic::word;

#[derive(Debug, Clone, clap::Args)]
pub struct TrainingArgs {
    #[command(flatten)]
    subject: Subject,
    /// What is trained
    #[arg(long, default_value = "lora", value_parser = ["lora", "dora", "full"])]
    method: String,
    /// Rank of the adapter, on every linear layer
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    rank: u16,
    /// Rows in one optimizer step
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch_size: u16,
    /// Rows in one forward pass [default: the batch size]
    #[arg(long)]
    micro_batch: Option<u16>,
    /// Tokens of the longest record; records are about as long
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(32..))]
    max_seq: u32,
    /// on keeps only what enters each block, and computes the block again on the way back
    #[arg(long, default_value = "off", value_parser = Checkpointing::NAMES.to_vec())]
    gradient_checkpointing: String,
    /// Numbers of activations and their gradients
    #[arg(long, default_value = "f32", value_parser = Precision::NAMES.to_vec())]
    precision: String,
    /// adamw8bit holds its moments in 8 bits a number
    #[arg(long, default_value = "adamw", value_parser = Optimizer::NAMES.to_vec())]
    optimizer: String,
    /// disk holds the optimizer's moments in a file
    #[arg(long, default_value = "none", value_parser = Offload::NAMES.to_vec())]
    offload_optimizer: String,
    /// Measured optimizer steps, after one that does not count
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Of the text and the adapter
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub async fn run(args: &TrainingArgs, output: Output) -> Result<(), Failure> {
    let target = Target::start(&args.subject, &[]).await?;
    let measured = measure(args, target.local.client(), output).await;
    let load_seconds = target.load_seconds;
    target.local.stop().await;
    let mut report = measured?;
    report["load_seconds"] = json!(load_seconds);
    report["peak_memory_bytes"] = json!(peak_memory());
    output.show(&report, as_text)
}

async fn measure(args: &TrainingArgs, client: &Client, output: Output) -> Result<Value, Failure> {
    let rows = u64::from(args.batch_size) * (u64::from(args.steps) + 1);
    let bytes = records(client, args.seed, args.max_seq, rows).await?;
    let upload = Upload {
        filename: "bench.jsonl".to_owned(),
        purpose: "fine-tune",
        content: Content::Bytes(bytes),
    };
    let file = client.upload(upload).await?;
    let job = create_job(client, "bench", &file["id"], None, recipe(args)).await?;
    let id = job["id"]
        .as_str()
        .ok_or_else(|| Failure::failed("the job has no id"))?;
    follow(client, id, u64::from(args.steps) + 1, output).await?;
    let steps = steps(client, id).await?;
    // The first step also builds what later ones reuse.
    let counted = steps.get(1..).unwrap_or_default();
    let rates = Numbers::of(counted.iter().map(|step| step.rate));
    let seconds = Numbers::of(counted.iter().map(|step| step.tokens / step.rate.max(1e-9)));
    let tokens = Numbers::of(counted.iter().map(|step| step.tokens));
    Ok(json!({
        "model": client.base_name().await?, "method": args.method, "precision": args.precision, "rank": args.rank, "batch_size": args.batch_size,
        "max_seq": args.max_seq,
        "steps": counted.len(), "tokens_per_step": tokens.median(), "tokens_per_second": rates.spread(),
        "step_seconds": seconds.spread(),
        "loss": {"first": steps.first().map(|step| step.loss), "last": steps.last().map(|step| step.loss)},
    }))
}

fn recipe(args: &TrainingArgs) -> Map<String, Value> {
    let micro_batch = args.micro_batch.unwrap_or(args.batch_size);
    let mut fields = json!({
        "method": args.method, "steps": args.steps + 1, "batch_size": args.batch_size, "micro_batch": micro_batch,
        "max_seq": args.max_seq, "eval_split": 0, "seed": args.seed,
        "gradient_checkpointing": args.gradient_checkpointing, "precision": args.precision,
        "optimizer": args.optimizer, "offload_optimizer": args.offload_optimizer,
    });
    if args.method == "full" {
        fields["lr"] = json!(1e-5);
    } else {
        fields["rank"] = json!(args.rank);
        fields["alpha"] = json!(args.rank);
        fields["targets"] = json!("all-linear");
    }
    fields.as_object().cloned().unwrap_or_default()
}

/// Records whose tokens nearly fill a row, as JSONL: a quarter of the words asks, the rest answers.
pub(super) async fn records(
    client: &Client,
    seed: u64,
    max_seq: u32,
    rows: u64,
) -> Result<Vec<u8>, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut words = |count: usize| {
        let words: Vec<String> = (0..count)
            .map(|_| word(rng.random_range(0..5000)))
            .collect();
        words.join(" ")
    };
    const SAMPLE: usize = 256;
    let sample = client
        .post(&["tokenize"], &json!({"prompt": words(SAMPLE)}))
        .await?;
    let each = sample["count"].as_f64().unwrap_or(1.0).max(1.0) / SAMPLE as f64;
    // Room for the template's own tokens, and for words longer than the sample's.
    let count = ((f64::from(max_seq) * 0.85 - 16.0) / each).max(4.0) as usize;
    let mut text = String::new();
    for _ in 0..rows.min(512) {
        let record = json!({"prompt": words(count / 4), "completion": words(count - count / 4)});
        text += &record.to_string();
        text.push('\n');
    }
    Ok(text.into_bytes())
}

async fn follow(client: &Client, id: &str, total: u64, output: Output) -> Result<(), Failure> {
    let bar = match output.shows_progress() {
        true => ProgressBar::new(total),
        false => ProgressBar::hidden(),
    };
    loop {
        let job = client.get(&["v1", "fine_tuning", "jobs", id], &[]).await?;
        bar.set_position(job["adapterd"]["step"].as_u64().unwrap_or(0));
        match job["status"].as_str() {
            Some("succeeded") => {
                bar.finish_and_clear();
                return Ok(());
            }
            Some("failed" | "cancelled") => {
                let why = job["error"]["message"].as_str();
                return Err(Failure::failed(why.unwrap_or("the job did not succeed")));
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

struct Step {
    tokens: f64,
    /// Tokens a second.
    rate: f64,
    loss: f64,
}

/// Every step of the job in order, from the pages of its events.
async fn steps(client: &Client, id: &str) -> Result<Vec<Step>, Failure> {
    let mut newest_first = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", "100".to_owned())];
        query.extend(after.take().map(|id| ("after", id)));
        let page = client
            .get(&["v1", "fine_tuning", "jobs", id, "events"], &query)
            .await?;
        let events = page["data"].as_array().map_or(&[][..], Vec::as_slice);
        newest_first.extend(events.iter().filter_map(step));
        after = events
            .last()
            .and_then(|event| event["id"].as_str())
            .map(str::to_owned);
        if page["has_more"] != json!(true) || after.is_none() {
            newest_first.reverse();
            return Ok(newest_first);
        }
    }
}

fn step(event: &Value) -> Option<Step> {
    let data = &event["data"];
    Some(Step {
        tokens: data["tokens"].as_f64()?,
        rate: data["tokens_per_second"].as_f64()?,
        loss: data["train_loss"].as_f64()?,
    })
}

fn as_text(report: &Value) -> String {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let spread = |name: &str, digits: usize| {
        let value = |kind: &str| number(&format!("/{name}/{kind}"));
        let (median, min, max) = (value("median"), value("min"), value("max"));
        format!("{median:.digits$}  ({min:.digits$}–{max:.digits$})")
    };
    let mut table = Table::default();
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    row("tokens/s", spread("tokens_per_second", 1));
    row("seconds a step", spread("step_seconds", 3));
    row(
        "tokens a step",
        format!("{:.0}", number("/tokens_per_step")),
    );
    row(
        "loss",
        format!("{:.4} → {:.4}", number("/loss/first"), number("/loss/last")),
    );
    row("loaded in", format!("{:.1} s", number("/load_seconds")));
    if let Some(bytes) = report["peak_memory_bytes"].as_u64() {
        row("peak memory", size(bytes));
    }
    let text = |name: &str| report[name].as_str().unwrap_or_default();
    let what = match text("method") {
        "full" => "every weight".to_owned(),
        method => format!("{method} of rank {} on every linear layer", report["rank"]),
    };
    format!(
        "{}: {what} in {}, {} rows of up to {} tokens; medians of {} steps\n\n{}",
        text("model"),
        text("precision"),
        report["batch_size"],
        report["max_seq"],
        report["steps"],
        table.render()
    )
}
