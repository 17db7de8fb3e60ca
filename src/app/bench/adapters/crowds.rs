//! More adapters than memory holds, and many more than are used.

use super::super::load::{Answered, Request};
use super::super::numbers::Numbers;
use super::{AdaptersArgs, Bench, Measure, Ratio};
use crate::cli::Failure;

const RESIDENT: &str = "adapters.resident_bytes";

/// A daemon whose memory holds `slots` adapters.
async fn with_slots(args: &AdaptersArgs, slots: usize, each: usize) -> Result<Bench<'_>, Failure> {
    Bench::start(args, &[(RESIDENT, (slots * each).to_string())]).await
}

/// Bytes of one adapter as the daemon counts them.
async fn size(bench: &Bench<'_>) -> Result<usize, Failure> {
    bench.target.add_adapters(1, bench.rank()).await?;
    bench.tell("bench-0", "load").await?;
    let list = bench.client().get(&["v1", "lora_adapters"], &[]).await?;
    let bytes = list["resident_bytes"].as_u64().unwrap_or(0) as usize;
    match bytes {
        0 => Err(Failure::failed(
            "the daemon does not say what an adapter takes",
        )),
        bytes => Ok(bytes),
    }
}

pub async fn slots(args: &AdaptersArgs) -> Result<Vec<Ratio>, Failure> {
    let slots = usize::from(args.streams);
    let mut roomy = Bench::start(args, &[]).await?;
    let most = roomy.target.adapter_bytes(roomy.rank());
    if 2 * slots * most > 1 << 30 {
        roomy.target.local.stop().await;
        roomy = with_slots(args, 2 * slots, most).await?;
    }
    let mut tight = with_slots(args, slots, size(&roomy).await?).await?;
    let names = roomy.target.add_adapters(2 * slots, roomy.rank()).await?;
    tight.target.add_adapters(2 * slots, tight.rank()).await?;
    let mut firsts = [const { Vec::new() }; 2];
    for counted in 0..=usize::from(args.runs) {
        for turn in 0..2 {
            let index = (turn + counted) % 2;
            let bench = if index == 0 { &mut tight } else { &mut roomy };
            let median = in_turn(bench, &names).await?;
            if counted > 0 {
                firsts[index].push(1e3 * median);
            }
        }
    }
    tight.target.local.stop().await;
    roomy.target.local.stop().await;
    let [values, against] = firsts;
    Ok(vec![Ratio {
        measure: Measure::Slots,
        what: "first token, memory for half of the adapters in use, against for all",
        unit: "ms",
        values,
        against,
    }])
}

/// Asks every adapter once, two at a time, so that with room for half of them each has left when its turn comes.
async fn in_turn(bench: &mut Bench<'_>, names: &[String]) -> Result<f64, Failure> {
    let request = Request {
        tokens: bench.request().tokens / 4,
        ..bench.request()
    };
    let mut firsts = Vec::new();
    for pair in names.chunks(2) {
        let asked: Vec<Option<String>> = pair.iter().cloned().map(Some).collect();
        let run = bench.run(&asked, request).await?;
        firsts.extend(run.answers.iter().map(Answered::first));
    }
    Ok(Numbers::of(firsts).median())
}

/// Adapters that get requests; all others are only registered.
const FEW: usize = 5;
/// Adapters that fit into memory.
const ROOM: usize = 16;

pub async fn crowd(args: &AdaptersArgs) -> Result<Vec<Ratio>, Failure> {
    let probe = Bench::start(args, &[]).await?;
    let each = size(&probe).await?;
    probe.target.local.stop().await;
    let mut few = with_slots(args, ROOM, each).await?;
    let mut many = with_slots(args, ROOM, each).await?;
    let names = few.target.add_adapters(FEW, few.rank()).await?;
    many.target.add_adapters(FEW, many.rank()).await?;
    for index in FEW..args.registered as usize {
        // Rank 1: what counts is how many there are, not the disk they take.
        many.target
            .add(&format!("crowd-{index}"), 1, index as u64)
            .await?;
    }
    let asked: Vec<Option<String>> = (0..usize::from(args.streams))
        .map(|stream| names.get(stream % names.len()).cloned())
        .collect();
    let mut rates = [const { Vec::new() }; 2];
    for counted in 0..=usize::from(args.runs) {
        for turn in 0..2 {
            let index = (turn + counted) % 2;
            let bench = if index == 0 { &mut many } else { &mut few };
            let run = bench.run(&asked, bench.request()).await?;
            if counted > 0 {
                rates[index].push(run.tokens_per_second());
            }
        }
    }
    many.target.local.stop().await;
    few.target.local.stop().await;
    let [values, against] = rates;
    Ok(vec![Ratio {
        measure: Measure::Crowd,
        what: "all registered, against five",
        unit: "tokens/s",
        values,
        against,
    }])
}
