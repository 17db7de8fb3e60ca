//! `bench train`: a job on made-up text, as its own events tell it.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::Subject;
use super::numbers::{Numbers, peak_memory};
use super::target::Target;
use crate::cli::{
    Client, Content, Failure, Flags, Output, Rows, Table, Upload, create_job, plan_job, size,
};
use crate::domain::settings::{Setting, TABLE};
use crate::text::synthetic::word;
use crate::trainer::account::process_bytes;

#[derive(Debug, Clone, clap::Args)]
pub struct TrainingArgs {
    #[command(flatten)]
    subject: Subject,
    /// Records to train on, as of a training file, instead of made-up text
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    #[command(flatten)]
    recipe: Flags<Measured>,
}

/// The settings of a job, of which some are others where nothing is said.
#[derive(Debug, Clone)]
pub enum Measured {}

/// As a job's, but smaller.
const UNSAID: [(&str, u64); 4] = [
    ("steps", 10),
    ("batch_size", 4),
    ("max_seq", 256),
    ("seed", 0),
];

impl Rows for Measured {
    const ROWS: &'static [Setting] = TABLE;

    fn default(setting: &Setting) -> String {
        let own = UNSAID.iter().find(|(name, _)| *name == setting.name);
        own.map_or_else(|| setting.default(), |(_, value)| value.to_string())
    }
}

impl TrainingArgs {
    /// What is said, and what holds where nothing is.
    fn settings(&self) -> Map<String, Value> {
        unsaid(&self.recipe.said)
    }

    fn whole(&self, name: &str) -> u64 {
        self.settings()[name].as_u64().unwrap_or(1)
    }

    /// The job's: one step more than is measured.
    fn fields(&self) -> Map<String, Value> {
        let mut fields = self.settings();
        fields.insert("steps".to_owned(), (self.whole("steps") + 1).into());
        // Whole weights diverge at the rate of adapters.
        if fields.get("method") == Some(&json!("full")) {
            fields.entry("lr").or_insert(json!(1e-5));
        }
        fields
    }
}

/// A job's fields, with what holds here where nothing is said.
pub(super) fn unsaid(said: &Map<String, Value>) -> Map<String, Value> {
    let mut fields = said.clone();
    for (name, value) in UNSAID {
        fields.entry(name).or_insert_with(|| value.into());
    }
    fields
}

pub async fn run(args: &TrainingArgs, output: Output) -> Result<(), Failure> {
    let target = Target::start(&args.subject, &[]).await?;
    let measured = measure(args, target.local.client(), output).await;
    let load_seconds = target.load_seconds;
    let model = &target.local.base().model;
    let held = model.weight_bytes() + process_bytes(model.vocab());
    target.local.stop().await;
    let mut report = measured?;
    let training = report["predicted"]["training_bytes"].as_u64().unwrap_or(0);
    report["predicted"]["peak_bytes"] = json!(training + held);
    report["load_seconds"] = json!(load_seconds);
    report["peak_memory_bytes"] = json!(peak_memory());
    output.show(&report, as_text)
}

async fn measure(args: &TrainingArgs, client: &Client, output: Output) -> Result<Value, Failure> {
    let rows = args.whole("batch_size") * (args.whole("steps") + 1);
    let max_seq = u32::try_from(args.whole("max_seq")).unwrap_or(u32::MAX);
    let bytes = match &args.data {
        Some(path) => std::fs::read(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?,
        None => records(client, args.whole("seed"), max_seq, rows).await?,
    };
    let upload = Upload {
        filename: "bench.jsonl".to_owned(),
        purpose: "fine-tune",
        content: Content::Bytes(bytes),
    };
    let file = client.upload(upload).await?;
    let plan = plan_job(client, "bench", &file["id"], None, args.fields()).await?;
    let job = create_job(client, "bench", &file["id"], None, args.fields()).await?;
    let id = job["id"]
        .as_str()
        .ok_or_else(|| Failure::failed("the job has no id"))?;
    follow(client, id, args.whole("steps") + 1, output).await?;
    let steps = steps(client, id).await?;
    // The first step also builds what later ones reuse.
    let counted = steps.get(1..).unwrap_or_default();
    let rates = Numbers::of(counted.iter().map(|step| step.rate));
    let seconds = Numbers::of(counted.iter().map(|step| step.tokens / step.rate.max(1e-9)));
    let tokens = Numbers::of(counted.iter().map(|step| step.tokens));
    let recipe = &plan["recipe"];
    Ok(json!({
        "model": client.base_name().await?, "method": recipe["method"], "precision": recipe["precision"], "rank": recipe["rank"],
        "batch_size": recipe["batch_size"], "max_seq": recipe["max_seq"], "recipe": recipe, "parameters": plan["parameters"],
        "steps": counted.len(), "tokens_per_step": tokens.median(), "tokens_per_second": rates.spread(),
        "step_seconds": seconds.spread(),
        "loss": {"first": steps.first().map(|step| step.loss), "last": steps.last().map(|step| step.loss)},
        "predicted": {"training_bytes": plan["training_bytes"], "parts": plan["parts"], "peak_at": plan["peak_at"]},
    }))
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
    if let Some(bytes) = report["predicted"]["peak_bytes"].as_u64() {
        row("as predicted", size(bytes));
    }
    format!(
        "{}: {} of {} parameters in {}, {} rows of up to {} tokens; medians of {} steps\n\n{}",
        report["model"].as_str().unwrap_or_default(),
        report["method"].as_str().unwrap_or_default(),
        report["parameters"]["trainable"],
        report["precision"].as_str().unwrap_or_default(),
        report["batch_size"],
        report["max_seq"],
        report["steps"],
        table.render()
    )
}
