//! `bench mixed`: what answers notice of a job that trains, and what the job keeps of its speed. Rounds with and without
//! training take turns.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indicatif::ProgressBar;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::load::{self, Answered, Prompts, Request, Run};
use super::numbers::Numbers;
use super::target::Target;
use super::{Subject, training};
use crate::cli::{Client, Content, Failure, Output, Table, Upload, create_job};

#[derive(Debug, Clone, clap::Args)]
pub struct MixedArgs {
    #[command(flatten)]
    subject: Subject,
    /// Load as shares of what the daemon can answer; 1 is as many streams as --streams, each asking again at once
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0.5,1", value_parser = share)]
    load: Vec<f64>,
    /// Streams that saturate the daemon
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    streams: u16,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    tokens: u32,
    /// Seconds of each round
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Pairs of rounds, without and with training
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Tokens of the longest training record
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(32..))]
    max_seq: u32,
    /// [training] max_inter_token_ms, instead of its default
    #[arg(long, value_name = "MS")]
    max_inter_token_ms: Option<f64>,
    /// [training] min_share
    #[arg(long, value_name = "SHARE")]
    min_share: Option<f64>,
    /// [training] max_share
    #[arg(long, value_name = "SHARE")]
    max_share: Option<f64>,
    /// Of prompts and arrivals
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a share above 0, up to 1".to_owned()),
    }
}

/// Which requests come.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// So many streams, each asking again when it is answered.
    Streams(usize),
    /// So many answers a second, at random moments, however fast they are answered.
    Arrivals(f64),
}

pub async fn run(args: &MixedArgs, output: Output) -> Result<(), Failure> {
    let numbers = [
        ("training.max_inter_token_ms", args.max_inter_token_ms),
        ("training.min_share", args.min_share),
        ("training.max_share", args.max_share),
    ];
    let given = |(key, value): (&'static str, Option<f64>)| Some((key, value?.to_string()));
    let mut settings: Vec<_> = numbers.into_iter().filter_map(given).collect();
    settings.push(("engine.speculation", "off".to_owned()));
    let target = Target::start(&args.subject, &settings).await?;
    let measured = measure(args, target.local.client(), output).await;
    target.local.stop().await;
    let report = measured?;
    output.show(&report, as_text)
}

async fn measure(args: &MixedArgs, client: &Client, output: Output) -> Result<Value, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let model = client.base_name().await?;
    let prompts = Prompts::from(client, &mut rng).await?;
    let mut bench = Bench {
        args,
        client,
        model,
        prompts,
        rng,
    };
    let rounds = 2 + args.load.len() as u64 * u64::from(args.runs) * 2;
    let bar = match output.shows_progress() {
        true => ProgressBar::new(rounds),
        false => ProgressBar::hidden(),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    let full = Load::Streams(usize::from(args.streams));
    let saturated = bench.round(full).await?;
    bar.inc(1);
    let job = Job::start(args, client).await?;
    let alone = job.speed(bench.sleep()).await?.1;
    bar.inc(1);
    let mut levels = Vec::new();
    for &share in &args.load {
        let load = match share {
            1.0 => full,
            share => Load::Arrivals(share * saturated.answers_per_second()),
        };
        let (mut off, mut on, mut speeds) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..args.runs {
            off.push(bench.round(load).await?);
            bar.inc(1);
            let (round, speed) = job.speed(bench.round(load)).await?;
            on.push(round?);
            speeds.push(speed);
            bar.inc(1);
        }
        levels.push(level(share, (&off, &on), &speeds, alone));
    }
    bar.finish_and_clear();
    job.cancel().await?;
    Ok(json!({
        "model": bench.model, "streams": args.streams, "prompt_tokens": args.prompt_tokens, "tokens": args.tokens,
        "seconds": args.seconds, "runs": args.runs, "saturated_answers_per_second": saturated.answers_per_second(),
        "training_tokens_per_second_alone": alone, "levels": levels,
    }))
}

struct Bench<'a> {
    args: &'a MixedArgs,
    client: &'a Client,
    model: String,
    prompts: Prompts,
    rng: ChaCha8Rng,
}

