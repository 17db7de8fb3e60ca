//! Requests that begin alike: what is found in the cache, who finds it, and that answers stay what they were.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::super::admit::Draft;
use super::super::engine::{Shape, Shortcuts};
use super::super::forward::Forward;
use super::super::observe::{Observe, Unobserved};
use super::toy::*;
use crate::adapter::Routed;
use crate::device::{Array, Result};
use crate::domain::Sampling;
use crate::model::Batch;

/// The toy, and how many tokens it has computed.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Forward for Counting {
    type Cache = Slots;

    fn digest(&self) -> [u8; 32] {
        Toy.digest()
    }

    fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Slots> {
        Toy.new_cache(blocks, block_size)
    }

    fn serve(&self, batch: &Batch, cache: &mut Slots, adapters: &Routed) -> Result<Array> {
        self.0.fetch_add(batch.tokens.len(), Ordering::Relaxed);
        Toy.serve(batch, cache, adapters)
    }
}

fn prompt(length: u32) -> Vec<u32> {
    (0..length).map(|at| (at * 11 + 3) % 30).collect()
}

fn cached(told: &Transcript) -> usize {
    told.usage.expect("an end").cached
}

#[test]
fn a_conversation_finds_its_history_computed() {
    let computed = Counting::default();
    let mut bench = Bench::of(computed.clone(), AMPLE);
    let mut history = prompt(21);
    let mut found = Vec::new();
    for turn in 0..3 {
        computed.0.store(0, Ordering::Relaxed);
        let told = bench.answer(draft(&history, greedy(20)));
        let said = told.answers[0].ids();
        assert_eq!(said, continuation(&history, 20), "turn {turn}");
        found.push(cached(&told));
        let steps = computed.0.load(Ordering::Relaxed);
        assert_eq!(steps, history.len() - cached(&told) + 19, "turn {turn}");
        history.extend(said);
        history.extend(prompt(9));
    }
    // Prompt and answer up to the last full block: of 21 + 20 tokens the newest was never computed.
    assert_eq!(found, [0, 40, 64]);
}

#[test]
fn a_full_prompt_found_still_computes_the_row_that_chooses() {
    let mut bench = Bench::new(AMPLE);
    let asked = || draft(&prompt(32), greedy(5));
    assert_eq!(cached(&bench.answer(asked())), 0);
    let again = bench.answer(asked());
    assert_eq!(cached(&again), 24);
    assert_eq!(again.answers[0].ids(), continuation(&prompt(32), 5));
}

#[test]
fn what_is_reported_is_the_same_with_a_hit_and_without() {
    let sampled = Sampling {
        temperature: 1.0,
        seed: Some(7),
        logprobs: Some(3),
        repetition_penalty: 1.2,
        ..greedy(30)
    };
    let asked = |scored| Draft {
        n: 3,
        prompt_logprobs: scored,
        lease: Some(lease(1)),
        ..draft(&prompt(45), sampled.clone())
    };
    for scored in [false, true] {
        let alone = Bench::new(AMPLE).answer(asked(scored));
        let mut bench = Bench::new(AMPLE);
        bench.answer(asked(false));
        let hit = bench.answer(asked(scored));
        // A prompt whose scores are asked for has its rows computed.
        assert_eq!(cached(&hit), if scored { 0 } else { 40 });
        assert_eq!(hit.afresh(), alone);
    }
}

#[test]
fn only_the_same_adapter_generation_and_salt_find_a_prefix() {
    let mut bench = Bench::new(AMPLE);
    let asked = |adapter: Option<u64>, salt: &str| Draft {
        lease: adapter.map(lease),
        cache_salt: salt.into(),
        ..draft(&prompt(45), greedy(3))
    };
    let all = [
        (None, ""),
        (Some(1), ""),
        (Some(2), ""),
        (None, "a"),
        (Some(1), "a"),
    ];
    for expected in [0, 40] {
        for (adapter, salt) in all {
            let told = bench.answer(asked(adapter, salt));
            assert_eq!(cached(&told), expected, "{adapter:?} {salt:?}");
        }
    }
}

