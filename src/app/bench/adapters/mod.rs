//! `bench adapters`: what adapters cost, as ratios of runs that take turns. Each measure is a file of its own.

mod changes;
mod costs;
mod crowds;

use clap::ValueEnum;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::load::{self, Prompts, Request, Run};
use super::numbers::Numbers;
use super::target::Target;
use super::{Subject, spelled};
use crate::cli::{Client, Failure, Output, Table};

#[derive(Debug, Clone, clap::Args)]
pub struct AdaptersArgs {
    #[command(flatten)]
    subject: Subject,
    /// What to measure
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', default_values_t = Measure::value_variants().to_vec())]
    measure: Vec<Measure>,
    /// Rank of the random adapters, on every linear layer
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    rank: u16,
    /// Streams at once, and adapters they ask
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=64))]
    streams: u16,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(32..))]
    tokens: u32,
    /// Measured runs of each kind, after one that does not count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Adapters of the crowd
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(6..=100_000))]
    registered: u32,
    /// Of prompts
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// One adapter and different adapters against the base; the base with adapters in memory against without
    Costs,
    /// The first request to an adapter that is not in memory; what other streams notice
    Cold,
    /// A name moves to a new version under load
    Replace,
    /// Twice as many adapters in turn as memory holds, against all in memory
    Slots,
    /// Many registered adapters against five
    Crowd,
}

/// One line of the report: two medians, and the ratio of each pair of runs.
struct Ratio {
    measure: Measure,
    what: &'static str,
    unit: &'static str,
    values: Vec<f64>,
    against: Vec<f64>,
}

impl Ratio {
    fn to_json(&self) -> Value {
        let of = |values: &[f64]| Numbers::of(values.iter().copied());
        let pairs = self.values.iter().zip(&self.against);
        let ratios = Numbers::of(pairs.map(|(value, other)| value / other.max(1e-9)));
        json!({
            "measure": spelled(self.measure), "what": self.what, "unit": self.unit, "value": of(&self.values).median(),
            "against": of(&self.against).median(), "ratio": ratios.spread(),
        })
    }
}

/// A daemon, and what is needed to ask it.
struct Bench<'a> {
    args: &'a AdaptersArgs,
    target: Target,
    model: String,
    prompts: Prompts,
    rng: ChaCha8Rng,
}

impl<'a> Bench<'a> {
    async fn start(args: &'a AdaptersArgs, more: &[(&str, String)]) -> Result<Self, Failure> {
        let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
        // Greedy answers of random weights fall into loops, which guesses would run through.
        let mut settings = vec![("engine.speculation", "off".to_owned())];
        settings.extend_from_slice(more);
        let target = Target::start(&args.subject, &settings).await?;
        let model = target.local.client().base_name().await?;
        let prompts = Prompts::from(target.local.client(), &mut rng).await?;
        Ok(Self {
            args,
            target,
            model,
            prompts,
            rng,
        })
    }

    fn client(&self) -> &Client {
        self.target.local.client()
    }

    fn rank(&self) -> usize {
        usize::from(self.args.rank)
    }

    fn request(&self) -> Request {
        Request {
            prompt_tokens: self.args.prompt_tokens as usize,
            tokens: self.args.tokens as usize,
        }
    }

    fn body(&mut self, name: Option<&str>, request: Request) -> Value {
        load::body(&self.model, name, request, &self.prompts, &mut self.rng)
    }

    async fn run(&mut self, names: &[Option<String>], request: Request) -> Result<Run, Failure> {
        let client = self.target.local.client();
        load::run(
            client,
            &self.model,
            names,
            request,
            &self.prompts,
            &mut self.rng,
        )
        .await
    }

    /// `verb` is `load` or `unload`.
    async fn tell(&self, name: &str, verb: &str) -> Result<Value, Failure> {
        let path = ["v1", "adapters", name, verb];
        self.client().post(&path, &json!({})).await
    }
}

pub async fn run(args: &AdaptersArgs, output: Output) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for &measure in &args.measure {
        let ratios = match measure {
            Measure::Costs => costs::measure(args).await,
            Measure::Cold => changes::cold(args).await,
            Measure::Replace => changes::replace(args).await,
            Measure::Slots => crowds::slots(args).await,
            Measure::Crowd => crowds::crowd(args).await,
        };
        rows.extend(ratios?.iter().map(Ratio::to_json));
    }
    let report = json!({
        "rank": args.rank, "streams": args.streams, "prompt_tokens": args.prompt_tokens, "tokens": args.tokens, "runs": args.runs,
        "rows": rows,
    });
    output.show(&report, |report| {
        let mut table = Table::new(&["MEASURE", "WHAT", "VALUE", "AGAINST", "RATIO", "(MIN–MAX)"]);
        for row in report["rows"].as_array().into_iter().flatten() {
            let number = |path: &str| row.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            table.row(vec![
                text("measure"),
                text("what"),
                format!("{:.1} {}", number("/value"), text("unit")),
                format!("{:.1}", number("/against")),
                format!("{:.3}", number("/ratio/median")),
                format!("{:.3}–{:.3}", number("/ratio/min"), number("/ratio/max")),
            ]);
        }
        format!(
            "{} streams, prompts of {} tokens, answers of {}, adapters of rank {}; medians of {} runs that take turns\n\n{}",
            report["streams"],
            report["prompt_tokens"],
            report["tokens"],
            report["rank"],
            report["runs"],
            table.render()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_runs_that_took_turns_and_not_of_medians() {
        let ratio = Ratio {
            measure: Measure::Costs,
            what: "one adapter",
            unit: "tokens/s",
            values: vec![50.0, 90.0, 400.0],
            against: vec![100.0, 100.0, 200.0],
        };
        let row = ratio.to_json();
        assert_eq!(row["measure"], "costs");
        assert_eq!(
            (row["value"].as_f64(), row["against"].as_f64()),
            (Some(90.0), Some(100.0))
        );
        assert_eq!(row["ratio"]["median"], 0.9);
        assert_eq!(row["ratio"]["max"], 2.0);
    }
}
