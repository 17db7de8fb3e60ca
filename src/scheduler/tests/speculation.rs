//! Speculation: the same answers in fewer steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::super::admit::Draft;
use super::super::engine::{Shape, Shortcuts, Speculation};
use super::super::forward::Forward;
use super::super::observe::{Observe, Unobserved};
use super::asks::{Ask, asks, sampling};
use super::toy::*;
use crate::adapter::Routed;
use crate::device::{Array, Result};
use crate::model::Batch;

/// Says its prompt over and over, and now and then something else: its scores depend on the last tokens alone, and on
/// the adapter. Checked for what it reads by the toy.
#[derive(Clone, Default)]
struct Parrot {
    steps: Arc<AtomicUsize>,
}

impl Forward for Parrot {
    type Cache = Slots;

    fn digest(&self) -> [u8; 32] {
        Toy.digest()
    }

    fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Slots> {
        Toy.new_cache(blocks, block_size)
    }

    fn serve(&self, batch: &Batch, cache: &mut Slots, adapters: &Routed) -> Result<Array> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let mut scores: Vec<f32> = Toy.serve(batch, cache, adapters)?.into_values();
        for (&row, scores) in batch.logit_rows.iter().zip(scores.chunks_exact_mut(VOCAB)) {
            // Ids repeat with a period of ten, which the toy's noise of up to 6 sometimes breaks.
            let next = (batch.tokens[row] as usize + 1) % 10;
            scores[next] += 5.5;
        }
        Array::new(scores, (batch.logit_rows.len(), VOCAB))
    }
}

const ALWAYS: Shortcuts = Shortcuts {
    prefix_cache: true,
    speculation: Speculation::Always,
};

fn speaks(shortcuts: Shortcuts, shape: Shape, asked: Vec<Draft>) -> (Vec<Transcript>, usize) {
    let parrot = Parrot::default();
    let steps = parrot.steps.clone();
    let mut bench = Bench::with(parrot, shape, shortcuts, Arc::new(Unobserved));
    let mut readers: Vec<_> = asked.into_iter().map(|asked| bench.ask(asked)).collect();
    bench.finish();
    let told = readers.iter_mut().map(|reader| read(reader).afresh());
    (told.collect(), steps.load(Ordering::Relaxed))
}

#[test]
fn text_that_repeats_takes_fewer_steps() {
    let asked = || vec![draft(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2], greedy(80))];
    let (told, steps) = speaks(PLAIN, AMPLE, asked());
    assert_eq!(steps, 80);
    let (faster, fewer) = speaks(ALWAYS, AMPLE, asked());
    assert_eq!(faster, told);
    assert!(fewer < 40, "{fewer} steps");
}

#[derive(Default)]
struct Guesses {
    drafted: AtomicUsize,
    accepted: AtomicUsize,
}

impl Observe for Guesses {
    fn speculated(&self, drafted: usize, accepted: usize) {
        self.drafted.fetch_add(drafted, Ordering::Relaxed);
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
    }
}

#[test]
fn guesses_are_counted_and_their_blocks_given_back() {
    let counted = Arc::new(Guesses::default());
    let parrot = Parrot::default();
    let steps = parrot.steps.clone();
    let mut bench = Bench::with(parrot, AMPLE, ALWAYS, counted.clone());
    let mut reader = bench.ask(draft(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2], greedy(60)));
    while !bench.engine.is_idle() {
        bench.engine.turn();
        let held = bench.engine.pool().total() - bench.engine.pool().free();
        assert!(
            held <= (12 + reader.len() + 1).div_ceil(8),
            "{held} blocks held"
        );
    }
    bench.check_returned();
    assert_eq!(read(&mut reader).answers[0].tokens.len(), 60);
    let [drafted, accepted] =
        [&counted.drafted, &counted.accepted].map(|count| count.load(Ordering::Relaxed));
    // Every step says one token, and those accepted besides.
    assert_eq!(steps.load(Ordering::Relaxed) + accepted, 60);
    assert!(
        accepted > 20 && drafted > accepted,
        "{accepted} of {drafted}"
    );
}

#[test]
fn a_crowd_is_not_slowed_down_by_guesses() {
    let asked = || {
        (0..9)
            .map(|first| draft(&[first, 1, 2, 3, 1, 2], greedy(30)))
            .collect()
    };
    let counted = Arc::new(Guesses::default());
    let mut bench = Bench::with(Parrot::default(), AMPLE, ALWAYS, counted.clone());
    let mut readers: Vec<_> = Vec::into_iter(asked())
        .map(|asked| bench.ask(asked))
        .collect();
    for _ in 0..29 {
        bench.engine.turn();
    }
    assert_eq!(counted.drafted.load(Ordering::Relaxed), 0);
    bench.finish();
    let (alone, _) = speaks(PLAIN, AMPLE, asked());
    for (reader, alone) in readers.iter_mut().zip(alone) {
        assert_eq!(read(reader).afresh(), alone);
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    let prompt = prop::collection::vec(0u32..10, 1..30);
    asks(prompt, sampling(40, &["ef", "ab", "é"]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_are_the_same_with_speculation_and_without(
        asks in prop::collection::vec(ask(), 1..6),
        more_tokens in 0usize..20,
        more_blocks in 0usize..12,
        block_size in 1usize..9,
    ) {
        let shape = Shape {
            rows: 5,
            step_tokens: 5 + more_tokens,
            scored: 4,
            // The longest request just fits.
            blocks: 73usize.div_ceil(block_size) + more_blocks,
            block_size,
        };
        let drafts = || asks.iter().map(Ask::draft);
        let (told, _) = speaks(ALWAYS, shape, drafts().collect());
        for (told, asked) in told.into_iter().zip(drafts()) {
            let (alone, _) = speaks(PLAIN, AMPLE, vec![asked]);
            prop_assert_eq!(&told, &alone[0]);
        }
    }
}
