//! `bench data`: a large training file on its way through the daemon: uploaded, checked, trained on, paused and resumed, with
//! the time each takes and the memory it adds.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use flate2::write::GzEncoder;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::Subject;
use super::target::Target;
use crate::cli::{Client, Content, Failure, Output, Table, Upload, create_job, size};
use crate::device::machine;
use crate::text::synthetic::word;

#[derive(Debug, Clone, clap::Args)]
pub struct DataArgs {
    #[command(flatten)]
    subject: Subject,
    /// Size of the file's rows, before any compression
    #[arg(long, value_name = "MEGABYTES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    megabytes: u32,
    /// Bytes of a row, about
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    row_bytes: u32,
    /// How the rows are written down
    #[arg(long, value_enum, default_value = "lines")]
    form: Form,
    /// Turns of a conversation; 1 is an instruction and its answer
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50))]
    turns: u32,
    /// Optimizer steps before the pause, and again behind it
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Tokens of the longest record
    #[arg(long)]
    max_seq: Option<u32>,
    /// Of the text
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    Lines,
    Array,
    Gzip,
}

/// Memory that the process holds of its own, looked at all the time.
struct Memory {
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Memory {
    fn watch() -> Self {
        let memory = Self {
            peak: Arc::new(AtomicU64::new(0)),
            over: Arc::new(AtomicBool::new(false)),
        };
        let (peak, over) = (memory.peak.clone(), memory.over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(held(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        memory
    }

    /// The most since the last call.
    fn peak(&self) -> u64 {
        self.peak.swap(held(), Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Pages that no file stands behind, in bytes; 0 where the system does not say.
fn held() -> u64 {
    machine::of_process("RssAnon").unwrap_or(0)
}

pub async fn run(args: &DataArgs, output: Output) -> Result<(), Failure> {
    let target = Target::start(&args.subject, &[]).await?;
    let measured = measure(args, target.local.client()).await;
    target.local.stop().await;
    output.show(&measured?, as_text)
}

async fn measure(args: &DataArgs, client: &Client) -> Result<Value, Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows");
    let rows = {
        let (args, path) = (args.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || write(&args, &path));
        written.await.map_err(Failure::failed)??
    };
    let megabytes = f64::from(args.megabytes);
    let memory = Memory::watch();
    let before = held();
    let mut phases = Vec::new();
    memory.peak();
    let mut phase = |name: &str, began: Instant, rated: bool| {
        let seconds = began.elapsed().as_secs_f64();
        let rate = rated.then(|| megabytes / seconds.max(1e-9));
        let added = memory.peak().saturating_sub(before);
        phases.push(json!({"phase": name, "seconds": seconds, "megabytes_per_second": rate, "added_bytes": added}));
    };

    let began = Instant::now();
    let file = tokio::fs::File::open(&path).await?;
    let upload = Upload {
        filename: "bench.jsonl".to_owned(),
        purpose: "fine-tune",
        content: Content::File(file),
    };
    let file = client.upload(upload).await?;
    phase("upload", began, true);

    let began = Instant::now();
    // A forward of one row: what a step of many keeps is the job's memory and not the file's.
    let mut fields = json!({
        "rank": 8, "batch_size": 8, "micro_batch": 1, "steps": 1_000_000, "eval_split": 16, "save_every": 1_000_000,
    });
    if let Some(max_seq) = args.max_seq {
        fields["max_seq"] = max_seq.into();
    }
    let fields = fields.as_object().cloned().unwrap_or_default();
    let job = create_job(client, "bench", &file["id"], None, fields).await?;
    let id = job["id"].as_str();
    let id = id.ok_or_else(|| Failure::failed("the job has no id"))?;
    phase("check", began, true);

    let steps = u64::from(args.steps);
    let began = Instant::now();
    until(client, id, steps).await?;
    phase("train", began, false);
    let of = |action| ["v1", "fine_tuning", "jobs", id, action];
    let paused = client.post(&of("pause"), &json!({})).await?;
    let done = paused["adapterd"]["step"].as_u64().unwrap_or(0);
    let began = Instant::now();
    client.post(&of("resume"), &json!({})).await?;
    until(client, id, done + 1).await?;
    phase("resume, to its first step", began, false);
    let began = Instant::now();
    until(client, id, done + steps).await?;
    phase("train on", began, false);
    client.post(&of("cancel"), &json!({})).await?;
    Ok(json!({
        "model": client.base_name().await?, "megabytes": args.megabytes, "rows": rows,
        "form": super::spelled(args.form), "held_before_bytes": before, "phases": phases,
    }))
}

/// Waits for so many steps of a job.
async fn until(client: &Client, id: &str, steps: u64) -> Result<(), Failure> {
    loop {
        let job = client.get(&["v1", "fine_tuning", "jobs", id], &[]).await?;
        if job["status"] == "failed" {
            let why = job["error"]["message"].as_str();
            return Err(Failure::failed(why.unwrap_or("the job failed")));
        }
        if job["adapterd"]["step"].as_u64().unwrap_or(0) >= steps {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes the file; returns its number of rows.
fn write(args: &DataArgs, path: &Path) -> Result<u64, Failure> {
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create_new(path)?);
    let rows = match args.form {
        Form::Gzip => {
            let mut packed = GzEncoder::new(&mut file, flate2::Compression::fast());
            let rows = write_rows(args, &mut packed)?;
            packed.finish()?;
            rows
        }
        Form::Lines | Form::Array => write_rows(args, &mut file)?,
    };
    file.flush()?;
    Ok(rows)
}

fn write_rows(args: &DataArgs, file: &mut impl Write) -> Result<u64, Failure> {
    let is_array = matches!(args.form, Form::Array);
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let (mut rows, mut bytes) = (0u64, 0u64);
    while bytes < u64::from(args.megabytes) * 1_000_000 {
        let before = match (is_array, rows) {
            (false, _) => "",
            (true, 0) => "[\n",
            (true, _) => ",\n",
        };
        let row = record(args, rows, &mut rng).to_string();
        file.write_all(before.as_bytes())?;
        file.write_all(row.as_bytes())?;
        if !is_array {
            file.write_all(b"\n")?;
        }
        rows += 1;
        bytes += row.len() as u64 + 1;
    }
    if is_array {
        file.write_all(b"\n]\n")?;
    }
    Ok(rows)
}

fn record(args: &DataArgs, number: u64, rng: &mut ChaCha8Rng) -> Value {
    let each = args.row_bytes as usize / args.turns as usize;
    let mut words = |bytes: usize| {
        let mut text = String::new();
        while text.len() < bytes {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&word(rng.random_range(0..5000)));
        }
        text
    };
    if args.turns == 1 {
        return json!({
            "instruction": format!("Row {number}: {}", words(each / 6)),
            "input": words(each / 3), "output": words(each / 3),
        });
    }
    let turns = (0..args.turns).flat_map(|_| {
        [
            json!({"role": "user", "content": words(each / 3)}),
            json!({"role": "assistant", "content": words(each / 2)}),
        ]
    });
    json!({ "messages": turns.collect::<Vec<_>>() })
}

fn as_text(report: &Value) -> String {
    let mut table = Table::default();
    table.row(
        ["phase", "seconds", "MB/s", "memory added"]
            .map(str::to_owned)
            .into(),
    );
    for phase in report["phases"].as_array().into_iter().flatten() {
        let rate = phase["megabytes_per_second"].as_f64();
        table.row(vec![
            phase["phase"].as_str().unwrap_or_default().to_owned(),
            format!("{:.1}", phase["seconds"].as_f64().unwrap_or(0.0)),
            rate.map_or_else(String::new, |rate| format!("{rate:.1}")),
            size(phase["added_bytes"].as_u64().unwrap_or(0)),
        ]);
    }
    format!(
        "{}: {} MB of rows ({}, {}); {} held before\n\n{}",
        report["model"].as_str().unwrap_or_default(),
        report["megabytes"],
        report["rows"],
        report["form"].as_str().unwrap_or_default(),
        size(report["held_before_bytes"].as_u64().unwrap_or(0)),
        table.render()
    )
}
