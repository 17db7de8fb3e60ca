//! Which requests are served when not all can be: the engine's accounts, as its readers see them.

use super::super::admit::{Draft, Terms};
use super::super::engine::Shape;
use super::super::policy::ledger::Weights;
use super::toy::*;

/// A machine that is always busy: each tenant asks for one answer after the other, several at a time. Returns the
/// tokens each got.
fn shared(bench: &mut Bench, turns: usize, everyone: &[(Terms, Option<u64>)]) -> Vec<usize> {
    let mut got = vec![0; everyone.len()];
    let ask = |bench: &mut Bench, who: usize, at: usize| {
        let (terms, adapter) = everyone[who];
        // Never the same prompt twice, so that nothing is found in the cache.
        let prompt: Vec<u32> = [at / 900, at / 30, at, who]
            .map(|digit| (digit % 30) as u32)
            .into();
        bench.ask(Draft {
            terms,
            lease: adapter.map(lease),
            ..draft(&prompt, greedy(4 + at % 9))
        })
    };
    let mut readers = Vec::new();
    for at in 0..4 {
        for who in 0..everyone.len() {
            readers.push((who, ask(bench, who, at)));
        }
    }
    for at in 4..turns {
        bench.engine.turn();
        for (who, reader) in &mut readers {
            let told = read(reader);
            got[*who] += told
                .answers
                .iter()
                .map(|told| told.tokens.len())
                .sum::<usize>();
            if told.usage.is_some() {
                *reader = ask(bench, *who, at);
            }
        }
    }
    drop(readers);
    bench.finish();
    got
}

const FEW: Shape = Shape { rows: 4, ..AMPLE };

fn tenant(tenant: u64, weight: f32) -> Terms {
    Terms {
        tenant,
        weights: Weights {
            tenant: weight,
            ..Weights::default()
        },
        ..Terms::default()
    }
}

#[test]
fn tenants_get_tokens_by_their_weights() {
    let everyone = [
        (tenant(1, 1.0), None),
        (tenant(2, 2.0), Some(1)),
        (tenant(3, 3.0), None),
    ];
    let got = shared(&mut Bench::new(FEW), 1500, &everyone);
    let all: usize = got.iter().sum();
    for (got, weight) in got.iter().zip([1.0, 2.0, 3.0]) {
        let share = *got as f64 / all as f64;
        assert!((share - weight / 6.0).abs() < 0.03, "{got} of {all}");
    }
}

#[test]
fn a_tenant_with_many_adapters_gets_no_more_than_one_with_one() {
    let everyone = [
        (tenant(1, 1.0), None),
        (tenant(2, 1.0), Some(0)),
        (tenant(2, 1.0), Some(1)),
        (tenant(2, 1.0), Some(2)),
    ];
    let got = shared(&mut Bench::new(FEW), 1500, &everyone);
    let others: usize = got[1..].iter().sum();
    let ratio = got[0] as f64 / others as f64;
    assert!((0.9..1.1).contains(&ratio), "{got:?}");
}

#[test]
fn of_one_caller_the_urgent_go_first() {
    let mut bench = Bench::new(Shape { rows: 1, ..AMPLE });
    let ask = |bench: &mut Bench, first, priority| {
        let terms = Terms {
            priority,
            ..Terms::default()
        };
        bench.ask(Draft {
            terms,
            ..draft(&[first], greedy(3))
        })
    };
    let _running = ask(&mut bench, 1, 0);
    bench.engine.turn();
    let mut readers = [5, 0, -5].map(|priority| (priority, ask(&mut bench, 2, priority)));
    let mut order = Vec::new();
    while !bench.engine.is_idle() {
        bench.engine.turn();
        for (priority, reader) in &mut readers {
            if read(reader).usage.is_some() {
                order.push(*priority);
            }
        }
    }
    assert_eq!(order, [-5, 0, 5]);
}
