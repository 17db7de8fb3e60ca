//! What is noticed when an adapter is loaded, or replaced, while others answer.

use std::ops::Range;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::super::load::{self, Answered, Request};
use super::super::numbers::Numbers;
use super::{AdaptersArgs, Bench, Measure, Ratio};
use crate::cli::{Failure, register};

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
    let [mut first_cold, mut first_warm] = [const { Vec::new() }; 2];
    let [mut longest, mut median] = [const { Vec::new() }; 2];
    for counted in 0..=args.runs {
        bench.tell(&probe, "unload").await?;
        let mut firsts = [0.0; 2];
        for first in &mut firsts {
            let body = bench.body(Some(&probe), short);
            *first = load::ask(bench.client(), &body, None).await?.first();
        }
        bench.tell(&probe, "unload").await?;
        let bodies = busy(&mut bench, names.iter().map(String::as_str));
        let (answers, span) = during(&bench, &bodies, async {
            let began = Instant::now();
            bench.tell(&probe, "load").await?;
            Ok(began..Instant::now())
        })
        .await?;
        if counted > 0 {
            first_cold.push(1e3 * firsts[0]);
            first_warm.push(1e3 * firsts[1]);
            let noticed = Noticed::of(&answers, &span);
            longest.push(noticed.longest);
            median.push(noticed.median);
        }
    }
    bench.target.local.stop().await;
    let ratio = |what, values, against| Ratio {
        measure: Measure::Cold,
        what,
        unit: "ms",
        values,
        against,
    };
    Ok(vec![
        ratio(
            "first token of an adapter not in memory, against in memory",
            first_cold,
            first_warm,
        ),
        ratio(
            "longest gap of other streams meanwhile, against their median",
            longest,
            median,
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
    let [mut answered, mut warm] = [const { Vec::new() }; 2];
    let [mut longest, mut median] = [const { Vec::new() }; 2];
    for counted in 0..=args.runs {
        let streams = usize::from(args.streams);
        let bodies = busy(&mut bench, std::iter::repeat_n(NAME, streams));
        let [probe, again] = [(); 2].map(|()| bench.body(Some(NAME), short));
        // Made before the clock runs: drawing numbers would take the cores from the streams.
        let next = bench.target.adapter(bench.rank(), u64::from(counted) + 1)?;
        let (answers, seen) = during(&bench, &bodies, async {
            let began = Instant::now();
            let registered = register(bench.client(), NAME, next.path(), &[]).await?;
            let published = Instant::now();
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
            answered.push(1e3 * seen.answered);
            warm.push(1e3 * seen.warm);
            let noticed = Noticed::of(&answers, &seen.span);
            longest.push(noticed.longest);
            median.push(noticed.median);
        }
    }
    bench.target.local.stop().await;
    let ratio = |what, values, against| Ratio {
        measure: Measure::Replace,
        what,
        unit: "ms",
        values,
        against,
    };
    Ok(vec![
        ratio(
            "publication to its first token, against a request after it",
            answered,
            warm,
        ),
        ratio(
            "longest gap from upload to that token, against the median",
            longest,
            median,
        ),
    ])
}

/// What one replacement looked like from outside.
struct Seen {
    span: Range<Instant>,
    answered: f64,
    warm: f64,
    generation: Option<String>,
}

/// Gaps of streams, in milliseconds.
struct Noticed {
    longest: f64,
    median: f64,
}

impl Noticed {
    fn of(answers: &[Answered], span: &Range<Instant>) -> Self {
        let longest = answers.iter().map(|answer| answer.longest_gap_in(span));
        Self {
            longest: 1e3 * longest.fold(0.0, f64::max),
            median: 1e3 * Numbers::of(answers.iter().flat_map(Answered::gaps)).median(),
        }
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

/// Runs the streams, and `change` when each of them has settled.
async fn during<T>(
    bench: &Bench<'_>,
    bodies: &[Value],
    change: impl Future<Output = Result<T, Failure>>,
) -> Result<(Vec<Answered>, T), Failure> {
    let heard = Semaphore::new(0);
    let settled = SETTLED * bodies.len() as u32;
    let streams = bodies
        .iter()
        .map(|body| load::ask(bench.client(), body, Some(&heard)));
    let changed = async {
        let permits = heard.acquire_many(settled).await;
        permits.map_err(Failure::failed)?.forget();
        change.await
    };
    tokio::try_join!(futures::future::try_join_all(streams), changed)
}