#[test]
fn a_prefix_in_use_is_shared_and_leaves_room_for_more() {
    // Room for one such prompt and two answers to it, but not for two prompts.
    let shape = Shape {
        blocks: 10,
        rows: 4,
        ..AMPLE
    };
    let mut bench = Bench::new(shape);
    let mut first = bench.ask(draft(&prompt(45), greedy(18)));
    bench.engine.turn();
    let mut second = bench.ask(draft(&prompt(45), greedy(18)));
    bench.engine.turn();
    bench.engine.turn();
    assert_eq!(second.len(), 2, "it runs beside the first");
    bench.finish();
    for reader in [&mut first, &mut second] {
        assert_eq!(read(reader).answers[0].ids(), continuation(&prompt(45), 18));
    }
}

#[test]
fn old_prefixes_make_room_and_are_computed_again() {
    let shape = Shape {
        blocks: 12,
        ..AMPLE
    };
    let mut bench = Bench::new(shape);
    let asked = |first: u32| draft(&[&[first], &prompt(44)[..]].concat(), greedy(3));
    let mut ask = |first| {
        let told = bench.answer(asked(first));
        let found = cached(&told);
        assert_eq!(told.afresh(), Bench::new(AMPLE).answer(asked(first)));
        found
    };
    assert_eq!([1, 1, 2, 2].map(&mut ask), [0, 40, 0, 40]);
    // A third prompt takes the two empty blocks, and the last ones of the prompt unused for longest.
    assert_eq!([3, 2, 1].map(&mut ask), [0, 40, 8]);
}

#[test]
fn a_preempted_answer_finds_what_is_left_of_its_blocks() {
    let computed = Counting::default();
    let shape = Shape {
        rows: 2,
        step_tokens: 64,
        scored: 8,
        blocks: 12,
        block_size: 4,
    };
    let run = |prefix_cache| {
        computed.0.store(0, Ordering::Relaxed);
        let shortcuts = Shortcuts {
            prefix_cache,
            ..PLAIN
        };
        let mut bench = Bench::with(computed.clone(), shape, shortcuts, Arc::new(Unobserved));
        let mut readers = [1, 2].map(|first| bench.ask(draft(&[first, 5, 6], greedy(34))));
        bench.finish();
        for (first, reader) in [1, 2].into_iter().zip(&mut readers) {
            assert_eq!(
                read(reader).answers[0].ids(),
                continuation(&[first, 5, 6], 34)
            );
        }
        computed.0.load(Ordering::Relaxed)
    };
    let (without, with) = (run(false), run(true));
    assert!(
        without > 2 * 36,
        "one of them was preempted: {without} tokens"
    );
    assert!(with < without, "{with} tokens instead of {without}");
}

#[derive(Default)]
struct Reuse(Mutex<Vec<(usize, usize)>>);

impl Observe for Reuse {
    fn reused(&self, prompt: usize, found: usize) {
        self.0.lock().unwrap().push((prompt, found));
    }
}

#[test]
fn what_is_looked_for_and_found_is_counted_once_a_request() {
    for (prefix_cache, expected) in [(true, [(45, 0), (45, 40)]), (false, [(45, 0), (45, 0)])] {
        let counted = Arc::new(Reuse::default());
        let shortcuts = Shortcuts {
            prefix_cache,
            ..PLAIN
        };
        let mut bench = Bench::with(Toy, AMPLE, shortcuts, counted.clone());
        for _ in 0..2 {
            let asked = Draft {
                n: 3,
                ..draft(&prompt(45), greedy(4))
            };
            let told = bench.answer(asked);
            assert_eq!(told.answers.len(), 3);
        }
        assert_eq!(*counted.0.lock().unwrap(), expected);
        assert_eq!(bench.engine.pool().cached() > 0, prefix_cache);
    }
}

#[test]
fn prompts_that_begin_alike_and_come_together_are_computed_once() {
    let computed = Counting::default();
    let mut bench = Bench::of(computed.clone(), AMPLE);
    let asked = |last: u32| draft(&[&prompt(80)[..], &[last; 4]].concat(), greedy(1));
    let mut readers: Vec<_> = (0..6).map(|last| bench.ask(asked(last))).collect();
    bench.finish();
    for (last, reader) in (0..6).zip(&mut readers) {
        assert_eq!(read(reader).afresh(), Bench::new(AMPLE).answer(asked(last)));
    }
    assert_eq!(computed.0.load(Ordering::Relaxed), 84 + 5 * 4);
}
