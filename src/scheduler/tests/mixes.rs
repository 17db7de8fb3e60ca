//! Random mixes of requests: whatever else runs, each gets exactly what it gets alone, and everything comes back.

use proptest::prelude::*;

use super::super::admit::Draft;
use super::super::engine::Shape;
use super::asks::{Ask, asks, kindred, sampling};
use super::toy::*;
use crate::domain::Sampling;

fn ask() -> impl Strategy<Value = Ask> {
    let prompt = prop_oneof![prop::collection::vec(0u32..30, 1..40), kindred()];
    asks(prompt, sampling(30, &["a", "bc", "é"]))
}

/// The turn after its arrival at which a reader leaves.
fn leaving() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![3 => Just(None), 1 => (0usize..30).prop_map(Some)]
}

fn shape() -> impl Strategy<Value = Shape> {
    (1usize..7, 0usize..20, 1usize..9, 1usize..9, 0usize..12).prop_map(
        |(rows, more_tokens, scored, block_size, more_blocks)| Shape {
            rows,
            step_tokens: rows + more_tokens,
            scored,
            // The longest request just fits.
            blocks: 73usize.div_ceil(block_size) + more_blocks,
            block_size,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_request_gets_what_it_gets_alone(
        asks in prop::collection::vec((ask(), leaving()), 1..10),
        shape in shape(),
    ) {
        let mut bench = Bench::new(shape);
        let mut readers: Vec<_> = asks.iter().map(|_| None).collect();
        for turn in 0..50 {
            for ((ask, leaves), reader) in asks.iter().zip(&mut readers) {
                if ask.arrives == turn {
                    *reader = Some(bench.ask(ask.draft()));
                }
                if leaves.is_some_and(|after| ask.arrives + after == turn) {
                    *reader = None;
                }
            }
            bench.engine.turn();
        }
        bench.finish();
        for ((ask, _), reader) in asks.iter().zip(&mut readers) {
            if let Some(reader) = reader {
                let told = read(reader).afresh();
                prop_assert_eq!(told, Bench::new(AMPLE).answer(ask.draft()));
            }
        }
    }
}

#[test]
fn a_preempted_answer_goes_on_where_it_was() {
    // Two answers that outgrow the cache together: the younger must give way, and both say all they have to say.
    let shape = Shape {
        rows: 2,
        step_tokens: 64,
        scored: 8,
        blocks: 12,
        block_size: 4,
    };
    let sampled = |seed| Sampling {
        temperature: 1.0,
        seed: Some(seed),
        ..greedy(34)
    };
    let prompts = [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]];
    let mut bench = Bench::new(shape);
    let mut readers: Vec<_> = prompts
        .iter()
        .zip(0..)
        .map(|(p, seed)| bench.ask(draft(p, sampled(seed))))
        .collect();
    let mut fewest_free = usize::MAX;
    let mut steps = 0;
    while !bench.engine.is_idle() {
        bench.engine.turn();
        fewest_free = fewest_free.min(bench.engine.pool().free());
        steps += 1;
    }
    bench.check_returned();
    assert_eq!(fewest_free, 0, "the cache was full at some time");
    assert!(steps > 35, "one had to wait for the other");
    for ((prompt, seed), reader) in prompts.iter().zip(0..).zip(&mut readers) {
        assert_eq!(
            read(reader),
            Bench::new(AMPLE).answer(draft(prompt, sampled(seed)))
        );
    }
}

#[test]
fn a_large_request_is_served_though_small_ones_keep_coming() {
    let shape = Shape {
        rows: 4,
        step_tokens: 64,
        scored: 8,
        blocks: 20,
        block_size: 4,
    };
    let mut bench = Bench::new(shape);
    let small = || draft(&[1, 2, 3], greedy(8));
    let _crowd: Vec<_> = (0..4).map(|_| bench.ask(small())).collect();
    let mut large = bench.ask(draft(&[5; 70], greedy(5)));
    let mut later = Vec::new();
    for turn in 0..200 {
        later.push(bench.ask(small()));
        bench.engine.turn();
        if !large.is_empty() {
            assert!(turn < 100, "it waits for a bounded time");
            drop(later);
            bench.finish();
            assert_eq!(read(&mut large).answers[0].ids(), continuation(&[5; 70], 5));
            return;
        }
    }
    panic!("the large request starved");
}

#[test]
fn a_crowd_of_answers_to_one_request_lets_a_newcomer_in_at_once() {
    let shape = Shape { rows: 4, ..AMPLE };
    let mut bench = Bench::new(shape);
    let mut crowd = bench.ask(Draft {
        n: 8,
        ..draft(&[1, 2, 3], greedy(100))
    });
    for _ in 0..4 {
        bench.engine.turn();
    }
    let mut newcomer = bench.ask(draft(&[4, 5], greedy(3)));
    for _ in 0..6 {
        bench.engine.turn();
    }
    assert_eq!(
        read(&mut newcomer).answers[0].ids(),
        continuation(&[4, 5], 3)
    );
    bench.finish();
    for answer in read(&mut crowd).answers {
        assert_eq!(answer.ids(), continuation(&[1, 2, 3], 100));
    }
}

#[test]
fn a_short_prompt_is_answered_while_a_long_one_is_computed() {
    let shape = Shape {
        step_tokens: 32,
        ..AMPLE
    };
    let mut bench = Bench::new(shape);
    let long = bench.ask(draft(&[3; 240], greedy(4)));
    bench.engine.turn();
    let mut short = bench.ask(draft(&[1, 2, 3], greedy(4)));
    (0..4).for_each(|_| assert!(bench.engine.turn()));
    assert_eq!(
        read(&mut short).answers[0].ids(),
        continuation(&[1, 2, 3], 4)
    );
    assert!(long.is_empty(), "it is still computed");
    bench.finish();
}
