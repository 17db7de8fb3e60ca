//! What is noticed when an adapter is loaded, or replaced, while others answer.

use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::super::load::{self, Answered, Request};
use super::super::numbers::Numbers;
use super::{AdaptersArgs, Bench, Measure, Ratio};
use crate::cli::Failure;

/// Tokens each stream has had when something is changed: by then all of them decode.
const SETTLED: u32 = 8;

pub async fn cold(args: &AdaptersArgs) -> Result<Vec<Ratio>, Failure> {
    let mut bench = Bench::start(args, &[]).await?;
    let mut names = bench
        .target
        .add_adapters(usize::from(args.streams), bench.rank())
        .await?;
    let probe = names.pop().unwrap_or_default();
    let short = Request {
        tokens: 1,
        ..bench.request()
    };
    let [mut firsts, mut gaps] = [const { Sides::NONE }; 2];
    for counted in 0..=args.runs {
        bench.tell(&probe, "unload").await?;
        let mut seconds = [0.0; 2];
        for first in &mut seconds {
            let body = bench.body(Some(&probe), short);
            *first = load::ask(bench.client(), &body, None).await?.first();
        }
        bench.tell(&probe, "unload").await?;
        let bodies = busy(&mut bench, names.iter().map(String::as_str));
        let (answers, _, span) = during(&bench, &bodies, async {
            let began = Instant::now();
            bench.tell(&probe, "load").await?;
            Ok(began..Instant::now())
        })
        .await?;
        if counted > 0 {
            firsts.add(seconds);
            gaps.add(noticed(&answers, |answer| answer.longest_gap_in(&span)));
        }
    }
    bench.target.local.stop().await;
    Ok(vec![
        firsts.ratio(
            Measure::Cold,
            "first token of an adapter not in memory, against in memory",
        ),
        gaps.ratio(
            Measure::Cold,
            "longest gap of other streams meanwhile, against their median",
        ),
    ])
}

pub async fn replace(args: &AdaptersArgs) -> Result<Vec<Ratio>, Failure> {
    const NAME: &str = "bench-moving";
    let mut bench = Bench::start(args, &[]).await?;
    bench.target.add(NAME, bench.rank(), 0).await?;
    let short = Request {
        prompt_tokens: 1,
        tokens: 1,
    };
    let [mut firsts, mut gaps, mut quiet] = [const { Sides::NONE }; 3];
    for counted in 0..=args.runs {
        let streams = usize::from(args.streams);
        let bodies = busy(&mut bench, std::iter::repeat_n(NAME, streams));
        let [probe, again] = [(); 2].map(|()| bench.body(Some(NAME), short));
        // Made before the clock runs: drawing numbers would take the cores from the streams.
        let next = bench.target.adapter(bench.rank(), u64::from(counted) + 1)?;
        let (answers, before, seen) = during(&bench, &bodies, async {
            let began = Instant::now();
            let (registered, published) = register_apart(&bench, NAME, next.path()).await?;
            let first = load::ask(bench.client(), &probe, None).await?;
            if first.generation.as_deref() != registered["generation"].as_str() {
                return Err(Failure::failed(
                    "a request after the publication got the version before it",
                ));
            }
            let second = load::ask(bench.client(), &again, None).await?;
            Ok(Seen {
                span: began..first.began(),
                answered: (first.began() - published).as_secs_f64(),
                warm: second.first(),
                generation: first.generation,
            })
        })
        .await?;
        if answers
            .iter()
            .any(|answer| answer.generation == seen.generation)
        {
            return Err(Failure::failed(
                "a request before the publication got the version after it",
            ));
        }
        if counted > 0 {
            firsts.add([seen.answered, seen.warm]);
            gaps.add(noticed(&answers, |answer| {
                answer.longest_gap_in(&seen.span)
            }));
            quiet.add(noticed(&answers, |answer| {
                answer.longest_gap_within(&before)
            }));
        }
    }
    bench.target.local.stop().await;
    Ok(vec![
        firsts.ratio(
            Measure::Replace,
            "publication to its first token, against a request after it",
        ),
        gaps.ratio(
            Measure::Replace,
            "longest gap from upload to that token, against the median",
        ),
        quiet.ratio(
            Measure::Replace,
            "longest gap in a quiet time before it, against the median",
        ),
    ])
}

