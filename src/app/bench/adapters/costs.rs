//! What adapters cost in a batch.

use super::{AdaptersArgs, Bench, Measure, Ratio};
use crate::cli::Failure;

/// What a run of all streams asks, and whether adapters are in memory then.
#[derive(Clone, Copy)]
enum Kind {
    BaseAlone,
    Base,
    One,
    Different,
}

const KINDS: [Kind; 4] = [Kind::BaseAlone, Kind::Base, Kind::One, Kind::Different];

pub async fn measure(args: &AdaptersArgs) -> Result<Vec<Ratio>, Failure> {
    let mut bench = Bench::start(args, &[]).await?;
    let streams = usize::from(args.streams);
    let names = bench.target.add_adapters(streams, bench.rank()).await?;
    let mut rates = [const { Vec::new() }; KINDS.len()];
    for counted in 0..=usize::from(args.runs) {
        for turn in 0..KINDS.len() {
            // Each run begins with another kind.
            let index = (turn + counted) % KINDS.len();
            let kind = KINDS[index];
            let verb = if matches!(kind, Kind::BaseAlone) {
                "unload"
            } else {
                "load"
            };
            for name in &names {
                bench.tell(name, verb).await?;
            }
            let asked: Vec<Option<String>> = (0..streams)
                .map(|stream| match kind {
                    Kind::BaseAlone | Kind::Base => None,
                    Kind::One => names.first().cloned(),
                    Kind::Different => names.get(stream).cloned(),
                })
                .collect();
            let run = bench.run(&asked, bench.request()).await?;
            if counted > 0 {
                rates[index].push(run.tokens_per_second());
            }
        }
    }
    bench.target.local.stop().await;
    let [alone, base, one, different] = rates;
    let ratio = |what, values: Vec<f64>, against: &[f64]| Ratio {
        measure: Measure::Costs,
        what,
        unit: "tokens/s",
        values,
        against: against.to_vec(),
    };
    Ok(vec![
        ratio("one adapter, against base rows", one, &base),
        ratio("different adapters, against base rows", different, &base),
        ratio(
            "base rows with adapters in memory, against without",
            base,
            &alone,
        ),
    ])
}
