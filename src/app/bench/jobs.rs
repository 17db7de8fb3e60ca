//! `bench jobs`: several jobs at a time against the same jobs one after the other. Rounds of both take turns.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use super::numbers::Numbers;
use super::target::Target;
use super::{Subject, training};
use crate::cli::{Client, Content, Failure, Flags, Output, Table, Upload, create_job};

#[derive(Debug, Clone, clap::Args)]
pub struct JobsArgs {
    #[command(flatten)]
    subject: Subject,
    /// Jobs at a time: [training] parallel_jobs
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=16))]
    jobs: u16,
    /// Pairs of rounds, one after the other and together
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    #[command(flatten)]
    recipe: Flags<training::Measured>,
}

const LOOK: Duration = Duration::from_millis(10);

pub async fn run(args: &JobsArgs, output: Output) -> Result<(), Failure> {
    let settings = [("training.parallel_jobs", args.jobs.to_string())];
    let target = Target::start(&args.subject, &settings).await?;
    let measured = measure(args, target.local.client(), output).await;
    target.local.stop().await;
    output.show(&measured?, as_text)
}

async fn measure(args: &JobsArgs, client: &Client, output: Output) -> Result<Value, Failure> {
    let fields = training::unsaid(&args.recipe.said);
    let whole = |name: &str| fields[name].as_u64().unwrap_or(1);
    let max_seq = u32::try_from(whole("max_seq")).unwrap_or(u32::MAX);
    let rows = whole("batch_size") * whole("steps");
    let mut bench = Bench {
        client,
        fields: &fields,
        files: Vec::new(),
        made: 0,
    };
    for number in 0..u64::from(args.jobs) {
        let upload = Upload {
            filename: format!("bench-{number}.jsonl"),
            purpose: "fine-tune",
            content: Content::Bytes(
                training::records(client, whole("seed") + number, max_seq, rows).await?,
            ),
        };
        let file = client.upload(upload).await?;
        bench.files.push(file["id"].clone());
    }
    let bar = match output.shows_progress() {
        true => ProgressBar::new(1 + 2 * u64::from(args.runs)),
        false => ProgressBar::hidden(),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    // The first round also builds what later ones reuse.
    bench.together().await?;
    bar.inc(1);
    let (mut after, mut together) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        after.push(bench.one_after_the_other().await?);
        bar.inc(1);
        together.push(bench.together().await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let ratios = after.iter().zip(&together);
    let ratios = Numbers::of(ratios.map(|(after, together)| after / together.max(1e-9)));
    Ok(json!({
        "model": client.base_name().await?, "jobs": args.jobs, "runs": args.runs, "recipe": fields,
        "one_after_the_other_seconds": Numbers::of(after).spread(), "together_seconds": Numbers::of(together).spread(),
        "speedup": ratios.spread(),
    }))
}

struct Bench<'a> {
    client: &'a Client,
    fields: &'a Map<String, Value>,
    /// One for each job of a round.
    files: Vec<Value>,
    /// Jobs so far, which number the adapters.
    made: u64,
}

impl Bench<'_> {
    async fn one_after_the_other(&mut self) -> Result<f64, Failure> {
        let began = Instant::now();
        for at in 0..self.files.len() {
            let id = self.create(at).await?;
            ends(self.client, &id).await?;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    async fn together(&mut self) -> Result<f64, Failure> {
        let began = Instant::now();
        let mut ids = Vec::new();
        for at in 0..self.files.len() {
            ids.push(self.create(at).await?);
        }
        try_join_all(ids.iter().map(|id| ends(self.client, id))).await?;
        Ok(began.elapsed().as_secs_f64())
    }

    async fn create(&mut self, at: usize) -> Result<String, Failure> {
        self.made += 1;
        let name = format!("bench-{}", self.made);
        let (file, fields) = (&self.files[at], self.fields.clone());
        let job = create_job(self.client, &name, file, None, fields).await?;
        Ok(job["id"].as_str().unwrap_or_default().to_owned())
    }
}

async fn ends(client: &Client, id: &str) -> Result<(), Failure> {
    loop {
        let job = client.get(&["v1", "fine_tuning", "jobs", id], &[]).await?;
        match job["status"].as_str() {
            Some("succeeded") => return Ok(()),
            Some("failed" | "cancelled") => {
                let why = job["error"]["message"].as_str();
                return Err(Failure::failed(why.unwrap_or("a job did not succeed")));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

fn as_text(report: &Value) -> String {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let mut table = Table::new(&["", "MEDIAN", "MIN–MAX"]);
    for (name, key, unit) in [
        ("one after the other", "one_after_the_other_seconds", " s"),
        ("together", "together_seconds", " s"),
        ("times as fast", "speedup", ""),
    ] {
        let of = |kind: &str| number(&format!("/{key}/{kind}"));
        table.row(vec![
            name.to_owned(),
            format!("{:.2}{unit}", of("median")),
            format!("{:.2}–{:.2}", of("min"), of("max")),
        ]);
    }
    format!(
        "{}: {} jobs of {} steps, {} rows of up to {} tokens; medians of {} pairs of rounds\n\n{}",
        report["model"].as_str().unwrap_or_default(),
        report["jobs"],
        report["recipe"]["steps"],
        report["recipe"]["batch_size"],
        report["recipe"]["max_seq"],
        report["runs"],
        table.render()
    )
}