/// The two sides of a promise, in milliseconds, a pair for each run.
struct Sides {
    values: Vec<f64>,
    against: Vec<f64>,
}

impl Sides {
    const NONE: Self = Self {
        values: Vec::new(),
        against: Vec::new(),
    };

    fn add(&mut self, seconds: [f64; 2]) {
        self.values.push(1e3 * seconds[0]);
        self.against.push(1e3 * seconds[1]);
    }

    fn ratio(self, measure: Measure, what: &'static str) -> Ratio {
        Ratio {
            measure,
            what,
            unit: "ms",
            values: self.values,
            against: self.against,
        }
    }
}

/// What one replacement looked like from outside.
struct Seen {
    span: Range<Instant>,
    answered: f64,
    warm: f64,
    generation: Option<String>,
}

/// The longest gap that `pick` finds in any stream, and the median of all gaps, in seconds.
fn noticed(answers: &[Answered], pick: impl Fn(&Answered) -> f64) -> [f64; 2] {
    let longest = answers.iter().map(pick).fold(0.0, f64::max);
    let gaps = Numbers::of(answers.iter().flat_map(Answered::gaps));
    [longest, gaps.median()]
}

/// Registers an adapter from a process of its own, as users do: packing and sending it here would hold up the streams.
/// Returns what the daemon said, and when.
async fn register_apart(
    bench: &Bench<'_>,
    name: &str,
    dir: &Path,
) -> Result<(Value, Instant), Failure> {
    let mut process = Command::new(std::env::current_exe()?)
        .args(["adapter", "register", "--json", "--name", name])
        .args(["--server", &bench.target.local.url()])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = Vec::new();
    let mut heard = Instant::now();
    if let Some(mut out) = process.stdout.take() {
        // It says nothing before it was answered.
        out.read_buf(&mut said).await?;
        heard = Instant::now();
        out.read_to_end(&mut said).await?;
    }
    let ended = process.wait_with_output().await?;
    match ended.status.success() {
        true => Ok((
            serde_json::from_slice(&said).map_err(Failure::failed)?,
            heard,
        )),
        false => Err(Failure::failed(String::from_utf8_lossy(&ended.stderr))),
    }
}

/// Requests whose streams go on for long enough to see a change.
fn busy<'n>(bench: &mut Bench<'_>, names: impl Iterator<Item = &'n str>) -> Vec<Value> {
    let request = Request {
        tokens: 2 * bench.request().tokens,
        ..bench.request()
    };
    names.map(|name| bench.body(Some(name), request)).collect()
}

/// Runs the streams, and `change` when each of them has settled and gone on for a while in quiet. Returns that while too.
async fn during<T>(
    bench: &Bench<'_>,
    bodies: &[Value],
    change: impl Future<Output = Result<T, Failure>>,
) -> Result<(Vec<Answered>, Range<Instant>, T), Failure> {
    let heard: Vec<Semaphore> = bodies.iter().map(|_| Semaphore::new(0)).collect();
    let streams = bodies.iter().zip(&heard);
    let streams = streams.map(|(body, heard)| load::ask(bench.client(), body, Some(heard)));
    let changed = async {
        // Each of them: while one still computes its prompt, all steps are longer.
        let all_had = async |tokens: u32| {
            for heard in &heard {
                let permits = heard.acquire_many(tokens).await;
                permits.map_err(Failure::failed)?.forget();
            }
            Ok::<_, Failure>(Instant::now())
        };
        let began = all_had(SETTLED).await?;
        // A quarter of an answer, which is twice as long as those of other measures.
        let quiet = began..all_had((bench.request().tokens as u32 / 2).max(1)).await?;
        Ok((quiet, change.await?))
    };
    let streams = futures::future::try_join_all(streams);
    let (answers, (quiet, changed)) = tokio::try_join!(streams, changed)?;
    Ok((answers, quiet, changed))
}