impl Bench<'_> {
    fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.args.seconds))
    }

    fn sleep(&self) -> impl Future<Output = ()> + use<> {
        tokio::time::sleep(self.length())
    }

    fn body(&mut self) -> Value {
        let request = Request {
            prompt_tokens: self.args.prompt_tokens as usize,
            tokens: self.args.tokens as usize,
        };
        load::body(&self.model, None, request, &self.prompts, &mut self.rng)
    }

    /// Sends requests for the round's length, and waits for the last answer.
    async fn round(&mut self, load: Load) -> Result<Run, Failure> {
        let (began, length, client) = (Instant::now(), self.length(), self.client);
        let ask = |body: Value| async move { load::ask(client, &body, None).await };
        let mut running = FuturesUnordered::new();
        let mut due = match load {
            Load::Streams(streams) => {
                (0..streams).for_each(|_| running.push(ask(self.body())));
                None
            }
            Load::Arrivals(rate) => Some((rate, began + self.pause(rate))),
        };
        let mut answers = Vec::new();
        loop {
            let over = began.elapsed() >= length;
            if over {
                due = None;
            }
            if running.is_empty() && due.is_none() {
                break;
            }
            let next = due;
            let arrival = async move {
                match next {
                    Some((_, at)) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(answered) = running.next() => {
                    answers.push(answered?);
                    if let Load::Streams(_) = load && !over {
                        let body = self.body();
                        running.push(ask(body));
                    }
                }
                () = arrival => {
                    let body = self.body();
                    running.push(ask(body));
                    due = due.map(|(rate, at)| (rate, at + self.pause(rate)));
                }
            }
        }
        Ok(Run {
            answers,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    /// Until the next of requests that come independently of one another.
    fn pause(&mut self, rate: f64) -> Duration {
        let drawn: f64 = self.rng.random_range(0.0..1.0);
        Duration::from_secs_f64(-(1.0 - drawn).ln() / rate.max(1e-3))
    }
}

/// A job that is paused but for the rounds it takes part in.
struct Job<'a> {
    client: &'a Client,
    id: String,
}

/// Rows of one step, and enough of them that the job outlasts all rounds.
const BATCH: u64 = 4;
const ENDLESS: u64 = 1_000_000;

impl<'a> Job<'a> {
    async fn start(args: &MixedArgs, client: &'a Client) -> Result<Self, Failure> {
        let upload = Upload {
            filename: "bench.jsonl".to_owned(),
            purpose: "fine-tune",
            content: Content::Bytes(
                training::records(client, args.seed, args.max_seq, 64 * BATCH).await?,
            ),
        };
        let file = client.upload(upload).await?;
        let fields = json!({
            "rank": 16, "targets": "all-linear", "steps": ENDLESS, "batch_size": BATCH, "micro_batch": BATCH,
            "max_seq": args.max_seq, "eval_split": 0, "seed": args.seed, "schedule": "constant", "lr": 1e-5,
        });
        let fields = fields.as_object().cloned().unwrap_or_default();
        let job = create_job(client, "bench", &file["id"], None, fields).await?;
        let id = job["id"].as_str().unwrap_or_default().to_owned();
        let job = Self { client, id };
        // The first steps also build what later ones reuse.
        while job.get().await?["adapterd"]["step"].as_u64().unwrap_or(0) < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        job.pause().await?;
        Ok(job)
    }

    async fn get(&self) -> Result<Value, Failure> {
        let path = ["v1", "fine_tuning", "jobs", &self.id];
        let job = self.client.get(&path, &[]).await?;
        match job["status"].as_str() {
            Some("failed" | "cancelled" | "succeeded") => {
                let why = job["error"]["message"].as_str();
                Err(Failure::failed(why.unwrap_or("the job ended too soon")))
            }
            _ => Ok(job),
        }
    }

    async fn tell(&self, verb: &str) -> Result<Value, Failure> {
        let path = ["v1", "fine_tuning", "jobs", &self.id, verb];
        self.client.post(&path, &json!({})).await
    }

    async fn pause(&self) -> Result<(), Failure> {
        self.tell("pause").await?;
        self.reach("paused").await
    }

    async fn reach(&self, status: &str) -> Result<(), Failure> {
        while self.get().await?["status"] != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Trains while `round` lasts; also returns the tokens a second it came to.
    async fn speed<T>(&self, round: impl Future<Output = T>) -> Result<(T, f64), Failure> {
        let tokens = |job: &Value| job["trained_tokens"].as_f64().unwrap_or(0.0);
        self.tell("resume").await?;
        self.reach("running").await?;
        let (before, began) = (tokens(&self.get().await?), Instant::now());
        let done = round.await;
        let seconds = began.elapsed().as_secs_f64();
        // What was done is stored when the job pauses.
        self.pause().await?;
        let after = tokens(&self.get().await?);
        Ok((done, (after - before) / seconds.max(1e-9)))
    }

    async fn cancel(&self) -> Result<(), Failure> {
        self.tell("cancel").await.map(drop)
    }
}

fn level(share: f64, (off, on): (&[Run], &[Run]), speeds: &[f64], alone: f64) -> Value {
    let ratio = |of: &dyn Fn(&Run) -> f64| {
        let pairs = on.iter().zip(off);
        Numbers::of(pairs.map(|(on, off)| of(on) / of(off).max(1e-9))).spread()
    };
    let all = |rounds: &[Run]| {
        Numbers::of(
            rounds
                .iter()
                .flat_map(|round| round.answers.iter().flat_map(Answered::gaps)),
        )
        .latencies()
    };
    json!({
        "load": share,
        "gap_ms": {"off": all(off), "on": all(on)},
        "gap_p50_ratio": ratio(&|round| round.gaps().percentile(0.5)),
        "gap_p99_ratio": ratio(&|round| round.gaps().percentile(0.99)),
        "first_token_p99_ratio": ratio(&|round| round.firsts().percentile(0.99)),
        "serving_speed_ratio": ratio(&Run::tokens_per_second),
        "training_tokens_per_second": Numbers::of(speeds.iter().copied()).spread(),
        "training_speed_kept": Numbers::of(speeds.iter().map(|speed| speed / alone.max(1e-9))).spread(),
    })
}

fn as_text(report: &Value) -> String {
    let mut table = Table::new(&[
        "LOAD",
        "GAP p50 OFF",
        "ON",
        "p99 OFF",
        "ON",
        "p99 ON/OFF",
        "(MIN–MAX)",
        "FIRST p99 ON/OFF",
        "SERVING KEPT",
        "TRAINING KEPT",
    ]);
    for level in report["levels"].as_array().into_iter().flatten() {
        let number = |path: &str| level.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        let ms = |path: &str| format!("{:.2} ms", number(path));
        let percent = |path: &str| format!("{:.0} %", 100.0 * number(path));
        let (least, most) = (number("/gap_p99_ratio/min"), number("/gap_p99_ratio/max"));
        table.row(vec![
            percent("/load"),
            ms("/gap_ms/off/p50"),
            ms("/gap_ms/on/p50"),
            ms("/gap_ms/off/p99"),
            ms("/gap_ms/on/p99"),
            format!("{:.2}", number("/gap_p99_ratio/median")),
            format!("{least:.2}–{most:.2}"),
            format!("{:.2}", number("/first_token_p99_ratio/median")),
            percent("/serving_speed_ratio/median"),
            percent("/training_speed_kept/median"),
        ]);
    }
    format!(
        "{}: prompts of {} tokens, answers of {}; {} streams get {:.1} answers/s; training alone {:.0} tokens/s; medians of {} pairs of rounds of {} s\n\n{}",
        report["model"].as_str().unwrap_or_default(),
        report["prompt_tokens"],
        report["tokens"],
        report["streams"],
        report["saturated_answers_per_second"]
            .as_f64()
            .unwrap_or(0.0),
        report["training_tokens_per_second_alone"]
            .as_f64()
            .unwrap_or(0.0),
        report["runs"],
        report["seconds"],
        table.render()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_a_share() {
        assert_eq!(share("0.5"), Ok(0.5));
        assert_eq!(share("1"), Ok(1.0));
        for wrong in ["0", "1.5", "-1", "half", "NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
