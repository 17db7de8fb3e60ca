//! Vectors of prompts: whole, from any mix of steps, and the same bits in a crowd as alone.

use super::super::admit::Draft;
use super::super::engine::Shape;
use super::exact::{MODELS, adapter};
use super::real::model;
use super::toy::*;
use crate::domain::{Event, Pooling, Reason, Sampling, Usage};

fn embed(prompt: &[u32], pooling: Pooling, adapter: Option<u64>) -> Draft {
    Draft {
        lease: adapter.map(lease),
        pooling: Some(pooling),
        ..draft(prompt, Sampling::default())
    }
}

fn prompt(number: u64) -> Vec<u32> {
    let length = 1 + (number as u32 * 13) % 60;
    // Several begin alike, so that the cache has something for those that may take it.
    (0..length)
        .map(|at| (at * 7 + number as u32 / 8 * 5) % 30)
        .collect()
}

/// On the models of the exact tests, packed as bases are by default, with their adapters.
fn request(number: u64) -> Draft {
    let pooling = match number.is_multiple_of(2) {
        true => Pooling::Last,
        false => Pooling::Mean,
    };
    Draft {
        lease: (number % (ADAPTERS + 1)).checked_sub(1).map(adapter),
        pooling: Some(pooling),
        ..draft(&prompt(number), Sampling::default())
    }
}

/// Small chunks, few blocks: prompts in pieces, some computed again after preemption.
const CRAMPED: Shape = Shape {
    rows: 5,
    step_tokens: 9,
    scored: 3,
    blocks: 24,
    block_size: 4,
};

#[test]
fn a_vector_has_the_same_bits_alone_and_among_answers() {
    for (model, shape) in MODELS
        .iter()
        .flat_map(|model| [(model, AMPLE), (model, CRAMPED)])
    {
        let mut bench = Bench::of(model.clone(), shape);
        let mut vectors = Vec::new();
        let mut answers = Vec::new();
        for number in 0..24 {
            vectors.push(bench.ask(request(number)));
            answers.push(bench.ask(Draft {
                lease: (number % 3).checked_sub(1).map(adapter),
                ..draft(&prompt(number), greedy(12))
            }));
        }
        bench.finish();
        // The softmax runs over blocks, so their size is part of what an engine computes.
        let shape = Shape {
            block_size: shape.block_size,
            ..AMPLE
        };
        for (number, reader) in (0..24).zip(&mut vectors) {
            let alone = Bench::of(model.clone(), shape).answer(request(number));
            let crowd = read(reader).afresh();
            let bits = |vector: &Option<Vec<f32>>| {
                let vector = vector.as_ref().expect("a vector");
                vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(bits(&alone.vector), bits(&crowd.vector), "request {number}");
            assert_eq!(alone.usage, crowd.usage, "request {number}");
        }
        let whole = |reader: &mut _| read(reader).failed.is_none();
        assert!(answers.iter_mut().all(whole));
    }
}

#[test]
fn pooling_adapter_and_text_each_make_another_vector() {
    let model = model();
    let vector = |prompt: &[u32], pooling, adapter| {
        let told = Bench::of(model.clone(), AMPLE).answer(embed(prompt, pooling, adapter));
        assert_eq!(told.usage.map(|usage| usage.generated), Some(0));
        told.vector.expect("a vector")
    };
    let one = vector(&[1, 2, 3], Pooling::Last, None);
    assert_eq!(one.len(), 16);
    assert_ne!(one, vector(&[1, 2, 4], Pooling::Last, None));
    assert_ne!(one, vector(&[1, 2, 3], Pooling::Mean, None));
    for adapter in 0..ADAPTERS {
        assert_ne!(one, vector(&[1, 2, 3], Pooling::Last, Some(adapter)));
    }
    let single = vector(&[7], Pooling::Last, None);
    assert_eq!(single, vector(&[7], Pooling::Mean, None));
}

#[test]
fn the_last_token_takes_what_the_cache_has_and_the_mean_computes_every_row() {
    let mut bench = Bench::of(model(), AMPLE);
    let text: Vec<u32> = (0..40).map(|at| at * 7 % 30).collect();
    let whole = bench.answer(draft(&text, greedy(1)));
    assert_eq!(whole.usage.map(|usage| usage.cached), Some(0));
    let mut cached = |pooling| {
        let told = bench.answer(embed(&text, pooling, None));
        told.usage.map(|usage| usage.cached)
    };
    assert_eq!(cached(Pooling::Last), Some(32));
    assert_eq!(cached(Pooling::Mean), Some(0));
}

#[test]
fn the_mean_is_that_of_the_vectors_of_every_beginning() {
    let model = model();
    let text: Vec<u32> = (0..23).map(|at| at * 11 % 30).collect();
    for adapter in [None, Some(0), Some(WITH_VIRTUAL), Some(WITH_VIRTUAL + 1)] {
        let vector = |length: usize, pooling| {
            let asked = embed(&text[..length], pooling, adapter);
            let told = Bench::of(model.clone(), AMPLE).answer(asked);
            told.vector.expect("a vector")
        };
        let mut sum = vec![0.0f64; 16];
        for length in 1..=text.len() {
            let state = vector(length, Pooling::Last);
            sum.iter_mut()
                .zip(state)
                .for_each(|(sum, x)| *sum += f64::from(x));
        }
        let mean = vector(text.len(), Pooling::Mean);
        for (sum, mean) in sum.into_iter().zip(mean) {
            assert!((sum / text.len() as f64 - f64::from(mean)).abs() < 1e-4);
        }
    }
}

#[test]
fn a_state_that_is_no_number_fails_its_own_request_alone() {
    let mut bench = Bench::new(AMPLE);
    let mut bad = bench.ask(embed(&[NAN, 1, 2], Pooling::Mean, None));
    let mut good = bench.ask(embed(&[1, 2], Pooling::Mean, None));
    bench.finish();
    assert!(matches!(read(&mut bad).failed, Some(Reason::Internal(_))));
    let told = read(&mut good);
    let usage = Usage {
        prompt: 2,
        cached: 0,
        generated: 0,
    };
    assert_eq!((told.failed, told.usage), (None, Some(usage)));
    assert_eq!(told.vector.map(|vector| vector.len()), Some(VOCAB));
}

#[test]
fn a_reader_that_leaves_ends_its_vector() {
    let mut bench = Bench::new(CRAMPED);
    let reader = bench.ask(embed(&[1; 40], Pooling::Mean, None));
    bench.engine.turn();
    drop(reader);
    bench.finish();
    let mut fresh = bench.ask(embed(&[1; 3], Pooling::Last, None));
    bench.finish();
    let first = fresh.try_recv();
    assert!(matches!(first, Ok(Event::Embedding { .. })), "{first:?}");
}
