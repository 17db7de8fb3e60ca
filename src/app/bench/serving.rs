//! `bench serve`: closed loops of one, several and many streams.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::load::{self, Answered, Prompts, Request, Run};
use super::mix::Mix;
use super::numbers::{Numbers, peak_memory};
use super::target::Target;
use super::{Subject, spelled};
use crate::cli::{Client, Connection, Failure, Output, Table, schema_format, size};

#[derive(Debug, Clone, clap::Args)]
pub struct ServingArgs {
    #[command(flatten)]
    subject: Subject,
    /// Measure the running daemon at --server instead of one of our own
    #[arg(long, conflicts_with_all = ["model", "synthetic", "quant", "kv", "threads", "adapters", "speculation"])]
    attach: bool,
    /// Random adapters to make and spread the streams over
    #[arg(long, value_name = "N", default_value_t = 0)]
    adapters: usize,
    /// Rank of the random adapters
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    rank: u16,
    /// An adapter the daemon has; may be given several times
    #[arg(long = "adapter", value_name = "NAME")]
    named: Vec<String>,
    /// How the streams spread over the adapters
    #[arg(long, value_enum, default_value = "distinct")]
    mix: Mix,
    /// Numbers of streams at once, each measured by itself
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4,16",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    streams: Vec<u16>,
    /// auto or off. Answers of random weights soon repeat themselves, where guesses are right more often than in text
    #[arg(long, value_name = "WHEN", default_value = "off")]
    speculation: String,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Measured runs of each number of streams, after one that does not count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// The answers are JSON that follows the JSON schema in this file, and end where that is complete. Each run has one of
    /// the same prompts and no schema beside it, and what the schema costs is told
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Of prompts and draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub async fn run(
    args: &ServingArgs,
    connection: &Connection,
    output: Output,
) -> Result<(), Failure> {
    if args.attach {
        let client = connection.client()?;
        let report = measure(args, &client, args.named.clone(), output).await?;
        return show(&report, output);
    }
    let speculation = ("engine.speculation", args.speculation.clone());
    let target = Target::start(&args.subject, &[speculation]).await?;
    let measured = on_own(args, &target, output).await;
    let load_seconds = target.load_seconds;
    target.local.stop().await;
    let mut report = measured?;
    report["load_seconds"] = json!(load_seconds);
    report["peak_memory_bytes"] = json!(peak_memory());
    show(&report, output)
}

async fn on_own(args: &ServingArgs, target: &Target, output: Output) -> Result<Value, Failure> {
    let mut names = target
        .add_adapters(args.adapters, usize::from(args.rank))
        .await?;
    names.extend(args.named.iter().cloned());
    measure(args, target.local.client(), names, output).await
}

async fn measure(
    args: &ServingArgs,
    client: &Client,
    adapters: Vec<String>,
    output: Output,
) -> Result<Value, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let model = client.base_name().await?;
    let prompts = Prompts::from(client, &mut rng).await?;
    let request = Request {
        prompt_tokens: args.prompt_tokens as usize,
        tokens: args.tokens as usize,
    };
    let form = args.schema.as_deref().map(schema_format).transpose()?;
    let bar = match output.shows_progress() {
        true => ProgressBar::new(args.streams.len() as u64 * (u64::from(args.runs) + 1)),
        false => ProgressBar::hidden(),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut levels = Vec::new();
    for &streams in &args.streams {
        let (mut runs, mut free) = (Vec::new(), Vec::new());
        for counted in 0..=args.runs {
            let names: Vec<Option<String>> = (0..usize::from(streams))
                .map(|stream| {
                    let chosen = args.mix.choose(stream, adapters.len(), &mut rng)?;
                    adapters.get(chosen).cloned()
                })
                .collect();
            let mut bodies = |form: Option<&Value>| -> Vec<Value> {
                let mut body = |name: &Option<String>| {
                    let mut body = load::body(&model, name.as_deref(), request, &prompts, &mut rng);
                    if let Some(form) = form {
                        body["response_format"] = form.clone();
                        body["ignore_eos"] = json!(false);
                    }
                    body
                };
                names.iter().map(&mut body).collect()
            };
            // The two take turns in going first: what the machine does meanwhile meets both.
            let kinds = match &form {
                None => vec![None],
                Some(form) if counted % 2 == 0 => vec![None, Some(form)],
                Some(form) => vec![Some(form), None],
            };
            for kind in kinds {
                let run = load::send(client, &bodies(kind)).await?;
                match (counted, kind.is_some() == form.is_some()) {
                    (0, _) => {}
                    (_, true) => runs.push(run),
                    (_, false) => free.push(run),
                }
            }
            bar.inc(1);
        }
        let mut told = level(streams, &runs);
        if !free.is_empty() {
            told["without"] = level(streams, &free);
            told["of_without"] = of_pairs(&runs, &free);
        }
        levels.push(told);
    }
    bar.finish_and_clear();
    Ok(json!({
        "model": model, "adapters": adapters.len(), "mix": spelled(args.mix), "prompt_tokens": args.prompt_tokens,
        "tokens": args.tokens, "schema": args.schema, "runs": args.runs, "levels": levels,
    }))
}

fn level(streams: u16, runs: &[Run]) -> Value {
    let answers = || runs.iter().flat_map(|run| &run.answers);
    json!({
        "streams": streams,
        "tokens_per_second": Numbers::of(runs.iter().map(Run::tokens_per_second)).spread(),
        "prompt_tokens_per_second": Numbers::of(runs.iter().map(Run::prompt_tokens_per_second)).spread(),
        "cached_prompt_tokens": answers().map(|answer| answer.cached_tokens).sum::<u64>(),
        "first_token_ms": Numbers::of(answers().map(Answered::first)).latencies(),
        "gap_ms": Numbers::of(answers().flat_map(Answered::gaps)).latencies(),
    })
}

/// What answers of a form are of those without, run by run.
fn of_pairs(formed: &[Run], free: &[Run]) -> Value {
    let pairs = || formed.iter().zip(free);
    let tokens = |run: &Run| run.answers.iter().map(|answer| answer.tokens).sum::<u64>();
    let rates =
        pairs().map(|(with, without)| with.tokens_per_second() / without.tokens_per_second());
    let later = pairs().map(|(with, without)| with.firsts().median() - without.firsts().median());
    json!({
        "tokens_per_second": Numbers::of(rates).spread(),
        "first_token_later_ms": Numbers::of(later.map(|seconds| seconds * 1e3)).spread(),
        "as_long": pairs().all(|(with, without)| tokens(with) == tokens(without)),
    })
}

fn show(report: &Value, output: Output) -> Result<(), Failure> {
    output.show(report, |report| {
        let mut table = Table::new(&[
            "STREAMS",
            "TOKENS/S",
            "(MIN–MAX)",
            "PROMPT TOKENS/S",
            "FIRST TOKEN p50",
            "p99",
            "GAP p50",
            "p99",
            "MAX",
        ]);
        for level in report["levels"].as_array().into_iter().flatten() {
            let number = |path: &str| level.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
            let ms = |path: &str| format!("{:.1} ms", number(path));
            table.row(vec![
                level["streams"].to_string(),
                format!("{:.1}", number("/tokens_per_second/median")),
                format!(
                    "{:.1}–{:.1}",
                    number("/tokens_per_second/min"),
                    number("/tokens_per_second/max")
                ),
                format!("{:.1}", number("/prompt_tokens_per_second/median")),
                ms("/first_token_ms/p50"),
                ms("/first_token_ms/p99"),
                ms("/gap_ms/p50"),
                ms("/gap_ms/p99"),
                ms("/gap_ms/max"),
            ]);
        }
        let cached = |level: &Value| level["cached_prompt_tokens"].as_u64().unwrap_or(0);
        let cached: u64 = report["levels"]
            .as_array()
            .into_iter()
            .flatten()
            .map(cached)
            .sum();
        let mut text = format!(
            "{}: {} adapters ({}), prompts of {} tokens, answers of {}; medians of {} runs\n\n{}",
            report["model"].as_str().unwrap_or_default(),
            report["adapters"],
            report["mix"].as_str().unwrap_or_default(),
            report["prompt_tokens"],
            report["tokens"],
            report["runs"],
            table.render()
        );
        for level in report["levels"].as_array().into_iter().flatten() {
            let Some(of) = level.get("of_without") else {
                continue;
            };
            let number = |path: &str| of.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
            text += &format!(
                "\n{} streams with the schema: {:.3} ({:.3}–{:.3}) of the tokens/s without, first token {:.1} ms later",
                level["streams"],
                number("/tokens_per_second/median"),
                number("/tokens_per_second/min"),
                number("/tokens_per_second/max"),
                number("/first_token_later_ms/median"),
            );
            if of["as_long"] == json!(false) {
                text += "; its answers were shorter, so rates are not of the same work";
            }
        }
        if cached > 0 {
            text += &format!(
                "\n{cached} prompt tokens were found computed, which flatters these numbers"
            );
        }
        if let Some(seconds) = report["load_seconds"].as_f64() {
            text += &format!("\nloaded in {seconds:.1} s");
        }
        if let Some(bytes) = report["peak_memory_bytes"].as_u64() {
            text += &format!(", peak memory {}", size(bytes));
        }
        text
    })
}
